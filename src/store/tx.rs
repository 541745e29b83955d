//! One change being made: reads see what it wrote.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::id::{BlobId, BucketId, Incarnation};
use crate::types::name::ObjectKey;
use crate::types::object::Row;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

use super::blobs::SealedBlob;
use super::error::Error;
use super::schema::Table;

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

/// A change under way in the writer.
pub struct Tx<'a> {
    _batch: PhantomData<&'a ()>,
}

fn later() -> ! {
    std::process::abort()
}

impl Tx<'_> {
    /// Milliseconds since 1970 at the start of this batch.
    pub fn now_ms(&self) -> u64 {
        later()
    }
    pub fn record(&self, _id: &RecordId) -> Result<Option<Record>, Error> {
        later()
    }
    pub fn row(&self, _bucket: BucketId, _key: &ObjectKey) -> Result<Option<Row>, Error> {
        later()
    }
    /// Merges by `logic::merge`; keeps log, digest leaf and blob references.
    pub fn merge(
        &mut self,
        _id: RecordId,
        _incoming: Record,
        _source: Source,
    ) -> Result<Merged, Error> {
        later()
    }
    /// Drops a record wholly (a tombstone that every region has passed).
    pub fn forget(&mut self, _id: &RecordId) -> Result<(), Error> {
        later()
    }
    /// These bytes are held here from this change on.
    pub fn attach(&mut self, _blob: SealedBlob) -> Result<(), Error> {
        later()
    }
    /// Whether this region holds the blob, undamaged.
    pub fn holds(&self, _id: &BlobId) -> Result<bool, Error> {
        later()
    }
    pub fn get<T: DeserializeOwned>(&self, _table: Table, _key: &[u8]) -> Result<Option<T>, Error> {
        later()
    }
    pub fn put<T: Serialize>(
        &mut self,
        _table: Table,
        _key: &[u8],
        _value: &T,
    ) -> Result<(), Error> {
        later()
    }
    /// As `put`, and the entry keeps `blobs` from being freed until it is replaced or deleted
    /// (pending writes).
    pub fn put_holding<T: Serialize>(
        &mut self,
        _table: Table,
        _key: &[u8],
        _value: &T,
        _blobs: &[BlobId],
    ) -> Result<(), Error> {
        later()
    }
    pub fn delete(&mut self, _table: Table, _key: &[u8]) -> Result<(), Error> {
        later()
    }
    /// Up to `max` entries whose key begins with `prefix`, above `after`, in key order.
    pub fn scan<T: DeserializeOwned>(
        &self,
        _table: Table,
        _prefix: &[u8],
        _after: Option<&[u8]>,
        _max: usize,
    ) -> Result<Vec<(Vec<u8>, T)>, Error> {
        later()
    }
    /// The last number of a log that is stored here; 0 for none.
    pub fn head(&self, _origin: RegionId, _incarnation: Incarnation) -> Result<u64, Error> {
        later()
    }
    /// Forgets log entries up to and with `through`.
    pub fn trim_log(
        &mut self,
        _origin: RegionId,
        _incarnation: Incarnation,
        _through: u64,
    ) -> Result<(), Error> {
        later()
    }
}
