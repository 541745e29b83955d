//! A change from its decision to its answer, where no region must be handed bytes first: one write
//! to this disk, then the log carries it, and it is answered when `ack` regions have applied it.
//!
//! Changes with bytes that do not ride take the longer way (`hold`).

use std::sync::Arc;

use crate::limits;
use crate::store::{self, Source, Tx};
use crate::types::bucket::{Ack, BucketConfig, Location};
use crate::types::event::Because;
use crate::types::id::BlobId;
use crate::types::object::{Content, HoldState, Holding, ObjectMeta, Placement, Primary, Version};
use crate::types::record::{Record, RecordId, UploadState};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::body::Body;
use super::error::Unavailable;
use super::names;
use super::view::Quorum;
use super::write::{Decide, View, Write, Written};

/// Why a change did not get into the store.
pub(super) enum Stop<E> {
    Refused(E),
    Store(store::Error),
}

impl<E> From<store::Error> for Stop<E> {
    fn from(why: store::Error) -> Self {
        Self::Store(why)
    }
}

impl<E: From<Unavailable>> Stop<E> {
    pub(super) fn into_error(self) -> E {
        match self {
            Self::Refused(why) => why,
            Self::Store(why) => Unavailable::from(why).into(),
        }
    }
}

/// Records that one change sets, and its stamp.
pub(super) struct Decided {
    pub(super) stamp: Stamp,
    pub(super) records: Vec<(RecordId, Record)>,
    /// The subject's stamp that was judged.
    pub(super) floor: Stamp,
}

impl Cluster {
    /// Makes one change and answers when `ack` regions have it on stable storage. After an error
    /// that came by a time-out the change may still appear.
    pub async fn write<E>(&self, config: &Arc<BucketConfig>, write: Write<E>) -> Result<Written, E>
    where
        E: From<Unavailable> + Send + 'static,
    {
        self.write_because(config, write, Because::default()).await
    }

    /// The same for those who are told of changes: why it is made.
    pub async fn write_because<E>(
        &self,
        config: &Arc<BucketConfig>,
        write: Write<E>,
        because: Because,
    ) -> Result<Written, E>
    where
        E: From<Unavailable> + Send + 'static,
    {
        self.check_clock().await?;
        let quorum = self.quorum(config);
        quorum.check()?;
        if write.bodies.iter().any(Body::needs_holders) && quorum.followers_needed() > 0 {
            return self.write_held(quorum, write, because).await;
        }
        if write.bodies.is_empty() {
            self.inner.active.settled(self.env(), &write.subject).await;
        }
        let (decided, seq) =
            self.publish_now(&quorum, write, because).await.map_err(Stop::into_error)?;
        let acked = self.acknowledged(&quorum, seq).await?;
        Ok(Written { stamp: decided, acked })
    }

    /// Sets records that are no bucket's, such as access keys.
    pub async fn write_records(
        &self,
        ack: usize,
        records: Vec<(RecordId, Record)>,
    ) -> Result<(), Unavailable> {
        let ack = Ack::Count(u8::try_from(ack).unwrap_or(u8::MAX));
        let quorum = self.quorum_of(&Location::Everywhere, ack);
        quorum.check()?;
        let seq = self.inner.store.write(move |tx| merge_all(tx, records)).await?;
        self.acknowledged(&quorum, seq).await?;
        Ok(())
    }

    async fn publish_now<E>(
        &self,
        quorum: &Quorum,
        write: Write<E>,
        because: Because,
    ) -> Result<(Stamp, Option<u64>), Stop<E>>
    where
        E: From<Unavailable> + Send + 'static,
    {
        let holders = if quorum.here { vec![self.region()] } else { Vec::new() };
        let cluster = self.clone();
        let Write { subject, bodies, decide } = write;
        self.inner
            .store
            .write(move |tx| {
                let mut decided = cluster.decide(tx, &subject, &decide)?;
                let blobs: Vec<BlobId> = new_blobs(&bodies);
                fill(&mut decided, cluster.region(), &blobs, &holders);
                for sealed in bodies.into_iter().filter_map(|body| body.local) {
                    tx.attach(sealed)?;
                }
                cluster.keep_clock(tx, decided.stamp)?;
                cluster.note_events(tx, decided.stamp, &because, &decided.records)?;
                let seq = merge_all(tx, decided.records)?;
                Ok((decided.stamp, seq))
            })
            .await
    }

    /// Runs `decide` on what the store has now, with a stamp above the subject's.
    pub(super) fn decide<E: From<Unavailable>>(
        &self,
        tx: &Tx<'_>,
        subject: &RecordId,
        decide: &Decide<E>,
    ) -> Result<Decided, Stop<E>> {
        let floor = floor_of(tx, subject)?;
        let stamp = self.stamp(floor);
        let records = judge(tx, stamp, decide)?;
        Ok(Decided { stamp, records, floor })
    }

    /// Waits until enough regions have applied position `seq` of this node's log.
    pub(super) async fn acknowledged(
        &self,
        quorum: &Quorum,
        seq: Option<u64>,
    ) -> Result<Vec<RegionId>, Unavailable> {
        let mut acked: Vec<RegionId> = quorum.here.then(|| self.region()).into_iter().collect();
        let Some(seq) = seq else { return Ok(acked) };
        self.inner.noted.settled();
        self.log_grew(seq);
        if quorum.followers_needed() > 0 {
            let waiting = self.inner.acks.wait(quorum.wanted(seq));
            match self.env().timeout(limits::ACK_TIMEOUT, waiting).await {
                Ok(Ok(regions)) => acked.extend(regions),
                Ok(Err(_)) | Err(_) => return Err(quorum.too_late()),
            }
        }
        acked.sort_unstable();
        Ok(acked)
    }
}

/// The stamp that a change of this record must be above.
pub(super) fn floor_of(tx: &Tx<'_>, subject: &RecordId) -> Result<Stamp, store::Error> {
    Ok(tx.record(subject)?.map_or(Stamp::ZERO, |record| record.stamp()))
}

/// Runs `decide` with a given stamp.
pub(super) fn judge<E: From<Unavailable>>(
    tx: &Tx<'_>,
    stamp: Stamp,
    decide: &Decide<E>,
) -> Result<Vec<(RecordId, Record)>, Stop<E>> {
    let records = |id: &RecordId| tx.record(id).map_err(Unavailable::from);
    let records = decide(&View { records: &records }, stamp).map_err(Stop::Refused)?;
    refuse_closed(tx, &records)?;
    if !tx.has_room() && records.iter().any(|(_, record)| adds(record, stamp)) {
        return Err(Stop::Refused(Unavailable::disk_full().into()));
    }
    Ok(records)
}

/// Whether a record that is set with this stamp makes something new, and does not only end what was
/// there.
fn adds(record: &Record, stamp: Stamp) -> bool {
    let is_new =
        |version: &Version| version.stamp == stamp && matches!(version.content, Content::Object(_));
    match record {
        Record::Row(row) => row.versions.iter().any(is_new),
        Record::Part(part) => !part.ended,
        Record::Upload(upload) => upload.state == UploadState::Open,
        Record::Bucket(_) | Record::Name(_) | Record::AccessKey(_) | Record::Members(_) => false,
    }
}

/// A bucket that is being deleted takes no more rows: asked in the very change that would add them.
fn refuse_closed<E: From<Unavailable>>(
    tx: &Tx<'_>,
    records: &[(RecordId, Record)],
) -> Result<(), Stop<E>> {
    let mut asked = None;
    for (id, _) in records {
        let RecordId::Row(bucket, _) = id else { continue };
        if asked == Some(*bucket) {
            continue;
        }
        asked = Some(*bucket);
        if names::closed(tx, *bucket)? {
            let why = Unavailable::new("the bucket is being deleted or was deleted");
            return Err(Stop::Refused(why.into()));
        }
    }
    Ok(())
}

/// Merges records as changes of this node; the last position that they took in its log.
pub(super) fn merge_all(
    tx: &mut Tx<'_>,
    records: Vec<(RecordId, Record)>,
) -> Result<Option<u64>, store::Error> {
    let mut last = None;
    for (id, record) in records {
        last = tx.merge(id, record, Source::Local)?.seq.or(last);
    }
    Ok(last)
}

/// The blobs of bodies that regions must be asked to hold.
pub(super) fn new_blobs(bodies: &[Body]) -> Vec<BlobId> {
    bodies.iter().filter(|b| b.needs_holders()).filter_map(|b| b.blob.map(|b| b.id)).collect()
}

/// Says in new records where the bytes are: the blobs `new` in `holders`, others where their parts
/// say.
pub(super) fn fill(decided: &mut Decided, own: RegionId, new: &[BlobId], holders: &[RegionId]) {
    for (_, record) in &mut decided.records {
        match record {
            Record::Row(row) => {
                for version in row.versions.iter_mut().filter(|v| v.stamp == decided.stamp) {
                    place(version, own, new, holders);
                }
            }
            Record::Part(part) if new.contains(&part.part.blob.id) => {
                part.part.held_by = holders.to_vec();
            }
            Record::Bucket(_)
            | Record::Name(_)
            | Record::AccessKey(_)
            | Record::Members(_)
            | Record::Upload(_)
            | Record::Part(_) => {}
        }
    }
}

fn place(version: &mut Version, own: RegionId, new: &[BlobId], holders: &[RegionId]) {
    let Content::Object(meta) = &version.content else { return };
    if meta.rides || meta.parts.is_empty() {
        return;
    }
    let names_new = meta.parts.iter().any(|part| new.contains(&part.blob.id));
    if !names_new && !version.placement.holders.is_empty() {
        return;
    }
    let whole = holders_of_all(meta, new, holders);
    let primary = if whole.contains(&own) { Some(own) } else { whole.first().copied() };
    version.placement = Placement {
        holders: whole
            .into_iter()
            .map(|region| (region, Holding { counter: 1, state: HoldState::Held }))
            .collect(),
        primary: primary.map(|region| Primary { epoch: 1, region }),
    };
}

/// The regions that have every part.
fn holders_of_all(meta: &ObjectMeta, new: &[BlobId], holders: &[RegionId]) -> Vec<RegionId> {
    let mut of_parts = meta
        .parts
        .iter()
        .map(|part| if new.contains(&part.blob.id) { holders } else { part.held_by.as_slice() });
    let Some(first) = of_parts.next() else { return Vec::new() };
    let mut whole = first.to_vec();
    for held_by in of_parts {
        whole.retain(|region| held_by.contains(region));
    }
    whole.sort_unstable();
    whole.dedup();
    whole
}
