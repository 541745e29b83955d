//! Restoring: a pass over everything when much may be missing at once, and the count of what has too
//! few copies.
//!
//! A pass compares the digests with every peer, mends what is damaged, and looks at every row as
//! placement does, in seconds instead of hours: each object whose primary is here and that has too
//! few copies is asked for at the next region. It begins by itself when a region is gone for good or
//! this node has started, and when a person asks for it. It decides nothing that placement does not.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use futures_util::future::join_all;
use tokio::sync::Notify;

use crate::limits;
use crate::store;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::heat::{Object, placed};

/// What a pass is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RepairPhase {
    #[default]
    Resting,
    /// Comparing records with the peers.
    Digests,
    /// Looking at the copies of every object.
    Copies,
}

/// A pass, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairStatus {
    pub phase: RepairPhase,
    /// Stopped by a person: no pass begins until one is started.
    pub stopped: bool,
    /// Why the pass under way, or else the last one, was begun.
    pub why: String,
    pub started_ms: Option<u64>,
    pub finished_ms: Option<u64>,
    /// Records that were looked at, of about so many.
    pub records: u64,
    pub records_total: u64,
    /// Records that were made good, and peers that could not be compared with.
    pub differing: u64,
    pub peers_missing: u64,
    /// Objects with too few copies that this region looks after; copies that wait or are being made
    /// here.
    pub below: u64,
    pub making: u64,
    /// Since the node started.
    pub copies_made: u64,
    pub bytes_fetched: u64,
    /// Damaged blobs that no other region has given yet.
    pub damaged: u64,
}

#[derive(Debug, Default)]
struct State {
    status: RepairStatus,
    wanted: Option<String>,
    /// Versions with too few copies, up to a bound.
    below: BTreeSet<(Object, Stamp)>,
    /// Where the next look at them begins.
    looked: Option<(Object, Stamp)>,
}

#[derive(Debug, Default)]
pub(super) struct Restore {
    state: Mutex<State>,
    wake: Notify,
}

impl Restore {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn is_stopped(&self) -> bool {
        self.lock().status.stopped
    }
}

impl Cluster {
    /// What repair does now.
    pub fn repair_status(&self) -> RepairStatus {
        let (making, damaged) =
            (self.inner.placing.lock().making.len() as u64, self.inner.metrics.damaged.get());
        let state = self.inner.restore.lock();
        RepairStatus {
            below: state.below.len() as u64,
            making,
            copies_made: self.inner.metrics.copies_made.get(),
            bytes_fetched: self.inner.metrics.repaired_bytes.get(),
            damaged: u64::try_from(damaged).unwrap_or(0),
            ..state.status.clone()
        }
    }

    /// Begins a pass, whatever is stopped.
    pub fn start_repair(&self) {
        self.inner.restore.lock().status.stopped = false;
        self.want_repair("asked for".to_owned());
    }

    /// Ends the pass under way; none begins by itself until one was started.
    pub fn stop_repair(&self) {
        let mut state = self.inner.restore.lock();
        state.status.stopped = true;
        state.wanted = None;
    }

    pub(super) fn want_repair(&self, why: String) {
        let mut state = self.inner.restore.lock();
        if !state.status.stopped {
            state.wanted = Some(why);
            self.inner.restore.wake.notify_one();
        }
    }

    pub(super) async fn run_repair(self) {
        let mut gone: BTreeSet<RegionId> = BTreeSet::new();
        if self.members().regions().count() > 1 {
            self.want_repair("the node started".to_owned());
        }
        loop {
            let wake = self.inner.restore.wake.notified();
            // Either way it looks.
            let _ = self.env().timeout(self.inner.options.placement_interval, wake).await;
            for info in self.others() {
                let away = self.away_for(info.id);
                if away < self.inner.options.primary_gone_after {
                    gone.remove(&info.id);
                } else if gone.insert(info.id) {
                    self.want_repair(format!("{} is away for {} s", info.id, away.as_secs()));
                }
            }
            if let Err(why) = self.measure_lag() {
                tracing::error!(%why, "how far others are behind cannot be told");
            }
            let wanted = self.inner.restore.lock().wanted.take();
            let looked = match wanted {
                Some(why) => self.repair_pass(why).await,
                None => self.look_below().await,
            };
            self.inner.restore.lock().status.phase = RepairPhase::Resting;
            if let Err(why) = looked {
                tracing::error!(%why, "repair cannot go on; the next pass begins anew");
            }
        }
    }

    async fn repair_pass(&self, why: String) -> Result<(), store::Error> {
        tracing::info!(why, "repair begins");
        {
            let mut state = self.inner.restore.lock();
            let started_ms = Some(self.env().now_ms());
            state.status = RepairStatus {
                why,
                started_ms,
                phase: RepairPhase::Digests,
                stopped: state.status.stopped,
                ..RepairStatus::default()
            };
        }
        self.inner.mending.forget_tries();
        for info in self.others() {
            if self.inner.restore.is_stopped() {
                return Ok(());
            }
            let compared = self.compare_with(info.id).await;
            let mut state = self.inner.restore.lock();
            match compared {
                Ok(count) => state.status.differing += count as u64,
                Err(why) => {
                    tracing::debug!(peer = %info.id, %why, "not compared");
                    state.status.peers_missing += 1;
                }
            }
        }
        if self.walk_copies().await? {
            let status = {
                let mut state = self.inner.restore.lock();
                state.status.finished_ms = Some(self.env().now_ms());
                state.status.clone()
            };
            let below = self.inner.restore.lock().below.len();
            let (records, differing) = (status.records, status.differing);
            tracing::info!(records, differing, below, "repair has looked at everything");
        }
        Ok(())
    }

    /// Looks at every row; false when it was stopped.
    async fn walk_copies(&self) -> Result<bool, store::Error> {
        {
            let total = self.store().read()?.record_count()?;
            let mut state = self.inner.restore.lock();
            state.status.phase = RepairPhase::Copies;
            state.status.records_total = total;
        }
        let mut after: Option<RecordId> = None;
        loop {
            if self.inner.restore.is_stopped() {
                return Ok(false);
            }
            let page = self.store().read()?.records(after.as_ref(), limits::REPAIR_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(true) };
            after = Some(last.clone());
            self.inner.restore.lock().status.records += page.len() as u64;
            let objects = page.into_iter().filter_map(|(id, record)| match (id, record) {
                (RecordId::Row(bucket, key), Record::Row(_)) => Some((bucket, key)),
                _ => None,
            });
            self.attend_all(objects.collect()).await?;
            self.env().sleep(limits::REPAIR_PAUSE).await;
        }
    }

    /// Looks at some rows, several at a time: one that needs a copy waits for its region.
    async fn attend_all(&self, objects: Vec<Object>) -> Result<(), store::Error> {
        let configs = self.bucket_configs()?;
        for some in objects.chunks(limits::REPAIR_AT_ONCE) {
            let looks = some.iter().map(|object| async {
                let Some(config) = configs.get(&object.0) else { return Ok(()) };
                let row = self.store().read()?.row(object.0, &object.1)?.unwrap_or_default();
                for version in row.versions.iter().filter(|version| placed(version).is_some()) {
                    self.attend(config, object, version).await?;
                }
                Ok::<_, store::Error>(())
            });
            for looked in join_all(looks).await {
                looked?;
            }
        }
        Ok(())
    }

    /// Looks again at what had too few copies, a page at a time; what is no more is forgotten.
    async fn look_below(&self) -> Result<(), store::Error> {
        let some: Vec<(Object, Stamp)> = {
            let state = self.inner.restore.lock();
            let from = state.looked.clone();
            let later = state.below.iter().filter(|at| from.as_ref().is_none_or(|f| *at > f));
            later.take(limits::REPAIR_PAGE).cloned().collect()
        };
        self.inner.restore.lock().looked = some.last().cloned();
        let mut objects = Vec::new();
        for (object, stamp) in some {
            let row = self.store().read()?.row(object.0, &object.1)?.unwrap_or_default();
            if row.versions.iter().any(|version| version.stamp == stamp) {
                objects.push(object);
            } else {
                self.note_copies(&object, stamp, true);
            }
        }
        self.attend_all(objects).await
    }

    /// Whether a version that this region looks after has as many copies as it should.
    pub(super) fn note_copies(&self, object: &Object, stamp: Stamp, enough: bool) {
        let below = {
            let mut state = self.inner.restore.lock();
            let version = (object.clone(), stamp);
            if enough {
                state.below.remove(&version);
            } else if state.below.len() < limits::BELOW_COPIES_MAX {
                state.below.insert(version);
            }
            state.below.len()
        };
        self.inner.metrics.below_copies.set(i64::try_from(below).unwrap_or(i64::MAX));
    }
}
