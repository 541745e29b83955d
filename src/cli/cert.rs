//! `godwit cert`: the certificates with which nodes prove to each other who they are.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use futures_util::future::join_all;
use http::Method;
use serde::Serialize;
use serde_json::json;

use super::client::{Client, Endpoint, admin_ask, decode};
use super::error::{CliError, Exit};
use super::{Common, output};
use crate::admin::model::{NodeCertificate, Regions};
use crate::node;
use crate::types::region::RegionId;

#[derive(Subcommand)]
pub(super) enum Cert {
    /// List the certificates of all regions: until when they hold, who made them
    ///
    /// Exits with 10 when one has run out or will soon, with 8 when a region does not answer.
    #[command(after_help = "Examples:\n  godwit cert ls\n  godwit cert ls --json")]
    Ls {
        /// That of this data directory, without a node
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Show all of one certificate
    #[command(after_help = "Examples:\n  godwit cert show\n  godwit cert show iad --json")]
    Show {
        /// The region; without it that of the node that answers
        region: Option<RegionId>,
        /// That of this data directory, without a node
        #[arg(long, value_name = "DIR", conflicts_with = "region")]
        data: Option<PathBuf>,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Get a node's next certificate now
    ///
    /// Nodes do so by themselves when a third of the life of theirs is left. The node makes a new
    /// key, and asks a node that has the cluster's authority: where `cluster init` was run, or with
    /// GODWIT_CLUSTER. Nothing is started anew, and no connection breaks.
    #[command(after_help = "Examples:\n  godwit cert renew\n  godwit cert renew iad")]
    Renew {
        /// The region; without it that of the node that answers
        region: Option<RegionId>,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

/// What one region said, or why it said nothing.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Told {
    Certificate(Box<NodeCertificate>),
    Silent { region: RegionId, error: String },
}

pub(super) fn run(common: &Common, command: Cert) -> Result<Exit, CliError> {
    match command {
        Cert::Ls { data: Some(dir), .. } => {
            let told = vec![Told::Certificate(Box::new(local(&dir)?))];
            Ok(list(common, &told))
        }
        Cert::Ls { data: None, endpoint } => {
            let client = Client::signed(&endpoint)?;
            Ok(list(common, &client.run(all(&client))?))
        }
        Cert::Show { data: Some(dir), .. } => Ok(show(common, &local(&dir)?)),
        Cert::Show { data: None, region, endpoint } => {
            let client = Client::signed(&endpoint)?;
            Ok(show(common, &client.run(one(&client, Method::GET, "certs", region))?))
        }
        Cert::Renew { region, endpoint } => {
            let client = Client::signed(&endpoint)?;
            let asked = one(&client, Method::POST, "certs/renew", region);
            let renewed = client.run(asked)?;
            show(common, &renewed);
            Ok(Exit::Ok)
        }
    }
}

fn local(dir: &Path) -> Result<NodeCertificate, CliError> {
    let failed = |error: String| CliError::new(Exit::Failure, "Certificate", error);
    let runtime = node::env::runtime().map_err(|error| failed(error.to_string()))?;
    let env = node::env::real(runtime.handle(), Path::new("/"));
    let found = node::certificate_in(&env, dir).map_err(|error| failed(error.to_string()))?;
    found.ok_or_else(|| {
        let message = format!("no node has its identity in {}", dir.display());
        CliError::new(Exit::NotFound, "NoIdentity", message)
            .hint("--data takes the directory that GODWIT_DATA names")
    })
}

async fn one(
    client: &Client,
    method: Method,
    path: &str,
    region: Option<RegionId>,
) -> Result<NodeCertificate, CliError> {
    let code = region.map(|region| region.to_string());
    let query: Vec<(&str, &str)> = code.iter().map(|code| ("region", code.as_str())).collect();
    let ask = admin_ask(method, path, &query);
    decode(&client.link, &client.link.ask(&ask).await?)
}

/// What every member says.
pub(super) async fn all(client: &Client) -> Result<Vec<Told>, CliError> {
    let asked = client.link.ask(&admin_ask(Method::GET, "regions", &[])).await?;
    let regions: Regions = decode(&client.link, &asked)?;
    let told = regions.regions.iter().map(|region| async move {
        match one(client, Method::GET, "certs", Some(region.code)).await {
            Ok(found) => Told::Certificate(Box::new(found)),
            Err(why) => Told::Silent { region: region.code, error: why.message().to_owned() },
        }
    });
    Ok(join_all(told).await)
}

fn list(common: &Common, told: &[Told]) -> Exit {
    if common.json {
        output::json(&json!({ "certificates": told }));
    } else {
        output::table(&told.iter().map(row).collect::<Vec<_>>());
        for told in told {
            if let Some(line) = problem(told) {
                output::line(&line);
            }
        }
    }
    let silent = told.iter().any(|told| matches!(told, Told::Silent { .. }));
    let trouble = told.iter().any(|told| problem(told).is_some());
    match (silent, trouble) {
        (true, _) => Exit::Partial,
        (false, true) => Exit::Degraded,
        (false, false) => Exit::Ok,
    }
}

/// The certificate, of a region that answered.
pub(super) fn held(told: &Told) -> Option<&NodeCertificate> {
    match told {
        Told::Certificate(found) => Some(found),
        Told::Silent { .. } => None,
    }
}

/// What is wrong, and what to do.
fn problem(told: &Told) -> Option<String> {
    match told {
        Told::Silent { region, error } => Some(format!("{region}: {error}")),
        Told::Certificate(found) => {
            let (region, trouble) = (found.region, found.trouble.as_ref()?);
            Some(format!("{region}: {trouble}; godwit cert renew {region}"))
        }
    }
}

fn row(told: &Told) -> Vec<String> {
    match told {
        Told::Silent { region, .. } => vec![region.to_string(), "does not answer".to_owned()],
        Told::Certificate(found) => vec![
            found.region.to_string(),
            format!("until {}", output::time(Some(found.until_ms))),
            format!("{} days left", found.days_left),
            format!("made by {}", maker(found)),
            found.fingerprint.get(..16).unwrap_or(&found.fingerprint).to_owned(),
            if found.authority.here { "has the authority" } else { "" }.to_owned(),
        ],
    }
}

fn maker(found: &NodeCertificate) -> String {
    found.issued_by.map_or_else(|| "its first identity".to_owned(), |region| region.to_string())
}

fn show(common: &Common, found: &NodeCertificate) -> Exit {
    if common.json {
        output::json(found);
    } else {
        output::table(&rows(found));
    }
    if found.trouble.is_some() { Exit::Degraded } else { Exit::Ok }
}

fn rows(found: &NodeCertificate) -> Vec<Vec<String>> {
    let here = if found.authority.here { "here" } else { "not here" };
    let mut rows = vec![
        vec!["region".to_owned(), found.region.to_string()],
        vec!["subject".to_owned(), found.subject.clone()],
        vec!["fingerprint".to_owned(), found.fingerprint.clone()],
        vec!["from".to_owned(), output::time(Some(found.from_ms))],
        vec!["until".to_owned(), output::time(Some(found.until_ms))],
        vec!["left".to_owned(), format!("{} days", found.days_left)],
        vec!["renewed from".to_owned(), output::time(Some(found.renews_ms))],
        vec!["made by".to_owned(), maker(found)],
        vec!["cluster".to_owned(), found.authority.cluster.clone()],
        vec!["authority".to_owned(), found.authority.fingerprint.clone()],
        vec!["authority is".to_owned(), here.to_owned()],
    ];
    if let Some(trouble) = &found.trouble {
        rows.push(vec!["trouble".to_owned(), trouble.clone()]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_says_what_to_type() {
        let silent = Told::Silent { region: "syd".parse().unwrap(), error: "away".to_owned() };
        assert_eq!(problem(&silent).as_deref(), Some("syd: away"));
        assert_eq!(row(&silent), ["syd", "does not answer"]);
    }
}
