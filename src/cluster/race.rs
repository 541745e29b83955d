//! Trying candidates in order until enough have succeeded: the next one is joined when one fails or
//! when none makes progress in time. Followers and sources of bytes are chosen so.
//!
//! A candidate that is slow is never given up, only joined: the first to finish count.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;

use crate::env::Env;

/// No candidate is joined sooner than this.
const PATIENCE_MIN: Duration = Duration::from_millis(1);

/// How to try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Successes that are wanted.
    pub(super) need: usize,
    /// All together may take this long.
    pub(super) limit: Duration,
}

/// Not enough candidates succeeded.
#[derive(Debug)]
pub(super) struct Short<T, E> {
    pub(super) successes: Vec<T>,
    pub(super) failures: Vec<E>,
    /// Candidates were still under way when the time ran out.
    pub(super) timed_out: bool,
}

/// Runs `attempt` on candidates, `need` of them at once, further ones when `patience` (of the last
/// one started) passes without any result or when one fails.
pub(super) async fn race<C, T, E, F>(
    env: &Env,
    rules: Rules,
    candidates: impl IntoIterator<Item = (C, Duration)>,
    mut attempt: impl FnMut(C) -> F,
) -> Result<Vec<T>, Short<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let end = env.monotonic() + rules.limit;
    let mut candidates = candidates.into_iter();
    let mut running = FuturesUnordered::new();
    let mut short = Short { successes: Vec::new(), failures: Vec::new(), timed_out: false };
    let mut patience = rules.limit;
    let mut at_once = rules.need;
    loop {
        while running.len() < at_once {
            let Some((candidate, its_patience)) = candidates.next() else {
                patience = rules.limit;
                break;
            };
            patience = its_patience.max(PATIENCE_MIN);
            running.push(attempt(candidate));
        }
        let left = end.saturating_sub(env.monotonic());
        short.timed_out = left.is_zero();
        if running.is_empty() || short.timed_out {
            return Err(short);
        }
        let wait = std::pin::pin!(env.sleep(patience.min(left)));
        match select(running.next(), wait).await {
            Either::Left((Some(Ok(value)), _)) => {
                short.successes.push(value);
                at_once = rules.need - short.successes.len();
                if at_once == 0 {
                    return Ok(short.successes);
                }
            }
            Either::Left((Some(Err(why)), _)) => short.failures.push(why),
            Either::Left((None, _)) => {}
            Either::Right(((), _)) => at_once = running.len() + 1,
        }
    }
}
