//! The follower's side of a write: takes pieces of a body in, then holds it with its change.
//!
//! Invariant: what is answered as held is durable, bytes and change, and was not refused before.
//! Pieces alone promise nothing; they are dropped when no change comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::limits;
use crate::net::message::PendingChange;
use crate::store::{self, BlobWriter, SealedBlob};
use crate::types::id::BlobId;
use crate::types::object::BlobRef;
use crate::types::region::RegionId;

use super::Cluster;
use super::hold::Holding;
use super::pending::{self, PendingEntry};

struct Stage {
    writer: BlobWriter,
    next: u64,
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
        let writer = self.inner.store.blob_writer(blob);
        let stage = Stage { writer, next: 0, parked: BTreeMap::new() };
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
            stage.writer.write(bytes).await.map_err(|why| why.to_string())?;
            let next = stage.next;
            ready = stage.parked.remove(&next);
        }
        Ok(())
    }

    /// Holds a change with its bytes, durably. An error says why it is not held.
    pub(super) async fn hold(
        &self,
        from: RegionId,
        change: PendingChange,
        how: Holding,
    ) -> Result<(), String> {
        if change.origin != from {
            return Err("only its origin may ask to hold a change".to_owned());
        }
        self.observe(change.stamp).map_err(|_| "its stamp is too far ahead".to_owned())?;
        let mut sealed = Vec::new();
        for blob in &change.blobs {
            if !self.inner.store.holds(&blob.id).map_err(|why| why.to_string())? {
                sealed.push(self.seal(from, blob).await?);
            }
        }
        let now_ms = self.env().now_ms();
        let kept = self
            .inner
            .store
            .write(move |tx| {
                match pending::load(tx, change.stamp)? {
                    Some(PendingEntry::Refused { .. }) => return Ok(false),
                    Some(PendingEntry::Held { .. } | PendingEntry::Offered { .. }) => {
                        return Ok(true);
                    }
                    None => {}
                }
                for sealed in sealed {
                    tx.attach(sealed)?;
                }
                match how {
                    Holding::Offered => {
                        let since_ms = now_ms;
                        pending::note(tx, &PendingEntry::Offered { change, since_ms })?;
                    }
                    Holding::Pending => {
                        if !pending::is_settled(&change.records, |id| tx.record(id))? {
                            pending::note(tx, &PendingEntry::held(change, now_ms))?;
                        }
                    }
                }
                Ok::<_, store::Error>(true)
            })
            .await
            .map_err(|why| why.to_string())?;
        if kept { Ok(()) } else { Err("it was given up before".to_owned()) }
    }

    async fn seal(&self, from: RegionId, blob: &BlobRef) -> Result<SealedBlob, String> {
        let stage = self.inner.stages.take(from, blob.id).ok_or("its bytes did not come")?;
        let Ok(stage) = Arc::try_unwrap(stage) else {
            return Err("its bytes are still coming".to_owned());
        };
        let stage = stage.into_inner();
        if stage.next != blob.len {
            return Err(format!("{} of {} bytes came", stage.next, blob.len));
        }
        let sealed = stage.writer.finish().await.map_err(|why| why.to_string())?;
        if sealed.blob() != *blob {
            return Err("its bytes fail their checksum".to_owned());
        }
        Ok(sealed)
    }
}
