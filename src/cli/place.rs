//! `godwit place` and `godwit purge`: where a bucket or an object shall live, and cached copies that
//! go.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::s3::place::Remote;
use super::{Common, output};
use crate::admin::model::{
    BucketLocation, PlacePrimary, PlacedPrimary, Purge, Purged, PurgedAt, PutLocation, Where,
};
use crate::types::region::RegionId;

/// Shows where a bucket lives, gives it other regions, or moves an object's primary.
///
/// Without an option it shows the regions of a bucket and where its versions lie. With other
/// regions, copies follow by themselves; a region that is none of its own any more drops its copies
/// when enough others have theirs, and its cached ones at once. An object's primary follows its
/// readers again after it has been where it was moved to for a while.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    godwit place s3://demo\n  \
    godwit place s3://demo --regions iad --leave-small\n  \
    godwit place s3://demo --everywhere\n  \
    godwit place s3://demo/all/photo.jpg --primary iad")]
pub(super) struct PlaceCommand {
    /// A bucket, or an object: s3://BUCKET[/KEY]
    target: Remote,
    /// The regions that may hold the bucket's bytes: codes or geographies, with commas
    #[arg(long, value_name = "REGIONS", value_delimiter = ',', conflicts_with = "everywhere")]
    regions: Vec<String>,
    /// Every region may hold them
    #[arg(long)]
    everywhere: bool,
    /// Leave small objects, which ride in their rows, in every region
    #[arg(long, requires = "regions")]
    leave_small: bool,
    /// Move the object's primary to this region
    #[arg(long, value_name = "REGION", conflicts_with_all = ["regions", "everywhere"])]
    primary: Option<RegionId>,
    /// Wait until everything is where it shall be
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Drops cached copies of an object, a prefix or a bucket.
///
/// What regions hold stays, and reads go on: the next one fetches the bytes again.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    godwit purge s3://demo/notes.txt\n  \
    godwit purge s3://demo --region iad")]
pub(super) struct PurgeCommand {
    /// A bucket, or the keys that begin so: s3://BUCKET[/PREFIX]
    target: Remote,
    /// Only in this region
    #[arg(long)]
    region: Option<RegionId>,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After so many looks it is asked for again: a move that could not be made was given up meanwhile.
const LOOKS_OF_A_MOVE: u32 = 60;

pub(super) fn place(common: &Common, command: &PlaceCommand) -> Result<Exit, CliError> {
    let Remote { bucket, key } = &command.target;
    let usage = |message: &str| Err(CliError::new(Exit::Usage, "Usage", message));
    let client = Client::signed(&command.endpoint)?;
    if let Some(region) = command.primary {
        if key.is_empty() {
            return usage("a primary is an object's: s3://BUCKET/KEY")?;
        }
        return primary(common, command, &client, region);
    }
    if !key.is_empty() {
        return usage("regions are a bucket's: s3://BUCKET; `godwit where` shows an object")?;
    }
    let query = [("bucket", bucket.as_str())];
    let mut found: BucketLocation = if command.everywhere || !command.regions.is_empty() {
        let (regions, leave_small) = (command.regions.clone(), command.leave_small);
        client.put("location", &query, &PutLocation { regions, leave_small })?
    } else {
        client.get("location", &query)?
    };
    while command.wait && found.outside > riding_outside(&found) {
        output::note(&format!("{} versions are still elsewhere", found.outside));
        client.wait(LOOK_EVERY)?;
        found = client.get("location", &query)?;
    }
    if common.json {
        output::json(&found)
    } else {
        show(&found)
    }
    Ok(Exit::Ok)
}

/// Versions that stay outside until they are written over.
fn riding_outside(found: &BucketLocation) -> u64 {
    if found.regions.is_empty() { 0 } else { found.riding }
}

fn primary(
    common: &Common,
    command: &PlaceCommand,
    client: &Client,
    region: RegionId,
) -> Result<Exit, CliError> {
    let Remote { bucket, key } = &command.target;
    let asked = PlacePrimary { bucket: bucket.clone(), key: key.clone(), region };
    let mut placed: PlacedPrimary = client.post("place", &asked)?;
    for look in 1.. {
        if !command.wait || !placed.moving {
            break;
        }
        client.wait(LOOK_EVERY)?;
        if look % LOOKS_OF_A_MOVE == 0 {
            placed = client.post("place", &asked)?;
            continue;
        }
        let found: Where = client.get("where", &[("bucket", bucket), ("key", key)])?;
        placed.moving = found.primary != Some(region);
    }
    if common.json {
        output::json(&placed);
    } else if placed.moving {
        output::line(&format!("{} is on its way to {region}", command.target));
        output::note(&format!("hint: godwit where {} shows when it has arrived", command.target));
    } else {
        output::line(&format!("{} has its primary at {region}", command.target));
    }
    Ok(Exit::Ok)
}

fn show(found: &BucketLocation) {
    let regions: Vec<String> = found.regions.iter().map(ToString::to_string).collect();
    let regions = if regions.is_empty() { "every region".to_owned() } else { regions.join(", ") };
    output::line(&format!("s3://{} may lie in {regions}", found.bucket));
    let codes: BTreeSet<RegionId> =
        found.held.keys().chain(found.primaries.keys()).copied().collect();
    let mut rows = vec![["region", "primaries", "copies", "bytes"].map(str::to_owned).to_vec()];
    rows.extend(codes.into_iter().map(|code| {
        let held = found.held.get(&code);
        vec![
            code.to_string(),
            found.primaries.get(&code).copied().unwrap_or(0).to_string(),
            held.map_or(0, |held| held.versions).to_string(),
            output::size(held.map_or(0, |held| held.bytes)),
        ]
    }));
    output::table(&rows);
    if found.riding > 0 {
        output::line(&format!("{} small versions ride in their rows", found.riding));
    }
    if found.outside > 0 {
        output::line(&format!("{} versions lie where they may not any more", found.outside));
    }
    if found.cut {
        output::note("there are more versions, which were not counted");
    }
}

pub(super) fn purge(common: &Common, command: &PurgeCommand) -> Result<Exit, CliError> {
    let Remote { bucket, key } = &command.target;
    let client = Client::signed(&command.endpoint)?;
    let (bucket, prefix) = (bucket.clone(), key.clone());
    let purged: Purged = client.post("purge", &Purge { bucket, prefix, region: command.region })?;
    if common.json {
        output::json(&purged);
    } else {
        output::table(&purged.regions.iter().map(purged_row).collect::<Vec<_>>());
    }
    let failed = purged.regions.iter().any(|at| at.error.is_some());
    Ok(if failed { Exit::Partial } else { Exit::Ok })
}

fn purged_row(at: &PurgedAt) -> Vec<String> {
    let what = match &at.error {
        Some(why) => format!("not asked: {why}"),
        None => format!("{} copies, {}", at.copies, output::size(at.bytes)),
    };
    vec![at.region.to_string(), what]
}
