//! `godwit rm`.

use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::sync::delete_batches;
use super::{Many, run, summary};
use crate::cli::error::{CliError, Exit};
use crate::cli::s3::place::Remote;
use crate::cli::s3::plan;
use crate::cli::s3::transfer::Mover;
use crate::cli::s3::work::{Done, Tally};
use crate::cli::{Common, output};

/// Deletes an object, or with -r all whose keys begin with a prefix, after asking (-y does not ask).
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    godwit rm s3://demo/photos/photo.jpg\n  \
    godwit rm -r --dry-run s3://demo/synced/\n  \
    godwit rm -r -y s3://demo/synced/ --exclude '*.jpg'")]
pub(in crate::cli) struct Rm {
    /// s3://BUCKET/KEY, or with -r s3://BUCKET/PREFIX
    object: Remote,
    /// All keys that begin with the prefix
    #[arg(long, short)]
    recursive: bool,
    #[command(flatten)]
    many: Many,
}

/// Keys of one page of a list, which one request deletes.
const BATCH: usize = 1000;

pub(in crate::cli) fn rm(common: &Common, command: &Rm) -> Result<Exit, CliError> {
    let (client, mover) = command.many.start(common)?;
    let (at, dry_run) = (&command.object, command.many.dry_run);
    if !command.recursive {
        if at.key.is_empty() {
            let error = CliError::new(Exit::Usage, "Usage", format!("{at} is a bucket"));
            return Err(error.hint("godwit bucket rm BUCKET, or godwit rm -r for its objects"));
        }
        let work = async {
            // A deletion of nothing succeeds in S3; a person wants to know of the slip.
            mover.s3.head(&at.bucket, &at.key).await.map_err(|e| e.about(&at.to_string()))?;
            if dry_run { Ok(()) } else { mover.s3.delete(&at.bucket, &at.key).await }
        };
        run(&client, &mover, work)?;
        let source = at.to_string();
        mover.progress.tell(&Done { operation: "rm", source, target: None, bytes: None, dry_run });
        return Ok(Exit::Ok);
    }
    if !dry_run {
        output::confirm(common, &format!("delete every object that begins with {at}"))?;
    }
    let began = client.link.env.monotonic();
    let filter = command.many.filter();
    let takes = move |key: &str| filter.takes(key);
    let tally = run(&client, &mover, below(&mover, at, takes, command.many.concurrency, dry_run))?;
    summary(common, &client, began, tally);
    Ok(tally.exit())
}

/// Deletes what begins with a prefix.
async fn below(
    mover: &Mover,
    at: &Remote,
    takes: impl Fn(&str) -> bool,
    width: usize,
    dry_run: bool,
) -> Result<Tally, CliError> {
    let keys = plan::objects(&mover.s3, at).map_ok(|object| object.key);
    let keys = keys.try_filter(|key| std::future::ready(takes(key)));
    let batches = keys.ready_chunks(BATCH).map(|keys| keys.into_iter().collect());
    Box::pin(delete_batches(mover, at, batches, width, dry_run)).await
}

/// Deletes everything of a bucket: versions, delete markers, and uploads under way.
pub(in crate::cli) async fn empty(mover: &Mover, bucket: &str) -> Result<(), CliError> {
    loop {
        let versions = mover.s3.first_versions(bucket).await?;
        if versions.is_empty() {
            break;
        }
        let failed = mover.s3.delete_many(bucket, &versions).await?;
        if let Some((key, why)) = failed.first() {
            let message = format!("s3://{bucket}/{key}: {why}");
            return Err(CliError::new(Exit::Partial, "NotDeleted", message));
        }
    }
    for (key, upload) in mover.s3.first_uploads(bucket).await? {
        mover.s3.abort((bucket, &key, &upload)).await?;
    }
    Ok(())
}
