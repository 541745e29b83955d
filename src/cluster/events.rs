//! Events of changes on their way to the destinations of their buckets: a durable queue.
//!
//! Invariant: an event is noted in the very change that it is about, in the region that makes the
//! change, so that an answered write always has its event, and a write that never was has none.
//! The queue has bounds: what comes while it is full is dropped and counted.
//! What this does not do: send anything (`engine/notify`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::limits;
use crate::logic::notify::events::{Change, Happened, of};
use crate::logic::notify::{Watch, find};
use crate::obs::{Counter, EncodeLabelSet, Entries, Family, Gauge, Group, table};
use crate::store::{self, Table, Tx};
use crate::types::bucket::{NameState, SettingKind, Versioning};
use crate::types::event::{Because, Event};
use crate::types::id::BucketId;
use crate::types::name::{AccountId, ObjectKey};
use crate::types::object::Row;
use crate::types::record::{Record, RecordId, UploadState};
use crate::types::stamp::Stamp;

use super::Cluster;

/// What waits for one destination of one bucket, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    pub bucket: BucketId,
    /// As the node's settings call it.
    pub destination: String,
}

impl Lane {
    /// The prefix of its events' keys. A destination's name has no zero byte.
    pub(super) fn key(&self) -> Vec<u8> {
        [self.bucket.0.as_slice(), self.destination.as_bytes(), &[0]].concat()
    }

    fn of_key(key: &[u8]) -> Option<Self> {
        let (bucket, rest) = key.split_at_checked(16)?;
        let (end, name) = rest.split_last()?;
        let destination = String::from_utf8(name.to_vec()).ok().filter(|_| *end == 0)?;
        Some(Self { bucket: BucketId(bucket.try_into().ok()?), destination })
    }
}

/// Where the sums over all lanes are; no lane has so short a key.
const ALL: &[u8] = b"all";

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub events: u64,
    pub bytes: u64,
    /// Dropped since it was last empty.
    pub lost: u64,
    /// When the oldest happened, milliseconds since 1970. Not kept for the sums.
    pub oldest_ms: u64,
}

/// One event of a lane.
#[derive(Clone, Debug)]
pub struct Waiting {
    key: Vec<u8>,
    bytes: u64,
    pub event: Event,
}

/// Why an event will not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Lost {
    /// `full`: the queue was; `old`: it waited too long; `refused`: its destination did not want
    /// it.
    pub why: &'static str,
}

/// Counters of notifications. Cheap handles.
#[derive(Clone, Default)]
pub struct NotifyMetrics {
    /// Events put into the queue; compare with those delivered and lost.
    pub events: Counter,
    pub delivered: Counter,
    pub lost: Family<Lost, Counter>,
    /// Messages that a destination did not take, each attempt.
    pub failures: Counter,
    pub queued: Gauge,
    pub queued_bytes: Gauge,
    pub oldest_seconds: Gauge,
}

impl Group for NotifyMetrics {
    fn register(&self, entries: &mut Entries) {
        entries.add(&table::NOTIFY_EVENTS, self.events.clone());
        entries.add(&table::NOTIFY_DELIVERED, self.delivered.clone());
        entries.add(&table::NOTIFY_FAILURES, self.failures.clone());
        entries.add(&table::NOTIFY_QUEUED, self.queued.clone());
        entries.add(&table::NOTIFY_QUEUED_BYTES, self.queued_bytes.clone());
        entries.add(&table::NOTIFY_OLDEST, self.oldest_seconds.clone());
        entries.add(&table::NOTIFY_LOST, self.lost.clone());
    }
}

/// Wakes who delivers.
#[derive(Default)]
pub(super) struct Noted {
    pending: AtomicBool,
    wake: Notify,
    metrics: NotifyMetrics,
    watched: Mutex<Kept>,
}

/// The settings of buckets that were written to, decoded once. Forgotten when any setting changed:
/// a write of the very commit that changes a setting may be told by the former one.
#[derive(Default)]
struct Kept {
    /// The store's revision of settings at which all of them were read.
    revision: u64,
    /// `None`: nobody watches it.
    buckets: BTreeMap<BucketId, Option<Arc<Watched>>>,
}

impl Noted {
    /// To be called when a change is on stable storage. Only a hint: who delivers looks now and
    /// then without it.
    pub(super) fn settled(&self) {
        if self.pending.swap(false, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }
}

/// What decides about the events of one bucket.
struct Watched {
    watch: Watch,
    versioning: Versioning,
    owner: Option<AccountId>,
}

impl Cluster {
    /// Notes what these records, which are about to be merged, are to those who watch.
    pub(super) fn note_events(
        &self,
        tx: &mut Tx<'_>,
        stamp: Stamp,
        because: &Because,
        records: &[(RecordId, Record)],
    ) -> Result<(), store::Error> {
        let completed = |record: &Record| match record {
            Record::Upload(upload) => matches!(upload.state, UploadState::Completed(_)),
            Record::Row(_)
            | Record::Bucket(_)
            | Record::Name(_)
            | Record::AccessKey(_)
            | Record::Members(_)
            | Record::Part(_) => false,
        };
        let mut ordinal = 0_u32;
        for (id, record) in records {
            let (RecordId::Row(bucket, key), Record::Row(row)) = (id, record) else { continue };
            let Some(watched) = self.watched(tx, *bucket)? else { continue };
            let completes = records.iter().any(|(_, record)| completed(record));
            let change = Change { stamp, cause: because.cause, completes };
            let before = tx.row(*bucket, key)?;
            for happened in of(change, before.as_ref(), row) {
                let Some(rule) = find(&watched.watch.rules, happened.kind, key.as_str()) else {
                    continue;
                };
                let Some(destination) = rule.destination() else { continue };
                let lane = Lane { bucket: *bucket, destination: destination.to_owned() };
                let owner = watched.owner.clone().or_else(|| owner_of(row));
                let rule = rule.id.clone();
                let event = event(&watched, (stamp, key, happened), rule, owner, because);
                self.note(tx, &lane, ordinal, &event)?;
                ordinal += 1;
            }
        }
        Ok(())
    }

    /// Who watches a bucket, if anybody does.
    fn watched(&self, tx: &Tx<'_>, bucket: BucketId) -> Result<Option<Arc<Watched>>, store::Error> {
        let revision = self.inner.store.settings_revision();
        let mut kept = self.inner.noted.watched.lock().expect("no holder of this lock panics");
        if kept.revision != revision || kept.buckets.len() >= limits::BUCKETS_KNOWN_MAX {
            *kept = Kept { revision, buckets: BTreeMap::new() };
        }
        if let Some(known) = kept.buckets.get(&bucket) {
            return Ok(known.clone());
        }
        let found = find_watch(tx, bucket)?.map(Arc::new);
        kept.buckets.insert(bucket, found.clone());
        Ok(found)
    }

    /// Puts one event at the end of its lane, unless there is no room.
    fn note(
        &self,
        tx: &mut Tx<'_>,
        lane: &Lane,
        ordinal: u32,
        event: &Event,
    ) -> Result<(), store::Error> {
        let noted = &self.inner.noted;
        let lane_key = lane.key();
        let place = [event.stamp.to_bytes().as_slice(), &ordinal.to_be_bytes()].concat();
        let key = [lane_key.as_slice(), &place].concat();
        let mut all: Tally = tx.get(Table::Lane, ALL)?.unwrap_or_default();
        let mut own: Tally = tx.get(Table::Lane, &lane_key)?.unwrap_or_default();
        let bytes = weight(&key, event);
        let full = own.events >= limits::NOTIFY_LANE_EVENTS_MAX
            || own.bytes + bytes > limits::NOTIFY_LANE_BYTES_MAX
            || all.events >= limits::NOTIFY_EVENTS_MAX
            || all.bytes + bytes > limits::NOTIFY_BYTES_MAX;
        if full {
            noted.metrics.lost.get_or_create(&Lost { why: "full" }).inc();
            if own.lost == 0 {
                let Lane { bucket, destination } = lane;
                tracing::error!(%bucket, destination, "too many events wait; new ones are dropped");
            }
            own.lost += 1;
            return tx.put(Table::Lane, &lane_key, &own);
        }
        let ms = event.stamp.hlc.ms();
        own.oldest_ms = if own.events == 0 { ms } else { own.oldest_ms.min(ms) };
        for tally in [&mut own, &mut all] {
            tally.events += 1;
            tally.bytes += bytes;
        }
        tx.put(Table::Event, &key, event)?;
        tx.put(Table::Lane, &lane_key, &own)?;
        tx.put(Table::Lane, ALL, &all)?;
        noted.metrics.events.inc();
        noted.pending.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub fn notify_metrics(&self) -> &NotifyMetrics {
        &self.inner.noted.metrics
    }

    /// Waits until something was noted since the last time.
    pub async fn event_noted(&self) {
        self.inner.noted.wake.notified().await;
    }

    /// Everything that waits: the sums, and lane by lane.
    pub fn lanes(&self) -> Result<(Tally, Vec<(Lane, Tally)>), store::Error> {
        let snapshot = self.inner.store.read()?;
        let most = usize::try_from(limits::NOTIFY_EVENTS_MAX).unwrap_or(usize::MAX);
        let rows: Vec<(Vec<u8>, Tally)> = snapshot.scan(Table::Lane, &[], None, most)?;
        let mut all = Tally::default();
        let mut lanes = Vec::with_capacity(rows.len());
        for (key, tally) in rows {
            match Lane::of_key(&key) {
                Some(lane) if tally.events > 0 => lanes.push((lane, tally)),
                Some(_) => {}
                None => all = tally,
            }
        }
        Ok((all, lanes))
    }

    /// The oldest events of a lane.
    pub fn oldest_events(&self, lane: &Lane, max: usize) -> Result<Vec<Waiting>, store::Error> {
        let snapshot = self.inner.store.read()?;
        let rows: Vec<(Vec<u8>, Event)> = snapshot.scan(Table::Event, &lane.key(), None, max)?;
        let waiting = |(key, event): (Vec<u8>, Event)| {
            let bytes = weight(&key, &event);
            Waiting { key, bytes, event }
        };
        let mut room = limits::NOTIFY_BATCH_BYTES as u64;
        let mut waiting: Vec<Waiting> = rows.into_iter().map(waiting).collect();
        // One at least, whatever its size.
        let fits = waiting.iter().take_while(|one| {
            let fits = one.bytes <= room;
            room = room.saturating_sub(one.bytes);
            fits
        });
        let fits = fits.count().max(1);
        waiting.truncate(fits);
        Ok(waiting)
    }

    /// These events are done with, delivered or given up.
    pub async fn end_events(&self, lane: &Lane, done: Vec<Waiting>) -> Result<(), store::Error> {
        let lane_key = lane.key();
        self.inner
            .store
            .write(move |tx| {
                let mut all: Tally = tx.get(Table::Lane, ALL)?.unwrap_or_default();
                let mut own: Tally = tx.get(Table::Lane, &lane_key)?.unwrap_or_default();
                for one in &done {
                    if tx.get::<Event>(Table::Event, &one.key)?.is_none() {
                        continue;
                    }
                    tx.delete(Table::Event, &one.key)?;
                    for tally in [&mut own, &mut all] {
                        tally.events = tally.events.saturating_sub(1);
                        tally.bytes = tally.bytes.saturating_sub(one.bytes);
                    }
                }
                let first: Vec<(Vec<u8>, Event)> = tx.scan(Table::Event, &lane_key, None, 1)?;
                match first.first() {
                    None => tx.delete(Table::Lane, &lane_key)?,
                    Some((_, event)) => {
                        own.oldest_ms = event.stamp.hlc.ms();
                        tx.put(Table::Lane, &lane_key, &own)?;
                    }
                }
                tx.put(Table::Lane, ALL, &all)
            })
            .await
    }
}

/// The notification setting of a bucket as this region has it.
fn find_watch(tx: &Tx<'_>, bucket: BucketId) -> Result<Option<Watched>, store::Error> {
    let Some(Record::Bucket(record)) = tx.record(&RecordId::Bucket(bucket))? else {
        return Ok(None);
    };
    let Some(bytes) = record.setting(SettingKind::Notification) else { return Ok(None) };
    let watch: Watch = match postcard::from_bytes(bytes) {
        Ok(watch) => watch,
        Err(why) => {
            tracing::error!(%bucket, %why, "a notification setting that cannot be read");
            return Ok(None);
        }
    };
    let name = tx.record(&RecordId::Name(watch.bucket.clone()))?;
    let config = match name {
        Some(Record::Name(name)) => match name.state {
            NameState::Active(config) | NameState::Deleting(config) => Some(config),
            NameState::Free | NameState::SoftDeleted(_) => None,
        },
        Some(_) | None => None,
    };
    let config = config.filter(|config| config.id == bucket);
    let versioning = config.as_ref().map_or(Versioning::Off, |config| config.versioning);
    Ok(Some(Watched { watch, versioning, owner: config.map(|config| config.owner) }))
}

fn event(
    watched: &Watched,
    (stamp, key, happened): (Stamp, &ObjectKey, Happened),
    rule: String,
    owner: Option<AccountId>,
    because: &Because,
) -> Event {
    let version_id = match happened.version {
        Some(version) => Some(version.to_string()),
        None if watched.versioning == Versioning::Off => None,
        None => Some("null".to_owned()),
    };
    Event {
        kind: happened.kind,
        stamp,
        bucket: watched.watch.bucket.clone(),
        owner: owner.unwrap_or_else(|| AccountId("".into())),
        key: key.clone(),
        rule,
        size: happened.size,
        etag: happened.etag,
        version_id,
        by: because.by.clone(),
    }
}

/// The owner of what was made, where the bucket's is not known here yet.
fn owner_of(row: &Row) -> Option<AccountId> {
    row.versions.iter().find_map(|version| version.object().map(|meta| meta.owner.clone()))
}

/// What an event weighs in the queue: its texts, and as much again for the rest.
fn weight(key: &[u8], event: &Event) -> u64 {
    const REST: usize = 256;
    let by = event.by.as_ref().map_or(0, |by| by.principal.len() + by.request.len());
    (2 * key.len() + event.key.as_bytes().len() + event.rule.len() + by + REST) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_comes_back_from_its_key_and_the_sums_are_no_lane() {
        let lane = Lane { bucket: BucketId([7; 16]), destination: "hook".into() };
        assert_eq!(Lane::of_key(&lane.key()), Some(lane.clone()));
        assert_eq!(Lane::of_key(ALL), None);
        let longer = Lane { destination: "hook2".into(), ..lane.clone() };
        assert!(!longer.key().starts_with(&lane.key()));
    }
}
