//! Names of everything in the data directory, and the open segment files.
//!
//! ```text
//! index.redb                  the index (index.new while it is made, or made anew)
//! index.opening               openings without an end, while one is under way
//! index.roots                 what is read of the index to open it, a second time (index.roots.new
//!                             while it is written)
//! log/GENERATION.seg          segments; log/*.spare wait to be used again
//! blobs/XX/BLOB-NONCE         held blobs; a name is never used twice
//! cache/XX/BLOB, BLOB.m       evictable copies and their manifests
//! ```
//!
//! Invariant: no name holds anything that a user chose.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::env::{Disk, DiskFile, OpenMode};
use crate::types::id::BlobId;
use crate::types::stamp::Stamp;

use super::error::Error;
use super::lock;

/// Blob files are spread over this many directories.
pub(crate) const SHARDS: u16 = 256;

/// The data directory.
pub(crate) struct Files {
    pub(crate) disk: Arc<dyn Disk>,
    dir: PathBuf,
    segments: Mutex<BTreeMap<u64, Arc<dyn DiskFile>>>,
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, segments: Mutex::new(BTreeMap::new()) }
    }

    /// Makes the directories; done again at every open, which costs little.
    pub(crate) fn make_dirs(&self) -> io::Result<()> {
        for top in [self.log_dir(), self.dir.join("blobs"), self.dir.join("cache")] {
            self.disk.create_dir_all(&top)?;
        }
        for shard in 0..SHARDS {
            self.disk.create_dir_all(&self.blob_dir(shard))?;
            self.disk.create_dir_all(&self.cache_dir(shard))?;
        }
        for made in [self.dir.join("blobs"), self.dir.join("cache"), self.dir.clone()] {
            self.disk.sync_dir(&made)?;
        }
        Ok(())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.dir.join("index.redb")
    }

    pub(crate) fn new_index(&self) -> PathBuf {
        self.dir.join("index.new")
    }

    /// How many openings came to no end.
    pub(crate) fn opening(&self) -> PathBuf {
        self.dir.join("index.opening")
    }

    /// What is read of the index to open it.
    pub(crate) fn roots(&self) -> PathBuf {
        self.dir.join("index.roots")
    }

    pub(crate) fn new_roots(&self) -> PathBuf {
        self.dir.join("index.roots.new")
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub(crate) fn segment(&self, generation: u64) -> PathBuf {
        self.log_dir().join(format!("{generation:016x}.seg"))
    }

    /// Name of a freed segment that waits to be used again.
    pub(crate) fn spare(&self, generation: u64) -> PathBuf {
        self.log_dir().join(format!("{generation:016x}.spare"))
    }

    /// Generations of the segment files, ascending, and the paths of spare ones.
    pub(crate) fn list_log(&self) -> io::Result<(Vec<u64>, Vec<PathBuf>)> {
        let (mut generations, mut spares) = (Vec::new(), Vec::new());
        for name in self.disk.list(&self.log_dir())? {
            let text = name.to_string_lossy();
            if let Some(stem) = text.strip_suffix(".seg") {
                generations.extend(u64::from_str_radix(stem, 16));
            } else if text.ends_with(".spare") {
                spares.push(self.log_dir().join(&name));
            }
        }
        generations.sort_unstable();
        spares.sort_unstable();
        Ok((generations, spares))
    }

    pub(crate) fn blob_dir(&self, shard: u16) -> PathBuf {
        self.dir.join("blobs").join(format!("{shard:02x}"))
    }

    pub(crate) fn blob(&self, id: &BlobId, nonce: u64) -> PathBuf {
        self.blob_dir(shard_of(id)).join(format!("{id}-{nonce:016x}"))
    }

    pub(crate) fn cache_dir(&self, shard: u16) -> PathBuf {
        self.dir.join("cache").join(format!("{shard:02x}"))
    }

    pub(crate) fn cached(&self, id: &BlobId) -> PathBuf {
        self.cache_dir(shard_of(id)).join(id.to_string())
    }

    pub(crate) fn cached_manifest(&self, id: &BlobId) -> PathBuf {
        self.cache_dir(shard_of(id)).join(format!("{id}.m"))
    }

    /// An open segment for reading.
    pub(crate) fn open_segment(&self, generation: u64) -> Result<Arc<dyn DiskFile>, Error> {
        if let Some(file) = lock(&self.segments).get(&generation) {
            return Ok(Arc::clone(file));
        }
        let file = self
            .disk
            .open(&self.segment(generation), OpenMode::Read)
            .map_err(|e| Error::io("opening a segment", e))?;
        lock(&self.segments).insert(generation, Arc::clone(&file));
        Ok(file)
    }

    /// The writer opened this one.
    pub(crate) fn note_segment(&self, generation: u64, file: Arc<dyn DiskFile>) {
        lock(&self.segments).insert(generation, file);
    }

    /// A segment that is freed.
    pub(crate) fn forget_segment(&self, generation: u64) {
        lock(&self.segments).remove(&generation);
    }
}

/// Removes a file; one that is not there is removed already.
pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads `len` bytes at `position`.
pub(crate) fn read(file: &dyn DiskFile, position: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![0; len];
    file.read_exact_at(position, &mut out)?;
    Ok(out)
}

/// Which directory a blob's file is in: spread by the fast-moving bits of its stamp.
pub(crate) fn shard_of(id: &BlobId) -> u16 {
    let hlc = id.0.hlc.0;
    u16::from((hlc ^ (hlc >> 16)).to_le_bytes()[0])
}

/// The blob and the nonce of a held blob's file name.
pub(crate) fn parse_blob_name(name: &Path) -> Option<(BlobId, u64)> {
    let (id, nonce) = name.to_str()?.split_once('-')?;
    let stamp: Stamp = id.parse().ok()?;
    Some((BlobId(stamp), u64::from_str_radix(nonce, 16).ok()?))
}
