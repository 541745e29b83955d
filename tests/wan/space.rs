//! Namespaces for a test: it starts itself again as the first process of a network, process and mount
//! namespace of its own. When that process ends, however it ends, the kernel ends all that it started
//! and takes the networks away, so nothing is left behind.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The folder of the test, and the mark that it runs inside.
const FOLDER: &str = "WAN_FOLDER";

/// With rights of their own, and with those of a user namespace.
const WAYS: [&[&str]; 2] = [&[], &["--map-root-user"]];

fn unshare(way: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(way).args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command
}

/// The way that works here, or why none does.
fn way() -> Result<&'static [&'static str], String> {
    let mut why = String::new();
    for way in WAYS {
        let probe = "nsenter --version && ip link add wan0 type veth peer name wan1";
        match unshare(way).args(["sh", "-c", probe]).output() {
            Ok(output) if output.status.success() => return Ok(way),
            Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => why = format!("unshare: {error}"),
        }
    }
    Err(format!("no network namespaces with `unshare` and `ip` (util-linux, iproute2): {why}"))
}

/// Runs `body` inside; `name` is the test's. Where there are no namespaces it says so and does not
/// run, but in CI that is a failure.
pub fn inside(name: &str, body: impl FnOnce(&Path)) {
    if let Some(folder) = env::var_os(FOLDER) {
        end_with_the_outer();
        run("ip", &["link", "set", "lo", "up"]);
        return body(Path::new(&folder));
    }
    let way = match way() {
        Ok(way) => way,
        Err(why) if env::var("CI").as_deref() == Ok("true") => panic!("{name}: {why}"),
        Err(why) => {
            // Past the capture of the test harness: a test that did not run is not silent.
            let told = writeln!(std::io::stderr(), "NOT RUN: {name}: {why}");
            return told.unwrap();
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let mut inner = unshare(way)
        .arg(env::current_exe().unwrap())
        .args([name, "--exact", "--include-ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Waiting would close the pipe; it stays open as long as this process lives.
    let pipe = inner.stdin.take();
    let status = inner.wait().unwrap();
    drop(pipe);
    if status.success() {
        return;
    }
    let kept = folder.keep();
    panic!("{name}: {status}; logs and data of all regions are in {}", kept.display());
}

/// The outer process holds the other end of this one's input; when it is gone, so is this one.
fn end_with_the_outer() {
    std::thread::spawn(|| {
        // An error is an end as well.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
}

/// Runs a command to its end.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// A network namespace, as long as its process lives.
pub struct Network {
    holder: Child,
}

impl Network {
    pub fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "ip link set lo up && echo && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "\n", "no network namespace");
        Self { holder }
    }

    /// A command inside. It becomes the program itself, so its process id is the program's.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--net", "--", program]);
        command
    }

    /// A cable from here, with these addresses, to inside, with that one.
    pub fn connect(&self, name: &str, here: &[String], there: &str) {
        let id = self.holder.id().to_string();
        run("ip", &["link", "add", name, "type", "veth", "peer", "name", "wan", "netns", &id]);
        for address in here {
            run("ip", &["address", "add", address, "dev", name]);
        }
        run("ip", &["link", "set", name, "up"]);
        for inside in [&["address", "add", there, "dev", "wan"][..], &["link", "set", "wan", "up"]]
        {
            let output = self.command("ip").args(inside).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
