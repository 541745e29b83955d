//! An index with pages that make no sense, written anew of all that can be read of it.
//!
//! What stands twice is taken from either place; where both have lost something nothing is written,
//! because a voter must not forget. Of the other tables everything is taken that a walk comes to
//! from either side of what cannot be read, or from between. Which tables missed something, and
//! between which keys records were missed, is written down with it ([`Missed`]): records that their
//! digests know of are noted as damaged then, and the rest is made again as after other decay.
//!
//! Invariant: but for that, the new index has nothing that the old one had not. The old file is only
//! read, as of its last durable commit, and keeps its place until the new one is durable ([`anew`]);
//! what the log has beyond that commit is replayed on the new one as on the old.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, ReadableTable, ReadableTableMetadata, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::env::{DiskFile, Env};

use super::Store;
use super::anew::{self, Anew};
use super::checkpoint::{self, State};
use super::decay::Decay;
use super::error::Error;
use super::files::Files;
use super::guard::guarded;
use super::index::{self, Index, Table, View};
use super::inspect::Sandbox;
use super::layer::Overlay;
use super::roots::{self, Restored};
use super::schema::{self, Space};
use super::tx::Tx;
use super::{seal, twin};

/// Where it is written down what was missed.
const MISSED_KEY: &[u8] = b"missed";

/// Places between two ends that are tried, and how often what is between two is halved.
const SEARCHES_MAX: u32 = 512;
const DEPTH_MAX: u32 = 24;

/// How long places are tried in one table: a page number that decayed may be one of 4 GiB, and each try
/// reads it.
const SEARCHES_TIME_MAX: Duration = Duration::from_secs(60);

/// About what one page has of entries: where no more are missing, there is nothing between.
const PAGE_ENTRIES: u64 = 256;

/// Entries out of their order that are put in after all others.
const ASIDE_MAX: usize = 100_000;

/// How often it is said how far it is, and entries after which it is looked at.
const TOLD_EVERY: Duration = Duration::from_secs(5);
const LOOK_EVERY: u64 = 4096;

/// Keys from one on, up to before another one.
type Stretch = (Vec<u8>, Option<Vec<u8>>);

/// What was not reached, until it is mended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Missed {
    /// Numbers of tables.
    tables: BTreeSet<u8>,
    /// Between these keys there may be records that were not reached.
    records: Vec<Stretch>,
}

impl Missed {
    fn of(view: &View) -> Result<Option<Self>, Error> {
        view.get(Space::Own, MISSED_KEY, schema::decode)?.transpose()
    }

    fn note(&mut self, space: Space, stretches: Vec<Stretch>) {
        if stretches.is_empty() {
            return;
        }
        let table = space.name();
        tracing::error!(
            table,
            stretches = stretches.len(),
            "entries of the index were not reached"
        );
        self.tables.insert(space.number());
        if space == Space::Records {
            self.records.extend(stretches);
        }
    }
}

impl Index {
    /// Notes as decayed what a salvage has missed and nothing has mended since.
    pub(super) fn note_missed(&self, view: &View) -> Result<(), Error> {
        let Some(Missed { tables, records }) = Missed::of(view)? else { return Ok(()) };
        let decay = self.decay();
        decay.set_missed(true);
        let noted = Space::ALL.into_iter().filter(|space| *space != Space::Records);
        decay.tables().extend(noted.filter(|space| tables.contains(&space.number())));
        if records.is_empty() {
            return Ok(());
        }
        let is_within = |key: &[u8]| {
            let ends_after = |to: &Option<Vec<u8>>| to.as_deref().is_none_or(|to| key < to);
            records.iter().any(|(from, to)| key >= from.as_slice() && ends_after(to))
        };
        let mut missing = 0_u64;
        view.walk(Space::Leaves, |leaf_key, _| {
            let key = schema::record_of_leaf(leaf_key);
            if is_within(key) && view.get_raw(Space::Records, key, |_| ())?.is_none() {
                missing += 1;
                decay.records().insert(key.to_vec());
            }
            Ok(())
        })?;
        tracing::warn!(missing, "records that were in pages of the index that were damaged");
        Ok(())
    }

    /// Whether all that was missed was mended.
    fn is_mended(&self) -> bool {
        let decay = self.decay();
        decay.has_missed() && decay.tables().is_empty() && decay.records().is_empty()
    }

    /// Only in the writer.
    fn forget_missed(&self) -> Result<(), Error> {
        let mut overlay = Overlay::default();
        overlay.put(Space::Own, MISSED_KEY.to_vec(), None);
        self.apply(&overlay, false)?;
        self.decay().set_missed(false);
        Ok(())
    }
}

impl Store {
    /// What a salvage has missed is forgotten when all of it was mended.
    pub(super) async fn settle_missed(&self) -> Result<(), Error> {
        if !self.shared.index.is_mended() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let forget = move |_: &mut Tx<'_>| match shared.index.is_mended() {
            true => shared.index.forget_missed(),
            false => Ok(()),
        };
        self.write(forget).await
    }
}

/// Compares every page of the index with its checksum. Reads all of it; nothing is written to it.
pub(super) fn is_whole(old: &Arc<dyn DiskFile>, decay: &Decay) -> Result<bool, Error> {
    let sandbox = Sandbox::new(old)?;
    let checked = guarded(decay, || {
        let mut database = Database::builder()
            .set_cache_size(anew::CACHE_BYTES)
            .create_with_backend(sandbox)
            .map_err(Error::index)?;
        database.check_integrity().map_err(Error::index)
    });
    match checked {
        Err(Error::Corrupt(_)) => Ok(false),
        checked => checked,
    }
}

/// Writes the index anew, which is durable when this returns and has not the old one's place yet;
/// and the state that it is of. Blocks. [`Error::Corrupt`] where that cannot be done,
/// [`Error::DiskFull`] where there is no room.
pub(super) fn salvage<'a>(
    env: &'a Env,
    files: &'a Files,
    old: &Arc<dyn DiskFile>,
    decay: &Decay,
) -> Result<(Anew<'a>, State), Error> {
    check_room(env, old)?;
    match roots::restored(files, old) {
        None => write_anew(env, files, old, decay),
        Some(Restored { file, is_of_last_commit: true }) => write_anew(env, files, &file, decay),
        Some(Restored { file, is_of_last_commit: false }) => {
            match write_anew(env, files, old, decay) {
                // The log has what was committed since.
                Err(Error::Corrupt(_)) if is_whole(&file, decay)? => {
                    write_anew(env, files, &file, decay)
                }
                written => written,
            }
        }
    }
}

fn write_anew<'a>(
    env: &'a Env,
    files: &'a Files,
    old: &Arc<dyn DiskFile>,
    decay: &Decay,
) -> Result<(Anew<'a>, State), Error> {
    let (_index, view, state) = as_of_commit(old)?;
    let mut total = 0;
    for space in Space::ALL {
        total += view.count(space)?;
    }
    tracing::warn!(entries = total, "the index is written anew, because pages of it are damaged");
    let anew = Anew::make(env, files)?;
    let filled = anew.fill(|transaction, has_room| {
        let (done, told_at) = (0, env.monotonic());
        let mut salvage = Salvage { env, view: &view, decay, has_room, done, total, told_at };
        salvage.run(transaction)
    });
    if let Err(error) = filled {
        anew::remove(files)?;
        return Err(error);
    }
    tracing::warn!("the index was written anew: what it lacks is made again");
    Ok((anew, state))
}

/// The index as of its last durable commit.
fn as_of_commit(old: &Arc<dyn DiskFile>) -> Result<(Index, Arc<View>, State), Error> {
    let index = Index::over(Sandbox::new(old)?)?;
    let view = index.view()?;
    let state = checkpoint::read(&view)?;
    Ok((index, view, state))
}

/// A new file is not begun where it would fill the disk.
fn check_room(env: &Env, old: &Arc<dyn DiskFile>) -> Result<(), Error> {
    let needed = old.size().map_err(|e| Error::io("reading the index", e))?;
    let (total, free) = env.disk.space().map_err(|e| Error::io("asking for free space", e))?;
    if total > 0 && free < needed {
        tracing::error!(needed, free, "no room to write the index anew, which its pages need");
        return Err(Error::DiskFull);
    }
    Ok(())
}

struct Salvage<'a> {
    env: &'a Env,
    view: &'a View,
    decay: &'a Decay,
    has_room: &'a dyn Fn() -> Result<(), Error>,
    done: u64,
    total: u64,
    told_at: Duration,
}

impl Salvage<'_> {
    fn run(&mut self, transaction: &WriteTransaction) -> Result<(), Error> {
        // Where a copy cannot be read, there was none in its own place.
        let mut missed = match Missed::of(self.view) {
            Err(Error::Corrupt(_)) => Missed::default(),
            missed => missed?.unwrap_or_default(),
        };
        let mut twinned = Vec::new();
        for space in Space::ALL.into_iter().filter(|space| *space != Space::Twin) {
            let mut table = index::open(transaction, space)?;
            if space.is_twinned() {
                twinned.push(space);
                self.copy(&mut table, space, false)?;
            } else {
                missed.note(space, self.take(&mut table, space)?);
            }
        }
        let mut copies = index::open(transaction, Space::Twin)?;
        twinned.sort_by_key(|space| space.number());
        for space in twinned.into_iter().filter(|_| self.view.stands_twice()) {
            self.copy(&mut copies, space, true)?;
        }
        if missed != Missed::default() {
            let (value, copy) = (schema::encode(&missed), twin::key(Space::Own, MISSED_KEY));
            let mut own = index::open(transaction, Space::Own)?;
            index::put(&mut own, Space::Own, MISSED_KEY, &value)?;
            index::put(&mut copies, Space::Twin, &copy, &value)?;
        }
        Ok(())
    }

    /// Puts what stands twice in one of its places.
    fn copy(&mut self, table: &mut Table<'_>, space: Space, twin: bool) -> Result<(), Error> {
        let rows = self.view.range(space, Bound::Unbounded, Bound::Unbounded)?;
        fill_table(table, |put| {
            for row in rows.into_iter().flatten() {
                let row = row?;
                if !twin {
                    put(row.key(), &seal::sealed(space, row.key(), row.value()), true)?;
                } else if twin::applies(space, row.key()) {
                    let key = twin::key(space, row.key());
                    put(&key, &seal::sealed(Space::Twin, &key, row.value()), true)?;
                }
                self.note_done()?;
            }
            Ok(())
        })
    }

    /// Puts what can be reached of a table as it lies; what was not reached.
    fn take(&mut self, table: &mut Table<'_>, space: Space) -> Result<Vec<Stretch>, Error> {
        let total = self.view.count(space)?;
        let mut missed = Vec::new();
        fill_table(table, |put| {
            let (count, searches) = (0, 0);
            let until = self.env.monotonic() + SEARCHES_TIME_MAX;
            let mut walk =
                Walk { of: self, space, put, total, count, searches, until, missed: Vec::new() };
            walk.stretch(&[], None, 0)?;
            missed = walk.missed;
            Ok(())
        })?;
        // A page can also say that it has fewer, or lead to another one twice.
        if missed.is_empty() && table.len().map_err(Error::index)? < total {
            missed.push((Vec::new(), None));
        }
        Ok(missed)
    }

    fn note_done(&mut self) -> Result<(), Error> {
        self.done += 1;
        if !self.done.is_multiple_of(LOOK_EVERY) {
            return Ok(());
        }
        (self.has_room)()?;
        let (done, total) = (self.done.min(self.total), self.total);
        self.decay.tell_progress(Some((done, total)));
        let now = self.env.monotonic();
        if now.saturating_sub(self.told_at) >= TOLD_EVERY {
            self.told_at = now;
            tracing::info!(done, total, "writing the index anew");
        }
        Ok(())
    }
}

/// Takes a key, a value as it is stored, and whether its checksum fits.
type Put<'a> = dyn FnMut(&[u8], &[u8], bool) -> Result<(), Error> + 'a;

/// Fills a table in key order; what comes out of it is put in after all others.
fn fill_table(
    table: &mut Table<'_>,
    feed: impl FnOnce(&mut Put<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut aside = Vec::new();
    let mut last: Option<Vec<u8>> = None;
    let mut end = table.upper_bound_mut(Bound::<&[u8]>::Unbounded).map_err(Error::index)?;
    feed(&mut |key, stored, sound| {
        // A decayed key in its place would keep those after it from theirs.
        if sound && last.as_deref().is_none_or(|last| last < key) {
            end.insert_before(key, stored).map_err(Error::index)?;
            let last = last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(key);
        } else if aside.len() < ASIDE_MAX {
            aside.push((key.to_vec(), stored.to_vec()));
        }
        Ok(())
    })?;
    end.close().map_err(Error::index)?;
    for (key, stored) in aside {
        if table.get(key.as_slice()).map_err(Error::index)?.is_none() {
            table.insert(key.as_slice(), stored.as_slice()).map_err(Error::index)?;
        }
    }
    Ok(())
}

/// A walk over a table around what cannot be read.
struct Walk<'a, 'b, 'c> {
    of: &'a mut Salvage<'b>,
    space: Space,
    put: &'a mut Put<'c>,
    total: u64,
    count: u64,
    searches: u32,
    until: Duration,
    missed: Vec<Stretch>,
}

impl Walk<'_, '_, '_> {
    /// Takes everything from one key on, up to before another one.
    fn stretch(&mut self, from: &[u8], to: Option<&[u8]>, depth: u32) -> Result<(), Error> {
        let Some(from) = self.forward(from, to)? else { return Ok(()) };
        let (behind, count) = self.back(&from, to)?;
        let end = behind.as_deref().or(to);
        let worth = depth < DEPTH_MAX
            && self.searches < SEARCHES_MAX
            && self.of.env.monotonic() < self.until
            && self.count + count + PAGE_ENTRIES < self.total;
        match middle(&from, end).filter(|_| worth) {
            Some(middle) => {
                self.searches += 1;
                self.stretch(&from, Some(&middle), depth + 1)?;
                self.stretch(&middle, end, depth + 1)?;
            }
            None => self.miss(&from, end),
        }
        if let Some(behind) = &behind
            && let Some(from) = self.forward(behind, to)?
        {
            self.miss(&from, to);
        }
        Ok(())
    }

    /// Takes entries until one cannot be reached: `Some`, from where on.
    fn forward(&mut self, from: &[u8], to: Option<&[u8]>) -> Result<Option<Vec<u8>>, Error> {
        let mut reached = from.to_vec();
        let rows = self.of.view.range_raw(self.space, Bound::Included(from), Bound::Unbounded);
        let rows = match rows {
            Err(Error::Corrupt(_)) => return Ok(Some(reached)),
            rows => rows?,
        };
        for row in rows.into_iter().flatten() {
            let row = match row {
                Err(Error::Corrupt(_)) => return Ok(Some(reached)),
                row => row?,
            };
            if row.is_sound() {
                if to.is_some_and(|to| row.key() >= to) {
                    return Ok(None);
                }
                reached.clear();
                reached.extend_from_slice(row.key());
                reached.push(0);
            }
            (self.put)(row.key(), row.stored(), row.is_sound())?;
            self.count += 1;
            self.of.note_done()?;
        }
        Ok(None)
    }

    /// The first key that is reached from the end, and how many entries from there on.
    fn back(&self, from: &[u8], to: Option<&[u8]>) -> Result<(Option<Vec<u8>>, u64), Error> {
        let (mut first, mut count) = (None, 0);
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rows = match self.of.view.once_before(self.space, to) {
            Err(Error::Corrupt(_)) => return Ok((first, count)),
            rows => rows?,
        };
        while let Some(row) = rows.as_mut().and_then(|rows| rows.advance(redb::Range::next_back, 0))
        {
            let row = match row {
                Err(Error::Corrupt(_)) => break,
                row => row?,
            };
            if row.is_sound() && row.key() < from {
                break;
            }
            if row.is_sound() {
                first = Some(row.key().to_vec());
            }
            count += 1;
        }
        Ok((first, count))
    }

    fn miss(&mut self, from: &[u8], to: Option<&[u8]>) {
        let to = to.map(<[u8]>::to_vec);
        match self.missed.last_mut() {
            Some((_, before)) if before.as_deref() == Some(from) => *before = to,
            _ => self.missed.push((from.to_vec(), to)),
        }
    }
}

/// A key halfway between two; `None` where they are too close to each other.
fn middle(from: &[u8], to: Option<&[u8]>) -> Option<Vec<u8>> {
    let same = to.map_or(0, |to| from.iter().zip(to).take_while(|(a, b)| a == b).count());
    let part = |key: &[u8]| {
        let mut bytes = [0; size_of::<u64>()];
        bytes.iter_mut().zip(&key[same..]).for_each(|(byte, of)| *byte = *of);
        u64::from_be_bytes(bytes)
    };
    let (low, high) = (part(from), to.map_or(u64::MAX, part));
    let half = high.checked_sub(low)? / 2;
    (half > 0).then(|| [&from[..same], &(low + half).to_be_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_halfway_is_between(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
            let (from, to) = if a < b { (a, b) } else { (b, a) };
            for to in [Some(to.as_slice()), None] {
                if let Some(middle) = middle(&from, to) {
                    prop_assert!(middle > from && to.is_none_or(|to| middle.as_slice() < to));
                }
            }
        }
    }
}
