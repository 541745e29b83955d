//! What can go wrong, in S3's meaning but not in its words: codes and statuses are chosen in
//! `s3/error.rs`, from these kinds alone.
//!
//! Invariant: after any of these errors nothing of the operation is visible, except after
//! [`Error::Unavailable`], where a write may still appear.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::name::ObjectKey;

use super::body::BodyError;

/// A failed operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Error {
    /// The caller may not do this; the reason.
    AccessDenied(String),
    /// The body did not arrive whole and true.
    Body(BodyError),
    /// The name belongs to another account.
    BucketAlreadyExists,
    /// The name is the caller's bucket already.
    BucketAlreadyOwnedByYou,
    /// A bucket with keys is not deleted.
    BucketNotEmpty,
    /// What is asked for is a delete marker.
    DeleteMarker {
        version_id: String,
        modified_ms: u64,
        /// It was asked for by its id, not met as the current version.
        asked_for: bool,
    },
    /// Two operations on one thing met; to be tried again.
    Conflict(String),
    /// More than an operation takes; the bound in bytes.
    EntityTooLarge {
        bytes_max: u64,
    },
    /// A part other than the last is below the least size.
    EntityTooSmall {
        part: u16,
        bytes: u64,
    },
    /// A bug or a failing disk; the text is for the log and never sent.
    Internal(String),
    /// The bucket is not in a state for this; why.
    InvalidBucketState(String),
    /// A parameter has a value that means nothing; what and why.
    InvalidArgument(String),
    /// A location that no region of this cluster is.
    InvalidLocation(String),
    /// A listed part was not uploaded, or its ETag or checksum differs.
    InvalidPart {
        part: u16,
        why: String,
    },
    /// The object has fewer parts than the number asked for.
    InvalidPartNumber {
        parts: usize,
    },
    /// A complete names its parts out of order.
    InvalidPartOrder,
    /// No byte of the object is in the range.
    InvalidRange {
        size: u64,
    },
    /// The operation contradicts itself or the object's state; why.
    InvalidRequest(String),
    /// SSE-S3 or SSE-KMS was asked for, and this node has no keyring.
    NoKeyring,
    NoSuchBucket,
    /// The keyring of this region has no key of this name.
    NoSuchEncryptionKey(String),
    NoSuchKey,
    NoSuchUpload,
    /// The version was never there or is gone.
    NoSuchVersion,
    /// A read's condition says that the client's copy is current.
    NotModified {
        etag: String,
        modified_ms: u64,
    },
    /// Others changed the key while a conditional change of it was under way, and an earlier try of
    /// that change may have taken effect.
    ConditionalConflict,
    /// A condition does not hold; the header's name.
    PreconditionFailed(String),
    /// The disk is too full for new bodies.
    StorageFull,
    /// A promise cannot be kept now; the reason, and when to come back.
    Unavailable {
        reason: String,
        retry_after: Duration,
    },
    /// What shall be copied or renamed is not there. Last, as peers number these.
    NoSuchSource(ObjectKey),
    /// The bucket has as much as it may have.
    QuotaExceeded,
    /// The name is kept for a bucket that the caller deleted; until when, milliseconds since 1970.
    BucketSoftDeleted {
        until_ms: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessDenied(why)
            | Self::Conflict(why)
            | Self::Internal(why)
            | Self::InvalidArgument(why)
            | Self::InvalidBucketState(why)
            | Self::InvalidRequest(why) => f.write_str(why),
            Self::Body(e) => write!(f, "{e}"),
            Self::BucketAlreadyExists => f.write_str("the bucket name is taken"),
            Self::BucketAlreadyOwnedByYou => f.write_str("the bucket is yours already"),
            Self::BucketSoftDeleted { .. } => f.write_str(
                "the name is kept for your deleted bucket; bring that back or end it for good",
            ),
            Self::BucketNotEmpty => f.write_str("the bucket is not empty"),
            Self::DeleteMarker { .. } => f.write_str("the version is a delete marker"),
            Self::EntityTooLarge { bytes_max } => write!(f, "at most {bytes_max} bytes are taken"),
            Self::EntityTooSmall { part, bytes } => {
                write!(f, "part {part} has {bytes} bytes, below the least size of a part")
            }
            Self::InvalidLocation(place) => write!(f, "`{place}` is no region of this cluster"),
            Self::InvalidPart { part, why } => write!(f, "part {part}: {why}"),
            Self::InvalidPartNumber { parts } => write!(f, "the object has {parts} parts"),
            Self::InvalidPartOrder => f.write_str("the parts are not in ascending order"),
            Self::InvalidRange { size } => write!(f, "the range is outside of {size} bytes"),
            Self::NoKeyring => f.write_str("this node has no keyring"),
            Self::NoSuchBucket => f.write_str("no such bucket"),
            Self::NoSuchEncryptionKey(name) => write!(f, "the keyring has no key `{name}`"),
            Self::NoSuchKey => f.write_str("no such key"),
            Self::NoSuchSource(key) => write!(f, "there is no {key} to take"),
            Self::QuotaExceeded => f.write_str("the quota of the bucket is used up"),
            Self::NoSuchUpload => f.write_str("no such upload; it may be complete or aborted"),
            Self::NoSuchVersion => f.write_str("no such version"),
            Self::NotModified { .. } => f.write_str("not modified"),
            Self::ConditionalConflict => f.write_str(
                "the key was changed by others meanwhile, and it is not known whether this change \
                 took effect before; read the key and try again",
            ),
            Self::PreconditionFailed(header) => {
                write!(f, "the condition in {header} does not hold")
            }
            Self::StorageFull => f.write_str("the disk of this region is too full for new objects"),
            Self::Unavailable { reason, .. } => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}

impl From<BodyError> for Error {
    fn from(e: BodyError) -> Self {
        Self::Body(e)
    }
}
