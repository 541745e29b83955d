//! `bucket`, `trace`, `top`, `doctor`, `region ls` against a running cluster.

use std::fs;
use std::process::Stdio;

use super::{World, assert_kept, eventually, text};

#[test]
fn settings_of_buckets_are_set_shown_and_taken_away() {
    let world = World::start();
    assert_eq!(world.ok(&["bucket", "create", "kept", "--versioning"]), "created s3://kept\n");
    // Access logs are delivered only where the bucket lets them in.
    let policy = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\
                  \"Principal\":{\"Service\":\"logging.s3.amazonaws.com\"},\
                  \"Action\":\"s3:PutObject\",\"Resource\":\"arn:aws:s3:::kept/*\"}]}";
    fs::write(world.file("policy.json"), policy).unwrap();
    world.ok(&["bucket", "set", "kept", "policy", "--file", "policy.json"]);
    for (setting, value, shown) in [
        ("ack", "1", "1"),
        ("acl", "private", "FULL_CONTROL"),
        ("consistency", "strong", "strong"),
        ("copies", "2", "2"),
        ("leases", "on", "true"),
        ("cors", "https://a.example", "https://a.example"),
        ("lifecycle", "30", "30"),
        ("logging", "s3://kept/logs/", "kept"),
        ("ownership", "ObjectWriter", "ObjectWriter"),
        ("payer", "requester", "Requester"),
        ("public-access", "blocked", "true"),
        ("tags", "team=birds", "team"),
        ("versioning", "suspended", "Suspended"),
        ("website", "index.html,404.html", "index.html"),
    ] {
        assert_eq!(
            world.ok(&["bucket", "set", "kept", setting, value]),
            format!("set {setting} of kept\n")
        );
        let document = world.ok(&["bucket", "get", "kept", setting]);
        assert!(document.contains(shown), "{setting}: {document}");
    }
    let shown = world.ok(&["bucket", "show", "kept"]);
    assert_kept("tests/golden/cli/bucket-show.txt", &shown);
    let json = world.json(&["bucket", "show", "kept"]);
    assert!(json["settings"]["cors"].as_str().unwrap().contains("<AllowedOrigin>"));
    for setting in
        ["ack", "leases", "consistency", "cors", "lifecycle", "logging", "tags", "website", "payer"]
    {
        world.ok(&["bucket", "unset", "kept", setting]);
    }
    assert_eq!(world.run(&["bucket", "get", "kept", "cors"]).status.code(), Some(3));
    let bad = world.run(&["bucket", "set", "kept", "versioning", "perhaps"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad.stderr).contains("on or suspended"), "{}", text(&bad.stderr));
    let document = world.ok(&["bucket", "get", "kept", "versioning"]);
    fs::write(world.file("v.xml"), document.replace("Suspended", "Enabled")).unwrap();
    world.ok(&["bucket", "set", "kept", "versioning", "--file", "v.xml"]);
    assert!(world.ok(&["bucket", "get", "kept", "versioning"]).contains("Enabled"));

    fs::write(world.file("f"), b"x").unwrap();
    world.ok(&["cp", "f", "s3://kept/f"]);
    world.ok(&["rm", "s3://kept/f"]);
    assert_eq!(world.run(&["bucket", "rm", "kept"]).status.code(), Some(2), "it asks");
    let full = world.run(&["bucket", "rm", "-y", "kept"]);
    assert_eq!(full.status.code(), Some(5), "{}", text(&full.stderr));
    assert!(text(&full.stderr).contains("hint: godwit rm -r"), "{}", text(&full.stderr));
    world.ok(&["bucket", "rm", "-y", "--force", "kept"]);
    assert_eq!(world.run(&["bucket", "show", "kept"]).status.code(), Some(3));
    world.end();
}

#[test]
fn trace_shows_requests_and_ends_with_its_count_or_its_node() {
    let world = World::start();
    world.ok(&["bucket", "create", "seen"]);
    let start = |arguments: &[&str]| {
        world.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut counted = start(&["trace", "--json", "--errors", "--bucket", "seen", "--count", "1"]);
    let forever = start(&["trace", "--op", "PutObject"]);
    let status = eventually("the trace has heard one", || {
        world.run(&["cat", "s3://seen/nothing"]);
        counted.try_wait().unwrap()
    });
    assert!(status.success());
    let output = counted.wait_with_output().unwrap();
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&line["status"], &line["error"]), (&404.into(), &"NoSuchKey".into()));
    world.end();
    let output = forever.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
}

#[test]
fn top_tells_the_rates_of_what_happens_meanwhile() {
    let world = World::start();
    world.ok(&["bucket", "create", "busy"]);
    let seen = eventually("top sees the lists", || {
        let top = world.command(&["top", "--once", "--json", "--every", "1"]);
        let child = { top }.stdout(Stdio::piped()).spawn().unwrap();
        for _ in 0..10 {
            world.ok(&["ls", "s3://busy"]);
        }
        let output = child.wait_with_output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let ops = json["ops"].as_array().unwrap().clone();
        ops.into_iter().find(|op| op["op"] == "ListObjectsV2")
    });
    assert!(seen["per_s"].as_f64().unwrap() > 0.0 && seen["ms"].as_f64().unwrap() > 0.0, "{seen}");
    world.end();
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let world = World::start();
    let find = |json: &serde_json::Value, check: &str| {
        let all = json["findings"].as_array().unwrap();
        all.iter().find(|finding| finding["check"] == check).cloned()
    };
    let doctor = |key: &str, endpoint: &str| {
        let mut command = world.command(&["doctor", "--json"]);
        command.env("AWS_SECRET_ACCESS_KEY", key).env("AWS_ENDPOINT_URL_S3", endpoint);
        let output = command.output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), json)
    };
    let announced = &world.dev.announced;
    let (_, well) = doctor(&announced.secret_key, &announced.endpoint);
    for check in ["settings", "disk", "node", "key", "peers", "clock"] {
        let finding = find(&well, check).unwrap_or_else(|| panic!("no {check} in {well}"));
        assert_ne!(finding["verdict"], "wrong", "{finding}");
    }
    let (code, ill) = doctor("wrong", &announced.endpoint);
    assert_eq!((code, &find(&ill, "key").unwrap()["verdict"]), (Some(10), &"wrong".into()));
    let (code, away) = doctor(&announced.secret_key, "http://127.0.0.1:1");
    assert_eq!((code, &find(&away, "node").unwrap()["verdict"]), (Some(10), &"wrong".into()));
    assert!(find(&away, "node").unwrap()["hint"].as_str().unwrap().contains("AWS_ENDPOINT_URL_S3"));
    let regions = world.json(&["region", "ls"]);
    assert_eq!(regions["regions"][0]["state"], "active");
    world.end();
}
