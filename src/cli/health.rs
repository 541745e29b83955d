//! `godwit health`: what a container's health check runs, without any other tool in the image, and
//! what a person asks before a node is taken down.

use clap::{Args, ValueEnum};

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::{Common, output};
use crate::admin::model::ClusterHealth;

/// Asks a node whether it is alive and ready, whether writes can be made, or whether it may be taken
/// down.
///
/// `live` and `ready` are about the node. `cluster` is about the promises: it ends with 6 where a
/// write that enters there, or a name or a conditional write, could not be decided now. With
/// --maintenance it ends with 10 where something would be refused without this node, or what it has
/// is not safe elsewhere yet.
#[derive(Args)]
#[command(after_help = "Examples:\n  godwit health\n  godwit health live\n  godwit health cluster")]
pub(super) struct Health {
    /// What to ask
    #[arg(value_enum, default_value_t = What::Ready)]
    what: What,
    /// Of the cluster: whether this node may be taken down now
    #[arg(long)]
    maintenance: bool,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Live,
    Ready,
    Cluster,
}

pub(super) fn run(common: &Common, command: Health) -> Result<Exit, CliError> {
    let of_cluster = command.what == What::Cluster;
    if command.maintenance && !of_cluster {
        let why = "--maintenance is a question about the cluster";
        return Err(
            CliError::new(Exit::Usage, "Usage", why).hint("godwit health cluster --maintenance")
        );
    }
    let path = match command.what {
        What::Live => "/-/health/live",
        What::Ready => "/-/health/ready",
        What::Cluster => "/-/health/cluster",
    };
    let client = Client::unsigned(&command.endpoint)?;
    let query: &[(&str, &str)] = if command.maintenance { &[("maintenance", "true")] } else { &[] };
    let (status, body) = client.get_raw(path, query)?;
    let text = String::from_utf8_lossy(&body);
    let reasons = serde_json::from_slice::<ClusterHealth>(&body).ok().map(|found| found.reasons);
    match (status, reasons.filter(|_| of_cluster)) {
        _ if common.json => output::line(text.trim_end()),
        (200, _) => output::line("ok"),
        (_, Some(reasons)) => reasons.iter().for_each(|reason| output::line(reason)),
        (_, None) => output::line(text.trim_end()),
    }
    Ok(match status {
        200 => Exit::Ok,
        412 => Exit::Degraded,
        _ => Exit::Unavailable,
    })
}
