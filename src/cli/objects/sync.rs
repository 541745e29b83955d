//! `godwit sync`: makes one folder like another, copying what differs.
//!
//! Invariant: nothing is deleted unless everything at the source was listed.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use futures_util::{StreamExt as _, stream};

use super::cp::transfer_all;
use super::{Many, run, summary};
use crate::cli::error::{CliError, Exit};
use crate::cli::s3::ends::Ends;
use crate::cli::s3::merge::{Pair, merge};
use crate::cli::s3::place::{Place, Remote, file_below};
use crate::cli::s3::plan::{self, Compare, Entry};
use crate::cli::s3::transfer::Mover;
use crate::cli::s3::work::{Done, Tally, each};
use crate::cli::s3::{Named, local};
use crate::cli::{Common, output};

/// Copies what is missing, of another size, or older at the target. Run again after an interruption,
/// it goes on where it was: parts of large files that were sent are not sent again.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    godwit sync photos s3://demo/synced\n  \
    godwit sync photos s3://demo/synced --delete -y\n  \
    godwit sync --checksum --dry-run s3://demo/synced photos")]
pub(in crate::cli) struct Sync {
    /// A folder or s3://BUCKET/PREFIX
    source: Place,
    /// A folder or s3://BUCKET/PREFIX
    target: Place,
    /// Delete what is at the target alone
    #[arg(long)]
    delete: bool,
    /// Compare sizes and contents (ETags), not times
    #[arg(long, conflicts_with = "size_only")]
    checksum: bool,
    /// Compare sizes alone
    #[arg(long)]
    size_only: bool,
    #[command(flatten)]
    many: Many,
}

/// Keys that are deleted with one request. Source: S3 API reference, `DeleteObjects`.
const DELETE_BATCH: usize = 1000;

pub(in crate::cli) fn sync(common: &Common, command: &Sync) -> Result<Exit, CliError> {
    let (filter, deletes) = (command.many.filter(), command.delete);
    Ends { from: &command.source, to: &command.target, filter: &filter, deletes }.check()?;
    let (client, mover) = command.many.start(common)?;
    let mover = mover.resuming();
    let began = client.link.env.monotonic();
    let surplus = Mutex::new(Vec::new());
    let again = |error: CliError| error.or_hint("run it again: it goes on where it was");
    let copied = run(&client, &mover, copy(&mover, command, &surplus)).map_err(again)?;
    let surplus = surplus.into_inner().unwrap_or_else(PoisonError::into_inner);
    let deleted = remove(common, command, &client, &mover, surplus)?;
    let tally = Tally {
        done: copied.done + deleted.done,
        bytes: copied.bytes,
        failed: copied.failed + deleted.failed,
    };
    summary(common, &client, began, tally);
    Ok(tally.exit())
}

/// What is at a place, in its order, without what is not looked at.
fn listed(
    mover: &Mover,
    command: &Sync,
    place: &Place,
) -> Result<stream::BoxStream<'static, Result<Entry, CliError>>, CliError> {
    let filter = command.many.filter();
    let takes = move |entry: &Result<Entry, CliError>| {
        let takes = entry.as_ref().map_or(true, |entry| filter.takes(&entry.relative));
        std::future::ready(takes)
    };
    Ok(plan::entries(&mover.s3, place)?.filter(takes).boxed())
}

/// Copies what has to be; what is at the target alone is noted in `surplus`, with --delete.
async fn copy(
    mover: &Mover,
    command: &Sync,
    surplus: &Mutex<Vec<String>>,
) -> Result<Tally, CliError> {
    let how = match (command.checksum, command.size_only) {
        (true, _) => Compare::Content,
        (_, true) => Compare::Size,
        _ => Compare::Time,
    };
    let (source, target) = (&command.source, &command.target);
    let absent = matches!(target, Place::Local(path) if !local::is_folder(path));
    let there = if absent { stream::empty().boxed() } else { listed(mover, command, target)? };
    let pairs = merge(listed(mover, command, source)?, there);
    let part_bytes = command.many.part_size << 20;
    let jobs = pairs.filter_map(|pair: Result<Pair, CliError>| {
        let job = match pair {
            Err(error) => Some(Err(error)),
            Ok((Some(entry), there)) => {
                match wanted(command, &entry, there.as_ref(), how, part_bytes) {
                    Ok(false) => None,
                    Ok(true) => Some(Ok(plan::job(source, target, &entry))),
                    Err(error) => Some(Ok(Err(error))),
                }
            }
            Ok((None, there)) => {
                if let Some(there) = there.filter(|_| command.delete) {
                    surplus.lock().unwrap_or_else(PoisonError::into_inner).push(there.relative);
                }
                None
            }
        };
        std::future::ready(job)
    });
    transfer_all(mover, jobs, command.many.concurrency, command.many.dry_run, "cp").await
}

/// Whether an entry has to be copied.
fn wanted(
    command: &Sync,
    entry: &Entry,
    there: Option<&Entry>,
    how: Compare,
    part_bytes: u64,
) -> Result<bool, CliError> {
    if plan::differs(entry, there, how) || how != Compare::Content {
        return Ok(plan::differs(entry, there, how));
    }
    let (file, etag) = match (&command.source, &command.target) {
        (Place::Local(folder), _) => {
            (folder.join(&entry.relative), there.and_then(|there| there.etag.as_ref()))
        }
        (_, Place::Local(folder)) => {
            let file = file_below(folder, &entry.relative);
            (file.unwrap_or_default(), entry.etag.as_ref())
        }
        _ => return Ok(entry.etag != there.and_then(|there| there.etag.clone())),
    };
    let Some(etag) = etag else { return Ok(true) };
    Ok(!plan::same_content(&file, entry.size, etag, part_bytes)?)
}

fn remove(
    common: &Common,
    command: &Sync,
    client: &crate::cli::client::Client,
    mover: &Mover,
    names: Vec<String>,
) -> Result<Tally, CliError> {
    if names.is_empty() {
        return Ok(Tally::default());
    }
    let dry_run = command.many.dry_run;
    if !dry_run {
        let what = format!("delete {} at {}", output::count(names.len(), "object"), command.target);
        output::confirm(common, &what)?;
    }
    let done =
        |source: String| Done { operation: "rm", source, target: None, bytes: None, dry_run };
    match &command.target {
        Place::Remote(at) => {
            let folder = at.folder();
            let keys = names.iter().map(|name| folder.below(name).key).collect();
            run(client, mover, delete_keys(mover, &folder, keys, command.many.concurrency, dry_run))
        }
        Place::Local(folder) => {
            let mut tally = Tally::default();
            for path in names.iter().filter_map(|name| file_below(folder, name)) {
                if !dry_run {
                    local::remove(&path)?;
                }
                tally.done += 1;
                mover.progress.tell(&done(path.display().to_string()));
            }
            Ok(tally)
        }
        Place::Stdio => Ok(Tally::default()),
    }
}

/// Deletes keys of one bucket, many with each request.
pub(super) async fn delete_keys(
    mover: &Mover,
    at: &Remote,
    keys: Vec<String>,
    width: usize,
    dry_run: bool,
) -> Result<Tally, CliError> {
    let batches: Vec<Vec<String>> = keys.chunks(DELETE_BATCH).map(<[String]>::to_vec).collect();
    let batches = stream::iter(batches.into_iter().map(Ok));
    delete_batches(mover, at, batches, width, dry_run).await
}

/// The same for a list that is still being read.
pub(super) async fn delete_batches(
    mover: &Mover,
    at: &Remote,
    batches: impl stream::Stream<Item = Result<Vec<String>, CliError>>,
    width: usize,
    dry_run: bool,
) -> Result<Tally, CliError> {
    let (env, progress) = (mover.s3.link.env.clone(), mover.progress.clone());
    let (mover, bucket) = (mover.clone(), at.bucket.clone());
    each(&env, width, &progress, batches, move |keys: Vec<String>| {
        let (mover, bucket) = (mover.clone(), bucket.clone());
        async move {
            let failed = match dry_run {
                true => Vec::new(),
                false => {
                    let named = |key: &String| Named { key: key.clone(), version: None };
                    let all: Vec<Named> = keys.iter().map(named).collect();
                    mover.s3.delete_many(&bucket, &all).await?
                }
            };
            let (failed, first): (HashSet<&String>, _) =
                (failed.iter().map(|(key, _)| key).collect(), failed.first());
            let gone = keys.iter().filter(|key| !failed.contains(key)).map(|key| Done {
                operation: "rm",
                source: format!("s3://{bucket}/{key}"),
                target: None,
                bytes: None,
                dry_run,
            });
            let gone: Vec<Done> = gone.collect();
            match first {
                None => Ok(gone),
                Some((key, why)) => {
                    gone.iter().for_each(|done| mover.progress.tell(done));
                    let message = format!("s3://{bucket}/{key}: {why}");
                    let error = CliError::new(Exit::Partial, "NotDeleted", message);
                    Err(error.hint(format!("{} not deleted", output::count(failed.len(), "key"))))
                }
            }
        }
    })
    .await
}
