//! Whose turn it is to be delivered, and when again after a failure.
//!
//! A lane is what waits for one destination of one bucket, oldest first. Driving contract: `see`
//! the lanes that have something, `take` until there is none, `done` for each that was taken.
//! Invariant: a lane is taken by one delivery at a time, and no destination takes more than its
//! share of the deliveries, so that one that is down does not keep the others waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Delivered,
    /// The destination answered that it does not want this.
    Refused,
    /// It could not be reached, took too long, or failed itself.
    Failed,
}

/// What follows for the events that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are done.
    Forget,
    /// They are sent again.
    Keep,
    /// They are never sent again.
    GiveUp,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    /// Deliveries in a row that were not taken.
    failures: u32,
    due: Duration,
    busy: bool,
}

/// The lanes of one node. `K` names one; `D` its destination.
#[derive(Debug)]
pub struct Lanes<K, D> {
    lanes: BTreeMap<K, (D, Lane)>,
}

impl<K: Ord + Clone, D: PartialEq + Clone> Default for Lanes<K, D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord + Clone, D: PartialEq + Clone> Lanes<K, D> {
    pub fn new() -> Self {
        Self { lanes: BTreeMap::new() }
    }

    /// These lanes have events, all others have none. A new one is due at once.
    pub fn see(&mut self, present: impl IntoIterator<Item = (K, D)>) {
        let mut seen = BTreeMap::new();
        for (key, destination) in present {
            let lane = self.lanes.remove(&key).map(|(_, lane)| lane).unwrap_or_default();
            seen.insert(key, (destination, lane));
        }
        let gone = std::mem::replace(&mut self.lanes, seen);
        let busy = gone.into_iter().filter(|(_, (_, lane))| lane.busy);
        self.lanes.extend(busy);
    }

    /// The next lane to deliver, and how many of its events at most.
    pub fn take(&mut self, now: Duration) -> Option<(K, usize)> {
        let busy: Vec<&D> = self.lanes.values().filter(|(_, l)| l.busy).map(|(d, _)| d).collect();
        if busy.len() >= limits::NOTIFY_DELIVERIES_MAX {
            return None;
        }
        let full = |destination: &D| {
            let own = busy.iter().filter(|other| **other == destination).count();
            own >= limits::NOTIFY_DELIVERIES_EACH_MAX
        };
        let ready = |(_, (destination, lane)): &(&K, &(D, Lane))| {
            !lane.busy && lane.due <= now && !full(destination)
        };
        let next = self.lanes.iter().filter(ready).min_by_key(|(_, (_, lane))| lane.due);
        let key = next.map(|(key, _)| key.clone())?;
        let (_, lane) = self.lanes.get_mut(&key).expect("it was found just above");
        lane.busy = true;
        // After a failure one alone, so that what is wrong with one does not stop the others.
        let most = if lane.failures == 0 { limits::NOTIFY_BATCH_EVENTS } else { 1 };
        Some((key, most))
    }

    /// The time of the next lane that waits, if nothing is delivered meanwhile.
    pub fn next_due(&self) -> Option<Duration> {
        self.lanes.values().filter(|(_, lane)| !lane.busy).map(|(_, lane)| lane.due).min()
    }

    /// How many are being delivered.
    pub fn busy(&self) -> usize {
        self.lanes.values().filter(|(_, lane)| lane.busy).count()
    }

    /// Takes in what became of a delivery of `sent` events.
    pub fn done(
        &mut self,
        key: &K,
        outcome: Outcome,
        sent: usize,
        now: Duration,
        random: u64,
    ) -> Verdict {
        let Some((_, lane)) = self.lanes.get_mut(key) else { return Verdict::Keep };
        lane.busy = false;
        if outcome == Outcome::Delivered {
            (lane.failures, lane.due) = (0, now);
            return Verdict::Forget;
        }
        lane.failures = lane.failures.saturating_add(1);
        let tired = lane.failures >= limits::NOTIFY_REFUSALS_MAX;
        if outcome == Outcome::Refused && tired && sent == 1 {
            (lane.failures, lane.due) = (0, now);
            return Verdict::GiveUp;
        }
        lane.due = now + pause(lane.failures, random);
        Verdict::Keep
    }
}

/// The pause after so many failures in a row: doubled each time, up to a bound; between half of it
/// and all of it at random, so that nodes do not fall into step.
pub fn pause(failures: u32, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = limits::NOTIFY_PAUSE_MIN * (1 << doublings);
    let half = whole.min(limits::NOTIFY_PAUSE_MAX) / 2;
    let part = u32::try_from(random % 1001).expect("below 1001");
    half + half * part / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lanes(names: &[(u32, &'static str)]) -> Lanes<u32, &'static str> {
        let mut lanes = Lanes::new();
        lanes.see(names.iter().copied());
        lanes
    }

    #[test]
    fn a_lane_is_taken_once_and_again_when_it_is_done() {
        let mut lanes = lanes(&[(1, "a")]);
        assert_eq!(lanes.take(SECOND), Some((1, limits::NOTIFY_BATCH_EVENTS)));
        assert_eq!(lanes.take(SECOND), None);
        assert_eq!(lanes.done(&1, Outcome::Delivered, 3, SECOND, 0), Verdict::Forget);
        assert_eq!(lanes.take(SECOND), Some((1, limits::NOTIFY_BATCH_EVENTS)));
    }

    #[test]
    fn a_destination_that_is_down_leaves_room_for_the_others() {
        let many = u32::try_from(limits::NOTIFY_DELIVERIES_EACH_MAX).unwrap() + 5;
        let mut names: Vec<(u32, &'static str)> = (0..many).map(|i| (i, "down")).collect();
        names.push((many, "up"));
        let mut lanes = lanes(&names);
        let taken: Vec<u32> =
            std::iter::from_fn(|| lanes.take(SECOND)).map(|(key, _)| key).collect();
        assert_eq!(taken.len(), limits::NOTIFY_DELIVERIES_EACH_MAX + 1);
        assert!(taken.contains(&many));
    }

    #[test]
    fn failures_wait_longer_each_time_up_to_a_bound_and_then_send_one_alone() {
        let mut lanes = lanes(&[(1, "a")]);
        let mut now = Duration::ZERO;
        let mut before = Duration::ZERO;
        for failure in 0..20 {
            let (_, most) = lanes.take(now).unwrap();
            assert_eq!(most == 1, failure > 0);
            assert_eq!(lanes.done(&1, Outcome::Failed, most, now, 1000), Verdict::Keep);
            assert_eq!(lanes.take(now), None);
            let pause = lanes.next_due().unwrap() - now;
            assert!(pause >= before && pause <= limits::NOTIFY_PAUSE_MAX, "{pause:?}");
            (before, now) = (pause, now + pause);
        }
        assert_eq!(before, limits::NOTIFY_PAUSE_MAX);
        assert_eq!(pause(1, 0), limits::NOTIFY_PAUSE_MIN / 2);
    }

    #[test]
    fn what_is_refused_again_and_again_is_given_up_and_what_follows_begins_anew() {
        let mut lanes = lanes(&[(1, "a")]);
        let mut now = Duration::ZERO;
        let mut verdicts = Vec::new();
        while verdicts.last() != Some(&Verdict::GiveUp) {
            let (_, most) = lanes.take(now).unwrap();
            verdicts.push(lanes.done(&1, Outcome::Refused, most, now, 1000));
            now = lanes.next_due().unwrap();
        }
        assert_eq!(verdicts.len(), usize::try_from(limits::NOTIFY_REFUSALS_MAX).unwrap());
        assert_eq!(lanes.take(now).map(|(_, most)| most), Some(limits::NOTIFY_BATCH_EVENTS));
    }

    #[test]
    fn a_lane_without_events_is_forgotten_but_not_while_it_is_delivered() {
        let mut lanes = lanes(&[(1, "a"), (2, "a")]);
        assert_eq!(lanes.take(SECOND).unwrap().0, 1);
        lanes.see([]);
        assert_eq!((lanes.busy(), lanes.next_due()), (1, None));
        lanes.done(&1, Outcome::Delivered, 1, SECOND, 0);
        lanes.see([]);
        assert_eq!(lanes.take(SECOND), None);
    }
}
