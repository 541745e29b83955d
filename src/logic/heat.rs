//! How often which object is read here: Space-Saving counters with decay.
//!
//! Bounded: when all counters are taken, the coldest one is given to the newcomer, which inherits
//! its count (Metwally et al., "Efficient computation of frequent and top-k elements", 2005), so a
//! hot object is never missed. Decay is by inflation: a count made later weighs more, and the order
//! of the counters never has to be made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::placement::Accesses;

/// Which object: whatever orders.
pub trait Key: Ord + Clone {}
impl<K: Ord + Clone> Key for K {}

#[derive(Clone, Debug)]
struct Counter {
    /// Inflated count, as ordered bits.
    rank: u64,
    /// Not yet taken by [`Heat::take`].
    fresh: Accesses,
}

/// The counters of one region.
#[derive(Clone, Debug)]
pub struct Heat<K> {
    counters: BTreeMap<K, Counter>,
    coldest: BTreeSet<(u64, K)>,
    capacity: usize,
    half_life: Duration,
    /// Keys with fresh accesses.
    touched: BTreeSet<K>,
    epoch: Duration,
}

/// Past this many half lives the counts are scaled down, so that they stay finite.
const HALF_LIVES_MAX: f64 = 500.0;

impl<K: Key> Heat<K> {
    /// `capacity` counters; a count halves in `half_life`.
    pub fn new(capacity: usize, half_life: Duration) -> Self {
        assert!(capacity > 0 && !half_life.is_zero());
        Self {
            counters: BTreeMap::new(),
            coldest: BTreeSet::new(),
            capacity,
            half_life,
            touched: BTreeSet::new(),
            epoch: Duration::ZERO,
        }
    }

    fn inflation(&self, now: Duration) -> f64 {
        (now.saturating_sub(self.epoch).as_secs_f64() / self.half_life.as_secs_f64()).exp2()
    }

    /// Counts accesses; `now` is monotonic time.
    pub fn note(&mut self, key: &K, accesses: Accesses, now: Duration) {
        self.rescale(now);
        let inflation = self.inflation(now);
        let counter = match self.counters.remove(key) {
            Some(counter) => {
                self.coldest.remove(&(counter.rank, key.clone()));
                counter
            }
            None => Counter { rank: self.make_room(), fresh: Accesses::default() },
        };
        let count = f64::from(accesses.hits) + f64::from(accesses.misses);
        let rank = (f64::from_bits(counter.rank) + count * inflation).to_bits();
        let fresh = sum(counter.fresh, accesses);
        self.counters.insert(key.clone(), Counter { rank, fresh });
        self.coldest.insert((rank, key.clone()));
        self.touched.insert(key.clone());
        assert_eq!(self.counters.len(), self.coldest.len(), "one rank a counter");
    }

    /// The count that a newcomer begins with.
    fn make_room(&mut self) -> u64 {
        if self.counters.len() < self.capacity {
            return 0.0_f64.to_bits();
        }
        let (rank, key) = self.coldest.pop_first().expect("capacity is above zero");
        self.counters.remove(&key);
        self.touched.remove(&key);
        rank
    }

    fn rescale(&mut self, now: Duration) {
        let age = now.saturating_sub(self.epoch).as_secs_f64() / self.half_life.as_secs_f64();
        if age < HALF_LIVES_MAX {
            return;
        }
        let inflation = age.exp2();
        self.epoch = now;
        self.coldest.clear();
        for (key, counter) in &mut self.counters {
            counter.rank = (f64::from_bits(counter.rank) / inflation).to_bits();
            self.coldest.insert((counter.rank, key.clone()));
        }
    }

    /// Decayed accesses of a key, at most too large by the coldest count.
    pub fn count(&self, key: &K, now: Duration) -> f64 {
        self.counters.get(key).map_or(0.0, |c| f64::from_bits(c.rank) / self.inflation(now))
    }

    /// Takes up to `max` keys with what was counted since they were taken last.
    pub fn take(&mut self, max: usize) -> Vec<(K, Accesses)> {
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(key) = self.touched.pop_first()
        {
            if let Some(counter) = self.counters.get_mut(&key) {
                taken.push((key, std::mem::take(&mut counter.fresh)));
            }
        }
        taken
    }
}

fn sum(a: Accesses, b: Accesses) -> Accesses {
    Accesses {
        hits: a.hits.saturating_add(b.hits),
        misses: a.misses.saturating_add(b.misses),
        bytes: a.bytes.saturating_add(b.bytes),
        missed_bytes: a.missed_bytes.saturating_add(b.missed_bytes),
        cached_whole: b.cached_whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIT: Accesses =
        Accesses { hits: 1, misses: 0, bytes: 10, missed_bytes: 0, cached_whole: true };

    #[test]
    fn counts_halve_in_a_half_life_and_survive_rescaling() {
        let mut heat = Heat::new(4, Duration::from_secs(10));
        heat.note(&"a", HIT, Duration::ZERO);
        assert!((heat.count(&"a", Duration::from_secs(10)) - 0.5).abs() < 1e-9);
        heat.note(&"a", HIT, Duration::from_secs(10));
        assert!((heat.count(&"a", Duration::from_secs(10)) - 1.5).abs() < 1e-9);
        let late = Duration::from_secs(100_000);
        heat.note(&"b", HIT, late);
        assert!((heat.count(&"b", late) - 1.0).abs() < 1e-9);
        assert!(heat.count(&"a", late) < 1e-9);
    }

    #[test]
    fn a_hot_key_stays_among_many_cold_ones() {
        let mut heat = Heat::new(8, Duration::from_secs(1000));
        for n in 0..1000_u64 {
            heat.note(&n, HIT, Duration::from_millis(n));
            heat.note(&u64::MAX, HIT, Duration::from_millis(n));
        }
        assert!(heat.count(&u64::MAX, Duration::from_secs(1)) > 900.0);
        assert_eq!(heat.counters.len(), 8);
    }

    #[test]
    fn what_was_taken_is_not_taken_twice() {
        let mut heat = Heat::new(8, Duration::from_secs(10));
        heat.note(&1, HIT, Duration::ZERO);
        heat.note(&1, HIT, Duration::ZERO);
        heat.note(&2, HIT, Duration::ZERO);
        let taken = heat.take(1);
        assert_eq!(taken[0].0, 1);
        assert_eq!(taken[0].1.hits, 2);
        assert_eq!(heat.take(9).len(), 1);
        assert!(heat.take(9).is_empty());
    }
}
