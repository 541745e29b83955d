//! `godwit dev` and the client commands from outside, as a user meets them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]
#![allow(unreachable_pub, reason = "modules of a test program")]

mod console;
#[path = "../clients/dev.rs"]
mod dev;
mod region;
mod s3;
mod serve;
mod tls;

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use dev::Dev;
use s3::Client;

fn start(arguments: &[&str], folder: &Path) -> Dev {
    Dev::start(arguments, &folder.join("godwit.log"))
}

/// A client command against a cluster, signed with its key.
fn godwit(dev: &Dev, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_godwit"));
    command.args(arguments).envs(dev.variables());
    command.output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn client(dev: &Dev, endpoint: &str) -> Client {
    Client::new(endpoint, &dev.announced.access_key, &dev.announced.secret_key)
}

/// Asks until it is so, for at most a minute.
fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn dev_announces_what_it_started_and_answers_there() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--regions", "iad,fra"], folder.path());
    let codes: Vec<&str> = dev.announced.regions.iter().map(|r| r.code.as_str()).collect();
    assert_eq!(codes, ["iad", "fra"]);
    assert_eq!(dev.announced.endpoint, format!("http://127.0.0.1:{}", dev.port));
    for (index, region) in (1..).zip(&dev.announced.regions) {
        assert_eq!(region.s3, format!("http://127.0.0.1:{}", dev.port + index));
        assert!(region.pid > 0);
        assert_eq!(s3::get(&region.s3, "/-/health/ready").status, 200);
        let metrics = s3::get(&region.admin, "/metrics");
        assert!(metrics.text().contains("# TYPE godwit_s3_requests"), "{}", metrics.text());
        assert_eq!(s3::get(&region.admin, "/-/health/live").status, 200);
        assert_eq!(s3::get(&region.admin, "/-/admin/v1/status").status, 404);
    }
    let anonymous = s3::get(&dev.announced.endpoint, "/-/admin/v1/status");
    assert_eq!(anonymous.status, 403, "{}", anonymous.text());
    dev.stop();
}

#[test]
fn a_request_goes_to_the_region_nearest_to_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--no-wan"], folder.path());
    let client = client(&dev, &dev.announced.endpoint);
    assert_eq!(client.send("PUT", "/routed", &[], b"").status, 200);
    let put = client.send("PUT", "/routed/key", &[], b"hello");
    assert_eq!(put.status, 200, "{}", put.text());
    for (place, region) in [("", "iad"), ("fra", "fra"), ("arn", "fra"), ("syd", "nrt")] {
        let extra = [("X-Godwit-Client-Region", place)];
        let extra = if place.is_empty() { &extra[1..] } else { &extra[..] };
        let served = eventually("the key is everywhere", || {
            let got = client.send("GET", "/routed/key", extra, b"");
            (got.status == 200).then_some(got)
        });
        assert_eq!(served.header("x-godwit-served-from"), Some(region), "from `{place}`");
        assert_eq!(served.body, b"hello");
    }
    dev.stop();
}

#[test]
fn a_data_directory_keeps_objects_key_ports_and_regions() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let dev = start(&["--regions", "2", "--data", data], folder.path());
    let body = vec![7_u8; 100_000];
    let first = client(&dev, &dev.announced.endpoint);
    assert_eq!(first.send("PUT", "/kept-bucket", &[], b"").status, 200);
    assert_eq!(first.send("PUT", "/kept-bucket/key", &[], &body).status, 200);
    let (port, key) = (dev.port, dev.announced.access_key.clone());
    dev.stop();

    let again = Dev::resume(&["--data", data], &folder.path().join("again.log"));
    assert_eq!(again.announced.access_key, key);
    assert_eq!(again.announced.endpoint, format!("http://127.0.0.1:{port}"));
    assert_eq!(again.announced.regions.len(), 2);
    let got = client(&again, &again.announced.endpoint).send("GET", "/kept-bucket/key", &[], b"");
    assert_eq!((got.status, got.body.len()), (200, body.len()));
    again.stop();
}

#[test]
fn a_clean_stop_delivers_the_access_log() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let arguments = ["--regions", "1", "--data", data.to_str().unwrap()];
    let dev = start(&arguments, folder.path());
    let owner = client(&dev, &dev.announced.endpoint);
    for bucket in ["/logged", "/logs"] {
        assert_eq!(owner.send("PUT", bucket, &[], b"").status, 200);
    }
    let policy = r#"{"Statement": {"Effect": "Allow", "Action": "s3:PutObject",
        "Principal": {"Service": "logging.s3.amazonaws.com"}, "Resource": "arn:aws:s3:::logs/*"}}"#;
    assert_eq!(owner.send("PUT", "/logs?policy", &[], policy.as_bytes()).status, 204);
    let logging = "<BucketLoggingStatus><LoggingEnabled><TargetBucket>logs</TargetBucket>\
                   <TargetPrefix>x/</TargetPrefix></LoggingEnabled></BucketLoggingStatus>";
    let set = owner.send("PUT", "/logged?logging", &[], logging.as_bytes());
    assert_eq!(set.status, 200, "{}", set.text());
    assert_eq!(owner.send("PUT", "/logged/key", &[], b"hello").status, 200);
    dev.stop();
    let again = Dev::resume(&arguments[2..], &folder.path().join("again.log"));
    let owner = client(&again, &again.announced.endpoint);
    let list = owner.send("GET", "/logs", &[], b"").text();
    let key = list.split_once("<Key>").unwrap().1.split_once("</Key>").unwrap().0.to_owned();
    let log = owner.send("GET", &format!("/logs/{key}"), &[], b"").text();
    assert!(log.contains(" REST.PUT.OBJECT key \"PUT /logged/key HTTP/1.1\" 200 - - 5 "), "{log}");
    again.stop();
}

#[test]
fn without_a_data_directory_nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let dev = Dev::start_in(&["--regions", "1"], &folder.path().join("log"), &temporary);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 1);
    let port = dev.port;
    dev.stop();
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is free again");
}

#[test]
fn storage_create_makes_a_bucket_and_a_key_for_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--regions", "1"], folder.path());
    let made = json(&godwit(&dev, &["storage", "create", "--format", "json"]));
    let bucket = made["BUCKET_NAME"].as_str().unwrap();
    let parts: Vec<&str> = bucket.split('-').collect();
    assert!(parts.len() == 3 && parts[2].len() == 4, "like polished-thunder-5646: {bucket}");
    assert_eq!(made["AWS_ENDPOINT_URL_S3"], dev.announced.endpoint);
    assert_eq!(made["AWS_REGION"], "auto");
    let own = Client::new(
        &dev.announced.endpoint,
        made["AWS_ACCESS_KEY_ID"].as_str().unwrap(),
        made["AWS_SECRET_ACCESS_KEY"].as_str().unwrap(),
    );
    assert_eq!(own.send("PUT", &format!("/{bucket}/key"), &[], b"hello").status, 200);
    assert_eq!(own.send("GET", &format!("/{bucket}/key"), &[], b"").body, b"hello");
    let env = godwit(&dev, &["storage", "create", "given-name"]);
    let text = String::from_utf8(env.stdout).unwrap();
    assert!(text.ends_with("BUCKET_NAME=given-name\n"), "{text}");
    assert_eq!(own.send("PUT", "/given-name/key", &[], b"").status, 403);
    assert_eq!(own.send("GET", "/-/admin/v1/status", &[], b"").status, 403);
    let taken = godwit(&dev, &["storage", "create", "given-name"]);
    assert_eq!(taken.status.code(), Some(5), "{}", String::from_utf8_lossy(&taken.stderr));
    let bad = godwit(&dev, &["storage", "create", "Not_A_Name"]);
    assert_eq!(bad.status.code(), Some(1), "{}", String::from_utf8_lossy(&bad.stderr));
    dev.stop();
}

#[test]
fn status_where_keys_and_health_tell_what_is() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--regions", "3"], folder.path());
    let status = json(&godwit(&dev, &["status", "--json"]));
    assert_eq!(status["region"], "iad");
    assert_eq!(status["regions"].as_array().unwrap().len(), 3);
    eventually("everything is in sync", || {
        godwit(&dev, &["status", "--check"]).status.success().then_some(())
    });
    let client = client(&dev, &dev.announced.endpoint);
    assert_eq!(client.send("PUT", "/told-bucket", &[], b"").status, 200);
    let body = vec![1_u8; 200_000];
    assert_eq!(client.send("PUT", "/told-bucket/a%20key", &[], &body).status, 200);
    let found = json(&godwit(&dev, &["where", "--json", "s3://told-bucket/a key"]));
    assert_eq!(found["primary"], "iad");
    assert_eq!(found["size"], 200_000);
    let holders = found["holders"].as_array().unwrap();
    assert!(holders.len() >= 2 && holders.contains(&Value::from("iad")), "{found}");
    for list in ["cached", "moves"] {
        assert!(found[list].is_array(), "{found}");
    }
    assert!(found["heat"].is_object(), "{found}");
    let missing = godwit(&dev, &["where", "s3://told-bucket/other"]);
    assert_eq!(missing.status.code(), Some(3));
    let key = json(&godwit(&dev, &["keys", "create", "--bucket", "told-bucket", "--json"]));
    let listed = json(&godwit(&dev, &["keys", "ls", "--json"]));
    let listed = listed["keys"].as_array().unwrap();
    assert!(listed.iter().any(|k| k["access_key"] == key["access_key"]), "{listed:?}");
    assert!(!format!("{listed:?}").contains(key["secret_key"].as_str().unwrap()));
    let other = json(&godwit(&dev, &["keys", "create", "--new-account", "--json"]));
    assert_eq!(other["account"].as_str().unwrap().len(), 64);
    assert_ne!(other["account"], key["account"]);
    let both = ["keys", "create", "--new-account", "--bucket", "told-bucket"];
    assert_eq!(godwit(&dev, &both).status.code(), Some(2));
    let health = godwit(&dev, &["health", "live"]);
    assert_eq!((health.status.code(), health.stdout.as_slice()), (Some(0), &b"ok\n"[..]));
    let wrong = Command::new(env!("CARGO_BIN_EXE_godwit"))
        .args(["status", "--endpoint", &dev.announced.endpoint])
        .env("AWS_ACCESS_KEY_ID", &dev.announced.access_key)
        .env("AWS_SECRET_ACCESS_KEY", "wrong")
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(4), "{}", String::from_utf8_lossy(&wrong.stderr));
    dev.stop();
}

#[test]
fn keys_are_given_roles_and_a_policy_and_are_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--regions", "1"], folder.path());
    let owner = client(&dev, &dev.announced.endpoint);
    assert_eq!(owner.send("PUT", "/roles-bucket", &[], b"").status, 200);
    assert_eq!(owner.send("PUT", "/roles-bucket/a", &[], b"x").status, 200);
    let key =
        json(&godwit(&dev, &["keys", "create", "--bucket", "roles-bucket=read-only", "--json"]));
    assert_eq!(key["roles"]["roles-bucket"], "read-only");
    let id = key["access_key"].as_str().unwrap();
    let reader = Client::new(&dev.announced.endpoint, id, key["secret_key"].as_str().unwrap());
    assert_eq!(reader.send("GET", "/roles-bucket/a", &[], b"").status, 200);
    assert_eq!(reader.send("PUT", "/roles-bucket/b", &[], b"x").status, 403);
    let policy = folder.path().join("policy.json");
    let deny = r#"{"Statement": {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*",
        "Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.1"}}}}"#;
    fs::write(&policy, deny).unwrap();
    let policy = policy.to_str().unwrap();
    let set = ["keys", "set", id, "--bucket", "roles-bucket", "--policy", policy, "--json"];
    let changed = json(&godwit(&dev, &set));
    assert_eq!(changed["roles"]["roles-bucket"], "editor");
    assert_eq!(changed["policy"]["Statement"]["Effect"], "Deny");
    assert_eq!(reader.send("PUT", "/roles-bucket/b", &[], b"x").status, 200);
    assert_eq!(reader.send("GET", "/roles-bucket/a", &[], b"").status, 403);
    fs::write(policy, r#"{"Statement": {"Principal": "*"}}"#).unwrap();
    assert!(!godwit(&dev, &set).status.success(), "a policy that is none");
    for wrong in [["keys", "set", id, "--bucket=none"], ["keys", "set", id, "--bucket=a=king"]] {
        assert!(!godwit(&dev, &wrong).status.success(), "{wrong:?}");
    }
    assert!(!godwit(&dev, &["keys", "revoke", &dev.announced.access_key]).status.success());
    assert!(godwit(&dev, &["keys", "revoke", id]).status.success());
    assert_eq!(reader.send("PUT", "/roles-bucket/b", &[], b"x").status, 403);
    dev.stop();
}

#[test]
fn an_object_moves_to_the_region_that_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--regions", "iad,fra,nrt"], folder.path());
    let writer = client(&dev, &dev.announced.endpoint);
    assert_eq!(writer.send("PUT", "/moving", &[], b"").status, 200);
    let body = vec![3_u8; 300_000];
    assert_eq!(writer.send("PUT", "/moving/key", &[], &body).status, 200);
    let place = || json(&godwit(&dev, &["where", "--json", "s3://moving/key"]));
    assert_eq!(place()["primary"], "iad");
    let reader = client(&dev, &dev.announced.regions[2].s3);
    let moved = eventually("the primary is where the reader is", || {
        for _ in 0..10 {
            let got = reader.send("GET", "/moving/key", &[], b"");
            assert_eq!((got.status, got.body.len()), (200, body.len()), "{}", got.status);
        }
        Some(place()).filter(|found| found["primary"] == "nrt")
    });
    let step = &moved["moves"][0];
    assert_eq!((&step["from"], &step["to"]), (&Value::from("iad"), &Value::from("nrt")));
    assert!(step["reason"].as_str().unwrap().contains("nrt reads"), "{moved}");
    let text = godwit(&dev, &["where", "s3://moving/key"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("iad -> nrt"));
    dev.stop();
}

#[test]
fn a_token_and_a_strong_bucket_have_every_region_see_what_was_just_written() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--regions", "iad,fra,nrt"], folder.path());
    let regions: Vec<Client> = dev.announced.regions.iter().map(|r| client(&dev, &r.s3)).collect();
    assert_eq!(regions[0].send("PUT", "/with-tokens", &[], b"").status, 200);
    let mut token = String::new();
    for round in 0..12 {
        let (writer, reader) = (&regions[round % 3], &regions[(round + 1) % 3]);
        let body = format!("round {round}");
        let put = writer.send(
            "PUT",
            "/with-tokens/k",
            &[("X-Godwit-Token", token.as_str())][..usize::from(round > 0)],
            body.as_bytes(),
        );
        assert_eq!(put.status, 200, "{}", put.text());
        let extra = [("X-Godwit-Token", put.header("x-godwit-token").unwrap())];
        let got = reader.send("GET", "/with-tokens/k", &extra, b"");
        assert_eq!((got.status, got.text()), (200, body), "round {round}");
        let new = format!("/with-tokens/new{round}");
        let put = reader.send("PUT", &new, &[], b"x");
        let extra = [("X-Godwit-Token", put.header("x-godwit-token").unwrap())];
        let list = writer.send("GET", "/with-tokens?list-type=2", &extra, b"");
        assert!(list.text().contains(&format!("<Key>new{round}</Key>")), "{}", list.text());
        token = list.header("x-godwit-token").unwrap().to_owned();
    }
    let strong = [("X-Godwit-Consistency", "strong")];
    assert_eq!(regions[0].send("PUT", "/strong-bucket", &strong, b"").status, 200);
    for round in 0..4 {
        let (writer, reader) = (&regions[round % 3], &regions[(round + 2) % 3]);
        let body = format!("round {round}");
        let put = writer.send("PUT", "/strong-bucket/k", &[], body.as_bytes());
        assert_eq!(put.status, 200, "{}", put.text());
        assert_eq!(reader.send("GET", "/strong-bucket/k", &[], b"").text(), body);
        assert_eq!(
            writer.send("PUT", &format!("/strong-bucket/new{round}"), &[], b"x").status,
            200
        );
        let list = reader.send("GET", "/strong-bucket?list-type=2", &[], b"").text();
        assert!(list.contains(&format!("<Key>new{round}</Key>")), "{list}");
    }
    dev.stop();
}
