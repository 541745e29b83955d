//! `godwit status`: the regions as one node sees them.

mod wait;
mod watch;

use clap::Args;

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::live::Watch;
use super::{Common, output};
use crate::admin::model::{self, PeerState, RegionStatus};
use crate::config::Seconds;

/// Shows the regions as a node sees them: which are away, and how far each is behind.
///
/// With --watch it goes on until q or Ctrl-C, and marks what changed. With --wait it returns when every
/// region is there and has what the others have, as each of them says; it ends with 10 when the time
/// is over, and says what is missing.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    godwit status\n  \
    godwit status --check --json\n  \
    godwit status --wait --timeout 5m")]
pub(super) struct Status {
    /// Exit with 10 when a region is away or behind, or the node's disk or certificate is in trouble
    #[arg(long, conflicts_with = "watch")]
    check: bool,
    /// Return when every region is connected and none lacks a change or a copy
    #[arg(long, conflicts_with = "watch")]
    wait: bool,
    /// How long to wait: 30s, 5m, 1h
    #[arg(long, value_name = "DURATION", default_value = "1m", requires = "wait")]
    timeout: Seconds,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    endpoint: Endpoint,
}

pub(super) fn run(common: &Common, command: &Status) -> Result<Exit, CliError> {
    let client = Client::signed(&command.endpoint)?;
    if command.watch.watch {
        return watch::run(common, &command.watch, &client);
    }
    let status: model::Status = match command.wait {
        true => wait::until(common, &client, command.timeout.0)?,
        false => client.get("status", &[])?,
    };
    print(common, &status);
    let away = |region: &RegionStatus| region.state == PeerState::Away || region.behind > 0;
    let trouble = status.disk.is_some() || status.certificate.is_some();
    let degraded = command.check && (status.regions.iter().any(away) || trouble);
    Ok(if degraded { Exit::Degraded } else { Exit::Ok })
}

fn print(common: &Common, status: &model::Status) {
    if common.json {
        output::json(status);
        return;
    }
    output::line(&format!("godwit {} at {}", status.version, status.region));
    output::table(&status.regions.iter().map(row).collect::<Vec<_>>());
    if let Some(trouble) = &status.disk {
        output::line(&format!("disk of {}: {trouble}", status.region));
    }
    if let Some(trouble) = &status.certificate {
        output::line(&certificate(status, trouble));
    }
    for line in replication(&status.replication) {
        output::line(&line);
    }
}

fn certificate(status: &model::Status, trouble: &str) -> String {
    let region = status.region;
    format!("certificate of {region}: {trouble}; godwit cert renew {region}")
}

/// What is not everywhere yet; nothing where all is well.
fn replication(replication: &model::Replication) -> Vec<String> {
    let mut lines = Vec::new();
    if replication.below_copies > 0 {
        lines.push(format!("{} objects have too few copies", replication.below_copies));
    }
    if replication.damaged > 0 {
        lines.push(format!(
            "{} bodies or parts of the index are damaged: godwit scrub status",
            replication.damaged
        ));
    }
    lines.extend(replication.buckets.iter().map(|lag| {
        let seconds = lag.lag_ms / 1000;
        format!("{}: {} is {} changes, {seconds} s behind", lag.bucket, lag.region, lag.changes)
    }));
    lines
}

fn state(state: PeerState) -> &'static str {
    match state {
        PeerState::Away => "away",
        PeerState::Connected => "connected",
        PeerState::Here => "here",
    }
}

pub(super) fn row(region: &RegionStatus) -> Vec<String> {
    let state = state(region.state);
    let rtt = region.rtt_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let lag = match (region.behind, region.queued) {
        (0, 0) => "in sync".to_owned(),
        (behind, queued) => format!("{behind} behind, {queued} queued"),
    };
    let voter = if region.voter { "voter" } else { "" };
    let city = region.city.clone();
    vec![region.code.to_string(), city, state.to_owned(), rtt, lag, voter.to_owned()]
}
