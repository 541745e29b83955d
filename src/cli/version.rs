//! `godwit version`.

use serde_json::json;

use super::error::{CliError, Exit};
use super::{Common, output};

#[allow(clippy::unnecessary_wraps, reason = "every command has this shape")]
pub(super) fn run(common: &Common) -> Result<Exit, CliError> {
    let version = env!("CARGO_PKG_VERSION");
    if common.json {
        output::json(&json!({ "version": version }));
    } else {
        output::line(&format!("godwit {version}"));
    }
    Ok(Exit::Ok)
}
