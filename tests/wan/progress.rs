//! What all workloads share: when to end, how many answers each region gave, and the numbers.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::site::REGIONS;

pub struct Progress {
    began: Instant,
    ended: AtomicBool,
    answered: [AtomicU64; REGIONS.len()],
    news: Notify,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Progress {
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            ended: AtomicBool::new(false),
            answered: Default::default(),
            news: Notify::new(),
            counts: Mutex::default(),
        }
    }

    /// The one clock of all histories.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// A write of this region was answered.
    pub fn answered(&self, region: usize) {
        self.answered[region].fetch_add(1, Ordering::Relaxed);
        self.news.notify_waiters();
    }

    pub fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    pub fn counted(&self, what: &'static str) -> u64 {
        self.counts.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    /// All numbers, in one line.
    pub fn told(&self) -> String {
        let counts = self.counts.lock().unwrap();
        let told: Vec<String> = counts.iter().map(|(what, n)| format!("{what} {n}")).collect();
        told.join(", ")
    }

    fn sum(&self, regions: &[usize]) -> u64 {
        regions.iter().map(|region| self.answered[*region].load(Ordering::Relaxed)).sum()
    }

    /// Waits until these regions together have answered so many more writes; whether they did.
    pub async fn more(&self, regions: &[usize], answers: u64, seconds: u64) -> bool {
        let wanted = self.sum(regions) + answers;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
        while self.sum(regions) < wanted {
            let news = self.news.notified();
            tokio::select! {
                () = news => {}
                () = tokio::time::sleep_until(deadline) => return self.sum(regions) >= wanted,
            }
        }
        true
    }
}
