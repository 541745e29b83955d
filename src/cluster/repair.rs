//! Anti-entropy: finds what two regions have different by the digest tree, and fetches it.
//!
//! Invariant: afterwards this node has everything that the peer had when the comparison began; the
//! peer does the same the other way round.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crate::env::Class;
use crate::limits;
use crate::net::message::{LogHead, Request, Response};
use crate::store::{self, Table};
use crate::types::record::RecordId;
use crate::types::region::RegionId;

use super::Cluster;
use super::lookup::Taken;
use super::receive::{Cursor, log_key};

/// Why a comparison ended early.
#[derive(Debug)]
pub(super) enum Halt {
    Peer(String),
    Store(store::Error),
}

impl From<store::Error> for Halt {
    fn from(why: store::Error) -> Self {
        Self::Store(why)
    }
}

impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Peer(why) => f.write_str(why),
            Self::Store(why) => std::fmt::Display::fmt(why, f),
        }
    }
}

impl Cluster {
    /// Compares with every connected peer each minute, with a new one at once, and when a log has a
    /// gap that nobody can fill.
    pub(super) async fn compare_digests(self) {
        let mut connected: BTreeMap<RegionId, bool> = BTreeMap::new();
        let mut next_round = self.env().monotonic() + limits::DIGEST_INTERVAL;
        loop {
            self.env().sleep(limits::HEADS_INTERVAL).await;
            let mut all = self.inner.compare.swap(false, Ordering::Relaxed);
            let now = self.env().monotonic();
            if now >= next_round {
                all = true;
                next_round = now + limits::DIGEST_INTERVAL;
            }
            for info in self.others() {
                let is = self.is_connected(info.id);
                let was = connected.insert(info.id, is).unwrap_or(false);
                if !is || (was && !all) {
                    continue;
                }
                match self.compare_with(info.id).await {
                    Ok(0) => {}
                    Ok(count) => tracing::info!(peer = %info.id, count, "records made good"),
                    Err(why) => tracing::warn!(peer = %info.id, %why, "comparison ended early"),
                }
            }
        }
    }

    /// Fetches everything that `peer` has different; the number of records that changed here.
    pub async fn compare_with(&self, peer: RegionId) -> Result<usize, Unfinished> {
        Box::pin(self.compare(peer)).await.map_err(|why| Unfinished(why.to_string()))
    }

    async fn compare(&self, peer: RegionId) -> Result<usize, Halt> {
        let heads = match self.ask(peer, Request::Heads(self.heads()?)).await? {
            Response::Heads(heads) => heads,
            other => return Err(odd(&other)),
        };
        let theirs = self.digests(peer, Request::DigestGroups).await?;
        let ours = self.store().digest().groups();
        let mut taken = Taken::default();
        for group in 0..=u8::MAX {
            if theirs[usize::from(group)] == ours[usize::from(group)] {
                continue;
            }
            let theirs = self.digests(peer, Request::DigestLeaves(group)).await?;
            let ours = self.store().digest().leaves(group);
            for leaf in 0..=u8::MAX {
                if theirs[usize::from(leaf)] != ours[usize::from(leaf)] {
                    let leaf = u16::from_be_bytes([group, leaf]);
                    taken.add(self.compare_leaf(peer, leaf).await?);
                }
            }
        }
        self.inner.metrics.records_repaired.inc_by(taken.changed as u64);
        // Else a gap of a log would count as filled.
        let changed = taken.all().map_err(|why| Halt::Peer(why.reason))?;
        self.skip_gaps(heads).await?;
        Ok(changed)
    }

    async fn digests(&self, peer: RegionId, request: Request) -> Result<Vec<[u8; 32]>, Halt> {
        match self.ask(peer, request).await? {
            Response::Digests(sums) if sums.len() == 256 => Ok(sums),
            other => Err(odd(&other)),
        }
    }

    async fn compare_leaf(&self, peer: RegionId, leaf: u16) -> Result<Taken, Halt> {
        let here: BTreeMap<RecordId, [u8; 32]> =
            self.store().digest().records(leaf)?.into_iter().collect();
        let mut after = None;
        let mut taken = Taken::default();
        loop {
            let request = Request::DigestRecords { leaf, after: after.take() };
            let (records, more) = match self.ask(peer, request).await? {
                Response::DigestRecords { records, more } => (records, more),
                other => return Err(odd(&other)),
            };
            after = records.last().map(|(id, _)| id.clone());
            let wanted: Vec<RecordId> = records
                .into_iter()
                .filter(|(id, digest)| here.get(id) != Some(digest))
                .map(|(id, _)| id)
                .collect();
            taken.add(self.fetch_records(peer, wanted).await?);
            if !more || after.is_none() {
                return Ok(taken);
            }
        }
    }

    async fn fetch_records(
        &self,
        peer: RegionId,
        mut wanted: Vec<RecordId>,
    ) -> Result<Taken, Halt> {
        let mut taken = Taken::default();
        while !wanted.is_empty() {
            let some = wanted[..wanted.len().min(limits::RECORDS_MAX)].to_vec();
            let (records, positions) = match self.ask(peer, Request::Known(some)).await? {
                Response::Known { records, positions } if !records.is_empty() => {
                    (records, positions)
                }
                other => return Err(odd(&other)),
            };
            wanted.drain(..records.len().min(wanted.len()));
            taken.add(self.take_in(records.into_iter().flatten().collect(), positions).await?);
        }
        Ok(taken)
    }

    /// After a comparison, logs whose missing stretch nobody can give go on from where the peer
    /// was.
    async fn skip_gaps(&self, heads: Vec<LogHead>) -> Result<(), store::Error> {
        let known = self.known_heads();
        let mut skipped: Vec<LogHead> = Vec::new();
        let here: BTreeMap<_, u64> = self
            .heads()?
            .into_iter()
            .map(|head| ((head.origin, head.incarnation), head.applied))
            .collect();
        for head in heads {
            let log = (head.origin, head.incarnation);
            let applied = here.get(&log).copied().unwrap_or(0);
            let own = log == (self.region(), self.inner.incarnation);
            let can_pull = known.get(&log).is_some_and(|holders| {
                holders.iter().any(|(peer, held)| {
                    self.is_connected(*peer)
                        && held.complete_after <= applied
                        && held.applied > applied
                })
            });
            if !own && !can_pull && head.stable > applied {
                skipped.push(head);
            }
        }
        if skipped.is_empty() {
            return Ok(());
        }
        self.inner
            .store
            .write(move |tx| {
                for head in skipped {
                    let key = log_key(head.origin, head.incarnation);
                    let cursor: Cursor = tx.get(Table::Cursor, &key)?.unwrap_or_default();
                    if head.stable > cursor.applied {
                        let cursor = Cursor { applied: head.stable, complete_after: head.stable };
                        tx.put(Table::Cursor, &key, &cursor)?;
                    }
                }
                Ok::<_, store::Error>(())
            })
            .await?;
        self.inner.moved.notify_waiters();
        Ok(())
    }

    async fn ask(&self, peer: RegionId, request: Request) -> Result<Response, Halt> {
        self.call(peer, Class::Repair, &request, limits::PUSH_TIMEOUT)
            .await
            .map_err(|why| Halt::Peer(why.to_string()))
    }

    /// Answers a peer that compares a leaf.
    pub(super) fn digest_records(
        &self,
        leaf: u16,
        after: Option<&RecordId>,
    ) -> Result<Response, store::Error> {
        let mut records = self.store().digest().records(leaf)?;
        records.sort_by(|a, b| a.0.cmp(&b.0));
        let from = after.map_or(0, |after| records.partition_point(|(id, _)| id <= after));
        records.drain(..from);
        let more = records.len() > limits::LEAF_PAGE;
        records.truncate(limits::LEAF_PAGE);
        Ok(Response::DigestRecords { records, more })
    }
}

fn odd(response: &Response) -> Halt {
    Halt::Peer(format!("odd answer: {}", response.name()))
}

/// A comparison of digests did not come to its end; the next one goes on.
#[derive(Clone, Debug)]
pub struct Unfinished(pub String);

impl std::fmt::Display for Unfinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfinished {}
