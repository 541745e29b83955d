//! A change whose bytes other regions must hold before it is published.
//!
//! The origin notes it durably as pending, followers hold bytes and the pending change durably, the
//! origin publishes, and only then it is answered. Invariant: at every moment either nobody
//! published it and it is pending here, or somebody published it, or everybody who could have held
//! it refuses it for ever; what a crash or a lost caller leaves is decided by `pending`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use crate::env::Class;
use crate::limits;
use crate::net::message::{PendingChange, Request, Response};
use crate::store::SealedBlob;
use crate::types::event::Because;
use crate::types::id::BlobId;
use crate::types::object::BlobRef;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::active::UnderWay;
use super::body::Body;
use super::commit::{Decided, Stop, fill, floor_of, judge, merge_all};
use super::error::Unavailable;
use super::outlet::{Streamed, chunks_of};
use super::pending::{self, PendingEntry};
use super::race::{Rules, race};
use super::view::Quorum;
use super::write::{Decide, Write, Written};

/// A change that is durably pending here.
struct Prepared {
    pending: PendingChange,
    subject: RecordId,
    /// The subject's stamp that was judged: when it moves, the change is decided anew.
    floor: Stamp,
    because: Because,
    /// Removes it from the changes under way when this ends, however it ends.
    _under_way: UnderWay,
}

/// What followers hold bytes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// A change that its origin, or in its absence the follower, publishes.
    Pending,
    /// A value that the register of its key may choose.
    Offered,
}

/// What followers already get, by region and blob.
pub(super) type Streams = Arc<Mutex<BTreeMap<(RegionId, BlobId), Streamed>>>;

impl Cluster {
    pub(super) async fn write_held<E>(
        &self,
        quorum: Quorum,
        write: Write<E>,
        because: Because,
    ) -> Result<Written, E>
    where
        E: From<Unavailable> + Send + 'static,
    {
        let Write { subject, mut bodies, decide } = write;
        let decide = Arc::new(decide);
        let streams = take_streams(&mut bodies);
        let candidates = self.candidates(&quorum, &streams);
        let planned: Vec<RegionId> =
            candidates.iter().copied().take(quorum.followers_needed()).collect();
        let mut prepared = self
            .prepare(&quorum, &planned, subject, bodies, decide.clone())
            .await
            .map_err(Stop::into_error)?;
        prepared.because = because;
        let how = Holding::Pending;
        let held =
            self.hold_at_followers(&quorum, &prepared.pending, candidates, streams, how).await?;
        self.publish(&quorum, prepared, &planned, &held, decide).await.map_err(Stop::into_error)
    }

    /// Where to hold: those that get the bytes already, then the other reachable ones, where the
    /// bytes are here to send.
    pub(super) fn candidates(&self, quorum: &Quorum, streams: &Streams) -> Vec<RegionId> {
        let streams = streams.lock().expect("no holder of this lock panics");
        let mut order: Vec<RegionId> = Vec::new();
        let streamed = streams.keys().map(|(region, _)| *region);
        let others = if quorum.here { quorum.followers() } else { Vec::new() };
        for region in self.nearest(streamed).into_iter().chain(others) {
            if !order.contains(&region) {
                order.push(region);
            }
        }
        order
    }

    async fn prepare<E>(
        &self,
        quorum: &Quorum,
        planned: &[RegionId],
        subject: RecordId,
        bodies: Vec<Body>,
        decide: Arc<Decide<E>>,
    ) -> Result<Prepared, Stop<E>>
    where
        E: From<Unavailable> + Send + 'static,
    {
        let cluster = self.clone();
        let planned = planned.to_vec();
        let here = quorum.here;
        self.inner
            .store
            .write(move |tx| {
                let mut decided = cluster.decide(tx, &subject, &decide)?;
                let floor = decided.floor;
                let under_way = cluster.inner.active.begin(decided.stamp, subject.clone());
                let mut holders = planned.clone();
                holders.extend(here.then(|| cluster.region()));
                holders.sort_unstable();
                let blobs: Vec<BlobRef> = bodies.iter().filter_map(|b| b.blob).collect();
                let new: Vec<BlobId> = blobs.iter().map(|blob| blob.id).collect();
                fill(&mut decided, cluster.region(), &new, &holders);
                let locals: Vec<SealedBlob> = bodies.into_iter().filter_map(|b| b.local).collect();
                let pending = PendingChange {
                    stamp: decided.stamp,
                    origin: cluster.region(),
                    incarnation: cluster.inner.incarnation,
                    followers: planned,
                    records: decided.records,
                    blobs,
                };
                for sealed in locals {
                    tx.attach(sealed)?;
                }
                cluster.keep_clock(tx, pending.stamp)?;
                let entry = PendingEntry::held(pending.clone(), cluster.env().now_ms());
                pending::note(tx, &entry)?;
                let because = Because::default();
                Ok(Prepared { pending, subject, floor, because, _under_way: under_way })
            })
            .await
    }

    /// Returns the followers that hold bytes and change durably.
    pub(super) async fn hold_at_followers(
        &self,
        quorum: &Quorum,
        pending: &PendingChange,
        candidates: Vec<RegionId>,
        streams: Streams,
        how: Holding,
    ) -> Result<Vec<RegionId>, Unavailable> {
        // Bytes take their time on a busy link; a second follower would make it busier.
        let transfer = transfer_time(&pending.blobs);
        let limit = limits::ACK_TIMEOUT + transfer;
        let rules = Rules { need: quorum.followers_needed(), limit };
        let with_patience =
            candidates.into_iter().map(|region| (region, self.patience(region) + transfer));
        let attempt = |region| {
            let (cluster, streams) = (self.clone(), streams.clone());
            let pending = pending.clone();
            async move { cluster.hold_at(region, pending, streams, how).await }
        };
        match race(self.env(), rules, with_patience, attempt).await {
            Ok(held) => Ok(held),
            Err(short) if short.timed_out => Err(quorum.too_late()),
            Err(short) => Err(Unavailable::new(format!(
                "{} regions must hold the bytes and {} do: {}",
                quorum.ack,
                short.successes.len() + usize::from(quorum.here),
                short.failures.join("; ")
            ))),
        }
    }

    async fn hold_at(
        &self,
        region: RegionId,
        pending: PendingChange,
        streams: Streams,
        how: Holding,
    ) -> Result<RegionId, String> {
        let ask = |pending| self.ask_to_hold(region, pending, how);
        self.bring(region, pending, streams, ask).await
    }

    /// Sends a region the bytes of a change, and asks it for what it does with both.
    pub(super) async fn bring<T, F>(
        &self,
        region: RegionId,
        mut pending: PendingChange,
        streams: Streams,
        ask: impl FnOnce(PendingChange) -> F,
    ) -> Result<T, String>
    where
        F: Future<Output = Result<T, String>>,
    {
        let mut coming = Vec::new();
        for blob in &pending.blobs {
            let streamed = {
                let mut streams = streams.lock().expect("no holder of this lock panics");
                streams.remove(&(region, blob.id))
            };
            let done = match streamed {
                Some(Streamed { sent, done, .. }) => sent.await.is_ok().then_some(done),
                None => None,
            };
            match done {
                Some(done) => coming.push((*blob, done)),
                None => self.send_blob(region, blob).await?,
            }
        }
        if !pending.followers.contains(&region) {
            self.note_follower(&mut pending, region).await?;
        }
        // The change follows its bytes on their heels: the follower waits for the last ones.
        let asked = std::pin::pin!(ask(pending));
        let lost = std::pin::pin!(lost_of(coming));
        match select(asked, lost).await {
            Either::Left((held, _)) => held,
            Either::Right((None, asked)) => asked.await,
            Either::Right((Some(blob), asked)) => {
                // The rest of what was sent is still waited for there; it is completed from here.
                let again = self.send_blob(region, &blob);
                let (sent, held) = futures_util::future::join(again, asked).await;
                sent.and(held)
            }
        }
    }

    async fn ask_to_hold(
        &self,
        region: RegionId,
        pending: PendingChange,
        how: Holding,
    ) -> Result<RegionId, String> {
        let stamp = pending.stamp;
        // A large body is synced there before the answer.
        let limit = limits::ACK_TIMEOUT + transfer_time(&pending.blobs);
        let request = match how {
            Holding::Pending => Request::Hold(Box::new(pending)),
            Holding::Offered => Request::HoldOffered(Box::new(pending)),
        };
        match self.call(region, Class::Log, &request, limit).await {
            Ok(Response::Done) => Ok(region),
            Ok(Response::Declined(why)) => Err(format!("{region} will not hold {stamp}: {why}")),
            Ok(other) => Err(format!("{region} answered {} to hold", other.name())),
            Err(why) => Err(format!("{region}: {why}")),
        }
    }

    /// A follower that is joined later is noted before it gets the change, so that it is asked when
    /// the change must be decided after a crash.
    async fn note_follower(
        &self,
        pending: &mut PendingChange,
        region: RegionId,
    ) -> Result<(), String> {
        let stamp = pending.stamp;
        let noted = self
            .inner
            .store
            .write(move |tx| {
                let Some(mut entry) = pending::load(tx, stamp)? else {
                    return Ok::<_, crate::store::Error>(None);
                };
                let Some(change) = entry.change_mut() else { return Ok(None) };
                if !change.followers.contains(&region) {
                    change.followers.push(region);
                }
                let followers = change.followers.clone();
                pending::note(tx, &entry)?;
                Ok(Some(followers))
            })
            .await
            .map_err(|why| why.to_string())?;
        pending.followers = noted.ok_or_else(|| format!("{stamp} is decided already"))?;
        let holders = [pending.origin, region];
        pending::claim(pending, &holders);
        Ok(())
    }

    async fn publish<E>(
        &self,
        quorum: &Quorum,
        prepared: Prepared,
        planned: &[RegionId],
        held: &[RegionId],
        decide: Arc<Decide<E>>,
    ) -> Result<Written, Stop<E>>
    where
        E: From<Unavailable> + Send + 'static,
    {
        let mut acked = held.to_vec();
        acked.extend(quorum.here.then(|| self.region()));
        acked.sort_unstable();
        let as_planned = planned.len() == held.len() && planned.iter().all(|r| held.contains(r));
        let (cluster, holders) = (self.clone(), acked.clone());
        let outcome = self
            .inner
            .store
            .write(move |tx| {
                // Kept until the outcome is durable.
                let Prepared { mut pending, subject, floor, because, _under_way } = prepared;
                let old = pending.stamp;
                let parts = pending.records.iter().any(|(_, r)| matches!(r, Record::Part(_)));
                let again = floor_of(tx, &subject)? != floor || (!as_planned && parts);
                let judged = if again {
                    cluster.decide(tx, &subject, &decide)
                } else {
                    let records = judge(tx, old, &decide);
                    records.map(|records| Decided { stamp: old, records, floor })
                };
                match judged {
                    Ok(mut decided) if again => {
                        let new: Vec<BlobId> = pending.blobs.iter().map(|blob| blob.id).collect();
                        fill(&mut decided, cluster.region(), &new, &holders);
                        (pending.stamp, pending.records) = (decided.stamp, decided.records);
                    }
                    Ok(_) if as_planned => {}
                    Ok(_) => pending::claim(&mut pending, &holders),
                    Err(Stop::Store(why)) => return Err(Stop::Store(why)),
                    Err(why) => {
                        pending::end(tx, old)?;
                        return Ok((_under_way, Err(why)));
                    }
                }
                cluster.keep_clock(tx, pending.stamp)?;
                cluster.note_events(tx, pending.stamp, &because, &pending.records)?;
                let seq = merge_all(tx, pending.records)?;
                pending::end(tx, old)?;
                Ok::<_, Stop<E>>((_under_way, Ok((pending.stamp, seq, again))))
            })
            .await?;
        let (under_way, outcome) = outcome;
        drop(under_way);
        let (stamp, seq, again) = outcome?;
        self.inner.noted.settled();
        if let Some(seq) = seq {
            self.log_grew(seq);
        }
        if again {
            // Followers hold what was decided first; the row that is published now they get by the
            // log.
            self.acknowledged(quorum, seq).await.map_err(|why| Stop::Refused(why.into()))?;
        }
        Ok(Written { stamp, acked })
    }
}

/// The first of these whose pieces did not all arrive; `None` when all did.
async fn lost_of(coming: Vec<(BlobRef, oneshot::Receiver<Result<(), String>>)>) -> Option<BlobRef> {
    for (blob, done) in coming {
        if !matches!(done.await, Ok(Ok(()))) {
            return Some(blob);
        }
    }
    None
}

/// What the bytes of these blobs may take on a busy link or disk.
pub(super) fn transfer_time(blobs: &[BlobRef]) -> Duration {
    limits::CHUNK_TRANSFER_SLACK * blobs.iter().map(|blob| chunks_of(blob.len)).sum::<u32>()
}

pub(super) fn take_streams(bodies: &mut [Body]) -> Streams {
    let mut streams = BTreeMap::new();
    for body in bodies {
        let Some(blob) = body.blob else { continue };
        for streamed in body.streams.drain(..) {
            streams.insert((streamed.region, blob.id), streamed);
        }
    }
    Arc::new(Mutex::new(streams))
}
