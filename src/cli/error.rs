//! Failures of commands: an exit code, a message, and what to do next.

use std::fmt::Display;
use std::process::ExitCode;

use serde_json::json;

use super::output;

/// Exit codes, the same for all commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Ok = 0,
    Failure = 1,
    Usage = 2,
    NotFound = 3,
    /// Authentication or permission.
    Denied = 4,
    /// Something is there already, or a condition does not hold.
    Conflict = 5,
    /// Network, no node, no majority.
    Unavailable = 6,
    Throttled = 7,
    /// The cluster works, but not all of it (`status`).
    Degraded = 10,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The exit code that fits the status of an HTTP answer.
    pub(super) fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Denied,
            404 => Self::NotFound,
            409 | 412 => Self::Conflict,
            429 => Self::Throttled,
            502..=504 => Self::Unavailable,
            _ => Self::Failure,
        }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(super) struct CliError {
    pub(super) exit: Exit,
    /// A word for programs: an S3 error code or `Usage`, `Network`, `Config`, `File`.
    code: String,
    message: String,
    hint: Option<String>,
    /// It stands in the log of the node that answered.
    request_id: Option<String>,
}

impl CliError {
    pub(super) fn new(exit: Exit, code: impl Into<String>, message: impl Display) -> Self {
        let (code, message) = (code.into(), message.to_string());
        Self { exit, code, message, hint: None, request_id: None }
    }

    pub(super) fn config(message: impl Display) -> Self {
        Self::new(Exit::Usage, "Config", message)
            .hint("godwit config check --config FILE says what is wrong with a file")
    }

    pub(super) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(Exit::Failure, "File", format!("{}: {error}", path.display()))
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into()).filter(|id: &String| !id.is_empty());
        self
    }

    /// A hint where there is none yet.
    pub(super) fn or_hint(self, hint: impl Into<String>) -> Self {
        let hint = self.hint.or_else(|| Some(hint.into()));
        Self { hint, ..self }
    }

    /// Prints to standard error.
    pub(super) fn print(&self, json: bool) {
        if json {
            let error = json!({
                "code": self.code,
                "message": self.message,
                "hint": self.hint,
                "request_id": self.request_id,
            });
            output::note(&json!({ "error": error }).to_string());
            return;
        }
        output::note(&format!("error: {} [{}]", self.message, self.code));
        if let Some(hint) = &self.hint {
            output::note(&format!("hint: {hint}"));
        }
        if let Some(id) = &self.request_id {
            output::note(&format!("request id: {id}"));
        }
    }
}

impl From<crate::config::ConfigError> for CliError {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::config(error)
    }
}
