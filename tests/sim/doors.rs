//! An [`Env`] for tests: one thread, virtual time, seeded randomness, a simulated disk.
//!
//! Invariant: nothing here depends on the machine's time, so one seed gives one run. Virtual time
//! is tokio's paused clock: it jumps to the next timer when nothing else can run.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use godwit::env::{BoxFuture, Clock, Env, Rng, Tasks};

use super::disk::SimDisk;

/// Where virtual time begins: some day in 2026.
const BEGIN_MS: u64 = 1_780_000_000_000;

/// Runs one life of a machine; everything that it started ends with it, wherever it stood.
pub(crate) fn life<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime starts");
    runtime.block_on(work)
}

/// The same, and power fails at its end: nothing is closed, nothing runs on.
pub(crate) fn life_and_crash<T>(disk: &SimDisk, work: impl Future<Output = T>) -> T {
    life(async {
        let out = work.await;
        disk.crash();
        out
    })
}

/// The doors of a life that began `since` after the beginning of time.
pub(crate) fn env(disk: &SimDisk, seed: u64, since: Duration) -> Env {
    Env {
        clock: Arc::new(Virtual { started: tokio::time::Instant::now(), since }),
        rng: Arc::new(Seeded(Mutex::new(seed))),
        tasks: Arc::new(OneThread),
        disk: Arc::new(disk.clone()),
    }
}

struct Virtual {
    started: tokio::time::Instant,
    since: Duration,
}

impl Clock for Virtual {
    fn now_ms(&self) -> u64 {
        BEGIN_MS + u64::try_from(self.monotonic().as_millis()).expect("short tests")
    }

    fn monotonic(&self) -> Duration {
        self.since + self.started.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

struct Seeded(Mutex<u64>);

impl Rng for Seeded {
    fn fill(&self, out: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for byte in out {
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = state.to_be_bytes()[0];
        }
    }
}

struct OneThread;

#[expect(clippy::disallowed_methods, reason = "this is the door")]
impl Tasks for OneThread {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn spawn_thread(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}
