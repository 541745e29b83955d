//! Bytes that this disk has and of which no entry says any more where they are: found again by the
//! names of files and in the frames of the log, compared with the records that name them, and held
//! again where they lie.
//!
//! Invariant: bytes are held again only when they have the hash that a record says, or, before any
//! record names them, are whole in a frame of the log or have the hash that the decayed entry said.
//! What was held and is nowhere on this disk is noted as damaged: it is fetched from another region,
//! and told by name until then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::env::{DiskFile, OpenMode};
use crate::limits;
use crate::types::id::{BlobId, Hash};
use crate::types::object::{BlobRef, Content, HoldState, PartRef, Placement};
use crate::types::record::Record;
use crate::types::region::RegionId;

use super::again::EntriesMended;
use super::blobs::{self, Manifest, SealedBlob};
use super::checkpoint;
use super::codec::{self, BodyAt, HEADER_BYTES, Kind};
use super::entries::Decayed;
use super::error::Error;
use super::files;
use super::index::View;
use super::schema::{self, BlobEntry, Place, SegmentInfo, Space};
use super::segment::{Found, Reader};
use super::shared::{Segments, Shared};
use super::tx::Tx;
use super::{Store, lock};

/// Blobs that one change attaches.
const BATCH: usize = 256;

/// Entries that decayed, of which is known what they may have been.
const LOST_MAX: usize = 100_000;

/// What entries that decayed say of themselves.
#[derive(Default)]
struct Lost {
    ids: BTreeSet<BlobId>,
    contents: BTreeSet<(u64, [u8; 32])>,
    places: Vec<(Option<BlobId>, BlobEntry)>,
    /// Those that are corrected.
    known: BTreeSet<BlobId>,
}

/// A blob of which no entry is whole; `None`: only a change that waits for its outcome names it.
type Wanted = Option<BlobRef>;

/// Whole bytes.
#[derive(Clone)]
struct Whole {
    blob: BlobRef,
    hashes: Vec<Hash>,
    place: Place,
}

/// What became of the bytes of entries that decayed.
pub(crate) struct FoundBytes {
    whole: Vec<Whole>,
    missing: Vec<BlobRef>,
    /// Files that the sweep leaves alone.
    in_flight: InFlight,
}

/// Names of files that are given back to the sweep at the end.
struct InFlight {
    shared: Arc<Shared>,
    names: BTreeSet<(BlobId, u64)>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut in_flight = lock(&self.shared.in_flight);
        for name in &self.names {
            in_flight.remove(name);
        }
    }
}

impl Store {
    /// Looks for the bytes of blobs whose entries decayed.
    pub(crate) async fn find_bytes(&self) -> Result<FoundBytes, Error> {
        let shared = Arc::clone(&self.shared);
        self.shared.env.blocking(move || find_bytes(&shared)).await
    }

    /// Holds again what was found, notes what was not, and counts anew what lives in each segment.
    pub(crate) async fn attach_found(
        &self,
        found: FoundBytes,
        mended: &mut EntriesMended,
    ) -> Result<(), Error> {
        let FoundBytes { whole, missing, in_flight } = found;
        for batch in whole.chunks(BATCH) {
            let (batch, shared) = (batch.to_vec(), Arc::clone(&self.shared));
            let attach = move |tx: &mut Tx<'_>| {
                let mut count = 0;
                for whole in batch {
                    count += u64::from(hold_again(tx, &shared, whole)?);
                }
                Ok::<_, Error>(count)
            };
            mended.of(Space::Blobs).made_again += self.write(attach).await?;
        }
        for batch in missing.chunks(BATCH) {
            let (batch, shared) = (batch.to_vec(), Arc::clone(&self.shared));
            let note = move |tx: &mut Tx<'_>| {
                let mut count = 0;
                for blob in batch {
                    count += u64::from(note_missing(tx, &shared, &blob)?);
                }
                Ok::<_, Error>(count)
            };
            mended.of(Space::Blobs).given_up += self.write(note).await?;
        }
        drop(in_flight);
        self.count_segments_again().await
    }

    /// Entries that decayed are still counted where their bytes were. What differs is taken with the
    /// entries that are counted, and is a difference later too.
    async fn count_segments_again(&self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let as_of = move |_: &mut Tx<'_>| {
            Ok::<_, Error>((shared.index.view()?, lock(&shared.segments).infos.clone()))
        };
        let (view, known) = self.write(as_of).await?;
        let shared = Arc::clone(&self.shared);
        let counted = self.shared.env.blocking(move || checkpoint::counted(&shared, &view)).await?;
        let shared = Arc::clone(&self.shared);
        let correct = move |_: &mut Tx<'_>| {
            let mut segments = lock(&shared.segments);
            for (segment, known) in known {
                let counted = counted.get(&segment).copied().unwrap_or_default();
                correct(&mut segments, segment, known, counted);
            }
            Ok::<_, Error>(())
        };
        self.write(correct).await
    }

    /// Makes the manifests of large blobs again of their bytes.
    pub(crate) async fn mend_manifests(&self, mended: &mut EntriesMended) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let without = self.shared.env.blocking(move || shared.without_manifest()).await?;
        for (blob, place) in without {
            let shared = Arc::clone(&self.shared);
            let read = self.shared.env.blocking(move || shared.whole_at(&blob, place)).await?;
            let Some(whole) = read else {
                // Reading notes it as damaged.
                mended.of(Space::Manifests).given_up += 1;
                continue;
            };
            let put = move |tx: &mut Tx<'_>| {
                let still = tx.layer.blob_entry(&blob.id)?.is_some_and(|e| e.place == place);
                if still {
                    tx.settle_manifest(&blob.id, &whole.hashes)?;
                }
                Ok::<_, Error>(still)
            };
            mended.of(Space::Manifests).made_again += u64::from(self.write(put).await?);
        }
        Ok(())
    }
}

/// Sets right by how much a segment was counted wrongly.
fn correct(segments: &mut Segments, segment: u64, known: SegmentInfo, counted: SegmentInfo) {
    let Some(info) = segments.infos.get_mut(&segment) else { return };
    let live = (info.live + counted.live).saturating_sub(known.live);
    let bodies = (info.bodies + counted.bodies).saturating_sub(known.bodies);
    if (live, bodies) != (info.live, info.bodies) {
        (info.live, info.bodies) = (live, bodies);
        segments.dirty.insert(segment);
    }
}

/// Attaches bytes where they lie, if they still do.
fn hold_again(tx: &mut Tx<'_>, shared: &Shared, whole: Whole) -> Result<bool, Error> {
    let Whole { blob, hashes, place } = whole;
    if matches!(tx.layer.blob_entry(&blob.id), Ok(Some(_))) {
        return Ok(false);
    }
    let there = match place {
        Place::File { nonce } => !lock(&shared.doomed).names(&shared.files.blob(&blob.id, nonce)),
        Place::Segment { segment, .. } => lock(&shared.segments).infos.contains_key(&segment),
    };
    if blob.len == 0 {
        tx.attach(SealedBlob::small(blob.id, bytes::Bytes::new()))?;
        return Ok(true);
    }
    if there {
        tx.settle_at(&blob, &hashes, place)?;
    }
    Ok(there)
}

/// A blob that was held, and of which nothing is here: damaged, with a file that is not there.
fn note_missing(tx: &mut Tx<'_>, shared: &Shared, blob: &BlobRef) -> Result<bool, Error> {
    if matches!(tx.layer.blob_entry(&blob.id), Ok(Some(_))) {
        return Ok(false);
    }
    tracing::error!(blob = %blob.id, bytes = blob.len, "a body is not on this disk any more");
    let place = Place::File { nonce: shared.env.random_u64() };
    tx.settle_at(blob, &[], place)?;
    tx.layer.change(Space::Damaged, &schema::blob_key(&blob.id), Some(Vec::new()))?;
    Ok(true)
}

fn find_bytes(shared: &Arc<Shared>) -> Result<FoundBytes, Error> {
    let lost = shared.lost()?;
    let mut in_flight = InFlight { shared: Arc::clone(shared), names: BTreeSet::new() };
    let mut whole = Vec::new();
    if lost.ids.is_empty() && lost.contents.is_empty() && !lost.known.is_empty() {
        return Ok(FoundBytes { whole, missing: Vec::new(), in_flight });
    }
    let mut wanted = shared.wanted(&lost)?;
    shared.find_where_said(&mut wanted, &lost, &mut whole)?;
    shared.find_files(&mut wanted, &lost, &mut in_flight, &mut whole)?;
    shared.find_small(&mut wanted, &mut whole)?;
    let missing = wanted.into_values().flatten().collect();
    Ok(FoundBytes { whole, missing, in_flight })
}

impl Shared {
    fn lost(&self) -> Result<Lost, Error> {
        let mut lost = Lost::default();
        for Decayed { spot, was } in self.decayed(Space::Blobs, LOST_MAX)? {
            if let Some((key, _)) = was {
                lost.known.extend(schema::blob_id(&key));
                continue;
            }
            let id = schema::blob_id(&spot.key).ok();
            lost.ids.extend(id);
            let entry = spot.stored.split_last_chunk::<4>().map(|(value, _)| value);
            if let Some(Ok(entry)) = entry.map(BlobEntry::decode) {
                lost.contents.insert((entry.len, entry.root.0));
                lost.places.push((id, entry));
            }
        }
        Ok(lost)
    }

    /// Blobs without a whole entry that were held here: because an entry that decayed was theirs, or
    /// because a record says so.
    fn wanted(&self, lost: &Lost) -> Result<BTreeMap<BlobId, Wanted>, Error> {
        let (view, own) = (self.index.view()?, self.own.region);
        let has_entry = |id: &BlobId| match view.get(Space::Blobs, &schema::blob_key(id), |_| ()) {
            Err(Error::Corrupt(_)) => Ok(lost.known.contains(id)),
            entry => entry.map(|entry| entry.is_some() || lost.known.contains(id)),
        };
        let mut out: BTreeMap<BlobId, Wanted> = BTreeMap::new();
        view.walk(Space::Records, |_, value| {
            for (part, says_here) in parts_of(&schema::decode(value)?, own) {
                let blob = part.blob;
                let was_held =
                    lost.ids.contains(&blob.id) || lost.contents.contains(&(blob.len, blob.root.0));
                if (was_held || says_here) && !has_entry(&blob.id)? {
                    out.insert(blob.id, Some(blob));
                }
            }
            Ok(())
        })?;
        view.walk(Space::Holding, |_, value| {
            let held: BTreeSet<BlobId> = schema::decode(value)?;
            for id in held {
                if !out.contains_key(&id) && !has_entry(&id)? {
                    out.insert(id, None);
                }
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// Looks where the entries that decayed say that the bytes are.
    fn find_where_said(
        &self,
        wanted: &mut BTreeMap<BlobId, Wanted>,
        lost: &Lost,
        out: &mut Vec<Whole>,
    ) -> Result<(), Error> {
        for (id, entry) in &lost.places {
            let is_its = |blob: &BlobRef| {
                Some(blob.id) == *id || (blob.len == entry.len && blob.root == entry.root)
            };
            let blobs = wanted.values().copied().flatten();
            let Some(blob) = blobs.filter(is_its).find(|blob| blob.len > 0) else { continue };
            if let Some(whole) = self.whole_at(&blob, entry.place)? {
                wanted.remove(&blob.id);
                out.push(whole);
            }
        }
        Ok(())
    }

    /// Looks for large bodies: a file of each has its name.
    fn find_files(
        &self,
        wanted: &mut BTreeMap<BlobId, Wanted>,
        lost: &Lost,
        in_flight: &mut InFlight,
        out: &mut Vec<Whole>,
    ) -> Result<(), Error> {
        let shards: BTreeSet<u16> = wanted.keys().map(files::shard_of).collect();
        for shard in shards {
            let listed = self.files.disk.list(&self.files.blob_dir(shard));
            let listed = listed.map_err(|e| Error::io("listing a directory of blobs", e))?;
            for (id, nonce) in listed.iter().filter_map(|name| files::parse_blob_name(name)) {
                let Some(blob) = wanted.get(&id).copied() else { continue };
                if lock(&self.doomed).names(&self.files.blob(&id, nonce))
                    || !lock(&self.in_flight).insert((id, nonce))
                {
                    continue;
                }
                in_flight.names.insert((id, nonce));
                let Some(manifest) = self.manifest_of(&id, Place::File { nonce }, None)? else {
                    continue;
                };
                let found = BlobRef { id, len: manifest.len(), root: manifest.root() };
                let is_it = match blob {
                    Some(blob) => blob == found,
                    None => lost.contents.contains(&(found.len, found.root.0)),
                };
                if is_it {
                    let hashes = manifest.hashes().to_vec();
                    out.push(Whole { blob: found, hashes, place: Place::File { nonce } });
                    wanted.remove(&id);
                }
            }
        }
        Ok(())
    }

    /// Looks for small bodies, in every frame of the log.
    fn find_small(
        &self,
        wanted: &mut BTreeMap<BlobId, Wanted>,
        out: &mut Vec<Whole>,
    ) -> Result<(), Error> {
        wanted.retain(|_, wanted| {
            let empty = wanted.filter(|blob| blob.len == 0);
            let place = Place::Segment { segment: 0, position: 0 };
            out.extend(empty.map(|blob| Whole { blob, hashes: Vec::new(), place }));
            empty.is_none()
        });
        let small = |wanted: &Wanted| {
            wanted.is_none_or(|blob| blob.len <= limits::SEGMENT_BLOB_BYTES_MAX as u64)
        };
        let segments: Vec<(u64, u64)> =
            lock(&self.segments).infos.iter().map(|(segment, info)| (*segment, info.len)).collect();
        // The newest place first: compaction moves bodies there.
        for (segment, end) in segments.into_iter().rev() {
            if !wanted.values().any(small) {
                return Ok(());
            }
            if let Err(error) = self.find_in(segment, end, wanted, out) {
                tracing::error!(segment, %error, "a segment could not be looked through");
            }
        }
        Ok(())
    }

    fn find_in(
        &self,
        segment: u64,
        end: u64,
        wanted: &mut BTreeMap<BlobId, Wanted>,
        out: &mut Vec<Whole>,
    ) -> Result<(), Error> {
        let mut reader = Reader::new(self.files.open_segment(segment)?, segment)?;
        let mut position = 0;
        while position < end {
            let frame = match reader.at(position)? {
                Found::Frame(frame) => frame,
                Found::Bad => match reader.seek(position)? {
                    Some(frame) => frame,
                    None => return Ok(()),
                },
                Found::End => return Ok(()),
            };
            let found = match frame.kind {
                Kind::Change => codec::bodies(&frame.payload)?.0,
                Kind::Chunk => vec![codec::chunk_body(&frame.payload)?],
                Kind::Seal => return Ok(()),
            };
            for BodyAt { id, offset, len } in found {
                let Some(blob) = wanted.get(&id).copied() else { continue };
                let manifest = Manifest::of(&frame.payload[offset..offset + len]);
                let found = BlobRef { id, len: manifest.len(), root: manifest.root() };
                if blob.is_none_or(|blob| blob == found) {
                    let at = frame.position + (HEADER_BYTES + offset) as u64;
                    let place = Place::Segment { segment, position: at };
                    out.push(Whole { blob: found, hashes: manifest.hashes().to_vec(), place });
                    wanted.remove(&id);
                }
            }
            position = frame.next;
        }
        Ok(())
    }

    /// Large blobs whose manifest is not there.
    fn without_manifest(&self) -> Result<Vec<(BlobRef, Place)>, Error> {
        let view = self.index.view()?;
        let mut out = Vec::new();
        view.walk(Space::Blobs, |key, value| {
            let entry = BlobEntry::decode(value)?;
            let few = (schema::ENTRY_CHUNKS_MAX * limits::CHUNK_BYTES) as u64;
            if entry.hashes.is_empty() && entry.len > few && !has_manifest(&view, key)? {
                out.push((entry.blob(schema::blob_id(key)?), entry.place));
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// The bytes at a place, if they are those of the blob.
    fn whole_at(&self, blob: &BlobRef, place: Place) -> Result<Option<Whole>, Error> {
        let manifest = self.manifest_of(&blob.id, place, Some(blob.len))?;
        let manifest = manifest.filter(|manifest| manifest.belongs_to(blob));
        let whole =
            |manifest: Manifest| Whole { blob: *blob, hashes: manifest.hashes().to_vec(), place };
        Ok(manifest.map(whole))
    }

    /// The manifest of the bytes at a place; `None` where they cannot be read.
    fn manifest_of(
        &self,
        id: &BlobId,
        place: Place,
        len: Option<u64>,
    ) -> Result<Option<Manifest>, Error> {
        let (file, at) = match place {
            Place::File { nonce } => {
                let opened = self.files.disk.open(&self.files.blob(id, nonce), OpenMode::Read);
                (opened, 0)
            }
            // What decayed may name any.
            Place::Segment { segment, position } => match self.files.open_segment(segment) {
                Ok(file) => (Ok(file), position),
                Err(_) => return Ok(None),
            },
        };
        let read = file.and_then(|file: Arc<dyn DiskFile>| {
            let len = len.map_or_else(|| file.size(), Ok)?;
            let (mut hashes, mut index) = (Vec::new(), 0);
            while let Some(bytes) = blobs::chunk_len(len, index) {
                let chunk = files::read(file.as_ref(), at + blobs::chunk_start(index), bytes)?;
                hashes.push(Hash::of(&chunk));
                index += 1;
            }
            Ok(Manifest::new(len, hashes))
        });
        match read {
            Ok(manifest) => Ok(manifest),
            Err(error) => {
                tracing::warn!(blob = %id, %error, "bytes on the disk could not be read");
                Ok(None)
            }
        }
    }
}

fn has_manifest(view: &View, key: &[u8]) -> Result<bool, Error> {
    match view.get(Space::Manifests, key, |_| ()) {
        Err(Error::Corrupt(_)) => Ok(false),
        found => found.map(|found| found.is_some()),
    }
}

/// The parts that a record names, and whether it says that a region has their bytes.
fn parts_of(record: &Record, own: RegionId) -> Vec<(PartRef, bool)> {
    match record {
        Record::Row(row) => {
            let objects = row.versions.iter().filter_map(|version| match &version.content {
                Content::Object(meta) => Some((meta, &version.placement)),
                Content::Marker | Content::Tombstone => None,
            });
            let parts = objects.flat_map(|(meta, placement)| {
                let part =
                    |part: &PartRef| (part.clone(), is_here(part, meta.rides, placement, own));
                meta.parts.iter().map(part).collect::<Vec<_>>()
            });
            parts.collect()
        }
        Record::Part(part) if !part.ended => {
            vec![(part.part.clone(), part.part.held_by.contains(&own))]
        }
        Record::Part(_)
        | Record::Bucket(_)
        | Record::Name(_)
        | Record::AccessKey(_)
        | Record::Members(_)
        | Record::Upload(_) => Vec::new(),
    }
}

fn is_here(part: &PartRef, rides: bool, placement: &Placement, own: RegionId) -> bool {
    match placement.holders.get(&own) {
        Some(holding) => holding.state == HoldState::Held,
        None => rides || (placement.holders.is_empty() && part.held_by.contains(&own)),
    }
}
