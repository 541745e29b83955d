//! `godwit keys create`, `godwit keys ls`, `godwit keys set` and `godwit keys revoke`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::{Common, files, output};
use crate::admin::model;
use crate::types::record::BucketRole;

#[derive(Subcommand)]
pub(super) enum Keys {
    /// Make an access key; its secret is shown this once
    #[command(after_help = "Examples:\n  godwit keys create --bucket demo\n  \
                      godwit keys create --bucket demo=read-only")]
    Create {
        #[command(flatten)]
        scope: Scope,
        /// The first key of a new account, which owns nothing yet
        #[arg(long, conflicts_with_all = ["bucket", "policy"])]
        new_account: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// List the access keys of the account
    #[command(after_help = "Examples:\n  godwit keys ls")]
    Ls {
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Give an access key other roles and another policy in place of those that it has
    #[command(after_help = "Examples:\n  godwit keys set $OTHER_KEY --bucket demo=read-only")]
    Set {
        /// The key that is meant
        #[arg(value_name = "ACCESS_KEY")]
        key: String,
        #[command(flatten)]
        scope: Scope,
        /// All of the account, as a key without roles and policy
        #[arg(long, conflicts_with_all = ["bucket", "policy"])]
        admin: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// End an access key for good
    #[command(after_help = "Examples:\n  godwit keys revoke $OTHER_KEY")]
    Revoke {
        /// The key that is meant
        #[arg(value_name = "ACCESS_KEY")]
        key: String,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

/// What a key may touch.
#[derive(Args)]
pub(super) struct Scope {
    /// A bucket with the key's role in it: admin, editor (the default) or read-only; again for more.
    /// Without any bucket and policy the key is for all of the account
    #[arg(long, value_name = "NAME[=ROLE]")]
    bucket: Vec<String>,
    /// A file with a policy as IAM attaches it to a user: statements without principals, with
    /// conditions such as aws:SourceIp and aws:CurrentTime
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl Scope {
    fn request(&self, new_account: bool) -> Result<model::KeyRequest, CliError> {
        let mut roles = BTreeMap::new();
        for text in &self.bucket {
            let (name, role) = text.split_once('=').unwrap_or((text, "editor"));
            let role = BucketRole::parse(role).ok_or_else(|| {
                usage(format!("`{role}` is no role; there are admin, editor and read-only"))
            })?;
            roles.insert(name.to_owned(), role);
        }
        let policy = self.policy.as_deref().map(read_policy).transpose()?;
        Ok(model::KeyRequest { buckets: Vec::new(), roles, policy, new_account })
    }
}

fn read_policy(path: &Path) -> Result<serde_json::Value, CliError> {
    let text = files::text(path)?;
    serde_json::from_str(&text).map_err(|why| usage(format!("{}: {why}", path.display())))
}

fn usage(message: String) -> CliError {
    CliError::new(Exit::Usage, "Usage", message)
}

pub(super) fn run(common: &Common, command: Keys) -> Result<Exit, CliError> {
    match command {
        Keys::Create { scope, new_account, endpoint } => {
            create(common, &scope.request(new_account)?, &endpoint)?;
        }
        Keys::Ls { endpoint } => {
            let keys: model::Keys = Client::signed(&endpoint)?.get("keys", &[])?;
            if common.json {
                output::json(&keys);
            } else {
                output::table(&keys.keys.iter().map(row).collect::<Vec<_>>());
            }
        }
        Keys::Set { key, scope, admin, endpoint } => {
            let request = scope.request(false)?;
            if !admin && request.roles.is_empty() && request.policy.is_none() {
                return Err(usage("say a bucket, a policy or --admin".to_owned()));
            }
            let query = [("access_key", key.as_str())];
            let key: model::Key = Client::signed(&endpoint)?.put("keys", &query, &request)?;
            show(common, &key);
        }
        Keys::Revoke { key, endpoint } => {
            let query = [("access_key", key.as_str())];
            let key: model::Key = Client::signed(&endpoint)?.delete("keys", &query)?;
            show(common, &key);
        }
    }
    Ok(Exit::Ok)
}

fn create(
    common: &Common,
    request: &model::KeyRequest,
    endpoint: &Endpoint,
) -> Result<(), CliError> {
    let key: model::NewKey = Client::signed(endpoint)?.post("keys", request)?;
    if common.json {
        output::json(&key);
        return Ok(());
    }
    if request.new_account {
        output::note(&format!("account {}", key.account));
    }
    output::line(&format!("AWS_ACCESS_KEY_ID={}", key.access_key));
    output::line(&format!("AWS_SECRET_ACCESS_KEY={}", key.secret_key));
    output::note("The secret is not shown again.");
    Ok(())
}

fn show(common: &Common, key: &model::Key) {
    match common.json {
        true => output::json(key),
        false => output::table(&[row(key)]),
    }
}

fn row(key: &model::Key) -> Vec<String> {
    let mut scope: Vec<String> =
        key.roles.iter().map(|(name, role)| format!("{name}={}", role.as_str())).collect();
    if key.admin {
        scope.push("admin".to_owned());
    }
    if key.policy.is_some() {
        scope.push("policy".to_owned());
    }
    vec![key.access_key.clone(), scope.join(",")]
}
