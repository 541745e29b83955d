//! `godwit cp` and `sync` beside s5cmd: the same files, to and from the same node, one after the other
//! in turns, in one run.
//!
//! `cargo bench --bench transfer` runs everything; `cargo bench --bench transfer -- small` what
//! matches. `TRANSFER_SHARE=20` takes a twentieth of each, `TRANSFER_ROUNDS` (default 4, so that each
//! is as often the first) is how often each is measured; the median counts. s5cmd is the program that
//! `S5CMD` names, or the one of `cargo test --test clients s5cmd`.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measuring program: it reads real clocks, runs processes and ends on the first error"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Name, files, bytes of each.
const SETS: &[(&str, u64, u64)] = &[
    ("small: 4 KiB", 2000, 4 << 10),
    ("middle: 8 MiB", 40, 8 << 20),
    ("large: 512 MiB", 1, 512 << 20),
];

const TOOLS: [&str; 2] = ["godwit", "s5cmd"];

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |n| n.parse().unwrap());
    let (share, rounds) = (number("TRANSFER_SHARE", 1), number("TRANSFER_ROUNDS", 4));
    let folder = tempfile::Builder::new()
        .prefix("godwit-transfer")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap();
    let mut world = World::start(folder.path());
    println!(
        "{:<24} {:<6} {:>9} {:>9} {:>7} {:>9} {:>9}",
        "what", "way", "godwit s", "s5cmd s", "ratio", "cpu s", "cpu s"
    );
    for (name, files, bytes) in SETS {
        if !filter.is_empty() && !filter.iter().any(|wanted| name.contains(wanted.as_str())) {
            continue;
        }
        // A share of one large file is a smaller file.
        let (files, bytes) = match *files {
            1 => (1, (bytes / share).max(1)),
            files => ((files / share).max(1), *bytes),
        };
        world.measure(&format!("{files} x {name}"), (files, bytes), rounds);
    }
    world.server.kill().unwrap();
    world.server.wait().unwrap();
}

/// Seconds of one run, by the clock and of the processor.
type Took = (f64, f64);

struct World {
    folder: PathBuf,
    s5cmd: PathBuf,
    server: Child,
    variables: Vec<(&'static str, String)>,
}

impl World {
    fn start(folder: &Path) -> Self {
        let s5cmd = s5cmd();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new(env!("CARGO_BIN_EXE_godwit"))
            .args(["dev", "--regions", "1", "--no-wan", "--json", "--port", &port.to_string()])
            .arg("--data")
            .arg(folder.join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let endpoint = text(&ready["regions"][0]["s3"]);
        let variables = vec![
            ("AWS_ENDPOINT_URL_S3", endpoint.clone()),
            ("S3_ENDPOINT_URL", endpoint),
            ("AWS_ACCESS_KEY_ID", text(&ready["access_key"])),
            ("AWS_SECRET_ACCESS_KEY", text(&ready["secret_key"])),
            ("AWS_REGION", "us-east-1".to_owned()),
        ];
        let world = Self { folder: folder.to_owned(), s5cmd, server, variables };
        world.run("godwit", &["bucket", "create", "bench"]);
        world
    }

    fn run(&self, tool: &str, arguments: &[&str]) -> Took {
        let program = match tool {
            "godwit" => Path::new(env!("CARGO_BIN_EXE_godwit")),
            _ => &self.s5cmd,
        };
        let (cpu, began) = (children_cpu_s(), Instant::now());
        let status = Command::new(program)
            .args(arguments)
            .current_dir(&self.folder)
            .env_remove("AWS_CA_BUNDLE")
            .envs(self.variables.iter().map(|(name, value)| (*name, value)))
            .stdout(Stdio::null())
            .status()
            .unwrap();
        let took = began.elapsed().as_secs_f64();
        assert!(status.success(), "{tool} {arguments:?}: {status}");
        (took, children_cpu_s() - cpu)
    }

    /// All ways of one set of files, both tools in turns.
    fn measure(&mut self, name: &str, (files, bytes): (u64, u64), rounds: u64) {
        let source = self.folder.join("source");
        fill(&source, files, bytes);
        let mut took: [[Vec<Took>; 2]; 3] = Default::default();
        for round in 0..rounds {
            for turn in 0..2 {
                // Who is first changes, because the first one may find something warm or cold.
                let which = usize::try_from((round + turn) % 2).unwrap();
                let (up, same, down) = self.once(TOOLS[which], round);
                took[0][which].push(up);
                took[1][which].push(down);
                took[2][which].push(same);
                let back = self.folder.join("back");
                assert_eq!(held(&back), files * bytes, "{}", TOOLS[which]);
                self.put_away(&back, files, &format!("{round}-{turn}"));
            }
        }
        for (way, [own, other]) in ["up", "down", "sync"].iter().zip(&took) {
            let (own, other) = (median(own), median(other));
            println!(
                "{name:<24} {way:<6} {:>9.3} {:>9.3} {:>7.2} {:>9.2} {:>9.2}",
                own.0,
                other.0,
                own.0 / other.0,
                own.1,
                other.1
            );
            std::io::stdout().flush().unwrap();
        }
        fs::remove_dir_all(source).unwrap();
        let _ = fs::remove_dir_all(self.folder.join("away"));
    }

    /// Many files are kept until the set is measured: ext4 looks at every inode that was deleted of
    /// late (`recently_deleted`) before it gives a new file one, so that who comes after a deletion
    /// of thousands would be measured by that.
    fn put_away(&self, back: &Path, files: u64, name: &str) {
        if files < 100 {
            fs::remove_dir_all(back).unwrap();
            return;
        }
        let away = self.folder.join("away");
        fs::create_dir_all(&away).unwrap();
        fs::rename(back, away.join(name)).unwrap();
    }

    /// Up, nothing to do, down.
    fn once(&self, tool: &str, round: u64) -> (Took, Took, Took) {
        let to = format!("s3://bench/{tool}-{round}");
        let (up, same, down): (Vec<&str>, Vec<&str>, Vec<&str>);
        let (slash, all) = (format!("{to}/"), format!("{to}/*"));
        match tool {
            "godwit" => {
                up = vec!["cp", "-q", "-r", "source", &to];
                same = vec!["sync", "-q", "source", &to];
                down = vec!["cp", "-q", "-r", &to, "back"];
            }
            _ => {
                up = vec!["--log", "error", "cp", "source/*", &slash];
                same = vec!["--log", "error", "sync", "source/", &slash];
                down = vec!["--log", "error", "cp", &all, "back/"];
            }
        }
        let took = (self.run(tool, &up), self.run(tool, &same), self.run(tool, &down));
        self.run("godwit", &["rm", "-q", "-r", "-y", &slash]);
        took
    }
}

/// The one of `S5CMD`, or of the tests of clients: the program itself, not the script that starts it.
fn s5cmd() -> PathBuf {
    if let Some(named) = std::env::var_os("S5CMD") {
        return named.into();
    }
    let lib = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-venv/lib");
    let pythons = fs::read_dir(lib).into_iter().flatten().flatten();
    let mut all = pythons.map(|python| python.path().join("site-packages/s5cmd/bin/s5cmd"));
    all.find(|program| program.is_file())
        .expect("no s5cmd: `cargo test --test clients s5cmd` gets it, or S5CMD names it")
}

/// Files whose bytes cannot be squeezed, in folders of 500.
fn fill(folder: &Path, files: u64, bytes: u64) {
    let mut state = 1_u64;
    let mut block = vec![0; 1 << 20];
    for number in 0..files {
        let folder = folder.join(format!("{:03}", number / 500));
        fs::create_dir_all(&folder).unwrap();
        let mut file = fs::File::create(folder.join(format!("{number:06}"))).unwrap();
        let mut left = bytes;
        while left > 0 {
            for word in block.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes());
            }
            let len = left.min(block.len() as u64);
            file.write_all(&block[..usize::try_from(len).unwrap()]).unwrap();
            left -= len;
        }
    }
    // What was not written yet would be written while the first program is measured.
    let synced = Command::new("sync").arg("-f").arg(folder).status().unwrap();
    assert!(synced.success(), "{synced}");
}

/// Bytes of all files below a folder.
fn held(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => held(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

/// Processor time of the processes that ended, in seconds. Source: proc(5), `cutime` and `cstime`, in
/// hundredths of a second.
fn children_cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |n: usize| fields[n].parse::<f64>().unwrap();
    (ticks(13) + ticks(14)) / 100.0
}

fn median(all: &[Took]) -> Took {
    let mut all = all.to_vec();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
    ((low.0 + high.0) / 2.0, (low.1 + high.1) / 2.0)
}
