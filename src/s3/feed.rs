//! What requests did, told to whoever listens now.
//!
//! Invariant: without a listener a request pays one atomic load; a listener that is slow misses
//! lines and is told how many, and never holds a request up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::broadcast::{self, error::RecvError};

use crate::limits;
use crate::types::caller::Caller;
use crate::types::name::{BucketName, ObjectKey};

/// One request that is over.
#[derive(Clone, Debug)]
pub struct Told {
    /// When it was over, milliseconds since 1970.
    pub at_ms: u64,
    pub id: String,
    pub op: &'static str,
    pub caller: Caller,
    pub bucket: Option<BucketName>,
    pub key: Option<ObjectKey>,
    pub status: u16,
    /// The error code.
    pub error: Option<&'static str>,
    /// Of the body that was sent.
    pub bytes: u64,
    pub ms: u64,
    /// Where the bytes came from.
    pub source: Option<String>,
}

/// Where requests are told and heard. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    listeners: AtomicUsize,
    closed: AtomicBool,
    /// `None`: there will be no more.
    sender: broadcast::Sender<Option<Arc<Told>>>,
}

impl Default for Feed {
    fn default() -> Self {
        let (sender, _) = broadcast::channel(limits::FEED_WAITING_MAX);
        let (listeners, closed) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self(Arc::new(Inner { listeners, closed, sender }))
    }
}

impl Feed {
    /// Tells what `told` makes, where somebody listens.
    pub(crate) fn tell(&self, told: impl FnOnce() -> Told) {
        if self.0.listeners.load(Ordering::Relaxed) > 0 {
            // The last listener may have gone a moment ago.
            let _ = self.0.sender.send(Some(Arc::new(told())));
        }
    }

    /// Hears from now on.
    pub fn listen(&self) -> Listener {
        let receiver = self.0.sender.subscribe();
        self.0.listeners.fetch_add(1, Ordering::Relaxed);
        Listener { feed: self.clone(), receiver }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// Lets every listener go, those that come later too.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        let _ = self.0.sender.send(None);
    }
}

/// Hears what is told, until it is dropped.
#[derive(Debug)]
pub struct Listener {
    feed: Feed,
    receiver: broadcast::Receiver<Option<Arc<Told>>>,
}

/// What a listener hears next.
#[derive(Debug)]
pub enum Heard {
    Request(Arc<Told>),
    /// So many lines were lost, because the listener was slow.
    Missed(u64),
}

impl Listener {
    /// The next line; `None`: the node stops.
    pub async fn next(&mut self) -> Option<Heard> {
        if self.feed.0.closed.load(Ordering::Acquire) {
            return None;
        }
        match self.receiver.recv().await {
            Ok(told) => told.map(Heard::Request),
            Err(RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.feed.0.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: usize) -> Told {
        Told {
            at_ms: 1,
            id: id.to_string(),
            op: "GetObject",
            caller: Caller::Anonymous,
            bucket: None,
            key: None,
            status: 200,
            error: None,
            bytes: 0,
            ms: 1,
            source: None,
        }
    }

    #[tokio::test]
    async fn nobody_is_told_and_a_slow_listener_learns_what_it_missed() {
        let feed = Feed::default();
        feed.tell(|| panic!("nobody listens"));
        let mut listener = feed.listen();
        for id in 0..limits::FEED_WAITING_MAX + 5 {
            feed.tell(|| told(id));
        }
        assert!(matches!(listener.next().await, Some(Heard::Missed(5))));
        assert!(matches!(listener.next().await, Some(Heard::Request(told)) if told.id == "5"));
        drop(listener);
        feed.tell(|| panic!("nobody listens any more"));
    }

    #[tokio::test]
    async fn a_feed_that_is_closed_lets_its_listeners_go() {
        let feed = Feed::default();
        let mut waiting = feed.listen();
        let (heard, ()) = tokio::join!(waiting.next(), async { feed.close() });
        assert!(heard.is_none());
        assert!(feed.listen().next().await.is_none());
    }
}
