//! Taking in what other regions changed: stretches of logs, single records, and what cannot be
//! taken in (quarantine).
//!
//! Invariants: a log's cursor moves only over positions whose changes were merged or put into
//! quarantine in the same write; a bad change never stops a log.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::net::message::{Carried, ChangeBody, LogBatch};
use crate::store::{self, SealedBlob, Source, Table, Tx};
use crate::types::id::Incarnation;
use crate::types::position::Positions;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::batch::{decode, riding, stamps};
use super::pending;

/// How far a log was applied here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) applied: u64,
    /// Entries up to this one came by digests: this node cannot relay them.
    pub(super) complete_after: u64,
}

/// A change that could not be merged, as it came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Quarantined {
    pub(super) carried: Carried,
    pub(super) why: String,
    pub(super) since_ms: u64,
}

/// How a batch was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) applied: u64,
    /// Positions that went into quarantine.
    pub(super) refused: Vec<u64>,
}

/// A record ready to be merged, with the bodies that came with it.
pub(super) struct Ready {
    pub(super) id: RecordId,
    pub(super) record: Record,
    sealed: Vec<SealedBlob>,
}

impl Ready {
    /// A record that came without bytes.
    pub(super) fn without_bodies(id: RecordId, record: Record) -> Self {
        Self { id, record, sealed: Vec::new() }
    }
}

/// Why a record is not taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Its stamp is too far ahead of this node's time; later it is not.
    TooNew(Stamp),
    Bad(String),
}

impl Unfit {
    pub(super) fn too_new(&self) -> Option<Stamp> {
        match self {
            Self::TooNew(stamp) => Some(*stamp),
            Self::Bad(_) => None,
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooNew(stamp) => write!(f, "its stamp {stamp} is too far ahead"),
            Self::Bad(why) => f.write_str(why),
        }
    }
}

enum Step {
    Merge(Ready),
    Quarantine(Quarantined),
    /// The same record as an earlier position of the batch.
    Repeat(u32),
    Forgotten,
}

pub(super) fn log_key(origin: RegionId, incarnation: Incarnation) -> Vec<u8> {
    let mut key = origin.to_u16().to_be_bytes().to_vec();
    key.extend_from_slice(&incarnation.0.to_be_bytes());
    key
}

fn quarantine_key(origin: RegionId, incarnation: Incarnation, seq: u64) -> Vec<u8> {
    let mut key = log_key(origin, incarnation);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

impl Cluster {
    /// Merges a stretch of another region's log, as far as it continues what is here. Its records
    /// are as their giver had them, who knew this much.
    pub(super) async fn apply(
        &self,
        batch: LogBatch,
        giver: Positions,
    ) -> Result<Applied, store::Error> {
        let LogBatch { origin, incarnation, after, last, changes } = batch;
        let mut steps = Vec::with_capacity(changes.len());
        for change in changes {
            let step = match change.body {
                ChangeBody::Record(carried) => self.step(carried)?,
                ChangeBody::Repeat(index) => Step::Repeat(index),
                ChangeBody::Forgotten => Step::Forgotten,
            };
            steps.push((change.seq, step));
        }
        let cursor_key = log_key(origin, incarnation);
        let cluster = self.clone();
        let applied = self
            .inner
            .store
            .write(move |tx| {
                let mut cursor: Cursor = tx.get(Table::Cursor, &cursor_key)?.unwrap_or_default();
                let mut outcome = Applied { applied: cursor.applied, refused: Vec::new() };
                if after > cursor.applied || last <= cursor.applied {
                    return Ok(outcome);
                }
                let log = Log { origin, incarnation };
                outcome.refused = cluster.apply_steps(tx, log, cursor.applied, steps)?;
                cursor.applied = last;
                tx.put(Table::Cursor, &cursor_key, &cursor)?;
                cluster.note_ahead(tx, &giver)?;
                outcome.applied = last;
                Ok::<_, store::Error>(outcome)
            })
            .await?;
        self.inner.moved.notify_waiters();
        Ok(applied)
    }

    fn apply_steps(
        &self,
        tx: &mut Tx<'_>,
        log: Log,
        applied: u64,
        steps: Vec<(u64, Step)>,
    ) -> Result<Vec<u64>, store::Error> {
        let mut refused = Vec::new();
        let mut ids: Vec<Option<RecordId>> = Vec::with_capacity(steps.len());
        for (seq, step) in steps {
            let mut id = None;
            match step {
                Step::Merge(ready) => {
                    id = Some(ready.id.clone());
                    // Also what is older than the cursor: it may have changed since.
                    self.merge_ready(tx, ready, log.source(seq, applied))?;
                }
                Step::Quarantine(bad) => {
                    tracing::error!(origin = %log.origin, seq, why = bad.why, "quarantined");
                    self.inner.metrics.quarantined.inc();
                    tx.put(Table::Quarantine, &log.quarantine_key(seq), &bad)?;
                    refused.push(seq);
                }
                Step::Repeat(index) => {
                    let first = usize::try_from(index).ok().and_then(|i| ids.get(i));
                    match first.cloned().flatten() {
                        Some(first) => {
                            if let Some(record) = tx.record(&first)? {
                                tx.merge(first, record, log.source(seq, applied))?;
                            }
                        }
                        None => refused.push(seq),
                    }
                }
                Step::Forgotten => {}
            }
            ids.push(id);
        }
        Ok(refused)
    }

    /// Merges one record with its bodies, and ends the pending changes that it settles.
    pub(super) fn merge_ready(
        &self,
        tx: &mut Tx<'_>,
        ready: Ready,
        source: Source,
    ) -> Result<bool, store::Error> {
        for sealed in ready.sealed {
            if !tx.holds(&sealed.blob().id)? {
                tx.attach(sealed)?;
            }
        }
        let stamps = stamps(&ready.record);
        let merged = tx.merge(ready.id, ready.record, source)?;
        if merged.changed {
            pending::end_settled(tx, &stamps)?;
        }
        Ok(merged.changed)
    }

    fn step(&self, carried: Carried) -> Result<Step, store::Error> {
        Ok(match self.ready(&carried)? {
            Ok(ready) => Step::Merge(ready),
            Err(why) => {
                let (since_ms, why) = (self.env().now_ms(), why.to_string());
                Step::Quarantine(Quarantined { carried, why, since_ms })
            }
        })
    }

    /// Decodes, checks and prepares one record; the inner error is about the record, the outer one
    /// about this disk.
    pub(super) fn ready(&self, carried: &Carried) -> Result<Result<Ready, Unfit>, store::Error> {
        let (id, record) = match decode(&carried.entry) {
            Ok(decoded) => decoded,
            Err(why) => return Ok(Err(Unfit::Bad(why))),
        };
        for stamp in stamps(&record) {
            if self.observe(stamp).is_err() {
                return Ok(Err(Unfit::TooNew(stamp)));
            }
        }
        let mut sealed = Vec::new();
        for blob in riding(&record) {
            let body = carried.bodies.iter().find(|(id, _)| *id == blob.id);
            let Some((_, bytes)) = body else { continue };
            if self.inner.store.holds(&blob.id)? {
                continue;
            }
            let body = match self.inner.store.seal_riding(blob.id, bytes.clone()) {
                Ok(body) => body,
                // The row, and the deletions after it, must come nevertheless.
                Err(store::Error::DiskFull) => continue,
                Err(store::Error::TooLarge { bytes }) => {
                    let why = format!("a body of {bytes} bytes does not ride");
                    return Ok(Err(Unfit::Bad(why)));
                }
                Err(error) => return Err(error),
            };
            if body.blob() != blob {
                let why = format!("the body of blob {} fails its checksum", blob.id);
                return Ok(Err(Unfit::Bad(why)));
            }
            sealed.push(body);
        }
        Ok(Ok(Ready { id, record, sealed }))
    }

    /// Tries again what was quarantined: a clock that was ahead may be right by now.
    pub(super) async fn retry_quarantine(&self) -> Result<(), store::Error> {
        let page: Vec<(Vec<u8>, Quarantined)> =
            self.inner.store.read()?.scan(Table::Quarantine, &[], None, limits::PENDING_PAGE)?;
        for (key, bad) in page {
            let Ok(ready) = self.ready(&bad.carried)? else { continue };
            let Some(source) = source_of(&key) else { continue };
            let cluster = self.clone();
            self.inner
                .store
                .write(move |tx| {
                    cluster.merge_ready(tx, ready, source)?;
                    tx.delete(Table::Quarantine, &key)
                })
                .await?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Log {
    origin: RegionId,
    incarnation: Incarnation,
}

impl Log {
    /// Positions that were applied before are not stored a second time.
    fn source(self, seq: u64, applied: u64) -> Source {
        let Self { origin, incarnation } = self;
        if seq <= applied { Source::Digest } else { Source::Log { origin, incarnation, seq } }
    }

    fn quarantine_key(self, seq: u64) -> Vec<u8> {
        quarantine_key(self.origin, self.incarnation, seq)
    }
}

/// The inverse of [`log_key`].
pub(super) fn log_of(key: &[u8]) -> Option<(RegionId, Incarnation)> {
    let (origin, incarnation) = key.split_at_checked(2)?;
    let origin = RegionId::from_u16(u16::from_be_bytes(origin.try_into().ok()?))?;
    Some((origin, Incarnation(u64::from_be_bytes(incarnation.try_into().ok()?))))
}

fn source_of(key: &[u8]) -> Option<Source> {
    let (log, seq) = key.split_at_checked(10)?;
    let (origin, incarnation) = log_of(log)?;
    Some(Source::Log { origin, incarnation, seq: u64::from_be_bytes(seq.try_into().ok()?) })
}

/// The oldest position of a log that is in quarantine here.
pub(super) fn oldest_quarantined(
    snapshot: &store::Snapshot,
    origin: RegionId,
    incarnation: Incarnation,
) -> Result<Option<u64>, store::Error> {
    let prefix = log_key(origin, incarnation);
    let first: Vec<(Vec<u8>, Quarantined)> = snapshot.scan(Table::Quarantine, &prefix, None, 1)?;
    Ok(first.first().and_then(|(key, _)| match source_of(key)? {
        Source::Log { seq, .. } => Some(seq),
        Source::Digest | Source::Local => None,
    }))
}
