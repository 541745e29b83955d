//! The emulated wide area of `godwit dev`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::region::RegionId;

/// `GET dev`: what is cut off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Wires {
    /// This is `godwit dev` with an emulated wide area.
    pub emulated: bool,
    /// Regions that no other one reaches.
    #[schemars(with = "Vec<String>")]
    pub cut: Vec<RegionId>,
}

/// `POST dev/cut`: a region is cut off from the others, or joined to them again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutRegion {
    #[schemars(with = "String")]
    pub region: RegionId,
    pub cut: bool,
}
