//! The keys of one slice: which have something due, and the change that does it.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cluster::{Lead, View, Write};
use crate::engine::index::Rows;
use crate::engine::known::decode;
use crate::engine::{Engine, Error, Place, mismatch};
use crate::limits;
use crate::logic::lifecycle::Deed;
use crate::store::Snapshot;
use crate::types::bucket::SettingKind;
use crate::types::id::BucketId;
use crate::types::lifecycle::Lifecycle;
use crate::types::name::ObjectKey;
use crate::types::object::Row;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::change::{self, Clock};

/// Where keys with something due are looked for.
pub(super) struct Search {
    pub(super) rules: Arc<Lifecycle>,
    pub(super) clock: Clock,
    pub(super) prefix: String,
    /// Only later keys.
    pub(super) after: Option<ObjectKey>,
    /// Regions of which it is not known what they wrote.
    pub(super) unheard: BTreeSet<RegionId>,
}

/// The keys of a bucket that were looked at in one slice.
#[derive(Default)]
pub(super) struct Slice {
    /// What this region has something to do with.
    pub(super) due: Vec<ObjectKey>,
    pub(super) seen: u64,
    pub(super) last: Option<ObjectKey>,
    /// No more keys of this prefix.
    pub(super) ended: bool,
    /// Versions that are due and wait for these regions.
    pub(super) waiting: u64,
    pub(super) away: BTreeSet<RegionId>,
}

impl Slice {
    fn is_full(&self) -> bool {
        self.due.len() >= limits::LIFECYCLE_BATCH || self.seen >= limits::LIFECYCLE_PAGE as u64
    }
}

/// A change of some keys, and what it did.
struct Change {
    engine: Engine,
    place: Place,
    known_ms: u64,
    keys: Vec<ObjectKey>,
    deeds: Mutex<Vec<Deed>>,
}

impl Engine {
    /// The next keys with something due that this region does.
    pub(super) async fn find_due(&self, bucket: BucketId, search: Search) -> Result<Slice, Error> {
        let engine = self.clone();
        self.look(move |snapshot| engine.find_due_in(snapshot, bucket, search)).await
    }

    fn find_due_in(
        &self,
        snapshot: &Snapshot,
        bucket: BucketId,
        search: Search,
    ) -> Result<Slice, Error> {
        let Search { rules, clock, prefix, after, unheard } = search;
        let first = ObjectKey::parse(&prefix).ok();
        let mut rows = Rows::new(snapshot, bucket);
        rows.seek(match (&after, &first) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(first)) => Bound::Included(first),
            // The empty prefix is no key.
            (None, None) => Bound::Unbounded,
        });
        let mut slice = Slice { last: after.clone(), ..Slice::default() };
        while !slice.is_full() {
            let next = rows.next()?.filter(|(key, _)| key.as_str().starts_with(&prefix));
            let Some((key, row)) = next else {
                slice.ended = true;
                break;
            };
            slice.seen += 1;
            let mut here = false;
            for due in change::due(&rules, clock, &key, &row) {
                match self.cluster.lead(due.version) {
                    Lead::Here if due.is_known(clock) => here = true,
                    Lead::Here => {
                        slice.waiting += 1;
                        slice.away.extend(&unheard);
                    }
                    Lead::Elsewhere => {}
                    Lead::Away(region) => {
                        slice.waiting += 1;
                        slice.away.insert(region);
                    }
                }
            }
            slice.last = Some(key.clone());
            slice.due.extend(here.then_some(key));
        }
        Ok(slice)
    }

    /// Does what is due of these keys at the time of the change. What was done is said even where
    /// too few other regions know of it yet.
    pub(super) async fn do_due(
        &self,
        place: Place,
        keys: Vec<ObjectKey>,
        known_ms: u64,
    ) -> (Vec<Deed>, Result<(), Error>) {
        let first = keys.first().expect("callers give at least one key");
        let (config, subject) = (place.config.clone(), place.row_id(first));
        for key in keys.iter().filter(|_| config.lock.is_some()) {
            if let Err(why) = self.learn_locks(&config, &place.row_id(key)).await {
                return (Vec::new(), Err(why));
            }
        }
        let engine = self.clone();
        let change = Arc::new(Change { engine, place, known_ms, keys, deeds: Mutex::default() });
        let decider = change.clone();
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| decider.decide(view, stamp));
        let written = self.write(&config, Write { subject, bodies: Vec::new(), decide }).await;
        let deeds = std::mem::take(&mut *change.deeds());
        (deeds, written.map(|_| ()))
    }
}

impl Change {
    fn deeds(&self) -> std::sync::MutexGuard<'_, Vec<Deed>> {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges by the rules and the versions as they are now.
    fn decide(&self, view: &View<'_>, stamp: Stamp) -> Result<Vec<(RecordId, Record)>, Error> {
        self.place.still_there(view)?;
        let bucket = view.record(&RecordId::Bucket(self.place.config.id))?;
        let bucket = match &bucket {
            Some(Record::Bucket(bucket)) => Some(&**bucket),
            None => None,
            Some(other) => return Err(mismatch(other)),
        };
        let rules: Option<Arc<Lifecycle>> = decode(bucket, SettingKind::Lifecycle)?;
        let Some(rules) = rules else { return Ok(Vec::new()) };
        let (mut records, mut deeds) = (Vec::new(), Vec::new());
        for key in &self.keys {
            let id = self.place.row_id(key);
            let row = match view.record(&id)? {
                Some(Record::Row(row)) => row,
                Some(other) => return Err(mismatch(&other)),
                None => continue,
            };
            if let Some(changed) = self.changed(&rules, key, &row, stamp, &mut deeds) {
                records.push((id, Record::Row(changed)));
            }
        }
        *self.deeds() = deeds;
        Ok(records)
    }

    fn changed(
        &self,
        rules: &Lifecycle,
        key: &ObjectKey,
        row: &Row,
        stamp: Stamp,
        deeds: &mut Vec<Deed>,
    ) -> Option<Row> {
        // Changed by a region whose clock is ahead: later.
        if stamp <= row.stamp() {
            return None;
        }
        let clock = self.engine.lifecycle_clock(self.known_ms);
        let mut due = change::due(rules, clock, key, row);
        due.retain(|due| {
            due.is_known(clock) && self.engine.cluster.lead(due.version) == Lead::Here
        });
        deeds.extend(due.iter().map(|due| due.deed));
        (!due.is_empty()).then(|| change::changed(row, &due, &self.place, stamp))
    }
}
