//! Looking at a data directory without changing anything: which formats it has, and whether this
//! program may open it.
//!
//! Invariant: nothing is written. The index is opened over a copy in memory of what redb would write
//! to it, such as its repair after a crash.

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
use super::over::Over;
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

/// What this program reads and writes on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    /// Version of the directory as a whole, and the oldest that is read.
    pub directory: u32,
    pub oldest: u32,
    /// Version of the frames of the log.
    pub log: u8,
}

/// The formats of this program.
pub fn formats() -> Formats {
    Formats { directory: schema::FORMAT, oldest: schema::FORMAT_OLDEST, log: codec::VERSION }
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
    let view = Index::over(Sandbox::new(&file)?)?.view()?;
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

/// A file that is read, and what is written over it in memory.
#[derive(Debug)]
pub(super) struct Sandbox {
    file: Arc<dyn DiskFile>,
    over: Mutex<Over>,
}

impl Sandbox {
    pub(super) fn new(file: &Arc<dyn DiskFile>) -> Result<Self, Error> {
        let over = Over::new(file.as_ref()).map_err(|e| Error::io("reading the index", e))?;
        Ok(Self { file: Arc::clone(file), over: Mutex::new(over) })
    }
}

impl StorageBackend for Sandbox {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.over).len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        lock(&self.over).read(self.file.as_ref(), offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        lock(&self.over).set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        lock(&self.over).write(self.file.as_ref(), offset, data)
    }
}
