//! `godwit status`: the regions as one node sees them.

use clap::Args;

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::{Common, output};
use crate::admin::model::{self, PeerState, RegionStatus};

#[derive(Args)]
#[command(after_help = "Examples:\n  godwit status\n  godwit status --check --json")]
pub(super) struct Status {
    /// Exit with 10 when a region is away or behind, or the node's disk or certificate is in trouble
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    endpoint: Endpoint,
}

pub(super) fn run(common: &Common, command: &Status) -> Result<Exit, CliError> {
    let status: model::Status = Client::signed(&command.endpoint)?.get("status", &[])?;
    if common.json {
        output::json(&status);
    } else {
        output::line(&format!("godwit {} at {}", status.version, status.region));
        output::table(&status.regions.iter().map(row).collect::<Vec<_>>());
        if let Some(trouble) = &status.disk {
            output::line(&format!("disk of {}: {trouble}", status.region));
        }
        if let Some(trouble) = &status.certificate {
            let region = status.region;
            output::line(&format!(
                "certificate of {region}: {trouble}; godwit cert renew {region}"
            ));
        }
        for line in replication(&status.replication) {
            output::line(&line);
        }
    }
    let away = |region: &RegionStatus| region.state == PeerState::Away || region.behind > 0;
    let trouble = status.disk.is_some() || status.certificate.is_some();
    let degraded = command.check && (status.regions.iter().any(away) || trouble);
    Ok(if degraded { Exit::Degraded } else { Exit::Ok })
}

/// What is not everywhere yet; nothing where all is well.
fn replication(replication: &model::Replication) -> Vec<String> {
    let mut lines = Vec::new();
    if replication.below_copies > 0 {
        lines.push(format!("{} objects have too few copies", replication.below_copies));
    }
    if replication.damaged > 0 {
        lines.push(format!("{} blobs are damaged: godwit scrub status", replication.damaged));
    }
    lines.extend(replication.buckets.iter().map(|lag| {
        let seconds = lag.lag_ms / 1000;
        format!("{}: {} is {} changes, {seconds} s behind", lag.bucket, lag.region, lag.changes)
    }));
    lines
}

pub(super) fn row(region: &RegionStatus) -> Vec<String> {
    let state = match region.state {
        PeerState::Away => "away",
        PeerState::Connected => "connected",
        PeerState::Here => "here",
    };
    let rtt = region.rtt_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let lag = match (region.behind, region.queued) {
        (0, 0) => "in sync".to_owned(),
        (behind, queued) => format!("{behind} behind, {queued} queued"),
    };
    let voter = if region.voter { "voter" } else { "" };
    let city = region.city.clone();
    vec![region.code.to_string(), city, state.to_owned(), rtt, lag, voter.to_owned()]
}
