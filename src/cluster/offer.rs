//! Bytes that regions hold for a value of a register that is not chosen yet.
//!
//! A body that does not ride must lie in `ack` regions before any value that names it can be
//! chosen: a chosen row must not name bytes that were lost with their origin. While voters are asked
//! for promises the bytes are brought to a follower. Where the promise is there already (a warm
//! ballot), a follower that is a voter gets bytes and value in one message, keeps the bytes and
//! accepts the value in one write of its disk, and only then the other voters get the value: its one
//! answer says both.
//!
//! Invariant: a voter that accepted the value, or may have, has the bytes or was asked after `ack`
//! regions had them. A value names as holders only regions that hold its bytes when it is accepted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use crate::limits;
use crate::logic::register::change::Electorate;
use crate::net::message::PendingChange;
use crate::store::SealedBlob;
use crate::types::id::BlobId;
use crate::types::object::{BlobRef, Row};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::active::UnderWay;
use super::body::Body;
use super::commit::new_blobs;
use super::error::Unavailable;
use super::hold::{Holding, Streams, take_streams, transfer_time};
use super::pending::{self, PendingEntry};
use super::register::attach;
use super::view::Quorum;

/// Bytes on their way to those who shall hold them for a value.
pub(super) struct Offer {
    cluster: Cluster,
    quorum: Quorum,
    change: PendingChange,
    candidates: Vec<RegionId>,
    streams: Streams,
    holders: Holders,
    held: Held,
    /// Nobody else decides about them until this is dropped.
    _under_way: UnderWay,
}

/// The regions that a value names as holders of its bytes, as far as that is known by now.
#[derive(Clone, Default)]
pub(super) struct Holders(Arc<Mutex<Vec<RegionId>>>);

impl Holders {
    pub(super) fn named(&self) -> Vec<RegionId> {
        self.0.lock().expect("no holder of this lock panics").clone()
    }

    fn name(&self, mut regions: Vec<RegionId>) {
        regions.sort_unstable();
        *self.0.lock().expect("no holder of this lock panics") = regions;
    }
}

/// Whether enough regions have the bytes.
enum Held {
    /// Nobody was asked yet.
    Not,
    /// This one is asked together with the value.
    With(RegionId),
    Coming(oneshot::Receiver<Result<Vec<RegionId>, Unavailable>>),
    Yes,
}

impl Cluster {
    /// Notes durably that regions will hold bytes for a value.
    pub(super) async fn offer(
        &self,
        quorum: &Quorum,
        subject: &RecordId,
        bodies: &mut [Body],
    ) -> Result<Offer, Unavailable> {
        let streams = take_streams(bodies);
        let candidates = self.candidates(quorum, &streams);
        let planned: Vec<RegionId> =
            candidates.iter().copied().take(quorum.followers_needed()).collect();
        let stamp = self.stamp(Stamp::ZERO);
        let blobs: Vec<BlobRef> =
            bodies.iter().filter(|b| b.needs_holders()).filter_map(|b| b.blob).collect();
        let change = PendingChange {
            stamp,
            origin: self.region(),
            incarnation: self.inner.incarnation,
            followers: planned,
            records: vec![(subject.clone(), Record::Row(Row::default()))],
            blobs,
        };
        let under_way = self.inner.active.begin(stamp, subject.clone());
        let locals: Vec<SealedBlob> = bodies.iter_mut().filter_map(|b| b.local.take()).collect();
        let (cluster, noted) = (self.clone(), change.clone());
        self.inner
            .store
            .write(move |tx| {
                attach(tx, locals)?;
                cluster.keep_clock(tx, stamp)?;
                let since_ms = cluster.env().now_ms();
                pending::note(tx, &PendingEntry::Offered { change: noted, since_ms })
            })
            .await?;
        debug_assert_eq!(new_blobs(bodies).len(), change.blobs.len());
        Ok(Offer {
            cluster: self.clone(),
            quorum: quorum.clone(),
            change,
            candidates,
            streams,
            holders: Holders::default(),
            held: Held::Not,
            _under_way: under_way,
        })
    }
}

impl Offer {
    pub(super) fn stamp(&self) -> Stamp {
        self.change.stamp
    }

    pub(super) fn blobs(&self) -> Vec<BlobId> {
        self.change.blobs.iter().map(|blob| blob.id).collect()
    }

    pub(super) fn holders(&self) -> Holders {
        self.holders.clone()
    }

    /// What bringing the bytes may take.
    pub(super) fn time(&self) -> Duration {
        limits::ACK_TIMEOUT + transfer_time(&self.change.blobs)
    }

    /// Has regions hold the bytes, beside what else happens.
    pub(super) fn begin(&mut self) {
        match self.held {
            Held::Coming(_) | Held::Yes => return,
            Held::Not => {}
            Held::With(first) => {
                // It had its time; the others are asked before it.
                self.candidates.retain(|region| *region != first);
                self.candidates.push(first);
            }
        }
        if self.quorum.followers_needed() == 0 {
            self.held_by(Vec::new());
            return;
        }
        let (mut tell, coming) = oneshot::channel();
        let (cluster, quorum, change) =
            (self.cluster.clone(), self.quorum.clone(), self.change.clone());
        let (candidates, streams) = (self.candidates.clone(), self.streams.clone());
        self.cluster.spawn("offer-hold", async move {
            let held = {
                let how = Holding::Offered;
                let held = cluster.hold_at_followers(&quorum, &change, candidates, streams, how);
                match select(std::pin::pin!(held), std::pin::pin!(tell.closed())).await {
                    Either::Left((held, _)) => held,
                    // The operation is over.
                    Either::Right(((), _)) => return,
                }
            };
            // Nobody listens once the operation is over.
            let _ = tell.send(held);
        });
        self.held = Held::Coming(coming);
    }

    /// Knows who holds the bytes before a value names them, or who will when it accepts the value.
    pub(super) async fn name_holders(&mut self, voters: &Electorate) -> Result<(), Unavailable> {
        if matches!(self.held, Held::Not) {
            let alone = self.quorum.followers_needed() == 1;
            match self.candidates.first().filter(|first| alone && voters.has(**first)) {
                Some(first) => self.held = Held::With(*first),
                None => self.begin(),
            }
        }
        match &mut self.held {
            Held::Not | Held::Yes => {}
            Held::With(first) => {
                let first = *first;
                self.name(vec![first]);
            }
            Held::Coming(coming) => match coming.await {
                Ok(held) => self.held_by(held?),
                Err(_) => return Err(Unavailable::new("this node stops")),
            },
        }
        Ok(())
    }

    /// Who gets the value before all others, together with the bytes.
    pub(super) fn first(&self) -> Option<RegionId> {
        match self.held {
            Held::With(first) => Some(first),
            Held::Not | Held::Coming(_) | Held::Yes => None,
        }
    }

    /// Brings the bytes to `region` and `ask`s it for both; `None` when it makes no progress.
    pub(super) async fn hold_with<T, F>(
        &self,
        region: RegionId,
        ask: impl FnOnce(PendingChange) -> F,
    ) -> Option<Result<T, String>>
    where
        F: Future<Output = Result<T, String>>,
    {
        let patience = self.cluster.patience(region) + transfer_time(&self.change.blobs);
        let streams = self.streams.clone();
        let held = Box::pin(self.cluster.bring(region, self.change.clone(), streams, ask));
        self.cluster.env().timeout(patience, held).await.ok()
    }

    /// These hold the bytes, besides this region.
    pub(super) fn held_by(&mut self, regions: Vec<RegionId>) {
        self.name(regions);
        self.held = Held::Yes;
    }

    fn name(&self, mut regions: Vec<RegionId>) {
        regions.extend(self.quorum.here.then(|| self.cluster.region()));
        self.holders.name(regions);
    }
}
