//! This node's disk: a segment log, a redb index and caches.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::env::Env;
use crate::limits;
use crate::types::id::{BlobId, Incarnation};
use crate::types::object::BlobRef;
use crate::types::region::RegionId;

mod blobs;
mod digest;
mod error;
mod schema;
mod snapshot;
mod tx;

pub use blobs::{BlobWriter, Manifest, SealedBlob};
pub use digest::DigestView;
pub use error::Error;
pub use schema::Table;
pub use snapshot::Snapshot;
pub use tx::{Merged, Source, Tx};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    pub dir: PathBuf,
    pub region: RegionId,
    pub memory_cache_bytes: u64,
    pub disk_cache_bytes: u64,
    pub index_cache_bytes: usize,
    pub segment_bytes: u64,
    pub blob_grace: Duration,
    pub checkpoint_interval: Duration,
    pub checkpoint_log_bytes: u64,
    pub checkpoint_changes: u64,
}

impl Options {
    /// The defaults for a directory and a region.
    pub fn new(dir: PathBuf, region: RegionId) -> Self {
        Self {
            dir,
            region,
            memory_cache_bytes: 64 << 20,
            disk_cache_bytes: 1 << 30,
            index_cache_bytes: 64 << 20,
            segment_bytes: limits::SEGMENT_BYTES,
            blob_grace: limits::BLOB_GRACE,
            checkpoint_interval: limits::CHECKPOINT_INTERVAL,
            checkpoint_log_bytes: limits::CHECKPOINT_LOG_BYTES,
            checkpoint_changes: limits::CHECKPOINT_CHANGES,
        }
    }
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The directory was made just now.
    pub created: bool,
    /// How often this directory was opened, this time included.
    pub boot: u64,
    /// Changes replayed from the log.
    pub replayed: u64,
    /// Bytes of a torn tail that were cut; nothing in them had been answered.
    pub torn_bytes: u64,
    /// Parts of the log that had been synced and are unreadable now. Not cut; to be repaired from
    /// other holders.
    pub damage: Vec<Damage>,
}

/// An unreadable part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub segment: u64,
    pub position: u64,
    pub bytes: u64,
}

/// Where bytes were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// An evictable copy on this disk.
    Cache,
    /// Held on this disk.
    Disk,
    Memory,
}

/// How much of a remote blob is cached here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachedShare {
    pub whole: bool,
    pub chunks: u32,
}

/// Figures for metrics and for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub disk_total_bytes: u64,
    pub disk_free_bytes: u64,
    /// Segment files, and of their bytes those that are live bodies.
    pub segments: u64,
    pub segment_bytes: u64,
    pub segment_live_bytes: u64,
    pub cache_bytes: u64,
    pub memory_cache_bytes: u64,
    /// Group commits, and the changes in them.
    pub commits: u64,
    pub changes: u64,
    pub log_bytes: u64,
    pub checkpoints: u64,
    /// Blobs freed, and bytes copied forward by compaction.
    pub freed_blobs: u64,
    pub compacted_bytes: u64,
    /// Reads that failed their checksum.
    pub corrupt_reads: u64,
    pub poisoned: bool,
}

/// The local store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    env: Env,
}

fn later() -> ! {
    std::process::abort()
}

#[expect(clippy::unused_async, reason = "the skeleton has no bodies yet")]
impl Store {
    /// Opens or makes the directory, replays the log and starts the writer.
    pub async fn open(_env: Env, _options: Options) -> Result<(Self, OpenReport), Error> {
        later()
    }
    /// This life of the data directory.
    pub fn incarnation(&self) -> Incarnation {
        later()
    }
    pub fn region(&self) -> RegionId {
        later()
    }
    pub fn env(&self) -> &Env {
        &self.env
    }
    /// Runs `f` in the writer, alone. Ok: everything it did is on stable storage. Err: nothing of
    /// it is kept.
    pub async fn write<T, E>(
        &self,
        _f: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        later()
    }
    /// A consistent view; never held across an await.
    pub fn read(&self) -> Result<Snapshot, Error> {
        later()
    }
    pub fn blob_writer(&self, id: BlobId) -> BlobWriter {
        BlobWriter::new(id)
    }
    /// A verified chunk of a held or cached blob; `None` when it is not here.
    pub async fn chunk(
        &self,
        _blob: &BlobRef,
        _index: u32,
    ) -> Result<Option<(Bytes, Tier)>, Error> {
        later()
    }
    /// Of a held or cached blob.
    pub fn manifest(&self, _blob: &BlobRef) -> Result<Option<Arc<Manifest>>, Error> {
        later()
    }
    /// Keeps an evictable copy of a verified chunk.
    pub async fn cache_chunk(
        &self,
        _blob: &BlobRef,
        _manifest: &Arc<Manifest>,
        _index: u32,
        _bytes: Bytes,
    ) {
        later()
    }
    /// A whole, verified cached copy becomes held; false when there is none.
    pub async fn promote(&self, _blob: &BlobRef) -> Result<bool, Error> {
        later()
    }
    pub fn holds(&self, _blob: &BlobId) -> Result<bool, Error> {
        later()
    }
    pub fn cached(&self, _blob: &BlobRef) -> CachedShare {
        later()
    }
    /// Re-hashes a held blob from disk; false, and recorded as damage, when it fails.
    pub async fn verify(&self, _blob: &BlobRef) -> Result<bool, Error> {
        later()
    }
    /// Gives up this region's held copy, whoever names it.
    pub async fn drop_blob(&self, _id: BlobId) -> Result<(), Error> {
        later()
    }
    pub fn digest(&self) -> DigestView {
        later()
    }
    pub async fn checkpoint(&self) -> Result<(), Error> {
        later()
    }
    /// Checkpoints and ends the writer.
    pub async fn close(&self) -> Result<(), Error> {
        later()
    }
    /// One bounded step of housekeeping; true when more remains.
    pub async fn maintain(&self) -> Result<bool, Error> {
        later()
    }
    pub fn stats(&self) -> Stats {
        later()
    }
}
