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
