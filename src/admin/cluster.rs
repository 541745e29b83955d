//! The cluster as one node sees it.

use std::time::Duration;

use crate::cluster::Unavailable;
use crate::engine::{Error, RegionView};

use super::api::Api;
use super::elsewhere::REGION;
use super::model::{
    BucketLag, NodeFigures, NodeHealth, PeerState, RegionStatus, Replication, Status,
};
use super::route::{Call, Route, route};

pub(super) const ROUTES: &[Route] = &[
    route!(GET "status", Operator, status, () => Status, [REGION],
        "The regions as the node that answers sees them."),
    route!(GET "node", Operator, node, () => NodeFigures, [REGION],
        "Disk, caches and clock of the node that answers."),
    route!(GET "metrics", Operator, metrics, () => metrics String, [REGION],
        "The metrics of the node that answers, as its operations port gives them to Prometheus."),
    route!(GET "health", Operator, health, () => NodeHealth, [REGION],
        "Whether writes can be made as the node that answers sees it, and whether it may be taken \
         down now, as `/-/health/cluster` says it."),
];

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn status(api: &Api, _: &Call<'_>, (): ()) -> Result<Status, Error> {
    let regions = api.engine.regions().into_iter().map(region_status).collect();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let replication = replication(api)?;
    let disk = disk(api);
    let certificate = api.certificates.trouble();
    Ok(Status { version, region: api.engine.region(), regions, replication, disk, certificate })
}

fn disk(api: &Api) -> Option<String> {
    api.engine.cluster().store().trouble().map(|trouble| trouble.to_string())
}

fn replication(api: &Api) -> Result<Replication, Error> {
    let cluster = api.engine.cluster();
    let repair = cluster.repair_status();
    let lags = cluster.bucket_lag().map_err(Unavailable::from)?;
    let lags = lags.into_iter().map(|lag| BucketLag {
        bucket: lag.name.map_or_else(|| lag.bucket.to_string(), |name| name.to_string()),
        region: lag.region,
        changes: lag.changes,
        lag_ms: lag.lag_ms,
    });
    Ok(Replication { below_copies: repair.below, damaged: repair.damaged, buckets: lags.collect() })
}

async fn health(api: &Api, _: &Call<'_>, (): ()) -> Result<NodeHealth, Error> {
    let cluster = Some(api.engine.cluster());
    let of = async |query| super::health::of_cluster(cluster, query).await.1;
    Ok(NodeHealth {
        region: api.engine.region(),
        writes: of(None).await,
        maintenance: of(Some("maintenance=true")).await,
    })
}

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn metrics(api: &Api, _: &Call<'_>, (): ()) -> Result<String, Error> {
    Ok(api.metrics.text())
}

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn node(api: &Api, _: &Call<'_>, (): ()) -> Result<NodeFigures, Error> {
    let stats = api.engine.cluster().store().stats();
    Ok(NodeFigures {
        region: api.engine.region(),
        now_ms: api.engine.env().now_ms(),
        clock_wrong_ms: api.engine.cluster().clock_wrong_ms(),
        disk_total_bytes: stats.disk_total_bytes,
        disk_free_bytes: stats.disk_free_bytes,
        segment_bytes: stats.segment_bytes,
        segment_live_bytes: stats.segment_live_bytes,
        cache_bytes: stats.cache_bytes,
        memory_cache_bytes: stats.memory_cache_bytes,
        commits: stats.commits,
        changes: stats.changes,
        corrupt_reads: stats.corrupt_reads,
        poisoned: stats.poisoned,
        disk: disk(api),
    })
}

fn region_status(view: RegionView) -> RegionStatus {
    let RegionView { info, voter, peer } = view;
    let state = match peer {
        None => PeerState::Here,
        Some(peer) if peer.connected => PeerState::Connected,
        Some(_) => PeerState::Away,
    };
    let millis = |rtt: Duration| u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX);
    RegionStatus {
        code: info.id,
        city: info.city,
        lat: info.coordinates.lat,
        lon: info.coordinates.lon,
        state,
        rtt_ms: peer.map_or(Some(0), |peer| peer.rtt.map(millis)),
        behind: peer.map_or(0, |peer| peer.ahead),
        queued: peer.map_or(0, |peer| peer.behind),
        voter,
    }
}
