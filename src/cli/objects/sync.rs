//! `godwit sync`: makes one folder like another, copying what differs.
//!
//! Invariant: nothing is deleted unless everything at the source was listed.

use std::collections::{HashMap, HashSet};

use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::cp::transfer_all;
use super::{Many, run, summary};
use crate::cli::error::{CliError, Exit};
use crate::cli::s3::glob::Filter;
use crate::cli::s3::place::{Place, Remote, file_below};
use crate::cli::s3::plan::{self, Compare, Entry};
use crate::cli::s3::transfer::Mover;
use crate::cli::s3::work::{Done, Tally, each};
use crate::cli::s3::{Named, local};
use crate::cli::{Common, output};

/// Copies what is missing, of another size, or older at the target. Run again after an interruption,
/// it goes on where it was.
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
    let (client, mover) = command.many.start(common)?;
    let began = client.link.env.monotonic();
    let target = run(&client, &mover, at_target(&mover, command))?;
    let mut names = HashSet::new();
    let copied = run(&client, &mover, copy(&mover, command, &target, &mut names))?;
    let surplus: Vec<String> =
        target.into_keys().filter(|name| command.delete && !names.contains(name)).collect();
    let deleted = remove(common, command, &client, &mover, surplus)?;
    let tally = Tally {
        done: copied.done + deleted.done,
        bytes: copied.bytes,
        failed: copied.failed + deleted.failed,
    };
    summary(common, &client, began, tally);
    Ok(tally.exit())
}

/// What is at the target, by name; nothing where its folder is not there yet.
async fn at_target(mover: &Mover, command: &Sync) -> Result<HashMap<String, Entry>, CliError> {
    let absent = matches!(&command.target, Place::Local(path) if !local::is_folder(path));
    if absent {
        return Ok(HashMap::new());
    }
    let filter = command.many.filter();
    let entries = plan::entries(&mover.s3, &command.target)?;
    let wanted = entries.try_filter(|entry| std::future::ready(filter.takes(&entry.relative)));
    wanted.map_ok(|entry| (entry.relative.clone(), entry)).try_collect().await
}

async fn copy(
    mover: &Mover,
    command: &Sync,
    target: &HashMap<String, Entry>,
    names: &mut HashSet<String>,
) -> Result<Tally, CliError> {
    let how = match (command.checksum, command.size_only) {
        (true, _) => Compare::Content,
        (_, true) => Compare::Size,
        _ => Compare::Time,
    };
    let filter: Filter = command.many.filter();
    let entries = plan::entries(&mover.s3, &command.source)?;
    let part_bytes = command.many.part_size << 20;
    let jobs = entries.filter_map(|entry| {
        let job = match entry {
            Err(error) => Some(Err(error)),
            Ok(entry) if !filter.takes(&entry.relative) => None,
            Ok(entry) => {
                names.insert(entry.relative.clone());
                let there = target.get(&entry.relative);
                match wanted(command, &entry, there, how, part_bytes) {
                    Ok(false) => None,
                    Ok(true) => Some(Ok(plan::job(&command.source, &command.target, &entry))),
                    Err(error) => Some(Ok(Err(error))),
                }
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
    mut names: Vec<String>,
) -> Result<Tally, CliError> {
    if names.is_empty() {
        return Ok(Tally::default());
    }
    names.sort_unstable();
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
