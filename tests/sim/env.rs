//! The simulated doors to the world: virtual time with skew, a seeded generator, tasks that die
//! with their node. The disk is in `disk.rs`, the peers in `net.rs`.
//!
//! Everything runs on one current-thread runtime whose clock is paused: time moves only when
//! nothing else can run, so that a seed fixes the whole run.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use godwit::env::{BoxFuture, Clock, Rng, Tasks};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep_until};

/// Wall time at the start of every run: a fixed day.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// One node's clock: virtual time plus an offset, and a rate, that a nemesis may change. The machine's
/// own count of time runs a little fast or slow, too.
pub(crate) struct SimClock {
    start: Instant,
    /// Millionths that the machine's count of time gains.
    rate_ppm: i64,
    wrong: Mutex<Wrong>,
}

/// How a clock goes wrong.
struct Wrong {
    skew_ms: i64,
    /// Milliseconds that it gains in a thousand seconds, since a moment.
    drift: i64,
    since: Instant,
}

impl SimClock {
    pub(crate) fn new(start: Instant, rate_ppm: i64) -> Arc<Self> {
        let wrong = Wrong { skew_ms: 0, drift: 0, since: start };
        Arc::new(Self { start, rate_ppm, wrong: Mutex::new(wrong) })
    }

    /// True time for so much of this machine's count, or the other way round.
    fn scaled(duration: Duration, by_ppm: i64) -> Duration {
        let micros = i128::try_from(duration.as_micros()).unwrap();
        let scaled = micros + micros * i128::from(by_ppm) / 1_000_000;
        Duration::from_micros(u64::try_from(scaled).unwrap())
    }

    /// From now on it is so much ahead, and gains `drift` milliseconds in a thousand seconds.
    pub(crate) fn set_wrong(&self, skew_ms: i64, drift: i64) {
        *self.wrong.lock().unwrap() = Wrong { skew_ms, drift, since: Instant::now() };
    }

    fn skew_ms(&self) -> i64 {
        let wrong = self.wrong.lock().unwrap();
        let since_ms = i64::try_from(wrong.since.elapsed().as_millis()).unwrap();
        wrong.skew_ms + since_ms * wrong.drift / 1_000_000
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        let elapsed_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap();
        (EPOCH_MS + elapsed_ms).saturating_add_signed(self.skew_ms())
    }

    fn monotonic(&self) -> Duration {
        Self::scaled(self.start.elapsed(), self.rate_ppm)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // A timer rings by the same count.
        Box::pin(tokio::time::sleep(Self::scaled(duration, -self.rate_ppm)))
    }
}

/// A seeded generator. Each node has its own, so that one node's draws do not move another's.
pub(crate) struct SimRng(Mutex<StdRng>);

impl SimRng {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.0.lock().unwrap().next_u64() % end
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }
}

impl Rng for SimRng {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap().fill_bytes(out);
    }
}

/// The tasks of one life of one node; a kill ends them where they stand.
#[derive(Default)]
pub(crate) struct SimTasks {
    running: Mutex<Vec<AbortHandle>>,
    /// Until then nothing of the node runs, as if its process were stopped.
    paused: Arc<Mutex<Option<Instant>>>,
}

/// Runs a task, but not while its node is paused.
async fn unless_paused(paused: Arc<Mutex<Option<Instant>>>, mut task: BoxFuture<'static, ()>) {
    let mut nap: Option<Pin<Box<Sleep>>> = None;
    poll_fn(move |context| {
        loop {
            if let Some(sleep) = &mut nap
                && sleep.as_mut().poll(context).is_pending()
            {
                return Poll::Pending;
            }
            let until = (*paused.lock().unwrap()).filter(|until| *until > Instant::now());
            match until {
                Some(until) => nap = Some(Box::pin(sleep_until(until))),
                None => break,
            }
        }
        nap = None;
        task.as_mut().poll(context)
    })
    .await;
}

impl SimTasks {
    pub(crate) fn pause(&self, until: Instant) {
        *self.paused.lock().unwrap() = Some(until);
    }

    pub(crate) fn kill(&self) {
        for task in self.running.lock().unwrap().drain(..) {
            task.abort();
        }
    }
}

impl Tasks for SimTasks {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        let mut running = self.running.lock().unwrap();
        if running.len() > 1000 {
            running.retain(|task| !task.is_finished());
        }
        let task = unless_paused(Arc::clone(&self.paused), task);
        running.push(tokio::task::spawn(task).abort_handle());
    }

    fn spawn_thread(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.spawn(name, task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}
