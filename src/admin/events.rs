//! What happened of late, in one region or in all.

use futures_util::future::join_all;

use crate::cluster::Happened;
use crate::engine::Error;
use crate::types::region::RegionId;

use super::api::Api;
use super::elsewhere;
use super::model::{Event, Events};
use super::route::{Answer, Call, Route, optional, route};

pub(super) const ROUTES: &[Route] = &[route!(
    GET "events", Operator, events, () => Events,
    [optional("region", "As this region saw it; without it as all did.")],
    "What happened of late, the newest first: nodes that started and stopped, regions that went and \
     came, members, voters, disks, clocks, repairs, moves, refused writes. The last 500 of each node, \
     also of those before its last start."
)];

async fn events(api: &Api, call: &Call<'_>, (): ()) -> Result<Events, Error> {
    let own = api.engine.region();
    let mut all = Events::default();
    all.events.extend(api.engine.cluster().history().into_iter().map(|one| event(own, one)));
    if call.query.has("region") {
        return Ok(all);
    }
    let members = api.engine.cluster().members();
    let others = members.regions().map(|info| info.id).filter(|region| *region != own);
    let asked =
        others.map(|region| async move { (region, elsewhere::ask(api, call, region).await) });
    for (region, answer) in join_all(asked).await {
        match answer {
            Ok(Answer::Json(value)) => {
                let found: Events = serde_json::from_value(value)
                    .map_err(|why| Error::Internal(why.to_string()))?;
                all.events.extend(found.events);
            }
            Ok(Answer::Lines(_) | Answer::Metrics(_)) | Err(_) => all.silent.push(region),
        }
    }
    all.events.sort_by(|a, b| b.at_ms.cmp(&a.at_ms).then(a.region.cmp(&b.region)));
    Ok(all)
}

fn event(region: RegionId, happened: Happened) -> Event {
    let Happened { at_ms, kind, bad, what } = happened;
    Event { at_ms, region, kind: kind.into_owned(), bad, what }
}
