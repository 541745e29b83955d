//! `godwit keys create` and `godwit keys ls`.

use clap::Subcommand;

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::{Common, output};
use crate::admin::model;

#[derive(Subcommand)]
pub(super) enum Keys {
    /// Make an access key; its secret is shown this once
    Create {
        /// A bucket that it may read and write (again for more); without any, all of the account
        #[arg(long, value_name = "NAME")]
        bucket: Vec<String>,
        /// The first key of a new account, which owns nothing yet
        #[arg(long, conflicts_with = "bucket")]
        new_account: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// List the access keys of the account
    Ls {
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

pub(super) fn run(common: &Common, command: Keys) -> Result<Exit, CliError> {
    match command {
        Keys::Create { bucket, new_account, endpoint } => {
            let client = Client::signed(&endpoint)?;
            let request = model::KeyRequest { buckets: bucket, new_account };
            let key: model::NewKey = client.post("keys", &request)?;
            if common.json {
                output::json(&key);
            } else {
                if new_account {
                    output::note(&format!("account {}", key.account));
                }
                output::line(&format!("AWS_ACCESS_KEY_ID={}", key.access_key));
                output::line(&format!("AWS_SECRET_ACCESS_KEY={}", key.secret_key));
                output::note("The secret is not shown again.");
            }
        }
        Keys::Ls { endpoint } => {
            let keys: model::Keys = Client::signed(&endpoint)?.get("keys", &[])?;
            if common.json {
                output::json(&keys);
            } else {
                output::table(&keys.keys.iter().map(row).collect::<Vec<_>>());
            }
        }
    }
    Ok(Exit::Ok)
}

fn row(key: &model::Key) -> Vec<String> {
    let scope = if key.admin { "admin".to_owned() } else { key.buckets.join(",") };
    vec![key.access_key.clone(), scope]
}
