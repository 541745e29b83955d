//! Backups from the command line, with the built binary.

use std::fs;

use super::{World, json_of, run, text};

#[test]
fn a_backup_is_made_of_a_running_node_checked_and_founds_a_new_cluster() {
    let world = World::start();
    let client = world.client();
    assert_eq!(client.send("PUT", "/birds", &[], b"").status, 200);
    assert_eq!(client.send("PUT", "/birds/small", &[], b"hello").status, 200);
    assert_eq!(client.send("PUT", "/birds/large", &[], &vec![7; 3 << 20]).status, 200);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("one.backup");
    let path = file.to_str().unwrap();
    let made = world.json(&["backup", "create", path]);
    assert_eq!((&made["state"], &made["absent"]), (&"done".into(), &0.into()));
    let again = world.run(&["backup", "create", path]);
    assert_eq!(again.status.code(), Some(1), "a backup is never written over");
    let back = world.run(&["backup", "restore", path]);
    let said = text(&back.stdout);
    assert!(said.starts_with("brought back   0 records, 0 blobs"), "{said}");
    let verified = json_of(&run(&["backup", "verify", path, "--json"]));
    assert_eq!((&verified["records"], &verified["bytes"]), (&made["records"], &made["bytes"]));
    assert_eq!(verified["elsewhere"], 0);
    let dir = folder.path().join("new");
    let new = dir.to_str().unwrap();
    let restore = ["backup", "restore", path, "--new", new, "--regions", "fra", "--json"];
    let restored = json_of(&run(&restore));
    assert_eq!(restored["records"], verified["records"]);
    assert_ne!(restored["cluster"], verified["cluster"]);
    assert_eq!(run(&restore).status.code(), Some(5), "a directory in use is left alone");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let damaged = run(&["backup", "verify", path]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(text(&damaged.stderr).contains("damaged at byte"), "{}", text(&damaged.stderr));
    fs::write(&file, &bytes[..middle]).unwrap();
    let cut = run(&["backup", "verify", path]);
    assert!(text(&cut.stderr).contains("interrupted"), "{}", text(&cut.stderr));
}
