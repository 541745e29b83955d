//! The writer: one task that makes every change, many at a time.
//!
//! Invariant: a change is answered only after its frame is on stable storage and its rows are
//! visible. The order is write, sync, index, wake. A failed write or sync stops the store for
//! good, because nobody knows what is on the disk then; only a full disk is survived: of the log,
//! and of the index, which nothing is added to until it has caught up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::oneshot;

use crate::env::Elapsed;
use crate::limits;
use crate::types::id::BlobId;

use super::blobs::{Body, SealedBlob};
use super::checkpoint::{self, Written};
use super::codec::{self, HEADER_BYTES, Kind, PAYLOAD_BYTES_MAX};
use super::digest;
use super::error::Error;
use super::index::View;
use super::layer::{Effects, Layer, Overlay};
use super::lock;
use super::replay;
use super::schema::{self, Place, Space};
use super::segment::{Log, Part};
use super::shared::{Counters, Shared};
use super::trouble::Watch;
use super::tx::Tx;

/// Bodies in one change frame together; more go into chunk frames.
const INLINE_TOTAL_MAX: usize = 1 << 20;

/// Freed segment files that are kept to be written again.
pub(crate) const SPARES_MAX: usize = 1;

/// What a closure came to: whether its change is kept, and how its caller hears of it.
pub(crate) struct Outcome {
    pub keep: bool,
    pub done: Done,
}

/// Called with the failure of the commit, if it failed.
pub(crate) type Done = Box<dyn FnOnce(Option<Error>) + Send>;

/// A change to be made, or told why it cannot be.
pub(crate) type Work = Box<dyn FnOnce(Result<&mut Tx<'_>, Error>) -> Outcome + Send>;

/// What the writer can be asked.
pub(crate) enum Job {
    Change(Work),
    Checkpoint(oneshot::Sender<Result<(), Error>>),
    /// Checkpoint, then end.
    Close(oneshot::Sender<Result<(), Error>>),
    /// Give up what only a busy store needs.
    Settle(oneshot::Sender<Result<(), Error>>),
    /// Look after the index, which cannot be read.
    Look,
}

/// The writer's own state.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: Receiver<Job>,
    log: Log,
    /// Since the last checkpoint, which is due some time after the first change.
    log_bytes: u64,
    changes: u64,
    checkpoint_at: Duration,
    /// The index is not written anew before this.
    anew_at: Duration,
    /// Changes after which a checkpoint is due.
    changes_max: u64,
    /// A checkpoint that the index has no room for yet.
    unsettled: Option<Written>,
    boot: u64,
}

/// What the loop does next.
enum Step {
    Job(Job),
    Tick,
    End,
}

/// Changes that are committed together.
#[derive(Default)]
struct Batch {
    kept: Overlay,
    effects: Effects,
    attached: Vec<SealedBlob>,
    /// Answers; with an error of its own, a change was not kept.
    waiting: Vec<(Done, Option<Error>)>,
    changes: u64,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, queue: Receiver<Job>, log: Log, boot: u64) -> Self {
        let checkpoint_at = shared.env.monotonic();
        let changes_max = changes_max(&shared);
        let (log_bytes, changes, unsettled, anew_at) = (0, 0, None, Duration::ZERO);
        Self {
            shared,
            queue,
            log,
            log_bytes,
            changes,
            checkpoint_at,
            anew_at,
            changes_max,
            unsettled,
            boot,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut next = None;
        loop {
            let step = match next.take() {
                Some(job) => Step::Job(job),
                None => self.select().await,
            };
            match step {
                Step::Job(Job::Change(first)) => next = self.commit_from(first).await,
                Step::Job(Job::Checkpoint(answer)) => {
                    let result = self.checkpoint_watched().await;
                    let _ = answer.send(result);
                }
                Step::Job(Job::Settle(answer)) => {
                    let result = self.settle().await;
                    let _ = answer.send(result);
                }
                Step::Job(Job::Close(answer)) => {
                    let result = self.checkpoint_watched().await;
                    let _ = answer.send(result);
                    return;
                }
                Step::Tick | Step::Job(Job::Look) => {}
                Step::End => return self.end(),
            }
            if self.waits_for_room() {
                let _watch = Watch::over(&self.shared, "writing the index");
                // What fails here was told, and fails every write.
                let _ = self.catch_up();
                self.pay().await;
            }
            if self.shared.index.is_lost() && !self.shared.is_poisoned() {
                self.bring_back().await;
            }
            if self.shared.index.decay().wants_anew() && !self.shared.is_poisoned() {
                self.write_anew().await;
            }
            if self.is_due()
                && let Err(error) = self.checkpoint_watched().await
            {
                tracing::error!(%error, "no checkpoint");
            }
        }
    }

    async fn checkpoint_watched(&mut self) -> Result<(), Error> {
        let _watch = Watch::over(&self.shared, "writing the index");
        let result = self.checkpoint();
        self.pay().await;
        result
    }

    async fn select(&mut self) -> Step {
        match self.queue.try_recv() {
            Ok(job) => return Step::Job(job),
            Err(TryRecvError::Disconnected) => return Step::End,
            Err(TryRecvError::Empty) => {}
        }
        let now = self.shared.env.monotonic();
        let idle = self.shared.options.checkpoint_interval;
        let wait = match self.changes {
            _ if self.waits_for_room() => limits::INDEX_ROOM_EVERY,
            _ if self.shared.index.is_lost() => limits::INDEX_AGAIN_EVERY,
            _ if self.shared.index.decay().wants_anew() => {
                self.anew_at.saturating_sub(now).max(Duration::from_millis(1))
            }
            0 => idle,
            _ => self.checkpoint_at.saturating_sub(now).max(Duration::from_millis(1)),
        };
        match self.shared.env.timeout(wait, self.queue.recv()).await {
            Ok(Some(job)) => Step::Job(job),
            Ok(None) => Step::End,
            Err(Elapsed) => Step::Tick,
        }
    }

    /// Every handle is gone: nobody is left to hear of a failure.
    fn end(mut self) {
        if self.changes == 0 || self.shared.is_poisoned() {
            return;
        }
        if let Err(error) = self.checkpoint() {
            tracing::warn!(%error, "no last checkpoint; the log will be replayed");
        }
    }

    /// Virtual time that the disk calls of this step have cost.
    async fn pay(&self) {
        let debt = self.shared.env.disk.take_debt();
        if !debt.is_zero() {
            self.shared.env.sleep(debt).await;
        }
    }

    /// Runs this change and those that wait, and commits them together. Answers the first job that
    /// is no change, or did not fit.
    async fn commit_from(&mut self, first: Work) -> Option<Job> {
        let view = match self.prepare() {
            Ok(view) => view,
            Err(error) => {
                (first(Err(error)).done)(None);
                return None;
            }
        };
        let mut batch = Batch::default();
        let next = self.fill(&mut batch, &view, first);
        drop(view);
        let watch = Watch::over(&self.shared, "writing the log");
        let result = self.commit(&mut batch);
        self.pay().await;
        drop(watch);
        batch.answer(result.err());
        next
    }

    /// Goes on in a new segment where the current one is full. A full disk does not stop the
    /// current one.
    fn prepare(&mut self) -> Result<Arc<View>, Error> {
        self.shared.check()?;
        self.catch_up()?;
        let segment_bytes = self.shared.options.segment_bytes;
        if self.log.position().offset >= segment_bytes - self.batch_bytes_max() {
            match self.rotate() {
                Ok(()) | Err(Error::DiskFull) => {}
                Err(error) => return Err(error),
            }
        }
        self.shared.index.view()
    }

    fn rotate(&mut self) -> Result<(), Error> {
        let before = self.log.position();
        match self.log.rotate() {
            Ok(()) => {
                let mut segments = lock(&self.shared.segments);
                segments.note_len(before.segment, before.offset + codec::frame_len(0));
                segments.note_len(self.log.position().segment, 0);
                segments.spares = self.log.spares();
                Ok(())
            }
            Err(Error::DiskFull) => Err(Error::DiskFull),
            Err(error) => Err(self.shared.poison(&error)),
        }
    }

    /// At rest: the current segment ends if too much of it is dead, and no file waits to be written.
    async fn settle(&mut self) -> Result<(), Error> {
        self.shared.check()?;
        self.give_up_spares();
        if !self.shared.is_current_worn() {
            return Ok(());
        }
        let watch = Watch::over(&self.shared, "writing the log");
        let rotated = self.rotate();
        self.pay().await;
        drop(watch);
        rotated?;
        self.checkpoint_watched().await
    }

    fn batch_bytes_max(&self) -> u64 {
        (limits::COMMIT_BATCH_BYTES as u64).min(self.shared.options.segment_bytes / 4)
    }

    /// Runs changes until enough are gathered or none wait.
    fn fill(&mut self, batch: &mut Batch, view: &View, first: Work) -> Option<Job> {
        let now_ms = self.shared.env.now_ms();
        let mut work = first;
        for _ in 0..limits::COMMIT_BATCH_MAX {
            self.run_one(batch, view, now_ms, work);
            if self.log.waiting() >= self.batch_bytes_max() {
                return None;
            }
            work = match self.queue.try_recv() {
                Ok(Job::Change(work)) => work,
                Ok(other) => return Some(other),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
            };
        }
        Some(Job::Change(work))
    }

    fn run_one(&mut self, batch: &mut Batch, view: &View, now_ms: u64, work: Work) {
        let has_room = self.shared.room.has_for_bodies();
        let mut tx = Tx::new(Layer::new(view, &batch.kept), self.shared.own, now_ms, has_room);
        let outcome = work(Ok(&mut tx));
        if !outcome.keep {
            batch.waiting.push((outcome.done, None));
            return;
        }
        match self.keep(tx) {
            Ok(kept) => batch.absorb(kept, outcome.done),
            Err(error) => batch.waiting.push((outcome.done, Some(error))),
        }
    }

    /// Gives the change its place in the log and appends its frames.
    fn keep(&mut self, mut tx: Tx<'_>) -> Result<Kept, Error> {
        let attached = std::mem::take(&mut tx.attached);
        let mut inline: Vec<(&SealedBlob, &Bytes)> = Vec::new();
        let mut inline_bytes = 0;
        for blob in &attached {
            match blob.body() {
                Body::File(file) => tx.settle(blob, Place::File { nonce: file.nonce() })?,
                Body::Memory(bytes)
                    if bytes.len() <= limits::INLINE_BYTES_MAX
                        && inline_bytes + bytes.len() <= INLINE_TOTAL_MAX =>
                {
                    inline_bytes += bytes.len();
                    inline.push((blob, bytes));
                }
                Body::Memory(bytes) => {
                    let place = self.append_chunk(&blob.blob().id, bytes);
                    tx.settle(blob, place)?;
                }
            }
        }
        let position = self.log.position();
        let mut offset =
            position.offset + (HEADER_BYTES + codec::body_table_len(inline.len())) as u64;
        let mut table = Vec::with_capacity(inline.len());
        for (blob, bytes) in &inline {
            let place = Place::Segment { segment: position.segment, position: offset };
            tx.settle(blob, place)?;
            table.push((blob.blob().id, bytes.len()));
            offset += bytes.len() as u64;
        }
        tx.note_garbage(checkpoint::millis(self.shared.options.blob_grace))?;
        let Layer { top, effects, mutations, .. } = tx.layer;
        let len = codec::body_table_len(inline.len()) + inline_bytes + mutations.len();
        if len > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge { bytes: len as u64 });
        }
        if !mutations.is_empty() {
            let mut payload = Vec::with_capacity(inline.len() + 2);
            payload.push(Part::Owned(codec::body_table(&table)));
            payload.extend(inline.iter().map(|(_, bytes)| Part::Shared((*bytes).clone())));
            payload.push(Part::Owned(mutations));
            self.log.append(Kind::Change, payload);
        }
        Ok(Kept { top, effects, attached })
    }

    fn append_chunk(&mut self, id: &BlobId, bytes: &Bytes) -> Place {
        let position = self.log.position();
        let key = schema::blob_key(id);
        let payload = vec![Part::Owned(key.to_vec()), Part::Shared(bytes.clone())];
        self.log.append(Kind::Chunk, payload);
        let body = position.offset + (HEADER_BYTES + key.len()) as u64;
        Place::Segment { segment: position.segment, position: body }
    }

    /// Makes the batch durable, then visible.
    fn commit(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if batch.kept.is_empty() {
            return Ok(());
        }
        let bytes = self.log.waiting();
        let applied = match self.log.flush() {
            Err(Error::DiskFull) => return Err(Error::DiskFull),
            Err(error) => Err(self.shared.poison(&error)),
            Ok(()) => {
                let applied = self.shared.index.apply(&batch.kept, false);
                applied.map_err(|error| self.not_indexed(error))
            }
        };
        if let Err(error) = applied {
            // What is on the disk is unknown now: the files that the batch names must stay.
            batch.attached.drain(..).for_each(SealedBlob::keep);
            return Err(error);
        }
        batch.attached.drain(..).for_each(SealedBlob::keep);
        let position = self.log.position();
        let effects = std::mem::take(&mut batch.effects);
        lock(&self.shared.segments).note_len(position.segment, position.offset);
        publish(&self.shared, effects);
        if self.changes == 0 {
            let interval = self.shared.options.checkpoint_interval;
            self.checkpoint_at = self.shared.env.monotonic() + interval;
        }
        self.log_bytes += bytes;
        self.shared.room.note(bytes);
        self.changes += batch.changes;
        let counters = &self.shared.counters;
        Counters::add(&counters.commits, 1);
        Counters::add(&counters.changes, batch.changes);
        Counters::add(&counters.log_bytes, bytes);
        Ok(())
    }

    fn is_due(&self) -> bool {
        let options = &self.shared.options;
        self.changes > 0
            && self.shared.check().is_ok()
            && !self.shared.index.is_behind()
            && (self.log_bytes >= options.checkpoint_log_bytes
                || self.changes >= self.changes_max
                || self.shared.env.monotonic() >= self.checkpoint_at)
    }

    /// Commits the index durably with the log position that it has reached; frees what nothing
    /// needs after that.
    fn checkpoint(&mut self) -> Result<(), Error> {
        self.shared.check()?;
        self.catch_up()?;
        let position = self.log.position();
        assert!(self.log.waiting() == 0, "a checkpoint is made between batches");
        match checkpoint::write(&self.shared, position, self.boot) {
            Ok(written) => self.unsettled = Some(written),
            Err(error) => return Err(self.not_indexed(error)),
        }
        self.catch_up()
    }

    /// A commit of the index failed. Where only a read of it did, nothing of the commit is in the
    /// file, and what is in the log is replayed on it; else nobody knows what is on the disk.
    fn not_indexed(&self, error: Error) -> Error {
        let index = &self.shared.index;
        match (index.is_spoilt(), index.is_lost()) {
            (false, true) => error,
            // A page of it makes no sense: it is written anew.
            (false, false) if index.is_torn() && index.decay().wants_anew() => Error::Stalled,
            _ => self.shared.poison(&error),
        }
    }

    /// Opens the index anew once it can be read, and replays on it what it had not made durable: as
    /// a restart does.
    async fn bring_back(&mut self) {
        if self.catch_up().is_err() {
            return;
        }
        let (shared, end) = (Arc::clone(&self.shared), self.log.position());
        let brought = self.shared.env.blocking(move || replay::again(&shared, end)).await;
        let index = &self.shared.index;
        match brought {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!("the index was opened anew: reads and writes go on");
                if let Err(error) = self.checkpoint_watched().await {
                    tracing::error!(%error, "no checkpoint");
                }
            }
            Err(error) if index.is_spoilt() || matches!(error, Error::Corrupt(_)) => {
                self.shared.poison(&error);
            }
            Err(error) => tracing::error!(%error, "the index cannot be opened anew yet"),
        }
    }

    /// Writes the index anew, because pages of it make no sense. What fails for want of room, or of a
    /// disk, is tried again.
    async fn write_anew(&mut self) {
        let now = self.shared.env.monotonic();
        if now < self.anew_at || self.shared.index.is_lost() || self.catch_up().is_err() {
            return;
        }
        self.anew_at = now + limits::INDEX_ANEW_EVERY;
        let watch = Watch::over(&self.shared, "writing the index anew");
        let (shared, end) = (Arc::clone(&self.shared), self.log.position());
        let written = self.shared.env.blocking(move || replay::anew(&shared, end)).await;
        drop(watch);
        let index = &self.shared.index;
        index.listen();
        match written {
            Ok(()) => {
                self.anew_at = self.shared.env.monotonic() + limits::INDEX_AGAIN_EVERY;
                if let Err(error) = self.checkpoint_watched().await {
                    tracing::error!(%error, "no checkpoint");
                }
            }
            Err(Error::Corrupt(_)) if !index.is_lost() && !index.is_torn() => {
                index.decay().give_up();
            }
            Err(error) if index.is_spoilt() || matches!(error, Error::Corrupt(_)) => {
                index.decay().give_up();
                self.shared.poison(&error);
            }
            Err(error) => tracing::error!(%error, "the index cannot be written anew yet"),
        }
    }

    /// Has the index write what it had no room for, and settles the checkpoint that waited for it. A
    /// file that waits to be used again gives its room at once.
    fn catch_up(&mut self) -> Result<(), Error> {
        let troubles = &self.shared.troubles;
        match self.shared.index.catch_up() {
            Ok(true) => {}
            Ok(false) => {
                if troubles.set_no_room(true) {
                    tracing::error!("no room for the index: no writes until there is");
                    self.give_up_spares();
                }
                return Err(Error::DiskFull);
            }
            Err(error) => return Err(self.shared.poison(&error)),
        }
        if troubles.set_no_room(false) {
            tracing::info!("the index is written: writes go on");
        }
        if let Some(written) = self.unsettled.take() {
            for generation in checkpoint::settle(&self.shared, written) {
                self.retire(generation);
            }
            self.log_bytes = 0;
            self.changes = 0;
            self.changes_max = changes_max(&self.shared);
            Counters::add(&self.shared.counters.checkpoints, 1);
        }
        Ok(())
    }

    fn waits_for_room(&self) -> bool {
        self.shared.index.is_behind() && !self.shared.is_poisoned()
    }

    fn give_up_spares(&mut self) {
        let spares = self.log.take_spares();
        lock(&self.shared.segments).spares = 0;
        lock(&self.shared.doomed).ready.extend(spares);
    }

    /// The file of a segment that no durable state names is used again or removed.
    fn retire(&mut self, generation: u64) {
        let files = &self.shared.files;
        files.forget_segment(generation);
        let path = files.segment(generation);
        let spare = files.spare(generation);
        let keep = self.log.spares() < SPARES_MAX && !self.shared.rest.is_on();
        if keep && files.disk.rename(&path, &spare).is_ok() {
            self.log.add_spare(spare);
            lock(&self.shared.segments).spares = self.log.spares();
        } else {
            lock(&self.shared.doomed).ready.push_back(path);
        }
    }
}

/// Fewer for an index that does not fit into memory.
fn changes_max(shared: &Shared) -> u64 {
    let records = shared.index.view().and_then(|view| view.count(Space::Records));
    let most = match records {
        Ok(records) if records < limits::MANY_RECORDS => u64::MAX,
        // Whoever cannot read the index makes no checkpoint either.
        Ok(_) | Err(_) => limits::CHECKPOINT_CHANGES_OF_MANY,
    };
    shared.options.checkpoint_changes.min(most)
}

/// A change that is kept.
struct Kept {
    top: Overlay,
    effects: Effects,
    attached: Vec<SealedBlob>,
}

impl Batch {
    fn absorb(&mut self, kept: Kept, done: Done) {
        self.changes += u64::from(!kept.top.is_empty());
        self.kept.absorb(kept.top);
        self.effects.absorb(kept.effects);
        self.attached.extend(kept.attached);
        self.waiting.push((done, None));
    }

    /// Wakes everyone who waits.
    fn answer(self, failure: Option<Error>) {
        for (done, own) in self.waiting {
            done(failure.clone().or(own));
        }
    }
}

/// Makes the effects of applied changes known.
pub(crate) fn publish(shared: &Shared, effects: Effects) {
    digest::publish(&shared.sums, &effects.leaves);
    lock(&shared.segments).note_live(&effects.live);
    for (id, nonce, len) in &effects.doomed {
        shared.doom(shared.files.blob(id, *nonce), *len);
    }
    Counters::add(&shared.counters.freed_blobs, effects.freed_blobs);
    Counters::add(&shared.counters.conflicts, effects.conflicts);
    if effects.settings {
        shared.settings_revision.fetch_add(1, Ordering::Release);
    }
}
