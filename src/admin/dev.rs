//! What can be done to the regions of `godwit dev`, to see what holds then: cut off, stopped, lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Error;
use crate::types::region::RegionId;

use super::api::Api;
use super::model::{CutRegion, DownRegion, OneRegion, StopRegion, Wires};
use super::route::{Call, Route, argument, route};

/// What can be done to the wires between the regions of one process.
pub trait Wiring: Send + Sync {
    /// Cuts a region off, or joins it again; false: there is no such region.
    fn cut(&self, region: RegionId, cut: bool) -> bool;
    /// Those that are cut off now.
    fn which(&self) -> BTreeSet<RegionId>;
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is under way.
    Yes,
    NoSuchRegion,
    /// As it is now it cannot be.
    Not(String),
}

/// The regions of one process.
pub trait Playing: Send + Sync {
    /// `None` without an emulated wide area.
    fn wires(&self) -> Option<&dyn Wiring>;
    /// Those that do not run.
    fn down(&self) -> Vec<DownRegion>;
    /// Stops a region; its directory is put aside where its disk is to be lost.
    fn stop(&self, region: RegionId, lose: bool) -> Changed;
    /// Starts one that was stopped.
    fn start(&self, region: RegionId) -> Changed;
}

/// `None` where the regions are real.
pub type Playground = Option<Arc<dyn Playing>>;

pub(super) const ROUTES: &[Route] = &[
    route!(GET "dev", Operator, wires, () => Wires, [],
        "Which regions of `godwit dev` are cut off, and which do not run."),
    route!(POST "dev/cut", Operator, cut, CutRegion => Wires, [],
        "Cuts a region of `godwit dev` off from the others, or joins it again. Clients reach it \
         all the time."),
    route!(POST "dev/stop", Operator, stop, StopRegion => Wires, [],
        "Stops a region of `godwit dev`; the answer comes before it is done. The last one that runs \
         is not stopped."),
    route!(POST "dev/start", Operator, start, OneRegion => Wires, [],
        "Starts a region of `godwit dev` that was stopped; the answer comes before it is done."),
];

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn wires(api: &Api, _: &Call<'_>, (): ()) -> Result<Wires, Error> {
    let Some(dev) = &api.playground else { return Ok(Wires::default()) };
    let cut = dev.wires().map(|wires| wires.which().into_iter().collect());
    Ok(Wires { dev: true, emulated: cut.is_some(), cut: cut.unwrap_or_default(), down: dev.down() })
}

fn playground(api: &Api) -> Result<&dyn Playing, Error> {
    let why = "only `godwit dev` can stop and start its regions";
    api.playground.as_deref().ok_or_else(|| Error::InvalidRequest(why.to_owned()))
}

async fn cut(api: &Api, call: &Call<'_>, asked: CutRegion) -> Result<Wires, Error> {
    let Some(wires) = api.playground.as_ref().and_then(|dev| dev.wires()) else {
        let why = "only `godwit dev` with its emulated wide area can cut a region off";
        return Err(Error::InvalidRequest(why.to_owned()));
    };
    if !wires.cut(asked.region, asked.cut) {
        return Err(no_region(asked.region));
    }
    self::wires(api, call, ()).await
}

async fn stop(api: &Api, call: &Call<'_>, asked: StopRegion) -> Result<Wires, Error> {
    granted(playground(api)?.stop(asked.region, asked.lose), asked.region)?;
    wires(api, call, ()).await
}

async fn start(api: &Api, call: &Call<'_>, asked: OneRegion) -> Result<Wires, Error> {
    granted(playground(api)?.start(asked.region), asked.region)?;
    wires(api, call, ()).await
}

fn granted(changed: Changed, region: RegionId) -> Result<(), Error> {
    match changed {
        Changed::Yes => Ok(()),
        Changed::NoSuchRegion => Err(no_region(region)),
        Changed::Not(why) => Err(Error::Conflict(why)),
    }
}

fn no_region(region: RegionId) -> Error {
    argument(format!("there is no region {region}"))
}
