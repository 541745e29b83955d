//! `godwit scrub` and `godwit repair`: what a node checks and makes good by itself, seen and steered.

use clap::Subcommand;
use http::Method;

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::{Common, output};
use crate::admin::model;
use crate::types::region::RegionId;

#[derive(Subcommand)]
pub(super) enum Steer {
    /// Begin now; scrub reads at its whole budget
    Start(Target),
    /// Show how far it is and what it found
    Status(Target),
    /// End it; it does not begin by itself until it is started again
    Stop(Target),
}

/// A node, by its region.
#[derive(clap::Args)]
pub(super) struct Target {
    /// The node of this region; without it the one that answers
    #[arg(long, value_name = "CODE")]
    pub(super) region: Option<RegionId>,
    #[command(flatten)]
    endpoint: Endpoint,
}

impl Target {
    pub(super) fn client(&self) -> Result<Client, CliError> {
        Client::signed(&self.endpoint)
    }
}

pub(super) fn scrub(common: &Common, command: &Steer) -> Result<Exit, CliError> {
    let scrub: model::Scrub = ask("scrub", command)?;
    if common.json {
        output::json(&scrub);
    } else {
        output::table(&scrub_rows(&scrub));
        for damaged in &scrub.damaged {
            output::line(&damaged_line(damaged));
        }
    }
    Ok(if scrub.damaged_total > 0 { Exit::Degraded } else { Exit::Ok })
}

pub(super) fn repair(common: &Common, command: &Steer) -> Result<Exit, CliError> {
    let repair: model::Repair = ask("repair", command)?;
    if common.json {
        output::json(&repair);
    } else {
        output::table(&repair_rows(&repair));
    }
    let degraded = repair.damaged > 0 || repair.below_copies > 0;
    Ok(if degraded { Exit::Degraded } else { Exit::Ok })
}

fn ask<T: serde::de::DeserializeOwned>(what: &str, command: &Steer) -> Result<T, CliError> {
    match command {
        Steer::Status(of) => of.client()?.of_region(Method::GET, what, of.region, &()),
        Steer::Start(of) => {
            of.client()?.of_region(Method::POST, &format!("{what}/start"), of.region, &())
        }
        Steer::Stop(of) => {
            of.client()?.of_region(Method::POST, &format!("{what}/stop"), of.region, &())
        }
    }
}

fn scrub_rows(scrub: &model::Scrub) -> Vec<Vec<String>> {
    let state = if scrub.stopped { "stopped" } else { &scrub.phase };
    vec![
        row("region", scrub.region),
        row("state", state),
        row("checked", format!("{} of {} blobs", scrub.blobs, scrub.blobs_total)),
        row("read", share(scrub.bytes, scrub.bytes_total)),
        row("found", format!("{} damaged, {} unreadable", scrub.found, scrub.errors)),
        row("not replaced", scrub.damaged_total),
        row("begun", output::time(Some(scrub.started_ms))),
        row("last whole pass", output::time(scrub.finished_ms)),
        row("next pass", output::time(Some(scrub.next_ms))),
    ]
}

fn repair_rows(repair: &model::Repair) -> Vec<Vec<String>> {
    let state = if repair.stopped { "stopped" } else { &repair.phase };
    vec![
        row("region", repair.region),
        row("state", state),
        row("because", &repair.why),
        row("looked at", format!("{} of {} records", repair.records, repair.records_total)),
        row("made good", format!("{} records", repair.differing)),
        row("too few copies", repair.below_copies),
        row("being made here", repair.making),
        row("made", format!("{} copies, {} bytes", repair.copies_made, repair.bytes_fetched)),
        row("damaged", repair.damaged),
        row("begun", output::time(repair.started_ms)),
        row("ended", output::time(repair.finished_ms)),
    ]
}

fn row(name: &str, value: impl ToString) -> Vec<String> {
    vec![name.to_owned(), value.to_string()]
}

/// So much of so much, in percent.
fn share(part: u64, whole: u64) -> String {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    format!("{part} of {whole} bytes ({percent} %)")
}

fn damaged_line(damaged: &model::DamagedBytes) -> String {
    let bucket = damaged.bucket.as_deref().unwrap_or("?");
    let key = damaged.key.as_deref().unwrap_or("?");
    let state = if damaged.lost { "LOST" } else { "damaged" };
    if damaged.bucket.is_none() && damaged.key.is_none() && damaged.bytes == 0 {
        return format!("{state}  {}", damaged.why);
    }
    format!("{state}  s3://{bucket}/{key}  {} bytes  {}", damaged.bytes, damaged.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_told_by_its_address() {
        let damaged = model::DamagedBytes {
            bucket: Some("birds".to_owned()),
            key: Some("a/b".to_owned()),
            version: None,
            bytes: 7,
            lost: true,
            why: "no region has these bytes any more".to_owned(),
        };
        let line = damaged_line(&damaged);
        assert!(line.starts_with("LOST  s3://birds/a/b  7 bytes  no region"), "{line}");
        let why = "pages of the index are damaged".to_owned();
        let damaged =
            model::DamagedBytes { bucket: None, key: None, bytes: 0, lost: false, why, ..damaged };
        assert_eq!(damaged_line(&damaged), "damaged  pages of the index are damaged");
        assert_eq!(share(1, 4), "1 of 4 bytes (25 %)");
        assert_eq!(share(0, 0), "0 of 0 bytes (0 %)");
    }
}
