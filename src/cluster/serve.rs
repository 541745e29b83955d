//! Answers to peers: one place where each request is given to who knows about it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::env::{BoxFuture, PeerHandler};
use crate::net::message::{Request, Response};
use crate::obs::flow::{self, Context, Ended, Flow, SpanKind};
use crate::store;
use crate::types::position::Positions;
use crate::types::region::RegionId;

use super::Cluster;
use super::hold::Holding;

/// Takes peers' messages. Made before the cluster, because the mesh needs it and the cluster needs
/// the mesh; until the cluster runs it refuses.
#[derive(Default)]
pub struct Handler {
    cluster: OnceLock<Cluster>,
}

impl Handler {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(super) fn serve(&self, cluster: Cluster) {
        assert!(self.cluster.set(cluster).is_ok(), "one handler serves one cluster");
    }
}

impl PeerHandler for Handler {
    fn handle(&self, from: RegionId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let Some(cluster) = self.cluster.get().cloned() else {
            return Box::pin(std::future::ready(Err("starting".to_owned())));
        };
        Box::pin(async move {
            let (request, context) =
                Request::decode_with(&request).map_err(|why| why.to_string())?;
            cluster.admit(from, &request)?;
            cluster.heard_from(from);
            let answered = match context.filter(|_| cluster.inner.options.tracer.is_on()) {
                Some(context) => Box::pin(cluster.traced(from, request, context)).await,
                None => cluster.answer(from, request).await,
            };
            let response = answered.map_err(|why| {
                tracing::error!(%from, %why, "a peer's request failed on this disk");
                why.to_string()
            })?;
            Ok(response.encode())
        })
    }

    fn datagram(&self, from: RegionId, data: Bytes) {
        if let Some(cluster) = self.cluster.get()
            && cluster.members().contains(from)
        {
            cluster.inner.gossip.receive(data);
        }
    }
}

impl Cluster {
    /// Answers as a part of the trace that the question belongs to.
    async fn traced(
        &self,
        from: RegionId,
        request: Request,
        context: Context,
    ) -> Result<Response, store::Error> {
        let (clock, tracer) = (&self.env().clock, &self.inner.options.tracer);
        let (flow, name) = (Flow::begin(clock, tracer, Some(context)), request.name());
        let answer = flow::within(Some(flow.clone()), self.answer(from, request)).await;
        let facts = vec![("godwit.from", from.to_string())];
        let failed = answer.is_err();
        flow.finish(Ended { name, kind: SpanKind::Server, facts, failed });
        answer
    }

    async fn answer(&self, from: RegionId, request: Request) -> Result<Response, store::Error> {
        Ok(match request {
            Request::Ping => Response::Pong,
            Request::Time => Response::Time(self.env().now_ms()),
            Request::LastStamp => Response::LastStamp(self.last_stamp_of(from)?),
            Request::Forward(question) => self.forwarded(question).await,
            Request::Admin(question) => self.told_admin(question).await,
            Request::LogPush(batch) | Request::LogPushKnown { batch, .. }
                if batch.origin != from =>
            {
                Response::Declined("only its origin pushes a log".to_owned())
            }
            Request::LogPush(batch) => {
                let outcome = self.apply(batch, Positions::new()).await?;
                Response::LogApplied { applied: outcome.applied, refused: outcome.refused }
            }
            Request::LogPushKnown { batch, positions } => {
                let outcome = self.apply(batch, positions).await?;
                Response::LogApplied { applied: outcome.applied, refused: outcome.refused }
            }
            Request::LogPullKnown { origin, incarnation, after } => {
                let batch = self.stretch_for(origin, incarnation, after).await?;
                Response::LogStretchKnown { batch, positions: self.known_positions()? }
            }
            Request::LogPull { origin, incarnation, after } => {
                Response::LogStretch(self.stretch_for(origin, incarnation, after).await?)
            }
            Request::Heads(heads) => {
                self.heard_heads(from, heads);
                Response::Heads(self.heads()?)
            }
            Request::Stage { blob, offset, bytes } => {
                done_or_declined(self.take_piece(from, blob, offset, bytes).await)
            }
            Request::Hold(change) => {
                done_or_declined(self.hold(from, *change, Holding::Pending).await)
            }
            Request::HoldOffered(change) => {
                done_or_declined(self.hold(from, *change, Holding::Offered).await)
            }
            Request::Fate(change) => Response::Fate(self.fate(&change)?),
            Request::Settle(change) => Response::Settled { has: self.settled_here(*change).await? },
            Request::DigestGroups => Response::Digests(self.store().digest().groups().to_vec()),
            Request::DigestLeaves(group) => {
                Response::Digests(self.store().digest().leaves(group).to_vec())
            }
            Request::DigestRecords { leaf, after } => self.digest_records(leaf, after.as_ref())?,
            Request::Records(ids) => Response::Records(self.carried(&ids).await?),
            Request::Known(ids) => {
                let records = self.carried(&ids).await?;
                Response::Known { records, positions: self.known_positions()? }
            }
            Request::Manifest { blob, of } => self.give_manifest(&blob, of.as_ref())?,
            Request::Chunk { blob, index, of } => {
                self.give_chunk(&blob, index, of.as_ref()).await?
            }
            Request::Heat(items) => {
                self.take_heat(from, items)?;
                Response::Done
            }
            Request::MakeCopy { of, homes } => done_or_declined(self.accept_copy(of, homes)),
            Request::Confirm(of) => Response::Confirmed(self.confirm(&of).await?),
            Request::Whereabouts { bucket, key } => {
                Response::Whereabouts(self.known_here(bucket, &key)?)
            }
            Request::Register(request) => {
                Response::Register(Box::new(self.registers().answer(from, *request).await?))
            }
        })
    }
}

fn done_or_declined(outcome: Result<(), String>) -> Response {
    match outcome {
        Ok(()) => Response::Done,
        Err(why) => Response::Declined(why),
    }
}
