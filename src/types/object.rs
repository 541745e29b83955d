//! The record (row) of a key: its versions, what each is made of and where its bytes are.
//!
//! Invariant: everything here is replicated and merged by `logic::merge`; nothing is changed in
//! place except through it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::id::{BlobId, Hash};
use super::name::AccountId;
use super::region::RegionId;
use super::stamp::Stamp;

/// The replicated record of one key: a set of versions, largest stamp first.
///
/// A version is in the set unless another covers it (see [`Version::replaces`]). In a bucket
/// without versioning the first is what readers see and the others are losers of concurrent
/// writes, kept for the undo window. In a versioned bucket nothing covers anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub versions: Vec<Version>,
}

impl Row {
    /// What readers without a version id see.
    pub fn current(&self) -> Option<&Version> {
        self.versions.first()
    }

    /// The current version if it is an object.
    pub fn object(&self) -> Option<(&Version, &Arc<ObjectMeta>)> {
        let version = self.versions.first()?;
        match &version.content {
            Content::Object(meta) => Some((version, meta)),
            Content::Marker | Content::Tombstone => None,
        }
    }

    /// The largest stamp, [`Stamp::ZERO`] for an empty row.
    pub fn stamp(&self) -> Stamp {
        self.versions.first().map_or(Stamp::ZERO, |v| v.stamp)
    }
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Identity and order; also S3's version id.
    pub stamp: Stamp,
    /// Every version with a stamp up to this one is covered (replaced) by this version: the row's
    /// stamp that the writer saw. [`Stamp::ZERO`] covers nothing. Always below `stamp`.
    pub replaces: Stamp,
    pub content: Content,
    /// Where the bytes are; empty for what has none of its own (riding bodies, deletions).
    pub placement: Placement,
}

/// What a version is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// S3's delete marker, in versioned buckets; never dropped by itself.
    Marker,
    Object(Arc<ObjectMeta>),
    /// A plain delete; dropped when every region has applied past it.
    Tombstone,
}

/// An object's metadata. Immutable under its stamp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectMeta {
    pub size: u64,
    pub etag: ETag,
    /// When the write was answered, milliseconds since 1970; shown in whole seconds.
    pub modified_ms: u64,
    pub headers: StoredHeaders,
    /// `x-amz-meta-*` without the prefix, lower case, in the order they came.
    pub user_meta: Vec<(String, String)>,
    pub checksum: Option<Checksum>,
    /// The body in order. One for a plain write, one a part for a multipart one, none when empty.
    pub parts: Vec<PartRef>,
    /// The body is at most the bucket's riding size and travels with the row to every region.
    pub rides: bool,
    pub owner: AccountId,
    /// In the order they were given; empty without tags.
    pub tags: Vec<(String, String)>,
}

/// One run of the body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartRef {
    /// S3's part number, 1 for a plain write.
    pub number: u16,
    pub blob: BlobRef,
    /// Checksum of this part, where the client sent or asked for one.
    pub checksum: Option<Checksum>,
    /// The regions that had these bytes when the version was made.
    pub held_by: Vec<RegionId>,
}

/// A blob as a record names it: enough to fetch it from anyone and to verify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    pub id: BlobId,
    pub len: u64,
    /// BLAKE3 of the manifest (the chunk hashes, 32 bytes each, in order).
    pub root: Hash,
}

/// An entity tag, without quotes: 32 hexadecimal digits, with `-N` for a multipart object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ETag(pub Arc<str>);

/// The standard headers that S3 stores with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredHeaders {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub expires: Option<String>,
    pub website_redirect: Option<String>,
    /// `STANDARD` when none was asked for.
    pub storage_class: Option<String>,
}

/// Additional checksum algorithms of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChecksumAlgorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// Whether a multipart checksum is over the object's bytes or over the parts' checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChecksumKind {
    Composite,
    FullObject,
}

/// A stored checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    pub algorithm: ChecksumAlgorithm,
    pub kind: ChecksumKind,
    /// Raw bytes, base64 on the wire.
    pub value: Vec<u8>,
}

/// Where a version's bytes are: a map of single-writer entries and a max-register.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Each entry is written only by its region, after the first ones, which the writer of the
    /// version sets for the regions that had acknowledged the bytes.
    pub holders: BTreeMap<RegionId, Holding>,
    pub primary: Option<Primary>,
}

impl Placement {
    /// The regions that say that they have the whole version, durably.
    pub fn held(&self) -> impl Iterator<Item = RegionId> + '_ {
        self.holders.iter().filter(|(_, h)| h.state == HoldState::Held).map(|(r, _)| *r)
    }
}

/// What one region says of its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Grows with every change; the larger one wins.
    pub counter: u32,
    pub state: HoldState,
}

/// State of a region's copy. `Fetching` and `Declared` live in memory (`logic::copies`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HoldState {
    Absent,
    Held,
}

/// Who is the first source and looks after the number of copies; no authority over the key.
/// Merge: the larger (epoch, region).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Primary {
    pub epoch: u32,
    pub region: RegionId,
}
