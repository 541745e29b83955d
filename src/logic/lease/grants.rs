//! What a voter has granted: for which keys it waits before it accepts anything else.
//!
//! Invariant: a grant ends by the voter's own count of time, or when its holder gave back what it had
//! asked for up to it; nothing else takes one away.

use std::collections::BTreeMap;
use std::time::Duration;

use super::LeaseNo;
use crate::types::region::RegionId;

/// The grants of one voter. Kept in memory: see [`Grants::restarted`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grants<K: Ord> {
    /// What was granted before this start is over by then.
    quiet_until: Duration,
    keys: BTreeMap<K, Given>,
    max: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Given {
    /// By holder and start of its process.
    holders: BTreeMap<(RegionId, u64), Grant>,
    /// Somebody wants to change the key: none is granted until then.
    closed_until: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Grant {
    count: u64,
    end: Duration,
}

/// Why a voter does not accept yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who may let go earlier. None where nobody knows: the voter started anew.
    pub holders: Vec<RegionId>,
    /// By the voter's count of time.
    pub until: Duration,
}

impl<K: Ord + Clone> Grants<K> {
    /// Of at most `max` keys.
    pub fn new(max: usize) -> Self {
        Self { quiet_until: Duration::ZERO, keys: BTreeMap::new(), max }
    }

    /// This voter may have granted in an earlier life, and does not know what: nothing is accepted
    /// for a whole term.
    #[must_use]
    pub fn restarted(self, until: Duration) -> Self {
        Self { quiet_until: until, ..self }
    }

    /// Promises to accept no other value of this key before `until`; false where it does not.
    pub fn grant(
        &mut self,
        key: &K,
        (holder, no): (RegionId, LeaseNo),
        now: Duration,
        until: Duration,
    ) -> bool {
        if !self.keys.contains_key(key) && self.keys.len() >= self.max {
            self.forget_ended(now);
            if self.keys.len() >= self.max {
                return false;
            }
        }
        let given = self.keys.entry(key.clone()).or_default();
        if now < given.closed_until {
            return false;
        }
        let none = Grant { count: 0, end: Duration::ZERO };
        let grant = given.holders.entry((holder, no.start)).or_insert(none);
        // Questions may come in another order than they were asked.
        *grant = Grant { count: grant.count.max(no.count), end: grant.end.max(until) };
        true
    }

    /// What is to be waited for before another value of this key is accepted.
    pub fn hold(&self, key: &K, now: Duration) -> Option<Hold> {
        let given = self.keys.get(key);
        let living = given.into_iter().flat_map(|given| &given.holders);
        let living: Vec<(RegionId, Duration)> = living
            .filter(|(_, grant)| now < grant.end)
            .map(|((holder, _), grant)| (*holder, grant.end))
            .collect();
        let ends = living.iter().map(|(_, end)| *end);
        let until = ends.chain((now < self.quiet_until).then_some(self.quiet_until)).max()?;
        let mut holders: Vec<RegionId> = living.into_iter().map(|(holder, _)| holder).collect();
        holders.dedup();
        Some(Hold { holders, until })
    }

    /// Somebody is about to change the key.
    pub fn close(&mut self, key: &K, until: Duration) {
        if let Some(given) = self.keys.get_mut(key) {
            given.closed_until = given.closed_until.max(until);
        }
    }

    /// The change was accepted.
    pub fn open(&mut self, key: &K) {
        if let Some(given) = self.keys.get_mut(key) {
            given.closed_until = Duration::ZERO;
            if given.holders.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    /// The holder gives back what it had asked for up to `upto`.
    pub fn release(&mut self, key: &K, holder: RegionId, upto: LeaseNo) {
        let Some(given) = self.keys.get_mut(key) else { return };
        let at = (holder, upto.start);
        if given.holders.get(&at).is_some_and(|grant| grant.count <= upto.count) {
            given.holders.remove(&at);
        }
        if given.holders.is_empty() && given.closed_until.is_zero() {
            self.keys.remove(key);
        }
    }

    /// Whether this holder has a grant of the key.
    pub fn has(&self, key: &K, holder: RegionId, now: Duration) -> bool {
        self.hold(key, now).is_some_and(|hold| hold.holders.contains(&holder))
    }

    /// Lets what has ended go. True: a voter that starts anew now has nothing to wait for.
    pub fn forget_ended(&mut self, now: Duration) -> bool {
        self.keys.retain(|_, given| {
            given.holders.retain(|_, grant| now < grant.end);
            !given.holders.is_empty() || now < given.closed_until
        });
        now >= self.quiet_until && self.keys.values().all(|given| given.holders.is_empty())
    }

    /// Removes a grant whatever its number says: what must not be done.
    #[cfg(test)]
    pub(super) fn release_any(&mut self, key: &K, holder: RegionId) {
        if let Some(given) = self.keys.get_mut(key) {
            given.holders.retain(|(region, _), _| *region != holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(code: &str) -> RegionId {
        RegionId::parse(code).unwrap()
    }

    fn no(start: u64, count: u64) -> LeaseNo {
        LeaseNo { start, count }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_key_is_held_until_the_last_grant_ends() {
        let (nrt, syd) = (region("nrt"), region("syd"));
        let mut grants = Grants::new(9);
        assert!(grants.grant(&"k", (nrt, no(1, 1)), ms(10), ms(110)));
        assert!(grants.grant(&"k", (syd, no(2, 1)), ms(50), ms(150)));
        let hold = grants.hold(&"k", ms(60)).unwrap();
        assert_eq!((hold.holders, hold.until), (vec![nrt, syd], ms(150)));
        assert_eq!(grants.hold(&"k", ms(120)).unwrap().holders, [syd]);
        assert_eq!(grants.hold(&"k", ms(150)), None);
        assert_eq!(grants.hold(&"other", ms(60)), None);
        assert!(!grants.forget_ended(ms(149)));
        assert!(grants.forget_ended(ms(150)));
        assert_eq!(grants, Grants::new(9));
    }

    #[test]
    fn a_release_takes_what_was_asked_before_it_and_nothing_later() {
        let nrt = region("nrt");
        let mut grants = Grants::new(9);
        grants.grant(&"k", (nrt, no(1, 7)), ms(0), ms(100));
        grants.release(&"k", nrt, no(1, 6));
        grants.release(&"k", nrt, no(2, 9));
        grants.release(&"k", region("syd"), no(1, 9));
        assert!(grants.has(&"k", nrt, ms(50)), "asked for later, or by another process");
        grants.grant(&"k", (nrt, no(1, 5)), ms(10), ms(90));
        assert_eq!(grants.hold(&"k", ms(50)).unwrap().until, ms(100), "a late question");
        grants.release(&"k", nrt, no(1, 7));
        assert_eq!(grants.hold(&"k", ms(50)), None);
    }

    #[test]
    fn nothing_is_granted_while_somebody_waits_to_change_the_key_or_beyond_the_bound() {
        let nrt = region("nrt");
        let mut grants = Grants::new(1);
        assert!(grants.grant(&"k", (nrt, no(1, 1)), ms(0), ms(100)));
        assert!(!grants.grant(&"l", (nrt, no(1, 2)), ms(0), ms(100)));
        grants.close(&"k", ms(80));
        assert!(!grants.grant(&"k", (nrt, no(1, 3)), ms(50), ms(150)));
        assert!(grants.grant(&"k", (nrt, no(1, 4)), ms(80), ms(180)));
        grants.close(&"k", ms(500));
        grants.release(&"k", nrt, no(1, 4));
        assert!(!grants.grant(&"k", (nrt, no(1, 5)), ms(90), ms(190)));
        grants.open(&"k");
        assert!(grants.grant(&"l", (nrt, no(1, 6)), ms(90), ms(190)));
    }

    #[test]
    fn after_a_start_every_key_is_held_for_a_term() {
        let mut grants = Grants::new(1).restarted(ms(1000));
        assert_eq!(grants.hold(&"k", ms(999)).unwrap(), Hold { holders: vec![], until: ms(1000) });
        assert!(!grants.forget_ended(ms(999)));
        assert_eq!(grants.hold(&"k", ms(1000)), None);
        assert!(grants.forget_ended(ms(1000)));
    }
}
