//! This node's clock against its peers': a node whose clock is wrong takes no plain writes, because
//! their stamps would win, or lose, every conflict.
//!
//! Conditional and strong writes go on: their order is their registers'.

use std::sync::MutexGuard;
use std::time::Duration;

use futures_util::future::join_all;

use crate::env::Class;
use crate::limits;
use crate::logic::fence::{Fence, Sample, judge};
use crate::net::message::{Request, Response};
use crate::types::region::RegionId;

use super::Cluster;
use super::error::Unavailable;

impl Cluster {
    /// How far this node's clock is ahead of most others', milliseconds; 0 where it is right or
    /// nobody can say.
    pub fn clock_wrong_ms(&self) -> i64 {
        match self.members().regions().count() < limits::FENCE_MEMBERS_MIN {
            true => 0,
            false => self.fence().wrong_ms(self.env().now_ms(), self.env().monotonic()),
        }
    }

    /// The time as most nodes have it, milliseconds since 1970.
    pub(super) fn right_ms(&self) -> u64 {
        self.env().now_ms().saturating_add_signed(self.clock_wrong_ms().saturating_neg())
    }

    /// After a start it is known only when others were asked whether the clock is right: no stamp is
    /// made before.
    pub async fn await_clock(&self) {
        while self.members().regions().count() >= limits::FENCE_MEMBERS_MIN {
            let compared = self.inner.compared.notified();
            let patience = self.fence().patience(self.env().monotonic());
            let Some(patience) = patience else { break };
            // Out of patience is seen by the next turn.
            let _ = self.env().timeout(patience, compared).await;
        }
    }

    /// Refuses plain writes while the clock is wrong.
    pub(super) async fn check_clock(&self) -> Result<(), Unavailable> {
        self.await_clock().await;
        self.judge_clock()
    }

    /// The same as far as it is known by now.
    pub(super) fn judge_clock(&self) -> Result<(), Unavailable> {
        let wrong_ms = self.clock_wrong_ms();
        if wrong_ms == 0 {
            return Ok(());
        }
        let way = if wrong_ms > 0 { "ahead of" } else { "behind" };
        Err(Unavailable::new(format!(
            "the clock of {} is {} ms {way} most others'; it takes conditional writes alone until \
             that is mended",
            self.region(),
            wrong_ms.unsigned_abs(),
        )))
    }

    fn fence(&self) -> MutexGuard<'_, Fence> {
        self.inner.fence.lock().expect("no holder of this lock panics")
    }

    /// Compares clocks as long as the node runs.
    pub(super) async fn watch_clock(self) {
        let mut was_wrong = false;
        loop {
            let others: Vec<RegionId> = self.others().iter().map(|info| info.id).collect();
            let members = others.len() + 1;
            // Of one moment, and counted on from there: the clock may jump while peers are asked.
            let (own_ms, monotonic) = (self.env().now_ms(), self.env().monotonic());
            let asked = others.into_iter().map(|region| self.ask_time(region, own_ms, monotonic));
            let samples: Vec<Sample> = join_all(asked).await.into_iter().flatten().collect();
            if let Some(ahead_ms) = judge(&samples, members) {
                self.fence().compared(own_ms, monotonic, ahead_ms);
                self.inner.compared.notify_waiters();
            }
            let wrong_ms = self.clock_wrong_ms();
            if (wrong_ms != 0) != was_wrong {
                was_wrong = wrong_ms != 0;
                match was_wrong {
                    true => {
                        tracing::error!(wrong_ms, "this node's clock is wrong: no plain writes")
                    }
                    false => tracing::info!("this node's clock is right again"),
                }
            }
            let is_awaited = self.fence().patience(self.env().monotonic()).is_some();
            let pause = if is_awaited { limits::FENCE_RETRY } else { limits::FENCE_INTERVAL };
            self.env().sleep(pause).await;
        }
    }

    /// `own_ms` is what the clock said at `began`.
    async fn ask_time(&self, region: RegionId, own_ms: u64, began: Duration) -> Option<Sample> {
        let limit = limits::FENCE_INTERVAL;
        match self.call(region, Class::Read, &Request::Time, limit).await {
            Ok(Response::Time(peer_ms)) => {
                let round_trip = self.env().monotonic().saturating_sub(began);
                let half = u64::try_from(round_trip.as_millis() / 2).ok()?;
                Some(Sample { own_ms: own_ms.saturating_add(half), peer_ms, round_trip })
            }
            Ok(_) | Err(_) => None,
        }
    }
}
