//! The index: redb over a file of our own disk, every table of the schema in it.
//!
//! Invariant: only the writer changes it, in whole batches that are already in the synced log; a
//! durable commit carries the log position that it has reached. Reads are snapshots. Closing writes
//! nothing: redb would otherwise keep its last commits without their log position, and use pages again
//! that `roots` has a copy of.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, StorageBackend, TableDefinition, TableError, WriteTransaction,
};

use crate::env::{DiskFile, Env, OpenMode};
use crate::types::record::Record;

use super::behind::IndexFile;
use super::checkpoint;
use super::decay::Decay;
use super::digest;
use super::error::Error;
use super::guard::guarded;
use super::layer::Overlay;
use super::rows::{Entry, Once, Rows, Within};
use super::schema::{self, Space};
use super::seal;
use super::trouble::{Troubles, Watcher};
use super::twin::{self, Both};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
type Opened = ReadOnlyTable<&'static [u8], &'static [u8]>;

pub(super) type Table<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

pub(super) fn definition(space: Space) -> Definition {
    TableDefinition::new(space.name())
}

/// Pages kept in memory while an index is only looked at.
const INSPECT_CACHE_BYTES: usize = 4 << 20;

/// The index of one data directory.
pub(crate) struct Index {
    /// `None`: it could not be opened anew so far.
    database: RwLock<Option<Database>>,
    cache_bytes: usize,
    /// It is being brought back: it has not yet all that was answered, so that nobody reads it.
    shut: AtomicBool,
    /// The writer was told that it cannot be read.
    told: AtomicBool,
    /// The snapshot of the last commit, which all share who read before the next one.
    latest: RwLock<Option<Arc<View>>>,
    /// Snapshots that were taken since the start.
    views: AtomicU64,
    /// A change met a page that makes no sense: nothing more is committed to this database.
    torn: AtomicBool,
    /// `None`: it is only looked at.
    file: RwLock<Option<Arc<IndexFile>>>,
    decay: Arc<Decay>,
    /// There may be entries without a checksum.
    mixed: bool,
    /// Entries that shall stand twice do.
    twins: bool,
}

impl Drop for Index {
    fn drop(&mut self) {
        self.pass_over();
        self.of_file(IndexFile::freeze);
        let database = self.database.get_mut().unwrap_or_else(PoisonError::into_inner);
        close(database.take());
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Index")
    }
}

impl Index {
    /// Opens the file, made when missing. One process at a time.
    pub(crate) fn open(
        env: &Env,
        path: &Path,
        cache_bytes: usize,
        decay: &Arc<Decay>,
    ) -> Result<Self, Error> {
        let file = env
            .disk
            .open(path, OpenMode::Exclusive)
            .map_err(|e| Error::io("opening the index (is another process using it?)", e))?;
        let file = Arc::new(IndexFile::new(file, Watcher::new(env)));
        Self::on(file.backend(), cache_bytes, Some(file), Arc::clone(decay))
    }

    /// Over other storage, to look at it.
    pub(crate) fn over(backend: impl StorageBackend) -> Result<Self, Error> {
        Self::looked_at(backend, Arc::default())
    }

    /// The same, with what is known of the decay of what it is over.
    pub(super) fn looked_at(
        backend: impl StorageBackend,
        decay: Arc<Decay>,
    ) -> Result<Self, Error> {
        Self::on(backend, INSPECT_CACHE_BYTES, None, decay)
    }

    fn on(
        backend: impl StorageBackend,
        cache_bytes: usize,
        file: Option<Arc<IndexFile>>,
        decay: Arc<Decay>,
    ) -> Result<Self, Error> {
        let database = Some(begun(&decay, backend, cache_bytes)?);
        let mut index = Self {
            database: RwLock::new(database),
            cache_bytes,
            shut: AtomicBool::new(false),
            told: AtomicBool::new(false),
            latest: RwLock::default(),
            views: AtomicU64::new(0),
            torn: AtomicBool::new(false),
            file: RwLock::new(file),
            decay,
            mixed: false,
            twins: true,
        };
        // Of a file that has nothing yet, all that comes is sealed, and stands twice.
        let format = checkpoint::said_format(&index.fresh_view()?)?;
        index.twins = format.is_none_or(|format| format >= schema::FORMAT_OF_TWINS);
        let sealed = index.fresh_view()?.get(Space::Own, seal::SEALED_KEY, |_| ())?;
        index.mixed = format.is_some() && sealed.is_none();
        Ok(index)
    }

    /// Everything that shall stand twice does from now on.
    pub(super) fn has_twins(&mut self) {
        self.twins = true;
        self.pass_over();
    }

    /// A snapshot that shows every commit which has returned. Whoever asks before the next one has
    /// the same: its tables are opened once.
    pub(crate) fn view(&self) -> Result<Arc<View>, Error> {
        if let Some(view) = &*self.latest.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(view));
        }
        // Taken under the lock: a commit that returns meanwhile waits here to pass over it.
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = &*latest {
            return Ok(Arc::clone(view));
        }
        if self.shut.load(Ordering::SeqCst) {
            return Err(self.unread());
        }
        let view = Arc::new(self.fresh_view()?);
        *latest = Some(Arc::clone(&view));
        Ok(view)
    }

    /// A snapshot for who brings the index back.
    pub(crate) fn view_behind_the_door(&self) -> Result<Arc<View>, Error> {
        self.fresh_view().map(Arc::new)
    }

    fn fresh_view(&self) -> Result<View, Error> {
        let transaction = self.begin(|database| database.begin_read().map_err(Error::index))?;
        let (decay, mixed, twins) = (Arc::clone(&self.decay), self.mixed, self.twins);
        let number = self.views.fetch_add(1, Ordering::Relaxed);
        Ok(View { transaction, number, tables: Default::default(), decay, mixed, twins })
    }

    /// Whoever asks for a snapshot from now on takes a new one.
    fn pass_over(&self) {
        let before = self.latest.write().unwrap_or_else(PoisonError::into_inner).take();
        // Its pages are given back after the lock.
        drop(before);
    }

    fn begin<T>(&self, begin: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        guarded(&self.decay, || database.as_ref().map_or_else(|| Err(self.unread()), begin))
    }

    fn begin_write(&self) -> Result<WriteTransaction, Error> {
        self.begin(|database| database.begin_write().map_err(Error::index))
    }

    /// Asks its file, where there is one.
    fn of_file<T>(&self, ask: impl FnOnce(&IndexFile) -> T) -> Option<T> {
        self.file.read().unwrap_or_else(PoisonError::into_inner).as_deref().map(ask)
    }

    /// It cannot be read, or is being brought back.
    pub(crate) fn is_lost(&self) -> bool {
        self.shut.load(Ordering::SeqCst) || self.of_file(IndexFile::is_unread) == Some(true)
    }

    /// A write to it failed: what is in its file is not known.
    pub(crate) fn is_spoilt(&self) -> bool {
        self.of_file(IndexFile::is_spoilt) == Some(true)
    }

    /// Why it cannot be read.
    pub(crate) fn unread(&self) -> Error {
        let why = self.of_file(IndexFile::why_unread).flatten();
        let source = why.unwrap_or_else(|| Arc::new(io::Error::other("it is opened anew")));
        Error::Io { doing: "reading the index", source }
    }

    /// Whether the writer must be told that it is lost, or shall be written anew.
    pub(crate) fn wants_writer(&self) -> bool {
        (self.is_lost() || self.decay.wants_anew()) && !self.told.swap(true, Ordering::SeqCst)
    }

    /// Opens the file anew, as of its last durable commit, where it can be read; nobody else reads it
    /// until [`Index::let_in`]. Nothing of what was committed since is written by this.
    pub(crate) fn reopen(&self) -> Result<bool, Error> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(file) = file.filter(|file| file.reads_again()) else {
            return Ok(false);
        };
        self.open_on(&file)?;
        Ok(true)
    }

    /// As [`Index::reopen`], with the file that took the place of the one before.
    pub(super) fn move_to(&self, file: Arc<dyn DiskFile>) -> Result<(), Error> {
        let mut place = self.file.write().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = place.take() else { return Ok(()) };
        before.freeze();
        let file = Arc::new(before.succeeded_by(file));
        *place = Some(Arc::clone(&file));
        drop(place);
        self.open_on(&file)
    }

    fn open_on(&self, file: &Arc<IndexFile>) -> Result<(), Error> {
        self.shut.store(true, Ordering::SeqCst);
        self.pass_over();
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The one before must not write any more, as it ends neither.
        let backend = file.backend();
        close(database.take());
        *database = Some(begun(&self.decay, backend, self.cache_bytes)?);
        self.torn.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// The file itself, for who reads its last durable commit.
    pub(super) fn disk_file(&self) -> Option<Arc<dyn DiskFile>> {
        self.of_file(IndexFile::disk_file)
    }

    /// The writer wants to be told again.
    pub(crate) fn listen(&self) {
        self.told.store(false, Ordering::SeqCst);
    }

    /// It has all again that was answered.
    pub(crate) fn let_in(&self) {
        self.told.store(false, Ordering::SeqCst);
        self.shut.store(false, Ordering::SeqCst);
    }

    /// What was found to have decayed.
    pub(crate) fn decay(&self) -> &Decay {
        &self.decay
    }

    pub(super) fn shared_decay(&self) -> Arc<Decay> {
        Arc::clone(&self.decay)
    }

    /// What is known of the disk's troubles.
    pub(crate) fn troubles(&self) -> Arc<Troubles> {
        self.of_file(IndexFile::troubles).unwrap_or_default()
    }

    /// Whether something of it waits for room on the disk. Nothing more is committed then.
    pub(crate) fn is_behind(&self) -> bool {
        self.of_file(IndexFile::is_behind) == Some(true)
    }

    /// Writes what waits for room; false while there is none. Only then a durable commit is durable.
    pub(crate) fn catch_up(&self) -> Result<bool, Error> {
        let failed = |source| Error::Io { doing: "writing the index", source: Arc::new(source) };
        self.of_file(IndexFile::catch_up).unwrap_or(Ok(true)).map_err(failed)
    }

    /// Applies a batch in one transaction. Visible at once; durable with the next durable commit,
    /// and not before what waits for room was written ([`Index::catch_up`]).
    pub(crate) fn apply(&self, overlay: &Overlay, durable: bool) -> Result<(), Error> {
        if self.changing(|| self.apply_pages(overlay, durable, false))? {
            return Ok(());
        }
        self.mend_twins()?;
        self.changing(|| self.apply_pages(overlay, durable, true)).map(|_| ())
    }

    /// What a change that panicked leaves of a database is good for reading alone: redb would not
    /// write down any more which pages are free, and cannot open such a file where a page is damaged.
    fn changing<T>(&self, change: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let changed = guarded(&self.decay, change);
        if matches!(changed, Err(Error::Corrupt(_))) && self.decay.has_pages() {
            self.torn.store(true, Ordering::SeqCst);
        }
        changed
    }

    /// Nothing is committed before it is opened anew.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn.load(Ordering::SeqCst)
    }

    /// Nothing is applied, and false, where a search for something that is changed comes to it in one
    /// of its places alone: then a key beside it decayed, and the change would be made in the other
    /// place alone. `anyway`: that was looked after as far as it can be.
    fn apply_pages(&self, overlay: &Overlay, durable: bool, anyway: bool) -> Result<bool, Error> {
        let mut transaction = self.begin_write()?;
        if durable {
            transaction.set_quick_repair(true);
        } else {
            transaction.set_durability(Durability::None).map_err(Error::index)?;
        }
        let mut copies = match self.twins {
            true => Some(open(&transaction, Space::Twin)?),
            false => None,
        };
        for (space, entries) in overlay.spaces() {
            let mut table = open(&transaction, space)?;
            for (key, value) in entries {
                let value = value.as_deref();
                match copies.as_mut().filter(|_| twin::applies(space, key)) {
                    None => set(&mut table, space, key, value)?,
                    Some(copies) => {
                        let here = exchange(&mut table, space, key, value)?;
                        let copy = twin::key(space, key);
                        let there = exchange(copies, Space::Twin, &copy, value)?;
                        if here != there && !anyway {
                            self.decay.heal(space, key);
                            return Ok(false);
                        }
                    }
                }
            }
        }
        drop(copies);
        let committed = transaction.commit().map_err(Error::index);
        self.pass_over();
        committed?;
        Ok(true)
    }
}

/// Closing reads pages, too.
fn close(database: Option<Database>) {
    let closed = guarded(&Decay::default(), || {
        drop(database);
        Ok(())
    });
    if let Err(error) = closed {
        tracing::warn!(%error, "closing the index");
    }
}

/// Opens a database.
fn begun(
    decay: &Decay,
    backend: impl StorageBackend,
    cache_bytes: usize,
) -> Result<Database, Error> {
    guarded(decay, || {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes).create_with_backend(backend).map_err(Error::index)
    })
}

/// A table in a change of the index.
pub(super) fn open(transaction: &WriteTransaction, space: Space) -> Result<Table<'_>, Error> {
    transaction.open_table(definition(space)).map_err(Error::index)
}

/// A table that is none of the schema's.
pub(super) fn open_named<'t>(
    transaction: &'t WriteTransaction,
    name: &str,
) -> Result<Table<'t>, Error> {
    let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(name);
    transaction.open_table(definition).map_err(Error::index)
}

/// Gives such a table the place of one of the schema.
pub(super) fn take_place(
    transaction: &WriteTransaction,
    name: &str,
    space: Space,
) -> Result<(), Error> {
    let named: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(name);
    transaction.delete_table(definition(space)).map_err(Error::index)?;
    transaction.rename_table(named, definition(space)).map_err(Error::index)
}

fn set(table: &mut Table<'_>, space: Space, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
    match value {
        Some(value) => put(table, space, key, value),
        None => table.remove(key).map(|_| ()).map_err(Error::index),
    }
}

/// As [`set`]; whether there was something before.
fn exchange(
    table: &mut Table<'_>,
    space: Space,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<bool, Error> {
    let before = match value {
        Some(value) => table.insert(key, seal::sealed(space, key, value).as_slice()),
        None => table.remove(key),
    };
    Ok(before.map_err(Error::index)?.is_some())
}

/// Puts a value with its checksum.
pub(super) fn put(
    table: &mut Table<'_>,
    space: Space,
    key: &[u8],
    value: &[u8],
) -> Result<(), Error> {
    let sealed = if seal::applies(space, key) { seal::BYTES } else { 0 };
    let mut room = table.insert_reserve(key, value.len() + sealed).map_err(Error::index)?;
    let (start, end) = room.as_mut().split_at_mut(value.len());
    start.copy_from_slice(value);
    end.copy_from_slice(&seal::of(space, key, value)[..sealed]);
    Ok(())
}

impl Index {
    /// Changes what lies there, not what it means: no frame of the log says it, and none takes it
    /// back. Only in the writer.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.changing(|| {
            let mut transaction = self.begin_write()?;
            transaction.set_durability(Durability::None).map_err(Error::index)?;
            change(&transaction)?;
            let committed = transaction.commit().map_err(Error::index);
            self.pass_over();
            committed
        })
    }

    /// Takes entries out where they lie; says of each whether it was there still.
    pub(crate) fn take_out(&self, space: Space, spots: &[Spot]) -> Result<Vec<bool>, Error> {
        let mut taken = Vec::with_capacity(spots.len());
        self.change(|transaction| {
            let mut table = open(transaction, space)?;
            for Spot { from, key, stored } in spots {
                let is_it = |k: &[u8], v: &[u8]| k == key.as_slice() && v == stored.as_slice();
                let from = from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let range = (from, Bound::<&[u8]>::Unbounded);
                let mut near = table.range::<&[u8]>(range).map_err(Error::index)?.take(SPOT_ROWS);
                let there = near.try_fold(false, |there, row| {
                    row.map(|(k, v)| there || is_it(k.value(), v.value())).map_err(Error::index)
                })?;
                drop(near);
                let is_found = table.get(key.as_slice()).map_err(Error::index)?;
                let is_found = is_found.is_some_and(|found| found.value() == stored.as_slice());
                if is_found {
                    table.remove(key.as_slice()).map_err(Error::index)?;
                } else if there {
                    let mut found =
                        table.extract_from_if::<&[u8], _>(range, is_it).map_err(Error::index)?;
                    found.next().transpose().map_err(Error::index)?;
                }
                taken.push(there || is_found);
            }
            Ok(())
        })?;
        Ok(taken)
    }
}

/// An entry by the place where it lies: no search finds one whose key decayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// A key that a search finds, on another page, fewer than [`SPOT_ROWS`] entries before it; `None`
    /// near the beginning.
    pub from: Option<Vec<u8>>,
    pub key: Vec<u8>,
    /// As it is stored, with its checksum.
    pub stored: Vec<u8>,
}

/// Entries that are looked through for one that lies after a known key.
const SPOT_ROWS: usize = 4096;

impl View {
    /// Whether something of a table was found to have decayed, and is not mended yet.
    pub(crate) fn is_doubted(&self, space: Space) -> bool {
        self.decay.tables().contains(&space)
    }

    /// Whether a walk may go on past an entry that decayed: not where a page did, because nothing of
    /// what is behind it is seen.
    pub(crate) fn goes_on_past(&self, error: &Error) -> bool {
        matches!(error, Error::Corrupt(_)) && !self.decay.has_pages()
    }

    /// Notes a table of which entries are not where a search looks for them.
    pub(crate) fn doubt(&self, space: Space) {
        if self.decay.tables().insert(space) {
            tracing::error!(table = space.name(), "entries of the index are out of order");
        }
    }

    /// The entry that lies before a key, whether or not its checksum fits.
    pub(crate) fn before(&self, space: Space, key: &[u8]) -> Result<Option<Entry>, Error> {
        let before = self.once_before(space, Bound::Excluded(key))?;
        before.and_then(|mut rows| rows.advance(redb::Range::next_back, 0)).transpose()
    }
}

/// A snapshot of every table; tables are opened when first read.
pub(crate) struct View {
    transaction: ReadTransaction,
    number: u64,
    tables: [OnceLock<Option<Opened>>; Space::ALL.len()],
    decay: Arc<Decay>,
    mixed: bool,
    twins: bool,
}

impl View {
    pub(super) fn stands_twice(&self) -> bool {
        self.twins
    }

    /// Another one than that of any snapshot of other content.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// `None` for a table that nothing was ever put in.
    fn table(&self, space: Space) -> Result<Option<&Opened>, Error> {
        let slot = &self.tables[space.slot()];
        if let Some(table) = slot.get() {
            return Ok(table.as_ref());
        }
        let table =
            guarded(&self.decay, || match self.transaction.open_table(definition(space)) {
                Ok(table) => Ok(Some(table)),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(Error::index(error)),
            })?;
        Ok(slot.get_or_init(|| table).as_ref())
    }

    /// Reads a value in place.
    pub(crate) fn get<T>(
        &self,
        space: Space,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        let mut read = Some(read);
        let mut is_known = false;
        let found = self.look_up(space, key, |stored| {
            is_known = true;
            let value = seal::open(space, key, stored, self.is_mixed(space))?;
            read.take().map(|read| read(value))
        });
        match (found, read) {
            (Ok(Some(Some(value))), _) => Ok(Some(value)),
            (Ok(_) | Err(Error::Corrupt(_)), Some(read))
                if self.twins && twin::applies(space, key) =>
            {
                self.get_copy(space, key, is_known, read)
            }
            (Ok(None), _) => Ok(None),
            (Ok(Some(None)), _) => Err(self.decay.note(space, key)),
            (Err(error), _) => Err(error),
        }
    }

    /// Reads the copy of an entry which is not in its own place, or not as it was put there.
    fn get_copy<T>(
        &self,
        space: Space,
        key: &[u8],
        is_known: bool,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        let at = twin::key(space, key);
        let found = self.look_up(Space::Twin, &at, |stored| {
            seal::open(Space::Twin, &at, stored, false).map(read)
        })?;
        match found {
            Some(Some(value)) => {
                self.decay.heal(space, key);
                Ok(Some(value))
            }
            None if !is_known => Ok(None),
            None | Some(None) => Err(self.decay.note(space, key)),
        }
    }

    fn is_mixed(&self, space: Space) -> bool {
        self.mixed && !(self.twins && (space.is_twinned() || space == Space::Twin))
    }

    /// The same, whether or not its checksum fits.
    pub(crate) fn get_raw<T>(
        &self,
        space: Space,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        self.look_up(space, key, |stored| read(seal::strip(space, key, stored, self.mixed)))
    }

    /// What lies under a key.
    fn look_up<T>(
        &self,
        space: Space,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        let Some(table) = self.table(space)? else {
            return Ok(None);
        };
        guarded(&self.decay, || {
            let stored = table.get(key).map_err(Error::index)?;
            Ok(stored.map(|stored| read(stored.value())))
        })
    }

    /// A record, compared with its digest, which is in another part of the index: bytes that decay
    /// in either are told from sound ones, and a record that cannot be found although it should be
    /// there from one that is not there.
    pub(crate) fn record(&self, key: &[u8]) -> Result<Option<Record>, Error> {
        let leaf_key = schema::leaf_key(digest::leaf_of(key), key);
        let expected = self.get_raw(Space::Leaves, &leaf_key, <[u8]>::to_vec)?;
        let found = self.get_raw(Space::Records, key, |stored| {
            let digest = digest::digest_of_bytes(key, stored);
            (expected.as_deref() == Some(digest.as_slice())).then(|| schema::decode(stored))
        })?;
        match found {
            None if expected.is_none() => Ok(None),
            Some(Some(record)) => record.map(Some),
            None | Some(None) => Err(self.decay.note(Space::Records, key)),
        }
    }

    /// The first record from `from` on that is known to be damaged: a walk does not pass over it as
    /// if there were none.
    pub(crate) fn first_bad(&self, from: Bound<&[u8]>) -> Option<Vec<u8>> {
        self.decay.records().range::<[u8], _>((from, Bound::Unbounded)).next().cloned()
    }

    /// Number of entries; it is kept, not counted.
    pub(crate) fn count(&self, space: Space) -> Result<u64, Error> {
        let table = self.table(space)?;
        guarded(&self.decay, || table.map_or(Ok(0), |table| table.len().map_err(Error::index)))
    }

    /// The entries from `from` on, in key order; `None` when the table is empty.
    pub(crate) fn range(
        &self,
        space: Space,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<Option<Rows>, Error> {
        if !self.twins || !space.is_twinned() {
            return Ok(self.once(space, from, to)?.map(Rows::Once));
        }
        let first = self.sound_before(space, from)?;
        let here = first.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let (first, end) =
            (twin::key(space, first.as_deref().unwrap_or_default()), [space.number() + 1]);
        let there = (Bound::Included(first.as_slice()), Bound::Excluded(end.as_slice()));
        let walks =
            (self.once(space, here, Bound::Unbounded), self.once(Space::Twin, there.0, there.1));
        let both = Both::new(space, (from, to), walks, Arc::clone(&self.decay))?;
        Ok(Some(Rows::Twice(Box::new(both))))
    }

    /// The key of the last sound entry before a stretch; `None` when there is none.
    fn sound_before(&self, space: Space, from: Bound<&[u8]>) -> Result<Option<Vec<u8>>, Error> {
        let to = match from {
            Bound::Included(at) => Bound::Excluded(at),
            Bound::Excluded(at) => Bound::Included(at),
            Bound::Unbounded => return Ok(None),
        };
        // Where it cannot be read the walk begins at the start.
        let mut before = match self.once_before(space, to) {
            Ok(Some(before)) => before,
            Ok(None) | Err(Error::Corrupt(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        while let Some(Ok(entry)) = before.advance(redb::Range::next_back, 0) {
            if entry.is_sound() {
                return Ok(Some(entry.key().to_vec()));
            }
        }
        Ok(None)
    }

    pub(super) fn once(
        &self,
        space: Space,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<Option<Once>, Error> {
        let once = self.between(space, from, Bound::Unbounded)?;
        Ok(once.map(|once| Once { within: Within::of(from, to), ..once }))
    }

    /// The entries before `to`, for a walk backwards.
    pub(super) fn once_before(
        &self,
        space: Space,
        to: Bound<&[u8]>,
    ) -> Result<Option<Once>, Error> {
        self.between(space, Bound::Unbounded, to)
    }

    fn between(
        &self,
        space: Space,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<Option<Once>, Error> {
        let Some(table) = self.table(space)? else {
            return Ok(None);
        };
        let rows = guarded(&self.decay, || table.range::<&[u8]>((from, to)).map_err(Error::index))?;
        let (mixed, decay) = (self.is_mixed(space), Arc::clone(&self.decay));
        let within = Within(Bound::Unbounded, Bound::Unbounded);
        let (raw, last, has_failed) = (false, None, false);
        Ok(Some(Once { rows, within, space, mixed, raw, last, has_failed, decay }))
    }

    /// The entries as they lie in the table, whether or not their checksums fit.
    pub(crate) fn range_raw(
        &self,
        space: Space,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<Option<Rows>, Error> {
        Ok(self.once(space, from, to)?.map(|rows| Rows::Once(Once { raw: true, ..rows })))
    }
}
