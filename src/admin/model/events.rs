//! What happened of late.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::region::RegionId;

/// `GET events`: what happened of late, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Events {
    pub events: Vec<Event>,
    /// Regions that could not be asked.
    #[schemars(with = "Vec<String>")]
    pub silent: Vec<RegionId>,
}

/// Something that happened, as one region saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Who saw it.
    #[schemars(with = "String")]
    pub region: RegionId,
    /// `node`, `region`, `member`, `voters`, `disk`, `clock`, `repair`, `move` or `writes`.
    pub kind: String,
    /// Something went wrong with it.
    pub bad: bool,
    pub what: String,
}
