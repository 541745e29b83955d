//! Opening a data directory: the index as of its last durable commit, and the log replayed on it.
//!
//! Invariant: after opening, the index has every change whose frame was ever known to be synced,
//! and none that was not whole. Only the tail of the log can be torn, and a torn tail is cut. A bad
//! frame that was known synced (a later frame says so, or another segment follows, or the index
//! was ahead) is damage: it is reported, nothing is cut, and what follows it is applied.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::env::{DiskFile, Env, OpenMode};
use crate::types::id::Incarnation;
use crate::types::stamp::Hlc;

use super::checkpoint::{self, State};
use super::codec::{self, Kind};
use super::decay::Decay;
use super::digest::{self, Sums};
use super::error::Error;
use super::files::{self, Files};
use super::index::{Index, View};
use super::layer::{Effects, Layer, Overlay};
use super::opening::{First, Opening};
use super::roots;
use super::salvage;
use super::schema::{self, Space};
use super::segment::{Found, Frame, Log, Position, Reader};
use super::shared::{Segments, Shared};
use super::tx::Own;
use super::writer::{self, SPARES_MAX};
use super::{Damage, OpenReport, Options, lock, write_lock};

/// Entries that replay gathers for one commit of the index.
const REPLAY_BATCH: usize = 20_000;

/// Changes and bytes of which what they touch is read together, and how many read at a time.
const AHEAD_CHANGES: usize = 2048;
const AHEAD_BYTES: usize = 16 << 20;
const READERS: usize = 16;

/// Generation of the first segment.
const FIRST_SEGMENT: u64 = 1;

/// An open data directory, before its writer runs.
pub(crate) struct Opened {
    pub shared: Arc<Shared>,
    pub log: Log,
    pub boot: u64,
    pub report: OpenReport,
}

/// Opens or makes the directory. An index with pages that make no sense is written anew first, where
/// that can be done. Blocks.
pub(crate) fn open(env: Env, options: Options) -> Result<Opened, Error> {
    let files = Arc::new(Files::new(Arc::clone(&env.disk), options.dir.clone()));
    files.make_dirs().map_err(|e| Error::io("opening the data directory", e))?;
    let (opening, first) = Opening::begin(&files);
    let opened = open_after(env, options, &files, first);
    opening.end(opened.is_ok());
    opened
}

fn open_after(
    env: Env,
    options: Options,
    files: &Arc<Files>,
    first: First,
) -> Result<Opened, Error> {
    let created = make_index(&env, files, options.index_cache_bytes)?;
    let decay = Decay::of(files);
    roots::put_back(files, &locked_index(&env, files)?)?;
    let whole = match first {
        First::Nothing => true,
        First::LookThrough => salvage::is_whole(&locked_index(&env, files)?, &decay)?,
        First::WriteAnew => false,
    };
    if whole {
        match open_index(env.clone(), options.clone(), files, created, &decay) {
            Err(Error::Corrupt(_)) if decay.wants_anew() => {}
            opened => return opened,
        }
    }
    match salvage::salvage(&env, files, &locked_index(&env, files)?, &decay) {
        Err(Error::Corrupt(_)) => {
            decay.give_up();
            return Err(decay.note_page());
        }
        salvaged => salvaged?.0.take_place()?,
    }
    decay.note_anew();
    open_index(env, options, files, created, &decay)
}

fn locked_index(env: &Env, files: &Files) -> Result<Arc<dyn DiskFile>, Error> {
    let opened = env.disk.open(&files.index(), OpenMode::Exclusive);
    opened.map_err(|e| Error::io("opening the index (is another process using it?)", e))
}

fn open_index(
    env: Env,
    options: Options,
    files: &Arc<Files>,
    created: bool,
    decay: &Arc<Decay>,
) -> Result<Opened, Error> {
    let failed = |e: io::Error| Error::io("opening the data directory", e);
    let mut index = Index::open(&env, &files.index(), options.index_cache_bytes, decay)?;
    settle_index(files).map_err(failed)?;
    let state = checkpoint::read(&*index.view()?)?;
    if checkpoint::format(&*index.view()?)? < schema::FORMAT_OF_TWINS {
        index.make_twins()?;
        checkpoint::caught_up(&index)?;
    }
    // Before anything is committed that may use pages again which an older commit had.
    if let Some(file) = index.disk_file() {
        roots::keep(files, &file, decay)?;
    }
    let view = index.view()?;
    let own = Own { region: options.region, incarnation: state.incarnation };
    let shared = Arc::new(Shared::new(env, options, Arc::clone(files), index, own));
    checkpoint::load(&shared, &view)?;
    let boot = state.boot + 1;
    let report = OpenReport { created, boot, ..OpenReport::default() };
    let (generations, spares) = files.list_log().map_err(failed)?;
    let spares = tidy_log(&shared, state.segment, &generations, spares).map_err(failed)?;
    let mut replay = Replay {
        shared: &shared,
        view,
        waiting: Vec::new(),
        waiting_bytes: 0,
        kept: Overlay::default(),
        effects: Effects::default(),
        report,
        again: false,
    };
    let position = replay.run(&state, &generations)?;
    replay.apply_waiting()?;
    replay.flush()?;
    let report = replay.report;
    let log = Log::at(Arc::clone(files), position, spares)?;
    {
        let mut segments = lock(&shared.segments);
        segments.note_len(position.segment, position.offset);
        segments.spares = log.spares();
    }
    let written = checkpoint::write(&shared, position, boot)?;
    checkpoint::caught_up(&shared.index)?;
    for generation in checkpoint::settle(&shared, written) {
        files::remove(files.disk.as_ref(), &files.segment(generation)).map_err(failed)?;
    }
    shared.index.note_missed(&*shared.index.view()?)?;
    shared.measure_space()?;
    Ok(Opened { shared, log, boot, report })
}

/// Opens the index of a running store anew, and replays on it what it had not made durable; false
/// when it cannot be read yet. Only in the writer, whose log ends at `end`. Blocks.
pub(crate) fn again(shared: &Arc<Shared>, end: Position) -> Result<bool, Error> {
    if !shared.index.reopen()? {
        return Ok(false);
    }
    bring_up(shared, end)?;
    Ok(true)
}

/// Writes the index of a running store anew, because pages of it make no sense, and replays on it
/// what it had not made durable. Who reads reads the old one until the new one is there. Only in the
/// writer, whose log ends at `end`. Blocks.
pub(crate) fn anew(shared: &Arc<Shared>, end: Position) -> Result<(), Error> {
    let index = &shared.index;
    let Some(old) = index.disk_file() else { return Ok(()) };
    let (new, state) = salvage::salvage(&shared.env, &shared.files, &old, index.decay())?;
    if state.segment < lock(&shared.segments).settled {
        // The log that it would need is gone.
        return Err(Error::corrupt("the index says that it is older than it is"));
    }
    // Which of the two files has the name after a failure is not known.
    new.take_place().map_err(|error| shared.poison(&error))?;
    index.move_to(Arc::clone(new.file()))?;
    index.decay().note_anew();
    bring_up(shared, end)
}

/// Has the index that was opened anew take all in again that was answered.
fn bring_up(shared: &Arc<Shared>, end: Position) -> Result<(), Error> {
    let view = shared.index.view_behind_the_door()?;
    let state = checkpoint::read(&view)?;
    if let Some(file) = shared.index.disk_file() {
        if roots::are_later(&shared.files, &file, &state) {
            return Err(shared.index.decay().note_page());
        }
        roots::keep(&shared.files, &file, &shared.index.shared_decay())?;
    }
    *write_lock(&shared.sums) = Sums::new();
    {
        let mut segments = lock(&shared.segments);
        *segments = Segments { spares: segments.spares, ..Segments::default() };
    }
    checkpoint::load(shared, &view)?;
    let failed = |e: io::Error| Error::io("looking at the log", e);
    let (generations, _) = shared.files.list_log().map_err(failed)?;
    let mut replay = Replay {
        shared,
        view,
        waiting: Vec::new(),
        waiting_bytes: 0,
        kept: Overlay::default(),
        effects: Effects::default(),
        report: OpenReport::default(),
        again: true,
    };
    let position = replay.run(&state, &generations)?;
    replay.apply_waiting()?;
    replay.flush()?;
    if position != end || !replay.report.damage.is_empty() {
        return Err(Error::corrupt("a part of the log that the index needs cannot be read"));
    }
    lock(&shared.segments).note_len(position.segment, position.offset);
    shared.index.note_missed(&*shared.index.view_behind_the_door()?)?;
    shared.settings_revision.fetch_add(1, Ordering::Release);
    shared.index.let_in();
    Ok(())
}

/// Makes the index of a new directory; false when there is one.
fn make_index(env: &Env, files: &Files, cache_bytes: usize) -> Result<bool, Error> {
    let failed = |e: io::Error| Error::io("making the index", e);
    let disk = files.disk.as_ref();
    let names = disk.list(files.dir()).map_err(failed)?;
    if names.iter().any(|name| files.dir().join(name) == files.index()) {
        return Ok(false);
    }
    if !files.list_log().map_err(failed)?.0.is_empty() {
        return Err(Error::corrupt("the data directory has a log but no index"));
    }
    for left in [files.new_index(), files.roots()] {
        files::remove(disk, &left).map_err(failed)?;
    }
    let index = Index::open(env, &files.new_index(), cache_bytes, &Arc::default())?;
    let incarnation = Incarnation(Hlc::from_ms(env.now_ms()).0);
    checkpoint::found(&index, &State { incarnation, boot: 0, segment: FIRST_SEGMENT, offset: 0 })?;
    drop(index);
    disk.rename(&files.new_index(), &files.index()).map_err(failed)?;
    disk.sync_dir(files.dir()).map_err(failed)?;
    Ok(true)
}

/// A file that took the index's place has it for good before anything is built on it; what was to
/// take it and did not goes.
fn settle_index(files: &Files) -> io::Result<()> {
    files::remove(files.disk.as_ref(), &files.new_index())?;
    files.disk.sync_dir(files.dir())
}

/// Removes segments that were freed and not removed, and spare files beyond the few kept.
fn tidy_log(
    shared: &Shared,
    from: u64,
    generations: &[u64],
    mut spares: Vec<PathBuf>,
) -> io::Result<Vec<PathBuf>> {
    let disk = shared.files.disk.as_ref();
    for generation in generations.iter().filter(|generation| **generation < from) {
        if !lock(&shared.segments).infos.contains_key(generation) {
            files::remove(disk, &shared.files.segment(*generation))?;
        }
    }
    for extra in spares.split_off(spares.len().min(SPARES_MAX)) {
        files::remove(disk, &extra)?;
    }
    Ok(spares)
}

/// How the scan of one segment ended.
enum End {
    /// Cleanly or torn, at this offset, where the log may go on.
    Open(u64),
    Sealed,
    /// Damaged near its end: the log goes on in the next segment.
    Damaged,
}

struct Replay<'a> {
    shared: &'a Shared,
    view: Arc<View>,
    /// Changes that are applied when what they touch was read.
    waiting: Vec<Frame>,
    waiting_bytes: usize,
    kept: Overlay,
    effects: Effects,
    report: OpenReport,
    /// The store runs: nothing is torn, and what happened was counted.
    again: bool,
}

impl Replay<'_> {
    /// Applies everything after the state; answers where the log goes on.
    fn run(&mut self, state: &State, generations: &[u64]) -> Result<Position, Error> {
        let last = self.last_begun(state, generations)?;
        let mut position = state.position();
        for generation in state.segment..=last {
            let start = if generation == state.segment { state.offset } else { 0 };
            let end = if generations.contains(&generation) {
                self.scan(generation, start, generation == last)?
            } else if generation == last && start == 0 {
                End::Open(0)
            } else {
                self.damage(generation, 0, start);
                End::Damaged
            };
            position = match end {
                End::Open(offset) => Position { segment: generation, offset },
                End::Sealed | End::Damaged => Position { segment: generation + 1, offset: 0 },
            };
        }
        Ok(position)
    }

    /// The last segment that has a frame, or that the index has reached.
    fn last_begun(&self, state: &State, generations: &[u64]) -> Result<u64, Error> {
        for generation in generations.iter().rev().filter(|g| **g > state.segment) {
            let mut reader = self.reader(*generation)?;
            if matches!(reader.at(0)?, Found::Frame(_)) || reader.seek(0)?.is_some() {
                return Ok(*generation);
            }
        }
        Ok(state.segment)
    }

    fn reader(&self, generation: u64) -> Result<Reader, Error> {
        Reader::new(self.shared.files.open_segment(generation)?, generation)
    }

    fn scan(&mut self, generation: u64, start: u64, last: bool) -> Result<End, Error> {
        let mut reader = self.reader(generation)?;
        if start > reader.size() {
            self.damage(generation, reader.size(), start - reader.size());
            return Ok(End::Damaged);
        }
        let mut position = start;
        loop {
            if let Found::Frame(frame) = reader.at(position)? {
                position = frame.next;
                let sealed = frame.kind == Kind::Seal;
                self.take(frame)?;
                lock(&self.shared.segments).note_len(generation, position);
                if sealed {
                    return Ok(End::Sealed);
                }
                continue;
            }
            let next = reader.seek(position)?;
            if last && self.again && next.is_none() {
                return Ok(End::Open(position));
            }
            if last && !known_synced(&mut reader, position, next.as_ref())? {
                self.cut(generation, position, &mut reader)?;
                return Ok(End::Open(position));
            }
            let resume = next.map(|frame| frame.position);
            let end = resume.unwrap_or_else(|| reader.size());
            self.damage(generation, position, end.saturating_sub(position));
            match resume {
                Some(resume) => position = resume,
                None => return Ok(End::Damaged),
            }
        }
    }

    /// Takes away what is after the end, so that it is never taken for frames later. The file may be
    /// shorter than its last frame: what fills that up to the next one may be missing.
    fn cut(&mut self, generation: u64, position: u64, reader: &mut Reader) -> Result<(), Error> {
        let rest = reader.size().saturating_sub(position);
        if rest == 0 {
            return Ok(());
        }
        if reader.torn_at(position)? {
            self.report.torn_bytes += rest;
        }
        let path = self.shared.files.segment(generation);
        let failed = |e| Error::io("cutting the log", e);
        let file = self.shared.files.disk.open(&path, OpenMode::ReadWrite);
        let file = file.map_err(failed)?;
        file.set_len(position).map_err(failed)?;
        file.sync().map_err(failed)
    }

    fn damage(&mut self, segment: u64, position: u64, bytes: u64) {
        tracing::error!(segment, position, bytes, "a synced part of the log cannot be read");
        self.report.damage.push(Damage { segment, position, bytes });
    }

    fn take(&mut self, frame: Frame) -> Result<(), Error> {
        if frame.kind != Kind::Change {
            return Ok(());
        }
        self.waiting_bytes += frame.payload.len();
        self.waiting.push(frame);
        if self.waiting.len() < AHEAD_CHANGES && self.waiting_bytes < AHEAD_BYTES {
            return Ok(());
        }
        self.apply_waiting()
    }

    fn apply_waiting(&mut self) -> Result<(), Error> {
        self.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        self.read_ahead(&waiting)?;
        waiting.iter().try_for_each(|frame| self.apply(frame))
    }

    /// Reads what these changes will look at, many at once: one after the other each would wait for
    /// the disk. What fails here fails again where it is needed.
    fn read_ahead(&self, frames: &[Frame]) -> Result<(), Error> {
        let mut keys = BTreeSet::new();
        for frame in frames {
            let (_, start) = codec::bodies(&frame.payload)?;
            let mut mutations = &frame.payload[start..];
            while let Some(mutation) = codec::take_mutation(&mut mutations)? {
                if mutation.space == Space::Records {
                    let leaf = digest::leaf_of(mutation.key);
                    keys.insert((Space::Leaves, schema::leaf_key(leaf, mutation.key)));
                }
                if matches!(mutation.space, Space::Records | Space::Blobs) {
                    keys.insert((mutation.space, mutation.key.to_vec()));
                }
            }
        }
        let keys: Vec<_> = keys.into_iter().collect();
        let (done, all) = std::sync::mpsc::channel::<()>();
        for part in keys.chunks(keys.len().div_ceil(READERS).max(1)) {
            let (part, view, done) = (part.to_vec(), Arc::clone(&self.view), done.clone());
            self.shared.env.tasks.spawn_blocking(Box::new(move || {
                for (space, key) in part {
                    if view.get_raw(space, &key, |_| ()).is_err() {
                        break;
                    }
                }
                drop(done);
            }));
        }
        drop(done);
        // Nothing is sent: it ends when the last reader has.
        let _ = all.recv();
        Ok(())
    }

    fn apply(&mut self, frame: &Frame) -> Result<(), Error> {
        let (_, start) = codec::bodies(&frame.payload)?;
        let mut mutations = &frame.payload[start..];
        let mut layer = Layer::new(&self.view, &self.kept);
        while let Some(mutation) = codec::take_mutation(&mut mutations)? {
            layer.apply(mutation.space, mutation.key, mutation.value.map(<[u8]>::to_vec))?;
        }
        let Layer { top, effects, .. } = layer;
        self.kept.absorb(top);
        self.effects.absorb(effects);
        self.report.replayed += 1;
        if self.kept.len() >= REPLAY_BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let kept = std::mem::take(&mut self.kept);
        if !kept.is_empty() {
            self.shared.index.apply(&kept, false)?;
            checkpoint::caught_up(&self.shared.index)?;
            self.view = self.shared.index.view_behind_the_door()?;
        }
        let mut effects = std::mem::take(&mut self.effects);
        if self.again {
            (effects.freed_blobs, effects.conflicts) = (0, 0);
        }
        writer::publish(self.shared, effects);
        Ok(())
    }
}

/// Whether any frame from `next` on says that `position` had been synced when it was written.
fn known_synced(reader: &mut Reader, position: u64, next: Option<&Frame>) -> Result<bool, Error> {
    let Some(next) = next else {
        return Ok(false);
    };
    if next.synced > position {
        return Ok(true);
    }
    let mut at = next.next;
    loop {
        let frame = match reader.at(at)? {
            Found::Frame(frame) => frame,
            Found::Bad => match reader.seek(at)? {
                Some(frame) => frame,
                None => return Ok(false),
            },
            Found::End => return Ok(false),
        };
        if frame.synced > position {
            return Ok(true);
        }
        at = frame.next;
    }
}
