//! How far this node's log is, and waking those who carry it on.
//!
//! Invariant: listeners are woken in the order in which they came, so that one seed of a simulation
//! is one run (a `watch` channel wakes in random order).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// The last position of this node's log.
pub(super) struct Grown {
    head: AtomicU64,
    listeners: Mutex<Vec<Arc<Notify>>>,
}

/// Waits for the log to grow.
pub(super) struct Listener(Arc<Notify>);

impl Grown {
    pub(super) fn new(head: u64) -> Self {
        Self { head: AtomicU64::new(head), listeners: Mutex::default() }
    }

    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// The log reaches to `seq`, or further.
    pub(super) fn reach(&self, seq: u64) {
        if self.head.fetch_max(seq, Ordering::AcqRel) < seq {
            let listeners = self.listeners.lock().expect("no holder of this lock panics");
            listeners.iter().for_each(|listener| listener.notify_one());
        }
    }

    pub(super) fn listen(&self) -> Listener {
        let notify = Arc::new(Notify::new());
        let mut listeners = self.listeners.lock().expect("no holder of this lock panics");
        listeners.push(notify.clone());
        Listener(notify)
    }
}

impl Listener {
    /// Returns when the log has grown since the last call; cancelling it loses nothing.
    pub(super) async fn grown(&self) {
        self.0.notified().await;
    }
}
