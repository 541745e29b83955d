//! Operations on registers: drives `logic::register` over the voters, within a deadline.
//!
//! A register belongs to a replicated record: a bucket's name, or the row of a key that was ever
//! written with a condition. Its value is a state of that record; what is known to be chosen is
//! merged into the record, and so goes into the log like any change.
//!
//! Invariant: what is folded into a record is what an outcome says is chosen, nothing else. With
//! this node as the only voter, an operation is one change of this disk.
//! What this does not do: answer other nodes' questions (`acceptor`), or know what a name is for
//! (`names`) or how a conditional write gets its bytes to its regions (`conditional`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::env::{Class, Env, PeerError};
use crate::limits;
use crate::logic::register::acceptor::Cell;
use crate::logic::register::change::Electorate;
use crate::logic::register::proposer::{Kind, Plan, Proposer, Step, Warm};
use crate::logic::register::{Answer, Ask, Outcome, RowValue, Value, row_value};
use crate::net::message::{Request, Response};
use crate::net::registers::{Bodies, Counters, RegisterRequest, RegisterResponse};
use crate::store::{self, SealedBlob, Source, Store, Table, Tx};
use crate::types::id::{BlobId, OpId};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::acceptor::{Acceptor, load_cell, save_cell};
use super::batch::riding;
use super::error::Unavailable;
use super::keys::Accepted;

/// Decides on the current state: `Some` changes it under this stamp, `None` refuses.
pub(super) type Judge =
    Arc<dyn Fn(Option<&Value<Record>>, Stamp) -> Option<Record> + Send + Sync + 'static>;

/// What a node remembers of registers besides its store.
pub(super) struct RegisterState {
    pub(super) acceptor: Acceptor,
    pub(super) accepted_keys: Accepted,
    /// Names and access keys that no register knew, and when that was.
    absent: Mutex<BTreeMap<RecordId, Duration>>,
    /// Ballots that voters promised with their last acceptance, and since when.
    warm: Mutex<BTreeMap<RecordId, (Warm<Record>, Duration)>>,
}

impl RegisterState {
    /// Counts a start of this data directory.
    pub(super) async fn open(env: &Env, store: &Store) -> Result<Self, store::Error> {
        let boot = store
            .write(|tx| {
                let boot = tx.get::<u64>(Table::Meta, BOOT_KEY)?.unwrap_or(0) + 1;
                tx.put(Table::Meta, BOOT_KEY, &boot)?;
                Ok::<_, store::Error>(boot)
            })
            .await?;
        let (incarnation, nonce) = (store.incarnation(), env.random_u64());
        let acceptor = Acceptor::new(Counters { incarnation, boot, nonce });
        Ok(Self {
            acceptor,
            accepted_keys: Accepted::default(),
            absent: Mutex::default(),
            warm: Mutex::default(),
        })
    }

    fn warm(&self) -> std::sync::MutexGuard<'_, BTreeMap<RecordId, (Warm<Record>, Duration)>> {
        self.warm.lock().expect("no holder of this lock panics")
    }

    /// A ballot that was promised is used once.
    fn take_warm(&self, id: &RecordId, now: Duration) -> Option<Warm<Record>> {
        let (warm, since) = self.warm().remove(id)?;
        (now < since + limits::WARM_BALLOT_KEPT).then_some(warm)
    }

    /// The voters change: what they promised is not used any more.
    pub(super) fn burn_warm(&self) {
        self.warm().clear();
    }

    fn keep_warm(&self, id: &RecordId, warm: Warm<Record>, now: Duration) {
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
    fn kind(&self) -> Kind {
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

/// What is learnt on the way, also when the way ends early.
#[derive(Default)]
struct Notes {
    voters: BTreeMap<RegionId, String>,
    may_have_happened: bool,
    bodies: BTreeMap<BlobId, bytes::Bytes>,
}

impl Notes {
    fn into_unavailable(self, id: &RecordId) -> Unavailable {
        let voters: Vec<String> =
            self.voters.into_iter().map(|(region, why)| format!("{region}: {why}")).collect();
        let why =
            if voters.is_empty() { "too much contention".to_owned() } else { voters.join("; ") };
        let doubt = if self.may_have_happened { "; the change may still take effect" } else { "" };
        let what = match id {
            RecordId::Name(name) => format!("the name {name}"),
            RecordId::Row(_, key) => format!("the key {key}"),
            RecordId::AccessKey(key) => format!("the access key {}", key.0),
            RecordId::Members => "the members of the cluster".to_owned(),
            RecordId::Bucket(_) | RecordId::Upload(_) | RecordId::Part(..) => format!("{id:?}"),
        };
        Unavailable::new(format!("no majority of the voters answers for {what} ({why}){doubt}"))
    }
}

/// A voter's answer to the question of one round.
struct Heard {
    round: u64,
    from: RegionId,
    answer: Result<(Answer<Record>, Bodies), Missed>,
}

/// Why a voter gave no answer.
pub(super) enum Missed {
    Failed(String),
    /// The voters have changed.
    Moved(Electorate),
}

impl Missed {
    pub(super) fn told(self) -> String {
        match self {
            Self::Failed(why) => why,
            Self::Moved(_) => "the voters have changed; ask again".to_owned(),
        }
    }
}

impl From<String> for Missed {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
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
        let ended = self.run_among_voters(operation, limit).await?;
        if let Some(value) = known(&ended.outcome) {
            self.fold(&id, value, &ended.bodies).await?;
        }
        Ok(ended.outcome)
    }

    /// The same without folding, where there are other voters.
    pub(super) async fn run_among_voters(
        &self,
        operation: Operation,
        limit: Duration,
    ) -> Result<Ended, Unavailable> {
        self.host().metrics().register_operations.inc();
        let kind = operation.kind();
        self.run_kind(operation, kind, limit).await
    }

    async fn run_kind(
        &self,
        operation: Operation,
        kind: Kind,
        limit: Duration,
    ) -> Result<Ended, Unavailable> {
        let id = operation.id.clone();
        let mut notes = Notes::default();
        let rounds = self.run_rounds(operation, kind, &mut notes);
        match self.host().env().timeout(limit, rounds).await {
            Ok(ended) => {
                let (outcome, accepted_by) = ended?;
                Ok(Ended { outcome, accepted_by, bodies: notes.bodies })
            }
            Err(_) => {
                self.host().metrics().register_undecided.inc();
                Err(notes.into_unavailable(&id))
            }
        }
    }

    /// Has what a register holds accepted again, by the present voters.
    pub(super) async fn rewrite(&self, id: &RecordId, limit: Duration) -> Result<(), Unavailable> {
        let (id, op) = (id.clone(), self.fresh_op());
        let operation = Operation { id: id.clone(), op, judge: None, bodies: Vec::new() };
        let ended = self.run_kind(operation, Kind::Rewrite, limit).await?;
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
                let row = tx.record(&operation.id)?.as_ref().map(row_value);
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

    fn judge(
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

    fn plan(
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

    async fn run_rounds(
        &self,
        operation: Operation,
        kind: Kind,
        notes: &mut Notes,
    ) -> Result<(Outcome<Record>, BTreeSet<RegionId>), Unavailable> {
        let id = operation.id.clone();
        let row = self.host().store().read()?.record(&id)?.as_ref().map(row_value);
        let mut electorate = self.host().members().electorate().clone();
        let plan = self.plan(&operation, kind, row);
        let mut proposer = Proposer::new(plan).among(electorate.clone());
        let (tell, mut heard) = mpsc::channel(limits::VOTERS_MAX * 4);
        let (mut round, mut attempt) = (0, 0);
        let warm = match operation.judge {
            Some(_) => self.state().take_warm(&id, self.host().env().monotonic()),
            None => None,
        };
        let mut step = proposer.start(warm);
        loop {
            notes.may_have_happened = proposer.may_have_happened();
            step = match step {
                Step::Ask(ask) => {
                    round += 1;
                    let bodies = self.bodies_of(&ask, &operation, notes).await?;
                    self.ask_everyone(&id, (&ask, &bodies), &electorate, round, &tell);
                    Step::Wait
                }
                Step::Judge { current, floor } => {
                    let floor = (floor, electorate.epoch());
                    self.judge(&operation, &mut proposer, current.as_ref(), floor)
                }
                Step::Retry => {
                    attempt += 1;
                    self.host().metrics().register_retries.inc();
                    self.pause(attempt).await;
                    proposer.retry()
                }
                Step::Wait => {
                    let news: Heard = heard.recv().await.expect("this end holds a sender too");
                    match news.answer {
                        _ if news.round != round => Step::Wait,
                        Ok((answer, bodies)) => {
                            notes.voters.remove(&news.from);
                            notes.bodies.extend(bodies);
                            proposer.handle(news.from, answer)
                        }
                        Err(Missed::Moved(newer)) if newer.epoch() > electorate.epoch() => {
                            electorate = newer.clone();
                            proposer.moved(newer)
                        }
                        Err(Missed::Moved(_)) => proposer.failed(news.from),
                        Err(Missed::Failed(why)) => {
                            notes.voters.insert(news.from, why);
                            proposer.failed(news.from)
                        }
                    }
                }
                Step::Done(mut outcome) => {
                    if let Outcome::Chosen { warm, .. } = &mut outcome
                        && let Some(warm) = warm.take()
                    {
                        self.state().keep_warm(&id, warm, self.host().env().monotonic());
                    }
                    return Ok((outcome, proposer.accepted_by().clone()));
                }
            };
        }
    }

    /// The bodies that ride in a value that is offered: the operation's own, what voters gave, or
    /// what is on this disk.
    async fn bodies_of(
        &self,
        ask: &Ask<Record>,
        operation: &Operation,
        notes: &Notes,
    ) -> Result<Bodies, Unavailable> {
        let Ask::Accept { value, .. } = ask else { return Ok(Vec::new()) };
        let mut bodies = Vec::new();
        for blob in riding(&value.state) {
            let own = operation.bodies.iter().find(|(id, _)| *id == blob.id);
            let known = own.map(|(_, bytes)| bytes).or_else(|| notes.bodies.get(&blob.id));
            let bytes = match known {
                Some(bytes) => Some(bytes.clone()),
                None => self.host().store().chunk(&blob, 0).await?.map(|(bytes, _)| bytes),
            };
            bodies.extend(bytes.map(|bytes| (blob.id, bytes)));
        }
        Ok(bodies)
    }

    /// Each voter is asked by a task of its own, so that one who is slower than a majority gets the
    /// question all the same.
    fn ask_everyone(
        &self,
        id: &RecordId,
        (ask, bodies): (&Ask<Record>, &Bodies),
        electorate: &Electorate,
        round: u64,
        tell: &mpsc::Sender<Heard>,
    ) {
        let voters: Vec<RegionId> = electorate.everyone().into_iter().collect();
        for from in voters.clone() {
            let (this, tell, epoch) = (self.clone(), tell.clone(), electorate.epoch());
            let (id, ask, bodies) = (id.clone(), ask.clone(), bodies.clone());
            let voters = voters.clone();
            self.host().env().spawn("register-ask", async move {
                let request = RegisterRequest::Record { epoch, voters, id, ask, bodies };
                let answer = this.ask_one(from, epoch, request).await;
                // Nobody listens once the operation has its outcome.
                let _ = tell.send(Heard { round, from, answer }).await;
            });
        }
    }

    async fn ask_one(
        &self,
        voter: RegionId,
        epoch: u64,
        request: RegisterRequest,
    ) -> Result<(Answer<Record>, Bodies), Missed> {
        match self.ask_of_epoch(voter, epoch, request).await? {
            RegisterResponse::Record { answer, bodies } => Ok((*answer, bodies)),
            other => Err(Missed::Failed(odd(other))),
        }
    }

    /// Asks a voter something that one epoch alone is asked; it is told of the epoch first where it
    /// does not know it.
    pub(super) async fn ask_of_epoch(
        &self,
        voter: RegionId,
        epoch: u64,
        request: RegisterRequest,
    ) -> Result<RegisterResponse, Missed> {
        let mut response = self.ask_voter(voter, request.clone()).await?;
        let known = self.host().members();
        if response == RegisterResponse::Behind && known.electorate().epoch() == epoch {
            self.ask_voter(voter, RegisterRequest::Adopt(Box::new((*known).clone()))).await?;
            response = self.ask_voter(voter, request).await?;
        }
        if let RegisterResponse::Members(members) = response {
            let electorate = members.electorate().clone();
            self.host().adopt(*members).await.map_err(|why| why.to_string())?;
            return Err(Missed::Moved(electorate));
        }
        Ok(response)
    }

    /// Asks a peer, or this node itself.
    pub(super) async fn ask_voter(
        &self,
        voter: RegionId,
        request: RegisterRequest,
    ) -> Result<RegisterResponse, String> {
        if voter == self.host().region() {
            self.answer(voter, request).await.map_err(|why| why.to_string())
        } else {
            self.call(voter, request).await.map_err(|why| why.to_string())
        }
    }

    pub(super) async fn call(
        &self,
        to: RegionId,
        request: RegisterRequest,
    ) -> Result<RegisterResponse, PeerError> {
        let request = Request::Register(Box::new(request));
        let limit = limits::REGISTER_ROUND_TIMEOUT;
        match self.host().call(to, Class::Register, &request, limit).await? {
            Response::Register(response) => Ok(*response),
            other => Err(PeerError::Refused(format!("{to} answered {}", other.name()))),
        }
    }

    /// A round trip, which whoever was in the way needs for its end, and a random share of a time
    /// that doubles, so that proposers part.
    async fn pause(&self, attempt: u32) {
        let round = self.round_trip();
        let doubled = round.max(limits::REGISTER_PAUSE_MIN) * 2_u32.pow(attempt.min(10));
        let span = doubled.min(limits::REGISTER_PAUSE_MAX.max(round)).as_micros().max(1);
        let share = u128::from(self.host().env().random_u64()) % span;
        let micros = u64::try_from(share).expect("below the longest pause");
        self.host().env().sleep(round + Duration::from_micros(micros)).await;
    }

    /// To the nearest majority of the voters, as far as that was measured.
    fn round_trip(&self) -> Duration {
        let (members, peers) = (self.host().members(), self.host().peers());
        let own = self.host().region();
        let others = members.voters_by_distance(own, &**peers);
        let needed = members.majority() - usize::from(members.is_voter(own));
        let farthest = needed.checked_sub(1).and_then(|at| others.get(at));
        farthest.and_then(|region| peers.rtt(*region)).unwrap_or_default()
    }

    /// Puts a value that is known to be chosen into its record, and so into the log.
    async fn fold(
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

/// What an answer says that is none.
pub(super) fn odd(response: RegisterResponse) -> String {
    match response {
        RegisterResponse::Declined(why) => why,
        RegisterResponse::Behind => "knows older voters".to_owned(),
        RegisterResponse::Closed { .. }
        | RegisterResponse::Confirmed
        | RegisterResponse::KeyNews(_)
        | RegisterResponse::Listed { .. }
        | RegisterResponse::Members(_)
        | RegisterResponse::Outdated(_)
        | RegisterResponse::Range { .. }
        | RegisterResponse::Record { .. }
        | RegisterResponse::Remains(_) => "answered another question".to_owned(),
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
