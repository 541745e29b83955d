//! What a bucket is: the part behind its name register, and its settings as CRDTs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crdts::{CvRDT, LWWReg, Orswot, VClock};
use serde::{Deserialize, Serialize, Serializer};

use super::id::{BucketId, OpId};
use super::lock::ObjectLock;
use super::name::AccountId;
use super::object::ObjectMeta;
use super::region::RegionId;
use super::stamp::Stamp;

/// What a bucket name stands for: the value of its register (DESIGN: registers). Only values that
/// are known to be chosen are put into records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NameRecord {
    /// Grows with every chosen value of this name: merge takes the larger.
    pub stamp: Stamp,
    /// The operation that proposed it.
    pub op: OpId,
    pub state: NameState,
}

/// The life of a bucket name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NameState {
    Active(BucketConfig),
    /// A delete is asking every region; set back by whoever meets one older than 60 s.
    Deleting(BucketConfig),
    Free,
    /// Deleted with soft delete: its owner can have it back until the end, and nobody else the name.
    SoftDeleted(SoftDeleted),
}

impl NameState {
    /// The bucket that is there under the name.
    pub fn into_active(self) -> Option<BucketConfig> {
        match self {
            Self::Active(config) => Some(config),
            Self::Deleting(_) | Self::Free | Self::SoftDeleted(_) => None,
        }
    }

    /// The bucket that was deleted and is kept.
    pub fn into_soft_deleted(self) -> Option<SoftDeleted> {
        match self {
            Self::SoftDeleted(kept) => Some(kept),
            Self::Active(_) | Self::Deleting(_) | Self::Free => None,
        }
    }
}

/// A bucket that was deleted and is kept with its settings and what its keys keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SoftDeleted {
    pub config: BucketConfig,
    /// Milliseconds since 1970.
    pub deleted_ms: u64,
    /// From then on the name is free.
    pub until_ms: u64,
}

/// What of a bucket must be linearizable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketConfig {
    pub id: BucketId,
    pub owner: AccountId,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    pub location: Location,
    /// Regions that have bytes and record before a write is answered.
    pub ack: Ack,
    /// Regions that have a copy soon after.
    pub copies: u8,
    /// Bodies up to this many bytes travel with their rows.
    pub riding_bytes_max: u32,
    pub versioning: Versioning,
    /// Set when the bucket has object lock.
    pub lock: Option<ObjectLock>,
    /// The bucket policy's JSON as the client gave it.
    pub policy: Option<String>,
    /// `None` where none was set, which blocks nothing.
    pub access_block: Option<AccessBlock>,
    pub consistency: Consistency,
}

/// What reads, writes and lists of a bucket are, where a request asks for nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// As this region knows; only conditional writes have one order.
    #[default]
    Eventual,
    /// Every operation on a key has its place in one order that all regions see.
    Strong,
    /// The same, and a region that reads a key often holds a read lease of it.
    Leased,
}

impl Consistency {
    /// Every operation has its place in one order.
    pub fn is_strong(self) -> bool {
        match self {
            Self::Eventual => false,
            Self::Strong | Self::Leased => true,
        }
    }

    pub fn has_leases(self) -> bool {
        self == Self::Leased
    }
}

/// Whether writes make new versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// Never was on.
    #[default]
    Off,
    Enabled,
    /// New versions are null and replace the null version; the others stay.
    Suspended,
}

/// S3's public access block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessBlock {
    pub block_public_acls: bool,
    pub ignore_public_acls: bool,
    pub block_public_policy: bool,
    pub restrict_public_buckets: bool,
}

impl BucketConfig {
    /// The bytes of this object may lie in `region`: the bucket and the object both allow it (P8).
    pub fn allows(&self, object: &ObjectMeta, region: RegionId) -> bool {
        self.location.allows(region) && object.headers.location.allows(region)
    }

    /// The same bucket for bytes that have a location of their own.
    #[must_use]
    pub fn within(self: &Arc<Self>, location: &Location) -> Arc<Self> {
        match location {
            Location::Everywhere => self.clone(),
            Location::Only(_) => {
                let location = self.location.and(location);
                Arc::new(Self { location, ..Self::clone(self) })
            }
        }
    }
}

/// Where the bytes of a bucket or of an object may lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    #[default]
    Everywhere,
    /// Only in these regions, caches included (P8). Never empty.
    Only(Vec<RegionId>),
}

impl Location {
    pub fn allows(&self, region: RegionId) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Only(regions) => regions.contains(&region),
        }
    }

    /// Where both allow it.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (one, Self::Everywhere) | (Self::Everywhere, one) => one.clone(),
            (Self::Only(regions), other) => {
                Self::Only(regions.iter().copied().filter(|r| other.allows(*r)).collect())
            }
        }
    }
}

/// How many regions acknowledge a write before its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ack {
    /// min(2, allowed regions).
    Default,
    /// Exactly this many (1: alone in a partition).
    Count(u8),
    /// More than half of the allowed regions.
    Majority,
}

impl Ack {
    /// The number for a bucket with `allowed` member regions; at least one.
    pub fn required(self, allowed: usize) -> usize {
        match self {
            Self::Default => allowed.clamp(1, 2),
            Self::Count(n) => usize::from(n).clamp(1, allowed.max(1)),
            Self::Majority => allowed / 2 + 1,
        }
    }
}

/// A bucket's settings documents; each is a last-writer-wins register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SettingKind {
    Accelerate,
    Acl,
    Cors,
    Encryption,
    Lifecycle,
    Logging,
    Notification,
    Ownership,
    Replication,
    RequestPayment,
    Tagging,
    Website,
    /// Undo window and soft delete.
    Keeping,
    /// How much it may grow to.
    Quota,
}

/// Which node changed a set: per region and incarnation.
pub type Actor = Stamp;

/// A bucket's replicated settings and pins, on the types of the `crdts` package: one small
/// document a bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketRecord {
    /// The document's bytes as the client gave them; `None` after a delete.
    pub settings: BTreeMap<SettingKind, LWWReg<Option<Vec<u8>>, Stamp>>,
    /// Regions that shall always have a copy.
    #[serde(serialize_with = "in_order")]
    pub pins: Orswot<RegionId, Actor>,
}

/// The set's fields in the order of its own encoding, but its members sorted: equal sets have equal
/// bytes, which digests compare. Nothing is deferred in a set that is only ever merged whole.
fn in_order<S: Serializer>(
    pins: &Orswot<RegionId, Actor>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let clock = pins.read_ctx().add_clock;
    let entries: BTreeMap<RegionId, VClock<Actor>> =
        pins.iter().map(|member| (*member.val, member.rm_clock)).collect();
    let deferred: BTreeMap<(), ()> = BTreeMap::new();
    (clock, entries, deferred).serialize(serializer)
}

impl Default for BucketRecord {
    fn default() -> Self {
        Self { settings: BTreeMap::new(), pins: Orswot::new() }
    }
}

impl BucketRecord {
    /// Sets one document; an older stamp than the present one changes nothing.
    pub fn set(&mut self, kind: SettingKind, value: Option<Vec<u8>>, stamp: Stamp) {
        let incoming = LWWReg { val: value, marker: stamp };
        match self.settings.get_mut(&kind) {
            Some(register) if register.marker < stamp => *register = incoming,
            Some(_) => {}
            None => {
                self.settings.insert(kind, incoming);
            }
        }
    }

    /// The largest stamp of any document, [`Stamp::ZERO`] without one.
    pub fn stamp(&self) -> Stamp {
        self.settings.values().fold(Stamp::ZERO, |stamp, s| stamp.max(s.marker))
    }

    /// The document, if one is set.
    pub fn setting(&self, kind: SettingKind) -> Option<&[u8]> {
        self.settings.get(&kind)?.val.as_deref()
    }

    /// Takes in another replica's state.
    pub fn merge(&mut self, other: Self) {
        for (kind, register) in other.settings {
            self.set(kind, register.val, register.marker);
        }
        self.pins.merge(other.pins);
    }
}

#[cfg(test)]
mod tests {
    use crdts::CmRDT;

    use super::*;
    use crate::types::stamp::Hlc;

    #[test]
    fn equal_sets_of_pins_have_equal_bytes_and_come_back() {
        let codes = ["ams", "cdg", "fra", "iad", "lhr", "nrt", "ord", "sin", "syd"];
        let regions: Vec<RegionId> = codes.iter().map(|c| c.parse().unwrap()).collect();
        let actor = |n: u64| Stamp { hlc: Hlc(n), region: regions[0] };
        let filled = |regions: &mut dyn Iterator<Item = &RegionId>| {
            let mut record = BucketRecord::default();
            for (n, region) in regions.enumerate() {
                let add = record.pins.read_ctx().derive_add_ctx(actor(1 + (n as u64 % 2)));
                let op = record.pins.add(*region, add);
                record.pins.apply(op);
            }
            record
        };
        let one = filled(&mut regions.iter());
        let encoded = postcard::to_allocvec(&one).unwrap();
        for _ in 0..8 {
            let back: BucketRecord = postcard::from_bytes(&encoded).unwrap();
            assert_eq!(back, one);
            assert_eq!(postcard::to_allocvec(&back).unwrap(), encoded);
        }
    }
}
