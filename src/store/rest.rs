//! A store at rest: bodies are moved together until little of the log is dead.
//!
//! Invariant: a busy store moves only what is mostly dead. At rest as much is moved as gets dead
//! bytes below their share of live ones, worst first and within a budget, and then no more: what
//! was moved has next to nothing dead in it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::limits;

use super::lock;
use super::schema::SegmentInfo;
use super::shared::{Segments, Shared};

/// Rates are taken over at least this long.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether a store is at rest.
pub(crate) struct Rest {
    on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    /// The last look, and what the log had got until then.
    looked: Duration,
    log_bytes: u64,
    /// When others than housekeeping last wrote much.
    busy: Duration,
    /// Bytes that housekeeping moved since the last look, and in the current window of its budget.
    moved: u64,
    window: Duration,
    spent: u64,
}

impl Rest {
    /// A store that was opened just now is not at rest.
    pub(crate) fn new(now: Duration) -> Self {
        let state = State { looked: now, log_bytes: 0, busy: now, moved: 0, window: now, spent: 0 };
        Self { on: AtomicBool::new(false), state: Mutex::new(state) }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Housekeeping wrote so much.
    pub(crate) fn note_moved(&self, bytes: u64) {
        let mut state = lock(&self.state);
        state.moved += bytes;
        state.spent += bytes;
    }

    /// Looks at what was written since the last look.
    fn look(&self, now: Duration, log_bytes: u64) {
        let mut state = lock(&self.state);
        let elapsed = now.saturating_sub(state.looked);
        if elapsed < LOOK_EVERY {
            return;
        }
        let written = log_bytes.saturating_sub(state.log_bytes).saturating_sub(state.moved);
        let most = u128::from(limits::REST_LOG_BYTES_PER_SECOND) * elapsed.as_millis() / 1000;
        if u128::from(written) > most {
            state.busy = now;
        }
        (state.looked, state.log_bytes, state.moved) = (now, log_bytes, 0);
        let rests = now.saturating_sub(state.busy) >= limits::REST_AFTER;
        self.on.store(rests, Ordering::Relaxed);
    }

    /// Whether the budget of this window is not spent.
    fn has_budget(&self, now: Duration) -> bool {
        let mut state = lock(&self.state);
        if now.saturating_sub(state.window) >= limits::REST_WINDOW {
            (state.window, state.spent) = (now, 0);
        }
        state.spent < limits::REST_WINDOW_BYTES
    }
}

impl Segments {
    /// Whether too much is dead in segments that can be moved.
    pub(crate) fn is_worn(&self, stuck: &BTreeSet<u64>) -> bool {
        let movable = self.infos.range(..self.settled).filter(|(s, _)| !stuck.contains(s));
        let dead: u64 = movable.filter(|(_, i)| i.live > 0).map(|(_, info)| info.dead()).sum();
        dead * 100 > self.packed() * limits::REST_DEAD_PERCENT
    }

    fn packed(&self) -> u64 {
        self.infos.values().map(SegmentInfo::packed).sum()
    }
}

impl Shared {
    /// Whether housekeeping may move what is not mostly dead.
    pub(crate) fn may_tidy(&self) -> bool {
        let now = self.env.monotonic();
        self.rest.look(now, self.counters.log_bytes.load(Ordering::Relaxed));
        self.rest.is_on() && self.rest.has_budget(now)
    }

    /// Whether the segment that is written to has more dead bytes than a store at rest keeps.
    pub(crate) fn is_current_worn(&self) -> bool {
        let segments = lock(&self.segments);
        let least = self.options.segment_bytes / limits::REST_SEGMENT_PARTS;
        let most = (segments.packed() * limits::REST_DEAD_PERCENT / 100).max(least);
        segments.infos.values().next_back().is_some_and(|current| current.dead() > most)
    }

    /// Whether the writer has something to give up.
    pub(crate) fn wants_settling(&self) -> bool {
        self.rest.is_on() && (lock(&self.segments).spares > 0 || self.is_current_worn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_store_rests_after_a_while_without_much_and_what_it_moves_itself_does_not_wake_it() {
        let much = limits::REST_LOG_BYTES_PER_SECOND + 1;
        let rest = Rest::new(Duration::ZERO);
        rest.look(limits::REST_AFTER - SECOND, 0);
        assert!(!rest.is_on());
        rest.look(limits::REST_AFTER, 10);
        assert!(rest.is_on());
        rest.note_moved(much);
        rest.look(limits::REST_AFTER + SECOND, 10 + much);
        assert!(rest.is_on());
        rest.look(limits::REST_AFTER + 2 * SECOND, 10 + 2 * much);
        assert!(!rest.is_on());
        rest.look(2 * limits::REST_AFTER + 2 * SECOND, 10 + 2 * much);
        assert!(rest.is_on());
    }

    #[test]
    fn the_budget_comes_back_with_each_window() {
        let rest = Rest::new(Duration::ZERO);
        assert!(rest.has_budget(SECOND));
        rest.note_moved(limits::REST_WINDOW_BYTES);
        assert!(!rest.has_budget(SECOND));
        assert!(rest.has_budget(limits::REST_WINDOW + SECOND));
    }

    #[test]
    fn dead_bytes_are_weighed_against_live_ones_and_not_where_nothing_can_be_moved() {
        let mut segments = Segments { settled: 3, ..Segments::default() };
        segments.infos.insert(1, SegmentInfo { len: 10_000, live: 8_000, bodies: 1 });
        segments.infos.insert(2, SegmentInfo { len: 10_000, live: 9_900, bodies: 1 });
        segments.infos.insert(3, SegmentInfo { len: 9_000, live: 0, bodies: 0 });
        assert!(segments.is_worn(&BTreeSet::new()));
        assert!(!segments.is_worn(&BTreeSet::from([1])));
        segments.settled = 1;
        assert!(!segments.is_worn(&BTreeSet::new()));
    }
}
