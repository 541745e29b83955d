//! `godwit serve`: one node of a real cluster.

use clap::Args;

use super::error::{CliError, Exit};
use super::{Common, files, process};
use crate::config::{Config, RegionFile, Regions};
use crate::env::Env;
use crate::node::{self, Listeners, Node, NodeError, NodeOptions};
use crate::types::region::RegionId;

/// Runs the node of one region, with the settings of --config and of the environment. The region
/// comes from the settings, or from FLY_REGION; what a region has of its own, from the folder of
/// regions.
#[derive(Args)]
pub(super) struct Serve {
    /// The region, whatever the settings say
    #[arg(long, value_name = "CODE")]
    region: Option<RegionId>,
}

pub(super) fn run(common: &Common, command: Serve) -> Result<Exit, CliError> {
    let mut config = files::settings(common.config.as_deref())?;
    if command.region.is_some() {
        config.region = command.region;
    }
    process::log(&config.log.level, config.log.format)?;
    let regions = files::regions(&config.regions)?;
    let region = regions.find(config.region()?)?;
    files::private_dir(&config.data)?;
    process::run(&config.data.clone(), async |env, stop| {
        let mut stop = stop;
        // Joining waits for others.
        let joined = tokio::select! {
            biased;
            () = &mut stop => return Ok(Exit::Ok),
            joined = node::join::join(&env, &config, &regions, region.code) => joined,
        };
        joined.map_err(failed)?;
        let node = start(env, &config, &regions, region).await.map_err(failed)?;
        stop.await;
        node.stop().await;
        Ok(Exit::Ok)
    })
}

async fn start(
    env: Env,
    config: &Config,
    regions: &Regions,
    region: &RegionFile,
) -> Result<Node, NodeError> {
    let mut listeners = Listeners::bind(config.s3.listen, config.ops.listen).await?;
    if let Some(console) = config.console.listen {
        listeners = listeners.with_console(console).await?;
    }
    let options = NodeOptions::from_settings(&env, config, regions, region)?;
    Node::start(env, options, listeners).await
}

fn failed(error: NodeError) -> CliError {
    CliError::new(Exit::Failure, "Start", error)
}
