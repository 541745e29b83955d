//! The hybrid clock of one node.
//!
//! Invariant: a stamp is above every one made or observed before. What is too far ahead of this
//! node's time is not observed.

use crate::limits;
use crate::types::region::RegionId;
use crate::types::stamp::{Hlc, Stamp};

/// A remote stamp is more than [`limits::CLOCK_AHEAD_MAX`] ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead;

/// Makes the stamps of one region.
#[derive(Debug)]
pub struct Clock {
    region: RegionId,
    last: Hlc,
}

impl Clock {
    pub fn new(region: RegionId) -> Self {
        Self { region, last: Hlc(0) }
    }

    /// A stamp above everything before and above `floor`.
    pub fn stamp(&mut self, now_ms: u64, floor: Stamp) -> Stamp {
        self.last = self.last.next().max(Hlc::from_ms(now_ms)).max(floor.hlc.next());
        Stamp { hlc: self.last, region: self.region }
    }

    /// Later stamps are above `remote`.
    pub fn observe(&mut self, remote: Stamp, now_ms: u64) -> Result<(), Ahead> {
        let limit = Hlc::from_ms(now_ms.saturating_add(limits::CLOCK_AHEAD_MAX_MS));
        if remote.hlc > limit {
            return Err(Ahead);
        }
        self.last = self.last.max(remote.hlc);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn region(code: &str) -> RegionId {
        RegionId::parse(code).unwrap()
    }

    proptest! {
        #[test]
        fn every_stamp_is_above_all_that_were_made_or_observed(
            steps in prop::collection::vec((0..2000_u64, 0..3000_u64, any::<bool>()), 1..60),
        ) {
            let mut clock = Clock::new(region("fra"));
            let mut highest = Stamp::ZERO;
            // The wall clock jumps to and fro.
            for (now_ms, other_ms, observe) in steps {
                let other = Stamp { hlc: Hlc::from_ms(other_ms), region: region("nrt") };
                if observe {
                    let ahead = other_ms > now_ms + limits::CLOCK_AHEAD_MAX_MS;
                    prop_assert_eq!(clock.observe(other, now_ms).is_err(), ahead);
                    highest = if ahead { highest } else { highest.max(other) };
                } else {
                    let made = clock.stamp(now_ms, other);
                    prop_assert!(made > highest && made > other);
                    prop_assert!(made.hlc >= Hlc::from_ms(now_ms));
                    highest = made;
                }
            }
        }
    }

    #[test]
    fn a_stamp_from_too_far_ahead_does_not_pull_the_clock() {
        let mut clock = Clock::new(region("fra"));
        let wild = Stamp { hlc: Hlc::from_ms(1_000_000), region: region("iad") };
        assert_eq!(clock.observe(wild, 1000), Err(Ahead));
        let made = clock.stamp(1000, Stamp::ZERO);
        assert_eq!(made.hlc, Hlc::from_ms(1000));
    }
}
