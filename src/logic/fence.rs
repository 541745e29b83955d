//! Whether a node's clock can be believed: compared with its peers' when they can be asked, and in
//! between with the machine's own count of time, which does not jump.
//!
//! Invariant: one wrong clock among three never fences a right one: of two peers the one that agrees
//! more is believed.

use std::time::Duration;

use crate::limits;

/// What one peer's clock said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// This node's clock in the middle of the exchange, milliseconds since 1970.
    pub own_ms: u64,
    pub peer_ms: u64,
    /// Of the exchange.
    pub round_trip: Duration,
}

impl Sample {
    /// How far this node's clock is ahead of the peer's at least; negative where it is behind.
    fn ahead_ms(self) -> i64 {
        let ahead = i64::try_from(i128::from(self.own_ms) - i128::from(self.peer_ms));
        let ahead = ahead.unwrap_or(i64::MAX);
        let slack = i64::try_from(self.round_trip.as_millis() / 2).unwrap_or(i64::MAX);
        ahead.signum() * ahead.saturating_abs().saturating_sub(slack).max(0)
    }
}

/// How far the own clock is ahead of most others'; `None` where too few answered, or the cluster is
/// too small for anyone to be in the right.
pub fn judge(samples: &[Sample], members: usize) -> Option<i64> {
    if members < limits::FENCE_MEMBERS_MIN || samples.len() < members / 2 {
        return None;
    }
    let mut ahead: Vec<i64> = samples.iter().map(|sample| sample.ahead_ms()).collect();
    ahead.sort_unstable();
    let (low, high) = (ahead[(ahead.len() - 1) / 2], ahead[ahead.len() / 2]);
    Some(if low.saturating_abs() <= high.saturating_abs() { low } else { high })
}

/// What is known of the own clock.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// At the last comparison, or at the start.
    own_ms: u64,
    monotonic: Duration,
    ahead_ms: i64,
    is_compared: bool,
}

impl Fence {
    /// Nobody was asked yet.
    pub fn new(own_ms: u64, monotonic: Duration) -> Self {
        Self { own_ms, monotonic, ahead_ms: 0, is_compared: false }
    }

    /// Others say how far the clock is ahead now.
    pub fn compared(&mut self, own_ms: u64, monotonic: Duration, ahead_ms: i64) {
        *self = Self { own_ms, monotonic, ahead_ms, is_compared: true };
    }

    /// How long to wait before the clock is believed without a comparison, as nobody seems to be
    /// there to be asked; `None`: that need not be waited for.
    pub fn patience(&self, monotonic: Duration) -> Option<Duration> {
        let waited = monotonic.saturating_sub(self.monotonic);
        let left = limits::FENCE_PATIENCE.saturating_sub(waited);
        (!self.is_compared && !left.is_zero()).then_some(left)
    }

    /// How far the clock is ahead of the right time; 0 as long as that is within what is tolerated.
    pub fn wrong_ms(&self, own_ms: u64, monotonic: Duration) -> i64 {
        let passed = monotonic.saturating_sub(self.monotonic).as_millis();
        let expected = u128::from(self.own_ms) + passed;
        let jumped = i128::from(own_ms) - i128::try_from(expected).unwrap_or(i128::MAX);
        let wrong = i64::try_from(jumped).unwrap_or(i64::MAX).saturating_add(self.ahead_ms);
        if wrong.unsigned_abs() <= limits::FENCE_MS { 0 } else { wrong }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ahead_ms: i64, round_trip_ms: u64) -> Sample {
        let round_trip = Duration::from_millis(round_trip_ms);
        Sample {
            own_ms: 1_000_000_u64.saturating_add_signed(ahead_ms),
            peer_ms: 1_000_000,
            round_trip,
        }
    }

    #[test]
    fn who_differs_from_most_is_wrong_and_who_differs_from_one_is_not() {
        assert_eq!(judge(&[sample(900, 0), sample(880, 0)], 3), Some(880));
        assert_eq!(judge(&[sample(0, 0), sample(-9000, 0)], 3), Some(0));
        assert_eq!(judge(&[sample(700, 0), sample(10, 0), sample(-700, 0)], 4), Some(10));
        assert_eq!(judge(&[sample(9000, 0)], 2), None);
        assert_eq!(judge(&[sample(9000, 0)], 5), None, "one of four says nothing");
    }

    #[test]
    fn half_of_the_way_is_no_difference() {
        assert_eq!(judge(&[sample(100, 300), sample(-100, 300)], 3), Some(0));
        assert_eq!(judge(&[sample(-500, 300), sample(-500, 300)], 3), Some(-350));
    }

    #[test]
    fn a_new_clock_is_believed_after_a_comparison_or_when_nobody_came_to_be_asked() {
        let start = Duration::from_secs(100);
        let mut fence = Fence::new(50_000, start);
        assert_eq!(fence.patience(start), Some(limits::FENCE_PATIENCE));
        assert_eq!(fence.patience(start + limits::FENCE_PATIENCE), None);
        fence.compared(50_000, start, 9000);
        assert_eq!((fence.patience(start), fence.wrong_ms(50_000, start)), (None, 9000));
    }

    #[test]
    fn a_jump_is_seen_before_anyone_is_asked_and_mended_by_the_next_comparison() {
        let (start, second) = (Duration::from_secs(100), Duration::from_secs(1));
        let mut fence = Fence::new(50_000, start);
        assert_eq!(fence.wrong_ms(51_000, start + second), 0);
        assert_eq!(fence.wrong_ms(51_200, start + second), 0, "that much is tolerated");
        assert_eq!(fence.wrong_ms(61_000, start + second), 10_000);
        assert_eq!(fence.wrong_ms(41_000, start + second), -10_000);
        fence.compared(61_000, start + second, 0);
        assert_eq!(
            fence.wrong_ms(62_000, start + second * 2),
            0,
            "the others say that it is right"
        );
        fence.compared(62_000, start + second * 2, -400);
        assert_eq!(fence.wrong_ms(63_000, start + second * 3), -400);
    }
}
