//! Large objects that go in parts: taken up after an interruption, copied within the cluster.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{World, text};

const PART: usize = 5 << 20;

/// Bytes of which no two parts are alike.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()
    };
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(&mut next).take(len / 8 + 1).flatten().collect();
    bytes.truncate(len);
    bytes
}

/// How often an operation was asked for since the node started.
fn asked(world: &World, op: &str) -> u64 {
    let answer = world.client().send("GET", "/-/admin/v1/traffic", &[], b"");
    let traffic: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let requests = traffic["ops"][op]["requests"].as_f64().unwrap_or(0.0);
    format!("{requests:.0}").parse().unwrap()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split(start).nth(1).unwrap().split(end).next().unwrap()
}

/// Begins an upload and sends these parts; its id.
fn begun(world: &World, key: &str, parts: &[(usize, &[u8])]) -> String {
    let client = world.client();
    let answer = client.send("POST", &format!("/demo/{key}?uploads="), &[], b"").text();
    let id = between(&answer, "<UploadId>", "</UploadId>").to_owned();
    for (number, bytes) in parts {
        let path = format!("/demo/{key}?partNumber={number}&uploadId={id}");
        assert_eq!(client.send("PUT", &path, &[], bytes).status, 200);
    }
    id
}

fn uploads(world: &World) -> usize {
    world.client().send("GET", "/demo?uploads=", &[], b"").text().matches("<UploadId>").count()
}

#[test]
fn sync_goes_on_with_the_parts_of_an_unfinished_upload_that_are_the_same() {
    let world = World::start();
    world.ok(&["bucket", "create", "demo"]);
    let large = noise(5 * PART + 11);
    fs::create_dir(world.file("tree")).unwrap();
    fs::write(world.file("tree/large"), &large).unwrap();
    let part = |number: usize| &large[(number - 1) * PART..number * PART];
    let wrong = vec![1; PART];
    // Of the parts that are there one has other bytes; one of another cut is of an upload that is left
    // alone, as is that of a key which only begins alike.
    begun(&world, "tree/large", &[(1, part(1)), (2, &wrong), (4, part(4))]);
    begun(&world, "tree/large", &[(1, &large[..PART + 1])]);
    begun(&world, "tree/large-2", &[(1, part(1)), (2, part(2)), (3, part(3))]);
    let before = asked(&world, "UploadPart");
    world.ok(&["sync", "--part-size", "5", "tree", "s3://demo/tree"]);
    assert_eq!(asked(&world, "UploadPart") - before, 4, "of six parts two were there");
    assert!(world.run(&["cat", "s3://demo/tree/large"]).stdout == large);
    assert_eq!(uploads(&world), 2, "those of others are still there");
    assert_eq!(world.ok(&["sync", "--part-size", "5", "tree", "s3://demo/tree"]), "");

    // A copy begins anew, and takes nothing of others.
    begun(&world, "copied", &[(1, part(1))]);
    let before = asked(&world, "UploadPart");
    world.ok(&["cp", "--part-size", "5", "tree/large", "s3://demo/copied"]);
    assert_eq!(asked(&world, "UploadPart") - before, 6);
    world.end();
}

/// Hands on to `to` what comes, until so many bytes came; then it is dead.
fn relay(to: &str, bytes: u64) -> String {
    let (listener, to) = (TcpListener::bind("127.0.0.1:0").unwrap(), to.to_owned());
    let own = listener.local_addr().unwrap().to_string();
    let left = Arc::new(AtomicU64::new(bytes));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            if left.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let server = TcpStream::connect(&to).unwrap();
            let (mut back, mut answers) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
            let left = left.clone();
            std::thread::spawn(move || hand_on(client, server, &left));
        }
    });
    own
}

fn hand_on(mut client: TcpStream, mut server: TcpStream, left: &AtomicU64) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(read @ 1..) = client.read(&mut piece) {
        let some = u64::try_from(read).unwrap();
        let take = |left: u64| Some(left.saturating_sub(some));
        let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap();
        if before <= some || server.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

#[test]
fn a_sync_that_was_cut_off_keeps_its_parts_for_the_next_one() {
    let world = World::start();
    world.ok(&["bucket", "create", "demo"]);
    fs::create_dir(world.file("tree")).unwrap();
    fs::write(world.file("tree/large"), noise(6 * PART)).unwrap();
    let sync = ["sync", "--part-size", "5", "--concurrency", "1", "tree", "s3://demo/tree"];
    let host = world.dev.announced.endpoint.trim_start_matches("http://").to_owned();
    // Three parts and a half get through.
    let through = relay(&host, u64::try_from(7 * PART / 2).unwrap());
    let mut command = world.command(&sync);
    let cut = command.env("AWS_ENDPOINT_URL_S3", format!("http://{through}")).output().unwrap();
    assert!(!cut.status.success(), "{}", text(&cut.stdout));
    assert_eq!(uploads(&world), 1, "it is kept: {}", text(&cut.stderr));
    let before = asked(&world, "UploadPart");
    world.ok(&sync);
    assert_eq!(asked(&world, "UploadPart") - before, 3, "three of six parts were there");
    assert_eq!(uploads(&world), 0);
    assert!(world.run(&["cat", "s3://demo/tree/large"]).stdout == noise(6 * PART));
    world.end();
}

#[test]
fn what_is_too_large_for_one_copy_is_copied_in_parts_with_all_that_describes_it() {
    let world = World::start();
    world.ok(&["bucket", "create", "demo"]);
    let large = noise(2 * PART + 3);
    let headers = [
        ("content-type", "image/x-own"),
        ("cache-control", "max-age=7"),
        ("x-amz-meta-colour", "green"),
        ("x-amz-tagging", "a%20key=b%2Bc&d=e"),
    ];
    let put = world.client().put_signed("/demo/large%2B%20one", &headers, &large);
    assert_eq!(put.status, 200, "{}", put.text());
    world.ok(&["cp", "--copy-whole", "5", "s3://demo/large+ one", "s3://demo/copy"]);
    assert_eq!(asked(&world, "UploadPartCopy"), 3);
    assert!(world.run(&["cat", "s3://demo/copy"]).stdout == large);
    let copied = world.json(&["stat", "s3://demo/copy"]);
    for (name, value) in &headers[..3] {
        assert_eq!(copied["headers"][*name], *value, "{copied}");
    }
    let tags = world.client().send("GET", "/demo/copy?tagging=", &[], b"").text();
    assert!(tags.contains("<Key>a key</Key><Value>b+c</Value>"), "{tags}");
    assert_eq!(uploads(&world), 0);
    // What is not above the limit goes at once.
    world.ok(&["cp", "s3://demo/large+ one", "s3://demo/whole"]);
    assert_eq!(asked(&world, "UploadPartCopy"), 3);
    world.end();
}

#[test]
fn what_would_copy_or_move_itself_is_refused_and_nothing_is_lost() {
    let world = World::start();
    world.ok(&["bucket", "create", "demo"]);
    for name in ["p/a", "p/q/b", "p/q/q/c"] {
        fs::write(world.file("one"), name).unwrap();
        world.ok(&["cp", "one", &format!("s3://demo/{name}")]);
    }
    let before = world.ok(&["ls", "-r", "s3://demo"]);
    for (arguments, why) in [
        (&["cp", "-r", "s3://demo/p", "s3://demo/p/copy"][..], "is below the source"),
        (&["cp", "-r", "s3://demo", "s3://demo/backup"], "--exclude 'backup/*'"),
        (&["mv", "-r", "s3://demo/p", "s3://demo/p/q"], "is below the source"),
        (&["mv", "-r", "s3://demo/p", "s3://demo/p/"], "are the same place"),
        (&["mv", "s3://demo/p/a", "s3://demo/p/"], "are the same"),
        (&["cp", "s3://demo/p/a", "s3://demo/p/a"], "are the same"),
        (&["sync", "s3://demo/p", "s3://demo/p/copy"], "is below the source"),
        (&["sync", "-y", "--delete", "s3://demo/p/q", "s3://demo/p"], "--delete would delete it"),
        (&["cp", "-r", "s3://demo/p", "one"], "one is a file"),
        (&["sync", "one", "s3://demo/p"], "one is a file"),
        (&["cp", "-r", "here", "there"], "one end of a copy is s3://BUCKET/KEY"),
    ] {
        let refused = world.run(arguments);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    assert_eq!(world.ok(&["ls", "-r", "s3://demo"]), before);

    // What is left out is no part of the source.
    let copied = world.ok(&["cp", "-r", "s3://demo", "s3://demo/old", "--exclude", "old/*"]);
    assert_eq!(copied.lines().count(), 3, "{copied}");
    // Upwards it is right, but for what would land in what is still being read.
    let moved = world.run(&["mv", "-r", "s3://demo/p/q", "s3://demo/p"]);
    assert_eq!(moved.status.code(), Some(8), "{}", text(&moved.stderr));
    assert!(text(&moved.stderr).contains("s3://demo/p/q/q/c"), "{}", text(&moved.stderr));
    assert_eq!(world.ok(&["cat", "s3://demo/p/b"]), "p/q/b");
    assert_eq!(world.ok(&["cat", "s3://demo/p/q/q/c"]), "p/q/q/c");
    world.end();
}
