//! Operations on registers, and what is done with their outcome.
//!
//! A register belongs to a replicated record: a bucket's name, or the row of a key that was ever
//! written with a condition. Its value is a state of that record; what is known to be chosen is
//! merged into the record, and so goes into the log like any change.
//!
//! Invariant: what is folded into a record is what an outcome says is chosen, nothing else. With
//! this node as the only voter, an operation is one change of this disk.
//! What this does not do: ask the voters (`rounds`), answer other nodes' questions (`acceptor`), or
//! know what a name is for (`names`) or how a conditional write gets its bytes to its regions
//! (`conditional`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::env::Env;
use crate::limits;
use crate::logic::register::acceptor::Cell;
use crate::logic::register::proposer::{Kind, Plan, Proposer, Step, Warm};
use crate::logic::register::{Outcome, RowValue, Value, row_value};
use crate::net::registers::{Bodies, Counters, LogEnd};
use crate::store::{self, SealedBlob, Source, Store, Table, Tx};
use crate::types::id::{BlobId, OpId};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::acceptor::Acceptor;
use super::batch::riding;
use super::cells::{load_cell, row_of, save_cell};
use super::error::Unavailable;
use super::keys::Accepted;
use super::lease::Leases;
use super::offer::Offer;

/// Decides on the current state: `Some` changes it under this stamp, `None` refuses.
pub(super) type Judge =
    Arc<dyn Fn(Option<&Value<Record>>, Stamp) -> Option<Record> + Send + Sync + 'static>;

/// What a node remembers of registers besides its store.
pub(super) struct RegisterState {
    pub(super) acceptor: Acceptor,
    pub(super) accepted_keys: Accepted,
    pub(super) leases: Leases,
    /// Names and access keys that no register knew, and when that was.
    absent: Mutex<BTreeMap<RecordId, Duration>>,
    /// Ballots that voters promised with their last acceptance, and since when.
    warm: Mutex<BTreeMap<RecordId, (Warm<Record>, Duration)>>,
}

impl RegisterState {
    /// Counts a start of this data directory, whose log ended there.
    pub(super) async fn open(
        env: &Env,
        store: &Store,
        opened: (u64, u64),
    ) -> Result<Self, store::Error> {
        let (boot, may_have_granted) = store
            .write(|tx| {
                let boot = tx.get::<u64>(Table::Meta, BOOT_KEY)?.unwrap_or(0) + 1;
                tx.put(Table::Meta, BOOT_KEY, &boot)?;
                Ok::<_, store::Error>((boot, Leases::may_have_granted(tx)?))
            })
            .await?;
        let (incarnation, nonce) = (store.incarnation(), env.random_u64());
        let opened = LogEnd(opened.0, opened.1);
        let acceptor = Acceptor::new(Counters { incarnation, boot, nonce }, opened);
        Ok(Self {
            acceptor,
            accepted_keys: Accepted::default(),
            leases: Leases::new(env, nonce, may_have_granted),
            absent: Mutex::default(),
            warm: Mutex::default(),
        })
    }

    fn warm(&self) -> std::sync::MutexGuard<'_, BTreeMap<RecordId, (Warm<Record>, Duration)>> {
        self.warm.lock().expect("no holder of this lock panics")
    }

    /// A ballot that was promised is used once.
    pub(super) fn take_warm(&self, id: &RecordId, now: Duration) -> Option<Warm<Record>> {
        let (warm, since) = self.warm().remove(id)?;
        (now < since + limits::WARM_BALLOT_KEPT).then_some(warm)
    }

    /// The voters change: what they promised is not used any more.
    pub(super) fn burn_warm(&self) {
        self.warm().clear();
    }

    pub(super) fn keep_warm(&self, id: &RecordId, warm: Warm<Record>, now: Duration) {
        let mut kept = self.warm();
        if kept.len() >= limits::WARM_BALLOTS_MAX {
            kept.retain(|_, (_, since)| now < *since + limits::WARM_BALLOT_KEPT);
        }
        if kept.len() < limits::WARM_BALLOTS_MAX {
            kept.insert(id.clone(), (warm, now));
        }
    }
}

/// Where the starts of this data directory are counted.
const BOOT_KEY: &[u8] = b"register-boot";

/// Registers as this node uses and keeps them.
#[derive(Clone)]
pub(super) struct Registers {
    cluster: Cluster,
}

/// One change of a record's register, or one look at it.
#[derive(Clone)]
pub(super) struct Operation {
    pub(super) id: RecordId,
    pub(super) op: OpId,
    /// `None` reads.
    pub(super) judge: Option<Judge>,
    /// That ride in the record that is made.
    pub(super) bodies: Bodies,
}

impl Operation {
    pub(super) fn kind(&self) -> Kind {
        match self.judge {
            None => Kind::Read,
            // Keys are changed again and again, names hardly ever.
            Some(_) => Kind::Write { keep_warm: matches!(self.id, RecordId::Row(..)) },
        }
    }

    fn decide(&self, current: Option<&Value<Record>>, stamp: Stamp) -> Option<Record> {
        self.judge.as_ref().and_then(|judge| judge(current, stamp))
    }
}

/// How an operation ended.
pub(super) struct Ended {
    pub(super) outcome: Outcome<Record>,
    /// The voters that are known to have the outcome's value durably, bodies included.
    pub(super) accepted_by: BTreeSet<RegionId>,
    /// Bodies that came with what voters answered.
    pub(super) bodies: BTreeMap<BlobId, bytes::Bytes>,
}

impl Cluster {
    pub(super) fn registers(&self) -> Registers {
        Registers { cluster: self.clone() }
    }
}

impl Registers {
    pub(super) fn host(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn state(&self) -> &RegisterState {
        &self.cluster.inner.registers
    }

    /// Whether no register knew it a moment ago.
    pub(super) fn known_absent(&self, id: &RecordId) -> bool {
        let now = self.host().env().monotonic();
        let absent = self.state().absent.lock().expect("no holder of this lock panics");
        absent.get(id).is_some_and(|at| now < *at + limits::ABSENT_KEPT)
    }

    pub(super) fn note_absent(&self, id: RecordId) {
        let now = self.host().env().monotonic();
        let mut absent = self.state().absent.lock().expect("no holder of this lock panics");
        if absent.len() >= limits::ABSENT_MAX {
            absent.retain(|_, at| now < *at + limits::ABSENT_KEPT);
        }
        if absent.len() < limits::ABSENT_MAX {
            absent.insert(id, now);
        }
    }

    pub(super) fn forget_absent(&self, id: &RecordId) {
        self.state().absent.lock().expect("no holder of this lock panics").remove(id);
    }

    pub(super) fn fresh_op(&self) -> OpId {
        OpId(u128::from_le_bytes(self.host().env().random()))
    }

    /// Reads a record's register through a majority, together with the rows beside it.
    pub(super) async fn look(
        &self,
        id: &RecordId,
        limit: Duration,
    ) -> Result<Option<Value<Record>>, Unavailable> {
        self.look_with(id, None, limit).await
    }

    /// The same by a round of promises: what was offered before and is not found now never takes
    /// effect under its ballot.
    pub(super) async fn look_and_fence(
        &self,
        id: &RecordId,
        limit: Duration,
    ) -> Result<Option<Value<Record>>, Unavailable> {
        self.look_with(id, Some(Arc::new(|_, _| None)), limit).await
    }

    async fn look_with(
        &self,
        id: &RecordId,
        judge: Option<Judge>,
        limit: Duration,
    ) -> Result<Option<Value<Record>>, Unavailable> {
        let operation =
            Operation { id: id.clone(), op: self.fresh_op(), judge, bodies: Vec::new() };
        match self.run(operation, limit).await? {
            Outcome::Read { current }
            | Outcome::Refused { current }
            | Outcome::Conflict { current } => Ok(current),
            Outcome::Chosen { value, .. } => Ok(Some(value)),
        }
    }

    /// Runs one operation to its outcome and folds what it learnt into the record.
    pub(super) async fn run(
        &self,
        operation: Operation,
        limit: Duration,
    ) -> Result<Outcome<Record>, Unavailable> {
        if self.is_alone() {
            self.host().metrics().register_operations.inc();
            if let Some(outcome) = self.run_alone(operation.clone()).await? {
                return Ok(outcome);
            }
        }
        let id = operation.id.clone();
        let ended = self.run_among_voters(operation, None, limit).await?;
        if let Some(value) = known(&ended.outcome) {
            self.fold(&id, value, &ended.bodies).await?;
        }
        Ok(ended.outcome)
    }

    /// The same without folding, where there are other voters. `offer` is of the bytes that the
    /// operation's value names.
    pub(super) async fn run_among_voters(
        &self,
        operation: Operation,
        offer: Option<&mut Offer>,
        limit: Duration,
    ) -> Result<Ended, Unavailable> {
        self.host().metrics().register_operations.inc();
        let kind = operation.kind();
        if kind != Kind::Read {
            self.let_go(&operation.id);
        }
        self.run_kind(operation, kind, offer, limit).await
    }

    /// Has what a register holds accepted again, by the present voters.
    pub(super) async fn rewrite(&self, id: &RecordId, limit: Duration) -> Result<(), Unavailable> {
        let (id, op) = (id.clone(), self.fresh_op());
        let operation = Operation { id: id.clone(), op, judge: None, bodies: Vec::new() };
        let ended = self.run_kind(operation, Kind::Rewrite, None, limit).await?;
        if let Some(value) = known(&ended.outcome) {
            self.fold(&id, value, &ended.bodies).await?;
        }
        Ok(())
    }

    /// This region is the whole cluster: its own store decides everything.
    pub(super) fn is_alone(&self) -> bool {
        self.host().roster().is_alone()
    }

    /// The only voter asks itself: everything is one change of this disk.
    /// `None`: it is alone no more.
    async fn run_alone(
        &self,
        operation: Operation,
    ) -> Result<Option<Outcome<Record>>, Unavailable> {
        let (this, subject) = (self.clone(), operation.id.clone());
        let done = self
            .host()
            .store()
            .write(move |tx| {
                if !this.is_alone() {
                    return Ok(None);
                }
                let mut cell = load_cell(tx, &operation.id)?;
                let before = cell.clone();
                let row = row_of(tx, &operation.id)?;
                let outcome = this.ask_cell(&operation, &mut cell, row);
                if cell != before {
                    save_cell(tx, &operation.id, &cell)?;
                }
                let seq = match known(&outcome) {
                    Some(value) => fold(tx, &operation.id, value)?,
                    None => None,
                };
                Ok::<_, store::Error>(Some((outcome, seq)))
            })
            .await?;
        let Some((outcome, seq)) = done else { return Ok(None) };
        if let Outcome::Chosen { value, .. } = &outcome {
            self.state().accepted_keys.note(&subject, value.stamp);
        }
        self.log_grew(seq);
        Ok(Some(outcome))
    }

    fn ask_cell(
        &self,
        operation: &Operation,
        cell: &mut Cell<Record>,
        row: Option<RowValue<Record>>,
    ) -> Outcome<Record> {
        let region = self.host().region();
        let electorate = self.host().members().electorate().clone();
        let plan = self.plan(operation, operation.kind(), row.clone());
        let mut proposer = Proposer::new(plan).among(electorate.clone());
        let mut step = proposer.start(None);
        loop {
            step = match step {
                Step::Ask(ask) => proposer.handle(region, cell.handle(&ask, row.clone()).answer),
                Step::Judge { current, floor } => {
                    let epoch = electorate.epoch();
                    self.judge(operation, &mut proposer, current.as_ref(), (floor, epoch))
                }
                Step::Retry => proposer.retry(),
                Step::Wait => unreachable!("one voter's answer is a majority"),
                Step::Done(outcome) => return outcome,
            };
        }
    }

    pub(super) fn judge(
        &self,
        operation: &Operation,
        proposer: &mut Proposer<Record>,
        current: Option<&Value<Record>>,
        (floor, epoch): (Stamp, u64),
    ) -> Step<Record> {
        // The voters of an epoch decide about the next one alone.
        if operation.id == RecordId::Members
            && self.host().members_in(current).electorate().epoch() != epoch
        {
            return proposer.refuse();
        }
        // Above marks too, which move no stamp of a register.
        let floor = current.map_or(floor, |value| floor.max(value.state.stamp()));
        let stamp = self.host().stamp(floor);
        match operation.decide(current, stamp) {
            Some(state) => proposer.propose(state, stamp),
            None => proposer.refuse(),
        }
    }

    pub(super) fn plan(
        &self,
        operation: &Operation,
        kind: Kind,
        row: Option<RowValue<Record>>,
    ) -> Plan<Record> {
        let host = self.host();
        Plan {
            region: host.region(),
            nonce: host.env().random_u64(),
            op: operation.op,
            voters: host.members().voters(),
            row,
            kind,
        }
    }

    /// Puts a value that is known to be chosen into its record, and so into the log.
    pub(super) async fn fold(
        &self,
        id: &RecordId,
        value: &Value<Record>,
        bodies: &BTreeMap<BlobId, bytes::Bytes>,
    ) -> Result<(), Unavailable> {
        let local = self.host().store().read()?.record(id)?;
        if local.is_some_and(|local| row_value(&local).stamp >= value.stamp) {
            return Ok(());
        }
        let sealed = self.seal_bodies(&value.state, bodies).await?;
        let (id, value) = (id.clone(), value.clone());
        let seq = self
            .host()
            .store()
            .write(move |tx| {
                attach(tx, sealed)?;
                fold(tx, &id, &value)
            })
            .await?;
        self.log_grew(seq);
        Ok(())
    }

    /// Bodies that ride in a record and are not on this disk yet. One that nobody gave is left out:
    /// readers find it where the record came from.
    pub(super) async fn seal_bodies(
        &self,
        record: &Record,
        bodies: &BTreeMap<BlobId, bytes::Bytes>,
    ) -> Result<Vec<SealedBlob>, store::Error> {
        let store = self.host().store();
        let mut sealed = Vec::new();
        for blob in riding(record) {
            let Some(bytes) = bodies.get(&blob.id) else { continue };
            if store.holds(&blob.id)? {
                continue;
            }
            let mut writer = store.blob_writer(blob.id);
            writer.write(bytes.clone()).await?;
            let body = writer.finish().await?;
            if body.blob() == blob {
                sealed.push(body);
            } else {
                tracing::error!(blob = %blob.id, "a body of a register fails its checksum");
            }
        }
        Ok(sealed)
    }

    fn log_grew(&self, seq: Option<u64>) {
        if let Some(seq) = seq {
            self.host().log_grew(seq);
        }
    }
}

/// Takes bodies in that are not here yet.
pub(super) fn attach(tx: &mut Tx<'_>, sealed: Vec<SealedBlob>) -> Result<(), store::Error> {
    for body in sealed {
        if !tx.holds(&body.blob().id)? {
            tx.attach(body)?;
        }
    }
    Ok(())
}

/// Merges a chosen value into its record.
pub(super) fn fold(
    tx: &mut Tx<'_>,
    id: &RecordId,
    value: &Value<Record>,
) -> Result<Option<u64>, store::Error> {
    if let Record::Row(row) = &value.state
        && row.versions.is_empty()
        && row.erased.is_empty()
    {
        // What is left of a value that the rows know.
        return Ok(None);
    }
    Ok(tx.merge(id.clone(), value.state.clone(), Source::Local)?.seq)
}

/// The value that an outcome says is chosen.
pub(super) fn known(outcome: &Outcome<Record>) -> Option<&Value<Record>> {
    match outcome {
        Outcome::Chosen { value, .. } => Some(value),
        Outcome::Refused { current }
        | Outcome::Conflict { current }
        | Outcome::Read { current } => current.as_ref(),
    }
}
