//! Live screens in a pseudo terminal: what is on them, keys, sizes, and how the terminal is given
//! back.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{World, eventually, s3, text};

const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal's screens, as the escape sequences that are used here say.
#[derive(Default)]
struct Screen {
    lines: Vec<Vec<char>>,
    /// What is below a screen of its own.
    below: Option<Vec<Vec<char>>>,
    at: (usize, usize),
    /// Letters were coloured.
    coloured: bool,
    cursor_hidden: bool,
    /// The beginning of a sequence whose end did not come yet.
    rest: Vec<u8>,
}

impl Screen {
    fn feed(&mut self, bytes: &[u8]) {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&all) {
            Ok(_) => all.len(),
            Err(error) => error.valid_up_to(),
        };
        self.rest = all.split_off(whole);
        let text = String::from_utf8(all).unwrap();
        let mut left = text.as_str();
        while let Some(c) = left.chars().next() {
            let Some(sequence) = left.strip_prefix("\x1b[") else {
                left = &left[c.len_utf8()..];
                self.put(c);
                continue;
            };
            let Some(end) = sequence.find(|c: char| ('@'..='~').contains(&c)) else {
                self.rest.splice(0..0, left.bytes());
                return;
            };
            self.obey(&sequence[..end], sequence.as_bytes()[end]);
            left = &sequence[end + 1..];
        }
    }

    fn put(&mut self, c: char) {
        match c {
            '\r' => self.at.1 = 0,
            '\n' => self.at.0 += 1,
            _ => {
                let (row, column) = self.at;
                if self.lines.len() <= row {
                    self.lines.resize(row + 1, Vec::new());
                }
                if self.lines[row].len() <= column {
                    self.lines[row].resize(column + 1, ' ');
                }
                self.lines[row][column] = c;
                self.at.1 += 1;
            }
        }
    }

    fn obey(&mut self, how: &str, what: u8) {
        let mut numbers = how.split(';').map(|number| number.parse::<usize>().unwrap_or(1));
        match (what, how) {
            (b'H', _) => {
                let mut next = || numbers.next().unwrap_or(1).max(1) - 1;
                self.at = (next(), next());
            }
            (b'J', _) => self.lines.clear(),
            (b'm', _) => self.coloured |= numbers.any(|n| matches!(n, 30..=38 | 90..=97)),
            (b'h', "?1049") => self.below = Some(std::mem::take(&mut self.lines)),
            (b'l', "?1049") => self.lines = self.below.take().unwrap_or_default(),
            (b'h' | b'l', "?25") => self.cursor_hidden = what == b'l',
            _ => {}
        }
    }

    fn text(&self) -> String {
        self.lines.iter().map(|line| line.iter().collect::<String>() + "\n").collect()
    }
}

/// A command in a terminal of its own, 80 by 24.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    written: Receiver<Vec<u8>>,
    screen: Screen,
}

impl Terminal {
    /// The command's process id and terminal are told first; at its end its exit code, and how the
    /// terminal is set.
    fn open(world: &World, command: &str, set: &[(&str, &str)]) -> Self {
        let script = format!(
            "stty rows 24 cols 80; echo terminal $(tty) .; sh -c 'echo process $$ .; exec {command}'; \
             echo ended with $? .; stty -a"
        );
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_godwit")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let mut child = Command::new("script")
            .args(["-qefc", &script, "/dev/null"])
            .current_dir(world.file(""))
            .envs(world.dev.variables())
            .env_remove("NO_COLOR")
            .env("GODWIT_CONTEXTS", "/nowhere/contexts.toml")
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm-256color")
            .env("PATH", path)
            .envs(set.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut output, keys) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
        let (send, written) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                if send.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, written, screen: Screen::default() }
    }

    /// Waits until the screen is so.
    #[track_caller]
    fn until(&mut self, what: &str, is: impl Fn(&Screen, &str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let text = self.screen.text();
            if is(&self.screen, &text) {
                return text;
            }
            assert!(began.elapsed() < PATIENCE, "never: {what}\n{text}");
            if let Ok(bytes) = self.written.recv_timeout(Duration::from_millis(100)) {
                self.screen.feed(&bytes);
            }
        }
    }

    #[track_caller]
    fn shows(&mut self, words: &[&str]) -> String {
        let all = |_: &Screen, text: &str| words.iter().all(|word| text.contains(word));
        self.until(&format!("{words:?}"), all)
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// A word that was told before the command began.
    fn told(&mut self, name: &str) -> String {
        let text = self.until(name, |screen, text| {
            let below = screen.below.iter().flatten().map(|line| line.iter().collect::<String>());
            text.contains(name) || below.into_iter().any(|line| line.contains(name))
        });
        let below = self.screen.below.iter().flatten();
        let below: String = below.map(|line| line.iter().collect::<String>() + "\n").collect();
        let words = text + &below;
        words.split(name).nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    }

    /// Waits for its end; the terminal has to be as it was before.
    #[track_caller]
    fn ends(mut self, code: &str) {
        let text = self.shows(&[&format!("ended with {code} ."), "-tostop"]);
        let ended = text.split("ended with").nth(1).unwrap();
        assert!(ended.contains(" icanon") && ended.contains(" echo "), "raw no more: {ended}");
        assert!(self.screen.below.is_none(), "the screen of its own is gone");
        assert!(!self.screen.cursor_hidden);
        self.child.wait().unwrap();
    }
}

fn client_at(world: &World, code: &str) -> s3::Client {
    let announced = &world.dev.announced;
    let region = announced.regions.iter().find(|region| region.code == code).unwrap();
    s3::Client::new(&region.s3, &announced.access_key, &announced.secret_key)
}

#[test]
fn top_is_live_in_a_terminal_and_gives_it_back_as_it_was() {
    let world = World::start();
    world.ok(&["bucket", "create", "demo"]);
    let mut top = Terminal::open(&world, "godwit top --every 1", &[]);
    let terminal = top.told("terminal ");
    top.shows(&["1 region", "req/s", "behind", "here", "q end"]);
    assert!(top.screen.cursor_hidden && top.screen.below.is_some());
    assert!(top.screen.coloured);
    top.press("2");
    eventually("requests are seen", || {
        world.client().send("GET", "/demo?list-type=2", &[], b"");
        if let Ok(bytes) = top.written.recv_timeout(Duration::from_millis(100)) {
            top.screen.feed(&bytes);
        }
        top.screen.text().contains("ListObjectsV2").then_some(())
    });
    // Right, as terminals send it.
    top.press("\x1b[C");
    top.shows(&["trouble", "bodies", "live"]);
    top.press("?");
    top.shows(&["turn the order round", "pause, and go on"]);
    top.press("?1");
    let narrow = top.until("the regions", |_, text| text.contains("cache"));
    assert!(!narrow.contains("queued"), "80 characters have no room for it: {narrow}");
    let sized = Command::new("stty").args(["-F", &terminal, "rows", "30", "cols", "120"]).status();
    assert!(sized.unwrap().success());
    top.shows(&["queued"]);
    top.press("p");
    top.shows(&["paused"]);
    top.press("q");
    top.ends("0");
    world.end();
}

#[test]
fn interrupted_and_ended_from_outside_it_gives_the_terminal_back_too() {
    let world = World::start();
    let mut top = Terminal::open(&world, "godwit top", &[("NO_COLOR", "1")]);
    top.shows(&["req/s", "q end"]);
    assert!(!top.screen.coloured, "NO_COLOR is kept to");
    top.press("\x03");
    top.ends("130");

    let mut top = Terminal::open(&world, "godwit top", &[]);
    top.shows(&["req/s", "q end"]);
    let process = top.told("process ");
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    top.ends("130");

    // On a terminal that cannot be drawn on it is a table.
    let mut top = Terminal::open(&world, "godwit top --every 1", &[("TERM", "dumb")]);
    top.shows(&["all regions", "region"]);
    assert!(top.screen.below.is_none());
    let process = top.told("process ");
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    top.ends("130");
    world.end();
}

#[test]
fn status_and_where_go_on_and_mark_what_moved() {
    let world = World::with(&["--regions", "iad,fra,nrt"]);
    world.ok(&["bucket", "create", "moving"]);
    let put = client_at(&world, "iad").send("PUT", "/moving/key", &[], &[7; 9000]);
    assert_eq!(put.status, 200, "{}", put.text());

    let mut whereabouts =
        Terminal::open(&world, "godwit where --watch --every 1 s3://moving/key", &[]);
    let first = whereabouts.shows(&["s3://moving/key", "primary", "a copy"]);
    assert!(!first.contains("was nothing"), "{first}");
    let shown: Value = world.json(&["where", "s3://moving/key"]);
    let holds =
        |code: &str| shown["holders"].as_array().unwrap().iter().any(|holder| holder == code);
    let reader = ["iad", "fra", "nrt"].into_iter().find(|code| !holds(code)).unwrap();
    let got = client_at(&world, reader).send("GET", "/moving/key", &[], b"");
    assert_eq!(got.status, 200, "{}", got.text());
    whereabouts.shows(&[reader, "was nothing"]);
    whereabouts.press("q");
    whereabouts.ends("0");

    let mut status = Terminal::open(&world, "godwit status --watch --every 1", &[]);
    status.until("all are there", |_, text| text.matches("connected").count() == 2);
    world.ok(&["dev", "cut", "nrt"]);
    status.shows(&["away", "was connected"]);
    world.ok(&["dev", "join", "nrt"]);
    status.shows(&["was away"]);
    status.press("q");
    status.ends("0");

    // In a pipe each look is a line.
    let mut command = world.command(&["status", "--watch", "--every", "1", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(2);
    for line in lines {
        let look: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(look["regions"].as_array().unwrap().len(), 3);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let wrong = world.run(&["status", "--every", "1"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
    world.end();
}
