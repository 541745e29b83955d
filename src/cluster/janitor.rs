//! Housekeeping between regions: deletions that everybody knows are dropped, logs that everybody
//! has are cut, pending changes and quarantined ones are tried again.
//!
//! Invariant: a deletion (a tombstone, or the note of an erased version) is dropped only when every
//! member said that it applied everything that anybody had logged after it was seen here.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;
use crate::logic::trim;
use crate::store::{self, Tx};
use crate::types::object::{Content, Row};
use crate::types::position::Positions;
use crate::types::record::{Record, RecordId, UploadState};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::cells;

/// What nobody needs once every member has passed it.
enum Spent {
    /// A deletion and nothing else, as of this stamp.
    Record(RecordId, Stamp),
    /// Notes of these erased versions, in a row that has others.
    Notes(RecordId, Vec<Stamp>),
}

/// Deletions that were seen, and what every member must have applied before they go.
struct Batch {
    spent: Vec<Spent>,
    seen_at: Duration,
    /// Taken a while after the rows were seen, when all heads had been heard of again.
    positions: Option<Positions>,
}

/// What housekeeping remembers between its steps; nothing of it must survive a restart.
#[derive(Default)]
struct Sweep {
    after: Option<RecordId>,
    batches: VecDeque<Batch>,
}

impl Cluster {
    pub(super) async fn keep_house(self) {
        let mut sweep = Sweep::default();
        let mut next_sweep = self.env().monotonic() + self.inner.options.sweep_interval;
        loop {
            self.env().sleep(limits::PENDING_INTERVAL).await;
            let now = self.env().monotonic();
            self.inner.stages.sweep(now);
            if let Err(why) = self.resolve_pending().await {
                tracing::error!(%why, "pending changes cannot be decided");
            }
            if now < next_sweep {
                continue;
            }
            next_sweep = now + self.inner.options.sweep_interval;
            if let Err(why) = self.sweep(&mut sweep).await {
                tracing::error!(%why, "housekeeping failed");
            }
        }
    }

    async fn sweep(&self, sweep: &mut Sweep) -> Result<(), store::Error> {
        self.retry_quarantine().await?;
        self.trim_logs().await?;
        let now = self.env().monotonic();
        if sweep.batches.len() < limits::TOMBSTONE_BATCHES
            && let Some(spent) = self.find_spent(&mut sweep.after)?
        {
            sweep.batches.push_back(Batch { spent, seen_at: now, positions: None });
        }
        for batch in &mut sweep.batches {
            if batch.positions.is_none() && now >= batch.seen_at + limits::HEADS_SETTLE {
                batch.positions = Some(self.furthest());
            }
        }
        while let Some(batch) = sweep.batches.front() {
            let passed = batch.positions.as_ref().is_some_and(|p| self.everybody_passed(p));
            if !passed {
                break;
            }
            let batch = sweep.batches.pop_front().expect("looked at above");
            self.forget(batch.spent).await?;
        }
        Ok(())
    }

    /// This record is a deletion, or the rest of an upload that is over, and nothing else; old
    /// enough to be dropped.
    pub(super) fn is_droppable(&self, record: &Record, now_ms: u64) -> bool {
        let stamp = match record {
            Record::Row(row) => match row.versions.as_slice() {
                [version] if matches!(version.content, Content::Tombstone) => row.stamp(),
                [] => row.stamp(),
                _ => return false,
            },
            Record::Part(part) if part.ended => part.stamp,
            Record::Upload(upload) if upload.state != UploadState::Open => upload.stamp,
            Record::AccessKey(_)
            | Record::Members(_)
            | Record::Bucket(_)
            | Record::Name(_)
            | Record::Part(_)
            | Record::Upload(_) => return false,
        };
        self.is_old(stamp, now_ms)
    }

    fn is_old(&self, deleted: Stamp, now_ms: u64) -> bool {
        let age_ms = now_ms.saturating_sub(deleted.hlc.ms());
        u128::from(age_ms) >= self.inner.options.tombstone_age.as_millis()
    }

    /// The notes of a row that may go once everybody has passed them.
    fn spent_notes(&self, row: &Row, now_ms: u64) -> Vec<Stamp> {
        trim::spent(row, |deleted| self.is_old(deleted, now_ms))
    }

    /// A record from a peer, without what was dropped here before; `None` where nothing is left.
    pub(super) fn not_spent(
        &self,
        local: Option<Record>,
        record: Record,
        now_ms: u64,
    ) -> Option<Record> {
        if local.is_none() && self.is_droppable(&record, now_ms) {
            return None;
        }
        Some(match (local, record) {
            (Some(Record::Row(local)), Record::Row(row)) => {
                Record::Row(trim::incoming(&local, row, |at| self.is_old(at, now_ms)))
            }
            (_, record) => record,
        })
    }

    /// The next page of the walk over all records; `None` when it has no old deletion.
    fn find_spent(&self, after: &mut Option<RecordId>) -> Result<Option<Vec<Spent>>, store::Error> {
        let now_ms = self.env().now_ms();
        let page = self.inner.store.read()?.records(after.as_ref(), limits::SWEEP_PAGE)?;
        *after = page.last().map(|(id, _)| id.clone());
        let mut spent = Vec::new();
        for (id, record) in page {
            if self.is_droppable(&record, now_ms) {
                spent.push(Spent::Record(id, record.stamp()));
            } else if let Record::Row(row) = &record {
                let notes = self.spent_notes(row, now_ms);
                if !notes.is_empty() {
                    spent.push(Spent::Notes(id, notes));
                }
            }
        }
        Ok((!spent.is_empty()).then_some(spent))
    }

    /// The furthest that anybody is in each log.
    pub(super) fn furthest(&self) -> Positions {
        let own = (self.region(), self.inner.incarnation);
        let mut furthest: Positions = [(own, self.inner.grown.head())].into();
        for (log, holders) in self.known_heads() {
            let position = holders.values().map(|head| head.applied).max().unwrap_or(0);
            let known = furthest.entry(log).or_default();
            *known = position.max(*known);
        }
        furthest
    }

    /// Every other member applied all of these, none of it in quarantine.
    fn everybody_passed(&self, positions: &Positions) -> bool {
        let views = self.inner.views();
        self.others().iter().all(|info| {
            let Some(view) = views.get(&info.id) else {
                return positions.values().all(|p| *p == 0);
            };
            positions.iter().all(|(log, position)| {
                view.heads.get(log).map_or(0, |head| head.stable) >= *position
            })
        })
    }

    async fn forget(&self, spent: Vec<Spent>) -> Result<(), store::Error> {
        let cluster = self.clone();
        let now_ms = self.env().now_ms();
        let dropped = self
            .inner
            .store
            .write(move |tx| {
                let mut dropped = 0;
                for spent in spent {
                    dropped += cluster.drop_spent(tx, spent, now_ms)?;
                }
                Ok::<_, store::Error>(dropped)
            })
            .await?;
        self.inner.metrics.tombstones_dropped.inc_by(dropped);
        Ok(())
    }

    /// How many deletions went. What changed since it was seen stays until it is seen again.
    fn drop_spent(&self, tx: &mut Tx<'_>, spent: Spent, now_ms: u64) -> Result<u64, store::Error> {
        match spent {
            Spent::Record(id, stamp) => {
                let known = tx.record(&id)?;
                let same = |r: &Record| r.stamp() == stamp && self.is_droppable(r, now_ms);
                if !known.as_ref().is_some_and(same) {
                    return Ok(0);
                }
                if !cells::forget_row(tx, &id, stamp)? {
                    return Ok(0);
                }
                tx.forget(&id)?;
                Ok(1)
            }
            Spent::Notes(id, seen) => {
                let Some(Record::Row(row)) = tx.record(&id)? else { return Ok(0) };
                let mut notes = self.spent_notes(&row, now_ms);
                notes.retain(|note| seen.contains(note));
                // A value that is still to be settled may name what was erased.
                if notes.is_empty() || !cells::reduce(tx, &id)? {
                    return Ok(0);
                }
                tx.shorten(&id, &Record::Row(trim::without(row, &notes)))?;
                Ok(notes.len() as u64)
            }
        }
    }

    /// Cuts logs: what every member has, except a remainder, and whatever is beyond the horizon.
    async fn trim_logs(&self) -> Result<(), store::Error> {
        let known = self.known_heads();
        let members: Vec<RegionId> = self.others().iter().map(|info| info.id).collect();
        let mut cuts = Vec::new();
        for head in self.heads()? {
            let log = (head.origin, head.incarnation);
            let applied_by = |region: &RegionId| {
                known.get(&log).and_then(|holders| holders.get(region)).map_or(0, |h| h.applied)
            };
            let everybody = members.iter().map(applied_by).min().unwrap_or(head.applied);
            let through = everybody
                .min(head.applied)
                .saturating_sub(limits::LOG_KEPT)
                .max(head.applied.saturating_sub(limits::LOG_ENTRIES_MAX));
            if through > head.complete_after {
                cuts.push((log, through));
            }
        }
        if cuts.is_empty() {
            return Ok(());
        }
        self.inner
            .store
            .write(move |tx| {
                for ((origin, incarnation), through) in cuts {
                    tx.trim_log(origin, incarnation, through)?;
                }
                Ok::<_, store::Error>(())
            })
            .await
    }
}
