//! `godwit cp` and `godwit mv`.

use std::path::PathBuf;

use clap::Args;
use futures_util::{StreamExt as _, stream};

use super::{Many, run, summary};
use crate::cli::Common;
use crate::cli::error::{CliError, Exit};
use crate::cli::s3::ends::Ends;
use crate::cli::s3::place::{Place, Remote};
use crate::cli::s3::transfer::{Job, Mover};
use crate::cli::s3::work::{Done, Tally, each};
use crate::cli::s3::{local, plan};

/// Copies a file or an object, or with -r everything below a folder or a prefix; one end or both are
/// s3://BUCKET/KEY. Large ones go in parts at the same time. `-` is standard input or output.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    godwit cp photo.jpg s3://demo/photos/\n  \
    godwit cp s3://demo/photos/photo.jpg copy.jpg\n  \
    godwit cp -r photos s3://demo/all --exclude '*.tmp'\n  \
    godwit cp -r --dry-run s3://demo/all s3://demo/backup")]
pub(in crate::cli) struct Cp {
    /// A path, s3://BUCKET/KEY, or -
    source: Place,
    /// A path, s3://BUCKET/KEY, or -; with a slash at its end, a folder
    target: Place,
    /// Everything below the folder or prefix
    #[arg(long, short)]
    recursive: bool,
    #[command(flatten)]
    many: Many,
}

pub(in crate::cli) fn copy(common: &Common, command: &Cp) -> Result<Exit, CliError> {
    transfer(common, command, "cp")
}

pub(in crate::cli) fn mv(common: &Common, command: &Cp) -> Result<Exit, CliError> {
    let stdio = command.source == Place::Stdio || command.target == Place::Stdio;
    if stdio || command.source == command.target {
        return Err(CliError::new(Exit::Usage, "Usage", "that cannot be moved: use godwit cp"));
    }
    transfer(common, command, "mv")
}

fn transfer(common: &Common, command: &Cp, name: &'static str) -> Result<Exit, CliError> {
    let (client, mover) = command.many.start(common)?;
    let began = client.link.env.monotonic();
    let work = async {
        match (&command.source, &command.target) {
            (Place::Stdio, Place::Remote(to)) => input(&mover, to).await,
            (Place::Remote(from), Place::Stdio) => {
                mover.print(from).await?;
                Ok(Tally::default())
            }
            _ if command.recursive => recursive(&mover, command, name).await,
            _ => single(&mover, command, name).await,
        }
    };
    let tally = run(&client, &mover, work)?;
    summary(common, &client, began, tally);
    Ok(tally.exit())
}

async fn input(mover: &Mover, to: &Remote) -> Result<Tally, CliError> {
    if to.key.is_empty() || to.key.ends_with('/') {
        return Err(CliError::new(Exit::Usage, "Usage", "say a key: s3://BUCKET/KEY"));
    }
    let bytes = mover.upload_input(to).await?;
    let (source, target) = ("-".to_owned(), Some(to.to_string()));
    let done = Done { operation: "cp", source, target, bytes: Some(bytes), dry_run: false };
    mover.progress.tell(&done);
    Ok(Tally { done: 1, bytes, failed: 0 })
}

/// One object; its failure is the command's.
async fn single(mover: &Mover, command: &Cp, name: &'static str) -> Result<Tally, CliError> {
    let job = job(mover, &command.source, &command.target).await?;
    if let Job::Copy { from, to, .. } = &job
        && from == to
    {
        let error = CliError::new(Exit::Usage, "Usage", format!("{from} and {to} are the same"));
        return Err(error.hint("name another key or bucket as the target"));
    }
    let bytes = job.size();
    mover.progress.expect(bytes);
    if !command.many.dry_run {
        mover.run(&job).await?;
        if name == "mv" {
            remove_source(mover, &job).await?;
        }
    }
    mover.progress.tell(&job.done(name, command.many.dry_run));
    Ok(Tally { done: 1, bytes, failed: 0 })
}

async fn job(mover: &Mover, source: &Place, target: &Place) -> Result<Job, CliError> {
    let into = |to: &Remote, name: &str| {
        let folder = to.key.is_empty() || to.key.ends_with('/');
        if folder { to.below(name) } else { to.clone() }
    };
    match (source, target) {
        (Place::Local(from), Place::Remote(to)) => {
            if local::is_folder(from) {
                let message = format!("{} is a folder", from.display());
                return Err(CliError::new(Exit::Usage, "Usage", message).hint("copy it with -r"));
            }
            let found = local::look(from)?;
            Ok(Job::Up { from: from.clone(), to: into(to, &found.relative), size: found.size })
        }
        (Place::Remote(from), Place::Local(to)) => {
            let size = mover.s3.head(&from.bucket, key_of(from)?).await?.size;
            Ok(Job::Down { from: from.clone(), to: file(to, from), size })
        }
        (Place::Remote(from), Place::Remote(to)) => {
            let size = mover.s3.head(&from.bucket, key_of(from)?).await?.size;
            Ok(Job::Copy { from: from.clone(), to: into(to, from.name()), size })
        }
        _ => Err(plan::two_ends()),
    }
}

fn key_of(from: &Remote) -> Result<&str, CliError> {
    if from.key.is_empty() {
        let error = CliError::new(Exit::Usage, "Usage", format!("{from} is a bucket"));
        return Err(error.hint("copy all of it with -r"));
    }
    Ok(&from.key)
}

fn file(to: &std::path::Path, from: &Remote) -> PathBuf {
    let folder = local::is_folder(to) || to.to_string_lossy().ends_with('/');
    if folder { to.join(from.name()) } else { to.to_owned() }
}

async fn recursive(mover: &Mover, command: &Cp, name: &'static str) -> Result<Tally, CliError> {
    let (filter, dry_run) = (command.many.filter(), command.many.dry_run);
    let (source, target) = (command.source.clone(), command.target.clone());
    Ends { from: &source, to: &target, filter: &filter, deletes: false }.check()?;
    let entries = plan::entries(&mover.s3, &source)?;
    let wanted = entries.filter(move |entry| {
        let takes = entry.as_ref().map_or(true, |entry| filter.takes(&entry.relative));
        std::future::ready(takes)
    });
    // A key that cannot be a file fails alone; a list that cannot be read ends everything.
    let jobs = wanted.map(move |entry| entry.map(|entry| plan::job(&source, &target, &entry)));
    transfer_all(mover, jobs, command.many.concurrency, dry_run, name).await
}

/// Runs all jobs.
pub(super) async fn transfer_all(
    mover: &Mover,
    jobs: impl stream::Stream<Item = Result<Result<Job, CliError>, CliError>>,
    width: usize,
    dry_run: bool,
    name: &'static str,
) -> Result<Tally, CliError> {
    let (env, progress) = (mover.s3.link.env.clone(), mover.progress.clone());
    let jobs = jobs.inspect(|job| {
        if let Ok(Ok(job)) = job {
            progress.expect(job.size());
        }
    });
    let mover = mover.clone();
    each(&env, width, &progress, jobs, move |job| {
        let mover = mover.clone();
        async move {
            let job = job?;
            if !dry_run {
                mover.run(&job).await?;
                if name == "mv" {
                    remove_source(&mover, &job).await?;
                }
            }
            Ok(vec![job.done(name, dry_run)])
        }
    })
    .await
}

async fn remove_source(mover: &Mover, job: &Job) -> Result<(), CliError> {
    match job {
        Job::Up { from, .. } => local::remove(from),
        Job::Down { from, .. } | Job::Copy { from, .. } => {
            mover.s3.delete(&from.bucket, &from.key).await
        }
    }
}
