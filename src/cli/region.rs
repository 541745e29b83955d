//! `godwit region ls`.

use clap::Subcommand;

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::{Common, output, status};
use crate::admin::model;

#[derive(Subcommand)]
pub(super) enum Region {
    /// List the regions as the node that answers sees them
    #[command(after_help = "Examples:\n  godwit region ls\n  godwit region ls --json")]
    Ls {
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

pub(super) fn run(common: &Common, command: &Region) -> Result<Exit, CliError> {
    let Region::Ls { endpoint } = command;
    let status: model::Status = Client::signed(endpoint)?.get("status", &[])?;
    match common.json {
        true => output::json(&serde_json::json!({ "regions": status.regions })),
        false => output::table(&status.regions.iter().map(status::row).collect::<Vec<_>>()),
    }
    Ok(Exit::Ok)
}
