//! `godwit trace`: the requests of all regions as they end.

use clap::Args;
use http::Method;
use http_body_util::BodyExt as _;

use super::client::{Client, Endpoint, admin_ask, refusal};
use super::error::{CliError, Exit};
use super::output::Colour;
use super::{Common, output};
use crate::admin::model::TraceLine;
use crate::types::region::RegionId;

/// Shows the requests of all regions, as they end, until Ctrl-C.
///
/// The node that is asked asks the others.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    godwit trace --status 5xx\n  \
    godwit trace --bucket photos --min 200 --json\n  \
    godwit trace --errors --count 10")]
pub(super) struct Trace {
    /// Only this operation: GetObject
    #[arg(long)]
    op: Option<String>,
    /// Only this status: 404, or 5xx
    #[arg(long)]
    status: Option<String>,
    /// Only this bucket
    #[arg(long)]
    bucket: Option<String>,
    /// Only keys that begin so
    #[arg(long)]
    prefix: Option<String>,
    /// Only requests that took at least so many milliseconds
    #[arg(long, value_name = "MS")]
    min: Option<u64>,
    /// Only what was refused or failed
    #[arg(long)]
    errors: bool,
    /// Only what this region answers
    #[arg(long)]
    region: Option<RegionId>,
    /// End after so many
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// The longest line that is waited for; keys have a kilobyte.
const LINE_BYTES_MAX: usize = 64 << 10;

pub(super) fn run(common: &Common, command: &Trace) -> Result<Exit, CliError> {
    let client = Client::signed(&command.endpoint)?;
    client.run(listen(common, command, &client))?;
    Ok(Exit::Ok)
}

async fn listen(common: &Common, command: &Trace, client: &Client) -> Result<(), CliError> {
    let min = command.min.map(|min| min.to_string());
    let region = command.region.map_or_else(|| "all".to_owned(), |region| region.to_string());
    let filters = [
        ("region", Some(region.as_str())),
        ("op", command.op.as_deref()),
        ("status", command.status.as_deref()),
        ("bucket", command.bucket.as_deref()),
        ("prefix", command.prefix.as_deref()),
        ("min_ms", min.as_deref()),
        ("errors", command.errors.then_some("true")),
    ];
    let query: Vec<(&str, &str)> =
        filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let link = &client.link;
    let (status, mut body) = link.listen(&admin_ask(Method::GET, "trace", &query)).await?;
    if status != 200 {
        let document = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        return Err(refusal(link, status, &document));
    }
    let bad = |why: String| CliError::new(Exit::Unavailable, "Network", why);
    let (mut waiting, mut left) = (Vec::new(), command.count);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| bad(format!("{}: {error}", link.uri())))?;
        let Ok(data) = frame.into_data() else { continue };
        waiting.extend_from_slice(&data);
        if waiting.is_empty() || waiting.len() > LINE_BYTES_MAX {
            return Err(bad(format!("{} does not answer as godwit does", link.uri())));
        }
        while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = waiting.drain(..=end).collect();
            let Ok(line) = serde_json::from_slice::<TraceLine>(&line) else { continue };
            show(common, &line);
            left = left.map(|left| left.saturating_sub(1));
            if left == Some(0) {
                return Ok(());
            }
        }
    }
    Err(bad(format!("{} stopped", link.uri())).hint("godwit status shows the regions"))
}

fn show(common: &Common, line: &TraceLine) {
    if common.json {
        output::json(line);
        return;
    }
    if line.missed > 0 {
        output::note(&format!("{} requests were not shown: too many", line.missed));
    }
    let colour = match line.status {
        500.. => Colour::Red,
        400.. => Colour::Yellow,
        _ => Colour::Green,
    };
    let status = output::shown(colour, &line.status.to_string());
    let what = match (&line.bucket, &line.key) {
        (Some(bucket), Some(key)) => format!("s3://{bucket}/{key}"),
        (Some(bucket), None) => format!("s3://{bucket}"),
        _ => String::new(),
    };
    let error = line.error.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
    let from = line.source.as_ref().map(|source| format!(" from {source}")).unwrap_or_default();
    let (time, op, ms, bytes) =
        (output::when(line.at_ms), &line.op, line.ms, output::size(line.bytes));
    output::line(&format!(
        "{time} {} {status} {op:<24} {ms:>6} ms {bytes:>10} {} {what}{error}{from}",
        line.region, line.caller
    ));
}
