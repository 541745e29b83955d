//! Bringing back from the command line.

use serde_json::json;

use super::{World, text};

#[test]
fn a_deleted_object_is_shown_and_brought_back() {
    let world = World::start();
    let client = world.client();
    assert_eq!(client.send("PUT", "/safe", &[], b"").status, 200);
    let kept = world.run(&["keeping", "s3://safe", "--soft-delete", "7", "--undo", "48"]);
    assert_eq!(text(&kept.stdout), "undo window   48 h\nsoft delete   7 days\n");
    let shown = world.json(&["keeping", "s3://safe"]);
    assert_eq!(shown, json!({"undo_minutes": 2880, "soft_delete_days": 7}));
    assert_eq!(client.send("PUT", "/safe/dir/k", &[], b"hello").status, 200);
    assert_eq!(client.send("DELETE", "/safe/dir/k", &[], b"").status, 204);
    let list = world.json(&["undelete", "--list", "s3://safe/dir"]);
    let entry = &list["kept"][0];
    assert_eq!((&entry["key"], &entry["version"]["size"]), (&json!("dir/k"), &json!(5)));
    assert_eq!((&entry["why"], &entry["current"]["size"]), (&json!("replaced"), &json!(null)));
    assert!(entry["until_ms"].is_u64());
    let table = world.run(&["undelete", "--list", "s3://safe"]);
    assert!(text(&table.stdout).contains("s3://safe/dir/k"), "{}", text(&table.stdout));
    let back = world.json(&["undelete", "s3://safe/dir/k"]);
    assert_eq!(back["size"], 5);
    assert_eq!(client.send("GET", "/safe/dir/k", &[], b"").body, b"hello");
    let again = world.run(&["undelete", "s3://safe/dir/k"]);
    assert_eq!(again.status.code(), Some(5), "{}", text(&again.stderr));
    let version = entry["version"]["version"].as_str().unwrap();
    let purge = ["undelete", "s3://safe/dir/k", "--version", version, "--purge"];
    assert!(world.run(&purge).status.success());
    assert_eq!(world.run(&purge).status.code(), Some(3));
    let conflicts = world.json(&["conflicts"]);
    assert_eq!(conflicts, json!({"kept": [], "next": null}));
}

#[test]
fn a_deleted_bucket_is_shown_brought_back_and_ended() {
    let world = World::start();
    let client = world.client();
    assert_eq!(client.send("PUT", "/safe", &[], b"").status, 200);
    assert!(world.run(&["keeping", "s3://safe", "--soft-delete", "7"]).status.success());
    assert!(world.run(&["bucket", "rm", "-y", "safe"]).status.success());
    let list = world.json(&["bucket", "ls", "--deleted"]);
    assert_eq!(list["buckets"][0]["bucket"], "safe");
    let table = world.run(&["bucket", "ls", "--deleted"]);
    assert!(text(&table.stdout).contains("safe"), "{}", text(&table.stdout));
    let back = world.run(&["undelete", "s3://safe"]);
    assert_eq!(text(&back.stdout), "s3://safe is back\n");
    assert_eq!(world.json(&["bucket", "ls", "--deleted"]), json!({"buckets": []}));
    assert!(world.run(&["bucket", "rm", "-y", "safe"]).status.success());
    assert!(world.run(&["undelete", "-y", "--purge", "s3://safe"]).status.success());
    let gone = world.run(&["undelete", "s3://safe"]);
    assert_eq!(gone.status.code(), Some(3), "{}", text(&gone.stderr));
    let which = world.run(&["undelete", "--purge", "s3://safe/k"]);
    assert_eq!(which.status.code(), Some(2), "{}", text(&which.stderr));
}
