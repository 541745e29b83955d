//! Looking at a data directory without changing anything: which formats it has, and whether this
//! program may open it.
//!
//! Invariant: nothing is written. The index is opened over a copy in memory of what redb would write
//! to it, such as its repair after a crash.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::env::{Disk, DiskFile, OpenMode};

use super::checkpoint;
use super::codec::{self, Kind};
use super::error::Error;
use super::files::Files;
use super::index::Index;
use super::lock;
use super::schema;
use super::segment::{Found, Reader};

/// What a data directory is written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Version of the directory as a whole; `None` for a new one.
    pub format: Option<u32>,
    /// The newest that this program reads and writes.
    pub known: u32,
    /// How often it was opened.
    pub boots: u64,
    /// Segments of the log, and frames in them that opening will replay.
    pub segments: u64,
    pub to_replay: u64,
}

/// Reads what opening would read. [`Error::Newer`] where this program may not open it.
pub fn inspect(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Inspected, Error> {
    let files = Files::new(Arc::clone(disk), dir.to_owned());
    let failed = |e| Error::io("reading the data directory", e);
    let names = match disk.list(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        names => names.map_err(failed)?,
    };
    let known = schema::FORMAT;
    if !names.iter().any(|name| dir.join(name) == files.index()) {
        return Ok(Inspected { format: None, known, boots: 0, segments: 0, to_replay: 0 });
    }
    let file = disk
        .open(&files.index(), OpenMode::Exclusive)
        .map_err(|e| Error::io("opening the index (is a node using it?)", e))?;
    let view = Index::over(Sandbox::new(file).map_err(failed)?)?.view()?;
    let state = checkpoint::read(&view)?;
    let (generations, _) = files.list_log().map_err(failed)?;
    let mut to_replay = 0;
    for generation in generations.iter().filter(|generation| **generation >= state.segment) {
        let start = if *generation == state.segment { state.offset } else { 0 };
        to_replay += changes_from(&files, *generation, start)?;
    }
    let segments = generations.len() as u64;
    Ok(Inspected {
        format: Some(checkpoint::format(&view)?),
        known,
        boots: state.boot,
        segments,
        to_replay,
    })
}

/// Changes of a segment from a position on.
fn changes_from(files: &Files, generation: u64, start: u64) -> Result<u64, Error> {
    let mut reader = Reader::new(files.open_segment(generation)?, generation)?;
    let (mut position, mut changes) = (start, 0);
    while let Found::Frame(frame) = reader.at(position)? {
        position = frame.next;
        if frame.kind == Kind::Change {
            let (_, start) = codec::bodies(&frame.payload)?;
            let mut mutations = &frame.payload[start..];
            while codec::take_mutation(&mut mutations)?.is_some() {}
            changes += 1;
        }
    }
    Ok(changes)
}

/// Bytes that are taken over together.
const PAGE: usize = 4096;

/// A file that is read, and what is written over it in memory.
#[derive(Debug)]
struct Sandbox {
    file: Arc<dyn DiskFile>,
    file_len: u64,
    over: Mutex<Over>,
}

#[derive(Debug, Default)]
struct Over {
    len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Sandbox {
    fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let file_len = file.size()?;
        let over = Mutex::new(Over { len: file_len, pages: BTreeMap::new() });
        Ok(Self { file, file_len, over })
    }

    /// A page as it stands; beyond the file's end it has zeros.
    fn page(&self, over: &Over, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = over.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE];
        let start = number * PAGE as u64;
        let there = usize::try_from(self.file_len.saturating_sub(start)).unwrap_or(usize::MAX);
        self.file.read_exact_at(start, &mut page[..there.min(PAGE)])?;
        Ok(page)
    }

    /// The pages of a stretch: number, where in it, where in the stretch.
    fn pieces(
        offset: u64,
        len: usize,
    ) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = offset + done as u64;
            let inside = usize::try_from(at % PAGE as u64).unwrap_or(0);
            let now = (len - done).min(PAGE - inside);
            let range = done..done + now;
            done += now;
            (now > 0).then_some((at / PAGE as u64, inside, range))
        })
    }
}

impl StorageBackend for Sandbox {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.over).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = lock(&self.over);
        for (number, inside, range) in Self::pieces(offset, out.len()) {
            let page = self.page(&over, number)?;
            let len = range.len();
            out[range].copy_from_slice(&page[inside..inside + len]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        lock(&self.over).len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = lock(&self.over);
        for (number, inside, range) in Self::pieces(offset, data.len()) {
            let mut page = self.page(&over, number)?;
            page[inside..inside + range.len()].copy_from_slice(&data[range]);
            over.pages.insert(number, page);
        }
        Ok(())
    }
}
