//! Questions of one region's engine to another's: carried, not understood.
//!
//! Invariant: whoever answers is given this node's cluster and keeps nothing of it, so that a
//! stopped node is let go.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::env::{BoxFuture, Class};
use crate::limits;
use crate::net::message::{Request, Response};
use crate::types::bucket::BucketConfig;
use crate::types::record::RecordId;
use crate::types::region::{RegionId, RegionInfo, Role};

use super::Cluster;
use super::error::Unavailable;

/// Answers a question that another region's engine sent.
pub type AnswerForwarded = fn(Cluster, Bytes) -> BoxFuture<'static, Result<Bytes, String>>;

/// Answers a question that another region's admin API sent. It keeps nothing of the cluster.
pub type AnswerAdmin =
    Arc<dyn Fn(Bytes) -> BoxFuture<'static, Result<Bytes, String>> + Send + Sync>;

impl Cluster {
    /// Says who answers questions of other regions' admin APIs. The first one stays.
    pub fn answer_admin(&self, by: AnswerAdmin) {
        self.inner.people.admin.get_or_init(|| by);
    }

    /// Asks the admin API of another region.
    pub async fn ask_admin(
        &self,
        to: RegionId,
        question: Bytes,
        limit: Duration,
    ) -> Result<Bytes, Unavailable> {
        self.asked(to, Request::Admin(question), limit).await
    }

    /// Says who answers questions from now on. The first one stays.
    pub fn answer_forwarded(&self, by: AnswerForwarded) {
        self.inner.forwarded.get_or_init(|| by);
    }

    /// Asks the engine of another region.
    pub async fn forward(
        &self,
        to: RegionId,
        question: Bytes,
        limit: Duration,
    ) -> Result<Bytes, Unavailable> {
        if question.len() > limits::MESSAGE_BYTES_MAX - limits::FORWARD_ENVELOPE_BYTES {
            return Err(Unavailable::new(format!("the request is too long to be sent to {to}")));
        }
        self.asked(to, Request::Forward(question), limit).await
    }

    async fn asked(
        &self,
        to: RegionId,
        request: Request,
        limit: Duration,
    ) -> Result<Bytes, Unavailable> {
        match self.call(to, Class::Log, &request, limit).await {
            Ok(Response::Forwarded(answer)) => Ok(answer),
            Ok(Response::Declined(why)) => Err(Unavailable::new(format!("region {to}: {why}"))),
            Ok(other) => Err(Unavailable::new(format!("region {to} answered {}", other.name()))),
            Err(why) => Err(Unavailable::new(format!("region {to}: {why}"))),
        }
    }

    pub(super) async fn forwarded(&self, question: Bytes) -> Response {
        let Some(answer) = self.inner.forwarded.get() else {
            return Response::Declined("starting".to_owned());
        };
        match answer(self.clone(), question).await {
            Ok(answer) => Response::Forwarded(answer),
            Err(why) => Response::Declined(why),
        }
    }

    pub(super) async fn told_admin(&self, question: Bytes) -> Response {
        let Some(answer) = self.inner.people.admin.get() else {
            return Response::Declined("starting".to_owned());
        };
        match answer(question).await {
            Ok(answer)
                if answer.len() <= limits::MESSAGE_BYTES_MAX - limits::FORWARD_ENVELOPE_BYTES =>
            {
                Response::Forwarded(answer)
            }
            Ok(answer) => Response::Declined(format!("{} bytes are too many", answer.len())),
            Err(why) => Response::Declined(why),
        }
    }

    /// Takes in records as another region has them, ahead of its log. Ends well only when what it has
    /// is here then.
    pub async fn learn_from(
        &self,
        region: RegionId,
        ids: Vec<RecordId>,
    ) -> Result<(), Unavailable> {
        let limit = limits::ACK_TIMEOUT;
        match self.call(region, Class::Read, &Request::Known(ids), limit).await {
            Ok(Response::Known { records, positions }) => {
                let taken =
                    self.take_in(records.into_iter().flatten().collect(), positions).await?;
                taken.all().map(|_| ())
            }
            Ok(other) => {
                Err(Unavailable::new(format!("region {region} answered {}", other.name())))
            }
            Err(why) => Err(Unavailable::new(format!("region {region}: {why}"))),
        }
    }

    /// Takes in a record from so many regions that every change of it that was answered is here
    /// then, wherever it was made: `ack` of the regions that count for the bucket have applied it,
    /// and fewer than that are not asked.
    pub async fn catch_up(&self, config: &BucketConfig, id: &RecordId) -> Result<(), Unavailable> {
        let own = self.region();
        let counts =
            |info: &&RegionInfo| info.role != Role::Cache && config.location.allows(info.id);
        let counted: Vec<RegionId> =
            self.members().regions().filter(counts).map(|i| i.id).collect();
        // A region that joins may count elsewhere already, where it does not here.
        let sure = self.members().holders().filter(counts).count();
        let acked = config.ack.required(sure.min(counted.len())).min(counted.len());
        let needed = counted.len() + 1 - acked;
        let mut heard = usize::from(counted.contains(&own));
        let others = counted.into_iter().filter(|region| *region != own);
        let mut asked: FuturesUnordered<_> =
            others.map(|region| self.learn_from(region, vec![id.clone()])).collect();
        let mut last = None;
        while heard < needed {
            match asked.next().await {
                Some(Ok(())) => heard += 1,
                Some(Err(why)) => last = Some(why),
                None => {
                    let why = last.map_or_else(String::new, |why| format!(": {}", why.reason));
                    let reason = format!("{heard} of {needed} regions say what they know{why}");
                    return Err(Unavailable::new(reason));
                }
            }
        }
        Ok(())
    }
}
