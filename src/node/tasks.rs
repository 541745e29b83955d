//! Background jobs: each a bounded piece of work, done again and again until the node stops.
//!
//! Invariant: a job never runs twice at the same time, and is never cut off in the middle: a stop
//! is looked at between two rounds.

use std::time::Duration;

use crate::env::{BoxFuture, Env};

use super::shutdown::Stop;

/// What a round of a job tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// Nothing is left to do before the next time.
    Idle,
    /// More remains: the next round follows at once.
    More,
}

/// A job of a node.
pub(crate) struct Job {
    pub(crate) name: &'static str,
    /// Time between two rounds; a tenth more or less at random, so that nodes do not fall into
    /// step.
    pub(crate) every: Duration,
    pub(crate) round: Box<dyn Fn() -> BoxFuture<'static, Round> + Send + Sync>,
}

/// Starts all jobs.
pub(crate) fn start(env: &Env, jobs: Vec<Job>, stop: &Stop) {
    for job in jobs {
        let (own, stop) = (env.clone(), stop.clone());
        env.spawn(job.name, run(own, job, stop));
    }
}

async fn run(env: Env, job: Job, mut stop: Stop) {
    let mut wait = jittered(job.every, env.random_u64());
    loop {
        tokio::select! {
            biased;
            () = stop.called() => return,
            () = env.sleep(wait) => {}
        }
        wait = match (job.round)().await {
            Round::More => Duration::ZERO,
            Round::Idle => jittered(job.every, env.random_u64()),
        };
    }
}

/// Between nine and eleven tenths.
fn jittered(every: Duration, random: u64) -> Duration {
    let tenth = every / 10;
    let part = u32::try_from(random % 2001).expect("below 2001");
    every - tenth + tenth * part / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_within_a_tenth() {
        let every = Duration::from_secs(10);
        assert_eq!(jittered(every, 0), Duration::from_secs(9));
        assert_eq!(jittered(every, 1000), every);
        assert_eq!(jittered(every, 2000), Duration::from_secs(11));
    }
}
