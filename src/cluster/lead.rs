//! What a region asks itself before it does something that nobody asked for: whether another region
//! does it, and whether it knows enough.
//!
//! Invariant: nothing rests on who leads. Two regions may both think that it is them, and none may
//! for a while: what is done so is done conditionally, and again later.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::limits;
use crate::store;
use crate::types::object::Version;
use crate::types::position::Positions;
use crate::types::region::RegionId;

use super::Cluster;

/// Who looks after a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    Here,
    Elsewhere,
    /// A region that cannot be reached. After a while another one does it.
    Away(RegionId),
}

/// A moment up to which everything that was written anywhere is in known logs.
#[derive(Clone, Debug)]
pub struct Horizon {
    until_ms: u64,
    positions: Positions,
}

/// Up to when this region knows what all others wrote, as it saw last.
#[derive(Default)]
pub(super) struct Known {
    until_ms: AtomicU64,
    looked: Mutex<Looked>,
}

#[derive(Default)]
struct Looked {
    at: Duration,
    /// What must have been applied before it is known.
    horizon: Option<Horizon>,
}

impl Cluster {
    /// Everything that was written until then, anywhere, is known here, milliseconds since 1970; it
    /// may be longer ago than it need be, and stands while a region is away.
    pub fn known_ms(&self) -> u64 {
        if self.inner.roster.is_alone() {
            return u64::MAX;
        }
        self.inner.known.until_ms.load(Ordering::Relaxed)
    }

    /// Looks now and then up to when that is.
    pub(super) fn look_known(&self) -> Result<(), store::Error> {
        let now = self.env().monotonic();
        let mut looked = self.inner.known.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if now < looked.at + limits::KNOWN_INTERVAL {
            return Ok(());
        }
        looked.at = now;
        if let Some(horizon) = &looked.horizon {
            let until_ms = self.knows_until(horizon)?.min(self.right_ms());
            if until_ms == 0 && self.horizon().is_ok() {
                return Ok(());
            }
            self.inner.known.until_ms.fetch_max(until_ms, Ordering::Relaxed);
        }
        looked.horizon = self.horizon().ok();
        Ok(())
    }

    /// What this region must have applied to know all that was written until a moment ago; the
    /// regions that were not heard of since, where there are any.
    pub fn horizon(&self) -> Result<Horizon, Vec<RegionId>> {
        let others = self.others();
        if others.is_empty() {
            return Ok(Horizon { until_ms: u64::MAX, positions: Positions::new() });
        }
        let now = self.env().monotonic();
        let views = self.inner.views();
        let silent = |region: &RegionId| {
            let contact = views.get(region).and_then(|view| view.last_contact);
            let recent = contact.is_some_and(|at| now <= at + limits::HEADS_SETTLE);
            !recent || !self.is_connected(*region)
        };
        let silent: Vec<RegionId> = others.iter().map(|info| info.id).filter(silent).collect();
        drop(views);
        if !silent.is_empty() {
            return Err(silent);
        }
        let settle_ms = u64::try_from(limits::HEADS_SETTLE.as_millis()).unwrap_or(u64::MAX);
        let until_ms = self.right_ms().saturating_sub(settle_ms);
        Ok(Horizon { until_ms, positions: self.furthest() })
    }

    /// Everything that was made until then, milliseconds since 1970, is known here.
    pub fn knows_until(&self, horizon: &Horizon) -> Result<u64, store::Error> {
        let heads = self.heads()?;
        let passed = horizon.positions.iter().all(|(log, position)| {
            let ours = heads.iter().find(|head| (head.origin, head.incarnation) == *log);
            ours.map_or(0, |head| head.stable) >= *position
        });
        Ok(if passed { horizon.until_ms } else { 0 })
    }

    /// The primary of a version's bytes, or where it has none, the region that made it. When that
    /// region is no member any more or has been away for as long as a primary may be, it is the
    /// first one that can be reached.
    pub fn lead(&self, version: &Version) -> Lead {
        let own = self.region();
        let lead = version.placement.primary.map_or(version.stamp.region, |p| p.region);
        if lead == own {
            return Lead::Here;
        }
        if self.members().regions().any(|info| info.id == lead) {
            if self.is_connected(lead) {
                return Lead::Elsewhere;
            }
            if self.away_for(lead) < self.inner.options.primary_gone_after {
                return Lead::Away(lead);
            }
        }
        let reachable = |id: &RegionId| *id == own || self.is_connected(*id);
        let first = self.members().regions().map(|info| info.id).filter(reachable).min();
        if first == Some(own) { Lead::Here } else { Lead::Elsewhere }
    }
}
