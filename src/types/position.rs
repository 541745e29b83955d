//! Positions of logs: what a region has applied, or must have applied to know what another one
//! knows.

use std::collections::BTreeMap;

use super::id::Incarnation;
use super::region::RegionId;

/// One log: a region, and which life of its data directory.
pub type Log = (RegionId, Incarnation);

/// By log, the last position that counts.
pub type Positions = BTreeMap<Log, u64>;

/// Raises `known` to what is in `more` too.
pub fn raise(known: &mut Positions, more: &Positions) {
    for (log, position) in more {
        let at = known.entry(*log).or_default();
        *at = (*at).max(*position);
    }
}
