//! `godwit top`: what a node does, from its metrics, again and again.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::json;

use super::client::{Client, Endpoint, admin_ask, decode, refusal};
use super::error::{CliError, Exit};
use super::{Common, output};
use crate::admin::model::Status;

/// Shows operations, their rates and times, and the regions, until Ctrl-C.
#[derive(Args)]
#[command(after_help = "Examples:\n  godwit top --once\n  godwit top --once --json --every 1")]
pub(super) struct Top {
    /// Measure once and end
    #[arg(long)]
    once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Sums of one operation since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sums {
    requests: f64,
    errors: f64,
    seconds: f64,
}

/// What is read of the metrics.
#[derive(Clone, Debug, Default, PartialEq)]
struct Look {
    ops: BTreeMap<String, Sums>,
    open: f64,
    sent: f64,
}

pub(super) fn run(common: &Common, command: &Top) -> Result<Exit, CliError> {
    let client = Client::signed(&command.endpoint)?;
    client.run(watch(common, command, &client))?;
    Ok(Exit::Ok)
}

async fn watch(common: &Common, command: &Top, client: &Client) -> Result<(), CliError> {
    let env = &client.link.env;
    let mut before = (look(client).await?, env.monotonic());
    loop {
        env.sleep(Duration::from_secs(command.every)).await;
        let now = (look(client).await?, env.monotonic());
        let answer = client.link.ask(&admin_ask(Method::GET, "status", &[])).await?;
        let status: Status = decode(&client.link, &answer)?;
        let seconds = now.1.saturating_sub(before.1).as_secs_f64().max(0.001);
        show(common, command, &status, &rates(&before.0, &now.0, seconds));
        if command.once {
            return Ok(());
        }
        before = now;
    }
}

async fn look(client: &Client) -> Result<Look, CliError> {
    let answer = client.link.ask(&admin_ask(Method::GET, "metrics", &[])).await?;
    match answer.status {
        200 => Ok(read(&String::from_utf8_lossy(&answer.body))),
        status => Err(refusal(&client.link, status, &answer.body)),
    }
}

/// Reads OpenMetrics text.
fn read(text: &str) -> Look {
    let mut look = Look::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let label = |wanted: &str| {
            let rest = labels.split_once(&format!("{wanted}=\""))?.1;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let op = || label("op").unwrap_or_default();
        match name {
            "godwit_s3_requests_total" => {
                let failed = label("status").is_some_and(|status| status.starts_with('5'));
                let sums = look.ops.entry(op()).or_default();
                sums.requests += value;
                sums.errors += if failed { value } else { 0.0 };
            }
            "godwit_s3_request_duration_seconds_sum" => {
                look.ops.entry(op()).or_default().seconds += value
            }
            "godwit_s3_requests_open" => look.open = value,
            "godwit_s3_sent_bytes_total" => look.sent = value,
            _ => {}
        }
    }
    look
}

/// What happened between two looks.
#[derive(Clone, Debug, PartialEq)]
struct Rates {
    /// Operation, requests a second, failures a second, milliseconds each; the most first.
    ops: Vec<(String, f64, f64, f64)>,
    open: f64,
    sent: f64,
}

fn rates(before: &Look, now: &Look, seconds: f64) -> Rates {
    let mut ops = Vec::new();
    for (op, sums) in &now.ops {
        let old = before.ops.get(op).copied().unwrap_or_default();
        let requests = sums.requests - old.requests;
        if requests > 0.0 {
            let ms = (sums.seconds - old.seconds) / requests * 1000.0;
            let errors = (sums.errors - old.errors) / seconds;
            ops.push((op.clone(), requests / seconds, errors, ms));
        }
    }
    ops.sort_by(|a, b| b.1.total_cmp(&a.1));
    Rates { ops, open: now.open, sent: (now.sent - before.sent) / seconds }
}

fn show(common: &Common, command: &Top, status: &Status, rates: &Rates) {
    if common.json {
        let ops: Vec<_> = rates
            .ops
            .iter()
            .map(|(op, requests, errors, ms)| {
                json!({ "op": op, "per_s": requests, "errors_per_s": errors, "ms": ms })
            })
            .collect();
        let (open, sent) = (rates.open, rates.sent);
        let seen = json!({ "ops": ops, "open": open, "sent_bytes_per_s": sent, "status": status });
        output::json(&seen);
        return;
    }
    if !command.once && std::io::stdout().is_terminal() {
        // The screen is cleared, and the cursor goes home.
        output::line("\x1b[2J\x1b[H");
    }
    let sent = output::size_of(rates.sent);
    let (open, region) = (rates.open, status.region);
    output::line(&format!("{region}   {open} requests open   {sent}/s sent"));
    let mut rows = vec![["operation", "per s", "5xx per s", "ms each"].map(str::to_owned).to_vec()];
    rows.extend(rates.ops.iter().map(|(op, requests, errors, ms)| {
        vec![op.clone(), format!("{requests:.1}"), format!("{errors:.1}"), format!("{ms:.1}")]
    }));
    output::table(&rows);
    output::line("");
    output::table(&status.regions.iter().map(super::status::row).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_what_happened_between_two_looks() {
        let text = |gets: u32, seconds: f64| {
            format!(
                "# TYPE x counter\ngodwit_s3_requests_total{{op=\"GetObject\",status=\"200\"}} {gets}\n\
                 godwit_s3_requests_total{{op=\"GetObject\",status=\"503\"}} 2\n\
                 godwit_s3_request_duration_seconds_sum{{op=\"GetObject\"}} {seconds}\n\
                 godwit_s3_requests_open 3\ngodwit_s3_sent_bytes_total 10\n"
            )
        };
        let rates = rates(&read(&text(10, 1.0)), &read(&text(30, 1.4)), 2.0);
        assert_eq!((rates.ops[0].1, rates.ops[0].2, rates.open), (10.0, 0.0, 3.0));
        assert!((rates.ops[0].3 - 20.0).abs() < 1e-6, "{rates:?}");
    }
}
