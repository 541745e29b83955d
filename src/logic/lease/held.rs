//! What a region holds leases of, and which keys are worth one.
//!
//! Reading contract: [`Held::read`] says what may be shown; the record beside it is read after that;
//! then [`Held::serves`] says, with the time of now, whether it may still be shown. A node that was
//! stopped in between finds out there.
//!
//! Invariant: a lease that was let go never comes back by what was asked before.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{LeaseNo, Moment, Term};
use crate::limits;

/// The leases of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held<K: Ord, V> {
    term: Term,
    start: u64,
    /// Questions asked, for all keys together.
    count: u64,
    keys: BTreeMap<K, Entry<V>>,
    max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry<V> {
    lease: Option<Lease<V>>,
    asking: Option<Asking>,
    /// Reads since a moment, or since the lease was let go.
    reads: u32,
    since: Duration,
    /// Reads before a lease is asked for.
    price: u32,
    /// Reads that the lease served.
    served: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lease<V> {
    /// Changes with the value.
    serial: u64,
    value: V,
    since: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asking {
    count: u64,
    /// Before the question left.
    since: Moment,
}

/// What a read finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<V> {
    /// To be shown if [`Held::serves`] says so afterwards.
    Lease {
        value: V,
        serial: u64,
        renew: bool,
    },
    /// The key is read often: ask for a lease with this read.
    Worth,
    Nothing,
}

impl<V> Entry<V> {
    fn new(since: Duration) -> Self {
        let price = limits::LEASE_READS_MIN;
        Self { lease: None, asking: None, reads: 0, since, price, served: 0 }
    }

    fn raised_price(&self) -> u32 {
        self.price.saturating_mul(2).min(limits::LEASE_READS_MAX)
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> Held<K, V> {
    /// Of at most `max` keys, by a process that is named `start`.
    pub fn new(term: Term, start: u64, max: usize) -> Self {
        Self { term, start, count: 0, keys: BTreeMap::new(), max }
    }

    /// Counts a read of a key that may have a lease, and says what is there.
    pub fn read(&mut self, key: &K, now: Moment) -> Found<V> {
        self.make_room(key, now);
        if !self.keys.contains_key(key) && self.keys.len() >= self.max {
            return Found::Nothing;
        }
        let term = self.term;
        let entry = self.keys.entry(key.clone()).or_insert_with(|| Entry::new(now.counted));
        if now.counted.saturating_sub(entry.since) > limits::LEASE_READS_WITHIN {
            (entry.reads, entry.since) = (0, now.counted);
            entry.price = (entry.price / 2).max(limits::LEASE_READS_MIN);
        }
        entry.reads = entry.reads.saturating_add(1);
        let free = entry.asking.is_none_or(|asking| !lives(&term, asking.since, now));
        match &entry.lease {
            Some(lease) if lives(&term, lease.since, now) => {
                let age = now.counted.saturating_sub(lease.since.counted);
                let renew = free && age >= term.used / 2;
                Found::Lease { value: lease.value.clone(), serial: lease.serial, renew }
            }
            Some(_) | None if free && entry.reads >= entry.price => Found::Worth,
            Some(_) | None => Found::Nothing,
        }
    }

    /// Whether what was found may be shown now.
    pub fn serves(&mut self, key: &K, serial: u64, now: Moment) -> bool {
        let term = self.term;
        let Some(entry) = self.keys.get_mut(key) else { return false };
        let serves = entry
            .lease
            .as_ref()
            .is_some_and(|lease| lease.serial == serial && lives(&term, lease.since, now));
        entry.served = entry.served.saturating_add(u32::from(serves));
        serves
    }

    /// A question for a lease is about to leave: its number.
    pub fn ask(&mut self, key: &K, now: Moment) -> LeaseNo {
        self.count += 1;
        let asking = Asking { count: self.count, since: now };
        let entry = self.keys.entry(key.clone()).or_insert_with(|| Entry::new(now.counted));
        entry.asking = Some(asking);
        LeaseNo { start: self.start, count: self.count }
    }

    /// A quorum granted what was asked for, and agreed on this value. False: it was let go meanwhile.
    pub fn granted(&mut self, key: &K, no: LeaseNo, value: V) -> bool {
        let Some(entry) = self.keys.get_mut(key) else { return false };
        let Some(asking) = entry.asking.take_if(|a| a.count == no.count) else { return false };
        let serial = match &entry.lease {
            Some(lease) if lease.value == value => lease.serial,
            Some(_) | None => no.count,
        };
        entry.lease = Some(Lease { serial, value, since: asking.since });
        true
    }

    /// What was asked for was not granted.
    pub fn refused(&mut self, key: &K, no: LeaseNo) {
        if let Some(entry) = self.keys.get_mut(key)
            && entry.asking.take_if(|asking| asking.count == no.count).is_some()
        {
            entry.reads = 0;
            entry.price = entry.raised_price();
        }
    }

    /// Lets the lease of a key go, and what is asked for. Whoever granted anything up to the number
    /// need not wait for it. The second: there was something.
    pub fn let_go(&mut self, key: &K) -> (LeaseNo, bool) {
        let upto = LeaseNo { start: self.start, count: self.count };
        let Some(entry) = self.keys.get_mut(key) else { return (upto, false) };
        let had = entry.lease.take().is_some() | entry.asking.take().is_some();
        if had {
            // One that served little costs writers more than it gives readers.
            entry.price = match entry.served >= limits::LEASE_READS_WORTH {
                true => limits::LEASE_READS_MIN,
                false => entry.raised_price(),
            };
            (entry.reads, entry.served) = (0, 0);
        }
        (upto, had)
    }

    /// Of a lease that is held now: how much of it is left.
    pub fn left(&self, key: &K, now: Moment) -> Option<Duration> {
        let lease = self.keys.get(key)?.lease.as_ref()?;
        let left = (lease.since.counted + self.term.used).checked_sub(now.counted)?;
        lives(&self.term, lease.since, now).then_some(left)
    }

    /// Leases that are held now.
    pub fn count(&self, now: Moment) -> usize {
        let leases = self.keys.values().filter_map(|entry| entry.lease.as_ref());
        leases.filter(|lease| lives(&self.term, lease.since, now)).count()
    }

    /// Keys that are not read any more make room.
    fn make_room(&mut self, key: &K, now: Moment) {
        if self.keys.len() < self.max || self.keys.contains_key(key) {
            return;
        }
        self.keys.retain(|_, entry| {
            now.counted.saturating_sub(entry.since) <= limits::LEASE_READS_WITHIN
        });
    }

    /// What is held, whatever the clock says, with its serial.
    #[cfg(test)]
    pub(super) fn lease_of(&self, key: &K) -> Option<(V, u64)> {
        let lease = self.keys.get(key)?.lease.as_ref()?;
        Some((lease.value.clone(), lease.serial))
    }

    /// Counts from when the grants were heard: what must not be done.
    #[cfg(test)]
    pub(super) fn granted_since(&mut self, key: &K, no: LeaseNo, value: V, since: Moment) {
        if self.granted(key, no, value)
            && let Some(lease) = self.keys.get_mut(key).and_then(|entry| entry.lease.as_mut())
        {
            lease.since = since;
        }
    }

    /// Lets the lease go, but not what is asked for: what must not be done.
    #[cfg(test)]
    pub(super) fn let_go_of_lease_alone(&mut self, key: &K) -> LeaseNo {
        if let Some(entry) = self.keys.get_mut(key) {
            entry.lease = None;
        }
        LeaseNo { start: self.start, count: self.count }
    }
}

/// Whether what began then lasts still, by both clocks.
fn lives(term: &Term, since: Moment, now: Moment) -> bool {
    let wall = now.wall_ms.checked_sub(since.wall_ms).map(Duration::from_millis);
    now.counted < since.counted + term.used && wall.is_some_and(|passed| passed < term.used)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Term =
        Term { granted: Duration::from_millis(100), used: Duration::from_millis(90) };

    fn at(ms: u64) -> Moment {
        Moment { counted: Duration::from_millis(ms), wall_ms: 1_000_000 + ms }
    }

    fn held() -> Held<&'static str, u8> {
        Held::new(TERM, 5, 3)
    }

    /// One that has a lease of "k" since 0.
    fn holder() -> Held<&'static str, u8> {
        let mut held = held();
        let no = held.ask(&"k", at(0));
        assert!(held.granted(&"k", no, 1));
        held
    }

    #[test]
    fn a_lease_is_asked_for_by_the_second_read_and_renewed_in_its_second_half() {
        let mut held = held();
        assert_eq!(held.read(&"k", at(0)), Found::Nothing);
        assert_eq!(held.read(&"k", at(1)), Found::Worth);
        let no = held.ask(&"k", at(2));
        assert_eq!(held.read(&"k", at(3)), Found::Nothing, "asked already");
        assert!(held.granted(&"k", no, 7));
        let found = |renew| Found::Lease { value: 7, serial: no.count, renew };
        assert_eq!(held.read(&"k", at(40)), found(false));
        assert_eq!(held.read(&"k", at(50)), found(true));
        let again = held.ask(&"k", at(50));
        assert!(held.granted(&"k", again, 7));
        assert_eq!(held.read(&"k", at(100)), Found::Lease { value: 7, serial: 1, renew: true });
        assert!(held.serves(&"k", no.count, at(139)), "the same value, renewed");
        assert!(!held.serves(&"k", no.count, at(140)));
        assert_eq!(held.count(at(139)), 1);
        assert_eq!(held.left(&"k", at(130)), Some(Duration::from_millis(10)));
        assert_eq!((held.count(at(140)), held.left(&"k", at(140))), (0, None));
    }

    #[test]
    fn who_slept_past_the_end_shows_nothing_whichever_clock_says_so() {
        let mut held = holder();
        assert!(held.serves(&"k", 1, at(89)));
        assert!(!held.serves(&"k", 1, at(90)));
        let slept = Moment { counted: Duration::from_millis(5), wall_ms: 1_000_500 };
        assert!(!held.serves(&"k", 1, slept), "the machine's count stood still");
        let back = Moment { counted: Duration::from_millis(5), wall_ms: 999_999 };
        assert!(!held.serves(&"k", 1, back));
    }

    #[test]
    fn a_grant_that_was_asked_before_the_lease_was_let_go_gives_none() {
        let mut held = held();
        let no = held.ask(&"k", at(0));
        assert_eq!(held.let_go(&"k"), (LeaseNo { start: 5, count: 1 }, true));
        assert!(!held.granted(&"k", no, 1));
        assert!(!held.let_go(&"k").1);
        let (first, second) = (held.ask(&"k", at(0)), held.ask(&"k", at(95)));
        assert!(!held.granted(&"k", first, 1), "given up");
        assert!(held.granted(&"k", second, 2));
        let mut holder = holder();
        holder.let_go(&"k");
        assert!(!holder.serves(&"k", 1, at(1)));
    }

    #[test]
    fn a_lease_of_another_value_has_another_serial() {
        let mut held = holder();
        let no = held.ask(&"k", at(50));
        assert!(held.granted(&"k", no, 2));
        assert!(!held.serves(&"k", 1, at(51)));
        assert!(held.serves(&"k", no.count, at(51)));
    }

    #[test]
    fn keys_that_are_changed_more_than_read_are_left_alone() {
        let mut held = holder();
        let mut prices = Vec::new();
        for _ in 0..8 {
            held.let_go(&"k");
            let mut reads = 1;
            while held.read(&"k", at(0)) != Found::Worth {
                reads += 1;
            }
            prices.push(reads);
            let no = held.ask(&"k", at(0));
            held.granted(&"k", no, 1);
        }
        assert_eq!(prices, [4, 8, 16, 32, 64, 64, 64, 64]);
        let Found::Lease { serial, .. } = held.read(&"k", at(1)) else { panic!("no lease") };
        (0..limits::LEASE_READS_WORTH).for_each(|_| assert!(held.serves(&"k", serial, at(1))));
        held.let_go(&"k");
        assert_eq!(held.read(&"k", at(0)), Found::Nothing);
        assert_eq!(held.read(&"k", at(0)), Found::Worth, "it was worth it");
    }

    #[test]
    fn only_so_many_keys_are_looked_at() {
        let mut held = held();
        for key in ["a", "b", "c", "d"] {
            held.read(&key, at(0));
        }
        assert_eq!(held.read(&"d", at(1)), Found::Nothing, "there is no room to count it");
        let later = u64::try_from(limits::LEASE_READS_WITHIN.as_millis()).unwrap() + 1;
        held.read(&"d", at(later));
        assert_eq!(held.read(&"d", at(later)), Found::Worth);
    }
}
