//! Where things shall be, from the command line, over three regions.

use std::fs;

use serde_json::json;

use super::{World, text};

#[test]
fn a_primary_a_bucket_and_cached_copies_are_placed_by_commands() {
    let world = World::with(&["--regions", "iad,fra,nrt", "--no-wan"]);
    let audit = world.file("large.bin");
    fs::write(&audit, vec![7_u8; 300_000]).unwrap();
    world.ok(&["bucket", "create", "demo"]);
    world.ok(&["cp", "large.bin", "s3://demo/large.bin"]);
    let shown = world.ok(&["place", "s3://demo"]);
    assert!(shown.starts_with("s3://demo may lie in every region\n"), "{shown}");
    let placed = world.json(&["place", "s3://demo/large.bin", "--primary", "nrt", "--wait"]);
    assert_eq!(placed, json!({"moving": false}));
    assert_eq!(world.json(&["where", "s3://demo/large.bin"])["primary"], "nrt");
    world.ok(&["cp", "large.bin", "s3://demo/tiny"]);
    fs::write(&audit, b"tiny").unwrap();
    world.ok(&["cp", "large.bin", "s3://demo/tiny"]);
    let refused = world.run(&["place", "s3://demo", "--regions", "iad,nrt"]);
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("leave_small"), "{}", text(&refused.stderr));
    let moved =
        world.json(&["place", "s3://demo", "--regions", "iad,nrt", "--leave-small", "--wait"]);
    assert_eq!(moved["regions"], json!(["iad", "nrt"]));
    assert_eq!((&moved["outside"], &moved["riding"]), (&json!(1), &json!(1)));
    assert!(moved["held"]["fra"].is_null(), "{moved}");
    let refused = world.run(&["place", "s3://demo/large.bin", "--primary", "fra"]);
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused.stderr));
    let purged = world.json(&["purge", "s3://demo/"]);
    assert_eq!(purged["regions"].as_array().unwrap().len(), 3, "{purged}");
    let one = world.json(&["purge", "s3://demo", "--region", "fra"]);
    assert_eq!(
        one,
        json!({"regions": [{"region": "fra", "copies": 0, "bytes": 0, "error": null}]})
    );
    let wrong = world.run(&["place", "s3://demo", "--primary", "fra"]);
    assert_eq!(wrong.status.code(), Some(2));
    let log = fs::read_to_string(world.folder.path().join("godwit.log")).unwrap();
    for op in ["POST /-/admin/v1/place", "PUT /-/admin/v1/location", "POST /-/admin/v1/purge"] {
        assert!(log.contains("godwit::audit") && log.contains(op), "{op} is in the audit log");
    }
    world.end();
}
