//! One change being made in the writer: reads see what it wrote.
//!
//! Invariant: nothing here touches the disk or the index; the writer keeps or drops the whole
//! change.

use std::collections::BTreeSet;
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::logic::merge;
use crate::types::id::{BlobId, BucketId, Hash, Incarnation};
use crate::types::name::ObjectKey;
use crate::types::object::{BlobRef, Row};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

use super::blobs::SealedBlob;
use super::error::Error;
use super::layer::Layer;
use super::schema::{self, BlobEntry, Place, Space, Table};

/// Keys of callers' tables are at most this long.
const KEY_BYTES_MAX: usize = 4096;

/// Where an incoming record came from, which decides how it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Anti-entropy: no log entry.
    Digest,
    /// Made here: appended to this incarnation's log when it changed anything.
    Local,
    /// Entry `seq` of another log; stored under it whether or not it changed anything, so that
    /// anyone can relay it.
    Log { origin: RegionId, incarnation: Incarnation, seq: u64 },
}

/// What [`Tx::merge`] did.
#[derive(Clone, Debug)]
pub struct Merged {
    pub changed: bool,
    /// The state after the merge.
    pub record: Record,
    /// Number in this incarnation's log, for a local change.
    pub seq: Option<u64>,
}

/// Whose log local changes go to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub region: RegionId,
    pub incarnation: Incarnation,
}

/// A change under way in the writer.
pub struct Tx<'a> {
    pub(crate) layer: Layer<'a>,
    /// Bytes that the change attaches; their place is known when the change is kept.
    pub(crate) attached: Vec<SealedBlob>,
    own: Own,
    now_ms: u64,
    has_room: bool,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(layer: Layer<'a>, own: Own, now_ms: u64, has_room: bool) -> Self {
        Self { layer, attached: Vec::new(), own, now_ms, has_room }
    }

    /// The disk takes new objects; without room it takes deletions and what they need.
    pub fn has_room(&self) -> bool {
        self.has_room
    }

    /// Milliseconds since 1970 at the start of this batch.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    pub fn record(&self, id: &RecordId) -> Result<Option<Record>, Error> {
        self.layer.record(&schema::record_key(id))
    }

    pub fn row(&self, bucket: BucketId, key: &ObjectKey) -> Result<Option<Row>, Error> {
        self.layer.record(&schema::row_key(bucket, key))?.map(into_row).transpose()
    }

    /// Merges by `logic::merge`; keeps log, digest leaf and blob references.
    pub fn merge(
        &mut self,
        id: RecordId,
        incoming: Record,
        source: Source,
    ) -> Result<Merged, Error> {
        let key = schema::record_key(&id);
        check_key(&key)?;
        let old = self.layer.record(&key)?;
        let merged = merge::merge(old.clone(), incoming);
        if merged.changed {
            let new = Some(&merged.record);
            self.layer.change_record(key.clone(), old.as_ref(), new)?;
        }
        let seq = match source {
            Source::Digest => None,
            Source::Local if !merged.changed => None,
            Source::Local => {
                let Own { region, incarnation } = self.own;
                let seq = self.head(region, incarnation)? + 1;
                self.layer.change(
                    Space::Log,
                    &schema::log_key(region, incarnation, seq),
                    Some(key),
                )?;
                Some(seq)
            }
            Source::Log { origin, incarnation, seq } => {
                self.layer.change(
                    Space::Log,
                    &schema::log_key(origin, incarnation, seq),
                    Some(key),
                )?;
                None
            }
        };
        Ok(Merged { changed: merged.changed, record: merged.record, seq })
    }

    /// Drops a record wholly (a tombstone that every region has passed).
    pub fn forget(&mut self, id: &RecordId) -> Result<(), Error> {
        let key = schema::record_key(id);
        match self.layer.record(&key)? {
            Some(old) => self.layer.change_record(key, Some(&old), None),
            None => Ok(()),
        }
    }

    /// Says what every region knows with fewer words, and tells nobody (notes of erased versions
    /// that every region has passed).
    pub fn shorten(&mut self, id: &RecordId, shorter: &Record) -> Result<(), Error> {
        let key = schema::record_key(id);
        let old = self.layer.record(&key)?;
        self.layer.change_record(key, old.as_ref(), Some(shorter))
    }

    /// These bytes are held here from this change on. A blob that is held already, undamaged,
    /// stays as it is.
    pub fn attach(&mut self, blob: SealedBlob) -> Result<(), Error> {
        if !self.holds(&blob.blob().id)? {
            self.attached.push(blob);
        }
        Ok(())
    }

    /// Compaction: the same bytes at a new place, if they are still at the old one.
    pub(crate) fn rehome(&mut self, blob: SealedBlob, from: Place) -> Result<bool, Error> {
        let still = match self.layer.blob_entry(&blob.blob().id) {
            Err(Error::Corrupt(_)) => false,
            entry => entry?.is_some_and(|entry| entry.place == from),
        };
        if still {
            self.attached.push(blob);
        }
        Ok(still)
    }

    /// Whether this region holds the blob, undamaged.
    pub fn holds(&self, id: &BlobId) -> Result<bool, Error> {
        if self.attached.iter().any(|blob| blob.blob().id == *id) {
            return Ok(true);
        }
        let key = schema::blob_key(id);
        match self.layer.contains(Space::Blobs, &key) {
            // Its bytes cannot be read before that is mended.
            Ok(false) | Err(Error::Corrupt(_)) => Ok(false),
            Ok(true) => Ok(!self.layer.may_contain(Space::Damaged, &key)?),
            Err(error) => Err(error),
        }
    }

    /// A held blob that failed a checksum.
    pub fn is_damaged(&self, id: &BlobId) -> Result<bool, Error> {
        self.layer.contains(Space::Damaged, &schema::blob_key(id))
    }

    pub fn get<T: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<T>, Error> {
        self.layer.get(table.space(), key, schema::decode)?.transpose()
    }

    pub fn put<T: Serialize>(&mut self, table: Table, key: &[u8], value: &T) -> Result<(), Error> {
        check_key(key)?;
        self.layer.change(table.space(), key, Some(schema::encode(value)))
    }

    /// As `put`, and the entry keeps `blobs` from being freed until it is deleted or put so again
    /// (pending writes).
    pub fn put_holding<T: Serialize>(
        &mut self,
        table: Table,
        key: &[u8],
        value: &T,
        blobs: &[BlobId],
    ) -> Result<(), Error> {
        self.put(table, key, value)?;
        let blobs: BTreeSet<BlobId> = blobs.iter().copied().collect();
        self.layer.change(Space::Holding, &holding_key(table, key), Some(schema::encode(&blobs)))
    }

    pub fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Error> {
        check_key(key)?;
        let holding = holding_key(table, key);
        if self.layer.may_contain(Space::Holding, &holding)? {
            self.layer.change(Space::Holding, &holding, None)?;
        }
        if self.layer.may_contain(table.space(), key)? {
            self.layer.change(table.space(), key, None)?;
        }
        Ok(())
    }

    /// Up to `max` entries whose key begins with `prefix`, above `after`, in key order.
    pub fn scan<T: DeserializeOwned>(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<(Vec<u8>, T)>, Error> {
        let end = schema::prefix_end(prefix);
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.layer.scan(table.space(), from, to, max)?;
        rows.into_iter().map(|(key, value)| Ok((key, schema::decode(&value)?))).collect()
    }

    /// The last number of a log that is stored here; 0 for none.
    pub fn head(&self, origin: RegionId, incarnation: Incarnation) -> Result<u64, Error> {
        self.layer.head(&schema::origin_key(origin, incarnation))
    }

    /// Forgets log entries up to and with `through`, a bounded number at once; answers how far it
    /// came.
    pub fn trim_log(
        &mut self,
        origin: RegionId,
        incarnation: Incarnation,
        through: u64,
    ) -> Result<u64, Error> {
        let key = schema::origin_key(origin, incarnation);
        let reached = self.layer.trim_step(&key, through)?;
        let before = self.layer.get(Space::Horizon, &key, schema::number)?.transpose()?;
        if before.is_none_or(|before| before < reached) {
            self.layer.change(Space::Horizon, &key, Some(reached.to_be_bytes().to_vec()))?;
        }
        Ok(reached)
    }

    /// Lets a held blob go unless something else than this record names it; whether it went.
    pub fn release_of(&mut self, id: &BlobId, namer: &RecordId) -> Result<bool, Error> {
        let own = schema::ref_key(id, Space::Records, &schema::record_key(namer));
        if self.layer.is_named(id, Some(&own))? {
            return Ok(false);
        }
        self.release(id)
    }

    /// Removes the entry of a held blob; its bytes go when that is durable in the index.
    pub(crate) fn release(&mut self, id: &BlobId) -> Result<bool, Error> {
        let key = schema::blob_key(id);
        if !self.layer.may_contain(Space::Blobs, &key)? {
            return Ok(false);
        }
        self.layer.change(Space::Blobs, &key, None)?;
        for space in [Space::Manifests, Space::Damaged] {
            if self.layer.may_contain(space, &key)? {
                self.layer.change(space, &key, None)?;
            }
        }
        Ok(true)
    }

    /// The bytes of these are at `place` from now on.
    pub(crate) fn settle(&mut self, blob: &SealedBlob, place: Place) -> Result<(), Error> {
        self.settle_at(&blob.blob(), blob.manifest().hashes(), place)
    }

    /// The same of bytes whose manifest has these hashes.
    pub(crate) fn settle_at(
        &mut self,
        blob: &BlobRef,
        hashes: &[Hash],
        place: Place,
    ) -> Result<(), Error> {
        let BlobRef { id, len, root } = *blob;
        let key = schema::blob_key(&id);
        let large = hashes.len() > schema::ENTRY_CHUNKS_MAX;
        let entry = BlobEntry {
            len,
            root,
            place,
            hashes: if large { Vec::new() } else { hashes.to_vec() },
        };
        self.layer.change(Space::Blobs, &key, Some(entry.encode()))?;
        if large {
            self.settle_manifest(&id, hashes)?;
        } else {
            self.undamage(&key)?;
        }
        self.layer.touched.insert(id);
        Ok(())
    }

    /// The manifest of a large blob, whose bytes are whole.
    pub(crate) fn settle_manifest(&mut self, id: &BlobId, hashes: &[Hash]) -> Result<(), Error> {
        let key = schema::blob_key(id);
        self.layer.change(Space::Manifests, &key, Some(schema::encode_hashes(hashes)))?;
        self.undamage(&key)
    }

    fn undamage(&mut self, key: &[u8]) -> Result<(), Error> {
        if self.layer.may_contain(Space::Damaged, key)? {
            self.layer.change(Space::Damaged, key, None)?;
        }
        Ok(())
    }

    /// Notes the blobs that nothing names at the end of this change: garbage after the grace.
    pub(crate) fn note_garbage(&mut self, grace_ms: u64) -> Result<(), Error> {
        let due_ms = self.now_ms.saturating_add(grace_ms);
        for id in std::mem::take(&mut self.layer.touched) {
            let key = schema::blob_key(&id);
            if self.layer.may_contain(Space::Blobs, &key)? && !self.layer.is_named(&id, None)? {
                let key = schema::garbage_key(due_ms, &id);
                self.layer.change(Space::Garbage, &key, Some(Vec::new()))?;
            }
        }
        Ok(())
    }
}

/// The row of a record that is stored under a row's key.
pub(crate) fn into_row(record: Record) -> Result<Row, Error> {
    match record {
        Record::Row(row) => Ok(row),
        Record::Bucket(_)
        | Record::Name(_)
        | Record::AccessKey(_)
        | Record::Members(_)
        | Record::Upload(_)
        | Record::Part(_) => Err(Error::corrupt("another kind of record under a row's key")),
    }
}

fn holding_key(table: Table, key: &[u8]) -> Vec<u8> {
    [&[table.space().number()], key].concat()
}

fn check_key(key: &[u8]) -> Result<(), Error> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::TooLarge { bytes: key.len() as u64 });
    }
    Ok(())
}
