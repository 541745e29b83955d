//! A second reader of each parser: inputs that are nearly right, over real HTTP, until the time is
//! up. Whatever comes is answered, and never with an error of the server's own; what is accepted is
//! shown and accepted again. Paths, queries and headers are signed by the SDK's own signer, whose
//! canonical form must be this program's.
//!
//! `corpus/TARGET/*` is what each target begins with; inputs that found something stay there.
//! `just fuzz TARGET 600` runs one of them for ten minutes; `GODWIT_SEED` repeats a run.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test has a clock and panics")]
#![allow(unreachable_pub, dead_code, reason = "modules of a test program")]
#![allow(clippy::print_stdout, reason = "a run says what it did")]

mod bodies;
#[path = "../common/mod.rs"]
mod common;
mod heads;
mod mutate;
mod signed;

use std::cell::RefCell;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs};

use futures_util::future::join_all;

use common::client::{Answer, Call};
use mutate::Inputs;

/// How long each target runs in the usual tests.
const SECONDS: u64 = 1;

/// Inputs under way at once: each waits for the disk, and many share one sync. Lane N has what is
/// called `N` of its own.
pub const LANES: usize = 8;

/// One run of one target.
pub struct Run {
    target: &'static str,
    seed: u64,
    lasts: Duration,
    work: RefCell<Work>,
}

struct Work {
    /// Of the corpus, to be sent as it is.
    first: Vec<Vec<u8>>,
    inputs: Inputs,
    until: Option<Instant>,
    accepted: usize,
    refused: usize,
}

impl Run {
    /// `None` where another target is asked for.
    pub fn of(target: &'static str) -> Option<Self> {
        if env::var("GODWIT_FUZZ").is_ok_and(|only| only != target) {
            return None;
        }
        let folder = format!("{}/tests/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let files = fs::read_dir(&folder).unwrap_or_else(|why| panic!("{folder}: {why}"));
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        let first: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let seed = number("GODWIT_SEED").unwrap_or(now);
        let lasts = Duration::from_secs(number("GODWIT_FUZZ_SECONDS").unwrap_or(SECONDS));
        let inputs = Inputs::new(seed, first.clone());
        let work = RefCell::new(Work { first, inputs, until: None, accepted: 0, refused: 0 });
        Some(Self { target, seed, lasts, work })
    }

    /// Does this with the whole corpus, and with what is made of it until the time is up. The first
    /// argument is the lane.
    pub async fn each<F: Future<Output = ()>>(&self, one: impl Fn(usize, Vec<u8>) -> F) {
        let one = &one;
        let lane = |lane| async move {
            while let Some(input) = self.next() {
                one(lane, input).await;
            }
        };
        join_all((0..LANES).map(lane)).await;
        let Work { accepted, refused, .. } = *self.work.borrow();
        let Self { target, seed, .. } = self;
        println!("{target}: {accepted} accepted, {refused} refused, seed {seed}");
        assert!(accepted > 0, "{target}: a corpus has what is right");
    }

    fn next(&self) -> Option<Vec<u8>> {
        let mut work = self.work.borrow_mut();
        if let Some(input) = work.first.pop() {
            return Some(input);
        }
        let until = *work.until.get_or_insert_with(|| Instant::now() + self.lasts);
        (Instant::now() < until).then(|| work.inputs.next())
    }

    /// Sends what was made of an input; the answer where it was accepted.
    pub async fn send(&self, input: &[u8], call: Call) -> Option<Answer> {
        self.send_signed(input, call, true).await
    }

    /// The same of a request whose signature may not be `right`.
    pub async fn send_signed(&self, input: &[u8], call: Call, right: bool) -> Option<Answer> {
        let answer = call.try_send().await;
        let answer = answer.unwrap_or_else(|| self.fail(input, "no answer"));
        let status = answer.status.as_u16();
        let text = String::from_utf8_lossy(&answer.body);
        if status == 500 || status == 503 {
            self.fail(input, &format!("{status} {text}"));
        }
        if right && text.contains("<Code>SignatureDoesNotMatch") {
            self.fail(input, &format!("the signature differs: {text}"));
        }
        if !right && status < 400 {
            self.fail(input, "it is accepted, and not signed by the key");
        }
        let mut work = self.work.borrow_mut();
        if status >= 400 {
            work.refused += 1;
            return None;
        }
        work.accepted += 1;
        work.inputs.keep(input.to_vec());
        drop(work);
        Some(answer)
    }

    pub fn fail(&self, input: &[u8], why: &str) -> ! {
        let Self { target, seed, .. } = self;
        panic!("{target}, GODWIT_SEED={seed}: {why}\ninput: {}", input.escape_ascii())
    }
}
