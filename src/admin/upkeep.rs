//! Scrub and repair of the node that answers.

use crate::cluster::{Damaged, RepairPhase, ScrubPhase, Unavailable};
use crate::engine::Error;

use super::api::Api;
use super::elsewhere::REGION;
use super::model::{DamagedBytes, Repair, Scrub};
use super::route::{Call, Route, route};

pub(super) const ROUTES: &[Route] = &[
    route!(GET "scrub", Operator, scrub, () => Scrub, [REGION],
        "How far the node has checked what it holds, and what is damaged and not replaced yet."),
    route!(POST "scrub/start", Operator, start_scrub, () => Scrub, [REGION],
        "Checks everything that the node holds now, at the whole budget."),
    route!(POST "scrub/stop", Operator, stop_scrub, () => Scrub, [REGION],
        "Stops checking, over restarts too, until it is started again."),
    route!(GET "repair", Operator, repair, () => Repair, [REGION],
        "How far the node has compared records and looked after copies, and what is missing."),
    route!(POST "repair/start", Operator, start_repair, () => Repair, [REGION],
        "Compares all records with all regions and looks at the copies of every object now."),
    route!(POST "repair/stop", Operator, stop_repair, () => Repair, [REGION],
        "Ends that, and begins none by itself until it is started again."),
];

async fn start_scrub(api: &Api, call: &Call<'_>, (): ()) -> Result<Scrub, Error> {
    api.engine.cluster().start_scrub().await.map_err(Unavailable::from)?;
    scrub(api, call, ()).await
}

async fn stop_scrub(api: &Api, call: &Call<'_>, (): ()) -> Result<Scrub, Error> {
    api.engine.cluster().stop_scrub().await.map_err(Unavailable::from)?;
    scrub(api, call, ()).await
}

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn scrub(api: &Api, _: &Call<'_>, (): ()) -> Result<Scrub, Error> {
    let status = api.engine.cluster().scrub_status();
    let (named, count) = api.engine.cluster().damaged().map_err(Unavailable::from)?;
    let phase = match status.phase {
        ScrubPhase::Resting => "resting",
        ScrubPhase::Blobs => "blobs",
        ScrubPhase::Log => "log",
        ScrubPhase::Index => "index",
        ScrubPhase::Cache => "cache",
    };
    let progress = status.progress;
    Ok(Scrub {
        region: api.engine.region(),
        phase: phase.to_owned(),
        stopped: status.stopped,
        started_ms: progress.started_ms,
        finished_ms: status.finished_ms,
        next_ms: status.next_ms,
        rate_bytes: status.rate,
        blobs: progress.blobs,
        blobs_total: progress.blobs_total,
        bytes: progress.bytes,
        bytes_total: progress.bytes_total,
        found: progress.found,
        errors: progress.errors,
        damaged_total: count as u64,
        damaged: named.into_iter().map(damaged).collect(),
    })
}

fn damaged(damaged: Damaged) -> DamagedBytes {
    DamagedBytes {
        bucket: damaged.bucket.map(|name| name.to_string()),
        key: damaged.key.map(|key| key.to_string()),
        version: damaged.version.map(|stamp| stamp.to_string()),
        bytes: damaged.bytes,
        lost: damaged.lost,
        why: damaged.why,
    }
}

async fn start_repair(api: &Api, call: &Call<'_>, (): ()) -> Result<Repair, Error> {
    api.engine.cluster().start_repair();
    repair(api, call, ()).await
}

async fn stop_repair(api: &Api, call: &Call<'_>, (): ()) -> Result<Repair, Error> {
    api.engine.cluster().stop_repair();
    repair(api, call, ()).await
}

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn repair(api: &Api, _: &Call<'_>, (): ()) -> Result<Repair, Error> {
    let status = api.engine.cluster().repair_status();
    let phase = match status.phase {
        RepairPhase::Resting => "resting",
        RepairPhase::Digests => "digests",
        RepairPhase::Copies => "copies",
    };
    Ok(Repair {
        region: api.engine.region(),
        phase: phase.to_owned(),
        stopped: status.stopped,
        why: status.why,
        started_ms: status.started_ms,
        finished_ms: status.finished_ms,
        records: status.records,
        records_total: status.records_total,
        differing: status.differing,
        peers_missing: status.peers_missing,
        below_copies: status.below,
        making: status.making,
        copies_made: status.copies_made,
        bytes_fetched: status.bytes_fetched,
        damaged: status.damaged,
    })
}
