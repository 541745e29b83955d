//! What the writer, the readers and housekeeping of one store share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::env::Env;
use crate::limits;
use crate::types::id::BlobId;

use super::cache::DiskCache;
use super::compact::Sweep;
use super::digest::Sums;
use super::error::Error;
use super::files::Files;
use super::index::Index;
use super::layer::LiveChange;
use super::rest::Rest;
use super::schema::SegmentInfo;
use super::trouble::{Room, Troubles};
use super::tx::Own;
use super::{Options, lock};

/// Chunks in memory: immutable, so nothing is ever invalidated. The hasher has no random seed, so
/// that a run can be repeated.
pub(crate) type MemoryCache =
    moka::sync::Cache<(BlobId, u32), Bytes, BuildHasherDefault<DefaultHasher>>;

/// Bookkeeping of an entry of the memory cache.
const MEMORY_ENTRY_BYTES: u32 = 128;

/// Everything of a store but its queue.
pub(crate) struct Shared {
    pub(crate) env: Env,
    pub(crate) options: Options,
    pub(crate) own: Own,
    pub(crate) files: Arc<Files>,
    pub(crate) index: Index,
    pub(crate) sums: RwLock<Sums>,
    pub(crate) segments: Mutex<Segments>,
    pub(crate) memory: MemoryCache,
    pub(crate) cache: DiskCache,
    /// Blob files being written or not yet attached; the sweep leaves them alone.
    pub(crate) in_flight: Mutex<BTreeSet<(BlobId, u64)>>,
    pub(crate) doomed: Mutex<Doomed>,
    pub(crate) sweep: Mutex<Sweep>,
    pub(crate) rest: Rest,
    pub(crate) counters: Counters,
    pub(crate) troubles: Arc<Troubles>,
    pub(crate) room: Room,
    /// Syncs of blob files that may begin.
    pub(crate) body_syncs: Arc<Semaphore>,
    /// Total and free bytes of the disk when last measured.
    space: Mutex<(u64, u64)>,
    /// Grows after the record of a bucket or of a name was changed, and its change is visible.
    pub(crate) settings_revision: AtomicU64,
}

/// Segment files and their live bytes.
#[derive(Default)]
pub(crate) struct Segments {
    pub(crate) infos: BTreeMap<u64, SegmentInfo>,
    pub(crate) dirty: BTreeSet<u64>,
    /// Segments below this are sealed and passed by a durable commit.
    pub(crate) settled: u64,
    /// Freed files that wait to be written again.
    pub(crate) spares: usize,
}

impl Segments {
    /// A segment's frames end here now.
    pub(crate) fn note_len(&mut self, segment: u64, len: u64) {
        self.infos.entry(segment).or_default().len = len;
        self.dirty.insert(segment);
    }

    pub(crate) fn note_live(&mut self, changes: &BTreeMap<u64, LiveChange>) {
        for (segment, change) in changes {
            let info = self.infos.entry(*segment).or_default();
            let live = info.live.checked_add_signed(change.bytes);
            info.live = live.expect("only bytes that were counted in are counted out");
            // Bodies of before they were counted leave too.
            info.bodies = info.bodies.saturating_add_signed(change.bodies);
            self.dirty.insert(*segment);
        }
    }
}

/// Files that are not needed any more.
#[derive(Default)]
pub(crate) struct Doomed {
    /// Until the next durable commit.
    pub(crate) waiting: Vec<PathBuf>,
    pub(crate) waiting_bytes: u64,
    /// To be removed by housekeeping.
    pub(crate) ready: VecDeque<PathBuf>,
}

impl Doomed {
    /// The durable commit is made: everything that waited may go.
    pub(crate) fn release(&mut self) {
        self.ready.extend(self.waiting.drain(..));
        self.waiting_bytes = 0;
    }

    pub(crate) fn names(&self, path: &Path) -> bool {
        self.waiting.iter().chain(&self.ready).any(|doomed| doomed == path)
    }
}

/// Counts since the start.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) changes: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) freed_blobs: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) compacted_bytes: AtomicU64,
    pub(crate) corrupt_reads: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

impl Shared {
    pub(crate) fn new(
        env: Env,
        options: Options,
        files: Arc<Files>,
        index: Index,
        own: Own,
    ) -> Self {
        let troubles = index.troubles();
        let weigh = |_: &(BlobId, u32), bytes: &Bytes| {
            u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_add(MEMORY_ENTRY_BYTES)
        };
        let memory = moka::sync::Cache::builder()
            .max_capacity(options.memory_cache_bytes)
            .weigher(weigh)
            .build_with_hasher(BuildHasherDefault::default());
        let cache = DiskCache::new(Arc::clone(&files), options.disk_cache_bytes);
        let rest = Rest::new(env.monotonic());
        Self {
            env,
            options,
            own,
            files,
            index,
            sums: RwLock::new(Sums::new()),
            segments: Mutex::default(),
            memory,
            cache,
            in_flight: Mutex::default(),
            doomed: Mutex::default(),
            sweep: Mutex::default(),
            rest,
            counters: Counters::default(),
            troubles,
            room: Room::default(),
            body_syncs: Arc::new(Semaphore::new(limits::BODY_SYNCS_MAX)),
            space: Mutex::default(),
            settings_revision: AtomicU64::new(0),
        }
    }

    /// Looks how full the disk is.
    pub(crate) fn measure_space(&self) -> Result<(), Error> {
        let (total, free) =
            self.env.disk.space().map_err(|e| Error::io("measuring the disk", e))?;
        self.room.measured(total, free);
        *lock(&self.space) = (total, free);
        Ok(())
    }

    /// Total and free bytes of the disk when last measured.
    pub(crate) fn space(&self) -> (u64, u64) {
        *lock(&self.space)
    }

    /// Whether new bodies are taken.
    pub(crate) fn check_room(&self) -> Result<(), Error> {
        if self.room.has_for_bodies() { Ok(()) } else { Err(Error::DiskFull) }
    }

    /// A file that is not needed once the next durable commit is made.
    pub(crate) fn doom(&self, path: PathBuf, bytes: u64) {
        let mut doomed = lock(&self.doomed);
        doomed.waiting.push(path);
        doomed.waiting_bytes += bytes;
    }
}
