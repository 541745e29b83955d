//! `godwit top`: what the regions do, looked at again and again: as tables, or as JSON for programs.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use http::Method;
use serde::Serialize;

use super::client::{Client, Endpoint, admin_ask, decode};
use super::error::{CliError, Exit};
use super::{Common, output};
use crate::admin::model::{OpSums, PeerState, RegionStatus, Status, Traffic};
use crate::types::region::RegionId;

/// Shows what the regions do: requests, times, errors, caches, moves, lag, until Ctrl-C.
///
/// The node that is asked asks the others.
#[derive(Args)]
#[command(after_help = "Examples:\n  godwit top --once\n  godwit top --once --json --every 1\n  \
                        godwit top --once --region iad")]
pub(super) struct Top {
    /// Measure once and end
    #[arg(long)]
    once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
    /// Only this region
    #[arg(long)]
    region: Option<RegionId>,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// What all regions said at one moment; why one said nothing.
struct Look {
    status: Status,
    regions: BTreeMap<RegionId, Result<Traffic, String>>,
    at: Duration,
}

/// What happened in a region, or in all, between two looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Rates {
    /// Requests and failures (5xx) a second, and milliseconds that one took.
    per_s: f64,
    errors_per_s: f64,
    ms: f64,
    sent_bytes_per_s: f64,
    received_bytes_per_s: f64,
    /// The share of chunks that readers got without a question to another region.
    hits: Option<f64>,
    moves_per_s: f64,
    open: f64,
    copies_waiting: u64,
    below_copies: u64,
    /// By operation, the most first.
    ops: Vec<OpRates>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct OpRates {
    op: String,
    per_s: f64,
    errors_per_s: f64,
    ms: f64,
}

/// One region as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct RegionRates {
    code: RegionId,
    #[serde(skip)]
    status: RegionStatus,
    rates: Option<Rates>,
    /// Why there are none.
    error: Option<String>,
}

/// What is shown of two looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Seen {
    #[serde(flatten)]
    all: Rates,
    regions: Vec<RegionRates>,
    status: Status,
}

pub(super) fn run(common: &Common, command: &Top) -> Result<Exit, CliError> {
    let client = Client::signed(&command.endpoint)?;
    client.run(watch(common, command, &client))?;
    Ok(Exit::Ok)
}

async fn watch(common: &Common, command: &Top, client: &Client) -> Result<(), CliError> {
    let mut before = look(client, command.region).await?;
    loop {
        client.link.env.sleep(Duration::from_secs(command.every)).await;
        let now = look(client, command.region).await?;
        if !command.once && !common.json && std::io::stdout().is_terminal() {
            // The screen is cleared, and the cursor goes home.
            output::line("\x1b[2J\x1b[H");
        }
        show(common, &seen(&before, &now));
        if command.once {
            return Ok(());
        }
        before = now;
    }
}

async fn look(client: &Client, only: Option<RegionId>) -> Result<Look, CliError> {
    let answer = client.link.ask(&admin_ask(Method::GET, "status", &[])).await?;
    let status: Status = decode(&client.link, &answer)?;
    let asked = status.regions.iter().filter(|region| only.is_none_or(|only| only == region.code));
    let asked = asked.map(|region| async move {
        if region.state == PeerState::Away {
            return (region.code, Err("away".to_owned()));
        }
        let code = region.code.to_string();
        let ask = admin_ask(Method::GET, "traffic", &[("region", &code)]);
        let found = match client.link.ask(&ask).await {
            Ok(answer) => decode::<Traffic>(&client.link, &answer),
            Err(why) => Err(why),
        };
        (region.code, found.map_err(|why| why.message().to_owned()))
    });
    let regions: BTreeMap<_, _> = join_all(asked).await.into_iter().collect();
    if let (Some(only), true) = (only, regions.is_empty()) {
        return Err(CliError::new(Exit::NotFound, "NoSuchRegion", format!("{only} is no region"))
            .hint("godwit region ls shows the regions"));
    }
    Ok(Look { status, regions, at: client.link.env.monotonic() })
}

fn seen(before: &Look, now: &Look) -> Seen {
    let seconds = now.at.saturating_sub(before.at).as_secs_f64().max(0.001);
    let of = |region: &RegionStatus| {
        let (rates, error) = match (before.regions.get(&region.code), now.regions.get(&region.code))
        {
            (_, None) => return None,
            (Some(Ok(before)), Some(Ok(now))) => (Some(rates(before, now, seconds)), None),
            (_, Some(Err(why))) => (None, Some(why.clone())),
            (_, Some(Ok(_))) => (None, Some("looked at for the first time".to_owned())),
        };
        Some(RegionRates { code: region.code, status: region.clone(), rates, error })
    };
    let regions: Vec<RegionRates> = now.status.regions.iter().filter_map(of).collect();
    Seen { all: together(before, now, seconds), regions, status: now.status.clone() }
}

/// What happened in all regions that were looked at twice.
fn together(before: &Look, now: &Look, seconds: f64) -> Rates {
    let (mut first, mut last) = (Traffic::default(), Traffic::default());
    for (region, found) in &now.regions {
        if let (Some(Ok(old)), Ok(new)) = (before.regions.get(region), found) {
            add(&mut first, old);
            add(&mut last, new);
        }
    }
    rates(&first, &last, seconds)
}

fn add(sum: &mut Traffic, one: &Traffic) {
    for (op, sums) in &one.ops {
        let all = sum.ops.entry(op.clone()).or_default();
        all.requests += sums.requests;
        all.errors += sums.errors;
        all.seconds += sums.seconds;
    }
    for (source, chunks) in &one.chunks {
        *sum.chunks.entry(source.clone()).or_default() += chunks;
    }
    sum.open += one.open;
    sum.sent_bytes += one.sent_bytes;
    sum.received_bytes += one.received_bytes;
    sum.moves += one.moves;
    sum.copies_waiting += one.copies_waiting;
    sum.below_copies += one.below_copies;
}

fn rates(before: &Traffic, now: &Traffic, seconds: f64) -> Rates {
    let (mut all, mut ops) = (OpSums::default(), Vec::new());
    for (op, sums) in &now.ops {
        let old = before.ops.get(op).copied().unwrap_or_default();
        let requests = sums.requests - old.requests;
        // A node that was started again counts from nothing.
        if requests <= 0.0 {
            continue;
        }
        let (errors, took) = (sums.errors - old.errors, sums.seconds - old.seconds);
        all.requests += requests;
        all.errors += errors;
        all.seconds += took;
        let ms = took / requests * 1000.0;
        let (per_s, errors_per_s) = (requests / seconds, errors / seconds);
        ops.push(OpRates { op: op.clone(), per_s, errors_per_s, ms });
    }
    ops.sort_by(|a, b| b.per_s.total_cmp(&a.per_s));
    let grown = |source: &str| {
        let of = |traffic: &Traffic| traffic.chunks.get(source).copied().unwrap_or(0.0);
        (of(now) - of(before)).max(0.0)
    };
    let chunks: f64 = now.chunks.keys().map(|source| grown(source)).sum();
    let a_second = |old: f64, new: f64| ((new - old) / seconds).max(0.0);
    Rates {
        per_s: all.requests / seconds,
        errors_per_s: all.errors / seconds,
        ms: if all.requests > 0.0 { all.seconds / all.requests * 1000.0 } else { 0.0 },
        sent_bytes_per_s: a_second(before.sent_bytes, now.sent_bytes),
        received_bytes_per_s: a_second(before.received_bytes, now.received_bytes),
        hits: (chunks > 0.0).then(|| 1.0 - grown("region") / chunks),
        moves_per_s: a_second(before.moves, now.moves),
        open: now.open,
        copies_waiting: now.copies_waiting,
        below_copies: now.below_copies,
        ops,
    }
}

/// The columns of a region.
const COLUMNS: [&str; 10] =
    ["region", "state", "way", "per s", "5xx per s", "ms each", "out", "in", "cache", "behind"];

/// One region in words: the same on the screen and in a pipe.
fn cells(region: &RegionRates) -> Vec<String> {
    let status = &region.status;
    let state = match status.state {
        PeerState::Away => "away",
        PeerState::Connected => "connected",
        PeerState::Here => "here",
    };
    let way = status.rtt_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let mut cells = vec![status.code.to_string(), state.to_owned(), way];
    match &region.rates {
        None => cells.extend(std::iter::repeat_n("-".to_owned(), 6)),
        Some(rates) => cells.extend([
            format!("{:.1}", rates.per_s),
            format!("{:.1}", rates.errors_per_s),
            format!("{:.1}", rates.ms),
            format!("{}/s", output::size_of(rates.sent_bytes_per_s)),
            format!("{}/s", output::size_of(rates.received_bytes_per_s)),
            rates.hits.map_or_else(|| "-".to_owned(), |hits| format!("{:.0} %", hits * 100.0)),
        ]),
    }
    cells.push(match (status.behind, status.queued) {
        (0, 0) => "in sync".to_owned(),
        (behind, queued) => format!("{behind}, {queued} queued"),
    });
    cells
}

fn op_cells(op: &OpRates) -> Vec<String> {
    let OpRates { op, per_s, errors_per_s, ms } = op;
    vec![op.clone(), format!("{per_s:.1}"), format!("{errors_per_s:.1}"), format!("{ms:.1}")]
}

const OP_COLUMNS: [&str; 4] = ["operation", "per s", "5xx per s", "ms each"];

fn show(common: &Common, seen: &Seen) {
    if common.json {
        output::json(seen);
        return;
    }
    let all = &seen.all;
    output::line(&format!(
        "all regions   {:.1} requests/s   {} open   {}/s sent   {:.2} moves/s",
        all.per_s,
        all.open,
        output::size_of(all.sent_bytes_per_s),
        all.moves_per_s
    ));
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    rows.extend(seen.regions.iter().map(cells));
    output::table(&rows);
    output::line("");
    let mut rows = vec![OP_COLUMNS.map(str::to_owned).to_vec()];
    rows.extend(all.ops.iter().map(op_cells));
    output::table(&rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn traffic(gets: f64, seconds: f64, far: f64) -> Traffic {
        let sums = OpSums { requests: gets, errors: 2.0, seconds };
        Traffic {
            ops: BTreeMap::from([("GetObject".to_owned(), sums)]),
            chunks: BTreeMap::from([("memory".to_owned(), gets), ("region".to_owned(), far)]),
            sent_bytes: 10.0 * gets,
            open: 3.0,
            ..Traffic::default()
        }
    }

    pub(super) fn example() -> Seen {
        let region = |code: &str, state| RegionStatus {
            code: code.parse().unwrap(),
            city: String::new(),
            lat: 0.0,
            lon: 0.0,
            state,
            rtt_ms: Some(90),
            behind: 0,
            queued: 0,
            voter: true,
        };
        let regions = vec![region("fra", PeerState::Here), region("nrt", PeerState::Away)];
        let status = Status {
            version: "1".to_owned(),
            region: "fra".parse().unwrap(),
            regions,
            replication: crate::admin::model::Replication {
                below_copies: 0,
                damaged: 0,
                buckets: Vec::new(),
            },
            disk: None,
            certificate: None,
        };
        let look = |gets, seconds, far, at| Look {
            status: status.clone(),
            regions: BTreeMap::from([
                ("fra".parse().unwrap(), Ok(traffic(gets, seconds, far))),
                ("nrt".parse().unwrap(), Err("away".to_owned())),
            ]),
            at: Duration::from_secs(at),
        };
        seen(&look(10.0, 1.0, 0.0, 0), &look(30.0, 1.4, 20.0, 2))
    }

    #[test]
    fn rates_are_of_what_happened_between_two_looks() {
        let seen = example();
        let fra = seen.regions[0].rates.as_ref().unwrap();
        assert_eq!((fra.per_s, fra.errors_per_s, fra.open), (10.0, 0.0, 3.0));
        assert!((fra.ms - 20.0).abs() < 1e-6, "{fra:?}");
        assert_eq!((fra.hits, fra.sent_bytes_per_s), (Some(0.5), 100.0));
        assert_eq!(seen.all, *fra, "the other one said nothing");
        assert_eq!(seen.regions[1].error.as_deref(), Some("away"));
        assert_eq!(cells(&seen.regions[1])[..4], ["nrt", "away", "90 ms", "-"]);
    }

    #[test]
    fn a_node_that_was_started_again_has_no_negative_rates() {
        let rates = rates(&traffic(30.0, 2.0, 9.0), &traffic(10.0, 1.0, 0.0), 1.0);
        assert_eq!((rates.per_s, rates.sent_bytes_per_s, rates.hits), (0.0, 0.0, None));
    }
}
