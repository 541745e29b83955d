//! `cert`: certificates of all regions through one node, and of a data directory without one.

use serde_json::Value;

use super::{World, run, text};

fn of(all: &Value, code: &str) -> Value {
    let all = all["certificates"].as_array().unwrap();
    all.iter().find(|one| one["region"] == code).unwrap().clone()
}

#[test]
fn certificates_of_every_region_are_listed_and_one_is_renewed_while_clients_write() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let world = World::with(&["--regions", "iad,fra,nrt", "--data", data]);
    let before = world.json(&["cert", "ls"]);
    assert_eq!(before["certificates"].as_array().unwrap().len(), 3, "{before}");
    let fra = of(&before, "fra");
    assert_eq!((&fra["days_left"], &fra["trouble"]), (&Value::from(89), &Value::Null));
    let subject = fra["subject"].as_str().unwrap();
    assert!(subject.starts_with("fra.") && subject.ends_with(".godwit"), "{subject}");
    assert_eq!(fra["authority"]["fingerprint"], of(&before, "nrt")["authority"]["fingerprint"]);
    let table = world.ok(&["cert", "ls"]);
    assert_eq!(table.matches("89 days left").count(), 3, "{table}");

    world.ok(&["bucket", "create", "busy"]);
    let shown = world.ok(&["cert", "renew", "fra"]);
    assert!(shown.contains("made by") && shown.contains("subject"), "{shown}");
    assert_eq!(world.client().send("PUT", "/busy/key", &[], b"bytes").status, 200);
    let after = world.json(&["cert", "ls"]);
    assert_ne!(of(&after, "fra")["fingerprint"], fra["fingerprint"]);
    assert_eq!(of(&after, "nrt"), of(&before, "nrt"));
    // What is on the disk is what the node shows.
    let on_disk = format!("{data}/fra");
    let local = world.json(&["cert", "show", "--data", &on_disk]);
    assert_eq!(local["fingerprint"], of(&after, "fra")["fingerprint"]);
    assert_eq!(world.json(&["cert", "show", "fra"])["fingerprint"], local["fingerprint"]);

    let metrics = world.client().send("GET", "/-/admin/v1/metrics", &[], b"");
    let line = "godwit_certificate_left_seconds{kind=\"mesh\"} 77";
    assert!(metrics.text().contains(line), "89 days and more in seconds");
    assert_eq!(world.json(&["status"])["certificate"], Value::Null);
    let doctor = world.run(&["doctor"]);
    let doctor = text(&doctor.stdout);
    assert!(doctor.contains("they hold for 89 days and more"), "{doctor}");
    let none = world.run(&["cert", "show", "lhr"]);
    assert!(!none.status.success() && text(&none.stdout).is_empty());
    world.end();
}

#[test]
fn a_directory_without_an_identity_has_no_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["cert", "ls", "--data", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("GODWIT_DATA"), "{}", text(&output.stderr));
}
