//! Who belongs to a cluster and who keeps its registers: the value of one register.
//!
//! Invariant: each change makes a value with a version one higher, computed from the one before, so
//! that two values of one version are equal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::{ClusterId, Incarnation};
use super::region::{RegionId, RegionInfo};
use super::stamp::Stamp;

/// How far a region belongs to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// Listed; it fetches what there is, and nothing counts on it yet.
    Joining,
    Active,
    /// Its copies, primaries and votes move away; it gets no new ones.
    Draining,
}

/// A region that belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub info: RegionInfo,
    pub state: MemberState,
    /// The version in which it was listed: another life of the same code has another one.
    pub since: u64,
    /// Where its node is, for nodes whose own settings do not say it.
    pub address: Option<String>,
}

/// A region that was removed. What its node still says counts no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    pub region: RegionId,
    /// The version that removed it.
    pub version: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// It was not drained: its disk is given up.
    pub lost: bool,
    /// The lives of its disk that were known.
    pub incarnations: Vec<Incarnation>,
}

/// The voters of registers in one epoch. How they change is in `logic::register::change`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Electorate {
    pub(crate) epoch: u64,
    /// Each voter with the epoch in which it joined.
    pub(crate) voters: BTreeMap<RegionId, u64>,
    /// During a change the voters before it; the same as `voters` while all of them are asked;
    /// otherwise nobody.
    pub(crate) before: BTreeMap<RegionId, u64>,
}

/// The members register's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Members {
    pub stamp: Stamp,
    pub cluster: ClusterId,
    /// Grows by one with every change.
    pub version: u64,
    /// By code, each once.
    pub members: Vec<Member>,
    pub electorate: Electorate,
    /// By version.
    pub gone: Vec<Gone>,
}
