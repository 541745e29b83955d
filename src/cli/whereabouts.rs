//! `godwit where s3://bucket/key`: where an object lives, who reads it, and why it moved.

mod watch;

use clap::Args;

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::live::Watch;
use super::{Common, output};
use crate::admin::model;
use crate::types::region::RegionId;

/// Shows where an object lives, who reads it, and why it moved.
///
/// With --watch it goes on until q or Ctrl-C, and marks what moved.
#[derive(Args)]
#[command(after_help = "Examples:\n  godwit where s3://demo/notes.txt")]
pub(super) struct Where {
    /// The object: s3://BUCKET/KEY
    #[arg(value_parser = location)]
    object: (String, String),
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    endpoint: Endpoint,
}

fn location(text: &str) -> Result<(String, String), String> {
    let parts = text.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    match parts {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
            Ok((bucket.to_owned(), key.to_owned()))
        }
        _ => Err("an object is named s3://BUCKET/KEY".to_owned()),
    }
}

pub(super) fn run(common: &Common, command: &Where) -> Result<Exit, CliError> {
    let (bucket, key) = &command.object;
    let client = Client::signed(&command.endpoint)?;
    let query = [("bucket", bucket.as_str()), ("key", key.as_str())];
    if command.watch.watch {
        return watch::run(common, &command.watch, &client, &query);
    }
    show(common, &client.get("where", &query)?);
    Ok(Exit::Ok)
}

fn show(common: &Common, found: &model::Where) {
    if common.json {
        output::json(found);
    } else {
        print(found);
    }
}

fn print(found: &model::Where) {
    let codes = |regions: &[RegionId]| {
        let codes: Vec<String> = regions.iter().map(ToString::to_string).collect();
        if codes.is_empty() { "-".to_owned() } else { codes.join(", ") }
    };
    output::line(&format!(
        "s3://{}/{}   {} bytes   etag {}",
        found.bucket, found.key, found.size, found.etag
    ));
    let primary = found.primary.map_or_else(|| "-".to_owned(), |region| region.to_string());
    output::line(&format!("primary   {primary}"));
    output::line(&format!("holders   {}", codes(&found.holders)));
    output::line(&format!("cached    {}", codes(&found.cached)));
    if !found.leases.is_empty() {
        let held = found.leases.iter();
        let held: Vec<String> = held.map(|l| format!("{} {} ms", l.region, l.left_ms)).collect();
        output::line(&format!("leases    {}", held.join(", ")));
    }
    let heat: Vec<String> = found.heat.iter().map(|(r, h)| format!("{r} {h:.1}")).collect();
    let heat = if heat.is_empty() { "-".to_owned() } else { heat.join(", ") };
    output::line(&format!("heat      {heat}"));
    for (index, step) in found.moves.iter().enumerate() {
        let head = if index == 0 { "moves" } else { "" };
        output::line(&format!("{head:<9} {} -> {}: {}", step.from, step.to, step.reason));
    }
    if let Some(note) = &found.note {
        output::line(&format!("next      {note}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_other_tools_name_them() {
        assert_eq!(location("s3://b/k/l"), Ok(("b".to_owned(), "k/l".to_owned())));
        for bad in ["b/k", "s3://b", "s3://b/", "s3:///k"] {
            assert!(location(bad).is_err(), "{bad}");
        }
    }
}
