//! `godwit upgrade check`: whether this program may open a data directory.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::error::{CliError, Exit};
use super::{Common, output};
use crate::node;
use crate::store::{self, Inspected};

#[derive(Subcommand)]
pub(super) enum Upgrade {
    /// Say which format the data directory of a stopped node has, and whether this program may open
    /// it; changes nothing
    #[command(
        after_help = "Exits with 5 where the directory is of a newer program.\n\nExamples:\n  \
                            godwit upgrade check --data /var/lib/godwit"
    )]
    Check {
        /// The node's data directory
        #[arg(long, env = "GODWIT_DATA", value_name = "DIR")]
        data: PathBuf,
    },
}

pub(super) fn run(common: &Common, command: &Upgrade) -> Result<Exit, CliError> {
    let Upgrade::Check { data } = command;
    let failed = |error: &dyn std::fmt::Display| CliError::new(Exit::Failure, "Failure", error);
    let runtime = node::env::runtime().map_err(|error| failed(&error))?;
    let env = node::env::real(runtime.handle(), data);
    let found = match store::inspect(&env.disk, &data.join("store")) {
        Ok(found) => found,
        Err(error @ store::Error::Newer { .. }) => {
            let hint = "start the program that wrote it, or a newer one; this one would refuse it \
                        and change nothing";
            return Err(CliError::new(Exit::Conflict, "NewerFormat", error).hint(hint));
        }
        Err(error) => return Err(failed(&error).hint("stop the node that uses it first")),
    };
    let Inspected { format, known, boots, segments, to_replay } = found;
    if common.json {
        output::json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "format": format,
            "known": known,
            "boots": boots,
            "segments": segments,
            "to_replay": to_replay,
        }));
        return Ok(Exit::Ok);
    }
    output::line(&match format {
        None => {
            format!("{} has no data yet; this program would write format {known}", data.display())
        }
        Some(format) => format!(
            "{} has format {format}, this program reads and writes {known}: it may open it.\n\
             Opened {boots} times; {segments} segments, {to_replay} changes to replay.",
            data.display()
        ),
    });
    Ok(Exit::Ok)
}
