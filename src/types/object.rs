//! The record (row) of a key: its versions, what each is made of and where its bytes are.
//!
//! Invariant: everything here is replicated and merged by `logic::merge`; nothing is changed in
//! place except through it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crdts::LWWReg;
use serde::{Deserialize, Serialize};

use super::acl::Acl;
use super::encryption::{Encryption, Seal};
use super::id::{BlobId, Hash};
use super::kept::Cover;
use super::lock::Retention;
use super::name::AccountId;
use super::region::RegionId;
use super::stamp::Stamp;

pub use super::headers::StoredHeaders;

/// The replicated record of one key: a set of versions, largest stamp first.
///
/// A version is in the set unless it was erased or is covered (see [`Version::replaces`] and
/// [`Cover`]). Of the null versions the first is what readers see, and the others are kept to be
/// brought back: losers of concurrent writes for the undo window, others for a bucket's soft
/// delete. The other versions, made while the bucket was versioned, are all seen and never covered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub versions: Vec<Version>,
    /// Versions that were deleted for good by their id; dropped like tombstones.
    pub erased: BTreeMap<Stamp, Erased>,
    /// Empty where it says no more than what the versions and the erased ones replace.
    pub cover: Cover,
}

/// What is left of a version that was deleted for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// Stamp of the deletion.
    pub at: Stamp,
    /// What the version replaced stays replaced; [`Stamp::ZERO`] where it was no null version.
    pub replaces: Stamp,
}

impl Row {
    /// A row of one version.
    pub fn of(version: Version) -> Self {
        Self { versions: vec![version], ..Self::default() }
    }

    /// The versions that readers see, newest first: every one that is not null, and of the null
    /// ones the newest unless it is a tombstone.
    pub fn visible(&self) -> impl Iterator<Item = &Version> {
        let null = self.versions.iter().find(|v| v.null).map(|v| v.stamp);
        self.versions.iter().filter(move |v| {
            let shown = !v.null || Some(v.stamp) == null;
            shown && !matches!(v.content, Content::Tombstone)
        })
    }

    /// What readers without a version id see; a tombstone where they see nothing.
    pub fn current(&self) -> Option<&Version> {
        self.visible().next().or_else(|| self.versions.first())
    }

    /// The current version if it is an object.
    pub fn object(&self) -> Option<(&Version, &Arc<ObjectMeta>)> {
        let version = self.current()?;
        match &version.content {
            Content::Object(meta) => Some((version, meta)),
            Content::Marker | Content::Tombstone => None,
        }
    }

    /// The largest stamp of any change, [`Stamp::ZERO`] for an empty row.
    pub fn stamp(&self) -> Stamp {
        let version = |v: &Version| v.stamp.max(v.marks.stamp());
        let versions = self.versions.iter().map(version);
        versions.chain(self.erased.values().map(|erased| erased.at)).max().unwrap_or(Stamp::ZERO)
    }

    /// The largest stamp of a version that was made or erased: what an operation judges moves with
    /// it, marks and places do not.
    pub fn made_stamp(&self) -> Stamp {
        let made = self.versions.iter().map(|version| version.stamp);
        made.chain(self.erased.values().map(|erased| erased.at)).max().unwrap_or(Stamp::ZERO)
    }

    /// What an operation judges: the current version, the newest null one, and what was erased.
    #[must_use]
    pub fn head(&self) -> Self {
        let (current, null) = (self.current().map(|v| v.stamp), self.null_stamp());
        let judged = |v: &&Version| Some(v.stamp) == current || (v.null && v.stamp == null);
        let versions = self.versions.iter().filter(judged).cloned().collect();
        Self { versions, erased: self.erased.clone(), cover: self.cover.clone() }
    }

    /// What of the null versions is over, by all that the row says.
    pub fn covered(&self) -> Cover {
        let nulls = self.versions.iter().filter(|v| v.null).map(|v| v.replaces);
        let erased = self.erased.values().map(|erased| erased.replaces);
        let floor = nulls.chain(erased).max().unwrap_or(Stamp::ZERO);
        self.cover.union(&Cover::up_to(floor))
    }

    /// The objects that readers do not see and that can be brought back, newest first.
    pub fn kept(&self) -> impl Iterator<Item = (&Version, &Arc<ObjectMeta>)> {
        let nulls = self.versions.iter().filter(|v| v.null).skip(1);
        nulls.filter_map(|v| v.object().map(|meta| (v, meta)))
    }

    /// The newest null version, [`Stamp::ZERO`] without one: what the next one replaces.
    pub fn null_stamp(&self) -> Stamp {
        self.versions.iter().find(|v| v.null).map_or(Stamp::ZERO, |v| v.stamp)
    }
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Identity and order; also S3's version id.
    pub stamp: Stamp,
    /// Every null version with a stamp up to this one is covered (replaced) by this version, if it
    /// is null too: the newest one that the writer saw. [`Stamp::ZERO`] covers nothing. Always
    /// below `stamp`.
    pub replaces: Stamp,
    /// S3's null version: made while the bucket was not versioned. A tombstone is always one.
    pub null: bool,
    pub content: Content,
    pub marks: Marks,
    /// Where the bytes are; empty for what has none of its own (riding bodies, deletions).
    pub placement: Placement,
}

impl Version {
    /// Its metadata, if it is an object.
    pub fn object(&self) -> Option<&Arc<ObjectMeta>> {
        match &self.content {
            Content::Object(meta) => Some(meta),
            Content::Marker | Content::Tombstone => None,
        }
    }

    /// When it was made, milliseconds since 1970. A deletion can be stamped just after what it
    /// deletes, so that nothing later is under it; then its marks say when it was made.
    pub fn made_ms(&self) -> u64 {
        match &self.content {
            Content::Object(meta) => meta.modified_ms,
            Content::Marker | Content::Tombstone => self.stamp.max(self.marks.stamp()).hlc.ms(),
        }
    }
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
    /// `None`: the bytes are stored as they came.
    pub encryption: Option<Encryption>,
}

/// What of a version may change after it was made: last-writer-wins registers by stamp. What a
/// version was made with has [`Stamp::ZERO`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Marks {
    /// In the order they were given; empty without tags.
    pub tags: Mark<Vec<(String, String)>>,
    /// Private to the owner where there is none.
    pub acl: Mark<Option<Acl>>,
    pub retention: Mark<Option<Retention>>,
    pub legal_hold: Mark<bool>,
    /// The latest end of any compliance retention that was ever set, milliseconds since 1970:
    /// merge takes the larger, so that no change elsewhere ends one early.
    pub compliance_until_ms: u64,
}

/// One mark.
pub type Mark<T> = LWWReg<T, Stamp>;

impl Marks {
    /// The last change's; [`Stamp::ZERO`] where nothing was changed.
    pub fn stamp(&self) -> Stamp {
        let Self { tags, acl, retention, legal_hold, compliance_until_ms: _ } = self;
        tags.marker.max(acl.marker).max(retention.marker).max(legal_hold.marker)
    }

    /// The same values as what another version is made with.
    pub fn as_made(mut self) -> Self {
        let Self { tags, acl, retention, legal_hold, compliance_until_ms: _ } = &mut self;
        tags.marker = Stamp::ZERO;
        acl.marker = Stamp::ZERO;
        retention.marker = Stamp::ZERO;
        legal_hold.marker = Stamp::ZERO;
        self.compliance_until_ms = 0;
        self
    }

    /// Takes in another replica's state.
    pub fn merge(&mut self, other: Self) {
        newer(&mut self.tags, other.tags);
        newer(&mut self.acl, other.acl);
        newer(&mut self.retention, other.retention);
        newer(&mut self.legal_hold, other.legal_hold);
        self.compliance_until_ms = self.compliance_until_ms.max(other.compliance_until_ms);
    }
}

fn newer<T>(known: &mut Mark<T>, incoming: Mark<T>) {
    if incoming.marker > known.marker {
        *known = incoming;
    }
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
    /// Of an encrypted run; `None` of one that is stored as it came, or has no bytes.
    pub seal: Option<Seal>,
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
