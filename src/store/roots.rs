//! What redb reads of the index's file to open it, written down a second time: where its tables begin,
//! and which pages are free. A bit that flips there would cost everything else.
//!
//! Nothing here knows how redb lays out its pages: the file is opened as it lies on the disk, and what
//! was read for that is kept, under a checksum.
//!
//! Invariant: the copy is of the last durable commit, or of the one before it while that one is being
//! kept; then nothing that is committed later has used a page of it again. Where that cannot be, there
//! is no copy. The log from there on is there.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crc_fast::crc32_iscsi;
use serde::{Deserialize, Serialize};

use crate::env::{DiskFile, OpenMode};
use crate::limits;

use super::checkpoint::{self, State};
use super::decay::Decay;
use super::error::Error;
use super::files::{self, Files};
use super::index::Index;
use super::inspect::Sandbox;
use super::schema::{self, Space};
use super::{lock, over};

/// Bytes of the checksum that the file begins with.
const SUM_BYTES: usize = 4;

/// Of the pages that are kept, one of so many may have decayed at once.
const DECAYED_PART: usize = 4;

/// Bytes of the first page that may have decayed at once. Another commit changes more: two checksums
/// of 16 bytes each.
const DECAYED_BYTES: usize = 16;

/// As the file has it.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Of the commit that the pages are of.
    state: State,
    /// The index's file had so many bytes.
    len: u64,
    /// Pages by number; the last one may be shorter than the others. The first one says which commit
    /// counts.
    pages: BTreeMap<u64, Vec<u8>>,
}

/// Keeps what redb reads to open the index, as of its last durable commit; where that cannot be done,
/// nothing. [`Error::Corrupt`] where a page of it makes no sense: the copy before is still there, and
/// has to go before anything is committed. Only where nothing is committed meanwhile. Blocks.
pub(super) fn keep(
    files: &Files,
    index: &Arc<dyn DiskFile>,
    decay: &Arc<Decay>,
) -> Result<(), Error> {
    match try_keep(files, index, decay) {
        Err(error) if !matches!(error, Error::Corrupt(_)) => {
            tracing::warn!(%error, "where the index begins is not written down a second time");
            forget(files);
            Ok(())
        }
        kept => kept,
    }
}

fn try_keep(files: &Files, index: &Arc<dyn DiskFile>, decay: &Arc<Decay>) -> Result<(), Error> {
    let failed = |e| Error::io("writing down where the index begins", e);
    let len = index.size().map_err(failed)?;
    let read = Arc::new(Paged::noting(index, len));
    let opened = Index::looked_at(
        Sandbox::new(&(Arc::clone(&read) as Arc<dyn DiskFile>))?,
        Arc::clone(decay),
    )?;
    let bytes = schema::encode(&Kept { state: begin_to_read(&opened)?, len, pages: read.end() });
    drop(opened);
    let disk = files.disk.as_ref();
    // The copy before stays until this one is whole.
    let file = disk.open(&files.new_roots(), OpenMode::ReadWrite).map_err(failed)?;
    let sum = crc32_iscsi(&bytes).to_le_bytes();
    file.write_all_at(0, &[&sum, &bytes]).map_err(failed)?;
    file.set_len((SUM_BYTES + bytes.len()) as u64).map_err(failed)?;
    file.sync().map_err(failed)?;
    drop(file);
    disk.rename(&files.new_roots(), &files.roots()).map_err(failed)?;
    disk.sync_dir(files.dir()).map_err(failed)
}

/// Looks where each of the tables begins.
fn begin_to_read(index: &Index) -> Result<State, Error> {
    let view = index.view()?;
    for space in Space::ALL {
        view.count(space)?;
    }
    checkpoint::read(&view)
}

/// The copy is of no use any more.
pub(super) fn forget(files: &Files) {
    let copies = [files.new_roots(), files.roots()];
    let removed = copies.iter().try_for_each(|copy| files::remove(files.disk.as_ref(), copy));
    if let Err(error) = removed.and_then(|()| files.disk.sync_dir(files.dir())) {
        tracing::error!(%error, "an old copy of where the index begins stays");
    }
}

/// What is kept; `None` where there is nothing, or nothing that can be used.
fn usable(files: &Files) -> Option<Kept> {
    read(files).unwrap_or_else(|error| {
        tracing::warn!(%error, "the copy of where the index begins cannot be read");
        None
    })
}

fn read(files: &Files) -> Result<Option<Kept>, Error> {
    let failed = |e| Error::io("reading the copy of where the index begins", e);
    let file = match files.disk.open(&files.roots(), OpenMode::Read) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let len = file.size().map_err(failed)?;
    // A page has its number and its length.
    if len > 2 * limits::INDEX_ROOTS_BYTES_MAX {
        return Err(Error::TooLarge { bytes: len });
    }
    let bytes = files::read(file.as_ref(), 0, usize::try_from(len).expect("bounded"));
    let bytes = bytes.map_err(failed)?;
    match bytes.split_first_chunk() {
        Some((sum, rest)) if crc32_iscsi(rest).to_le_bytes() == *sum => {
            schema::decode(rest).map(Some)
        }
        Some(_) | None => Err(Error::corrupt("it does not fit its checksum")),
    }
}

impl Kept {
    /// How many bytes of a page are other ones in the file; `None` where it cannot be read.
    fn differing(&self, index: &dyn DiskFile, number: u64) -> Option<usize> {
        let kept = self.pages.get(&number)?;
        let mut here = vec![0; kept.len()];
        index.read_exact_at(number * over::PAGE as u64, &mut here).ok()?;
        Some(here.iter().zip(kept).filter(|(here, kept)| here != kept).count())
    }

    /// The file's first page is that of the same commit.
    fn is_of_last_commit(&self, index: &dyn DiskFile) -> bool {
        self.differing(index, 0).is_some_and(|bytes| bytes <= DECAYED_BYTES)
    }

    /// Almost all other pages are as they are in the file. A guess: what a later commit did not change
    /// stays where it was. So the copy is used by it only where the file itself cannot be opened.
    fn is_of(&self, index: &dyn DiskFile) -> bool {
        let differ = self.pages.keys().filter(|number| **number > 0);
        let differ = differ.filter(|number| self.differing(index, **number) != Some(0)).count();
        differ <= (self.pages.len() / DECAYED_PART).max(1)
    }
}

/// Puts back what has decayed of the index since it was kept, where its last commit is still the one
/// of which it was: then all pages that are kept are as they were. Before redb opens it. Blocks.
pub(super) fn put_back(files: &Files, index: &Arc<dyn DiskFile>) -> Result<(), Error> {
    let failed = |e| Error::io("putting back where the index begins", e);
    let Some(kept) = usable(files).filter(|kept| kept.is_of_last_commit(index.as_ref())) else {
        return Ok(());
    };
    let mut decayed = 0;
    for (number, page) in &kept.pages {
        if kept.differing(index.as_ref(), *number).is_some_and(|bytes| bytes > 0) {
            decayed += 1;
            index.write_all_at(number * over::PAGE as u64, &[page]).map_err(failed)?;
        }
    }
    if decayed > 0 {
        tracing::warn!(decayed, "pages with which the index begins were put back from their copy");
        index.sync().map_err(failed)?;
    }
    Ok(())
}

/// Whether an index that was opened is older than what is kept of it: its first page leads to a commit
/// that was over, of which pages were used again.
pub(super) fn are_later(files: &Files, index: &Arc<dyn DiskFile>, opened: &State) -> bool {
    let age = |state: &State| (state.boot, state.position());
    usable(files).is_some_and(|kept| {
        kept.is_of_last_commit(index.as_ref()) && age(&kept.state) > age(opened)
    })
}

/// The index's file as it was when it was kept.
pub(super) struct Restored {
    pub file: Arc<dyn DiskFile>,
    /// The file's first page is of the same commit, or has decayed a little.
    pub is_of_last_commit: bool,
}

/// `None` where nothing of this file is kept.
pub(super) fn restored(files: &Files, index: &Arc<dyn DiskFile>) -> Option<Restored> {
    let kept = usable(files).filter(|kept| kept.is_of(index.as_ref()))?;
    let is_of_last_commit = kept.is_of_last_commit(index.as_ref());
    Some(Restored { file: Arc::new(Paged::restoring(index, kept)), is_of_last_commit })
}

/// A file that is only read, by pages: some are here, the others in the file.
#[derive(Debug)]
struct Paged {
    file: Arc<dyn DiskFile>,
    len: u64,
    pages: Mutex<BTreeMap<u64, Vec<u8>>>,
    /// What is read of the file is kept here.
    notes: bool,
    ended: AtomicBool,
}

impl Paged {
    fn noting(file: &Arc<dyn DiskFile>, len: u64) -> Self {
        let (file, pages) = (Arc::clone(file), Mutex::default());
        Self { file, len, pages, notes: true, ended: AtomicBool::new(false) }
    }

    fn restoring(file: &Arc<dyn DiskFile>, kept: Kept) -> Self {
        let (file, pages) = (Arc::clone(file), Mutex::new(kept.pages));
        Self { file, len: kept.len, pages, notes: false, ended: AtomicBool::new(false) }
    }

    /// What was read. Nothing is from now on, so that closing costs nothing.
    fn end(&self) -> BTreeMap<u64, Vec<u8>> {
        self.ended.store(true, Ordering::SeqCst);
        std::mem::take(&mut *lock(&self.pages))
    }

    fn note(&self, number: u64, page: &[u8]) -> io::Result<()> {
        let mut pages = lock(&self.pages);
        if (pages.len() * over::PAGE) as u64 >= limits::INDEX_ROOTS_BYTES_MAX {
            return Err(io::Error::other("so much is read of the index to open it"));
        }
        pages.insert(number, page.to_vec());
        Ok(())
    }
}

impl DiskFile for Paged {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    /// Beyond the file's end are zeros.
    fn read_exact_at(&self, position: u64, out: &mut [u8]) -> io::Result<()> {
        assert!(position.is_multiple_of(over::PAGE as u64), "it is read by pages");
        if self.ended.load(Ordering::SeqCst) {
            return Err(io::Error::other("what is needed of the index was read"));
        }
        let number = position / over::PAGE as u64;
        if let Some(page) = lock(&self.pages).get(&number) {
            out.copy_from_slice(page);
            return Ok(());
        }
        let there = usize::try_from(self.file.size()?.saturating_sub(position));
        let (start, beyond) = out.split_at_mut(there.unwrap_or(usize::MAX).min(out.len()));
        beyond.fill(0);
        if !start.is_empty() {
            self.file.read_exact_at(position, start)?;
        }
        if self.notes { self.note(number, out) } else { Ok(()) }
    }

    fn write_all_at(&self, _: u64, _: &[&[u8]]) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }
}
