//! Failures of commands: an exit code, a message, and what to do next.

use std::fmt::Display;
use std::process::ExitCode;

use serde_json::json;

use super::output::{self, Colour};

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
    /// Some of many things failed; each was told.
    Partial = 8,
    /// The cluster works, but not all of it (`status`).
    Degraded = 10,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    pub(super) const ALL: &[Self] = &[
        Self::Ok,
        Self::Failure,
        Self::Usage,
        Self::NotFound,
        Self::Denied,
        Self::Conflict,
        Self::Unavailable,
        Self::Throttled,
        Self::Partial,
        Self::Degraded,
        Self::Interrupted,
    ];

    /// For the page of the command line.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Ok => "it worked",
            Self::Failure => "it failed in another way than those below",
            Self::Usage => "the command is wrong, or was not confirmed; nothing was done",
            Self::NotFound => "there is no such bucket, object, key or setting",
            Self::Denied => "the key is wrong, or may not do this",
            Self::Conflict => "something is there already, or a condition does not hold",
            Self::Unavailable => "no node answers, or it cannot keep its promise now; try again",
            Self::Throttled => "too many requests; try again later",
            Self::Partial => "some of many things failed; each was told",
            Self::Degraded => {
                "`status --check`, `doctor`, `health`, `cert`: the cluster works, but not all of it"
            }
            Self::Interrupted => "Ctrl-C or SIGTERM",
        }
    }

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

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Whether it is this error of S3, or of the commands.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// What to do, where that is known.
    pub(super) fn way_on(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Says what it is about.
    pub(super) fn about(mut self, what: &str) -> Self {
        if !self.message.contains(what) {
            self.message = format!("{what}: {}", self.message);
        }
        self
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
        let label = output::coloured(Colour::Red, "error:");
        output::note(&format!("{label} {} [{}]", self.message, self.code));
        if let Some(hint) = &self.hint {
            output::note(&format!("{} {hint}", output::coloured(Colour::Cyan, "hint:")));
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
