//! Reading ahead of a walk over rows. Pages of an index that does not fit into memory come from the
//! disk one after the other, each waited for: a walk that was slow over its first rows guesses from
//! their keys where the next ones lie, and has many readers fetch those at once.
//!
//! Invariant: it changes no answer, only when pages are read. What is guessed wrong is read in vain.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::index::View;
use super::schema::Space;
use super::shared::Shared;

/// Rows between two guesses, and those at the beginning that are timed.
const WINDOW: usize = 1024;
const TIMED: usize = 64;

/// Readers that fetch a window, as many rows each as were timed.
const READERS: u64 = (WINDOW / TIMED) as u64;

/// Digits of keys that did not change over the timed rows and may change over the window.
const CARRIED: usize = 2;

/// Keys are numbers up to here, so that a window can be added to them.
const NUMBERS_MAX: u64 = u64::MAX / (READERS + 1);

/// A walk over records.
pub(super) struct Ahead {
    shared: Arc<Shared>,
    view: Arc<View>,
    rows: usize,
    /// When the window began.
    began: Duration,
    keys: Keys,
}

impl Ahead {
    pub(super) fn new(shared: Arc<Shared>, view: Arc<View>) -> Self {
        let began = shared.env.monotonic();
        Self { shared, view, rows: 0, began, keys: Keys::from(&[]) }
    }

    /// The walk is at this key.
    pub(super) fn note(&mut self, key: &[u8]) {
        let within = self.rows % WINDOW;
        self.rows += 1;
        if within == 0 {
            // The first row of all has been waited for already, and counts.
            if self.rows > 1 {
                self.began = self.shared.env.monotonic();
            }
            self.keys = Keys::from(key);
        } else if within <= TIMED {
            self.keys.note(key);
        }
        if within == TIMED {
            let took = self.shared.env.monotonic().saturating_sub(self.began);
            if took >= self.shared.options.read_ahead_after {
                self.fetch(key);
            }
        }
    }

    fn fetch(&self, last: &[u8]) {
        let mut from = last.to_vec();
        for to in self.keys.guesses(last) {
            let (view, start) = (Arc::clone(&self.view), std::mem::replace(&mut from, to.clone()));
            self.shared.env.tasks.spawn_blocking(Box::new(move || {
                let (start, end) = (Bound::Excluded(start.as_slice()), Bound::Included(&to[..]));
                // What fails here fails again where it is needed.
                if let Ok(Some(rows)) = view.range_raw(Space::Records, start, end) {
                    rows.take(2 * TIMED).take_while(Result::is_ok).for_each(drop);
                }
            }));
        }
    }
}

/// Keys of the timed rows: as much of them as it takes to count on from there. Those places in which
/// they differ are taken for a number, whose digits are the bytes that were seen there: of hexadecimal
/// keys those are 16.
struct Keys {
    first: Vec<u8>,
    /// Of the first key's places, those in which others differ.
    differs: Vec<bool>,
    seen: [bool; 256],
}

impl Keys {
    fn from(first: &[u8]) -> Self {
        Self { first: first.to_vec(), differs: vec![false; first.len()], seen: [false; 256] }
    }

    /// A later one.
    fn note(&mut self, key: &[u8]) {
        for ((differs, first), byte) in self.differs.iter_mut().zip(&self.first).zip(key) {
            if first != byte {
                *differs = true;
                self.seen[usize::from(*first)] = true;
                self.seen[usize::from(*byte)] = true;
            }
        }
    }

    /// Where the next stretches end if keys go on as from the first one to `last`.
    fn guesses(&self, last: &[u8]) -> Vec<Vec<u8>> {
        let number = self.number();
        let (from, to) = (number.of(&self.first), number.of(last));
        let step = to.saturating_sub(from);
        let ends = (1..READERS).map(|n| to + n * step).take_while(|end| *end < number.end);
        if step == 0 { Vec::new() } else { ends.map(|end| number.put(end, last)).collect() }
    }

    fn number(&self) -> Number {
        let digits = (u8::MIN..=u8::MAX).filter(|byte| self.seen[usize::from(*byte)]);
        let digits: Vec<u8> = digits.collect();
        let first = self.differs.iter().position(|differs| *differs).unwrap_or(self.first.len());
        let before = self.first[..first].iter().rev().take(CARRIED);
        let carried = before.take_while(|byte| self.seen[usize::from(**byte)]).count();
        let places =
            (first - carried..self.first.len()).filter(|at| *at < first || self.differs[*at]);
        let (mut end, mut used) = (1, Vec::new());
        for place in places {
            if end > NUMBERS_MAX / digits.len() as u64 {
                break;
            }
            end *= digits.len() as u64;
            used.push(place);
        }
        Number { digits, places: used, end }
    }
}

/// What stands in some places of a key, read as a number below `end`.
struct Number {
    /// In their order.
    digits: Vec<u8>,
    places: Vec<usize>,
    end: u64,
}

impl Number {
    /// A key that ends before has the least digit there.
    fn of(&self, key: &[u8]) -> u64 {
        let most = self.digits.len().saturating_sub(1);
        let rank = |byte: &u8| self.digits.partition_point(|digit| digit < byte).min(most);
        let digits = self.places.iter().map(|place| key.get(*place).map_or(0, rank));
        digits.fold(0, |number, digit| number * self.digits.len() as u64 + digit as u64)
    }

    /// A key like another one with this number, up to its last digit.
    fn put(&self, mut number: u64, like: &[u8]) -> Vec<u8> {
        let mut key = like.to_vec();
        key.resize(self.places.last().map_or(0, |place| place + 1), self.digits[0]);
        for place in self.places.iter().rev() {
            let digit = usize::try_from(number % self.digits.len() as u64).expect("a digit");
            key[*place] = self.digits[digit];
            number /= self.digits.len() as u64;
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guesses(keys: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (first, later) = keys.split_first().unwrap();
        let mut seen = Keys::from(first);
        later.iter().for_each(|key| seen.note(key));
        seen.guesses(keys.last().unwrap())
    }

    /// Of rows that lie evenly each reader's stretch ends within a quarter of one of where it should.
    fn assert_even(key: impl Fn(u64) -> Vec<u8>) {
        let timed: Vec<Vec<u8>> = (0..=TIMED as u64).map(&key).collect();
        let ends = guesses(&timed);
        assert_eq!(ends.len() as u64, READERS - 1);
        for (n, end) in (2_u64..).zip(ends) {
            let at = n * TIMED as u64;
            let (least, most) = (at - TIMED as u64 / 4, at + TIMED as u64 / 4);
            assert!(key(least) < end && end < key(most), "{n}: {end:?}");
        }
    }

    #[test]
    fn guesses_go_on_as_the_keys_did_whatever_their_digits_are() {
        let of = |n: u64| n.wrapping_mul(0x1_0003_0b21_7a91).wrapping_add(0x5ff0_0000_0000_0000);
        assert_even(|n| format!("some/folder/{:016x}", of(n)).into_bytes());
        assert_even(|n| format!("some/folder/{:020}.jpg", of(n)).into_bytes());
        assert_even(|n| format!("{:08}", 19_990_000 + 7 * n).into_bytes());
        let uuid = |n| format!("{:08x}-{:04x}-4d7e", of(n) >> 32, of(n) & 0xffff);
        assert_even(|n| uuid(n).into_bytes());
    }

    #[test]
    fn nothing_is_guessed_of_keys_that_do_not_differ_or_have_no_room() {
        let none = Vec::<Vec<u8>>::new();
        assert_eq!(guesses(&[b"same".to_vec(), b"same".to_vec()]), none);
        assert_eq!(guesses(&[vec![0], vec![255]]), none);
    }

    proptest::proptest! {
        #[test]
        fn any_keys_give_guesses_in_order(mut keys: Vec<Vec<u8>>) {
            keys.sort();
            proptest::prop_assume!(!keys.is_empty());
            let ends = guesses(&keys);
            proptest::prop_assert!(ends.is_sorted());
            proptest::prop_assert!(ends.first().is_none_or(|end| end > keys.last().unwrap()));
        }
    }
}
