//! `godwit upgrade check`: whether this program may open a data directory, or take the place of the
//! programs that a cluster runs.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::client::Endpoint;
use super::error::{CliError, Exit};
use super::{Common, output};
use crate::node;
use crate::store::{self, Inspected};

mod cluster;
mod judge;

#[derive(Subcommand)]
pub(super) enum Upgrade {
    /// Say whether this program may open a data directory, or take the place of those that a running
    /// cluster runs; changes nothing
    ///
    /// Of a data directory, whose node is stopped: which format it has. Of a cluster: what each node
    /// runs, which would not understand which, and in what order to upgrade.
    #[command(
        after_help = "Exits with 5 where the directory is of a newer program, or where nodes \
                            would not understand each other; with 10 where a node cannot be asked, \
                            or does not know all that another may say.\n\nExamples:\n  \
                            godwit upgrade check --data /var/lib/godwit\n  \
                            godwit upgrade check --cluster"
    )]
    Check {
        /// The data directory of a stopped node
        #[arg(long, env = "GODWIT_DATA", value_name = "DIR")]
        data: Option<PathBuf>,
        /// Ask the nodes of a running cluster instead
        #[arg(long)]
        cluster: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

pub(super) fn run(common: &Common, command: &Upgrade) -> Result<Exit, CliError> {
    let Upgrade::Check { data, cluster, endpoint } = command;
    match data {
        _ if *cluster => cluster::check(common, endpoint),
        Some(data) => directory(common, data),
        None => Err(CliError::new(Exit::Usage, "Usage", "what to check is not said")
            .hint("--data DIR for a stopped node's directory, --cluster for a running cluster")),
    }
}

fn directory(common: &Common, data: &Path) -> Result<Exit, CliError> {
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
