//! `godwit keyring new` and `godwit keyring check`.

use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::error::{CliError, Exit};
use super::{Common, files, output};
use crate::node;

#[derive(Subcommand)]
pub(super) enum Keyring {
    /// Print one line of a keyring with a new random key. The first line of a keyring is what
    /// SSE-S3 encrypts with from now on; lines below stay for the objects that they encrypted
    #[command(after_help = "Examples:\n  godwit keyring new first")]
    New {
        /// What the key is called; SSE-KMS names it so too
        name: String,
    },
    /// Read the keyring of the settings, and print the names of its keys, the first in use first
    #[command(after_help = "Examples:\n  godwit keyring check")]
    Check,
}

pub(super) fn run(common: &Common, command: Keyring) -> Result<Exit, CliError> {
    let failed = |error: std::io::Error| CliError::new(Exit::Failure, "Failure", error);
    let runtime = node::env::runtime().map_err(failed)?;
    let env = node::env::real(runtime.handle(), Path::new("/"));
    match command {
        Keyring::New { name } => {
            let line = node::keyring::new_line(&env, &name).ok_or_else(|| {
                let why = "a name is letters, digits and -_./: and at most 128 of them";
                CliError::new(Exit::Usage, "Keyring", why)
            })?;
            output::line(line.trim_end());
        }
        Keyring::Check => {
            let settings = files::settings(common.config.as_deref())?;
            let keyring = node::keyring::load(&env, &settings.encryption)
                .map_err(|error| CliError::new(Exit::Failure, "Keyring", error))?;
            let names: Vec<&str> = keyring.names().map(|name| name.as_str()).collect();
            if common.json {
                output::json(&json!({ "keys": names }));
            } else if names.is_empty() {
                output::line("no keyring: SSE-S3 and SSE-KMS are refused, SSE-C works");
            } else {
                names.iter().for_each(|name| output::line(name));
            }
        }
    }
    Ok(Exit::Ok)
}
