//! The disk cache of remote blobs: evictable copies within a budget of bytes.
//!
//! Each cached blob is a file of its own under `cache/`, chunk `i` at its place, instead of frames
//! in cache segments: eviction gives space back at once, and promotion to held is a rename. A blob
//! of several chunks has a second file with its manifest and then one entry for each chunk as it
//! comes. Nothing here is ever synced, so what a crash leaves may be torn.
//!
//! Invariant: every read is verified by chunk hash, and a copy that fails is thrown away; so a torn
//! or stale file costs a fetch, never a wrong byte. It never touches a holder's bytes.
//!
//! Eviction goes round the copies as a clock does, and passes over a copy as often as it was read
//! since (three times at most), so that one scan does not push out what is read often.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::env::{Env, OpenMode};
use crate::limits;
use crate::types::id::{BlobId, Hash};
use crate::types::object::BlobRef;

use super::blobs::{self, Manifest};
use super::files::{self, Files};
use super::schema;
use super::{CachedShare, lock};

/// How often eviction passes over a copy that is read.
const REPRIEVES_MAX: u8 = 3;

/// What a file costs beyond its bytes: file systems give out whole blocks.
const FILE_BYTES: u64 = 4096;

/// The head of a manifest file: length of the blob and number of chunks.
const HEAD_BYTES: usize = 12;

/// One cached copy.
struct Copy {
    manifest: Arc<Manifest>,
    chunks: BTreeSet<u32>,
    bytes: u64,
    reprieves: u8,
}

#[derive(Default)]
struct State {
    copies: BTreeMap<BlobId, Copy>,
    /// Every copy once, the next to be judged first.
    clock: VecDeque<BlobId>,
    bytes: u64,
}

/// The cached copies and their index in memory.
pub(crate) struct DiskCache {
    files: Arc<Files>,
    budget: u64,
    state: Arc<Mutex<State>>,
}

impl DiskCache {
    pub(crate) fn new(files: Arc<Files>, budget: u64) -> Self {
        Self { files, budget, state: Arc::default() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        lock(&self.state).bytes
    }

    pub(crate) fn share(&self, blob: &BlobRef) -> CachedShare {
        let state = lock(&self.state);
        let Some(copy) = state.copies.get(&blob.id).filter(|c| c.manifest.belongs_to(blob)) else {
            return CachedShare::default();
        };
        let chunks = u32::try_from(copy.chunks.len()).unwrap_or(u32::MAX);
        CachedShare { whole: chunks == copy.manifest.chunks(), chunks }
    }

    pub(crate) fn manifest(&self, blob: &BlobRef) -> Option<Arc<Manifest>> {
        let state = lock(&self.state);
        let copy = state.copies.get(&blob.id).filter(|c| c.manifest.belongs_to(blob))?;
        Some(Arc::clone(&copy.manifest))
    }

    /// A verified chunk. One that fails its hash takes its whole copy with it.
    pub(crate) async fn chunk(&self, env: &Env, blob: &BlobRef, index: u32) -> Option<Bytes> {
        let manifest = {
            let mut state = lock(&self.state);
            let copy = state.copies.get_mut(&blob.id)?;
            if !copy.chunks.contains(&index) || !copy.manifest.belongs_to(blob) {
                return None;
            }
            copy.reprieves = REPRIEVES_MAX.min(copy.reprieves + 1);
            Arc::clone(&copy.manifest)
        };
        let (files, id) = (Arc::clone(&self.files), blob.id);
        let read = env.blocking(move || read_chunk(&files, &id, &manifest, index)).await;
        if read.is_none() {
            self.forget(env, &blob.id).await;
        }
        read
    }

    /// Checks all chunks of the next copy after `after`, with its length; a damaged one is thrown
    /// away.
    pub(crate) async fn check(
        &self,
        env: &Env,
        after: Option<BlobId>,
    ) -> Option<(BlobId, u64, bool)> {
        let (id, manifest, chunks, bytes) = {
            let state = lock(&self.state);
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let (id, copy) = state.copies.range((from, Bound::Unbounded)).next()?;
            (*id, Arc::clone(&copy.manifest), copy.chunks.clone(), copy.bytes)
        };
        let files = Arc::clone(&self.files);
        let check =
            move || chunks.iter().all(|index| read_chunk(&files, &id, &manifest, *index).is_some());
        let whole = env.blocking(check).await;
        if !whole {
            self.forget(env, &id).await;
        }
        Some((id, bytes, whole))
    }

    /// Keeps a chunk, and evicts where the budget asks for it.
    pub(crate) async fn put(
        &self,
        env: &Env,
        blob: &BlobRef,
        manifest: &Arc<Manifest>,
        index: u32,
        bytes: Bytes,
    ) {
        let len = bytes.len() as u64;
        if len.saturating_add(FILE_BYTES) > self.budget || self.has(&blob.id, index) {
            return;
        }
        let (files, id, chunks) = (Arc::clone(&self.files), blob.id, Arc::clone(manifest));
        let new = !lock(&self.state).copies.contains_key(&blob.id);
        let written =
            env.blocking(move || write_chunk(&files, &id, &chunks, index, &bytes, new)).await;
        if let Err(error) = written {
            tracing::debug!(%error, "a chunk could not be cached");
            self.forget(env, &blob.id).await;
            return;
        }
        lock(&self.state).note(blob.id, manifest, index, len);
        self.evict(env).await;
    }

    fn has(&self, id: &BlobId, index: u32) -> bool {
        lock(&self.state).copies.get(id).is_some_and(|copy| copy.chunks.contains(&index))
    }

    /// Evicts until the budget holds.
    async fn evict(&self, env: &Env) {
        self.evict_down_to(env, self.budget).await;
    }

    /// Gives so many bytes back, or all that there are: the disk is full.
    pub(crate) async fn make_room(&self, env: &Env, bytes: u64) {
        self.evict_down_to(env, self.bytes().saturating_sub(bytes)).await;
    }

    async fn evict_down_to(&self, env: &Env, budget: u64) {
        let mut evicted = Vec::new();
        {
            let mut state = lock(&self.state);
            while state.bytes > budget {
                let Some(id) = state.judge() else { break };
                evicted.push(id);
            }
        }
        self.remove_files(env, evicted).await;
    }

    /// Throws a copy away.
    pub(crate) async fn forget(&self, env: &Env, id: &BlobId) {
        lock(&self.state).remove(id);
        self.remove_files(env, vec![*id]).await;
    }

    /// Throws a copy away on request; what it took.
    pub(crate) async fn drop_copy(&self, env: &Env, id: &BlobId) -> Option<u64> {
        let bytes = lock(&self.state).copies.get(id).map(|copy| copy.bytes)?;
        self.forget(env, id).await;
        Some(bytes)
    }

    /// The copy's file was renamed to a held one: only what is left of it goes.
    pub(crate) fn moved_away(&self, id: &BlobId) {
        lock(&self.state).remove(id);
    }

    async fn remove_files(&self, env: &Env, ids: Vec<BlobId>) {
        if ids.is_empty() {
            return;
        }
        let files = Arc::clone(&self.files);
        env.blocking(move || {
            for id in ids {
                for path in [files.cached(&id), files.cached_manifest(&id)] {
                    if let Err(error) = files::remove(files.disk.as_ref(), &path) {
                        tracing::debug!(%error, "an evicted file stays until the next start");
                    }
                }
            }
        })
        .await;
    }

    /// Takes in the copies that an earlier run left in one directory; removes what is no copy.
    /// Their chunks are verified when they are read.
    pub(crate) fn rescan(&self, shard: u16) -> io::Result<()> {
        let dir = self.files.cache_dir(shard);
        for name in self.files.disk.list(&dir)? {
            let text = name.to_string_lossy();
            let Ok(stamp) = text.trim_end_matches(".m").parse() else {
                continue;
            };
            let id = BlobId(stamp);
            let known = lock(&self.state).copies.contains_key(&id);
            if known || text.ends_with(".m") {
                continue;
            }
            match self.found(&id, &dir.join(&name))? {
                Some((manifest, chunks)) => {
                    let mut state = lock(&self.state);
                    for index in chunks {
                        let len = manifest.chunk_len(index).unwrap_or(0) as u64;
                        state.note(id, &manifest, index, len);
                    }
                }
                None => {
                    files::remove(self.files.disk.as_ref(), &dir.join(&name))?;
                    files::remove(self.files.disk.as_ref(), &self.files.cached_manifest(&id))?;
                }
            }
        }
        Ok(())
    }

    fn found(
        &self,
        id: &BlobId,
        path: &Path,
    ) -> io::Result<Option<(Arc<Manifest>, BTreeSet<u32>)>> {
        if let Some((manifest, chunks)) = self.read_manifest(id)? {
            return Ok(Some((Arc::new(manifest), chunks)));
        }
        let file = self.files.disk.open(path, OpenMode::Read)?;
        let size = file.size()?;
        if size == 0 || size > limits::CHUNK_BYTES as u64 {
            return Ok(None);
        }
        let len = usize::try_from(size).expect("at most one chunk");
        let manifest = Manifest::of(&files::read(file.as_ref(), 0, len)?);
        Ok(Some((Arc::new(manifest), BTreeSet::from([0]))))
    }

    fn read_manifest(&self, id: &BlobId) -> io::Result<Option<(Manifest, BTreeSet<u32>)>> {
        let file = match self.files.disk.open(&self.files.cached_manifest(id), OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = usize::try_from(file.size()?).unwrap_or(0);
        Ok(parse_manifest(&files::read(file.as_ref(), 0, size)?))
    }
}

impl State {
    fn note(&mut self, id: BlobId, manifest: &Arc<Manifest>, index: u32, len: u64) {
        let copy = self.copies.entry(id).or_insert_with(|| {
            self.clock.push_back(id);
            self.bytes += FILE_BYTES;
            let manifest = Arc::clone(manifest);
            Copy { manifest, chunks: BTreeSet::new(), bytes: FILE_BYTES, reprieves: 0 }
        });
        if copy.chunks.insert(index) {
            copy.bytes += len;
            self.bytes += len;
        }
    }

    fn remove(&mut self, id: &BlobId) {
        if let Some(copy) = self.copies.remove(id) {
            self.bytes -= copy.bytes;
            self.clock.retain(|other| other != id);
        }
    }

    /// Moves the clock's hand until a copy goes.
    fn judge(&mut self) -> Option<BlobId> {
        loop {
            let id = self.clock.pop_front()?;
            let copy = self.copies.get_mut(&id).expect("the clock names copies");
            if copy.reprieves == 0 {
                self.bytes -= copy.bytes;
                self.copies.remove(&id);
                return Some(id);
            }
            copy.reprieves -= 1;
            self.clock.push_back(id);
        }
    }
}

fn read_chunk(files: &Files, id: &BlobId, manifest: &Manifest, index: u32) -> Option<Bytes> {
    let file = files.disk.open(&files.cached(id), OpenMode::Read).ok()?;
    let len = manifest.chunk_len(index)?;
    let bytes = files::read(file.as_ref(), blobs::chunk_start(index), len).ok()?;
    manifest.verifies(index, &bytes).then(|| bytes.into())
}

fn write_chunk(
    files: &Files,
    id: &BlobId,
    manifest: &Manifest,
    index: u32,
    bytes: &[u8],
    new: bool,
) -> io::Result<()> {
    let file = files.disk.open(&files.cached(id), OpenMode::ReadWrite)?;
    file.write_all_at(blobs::chunk_start(index), &[bytes])?;
    if manifest.chunks() == 1 {
        return Ok(());
    }
    let notes = files.disk.open(&files.cached_manifest(id), OpenMode::ReadWrite)?;
    if new {
        let mut head = manifest.len().to_be_bytes().to_vec();
        head.extend_from_slice(&manifest.chunks().to_be_bytes());
        notes.write_all_at(0, &[&head, &schema::encode_hashes(manifest.hashes())])?;
    }
    let at = HEAD_BYTES as u64 + u64::from(manifest.chunks()) * 32 + u64::from(index);
    notes.write_all_at(at, &[&[1]])
}

/// The manifest and the chunks that were written; the notes may end early, or be torn.
fn parse_manifest(bytes: &[u8]) -> Option<(Manifest, BTreeSet<u32>)> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let len = schema::number(&head[..8]).ok()?;
    let count = usize::try_from(u32::from_be_bytes(head[8..].try_into().ok()?)).ok()?;
    let (hashes, notes) = rest.split_at_checked(count.checked_mul(32)?)?;
    let hashes: Vec<Hash> = schema::decode_hashes(hashes)?;
    let present = (0_u32..).zip(notes).filter(|(_, note)| **note == 1).map(|(index, _)| index);
    let manifest = Manifest::new(len, hashes)?;
    let present = present.filter(|index| manifest.chunk_len(*index).is_some()).collect();
    Some((manifest, present))
}
