//! The web console in a real browser: Debian's Chromium, driven by `console/web/test/e2e.mjs`,
//! against a running `godwit dev`. What is spoken below the page is tested in `tests/dev`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]
#![allow(unreachable_pub, reason = "modules of a test program")]

#[path = "../clients/dev.rs"]
#[allow(dead_code, reason = "this test needs a part of it")]
mod dev;
mod hook;

use std::path::{Path, PathBuf};
use std::process::Command;

use dev::Dev;

fn web() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/web")
}

/// What is missing of what the browser's part needs.
fn missing() -> Option<String> {
    let chromium = std::env::var("GODWIT_CHROMIUM");
    let chromium = chromium.unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    if !Path::new(&chromium).exists() {
        return Some(format!("{chromium} (apt-get install chromium, or say GODWIT_CHROMIUM)"));
    }
    if Command::new("node").arg("--version").output().is_err() {
        return Some("node".to_owned());
    }
    let packages = web().join("node_modules/playwright-core");
    (!packages.exists()).then(|| "its packages (npm ci in src/console/web)".to_owned())
}

#[test]
fn every_feature_works_in_a_browser_and_is_accessible() {
    if let Some(what) = missing() {
        assert!(std::env::var_os("CI").is_none(), "CI has no {what}");
        eprintln!("skipped: the console in a browser needs {what}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let hook = hook::Hook::start();
    let webhooks = format!("console={}", hook.url());
    let settings = [("GODWIT_NOTIFY_WEBHOOKS", webhooks.as_str())];
    let log = folder.path().join("godwit.log");
    let dev = Dev::start_with(&["--regions", "iad,fra,nrt"], &log, &settings);
    let announced = &dev.announced;
    let mut script = Command::new("node");
    script
        .arg(web().join("test/e2e.mjs"))
        .env("TMPDIR", folder.path())
        .env("GODWIT_CONSOLE", &announced.console)
        .env("GODWIT_ENDPOINT", &announced.endpoint)
        .env("GODWIT_KEY", &announced.access_key)
        .env("GODWIT_SECRET", &announced.secret_key);
    let output = script.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains(", 0 failed") && !said.contains("\n0 passed"), "{said}");
    hook.wait_for("of.txt", &["ObjectCreated:Put", "ObjectRemoved:Delete"]);
    dev.stop();
}
