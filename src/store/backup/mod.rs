//! Backups: one file with every record of a store and the bytes that it holds, made while it runs.
//!
//! Invariant: a file without its end is no backup. Every piece has a checksum over its place and its
//! bytes, and every chunk the hash of its manifest, so that nothing damaged is ever brought back.
//!
//! Records come from one snapshot. The bytes of an object that is overwritten meanwhile may be gone
//! when it is their turn: then its record as it is by then, with its bytes, comes after the others;
//! merging both gives a state that there was.

mod file;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::types::id::{BlobId, ClusterId};
use crate::types::object::{BlobRef, Content, HoldState, Holding, Primary};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

use super::blobs::Manifest;
use super::error::Error;
use super::tx::Source;
use super::{Snapshot, Store, Tx};

use file::Writer;
pub use file::{Info, Piece, Reader, Totals, partial};

/// Records of one step.
const PAGE: usize = 500;

/// Larger blobs are written once, however many records name them.
const ONCE_BYTES_MIN: u64 = 64 << 10;

/// How far a backup or a restore is; seen and stopped from outside.
#[derive(Debug, Default)]
pub struct Progress {
    pub records: AtomicU64,
    pub blobs: AtomicU64,
    pub bytes: AtomicU64,
    pub stop: AtomicBool,
}

impl Progress {
    fn count(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    fn go_on(&self) -> Result<(), Error> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }
}

/// What a backup's file came to when all of it was read and hashed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub info: Info,
    pub totals: Totals,
    /// Blobs that records name and other regions hold.
    pub elsewhere: u64,
}

/// The blobs that a record names, with what is needed to check them.
fn blobs_of(record: &Record) -> Vec<BlobRef> {
    match record {
        Record::Row(row) => {
            let metas = row.versions.iter().filter_map(|version| match &version.content {
                Content::Object(meta) => Some(&meta.parts),
                Content::Marker | Content::Tombstone => None,
            });
            metas.flatten().map(|part| part.blob).collect()
        }
        Record::Part(part) if !part.ended => vec![part.part.blob],
        Record::Part(_)
        | Record::Bucket(_)
        | Record::Name(_)
        | Record::AccessKey(_)
        | Record::Members(_)
        | Record::Upload(_) => Vec::new(),
    }
}

/// One backup that is being written.
struct Making<'a> {
    store: &'a Store,
    writer: Writer,
    progress: &'a Progress,
    totals: Totals,
    written: BTreeSet<BlobId>,
}

impl Store {
    /// Writes a backup to `path`; until it is whole it has another name.
    pub async fn back_up(
        &self,
        path: PathBuf,
        cluster: ClusterId,
        progress: &Progress,
    ) -> Result<Totals, Error> {
        let info = Info {
            cluster,
            region: self.region(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.env().now_ms(),
        };
        let writer = Writer::create(self.env().clone(), path, &info).await?;
        let (totals, written) = (Totals::default(), BTreeSet::new());
        let mut making = Making { store: self, writer, progress, totals, written };
        let mut late = Vec::new();
        let (mut snapshot, mut after) = (self.read()?, None);
        loop {
            progress.go_on()?;
            let (back, page) = self.page(snapshot, after.take()).await?;
            snapshot = back;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (id, record) in page {
                if !making.record(&id, &record).await? {
                    late.push(id);
                }
            }
        }
        drop(snapshot);
        for id in late {
            progress.go_on()?;
            if let Some(record) = self.read()?.record(&id)? {
                making.record(&id, &record).await?;
            }
        }
        let Making { writer, totals, .. } = making;
        writer.finish(&totals).await?;
        Ok(totals)
    }

    async fn page(
        &self,
        snapshot: Snapshot,
        after: Option<RecordId>,
    ) -> Result<(Snapshot, Vec<(RecordId, Record)>), Error> {
        let read = move || {
            let page = snapshot.records(after.as_ref(), PAGE)?;
            Ok((snapshot, page))
        };
        self.env().blocking(read).await
    }

    /// Brings back bytes that records here name and that are not here; never a record. What was
    /// brought back.
    pub async fn bring_back(&self, path: &Path, progress: &Progress) -> Result<Totals, Error> {
        let mut reader = Reader::open(self.env(), path)?;
        let (mut totals, mut blobs) = (Totals::default(), BTreeSet::new());
        while let Some(piece) = reader.piece()? {
            progress.go_on()?;
            let Piece::Blob(blob, manifest) = piece else { continue };
            let named = !self.read()?.named_by(&blob.id, 1)?.is_empty();
            if !named || self.holds(&blob.id)? {
                continue;
            }
            if self.take_blob(&mut reader, &blob, &manifest).await? && blobs.insert(blob.id) {
                totals.blobs += 1;
                totals.bytes += blob.len;
                Progress::count(&progress.blobs, 1);
                Progress::count(&progress.bytes, blob.len);
            }
        }
        Ok(totals)
    }

    /// Takes every record and all bytes of a backup into the store of a new cluster: what other
    /// regions held is not held there any more.
    pub async fn take_over(&self, path: &Path, progress: &Progress) -> Result<Totals, Error> {
        let mut reader = Reader::open(self.env(), path)?;
        let (mut totals, own) = (Totals::default(), self.region());
        while let Some(piece) = reader.piece()? {
            match piece {
                Piece::Info(_) | Piece::Chunk(..) | Piece::End(_) => {}
                Piece::Record(id, record) => {
                    let record = rehomed(*record, own);
                    self.write(move |tx: &mut Tx<'_>| tx.merge(id, record, Source::Local)).await?;
                    totals.records += 1;
                    Progress::count(&progress.records, 1);
                }
                Piece::Blob(blob, manifest) => {
                    if self.take_blob(&mut reader, &blob, &manifest).await? {
                        totals.blobs += 1;
                        totals.bytes += blob.len;
                    }
                }
            }
        }
        Ok(totals)
    }

    /// Takes in the chunks that follow; false where some of them are not in the backup.
    async fn take_blob(
        &self,
        reader: &mut Reader,
        blob: &BlobRef,
        manifest: &Manifest,
    ) -> Result<bool, Error> {
        let mut writer = self.blob_writer(blob.id);
        for index in 0..manifest.chunks() {
            match reader.chunk(manifest, index)? {
                Some(bytes) => writer.write(bytes).await?,
                None => return Ok(false),
            }
        }
        let sealed = writer.finish().await?;
        if sealed.blob() != *blob {
            return Err(Error::corrupt(format!("blob {} of the backup is another one", blob.id)));
        }
        self.write(move |tx: &mut Tx<'_>| tx.attach(sealed)).await?;
        Ok(true)
    }
}

impl Making<'_> {
    /// A record and what it names; false where bytes went away meanwhile.
    async fn record(&mut self, id: &RecordId, record: &Record) -> Result<bool, Error> {
        self.writer.record(id, record).await?;
        self.totals.records += 1;
        Progress::count(&self.progress.records, 1);
        let mut whole = true;
        for blob in blobs_of(record) {
            let once = blob.len >= ONCE_BYTES_MIN;
            if once && self.written.contains(&blob.id) {
                continue;
            }
            if !self.store.holds(&blob.id)? {
                self.totals.absent += 1;
                // Other regions hold it, or it is gone; only then the record has changed.
                whole &= self.store.read()?.record(id)?.as_ref() == Some(record);
                continue;
            }
            if self.blob(&blob).await? {
                if once {
                    self.written.insert(blob.id);
                }
            } else {
                whole = false;
            }
        }
        Ok(whole)
    }

    async fn blob(&mut self, blob: &BlobRef) -> Result<bool, Error> {
        let Some(manifest) = self.store.manifest(blob)? else { return Ok(false) };
        self.writer.blob(blob, &manifest).await?;
        for index in 0..manifest.chunks() {
            self.progress.go_on()?;
            let bytes = match self.store.chunk(blob, index).await {
                Ok(Some((bytes, _))) => bytes,
                Ok(None) => return Ok(false),
                Err(Error::Corrupt(why)) => {
                    tracing::error!(blob = %blob.id, %why, "damaged, not in the backup");
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            Progress::count(&self.progress.bytes, bytes.len() as u64);
            self.writer.chunk(index, &bytes).await?;
        }
        self.totals.blobs += 1;
        self.totals.bytes += blob.len;
        Progress::count(&self.progress.blobs, 1);
        Ok(true)
    }
}

/// The record with all bytes at one region, whatever it said before.
fn rehomed(record: Record, own: RegionId) -> Record {
    let Record::Row(mut row) = record else { return record };
    for version in &mut row.versions {
        let placement = &mut version.placement;
        if placement.holders.is_empty() {
            continue;
        }
        for holding in placement.holders.values_mut() {
            *holding = Holding { counter: holding.counter + 1, state: HoldState::Absent };
        }
        let known = placement.holders.get(&own).map_or(0, |holding| holding.counter);
        placement.holders.insert(own, Holding { counter: known + 1, state: HoldState::Held });
        let epoch = placement.primary.map_or(0, |primary| primary.epoch) + 1;
        placement.primary = Some(Primary { epoch, region: own });
    }
    Record::Row(row)
}

/// Reads a whole backup and hashes everything again.
pub fn verify(env: &crate::env::Env, path: &Path) -> Result<Verified, Error> {
    let mut reader = Reader::open(env, path)?;
    let info = reader.info().clone();
    let (mut totals, mut named, mut there) = (Totals::default(), BTreeSet::new(), BTreeSet::new());
    let mut end = None;
    while let Some(piece) = reader.piece()? {
        match piece {
            Piece::Info(_) | Piece::Chunk(..) => {}
            Piece::Record(_, record) => {
                totals.records += 1;
                named.extend(blobs_of(&record).into_iter().map(|blob| blob.id));
            }
            Piece::Blob(blob, manifest) => {
                let mut whole = true;
                for index in 0..manifest.chunks() {
                    whole &= reader.chunk(&manifest, index)?.is_some();
                    if !whole {
                        break;
                    }
                }
                if whole {
                    totals.blobs += 1;
                    totals.bytes += blob.len;
                    there.insert(blob.id);
                }
            }
            Piece::End(said) => end = Some(said),
        }
    }
    let said = end.ok_or_else(|| Error::corrupt("the backup has no end"))?;
    totals.absent = said.absent;
    if totals != said {
        return Err(Error::corrupt(format!("the backup has {totals:?} and says {said:?}")));
    }
    Ok(Verified { info, totals, elsewhere: named.difference(&there).count() as u64 })
}

/// Shared between who makes a backup and who watches.
pub type Watched = Arc<Progress>;
