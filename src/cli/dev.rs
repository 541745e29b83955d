//! `godwit dev`: a whole cluster on this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::{Common, files, output, process};
use crate::admin::model::{CutRegion, DownRegion, DownState, OneRegion, StopRegion, Wires};
use crate::config::{LogFormat, Seconds};
use crate::node::dev::{Announcement, Dev as Cluster, DevOptions, PORT_DEFAULT, REGIONS};
use crate::types::region::RegionId;

/// Starts regional nodes in one process, joined over an emulated wide area, and a global endpoint
/// that routes each request to the region nearest to the client (which the header
/// `X-Godwit-Client-Region: fra` says; without it, the first region).
///
/// Ports on loopback, with N the first: N is the global endpoint; region i has S3 and the admin API
/// at N+i, metrics and health at N+10+i, and its mesh at UDP N+i. The web console is at 8081, or where
/// a port was chosen or 8081 is taken, at N+10.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Dev {
    #[command(subcommand)]
    play: Option<Play>,
    /// How many regions (1 to 9), or which: iad,fra,nrt
    #[arg(long, value_name = "N|CODES", value_parser = regions)]
    regions: Option<Codes>,
    /// The first of the ports used, the global endpoint's [default: 9000]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_515))]
    port: Option<u16>,
    /// Keep data, access key and ports here for the next time; without it nothing is kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// No emulated delays between the regions
    #[arg(long)]
    no_wan: bool,
    /// How long a day of lifecycle rules is, to see them work: 10s, 5m
    #[arg(long, value_name = "DURATION")]
    lifecycle_day: Option<Seconds>,
}

/// What is done to the regions of one that runs.
#[derive(Subcommand)]
enum Play {
    /// Cut a region off from the others; clients still reach it
    Cut {
        region: RegionId,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Join a region that was cut off
    Join {
        region: RegionId,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Stop a region; its data is kept, and the others go on
    Stop {
        region: RegionId,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Start a region that was stopped or lost
    Start {
        region: RegionId,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Stop a region and lose its disk; started again, it gets what the others have
    Lose {
        region: RegionId,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

/// The regions to start, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Codes(Vec<RegionId>);

fn regions(text: &str) -> Result<Codes, String> {
    let names: Vec<&str> = match text.parse::<usize>() {
        Ok(count) if (1..=REGIONS.len()).contains(&count) => REGIONS[..count].to_vec(),
        Ok(_) => return Err(format!("1 to {} regions", REGIONS.len())),
        Err(_) => text.split(',').map(str::trim).collect(),
    };
    if names.len() > REGIONS.len() {
        return Err(format!("1 to {} regions", REGIONS.len()));
    }
    let codes: Result<Vec<RegionId>, _> = names.iter().map(|name| name.parse()).collect();
    Ok(Codes(codes.map_err(|error| format!("{error}"))?))
}

/// Between two looks at a region that stops or starts, and how many there are: a minute.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOKS_MAX: u32 = 300;

/// Cuts, joins, stops or starts; a stop and a start are waited for.
fn play(common: &Common, play: Play) -> Result<Exit, CliError> {
    let wired = matches!(play, Play::Cut { .. } | Play::Join { .. });
    let wires: Wires = match play {
        Play::Cut { region, endpoint } => {
            Client::signed(&endpoint)?.post("dev/cut", &CutRegion { region, cut: true })?
        }
        Play::Join { region, endpoint } => {
            Client::signed(&endpoint)?.post("dev/cut", &CutRegion { region, cut: false })?
        }
        Play::Stop { region, endpoint } => {
            turned(&Client::signed(&endpoint)?, region, Some(StopRegion { region, lose: false }))?
        }
        Play::Lose { region, endpoint } => {
            turned(&Client::signed(&endpoint)?, region, Some(StopRegion { region, lose: true }))?
        }
        Play::Start { region, endpoint } => turned(&Client::signed(&endpoint)?, region, None)?,
    };
    if common.json {
        output::json(&wires);
        return Ok(Exit::Ok);
    }
    let codes: Vec<String> = wires.cut.iter().map(ToString::to_string).collect();
    if !codes.is_empty() {
        output::line(&format!("cut off: {}", codes.join(", ")));
    }
    for DownRegion { region, since_ms, .. } in &wires.down {
        output::line(&format!("stopped: {region}, since {}", output::time(Some(*since_ms))));
    }
    if codes.is_empty() && wires.down.is_empty() {
        output::line(if wired { "all regions reach each other" } else { "all regions run" });
    }
    Ok(Exit::Ok)
}

/// Stops a region, or starts it where there is nothing to stop, and waits until that is so.
fn turned(client: &Client, region: RegionId, stop: Option<StopRegion>) -> Result<Wires, CliError> {
    let stops = stop.is_some();
    let mut wires: Wires = match stop {
        Some(stop) => client.post("dev/stop", &stop)?,
        None => client.post("dev/start", &OneRegion { region })?,
    };
    let failed = |why: &str| CliError::new(Exit::Failure, "Region", format!("{region} {why}"));
    for _ in 0..LOOKS_MAX {
        let down = wires.down.iter().find(|down| down.region == region);
        match down.map(|down| (down.state, down.why.as_deref())) {
            Some((DownState::Stopped, Some(why))) => {
                return Err(failed(&format!("is down: {why}")));
            }
            Some((DownState::Stopped, None)) if stops => return Ok(wires),
            None if !stops => return Ok(wires),
            None | Some(_) => {}
        }
        client.wait(LOOK_EVERY)?;
        wires = client.get("dev", &[])?;
    }
    Err(failed(if stops { "is still stopping" } else { "is still starting" }))
}

pub(super) fn run(common: &Common, mut command: Dev) -> Result<Exit, CliError> {
    if let Some(asked) = command.play.take() {
        return play(common, asked);
    }
    let level = if common.json { "info" } else { "warn" };
    process::log(level, LogFormat::Text)?;
    let mut temporary = None;
    let dir = match &command.data {
        Some(dir) => {
            files::private_dir(dir)?;
            dir.clone()
        }
        None => temporary.insert(files::Temporary::new()?).path().to_owned(),
    };
    let settings = files::settings(common.config.as_deref())?;
    let options = DevOptions {
        regions: command.regions.map(|codes| codes.0),
        port: command.port,
        dir: dir.clone(),
        wan: !command.no_wan,
        encryption: settings.encryption,
        notify: settings.notify,
        audit: settings.audit,
        trace: settings.trace,
        slow: settings.log.slow.0,
        lifecycle_day: command.lifecycle_day.map(|day| day.0),
    };
    process::run(&dir, async |env, stop| {
        let cluster = Cluster::start(env, options).await.map_err(failed)?;
        announce(common, cluster.announcement(), command.data.as_deref());
        stop.await;
        if !common.json {
            output::note("stopping");
        }
        cluster.stop().await;
        Ok(Exit::Ok)
    })
}

fn failed(error: crate::node::NodeError) -> CliError {
    let port_taken = matches!(&error, crate::node::NodeError::Bind { .. });
    let error = CliError::new(Exit::Failure, "Start", error);
    if port_taken {
        return error.hint(format!("choose other ports: godwit dev --port {}", PORT_DEFAULT + 100));
    }
    error
}

fn announce(common: &Common, cluster: &Announcement, data: Option<&Path>) {
    if common.json {
        output::json(cluster);
        return;
    }
    let Announcement { endpoint, console, access_key, secret_key, regions } = cluster;
    output::line(&format!("godwit is running: {} regions on this machine", regions.len()));
    output::line("");
    output::line(&format!("  console  {console}   sign in with the key below"));
    output::line(&format!("  global   {endpoint}"));
    for region in regions {
        output::line(&format!(
            "  {}      {}   metrics {}/metrics",
            region.code, region.s3, region.admin
        ));
    }
    let kept = match data {
        Some(dir) => format!("kept in {}", dir.display()),
        None => "in a temporary directory, removed at the end".to_owned(),
    };
    output::line(&format!("  data     {kept}"));
    output::line("");
    output::line("Paste into another terminal:");
    output::line("");
    output::line(&format!("  export AWS_ENDPOINT_URL_S3={endpoint} AWS_REGION=auto \\"));
    output::line(&format!("    AWS_ACCESS_KEY_ID={access_key} \\"));
    output::line(&format!("    AWS_SECRET_ACCESS_KEY={secret_key}"));
    output::line("  aws s3 mb s3://first && aws s3 cp README.md s3://first/");
    output::line("  godwit where s3://first/README.md");
    output::line("");
    output::line("Ctrl-C stops it.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_a_number_or_codes() {
        let codes = |text: &str| regions(text).map(|codes| codes.0.len());
        assert_eq!(codes("3"), Ok(3));
        assert_eq!(codes("9"), Ok(9));
        assert_eq!(codes("ams, fra"), Ok(2));
        for bad in ["0", "10", "frankfurt", "", "a,b"] {
            assert!(regions(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_region_that_a_number_takes_is_known() {
        let known = crate::config::Regions::built_in();
        for code in REGIONS {
            assert!(known.find(code.parse().unwrap()).is_ok(), "{code}");
        }
    }
}
