//! Changes that are durably noted and not published: what becomes of them when the way through
//! `hold` was cut short.
//!
//! Invariants: a change is discarded by its origin only, and only after every follower that may
//! have it durably refuses it; a follower publishes a change only when its origin published it,
//! cannot be reached, or has lost its disk. Publishing twice, or in two regions, is the same as
//! once.

use futures_util::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};

use crate::env::Class;
use crate::limits;
use crate::logic::merge::merge;
use crate::net::message::{Fate, PendingChange, Request, Response};
use crate::store::{self, Snapshot, Table, Tx};
use crate::types::event::Because;
use crate::types::id::{BlobId, BucketId};
use crate::types::object::{Content, HoldState, Holding, Row};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::batch;
use super::commit::merge_all;

/// A line of the table of pending changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum PendingEntry {
    /// Bytes and records are here.
    Held { change: PendingChange, since_ms: u64 },
    /// This change is never taken in here any more.
    Refused { since_ms: u64 },
    /// Bytes are here for a value that the register of the change's record may choose.
    Offered { change: PendingChange, since_ms: u64 },
}

impl PendingEntry {
    pub(super) fn held(change: PendingChange, since_ms: u64) -> Self {
        Self::Held { change, since_ms }
    }

    fn change(&self) -> Option<&PendingChange> {
        match self {
            Self::Held { change, .. } | Self::Offered { change, .. } => Some(change),
            Self::Refused { .. } => None,
        }
    }

    pub(super) fn change_mut(&mut self) -> Option<&mut PendingChange> {
        match self {
            Self::Held { change, .. } | Self::Offered { change, .. } => Some(change),
            Self::Refused { .. } => None,
        }
    }
}

pub(super) fn key(stamp: Stamp) -> [u8; Stamp::BYTES] {
    stamp.to_bytes()
}

/// Notes a pending change and keeps its blobs.
pub(super) fn note(tx: &mut Tx<'_>, entry: &PendingEntry) -> Result<(), store::Error> {
    let Some(change) = entry.change() else { return Ok(()) };
    let blobs: Vec<BlobId> = change.blobs.iter().map(|blob| blob.id).collect();
    tx.put_holding(Table::Pending, &key(change.stamp), entry, &blobs)
}

pub(super) fn load(tx: &Tx<'_>, stamp: Stamp) -> Result<Option<PendingEntry>, store::Error> {
    tx.get(Table::Pending, &key(stamp))
}

pub(super) fn end(tx: &mut Tx<'_>, stamp: Stamp) -> Result<(), store::Error> {
    tx.delete(Table::Pending, &key(stamp))
}

/// Says in the records of a change that `holders` have its bytes.
pub(super) fn claim(change: &mut PendingChange, holders: &[RegionId]) {
    for (_, record) in &mut change.records {
        let Record::Row(row) = record else { continue };
        for version in row.versions.iter_mut().filter(|v| v.stamp == change.stamp) {
            let Content::Object(meta) = &version.content else { continue };
            if meta.rides || !meta.parts.iter().all(|part| change.blobs.contains(&part.blob)) {
                continue;
            }
            version.placement.holders = holders
                .iter()
                .map(|region| (*region, Holding { counter: 1, state: HoldState::Held }))
                .collect();
        }
    }
}

/// Publishing this change would change nothing here: it was published, or something later covers
/// it.
pub(super) fn is_settled(
    records: &[(RecordId, Record)],
    read: impl Fn(&RecordId) -> Result<Option<Record>, store::Error>,
) -> Result<bool, store::Error> {
    for (id, record) in records {
        let Some(local) = read(id)? else { return Ok(false) };
        if merge(Some(local), record.clone()).changed {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Changes that wait for their outcome here.
pub(super) fn count(view: &Snapshot) -> Result<u64, store::Error> {
    let (mut after, mut count): (Option<Vec<u8>>, u64) = (None, 0);
    loop {
        let page: Vec<(Vec<u8>, PendingEntry)> =
            view.scan(Table::Pending, &[], after.as_deref(), limits::PENDING_PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(count) };
        after = Some(last.clone());
        count += page.iter().filter(|(_, entry)| entry.change().is_some()).count() as u64;
    }
}

/// Changes that were made before then, milliseconds since 1970, and still wait for their outcome here.
pub(super) fn older_than(view: &Snapshot, before_ms: u64) -> Result<u64, store::Error> {
    let (mut after, mut count): (Option<Vec<u8>>, u64) = (None, 0);
    loop {
        let page: Vec<(Vec<u8>, PendingEntry)> =
            view.scan(Table::Pending, &[], after.as_deref(), limits::PENDING_PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(count) };
        after = Some(last.clone());
        let changes = page.iter().filter_map(|(_, entry)| entry.change());
        count += changes.filter(|change| change.stamp.hlc.ms() < before_ms).count() as u64;
    }
}

/// Whether changes of a bucket are held here, which may still be published.
pub(super) fn of_bucket(tx: &Tx<'_>, bucket: BucketId) -> Result<bool, store::Error> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page: Vec<(Vec<u8>, PendingEntry)> =
            tx.scan(Table::Pending, &[], after.as_deref(), limits::PENDING_PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(false) };
        after = Some(last.clone());
        let names = |id: &RecordId| matches!(id, RecordId::Row(of, _) if *of == bucket);
        let of_bucket = |entry: &PendingEntry| {
            entry.change().is_some_and(|change| change.records.iter().any(|(id, _)| names(id)))
        };
        if page.iter().any(|(_, entry)| of_bucket(entry)) {
            return Ok(true);
        }
    }
}

/// As [`is_settled`], whatever is known of the places of the bytes.
fn is_known(
    records: &[(RecordId, Record)],
    read: impl Fn(&RecordId) -> Result<Option<Record>, store::Error>,
) -> Result<bool, store::Error> {
    for (id, record) in records {
        let Some(local) = read(id)? else { return Ok(false) };
        let new: Vec<Stamp> = match (&local, record) {
            (Record::Row(local), Record::Row(row)) => row
                .versions
                .iter()
                .map(|version| version.stamp)
                .filter(|stamp| !local.versions.iter().any(|known| known.stamp == *stamp))
                .collect(),
            (_, record) => vec![record.stamp()],
        };
        let merged = merge(Some(local), record.clone());
        if merged.changed && batch::stamps(&merged.record).iter().any(|s| new.contains(s)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Only bytes are held: what will name them is not known.
fn is_offer(change: &PendingChange) -> bool {
    let unknown = |record: &Record| matches!(record, Record::Row(row) if *row == Row::default());
    change.records.iter().all(|(_, record)| unknown(record))
}

/// Ends the pending changes with these stamps that were settled by what `tx` merged.
pub(super) fn end_settled(tx: &mut Tx<'_>, stamps: &[Stamp]) -> Result<(), store::Error> {
    for stamp in stamps {
        if let Some(PendingEntry::Held { change, .. }) = load(tx, *stamp)?
            && is_settled(&change.records, |id| tx.record(id))?
        {
            end(tx, *stamp)?;
        }
    }
    Ok(())
}

impl Cluster {
    /// Decides about every pending change that nobody is working on.
    pub(super) async fn resolve_pending(&self) -> Result<(), store::Error> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page: Vec<(Vec<u8>, PendingEntry)> = self.inner.store.read()?.scan(
                Table::Pending,
                &[],
                after.as_deref(),
                limits::PENDING_PAGE,
            )?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let mut lines = page.into_iter();
            loop {
                let some: Vec<_> = lines.by_ref().take(limits::PENDING_AT_ONCE).collect();
                if some.is_empty() {
                    break;
                }
                try_join_all(some.into_iter().map(|(key, entry)| self.resolve(key, entry))).await?;
            }
        }
    }

    async fn resolve(&self, key: Vec<u8>, entry: PendingEntry) -> Result<(), store::Error> {
        let now_ms = self.env().now_ms();
        match entry {
            PendingEntry::Refused { since_ms } => {
                let kept_ms = now_ms.saturating_sub(since_ms);
                if u128::from(kept_ms) < limits::REFUSAL_KEPT.as_millis() {
                    return Ok(());
                }
                self.inner.store.write(move |tx| tx.delete(Table::Pending, &key)).await
            }
            PendingEntry::Offered { change, .. } if self.inner.active.contains(change.stamp) => {
                Ok(())
            }
            PendingEntry::Offered { change, since_ms } => {
                self.resolve_offered(change, since_ms).await
            }
            PendingEntry::Held { change, since_ms } => {
                if self.inner.active.contains(change.stamp) {
                    return Ok(());
                }
                // What was published under a later stamp is met here, not on arrival.
                let snapshot = self.inner.store.read()?;
                if is_settled(&change.records, |id| snapshot.record(id))? {
                    drop(snapshot);
                    return self.inner.store.write(move |tx| end(tx, change.stamp)).await;
                }
                drop(snapshot);
                let own =
                    change.origin == self.region() && change.incarnation == self.inner.incarnation;
                if own {
                    return self.settle(change).await;
                }
                let waited_ms = now_ms.saturating_sub(since_ms);
                if u128::from(waited_ms) < limits::PENDING_ASK_AFTER.as_millis() {
                    return Ok(());
                }
                self.ask_origin(change).await
            }
        }
    }

    /// As the origin: asks every follower.
    async fn settle(&self, change: PendingChange) -> Result<(), store::Error> {
        let asked = change.followers.iter().map(|region| {
            let (region, request) = (*region, Request::Settle(Box::new(change.clone())));
            async move {
                let answer = self.call(region, Class::Log, &request, limits::ACK_TIMEOUT).await;
                (region, answer)
            }
        });
        let answers = join_all(asked).await;
        let mut holders: Vec<RegionId> = Vec::new();
        let mut all_refuse = true;
        for (region, answer) in answers {
            match answer {
                Ok(Response::Settled { has: true }) => holders.push(region),
                Ok(Response::Settled { has: false }) => {}
                // A region that was removed publishes nothing any more.
                Ok(_) | Err(_) if !self.members().contains(region) => {}
                Ok(_) | Err(_) => all_refuse = false,
            }
        }
        if !holders.is_empty() {
            return self.publish_pending(change, &holders, true).await;
        }
        if all_refuse {
            tracing::info!(stamp = %change.stamp, "discarded a change that no region holds");
            return self.inner.store.write(move |tx| end(tx, change.stamp)).await;
        }
        Ok(())
    }

    /// As a follower that has heard nothing of it for long.
    async fn ask_origin(&self, change: PendingChange) -> Result<(), store::Error> {
        let request = Request::Fate(Box::new(change.clone()));
        let limit = limits::PENDING_ASK_AFTER;
        match self.call(change.origin, Class::Log, &request, limit).await {
            Ok(Response::Fate(Fate::Underway)) => Ok(()),
            Ok(Response::Fate(Fate::Discarded)) => {
                self.inner.store.write(move |tx| end(tx, change.stamp)).await
            }
            // Who published it has told of it.
            Ok(Response::Fate(Fate::Published)) => self.publish_pending(change, &[], false).await,
            Ok(Response::Fate(Fate::Unknown)) | Err(_) => {
                self.publish_pending(change, &[], true).await
            }
            Ok(other) => {
                tracing::warn!(origin = %change.origin, got = other.name(), "odd answer to fate");
                Ok(())
            }
        }
    }

    /// Publishes in this node's log, if it is still pending here.
    async fn publish_pending(
        &self,
        mut change: PendingChange,
        also_held_by: &[RegionId],
        tell: bool,
    ) -> Result<(), store::Error> {
        if !also_held_by.is_empty() {
            let mut holders = also_held_by.to_vec();
            holders.extend(self.all_here(&change)?.then(|| self.region()));
            claim(&mut change, &holders);
        }
        tracing::info!(stamp = %change.stamp, origin = %change.origin, "published a pending change");
        let cluster = self.clone();
        let seq = self
            .inner
            .store
            .write(move |tx| {
                if !matches!(load(tx, change.stamp)?, Some(PendingEntry::Held { .. })) {
                    return Ok(None);
                }
                cluster.keep_clock(tx, change.stamp)?;
                if tell {
                    let because = Because::default();
                    cluster.note_events(tx, change.stamp, &because, &change.records)?;
                }
                let seq = merge_all(tx, change.records)?;
                end(tx, change.stamp)?;
                Ok::<_, store::Error>(seq)
            })
            .await?;
        self.inner.noted.settled();
        if let Some(seq) = seq {
            self.log_grew(seq);
        }
        Ok(())
    }

    fn all_here(&self, change: &PendingChange) -> Result<bool, store::Error> {
        for blob in &change.blobs {
            if !self.inner.store.holds(&blob.id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Answers a follower: what became of a change of this node?
    pub(super) fn fate(&self, change: &PendingChange) -> Result<Fate, store::Error> {
        if change.incarnation != self.inner.incarnation {
            return Ok(Fate::Unknown);
        }
        if self.inner.active.contains(change.stamp) {
            return Ok(Fate::Underway);
        }
        let snapshot = self.inner.store.read()?;
        let entry: Option<PendingEntry> = snapshot.get(Table::Pending, &key(change.stamp))?;
        if entry.is_some_and(|entry| entry.change().is_some()) {
            return Ok(Fate::Underway);
        }
        let published = is_known(&change.records, |id| snapshot.record(id))?;
        Ok(if published { Fate::Published } else { Fate::Discarded })
    }

    /// Answers an origin after a crash or a time-out: is it here? If not, it never will be.
    pub(super) async fn settled_here(&self, change: PendingChange) -> Result<bool, store::Error> {
        let now_ms = self.env().now_ms();
        self.inner
            .store
            .write(move |tx| match load(tx, change.stamp)? {
                Some(PendingEntry::Held { .. } | PendingEntry::Offered { .. }) => Ok(true),
                Some(PendingEntry::Refused { .. }) => Ok(false),
                None if !is_offer(&change) && is_known(&change.records, |id| tx.record(id))? => {
                    Ok(true)
                }
                None => {
                    let refused = PendingEntry::Refused { since_ms: now_ms };
                    tx.put(Table::Pending, &key(change.stamp), &refused)?;
                    Ok(false)
                }
            })
            .await
    }
}
