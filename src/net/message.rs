//! What nodes say to each other.
//!
//! Invariant: numbers of variants are stable: new ones go to the end, none is taken out. N talks to
//! N - 1.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::logic::placement::Accesses;
use crate::obs::flow::{self, Context};
use crate::types::id::{BlobId, BucketId, Incarnation};
use crate::types::name::ObjectKey;
use crate::types::object::{BlobRef, Row};
use crate::types::position::Positions;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::kinds;
use super::registers::{RegisterRequest, RegisterResponse};

/// A question of a peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    Ping,
    /// A stretch of a log, pushed by its origin.
    LogPush(LogBatch),
    /// What comes after this position of a log?
    LogPull {
        origin: RegionId,
        incarnation: Incarnation,
        after: u64,
    },
    /// How far I have applied which logs; how far have you?
    Heads(Vec<LogHead>),
    /// A piece of a body that shall be held here.
    Stage {
        blob: BlobId,
        offset: u64,
        bytes: Bytes,
    },
    /// Hold the staged bytes with this change, durably.
    Hold(Box<PendingChange>),
    /// What became of this change of yours?
    Fate(Box<PendingChange>),
    /// Do you have this change of mine? If not, refuse it for ever.
    Settle(Box<PendingChange>),
    /// The 256 sums of the digest tree.
    DigestGroups,
    /// The 256 leaves of one group.
    DigestLeaves(u8),
    /// Records of one leaf, after this one.
    DigestRecords {
        leaf: u16,
        after: Option<RecordId>,
    },
    /// The present state of these records.
    Records(Vec<RecordId>),
    /// The chunk hashes of a blob.
    Manifest {
        blob: BlobRef,
        of: Option<VersionOf>,
    },
    /// One chunk of a blob.
    Chunk {
        blob: BlobRef,
        index: u32,
        of: Option<VersionOf>,
    },
    Register(Box<RegisterRequest>),
    /// Accesses in the sender's region to objects whose primary is here.
    Heat(Vec<HeatItem>),
    /// Become a holder of this version; its former homes and when they were left.
    MakeCopy {
        of: VersionOf,
        homes: Vec<(RegionId, u64)>,
    },
    /// I want to give up my copy: do you have this version, and stay?
    Confirm(VersionOf),
    /// What do you know of where this key is?
    Whereabouts {
        bucket: BucketId,
        key: ObjectKey,
    },
    /// A question of the engine there to the engine here.
    Forward(Bytes),
    /// My disk is new: what is the last stamp of my region that you know?
    LastStamp,
    /// Hold the staged bytes for a value that the register of the change's record may choose.
    HoldOffered(Box<PendingChange>),
    /// The present state of these records, and what their giver knows.
    Known(Vec<RecordId>),
    /// As `LogPush`; who has applied `positions` knows all that is in its records, which are of now
    /// and not of their places in the log.
    LogPushKnown {
        batch: LogBatch,
        positions: Positions,
    },
    /// As `LogPull`, answered by `LogStretchKnown`.
    LogPullKnown {
        origin: RegionId,
        incarnation: Incarnation,
        after: u64,
    },
    /// What does your clock say?
    Time,
    /// A question of the admin API there to the one here, answered by `Forwarded`.
    Admin(Bytes),
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Response {
    Pong,
    Done,
    /// Not done, and why; nothing was kept.
    Declined(String),
    /// This log is applied up to here; the positions in `refused` are in quarantine.
    LogApplied {
        applied: u64,
        refused: Vec<u64>,
    },
    /// The next stretch; `None` when there is none here, or not without a gap.
    LogStretch(Option<LogBatch>),
    Heads(Vec<LogHead>),
    Fate(Fate),
    Settled {
        has: bool,
    },
    Digests(Vec<[u8; 32]>),
    DigestRecords {
        records: Vec<(RecordId, [u8; 32])>,
        more: bool,
    },
    /// In the order asked; fewer when they would not fit. `None`: not here.
    Records(Vec<Option<Carried>>),
    /// The hashes, 32 bytes each.
    Manifest(Bytes),
    Chunk(Bytes),
    /// The bytes are not here; the row as it is here, if it is another than the reader's.
    Absent {
        row: Option<Row>,
    },
    Register(Box<RegisterResponse>),
    Confirmed(bool),
    Whereabouts(KnownHere),
    Forwarded(Bytes),
    LastStamp(Stamp),
    /// As `Records`; who has applied `positions` knows all that was known here then.
    Known {
        records: Vec<Option<Carried>>,
        positions: Positions,
    },
    /// As `LogStretch`, with what its giver knows.
    LogStretchKnown {
        batch: Option<LogBatch>,
        positions: Positions,
    },
    /// Milliseconds since 1970.
    Time(u64),
}

/// The version of the messages: the first byte of each.
pub(super) const VERSION: u8 = 1;

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadMessage {
    /// A kind that only newer nodes know, by its number.
    Newer(u32),
    /// A newer or older version than this node speaks.
    Version(u8),
    Undecodable(String),
}

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer(number) => {
                write!(f, "a message of a newer node (kind {number}): this one is to be upgraded")
            }
            Self::Version(found) => write!(f, "message version {found}, this node has {VERSION}"),
            Self::Undecodable(why) => write!(f, "a message does not decode: {why}"),
        }
    }
}

impl std::error::Error for BadMessage {}

fn encode(message: &impl Serialize) -> Bytes {
    let bytes = postcard::to_extend(message, vec![VERSION]);
    bytes.expect("messages have no type that postcard refuses").into()
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadMessage> {
    Ok(decode_rest(bytes)?.0)
}

/// The message, and what is behind it.
fn decode_rest<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), BadMessage> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            postcard::take_from_bytes(rest).map_err(|why| match kinds::unknown::<T>(rest) {
                Some(number) => BadMessage::Newer(number),
                None => BadMessage::Undecodable(why.to_string()),
            })
        }
        Some((other, _)) => Err(BadMessage::Version(*other)),
        None => Err(BadMessage::Undecodable("no bytes".to_owned())),
    }
}

impl Request {
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// With the place in a trace that it is asked from, behind the message: a node that knows
    /// nothing of traces does not look there.
    pub fn encode_with(&self, context: Option<Context>) -> Bytes {
        let Some(context) = context else { return self.encode() };
        let mut bytes = Vec::from(self.encode());
        if bytes.len() + flow::CONTEXT_BYTES <= limits::MESSAGE_BYTES_MAX {
            bytes.extend_from_slice(&context.to_bytes());
        }
        bytes.into()
    }

    /// The message, and the place in a trace behind it.
    pub fn decode_with(bytes: &[u8]) -> Result<(Self, Option<Context>), BadMessage> {
        let (message, rest) = decode_rest(bytes)?;
        Ok((message, Context::from_bytes(rest)))
    }

    /// For traces: which question it is.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ping => "Ping",
            Self::LogPush(..) => "LogPush",
            Self::LogPull { .. } => "LogPull",
            Self::Heads(..) => "Heads",
            Self::Stage { .. } => "Stage",
            Self::Hold(..) => "Hold",
            Self::Fate(..) => "Fate",
            Self::Settle(..) => "Settle",
            Self::DigestGroups => "DigestGroups",
            Self::DigestLeaves(..) => "DigestLeaves",
            Self::DigestRecords { .. } => "DigestRecords",
            Self::Records(..) => "Records",
            Self::Manifest { .. } => "Manifest",
            Self::Chunk { .. } => "Chunk",
            Self::Register(..) => "Register",
            Self::Heat(..) => "Heat",
            Self::MakeCopy { .. } => "MakeCopy",
            Self::Confirm(..) => "Confirm",
            Self::Whereabouts { .. } => "Whereabouts",
            Self::Forward(..) => "Forward",
            Self::LastStamp => "LastStamp",
            Self::HoldOffered(..) => "HoldOffered",
            Self::Known(..) => "Known",
            Self::LogPushKnown { .. } => "LogPushKnown",
            Self::LogPullKnown { .. } => "LogPullKnown",
            Self::Time => "Time",
            Self::Admin(..) => "Admin",
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        decode(bytes)
    }
}

impl Response {
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        decode(bytes)
    }

    /// For logs: which answer it is.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pong => "Pong",
            Self::Done => "Done",
            Self::Declined(_) => "Declined",
            Self::LogApplied { .. } => "LogApplied",
            Self::LogStretch(_) => "LogStretch",
            Self::Heads(_) => "Heads",
            Self::Fate(_) => "Fate",
            Self::Settled { .. } => "Settled",
            Self::Digests(_) => "Digests",
            Self::DigestRecords { .. } => "DigestRecords",
            Self::Records(_) => "Records",
            Self::Manifest(_) => "Manifest",
            Self::Chunk(_) => "Chunk",
            Self::Absent { .. } => "Absent",
            Self::Register(_) => "Register",
            Self::Confirmed(_) => "Confirmed",
            Self::Whereabouts(_) => "Whereabouts",
            Self::Forwarded(_) => "Forwarded",
            Self::LastStamp(_) => "LastStamp",
            Self::Known { .. } => "Known",
            Self::LogStretchKnown { .. } => "LogStretchKnown",
            Self::Time(_) => "Time",
        }
    }
}

/// A stretch of a log: everything after `after`, up to and with `last`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogBatch {
    pub origin: RegionId,
    pub incarnation: Incarnation,
    pub after: u64,
    pub last: u64,
    pub changes: Vec<Change>,
}

/// One position of a log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    pub seq: u64,
    pub body: ChangeBody,
}

/// What a position of a log stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ChangeBody {
    /// The present state of the record.
    Record(Carried),
    /// The record of an earlier change of this batch (its index).
    Repeat(u32),
    /// The record was dropped since, because every region had it.
    Forgotten,
}

/// A record with the bodies that ride in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Carried {
    /// [`RecordId`] and [`Record`], encoded apart so that one bad record spoils no batch.
    pub entry: Bytes,
    pub bodies: Vec<(BlobId, Bytes)>,
}

/// How far one log was applied at the sender of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    pub origin: RegionId,
    pub incarnation: Incarnation,
    pub applied: u64,
    /// The sender can give entries above this one.
    pub complete_after: u64,
    /// `applied`, or the last position before the oldest one in quarantine.
    pub stable: u64,
}

/// A change that waits for its publication.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingChange {
    pub stamp: Stamp,
    pub origin: RegionId,
    pub incarnation: Incarnation,
    /// Everybody who was asked to hold it.
    pub followers: Vec<RegionId>,
    pub records: Vec<(RecordId, Record)>,
    pub blobs: Vec<BlobRef>,
}

/// What became of a pending change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    Underway,
    Published,
    Discarded,
    /// Another incarnation took it: this one cannot know.
    Unknown,
}

/// The version that a reader of bytes wants, so that a newer row can be told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionOf {
    pub bucket: BucketId,
    pub key: ObjectKey,
    pub stamp: Stamp,
}

/// Accesses to one version since the last report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeatItem {
    pub of: VersionOf,
    pub accesses: Accesses,
}

/// What one region knows of where a key is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KnownHere {
    /// It has a cached copy of all of it.
    pub cached: bool,
    /// Decayed accesses by region, where it keeps count.
    pub heat: Vec<(RegionId, f64)>,
    pub moves: Vec<Move>,
    /// Why the primary does not move now; from the primary alone.
    pub verdict: Option<String>,
}

/// A move of a primary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Move {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub from: RegionId,
    pub to: RegionId,
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::kinds::variants;
    use super::*;

    /// Longer is right when variants were added: then they stand here too. Nothing else is.
    #[test]
    fn numbers_of_variants_do_not_change() {
        assert_eq!(
            variants::<Request>(),
            "Ping LogPush LogPull Heads Stage Hold Fate Settle DigestGroups DigestLeaves \
             DigestRecords Records Manifest Chunk Register Heat MakeCopy Confirm Whereabouts Forward \
             LastStamp HoldOffered Known LogPushKnown LogPullKnown Time Admin"
        );
        assert_eq!(
            variants::<Response>(),
            "Pong Done Declined LogApplied LogStretch Heads Fate Settled Digests DigestRecords \
             Records Manifest Chunk Absent Register Confirmed Whereabouts Forwarded LastStamp \
             Known LogStretchKnown Time"
        );
        assert_eq!(
            variants::<RegisterRequest>(),
            "Record Confirm Close Range KeyNews Members Adopt List Remains Lease Recall Release \
             Offer Reached"
        );
        assert_eq!(
            variants::<RegisterResponse>(),
            "Record Confirmed Outdated Closed Declined Range KeyNews Members Behind Listed \
             Remains Lease Released"
        );
        assert_eq!(variants::<ChangeBody>(), "Record Repeat Forgotten");
        assert_eq!(variants::<Fate>(), "Underway Published Discarded Unknown");
        let records = "Row Bucket Name AccessKey Upload Part Members";
        assert_eq!(
            (variants::<RecordId>(), variants::<Record>()),
            (records.into(), records.into())
        );
    }

    #[test]
    fn a_message_is_its_version_its_number_and_its_fields() {
        let sent = Request::DigestLeaves(7).encode();
        assert_eq!(sent, [1, 9, 7].as_slice());
        assert!(matches!(Request::decode(&sent), Ok(Request::DigestLeaves(7))));
        assert_eq!(Response::Pong.encode(), [1, 0].as_slice());
        assert!(matches!(Response::decode(&[1, 0]), Ok(Response::Pong)));
    }

    #[test]
    fn a_place_in_a_trace_goes_behind_a_message_and_is_no_part_of_it() {
        let context = Context { trace: [1; 16], span: [2; 8], sampled: true };
        let sent = Request::DigestLeaves(7).encode_with(Some(context));
        let (request, found) = Request::decode_with(&sent).unwrap();
        assert_eq!((request.name(), found), ("DigestLeaves", Some(context)));
        assert!(matches!(Request::decode(&sent), Ok(Request::DigestLeaves(7))));
        let without = Request::DigestLeaves(7).encode_with(None);
        assert_eq!(without, Request::DigestLeaves(7).encode(), "no byte more when it is off");
        assert_eq!(Request::decode_with(&without).unwrap().1, None);
    }

    #[test]
    fn other_versions_and_unknown_numbers_are_told_apart() {
        assert_eq!(Request::decode(&[2, 0]).unwrap_err(), BadMessage::Version(2));
        for bytes in [&[1, 120][..], &[1, 120, 7, 7]] {
            assert_eq!(Request::decode(bytes).unwrap_err(), BadMessage::Newer(120));
            assert_eq!(Response::decode(bytes).unwrap_err(), BadMessage::Newer(120));
        }
        // A number that is known, and not what belongs to it.
        for bytes in [&[][..], &[1], &[1, 7], &[1, 255, 255, 255, 255, 255]] {
            let bad = Response::decode(bytes).unwrap_err();
            assert!(matches!(bad, BadMessage::Undecodable(_)), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(mut bytes: Vec<u8>, number in any::<u8>()) {
            bytes.splice(..0, [VERSION, number % 24]);
            let _ = Request::decode(&bytes).is_ok();
            let _ = Response::decode(&bytes).is_ok();
        }
    }
}
