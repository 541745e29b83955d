//! The doors to the world: clock, randomness, tasks, disk and peers, as small traits.
//!
//! Invariant: nothing outside `node` (real) and the simulation calls the operating system for time,
//! randomness, tasks or files; everything goes through an [`Env`]. That is what lets the store, the
//! drivers and the engine run single-threaded on virtual time.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use crate::types::region::RegionId;

/// A future on the heap, as the object-safe traits here need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Time. Wall time may jump; monotonic time only grows.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
    /// Since some fixed moment of this process.
    fn monotonic(&self) -> Duration;
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// Random numbers, of cryptographic quality in production.
pub trait Rng: Send + Sync {
    fn fill(&self, out: &mut [u8]);
}

/// Where work runs.
pub trait Tasks: Send + Sync {
    /// A task of the shared runtime.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
    /// A task on a thread of its own, which may block (the store's writer).
    fn spawn_thread(&self, name: &'static str, task: BoxFuture<'static, ()>);
    /// A short piece of blocking work (reading cold bytes). Runs inline in the simulation.
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>);
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; read only.
    Read,
    /// Created when missing; read and write.
    ReadWrite,
    /// Must not exist; read and write.
    CreateNew,
    /// As `ReadWrite`, and fails with `WouldBlock` while another handle, of any process, has the
    /// file open so.
    Exclusive,
}

/// One open file. Positions are explicit; a handle may be shared between threads.
pub trait DiskFile: Send + Sync + Debug {
    fn size(&self) -> io::Result<u64>;
    /// Reads exactly `out.len()` bytes, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, position: u64, out: &mut [u8]) -> io::Result<()>;
    /// Whether nobody but its owner may read it.
    fn is_private(&self) -> io::Result<bool> {
        Ok(true)
    }
    /// Writes all of `parts`, one after the other, beginning at `position`.
    fn write_all_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// `fdatasync`: bytes and length are on stable storage. After an error nothing may be assumed
    /// of what was written since the last success.
    fn sync(&self) -> io::Result<()>;
}

/// A directory tree on one disk. All calls block.
pub trait Disk: Send + Sync {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Names (not paths) of the entries of a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes created, renamed and removed entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Total and free bytes of the file system, without what it keeps from this process.
    fn space(&self) -> io::Result<(u64, u64)>;
    /// Virtual time that disk calls since the last one have cost; zero in production.
    fn take_debt(&self) -> Duration {
        Duration::ZERO
    }
}

/// Which queue a message to a peer goes in; smaller first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Register,
    Log,
    Read,
    Repair,
    Migration,
}

/// Why a call to a peer brought no answer. Whether it took effect is unknown in every case except
/// `Unreachable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerError {
    /// No connection; nothing was sent.
    Unreachable,
    /// No answer within the deadline.
    Timeout,
    /// The connection broke after sending.
    Broken,
    /// The peer could not decode or does not serve this message.
    Refused(String),
}

impl std::fmt::Display for PeerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable => f.write_str("unreachable"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Broken => f.write_str("connection broke"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

impl std::error::Error for PeerError {}

/// The other regions' nodes, as this one reaches them. Messages are encoded bytes: the simulation
/// cuts here.
pub trait Peers: Send + Sync {
    /// Sends one request of at most [`crate::limits::MESSAGE_BYTES_MAX`] and waits for its answer.
    fn call(
        &self,
        to: RegionId,
        class: Class,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>>;
    /// Sends at most [`crate::limits::DATAGRAM_BYTES_MAX`] bytes that may be lost.
    fn datagram(&self, to: RegionId, data: Bytes);
    /// Smoothed round trip, where one was measured.
    fn rtt(&self, to: RegionId) -> Option<Duration>;
    /// A connection stands.
    fn is_connected(&self, to: RegionId) -> bool;
    /// Who is to be reached from now on, with an address where one is known; and who else may ask,
    /// to hear why it is not.
    fn set_members(&self, members: Vec<(RegionId, Option<String>)>, askers: Vec<RegionId>);
}

/// The receiving side of [`Peers`].
pub trait PeerHandler: Send + Sync {
    /// Answers one request; an error is sent back as [`PeerError::Refused`].
    fn handle(&self, from: RegionId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;
    fn datagram(&self, from: RegionId, data: Bytes);
}

/// The four doors that every part may need; peers are handed to `cluster` alone.
#[derive(Clone)]
pub struct Env {
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub tasks: Arc<dyn Tasks>,
    pub disk: Arc<dyn Disk>,
}

impl Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}

/// The time given ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl Env {
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    pub async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    /// Waits for `future`, but not longer than `limit`; the future is dropped then.
    pub async fn timeout<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let future = std::pin::pin!(future);
        match select(future, self.clock.sleep(limit)).await {
            Either::Left((value, _)) => Ok(value),
            Either::Right(((), _)) => Err(Elapsed),
        }
    }

    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, Box::pin(task));
    }

    /// Runs blocking work away from the runtime's threads and waits for it.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (done, result) = oneshot::channel();
        self.tasks.spawn_blocking(Box::new(move || {
            let _ = done.send(work());
        }));
        let value = result.await.expect("blocking work runs to its end; a panic ends the process");
        let debt = self.disk.take_debt();
        if !debt.is_zero() {
            self.sleep(debt).await;
        }
        value
    }

    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.rng.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Random bytes, for identifiers and secrets.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill(&mut bytes);
        bytes
    }
}
