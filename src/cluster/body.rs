//! Bytes on their way in: to this disk and, at the same time, to a follower.

use crate::types::object::BlobRef;
use crate::types::region::RegionId;

/// A body whose bytes are all here (or with its followers) but that no record names yet. Dropped
/// without a write, its bytes are removed.
#[derive(Debug)]
pub struct Body {
    /// `None`: an empty body.
    pub blob: Option<BlobRef>,
    pub len: u64,
    /// The body travels with its record to every region; what the record says in `rides`.
    pub rides: bool,
    /// Regions that have taken the bytes in, not yet synced.
    pub held_by: Vec<RegionId>,
}
