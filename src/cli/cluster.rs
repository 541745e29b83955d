//! `godwit cluster init` and `godwit cluster token`: how regions become one cluster.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::error::{CliError, Exit};
use super::{Common, files, output};
use crate::config::Seconds;
use crate::env::Env;
use crate::limits;
use crate::node;
use crate::node::NodeError;
use crate::node::identity::{Charter, FirstKey};
use crate::types::region::{RegionId, RegionInfo};

#[derive(Subcommand)]
pub(super) enum Cluster {
    /// Make a cluster of these regions; its authority stays in the data directory
    Init {
        /// The first members: iad,fra,nrt
        #[arg(long, value_delimiter = ',', required = true, value_name = "CODES")]
        regions: Vec<RegionId>,
        /// The data directory, instead of that of the settings
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Write nothing; print variables for a platform that gives every node the same secrets
        #[arg(long)]
        print: bool,
    },
    /// Print the token with which the node of a region joins; run it where `init` was run
    ///
    /// It is a secret, for one node of that region, and good for a day. The node makes its own key,
    /// and asks with the token for its certificate: a node with the cluster's authority has to run.
    /// A node whose certificate has run out takes a token too.
    Token {
        /// The region that joins
        region: RegionId,
        /// How long it is good: 30m, 24h; at most 30 days
        #[arg(long, value_name = "TIME", default_value = "24h")]
        expires: Seconds,
        /// The data directory, instead of that of the settings
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
}

pub(super) fn run(common: &Common, command: Cluster) -> Result<Exit, CliError> {
    let settings = files::settings(common.config.as_deref())?;
    let runtime =
        node::env::runtime().map_err(|error| CliError::new(Exit::Failure, "Failure", error))?;
    let env = node::env::real(runtime.handle(), Path::new("/"));
    match command {
        Cluster::Init { regions, data, print } => {
            let known = files::regions(&settings.regions)?;
            let infos: Result<Vec<RegionInfo>, _> =
                regions.iter().map(|code| Ok(known.find(*code)?.info())).collect();
            let charter = Charter::new(&env, infos.map_err(|e: CliError| e)?).map_err(failed)?;
            if !print {
                keep(&env, &charter, &data.unwrap_or(settings.data))?;
            }
            tell(common, &charter, print);
        }
        Cluster::Token { region, expires, data } => {
            if expires.0 > limits::JOIN_TOKEN_LIFE_MAX || expires.0.is_zero() {
                let message = "a token is good for a second to 30 days";
                return Err(CliError::new(Exit::Usage, "Usage", message));
            }
            let dir = data.unwrap_or(settings.data);
            let charter = Charter::load(&env, &dir).map_err(failed)?.ok_or_else(|| {
                let message = format!("{} has no cluster's authority", dir.display());
                CliError::new(Exit::NotFound, "NoCluster", message)
                    .hint("run this where `godwit cluster init` was run")
            })?;
            let token = charter.join_token(&env, region, expires.0, charter.members());
            let (text, until) = (token.to_text(), token.expires_ms);
            if common.json {
                let token = json!({ "region": region, "token": text, "expires_ms": until });
                output::json(&token);
            } else {
                output::line(&text);
                let until = output::time(Some(until));
                output::note(&format!("A secret, for one node of {region}, until {until}."));
            }
        }
    }
    Ok(Exit::Ok)
}

fn keep(env: &Env, charter: &Charter, dir: &Path) -> Result<(), CliError> {
    files::private_dir(dir)?;
    if Charter::load(env, dir).map_err(failed)?.is_some() {
        let message = format!("{} has a cluster already", dir.display());
        return Err(CliError::new(Exit::Conflict, "ClusterExists", message)
            .hint("take another directory, or make a token: godwit cluster token REGION"));
    }
    charter.save(env, dir).map_err(failed)
}

fn tell(common: &Common, charter: &Charter, print: bool) {
    let FirstKey { access_key, record } = charter.first_key();
    let secret = record.secret.0.as_ref();
    let regions: Vec<RegionId> = charter.members().regions().map(|region| region.id).collect();
    if common.json {
        output::json(&json!({
            "cluster": charter.members().cluster().to_string(),
            "regions": regions,
            "voters": charter.members().voters(),
            "access_key": access_key.to_string(),
            "secret_key": secret,
            "secret": print.then(|| charter.to_text()),
        }));
        return;
    }
    if print {
        output::line(&format!("GODWIT_CLUSTER={}", charter.to_text()));
    }
    output::line(&format!("AWS_ACCESS_KEY_ID={access_key}"));
    output::line(&format!("AWS_SECRET_ACCESS_KEY={secret}"));
    let codes: Vec<String> = regions.iter().map(ToString::to_string).collect();
    output::note(&format!("A cluster of {}. The secret is not shown again.", codes.join(", ")));
    if !print {
        output::note("Start this node with `godwit serve`; the others join with a token each:");
        output::note("godwit cluster token REGION");
    }
}

fn failed(error: NodeError) -> CliError {
    CliError::new(Exit::Failure, "Cluster", error)
}
