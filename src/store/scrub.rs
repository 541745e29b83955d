//! Looking for decay: what is held, logged and cached is read from the disk and compared with its
//! checksums, a small piece at a time, so that the caller sets the pace.
//!
//! Invariant: nothing is taken away here but cached copies. A held blob that fails is noted as
//! damaged, and is not served, until whole bytes take its place.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use crate::types::id::BlobId;
use crate::types::object::BlobRef;
use crate::types::record::{Record, RecordId};

use super::blobs::{self, SealedBlob};
use super::codec::Kind;
use super::digest;
use super::entries::Passed;
use super::error::Error;
use super::index::Spot;
use super::schema::{self, BlobEntry, Place, Space};
use super::segment::{Found, Position, Reader};
use super::shared::Shared;
use super::tx::Tx;
use super::{Store, lock};

/// Bytes of the log that one step checks.
const LOG_STEP_BYTES: u64 = 4 << 20;

/// How far the log was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMark {
    segment: u64,
    offset: u64,
}

/// What one step over the log came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogChecked {
    /// Where to go on; `None` at the end.
    pub next: Option<LogMark>,
    /// Bytes that were read.
    pub bytes: u64,
    /// Stretches that are no frames any more.
    pub bad: u64,
    /// Whole bodies that were moved out of such stretches.
    pub moved: u64,
}

impl Store {
    /// Reads one chunk of a held blob from the disk; false when it is damaged, which is noted then,
    /// or not held any more.
    pub async fn check_chunk(&self, blob: &BlobRef, index: u32) -> Result<bool, Error> {
        match self.held_chunk(blob, index).await {
            Ok(found) => Ok(found.is_some()),
            Err(Error::Corrupt(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Looks again at a blob that is noted as damaged: when it is whole after all, because the disk
    /// failed for a moment only, the note goes.
    pub async fn recheck(&self, blob: &BlobRef) -> Result<bool, Error> {
        let mut index = 0;
        while blobs::chunk_len(blob.len, index).is_some() {
            if !self.check_chunk(blob, index).await? {
                return Ok(false);
            }
            index += 1;
        }
        let key = schema::blob_key(&blob.id);
        self.write(move |tx| {
            if tx.layer.contains(Space::Damaged, &key)? {
                tx.layer.change(Space::Damaged, &key, None)?;
            }
            Ok(())
        })
        .await?;
        Ok(true)
    }

    /// Checks the next stretch of the log. Frames that are damaged are needed for two things, and
    /// both are made good here: changes that no durable commit of the index has passed are made
    /// durable in it, and bodies that are whole are moved to the end of the log. Bodies that are
    /// not are noted as damaged.
    pub async fn check_log(&self, from: LogMark) -> Result<LogChecked, Error> {
        let shared = Arc::clone(&self.shared);
        let (mut checked, bad) = self.shared.env.blocking(move || shared.check_log(from)).await?;
        if bad.is_empty() {
            return Ok(checked);
        }
        checked.bad = bad.len() as u64;
        let segment = bad[0].0;
        tracing::error!(segment, stretches = checked.bad, "a part of the log is damaged");
        // From here on nothing replays what is damaged.
        self.checkpoint().await?;
        let shared = Arc::clone(&self.shared);
        for (blob, place) in self.shared.env.blocking(move || shared.blobs_between(&bad)).await? {
            checked.moved += u64::from(self.move_body(&blob, place).await?);
        }
        Ok(checked)
    }

    /// Compares the records of one leaf of the digest tree with their digests; answers how many. What
    /// does not fit is noted.
    pub async fn check_records(&self, leaf: u16) -> Result<u64, Error> {
        let shared = Arc::clone(&self.shared);
        self.shared.env.blocking(move || shared.check_records(leaf)).await
    }

    /// Records that do not fit their digests.
    pub fn bad_records(&self) -> Vec<RecordId> {
        let bad = self.shared.index.decay().records();
        bad.iter().filter_map(|key| schema::record_id(key).ok()).collect()
    }

    /// What this region's index says of a record that is damaged: the digest that it should have,
    /// and that of the bytes that are there. One of the two is sound.
    pub fn digests_of(&self, id: &RecordId) -> Result<Vec<[u8; 32]>, Error> {
        let key = schema::record_key(id);
        let view = self.shared.index.view()?;
        let leaf_key = schema::leaf_key(digest::leaf_of(&key), &key);
        let expected = view.get_raw(Space::Leaves, &leaf_key, |bytes| bytes.try_into().ok())?;
        let stored =
            view.get_raw(Space::Records, &key, |bytes| digest::digest_of_bytes(&key, bytes))?;
        Ok(expected.flatten().into_iter().chain(stored).collect())
    }

    /// Puts a sound record in the place of a damaged one.
    pub async fn replace_record(&self, id: RecordId, record: Record) -> Result<bool, Error> {
        let key = schema::record_key(&id);
        let shared = Arc::clone(&self.shared);
        self.write(move |tx| {
            let damaged = matches!(tx.layer.record(&key), Err(Error::Corrupt(_)));
            if damaged {
                tx.layer.change(Space::Records, &key, Some(schema::encode(&record)))?;
            }
            shared.index.decay().records().remove(&key);
            Ok(damaged)
        })
        .await
    }

    /// Looks for records whose keys decayed: no digest says that there is one of that key, and a list
    /// stops before it. The record that it was is found by its digest, and is put back.
    pub async fn put_back_strays(&self) -> Result<u64, Error> {
        let shared = Arc::clone(&self.shared);
        if self.shared.env.blocking(move || shared.strays()).await?.is_empty() {
            return Ok(0);
        }
        for leaf in 0..=u16::MAX {
            self.check_records(leaf).await?;
        }
        let shared = Arc::clone(&self.shared);
        let strays = self.shared.env.blocking(move || shared.strays()).await?;
        let count = strays.len() as u64;
        for Stray { spot, value } in strays {
            let shared = Arc::clone(&self.shared);
            let home = self.shared.env.blocking(move || shared.home_of(&value)).await?;
            // In the writer, which alone changes the index; no frame has it, so none takes it out.
            let shared = Arc::clone(&self.shared);
            let key = spot.key.clone();
            let took = move |_: &mut Tx<'_>| shared.index.take_out(Space::Records, &[spot]);
            self.write(took).await?;
            self.shared.index.decay().records().remove(&key);
            if let Some((id, record)) = home {
                tracing::warn!(?id, "a record whose key had decayed is put back");
                self.replace_record(id, record).await?;
            }
        }
        Ok(count)
    }

    /// Copies a body to the end of the log if it is whole.
    async fn move_body(&self, blob: &BlobRef, place: Place) -> Result<bool, Error> {
        match self.held_chunk(blob, 0).await {
            Ok(Some(bytes)) => {
                let sealed = SealedBlob::small(blob.id, bytes);
                self.write(move |tx| tx.rehome(sealed, place)).await
            }
            Ok(None) | Err(Error::Corrupt(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Checks the next cached copy after `after`; a damaged one is thrown away. `None` at the end.
    pub async fn check_cached(&self, after: Option<BlobId>) -> Option<CacheChecked> {
        let (id, bytes, whole) = self.shared.cache.check(&self.shared.env, after).await?;
        Some(CacheChecked { id, bytes, whole })
    }

    /// Held blobs and their bytes. Walks over all of them.
    pub async fn held(&self) -> Result<Held, Error> {
        let shared = Arc::clone(&self.shared);
        self.shared.env.blocking(move || shared.count_held()).await
    }
}

/// A cached copy that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheChecked {
    pub id: BlobId,
    pub bytes: u64,
    pub whole: bool,
}

/// How much this region holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub blobs: u64,
    pub bytes: u64,
}

/// A record whose key decayed.
struct Stray {
    spot: Spot,
    value: Vec<u8>,
}

/// A stretch of a segment.
type Stretch = (u64, u64, u64);

impl Shared {
    /// The bad stretches of the next step, and how far it came.
    fn check_log(&self, from: LogMark) -> Result<(LogChecked, Vec<Stretch>), Error> {
        let (segment, end) = {
            let segments = lock(&self.segments);
            match segments.infos.range(from.segment..).next() {
                Some((segment, info)) => (*segment, info.len),
                None => return Ok((LogChecked::default(), Vec::new())),
            }
        };
        let start = if segment == from.segment { from.offset } else { 0 };
        let mut checked = LogChecked::default();
        let scanned = self.scan_frames(segment, start, end);
        let gone = !lock(&self.segments).infos.contains_key(&segment);
        let (reached, bad) = match scanned {
            Ok(found) => found,
            Err(_) if gone => (end, Vec::new()),
            // What cannot be read at all: each body is looked at by itself.
            Err(error) => {
                tracing::error!(segment, %error, "a segment cannot be read");
                (end, vec![(segment, start, end)])
            }
        };
        checked.bytes = reached.saturating_sub(start);
        let after = if reached < end {
            LogMark { segment, offset: reached }
        } else {
            LogMark { segment: segment + 1, offset: 0 }
        };
        let more = lock(&self.segments).infos.range(after.segment..).next().is_some();
        checked.next = more.then_some(after);
        Ok((checked, bad))
    }

    /// Goes from frame to frame; answers how far, and what is none.
    fn scan_frames(
        &self,
        segment: u64,
        start: u64,
        end: u64,
    ) -> Result<(u64, Vec<Stretch>), Error> {
        let mut reader = Reader::new(self.files.open_segment(segment)?, segment)?;
        let (mut at, mut bad) = (start, Vec::new());
        while at < end && at - start < LOG_STEP_BYTES {
            at = match reader.at(at)? {
                Found::Frame(frame) if frame.kind == Kind::Seal => end,
                Found::Frame(frame) => frame.next,
                Found::Bad | Found::End => {
                    let next = reader.seek(at)?.map_or(end, |frame| frame.position).min(end);
                    bad.push((segment, at, next));
                    next
                }
            };
        }
        Ok((at.min(end), bad))
    }

    /// The held blobs whose bytes begin in one of these stretches. Walks over all: for damage only.
    /// Where the bytes of an entry that decayed are is found out when it is mended, and checked.
    fn blobs_between(&self, stretches: &[Stretch]) -> Result<Vec<(BlobRef, Place)>, Error> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let within = |at: Position| {
            stretches
                .iter()
                .any(|(s, from, to)| at.segment == *s && (*from..*to).contains(&at.offset))
        };
        let mut out = Vec::new();
        let view = self.index.view()?;
        for row in view.range(Space::Blobs, all.0, all.1)?.into_iter().flatten() {
            let row = match row {
                Err(error) if view.goes_on_past(&error) => continue,
                row => row?,
            };
            let entry = BlobEntry::decode(row.value())?;
            if let Place::Segment { segment, position } = entry.place
                && within(Position { segment, offset: position })
            {
                out.push((entry.blob(schema::blob_id(row.key())?), entry.place));
            }
        }
        Ok(out)
    }

    fn check_records(&self, leaf: u16) -> Result<u64, Error> {
        let view = self.index.view()?;
        let prefix = leaf.to_be_bytes();
        let end = schema::prefix_end(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut count = 0;
        let rows = view.range_raw(Space::Leaves, Bound::Included(&prefix), to)?;
        for row in rows.into_iter().flatten() {
            let row = row?;
            count += 1;
            match view.record(schema::record_of_leaf(row.key())) {
                Ok(_) | Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// Records whose checksum does not fit, under keys of which nothing says that they are there (a
    /// record that lost its digest alone is none of them). They may be out of order, so that they are
    /// found by walking alone; where nothing is suspected nobody walks.
    fn strays(&self) -> Result<Vec<Stray>, Error> {
        let mut bad = self.index.decay().records().clone();
        let view = self.index.view()?;
        let mut known = BTreeSet::new();
        for key in &bad {
            let leaf_key = schema::leaf_key(digest::leaf_of(key), key);
            if view.get_raw(Space::Leaves, &leaf_key, |_| ())?.is_some() {
                known.insert(key.clone());
            }
        }
        bad.retain(|key| !known.contains(key));
        let mut out = Vec::new();
        if bad.is_empty() {
            return Ok(out);
        }
        let (all, mut passed) = ((Bound::Unbounded, Bound::Unbounded), Passed::default());
        for row in view.range_raw(Space::Records, all.0, all.1)?.into_iter().flatten() {
            let row = row?;
            if !row.is_sound() && bad.contains(row.key()) {
                out.push(Stray { spot: passed.spot(&row), value: row.value().to_vec() });
            } else {
                passed.note(row.key());
            }
        }
        Ok(out)
    }

    /// The damaged record whose digest these bytes have.
    fn home_of(&self, value: &[u8]) -> Result<Option<(RecordId, Record)>, Error> {
        let bad: Vec<Vec<u8>> = self.index.decay().records().iter().cloned().collect();
        let view = self.index.view()?;
        for key in bad {
            let leaf_key = schema::leaf_key(digest::leaf_of(&key), &key);
            let expected = view.get_raw(Space::Leaves, &leaf_key, <[u8]>::to_vec)?;
            if expected.as_deref() == Some(&digest::digest_of_bytes(&key, value)) {
                return Ok(Some((schema::record_id(&key)?, schema::decode(value)?)));
            }
        }
        Ok(None)
    }

    fn count_held(&self) -> Result<Held, Error> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut held = Held::default();
        let view = self.index.view()?;
        for row in view.range(Space::Blobs, all.0, all.1)?.into_iter().flatten() {
            let row = match row {
                // Said by `check_entries`; a figure for people does not stop at it.
                Err(error) if view.goes_on_past(&error) => continue,
                row => row?,
            };
            held.blobs += 1;
            held.bytes += BlobEntry::decode(row.value()).map_or(0, |entry| entry.len);
        }
        Ok(held)
    }
}
