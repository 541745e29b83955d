//! Housekeeping in small steps: files that are not needed, blobs past their grace, segments that
//! are mostly dead, what an earlier run left behind.
//!
//! Invariant: a file goes only after a durable commit of the index no longer names it; a blob goes
//! only when nothing names it in the writer's own view. A reader that meets moved bytes looks
//! again.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::env::OpenMode;
use crate::types::id::BlobId;
use crate::types::object::BlobRef;

use super::blobs::{Body, LooseFile, SealedBlob};
use super::codec::{self, BodyAt, HEADER_BYTES, Kind};
use super::error::Error;
use super::files::{self, SHARDS};
use super::schema::{self, BlobEntry, Place, SegmentInfo, Space};
use super::segment::{Found, Reader};
use super::shared::{Counters, Shared};
use super::writer::Job;
use super::{Store, Trouble, lock};

/// Steps of one tick: files removed, blobs freed, bytes copied forward.
const REMOVE_MAX: usize = 64;
const FREE_MAX: usize = 256;
const COPY_BYTES_MAX: usize = 4 << 20;

/// A checkpoint is asked for when so many files or segments wait for one.
const WAITING_FILES_MAX: usize = 256;
const WAITING_SEGMENTS_MAX: usize = 2;

/// A segment with less than this share of live bytes is compacted.
const LIVE_PERCENT_MIN: u64 = 50;

/// Bytes of cached copies that one step gives back while the disk is full.
const ROOM_BYTES: u64 = 256 << 20;

/// A disk without room for one step has more after the next ones: those must not wait for it.
fn unless_full(step: Result<bool, Error>) -> Result<bool, Error> {
    match step {
        Err(Error::DiskFull) => Ok(false),
        other => other,
    }
}

/// How far housekeeping has come since the start.
#[derive(Default)]
pub(crate) struct Sweep {
    /// Directories looked through for what an earlier run left.
    shard: u16,
    victim: Option<Victim>,
    /// Segments with unreadable bodies: they stay until new copies replace those.
    pub(crate) stuck: BTreeSet<u64>,
}

/// A segment under compaction.
#[derive(Clone, Copy)]
struct Victim {
    segment: u64,
    /// The next frame.
    from: u64,
    /// It is not dead enough for a busy store.
    at_rest: bool,
}

/// A body to be copied forward.
struct Live {
    blob: BlobRef,
    place: Place,
    bytes: Bytes,
}

impl Store {
    /// One bounded step of housekeeping; true when more remains.
    pub async fn maintain(&self) -> Result<bool, Error> {
        let shared = Arc::clone(&self.shared);
        let measured = self.shared.env.blocking(move || shared.measure_space()).await;
        measured?;
        let mut more = self.remove_ready().await?;
        more |= self.sweep_shard().await?;
        if matches!(self.trouble(), Some(Trouble::NoRoom | Trouble::Full)) {
            self.shared.cache.make_room(&self.shared.env, ROOM_BYTES).await;
        }
        if self.shared.check_answers().is_err() {
            return Ok(more);
        }
        more |= unless_full(self.free_garbage().await)?;
        more |= unless_full(self.compact().await)?;
        if self.shared.wants_settling() {
            unless_full(self.ask(Job::Settle).await.map(|()| true))?;
            more = true;
        }
        if self.shared.wants_checkpoint() {
            unless_full(self.checkpoint().await.map(|()| true))?;
            more = true;
        }
        Ok(more)
    }

    /// Gives up this region's held copy, whoever names it.
    pub async fn drop_blob(&self, id: BlobId) -> Result<(), Error> {
        self.write(move |tx| tx.release(&id).map(|_| ())).await
    }

    /// A whole, verified cached copy becomes held; false when there is none.
    pub async fn promote(&self, blob: &BlobRef) -> Result<bool, Error> {
        if self.holds(&blob.id)? {
            return Ok(true);
        }
        let Some(sealed) = self.seal_cached(blob).await? else {
            return Ok(false);
        };
        let is_file = matches!(sealed.body(), Body::File(_));
        self.write(move |tx| tx.attach(sealed)).await?;
        if is_file {
            self.shared.cache.moved_away(&blob.id);
        }
        self.shared.cache.forget(&self.shared.env, &blob.id).await;
        Ok(true)
    }

    /// The cached copy as a sealed blob: a small one in memory, a large one renamed.
    async fn seal_cached(&self, blob: &BlobRef) -> Result<Option<SealedBlob>, Error> {
        let cache = &self.shared.cache;
        let (share, manifest) = (cache.share(blob), cache.manifest(blob));
        let Some(manifest) = manifest.filter(|_| share.whole) else {
            return Ok(None);
        };
        let mut only = None;
        for index in 0..manifest.chunks() {
            only = cache.chunk(&self.shared.env, blob, index).await;
            if only.is_none() {
                return Ok(None);
            }
        }
        match only {
            Some(bytes) if blob.len <= crate::limits::SEGMENT_BLOB_BYTES_MAX as u64 => {
                Ok(Some(SealedBlob::small(blob.id, bytes)))
            }
            _ => {
                let (shared, id) = (Arc::clone(&self.shared), blob.id);
                let moved = self.shared.env.blocking(move || move_cached(&shared, id)).await?;
                Ok(Some(SealedBlob::new(id, manifest, Body::File(moved))))
            }
        }
    }

    async fn remove_ready(&self) -> Result<bool, Error> {
        let paths: Vec<PathBuf> = {
            let mut doomed = lock(&self.shared.doomed);
            let n = doomed.ready.len().min(REMOVE_MAX);
            doomed.ready.drain(..n).collect()
        };
        if paths.is_empty() {
            return Ok(false);
        }
        let disk = Arc::clone(&self.shared.files.disk);
        let removed = self
            .shared
            .env
            .blocking(move || paths.iter().try_for_each(|path| files::remove(disk.as_ref(), path)));
        removed.await.map_err(|e| Error::io("removing a file", e))?;
        Ok(!lock(&self.shared.doomed).ready.is_empty())
    }

    /// Looks through one directory for files that an earlier run left: unnamed blob files go,
    /// cached copies are taken in.
    async fn sweep_shard(&self) -> Result<bool, Error> {
        let shard = {
            let mut sweep = lock(&self.shared.sweep);
            if sweep.shard == SHARDS {
                return Ok(false);
            }
            sweep.shard += 1;
            sweep.shard - 1
        };
        let shared = Arc::clone(&self.shared);
        self.shared.env.blocking(move || shared.sweep_shard(shard)).await?;
        Ok(shard + 1 < SHARDS)
    }

    async fn free_garbage(&self) -> Result<bool, Error> {
        let now_ms = self.shared.env.now_ms();
        let due = now_ms.saturating_add(1).to_be_bytes();
        let to = Bound::Excluded(due.as_slice());
        let view = self.shared.index.view()?;
        // What names a blob may be missing until that is mended.
        if view.is_doubted(Space::Refs) {
            return Ok(false);
        }
        let waits = view.range(Space::Garbage, Bound::Unbounded, to)?;
        if waits.is_none_or(|mut rows| rows.next().is_none()) {
            return Ok(false);
        }
        let freed = self.write(move |tx| {
            let to = Bound::Excluded(due.as_slice());
            let rows = tx.layer.scan(Space::Garbage, Bound::Unbounded, to, FREE_MAX)?;
            for (freed, (key, _)) in rows.iter().enumerate() {
                let id = schema::blob_id(key.get(due.len()..).unwrap_or_default())?;
                let named = tx.layer.is_named(&id, None)?;
                if tx.layer.view.is_doubted(Space::Refs) {
                    return Ok(freed);
                }
                tx.layer.change(Space::Garbage, key, None)?;
                if !named {
                    tx.release(&id)?;
                }
            }
            Ok::<_, Error>(rows.len())
        });
        Ok(freed.await? == FREE_MAX)
    }

    /// Copies some live bodies of a mostly dead segment to the end of the log.
    async fn compact(&self) -> Result<bool, Error> {
        let Some(victim) = self.shared.victim() else {
            return Ok(false);
        };
        let Victim { segment, from, .. } = victim;
        let shared = Arc::clone(&self.shared);
        let read = self.shared.env.blocking(move || shared.live_bodies(segment, from)).await;
        let (bodies, next) = read?;
        let mut moved = Vec::new();
        for Live { blob, place, bytes } in bodies {
            let sealed = SealedBlob::small(blob.id, bytes);
            if sealed.blob() == blob {
                moved.push((sealed, place));
            } else {
                self.verify(&blob).await?;
            }
        }
        let copied = self.write(move |tx| {
            let mut copied = SegmentInfo::default();
            for (sealed, place) in moved {
                let len = sealed.blob().len;
                if tx.rehome(sealed, place)? {
                    copied.live += len;
                    copied.bodies += 1;
                }
            }
            Ok::<_, Error>(copied)
        });
        let copied = copied.await?;
        Counters::add(&self.shared.counters.compacted_bytes, copied.live);
        self.shared.rest.note_moved(copied.packed());
        if self.shared.compacted_to(victim, next) {
            let shared = Arc::clone(&self.shared);
            let left = self.shared.env.blocking(move || shared.blobs_in(segment)).await?;
            for blob in left {
                self.verify(&blob).await?;
            }
        }
        Ok(true)
    }
}

impl Shared {
    /// Whether enough waits for a durable commit to make one now.
    fn wants_checkpoint(&self) -> bool {
        let (files, bytes) = {
            let doomed = lock(&self.doomed);
            (doomed.waiting.len(), doomed.waiting_bytes)
        };
        let segments = lock(&self.segments);
        let current = segments.infos.keys().next_back().copied().unwrap_or(0);
        let dead = segments.infos.range(..current).filter(|(_, info)| info.live == 0).count();
        let full = self.check_room().is_err() && (files > 0 || dead > 0);
        files >= WAITING_FILES_MAX
            || bytes >= self.options.segment_bytes
            || dead >= WAITING_SEGMENTS_MAX
            || full
    }

    /// The segment under compaction, or the most dead one that is worth it.
    fn victim(&self) -> Option<Victim> {
        let may_tidy = self.may_tidy();
        let mut sweep = lock(&self.sweep);
        let segments = lock(&self.segments);
        if let Some(victim) = sweep.victim {
            if segments.infos.get(&victim.segment).is_some_and(|info| info.live > 0) {
                return Some(victim).filter(|victim| may_tidy || !victim.at_rest);
            }
            sweep.victim = None;
        }
        let settled = segments.infos.range(..segments.settled);
        let sound = settled.filter(|(segment, _)| !sweep.stuck.contains(segment));
        let (segment, info) = sound
            .filter(|(_, info)| info.live > 0)
            .max_by_key(|(_, info)| info.dead() * 1000 / info.len.max(1))?;
        let mostly_dead = info.packed() * 100 < info.len * LIVE_PERCENT_MIN;
        let is_worth = mostly_dead || (may_tidy && segments.is_worn(&sweep.stuck));
        is_worth.then_some(Victim { segment: *segment, from: 0, at_rest: !mostly_dead })
    }

    /// Notes how far a segment is compacted. One that still has live bytes at its end has
    /// unreadable ones: it is not tried again, and its blobs are to be looked at.
    fn compacted_to(&self, victim: Victim, next: Option<u64>) -> bool {
        let mut sweep = lock(&self.sweep);
        let left = lock(&self.segments).infos.get(&victim.segment).map_or(0, |info| info.live);
        sweep.victim = next.map(|from| Victim { from, ..victim });
        next.is_none() && left > 0 && sweep.stuck.insert(victim.segment)
    }

    /// The held blobs in a segment. Looks through all of them: for damage only. Those whose entries
    /// decayed cannot be looked at before they are mended; their segment stays meanwhile.
    fn blobs_in(&self, segment: u64) -> Result<Vec<BlobRef>, Error> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut out = Vec::new();
        let view = self.index.view()?;
        for row in view.range(Space::Blobs, all.0, all.1)?.into_iter().flatten() {
            let row = match row {
                Err(error) if view.goes_on_past(&error) => continue,
                row => row?,
            };
            let entry = BlobEntry::decode(row.value())?;
            if matches!(entry.place, Place::Segment { segment: s, .. } if s == segment) {
                out.push(entry.blob(schema::blob_id(row.key())?));
            }
        }
        Ok(out)
    }

    /// Live bodies of a segment from a frame on, and where to go on; `None` at its end.
    fn live_bodies(&self, segment: u64, from: u64) -> Result<(Vec<Live>, Option<u64>), Error> {
        let mut reader = Reader::new(self.files.open_segment(segment)?, segment)?;
        let end = lock(&self.segments).infos.get(&segment).map_or(0, |info| info.len);
        let view = self.index.view()?;
        let (mut out, mut bytes, mut position) = (Vec::new(), 0, from);
        while position < end && bytes < COPY_BYTES_MAX {
            let frame = match reader.at(position)? {
                Found::Frame(frame) => frame,
                Found::Bad => match reader.seek(position)? {
                    Some(frame) => frame,
                    None => return Ok((out, None)),
                },
                Found::End => return Ok((out, None)),
            };
            let found = match frame.kind {
                Kind::Change => codec::bodies(&frame.payload)?.0,
                Kind::Chunk => vec![codec::chunk_body(&frame.payload)?],
                Kind::Seal => return Ok((out, None)),
            };
            for BodyAt { id, offset, len } in found {
                let at = frame.position + (HEADER_BYTES + offset) as u64;
                let place = Place::Segment { segment, position: at };
                let key = schema::blob_key(&id);
                let entry = match view.get(Space::Blobs, &key, BlobEntry::decode) {
                    // Not known to live here. Its bytes stay counted, so that the segment stays.
                    Err(Error::Corrupt(_)) => None,
                    entry => entry?.transpose()?,
                };
                if let Some(entry) = entry.filter(|entry| entry.place == place) {
                    let body = Bytes::copy_from_slice(&frame.payload[offset..offset + len]);
                    bytes += len;
                    out.push(Live { blob: entry.blob(id), place, bytes: body });
                }
            }
            position = frame.next;
        }
        Ok((out, (position < end).then_some(position)))
    }

    fn sweep_shard(&self, shard: u16) -> Result<(), Error> {
        let failed = |e| Error::io("sweeping a directory", e);
        let dir = self.files.blob_dir(shard);
        for name in self.files.disk.list(&dir).map_err(failed)? {
            let Some((id, nonce)) = files::parse_blob_name(&name) else {
                continue;
            };
            // A file in flight may become a held one at any moment, so this comes first.
            if lock(&self.in_flight).contains(&(id, nonce)) {
                continue;
            }
            let path = dir.join(&name);
            let named = match self.entry(&id) {
                Ok(Some(entry)) => entry.place == Place::File { nonce },
                // The file of an entry that decayed is what that is mended from.
                Ok(None) => !self.index.view()?.has_none(Space::Blobs, &schema::blob_key(&id))?,
                Err(Error::Corrupt(_)) => true,
                Err(error) => return Err(error),
            };
            if !named && !lock(&self.doomed).names(&path) {
                files::remove(self.files.disk.as_ref(), &path).map_err(failed)?;
            }
        }
        self.cache.rescan(shard).map_err(failed)
    }
}

/// Syncs a cached file and gives it the name of a held one.
fn move_cached(shared: &Arc<Shared>, id: BlobId) -> Result<LooseFile, Error> {
    let failed = |e| Error::io("promoting a cached copy", e);
    let loose = LooseFile::new(shared, id);
    let disk = &shared.files.disk;
    let from = shared.files.cached(&id);
    let file = disk.open(&from, OpenMode::ReadWrite).map_err(failed)?;
    shared.synced("syncing a promoted copy", file.sync())?;
    disk.rename(&from, &loose.path()).map_err(failed)?;
    loose.sync_dir()?;
    Ok(loose)
}
