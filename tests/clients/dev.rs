//! A `godwit dev` of the built binary, for one test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Deserialize;

/// What `godwit dev --json` prints.
#[derive(Deserialize)]
#[allow(dead_code, reason = "not every test that includes this file needs it")]
pub struct Announced {
    pub endpoint: String,
    pub console: String,
    pub access_key: String,
    pub secret_key: String,
    pub regions: Vec<Region>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "not every test that includes this file needs it")]
pub struct Region {
    pub code: String,
    pub s3: String,
    pub admin: String,
    pub pid: u32,
}

/// A running cluster; dropped, it is stopped as by Ctrl-C.
pub struct Dev {
    pub announced: Announced,
    pub port: u16,
    child: Child,
}

impl Dev {
    /// A cluster on ports that are free.
    pub fn start(arguments: &[&str], log: &Path) -> Self {
        Self::start_in(arguments, log, &std::env::temp_dir())
    }

    /// As [`Dev::start`], with its temporary directories in `folder`.
    #[allow(dead_code, reason = "not every test that includes this file needs it")]
    pub fn start_in(arguments: &[&str], log: &Path, folder: &Path) -> Self {
        let port = free_ports().to_string();
        let arguments = [&["--port", port.as_str()], arguments].concat();
        Self::spawn(&arguments, log, folder, &[])
    }

    /// As [`Dev::start`], with settings as environment variables.
    #[allow(dead_code, reason = "not every test that includes this file needs it")]
    pub fn start_with(arguments: &[&str], log: &Path, settings: &[(&str, &str)]) -> Self {
        let port = free_ports().to_string();
        let arguments = [&["--port", port.as_str()], arguments].concat();
        Self::spawn(&arguments, log, &std::env::temp_dir(), settings)
    }

    /// A cluster whose directory says the ports.
    #[allow(dead_code, reason = "not every test that includes this file needs it")]
    pub fn resume(arguments: &[&str], log: &Path) -> Self {
        Self::spawn(arguments, log, &std::env::temp_dir(), &[])
    }

    /// As [`Dev::resume`]; `None` where it ends before it is up.
    #[allow(dead_code, reason = "not every test that includes this file needs it")]
    pub fn try_resume(arguments: &[&str], log: &Path) -> Option<Self> {
        Self::try_spawn(arguments, log, &std::env::temp_dir(), &[]).ok()
    }

    fn spawn(arguments: &[&str], log: &Path, temporary: &Path, settings: &[(&str, &str)]) -> Self {
        Self::try_spawn(arguments, log, temporary, settings).unwrap_or_else(|why| {
            let log = fs::read_to_string(log).unwrap_or_default();
            panic!("{why}\n{log}")
        })
    }

    fn try_spawn(
        arguments: &[&str],
        log: &Path,
        temporary: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_godwit"))
            .args(["dev", "--json"])
            .args(arguments)
            .env("TMPDIR", temporary)
            .envs(settings.iter().copied())
            // With a line for each request.
            .env("GODWIT_LOG", "info,godwit::s3=debug")
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let announced: Result<Announced, _> = serde_json::from_str(&line);
        let announced = announced.map_err(|error| {
            let _ = child.kill();
            let _ = child.wait();
            format!("`godwit dev` said `{line}`: {error}")
        })?;
        let port = announced.endpoint.rsplit(':').next().unwrap().parse().unwrap();
        Ok(Self { announced, port, child })
    }

    /// The variables that S3 tools read.
    pub fn variables(&self) -> [(&'static str, String); 6] {
        [
            ("AWS_ACCESS_KEY_ID", self.announced.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.announced.secret_key.clone()),
            ("AWS_ENDPOINT_URL_S3", self.announced.endpoint.clone()),
            ("AWS_REGION", "auto".to_owned()),
            ("AWS_DEFAULT_REGION", "auto".to_owned()),
            ("HOST_PORT", self.port.to_string()),
        ]
    }

    /// kill -9: it ends where it stands.
    #[allow(dead_code, reason = "not every test that includes this file needs it")]
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it as Ctrl-C does, and demands that it ends well.
    pub fn stop(mut self) {
        signal(&self.child, "INT");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "`godwit dev` ended with {status}");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal(&self.child, "TERM");
            let _ = self.child.wait();
        }
    }
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let status = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
    assert!(status.success());
}

/// The first of twenty neighbouring ports that are all free. They lie below those that the system
/// hands out by itself: there, connections that were closed a moment ago still occupy many.
pub fn free_ports() -> u16 {
    static BLOCK: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1000 {
        let block = BLOCK.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id() * 31);
        let first = 10_000 + u16::try_from(block % 1000 * 20).unwrap();
        let free = (first..first + 20).all(|port| {
            TcpListener::bind(("127.0.0.1", port)).is_ok()
                && UdpSocket::bind(("127.0.0.1", port)).is_ok()
        });
        if free {
            return first;
        }
    }
    panic!("no twenty neighbouring ports are free")
}
