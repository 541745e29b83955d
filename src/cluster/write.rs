//! Changes: what a caller wants changed, decided inside the store's writer.

use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::body::Body;
use super::error::Unavailable;

/// The records as they are at the moment of a decision: nothing changes while it is looked at.
pub struct View<'a> {
    pub(super) records: &'a dyn Fn(&RecordId) -> Result<Option<Record>, Unavailable>,
}

impl View<'_> {
    /// The record as it is on this node.
    pub fn record(&self, id: &RecordId) -> Result<Option<Record>, Unavailable> {
        (self.records)(id)
    }
}

/// Says which records a change sets, or why it is refused.
pub type Decide<E> =
    Box<dyn Fn(&View<'_>, Stamp) -> Result<Vec<(RecordId, Record)>, E> + Send + Sync>;

/// One change of one subject.
pub struct Write<E> {
    /// The record that is changed; the new stamp is above the one that it has.
    pub subject: RecordId,
    /// Bytes that came with this change; every one must be named by a record that is set.
    pub bodies: Vec<Body>,
    /// Runs inside the writer with the stamp of this change. With bytes that do not ride it runs
    /// again when the change is published: an error then ends the change. Where the subject has
    /// changed in between, the second run has a new stamp and what it says is published.
    /// It leaves `placement` and `held_by` of what it makes empty; they are filled in afterwards.
    pub decide: Decide<E>,
}

/// A change that keeps its promise: `acked` regions have it on stable storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub stamp: Stamp,
    /// The regions that had it when it was answered, this one among them unless it may not hold
    /// the bytes.
    pub acked: Vec<RegionId>,
}
