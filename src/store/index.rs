//! The index: redb over a file of our own disk, every table of the schema in it.
//!
//! Invariant: only the writer changes it, in whole batches that are already in the synced log; a
//! durable commit carries the log position that it has reached. Reads are snapshots. Closing makes
//! nothing durable: redb would otherwise keep its last commits without their log position.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTableMetadata,
    StorageBackend, TableDefinition, TableError,
};

use crate::env::{Disk, DiskFile, OpenMode};
use crate::limits;
use crate::types::record::Record;

use super::digest;
use super::error::Error;
use super::layer::Overlay;
use super::schema::{self, Space};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
type Opened = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A range of a table; it keeps its snapshot alive.
pub(crate) type Rows = redb::Range<'static, &'static [u8], &'static [u8]>;

fn definition(space: Space) -> Definition {
    TableDefinition::new(space.name())
}

/// redb's storage on a [`DiskFile`].
#[derive(Debug)]
struct Backend {
    file: Arc<dyn DiskFile>,
    frozen: Arc<AtomicBool>,
}

impl Backend {
    fn check(&self) -> io::Result<()> {
        if self.frozen.load(Ordering::SeqCst) {
            return Err(io::Error::other("closed at the last checkpoint"));
        }
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write_all_at(offset, &[data])
    }
}

/// Pages kept in memory while an index is only looked at.
const INSPECT_CACHE_BYTES: usize = 4 << 20;

/// The index of one data directory.
pub(crate) struct Index {
    database: Database,
    /// Commits since the last durable one.
    ahead: AtomicBool,
    frozen: Arc<AtomicBool>,
    bad: BadRecords,
}

/// Keys of records that do not fit their digests, up to a bound.
pub(crate) type BadRecords = Arc<Mutex<BTreeSet<Vec<u8>>>>;

impl Drop for Index {
    fn drop(&mut self) {
        if self.ahead.load(Ordering::SeqCst) {
            self.frozen.store(true, Ordering::SeqCst);
        }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Index")
    }
}

impl Index {
    /// Opens the file, made when missing. One process at a time.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, cache_bytes: usize) -> Result<Self, Error> {
        let file = disk
            .open(path, OpenMode::Exclusive)
            .map_err(|e| Error::io("opening the index (is another process using it?)", e))?;
        let frozen = Arc::new(AtomicBool::new(false));
        let backend = Backend { file, frozen: Arc::clone(&frozen) };
        Self::on(backend, cache_bytes, frozen)
    }

    /// Over other storage, to look at it.
    pub(crate) fn over(backend: impl StorageBackend) -> Result<Self, Error> {
        Self::on(backend, INSPECT_CACHE_BYTES, Arc::default())
    }

    fn on(
        backend: impl StorageBackend,
        cache_bytes: usize,
        frozen: Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        let database = Database::builder()
            .set_cache_size(cache_bytes)
            .create_with_backend(backend)
            .map_err(Error::index)?;
        let bad = BadRecords::default();
        Ok(Self { database, ahead: AtomicBool::new(false), frozen, bad })
    }

    /// A snapshot.
    pub(crate) fn view(&self) -> Result<View, Error> {
        let transaction = self.database.begin_read().map_err(Error::index)?;
        Ok(View { transaction, tables: Default::default(), bad: Arc::clone(&self.bad) })
    }

    /// What was found not to fit its digest.
    pub(crate) fn bad(&self) -> &BadRecords {
        &self.bad
    }

    /// Applies a batch in one transaction. Visible at once; durable with the next durable commit.
    pub(crate) fn apply(&self, overlay: &Overlay, durable: bool) -> Result<(), Error> {
        let mut transaction = self.database.begin_write().map_err(Error::index)?;
        if durable {
            transaction.set_quick_repair(true);
        } else {
            transaction.set_durability(Durability::None).map_err(Error::index)?;
        }
        for (space, entries) in overlay.spaces() {
            let mut table = transaction.open_table(definition(space)).map_err(Error::index)?;
            for (key, value) in entries {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice()),
                    None => table.remove(key.as_slice()),
                }
                .map_err(Error::index)?;
            }
        }
        self.ahead.store(true, Ordering::SeqCst);
        transaction.commit().map_err(Error::index)?;
        self.ahead.store(!durable, Ordering::SeqCst);
        Ok(())
    }
}

/// A snapshot of every table; tables are opened when first read.
pub(crate) struct View {
    transaction: ReadTransaction,
    tables: [OnceLock<Option<Opened>>; Space::ALL.len()],
    bad: BadRecords,
}

impl View {
    /// `None` for a table that nothing was ever put in.
    fn table(&self, space: Space) -> Result<Option<&Opened>, Error> {
        let slot = &self.tables[space.slot()];
        if let Some(table) = slot.get() {
            return Ok(table.as_ref());
        }
        let table = match self.transaction.open_table(definition(space)) {
            Ok(table) => Some(table),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(Error::index(error)),
        };
        Ok(slot.get_or_init(|| table).as_ref())
    }

    /// Reads a value in place.
    pub(crate) fn get<T>(
        &self,
        space: Space,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        let Some(table) = self.table(space)? else {
            return Ok(None);
        };
        let value = table.get(key).map_err(Error::index)?;
        Ok(value.map(|guard| read(guard.value())))
    }

    /// A record, compared with its digest, which is in another part of the index: bytes that decay
    /// in either are told from sound ones, and a record that cannot be found although it should be
    /// there from one that is not there.
    pub(crate) fn record(&self, key: &[u8]) -> Result<Option<Record>, Error> {
        let leaf_key = schema::leaf_key(digest::leaf_of(key), key);
        let expected = self.get(Space::Leaves, &leaf_key, <[u8]>::to_vec)?;
        let found = self.get(Space::Records, key, |stored| {
            let digest = digest::digest_of_bytes(key, stored);
            (expected.as_deref() == Some(digest.as_slice())).then(|| schema::decode(stored))
        })?;
        match found {
            None if expected.is_none() => Ok(None),
            Some(Some(record)) => record.map(Some),
            None | Some(None) => Err(self.note_bad(key)),
        }
    }

    fn note_bad(&self, key: &[u8]) -> Error {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        if bad.len() < limits::BAD_RECORDS_MAX && bad.insert(key.to_vec()) {
            tracing::error!(key = %key.escape_ascii(), "a record in the index is damaged");
        }
        Error::corrupt("a record in the index does not fit its digest")
    }

    /// Number of entries; it is kept, not counted.
    pub(crate) fn count(&self, space: Space) -> Result<u64, Error> {
        self.table(space)?.map_or(Ok(0), |table| table.len().map_err(Error::index))
    }

    /// The entries from `from` on, in key order; `None` when the table is empty.
    pub(crate) fn range(
        &self,
        space: Space,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<Option<Rows>, Error> {
        let Some(table) = self.table(space)? else {
            return Ok(None);
        };
        table.range::<&[u8]>((from, to)).map(Some).map_err(Error::index)
    }
}
