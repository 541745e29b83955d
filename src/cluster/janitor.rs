//! Housekeeping between regions: deletions that everybody knows are dropped, logs that everybody
//! has are cut, pending changes and quarantined ones are tried again.
//!
//! Invariant: a tombstone is dropped only when every member said that it applied everything that
//! anybody had logged after the tombstone was seen here.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::limits;
use crate::store;
use crate::types::id::Incarnation;
use crate::types::object::Content;
use crate::types::record::{Record, RecordId, UploadState};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;

pub(super) type Positions = BTreeMap<(RegionId, Incarnation), u64>;

/// Tombstones that were seen, and what every member must have applied before they go.
struct Batch {
    rows: Vec<(RecordId, Stamp)>,
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
            && let Some(rows) = self.find_tombstones(&mut sweep.after)?
        {
            sweep.batches.push_back(Batch { rows, seen_at: now, positions: None });
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
            self.forget(batch.rows).await?;
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
            | Record::Bucket(_)
            | Record::Name(_)
            | Record::Part(_)
            | Record::Upload(_) => return false,
        };
        let age_ms = now_ms.saturating_sub(stamp.hlc.ms());
        u128::from(age_ms) >= self.inner.options.tombstone_age.as_millis()
    }

    /// The next page of the walk over all records; `None` when it has no old tombstone.
    fn find_tombstones(
        &self,
        after: &mut Option<RecordId>,
    ) -> Result<Option<Vec<(RecordId, Stamp)>>, store::Error> {
        let now_ms = self.env().now_ms();
        let page = self.inner.store.read()?.records(after.as_ref(), limits::SWEEP_PAGE)?;
        *after = page.last().map(|(id, _)| id.clone());
        let rows: Vec<(RecordId, Stamp)> = page
            .into_iter()
            .filter(|(_, record)| self.is_droppable(record, now_ms))
            .map(|(id, record)| (id, record.stamp()))
            .collect();
        Ok((!rows.is_empty()).then_some(rows))
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

    async fn forget(&self, rows: Vec<(RecordId, Stamp)>) -> Result<(), store::Error> {
        let cluster = self.clone();
        let now_ms = self.env().now_ms();
        let dropped = self
            .inner
            .store
            .write(move |tx| {
                let mut dropped = 0;
                for (id, stamp) in rows {
                    let Some(record) = tx.record(&id)? else { continue };
                    if record.stamp() == stamp && cluster.is_droppable(&record, now_ms) {
                        tx.forget(&id)?;
                        dropped += 1;
                    }
                }
                Ok::<_, store::Error>(dropped)
            })
            .await?;
        self.inner.metrics.tombstones_dropped.inc_by(dropped);
        Ok(())
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
