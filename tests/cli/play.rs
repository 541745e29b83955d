//! Regions of `godwit dev` that are stopped, started again and lost; what is remembered of it; who
//! holds read leases.

use serde_json::json;

use super::s3::Client;
use super::{World, eventually, text};

fn at(world: &World, code: &str) -> Client {
    let announced = &world.dev.announced;
    let region = announced.regions.iter().find(|region| region.code == code).unwrap();
    Client::new(&region.s3, &announced.access_key, &announced.secret_key)
}

fn put(world: &World, code: &str, key: &str) -> u16 {
    at(world, code).send("PUT", &format!("/kept/{key}"), &[], &[7; 9000]).status
}

/// What a region says of a key, when it knows it.
fn read(world: &World, code: &str, key: &str) {
    eventually(&format!("{key} in {code}"), || {
        let answer = at(world, code).send("GET", &format!("/kept/{key}"), &[], b"");
        (answer.status == 200 && answer.body == [7; 9000]).then_some(())
    });
}

/// What all regions tell, the newest last.
fn told(world: &World, region: &str) -> Vec<String> {
    let events = eventually("it is reached", || {
        let output = world.run(&["events", "--region", region, "--json"]);
        output.status.success().then(|| super::json_of(&output))
    });
    let mut told: Vec<String> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["what"].as_str().unwrap().to_owned())
        .collect();
    told.reverse();
    told
}

#[test]
fn a_region_of_dev_is_stopped_and_started_and_has_its_data_and_its_events() {
    let world = World::with(&["--regions", "iad,fra,nrt"]);
    world.ok(&["bucket", "create", "kept"]);
    assert_eq!(put(&world, "nrt", "before"), 200);
    let down = world.json(&["dev", "stop", "nrt"]);
    assert_eq!(down["down"][0]["region"], "nrt", "{down}");
    assert_eq!(down["down"][0]["state"], "stopped");
    assert!(down["down"][0]["since_ms"].as_u64().unwrap() > 1_700_000_000_000);
    let again = world.run(&["dev", "stop", "nrt"]);
    assert!(text(&again.stderr).contains("nrt does not run"), "{}", text(&again.stderr));
    assert_eq!(put(&world, "iad", "during"), 200);
    assert!(world.ok(&["dev", "stop", "fra"]).contains("stopped: nrt"), "two are told");
    let last = world.run(&["dev", "stop", "iad"]);
    assert!(text(&last.stderr).contains("the last one that runs"), "{}", text(&last.stderr));
    // The global endpoint goes where somebody is.
    assert_eq!(world.client().send("GET", "/kept/during", &[], b"").status, 200);
    world.ok(&["dev", "start", "fra"]);
    assert_eq!(world.ok(&["dev", "start", "nrt"]), "all regions run\n");
    read(&world, "nrt", "before");
    read(&world, "nrt", "during");
    assert_eq!(told(&world, "nrt")[..1], ["the node started"]);
    eventually("what was before the stop is told", || {
        let told = told(&world, "nrt");
        let lives = told.iter().filter(|what| what.starts_with("the node"));
        let lives: Vec<&str> = lives.map(String::as_str).collect();
        (lives == ["the node started", "the node stops", "the node started"]).then_some(())
    });
    assert_eq!(world.run(&["dev", "start", "lhr"]).status.code(), Some(1));
    world.end();
}

#[test]
fn status_waits_until_every_region_is_there_and_has_everything() {
    let world = World::with(&["--regions", "iad,fra,nrt"]);
    world.ok(&["bucket", "create", "kept"]);
    world.ok(&["dev", "stop", "nrt"]);
    assert_eq!(put(&world, "iad", "during"), 200);
    let late = world.run(&["status", "--wait", "--timeout", "1s"]);
    assert_eq!(late.status.code(), Some(10), "{}", text(&late.stderr));
    assert!(text(&late.stderr).contains("nrt is away"), "{}", text(&late.stderr));
    assert!(text(&late.stdout).contains("nrt"), "the regions are shown: {}", text(&late.stdout));

    let status = std::thread::scope(|scope| {
        let waits =
            || super::json_of(&world.run(&["status", "--wait", "--timeout", "2m", "--json"]));
        let waits = scope.spawn(waits);
        world.ok(&["dev", "start", "nrt"]);
        waits.join().unwrap()
    });
    let regions = status["regions"].as_array().unwrap();
    assert!(regions.iter().all(|region| region["state"] != "away"), "{status}");
    assert_eq!(at(&world, "nrt").send("GET", "/kept/during", &[], b"").status, 200);
    world.end();

    // A node that is not there is waited for, too.
    let nobody = super::godwit(&["status", "--wait", "--timeout", "1s"])
        .env("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
        .envs([("AWS_ACCESS_KEY_ID", "GWAAAA"), ("AWS_SECRET_ACCESS_KEY", "secret")])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(6), "{}", text(&nobody.stderr));
}

#[test]
fn a_region_that_lost_its_disk_gets_back_what_the_others_have() {
    let world = World::with(&["--regions", "iad,fra,nrt"]);
    world.ok(&["bucket", "create", "kept"]);
    world.ok(&["bucket", "set", "kept", "copies", "3"]);
    assert_eq!(put(&world, "nrt", "key"), 200);
    read(&world, "fra", "key");
    world.ok(&["dev", "lose", "nrt"]);
    world.ok(&["dev", "start", "nrt"]);
    assert_eq!(told(&world, "nrt")[..1], ["the node started"], "nothing is left of before");
    read(&world, "nrt", "key");
    assert_eq!(put(&world, "nrt", "after"), 200);
    read(&world, "iad", "after");
    world.end();
}

#[test]
fn events_are_there_after_a_kill_and_say_that_it_was_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (data, log) = (data.to_str().unwrap(), folder.path().join("log"));
    let world = World::with(&["--regions", "iad,fra", "--data", data]);
    world.ok(&["dev", "cut", "fra"]);
    eventually("that it is away is an event on disk", || {
        let file = std::fs::read_to_string(folder.path().join("data/iad/events.jsonl"));
        file.unwrap_or_default().contains("fra is away").then_some(())
    });
    world.dev.kill();
    let dev = super::dev::Dev::resume(&["--data", data], &log);
    let world = World { dev, folder };
    std::fs::create_dir_all(world.file("")).unwrap();
    let told = told(&world, "iad");
    let of = |what: &str| told.iter().position(|one| one.starts_with(what));
    assert!(of("fra is away").is_some(), "{told:?}");
    let crash = of("the node started; before that it was not stopped in order");
    assert!(crash > of("fra is away"), "{told:?}");
    world.end();
}

#[test]
fn where_names_the_regions_that_hold_a_read_lease() {
    let world = World::with(&["--regions", "iad,fra,nrt"]);
    world.ok(&["bucket", "create", "kept"]);
    world.ok(&["bucket", "set", "kept", "consistency", "strong"]);
    assert_eq!(put(&world, "iad", "key"), 200);
    assert_eq!(world.json(&["where", "s3://kept/key"])["leases"], json!([]));
    world.ok(&["bucket", "set", "kept", "leases", "on"]);
    let held = eventually("nrt holds a lease", || {
        // A lease is renewed while its key is read.
        (0..4).for_each(|_| read(&world, "nrt", "key"));
        let found = world.json(&["where", "s3://kept/key"]);
        let held = found["leases"].as_array().unwrap().clone();
        held.into_iter().find(|lease| lease["region"] == "nrt")
    });
    assert!((1..=1500).contains(&held["left_ms"].as_u64().unwrap()), "{held}");
    eventually("the command names it", || {
        (0..4).for_each(|_| read(&world, "nrt", "key"));
        let shown = world.ok(&["where", "s3://kept/key"]);
        shown.lines().any(|line| line.starts_with("leases") && line.contains("nrt ")).then_some(())
    });
    world.end();
}
