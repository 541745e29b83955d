//! The JSON of the admin API, shared by the server and the commands that read it.
//!
//! Invariant: field names are stable snake case; a secret appears only in the answer that makes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::types::record::BucketRole;
use crate::types::region::RegionId;

/// First part of every path of the admin API; bucket names cannot begin with `-`.
pub const ADMIN_PREFIX: &str = "/-/admin/v1";

/// `GET status`: the cluster as one node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    /// The node that answers.
    pub region: RegionId,
    pub regions: Vec<RegionStatus>,
}

/// One region in [`Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionStatus {
    pub code: RegionId,
    pub city: String,
    pub state: PeerState,
    /// Round trip from the node that answers; 0 to itself.
    pub rtt_ms: Option<u64>,
    /// Changes of that region that the node that answers knows of and has not applied.
    pub behind: u64,
    /// Changes that wait here to be sent there.
    pub queued: u64,
    pub voter: bool,
}

/// How a region looks from the node that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// No connection.
    Away,
    Connected,
    /// The node that answers.
    Here,
}

/// `POST storage`: makes a bucket and an access key for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageRequest {
    /// Without a name one is made up.
    pub name: Option<String>,
}

/// The answer: the only time that the secret is told.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Storage {
    pub bucket: String,
    pub endpoint: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
}

/// `POST keys` makes an access key, `PUT keys?access_key=…` gives one another scope. Without
/// buckets, roles and a policy it may do all of its account, and use this API.
/// `DELETE keys?access_key=…` ends one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// Buckets that it may read and write: the role `editor`.
    #[serde(default)]
    pub buckets: Vec<String>,
    /// Roles by bucket: `admin`, `editor`, `read-only`.
    #[serde(default)]
    pub roles: BTreeMap<String, BucketRole>,
    /// A policy as IAM attaches it to a user: it allows besides the roles, and its denies win.
    #[serde(default)]
    pub policy: Option<serde_json::Value>,
    /// The key is the first one of a new account, which owns nothing yet.
    #[serde(default)]
    pub new_account: bool,
}

/// An access key that was just made.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct NewKey {
    /// The canonical id of its account, as owners and grants name it.
    pub account: String,
    pub access_key: String,
    pub secret_key: String,
    pub admin: bool,
    /// Those that it has a role in.
    pub buckets: Vec<String>,
    pub roles: BTreeMap<String, BucketRole>,
    pub policy: Option<serde_json::Value>,
}

/// `GET keys`: the access keys of the caller's account, without secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keys {
    pub keys: Vec<Key>,
}

/// One access key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    pub access_key: String,
    pub admin: bool,
    /// Those that it has a role in.
    pub buckets: Vec<String>,
    pub roles: BTreeMap<String, BucketRole>,
    pub policy: Option<serde_json::Value>,
    pub created_ms: u64,
}

/// `GET where?bucket=…&key=…`: where an object lives and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Where {
    pub bucket: String,
    pub key: String,
    pub size: u64,
    pub etag: String,
    /// First source of the bytes.
    pub primary: Option<RegionId>,
    /// Regions that have all bytes durably.
    pub holders: Vec<RegionId>,
    /// Regions with a cached copy, which may go at any time.
    pub cached: Vec<RegionId>,
    /// Reads by region, decayed.
    pub heat: BTreeMap<RegionId, f64>,
    /// The last moves of the primary, newest first.
    pub moves: Vec<Move>,
    /// Why it is where it is, when it did not move.
    pub note: Option<String>,
}

/// One move of a primary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub from: RegionId,
    pub to: RegionId,
    pub reason: String,
}

/// Every refusal of the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The S3 error code that fits.
    pub code: String,
    pub message: String,
}

/// `GET /-/health/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub ready: bool,
    /// Why not.
    pub reason: Option<String>,
}
