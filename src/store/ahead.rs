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

/// A walk over records.
pub(super) struct Ahead {
    shared: Arc<Shared>,
    view: Arc<View>,
    rows: usize,
    /// When the window began, and its first key.
    began: Duration,
    first: Vec<u8>,
}

impl Ahead {
    pub(super) fn new(shared: Arc<Shared>, view: Arc<View>) -> Self {
        let began = shared.env.monotonic();
        Self { shared, view, rows: 0, began, first: Vec::new() }
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
            self.first = key.to_vec();
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
        for to in guesses(&self.first, last) {
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

/// Where the next stretches end if keys go on as from `first` to `last`.
fn guesses(first: &[u8], last: &[u8]) -> Vec<Vec<u8>> {
    let same = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    let number = |key: &[u8]| {
        let mut bytes = [0; 8];
        let rest = key[same..].len().min(bytes.len());
        bytes[..rest].copy_from_slice(&key[same..same + rest]);
        u64::from_be_bytes(bytes)
    };
    let (from, to) = (number(first), number(last));
    let step = to.saturating_sub(from);
    let ends = (1..READERS).map_while(|n| to.checked_add(step.checked_mul(n)?));
    let key = |end: u64| [&last[..same], &end.to_be_bytes()].concat();
    if step == 0 { Vec::new() } else { ends.map(key).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_go_on_as_the_keys_did_and_end_where_numbers_do() {
        let key = |n: u32| format!("a/{n:08x}").into_bytes();
        let ends = guesses(&key(0x1000_0000), &key(0x1100_0000));
        assert_eq!(ends.len() as u64, READERS - 1);
        assert!(ends.is_sorted() && ends[0] > key(0x1100_0000) && ends[0] < key(0x1300_0000));
        assert_eq!(guesses(b"same", b"same"), Vec::<Vec<u8>>::new());
        assert_eq!(guesses(b"\x00", b"\xff"), Vec::<Vec<u8>>::new());
        assert!(guesses(b"k", b"k/longer than eight bytes").is_sorted());
    }

    proptest::proptest! {
        #[test]
        fn any_keys_give_guesses_in_order_after_the_last(first: Vec<u8>, last: Vec<u8>) {
            proptest::prop_assume!(first < last);
            let ends = guesses(&first, &last);
            proptest::prop_assert!(ends.is_sorted());
        }
    }
}
