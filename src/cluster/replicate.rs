//! Getting changes from log to log: every node pushes its own log to every other one, and pulls
//! from anybody what it misses of any log.
//!
//! Invariant: what a pusher knows of its peer is only what the peer answered; after any failure it
//! begins again at the peer's own cursor.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::env::{BoxFuture, Class};
use crate::limits;
use crate::net::message::{LogBatch, LogHead, Request, Response};
use crate::store::{self, Table};
use crate::types::id::Incarnation;
use crate::types::region::RegionId;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;

use super::Cluster;
use super::batch;
use super::grown::Listener;
use super::receive::{Cursor, log_of, oldest_quarantined};

/// Pushes that are under way: the peer's cursor after each.
type Flying = FuturesUnordered<BoxFuture<'static, Result<u64, String>>>;

/// Pushes this node's log to one peer.
struct Pusher {
    cluster: Cluster,
    peer: RegionId,
    /// Everything up to here was sent, or is at the peer.
    sent: u64,
    /// The peer's cursor, as it said since it was greeted.
    at: u64,
    /// The peer's cursor is known since the last failure.
    synced: bool,
    flying: Flying,
}

enum Event {
    Answer(Result<u64, String>),
    Grown,
}

impl Pusher {
    async fn run(mut self, log: Listener) {
        loop {
            if !self.cluster.still_pushes(self.peer) {
                return;
            }
            if !self.synced && !self.greet().await {
                self.flying.clear();
                self.cluster.env().sleep(limits::RECONNECT_WAIT).await;
                continue;
            }
            if self.sent < self.head() && self.flying.len() < limits::LOG_WINDOW {
                self.push().await;
                if !self.synced {
                    continue;
                }
            }
            let full = self.flying.len() >= limits::LOG_WINDOW;
            let more = self.sent < self.head() && !full;
            let event = tokio::select! {
                biased;
                Some(answer) = self.flying.next() => Event::Answer(answer),
                () = std::future::ready(()), if more => Event::Grown,
                () = log.grown(), if !full => Event::Grown,
                () = self.cluster.env().sleep(limits::HEADS_INTERVAL) => {
                    self.synced = self.synced && self.cluster.is_connected(self.peer);
                    Event::Grown
                }
            };
            match event {
                Event::Grown => {}
                Event::Answer(answer) => self.answered(answer),
            }
        }
    }

    fn head(&self) -> u64 {
        self.cluster.inner.grown.head()
    }

    /// Learns the peer's cursor.
    async fn greet(&mut self) -> bool {
        if !self.cluster.is_connected(self.peer) {
            return false;
        }
        let Some(heads) = self.cluster.exchange_heads(self.peer).await else { return false };
        let own = (self.cluster.region(), self.cluster.inner.incarnation);
        let head = heads.iter().find(|head| (head.origin, head.incarnation) == own);
        self.at = head.map_or(0, |head| head.applied);
        self.sent = self.at;
        self.synced = true;
        true
    }

    async fn push(&mut self) {
        let inner = &self.cluster.inner;
        let own = (self.cluster.region(), inner.incarnation);
        match batch::stretch(&inner.store, own.0, own.1, self.sent).await {
            Ok(Some(batch)) => {
                self.sent = batch.last;
                let (cluster, peer) = (self.cluster.clone(), self.peer);
                self.flying.push(Box::pin(async move { cluster.push_batch(peer, batch).await }));
            }
            // Behind the horizon: the peer compares digests and then has a later cursor.
            Ok(None) => self.synced = false,
            Err(why) => {
                tracing::error!(peer = %self.peer, %why, "this node's log cannot be read");
                self.synced = false;
            }
        }
        if !self.synced {
            self.cluster.env().sleep(limits::RECONNECT_WAIT).await;
        }
    }

    fn answered(&mut self, answer: Result<u64, String>) {
        match answer {
            Ok(applied) => {
                self.at = self.at.max(applied);
                if self.flying.is_empty() {
                    // A batch that overtook its predecessor is sent again.
                    self.sent = self.at;
                }
            }
            Err(why) => {
                tracing::debug!(peer = %self.peer, why, "push failed");
                self.flying.clear();
                self.synced = false;
            }
        }
    }
}

impl Cluster {
    pub(super) fn spawn_pusher(&self, peer: RegionId) {
        let pusher = Pusher {
            cluster: self.clone(),
            peer,
            sent: 0,
            at: 0,
            synced: false,
            flying: FuturesUnordered::new(),
        };
        self.spawn("log-pusher", pusher.run(self.inner.grown.listen()));
    }

    async fn push_batch(&self, peer: RegionId, batch: LogBatch) -> Result<u64, String> {
        let positions = self.known_positions().map_err(|why| why.to_string())?;
        let request = Request::LogPushKnown { batch, positions };
        match self.call(peer, Class::Log, &request, limits::PUSH_TIMEOUT).await {
            Ok(Response::LogApplied { applied, refused }) => {
                if self.outdated().is_none() {
                    self.inner.acks.acknowledge(peer, applied, &refused);
                }
                Ok(applied)
            }
            Ok(Response::Declined(why)) => Err(why),
            Ok(other) => Err(format!("odd answer to a push: {}", other.name())),
            Err(why) => Err(why.to_string()),
        }
    }

    /// Tells this node's log that it grew to `seq`.
    pub(super) fn log_grew(&self, seq: u64) {
        self.inner.grown.reach(seq);
    }

    /// How far this node has applied each log, for telling others.
    pub(super) fn heads(&self) -> Result<Vec<LogHead>, store::Error> {
        let snapshot = self.inner.store.read()?;
        let own = (self.region(), self.inner.incarnation);
        let mut cursors: BTreeMap<(RegionId, Incarnation), Cursor> = BTreeMap::new();
        for ((origin, incarnation), last) in snapshot.heads()? {
            if (origin, incarnation) == own {
                cursors.insert(own, Cursor { applied: last, complete_after: 0 });
            }
        }
        // One line a region and life of its disk: few.
        let lines: Vec<(Vec<u8>, Cursor)> =
            snapshot.scan(Table::Cursor, &[], None, limits::LOGS_MAX)?;
        for (key, cursor) in lines {
            if let Some(log) = log_of(&key) {
                cursors.insert(log, cursor);
            }
        }
        let mut heads = Vec::new();
        for ((origin, incarnation), cursor) in cursors {
            let horizon = snapshot.log_horizon(origin, incarnation)?;
            let quarantined = oldest_quarantined(&snapshot, origin, incarnation)?;
            heads.push(LogHead {
                origin,
                incarnation,
                applied: cursor.applied,
                complete_after: cursor.complete_after.max(horizon),
                stable: quarantined.map_or(cursor.applied, |seq| cursor.applied.min(seq - 1)),
            });
        }
        Ok(heads)
    }

    /// A stretch of any log for a peer; `None` when it is not here without a gap.
    pub(super) async fn stretch_for(
        &self,
        origin: RegionId,
        incarnation: Incarnation,
        after: u64,
    ) -> Result<Option<LogBatch>, store::Error> {
        let heads = self.heads()?;
        let head = heads.iter().find(|h| (h.origin, h.incarnation) == (origin, incarnation));
        match head {
            Some(head) if head.complete_after <= after && after < head.applied => {
                batch::stretch(&self.inner.store, origin, incarnation, after).await
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Swaps heads with a peer; `None` when it cannot be reached.
    pub(super) async fn exchange_heads(&self, peer: RegionId) -> Option<Vec<LogHead>> {
        let heads = match self.heads() {
            Ok(heads) => heads,
            Err(why) => {
                tracing::error!(%why, "heads of the logs cannot be read");
                return None;
            }
        };
        match self.call(peer, Class::Log, &Request::Heads(heads), limits::HEADS_TIMEOUT).await {
            Ok(Response::Heads(heads)) => {
                self.heard_heads(peer, heads.clone());
                Some(heads)
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// A peer said how far it has applied which logs.
    pub(super) fn heard_heads(&self, peer: RegionId, heads: Vec<LogHead>) {
        let own = (self.region(), self.inner.incarnation);
        let now = self.env().monotonic();
        let mut views = self.inner.views();
        let view = views.entry(peer).or_default();
        view.last_contact = Some(now);
        view.heads = heads.iter().map(|head| ((head.origin, head.incarnation), *head)).collect();
        drop(views);
        if let Some(head) = heads.iter().find(|head| (head.origin, head.incarnation) == own) {
            self.notice_rollback(peer, head.applied);
            // Positions of an old copy are others' at its peers.
            if self.outdated().is_none() {
                self.inner.acks.acknowledge(peer, head.applied, &[]);
            }
        }
        self.inner.learnt.notify_one();
    }

    /// A peer has more of this node's log than this node: the data directory went back in time. Its
    /// positions would be given out a second time, so nothing more is written.
    fn notice_rollback(&self, peer: RegionId, applied: u64) {
        let own = (self.region(), self.inner.incarnation);
        if applied <= self.inner.grown.head() {
            return;
        }
        let heads = self.inner.store.read().and_then(|snapshot| snapshot.heads());
        let last = heads.ok().and_then(|heads| heads.into_iter().find(|(log, _)| *log == own));
        if last.map_or(0, |(_, last)| last) < applied {
            let acceptor = &self.inner.registers.acceptor;
            self.went_back(peer, acceptor.counters);
        }
    }

    /// Swaps heads with every peer and pulls what is missing, for as long as the node runs.
    pub(super) async fn follow_logs(self) {
        let mut stalled: BTreeMap<(RegionId, Incarnation), (u64, Duration)> = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                () = self.inner.learnt.notified() => {}
                () = self.env().sleep(limits::HEADS_INTERVAL) => {
                    let connected = self.others().into_iter().filter(|r| self.is_connected(r.id));
                    join_all(connected.map(|info| self.exchange_heads(info.id))).await;
                }
            }
            if let Err(why) = self.look_known() {
                tracing::error!(%why, "what is known of other regions cannot be read");
            }
            if let Err(why) = self.pull_missing(&mut stalled).await {
                tracing::error!(%why, "logs of other regions cannot be taken in");
            }
        }
    }

    /// Pulls every log that somebody has further than this node and that has not moved for a while.
    async fn pull_missing(
        &self,
        stalled: &mut BTreeMap<(RegionId, Incarnation), (u64, Duration)>,
    ) -> Result<(), store::Error> {
        let here: BTreeMap<(RegionId, Incarnation), u64> = self
            .heads()?
            .into_iter()
            .map(|head| ((head.origin, head.incarnation), head.applied))
            .collect();
        for (log, holders) in self.known_heads() {
            let applied = here.get(&log).copied().unwrap_or(0);
            let furthest = holders.values().map(|head| head.applied).max().unwrap_or(0);
            if log.0 == self.region() && log.1 == self.inner.incarnation || furthest <= applied {
                stalled.remove(&log);
                continue;
            }
            let now = self.env().monotonic();
            let (at, since) = *stalled.entry(log).or_insert((applied, now));
            if at != applied {
                stalled.insert(log, (applied, now));
                continue;
            }
            let pushes = log.0 != self.region() && self.is_connected(log.0);
            if pushes && now.saturating_sub(since) < limits::PULL_AFTER {
                continue;
            }
            self.pull(log, applied, &holders).await?;
        }
        Ok(())
    }

    /// Who has which log how far, as last heard.
    pub(super) fn known_heads(
        &self,
    ) -> BTreeMap<(RegionId, Incarnation), BTreeMap<RegionId, LogHead>> {
        let mut known: BTreeMap<_, BTreeMap<RegionId, LogHead>> = BTreeMap::new();
        for (peer, view) in self.inner.views().iter() {
            for (log, head) in &view.heads {
                known.entry(*log).or_default().insert(*peer, *head);
            }
        }
        known
    }

    pub(super) async fn pull(
        &self,
        log: (RegionId, Incarnation),
        mut applied: u64,
        holders: &BTreeMap<RegionId, LogHead>,
    ) -> Result<(), store::Error> {
        for peer in self.nearest(holders.keys().copied()) {
            let head = holders[&peer];
            while self.is_connected(peer)
                && head.applied > applied
                && head.complete_after <= applied
            {
                let (origin, incarnation) = log;
                let request = Request::LogPullKnown { origin, incarnation, after: applied };
                let answer = self.call(peer, Class::Repair, &request, limits::PUSH_TIMEOUT).await;
                let Ok(Response::LogStretchKnown { batch: Some(batch), positions }) = answer else {
                    break;
                };
                if (batch.origin, batch.incarnation) != log {
                    break;
                }
                let outcome = self.apply(batch, positions).await?;
                if outcome.applied <= applied {
                    break;
                }
                applied = outcome.applied;
            }
        }
        let reachable = |peer: &RegionId| self.is_connected(*peer);
        let cut_off = holders
            .iter()
            .filter(|(peer, head)| reachable(peer) && head.applied > applied)
            .all(|(_, head)| head.complete_after > applied);
        if cut_off && holders.iter().any(|(p, head)| reachable(p) && head.applied > applied) {
            // Nobody has the stretch any more: the digests tell what is missing.
            self.inner.compare.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
