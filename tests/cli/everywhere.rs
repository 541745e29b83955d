//! What one node tells of all regions: live requests, rates, figures, events, health.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use super::{World, eventually, godwit, json_of, run, s3, text};

fn three() -> World {
    World::with(&["--regions", "iad,fra,nrt"])
}

/// A client of one region's own port.
fn client_at(world: &World, code: &str) -> s3::Client {
    let announced = &world.dev.announced;
    let region = announced.regions.iter().find(|region| region.code == code).unwrap();
    s3::Client::new(&region.s3, &announced.access_key, &announced.secret_key)
}

#[test]
fn requests_of_every_region_are_traced_through_one_node() {
    let world = three();
    world.ok(&["bucket", "create", "far"]);
    let mut trace = world.command(&["trace", "--json", "--op", "GetObject"]);
    let mut child = trace.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (send, heard) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    let mut regions = std::collections::BTreeSet::new();
    eventually("each region's requests are told", || {
        for code in ["iad", "fra", "nrt"] {
            assert_eq!(client_at(&world, code).send("GET", "/far/nothing", &[], b"").status, 404);
        }
        for line in heard.try_iter() {
            let line: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(line["op"], "GetObject", "filters go with the question");
            regions.insert(line["region"].as_str().unwrap().to_owned());
        }
        (regions.len() == 3).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    let wrong = world.run(&["trace", "--region", "lhr"]);
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong.stderr));
    world.end();
}

#[test]
fn rates_figures_and_events_of_every_region_come_through_one_node() {
    let world = three();
    world.ok(&["bucket", "create", "busy"]);
    let nrt = client_at(&world, "nrt");
    eventually("top sees what another region does", || {
        let top = world.command(&["top", "--once", "--json", "--every", "1"]);
        let child = { top }.stdout(Stdio::piped()).spawn().unwrap();
        for _ in 0..20 {
            nrt.send("GET", "/busy?list-type=2", &[], b"");
        }
        let output = child.wait_with_output().unwrap();
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(seen["regions"].as_array().unwrap().len(), 3, "{seen}");
        let busy = seen["regions"].as_array().unwrap().iter().find(|one| one["code"] == "nrt");
        (busy.unwrap()["rates"]["per_s"].as_f64().unwrap() > 0.0).then_some(())
    });
    let table = world.ok(&["top", "--once", "--every", "1"]);
    assert!(table.contains("nrt") && table.contains("all regions"), "{table}");
    for path in ["node", "scrub", "repair", "status", "traffic", "certs", "health"] {
        let path = format!("/-/admin/v1/{path}?region=nrt");
        let answer = world.client().send("GET", &path, &[], b"");
        let found: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(found["region"], "nrt", "{path}: {found}");
    }
    let stopped = world.client().send("POST", "/-/admin/v1/scrub/stop?region=nrt", &[], b"");
    assert_eq!(stopped.status, 200);
    let own = world.client().send("GET", "/-/admin/v1/scrub", &[], b"");
    let own: Value = serde_json::from_slice(&own.body).unwrap();
    assert_eq!((&own["region"], &own["stopped"]), (&json!("iad"), &json!(false)));
    assert_eq!(world.json(&["scrub", "status", "--region", "nrt"])["stopped"], true);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nrt.backup");
    let made = world.json(&["backup", "create", "--region", "nrt", file.to_str().unwrap()]);
    assert_eq!(made["state"], "done");
    assert_eq!(world.json(&["backup", "status"])["state"], "none", "iad made none");
    let verified = json_of(&run(&["backup", "verify", file.to_str().unwrap(), "--json"]));
    assert_eq!((&verified["region"], &verified["records"]), (&json!("nrt"), &made["records"]));
    let none = world.client().send("GET", "/-/admin/v1/node?region=lhr", &[], b"");
    assert_eq!(none.status, 400, "{}", none.text());
    let metrics = world.client().send("GET", "/-/admin/v1/metrics?region=fra", &[], b"");
    assert!(metrics.text().contains("region=\"fra\""), "the build's labels are of fra");
    assert_eq!(world.json(&["events"])["silent"], json!([]));
    let one = world.json(&["events", "--region", "nrt"]);
    assert!(one["events"].as_array().unwrap().iter().all(|event| event["region"] == "nrt"));
    world.end();
}

#[test]
fn the_cluster_says_whether_it_can_write_and_whether_a_node_may_go() {
    let world = World::start();
    assert_eq!(world.ok(&["health", "cluster"]), "ok\n");
    let needed = world.run(&["health", "cluster", "--maintenance"]);
    assert_eq!(needed.status.code(), Some(10), "{}", text(&needed.stderr));
    assert!(text(&needed.stdout).contains("0 of 1 voters would be left"));
    let told = world.command(&["health", "cluster", "--maintenance", "--json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["ok"], false);
    let wrong = godwit(&["health", "live", "--maintenance"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    // The operations port has it too, without a key.
    let ops = &world.dev.announced.regions[0].admin;
    let answer = s3::get(ops, "/-/health/cluster?maintenance=true");
    assert_eq!(answer.status, 412, "{}", answer.text());
    assert_eq!(s3::get(ops, "/-/health/cluster").status, 200);
    world.end();
}

#[test]
fn a_region_of_dev_is_cut_off_and_joined_again_and_nothing_answered_is_lost() {
    let world = three();
    world.ok(&["bucket", "create", "kept"]);
    let put = |at: &str, key: &str| {
        client_at(&world, at).send("PUT", &format!("/kept/{key}"), &[], b"bytes").status
    };
    assert_eq!(put("nrt", "before"), 200);
    let cut = world.json(&["dev", "cut", "nrt"]);
    let all = json!({"dev": true, "emulated": true, "cut": ["nrt"], "down": []});
    assert_eq!(cut, all);
    eventually("it is away", || {
        let status = world.json(&["status"]);
        let nrt = status["regions"].as_array().unwrap().iter().find(|one| one["code"] == "nrt");
        (nrt.unwrap()["state"] == "away").then_some(())
    });
    assert_eq!(put("nrt", "during"), 503, "it cannot keep its promise alone");
    assert_eq!(put("fra", "elsewhere"), 200);
    let answer = client_at(&world, "fra").send("GET", "/kept/before", &[], b"");
    assert_eq!(answer.body, b"bytes");
    // Noticed once a second, so it may stand there a moment later.
    eventually("that it is away is an event", || {
        let events = world.json(&["events"]);
        let mut told = events["events"].as_array().unwrap().iter();
        let away = told.any(|event| event["what"] == "nrt is away");
        (away && events["silent"] == json!(["nrt"])).then_some(())
    });
    assert_eq!(world.run(&["health", "cluster"]).status.code(), Some(0), "two of three go on");
    let maintenance = world.run(&["health", "cluster", "--maintenance"]);
    assert_eq!(maintenance.status.code(), Some(10));
    assert_eq!(world.ok(&["dev", "join", "nrt"]), "all regions reach each other\n");
    eventually("what was written meanwhile is there", || {
        let answer = client_at(&world, "nrt").send("GET", "/kept/elsewhere", &[], b"");
        (answer.status == 200).then_some(())
    });
    let none = world.run(&["dev", "cut", "lhr"]);
    assert_eq!(none.status.code(), Some(1), "{}", text(&none.stderr));
    world.end();
}

#[test]
fn an_upgrade_check_of_a_cluster_says_what_each_node_runs_and_what_is_to_be_done() {
    let world = three();
    let shown = world.ok(&["upgrade", "check", "--cluster"]);
    assert!(shown.contains("this program"), "{shown}");
    assert!(shown.ends_with("every region runs this program\n"), "{shown}");
    let checked = world.json(&["upgrade", "check", "--cluster"]);
    let regions = checked["regions"].as_array().unwrap();
    assert_eq!(regions.len(), 3);
    for region in regions {
        assert_eq!(region["runs"]["known"], checked["program"], "{region}");
    }
    let kinds = checked["program"]["kinds"].as_array().unwrap();
    assert!(kinds.iter().any(|kind| kind["of"] == "question" && kind["names"][0] == "Ping"));
    world.ok(&["dev", "cut", "nrt"]);
    let away = eventually("a region that is away is told", || {
        let output = world.run(&["upgrade", "check", "--cluster", "--json"]);
        (output.status.code() == Some(10)).then(|| text(&output.stdout).to_owned())
    });
    let away: Value = serde_json::from_str(&away).unwrap();
    let warning = away["verdict"]["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("nrt cannot be asked"), "{warning}");
    assert_eq!(away["verdict"]["order"], json!(["nrt"]));
    let neither = world.run(&["upgrade", "check"]);
    assert_eq!(neither.status.code(), Some(2));
    assert!(text(&neither.stderr).contains("--cluster"), "{}", text(&neither.stderr));
    world.end();
}
