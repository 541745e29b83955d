//! Many things at once: at most so many, each told when it is done, failures counted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::cli::error::{CliError, Exit};
use crate::cli::{Common, output};
use crate::env::Env;

/// One thing that was done, as `--json` tells it.
#[derive(Serialize)]
pub(in crate::cli) struct Done {
    pub(in crate::cli) operation: &'static str,
    pub(in crate::cli) source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) bytes: Option<u64>,
    /// It was only said what would be done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::cli) dry_run: bool,
}

/// How far a command is: a bar on a terminal, nothing elsewhere. Cheap to clone.
#[derive(Clone)]
pub(in crate::cli) struct Progress {
    bar: Option<ProgressBar>,
    json: bool,
    quiet: bool,
}

impl Progress {
    pub(in crate::cli) fn new(common: &Common) -> Self {
        let shown = output::is_terminal() && !common.json && !common.quiet;
        let bar = shown.then(|| {
            let style = "{spinner} {bytes}/{total_bytes} [{bar:30}] {bytes_per_sec} {eta} {msg}";
            let style = ProgressStyle::with_template(style).expect("the template is right");
            let bar = ProgressBar::new(0).with_style(style.progress_chars("=> "));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, json: common.json, quiet: common.quiet }
    }

    /// More is to do.
    pub(in crate::cli) fn expect(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc_length(bytes);
        }
    }

    pub(in crate::cli) fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn above(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Tells of one thing that was done.
    pub(in crate::cli) fn tell(&self, done: &Done) {
        if self.json {
            output::json(done);
        } else if !self.quiet {
            let would = if done.dry_run { "would " } else { "" };
            let target = done.target.as_ref().map(|t| format!(" {t}")).unwrap_or_default();
            let text = format!("{would}{} {}{target}", done.operation, done.source);
            self.above(|| output::line(&text));
        }
    }

    fn failed(&self, error: &CliError) {
        self.above(|| error.print(self.json));
    }

    pub(in crate::cli) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What became of many things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Tally {
    pub(in crate::cli) done: u64,
    pub(in crate::cli) bytes: u64,
    pub(in crate::cli) failed: u64,
}

impl Tally {
    pub(in crate::cli) fn exit(self) -> Exit {
        if self.failed > 0 { Exit::Partial } else { Exit::Ok }
    }
}

/// Does `job` with every item, `width` at once, on all threads. A failure of one item is told and
/// counted, a failure of the list ends everything.
pub(in crate::cli) async fn each<T, F>(
    env: &Env,
    width: usize,
    progress: &Progress,
    items: impl Stream<Item = Result<T, CliError>>,
    job: impl Fn(T) -> F + Send + Sync + 'static,
) -> Result<Tally, CliError>
where
    T: Send + 'static,
    F: Future<Output = Result<Vec<Done>, CliError>> + Send + 'static,
{
    let job = Arc::new(job);
    let jobs = items.map(|item| {
        let (env, job) = (env.clone(), job.clone());
        async move {
            match item {
                Ok(item) => Ok(spawned(&env, job(item)).await),
                Err(error) => Err(error),
            }
        }
    });
    let mut results = std::pin::pin!(jobs.buffer_unordered(width));
    let mut tally = Tally::default();
    while let Some(result) = results.next().await {
        match result? {
            Ok(all) => {
                for done in all {
                    tally.done += 1;
                    tally.bytes += done.bytes.unwrap_or(0);
                    progress.tell(&done);
                }
            }
            Err(error) => {
                tally.failed += 1;
                progress.failed(&error);
            }
        }
    }
    Ok(tally)
}

/// Runs on a task of its own, so that hashing and files use every processor.
pub(in crate::cli) async fn spawned<T: Send + 'static>(
    env: &Env,
    work: impl Future<Output = Result<T, CliError>> + Send + 'static,
) -> Result<T, CliError> {
    let (done, wait) = oneshot::channel();
    env.spawn("transfer", async move {
        // Nobody waits any more when the command was interrupted.
        let _ = done.send(work.await);
    });
    wait.await.unwrap_or_else(|_| {
        Err(CliError::new(Exit::Failure, "Failure", "a task ended before its work was done"))
    })
}
