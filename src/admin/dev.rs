//! The emulated wide area of `godwit dev`: regions that are cut off, to see what holds then.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Error;
use crate::types::region::RegionId;

use super::api::Api;
use super::model::{CutRegion, Wires};
use super::route::{Call, Route, argument, route};

/// What can be done to the wires between the regions of one process.
pub trait Wiring: Send + Sync {
    /// Cuts a region off, or joins it again; false: there is no such region.
    fn cut(&self, region: RegionId, cut: bool) -> bool;
    /// Those that are cut off now.
    fn which(&self) -> BTreeSet<RegionId>;
}

/// `None` where the wires are real.
pub type EmulatedWires = Option<Arc<dyn Wiring>>;

pub(super) const ROUTES: &[Route] = &[
    route!(GET "dev", Operator, wires, () => Wires, [],
        "Which regions of `godwit dev` are cut off."),
    route!(POST "dev/cut", Operator, cut, CutRegion => Wires, [],
        "Cuts a region of `godwit dev` off from the others, or joins it again. Clients reach it \
         all the time."),
];

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn wires(api: &Api, _: &Call<'_>, (): ()) -> Result<Wires, Error> {
    let wires = api.wires.as_ref();
    let cut = wires.map(|wires| wires.which().into_iter().collect()).unwrap_or_default();
    Ok(Wires { emulated: wires.is_some(), cut })
}

async fn cut(api: &Api, call: &Call<'_>, asked: CutRegion) -> Result<Wires, Error> {
    let Some(wires) = &api.wires else {
        let why = "only `godwit dev` with its emulated wide area can cut a region off";
        return Err(Error::InvalidRequest(why.to_owned()));
    };
    if !wires.cut(asked.region, asked.cut) {
        return Err(argument(format!("there is no region {}", asked.region)));
    }
    self::wires(api, call, ()).await
}
