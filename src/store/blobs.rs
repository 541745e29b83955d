//! Blobs: immutable runs of bytes in chunks of 1 MiB, whose BLAKE3 hashes make the manifest.

use std::sync::Arc;

use bytes::Bytes;

use crate::limits;
use crate::types::id::{BlobId, Hash};
use crate::types::object::BlobRef;

use super::error::Error;

/// The hashes of a blob's chunks, in order. Its root is BLAKE3 over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    len: u64,
    hashes: Vec<Hash>,
}

impl Manifest {
    /// `None` when the number of hashes does not fit the length.
    pub fn new(len: u64, hashes: Vec<Hash>) -> Option<Self> {
        (hashes.len() as u64 == len.div_ceil(limits::CHUNK_BYTES as u64))
            .then_some(Self { len, hashes })
    }
    /// Of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let hashes = bytes.chunks(limits::CHUNK_BYTES).map(Hash::of).collect();
        Self { len: bytes.len() as u64, hashes }
    }
    pub fn len(&self) -> u64 {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }
    /// Number of chunks.
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.hashes.len()).expect("a body has fewer than 2^32 chunks")
    }
    /// BLAKE3 of the hashes, one after the other.
    pub fn root(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for hash in &self.hashes {
            hasher.update(&hash.0);
        }
        Hash(*hasher.finalize().as_bytes())
    }
    /// Length of a chunk; all but the last are [`limits::CHUNK_BYTES`].
    pub fn chunk_len(&self, index: u32) -> Option<usize> {
        let start = u64::from(index) * limits::CHUNK_BYTES as u64;
        let len = self.len.checked_sub(start).filter(|n| *n > 0)?;
        usize::try_from(len.min(limits::CHUNK_BYTES as u64)).ok()
    }
    /// These bytes are chunk `index`.
    pub fn verifies(&self, index: u32, bytes: &[u8]) -> bool {
        self.chunk_len(index) == Some(bytes.len())
            && usize::try_from(index).is_ok_and(|i| self.hashes[i] == Hash::of(bytes))
    }
}

/// Takes the bytes of one new blob. Dropped before `finish`, it leaves nothing.
pub struct BlobWriter {
    _id: BlobId,
}

/// A whole blob that no record names yet. Dropped without [`super::Tx::attach`], it leaves nothing.
pub struct SealedBlob {
    blob: BlobRef,
    manifest: Arc<Manifest>,
    body: Option<Bytes>,
}

fn later() -> ! {
    std::process::abort()
}

#[expect(clippy::unused_async, reason = "the skeleton has no bodies yet")]
impl BlobWriter {
    pub(crate) fn new(id: BlobId) -> Self {
        Self { _id: id }
    }
    pub async fn write(&mut self, _bytes: Bytes) -> Result<(), Error> {
        later()
    }
    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        later()
    }
    pub fn is_empty(&self) -> bool {
        later()
    }
    /// Makes the bytes durable where they do not ride into the log with their change.
    pub async fn finish(self) -> Result<SealedBlob, Error> {
        later()
    }
}

impl SealedBlob {
    pub fn blob(&self) -> BlobRef {
        self.blob
    }
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }
    /// The bytes, when they are small enough to be still in memory
    /// ([`limits::SEGMENT_BLOB_BYTES_MAX`]).
    pub fn bytes(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }
}
