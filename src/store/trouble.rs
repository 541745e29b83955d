//! What is wrong with the disk: it failed, it does not answer, it is full.
//!
//! Invariant: after a failed write or sync the store takes no write any more until a restart has
//! replayed the log, because a second sync may well say that all is on the disk when it is not.
//! (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.)

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::env::{Clock, Env};
use crate::limits;

use super::error::Error;
use super::shared::Shared;
use super::{Store, lock};

/// Why a disk does not do all that it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A write or a sync failed: no more writes until the node is started again.
    Failed(Arc<str>),
    /// It has been at this for so long.
    Stalled { doing: &'static str, since: Duration },
    /// New bodies are refused.
    Full,
    /// Not even the index can be written: no writes until there is room.
    NoRoom,
    /// The index cannot be read: no writes, and of reads those that find it in memory.
    Unread(Arc<str>),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(why) => {
                write!(f, "failed ({why}): no writes until the node is started again")
            }
            Self::Stalled { doing, since } => {
                write!(f, "does not answer: {doing} for {} s", since.as_secs())
            }
            Self::Unread(why) => write!(
                f,
                "cannot be read ({why}): no writes and hardly any reads; the index is opened anew by \
                 itself as soon as it can be read"
            ),
            Self::Full => f.write_str("full: no new objects; deletions and reads go on"),
            Self::NoRoom => f.write_str(
                "full, so that the index cannot be written: reads go on, and writes by themselves \
                 when others give room",
            ),
        }
    }
}

/// What the store knows of its disk's troubles.
#[derive(Default)]
pub(crate) struct Troubles {
    failed: OnceLock<Arc<str>>,
    /// The index waits for room.
    no_room: AtomicBool,
    under_way: Mutex<UnderWay>,
}

/// Calls that make something durable or read bodies and have not come back, by the order of their
/// start.
#[derive(Default)]
struct UnderWay {
    next: u64,
    calls: BTreeMap<u64, (&'static str, Duration)>,
}

impl Troubles {
    /// Fails once a write or a sync has failed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.failed.get() {
            Some(why) => Err(Error::Poisoned(Arc::clone(why))),
            None => Ok(()),
        }
    }

    /// No write is taken from now on; the first reason stays.
    pub(crate) fn fail(&self, error: &Error) -> Error {
        let why = self.failed.get_or_init(|| {
            tracing::error!(
                %error,
                "the store stopped taking writes: look at the disk, then start the node again"
            );
            error.to_string().into()
        });
        Error::Poisoned(Arc::clone(why))
    }

    pub(crate) fn failure(&self) -> Option<&Arc<str>> {
        self.failed.get()
    }

    /// Whether the index waits for room; true when that is new.
    pub(crate) fn set_no_room(&self, no_room: bool) -> bool {
        self.no_room.swap(no_room, Ordering::SeqCst) != no_room
    }

    pub(crate) fn has_no_room(&self) -> bool {
        self.no_room.load(Ordering::SeqCst)
    }

    /// The oldest call under way.
    pub(crate) fn oldest(&self) -> Option<(&'static str, Duration)> {
        lock(&self.under_way).calls.values().next().copied()
    }
}

/// One call under way; dropped when it came back.
pub(crate) struct Watch {
    troubles: Arc<Troubles>,
    number: u64,
}

impl Watch {
    pub(crate) fn over(shared: &Shared, doing: &'static str) -> Self {
        Self::begin(&shared.troubles, shared.env.monotonic(), doing)
    }

    fn begin(troubles: &Arc<Troubles>, began: Duration, doing: &'static str) -> Self {
        let mut under_way = lock(&troubles.under_way);
        let number = under_way.next;
        under_way.next += 1;
        under_way.calls.insert(number, (doing, began));
        drop(under_way);
        Self { troubles: Arc::clone(troubles), number }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.troubles.under_way).calls.remove(&self.number);
    }
}

/// Watches calls where there is nothing else of the store.
#[derive(Clone)]
pub(crate) struct Watcher {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) troubles: Arc<Troubles>,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watcher")
    }
}

impl Watcher {
    pub(crate) fn new(env: &Env) -> Self {
        Self { clock: Arc::clone(&env.clock), troubles: Arc::default() }
    }

    pub(crate) fn over(&self, doing: &'static str) -> Watch {
        Watch::begin(&self.troubles, self.clock.monotonic(), doing)
    }
}

impl Shared {
    /// Fails when writes are refused for what happened before.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.troubles.check()?;
        match (self.index.is_lost(), self.index.is_torn()) {
            (true, _) => Err(self.index.unread()),
            (false, true) => Err(Error::Stalled),
            (false, false) => Ok(()),
        }
    }

    /// Fails also when a write would have to wait for room, or for a disk that does not answer.
    pub(crate) fn check_answers(&self) -> Result<(), Error> {
        self.check()?;
        if self.troubles.has_no_room() {
            return Err(Error::DiskFull);
        }
        if self.stalled().is_some() { Err(Error::Stalled) } else { Ok(()) }
    }

    pub(crate) fn poison(&self, error: &Error) -> Error {
        self.troubles.fail(error)
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.troubles.failure().is_some()
    }

    /// The outcome of a sync that others than the writer made: a failed one ends all writing.
    pub(crate) fn synced(
        &self,
        doing: &'static str,
        result: std::io::Result<()>,
    ) -> Result<(), Error> {
        result.map_err(|source| self.poison(&Error::Io { doing, source: Arc::new(source) }))
    }

    fn stalled(&self) -> Option<Trouble> {
        let (doing, began) = self.troubles.oldest()?;
        let since = self.env.monotonic().saturating_sub(began);
        (since >= limits::DISK_PATIENCE).then_some(Trouble::Stalled { doing, since })
    }
}

impl Store {
    /// What is wrong with the disk now; the worst of all.
    pub fn trouble(&self) -> Option<Trouble> {
        if let Some(why) = self.shared.troubles.failure() {
            return Some(Trouble::Failed(Arc::clone(why)));
        }
        if self.shared.index.is_lost() {
            return Some(Trouble::Unread(self.shared.index.unread().to_string().into()));
        }
        let no_room = || self.shared.troubles.has_no_room().then_some(Trouble::NoRoom);
        let full = || self.shared.check_room().is_err().then_some(Trouble::Full);
        self.shared.stalled().or_else(no_room).or_else(full)
    }
}

impl Store {
    /// Tables of the index with entries that decayed and are not mended yet.
    pub fn decayed_tables(&self) -> Vec<&'static str> {
        self.shared.index.decay().tables().iter().map(|space| space.name()).collect()
    }

    /// What becomes of pages of the index that decayed; `None` where none were met.
    pub fn damaged_pages(&self) -> Option<String> {
        self.shared.index.decay().tell_pages()
    }
}

/// How many bytes may still be written before new bodies are refused, and before nothing but
/// deletions is taken, counted from the last look at the disk.
pub(crate) struct Room {
    written: AtomicU64,
    for_bodies: AtomicU64,
    for_peers: AtomicU64,
}

impl Default for Room {
    fn default() -> Self {
        let written = AtomicU64::new(0);
        Self { written, for_bodies: AtomicU64::new(u64::MAX), for_peers: AtomicU64::new(u64::MAX) }
    }
}

impl Room {
    /// The disk was looked at. One that does not say how large it is, is never full.
    pub(crate) fn measured(&self, total: u64, free: u64) {
        let used = total.saturating_sub(free);
        let up_to = |percent: u64| match total {
            0 => u64::MAX,
            total => {
                let most = u128::from(total) * u128::from(percent) / 100;
                u64::try_from(most).expect("a part of a number of 64 bits").saturating_sub(used)
            }
        };
        self.written.store(0, Ordering::Relaxed);
        self.for_bodies.store(up_to(limits::DISK_FULL_PERCENT), Ordering::Relaxed);
        self.for_peers.store(up_to(limits::DISK_RESERVE_PERCENT), Ordering::Relaxed);
    }

    /// So many bytes more were written.
    pub(crate) fn note(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// New bodies are taken.
    pub(crate) fn has_for_bodies(&self) -> bool {
        self.written.load(Ordering::Relaxed) < self.for_bodies.load(Ordering::Relaxed)
    }

    /// Bodies that ride in the rows of other regions are taken.
    pub(crate) fn has_for_peers(&self) -> bool {
        self.written.load(Ordering::Relaxed) < self.for_peers.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_since_the_last_look_counts() {
        let room = Room::default();
        assert!(room.has_for_bodies());
        room.measured(1000, 100);
        room.note(49);
        assert!(room.has_for_bodies());
        room.note(1);
        assert!(!room.has_for_bodies() && room.has_for_peers());
        room.note(30);
        assert!(!room.has_for_peers());
        room.measured(1000, 500);
        assert!(room.has_for_bodies() && room.has_for_peers());
    }

    #[test]
    fn a_disk_that_is_fuller_than_the_bound_or_says_nothing_is_no_riddle() {
        let room = Room::default();
        room.measured(1000, 0);
        assert!(!room.has_for_bodies() && !room.has_for_peers());
        room.measured(0, 0);
        assert!(room.has_for_bodies());
    }
}
