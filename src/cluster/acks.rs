//! Who has applied this node's log how far, and who waits for that.
//!
//! Invariant: a waiter is woken as soon as enough regions have applied its position, and a position
//! that a region put into quarantine is never counted for that region.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::limits;
use crate::types::region::RegionId;

/// What a change waits for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Position in this node's log.
    pub(super) seq: u64,
    /// Acknowledgements besides this node's own.
    pub(super) need: usize,
    /// Who may acknowledge, with the failure domain of each.
    pub(super) eligible: BTreeMap<RegionId, String>,
    /// Count domains, this one besides `own_domain`, instead of regions.
    pub(super) own_domain: Option<String>,
}

impl Wanted {
    /// These regions are enough.
    pub(super) fn is_met_by(&self, acked: &[RegionId]) -> bool {
        let eligible = acked.iter().filter_map(|region| self.eligible.get(region));
        let count = match &self.own_domain {
            None => eligible.count(),
            Some(own) => {
                let domains: BTreeSet<&String> = eligible.collect();
                domains.into_iter().filter(|domain| *domain != own).count()
            }
        };
        count >= self.need
    }
}

struct Waiter {
    wanted: Wanted,
    done: oneshot::Sender<Vec<RegionId>>,
}

#[derive(Default)]
struct State {
    applied: BTreeMap<RegionId, u64>,
    refused: BTreeMap<RegionId, BTreeSet<u64>>,
    waiters: BTreeMap<(u64, u64), Waiter>,
    next_waiter: u64,
}

impl State {
    /// The regions that satisfy `wanted`, or `None` while they are too few.
    fn satisfied(&self, wanted: &Wanted) -> Option<Vec<RegionId>> {
        let has = |region: &RegionId| {
            self.applied.get(region).is_some_and(|applied| *applied >= wanted.seq)
                && !self.refused.get(region).is_some_and(|seqs| seqs.contains(&wanted.seq))
        };
        let acked: Vec<RegionId> = wanted.eligible.keys().copied().filter(has).collect();
        wanted.is_met_by(&acked).then_some(acked)
    }
}

/// The acknowledgements of this node's log.
#[derive(Default)]
pub(super) struct Acks {
    state: Mutex<State>,
}

impl Acks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// `region` has applied this node's log up to `applied`, except the positions `refused`.
    pub(super) fn acknowledge(&self, region: RegionId, applied: u64, refused: &[u64]) {
        let mut state = self.state();
        if !refused.is_empty() {
            let of_region = state.refused.entry(region).or_default();
            of_region.extend(refused);
            while of_region.len() > limits::REFUSED_KEPT_MAX {
                of_region.pop_first();
            }
        }
        let before = state.applied.entry(region).or_default();
        if applied <= *before {
            return;
        }
        *before = applied;
        let ready: Vec<((u64, u64), Vec<RegionId>)> = state
            .waiters
            .range(..=(applied, u64::MAX))
            .filter_map(|(id, waiter)| Some((*id, state.satisfied(&waiter.wanted)?)))
            .collect();
        for (id, acked) in ready {
            let waiter = state.waiters.remove(&id).expect("found under this lock");
            // Nobody waits any more when the request was given up: nothing to tell.
            let _ = waiter.done.send(acked);
        }
    }

    /// How far `region` has applied this node's log.
    pub(super) fn applied(&self, region: RegionId) -> u64 {
        self.state().applied.get(&region).copied().unwrap_or(0)
    }

    /// A receiver of the regions that acknowledged, once they are enough.
    pub(super) fn wait(&self, wanted: Wanted) -> oneshot::Receiver<Vec<RegionId>> {
        let (done, waiting) = oneshot::channel();
        let mut state = self.state();
        if state.next_waiter.is_multiple_of(256) {
            state.waiters.retain(|_, waiter| !waiter.done.is_closed());
        }
        match state.satisfied(&wanted) {
            Some(acked) => {
                let _ = done.send(acked);
            }
            None => {
                let id = (wanted.seq, state.next_waiter);
                state.next_waiter += 1;
                state.waiters.insert(id, Waiter { wanted, done });
            }
        }
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(code: &str) -> RegionId {
        RegionId::parse(code).unwrap()
    }

    fn wanted(seq: u64, need: usize, own_domain: Option<&str>) -> Wanted {
        let eligible = [("iad", "a"), ("fra", "b"), ("ams", "b")]
            .map(|(code, domain)| (region(code), domain.to_owned()))
            .into();
        Wanted { seq, need, eligible, own_domain: own_domain.map(str::to_owned) }
    }

    #[test]
    fn a_waiter_is_woken_by_enough_regions_and_not_before() {
        let acks = Acks::default();
        let mut waiting = acks.wait(wanted(5, 2, None));
        acks.acknowledge(region("iad"), 5, &[]);
        acks.acknowledge(region("fra"), 4, &[]);
        assert!(waiting.try_recv().is_err());
        acks.acknowledge(region("fra"), 9, &[]);
        assert_eq!(waiting.try_recv().unwrap(), [region("fra"), region("iad")]);
    }

    #[test]
    fn one_failure_domain_counts_once_and_the_own_one_not_at_all() {
        let acks = Acks::default();
        acks.acknowledge(region("fra"), 1, &[]);
        acks.acknowledge(region("ams"), 1, &[]);
        assert!(acks.wait(wanted(1, 2, Some("x"))).try_recv().is_err());
        assert!(acks.wait(wanted(1, 1, Some("b"))).try_recv().is_err());
        assert!(acks.wait(wanted(1, 1, Some("x"))).try_recv().is_ok());
    }

    #[test]
    fn a_quarantined_position_is_no_acknowledgement() {
        let acks = Acks::default();
        let mut waiting = acks.wait(wanted(3, 1, None));
        acks.acknowledge(region("iad"), 4, &[3]);
        assert!(waiting.try_recv().is_err());
        acks.acknowledge(region("fra"), 3, &[]);
        assert!(waiting.try_recv().is_ok());
    }
}
