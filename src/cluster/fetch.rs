//! Getting chunks that are not here from the nearest region that has them.
//!
//! Invariants: every chunk is verified against the blob's manifest, and the manifest against the
//! root that the row names, before anybody sees a byte; one fetch a chunk, however many readers;
//! nothing is kept where the location forbids it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};

use crate::env::{BoxFuture, Class};
use crate::limits;
use crate::logic::merge;
use crate::net::message::{Request, Response, VersionOf};
use crate::obs::flow::{self, Stage};
use crate::store::{self, Manifest, Source as From, Tier};
use crate::types::id::{BlobId, Hash};
use crate::types::object::{BlobRef, ObjectMeta, Row, Version};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

use super::Cluster;
use super::error::{ReadError, Unavailable};
use super::lookup::takes_no_notes;
use super::metrics::ReadFrom;
use super::race::{Rules, race};
use super::receive::Ready;
use super::stream::Source;

type Fetched = Result<(Bytes, RegionId), ReadError>;
type FlightKey = (BlobId, u32, VersionOf);

/// Fetches that are under way, and manifests of blobs that are not here.
#[derive(Default)]
pub(super) struct Flights {
    flights: Mutex<BTreeMap<FlightKey, WeakShared<BoxFuture<'static, Fetched>>>>,
    manifests: Mutex<BTreeMap<BlobId, Arc<Manifest>>>,
}

/// One version that is being read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) of: VersionOf,
    /// Regions that may have each part, by the part's blob.
    sources: BTreeMap<BlobId, Vec<RegionId>>,
    /// Fetched chunks are kept as a cached copy.
    keep: bool,
}

/// Why one source had nothing.
enum Miss {
    Absent(Option<Row>),
    Unreachable(String),
}

impl Wanted {
    pub(super) fn new(of: VersionOf, version: &Version, meta: &ObjectMeta, keep: bool) -> Self {
        let whole: Vec<RegionId> = version
            .placement
            .primary
            .map(|primary| primary.region)
            .into_iter()
            .chain(version.placement.held())
            .collect();
        let sources = meta.parts.iter().map(|part| {
            let mut regions = whole.clone();
            regions.extend_from_slice(&part.held_by);
            regions.push(part.blob.id.0.region);
            (part.blob.id, regions)
        });
        Self { of, sources: sources.collect(), keep }
    }

    /// One blob that these regions may have; it is not kept as a cached copy.
    pub(super) fn of_blob(of: VersionOf, blob: &BlobRef, sources: Vec<RegionId>) -> Self {
        Self { of, sources: BTreeMap::from([(blob.id, sources)]), keep: false }
    }
}

impl Flights {
    /// The fetch that is under way for `key`, or the one that `begin` makes.
    fn join(
        &self,
        key: FlightKey,
        begin: impl FnOnce() -> BoxFuture<'static, Fetched>,
    ) -> Shared<BoxFuture<'static, Fetched>> {
        let mut flights = self.flights.lock().expect("no holder of this lock panics");
        if let Some(flight) = flights.get(&key).and_then(WeakShared::upgrade) {
            return flight;
        }
        if flights.len() >= limits::FLIGHTS_SWEPT_AT {
            flights.retain(|_, flight| flight.upgrade().is_some());
        }
        let flight = begin().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, weak);
        }
        flight
    }

    fn manifest(&self, blob: BlobId) -> Option<Arc<Manifest>> {
        self.manifests.lock().expect("no holder of this lock panics").get(&blob).cloned()
    }

    fn keep_manifest(&self, blob: BlobId, manifest: &Arc<Manifest>) {
        let mut manifests = self.manifests.lock().expect("no holder of this lock panics");
        while manifests.len() >= limits::MANIFESTS_MAX {
            manifests.pop_first();
        }
        manifests.insert(blob, manifest.clone());
    }
}

impl Cluster {
    /// One chunk of a version, from here or from elsewhere.
    pub(super) async fn chunk_of(
        &self,
        wanted: Arc<Wanted>,
        blob: BlobRef,
        index: u32,
    ) -> Result<(Bytes, Source), ReadError> {
        let stored = self.inner.store.chunk(&blob, index);
        match flow::measured(Stage::Disk, "read", None, stored).await {
            Ok(Some((bytes, tier))) => {
                let (source, told) = match tier {
                    Tier::Memory => (Source::Memory, "memory"),
                    Tier::Disk => (Source::Disk, "disk"),
                    Tier::Cache => (Source::Disk, "cache"),
                };
                self.count_read(told);
                return Ok((bytes, source));
            }
            Ok(None) => {}
            Err(why) => tracing::warn!(blob = %blob.id, index, %why, "reading elsewhere"),
        }
        let key = (blob.id, index, wanted.of.clone());
        let flight = self.inner.flights.join(key, || {
            let cluster = self.clone();
            Box::pin(async move { cluster.fetch(&wanted, blob, index).await })
        });
        let (bytes, from) = flight.await?;
        self.count_read("region");
        Ok((bytes, Source::Region(from)))
    }

    fn count_read(&self, source: &'static str) {
        self.inner.metrics.read_chunks.get_or_create(&ReadFrom { source }).inc();
    }

    async fn fetch(&self, wanted: &Wanted, blob: BlobRef, index: u32) -> Fetched {
        let mut tried: BTreeSet<RegionId> = BTreeSet::new();
        let mut sources = wanted.sources.get(&blob.id).cloned().unwrap_or_default();
        let mut away: BTreeSet<RegionId> = BTreeSet::new();
        loop {
            let (reachable, cut_off): (Vec<RegionId>, Vec<RegionId>) = self
                .nearest(sources.iter().copied().filter(|region| !tried.contains(region)))
                .into_iter()
                .partition(|region| self.is_connected(*region));
            away.extend(cut_off);
            tried.extend(&reachable);
            let misses = match self.fetch_from(reachable, wanted, blob, index).await {
                Ok(fetched) => return Ok(fetched),
                Err(misses) => misses,
            };
            sources = Vec::new();
            for (region, miss) in misses {
                match miss {
                    Miss::Absent(Some(row)) => sources.extend(self.learn(wanted, row).await?),
                    Miss::Absent(None) => {}
                    Miss::Unreachable(why) => {
                        tracing::debug!(%region, why, "no source");
                        away.insert(region);
                    }
                }
            }
            sources.retain(|region| !tried.contains(region));
            if sources.is_empty() {
                let others = self.others().into_iter().map(|info| info.id);
                sources = others.filter(|r| !tried.contains(r) && self.is_connected(*r)).collect();
            }
            if sources.is_empty() {
                return Err(nowhere(&away));
            }
        }
    }

    /// Merges a row that a source told; where the version may be now, or that it is no more.
    async fn learn(&self, wanted: &Wanted, row: Row) -> Result<Vec<RegionId>, ReadError> {
        let VersionOf { bucket, key, stamp } = wanted.of.clone();
        let id = RecordId::Row(bucket, key);
        if self.observe(row.stamp()).is_err() {
            return Ok(Vec::new());
        }
        let told = Record::Row(row);
        let ready = Ready::without_bodies(id.clone(), told.clone());
        let cluster = self.clone();
        let known = id.clone();
        let merged = self
            .inner
            .store
            .write(move |tx| {
                // Not known to be in a log that comes here: it goes into this one.
                cluster.merge_ready(tx, ready, From::Local)?;
                let head = tx.head(cluster.region(), cluster.inner.incarnation)?;
                Ok::<_, store::Error>((tx.record(&id)?, head))
            })
            .await;
        let merged = match merged {
            Ok((merged, head)) => {
                self.log_grew(head);
                merged
            }
            // Bytes are given although this disk takes no notes of where they are.
            Err(why) if takes_no_notes(&why) => {
                let here = self.inner.store.read().and_then(|snapshot| snapshot.record(&known));
                Some(merge::merge(here.map_err(Unavailable::from)?, told).record)
            }
            Err(why) => return Err(Unavailable::from(why).into()),
        };
        let Some(Record::Row(row)) = merged else { return Err(ReadError::Gone) };
        match row.versions.iter().find(|version| version.stamp == stamp) {
            Some(version) => Ok(version.placement.held().collect()),
            None => Err(ReadError::Moved(row)),
        }
    }

    /// The chunk from the first of `regions` that gives it right.
    async fn fetch_from(
        &self,
        regions: Vec<RegionId>,
        wanted: &Wanted,
        blob: BlobRef,
        index: u32,
    ) -> Result<(Bytes, RegionId), Vec<(RegionId, Miss)>> {
        let rules = Rules { need: 1, limit: limits::FETCH_TIMEOUT };
        let asked = regions.clone();
        let candidates = regions.into_iter().map(|region| (region, self.fetch_patience(region)));
        let outcome = race(self.env(), rules, candidates, |region| async move {
            self.fetch_one(region, wanted, blob, index).await.map_err(|miss| (region, miss))
        })
        .await;
        match outcome {
            Ok(mut fetched) => Ok(fetched.pop().expect("one success was asked for")),
            Err(short) => {
                let mut misses = short.failures;
                if short.timed_out {
                    let answered: Vec<RegionId> = misses.iter().map(|(r, _)| *r).collect();
                    let silent = asked.into_iter().filter(|region| !answered.contains(region));
                    misses.extend(
                        silent.map(|r| (r, Miss::Unreachable("no answer in time".to_owned()))),
                    );
                }
                Err(misses)
            }
        }
    }

    /// A chunk takes its time on the wire besides the round trips.
    fn fetch_patience(&self, region: RegionId) -> std::time::Duration {
        self.patience(region) + limits::CHUNK_TRANSFER_SLACK
    }

    async fn fetch_one(
        &self,
        from: RegionId,
        wanted: &Wanted,
        blob: BlobRef,
        index: u32,
    ) -> Result<(Bytes, RegionId), Miss> {
        let manifest = self.manifest_from(from, wanted, blob).await?;
        let request = Request::Chunk { blob, index, of: Some(wanted.of.clone()) };
        let bytes = match self.call(from, Class::Read, &request, limits::FETCH_TIMEOUT).await {
            Ok(Response::Chunk(bytes)) => bytes,
            Ok(Response::Absent { row }) => return Err(Miss::Absent(row)),
            Ok(other) => return Err(Miss::Unreachable(format!("answered {}", other.name()))),
            Err(why) => return Err(Miss::Unreachable(why.to_string())),
        };
        if !manifest.verifies(index, &bytes) {
            tracing::error!(%from, blob = %blob.id, index, "a fetched chunk fails its checksum");
            self.inner.metrics.bad_chunks.inc();
            return Err(Miss::Unreachable("its bytes fail their checksum".to_owned()));
        }
        self.inner.metrics.fetched_chunks.inc();
        if wanted.keep {
            self.inner.store.cache_chunk(&blob, &manifest, index, bytes.clone()).await;
        }
        Ok((bytes, from))
    }

    async fn manifest_from(
        &self,
        from: RegionId,
        wanted: &Wanted,
        blob: BlobRef,
    ) -> Result<Arc<Manifest>, Miss> {
        if let Some(manifest) = self.inner.flights.manifest(blob.id) {
            return Ok(manifest);
        }
        if let Ok(Some(manifest)) = self.inner.store.manifest(&blob) {
            return Ok(manifest);
        }
        let request = Request::Manifest { blob, of: Some(wanted.of.clone()) };
        let hashes = match self.call(from, Class::Read, &request, limits::FETCH_TIMEOUT).await {
            Ok(Response::Manifest(hashes)) => hashes,
            Ok(Response::Absent { row }) => return Err(Miss::Absent(row)),
            Ok(other) => return Err(Miss::Unreachable(format!("answered {}", other.name()))),
            Err(why) => return Err(Miss::Unreachable(why.to_string())),
        };
        let Some(manifest) = manifest_of(&blob, &hashes) else {
            tracing::error!(%from, blob = %blob.id, "a fetched manifest fails its checksum");
            return Err(Miss::Unreachable("its manifest fails its checksum".to_owned()));
        };
        let manifest = Arc::new(manifest);
        self.inner.flights.keep_manifest(blob.id, &manifest);
        Ok(manifest)
    }

    /// Answers a reader elsewhere.
    pub(super) fn give_manifest(
        &self,
        blob: &BlobRef,
        of: Option<&VersionOf>,
    ) -> Result<Response, store::Error> {
        match self.inner.store.manifest(blob) {
            Ok(Some(manifest)) => {
                let hashes: Vec<u8> = manifest.hashes().iter().flat_map(|hash| hash.0).collect();
                Ok(Response::Manifest(hashes.into()))
            }
            Ok(None) | Err(store::Error::Corrupt(_)) => self.absent(of),
            Err(why) => Err(why),
        }
    }

    /// Answers a reader elsewhere.
    pub(super) async fn give_chunk(
        &self,
        blob: &BlobRef,
        index: u32,
        of: Option<&VersionOf>,
    ) -> Result<Response, store::Error> {
        match self.inner.store.chunk(blob, index).await {
            Ok(Some((bytes, _))) => Ok(Response::Chunk(bytes)),
            Ok(None) | Err(store::Error::Corrupt(_)) => self.absent(of),
            Err(why) => Err(why),
        }
    }

    fn absent(&self, of: Option<&VersionOf>) -> Result<Response, store::Error> {
        let row = match of {
            Some(of) => self.inner.store.read()?.row(of.bucket, &of.key)?,
            None => None,
        };
        Ok(Response::Absent { row })
    }
}

/// The manifest of a blob from its hashes, if they are the blob's.
fn manifest_of(blob: &BlobRef, hashes: &[u8]) -> Option<Manifest> {
    let (hashes, rest) = hashes.as_chunks::<32>();
    if !rest.is_empty() {
        return None;
    }
    let manifest = Manifest::new(blob.len, hashes.iter().map(|hash| Hash(*hash)).collect())?;
    (manifest.root() == blob.root).then_some(manifest)
}

fn nowhere(away: &BTreeSet<RegionId>) -> ReadError {
    if away.is_empty() {
        return ReadError::Gone;
    }
    let away: Vec<String> = away.iter().map(RegionId::to_string).collect();
    let reason = format!("the regions that may have the bytes are away: {}", away.join(", "));
    ReadError::Unavailable(Unavailable::new(reason))
}
