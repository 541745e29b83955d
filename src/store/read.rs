//! Reading chunks: memory, held bytes, cached copy, in this order.
//!
//! Invariant: bytes are given only after their hash was checked against a manifest with the root
//! that the record names. A held chunk that fails is recorded as damage, once it is sure that the
//! bytes were not moved or freed meanwhile.

use std::sync::Arc;

use bytes::Bytes;

use crate::env::{Elapsed, OpenMode};
use crate::limits;
use crate::types::id::BlobId;
use crate::types::object::BlobRef;

use super::blobs::{self, Manifest};
use super::error::Error;
use super::files;
use super::schema::{self, BlobEntry, Place, Space};
use super::shared::{Counters, Shared};
use super::trouble::Watch;
use super::{Store, Tier};

/// Tries while compaction moves the bytes away under a reader.
const TRIES_MAX: usize = 4;

/// What a read of a held chunk came to.
enum Read {
    Bytes(Bytes),
    Bad(Error),
}

impl Store {
    /// A verified chunk of a held or cached blob; `None` when it is not here.
    /// [`Error::Corrupt`] when the held copy is damaged, which is recorded.
    pub async fn chunk(&self, blob: &BlobRef, index: u32) -> Result<Option<(Bytes, Tier)>, Error> {
        if blobs::chunk_len(blob.len, index).is_none() {
            return Ok(None);
        }
        if let Some(bytes) = self.shared.memory.get(&(blob.id, index)) {
            return Ok(Some((bytes, Tier::Memory)));
        }
        let held = self.held_chunk(blob, index).await;
        if let Ok(Some(bytes)) = held {
            self.shared.memory.insert((blob.id, index), bytes.clone());
            return Ok(Some((bytes, Tier::Disk)));
        }
        if let Some(bytes) = self.shared.cache.chunk(&self.shared.env, blob, index).await {
            self.shared.memory.insert((blob.id, index), bytes.clone());
            return Ok(Some((bytes, Tier::Cache)));
        }
        held.map(|_| None)
    }

    /// Of a held or cached blob.
    pub fn manifest(&self, blob: &BlobRef) -> Result<Option<Arc<Manifest>>, Error> {
        let held = self.shared.entry(&blob.id)?.filter(|entry| entry.root == blob.root);
        match held {
            Some(entry) => self.shared.manifest(blob, &entry).map(|m| Some(Arc::new(m))),
            None => Ok(self.shared.cache.manifest(blob)),
        }
    }

    /// Whether this region holds the blob, undamaged.
    pub fn holds(&self, blob: &BlobId) -> Result<bool, Error> {
        self.read()?.holds(blob)
    }

    /// Drops the cached copy of a blob, from disk and memory, and gives what it took; `None` where
    /// there is none. What is held stays.
    pub async fn uncache(&self, blob: &BlobRef) -> Result<Option<u64>, Error> {
        if self.holds(&blob.id)? {
            return Ok(None);
        }
        let on_disk = self.shared.cache.drop_copy(&self.shared.env, &blob.id).await;
        let mut in_memory = None;
        let mut index = 0;
        while blobs::chunk_len(blob.len, index).is_some() {
            if let Some(bytes) = self.shared.memory.remove(&(blob.id, index)) {
                in_memory = Some(in_memory.unwrap_or(0) + bytes.len() as u64);
            }
            index += 1;
        }
        Ok(on_disk.or(in_memory))
    }

    /// Re-hashes a held blob from disk; false, and recorded as damage, when it fails; false also
    /// when it is not held.
    pub async fn verify(&self, blob: &BlobRef) -> Result<bool, Error> {
        let mut index = 0;
        while blobs::chunk_len(blob.len, index).is_some() {
            match self.held_chunk(blob, index).await {
                Ok(Some(_)) => index += 1,
                Ok(None) | Err(Error::Corrupt(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.holds(&blob.id)
    }

    /// A verified chunk of a held blob, from the disk.
    pub(crate) async fn held_chunk(
        &self,
        blob: &BlobRef,
        index: u32,
    ) -> Result<Option<Bytes>, Error> {
        let mut last = None;
        for _ in 0..TRIES_MAX {
            let entry = self.shared.entry(&blob.id)?.filter(|entry| entry.root == blob.root);
            let Some(entry) = entry else {
                return Ok(None);
            };
            let shared = Arc::clone(&self.shared);
            let (blob, seen) = (*blob, entry.clone());
            let watch = Arc::new(Watch::over(&self.shared, "reading a body"));
            let under_way = Arc::clone(&watch);
            let read = self.shared.env.blocking(move || {
                let read = shared.read_chunk(&blob, &seen, index);
                drop(under_way);
                read
            });
            let read = self.shared.env.timeout(limits::READ_PATIENCE, read).await;
            drop(watch);
            let error = match read {
                Ok(Read::Bytes(bytes)) => return Ok(Some(bytes)),
                Ok(Read::Bad(error)) => error,
                Err(Elapsed) => return Err(Error::Stalled),
            };
            // Still at the same place: it was not a reader's race with compaction or deletion.
            if last.replace(entry.place) == Some(entry.place) {
                return self.damaged(&blob, error).await.map(|()| None);
            }
        }
        Err(Error::corrupt(format!("blob {} moved too often", blob.id)))
    }

    /// Records a damaged blob, so that it no longer counts as held.
    async fn damaged(&self, blob: &BlobRef, error: Error) -> Result<(), Error> {
        let error = match error {
            Error::Io { doing, source } if is_lost(&source) => {
                Error::corrupt(format!("blob {}: {doing}: {source}", blob.id))
            }
            Error::Corrupt(_) => error,
            other => return Err(other),
        };
        Counters::add(&self.shared.counters.corrupt_reads, 1);
        tracing::error!(blob = %blob.id, %error, "a held blob is damaged");
        let key = schema::blob_key(&blob.id);
        let noted: Result<(), Error> = self
            .write(move |tx| {
                let held = tx.layer.contains(Space::Blobs, &key)?;
                if held && !tx.layer.contains(Space::Damaged, &key)? {
                    tx.layer.change(Space::Damaged, &key, Some(Vec::new()))?;
                }
                Ok(())
            })
            .await;
        if let Err(error) = noted {
            tracing::warn!(%error, "the damage could not be recorded");
        }
        Err(error)
    }
}

impl Shared {
    pub(crate) fn entry(&self, id: &BlobId) -> Result<Option<BlobEntry>, Error> {
        let view = self.index.view()?;
        view.get(Space::Blobs, &schema::blob_key(id), BlobEntry::decode)?.transpose()
    }

    /// The manifest of a held blob, checked against the record's root.
    fn manifest(&self, blob: &BlobRef, entry: &BlobEntry) -> Result<Manifest, Error> {
        let bad = || Error::corrupt(format!("the manifest of blob {}", blob.id));
        let hashes = if entry.hashes.is_empty() {
            let view = self.index.view()?;
            let key = schema::blob_key(&blob.id);
            let stored = view.get(Space::Manifests, &key, schema::decode_hashes)?;
            stored.flatten().unwrap_or_default()
        } else {
            entry.hashes.clone()
        };
        let manifest = Manifest::new(entry.len, hashes).ok_or_else(bad)?;
        if manifest.belongs_to(blob) { Ok(manifest) } else { Err(bad()) }
    }

    fn read_chunk(&self, blob: &BlobRef, entry: &BlobEntry, index: u32) -> Read {
        let read = || -> Result<Bytes, Error> {
            let manifest = self.manifest(blob, entry)?;
            let bad = || Error::corrupt(format!("chunk {index} of blob {}", blob.id));
            let len = manifest.chunk_len(index).ok_or_else(bad)?;
            let start = blobs::chunk_start(index);
            let (file, at) = match entry.place {
                Place::File { nonce } => {
                    let path = self.files.blob(&blob.id, nonce);
                    let file = self.files.disk.open(&path, OpenMode::Read);
                    (file.map_err(|e| gone_is_bad("opening a blob", e, bad))?, start)
                }
                Place::Segment { segment, position } => {
                    (self.files.open_segment(segment)?, position + start)
                }
            };
            let bytes = files::read(file.as_ref(), at, len)
                .map_err(|e| gone_is_bad("reading a blob", e, bad))?;
            if manifest.verifies(index, &bytes) { Ok(bytes.into()) } else { Err(bad()) }
        };
        match read() {
            Ok(bytes) => Read::Bytes(bytes),
            Err(error) => Read::Bad(error),
        }
    }
}

/// The disk cannot give these bytes, twice in a row: as if they were not there. What is a lack of
/// something else is none of the disk's.
fn is_lost(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    let passing = [
        ErrorKind::Interrupted,
        ErrorKind::OutOfMemory,
        ErrorKind::PermissionDenied,
        ErrorKind::TimedOut,
        ErrorKind::WouldBlock,
    ];
    !passing.contains(&error.kind()) && !matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

/// Too many open files, of the process and of the machine. Source: errno(3).
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// A held file that is missing or too short is damage, not a passing failure.
fn gone_is_bad(doing: &'static str, error: std::io::Error, bad: impl Fn() -> Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof => bad(),
        _ => Error::io(doing, error),
    }
}
