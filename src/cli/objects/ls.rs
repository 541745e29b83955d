//! `godwit ls` and `godwit du`.

use clap::Args;
use futures_util::TryStreamExt as _;
use serde_json::json;

use crate::cli::client::{Client, Endpoint};
use crate::cli::error::{CliError, Exit};
use crate::cli::s3::place::Remote;
use crate::cli::s3::{S3, Stored, plan};
use crate::cli::{Common, output};

/// Lists the buckets, or the objects and folders below a prefix.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    godwit ls\n  \
    godwit ls s3://demo/photos/\n  \
    godwit ls -r --json s3://demo")]
pub(in crate::cli) struct Ls {
    /// s3://BUCKET/PREFIX; without it, the buckets
    at: Option<Remote>,
    /// All objects below, not folder by folder
    #[arg(long, short)]
    recursive: bool,
    /// Sizes in bytes
    #[arg(long)]
    bytes: bool,
    #[command(flatten)]
    endpoint: Endpoint,
}

pub(in crate::cli) fn ls(common: &Common, command: &Ls) -> Result<Exit, CliError> {
    let client = Client::signed(&command.endpoint)?;
    let s3 = S3::new(client.link.clone());
    client.run(async {
        match &command.at {
            None => buckets(common, &s3).await,
            Some(at) => objects(common, command, &s3, at).await,
        }
    })?;
    Ok(Exit::Ok)
}

async fn buckets(common: &Common, s3: &S3) -> Result<(), CliError> {
    for (name, created_ms) in s3.buckets().await? {
        match common.json {
            true => output::json(&json!({ "bucket": name, "created_ms": created_ms })),
            false => output::line(&format!("{}  s3://{name}", output::when(created_ms))),
        }
    }
    Ok(())
}

async fn objects(common: &Common, command: &Ls, s3: &S3, at: &Remote) -> Result<(), CliError> {
    let mut token = None;
    let mut found = false;
    loop {
        let page = s3.list(&at.bucket, &at.key, !command.recursive, token.as_deref()).await?;
        found = found || !page.prefixes.is_empty() || !page.objects.is_empty();
        for prefix in &page.prefixes {
            let folder = format!("s3://{}/{prefix}", at.bucket);
            match common.json {
                true => output::json(&json!({ "bucket": at.bucket, "prefix": prefix })),
                false => output::line(&format!("{:19}  {:>10}  {folder}", "", "folder")),
            }
        }
        for object in &page.objects {
            show(common, command, at, object);
        }
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    if !found && !at.key.is_empty() {
        let message = format!("nothing begins with {at}");
        return Err(CliError::new(Exit::NotFound, "NotFound", message)
            .hint(format!("godwit ls s3://{}", at.bucket)));
    }
    Ok(())
}

fn show(common: &Common, command: &Ls, at: &Remote, object: &Stored) {
    let Stored { key, size, modified_ms, etag } = object;
    if common.json {
        output::json(&json!({
            "bucket": at.bucket, "key": key, "size": size, "modified_ms": modified_ms, "etag": etag,
        }));
        return;
    }
    let bytes = if command.bytes { size.to_string() } else { output::size(*size) };
    let time = output::when(*modified_ms);
    output::line(&format!("{time}  {bytes:>10}  s3://{}/{key}", at.bucket));
}

/// Tells how many objects are below a prefix, and how many bytes they have.
#[derive(Args)]
#[command(after_help = "Examples:\n  godwit du s3://demo\n  godwit du --json s3://demo/photos/")]
pub(in crate::cli) struct Du {
    /// s3://BUCKET/PREFIX
    at: Remote,
    #[command(flatten)]
    endpoint: Endpoint,
}

pub(in crate::cli) fn du(common: &Common, command: &Du) -> Result<Exit, CliError> {
    let client = Client::signed(&command.endpoint)?;
    let s3 = S3::new(client.link.clone());
    let sum = plan::objects(&s3, &command.at).try_fold((0_u64, 0_u64), |(count, bytes), object| {
        std::future::ready(Ok((count + 1, bytes + object.size)))
    });
    let (objects, bytes) = client.run(sum)?;
    if common.json {
        output::json(&json!({ "objects": objects, "bytes": bytes }));
    } else {
        let at = &command.at;
        output::line(&format!("{}  {objects} objects  {at}", output::size(bytes)));
    }
    Ok(Exit::Ok)
}
