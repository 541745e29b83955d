//! Bytes on their way in: to this disk and, at the same time, to the followers that shall hold
//! them.
//!
//! Invariant: nothing is kept of a body that no change names; bytes never lie in a region that the
//! bucket's location forbids.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::limits;
use crate::store::{BlobWriter, SealedBlob};
use crate::types::bucket::{BucketConfig, Location};
use crate::types::id::{BlobId, Hash};
use crate::types::object::BlobRef;
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::error::Unavailable;
use super::outlet::{Outlet, Streamed};

/// A body whose bytes are all here (or with its followers) but that no record names yet. Dropped
/// without a write, its bytes are removed.
pub struct Body {
    /// `None`: an empty body.
    pub blob: Option<BlobRef>,
    pub len: u64,
    /// The body travels with its record to every region; what the record says in `rides`. Also true
    /// of an empty body.
    pub rides: bool,
    /// Regions that take the bytes in.
    pub held_by: Vec<RegionId>,
    /// Of one that rides: they may have to travel before any record names them.
    pub(super) bytes: Option<Bytes>,
    /// The bytes on this disk; `None` where the location forbids this region.
    pub(super) local: Option<SealedBlob>,
    pub(super) streams: Vec<Streamed>,
}

impl Body {
    /// The bytes do not travel with the record: regions must be asked to hold them.
    pub(super) fn needs_holders(&self) -> bool {
        self.blob.is_some() && !self.rides
    }
}

/// Where a body goes.
struct Ways {
    id: BlobId,
    local: Option<BlobWriter>,
    outlets: Vec<Outlet>,
    /// Hashes of whole chunks, where no local writer makes them.
    hasher: Option<ManifestHasher>,
    piece: BytesMut,
    sent: u64,
}

/// Takes one body in.
pub struct BodySink {
    cluster: Cluster,
    config: Arc<BucketConfig>,
    len: u64,
    /// What came before it was known whether the body rides.
    gathered: BytesMut,
    /// Boxed: hashers are large, and a request has them in its future.
    ways: Option<Box<Ways>>,
}

impl Cluster {
    /// Begins a body of `len` bytes, where that is known. Refuses at once when a promise of the
    /// bucket could not be kept.
    pub async fn body(
        &self,
        config: &Arc<BucketConfig>,
        len: Option<u64>,
    ) -> Result<BodySink, Unavailable> {
        self.quorum(config).check()?;
        self.await_clock().await;
        let mut sink = BodySink {
            cluster: self.clone(),
            config: config.clone(),
            len: 0,
            gathered: BytesMut::new(),
            ways: None,
        };
        if len.is_some_and(|len| len > sink.riding_max()) {
            sink.ways = Some(sink.open_ways()?);
        }
        Ok(sink)
    }
}

impl BodySink {
    /// A restricted bucket's bodies never ride: rows go everywhere.
    fn riding_max(&self) -> u64 {
        match self.config.location {
            Location::Everywhere => {
                self.config.riding_bytes_max.min(limits::RIDING_BYTES_MAX).into()
            }
            Location::Only(_) => 0,
        }
    }

    fn open_ways(&self) -> Result<Box<Ways>, Unavailable> {
        let cluster = &self.cluster;
        let quorum = cluster.quorum(&self.config);
        quorum.check()?;
        let id = BlobId(cluster.stamp(Stamp::ZERO));
        let here = self.config.location.allows(cluster.region());
        let outlets = quorum
            .followers()
            .into_iter()
            .take(quorum.followers_needed())
            .map(|region| Outlet::open(cluster, region, id))
            .collect();
        Ok(Box::new(Ways {
            id,
            local: here.then(|| cluster.store().blob_writer(id)),
            outlets,
            hasher: (!here).then(ManifestHasher::default),
            piece: BytesMut::new(),
            sent: 0,
        }))
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Unavailable> {
        self.len += bytes.len() as u64;
        if self.ways.is_none() {
            self.gathered.extend_from_slice(&bytes);
            if self.len <= self.riding_max() {
                return Ok(());
            }
            let ways = self.open_ways()?;
            let gathered = std::mem::take(&mut self.gathered).freeze();
            return self.ways.insert(ways).write(&self.cluster, gathered).await;
        }
        let ways = self.ways.as_mut().expect("checked above");
        ways.write(&self.cluster, bytes).await
    }

    /// The body is complete.
    pub async fn finish(self) -> Result<Body, Unavailable> {
        let cluster = &self.cluster;
        if let Some(ways) = self.ways {
            return ways.finish(cluster, self.len).await;
        }
        let mut body = Body {
            blob: None,
            len: self.len,
            rides: true,
            held_by: vec![cluster.region()],
            bytes: None,
            local: None,
            streams: Vec::new(),
        };
        if self.len > 0 {
            let id = BlobId(cluster.stamp(Stamp::ZERO));
            let mut writer = cluster.store().blob_writer(id);
            let bytes = self.gathered.freeze();
            writer.write(bytes.clone()).await?;
            let sealed = writer.finish().await?;
            body.blob = Some(sealed.blob());
            body.bytes = Some(bytes);
            body.local = Some(sealed);
        }
        Ok(body)
    }
}

impl Ways {
    async fn write(&mut self, cluster: &Cluster, bytes: Bytes) -> Result<(), Unavailable> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
        }
        if !self.outlets.is_empty() {
            self.piece.extend_from_slice(&bytes);
            while self.piece.len() >= limits::STAGE_PIECE_BYTES {
                let piece = self.piece.split_to(limits::STAGE_PIECE_BYTES).freeze();
                self.send(cluster, piece).await?;
            }
        }
        if let Some(local) = &mut self.local {
            local.write(bytes).await?;
        }
        Ok(())
    }

    async fn send(&mut self, cluster: &Cluster, piece: Bytes) -> Result<(), Unavailable> {
        let offset = self.sent;
        self.sent += piece.len() as u64;
        for outlet in &mut self.outlets {
            outlet.write(cluster, offset, piece.clone()).await;
            if self.local.is_none() && !outlet.is_open() {
                return Err(Unavailable::new(format!(
                    "region {} stopped taking in the body, which may not lie here",
                    outlet.region()
                )));
            }
        }
        Ok(())
    }

    async fn finish(mut self, cluster: &Cluster, len: u64) -> Result<Body, Unavailable> {
        let rest = self.piece.split().freeze();
        if !rest.is_empty() {
            self.send(cluster, rest).await?;
        }
        let local = match self.local {
            Some(writer) => Some(writer.finish().await?),
            None => None,
        };
        let blob = match (&local, self.hasher) {
            (Some(sealed), _) => sealed.blob(),
            (None, hasher) => {
                let root = hasher.expect("made where there is no local writer").root();
                BlobRef { id: self.id, len, root }
            }
        };
        let streams: Vec<Streamed> = self.outlets.into_iter().filter_map(Outlet::close).collect();
        let mut held_by: Vec<RegionId> = streams.iter().map(|s| s.region).collect();
        held_by.extend(local.as_ref().map(|_| cluster.region()));
        held_by.sort_unstable();
        Ok(Body { blob: Some(blob), len, rides: false, held_by, bytes: None, local, streams })
    }
}

/// The root of a body that does not lie here.
#[derive(Default)]
struct ManifestHasher {
    chunk: blake3::Hasher,
    filled: usize,
    hashes: Vec<u8>,
}

impl ManifestHasher {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(limits::CHUNK_BYTES - self.filled));
            self.chunk.update(now);
            self.filled += now.len();
            bytes = rest;
            if self.filled == limits::CHUNK_BYTES {
                self.close_chunk();
            }
        }
    }

    fn close_chunk(&mut self) {
        self.hashes.extend_from_slice(self.chunk.finalize().as_bytes());
        self.chunk.reset();
        self.filled = 0;
    }

    fn root(mut self) -> Hash {
        if self.filled > 0 {
            self.close_chunk();
        }
        Hash::of(&self.hashes)
    }
}
