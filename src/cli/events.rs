//! `godwit events`: what happened of late.

use clap::Args;

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::output::Colour;
use super::{Common, output};
use crate::admin::model::Events;
use crate::types::region::RegionId;

/// Shows what happened of late, the newest last: nodes that started and stopped, regions that went
/// and came, members, voters, disks, clocks, repairs, moves, refused writes.
///
/// Each region tells the last 500 things that it saw, also of before the last start of its node.
#[derive(Args)]
#[command(after_help = "Examples:\n  godwit events\n  godwit events --region iad --json")]
pub(super) struct EventsCommand {
    /// Only as this region saw it
    #[arg(long)]
    region: Option<RegionId>,
    #[command(flatten)]
    endpoint: Endpoint,
}

pub(super) fn run(common: &Common, command: &EventsCommand) -> Result<Exit, CliError> {
    let code = command.region.map(|region| region.to_string());
    let query: Vec<(&str, &str)> = code.iter().map(|code| ("region", code.as_str())).collect();
    let found: Events = Client::signed(&command.endpoint)?.get("events", &query)?;
    if common.json {
        output::json(&found);
        return Ok(Exit::Ok);
    }
    for event in found.events.iter().rev() {
        let colour = if event.bad { Colour::Red } else { Colour::Green };
        let kind = output::shown(colour, &format!("{:<7}", event.kind));
        output::line(&format!(
            "{}  {}  {kind}  {}",
            output::time(Some(event.at_ms)),
            event.region,
            event.what
        ));
    }
    for region in &found.silent {
        output::note(&format!("{region} could not be asked"));
    }
    Ok(Exit::Ok)
}
