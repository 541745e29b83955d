//! Blobs: immutable runs of bytes in chunks of 1 MiB, whose BLAKE3 hashes make the manifest.
//!
//! Invariant: no byte leaves here unless its chunk has the hash that the manifest says, and the
//! manifest has the root that the record says. A new blob becomes visible only by the change that
//! attaches it; until then dropping it leaves nothing.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use crate::env::{DiskFile, OpenMode};
use crate::limits;
use crate::types::id::{BlobId, Hash};
use crate::types::object::BlobRef;

use super::error::Error;
use super::shared::Shared;
use super::trouble::Watch;
use super::{files, lock};

/// Bytes of a large blob that may wait in the page cache before they are synced.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;

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
        chunk_len(self.len, index)
    }

    /// These bytes are chunk `index`.
    pub fn verifies(&self, index: u32, bytes: &[u8]) -> bool {
        self.chunk_len(index) == Some(bytes.len())
            && usize::try_from(index).is_ok_and(|i| self.hashes[i] == Hash::of(bytes))
    }

    /// This is the manifest of that blob.
    pub fn belongs_to(&self, blob: &BlobRef) -> bool {
        self.len == blob.len && self.root() == blob.root
    }
}

/// Length of a chunk of a blob; `None` beyond its end.
pub(crate) fn chunk_len(blob_len: u64, index: u32) -> Option<usize> {
    let start = chunk_start(index);
    let len = blob_len.checked_sub(start).filter(|n| *n > 0)?;
    usize::try_from(len.min(limits::CHUNK_BYTES as u64)).ok()
}

/// Where a chunk begins in its blob.
pub(crate) fn chunk_start(index: u32) -> u64 {
    u64::from(index) * limits::CHUNK_BYTES as u64
}

/// A blob file that no change names yet; dropped so, it is removed.
pub(crate) struct LooseFile {
    shared: Arc<Shared>,
    id: BlobId,
    nonce: u64,
    kept: bool,
}

impl LooseFile {
    /// A new name; the sweep leaves it alone from now on.
    pub(crate) fn new(shared: &Arc<Shared>, id: BlobId) -> Self {
        let nonce = shared.env.random_u64();
        lock(&shared.in_flight).insert((id, nonce));
        Self { shared: Arc::clone(shared), id, nonce, kept: false }
    }

    pub(crate) fn nonce(&self) -> u64 {
        self.nonce
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.shared.files.blob(&self.id, self.nonce)
    }

    /// Makes the file's name durable.
    pub(crate) fn sync_dir(&self) -> Result<(), Error> {
        let dir = self.shared.files.blob_dir(files::shard_of(&self.id));
        let synced = self.shared.files.disk.sync_dir(&dir);
        self.shared.synced("syncing a directory of blobs", synced)
    }
}

impl Drop for LooseFile {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        let (id, nonce) = (self.id, self.nonce);
        if self.kept {
            lock(&shared.in_flight).remove(&(id, nonce));
            return;
        }
        let tasks = Arc::clone(&shared.env.tasks);
        tasks.spawn_blocking(Box::new(move || {
            let path = shared.files.blob(&id, nonce);
            if let Err(error) = files::remove(shared.files.disk.as_ref(), &path) {
                tracing::debug!(%error, "an unused blob file stays until the next sweep");
            }
            lock(&shared.in_flight).remove(&(id, nonce));
        }));
    }
}

/// The bytes of a sealed blob.
pub(crate) enum Body {
    File(LooseFile),
    Memory(Bytes),
}

/// A whole blob that no record names yet. Dropped without [`super::Tx::attach`], it leaves nothing.
pub struct SealedBlob {
    blob: BlobRef,
    manifest: Arc<Manifest>,
    body: Body,
}

impl SealedBlob {
    /// Of bytes in memory, at most [`limits::SEGMENT_BLOB_BYTES_MAX`].
    pub(crate) fn small(id: BlobId, bytes: Bytes) -> Self {
        assert!(bytes.len() <= limits::SEGMENT_BLOB_BYTES_MAX, "larger blobs are files");
        Self::new(id, Arc::new(Manifest::of(&bytes)), Body::Memory(bytes))
    }

    pub(crate) fn new(id: BlobId, manifest: Arc<Manifest>, body: Body) -> Self {
        let blob = BlobRef { id, len: manifest.len(), root: manifest.root() };
        Self { blob, manifest, body }
    }

    pub fn blob(&self) -> BlobRef {
        self.blob
    }

    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The bytes, when they are small enough to be still in memory
    /// ([`limits::SEGMENT_BLOB_BYTES_MAX`]).
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Memory(bytes) => Some(bytes),
            Body::File(_) => None,
        }
    }

    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    /// A change names it now.
    pub(crate) fn keep(mut self) {
        if let Body::File(file) = &mut self.body {
            file.kept = true;
        }
    }
}

/// Takes the bytes of one new blob. Dropped before `finish`, it leaves nothing.
///
/// Bytes are gathered into chunks; a chunk is hashed and written while the next one is gathered.
pub struct BlobWriter {
    shared: Arc<Shared>,
    id: BlobId,
    len: u64,
    gathered: Vec<Bytes>,
    gathered_len: usize,
    large: Option<Large>,
}

/// The state of a blob that became a file.
struct Large {
    loose: LooseFile,
    /// What the writes share: the next one goes on where the last one ended.
    sink: Arc<Mutex<Sink>>,
    under_way: Option<oneshot::Receiver<Result<(), Error>>>,
}

struct Sink {
    shared: Arc<Shared>,
    file: Arc<dyn DiskFile>,
    hashes: Vec<Hash>,
    written: u64,
    unsynced: u64,
}

impl Sink {
    fn write(&mut self, parts: &[Bytes]) -> Result<(), Error> {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        self.hashes.push(Hash(*hasher.finalize().as_bytes()));
        let slices: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        self.file
            .write_all_at(self.written, &slices)
            .map_err(|e| Error::io("writing a blob", e))?;
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        self.shared.room.note(len);
        self.written += len;
        self.unsynced += len;
        if self.unsynced >= UNSYNCED_BYTES_MAX { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.unsynced = 0;
        self.shared.synced("syncing a blob", self.file.sync())
    }
}

impl BlobWriter {
    pub(crate) fn new(shared: Arc<Shared>, id: BlobId) -> Self {
        Self { shared, id, len: 0, gathered: Vec::new(), gathered_len: 0, large: None }
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the next bytes. [`Error::DiskFull`] where new bodies are refused.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.shared.check_room()?;
        self.shared.check_answers()?;
        self.len += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = limits::CHUNK_BYTES - self.gathered_len;
            let now = rest.split_to(rest.len().min(room));
            self.gathered_len += now.len();
            self.gathered.push(now);
            if self.gathered_len == limits::CHUNK_BYTES {
                self.start_chunk().await?;
            }
        }
        Ok(())
    }

    /// Makes the bytes durable where they do not ride into the log with their change.
    pub async fn finish(mut self) -> Result<SealedBlob, Error> {
        self.shared.check_room()?;
        if self.large.is_none() && self.gathered_len <= limits::SEGMENT_BLOB_BYTES_MAX {
            return Ok(SealedBlob::small(self.id, join(std::mem::take(&mut self.gathered))));
        }
        if self.gathered_len > 0 {
            self.start_chunk().await?;
        }
        let mut large = self.large.take().expect("a chunk was written");
        large.settle().await?;
        let (loose, hashes) = large.sync().await?;
        let manifest = Manifest::new(self.len, hashes).expect("every chunk but the last is whole");
        Ok(SealedBlob::new(self.id, Arc::new(manifest), Body::File(loose)))
    }

    /// Waits for the chunk before, then starts writing the gathered one.
    async fn start_chunk(&mut self) -> Result<(), Error> {
        if let Some(large) = &mut self.large {
            large.settle().await?;
        } else {
            self.large = Some(Large::create(&self.shared, self.id).await?);
        }
        let large = self.large.as_mut().expect("made above");
        let parts = std::mem::take(&mut self.gathered);
        self.gathered_len = 0;
        let sink = Arc::clone(&large.sink);
        let (done, under_way) = oneshot::channel();
        self.shared.env.tasks.spawn_blocking(Box::new(move || {
            let _ = done.send(lock(&sink).write(&parts));
        }));
        large.under_way = Some(under_way);
        Ok(())
    }
}

impl Large {
    async fn create(shared: &Arc<Shared>, id: BlobId) -> Result<Self, Error> {
        let loose = LooseFile::new(shared, id);
        let path = loose.path();
        let disk = Arc::clone(&shared.files.disk);
        let opened = shared.env.blocking(move || disk.open(&path, OpenMode::CreateNew)).await;
        let file = opened.map_err(|e| Error::io("making a blob file", e))?;
        let shared = Arc::clone(shared);
        let sink = Sink { shared, file, hashes: Vec::new(), written: 0, unsynced: 0 };
        Ok(Self { loose, sink: Arc::new(Mutex::new(sink)), under_way: None })
    }

    /// Waits for the write under way, and for the time that it cost.
    async fn settle(&mut self) -> Result<(), Error> {
        let Some(under_way) = self.under_way.take() else {
            return Ok(());
        };
        let env = &self.loose.shared.env;
        let settled = async {
            under_way.await.unwrap_or(Err(Error::Closed))?;
            let debt = env.disk.take_debt();
            if !debt.is_zero() {
                env.sleep(debt).await;
            }
            Ok(())
        };
        env.timeout(limits::BODY_SYNC_PATIENCE, settled).await.unwrap_or(Err(Error::Stalled))
    }

    /// Makes file and name durable; answers the hashes of the chunks. Given up when the disk does
    /// not answer, and removed when it does.
    async fn sync(self) -> Result<(LooseFile, Vec<Hash>), Error> {
        let Self { loose, sink, .. } = self;
        let shared = Arc::clone(&loose.shared);
        let synced = async {
            let turns = Arc::clone(&shared.body_syncs);
            let turn = turns.acquire_owned().await.map_err(|_| Error::Closed)?;
            let watch = Watch::over(&shared, "syncing a body");
            let result = shared.env.blocking(move || {
                let _until_it_came_back = (turn, watch);
                lock(&sink).sync()?;
                loose.sync_dir()?;
                let hashes = std::mem::take(&mut lock(&sink).hashes);
                Ok((loose, hashes))
            });
            result.await
        };
        let patience = limits::BODY_SYNC_PATIENCE;
        shared.env.timeout(patience, synced).await.unwrap_or(Err(Error::Stalled))
    }
}

/// One run of bytes; copies only where there are several pieces.
fn join(mut parts: Vec<Bytes>) -> Bytes {
    match parts.len() {
        0 => Bytes::new(),
        1 => parts.remove(0),
        _ => {
            let mut out = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.iter().for_each(|part| out.extend_from_slice(part));
            out.freeze()
        }
    }
}
