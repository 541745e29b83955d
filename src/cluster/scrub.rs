//! Scrub: everything that this region holds is read from its disk again and compared with its
//! checksums, so that decay is found while another region still has the bytes.
//!
//! A pass goes over the held blobs, the log and the cached copies. It spreads over its interval and
//! never reads more in a second than its budget; one that a person starts uses the whole budget. Its
//! place is kept on disk, so that a restart goes on where it was. What is found is mended by `mend`.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::limits;
use crate::store::{self, EntriesMark, LogMark, Table};
use crate::types::id::BlobId;
use crate::types::object::BlobRef;

use super::Cluster;
use super::budget::Budget;
use super::outlet::chunks_of;

/// Where the state of the pass is kept.
const STATE_KEY: &[u8] = b"scrub";

/// What a pass is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubPhase {
    /// Between two passes.
    Resting,
    Blobs,
    Log,
    Index,
    Cache,
}

/// A pass, for people and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubStatus {
    pub phase: ScrubPhase,
    /// Stopped by a person: nothing is read until it is started again.
    pub stopped: bool,
    /// Begun by a person: at the whole budget.
    pub hurried: bool,
    pub progress: ScrubProgress,
    /// When the last whole pass ended, milliseconds since 1970.
    pub finished_ms: Option<u64>,
    /// When the next pass begins.
    pub next_ms: u64,
    /// Bytes a second at most.
    pub rate: u64,
}

/// What the pass under way, or else the last one, has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubProgress {
    pub started_ms: u64,
    pub blobs: u64,
    pub blobs_total: u64,
    pub bytes: u64,
    pub bytes_total: u64,
    /// Damaged blobs, stretches of the log, entries of the index and cached copies that it found.
    pub found: u64,
    /// What could not be read for another reason than damage.
    pub errors: u64,
}

/// As it is on disk.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Kept {
    running: bool,
    stopped: bool,
    hurried: bool,
    /// The last blob of the pass that was checked.
    after: Option<BlobId>,
    progress: ScrubProgress,
    finished_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    kept: Kept,
    phase: Option<ScrubPhase>,
    noted_at: Duration,
}

/// The scrub of one node.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    state: Mutex<State>,
    budget: Budget,
    wake: Notify,
}

impl Scrub {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// The pass may go on.
    fn is_on(&self) -> bool {
        let state = self.lock();
        state.kept.running && !state.kept.stopped
    }
}

impl Cluster {
    /// What scrub does now.
    pub fn scrub_status(&self) -> ScrubStatus {
        let state = self.inner.scrub.lock();
        let Kept { stopped, hurried, progress, finished_ms, .. } = state.kept;
        ScrubStatus {
            phase: state.phase.unwrap_or(ScrubPhase::Resting),
            stopped,
            hurried,
            progress,
            finished_ms,
            next_ms: self.scrub_due(&state.kept),
            rate: self.inner.options.scrub_rate,
        }
    }

    /// Begins a pass now, or goes on with the one under way, at the whole budget.
    pub async fn start_scrub(&self) -> Result<(), store::Error> {
        {
            let mut state = self.inner.scrub.lock();
            state.kept.stopped = false;
            state.kept.hurried = true;
            if !state.kept.running {
                self.begin_pass(&mut state.kept);
            }
        }
        self.keep_scrub().await?;
        self.inner.scrub.wake.notify_one();
        Ok(())
    }

    /// Stops reading until it is started again, over restarts too.
    pub async fn stop_scrub(&self) -> Result<(), store::Error> {
        self.inner.scrub.lock().kept.stopped = true;
        self.keep_scrub().await
    }

    fn begin_pass(&self, kept: &mut Kept) {
        kept.running = true;
        kept.after = None;
        kept.progress =
            ScrubProgress { started_ms: self.env().now_ms(), ..ScrubProgress::default() };
    }

    fn scrub_due(&self, kept: &Kept) -> u64 {
        let every = u64::try_from(self.inner.options.scrub_every.as_millis()).unwrap_or(u64::MAX);
        kept.progress.started_ms.saturating_add(every)
    }

    async fn keep_scrub(&self) -> Result<(), store::Error> {
        let kept = {
            let mut state = self.inner.scrub.lock();
            state.noted_at = self.env().monotonic();
            state.kept
        };
        self.store().write(move |tx| tx.put(Table::Local, STATE_KEY, &kept)).await
    }

    pub(super) async fn run_scrub(self) {
        match self.store().read().and_then(|snapshot| snapshot.get(Table::Local, STATE_KEY)) {
            Ok(Some(kept)) => self.inner.scrub.lock().kept = kept,
            // A new disk has nothing old on it: the first pass comes when it is due.
            Ok(None) => {
                self.inner.scrub.lock().kept.progress.started_ms = self.env().now_ms();
            }
            Err(why) => tracing::error!(%why, "the state of scrub cannot be read; it begins anew"),
        }
        loop {
            {
                let mut state = self.inner.scrub.lock();
                let due = self.env().now_ms() >= self.scrub_due(&state.kept);
                if due && !state.kept.running && !state.kept.stopped {
                    state.kept.hurried = false;
                    self.begin_pass(&mut state.kept);
                }
            }
            if self.inner.scrub.is_on() {
                let passed = self.scrub_pass().await;
                self.inner.scrub.lock().phase = None;
                if let Err(why) = passed {
                    tracing::error!(%why, "scrub cannot go on; tried again later");
                }
            }
            let wake = self.inner.scrub.wake.notified();
            // Either way it looks again.
            let _ = self.env().timeout(limits::SCRUB_LOOK_INTERVAL, wake).await;
        }
    }

    /// The pass under way, to its end or until it is stopped.
    async fn scrub_pass(&self) -> Result<(), store::Error> {
        let held = self.store().held().await?;
        {
            let mut state = self.inner.scrub.lock();
            state.kept.progress.blobs_total = held.blobs;
            state.kept.progress.bytes_total = held.bytes;
        }
        tracing::info!(blobs = held.blobs, bytes = held.bytes, "scrub reads everything");
        let whole = self.scrub_blobs().await?
            && self.scrub_log().await
            && self.scrub_index().await
            && self.scrub_cache().await;
        if !whole {
            return Ok(());
        }
        let progress = {
            let mut state = self.inner.scrub.lock();
            state.kept.running = false;
            state.kept.hurried = false;
            state.kept.finished_ms = Some(self.env().now_ms());
            state.kept.progress
        };
        let ScrubProgress { blobs, bytes, found, errors, .. } = progress;
        tracing::info!(blobs, bytes, found, errors, "scrub has read everything");
        self.keep_scrub().await
    }

    /// Goes over the held blobs; false when it was stopped.
    async fn scrub_blobs(&self) -> Result<bool, store::Error> {
        self.inner.scrub.lock().phase = Some(ScrubPhase::Blobs);
        loop {
            let after = self.inner.scrub.lock().kept.after;
            let page = self.store().read()?.blobs(after.as_ref(), limits::SCRUB_PAGE)?;
            if page.is_empty() {
                return Ok(true);
            }
            for blob in page {
                if !self.inner.scrub.is_on() {
                    return Ok(false);
                }
                self.scrub_blob(&blob).await;
                let note = {
                    let mut state = self.inner.scrub.lock();
                    state.kept.after = Some(blob.id);
                    state.kept.progress.blobs += 1;
                    let since = self.env().monotonic().saturating_sub(state.noted_at);
                    since >= limits::SCRUB_NOTE_INTERVAL
                };
                if note {
                    self.keep_scrub().await?;
                }
            }
        }
    }

    async fn scrub_blob(&self, blob: &BlobRef) {
        for index in 0..chunks_of(blob.len) {
            let bytes = (blob.len - u64::from(index) * limits::CHUNK_BYTES as u64)
                .min(limits::CHUNK_BYTES as u64);
            self.pay_for_scrub(bytes).await;
            match self.store().check_chunk(blob, index).await {
                Ok(true) => self.inner.scrub.lock().kept.progress.bytes += bytes,
                Ok(false) => {
                    // One that was deleted meanwhile is no damage.
                    let damaged = self.store().read().and_then(|s| s.is_damaged(&blob.id));
                    if matches!(damaged, Ok(true)) {
                        self.found_damage();
                    }
                    return;
                }
                Err(why) => {
                    tracing::warn!(blob = %blob.id, %why, "a blob could not be read");
                    self.inner.scrub.lock().kept.progress.errors += 1;
                    return;
                }
            }
        }
    }

    async fn scrub_log(&self) -> bool {
        self.inner.scrub.lock().phase = Some(ScrubPhase::Log);
        let mut next = Some(LogMark::default());
        while let Some(mark) = next {
            if !self.inner.scrub.is_on() {
                return false;
            }
            next = match self.store().check_log(mark).await {
                Ok(checked) => {
                    (0..checked.bad).for_each(|_| self.found_damage());
                    self.pay_for_scrub(checked.bytes).await;
                    checked.next
                }
                Err(why) => {
                    tracing::warn!(%why, "the log could not be checked");
                    self.inner.scrub.lock().kept.progress.errors += 1;
                    None
                }
            };
        }
        true
    }

    /// Compares every record with its digest, and every other entry with its checksum.
    async fn scrub_index(&self) -> bool {
        self.inner.scrub.lock().phase = Some(ScrubPhase::Index);
        let known = self.store().bad_records().len();
        for leaf in 0..=u16::MAX {
            if !self.inner.scrub.is_on() {
                return false;
            }
            match self.store().check_records(leaf).await {
                // A leaf of an empty store costs nothing.
                Ok(0) => {}
                Ok(count) => self.pay_for_scrub(count * limits::RECORD_BYTES_ABOUT).await,
                Err(why) => {
                    tracing::warn!(%why, "the index could not be checked");
                    self.inner.scrub.lock().kept.progress.errors += 1;
                    return true;
                }
            }
        }
        let found = self.store().bad_records().len().saturating_sub(known);
        (0..found).for_each(|_| self.found_damage());
        self.scrub_entries().await
    }

    /// Looks at the entries of every other table.
    async fn scrub_entries(&self) -> bool {
        let mut next = Some(EntriesMark::default());
        while let Some(mark) = next {
            if !self.inner.scrub.is_on() {
                return false;
            }
            next = match self.store().check_entries(mark).await {
                Ok(checked) => {
                    (0..checked.found).for_each(|_| self.found_damage());
                    self.pay_for_scrub(checked.count * limits::ENTRY_BYTES_ABOUT).await;
                    checked.next
                }
                Err(why) => {
                    tracing::warn!(%why, "the entries of the index could not be checked");
                    self.inner.scrub.lock().kept.progress.errors += 1;
                    None
                }
            };
        }
        true
    }

    async fn scrub_cache(&self) -> bool {
        self.inner.scrub.lock().phase = Some(ScrubPhase::Cache);
        let mut after = None;
        while let Some(checked) = self.store().check_cached(after).await {
            if !self.inner.scrub.is_on() {
                return false;
            }
            if !checked.whole {
                tracing::warn!(blob = %checked.id, "a cached copy was damaged and is thrown away");
                self.found_damage();
            }
            self.pay_for_scrub(checked.bytes).await;
            after = Some(checked.id);
        }
        true
    }

    fn found_damage(&self) {
        self.inner.metrics.damage_found.inc();
        self.inner.scrub.lock().kept.progress.found += 1;
        self.inner.mending.wake();
    }

    /// Waits until the pass may read so much more.
    async fn pay_for_scrub(&self, bytes: u64) {
        let options = &self.inner.options;
        let rate = {
            let state = self.inner.scrub.lock();
            let every = options.scrub_every.as_secs().max(1);
            let spread = state.kept.progress.bytes_total / every;
            let even = spread.max(limits::SCRUB_RATE_MIN).min(options.scrub_rate);
            if state.kept.hurried { options.scrub_rate } else { even }
        };
        self.inner.metrics.scrubbed_bytes.inc_by(bytes);
        self.inner.scrub.budget.pay(self.env(), bytes, rate).await;
    }
}
