//! `godwit cat`, `godwit stat`, `godwit presign`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::json;

use crate::cli::client::{Client, Endpoint};
use crate::cli::error::{CliError, Exit};
use crate::cli::link::Ask;
use crate::cli::s3::place::Remote;
use crate::cli::s3::transfer::{Mover, PART_BYTES};
use crate::cli::s3::work::Progress;
use crate::cli::s3::{Head, S3};
use crate::cli::{Common, output};
use crate::config::Seconds;
use crate::limits;

/// An object by its whole name.
fn object(text: &str) -> Result<Remote, String> {
    let remote: Remote = text.parse()?;
    if remote.key.is_empty() {
        return Err("an object is named s3://BUCKET/KEY".to_owned());
    }
    Ok(remote)
}

/// Writes an object to standard output.
#[derive(Args)]
#[command(after_help = "Examples:\n  godwit cat s3://demo/notes.txt")]
pub(in crate::cli) struct Cat {
    /// s3://BUCKET/KEY
    #[arg(value_parser = object)]
    object: Remote,
    #[command(flatten)]
    endpoint: Endpoint,
}

pub(in crate::cli) fn cat(common: &Common, command: &Cat) -> Result<Exit, CliError> {
    let client = Client::signed(&command.endpoint)?;
    let s3 = S3::new(client.link.clone());
    let mover = Mover::new(s3, Progress::new(common), 8, PART_BYTES);
    let printed = client.run(mover.print(&command.object));
    mover.progress.end();
    printed.map_err(|error| error.about(&command.object.to_string()))?;
    Ok(Exit::Ok)
}

/// Shows what is known of an object: size, times, metadata.
#[derive(Args)]
#[command(after_help = "Examples:\n  godwit stat s3://demo/notes.txt")]
pub(in crate::cli) struct Stat {
    /// s3://BUCKET/KEY
    #[arg(value_parser = object)]
    object: Remote,
    #[command(flatten)]
    endpoint: Endpoint,
}

pub(in crate::cli) fn stat(common: &Common, command: &Stat) -> Result<Exit, CliError> {
    let client = Client::signed(&command.endpoint)?;
    let s3 = S3::new(client.link.clone());
    let Remote { bucket, key } = &command.object;
    let head = client.run(s3.head(bucket, key));
    let head: Head = head.map_err(|error| error.about(&command.object.to_string()))?;
    if common.json {
        output::json(&json!({
            "bucket": bucket, "key": key, "size": head.size, "etag": head.etag,
            "modified_ms": head.modified_ms, "headers": head.headers,
        }));
        return Ok(Exit::Ok);
    }
    output::line(&command.object.to_string());
    let size = format!("{} ({} bytes)", output::size(head.size), head.size);
    let mut rows = vec![
        vec!["size".to_owned(), size],
        vec!["etag".to_owned(), head.etag.clone()],
        vec!["modified".to_owned(), output::when(head.modified_ms)],
    ];
    let told = ["content-length", "etag", "last-modified"];
    let others = head.headers.into_iter().filter(|(name, _)| !told.contains(&name.as_str()));
    rows.extend(others.map(|(name, value)| vec![name, value]));
    output::table(&rows);
    Ok(Exit::Ok)
}

/// Makes a URL with which anybody can read or write an object for a while.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    godwit presign s3://demo/notes.txt --expires 15m\n  \
    godwit presign --method put s3://demo/upload.bin")]
pub(in crate::cli) struct Presign {
    /// s3://BUCKET/KEY
    #[arg(value_parser = object)]
    object: Remote,
    /// How long: 30s, 15m, 24h; at most 7 days
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    expires: Seconds,
    /// What the URL is for
    #[arg(long, value_enum, default_value_t = Verb::Get)]
    method: Verb,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Clone, Copy, ValueEnum)]
enum Verb {
    Get,
    Put,
    Head,
    Delete,
}

pub(in crate::cli) fn presign(common: &Common, command: &Presign) -> Result<Exit, CliError> {
    let lifetime = command.expires.0;
    if lifetime > limits::PRESIGN_MAX || lifetime < Duration::from_secs(1) {
        let message = "a URL is good for a second to seven days";
        return Err(CliError::new(Exit::Usage, "Usage", message));
    }
    let client = Client::signed(&command.endpoint)?;
    let method = match command.method {
        Verb::Get => Method::GET,
        Verb::Put => Method::PUT,
        Verb::Head => Method::HEAD,
        Verb::Delete => Method::DELETE,
    };
    let Remote { bucket, key } = &command.object;
    let url = client.link.presign(&Ask::new(method, format!("/{bucket}/{key}")), lifetime)?;
    match common.json {
        true => output::json(&json!({ "url": url, "expires_s": lifetime.as_secs() })),
        false => output::line(&url),
    }
    Ok(Exit::Ok)
}
