//! What redb reads of the index's file to open it, written down a second time: where its tables begin,
//! and which pages are free. A bit that flips there would cost everything else.
//!
//! Nothing here knows how redb lays out its pages: the file is opened as it lies on the disk, and what
//! was read for that is kept, under a checksum.
//!
//! Invariant: what is kept is of the last durable commit; or of the one before it, where the program
//! was cut short between the two, and then nothing was committed since that used one of its pages
//! again. What cannot be kept is not there. The log from there on is.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use crc_fast::crc32_iscsi;
use serde::{Deserialize, Serialize};

use crate::env::{DiskFile, OpenMode};
use crate::limits;

use super::checkpoint::{self, State};
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

/// As the file has it.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Of the commit that the pages are of.
    state: State,
    /// The index's file had so many bytes.
    len: u64,
    /// Pages by number; the last one may be shorter than the others.
    pages: BTreeMap<u64, Vec<u8>>,
}

/// Keeps what redb reads to open the index, as of its last durable commit. Where that cannot be done
/// nothing is kept. Blocks. Only where nothing is committed meanwhile.
pub(super) fn keep(files: &Files, index: &Arc<dyn DiskFile>) {
    let Err(error) = try_keep(files, index) else { return };
    tracing::warn!(%error, "where the index begins is not written down a second time");
    if let Err(error) = forget(files) {
        tracing::error!(%error, "an old copy of where the index begins stays");
    }
}

fn try_keep(files: &Files, index: &Arc<dyn DiskFile>) -> Result<(), Error> {
    let failed = |e| Error::io("writing down where the index begins", e);
    let len = index.size().map_err(failed)?;
    let (file, pages) = (Arc::clone(index), Mutex::default());
    let read = Arc::new(Paged { file, len, pages, notes: true });
    let opened = Index::over(Sandbox::new(&(Arc::clone(&read) as Arc<dyn DiskFile>))?)?;
    let state = begin_to_read(&opened)?;
    // Before it is closed, which reads more.
    let pages = std::mem::take(&mut *lock(&read.pages));
    let bytes = schema::encode(&Kept { state, len, pages });
    if bytes.len() as u64 > limits::INDEX_ROOTS_BYTES_MAX {
        return Err(Error::TooLarge { bytes: bytes.len() as u64 });
    }
    let file = files.disk.open(&files.roots(), OpenMode::ReadWrite).map_err(failed)?;
    let is_new = file.size().map_err(failed)? == 0;
    let sum = crc32_iscsi(&bytes).to_le_bytes();
    file.write_all_at(0, &[&sum, &bytes]).map_err(failed)?;
    file.set_len((SUM_BYTES + bytes.len()) as u64).map_err(failed)?;
    file.sync().map_err(failed)?;
    if is_new { files.disk.sync_dir(files.dir()).map_err(failed) } else { Ok(()) }
}

/// Looks where each of its tables begins.
fn begin_to_read(index: &Index) -> Result<State, Error> {
    let view = index.view()?;
    for space in Space::ALL {
        view.count(space)?;
    }
    checkpoint::read(&view)
}

/// What is kept is of no use to the file that takes the index's place. For good when this returns.
pub(super) fn forget(files: &Files) -> Result<(), Error> {
    let failed = |e| Error::io("removing the copy of where the index begins", e);
    files::remove(files.disk.as_ref(), &files.roots()).map_err(failed)?;
    files.disk.sync_dir(files.dir()).map_err(failed)
}

/// What is kept of this file; `None` where there is nothing, or nothing that can be used.
fn kept(files: &Files, index: &Arc<dyn DiskFile>) -> Option<Kept> {
    match read(files) {
        Ok(kept) => kept.filter(|kept| kept.is_of(index.as_ref())),
        Err(error) => {
            tracing::warn!(%error, "the copy of where the index begins cannot be read");
            None
        }
    }
}

impl Kept {
    /// Each commit has those pages anew in other places, so that in an older or a newer file almost
    /// all are others. The first one says which commit counts, and is also changed in its place.
    fn is_of(&self, index: &dyn DiskFile) -> bool {
        let mut here = vec![0; over::PAGE];
        let differs = |(number, kept): &(&u64, &Vec<u8>)| {
            let here = &mut here[..kept.len()];
            index.read_exact_at(*number * over::PAGE as u64, here).is_err()
                || here != kept.as_slice()
        };
        let others = self.pages.iter().filter(|(number, _)| **number > 0);
        others.filter(differs).count() <= (self.pages.len() / DECAYED_PART).max(1)
    }
}

fn read(files: &Files) -> Result<Option<Kept>, Error> {
    let failed = |e| Error::io("reading the copy of where the index begins", e);
    let file = match files.disk.open(&files.roots(), OpenMode::Read) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let len = file.size().map_err(failed)?;
    if len > limits::INDEX_ROOTS_BYTES_MAX + SUM_BYTES as u64 {
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

/// Whether an index that was opened is older than what is kept of it: its header leads to a commit that
/// was over, of which pages were used again.
pub(super) fn are_later(files: &Files, index: &Arc<dyn DiskFile>, opened: &State) -> bool {
    let age = |state: &State| (state.boot, state.position());
    kept(files, index).is_some_and(|kept| age(&kept.state) > age(opened))
}

/// The index's file as it was when it was kept; `None` where nothing is.
pub(super) fn restored(files: &Files, index: &Arc<dyn DiskFile>) -> Option<Arc<dyn DiskFile>> {
    let Kept { len, pages, .. } = kept(files, index)?;
    let (file, pages) = (Arc::clone(index), Mutex::new(pages));
    Some(Arc::new(Paged { file, len, pages, notes: false }))
}

/// A file that is only read, by pages: some are here, the others in the file.
#[derive(Debug)]
struct Paged {
    file: Arc<dyn DiskFile>,
    len: u64,
    pages: Mutex<BTreeMap<u64, Vec<u8>>>,
    /// What is read of the file is kept here.
    notes: bool,
}

impl DiskFile for Paged {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    /// Beyond the file's end are zeros.
    fn read_exact_at(&self, position: u64, out: &mut [u8]) -> io::Result<()> {
        assert!(position.is_multiple_of(over::PAGE as u64), "it is read by pages");
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
        if self.notes {
            lock(&self.pages).insert(number, out.to_vec());
        }
        Ok(())
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
