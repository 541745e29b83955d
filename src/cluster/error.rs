//! What can go wrong between regions, in words that a person who runs the cluster understands.

use std::fmt;
use std::time::Duration;

use crate::limits;
use crate::store;
use crate::types::object::Row;

/// A promise cannot be kept right now: nothing was changed, or it is unknown whether the change
/// takes effect (after a time-out). Happens in normal running, when regions are cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// For the client and the log: what is missing, and which regions could not be reached.
    pub reason: String,
    /// When trying again makes sense.
    pub retry_after: Duration,
}

impl Unavailable {
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry_after: Duration::from_secs(2) }
    }

    /// New objects do not fit; deletions and reads go on.
    pub(super) fn disk_full() -> Self {
        let reason = "the disk of this region is too full for new objects".to_owned();
        Self { reason, retry_after: limits::RETRY_WHEN_FULL }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Unavailable {}

impl From<store::Error> for Unavailable {
    fn from(why: store::Error) -> Self {
        if matches!(why, store::Error::DiskFull) {
            return Self::disk_full();
        }
        tracing::error!(%why, "the disk of this node failed a request");
        Self::new(format!("this region's disk: {why}"))
    }
}

/// An earlier try of the same operation may have taken effect and been overwritten since: neither
/// "done" nor "refused" is known to be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contested;

/// Why bytes of a version cannot be read here and now.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadError {
    /// No region has the bytes and all that could have them were asked.
    Gone,
    /// A newer row of the key was learnt while looking for the bytes: start again with it.
    Moved(Row),
    /// Some region that may have the bytes cannot be reached.
    Unavailable(Unavailable),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("no region has these bytes any more"),
            Self::Moved(_) => f.write_str("the object changed while it was looked for"),
            Self::Unavailable(why) => fmt::Display::fmt(why, f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<Unavailable> for ReadError {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable(why)
    }
}
