//! What the commands that run nodes share: the log, the runtime, and the signals that end them.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::error::{CliError, Exit};
use crate::config::LogFormat;
use crate::env::Env;
use crate::node;

/// Waits for Ctrl-C or SIGTERM.
pub(super) type Stop = Pin<Box<dyn Future<Output = ()>>>;

/// Sends the log to standard error. `GODWIT_LOG` goes over `level`.
pub(super) fn log(level: &str, format: LogFormat) -> Result<(), CliError> {
    let stated = std::env::var("GODWIT_LOG").ok();
    let filter = EnvFilter::try_new(stated.as_deref().unwrap_or(level))
        .map_err(|error| CliError::config(format!("the log filter: {error}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Json => lines.json().try_init(),
        LogFormat::Text => lines.with_ansi(false).try_init(),
    };
    set.map_err(|error| CliError::new(Exit::Failure, "Failure", error))
}

/// Runs `work` with the doors of the machine until it ends.
pub(super) fn run(
    dir: &Path,
    work: impl AsyncFnOnce(Env, Stop) -> Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    let failed = |error: std::io::Error| CliError::new(Exit::Failure, "Failure", error);
    let runtime = node::env::runtime().map_err(failed)?;
    let env = node::env::real(runtime.handle(), dir);
    runtime.block_on(async {
        let stop = stop().map_err(failed)?;
        work(env, stop).await
    })
}

/// Listens from now on: a signal that comes during the start is not lost.
pub(super) fn stop() -> std::io::Result<Stop> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(Box::pin(async move {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }))
}
