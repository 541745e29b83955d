//! Named endpoints and keys, in place of variables.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::{World, godwit, json_of, text};

#[test]
fn a_context_stands_for_variables_and_variables_go_before_it() {
    let world = World::start();
    world.ok(&["bucket", "create", "seen"]);
    let path = world.folder.path().join("deep/contexts.toml");
    let bare = |arguments: &[&str]| {
        let mut command = godwit(arguments);
        command.env("GODWIT_CONTEXTS", &path);
        command
    };
    let refused = bare(&["bucket", "ls"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    let add = bare(&["context", "add", "here"]).envs(world.dev.variables()).output().unwrap();
    assert!(add.status.success(), "{}", text(&add.stderr));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let elsewhere = ["context", "add", "elsewhere", "--endpoint", "http://127.0.0.1:1"];
    let mut elsewhere = bare(&elsewhere);
    let elsewhere = elsewhere.envs(world.dev.variables()).env("AWS_ENDPOINT_URL_S3", "").output();
    assert!(elsewhere.unwrap().status.success());
    let list = json_of(&bare(&["context", "ls", "--json"]).output().unwrap());
    let names = list["contexts"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|one| (one["name"].clone(), one["current"].clone())).collect();
    assert_eq!(names, [(json!("elsewhere"), json!(false)), (json!("here"), json!(true))]);
    let secret = &world.dev.announced.secret_key;
    assert!(!list.to_string().contains(secret.as_str()), "no secret is listed");
    let buckets = json_of(&bare(&["bucket", "ls", "--json"]).output().unwrap());
    assert!(buckets.to_string().contains("seen"), "{buckets}");
    let other = bare(&["status", "--context", "elsewhere"]).output().unwrap();
    assert_eq!(other.status.code(), Some(6), "{}", text(&other.stderr));
    let endpoint = &world.dev.announced.endpoint;
    let flag = ["status", "--context", "elsewhere", "--endpoint", endpoint];
    assert!(bare(&flag).output().unwrap().status.success(), "a flag goes before a context");
    assert!(bare(&["context", "use", "elsewhere"]).output().unwrap().status.success());
    assert_eq!(bare(&["status"]).output().unwrap().status.code(), Some(6));
    let rm = bare(&["context", "rm", "elsewhere"]).output().unwrap();
    assert_eq!(rm.status.code(), Some(2), "it asks");
    assert!(bare(&["context", "rm", "-y", "elsewhere"]).output().unwrap().status.success());
    assert_eq!(bare(&["context", "use", "elsewhere"]).output().unwrap().status.code(), Some(3));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let open = bare(&["bucket", "ls"]).output().unwrap();
    assert!(text(&open.stderr).contains("others may read it"), "{}", text(&open.stderr));
    world.end();
}
