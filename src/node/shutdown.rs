//! Stopping as a value: a signal that is handed down, and a count of who has not finished yet.
//!
//! Invariant: a task that holds a [`Stop`] ends soon after it is called, and `Stopper::finish`
//! returns only when every [`Stop`] was dropped or the time given ran out.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::env::{Elapsed, Env};

/// Held by every task that should end when the node stops.
#[derive(Clone)]
pub(crate) struct Stop {
    called: watch::Receiver<bool>,
    /// Dropped with the task: that is how it tells that it has ended.
    _running: mpsc::Sender<()>,
}

impl Stop {
    /// Returns when the node stops.
    pub(crate) async fn called(&mut self) {
        // The other side gone means that nobody is left to wait for us: stop as well.
        let _ = self.called.wait_for(|called| *called).await;
    }
}

/// Held by the wiring.
pub(crate) struct Stopper {
    call: watch::Sender<bool>,
    running: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Stopper {
    pub(crate) fn new() -> Self {
        let (running, ended) = mpsc::channel(1);
        Self { call: watch::Sender::new(false), running, ended }
    }

    pub(crate) fn stop(&self) -> Stop {
        Stop { called: self.call.subscribe(), _running: self.running.clone() }
    }

    /// Tells every task to end, and waits for them, but not longer than `grace`.
    pub(crate) async fn finish(self, env: &Env, grace: Duration) -> Result<(), Elapsed> {
        let Self { call, running, mut ended } = self;
        call.send_replace(true);
        drop(running);
        // Nothing is ever sent: the channel closes when the last task has dropped its side.
        env.timeout(grace, async { while ended.recv().await.is_some() {} }).await
    }
}
