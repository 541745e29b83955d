//! Bytes on their way out: chunk by chunk, each verified, from this node or another region.

use std::collections::BTreeMap;

use crate::types::object::Primary;
use crate::types::region::RegionId;

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Memory,
    Disk,
    Region(RegionId),
}

/// Where a key's current version is, as far as this node knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whereabouts {
    pub primary: Option<Primary>,
    /// Regions that say that they have it whole, durably.
    pub holders: Vec<RegionId>,
    /// This node has a cached copy of all of it.
    pub cached_here: bool,
    /// The body travels with the row: every allowed region has it.
    pub rides: bool,
    /// Decayed reads a region, largest first, where this node counts them.
    pub heat: Vec<(RegionId, f64)>,
    /// Past moves of the primary: milliseconds since 1970, and why.
    pub moves: BTreeMap<u64, String>,
}
