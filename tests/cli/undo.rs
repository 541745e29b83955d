//! Bringing back from the command line.

use std::process::Output;

use serde_json::{Value, json};

use super::{World, godwit, text};

fn run(world: &World, arguments: &[&str]) -> Output {
    let mut command = godwit(arguments);
    let announced = &world.dev.announced;
    command.env("AWS_ENDPOINT_URL_S3", &announced.endpoint);
    command.env("AWS_ACCESS_KEY_ID", &announced.access_key);
    command.env("AWS_SECRET_ACCESS_KEY", &announced.secret_key);
    command.output().unwrap()
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_deleted_object_is_shown_and_brought_back() {
    let world = World::start();
    let client = world.client();
    assert_eq!(client.send("PUT", "/safe", &[], b"").status, 200);
    let kept = run(&world, &["keeping", "s3://safe", "--soft-delete", "7", "--undo", "48"]);
    assert_eq!(text(&kept.stdout), "undo window   48 h\nsoft delete   7 days\n");
    let shown = json_of(&run(&world, &["keeping", "s3://safe", "--json"]));
    assert_eq!(shown, json!({"undo_minutes": 2880, "soft_delete_days": 7}));
    assert_eq!(client.send("PUT", "/safe/dir/k", &[], b"hello").status, 200);
    assert_eq!(client.send("DELETE", "/safe/dir/k", &[], b"").status, 204);
    let list = json_of(&run(&world, &["undelete", "--list", "s3://safe/dir", "--json"]));
    let entry = &list["kept"][0];
    assert_eq!((&entry["key"], &entry["version"]["size"]), (&json!("dir/k"), &json!(5)));
    assert_eq!((&entry["why"], &entry["current"]["size"]), (&json!("replaced"), &json!(null)));
    assert!(entry["until_ms"].is_u64());
    let table = run(&world, &["undelete", "--list", "s3://safe"]);
    assert!(text(&table.stdout).contains("s3://safe/dir/k"), "{}", text(&table.stdout));
    let back = json_of(&run(&world, &["undelete", "s3://safe/dir/k", "--json"]));
    assert_eq!(back["size"], 5);
    assert_eq!(client.send("GET", "/safe/dir/k", &[], b"").body, b"hello");
    let again = run(&world, &["undelete", "s3://safe/dir/k"]);
    assert_eq!(again.status.code(), Some(5), "{}", text(&again.stderr));
    let version = entry["version"]["version"].as_str().unwrap();
    let purge = ["undelete", "s3://safe/dir/k", "--version", version, "--purge"];
    assert!(run(&world, &purge).status.success());
    assert_eq!(run(&world, &purge).status.code(), Some(3));
    let conflicts = json_of(&run(&world, &["conflicts", "--json"]));
    assert_eq!(conflicts, json!({"kept": [], "next": null}));
}
