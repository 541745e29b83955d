//! Changes as they travel: the current state of each record of a stretch of a log, with the bodies
//! that ride in it.
//!
//! Invariant: every position of the stretch is accounted for, so that whoever applied the batch can
//! give the same stretch to others.

use std::collections::BTreeMap;

use crate::limits;
use crate::net::message::{Carried, Change, ChangeBody, LogBatch};
use crate::store::{self, Store};
use crate::types::id::Incarnation;
use crate::types::object::{BlobRef, Content, Row, Version};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

/// Encodes a record with the bodies that ride in it, as far as they are here.
pub(super) async fn encode(
    store: &Store,
    id: &RecordId,
    record: &Record,
) -> Result<Carried, store::Error> {
    let entry = postcard::to_allocvec(&(id, record))
        .map_err(|why| store::Error::Corrupt(format!("a record does not encode: {why}").into()))?;
    let mut bodies = Vec::new();
    for blob in riding(record) {
        match store.chunk(&blob, 0).await {
            Ok(Some((bytes, _))) => bodies.push((blob.id, bytes)),
            Ok(None) => {}
            // The record goes without it; its readers find the bytes elsewhere.
            Err(store::Error::Corrupt(why)) => tracing::error!(blob = %blob.id, %why, "damaged"),
            Err(why) => return Err(why),
        }
    }
    Ok(Carried { entry: entry.into(), bodies })
}

/// What a record weighs in a message.
pub(super) fn carried_bytes(carried: &Carried) -> usize {
    carried.entry.len() + carried.bodies.iter().map(|(_, body)| body.len()).sum::<usize>()
}

/// Decodes and checks what came from a peer; the error says what is wrong with it.
pub(super) fn decode(entry: &[u8]) -> Result<(RecordId, Record), String> {
    let (id, record): (RecordId, Record) =
        postcard::from_bytes(entry).map_err(|why| format!("does not decode: {why}"))?;
    check(&id, &record)?;
    Ok((id, record))
}

/// The blobs that travel with a record: as many as fit in a message, those of new versions first.
pub(super) fn riding(record: &Record) -> Vec<BlobRef> {
    let Record::Row(row) = record else { return Vec::new() };
    let objects = row.versions.iter().filter_map(|version| match &version.content {
        Content::Object(meta) if meta.rides => Some(meta),
        Content::Object(_) | Content::Marker | Content::Tombstone => None,
    });
    objects
        .flat_map(|meta| meta.parts.iter().map(|part| part.blob))
        .filter(|blob| blob.len <= u64::from(limits::RIDING_BYTES_MAX))
        .scan(limits::LOSERS_MAX as u64 * u64::from(limits::RIDING_BYTES_MAX), |left, blob| {
            *left = left.checked_sub(blob.len)?;
            Some(blob)
        })
        .collect()
}

/// The blobs of every version of a row.
pub(super) fn blobs_of(record: &Record) -> Vec<BlobRef> {
    let Record::Row(row) = record else { return Vec::new() };
    let metas = row.versions.iter().filter_map(Version::object);
    metas.flat_map(|meta| meta.parts.iter().map(|part| part.blob)).collect()
}

/// A record under an id of its kind.
pub(super) fn same_kind(id: &RecordId, record: &Record) -> bool {
    matches!(
        (id, record),
        (RecordId::Row(..), Record::Row(_))
            | (RecordId::Bucket(_), Record::Bucket(_))
            | (RecordId::Name(_), Record::Name(_))
            | (RecordId::AccessKey(_), Record::AccessKey(_))
            | (RecordId::Upload(_), Record::Upload(_))
            | (RecordId::Part(..), Record::Part(_))
            | (RecordId::Members, Record::Members(_))
    )
}

fn check(id: &RecordId, record: &Record) -> Result<(), String> {
    match record {
        _ if !same_kind(id, record) => Err(format!("{id:?} with a record of another kind")),
        Record::Row(row) => check_row(row),
        Record::AccessKey(_)
        | Record::Members(_)
        | Record::Bucket(_)
        | Record::Name(_)
        | Record::Part(_)
        | Record::Upload(_) => Ok(()),
    }
}

fn check_row(row: &Row) -> Result<(), String> {
    if *row == Row::default() {
        return Err("a row without versions".to_owned());
    }
    if !row.versions.windows(2).all(|pair| pair[0].stamp > pair[1].stamp) {
        return Err("versions out of order".to_owned());
    }
    if row.versions.iter().any(|version| version.replaces >= version.stamp) {
        return Err("a version that replaces itself".to_owned());
    }
    if row.cover.spared.keys().any(|stamp| !row.cover.reaches(*stamp)) {
        return Err("a cover that spares more than it covers".to_owned());
    }
    if row.cover.stamps_seen().any(|stamp| stamp <= row.cover.floor) {
        return Err("a cover that says twice what was seen".to_owned());
    }
    Ok(())
}

/// Every stamp by which a change is known in this record.
pub(super) fn stamps(record: &Record) -> Vec<crate::types::stamp::Stamp> {
    match record {
        Record::Row(row) => {
            let made = row.versions.iter().flat_map(|v| [v.stamp, v.marks.stamp()]);
            made.chain(row.erased.values().map(|erased| erased.at)).collect()
        }
        other => vec![other.stamp()],
    }
}

/// The next stretch of a log after `after`, or `None` when there is nothing more or the stretch
/// does not begin there.
pub(super) async fn stretch(
    store: &Store,
    origin: RegionId,
    incarnation: Incarnation,
    after: u64,
) -> Result<Option<LogBatch>, store::Error> {
    let (entries, records) = {
        let snapshot = store.read()?;
        if snapshot.log_horizon(origin, incarnation)? > after {
            return Ok(None);
        }
        let entries = snapshot.log(origin, incarnation, after, limits::LOG_BATCH_CHANGES)?;
        let mut records: BTreeMap<&RecordId, Option<Record>> = BTreeMap::new();
        for (_, id) in &entries {
            if !records.contains_key(id) {
                records.insert(id, snapshot.record(id)?);
            }
        }
        let records: Vec<Option<Record>> =
            entries.iter().map(|(_, id)| records.get(id).cloned().flatten()).collect();
        (entries, records)
    };
    let mut batch = LogBatch { origin, incarnation, after, last: after, changes: Vec::new() };
    let mut first_of: BTreeMap<RecordId, u32> = BTreeMap::new();
    let mut bytes = 0;
    for ((seq, id), record) in entries.into_iter().zip(records) {
        let body = match (first_of.get(&id), record) {
            (Some(index), _) => ChangeBody::Repeat(*index),
            (None, None) => ChangeBody::Forgotten,
            (None, Some(record)) => {
                let carried = encode(store, &id, &record).await?;
                bytes += carried_bytes(&carried);
                if bytes > limits::LOG_BATCH_BYTES && !batch.changes.is_empty() {
                    break;
                }
                let index = u32::try_from(batch.changes.len())
                    .expect("LOG_BATCH_CHANGES is far below 2^32");
                first_of.insert(id, index);
                ChangeBody::Record(carried)
            }
        };
        batch.changes.push(Change { seq, body });
        batch.last = seq;
    }
    Ok((batch.last > after).then_some(batch))
}
