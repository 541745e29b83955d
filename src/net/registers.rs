//! What nodes say to each other about registers and bucket names.
//!
//! Invariant: numbers of variants are stable: new ones go to the end, none is taken out.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::logic::lease::LeaseNo;
use crate::logic::register::{Answer, Ask};
use crate::net::message::PendingChange;
use crate::types::id::{BlobId, BucketId, Incarnation};
use crate::types::members::Members;
use crate::types::name::{AccessKeyId, BucketName, ObjectKey};
use crate::types::position::Positions;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

/// Bodies that ride in the records of a message.
pub type Bodies = Vec<(BlobId, Bytes)>;

/// A question about registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RegisterRequest {
    /// To the acceptor of a record's register, by one who counts these voters.
    Record {
        epoch: u64,
        voters: Vec<RegionId>,
        id: RecordId,
        ask: Ask<Record>,
        /// Of the value to be accepted.
        bodies: Bodies,
    },
    /// I start as an acceptor: am I the one that you know, and no older?
    Confirm(Counters),
    /// The bucket is being deleted since `stamp`: take no more writes, durably, and say whether
    /// anything is in it.
    Close { name: BucketName, bucket: BucketId, stamp: Stamp },
    /// By one who lists a range of keys: what do you know, and what of it do your rows not show yet?
    Range { epoch: u64, voters: Vec<RegionId>, range: KeyRange },
    /// Which access keys has this voter accepted changes of since then? Without `since` of any
    /// time; `after` goes on with a page.
    KeyNews {
        epoch: u64,
        voters: Vec<RegionId>,
        since: Option<NewsCursor>,
        after: Option<AccessKeyId>,
    },
    /// Which members do you know? Answered to regions that were removed too.
    Members,
    /// These members were decided: take them if they are later than yours.
    Adopt(Box<Members>),
    /// Names (keys of records) of the registers that you have anything of, in order, after this
    /// one; by one who counts the voters of this epoch.
    List { epoch: u64, after: Option<Vec<u8>> },
    /// What is left of your region that would be lost with it?
    Remains,
    /// What have you accepted, and will you accept nothing else for a term of a lease?
    Lease { epoch: u64, voters: Vec<RegionId>, id: RecordId, no: LeaseNo },
    /// The key is to be changed: let your lease of it go.
    Recall { id: RecordId },
    /// I have let go what I asked for up to this.
    Release { id: RecordId, upto: LeaseNo },
    /// The same as [`RegisterRequest::Record`], of a value whose bytes come too: hold them, and in
    /// the same write answer the question. `Record` is answered only where the bytes are held.
    Offer {
        change: Box<PendingChange>,
        epoch: u64,
        voters: Vec<RegionId>,
        id: RecordId,
        ask: Ask<Record>,
        bodies: Bodies,
    },
    /// [`RegisterRequest::Confirm`], and how far the log of my disk was when I started, and is now.
    Reached { counters: Counters, opened: LogEnd, now: LogEnd },
}

/// Keys of one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    pub bucket: BucketId,
    /// That begin with this,
    pub prefix: String,
    /// that come after this,
    pub after: Option<String>,
    /// and not after this or what begins with it.
    pub until: Option<String>,
}

impl KeyRange {
    /// Whether the range goes so far. Keys are asked for in order.
    pub fn reaches(&self, key: &str) -> bool {
        self.until.as_deref().is_none_or(|until| key <= until || key.starts_with(until))
    }
}

/// The answer to a [`RegisterRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RegisterResponse {
    /// With the bodies of a value that may not be known to be chosen.
    Record {
        answer: Box<Answer<Record>>,
        bodies: Bodies,
    },
    Confirmed,
    /// These counters were known to be larger: the asker lost memory and is no acceptor any more.
    Outdated(Counters),
    /// Writes are refused from now on; `live`: there are keys or pending writes.
    Closed {
        live: bool,
    },
    /// Not done, and why; nothing was promised.
    Declined(String),
    /// Everything here is known to who has applied `positions`, but for what was accepted of these
    /// keys, up to these stamps; `more`: there are too many.
    Range {
        positions: Positions,
        open: Vec<(ObjectKey, Stamp)>,
        more: bool,
    },
    KeyNews(KeyNews),
    /// These members are known and durable here. Where the question named an older epoch, it was
    /// not answered.
    Members(Box<Members>),
    /// The asker's epoch is not known here: these members come first.
    Behind,
    Listed {
        names: Vec<Vec<u8>>,
        is_last: bool,
    },
    Remains(Remains),
    /// As `Record` answers a query; and whether nothing else is accepted for a term from then on.
    Lease {
        answer: Box<Answer<Record>>,
        bodies: Bodies,
        granted: bool,
    },
    /// Nothing that was asked for up to this is used any more.
    Released {
        upto: LeaseNo,
    },
}

/// How far somebody has heard what a voter accepted of access keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewsCursor {
    /// Names the start of the voter.
    pub start: u64,
    /// Changes that it accepted since.
    pub count: u64,
}

/// Access keys that a voter accepted changes of, with the stamps of the changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyNews {
    pub cursor: NewsCursor,
    pub changed: Vec<(AccessKeyId, Stamp)>,
    /// There is more after this key.
    pub after: Option<AccessKeyId>,
}

/// What a region still has that others rest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    /// Of the members that it knows.
    pub version: u64,
    /// Objects whose bytes it is to keep, or whose primary it is.
    pub copies: u64,
    /// Parts of uploads under way whose bytes are there alone.
    pub uploads: u64,
    /// Writes that wait for their outcome.
    pub pending: u64,
    /// The end of its log, and how far of it every other member is.
    pub head: u64,
    pub applied: u64,
}

impl Remains {
    /// Nothing but its log is left.
    pub fn is_nothing(&self) -> bool {
        self.copies == 0 && self.uploads == 0 && self.pending == 0
    }
}

/// How often a node started, so that one whose disk went back in time is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub incarnation: Incarnation,
    /// Starts of this data directory.
    pub boot: u64,
    /// Of this start: a directory that went back counts to the same number again.
    pub nonce: u64,
}

/// Segment and offset of the end of a disk's log: one that comes back with less went back in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogEnd(pub u64, pub u64);

impl Counters {
    /// Whether a node with these counters continues the life of one that said `known`.
    pub fn follows(&self, known: &Self) -> bool {
        self.incarnation == known.incarnation && (self.boot > known.boot || self == known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_went_back_or_was_replaced_does_not_follow() {
        let counters = |inc, boot, nonce| Counters { incarnation: Incarnation(inc), boot, nonce };
        let known = counters(5, 9, 1);
        assert!(counters(5, 9, 1).follows(&known));
        assert!(counters(5, 10, 2).follows(&known));
        assert!(!counters(5, 9, 2).follows(&known));
        assert!(!counters(5, 8, 2).follows(&known));
        assert!(!counters(6, 1, 2).follows(&known));
    }
}
