//! `godwit doctor`: looks for what usually goes wrong, each finding with what to do.

use std::path::Path;

use clap::Args;
use http::Method;
use serde::Serialize;

use super::client::{Client, Endpoint, admin_ask, decode};
use super::error::{CliError, Exit};
use super::link::Ask;
use super::output::Colour;
use super::{Common, cert, files, output};
use crate::admin::model::{NodeCertificate, PeerState, Status};
use crate::config::Config;
use crate::node;

/// Checks the settings of this machine (clock, disk, ports, regions) and, where an endpoint is said,
/// the cluster behind it (health, key, peers, lag, clock).
#[derive(Args)]
#[command(after_help = "Examples:\n  godwit doctor\n  godwit doctor --json")]
pub(super) struct Doctor {
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Wrong,
}

/// What one look found.
#[derive(Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

fn ok(check: &'static str, what: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Ok, what: what.into(), hint: None }
}

fn not(
    check: &'static str,
    verdict: Verdict,
    what: impl Into<String>,
    hint: impl Into<String>,
) -> Finding {
    Finding { check, verdict, what: what.into(), hint: Some(hint.into()) }
}

/// Below this part of the disk there is little room for new objects.
const FREE_LEAST: f64 = 0.1;

/// A signature is refused when clocks are 15 minutes apart; long before that something is wrong.
const SKEW_MAX_S: u64 = 5;

/// Descriptors that a busy node needs: connections, and files.
const FILES_LEAST: u64 = 16_384;

pub(super) fn run(common: &Common, command: &Doctor) -> Result<Exit, CliError> {
    let mut found = Vec::new();
    match files::settings(common.config.as_deref()) {
        Ok(settings) => {
            found.push(ok("settings", "they can be read"));
            found.push(regions(&settings));
            found.push(disk(&settings.data)?);
            found.push(port("S3 port", settings.s3.listen));
            found.push(port("operations port", settings.ops.listen));
        }
        Err(error) => {
            let hint = "godwit config check says where";
            found.push(not("settings", Verdict::Wrong, error.message(), hint));
        }
    }
    found.push(descriptors());
    match Client::signed(&command.endpoint) {
        Ok(client) => client.run(async {
            cluster(&client, &mut found).await;
            Ok(())
        })?,
        Err(error) => {
            let hint = "set AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
            let what = format!("not looked at: {}", error.message());
            found.push(not("cluster", Verdict::Warning, what, hint));
        }
    }
    Ok(tell(common, &found))
}

fn tell(common: &Common, found: &[Finding]) -> Exit {
    let wrong = found.iter().any(|finding| finding.verdict == Verdict::Wrong);
    if common.json {
        output::json(&serde_json::json!({ "ok": !wrong, "findings": found }));
    } else {
        for finding in found {
            let (colour, word) = match finding.verdict {
                Verdict::Ok => (Colour::Green, "ok     "),
                Verdict::Warning => (Colour::Yellow, "warning"),
                Verdict::Wrong => (Colour::Red, "wrong  "),
            };
            let word = output::shown(colour, word);
            output::line(&format!("{word}  {:<16} {}", finding.check, finding.what));
            if let Some(hint) = &finding.hint {
                output::line(&format!("{:27}do: {hint}", ""));
            }
        }
    }
    if wrong { Exit::Degraded } else { Exit::Ok }
}

fn regions(settings: &Config) -> Finding {
    match files::regions(&settings.regions) {
        Ok(regions) => ok("regions", format!("{} are known", regions.iter().count())),
        Err(error) => {
            let hint = "correct the file; godwit config check --all-regions reads them all";
            not("regions", Verdict::Wrong, error.message(), hint)
        }
    }
}

fn disk(data: &Path) -> Result<Finding, CliError> {
    let there = data.ancestors().find(|folder| folder.exists()).unwrap_or_else(|| Path::new("/"));
    let runtime =
        node::env::runtime().map_err(|error| CliError::new(Exit::Failure, "Failure", error))?;
    let env = node::env::real(runtime.handle(), there);
    let (total, free) = env.disk.space().map_err(|error| CliError::file(there, &error))?;
    Ok(room(total, free, there))
}

fn room(total: u64, free: u64, there: &Path) -> Finding {
    #[allow(clippy::cast_precision_loss, reason = "a part of a disk")]
    let part = free as f64 / total.max(1) as f64;
    let what =
        format!("{} of {} free at {}", output::size(free), output::size(total), there.display());
    match part < FREE_LEAST {
        true => {
            not("disk", Verdict::Warning, what, "delete objects, or grow the volume of GODWIT_DATA")
        }
        false => ok("disk", what),
    }
}

/// A port that is taken is right when it is this node that has it.
fn port(check: &'static str, address: std::net::SocketAddr) -> Finding {
    match std::net::TcpListener::bind(address) {
        Ok(_) => ok(check, format!("{address} is free for a node")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let hint = "right if a node runs here; else see who has it: ss -ltnp";
            not(check, Verdict::Warning, format!("{address} is in use"), hint)
        }
        Err(error) => {
            let hint =
                "give the node an address of this machine: GODWIT_S3_LISTEN, GODWIT_OPS_LISTEN";
            not(check, Verdict::Wrong, format!("{address}: {error}"), hint)
        }
    }
}

fn descriptors() -> Finding {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limits.current {
        Some(limit) if limit < FILES_LEAST => not(
            "open files",
            Verdict::Warning,
            format!("at most {limit} at once"),
            format!("ulimit -n {FILES_LEAST}, or LimitNOFILE= of the unit"),
        ),
        Some(limit) => ok("open files", format!("at most {limit} at once")),
        None => ok("open files", "without a bound"),
    }
}

async fn cluster(client: &Client, found: &mut Vec<Finding>) {
    let link = &client.link;
    let ready = match link.ask(&Ask::new(Method::GET, "/-/health/ready")).await {
        Ok(ready) => ready,
        Err(error) => {
            let hint = "start the node, or correct AWS_ENDPOINT_URL_S3";
            found.push(not("node", Verdict::Wrong, error.message(), hint));
            return;
        }
    };
    match ready.status {
        200 => found.push(ok("node", format!("{} is ready", link.uri()))),
        _ => {
            let why = String::from_utf8_lossy(&ready.body).into_owned();
            let hint = "wait for it; its log says what it does";
            found.push(not("node", Verdict::Wrong, why, hint));
        }
    }
    let asked = link.ask(&admin_ask(Method::GET, "status", &[])).await;
    let status: Status = match asked.and_then(|answer| decode(link, &answer)) {
        Ok(status) => status,
        Err(error) => {
            let hint = error.way_on().unwrap_or("godwit keys ls shows the keys").to_owned();
            found.push(not("key", Verdict::Wrong, error.message(), hint));
            return;
        }
    };
    found.push(ok("key", "it may use the admin API"));
    found.push(version(&status));
    found.extend(peers(&status));
    found.push(certificates(client).await);
    if let Some(skew) = skew(link).await {
        found.push(skew);
    }
}

fn version(status: &Status) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    if status.version == own {
        return ok("version", format!("{own} here and there"));
    }
    let what = format!("{own} here, {} there", status.version);
    not("version", Verdict::Warning, what, "use the program of the node's version")
}

fn peers(status: &Status) -> Vec<Finding> {
    let mut found = Vec::new();
    let away: Vec<String> = status
        .regions
        .iter()
        .filter(|region| region.state == PeerState::Away)
        .map(|region| region.code.to_string())
        .collect();
    let count = status.regions.len();
    found.push(match away.is_empty() {
        true => ok("peers", format!("all {} are connected", output::count(count, "region"))),
        false => not(
            "peers",
            Verdict::Wrong,
            format!("{} away as {} sees it", away.join(", "), status.region),
            "look at their health, at UDP of GODWIT_MESH_LISTEN between them, and at their clocks",
        ),
    });
    let behind: u64 = status.regions.iter().map(|region| region.behind).sum();
    found.push(match behind {
        0 => ok("lag", "every change that is known is applied"),
        _ => not(
            "lag",
            Verdict::Warning,
            format!("{behind} changes are not applied yet"),
            "it should shrink: godwit status; where it does not, look at that region's disk and log",
        ),
    });
    found
}

/// Those of all regions that answer.
async fn certificates(client: &Client) -> Finding {
    let told = match cert::all(client).await {
        Ok(told) => told,
        Err(why) => {
            let hint = "godwit cert ls";
            return not("certificates", Verdict::Warning, why.message(), hint);
        }
    };
    let wrong: Vec<&NodeCertificate> =
        told.iter().filter_map(cert::held).filter(|held| held.trouble.is_some()).collect();
    match (wrong.first(), told.iter().filter_map(cert::held).map(|held| held.days_left).min()) {
        (Some(first), _) => {
            let trouble = first.trouble.as_deref().unwrap_or_default();
            let what = format!("that of {}: {trouble}", first.region);
            let verdict = if first.days_left == 0 { Verdict::Wrong } else { Verdict::Warning };
            not("certificates", verdict, what, format!("godwit cert renew {}", first.region))
        }
        (None, Some(days)) => ok("certificates", format!("they hold for {days} days and more")),
        (None, None) => {
            not("certificates", Verdict::Warning, "no region shows its own", "godwit cert ls")
        }
    }
}

/// The node's clock against this machine's, by the date of an answer.
async fn skew(link: &super::link::Link) -> Option<Finding> {
    let answer = link.ask(&Ask::new(Method::GET, "/-/health/live")).await.ok()?;
    let there = httpdate::parse_http_date(answer.header("date")?).ok()?;
    let there = there.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    let apart = there.abs_diff(link.env.now_ms() / 1000);
    Some(match apart > SKEW_MAX_S {
        true => not(
            "clock",
            Verdict::Wrong,
            format!("{apart} s apart from the node's"),
            "let both follow NTP: timedatectl set-ntp true",
        ),
        false => ok("clock", "as the node's"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_nearly_full_is_warned_of() {
        let verdict = |total, free| room(total, free, Path::new("/data")).verdict;
        assert!(matches!(verdict(100 << 30, 4 << 30), Verdict::Warning));
        assert!(matches!(verdict(100 << 30, 40 << 30), Verdict::Ok));
    }
}
