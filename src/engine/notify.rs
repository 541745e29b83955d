//! Delivery of the events that wait in this region.
//!
//! Invariant: an event is forgotten after its destination has taken it, or after it was given up by
//! a rule with a name; so it is delivered at least once, and perhaps again after a crash. Whose turn
//! it is is decided in `logic::notify::lanes`; HTTP is the courier's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tracing::{error, warn};

use crate::cluster::{Lane, Lost, Waiting};
use crate::env::BoxFuture;
use crate::limits;
use crate::logic::notify::lanes::{Lanes, Outcome, Verdict};
use crate::logic::notify::message::{Form, render};
use crate::logic::notify::{Refusal, Rule, Watch, check};
use crate::types::bucket::SettingKind;
use crate::types::event::Event;
use crate::types::name::{AccountId, BucketName};

use super::index::store_error;
use super::{Engine, Error};

/// Takes messages to the destinations that the node's settings name.
pub trait Courier: Send + Sync {
    /// The form of a destination's messages; `None` for one that the settings do not have.
    fn form(&self, destination: &str) -> Option<Form>;

    /// Whether the buckets of this account may name a destination.
    fn serves(&self, destination: &str, account: &AccountId) -> bool;

    /// Where a destination is.
    fn url(&self, destination: &str) -> Option<String>;

    /// The destination with Tigris' messages at this URL.
    fn at(&self, url: &str) -> Option<String>;

    /// Hands one message over.
    fn post(
        &self,
        destination: &str,
        message: Bytes,
    ) -> BoxFuture<'static, Result<(), Undelivered>>;
}

/// Why a destination did not take a message; the text is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// It could not be reached, took too long, or failed itself.
    Failed(String),
    /// It answered that it does not want this.
    Refused(String),
}

/// A delivery that came to its end.
struct Delivery {
    lane: Lane,
    /// What is still in the queue of what was sent.
    left: Vec<Waiting>,
    outcome: Outcome,
}

impl Engine {
    /// What of a bucket is told to whom.
    pub async fn notifications(&self, bucket: &BucketName) -> Result<Vec<Rule>, Error> {
        let watch: Option<Watch> = self.document(bucket, SettingKind::Notification).await?;
        Ok(watch.map(|watch| watch.rules).unwrap_or_default())
    }

    /// What takes events where the settings say so.
    pub fn courier(&self) -> Option<&dyn Courier> {
        self.courier.as_deref()
    }

    /// Whether this can be the setting of a bucket of this owner here.
    pub fn check_notifications(&self, rules: &[Rule], owner: &AccountId) -> Result<(), Refusal> {
        let courier = self.courier.as_ref();
        check(rules, &|name| courier.is_some_and(|courier| courier.serves(name, owner)))
    }

    /// Sets what was checked.
    pub async fn put_notifications(
        &self,
        bucket: &BucketName,
        rules: Vec<Rule>,
    ) -> Result<(), Error> {
        if rules.is_empty() {
            return self.put_setting(bucket, SettingKind::Notification, None).await;
        }
        let watch = Watch { bucket: bucket.clone(), rules };
        self.put_document(bucket, SettingKind::Notification, &watch).await
    }

    /// Delivers until `stop`. What is on its way then stays in the queue and is sent again later.
    pub async fn deliver_events(&self, stop: impl Future<Output = ()>) {
        let Some(courier) = self.courier.clone() else { return };
        let mut stop = std::pin::pin!(stop);
        let mut lanes: Lanes<Lane, String> = Lanes::new();
        let mut under_way = FuturesUnordered::new();
        loop {
            self.see_lanes(&mut lanes).await;
            let now = self.env().monotonic();
            while let Some((lane, most)) = lanes.take(now) {
                under_way.push(self.deliver(courier.clone(), lane, most));
            }
            let pause = lanes.next_due().map_or(limits::NOTIFY_LOOK_INTERVAL, |due| {
                due.saturating_sub(now).clamp(LOOK_PAUSE_MIN, limits::NOTIFY_LOOK_INTERVAL)
            });
            tokio::select! {
                biased;
                () = &mut stop => return,
                Some(delivery) = under_way.next() => self.settle(&mut lanes, delivery).await,
                () = self.cluster.event_noted() => {}
                () = self.env().sleep(pause) => {}
            }
        }
    }

    /// Reads what waits, for the next turn and for the metrics.
    async fn see_lanes(&self, lanes: &mut Lanes<Lane, String>) {
        let cluster = self.cluster.clone();
        let (all, present) = match self.env().blocking(move || cluster.lanes()).await {
            Ok(found) => found,
            Err(why) => return error!(%why, "the queue of events cannot be read"),
        };
        let now_ms = self.env().now_ms();
        let oldest_ms = present.iter().map(|(_, tally)| now_ms.saturating_sub(tally.oldest_ms));
        let oldest_ms = oldest_ms.max().unwrap_or(0);
        let metrics = self.cluster.notify_metrics();
        let sums = [
            (&metrics.queued, all.events),
            (&metrics.queued_bytes, all.bytes),
            (&metrics.oldest_seconds, oldest_ms / 1000),
        ];
        for (gauge, value) in sums {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        lanes.see(present.into_iter().map(|(lane, _)| {
            let destination = lane.destination.clone();
            (lane, destination)
        }));
    }

    /// Sends the oldest events of a lane as one message.
    async fn deliver(&self, courier: Arc<dyn Courier>, lane: Lane, most: usize) -> Delivery {
        match self.attempt(courier, &lane, most).await {
            Ok((left, outcome)) => Delivery { lane, left, outcome },
            Err(why) => {
                error!(%why, "the queue of events does not work");
                Delivery { lane, left: Vec::new(), outcome: Outcome::Failed }
            }
        }
    }

    async fn attempt(
        &self,
        courier: Arc<dyn Courier>,
        lane: &Lane,
        most: usize,
    ) -> Result<(Vec<Waiting>, Outcome), Error> {
        let (cluster, of) = (self.cluster.clone(), lane.clone());
        let waiting = self.env().blocking(move || cluster.oldest_events(&of, most)).await;
        let now_ms = self.env().now_ms();
        let (old, waiting): (Vec<Waiting>, Vec<Waiting>) =
            waiting.map_err(store_error)?.into_iter().partition(|one| is_old(&one.event, now_ms));
        if !old.is_empty() {
            self.give_up(lane, old, "old").await?;
        }
        if waiting.is_empty() {
            return Ok((waiting, Outcome::Delivered));
        }
        let sent = match self.send(courier, lane, &waiting).await {
            Ok(()) => waiting,
            Err(why) => {
                self.cluster.notify_metrics().failures.inc();
                let (outcome, why) = match why {
                    Undelivered::Failed(why) => (Outcome::Failed, why),
                    Undelivered::Refused(why) => (Outcome::Refused, why),
                };
                let Lane { bucket, destination } = lane;
                warn!(%bucket, destination, why, "events were not taken; sent again later");
                return Ok((waiting, outcome));
            }
        };
        self.cluster.notify_metrics().delivered.inc_by(sent.len() as u64);
        self.cluster.end_events(lane, sent).await.map_err(store_error)?;
        Ok((Vec::new(), Outcome::Delivered))
    }

    async fn send(
        &self,
        courier: Arc<dyn Courier>,
        lane: &Lane,
        waiting: &[Waiting],
    ) -> Result<(), Undelivered> {
        let unknown = || Undelivered::Failed("the settings name no such destination".to_owned());
        let form = courier.form(&lane.destination).ok_or_else(unknown)?;
        // The settings may have changed since the bucket's was made. Where the owner was not known
        // when the event was noted, what was checked then counts.
        let serves = |owner: &AccountId| courier.serves(&lane.destination, owner);
        if !waiting.iter().map(|one| &one.event.owner).all(|o| o.0.is_empty() || serves(o)) {
            return Err(Undelivered::Failed("it does not serve the bucket's owner".to_owned()));
        }
        let events: Vec<Event> = waiting.iter().map(|one| one.event.clone()).collect();
        // A form without a name for any of these has nothing to say.
        let Some(message) = render(form, self.region(), &events) else { return Ok(()) };
        let post = courier.post(&lane.destination, message.into());
        match self.env().timeout(limits::NOTIFY_TIMEOUT, post).await {
            Ok(result) => result,
            Err(_) => Err(Undelivered::Failed("no answer in time".to_owned())),
        }
    }

    /// Takes in what became of a delivery.
    async fn settle(&self, lanes: &mut Lanes<Lane, String>, delivery: Delivery) {
        let Delivery { lane, left, outcome } = delivery;
        let (now, random) = (self.env().monotonic(), self.env().random_u64());
        let verdict = lanes.done(&lane, outcome, left.len(), now, random);
        if verdict == Verdict::GiveUp
            && let Err(why) = self.give_up(&lane, left, "refused").await
        {
            error!(%why, "the queue of events does not work");
        }
    }

    async fn give_up(
        &self,
        lane: &Lane,
        events: Vec<Waiting>,
        why: &'static str,
    ) -> Result<(), Error> {
        let Lane { bucket, destination } = lane;
        error!(%bucket, destination, events = events.len(), why, "events were given up");
        let lost = events.len() as u64;
        self.cluster.notify_metrics().lost.get_or_create(&Lost { why }).inc_by(lost);
        self.cluster.end_events(lane, events).await.map_err(store_error)
    }
}

/// So that a lane that waits for its turn does not make the look-out spin.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(10);

fn is_old(event: &Event, now_ms: u64) -> bool {
    u128::from(now_ms.saturating_sub(event.stamp.hlc.ms())) > limits::NOTIFY_AGE_MAX.as_millis()
}
