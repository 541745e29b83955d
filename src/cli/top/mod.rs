//! `godwit top`: what the regions do, looked at again and again: live on a terminal, as tables in a
//! pipe, as JSON for programs.

mod rates;
mod screen;
mod views;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use futures_util::future::{join, join_all};
use http::Method;
use serde::de::DeserializeOwned;

use self::rates::{Look, Seen, Told, seen};
use self::screen::Board;
use self::views::View;
use super::client::{Client, Endpoint, admin_ask, decode};
use super::error::{CliError, Exit};
use super::live::{self, Live};
use super::{Common, output};
use crate::admin::model::{PeerState, Status};
use crate::types::region::RegionId;

/// Shows what the regions do: requests, times, errors, caches, disks, moves, lag, until q or Ctrl-C.
///
/// The node that is asked asks the others. On a terminal the screen is live, and ? tells its keys;
/// where the output is no terminal, and with --once, there are tables.
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

pub(super) fn run(common: &Common, command: &Top) -> Result<Exit, CliError> {
    let client = Client::signed(&command.endpoint)?;
    if live::on_terminal(common) && !command.once {
        client.run(watch(command, &client))?;
    } else {
        client.run(print(common, command, &client))?;
    }
    Ok(Exit::Ok)
}

async fn watch(command: &Top, client: &Client) -> Result<(), CliError> {
    let mut live = Live::new(Board::new(look(client, command.region).await?));
    let every = Duration::from_secs(command.every);
    let again = async || look(client, command.region).await;
    live::run(&client.link.env, every, &mut live, again).await
}

async fn print(common: &Common, command: &Top, client: &Client) -> Result<(), CliError> {
    let mut before = look(client, command.region).await?;
    loop {
        client.link.env.sleep(Duration::from_secs(command.every)).await;
        let now = look(client, command.region).await?;
        show(common, &seen(Some(&before), &now));
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
        let node = Box::pin(of_region(client, "node", &code));
        let (traffic, node) = join(Box::pin(of_region(client, "traffic", &code)), node).await;
        let told = traffic.map(|traffic| Told { traffic, node: node.ok() });
        (region.code, told.map_err(|why| why.message().to_owned()))
    });
    let regions: BTreeMap<_, _> = join_all(asked).await.into_iter().collect();
    if let (Some(only), true) = (only, regions.is_empty()) {
        return Err(CliError::new(Exit::NotFound, "NoSuchRegion", format!("{only} is no region"))
            .hint("godwit region ls shows the regions"));
    }
    Ok(Look { status, regions, at: client.link.env.monotonic() })
}

async fn of_region<T: DeserializeOwned>(
    client: &Client,
    what: &str,
    code: &str,
) -> Result<T, CliError> {
    let answer = client.link.ask(&admin_ask(Method::GET, what, &[("region", code)])).await?;
    decode(&client.link, &answer)
}

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
    for view in View::ALL {
        let grid = view.grid(seen);
        if !grid.rows.is_empty() {
            output::line("");
            output::table(&grid.texts());
        }
    }
}
