//! Where things shall be, and cached copies that go.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::region::RegionId;

/// `POST place`: an object's primary shall be in another region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlacePrimary {
    pub bucket: String,
    pub key: String,
    #[schemars(with = "String")]
    pub region: RegionId,
}

/// What became of that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlacedPrimary {
    /// It is on its way: `where` shows when it has arrived. Else it is there already.
    pub moving: bool,
}

/// `PUT location?bucket=…`: the regions of a bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutLocation {
    /// Codes and geographies; none: every region.
    pub regions: Vec<String>,
    /// Small objects that ride in their rows may stay in every region.
    #[serde(default)]
    pub leave_small: bool,
}

/// `GET location?bucket=…`: the regions of a bucket, and where its versions lie, as far as the node
/// that answers knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BucketLocation {
    pub bucket: String,
    /// Empty: every region.
    #[schemars(with = "Vec<String>")]
    pub regions: Vec<RegionId>,
    pub versions: u64,
    /// Versions that are small and ride in their rows: every region has them.
    pub riding: u64,
    /// Versions whose primary is there.
    #[schemars(with = "BTreeMap<String, u64>")]
    pub primaries: BTreeMap<RegionId, u64>,
    #[schemars(with = "BTreeMap<String, Held>")]
    pub held: BTreeMap<RegionId, Held>,
    /// Versions of which a copy lies, or rides, where it may not any more. Copies go by themselves;
    /// what rides goes when it is written over.
    pub outside: u64,
    /// There are more versions, which were not counted.
    pub cut: bool,
}

/// What one region holds of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    pub versions: u64,
    pub bytes: u64,
}

/// `POST purge`: cached copies shall go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    pub bucket: String,
    /// Only of keys that begin so.
    #[serde(default)]
    pub prefix: String,
    /// Only there.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub region: Option<RegionId>,
}

/// What went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Purged {
    pub regions: Vec<PurgedAt>,
}

/// What went in one region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PurgedAt {
    #[schemars(with = "String")]
    pub region: RegionId,
    pub copies: u64,
    /// On its disk, or in its memory where the disk had none.
    pub bytes: u64,
    /// Why it could not be asked; its copies stay.
    pub error: Option<String>,
}
