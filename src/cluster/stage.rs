//! The follower's side of a write: takes pieces of a body in, then holds it with its change.
//!
//! Invariant: what is answered as held is durable, bytes and change, and was not refused before.
//! Pieces alone promise nothing; they are dropped when no change comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::limits;
use crate::net::message::PendingChange;
use crate::store::{self, BlobWriter, SealedBlob, Tx};
use crate::types::id::BlobId;
use crate::types::object::BlobRef;
use crate::types::region::RegionId;

use super::Cluster;
use super::hold::Holding;
use super::pending::{self, PendingEntry};
use super::register::attach;

struct Stage {
    /// `None` once the bytes were sealed.
    writer: Option<BlobWriter>,
    next: u64,
    /// Wakes who waits for more.
    more: Arc<Notify>,
    /// Pieces that came before their predecessors.
    parked: BTreeMap<u64, Bytes>,
}

struct Entry {
    stage: Arc<tokio::sync::Mutex<Stage>>,
    touched: Duration,
}

/// Bodies that other regions are sending here.
#[derive(Default)]
pub(super) struct Stages {
    entries: Mutex<BTreeMap<(RegionId, BlobId), Entry>>,
}

impl Stages {
    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<(RegionId, BlobId), Entry>> {
        self.entries.lock().expect("no holder of this lock panics")
    }

    /// Drops what nobody has added to for long.
    pub(super) fn sweep(&self, now: Duration) {
        let idle = |entry: &Entry| now.saturating_sub(entry.touched) > limits::STAGE_IDLE_MAX;
        self.entries().retain(|_, entry| !idle(entry));
    }

    fn take(&self, from: RegionId, blob: BlobId) -> Option<Arc<tokio::sync::Mutex<Stage>>> {
        Some(self.entries().remove(&(from, blob))?.stage)
    }
}

/// A change all of whose bytes are here, sealed but named by nothing.
pub(super) struct Arrived {
    change: PendingChange,
    sealed: Vec<SealedBlob>,
    /// Nobody else takes the same bytes in meanwhile.
    _stages: Vec<tokio::sync::OwnedMutexGuard<Stage>>,
}

impl Arrived {
    /// Keeps bytes and change; false where the change was refused for ever.
    pub(super) fn keep(
        self,
        tx: &mut Tx<'_>,
        how: Holding,
        now_ms: u64,
    ) -> Result<bool, store::Error> {
        let change = self.change;
        match pending::load(tx, change.stamp)? {
            Some(PendingEntry::Refused { .. }) => return Ok(false),
            Some(PendingEntry::Held { .. } | PendingEntry::Offered { .. }) => return Ok(true),
            None => {}
        }
        attach(tx, self.sealed)?;
        match how {
            Holding::Offered => {
                pending::note(tx, &PendingEntry::Offered { change, since_ms: now_ms })?;
            }
            Holding::Pending => {
                if !pending::is_settled(&change.records, |id| tx.record(id))? {
                    pending::note(tx, &PendingEntry::held(change, now_ms))?;
                }
            }
        }
        Ok(true)
    }
}

impl Cluster {
    fn stage(
        &self,
        from: RegionId,
        blob: BlobId,
    ) -> Result<Arc<tokio::sync::Mutex<Stage>>, String> {
        let now = self.env().monotonic();
        let mut entries = self.inner.stages.entries();
        if let Some(entry) = entries.get_mut(&(from, blob)) {
            entry.touched = now;
            return Ok(entry.stage.clone());
        }
        if entries.len() >= limits::STAGES_MAX {
            return Err("too many bodies on their way here".to_owned());
        }
        let (writer, more) = (Some(self.inner.store.blob_writer(blob)), Arc::default());
        let stage = Stage { writer, next: 0, more, parked: BTreeMap::new() };
        let stage = Arc::new(tokio::sync::Mutex::new(stage));
        entries.insert((from, blob), Entry { stage: stage.clone(), touched: now });
        Ok(stage)
    }

    /// Takes a piece in; repeated ones are passed over.
    pub(super) async fn take_piece(
        &self,
        from: RegionId,
        blob: BlobId,
        offset: u64,
        bytes: Bytes,
    ) -> Result<(), String> {
        let stage = self.stage(from, blob)?;
        let mut stage = stage.lock().await;
        if stage.writer.is_none() {
            return Ok(());
        }
        if offset > stage.next {
            if stage.parked.len() >= limits::STAGE_WINDOW * 2 {
                return Err("pieces came too far out of order".to_owned());
            }
            stage.parked.insert(offset, bytes);
            return Ok(());
        }
        let mut ready = (offset == stage.next).then_some(bytes);
        while let Some(bytes) = ready.take() {
            stage.next += bytes.len() as u64;
            let Some(writer) = &mut stage.writer else { break };
            writer.write(bytes).await.map_err(|why| why.to_string())?;
            let next = stage.next;
            ready = stage.parked.remove(&next);
        }
        stage.more.notify_waiters();
        Ok(())
    }

    /// Holds a change with its bytes, durably. An error says why it is not held.
    pub(super) async fn hold(
        &self,
        from: RegionId,
        change: PendingChange,
        how: Holding,
    ) -> Result<(), String> {
        let arrived = self.gather(from, change).await?;
        let now_ms = self.env().now_ms();
        let kept = self.inner.store.write(move |tx| arrived.keep(tx, how, now_ms)).await;
        match kept.map_err(|why| why.to_string())? {
            true => Ok(()),
            false => Err("it was given up before".to_owned()),
        }
    }

    /// Waits for the bytes of a change that are still on their way here.
    pub(super) async fn gather(
        &self,
        from: RegionId,
        change: PendingChange,
    ) -> Result<Arrived, String> {
        if change.origin != from {
            return Err("only its origin may ask to hold a change".to_owned());
        }
        self.observe(change.stamp).map_err(|_| "its stamp is too far ahead".to_owned())?;
        let (mut sealed, mut stages) = (Vec::new(), Vec::new());
        for blob in &change.blobs {
            if self.holds_blob(blob)? {
                continue;
            }
            let mut stage = self.arrived(from, blob).await?.lock_owned().await;
            // Whoever asked at the same time was first.
            if !self.holds_blob(blob)? {
                self.inner.stages.take(from, blob.id);
                sealed.push(seal(&mut stage, blob).await?);
            }
            stages.push(stage);
        }
        Ok(Arrived { change, sealed, _stages: stages })
    }

    fn holds_blob(&self, blob: &BlobRef) -> Result<bool, String> {
        self.inner.store.holds(&blob.id).map_err(|why| why.to_string())
    }

    /// Waits for the last piece, as long as pieces come.
    async fn arrived(
        &self,
        from: RegionId,
        blob: &BlobRef,
    ) -> Result<Arc<tokio::sync::Mutex<Stage>>, String> {
        let stage = self.stage(from, blob.id)?;
        loop {
            let (came, more) = {
                let stage = stage.lock().await;
                (stage.next, stage.more.clone().notified_owned())
            };
            if came >= blob.len {
                return Ok(stage);
            }
            if self.env().timeout(limits::STAGE_STALL_MAX, more).await.is_err() {
                self.inner.stages.take(from, blob.id);
                return Err(format!("{came} of {} bytes came", blob.len));
            }
        }
    }
}

async fn seal(stage: &mut Stage, blob: &BlobRef) -> Result<SealedBlob, String> {
    let writer = stage.writer.take().ok_or("its bytes were sealed before")?;
    if stage.next != blob.len {
        return Err(format!("{} bytes came, not {}", stage.next, blob.len));
    }
    let sealed = writer.finish().await.map_err(|why| why.to_string())?;
    if sealed.blob() != *blob {
        return Err("its bytes fail their checksum".to_owned());
    }
    Ok(sealed)
}
