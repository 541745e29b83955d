//! This node's disk: a segment log, a redb index over it, and caches of remote blobs.
//!
//! Invariant: a change that was answered is on stable storage and visible to every later read;
//! a change that failed has left nothing (after [`Error::Poisoned`] a restart decides). Bytes are
//! given only after their hash was checked. Nothing here knows of peers.
//!
//! The way of a write: a closure runs in the one writer (`writer`) on an overlay (`layer`), its
//! mutations and small bodies become a frame (`codec`, `segment`), many frames are written and
//! synced together, then the rows go into the index (`index`) and the callers are woken. Opening
//! replays the log on the last durable commit of the index (`replay`, `checkpoint`). Large bodies
//! are files (`blobs`); copies of remote blobs are files of their own too (`cache`), so that
//! eviction gives space back at once. `compact` keeps house, `read` serves chunks. A stopped
//! store's index is made shorter by `shrink`.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::env::Env;
use crate::limits;
use crate::obs::flow::{self, Stage};
use crate::types::id::{BlobId, Incarnation};
use crate::types::object::BlobRef;
use crate::types::region::RegionId;

mod again;
mod ahead;
mod anew;
pub mod backup;
mod behind;
mod blobs;
mod cache;
mod checkpoint;
mod codec;
mod compact;
mod decay;
mod digest;
mod entries;
mod error;
mod files;
mod found;
mod guard;
mod index;
mod inspect;
mod layer;
mod opening;
mod over;
mod read;
mod relog;
mod replay;
mod rest;
mod roots;
mod rows;
mod salvage;
mod schema;
mod scrub;
mod seal;
mod segment;
mod shared;
mod shrink;
mod snapshot;
mod trouble;
mod twin;
mod tx;
mod usage;
mod writer;

pub use again::{EntriesMended, TableMended};
pub use blobs::{BlobWriter, Manifest, SealedBlob};
pub use digest::{DigestView, digest_of_record as digest_of};
pub use entries::{EntriesChecked, EntriesMark};
pub use error::Error;
pub use guard::end_on_panic;
pub use inspect::{Formats, Inspected, formats, inspect};
pub use relog::LogSearch;
pub use schema::Table;
pub(crate) use schema::{record_id, record_key, row_prefix};
pub use scrub::{CacheChecked, Held, LogChecked, LogMark};
pub use shrink::{NotShrunk, Shrunk, Step, shrink};
pub use snapshot::{Head, Snapshot};
pub use trouble::Trouble;
pub use twin::TwinsMended;
pub use tx::{Merged, Source, Tx};

use shared::{Counters, Shared};
use writer::{Done, Job, Outcome, Writer};

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
    /// A walk that took this long over its first rows has the next ones read ahead.
    pub read_ahead_after: Duration,
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
            read_ahead_after: limits::READ_AHEAD_AFTER,
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
    /// Writes that lost against another one made at the same time.
    pub conflicts: u64,
    pub compacted_bytes: u64,
    /// Reads that failed their checksum.
    pub corrupt_reads: u64,
    pub poisoned: bool,
}

/// The local store. Cheap to clone. The writer ends when every clone is gone, or by `close`.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Job>,
}

impl Store {
    /// Opens or makes the directory, replays the log and starts the writer.
    pub async fn open(env: Env, options: Options) -> Result<(Self, OpenReport), Error> {
        let opened = env.blocking({
            let env = env.clone();
            move || replay::open(env, options)
        });
        let replay::Opened { shared, log, boot, report } = opened.await?;
        let (queue, jobs) = mpsc::channel(limits::WRITE_QUEUE_MAX);
        let writer = Writer::new(Arc::clone(&shared), jobs, log, boot);
        env.tasks.spawn_thread("store-writer", Box::pin(writer.run()));
        Ok((Self { shared, queue }, report))
    }

    /// This life of the data directory.
    pub fn incarnation(&self) -> Incarnation {
        self.shared.own.incarnation
    }

    pub fn region(&self) -> RegionId {
        self.shared.own.region
    }

    /// Segment and offset up to which the log is on stable storage. Of one data directory it only
    /// grows, over restarts too; one that is found with less is an old copy.
    pub fn log_end(&self) -> (u64, u64) {
        let segments = lock(&self.shared.segments);
        segments.infos.last_key_value().map_or((0, 0), |(segment, info)| (*segment, info.len))
    }

    pub fn env(&self) -> &Env {
        &self.shared.env
    }

    /// Runs `f` in the writer, alone. Ok: everything it did is on stable storage. Err: nothing of
    /// it is kept, and everything that it had read is on stable storage. Once called, the change
    /// is made even when the caller goes away, or was told [`Error::Stalled`] because the disk does
    /// not answer: then it may still come.
    pub async fn write<T, E>(
        &self,
        f: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let work = move |tx: Result<&mut Tx<'_>, Error>| {
            let made = tx.map_err(E::from).and_then(f);
            let keep = made.is_ok();
            let done: Done = Box::new(move |failed: Option<Error>| {
                let answered = match failed {
                    Some(error) => Err(E::from(error)),
                    None => made,
                };
                // A caller that went away does not want to know.
                let _ = answer.send(answered);
            });
            Outcome { keep, done }
        };
        self.look_after_index();
        self.shared.check_answers()?;
        let job = Job::Change(Box::new(work));
        let made = Box::pin(async {
            let sent = self.queue.send(job).await;
            sent.map_err(|_| Error::Closed)?;
            result.await.unwrap_or_else(|_| Err(Error::Closed.into()))
        });
        let made = self.shared.env.timeout(limits::DISK_PATIENCE, made);
        let made = flow::measured(Stage::Disk, "write", None, made).await;
        made.unwrap_or(Err(Error::Stalled.into()))
    }

    /// A consistent view; never held across an await.
    pub fn read(&self) -> Result<Snapshot, Error> {
        self.look_after_index();
        Ok(Snapshot::new(Arc::clone(&self.shared), self.shared.index.view()?))
    }

    /// Tells the writer of an index that cannot be read: it waits for it, and brings it back.
    fn look_after_index(&self) {
        if self.shared.index.wants_writer() {
            // A queue that is full wakes the writer as well.
            let _ = self.queue.try_send(Job::Look);
        }
    }

    /// A number that grows with every change of a bucket's or a name's record. What was read after
    /// asking for it is what the store has as long as it stays the same.
    pub fn settings_revision(&self) -> u64 {
        self.shared.settings_revision.load(Ordering::Acquire)
    }

    /// Takes the bytes of a new blob.
    pub fn blob_writer(&self, id: BlobId) -> BlobWriter {
        BlobWriter::new(Arc::clone(&self.shared), id)
    }

    /// Keeps an evictable copy of a chunk that the caller has verified.
    pub async fn cache_chunk(
        &self,
        blob: &BlobRef,
        manifest: &Arc<Manifest>,
        index: u32,
        bytes: Bytes,
    ) {
        if !manifest.belongs_to(blob) || manifest.chunk_len(index) != Some(bytes.len()) {
            return;
        }
        self.shared.memory.insert((blob.id, index), bytes.clone());
        if !self.has_room() {
            return;
        }
        self.shared.cache.put(&self.shared.env, blob, manifest, index, bytes).await;
    }

    /// Whether new bodies are taken.
    pub fn has_room(&self) -> bool {
        let troubles = &self.shared.troubles;
        self.shared.check_room().is_ok() && self.shared.check().is_ok() && !troubles.has_no_room()
    }

    /// The bytes of a small blob that came with a row of another region, which was told that it has
    /// them here: they are taken beyond what new bodies may fill, but not in the last reserve.
    pub fn seal_riding(&self, id: BlobId, bytes: Bytes) -> Result<SealedBlob, Error> {
        if !self.shared.room.has_for_peers() {
            return Err(Error::DiskFull);
        }
        if bytes.len() > limits::SEGMENT_BLOB_BYTES_MAX {
            return Err(Error::TooLarge { bytes: bytes.len() as u64 });
        }
        Ok(SealedBlob::small(id, bytes))
    }

    /// How much of a blob is cached on this disk.
    pub fn cached(&self, blob: &BlobRef) -> CachedShare {
        self.shared.cache.share(blob)
    }

    /// The digest tree over all records.
    pub fn digest(&self) -> DigestView {
        DigestView { shared: Arc::clone(&self.shared) }
    }

    /// Commits the index durably now.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        self.ask(Job::Checkpoint).await
    }

    /// Checkpoints and ends the writer; later writes fail with [`Error::Closed`].
    pub async fn close(&self) -> Result<(), Error> {
        self.ask(Job::Close).await
    }

    async fn ask(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Job,
    ) -> Result<(), Error> {
        let (answer, result) = oneshot::channel();
        self.queue.send(job(answer)).await.map_err(|_| Error::Closed)?;
        result.await.unwrap_or(Err(Error::Closed))
    }

    /// Changes that wait for the writer.
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Figures as of now; the disk's are those of the last housekeeping.
    pub fn stats(&self) -> Stats {
        let Counters {
            commits,
            changes,
            log_bytes,
            checkpoints,
            freed_blobs,
            conflicts,
            compacted_bytes,
            corrupt_reads,
        } = &self.shared.counters;
        let (disk_total_bytes, disk_free_bytes) = self.shared.space();
        let segments = lock(&self.shared.segments);
        Stats {
            disk_total_bytes,
            disk_free_bytes,
            segments: segments.infos.len() as u64,
            segment_bytes: segments.infos.values().map(|info| info.len).sum(),
            segment_live_bytes: segments.infos.values().map(|info| info.live).sum(),
            cache_bytes: self.shared.cache.bytes(),
            memory_cache_bytes: self.shared.memory.weighted_size(),
            commits: commits.load(Ordering::Relaxed),
            changes: changes.load(Ordering::Relaxed),
            log_bytes: log_bytes.load(Ordering::Relaxed),
            checkpoints: checkpoints.load(Ordering::Relaxed),
            freed_blobs: freed_blobs.load(Ordering::Relaxed),
            conflicts: conflicts.load(Ordering::Relaxed),
            compacted_bytes: compacted_bytes.load(Ordering::Relaxed),
            corrupt_reads: corrupt_reads.load(Ordering::Relaxed),
            poisoned: self.shared.is_poisoned(),
        }
    }
}

/// Nothing under these locks can panic halfway, so a poisoned one is as good as another.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn read_lock<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write_lock<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}
