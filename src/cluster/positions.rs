//! What this node knows, in positions of logs, and waiting until it knows as much as another one.
//!
//! Invariant: who has applied all that [`Cluster::known_positions`] says has every record that could
//! be read here before. A record in a stretch of a log is as its giver had it then, which may be
//! newer than its place in the log says; others come apart from the logs. So the positions of the
//! giver are kept (`ahead`), in the write that merged it, until this node has applied them.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;

use crate::limits;
use crate::store::{self, Snapshot, Table, Tx};
use crate::types::position::{Log, Positions, raise};

use super::Cluster;
use super::error::Unavailable;
use super::receive::{Cursor, log_key, log_of};

/// Where the positions of givers are kept.
const AHEAD: &[u8] = b"ahead";

impl Cluster {
    /// What a region must have applied to know all that is known here now.
    pub fn known_positions(&self) -> Result<Positions, store::Error> {
        self.positions_in(&self.inner.store.read()?)
    }

    /// The same of one moment.
    pub fn positions_in(&self, snapshot: &Snapshot) -> Result<Positions, store::Error> {
        let own = (self.region(), self.inner.incarnation);
        let mut known: Positions =
            snapshot.heads()?.into_iter().filter(|(log, _)| *log == own).collect();
        let lines: Vec<(Vec<u8>, Cursor)> =
            snapshot.scan(Table::Cursor, &[], None, limits::LOGS_MAX)?;
        for (key, cursor) in lines {
            if let Some(log) = log_of(&key) {
                known.insert(log, cursor.applied);
            }
        }
        let ahead: Option<Positions> = snapshot.get(Table::Local, AHEAD)?;
        raise(&mut known, &ahead.unwrap_or_default());
        Ok(known)
    }

    /// Notes that records of a giver who knew this much were merged apart from the logs.
    pub(super) fn note_ahead(
        &self,
        tx: &mut Tx<'_>,
        giver: &Positions,
    ) -> Result<(), store::Error> {
        let before: Option<Positions> = tx.get(Table::Local, AHEAD)?;
        let mut ahead = before.clone().unwrap_or_default();
        raise(&mut ahead, giver);
        let own = (self.region(), self.inner.incarnation);
        let mut missing = Positions::new();
        for (log, position) in ahead {
            let applied = match log == own {
                true => tx.head(log.0, log.1)?,
                false => tx
                    .get(Table::Cursor, &log_key(log.0, log.1))?
                    .map_or(0, |cursor: Cursor| cursor.applied),
            };
            if position > applied && missing.len() < limits::LOGS_MAX {
                missing.insert(log, position);
            }
        }
        if before.unwrap_or_default() != missing {
            tx.put(Table::Local, AHEAD, &missing)?;
        }
        Ok(())
    }

    /// What of `wanted` this node has not applied, with how far it is. Positions behind one in
    /// quarantine are not applied.
    fn missing(&self, wanted: &Positions) -> Result<Vec<(Log, u64)>, store::Error> {
        let heads = self.heads()?;
        let stable = |log: &Log| {
            let head = heads.iter().find(|head| (head.origin, head.incarnation) == *log);
            head.map_or((0, 0), |head| (head.stable, head.applied))
        };
        let of = |(log, position): (&Log, &u64)| {
            let (stable, applied) = stable(log);
            (stable < *position).then_some((*log, applied))
        };
        Ok(wanted.iter().filter_map(of).collect())
    }

    /// Waits until this node has applied all of these; pulls what does not come by itself.
    pub async fn reach(&self, wanted: &Positions, limit: Duration) -> Result<(), Unavailable> {
        if self.missing(wanted)?.is_empty() {
            return Ok(());
        }
        match self.env().timeout(limit, self.reach_slowly(wanted)).await {
            Ok(reached) => Ok(reached?),
            Err(_) => {
                let missing = self.missing(wanted)?;
                let logs: Vec<String> =
                    missing.iter().map(|((region, _), _)| region.to_string()).collect();
                Err(Unavailable::new(format!(
                    "this region has not received yet what was changed in {}",
                    logs.join(", ")
                )))
            }
        }
    }

    /// Waits until every region knows what is known here now, and then what any of them knew when it
    /// did: whatever was changed before, in ignorance of it, is known everywhere.
    pub async fn settle_everywhere(&self) -> Result<(), Unavailable> {
        let known = self.known_positions()?;
        let settling = async {
            let then = self.all_reach(known).await;
            let _ = self.all_reach(then.clone()).await;
            self.reach(&then, limits::SETTLE_TIMEOUT).await
        };
        match self.env().timeout(limits::SETTLE_TIMEOUT, settling).await {
            Ok(settled) => settled,
            Err(_) => Err(Unavailable::new(
                "it is changed, but not every region knows that yet; ask again to hear when they do",
            )),
        }
    }

    /// Returns what the other regions knew together when each of them had reached `wanted`.
    async fn all_reach(&self, wanted: Positions) -> Positions {
        let reach_of = |peer| {
            let wanted = &wanted;
            async move {
                loop {
                    let heads = self.exchange_heads(peer).await.unwrap_or_default();
                    let stable: Positions = heads
                        .iter()
                        .map(|head| ((head.origin, head.incarnation), head.stable))
                        .collect();
                    let has = |(log, position): (&Log, &u64)| stable.get(log) >= Some(position);
                    if wanted.iter().all(has) {
                        return heads;
                    }
                    self.env().sleep(limits::SETTLE_PAUSE).await;
                }
            }
        };
        let all = join_all(self.others().into_iter().map(|info| reach_of(info.id))).await;
        let mut together = wanted.clone();
        for head in all.into_iter().flatten() {
            raise(&mut together, &[((head.origin, head.incarnation), head.applied)].into());
        }
        together
    }

    async fn reach_slowly(&self, wanted: &Positions) -> Result<(), store::Error> {
        loop {
            let moved = self.inner.moved.notified();
            let missing = self.missing(wanted)?;
            if missing.is_empty() {
                return Ok(());
            }
            // What was changed a moment ago is on its way here.
            let way = missing.iter().filter_map(|((region, _), _)| self.inner.peers.rtt(*region));
            let patience = way.max().unwrap_or_default() / 2 + limits::REACH_SLACK;
            if self.env().timeout(patience, moved).await.is_err() {
                self.pull_up_to(wanted).await?;
            }
        }
    }

    /// Asks every region what it has, and takes it from the first ones that answer.
    async fn pull_up_to(&self, wanted: &Positions) -> Result<(), store::Error> {
        // One that waits for the other finds everything there.
        let _alone = self.inner.pulling.lock().await;
        let connected = self.others().into_iter().filter(|info| self.is_connected(info.id));
        let mut asked: FuturesUnordered<_> = connected
            .map(|info| async move { (info.id, self.exchange_heads(info.id).await) })
            .collect();
        while let Some((peer, heads)) = asked.next().await {
            for (log, applied) in self.missing(wanted)? {
                let head = heads.iter().flatten().find(|h| (h.origin, h.incarnation) == log);
                let Some(head) = head.filter(|head| head.applied > applied) else { continue };
                self.pull(log, applied, &[(peer, *head)].into()).await?;
            }
            if self.missing(wanted)?.is_empty() {
                break;
            }
        }
        Ok(())
    }
}
