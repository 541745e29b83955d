//! Which region does with a version what only one region needs to do.
//!
//! Invariant: nothing rests on it. Two regions may both think that it is them, and none may for a
//! while: what is done so is done conditionally, and again later.

use crate::types::object::Version;
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

impl Cluster {
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
