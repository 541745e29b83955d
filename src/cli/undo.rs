//! `godwit conflicts`, `godwit undelete`, `godwit keeping`: what writes ended, and bringing it back.

use clap::{Args, Subcommand};

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::{Common, output};
use crate::admin::model::{self, Kept, KeptSide, KeptWhy};

/// Pages of a list that are read at most.
const PAGES_MAX: usize = 1000;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Conflicts {
    #[command(subcommand)]
    command: Option<Act>,
    /// Only below this: s3://BUCKET[/PREFIX]; else all buckets of an admin key
    #[arg(value_parser = place)]
    place: Option<(String, String)>,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Subcommand)]
enum Act {
    /// Bring a loser back, as a new write
    Restore(Undelete),
}

#[derive(Args)]
pub(super) struct Undelete {
    /// The object or the bucket: s3://BUCKET[/KEY]; with --list s3://BUCKET[/PREFIX]
    #[arg(value_parser = place)]
    place: (String, String),
    /// Which version; else the newest one of a key that has no object
    #[arg(long, value_name = "ID", conflicts_with = "list")]
    version: Option<String>,
    /// Show what can be brought back
    #[arg(long)]
    list: bool,
    /// End the version, or the deleted bucket, for good instead
    #[arg(long, conflicts_with = "list")]
    purge: bool,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Args)]
pub(super) struct Keeping {
    /// The bucket: s3://BUCKET
    #[arg(value_parser = place)]
    place: (String, String),
    /// Keep losers of concurrent writes for so many hours; 0: not at all
    #[arg(long, value_name = "HOURS")]
    undo: Option<u64>,
    /// Keep what is overwritten or deleted for so many days (7 to 90), or `off`
    #[arg(long, value_name = "DAYS", value_parser = days)]
    soft_delete: Option<Days>,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Days(Option<u16>);

fn days(text: &str) -> Result<Days, String> {
    if text == "off" {
        return Ok(Days(None));
    }
    text.parse().map(|days| Days(Some(days))).map_err(|_| "a number of days, or off".to_owned())
}

fn place(text: &str) -> Result<(String, String), String> {
    let rest = text.strip_prefix("s3://").unwrap_or_default();
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err("a bucket is named s3://BUCKET, an object s3://BUCKET/KEY".to_owned());
    }
    Ok((bucket.to_owned(), key.to_owned()))
}

pub(super) fn conflicts(common: &Common, command: Conflicts) -> Result<Exit, CliError> {
    if let Some(Act::Restore(restore)) = command.command {
        return undelete(common, &restore);
    }
    let client = Client::signed(&command.endpoint)?;
    let found = list(&client, command.place.as_ref(), "lost")?;
    show(common, &found, "no write lost against another one");
    Ok(Exit::Ok)
}

pub(super) fn undelete(common: &Common, command: &Undelete) -> Result<Exit, CliError> {
    let client = Client::signed(&command.endpoint)?;
    let (bucket, key) = &command.place;
    if command.list {
        let found = list(&client, Some(&command.place), "replaced")?;
        show(common, &found, "nothing that was deleted is kept");
        return Ok(Exit::Ok);
    }
    if key.is_empty() {
        super::bucket::undelete(common, &command.endpoint, bucket, command.purge)?;
        return Ok(Exit::Ok);
    }
    if command.purge && command.version.is_none() {
        let message = "which version of the object shall end is not said";
        return Err(CliError::new(Exit::Usage, "Usage", message)
            .hint(format!("godwit undelete --list s3://{bucket}/{key} shows what there is")));
    }
    if let Some(version) = command.version.as_ref().filter(|_| command.purge) {
        let query = [("bucket", &**bucket), ("key", key), ("version", version)];
        client.delete::<()>("kept", &query)?;
        output::note(&format!("Version {version} of s3://{bucket}/{key} is gone for good."));
        return Ok(Exit::Ok);
    }
    let version = command.version.clone();
    let request = model::Restore { bucket: bucket.clone(), key: key.clone(), version };
    let made: model::Restored = client.post("restore", &request).map_err(|error| {
        error.or_hint(format!("godwit undelete --list s3://{bucket}/{key} shows what there is"))
    })?;
    if common.json {
        output::json(&made);
    } else {
        output::line(&format!("s3://{}/{}   {} bytes", made.bucket, made.key, made.size));
    }
    Ok(Exit::Ok)
}

pub(super) fn keeping(common: &Common, command: &Keeping) -> Result<Exit, CliError> {
    let client = Client::signed(&command.endpoint)?;
    let bucket = [("bucket", &*command.place.0)];
    let mut set: model::KeepingBody = client.get("keeping", &bucket)?;
    if command.undo.is_some() || command.soft_delete.is_some() {
        if let Some(hours) = command.undo {
            set.undo_minutes = hours.saturating_mul(60);
        }
        if let Some(Days(days)) = command.soft_delete {
            set.soft_delete_days = days;
        }
        client.put::<()>("keeping", &bucket, &set)?;
    }
    if common.json {
        output::json(&set);
        return Ok(Exit::Ok);
    }
    output::line(&format!("undo window   {} h", set.undo_minutes / 60));
    let soft = set.soft_delete_days.map_or_else(|| "off".to_owned(), |days| format!("{days} days"));
    output::line(&format!("soft delete   {soft}"));
    Ok(Exit::Ok)
}

fn list(
    client: &Client,
    place: Option<&(String, String)>,
    why: &str,
) -> Result<model::KeptList, CliError> {
    let mut all = model::KeptList { kept: Vec::new(), next: None };
    for _ in 0..PAGES_MAX {
        let mut query = vec![("why", why)];
        if let Some((bucket, prefix)) = place {
            query.extend([("bucket", &**bucket), ("prefix", prefix)]);
        }
        let after = all.next.take();
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page: model::KeptList = client.get("kept", &query)?;
        all.kept.extend(page.kept);
        all.next = page.next;
        if all.next.is_none() {
            break;
        }
    }
    Ok(all)
}

fn show(common: &Common, found: &model::KeptList, none: &str) {
    if common.json {
        output::json(found);
        return;
    }
    if found.kept.is_empty() {
        output::note(none);
        return;
    }
    let head = ["object", "version", "from", "bytes", "instead", "until"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(found.kept.iter().map(row));
    output::table(&rows);
    output::note("godwit undelete s3://BUCKET/KEY --version VERSION brings one back");
}

fn row(kept: &Kept) -> Vec<String> {
    let bytes =
        |side: &KeptSide| side.size.map_or_else(|| "deleted".to_owned(), |size| size.to_string());
    let until = match (kept.until_ms, kept.why) {
        (Some(ms), _) => {
            httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms))
        }
        (None, KeptWhy::Lost | KeptWhy::Replaced) => "not begun".to_owned(),
    };
    let current = kept.current.as_ref();
    let instead = current.map_or_else(|| "-".to_owned(), |c| format!("{} {}", c.region, bytes(c)));
    vec![
        format!("s3://{}/{}", kept.bucket, kept.key),
        kept.version.version.clone(),
        kept.version.region.to_string(),
        bytes(&kept.version),
        instead,
        until,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_buckets_prefixes_and_objects() {
        assert_eq!(place("s3://b"), Ok(("b".into(), String::new())));
        assert_eq!(place("s3://b/k/l"), Ok(("b".into(), "k/l".into())));
        assert!(place("b/k").is_err() && place("s3:///k").is_err());
        assert_eq!((days("off"), days("30")), (Ok(Days(None)), Ok(Days(Some(30)))));
        assert!(days("soon").is_err());
    }
}
