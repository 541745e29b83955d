//! Keys as registers: clients of all regions write the same few keys under conditions, delete them and
//! read them strongly. Whatever they were told, some order of all operations explains it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::client::Client;
use super::linear::{Answer, Fault, History, Op};
use super::progress::Progress;
use super::random::Random;
use super::site::ask;

pub const BUCKET: &str = "/registers";

/// Keys in use at a time, so that clients meet.
const KEYS: usize = 2;
/// Operations on a key before another takes its place: long histories are hard to judge.
const OPERATIONS: usize = 80;

/// Each write's number is its value.
type Value = u64;

#[derive(Default)]
struct Keys {
    histories: Vec<History<Value>>,
    values: Value,
}

/// What all clients write down together: the order of its lock is the order of time.
#[derive(Default)]
pub struct Registers(Mutex<Keys>);

/// One client of one region.
struct Caller {
    region: usize,
    client: Client,
    random: Random,
    /// What it last saw of each key: the value and its entity tag.
    seen: HashMap<usize, (Value, String)>,
    registers: Arc<Registers>,
    progress: Arc<Progress>,
}

/// One operation of a caller.
struct Step {
    key: usize,
    /// Its number in the key's history.
    number: usize,
    op: Op<Value>,
    /// For a condition.
    etag: String,
}

/// Large enough for bytes of its own now and then.
fn body(value: Value) -> String {
    let len = if value.is_multiple_of(4) { 20_000 } else { 40 };
    format!("{value};{}", "x".repeat(len))
}

fn value_of(body: &[u8]) -> Value {
    let text = std::str::from_utf8(body).unwrap();
    let value = text.split(';').next().unwrap().parse().unwrap();
    assert!(text == self::body(value), "a body of two writes");
    value
}

/// Clients on this registers' keys until the end is called.
pub async fn run(
    registers: Arc<Registers>,
    (region, client): (usize, Client),
    seed: u64,
    progress: Arc<Progress>,
) {
    let random = Random::new(seed ^ 0xabcd ^ (region as u64) << 32);
    let seen = HashMap::new();
    let mut caller = Caller { region, client, random, seen, registers, progress };
    while !caller.progress.ended() {
        let pause = if caller.step().await { 30 } else { 500 };
        // Leaves the machine to the others, and a node that is away some time.
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

impl Caller {
    /// Chooses an operation and begins it.
    fn begin(&mut self) -> Step {
        let mut keys = self.registers.0.lock().unwrap();
        while keys.histories.iter().filter(|h| h.len() < OPERATIONS).count() < KEYS {
            keys.histories.push(History::default());
        }
        let open: Vec<usize> =
            (0..keys.histories.len()).filter(|k| keys.histories[*k].len() < OPERATIONS).collect();
        let key = open[self.random.below(open.len())];
        keys.values += 1;
        let (value, seen) = (keys.values, self.seen.get(&key).cloned());
        let (op, etag) = match (self.random.below(20), seen) {
            (4 | 5, Some((expected, etag))) => (Op::DeleteIfMatch(expected), etag),
            (6..=8, _) => (Op::PutIfAbsent(value), String::new()),
            (9, _) => (Op::Put(Some(value)), String::new()),
            (10, _) => (Op::Put(None), String::new()),
            (12, _) => (Op::DeleteIfPresent, String::new()),
            (11, _) => (Op::Plain(Some(value)), String::new()),
            // Who knows nothing of the key reads it first, mostly.
            (0..=3, _) | (_, None) => (Op::Read, String::new()),
            (_, Some((expected, etag))) => (Op::PutIfMatch { expected, new: value }, etag),
        };
        let number = keys.histories[key].begin(op.clone());
        Step { key, number, op, etag }
    }

    /// One operation; whether it was answered.
    async fn step(&mut self) -> bool {
        let step = self.begin();
        let path = format!("{BUCKET}/{}", step.key);
        let call = match &step.op {
            Op::Read => self.client.call("GET", &path),
            Op::DeleteIfMatch(_) | Op::DeleteIfPresent | Op::Put(None) | Op::Plain(None) => {
                self.client.call("DELETE", &path)
            }
            Op::PutIfAbsent(new)
            | Op::PutIfMatch { new, .. }
            | Op::Put(Some(new))
            | Op::Plain(Some(new)) => self.client.call("PUT", &path).body(body(*new)),
        };
        let call = match &step.op {
            Op::Read | Op::Put(_) => call.header("x-godwit-consistent", "true"),
            Op::DeleteIfMatch(_) | Op::PutIfMatch { .. } => call.header("if-match", &step.etag),
            Op::PutIfAbsent(_) => call.header("if-none-match", "*"),
            Op::DeleteIfPresent => call.header("if-match", "*"),
            Op::Plain(_) => call,
        };
        let answer = ask(call).await;
        let etag = answer.as_ref().and_then(|answer| answer.header("etag")).map(str::to_owned);
        let told = match answer.as_ref().map(|answer| (answer.code(), &step.op)) {
            None | Some(((503, _) | (409, "ConditionalRequestConflict"), _)) => Answer::Unknown,
            Some(((200, _), Op::Read)) => {
                Answer::Saw(Some(value_of(&answer.as_ref().unwrap().body)))
            }
            Some(((404, "NoSuchKey"), Op::Read)) => Answer::Saw(None),
            Some(((200 | 204, _), _)) => Answer::Done,
            Some(((412, _) | (404, "NoSuchKey"), _)) => Answer::Refused,
            Some((code, op)) => panic!("{op:?} was answered {code:?}"),
        };
        self.learn(&step, &told, etag);
        let answered = told != Answer::Unknown;
        self.registers.0.lock().unwrap().histories[step.key].end(step.number, told);
        answered
    }

    /// What it knows of the key from now on.
    fn learn(&mut self, step: &Step, told: &Answer<Value>, etag: Option<String>) {
        let value = match (&step.op, told) {
            (
                Op::PutIfAbsent(value) | Op::PutIfMatch { new: value, .. } | Op::Put(Some(value)),
                Answer::Done,
            )
            | (Op::Read, Answer::Saw(Some(value))) => Some(*value),
            _ => None,
        };
        match (value.zip(etag), told) {
            (Some(seen), _) => drop(self.seen.insert(step.key, seen)),
            // Another one has written; the next one reads or creates.
            (None, Answer::Refused | Answer::Saw(None) | Answer::Done) => {
                self.seen.remove(&step.key);
            }
            (None, _) => {}
        }
        self.progress.count(match told {
            Answer::Done => "registers written",
            Answer::Refused => "registers refused",
            Answer::Saw(_) => "registers read",
            Answer::Unknown => "registers open",
        });
        if *told != Answer::Unknown {
            self.progress.answered(self.region);
        }
    }
}

impl Registers {
    /// Judges every key's history; gives the number of operations.
    pub fn check(&self) -> usize {
        let keys = self.0.lock().unwrap();
        let mut operations = 0;
        for (key, history) in keys.histories.iter().enumerate() {
            match history.check() {
                Ok(explained) => operations += explained.operations,
                Err(Fault::NotLinearizable(story)) => {
                    panic!("key {key} has no order that explains its answers:\n{story}")
                }
                Err(Fault::TooHard(story)) => panic!("key {key} was not judged:\n{story}"),
            }
        }
        operations
    }
}
