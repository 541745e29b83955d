//! The command line and the admin API from outside, against the built binary.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]
#![allow(unreachable_pub, reason = "modules of a test program")]

mod admin;
mod alerts;
mod audit;
mod backup;
mod certs;
mod cluster;
mod compact;
mod contexts;
mod dashboard;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../clients/dev.rs"]
mod dev;
mod everywhere;
mod manual;
mod objects;
mod observe;
mod offline;
mod panels;
mod place;
mod play;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../dev/s3.rs"]
mod s3;
mod schema;
mod screens;
mod slow;
mod trace;
mod traces;
mod transfers;
mod undo;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use dev::Dev;
use s3::Client;

/// A command that sees nothing of the machine's own settings.
fn godwit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_godwit"));
    command.args(arguments);
    for (name, _) in std::env::vars() {
        if ["AWS_", "GODWIT_", "FLY_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.env("GODWIT_CONTEXTS", "/nowhere/contexts.toml");
    command
}

fn run(arguments: &[&str]) -> Output {
    godwit(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What a command printed that has to have worked.
#[track_caller]
fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One region in a process, and a folder for files.
struct World {
    dev: Dev,
    /// Its log, and the files of the test, in a folder that commands run in.
    folder: TempDir,
}

impl World {
    fn start() -> Self {
        Self::with(&["--regions", "1"])
    }

    fn with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dev = Dev::start(arguments, &folder.path().join("godwit.log"));
        fs::create_dir(folder.path().join("work")).unwrap();
        Self { dev, folder }
    }

    /// A file of the test, by its name in the folder.
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    /// A command in the folder, with the first key.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = godwit(arguments);
        command.current_dir(self.file("")).envs(self.dev.variables()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command prints that has to work.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout).to_owned()
    }

    /// The document that a command prints with `--json`.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let shown = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&shown).unwrap_or_else(|why| panic!("{arguments:?}: {why}: {shown}"))
    }

    /// Stops it, and demands that it ends well.
    fn end(self) {
        self.dev.stop();
    }

    /// A client with the first key.
    fn client(&self) -> Client {
        let announced = &self.dev.announced;
        Client::new(&announced.endpoint, &announced.access_key, &announced.secret_key)
    }
}

/// Asks until it is so, for at most 30 s.
fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What is made of the program is what stands in the repository.
fn assert_kept(file: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("GODWIT_UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "{file} is not what the program says; GODWIT_UPDATE=1 writes it");
}
