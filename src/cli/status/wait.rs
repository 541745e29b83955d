//! `godwit status --wait`: until every region is there and has what the others have.

use std::time::Duration;

use super::{print, replication};
use crate::admin::model::{PeerState, Status};
use crate::cli::Common;
use crate::cli::client::Client;
use crate::cli::error::{CliError, Exit};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the node says when all is well; an error that says what is missing when the time is over. A
/// node that does not answer yet is waited for, too.
pub(super) fn until(
    common: &Common,
    client: &Client,
    at_most: Duration,
) -> Result<Status, CliError> {
    let env = client.link.env.clone();
    let deadline = env.monotonic() + at_most;
    loop {
        let over = env.monotonic() >= deadline;
        match look(client) {
            Ok((status, missing)) if missing.is_empty() => return Ok(status),
            Ok((status, missing)) if over => {
                print(common, &status);
                let message = format!("after {} s: {}", at_most.as_secs(), missing.join("; "));
                let error = CliError::new(Exit::Degraded, "Waiting", message);
                return Err(error.hint("godwit doctor says what is wrong and what to do"));
            }
            Err(error) if over || error.exit != Exit::Unavailable => return Err(error),
            Ok(_) | Err(_) => client.wait(LOOK_EVERY)?,
        }
    }
}

/// What the node says, and what is missing in the eyes of any region. The others are asked when
/// nothing is missing in its own.
fn look(client: &Client) -> Result<(Status, Vec<String>), CliError> {
    let status: Status = client.get("status", &[])?;
    let mut all = missing(&status);
    if all.is_empty() {
        let others = status.regions.iter().filter(|one| one.state == PeerState::Connected);
        for code in others.map(|one| one.code.to_string()) {
            match client.get::<Status>("status", &[("region", &code)]) {
                Ok(seen) => all.extend(missing(&seen)),
                Err(error) if error.exit == Exit::Unavailable => {
                    all.push(format!("{code} does not answer"));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok((status, all))
}

/// What one region misses.
fn missing(status: &Status) -> Vec<String> {
    let own = status.region;
    let mut all = Vec::new();
    for region in &status.regions {
        let code = region.code;
        if region.state == PeerState::Away {
            all.push(format!("{code} is away (seen by {own})"));
        }
        if region.behind > 0 {
            all.push(format!("{own} lacks {} changes of {code}", region.behind));
        }
        if region.queued > 0 {
            all.push(format!("{code} lacks {} changes of {own}", region.queued));
        }
    }
    all.extend(replication(&status.replication));
    all
}
