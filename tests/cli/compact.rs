//! `godwit compact` on a real directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Dev, World, json_of, run, text};

#[test]
fn a_stopped_node_gives_back_room_of_its_index_and_serves_what_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let node = data.join("fra");
    let (data, dir) = (data.to_str().unwrap(), node.to_str().unwrap());
    let index = node.join("store/index.redb");
    let world = World::with(&["--regions", "fra", "--data", data]);
    let client = world.client();
    assert_eq!(client.send("PUT", "/birds", &[], b"").status, 200);
    for n in 0..60 {
        let body = format!("body {n}");
        assert_eq!(client.send("PUT", &format!("/birds/{n}"), &[], body.as_bytes()).status, 200);
    }
    assert_eq!(client.send("PUT", "/birds/large", &[], &vec![7; 3 << 20]).status, 200);
    for n in 0..50 {
        assert_eq!(client.send("DELETE", &format!("/birds/{n}"), &[], b"").status, 204);
    }
    let used = run(&["compact", "--data", dir]);
    assert_eq!(used.status.code(), Some(5));
    assert!(text(&used.stderr).contains("a node uses"), "{}", text(&used.stderr));

    // Not in order: what the index is behind its log is replayed after it.
    world.dev.kill();
    fs::write(node.join("store/index.new"), "what another one left").unwrap();
    let before = fs::metadata(&index).unwrap().len();
    let made = json_of(&run(&["compact", "--data", dir, "--json"]));
    let after = fs::metadata(&index).unwrap().len();
    assert_eq!((&made["before_bytes"], &made["after_bytes"]), (&before.into(), &after.into()));
    assert!(after < before, "{after} bytes of {before}");
    assert_eq!((made["damaged"].as_u64(), node.join("store/index.new").exists()), (Some(0), false));
    assert_eq!(fs::metadata(&index).unwrap().permissions().mode() & 0o777, 0o600);

    let world = World { dev: Dev::resume(&["--data", data], &log), folder };
    let client = world.client();
    for n in 0..50 {
        assert_eq!(client.send("GET", &format!("/birds/{n}"), &[], b"").status, 404);
    }
    for n in 50..60 {
        let got = client.send("GET", &format!("/birds/{n}"), &[], b"");
        assert_eq!((got.status, got.body), (200, format!("body {n}").into_bytes()));
    }
    assert_eq!(client.send("GET", "/birds/large", &[], b"").body, vec![7; 3 << 20]);
    world.dev.stop();

    let again = run(&["compact", "--data", dir]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    assert!(text(&again.stdout).starts_with("before   "), "{}", text(&again.stdout));
    let nowhere = run(&["compact", "--data", world.folder.path().to_str().unwrap()]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("has no index"), "{}", text(&nowhere.stderr));
}
