//! `--watch`: a command that looks again and again.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde::de::DeserializeOwned;

use super::{Live, Screen, on_terminal, run};
use crate::cli::Common;
use crate::cli::client::{Client, admin_ask, decode};
use crate::cli::error::CliError;

/// What such a command takes.
#[derive(Args)]
pub(in crate::cli) struct Watch {
    /// Look again and again, and mark what changed, until q or Ctrl-C
    #[arg(long)]
    pub(in crate::cli) watch: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, requires = "watch",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

/// Asks for a document of the admin API again and again: for a live screen on a terminal, elsewhere
/// for `print`.
pub(in crate::cli) async fn again<T, S>(
    (common, watch): (&Common, &Watch),
    client: &Client,
    (path, query): (&str, &[(&str, &str)]),
    screen: impl FnOnce() -> S,
    print: impl Fn(&T),
) -> Result<(), CliError>
where
    T: DeserializeOwned,
    S: Screen<Look = T>,
{
    let (env, every) = (&client.link.env, Duration::from_secs(watch.every));
    let ask = admin_ask(Method::GET, path, query);
    let look = async || decode::<T>(&client.link, &client.link.ask(&ask).await?);
    let mut found = look().await?;
    if on_terminal(common) {
        let mut live = Live::new(screen());
        live.take(Ok(found), env.monotonic());
        return run(env, every, &mut live, look).await;
    }
    loop {
        print(&found);
        env.sleep(every).await;
        found = look().await?;
    }
}
