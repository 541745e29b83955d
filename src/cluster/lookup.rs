//! Records by name: from this disk, and where they are unknown, from voters nearby.
//!
//! Invariant: what is learnt so is merged before it is used; a disk that takes no notes keeps nobody
//! from the answer, which is asked for again the next time then. Not finding is remembered for a
//! moment only, and never against what this disk knows.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::env::Class;
use crate::limits;
use crate::net::message::{Carried, Request, Response};
use crate::store::{self, Source};
use crate::types::bucket::BucketConfig;
use crate::types::name::ObjectKey;
use crate::types::object::Row;
use crate::types::position::Positions;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::batch::{carried_bytes, decode, encode};
use super::error::Unavailable;

/// What came of records that a peer gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Records that are others now.
    pub(super) changed: usize,
    /// A stamp that is too far ahead of this node's time: what the peer knows of that record is not
    /// known here, for now.
    pub(super) too_new: Option<Stamp>,
}

impl Taken {
    pub(super) fn add(&mut self, other: Self) {
        self.changed += other.changed;
        self.too_new = self.too_new.or(other.too_new);
    }

    /// Refuses to go on as if all that was given were known.
    pub(super) fn all(self) -> Result<usize, Unavailable> {
        match self.too_new {
            None => Ok(self.changed),
            Some(stamp) => Err(Unavailable::new(format!(
                "what another region has is stamped {stamp}, too far ahead of the clock here"
            ))),
        }
    }
}

/// What was not found a moment ago, and until when that counts.
#[derive(Default)]
pub(super) struct Absences(Mutex<BTreeMap<RecordId, Duration>>);

impl Absences {
    fn contains(&self, id: &RecordId, now: Duration) -> bool {
        let absences = self.0.lock().expect("no holder of this lock panics");
        absences.get(id).is_some_and(|until| now < *until)
    }

    fn note(&self, id: RecordId, now: Duration) {
        let mut absences = self.0.lock().expect("no holder of this lock panics");
        if absences.len() >= limits::ABSENCES_MAX {
            absences.retain(|_, until| now < *until);
        }
        if absences.len() < limits::ABSENCES_MAX {
            absences.insert(id, now + limits::ABSENCE_KEPT);
        }
    }
}

/// Whether a write failed for the disk, and not for what was to be written.
pub(super) fn takes_no_notes(why: &store::Error) -> bool {
    match why {
        store::Error::DiskFull
        | store::Error::Index(_)
        | store::Error::Io { .. }
        | store::Error::Poisoned(_)
        | store::Error::Stalled => true,
        store::Error::Closed
        | store::Error::Corrupt(_)
        | store::Error::Newer { .. }
        | store::Error::TooLarge { .. } => false,
    }
}

impl Cluster {
    /// A key's row; where it is unknown here, the nearest two voters are asked first.
    pub async fn row(
        &self,
        config: &BucketConfig,
        key: &ObjectKey,
    ) -> Result<Option<Row>, Unavailable> {
        if let Some(row) = self.inner.store.read()?.row(config.id, key)? {
            return Ok(Some(row));
        }
        let id = RecordId::Row(config.id, key.clone());
        match self.ask_voters(id, limits::MISS_CHECK_VOTERS).await? {
            Some(Record::Row(row)) => Ok(Some(row)),
            Some(_) | None => Ok(None),
        }
    }

    /// A record; where it is unknown here, the voters are asked once.
    pub async fn record(&self, id: &RecordId) -> Result<Option<Record>, Unavailable> {
        if let Some(record) = self.inner.store.read()?.record(id)? {
            return Ok(Some(record));
        }
        self.ask_voters(id.clone(), limits::VOTERS_MAX).await
    }

    pub(super) async fn ask_voters(
        &self,
        id: RecordId,
        count: usize,
    ) -> Result<Option<Record>, Unavailable> {
        let now = self.env().monotonic();
        if self.inner.absences.contains(&id, now) {
            return Ok(None);
        }
        let voters = self.members().voters_by_distance(self.region(), &*self.inner.peers);
        let mut asked: FuturesUnordered<_> = voters
            .into_iter()
            .filter(|region| self.is_connected(*region))
            .take(count)
            .map(|region| self.ask_record(region, id.clone()))
            .collect();
        let first_found = async {
            while let Some(answer) = asked.next().await {
                if answer.is_some() {
                    return answer;
                }
            }
            None
        };
        let limit = limits::MISS_CHECK_TIMEOUT;
        let Ok(Some((carried, positions))) = self.env().timeout(limit, first_found).await else {
            self.inner.absences.note(id, now);
            return Ok(None);
        };
        let entry = carried.entry.clone();
        match self.take_in(vec![carried], positions).await {
            Ok(_) => Ok(self.inner.store.read()?.record(&id)?),
            Err(why) if takes_no_notes(&why) => Ok(self.unnoted(&id, &entry, &why)),
            Err(why) => Err(why.into()),
        }
    }

    /// A record that was unknown here, as a peer gave it.
    fn unnoted(&self, id: &RecordId, entry: &[u8], why: &store::Error) -> Option<Record> {
        tracing::debug!(?id, %why, "what was learnt is not noted");
        let (found, record) = decode(entry).ok()?;
        let record = self.not_spent(None, record, self.env().now_ms())?;
        (found == *id).then_some(record)
    }

    async fn ask_record(&self, region: RegionId, id: RecordId) -> Option<(Carried, Positions)> {
        let request = Request::Known(vec![id]);
        match self.call(region, Class::Read, &request, limits::MISS_CHECK_TIMEOUT).await {
            Ok(Response::Known { records, positions }) => {
                Some((records.into_iter().next().flatten()?, positions))
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// Merges records that came apart from any log, from one who knew this much. Bad ones are passed
    /// over with an error in the log of this program: their own log brings them to quarantine.
    pub(super) async fn take_in(
        &self,
        records: Vec<Carried>,
        giver: Positions,
    ) -> Result<Taken, store::Error> {
        let mut ready = Vec::with_capacity(records.len());
        let mut too_new = None;
        for carried in records {
            match self.ready(&carried)? {
                Ok(record) => ready.push(record),
                Err(why) => {
                    tracing::error!(%why, "a peer gave a record that is not taken");
                    too_new = too_new.or_else(|| why.too_new());
                }
            }
        }
        let cluster = self.clone();
        let now_ms = self.env().now_ms();
        self.inner
            .store
            .write(move |tx| {
                let mut changed = 0;
                for mut record in ready {
                    let local = tx.record(&record.id)?;
                    let left = cluster.not_spent(local, record.record, now_ms);
                    let Some(left) = left else { continue };
                    record.record = left;
                    changed += usize::from(cluster.merge_ready(tx, record, Source::Digest)?);
                }
                if changed > 0 {
                    cluster.note_ahead(tx, &giver)?;
                }
                Ok::<_, store::Error>(Taken { changed, too_new })
            })
            .await
    }

    /// The present state of records for a peer, as many as fit into a message.
    pub(super) async fn carried(
        &self,
        ids: &[RecordId],
    ) -> Result<Vec<Option<Carried>>, store::Error> {
        let mut records = Vec::new();
        let mut bytes = 0;
        for id in ids.iter().take(limits::RECORDS_MAX) {
            let record = self.inner.store.read()?.record(id)?;
            let carried = match record {
                Some(record) => Some(encode(&self.inner.store, id, &record).await?),
                None => None,
            };
            bytes += carried.as_ref().map_or(0, carried_bytes);
            if bytes > limits::LOG_BATCH_BYTES && !records.is_empty() {
                break;
            }
            records.push(carried);
        }
        Ok(records)
    }
}
