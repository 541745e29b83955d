//! Regions that come, are drained and go.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{Members, NotChanged, VoterChange};
use crate::engine::Error;
use crate::limits;
use crate::types::members::MemberState;
use crate::types::region::{Coordinates, RegionId, RegionInfo};

use super::api::Api;
use super::model;
use super::model::{AddRegion, JoinToken, MemberRegion, Regions, Remaining, RemoveRegion};
use super::route::{Call, Route, argument, required, route};

/// Makes the token with which a listed region's node joins within a time, and says when that is over.
pub type MakeToken = Arc<dyn Fn(RegionId, &Members, Duration) -> (String, u64) + Send + Sync>;

pub(super) const ROUTES: &[Route] = &[
    route!(GET "regions", Operator, regions, () => Regions, [],
        "The members, their states and the voters, as the node that answers has taken them."),
    route!(POST "regions/add", Operator, add, AddRegion => JoinToken, [],
        "Lists a region and makes its token; again for a region that has not joined yet."),
    route!(POST "regions/drain", Operator, drain, model::OneRegion => Regions, [],
        "Begins to move copies, primaries and votes of a region elsewhere; clients go on there."),
    route!(POST "regions/undrain", Operator, undrain, model::OneRegion => Regions, [],
        "Takes that back."),
    route!(POST "regions/remove", Operator, remove, RemoveRegion => Regions, [],
        "Removes a drained region, or one that is lost for good; its node is turned away then."),
    route!(POST "regions/recover", Operator, recover, model::LostRegions => Regions, [],
        "Goes on without regions that are lost for good, though most voters are among them."),
    route!(GET "regions/remains", Operator, remains, () => Remaining,
        [required("region", "the region")],
        "What a region still has that is lost with it, as it says itself."),
];

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn regions(api: &Api, _: &Call<'_>, (): ()) -> Result<Regions, Error> {
    Ok(shown(api))
}

fn shown(api: &Api) -> Regions {
    let cluster = api.engine.cluster();
    let members = cluster.members();
    let peers = cluster.status();
    let regions = members.members.iter().map(|member| {
        let peer = peers.iter().find(|peer| peer.region == member.info.id);
        MemberRegion {
            code: member.info.id,
            city: member.info.city.clone(),
            state: match member.state {
                MemberState::Joining => model::MemberState::Joining,
                MemberState::Active => model::MemberState::Active,
                MemberState::Draining => model::MemberState::Draining,
            },
            voter: members.is_voter(member.info.id),
            connected: peer.is_none_or(|peer| peer.connected),
            address: member.address.clone(),
        }
    });
    let gone = members.gone.iter().map(|gone| model::GoneRegion {
        code: gone.region,
        at_ms: gone.at_ms,
        lost: gone.lost,
    });
    Regions {
        region: api.engine.region(),
        version: members.version,
        epoch: members.electorate().epoch(),
        voters_change: members.electorate().is_joint(),
        change: cluster.voter_change().map(change),
        regions: regions.collect(),
        gone: gone.collect(),
    }
}

fn change(change: VoterChange) -> model::VoterChange {
    let VoterChange { phase, rewritten, found, .. } = change;
    model::VoterChange { phase: phase.to_owned(), rewritten, found }
}

async fn add(api: &Api, _: &Call<'_>, asked: AddRegion) -> Result<JoinToken, Error> {
    let Some(make) = &api.tokens else {
        return Err(Error::Conflict(format!(
            "the node of {} cannot make tokens: it has not the cluster's authority. Ask the node \
             where `godwit cluster init` was run, or give this one GODWIT_CLUSTER",
            api.engine.region()
        )));
    };
    let life = asked.expires_s.map_or(limits::JOIN_TOKEN_LIFE, Duration::from_secs);
    if life > limits::JOIN_TOKEN_LIFE_MAX {
        return Err(argument("a token is good for 30 days at most"));
    }
    let info = RegionInfo {
        id: asked.code,
        city: asked.city,
        coordinates: Coordinates { lat: asked.lat, lon: asked.lon },
        geography: asked.geography,
        failure_domain: asked.failure_domain,
        role: asked.role,
        voter: asked.voter,
    };
    let members = api.engine.cluster().add_region(info, asked.address).await.map_err(refused)?;
    let (token, expires_ms) = make(asked.code, &members, life);
    Ok(JoinToken { region: asked.code, token, expires_ms })
}

async fn drain(api: &Api, _: &Call<'_>, asked: model::OneRegion) -> Result<Regions, Error> {
    api.engine.cluster().drain_region(asked.region).await.map_err(refused)?;
    Ok(shown(api))
}

async fn undrain(api: &Api, _: &Call<'_>, asked: model::OneRegion) -> Result<Regions, Error> {
    api.engine.cluster().undrain_region(asked.region).await.map_err(refused)?;
    Ok(shown(api))
}

async fn remove(api: &Api, _: &Call<'_>, asked: RemoveRegion) -> Result<Regions, Error> {
    let RemoveRegion { region, lost } = asked;
    api.engine.cluster().remove_region(region, lost).await.map_err(refused)?;
    Ok(shown(api))
}

async fn recover(api: &Api, _: &Call<'_>, asked: model::LostRegions) -> Result<Regions, Error> {
    api.engine.cluster().recover(&asked.lost).await.map_err(refused)?;
    Ok(shown(api))
}

async fn remains(api: &Api, call: &Call<'_>, (): ()) -> Result<Remaining, Error> {
    let region: RegionId = call.parameter("region")?.parse().map_err(argument)?;
    let cluster = api.engine.cluster();
    let remains = cluster.remains_of(region).await.map_err(refused)?;
    let members = cluster.members();
    Ok(Remaining {
        region,
        voter: members.is_voter(region),
        copies: remains.copies,
        uploads: remains.uploads,
        pending: remains.pending,
        changes: remains.head.saturating_sub(remains.applied),
    })
}

fn refused(why: NotChanged) -> Error {
    match why {
        NotChanged::Refused(why) => Error::Conflict(why),
        NotChanged::Unavailable(reason) => crate::cluster::Unavailable::new(reason).into(),
    }
}
