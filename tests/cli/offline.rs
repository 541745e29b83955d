//! Commands that need no cluster: what goes to which stream, and the exit codes.

use std::fs;

use serde_json::Value;

use super::{godwit, run, text};

#[test]
fn version_is_one_line_or_one_object() {
    let output = run(&["version"]);
    assert_eq!(text(&output.stdout), format!("godwit {}\n", env!("CARGO_PKG_VERSION")));
    let output = run(&["version", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn wrong_use_exits_with_two_and_says_nothing_on_standard_output() {
    for arguments in [&["flap"][..], &["where", "bucket/key"], &["status"], &["where", "s3://b/k"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_node_that_is_not_there_exits_with_six_and_a_hint() {
    let output = run(&["health", "--endpoint", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output.stderr).contains("[Network]\nhint: "), "{}", text(&output.stderr));
    let output = godwit(&["status", "--json", "--endpoint", "http://127.0.0.1:1"])
        .env("AWS_ACCESS_KEY_ID", "a")
        .env("AWS_SECRET_ACCESS_KEY", "very-secret")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6));
    let json: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(json["error"]["code"], "Network");
    assert!(!text(&output.stderr).contains("very-secret"));
}

#[test]
fn config_check_reads_the_regions_of_the_repository() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/regions");
    let output = godwit(&["config", "check", "--all-regions", "--json"])
        .env("GODWIT_REGIONS", folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["regions"].as_array().unwrap().len(), 18);
}

#[test]
fn config_check_names_the_file_and_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("godwit.toml");
    fs::write(&file, "region = \"fra\"\n[s3]\nlistens = \"[::]:1\"\n").unwrap();
    let output = run(&["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("listens"), "{}", text(&output.stderr));
    let output = run(&["config", "check", "--config", "/nowhere/godwit.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nowhere/godwit.toml"));
}

#[test]
fn config_show_hides_secrets() {
    let output = godwit(&["config", "show"])
        .env("GODWIT_TOKEN", "token-of-fra")
        .env("GODWIT_CLUSTER", "the-secret")
        .env("GODWIT_REGION", "fra")
        .output()
        .unwrap();
    let shown = text(&output.stdout);
    assert!(shown.contains("region = \"fra\"") && shown.contains("(set)"), "{shown}");
    assert!(!shown.contains("token-of-fra") && !shown.contains("the-secret"), "{shown}");
}

#[test]
fn a_keyring_is_made_line_by_line_and_checked() {
    let line = |name| text(&run(&["keyring", "new", name]).stdout).to_owned();
    let (one, two) = (line("one"), line("one"));
    assert!(one.starts_with("one:") && one != two, "each time another key");
    assert_eq!(run(&["keyring", "new", "no good"]).status.code(), Some(2));
    let keys = one + &line("two");
    let check = godwit(&["keyring", "check"]).env("GODWIT_ENCRYPTION_KEYS", &keys).output();
    assert_eq!(text(&check.unwrap().stdout), "one\ntwo\n");
    let twice = godwit(&["keyring", "check"]).env("GODWIT_ENCRYPTION_KEYS", two.repeat(2)).output();
    let twice = twice.unwrap();
    assert!(!twice.status.success() && text(&twice.stderr).contains("line 2"), "{twice:?}");
    let inside = godwit(&["config", "check"])
        .env("GODWIT_DATA", "/data")
        .env("GODWIT_KEYRING", "/data/keyring")
        .output();
    assert!(text(&inside.unwrap().stderr).contains("data directory"));
}

#[test]
fn a_keyring_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keyring");
    fs::write(&file, run(&["keyring", "new", "k"]).stdout).unwrap();
    let check = |mode| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        godwit(&["keyring", "check"]).env("GODWIT_KEYRING", &file).output().unwrap()
    };
    assert_eq!(text(&check(0o600).stdout), "k\n");
    assert!(text(&check(0o644).stderr).contains("0600"));
}
