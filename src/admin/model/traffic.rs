//! What one node does now.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::region::RegionId;

/// `GET traffic`: what a node did since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    #[schemars(with = "Option<String>")]
    pub region: Option<RegionId>,
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// By operation.
    pub ops: BTreeMap<String, OpSums>,
    /// Requests that are open now.
    pub open: f64,
    pub sent_bytes: f64,
    pub received_bytes: f64,
    /// Chunks that readers were given, by where they came from.
    pub chunks: BTreeMap<String, f64>,
    /// Primaries that left this region.
    pub moves: f64,
    /// Copies that are being made there or wait for it.
    pub copies_waiting: u64,
    /// Versions with too few copies, of those that the region looks after.
    pub below_copies: u64,
}

/// Sums of one operation since the node started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpSums {
    pub requests: f64,
    /// Answered with a status of 500 and more.
    pub errors: f64,
    pub seconds: f64,
    /// Requests that took at most so many seconds, by that bound.
    #[serde(default)]
    pub within: BTreeMap<String, f64>,
}
