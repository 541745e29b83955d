//! `ls`, `cp`, `mv`, `sync`, `rm`, `cat`, `stat`, `presign`, `du` against a running cluster.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use super::s3;
use super::{World, text};

/// Bytes that differ from place to place.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i / 251 + i * 7) % 251).unwrap()).collect()
}

fn world() -> World {
    let world = World::start();
    assert_eq!(world.client().send("PUT", "/demo", &[], b"").status, 200);
    world
}

#[test]
fn objects_go_up_and_down_one_by_one_and_in_parts() {
    let world = world();
    let large = noise((37 << 20) + 11);
    for (name, bytes) in [("empty", &[][..]), ("small.txt", b"hello"), ("large.bin", &large)] {
        fs::write(world.file(name), bytes).unwrap();
        assert_eq!(
            world.ok(&["cp", name, "s3://demo/up/"]),
            format!("cp {name} s3://demo/up/{name}\n")
        );
        world.ok(&["cp", &format!("s3://demo/up/{name}"), "back"]);
        assert!(fs::read(world.file("back")).unwrap() == bytes, "{name}");
        let cat = world.run(&["cat", &format!("s3://demo/up/{name}")]);
        assert!(cat.stdout == bytes, "{name}");
    }
    let stat = world.json(&["stat", "s3://demo/up/large.bin"]);
    assert_eq!(stat["size"], large.len());
    assert!(stat["etag"].as_str().unwrap().ends_with("-5"), "{stat}");
    let kind = world.json(&["stat", "s3://demo/up/small.txt"]);
    assert_eq!(kind["headers"]["content-type"], "text/plain");
    let du = world.json(&["du", "s3://demo/up/"]);
    assert_eq!((&du["objects"], &du["bytes"]), (&3.into(), &(large.len() + 5).into()));
    world.ok(&["cp", "s3://demo/up/small.txt", "s3://demo/copied/"]);
    world.ok(&["mv", "s3://demo/copied/small.txt", "s3://demo/moved.txt"]);
    assert_eq!(world.run(&["cat", "s3://demo/copied/small.txt"]).status.code(), Some(3));
    assert_eq!(world.ok(&["cat", "s3://demo/moved.txt"]), "hello");
    let listed = world.ok(&["ls", "s3://demo/"]);
    assert!(
        listed.contains("folder  s3://demo/up/") && listed.contains("5 B  s3://demo/moved.txt")
    );
    assert!(world.ok(&["ls"]).ends_with("  s3://demo\n"));
    world.end();
}

#[test]
fn standard_input_and_output_are_ends_of_a_copy() {
    let world = world();
    for bytes in [noise(1000), noise((19 << 20) + 3)] {
        let mut child = world
            .command(&["cp", "-", "s3://demo/piped"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(world.run(&["cp", "s3://demo/piped", "-"]).stdout == bytes, "{}", bytes.len());
    }
    world.end();
}

#[test]
fn folders_are_copied_and_kept_alike() {
    let world = world();
    fs::create_dir_all(world.file("tree/a/b")).unwrap();
    for name in ["one.txt", "a/two.txt", "a/b/with blank & plus+.txt", "a/skip.tmp", "é<>%41.txt"]
    {
        fs::write(world.file(&format!("tree/{name}")), name).unwrap();
    }
    let copied = world.ok(&["cp", "-r", "tree", "s3://demo/tree", "--exclude", "*.tmp"]);
    assert_eq!(copied.lines().count(), 4, "{copied}");
    world.ok(&["cp", "-r", "s3://demo/tree", "again"]);
    assert_eq!(fs::read(world.file("again/a/b/with blank & plus+.txt")).unwrap().len(), 26);
    assert!(!world.file("again/a/skip.tmp").exists());

    assert_eq!(world.ok(&["sync", "again", "s3://demo/tree"]), "", "nothing differs");
    assert_eq!(world.ok(&["sync", "s3://demo/tree", "again"]), "", "and not the other way round");
    fs::write(world.file("again/one.txt"), "longer than before").unwrap();
    fs::remove_file(world.file("again/a/two.txt")).unwrap();
    let dry = world.ok(&["sync", "again", "s3://demo/tree", "--delete", "--dry-run"]);
    let expected = "would cp again/one.txt s3://demo/tree/one.txt\n\
                    would rm s3://demo/tree/a/two.txt\n";
    assert_eq!(dry, expected);
    let asked = world.run(&["sync", "again", "s3://demo/tree", "--delete"]);
    assert_eq!(asked.status.code(), Some(2), "nobody was there to be asked");
    assert!(text(&asked.stderr).contains("-y does it"), "{}", text(&asked.stderr));
    world.ok(&["sync", "again", "s3://demo/tree", "--delete", "-y"]);
    assert_eq!(world.json(&["du", "s3://demo/tree/"])["objects"], 3);
    assert_eq!(world.ok(&["cat", "s3://demo/tree/one.txt"]), "longer than before");

    // The same size, and as old: only the contents tell.
    fs::write(world.file("again/one.txt"), "LONGER than before").unwrap();
    let time = fs::metadata(world.file("again/é<>%41.txt")).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(world.file("again/one.txt")).unwrap();
    file.set_modified(time - std::time::Duration::from_secs(3600)).unwrap();
    assert_eq!(world.ok(&["sync", "again", "s3://demo/tree"]), "");
    assert_eq!(world.ok(&["sync", "--checksum", "again", "s3://demo/tree"]).lines().count(), 1);
    world.end();
}

#[test]
fn many_objects_are_deleted_after_asking_and_what_fails_is_told() {
    let world = world();
    fs::create_dir_all(world.file("many")).unwrap();
    for number in 0..120 {
        fs::write(world.file(&format!("many/{number}")), b"x").unwrap();
    }
    world.ok(&["cp", "-q", "-r", "many", "s3://demo/many"]);
    let asked = world.run(&["rm", "-r", "s3://demo/many/"]);
    assert_eq!(asked.status.code(), Some(2));
    assert_eq!(world.json(&["du", "s3://demo/many/"])["objects"], 120);
    let gone = world.run(&["rm", "-r", "-y", "--json", "s3://demo/many/"]);
    assert_eq!(text(&gone.stdout).lines().count(), 120);
    assert!(text(&gone.stdout).starts_with("{\"operation\":\"rm\",\"source\":\"s3://demo/many/"));
    assert_eq!(world.run(&["ls", "s3://demo/many/"]).status.code(), Some(3));
    assert_eq!(world.run(&["rm", "s3://demo/none"]).status.code(), Some(3));

    // A key that is no file name fails alone; the others come.
    let client = world.client();
    for key in ["out/good", "out/..%2F..%2Fbad"] {
        assert_eq!(client.send("PUT", &format!("/demo/{key}"), &[], b"x").status, 200);
    }
    let copied = world.run(&["cp", "-r", "s3://demo/out", "out"]);
    assert_eq!(copied.status.code(), Some(8), "{}", text(&copied.stderr));
    assert!(text(&copied.stderr).contains("no name of a file"));
    assert_eq!(fs::read(world.file("out/good")).unwrap(), b"x");
    let escaped = world.file("../bad");
    assert!(!escaped.exists(), "nothing is written outside");
    world.end();
}

#[test]
fn a_presigned_url_is_good_without_a_key() {
    let world = world();
    let url = world.ok(&["presign", "--method", "put", "s3://demo/a b+c"]);
    let path = url.trim().strip_prefix(&world.dev.announced.endpoint).unwrap();
    let put = s3::send_plain(&world.dev.announced.endpoint, "PUT", path, &[], b"hello");
    assert_eq!(put.status, 200, "{}", put.text());
    let url = world.json(&["presign", "s3://demo/a b+c", "--expires", "15m"]);
    let path = url["url"].as_str().unwrap();
    let path = path.strip_prefix(&world.dev.announced.endpoint).unwrap();
    assert_eq!(s3::get(&world.dev.announced.endpoint, path).body, b"hello");
    assert_eq!(world.run(&["presign", "s3://demo/k", "--expires", "30d"]).status.code(), Some(2));
    world.end();
}

#[test]
fn failures_have_codes_hints_and_request_ids() {
    let world = world();
    let missing = world.run(&["cat", "s3://demo/none"]);
    assert_eq!(missing.status.code(), Some(3));
    let shown = text(&missing.stderr);
    for part in ["error: s3://demo/none: ", "[NoSuchKey]", "hint: godwit ls", "request id: "] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let json = world.run(&["cp", "--json", "s3://nowhere-at-all/k", "x"]);
    assert_eq!(json.status.code(), Some(3));
    let error: serde_json::Value = serde_json::from_slice(&json.stderr).unwrap();
    assert!(error["error"]["code"].is_string() && error["error"]["request_id"].is_string());
    let denied = world.command(&["ls"]).env("AWS_SECRET_ACCESS_KEY", "wrong").output().unwrap();
    assert_eq!(denied.status.code(), Some(4), "{}", text(&denied.stderr));
    for wrong in [&["cp", "a", "b"][..], &["cp", "s3://demo", "x"], &["rm", "s3://demo"]] {
        assert_eq!(world.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    fs::create_dir_all(world.file("folder")).unwrap();
    let folder = world.run(&["cp", "folder", "s3://demo/"]);
    assert!(text(&folder.stderr).contains("copy it with -r"));
    world.end();
}
