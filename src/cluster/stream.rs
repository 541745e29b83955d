//! Bytes on their way out: chunk by chunk, each verified, from this node or another region.
//!
//! Invariant: all bytes of one stream are of one version, the one that was asked for.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;

use crate::env::BoxFuture;
use crate::limits;
use crate::net::message::{Move, VersionOf};
use crate::obs::flow::{self, Flow};
use crate::types::bucket::BucketConfig;
use crate::types::name::ObjectKey;
use crate::types::object::{BlobRef, Content, ObjectMeta, Primary, Version};
use crate::types::region::RegionId;

use super::Cluster;
use super::error::ReadError;
use super::fetch::Wanted;

/// Where bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Memory,
    Disk,
    Region(RegionId),
}

/// Where a key's current version is, as far as this node knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whereabouts {
    pub primary: Option<Primary>,
    /// Regions that say that they have it whole, durably.
    pub holders: Vec<RegionId>,
    /// Regions that have a cached copy of all of it.
    pub cached: Vec<RegionId>,
    /// The body travels with the row: every allowed region has it.
    pub rides: bool,
    /// Decayed reads a region, largest first, where this node counts them.
    pub heat: Vec<(RegionId, f64)>,
    /// Past moves of the primary, latest first, as far as somebody remembers.
    pub moves: Vec<Move>,
    /// Why the primary does not move now.
    pub verdict: Option<String>,
    /// Regions that could not be asked.
    pub silent: Vec<RegionId>,
}

/// A piece of one chunk that the range covers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slice {
    blob: BlobRef,
    index: u32,
    within: Range<usize>,
}

type Fetching = BoxFuture<'static, Result<(Bytes, Source), ReadError>>;

/// A range of one version's bytes.
pub struct BodyStream {
    cluster: Cluster,
    wanted: Arc<Wanted>,
    slices: VecDeque<Slice>,
    flying: FuturesOrdered<Fetching>,
    first: Option<Bytes>,
    source: Source,
    failed: bool,
    /// Whose bytes these are: they are read on after the request's own task has answered.
    flow: Option<Flow>,
}

impl std::fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyStream").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Bytes of a version. The first ones are here when this returns, so an error can still be
    /// told.
    pub async fn read(
        &self,
        config: &Arc<BucketConfig>,
        key: &ObjectKey,
        version: &Version,
        range: Range<u64>,
    ) -> Result<BodyStream, ReadError> {
        let Content::Object(meta) = &version.content else { return Err(ReadError::Gone) };
        let bytes = range.end - range.start;
        let of = VersionOf { bucket: config.id, key: key.clone(), stamp: version.stamp };
        let keep = self.may_keep(config, meta);
        let mut stream = BodyStream {
            cluster: self.clone(),
            wanted: Arc::new(Wanted::new(of, version, meta, keep)),
            slices: slices(meta, range),
            flying: FuturesOrdered::new(),
            first: None,
            source: Source::Memory,
            failed: false,
            flow: flow::current(),
        };
        if let Some(slice) = stream.slices.pop_front() {
            let (bytes, source) = stream.fetch(slice).await?;
            stream.first = Some(bytes);
            stream.source = source;
        }
        self.note_read(&stream.wanted.of, version, stream.source, bytes);
        Ok(stream)
    }
}

impl BodyStream {
    /// Where the first bytes came from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The next bytes; `None` after the last ones or after an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        if self.failed {
            return None;
        }
        while self.flying.len() < limits::READ_WINDOW {
            let Some(slice) = self.slices.pop_front() else { break };
            let fetching = self.fetch(slice);
            self.flying.push_back(fetching);
        }
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        match self.flying.next().await? {
            Ok((bytes, _)) => Some(Ok(bytes)),
            Err(why) => {
                self.failed = true;
                Some(Err(why))
            }
        }
    }

    fn fetch(&self, slice: Slice) -> Fetching {
        let (cluster, wanted) = (self.cluster.clone(), self.wanted.clone());
        Box::pin(flow::within(self.flow.clone(), async move {
            let (bytes, source) = cluster.chunk_of(wanted, slice.blob, slice.index).await?;
            Ok((bytes.slice(slice.within), source))
        }))
    }
}

/// The chunks that a range of an object covers, in order. The range lies inside the object.
fn slices(meta: &ObjectMeta, range: Range<u64>) -> VecDeque<Slice> {
    let chunk_bytes = limits::CHUNK_BYTES as u64;
    let mut slices = VecDeque::new();
    let mut part_start = 0;
    for part in &meta.parts {
        let len = part.blob.len;
        let from = range.start.saturating_sub(part_start).min(len);
        let to = range.end.saturating_sub(part_start).min(len);
        let mut at = from;
        while at < to {
            let index = at / chunk_bytes;
            let chunk_start = index * chunk_bytes;
            let end = to.min(chunk_start + chunk_bytes);
            let within = |position: u64| {
                usize::try_from(position - chunk_start).expect("a chunk is far below 2^32")
            };
            slices.push_back(Slice {
                blob: part.blob,
                index: u32::try_from(index).expect("BODY_BYTES_MAX is below 2^32 chunks"),
                within: within(at)..within(end),
            });
            at = end;
        }
        part_start += len;
    }
    slices
}
