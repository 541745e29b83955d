//! The JSON of the admin API, shared by the server and the commands that read it.
//!
//! Invariant: field names are stable snake case; a secret appears only in the answer that makes it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::record::BucketRole;
use crate::types::region::{RegionId, Role};

mod certs;
mod dev;
mod events;
mod place;
mod program;
mod traffic;

pub use certs::{AuthorityCertificate, NodeCertificate};
pub use dev::{CutRegion, DownRegion, DownState, StopRegion, Wires};
pub use events::{Event, Events};
pub use program::{Kinds, NodeProgram, Program};
pub use traffic::{OpSums, Traffic};

pub use place::{
    BucketLocation, Held, PlacePrimary, PlacedPrimary, Purge, Purged, PurgedAt, PutLocation,
};

/// First part of every path of the admin API; bucket names cannot begin with `-`.
pub const ADMIN_PREFIX: &str = "/-/admin/v1";

/// `GET status`: the cluster as one node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub version: String,
    /// The node that answers.
    #[schemars(with = "String")]
    pub region: RegionId,
    pub regions: Vec<RegionStatus>,
    pub replication: Replication,
    /// What is wrong with the disk of the node that answers: it failed, does not answer, or is full.
    #[serde(default)]
    pub disk: Option<String>,
    /// What is wrong with the certificate of the node that answers.
    #[serde(default)]
    pub certificate: Option<String>,
}

/// What is not everywhere yet where it should be, as the node that answers knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Replication {
    /// Versions with fewer copies than their bucket asks for, of those that this region looks after.
    pub below_copies: u64,
    /// Held bytes that are damaged and were not replaced yet.
    pub damaged: u64,
    /// Changes made in this region that others have not applied, the longest ago first.
    pub buckets: Vec<BucketLag>,
}

/// How far one region is behind with one bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BucketLag {
    /// The name, or the id where it has none any more.
    pub bucket: String,
    #[schemars(with = "String")]
    pub region: RegionId,
    pub changes: u64,
    /// Age of the oldest of them.
    pub lag_ms: u64,
}

/// `GET regions`: who belongs to the cluster and who keeps its registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Regions {
    /// The node that answers.
    #[schemars(with = "String")]
    pub region: RegionId,
    /// Grows with every change of the members.
    pub version: u64,
    /// Grows with every step of a change of voters.
    pub epoch: u64,
    /// The voters are being changed: those before and after vote together.
    pub voters_change: bool,
    /// How far that is, where the node that answers drives it.
    pub change: Option<VoterChange>,
    pub regions: Vec<MemberRegion>,
    /// Regions that were removed, the first one first.
    pub gone: Vec<GoneRegion>,
}

/// How far a change of voters is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VoterChange {
    /// `install`, `list`, `rewrite` or `settle`.
    pub phase: String,
    /// Registers that the new voters have, of those found so far.
    pub rewritten: u64,
    pub found: u64,
}

/// How far a region belongs to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// Listed; it fetches what there is, and nothing counts on it yet.
    Joining,
    Active,
    /// It gets nothing new, and what it has moves away.
    Draining,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemberRegion {
    #[schemars(with = "String")]
    pub code: RegionId,
    pub city: String,
    pub state: MemberState,
    pub voter: bool,
    /// The node that answers reaches it.
    pub connected: bool,
    /// Where its node is, as it was added.
    pub address: Option<String>,
}

/// A region that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoneRegion {
    #[schemars(with = "String")]
    pub code: RegionId,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// It was not drained before.
    pub lost: bool,
}

/// `POST regions/add`: what everyone is to know of a new region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AddRegion {
    #[schemars(with = "String")]
    pub code: RegionId,
    pub city: String,
    pub lat: f64,
    pub lon: f64,
    pub geography: String,
    pub failure_domain: String,
    /// `full`, `replica` or `cache`.
    #[schemars(with = "String")]
    pub role: Role,
    /// It may become a voter.
    pub voter: bool,
    /// Where the others reach its mesh: `HOST:PORT`, where their settings do not say it.
    pub address: Option<String>,
    /// How long its token is good, in seconds; a day where nothing is said, 30 days at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
}

/// The token with which a region's node joins; a secret.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct JoinToken {
    #[schemars(with = "String")]
    pub region: RegionId,
    pub token: String,
    /// It is refused from then on: milliseconds since 1970.
    #[serde(default)]
    pub expires_ms: u64,
}

/// `POST regions/drain`, `POST regions/undrain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OneRegion {
    #[schemars(with = "String")]
    pub region: RegionId,
}

/// `POST regions/remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemoveRegion {
    #[schemars(with = "String")]
    pub region: RegionId,
    /// It is gone for good with what only it had; without this it must be drained.
    #[serde(default)]
    pub lost: bool,
}

/// `POST regions/recover`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LostRegions {
    /// They will never come back, and what only they had is given up.
    #[schemars(with = "Vec<String>")]
    pub lost: Vec<RegionId>,
}

/// `GET regions/remains`: what a region still has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Remaining {
    #[schemars(with = "String")]
    pub region: RegionId,
    pub voter: bool,
    /// Versions whose bytes it is to keep.
    pub copies: u64,
    /// Parts of uploads under way whose bytes are there alone.
    pub uploads: u64,
    /// Writes that wait for their outcome.
    pub pending: u64,
    /// Changes made there that another member has not applied.
    pub changes: u64,
}

/// `GET node`: disk, caches and clock of the node that answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFigures {
    #[schemars(with = "String")]
    pub region: RegionId,
    /// Its clock: milliseconds since 1970.
    pub now_ms: u64,
    /// How far its clock is ahead of most others', milliseconds, where that is more than a quarter of
    /// a second: it takes no plain writes then. 0: it is right.
    #[serde(default)]
    pub clock_wrong_ms: i64,
    /// As of the last housekeeping, seconds ago.
    pub disk_total_bytes: u64,
    pub disk_free_bytes: u64,
    /// Segment files, and of their bytes those that are live bodies.
    pub segment_bytes: u64,
    pub segment_live_bytes: u64,
    /// Cached copies of what other regions hold, and chunks in memory.
    pub cache_bytes: u64,
    pub memory_cache_bytes: u64,
    /// Group commits since the node started, and the changes in them.
    pub commits: u64,
    pub changes: u64,
    /// Reads that failed their checksum.
    pub corrupt_reads: u64,
    /// A sync failed: the node writes nothing more until it is started again.
    pub poisoned: bool,
    /// What is wrong with the disk.
    #[serde(default)]
    pub disk: Option<String>,
}

/// `GET scrub`: how far a node has checked what it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scrub {
    #[schemars(with = "String")]
    pub region: RegionId,
    /// `resting`, `blobs`, `log`, `index` or `cache`.
    pub phase: String,
    pub stopped: bool,
    /// Of the pass under way, or else the last one; 1970 before the first.
    pub started_ms: u64,
    pub finished_ms: Option<u64>,
    pub next_ms: u64,
    /// Bytes a second that it reads at most.
    pub rate_bytes: u64,
    pub blobs: u64,
    pub blobs_total: u64,
    pub bytes: u64,
    pub bytes_total: u64,
    /// Damage that the pass found; most of it is replaced within seconds.
    pub found: u64,
    /// What could not be read for another reason than damage.
    pub errors: u64,
    /// Damaged blobs that were not replaced yet, and the first of them by name.
    pub damaged_total: u64,
    pub damaged: Vec<DamagedBytes>,
}

/// Bytes that are damaged and not replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DamagedBytes {
    pub bucket: Option<String>,
    pub key: Option<String>,
    /// The id of the version, or of the upload.
    pub version: Option<String>,
    pub bytes: u64,
    /// No region has them.
    pub lost: bool,
    pub why: String,
}

/// `GET repair`: how far a node has compared records and looked after copies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Repair {
    #[schemars(with = "String")]
    pub region: RegionId,
    /// `resting`, `digests` or `copies`.
    pub phase: String,
    pub stopped: bool,
    /// Why the pass under way, or else the last one, began.
    pub why: String,
    pub started_ms: Option<u64>,
    pub finished_ms: Option<u64>,
    /// Records looked at by the pass, of about so many.
    pub records: u64,
    pub records_total: u64,
    /// Records that were made good, and regions that could not be compared with.
    pub differing: u64,
    pub peers_missing: u64,
    /// Versions with too few copies that this region looks after.
    pub below_copies: u64,
    /// Copies that wait or are being made in this region.
    pub making: u64,
    /// Since the node started.
    pub copies_made: u64,
    pub bytes_fetched: u64,
    pub damaged: u64,
}

/// One region in [`Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RegionStatus {
    #[schemars(with = "String")]
    pub code: RegionId,
    pub city: String,
    /// Degrees north and east.
    pub lat: f64,
    pub lon: f64,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// No connection.
    Away,
    Connected,
    /// The node that answers.
    Here,
}

/// `GET whoami`: the key that signed the request. Any key may ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Whoami {
    pub access_key: String,
    /// The canonical id of its account.
    pub account: String,
    /// It may do all of its account, and use this API.
    pub admin: bool,
    /// It is an admin key of the account that the cluster was made with: it may see and do what is
    /// of the whole cluster.
    #[serde(default)]
    pub operator: bool,
    /// The region that answers.
    #[schemars(with = "String")]
    pub region: RegionId,
}

/// `POST storage`: makes a bucket and an access key for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StorageRequest {
    /// Without a name one is made up.
    pub name: Option<String>,
}

/// The answer: the only time that the secret is told.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// Buckets that it may read and write: the role `editor`.
    #[serde(default)]
    pub buckets: Vec<String>,
    /// Roles by bucket: `admin`, `editor`, `read-only`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub roles: BTreeMap<String, BucketRole>,
    /// A policy as IAM attaches it to a user: it allows besides the roles, and its denies win.
    #[serde(default)]
    pub policy: Option<serde_json::Value>,
    /// The key is the first one of a new account, which owns nothing yet.
    #[serde(default)]
    pub new_account: bool,
}

/// An access key that was just made.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewKey {
    /// The canonical id of its account, as owners and grants name it.
    pub account: String,
    pub access_key: String,
    pub secret_key: String,
    pub admin: bool,
    /// Those that it has a role in.
    pub buckets: Vec<String>,
    #[schemars(with = "BTreeMap<String, String>")]
    pub roles: BTreeMap<String, BucketRole>,
    pub policy: Option<serde_json::Value>,
}

/// `GET keys`: the access keys of the caller's account, without secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Keys {
    pub keys: Vec<Key>,
}

/// One access key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    pub access_key: String,
    pub admin: bool,
    /// Those that it has a role in.
    pub buckets: Vec<String>,
    #[schemars(with = "BTreeMap<String, String>")]
    pub roles: BTreeMap<String, BucketRole>,
    pub policy: Option<serde_json::Value>,
    pub created_ms: u64,
}

/// `GET where?bucket=…&key=…`: where an object lives and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Where {
    pub bucket: String,
    pub key: String,
    pub size: u64,
    pub etag: String,
    /// First source of the bytes.
    #[schemars(with = "Option<String>")]
    pub primary: Option<RegionId>,
    /// Regions that have all bytes durably.
    #[schemars(with = "Vec<String>")]
    pub holders: Vec<RegionId>,
    /// Regions with a cached copy, which may go at any time.
    #[schemars(with = "Vec<String>")]
    pub cached: Vec<RegionId>,
    /// Reads by region, decayed.
    #[schemars(with = "BTreeMap<String, f64>")]
    pub heat: BTreeMap<RegionId, f64>,
    /// The last moves of the primary, newest first.
    pub moves: Vec<Move>,
    /// Why it is where it is, when it did not move.
    pub note: Option<String>,
    /// Regions that hold a read lease of it: they may show it without asking anybody. Only an admin
    /// key has the other regions asked.
    #[serde(default)]
    pub leases: Vec<HeldLease>,
}

/// A read lease that a region holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldLease {
    #[schemars(with = "String")]
    pub region: RegionId,
    /// How long it lasts, unless it is renewed or given back.
    pub left_ms: u64,
}

/// `GET lease`: what one region holds of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lease {
    pub held: Option<HeldLease>,
}

/// One move of a primary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Move {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    #[schemars(with = "String")]
    pub from: RegionId,
    #[schemars(with = "String")]
    pub to: RegionId,
    pub reason: String,
}

/// `GET trace`: one request that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceLine {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The region that answered.
    #[schemars(with = "String")]
    pub region: RegionId,
    /// The request id that the client was told.
    pub id: String,
    pub op: String,
    /// An access key, or `anonymous`.
    pub caller: String,
    pub bucket: Option<String>,
    pub key: Option<String>,
    pub status: u16,
    /// The error code.
    pub error: Option<String>,
    /// Bytes of the body that was sent.
    pub bytes: u64,
    pub ms: u64,
    /// Where the bytes came from: `memory`, `disk`, a region.
    pub source: Option<String>,
    /// Lines that were lost before this one, because the reader was slow.
    pub missed: u64,
}

/// `GET kept`: what can be brought back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeptList {
    pub kept: Vec<Kept>,
    /// For `after` of the next page; none on the last one, and none over all buckets.
    pub next: Option<String>,
}

/// A version that readers do not see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    pub bucket: String,
    pub key: String,
    pub why: KeptWhy,
    /// Its end, milliseconds since 1970; none while its window has not begun, because not every
    /// region was heard of since.
    pub until_ms: Option<u64>,
    pub version: KeptSide,
    /// What readers see instead: the winner of a conflict.
    pub current: Option<KeptSide>,
}

/// Why a version is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeptWhy {
    /// Another write at the same time won.
    Lost,
    /// It was overwritten or deleted in a bucket with soft delete.
    Replaced,
}

/// A version in [`Kept`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeptSide {
    pub version: String,
    /// Where it was written.
    #[schemars(with = "String")]
    pub region: RegionId,
    /// Milliseconds since 1970.
    pub made_ms: u64,
    /// None of a deletion.
    pub size: Option<u64>,
    pub etag: Option<String>,
}

/// `POST restore`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    pub bucket: String,
    pub key: String,
    #[serde(default)]
    pub version: Option<String>,
}

/// The object that is there again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Restored {
    pub bucket: String,
    pub key: String,
    pub size: u64,
    pub etag: String,
    pub version: String,
}

/// `GET keeping`, `PUT keeping`: how long a bucket keeps what writes end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepingBody {
    /// Losers of concurrent writes; 0: not at all.
    pub undo_minutes: u64,
    /// What is overwritten or deleted, 7 to 90; none: not at all.
    pub soft_delete_days: Option<u16>,
}

/// `POST backup/create`, `POST backup/restore`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupTask {
    /// An absolute path on the node's machine.
    pub path: String,
}

/// `GET backup`: a backup or a restore of the node that answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Backup {
    pub state: BackupState,
    /// It brings back; else it makes a backup.
    pub restores: bool,
    pub path: String,
    pub started_ms: u64,
    pub records: u64,
    pub blobs: u64,
    pub bytes: u64,
    /// Bodies that other regions hold alone.
    pub absent: u64,
    /// Why it failed.
    pub why: Option<String>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BackupState {
    /// There was none since the node started.
    #[default]
    None,
    Running,
    Done,
    Failed,
}

/// Every refusal of the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// The S3 error code that fits.
    pub code: String,
    pub message: String,
    /// What to do now, where that is known.
    #[serde(default)]
    pub hint: Option<String>,
    /// It stands in the log of the node that answered.
    #[serde(default)]
    pub request_id: String,
}

/// `POST tokens`: makes a token, which goes as `Authorization: Bearer TOKEN` in place of a
/// signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// How long it is good, in seconds; at most a year.
    pub expires_in: u64,
    /// It may look (`GET`), and change nothing.
    #[serde(default)]
    pub read_only: bool,
}

/// A token. It is kept nowhere: it ends when its time is over, or with the key that made it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    pub token: String,
    /// The key that made it.
    pub access_key: String,
    pub read_only: bool,
    /// Milliseconds since 1970.
    pub expires_ms: u64,
}

/// `GET /-/health/cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterHealth {
    pub ok: bool,
    /// Why not; no names of buckets or keys.
    pub reasons: Vec<String>,
}

/// `GET health`: what its operator asks of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeHealth {
    #[schemars(with = "String")]
    pub region: RegionId,
    /// Whether writes can be made.
    pub writes: ClusterHealth,
    /// Whether nothing would be refused or in danger without this node.
    pub maintenance: ClusterHealth,
}

/// `GET /-/health/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    pub ready: bool,
    /// Why not.
    pub reason: Option<String>,
}
