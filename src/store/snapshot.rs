//! A consistent view of every table. Never held across an await: it pins freed pages.
//!
//! Invariant: it shows only what is on stable storage.

use std::ops::Bound;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::types::id::{BlobId, BucketId, Incarnation};
use crate::types::name::ObjectKey;
use crate::types::object::{BlobRef, Row};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::usage::Usage;

use super::ahead::Ahead;
use super::error::Error;
use super::index::View;
use super::rows::Entry;
use super::schema::{self, BlobEntry, Space, Table};
use super::shared::Shared;
use super::tx::into_row;

/// A log and its last number.
pub type Head = ((RegionId, Incarnation), u64);

/// A consistent view of the index.
pub struct Snapshot {
    shared: Arc<Shared>,
    view: Arc<View>,
}

impl Snapshot {
    pub(crate) fn new(shared: Arc<Shared>, view: Arc<View>) -> Self {
        Self { shared, view }
    }

    /// What was made of one snapshot is true of any with the same number, until the next start.
    pub fn number(&self) -> u64 {
        self.view.number()
    }

    pub fn record(&self, id: &RecordId) -> Result<Option<Record>, Error> {
        self.view.record(&schema::record_key(id))
    }

    pub fn row(&self, bucket: BucketId, key: &ObjectKey) -> Result<Option<Row>, Error> {
        let record = self.view.record(&schema::row_key(bucket, key))?;
        record.map(into_row).transpose()
    }

    /// How much is in a bucket.
    pub fn usage(&self, bucket: BucketId) -> Result<Usage, Error> {
        Ok(self.decoded(Space::Usage, &bucket.0)?.unwrap_or_default())
    }

    /// Rows of a bucket in key order. The iterator keeps the snapshot alive.
    pub fn rows(
        &self,
        bucket: BucketId,
        from: Bound<&ObjectKey>,
    ) -> Result<impl Iterator<Item = Result<(ObjectKey, Row), Error>> + use<>, Error> {
        let prefix = schema::row_prefix(bucket);
        let from = match from {
            Bound::Included(key) => Bound::Included(schema::row_key(bucket, key)),
            Bound::Excluded(key) => Bound::Excluded(schema::row_key(bucket, key)),
            Bound::Unbounded => Bound::Included(prefix.clone()),
        };
        let end = schema::prefix_end(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let from = from.as_ref().map(Vec::as_slice);
        let bad = self.view.first_bad(from);
        let not_mended = || Error::corrupt("a record in the index, not mended yet");
        // One that a walk cannot even come to.
        let is_within = |bad: &Vec<u8>| bad.starts_with(&prefix);
        let missed = bad.as_ref().filter(|bad| is_within(bad)).map(|_| Err(not_mended()));
        let mut ahead = Ahead::new(Arc::clone(&self.shared), Arc::clone(&self.view));
        let rows = self.view.range(Space::Records, from, to)?;
        let rows = rows.into_iter().flatten().map(move |row| {
            let row = row?;
            ahead.note(row.key());
            if bad.as_deref().is_some_and(|bad| bad <= row.key()) {
                return Err(not_mended());
            }
            let key = ObjectKey::from_utf8(&row.key()[prefix.len()..]);
            let key = key.map_err(|e| Error::corrupt(format!("a stored object key: {e}")))?;
            Ok((key, into_row(schema::decode(row.value())?)?))
        });
        Ok(rows.chain(missed))
    }

    /// Up to `max` records after `after` in the order of the table, whatever their kind.
    pub fn records(
        &self,
        after: Option<&RecordId>,
        max: usize,
    ) -> Result<Vec<(RecordId, Record)>, Error> {
        let after = after.map(schema::record_key);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.collect(Space::Records, from, Bound::Unbounded, max, |key, value| {
            Ok((schema::record_id(key)?, schema::decode(value)?))
        })
    }

    /// Rows that keep something to be brought back, after `after` in the order of the table, at most
    /// `max`; of one bucket only, from a key prefix on, where it is given.
    pub fn kept(
        &self,
        within: Option<(BucketId, &str)>,
        after: Option<&RecordId>,
        max: usize,
    ) -> Result<Vec<(RecordId, Row)>, Error> {
        let prefix = match within {
            Some((bucket, prefix)) => [&schema::row_prefix(bucket), prefix.as_bytes()].concat(),
            None => Vec::new(),
        };
        let end = schema::prefix_end(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let after = after.map(schema::record_key).filter(|after| *after >= prefix);
        let from = match &after {
            Some(after) => Bound::Excluded(after.as_slice()),
            None => Bound::Included(prefix.as_slice()),
        };
        let ids = self.collect(Space::Kept, from, to, max, |key, _| {
            Ok((schema::record_id(key)?, key.to_vec()))
        })?;
        ids.into_iter()
            .map(|(id, key)| {
                let record = self.decoded(Space::Records, &key)?;
                let record = record.ok_or_else(|| Error::corrupt("a kept row is not there"))?;
                Ok((id, into_row(record)?))
            })
            .collect()
    }

    pub fn get<T: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<T>, Error> {
        self.decoded(table.space(), key)
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
        self.collect(table.space(), from, to, max, |key, value| {
            Ok((key.to_vec(), schema::decode(value)?))
        })
    }

    /// Entries of one log above `after_seq`, at most `max`.
    pub fn log(
        &self,
        origin: RegionId,
        incarnation: Incarnation,
        after_seq: u64,
        max: usize,
    ) -> Result<Vec<(u64, RecordId)>, Error> {
        let from = schema::log_key(origin, incarnation, after_seq);
        let to = schema::log_key(origin, incarnation, u64::MAX);
        let bounds = (Bound::Excluded(from.as_slice()), Bound::Included(to.as_slice()));
        self.collect(Space::Log, bounds.0, bounds.1, max, |key, value| {
            let seq = key.get(schema::ORIGIN_KEY_BYTES..).unwrap_or_default();
            Ok((schema::number(seq)?, schema::record_id(value)?))
        })
    }

    /// Entries up to this one are forgotten; a cursor below it needs the digests.
    pub fn log_horizon(&self, origin: RegionId, incarnation: Incarnation) -> Result<u64, Error> {
        let key = schema::origin_key(origin, incarnation);
        Ok(self.view.get(Space::Horizon, &key, schema::number)?.transpose()?.unwrap_or(0))
    }

    /// The last entry of every log stored here.
    pub fn heads(&self) -> Result<Vec<Head>, Error> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        self.collect(Space::Heads, all.0, all.1, usize::MAX, |key, value| {
            Ok((schema::parse_origin(key)?, schema::number(value)?))
        })
    }

    /// Whether this region holds the blob, undamaged.
    pub fn holds(&self, id: &BlobId) -> Result<bool, Error> {
        let key = schema::blob_key(id);
        Ok(self.view.get(Space::Blobs, &key, |_| ())?.is_some()
            && self.view.get(Space::Damaged, &key, |_| ())?.is_none())
    }

    /// How many records there are, of every kind.
    pub fn record_count(&self) -> Result<u64, Error> {
        self.view.count(Space::Records)
    }

    /// A held blob that failed a checksum.
    pub fn is_damaged(&self, id: &BlobId) -> Result<bool, Error> {
        Ok(self.view.get(Space::Damaged, &schema::blob_key(id), |_| ())?.is_some())
    }

    /// Held blobs above `after`, at most `max` (scrub walks them).
    pub fn blobs(&self, after: Option<&BlobId>, max: usize) -> Result<Vec<BlobRef>, Error> {
        let after = after.map(schema::blob_key);
        let from = after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
        self.collect(Space::Blobs, from, Bound::Unbounded, max, |key, value| {
            Ok(BlobEntry::decode(value)?.blob(schema::blob_id(key)?))
        })
    }

    /// Held blobs that failed a checksum, to be fetched again.
    pub fn damaged(&self, max: usize) -> Result<Vec<BlobRef>, Error> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let ids = self.collect(Space::Damaged, all.0, all.1, max, |key, _| schema::blob_id(key))?;
        let blob = |id: BlobId| Ok(self.blob_entry(&id)?.map(|entry| entry.blob(id)));
        ids.into_iter().filter_map(|id| blob(id).transpose()).collect()
    }

    /// Which records name this blob.
    pub fn named_by(&self, id: &BlobId, max: usize) -> Result<Vec<RecordId>, Error> {
        let prefix = schema::ref_key(id, Space::Records, &[]);
        let end = schema::prefix_end(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.collect(Space::Refs, Bound::Included(&prefix), to, max, |key, _| {
            schema::record_id(key.get(prefix.len()..).unwrap_or_default())
        })
    }

    pub(crate) fn blob_entry(&self, id: &BlobId) -> Result<Option<BlobEntry>, Error> {
        self.view.get(Space::Blobs, &schema::blob_key(id), BlobEntry::decode)?.transpose()
    }

    fn decoded<T: DeserializeOwned>(&self, space: Space, key: &[u8]) -> Result<Option<T>, Error> {
        self.view.get(space, key, schema::decode)?.transpose()
    }

    fn collect<T>(
        &self,
        space: Space,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        max: usize,
        read: impl Fn(&[u8], &[u8]) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let rows = self.view.range(space, from, to)?.into_iter().flatten();
        let is_told = move |row: &Result<Entry, Error>| match row {
            Err(error) => !(space.is_passed_over() && self.view.goes_on_past(error)),
            Ok(_) => true,
        };
        rows.filter(is_told)
            .take(max)
            .map(|row| {
                let row = row?;
                read(row.key(), row.value())
            })
            .collect()
    }
}
