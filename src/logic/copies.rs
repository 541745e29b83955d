//! How many copies there are: who makes one more, who gives one up, and when giving up is safe.
//!
//! A copy is dropped only so: its holder declares, collects `copies` fresh direct confirmations
//! from other holders for this round, then drops; a holder that has declared never confirms. Proof:
//! among those that drop take the last to declare; the holders that confirmed to it had not
//! declared then, so none of them has dropped. The tests walk every schedule of a small world, and
//! show that leaving out either rule reaches too few copies.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::region::RegionId;

/// One try to give up a copy. Kept in memory only: a restart ends it, and the copy stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Round {
    number: u64,
    needed: usize,
    confirmed: BTreeSet<RegionId>,
}

/// The rounds of one region, by what they are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounds<K: Ord> {
    open: BTreeMap<K, Round>,
    last: u64,
}

impl<K: Ord> Default for Rounds<K> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), last: 0 }
    }
}

impl<K: Ord + Clone> Rounds<K> {
    /// Declares: from now on this region does not confirm this copy. Gives the round's number.
    pub fn declare(&mut self, copy: K, copies: usize) -> u64 {
        assert!(copies > 0, "a copy that nobody else must have is not dropped by a round");
        self.last += 1;
        let round = Round { number: self.last, needed: copies, confirmed: BTreeSet::new() };
        self.open.insert(copy, round);
        self.last
    }

    /// A holder asks whether this region has the copy: only undeclared holders say yes. `held`: the
    /// bytes were opened and checked, and the row says so now, not only when the check began: a
    /// round may have come and gone meanwhile.
    pub fn confirms(&self, copy: &K, held: bool) -> bool {
        held && !self.open.contains_key(copy)
    }

    /// A confirmation came in; true when the copy may be dropped now. Those of earlier rounds do
    /// not count.
    pub fn confirmed(&mut self, copy: &K, number: u64, by: RegionId) -> bool {
        let Some(round) = self.open.get_mut(copy) else { return false };
        if round.number != number {
            return false;
        }
        round.confirmed.insert(by);
        round.confirmed.len() >= round.needed
    }

    /// The round is over: the copy is dropped, or stays.
    pub fn end(&mut self, copy: &K) {
        self.open.remove(copy);
    }
}

/// A region that may hold a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub region: RegionId,
    pub failure_domain: String,
    /// Reachable, so that it can be asked now.
    pub reachable: bool,
}

/// All regions in the order in which they should hold this object: rendezvous hashing, so that
/// every region computes the same order and objects spread evenly.
/// Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.
pub fn rendezvous(object: &[u8], regions: impl IntoIterator<Item = RegionId>) -> Vec<RegionId> {
    let weigh = |region: RegionId| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(object).update(&region.to_u16().to_be_bytes());
        *hasher.finalize().as_bytes()
    };
    let mut weighed: Vec<([u8; 32], RegionId)> =
        regions.into_iter().map(|region| (weigh(region), region)).collect();
    weighed.sort_unstable_by(|a, b| b.cmp(a));
    weighed.into_iter().map(|(_, region)| region).collect()
}

/// Who should make one more copy: in another failure domain than the holders where there is one,
/// then first in rendezvous order. `None`: there are enough, or nobody can.
pub fn next_holder(
    object: &[u8],
    holders: &BTreeSet<RegionId>,
    copies: usize,
    places: &[Place],
) -> Option<RegionId> {
    if holders.len() >= copies {
        return None;
    }
    let domains: BTreeSet<&str> = places
        .iter()
        .filter(|place| holders.contains(&place.region))
        .map(|place| place.failure_domain.as_str())
        .collect();
    let free = |place: &&Place| place.reachable && !holders.contains(&place.region);
    let order = rendezvous(object, places.iter().filter(free).map(|place| place.region));
    let apart = |region: &RegionId| {
        let place = places.iter().find(|place| place.region == *region);
        place.is_some_and(|place| !domains.contains(place.failure_domain.as_str()))
    };
    order.iter().copied().find(apart).or_else(|| order.first().copied())
}

/// Who should give its copy up: never the primary; the last in rendezvous order among the others,
/// one that should have none (it is drained) first, then one whose failure domain another holder
/// shares. `None`: there are not too many.
pub fn surplus_holder(
    object: &[u8],
    holders: &BTreeSet<RegionId>,
    copies: usize,
    primary: RegionId,
    places: &[Place],
) -> Option<RegionId> {
    if holders.len() <= copies.max(1) {
        return None;
    }
    let domain = |region: RegionId| {
        places.iter().find(|p| p.region == region).map(|p| p.failure_domain.as_str())
    };
    let shared = |region: &RegionId| {
        holders.iter().any(|other| other != region && domain(*other) == domain(*region))
    };
    let order = rendezvous(object, holders.iter().copied().filter(|r| *r != primary));
    let misplaced = |region: &RegionId| domain(*region).is_none();
    let mut back = order.iter().rev().copied();
    back.clone().find(misplaced).or_else(|| back.find(shared)).or_else(|| order.last().copied())
}

/// Who takes over from a primary that is gone: the first reachable holder in rendezvous order.
pub fn successor(
    object: &[u8],
    holders: &BTreeSet<RegionId>,
    gone: RegionId,
    reachable: &dyn Fn(RegionId) -> bool,
) -> Option<RegionId> {
    let others = holders.iter().copied().filter(|r| *r != gone && reachable(*r));
    rendezvous(object, others).first().copied()
}

#[cfg(test)]
#[path = "copies_tests.rs"]
mod tests;
