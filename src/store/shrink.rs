//! Giving back to the disk what the index of a stopped node has no use for any more.
//!
//! redb writes again into pages that are free, and its file stays as long as it ever was. Here all
//! entries go into a new file, in key order and one after the other as they lie, checksums and the
//! log position with them, and that file takes the index's place.
//!
//! Invariant: the index's own file is only read, as by [`inspect`](super::inspect()), and both files
//! are locked until the end. Its place is taken in one rename, after the new file was synced, opened
//! anew and found to have the same entries, and no node can open either before that rename is
//! durable. So whenever this is killed, the index is the old or the new one, of one content. What
//! cannot be copied as it lies (keys out of order, entries that cannot be reached) is not copied.

use std::fmt;
use std::io::ErrorKind;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableHandle,
    WriteTransaction,
};

use crate::env::{DiskFile, Env, OpenMode};

use super::anew::{self, Anew, CACHE_BYTES};
use super::checkpoint;
use super::decay::Decay;
use super::error::Error;
use super::files::Files;
use super::guard::guarded;
use super::index::{Index, definition};
use super::inspect::Sandbox;
use super::roots;
use super::schema::Space;
use super::seal;

/// Entries between two words about how far it is.
const TOLD_EVERY: u64 = 4096;

/// Bytes of a page, as redb has them unless told otherwise.
const PAGE_BYTES: u64 = 4096;

/// What an entry takes besides its key and its value: where both end.
const ENTRY_BYTES: u64 = 8;

/// What a file takes besides its entries: headers, a page for each table, which pages are free.
const FILE_BYTES: u64 = 1 << 20;

/// What is done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Reading,
    Writing,
    Checking,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// Bytes of the index's file.
    pub before: u64,
    pub after: u64,
    pub entries: u64,
    /// Of these, entries that do not fit their checksums: they are as they were.
    pub damaged: u64,
}

/// Why nothing was changed.
#[derive(Clone, Debug)]
pub enum NotShrunk {
    /// Entries of this table are damaged so that they cannot be copied as they lie.
    Damaged(&'static str),
    /// A node, or another such command, uses the directory.
    InUse,
    /// There is no index.
    Missing,
    /// The new file needs about so many bytes, and the disk has so many.
    NoRoom {
        needed: u64,
        free: u64,
    },
    Store(Error),
}

impl From<Error> for NotShrunk {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for NotShrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(table) => write!(f, "entries of the index ({table}) are damaged"),
            Self::InUse => f.write_str("the index is in use"),
            Self::Missing => f.write_str("there is no index"),
            Self::NoRoom { needed, free } => {
                write!(f, "about {needed} bytes are needed, and {free} are free")
            }
            Self::Store(error) => error.fmt(f),
        }
    }
}

/// Writes the index of a directory anew, as short as it can be. `told` hears how many entries of how
/// many are done. Blocks.
pub fn shrink(
    env: &Env,
    dir: &Path,
    told: &mut dyn FnMut(Step, u64, u64),
) -> Result<Shrunk, NotShrunk> {
    let files = Files::new(Arc::clone(&env.disk), dir.to_owned());
    let failed = |e| Error::io("reading the data directory", e);
    let names = match env.disk.list(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        names => names.map_err(failed)?,
    };
    if !names.iter().any(|name| dir.join(name) == files.index()) {
        return Err(NotShrunk::Missing);
    }
    let old = match env.disk.open(&files.index(), OpenMode::Exclusive) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(NotShrunk::InUse),
        opened => opened.map_err(|e| Error::io("opening the index", e))?,
    };
    anew::remove(&files)?;
    let shrinking = Shrinking { env, files: &files, old };
    let shrunk = guarded(&Decay::default(), || Ok(shrinking.run(told)));
    // Where it took the index's place, there is nothing to remove.
    let removed = anew::remove(&files);
    let shrunk = shrunk??;
    removed?;
    Ok(shrunk)
}

struct Shrinking<'a> {
    env: &'a Env,
    files: &'a Files,
    old: Arc<dyn DiskFile>,
}

impl Shrinking<'_> {
    fn run(&self, told: &mut dyn FnMut(Step, u64, u64)) -> Result<Shrunk, NotShrunk> {
        let size = |file: &Arc<dyn DiskFile>| {
            file.size().map_err(|e| Error::io("looking at the index", e))
        };
        let before = size(&self.old)?;
        let state = checkpoint::read(&*Index::over(Sandbox::new(&self.old)?)?.view()?)?;
        if roots::are_later(self.files, &self.old, &state) {
            return Err(
                Error::corrupt("where the index begins; a start of the node mends it").into()
            );
        }
        let old = reading(&self.old)?;
        let contents = Contents::of(&old.view, Step::Reading, told)?;
        self.check_room(&contents)?;
        let new = Anew::make(self.env, self.files)?;
        let mut done = 0;
        let filled = new.fill(|transaction, has_room| {
            copy(&old.view, transaction, |told_of| {
                done += told_of;
                told(Step::Writing, done, contents.entries);
                has_room().map_err(NotShrunk::from)
            })
        });
        if matches!(filled, Err(NotShrunk::Store(Error::DiskFull))) {
            return Err(NotShrunk::NoRoom { needed: contents.room(), free: self.free()? });
        }
        filled?;
        drop(old);
        let read_back = Contents::of(&reading(new.file())?.view, Step::Checking, told)?;
        if read_back != contents {
            return Err(Error::corrupt("the new index reads back otherwise than the old").into());
        }
        let Contents { entries, damaged, .. } = contents;
        let after = size(new.file())?;
        if after >= before {
            return Ok(Shrunk { before, after: before, entries, damaged });
        }
        new.take_place()?;
        Ok(Shrunk { before, after, entries, damaged })
    }

    fn free(&self) -> Result<u64, Error> {
        let space = self.env.disk.space().map_err(|e| Error::io("asking for free space", e));
        space.map(|(_, free)| free)
    }

    fn check_room(&self, contents: &Contents) -> Result<(), NotShrunk> {
        let (needed, free) = (contents.room(), self.free()?);
        if needed > free { Err(NotShrunk::NoRoom { needed, free }) } else { Ok(()) }
    }
}

/// A file's last durable commit; nothing is written to the file. A database that is gone closes what
/// reads from it.
struct Reading {
    view: ReadTransaction,
    _database: Database,
}

fn reading(file: &Arc<dyn DiskFile>) -> Result<Reading, Error> {
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(Sandbox::new(file)?)
        .map_err(Error::index)?;
    let view = database.begin_read().map_err(Error::index)?;
    Ok(Reading { view, _database: database })
}

/// The tables that there are.
fn spaces(view: &ReadTransaction) -> Result<Vec<Space>, Error> {
    let names: Vec<String> =
        view.list_tables().map_err(Error::index)?.map(|table| table.name().to_owned()).collect();
    let spaces: Vec<Space> =
        Space::ALL.into_iter().filter(|space| names.iter().any(|n| n == space.name())).collect();
    let others = view.list_multimap_tables().map_err(Error::index)?.count();
    if spaces.len() < names.len() || others > 0 {
        return Err(Error::corrupt("the index has a table that this program does not know"));
    }
    Ok(spaces)
}

/// Copies every table; `told` hears of every so many entries.
fn copy(
    view: &ReadTransaction,
    transaction: &WriteTransaction,
    mut told: impl FnMut(u64) -> Result<(), NotShrunk>,
) -> Result<(), NotShrunk> {
    for space in spaces(view)? {
        let from = view.open_table(definition(space)).map_err(Error::index)?;
        let mut to = transaction.open_table(definition(space)).map_err(Error::index)?;
        let mut end = to.upper_bound_mut(Bound::<&[u8]>::Unbounded).map_err(Error::index)?;
        let mut untold = 0;
        for row in from.iter().map_err(Error::index)? {
            let (key, value) = row.map_err(Error::index)?;
            end.insert_before(key.value(), value.value()).map_err(Error::index)?;
            untold += 1;
            if untold == TOLD_EVERY {
                told(untold)?;
                untold = 0;
            }
        }
        end.close().map_err(Error::index)?;
        told(untold)?;
    }
    Ok(())
}

/// What is in an index.
#[derive(PartialEq, Eq)]
struct Contents {
    entries: u64,
    damaged: u64,
    /// Of all tables with their keys and values, as they lie.
    hash: blake3::Hash,
    /// Bytes of entries that share pages, and of pages that one entry has for itself.
    shared: u64,
    own: u64,
}

impl Contents {
    /// Reads everything; each table must have as many entries as it says, in order.
    fn of(
        view: &ReadTransaction,
        step: Step,
        told: &mut dyn FnMut(Step, u64, u64),
    ) -> Result<Self, NotShrunk> {
        let mut hasher = blake3::Hasher::new();
        let hash = hasher.finalize();
        let mut all = Self { entries: 0, damaged: 0, hash, shared: 0, own: 0 };
        let spaces = spaces(view)?;
        let mut total = 0;
        for space in &spaces {
            let table = view.open_table(definition(*space)).map_err(Error::index)?;
            total += table.len().map_err(Error::index)?;
        }
        let mixed = is_mixed(view)?;
        for space in spaces {
            let table = view.open_table(definition(space)).map_err(Error::index)?;
            let len = table.len().map_err(Error::index)?;
            hasher.update(&[space.number()]).update(&len.to_le_bytes());
            let (mut found, mut last) = (0, Vec::new());
            for row in table.iter().map_err(Error::index)? {
                let (key, value) = row.map_err(Error::index)?;
                let (key, value) = (key.value(), value.value());
                if found > 0 && key <= last.as_slice() {
                    return Err(NotShrunk::Damaged(space.name()));
                }
                last.clear();
                last.extend_from_slice(key);
                found += 1;
                for part in [key, value] {
                    hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
                }
                all.damaged += u64::from(seal::open(space, key, value, mixed).is_none());
                all.take((key.len() + value.len()) as u64);
                if all.entries.is_multiple_of(TOLD_EVERY) {
                    told(step, all.entries, total);
                }
            }
            if found != len {
                return Err(NotShrunk::Damaged(space.name()));
            }
        }
        told(step, all.entries, total);
        all.hash = hasher.finalize();
        Ok(all)
    }

    fn take(&mut self, bytes: u64) {
        self.entries += 1;
        let bytes = bytes + ENTRY_BYTES;
        if bytes > PAGE_BYTES / 2 {
            self.own += bytes.next_power_of_two().max(PAGE_BYTES);
        } else {
            self.shared += bytes;
        }
    }

    /// About what a file takes that has all of it: pages have ends that no entry fits in, and there
    /// are pages of keys alone.
    fn room(&self) -> u64 {
        self.shared + self.shared / 6 + self.own + self.own / 16 + FILE_BYTES
    }
}

/// Whether there may be entries without a checksum.
fn is_mixed(view: &ReadTransaction) -> Result<bool, Error> {
    let own = view.open_table(definition(Space::Own)).map_err(Error::index)?;
    Ok(own.get(seal::SEALED_KEY).map_err(Error::index)?.is_none())
}
