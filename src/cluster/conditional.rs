//! Changes of a key that its register decides: conditional ones, and every one where strong
//! consistency is asked for.
//!
//! A body that does not ride is held by `ack` regions before a value that names it can be chosen
//! (`offer` says how); a body that rides goes with the value. Then the register decides, the chosen
//! row is merged here, and it is answered.
//!
//! Invariants: the row is merged only when it is known to be chosen; what is refused was judged by
//! a full round, never on what this region remembers. Bytes that were offered are let go only after
//! a round of promises has shown that no value will name them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::env::Class;
use crate::limits;
use crate::logic::merge::merge;
use crate::logic::register::{Outcome, Value};
use crate::net::message::{Fate, PendingChange, Request, Response};
use crate::store::{self, SealedBlob};
use crate::types::bucket::BucketConfig;
use crate::types::event::Because;
use crate::types::id::{BlobId, OpId};
use crate::types::object::{Row, Version};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::batch::blobs_of;
use super::body::Body;
use super::commit::{Decided, Stop, fill, merge_all};
use super::error::{Contested, Unavailable};
use super::offer::{Holders, Offer};
use super::pending;
use super::register::{Operation, attach, fold, known};
use super::rules::Rule;
use super::view::Quorum;
use super::write::{Decide, View, Write, Written};

/// What the end of an operation writes down.
struct Settling {
    subject: RecordId,
    /// Known to be chosen.
    value: Option<Value<Record>>,
    /// The change, where it is what was chosen.
    decided: Option<Decided>,
    sealed: Vec<SealedBlob>,
    /// The offer of its bytes that is over.
    offered: Option<Stamp>,
    because: Because,
}

/// What every judgement of one operation decided, by the stamp that it was given, and the last
/// refusal. A later proposal may be the one that was chosen, or an earlier one.
struct Judgements<E> {
    decided: Mutex<BTreeMap<Stamp, Decided>>,
    last: Mutex<Option<Result<Stamp, Stop<E>>>>,
}

impl<E> Default for Judgements<E> {
    fn default() -> Self {
        Self { decided: Mutex::default(), last: Mutex::default() }
    }
}

impl<E> Judgements<E> {
    fn note(&self, outcome: Result<Decided, Stop<E>>) {
        let last = outcome.map(|decided| {
            let stamp = decided.stamp;
            let mut all = self.decided.lock().expect("no holder of this lock panics");
            all.insert(stamp, decided);
            stamp
        });
        *self.last.lock().expect("no holder of this lock panics") = Some(last);
    }

    fn take_last(&self) -> Option<Result<Stamp, Stop<E>>> {
        self.last.lock().expect("no holder of this lock panics").take()
    }

    /// What the operation did: the change that was chosen, or one that had nothing to do.
    fn take_decided(&self, outcome: &Outcome<Record>) -> Option<Decided> {
        let stamp = match outcome {
            Outcome::Chosen { value, .. } => self.chosen(value)?,
            Outcome::Refused { .. } => {
                match &*self.last.lock().expect("no holder of this lock panics") {
                    Some(Ok(stamp)) => *stamp,
                    Some(Err(_)) | None => return None,
                }
            }
            Outcome::Conflict { .. } | Outcome::Read { .. } => return None,
        };
        self.decided.lock().expect("no holder of this lock panics").remove(&stamp)
    }

    /// Which of them a chosen value is, or comes from.
    fn chosen(&self, value: &Value<Record>) -> Option<Stamp> {
        let all = self.decided.lock().expect("no holder of this lock panics");
        if all.contains_key(&value.stamp) {
            return Some(value.stamp);
        }
        let Record::Row(row) = &value.state else { return None };
        let of_row = row.versions.iter().map(|version| version.stamp);
        of_row.chain(row.erased.values().map(|e| e.at)).find(|stamp| all.contains_key(stamp))
    }
}

/// One operation, as its judgements see it.
struct Judge<E> {
    cluster: Cluster,
    subject: RecordId,
    decide: Decide<E>,
    blobs: Vec<BlobId>,
    holders: Holders,
    judgements: Arc<Judgements<E>>,
}

impl<E: From<Unavailable>> Judge<E> {
    /// The value that the change makes of `current`; `None` where it changes nothing.
    fn judge(&self, current: Option<&Value<Record>>, stamp: Stamp) -> Option<Record> {
        match self.decided(current, stamp) {
            Ok((decided, value)) => {
                self.judgements.note(Ok(decided));
                value
            }
            Err(why) => {
                self.judgements.note(Err(why));
                None
            }
        }
    }

    fn decided(
        &self,
        current: Option<&Value<Record>>,
        stamp: Stamp,
    ) -> Result<(Decided, Option<Record>), Stop<E>> {
        let snapshot = self.cluster.store().read()?;
        let read = |id: &RecordId| {
            let local = snapshot.record(id)?;
            if *id != self.subject {
                return Ok(local);
            }
            Ok(current.map(|current| Record::Row(as_of(local, current))))
        };
        let records = (self.decide)(&View { records: &read }, stamp).map_err(Stop::Refused)?;
        let floor = current.map_or(Stamp::ZERO, |value| value.stamp);
        let mut decided = Decided { stamp, records, floor };
        fill(&mut decided, self.cluster.region(), &self.blobs, &self.holders.named());
        let change = decided.records.iter().find(|(id, _)| *id == self.subject);
        let value = change.map(|(_, change)| after(current, change));
        Ok((decided, value))
    }
}

/// A row as a register's value says that it is: what arrived here since is left out, because the
/// voters that were asked do not know it; older versions, which the value leaves out, are added.
pub(super) fn as_of(local: Option<Record>, value: &Value<Record>) -> Row {
    let Record::Row(mut row) = value.state.clone() else { return Row::default() };
    let Some(Record::Row(local)) = local else { return row };
    if local.made_stamp() <= value.stamp {
        return together(local, Record::Row(row));
    }
    let known: BTreeSet<Stamp> = row.versions.iter().map(|version| version.stamp).collect();
    let older = |v: &Version| !v.null && v.stamp <= value.stamp && !known.contains(&v.stamp);
    row.versions.extend(local.versions.into_iter().filter(older));
    row.versions.sort_by_key(|version| std::cmp::Reverse(version.stamp));
    row.versions.retain(|version| !row.erased.contains_key(&version.stamp));
    row
}

fn together(row: Row, with: Record) -> Row {
    match merge(Some(Record::Row(row)), with).record {
        Record::Row(row) => row,
        Record::AccessKey(_)
        | Record::Members(_)
        | Record::Bucket(_)
        | Record::Name(_)
        | Record::Part(_)
        | Record::Upload(_) => unreachable!("a row stays a row"),
    }
}

/// What a register holds after a change: the change, and what it was judged on as far as it stays.
fn after(current: Option<&Value<Record>>, change: &Record) -> Record {
    let before = match current.map(|value| &value.state) {
        Some(Record::Row(row)) => Row { erased: BTreeMap::new(), ..row.head() },
        Some(_) | None => Row::default(),
    };
    merge(Some(Record::Row(before)), change.clone()).record
}

impl Cluster {
    /// Makes one change of a key in the one order that all regions see. After an error that came by
    /// a time-out the change may still take effect.
    pub async fn write_linearizable<E>(
        &self,
        config: &Arc<BucketConfig>,
        write: Write<E>,
        because: Because,
        op: Option<OpId>,
    ) -> Result<Written, E>
    where
        E: From<Unavailable> + From<Contested> + Send + 'static,
    {
        let registers = self.registers();
        if registers.is_alone() {
            return self.write_alone(config, write, because).await;
        }
        let quorum = self.quorum(config);
        quorum.check()?;
        let Write { subject, mut bodies, decide } = write;
        let riding = riding_bodies(&bodies);
        let mut offer = match bodies.iter().any(Body::needs_holders) {
            true => Some(self.offer(&quorum, &subject, &mut bodies).await?),
            false => None,
        };
        let locals: Vec<SealedBlob> = bodies.into_iter().filter_map(|body| body.local).collect();
        let judgements = Arc::new(Judgements::default());
        let judge = Judge {
            cluster: self.clone(),
            subject: subject.clone(),
            decide,
            blobs: offer.as_ref().map_or(Vec::new(), Offer::blobs),
            holders: offer.as_ref().map_or_else(Holders::default, Offer::holders),
            judgements: judgements.clone(),
        };
        let operation = Operation {
            id: subject.clone(),
            op: op.unwrap_or_else(|| registers.fresh_op()),
            judge: Some(Arc::new(move |current, stamp| judge.judge(current, stamp))),
            bodies: riding,
        };
        let limit = limits::REGISTER_TIMEOUT + offer.as_ref().map_or(Duration::ZERO, Offer::time);
        let ended = registers.run_among_voters(operation, offer.as_mut(), limit).await?;
        let mut sealed = locals;
        if let Some(value) = known(&ended.outcome) {
            let bodies = registers.seal_bodies(&value.state, &ended.bodies).await;
            sealed.extend(bodies.map_err(Unavailable::from)?);
        }
        let decided = judgements.take_decided(&ended.outcome);
        let outcome = ended.outcome;
        let stamp = decided.as_ref().map(|decided| decided.stamp);
        // A change that may still take effect keeps its bytes.
        let settled = !matches!(outcome, Outcome::Conflict { .. });
        let settling = Settling {
            subject,
            value: known(&outcome).cloned(),
            decided,
            sealed,
            offered: offer.as_ref().map(Offer::stamp).filter(|_| settled),
            because,
        };
        let seq = self.settle_outcome(settling).await?;
        let mut acked: BTreeSet<RegionId> = ended.accepted_by;
        acked.extend(offer.iter().flat_map(|offer| offer.holders().named()));
        drop(offer);
        let Some(stamp) = stamp else {
            return Err(match (outcome, judgements.take_last()) {
                (Outcome::Refused { .. }, Some(Err(why))) => why.into_error(),
                (_, _) => Contested.into(),
            });
        };
        self.kept(&quorum, stamp, seq, acked).await.map_err(E::from)
    }

    /// The only region's disk is the order. One that is alone no more when it decides has no order
    /// of its own.
    async fn write_alone<E>(
        &self,
        config: &Arc<BucketConfig>,
        write: Write<E>,
        because: Because,
    ) -> Result<Written, E>
    where
        E: From<Unavailable> + From<Contested> + Send + 'static,
    {
        // Of one who was a member a moment ago.
        let waited = self.registers().wait_for_leases(&write.subject, Stamp::ZERO).await;
        waited.map_err(Unavailable::from)?;
        let (cluster, Write { subject, bodies, decide }) = (self.clone(), write);
        let decide: Decide<E> = Box::new(move |view, stamp| {
            if !cluster.registers().is_alone() {
                return Err(Contested.into());
            }
            decide(view, stamp)
        });
        self.write_because(config, Write { subject, bodies, decide }, because).await
    }

    /// Merges what is known to be chosen, and what else the change sets where it is the one that
    /// was chosen; one write of this disk.
    async fn settle_outcome(&self, settling: Settling) -> Result<Option<u64>, Unavailable> {
        let cluster = self.clone();
        let Settling { subject, value, decided, sealed, offered, because } = settling;
        let seq = self
            .inner
            .store
            .write(move |tx| {
                attach(tx, sealed)?;
                let mut seq = None;
                if let Some(decided) = decided {
                    cluster.keep_clock(tx, decided.stamp)?;
                    cluster.note_events(tx, decided.stamp, &because, &decided.records)?;
                    seq = merge_all(tx, decided.records)?;
                }
                if let Some(value) = value {
                    seq = fold(tx, &subject, &value)?.or(seq);
                }
                if let Some(stamp) = offered {
                    pending::end(tx, stamp)?;
                }
                Ok::<_, store::Error>(seq)
            })
            .await?;
        self.inner.noted.settled();
        if let Some(seq) = seq {
            self.log_grew(seq);
        }
        Ok(seq)
    }

    /// Waits until `ack` regions have the change where the voters and holders are not enough.
    async fn kept(
        &self,
        quorum: &Quorum,
        stamp: Stamp,
        seq: Option<u64>,
        by: BTreeSet<RegionId>,
    ) -> Result<Written, Unavailable> {
        let mut acked: Vec<RegionId> = by.into_iter().filter(|r| *r != self.region()).collect();
        if quorum.wanted(0).is_met_by(&acked) {
            acked.extend(quorum.here.then(|| self.region()));
            acked.sort_unstable();
            return Ok(Written { stamp, acked });
        }
        let acked = self.acknowledged(quorum, seq).await?;
        Ok(Written { stamp, acked })
    }

    /// Reads a key's row in the one order that all regions see.
    pub async fn row_linearizable(&self, id: &RecordId) -> Result<Option<Row>, Unavailable> {
        let registers = self.registers();
        if registers.is_alone() {
            return Ok(match self.inner.store.read()?.record(id)? {
                Some(Record::Row(row)) => Some(row),
                Some(_) | None => None,
            });
        }
        let current = registers.look(id, limits::REGISTER_TIMEOUT).await?;
        let Some(value) = current else { return Ok(None) };
        self.learn_bodies(id, &value).await?;
        Ok(Some(as_of(self.inner.store.read()?.record(id)?, &value)))
    }

    /// Whether an operation, perhaps of an earlier life of this node, took effect, as far as the
    /// key's register remembers: the stamp of the key, which is its own or a later one.
    pub async fn took_effect(&self, id: &RecordId, op: OpId) -> Result<Option<Stamp>, Unavailable> {
        let current = self.registers().look(id, limits::REGISTER_TIMEOUT).await?;
        Ok(current.filter(|value| value.ops.contains(&op)).map(|value| value.stamp))
    }

    /// A value whose bytes ride and did not come with it: some voter's record has them.
    pub(super) async fn learn_bodies(
        &self,
        id: &RecordId,
        value: &Value<Record>,
    ) -> Result<(), Unavailable> {
        for blob in super::batch::riding(&value.state) {
            if !self.inner.store.holds(&blob.id)? {
                self.ask_voters(id.clone(), limits::VOTERS_MAX).await?;
                break;
            }
        }
        Ok(())
    }
}

fn riding_bodies(bodies: &[Body]) -> Vec<(BlobId, Bytes)> {
    let with_bytes = bodies.iter().filter_map(|body| Some((body.blob?.id, body.bytes.clone()?)));
    with_bytes.collect()
}

impl Cluster {
    /// Decides about bytes that were offered and whose operation is over, or whose origin is.
    pub(super) async fn resolve_offered(
        &self,
        change: PendingChange,
        since_ms: u64,
    ) -> Result<(), store::Error> {
        let stamp = change.stamp;
        let over = match change.records.first() {
            None => true,
            Some((subject, _)) => self.is_offer_over(&change, subject, since_ms).await?,
        };
        if over {
            self.inner.store.write(move |tx| pending::end(tx, stamp)).await?;
        }
        Ok(())
    }

    /// A region that was removed proposes and accepts nothing any more.
    fn has_no_say(&self, region: RegionId) -> bool {
        !self.members().contains(region) && self.keeps(Rule::RemovedHaveNoSay)
    }

    /// A follower that has not got bytes and value yet takes neither from now on; false while one
    /// may still.
    async fn is_refused_by_followers(&self, change: &PendingChange, since_ms: u64) -> bool {
        let asked = change.followers.iter().map(|region| async move {
            let request = Request::Settle(Box::new(change.clone()));
            let answer = self.call(*region, Class::Log, &request, limits::ACK_TIMEOUT).await;
            matches!(answer, Ok(Response::Settled { .. })) || self.has_no_say(*region)
        });
        let told = join_all(asked).await.into_iter().all(|told| told);
        let kept_ms = u128::from(self.env().now_ms().saturating_sub(since_ms));
        told || kept_ms >= limits::OFFER_KEPT_MAX.as_millis()
    }

    /// True when a record names the offered bytes, or no value ever will.
    async fn is_offer_over(
        &self,
        change: &PendingChange,
        subject: &RecordId,
        since_ms: u64,
    ) -> Result<bool, store::Error> {
        let named = |record: &Record| {
            let blobs = blobs_of(record);
            change.blobs.iter().any(|blob| blobs.contains(blob))
        };
        if self.inner.store.read()?.record(subject)?.as_ref().is_some_and(named) {
            return Ok(true);
        }
        let own = change.origin == self.region() && change.incarnation == self.inner.incarnation;
        if !own {
            let kept_ms = u128::from(self.env().now_ms().saturating_sub(since_ms));
            if kept_ms < limits::PENDING_ASK_AFTER.as_millis() {
                return Ok(false);
            }
            let request = Request::Fate(Box::new(change.clone()));
            let limit = limits::PENDING_ASK_AFTER;
            match self.call(change.origin, Class::Log, &request, limit).await {
                Ok(Response::Fate(Fate::Underway)) => return Ok(false),
                Ok(Response::Fate(Fate::Discarded | Fate::Published)) => {
                    // Its origin has merged what was chosen.
                    let ids = vec![subject.clone()];
                    return Ok(self.learn_from(change.origin, ids).await.is_ok());
                }
                Ok(Response::Fate(Fate::Unknown)) => {}
                Ok(_) | Err(_) if self.has_no_say(change.origin) => {}
                Ok(_) | Err(_) if kept_ms < limits::OFFER_KEPT_MAX.as_millis() => {
                    return Ok(false);
                }
                Ok(_) | Err(_) => {}
            }
        }
        if own && !self.is_refused_by_followers(change, since_ms).await {
            return Ok(false);
        }
        // What is chosen is merged by this, and names its bytes from then on.
        match self.registers().look_and_fence(subject, limits::REGISTER_TIMEOUT).await {
            Ok(_) => Ok(true),
            Err(why) => {
                tracing::debug!(stamp = %change.stamp, %why, "offered bytes are kept for now");
                Ok(false)
            }
        }
    }
}
