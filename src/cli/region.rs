//! `godwit region`: regions that come, are drained and go, while clients write.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Subcommand;

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::{Common, files, output};
use crate::admin::model::{
    AddRegion, JoinToken, LostRegions, MemberState, OneRegion, Regions, Remaining, RemoveRegion,
};
use crate::config::Seconds;
use crate::types::region::RegionId;

#[derive(Subcommand)]
pub(super) enum Region {
    /// List the members with their states, and who votes
    #[command(after_help = "Examples:\n  godwit region ls\n  godwit region ls --json")]
    Ls {
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// List a new region and print the token with which its node joins
    ///
    /// What everyone is to know of it (place, failure domain, role) comes from its file in
    /// regions/. Ask a node that has the cluster's authority: the one where `cluster init` was run.
    /// Then start the new node with an empty data directory:
    /// `GODWIT_TOKEN=... godwit serve --region syd`.
    #[command(
        after_help = "Examples:\n  godwit region add syd\n  godwit region add syd --address \
                      syd.example.com:7400"
    )]
    Add {
        region: RegionId,
        /// Where the others reach its mesh, where their settings do not say it
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
        /// How long the token is good: 30m, 24h; at most 30 days [default: 24h]
        #[arg(long, value_name = "TIME")]
        expires: Option<Seconds>,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Move a region's copies, primaries and vote elsewhere; clients go on there meanwhile
    ///
    /// It ends when nothing is left there: then `godwit region remove` takes it out of the cluster.
    Drain {
        region: RegionId,
        /// Do not wait until nothing is left there
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Take a drain back
    Undrain {
        region: RegionId,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Remove a drained region, or with --lost one that will never come back
    ///
    /// A removed region's node is turned away; to come back it joins anew, with an empty directory.
    /// One that was added and never started is removed without a drain.
    #[command(after_help = "Examples:\n  godwit region remove -y syd")]
    Remove {
        region: RegionId,
        /// It is gone for good: what only it had is lost, what counted on it is made again now
        #[arg(long)]
        lost: bool,
        /// With --lost, instead of typing the code: the code once more
        #[arg(long, value_name = "CODE", requires = "lost")]
        confirm: Option<String>,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// DANGEROUS: go on without regions that are lost for good, when most voters are among them
    ///
    /// The regions that are left decide alone from then on. What only the lost ones had is gone: also
    /// conditional writes, buckets and access keys that were answered 200 and had not arrived here. A
    /// lost region that lives on somewhere would be a second cluster until both meet: make sure that
    /// its machines never start again. While most voters are left, use `godwit region remove --lost`.
    #[command(
        after_help = "When iad and nrt are gone:\n  godwit region recover --lost iad --lost nrt"
    )]
    Recover {
        /// A region that will never come back; all of them, once each
        #[arg(long, value_name = "CODE", required = true)]
        lost: Vec<RegionId>,
        /// Instead of typing the codes: the codes once more, by code, with commas
        #[arg(long, value_name = "CODES")]
        confirm: Option<String>,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

/// Between two looks at a drain.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub(super) fn run(common: &Common, command: Region) -> Result<Exit, CliError> {
    match command {
        Region::Ls { endpoint } => show(common, &Client::signed(&endpoint)?.get("regions", &[])?),
        Region::Add { region, address, expires, endpoint } => {
            add(common, region, (address, expires), &endpoint)?;
        }
        Region::Drain { region, no_wait, endpoint } => {
            let what = format!("move everything away from {region}");
            output::confirm(common, &what)?;
            let client = Client::signed(&endpoint)?;
            let regions: Regions = client.post("regions/drain", &OneRegion { region })?;
            if no_wait {
                show(common, &regions);
            } else {
                wait_drained(common, &client, region)?;
            }
        }
        Region::Undrain { region, endpoint } => {
            let client = Client::signed(&endpoint)?;
            show(common, &client.post("regions/undrain", &OneRegion { region })?);
        }
        Region::Remove { region, lost, confirm, endpoint } => {
            match lost {
                false => output::confirm(common, &format!("remove {region} from the cluster"))?,
                true => {
                    let code = region.to_string();
                    typed(&code, &format!("what only {region} has"), confirm.as_deref())?;
                }
            }
            let client = Client::signed(&endpoint)?;
            show(common, &client.post("regions/remove", &RemoveRegion { region, lost })?);
        }
        Region::Recover { mut lost, confirm, endpoint } => {
            lost.sort_by_key(ToString::to_string);
            lost.dedup();
            let codes: Vec<String> = lost.iter().map(ToString::to_string).collect();
            let codes = codes.join(",");
            let what = format!("what only {codes} have, also of what was answered 200,");
            typed(&codes, &what, confirm.as_deref())?;
            let client = Client::signed(&endpoint)?;
            show(common, &client.post("regions/recover", &LostRegions { lost })?);
        }
    }
    Ok(Exit::Ok)
}

fn show(common: &Common, regions: &Regions) {
    if common.json {
        output::json(regions);
        return;
    }
    output::table(&rows(regions));
    if let Some(change) = &regions.change {
        let (done, found) = (change.rewritten, change.found);
        output::note(&format!("the voters change: {} ({done} of {found} registers)", change.phase));
    } else if regions.voters_change {
        output::note("the voters change; another region drives it");
    }
}

fn rows(regions: &Regions) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for region in &regions.regions {
        let state = match region.state {
            MemberState::Joining => "joining",
            MemberState::Active => "active",
            MemberState::Draining => "draining",
        };
        let reach = match region.connected {
            _ if region.code == regions.region => "here",
            true => "connected",
            false => "away",
        };
        let voter = if region.voter { "voter" } else { "" };
        let cells = [&region.code.to_string(), &region.city, state, reach, voter];
        rows.push(cells.map(str::to_owned).to_vec());
    }
    for gone in &regions.gone {
        let how = if gone.lost { "lost" } else { "removed" };
        let cells = [&gone.code.to_string(), "", how, &output::time(Some(gone.at_ms)), ""];
        rows.push(cells.map(str::to_owned).to_vec());
    }
    rows
}

fn add(
    common: &Common,
    region: RegionId,
    (address, expires): (Option<String>, Option<Seconds>),
    endpoint: &Endpoint,
) -> Result<(), CliError> {
    let settings = files::settings(common.config.as_deref())?;
    let known = files::regions(&settings.regions)?;
    let info = known.find(region)?.info();
    let asked = AddRegion {
        code: info.id,
        city: info.city,
        lat: info.coordinates.lat,
        lon: info.coordinates.lon,
        geography: info.geography,
        failure_domain: info.failure_domain,
        role: info.role,
        voter: info.voter,
        address,
        expires_s: expires.map(|time| time.0.as_secs()),
    };
    let made: JoinToken = Client::signed(endpoint)?.post("regions/add", &asked)?;
    if common.json {
        output::json(&made);
        return Ok(());
    }
    output::line(&made.token);
    output::note(&format!("{region} is listed. In {region}, with an empty data directory:"));
    output::note(&format!("GODWIT_TOKEN=... godwit serve --region {region}"));
    output::note(&format!(
        "The token is a secret, for one node, until {}. `godwit region ls` shows when the region is \
         active.",
        output::time(Some(made.expires_ms))
    ));
    Ok(())
}

fn wait_drained(common: &Common, client: &Client, region: RegionId) -> Result<(), CliError> {
    let code = region.to_string();
    loop {
        let left: Remaining = client.get("regions/remains", &[("region", &code)])?;
        let drained = !left.voter && left.copies + left.uploads + left.pending == 0;
        let text = told(&left);
        if output::is_terminal() && !common.json {
            output::progress(&text);
        }
        if drained {
            match common.json {
                true => output::json(&left),
                false => output::note(&format!("\n{code} is drained: godwit region remove {code}")),
            }
            return Ok(());
        }
        client.wait(LOOK_EVERY)?;
    }
}

fn told(left: &Remaining) -> String {
    let vote = if left.voter { ", its vote" } else { "" };
    format!(
        "{}: {} copies, {} uploads, {} pending writes{vote} left",
        left.region, left.copies, left.uploads, left.pending
    )
}

/// What is lost for good is named by whoever says so: `codes`, typed or in `confirmed`.
fn typed(codes: &str, what: &str, confirmed: Option<&str>) -> Result<(), CliError> {
    if confirmed == Some(codes) {
        return Ok(());
    }
    let refused = |message: String| {
        CliError::new(Exit::Usage, "NotConfirmed", message)
            .hint(format!("--confirm {codes} does it without asking"))
    };
    if confirmed.is_some() || !io::stdin().is_terminal() {
        return Err(refused(format!("{what} would be given up")));
    }
    let _ = write!(io::stderr().lock(), "{what} is given up. Type {codes} to go on: ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && answer.trim() == codes {
        return Ok(());
    }
    Err(refused("nothing was done".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_up_that_was_not_named_once_more() {
        assert!(typed("iad,nrt", "what only they have", Some("iad,nrt")).is_ok());
        assert!(typed("iad,nrt", "what only they have", Some("iad")).is_err());
    }

    #[test]
    fn what_is_left_is_told_in_a_line() {
        let region: RegionId = "syd".parse().unwrap();
        let left = Remaining { region, voter: true, copies: 3, uploads: 1, pending: 0, changes: 9 };
        assert_eq!(told(&left), "syd: 3 copies, 1 uploads, 0 pending writes, its vote left");
    }
}
