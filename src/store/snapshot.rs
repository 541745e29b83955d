//! A consistent view of every table. Never held across an await: it pins freed pages.

use std::ops::Bound;

use serde::de::DeserializeOwned;

use crate::types::id::{BlobId, BucketId, Incarnation};
use crate::types::name::ObjectKey;
use crate::types::object::{BlobRef, Row};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

use super::error::Error;
use super::schema::Table;

/// A consistent view of the index.
pub struct Snapshot {}

fn later() -> ! {
    std::process::abort()
}

impl Snapshot {
    pub fn record(&self, _id: &RecordId) -> Result<Option<Record>, Error> {
        later()
    }
    pub fn row(&self, _bucket: BucketId, _key: &ObjectKey) -> Result<Option<Row>, Error> {
        later()
    }
    /// Rows of a bucket in key order.
    pub fn rows(
        &self,
        _bucket: BucketId,
        _from: Bound<&ObjectKey>,
    ) -> Result<impl Iterator<Item = Result<(ObjectKey, Row), Error>> + use<>, Error> {
        Ok(std::iter::empty())
    }
    /// Up to `max` records after `after` in the order of the table, whatever their kind.
    pub fn records(
        &self,
        _after: Option<&RecordId>,
        _max: usize,
    ) -> Result<Vec<(RecordId, Record)>, Error> {
        later()
    }
    pub fn get<T: DeserializeOwned>(&self, _table: Table, _key: &[u8]) -> Result<Option<T>, Error> {
        later()
    }
    pub fn scan<T: DeserializeOwned>(
        &self,
        _table: Table,
        _prefix: &[u8],
        _after: Option<&[u8]>,
        _max: usize,
    ) -> Result<Vec<(Vec<u8>, T)>, Error> {
        later()
    }
    /// Entries of one log above `after_seq`, at most `max`.
    pub fn log(
        &self,
        _origin: RegionId,
        _incarnation: Incarnation,
        _after_seq: u64,
        _max: usize,
    ) -> Result<Vec<(u64, RecordId)>, Error> {
        later()
    }
    /// Entries up to this one are forgotten; a cursor below it needs the digests.
    pub fn log_horizon(&self, _origin: RegionId, _inc: Incarnation) -> Result<u64, Error> {
        later()
    }
    /// The last entry of every log stored here.
    pub fn heads(&self) -> Result<Vec<((RegionId, Incarnation), u64)>, Error> {
        later()
    }
    /// Whether this region holds the blob, undamaged.
    pub fn holds(&self, _id: &BlobId) -> Result<bool, Error> {
        later()
    }
    /// Held blobs above `after`, at most `max` (scrub walks them).
    pub fn blobs(&self, _after: Option<&BlobId>, _max: usize) -> Result<Vec<BlobRef>, Error> {
        later()
    }
    /// Held blobs that failed a checksum, to be fetched again.
    pub fn damaged(&self, _max: usize) -> Result<Vec<BlobRef>, Error> {
        later()
    }
    /// Which records name this blob.
    pub fn named_by(&self, _id: &BlobId, _max: usize) -> Result<Vec<RecordId>, Error> {
        later()
    }
}
