//! The regions of `godwit dev`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::region::RegionId;

/// `GET dev`: what is cut off, and what does not run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Wires {
    /// This is `godwit dev`: its regions can be stopped and started.
    #[serde(default)]
    pub dev: bool,
    /// Its wide area is emulated: regions can be cut off.
    pub emulated: bool,
    /// Regions that no other one reaches.
    #[schemars(with = "Vec<String>")]
    pub cut: Vec<RegionId>,
    /// Regions that do not run.
    #[serde(default)]
    pub down: Vec<DownRegion>,
}

/// A region that does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DownRegion {
    #[schemars(with = "String")]
    pub region: RegionId,
    pub state: DownState,
    /// Milliseconds since 1970: when it was stopped.
    pub since_ms: u64,
    /// Why it does not start.
    pub why: Option<String>,
}

/// How far a stop or a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DownState {
    Stopping,
    Stopped,
    Starting,
}

/// `POST dev/cut`: a region is cut off from the others, or joined to them again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutRegion {
    #[schemars(with = "String")]
    pub region: RegionId,
    pub cut: bool,
}

/// `POST dev/stop`: a region is stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRegion {
    #[schemars(with = "String")]
    pub region: RegionId,
    /// Its disk is lost with it: what only it had is gone.
    #[serde(default)]
    pub lose: bool,
}
