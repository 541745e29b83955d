//! Operations on registers: drives `logic::register` over the voters, within a deadline.
//!
//! Invariant: what is folded into a record is what an outcome says is chosen, nothing else. With
//! this node as the only voter, an operation is one change of this disk.
//! What this does not do: answer other nodes' questions (`acceptor`), or know what a name is for
//! (`names`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::env::{Class, Env, PeerError};
use crate::limits;
use crate::logic::register::acceptor::Cell;
use crate::logic::register::proposer::{Kind, Plan, Proposer, Step};
use crate::logic::register::{Answer, Ask, Outcome, RowValue, Value};
use crate::net::message::{Request, Response};
use crate::net::registers::{Counters, RegisterRequest, RegisterResponse};
use crate::store::{self, Source, Store, Table, Tx};
use crate::types::bucket::{NameRecord, NameState};
use crate::types::id::OpId;
use crate::types::name::BucketName;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

use super::Cluster;
use super::acceptor::Acceptor;
use super::error::Unavailable;

/// Decides on the current state: `Some` changes it, `None` refuses.
pub(super) type Judge =
    Arc<dyn Fn(Option<&Value<NameState>>) -> Option<NameState> + Send + Sync + 'static>;

/// What a node remembers of registers besides its store.
pub(super) struct RegisterState {
    pub(super) acceptor: Acceptor,
    /// Names that no register knew, and when that was.
    pub(super) absent: Mutex<BTreeMap<BucketName, Duration>>,
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
        Ok(Self { acceptor, absent: Mutex::default() })
    }
}

/// Where the starts of this data directory are counted.
const BOOT_KEY: &[u8] = b"register-boot";

/// Registers of bucket names, as this node uses and keeps them.
#[derive(Clone)]
pub(super) struct Registers {
    cluster: Cluster,
}

/// One change or look at a name's register.
#[derive(Clone)]
pub(super) struct Operation {
    pub(super) name: BucketName,
    pub(super) op: OpId,
    /// `None` reads.
    pub(super) judge: Option<Judge>,
}

impl Operation {
    fn kind(&self) -> Kind {
        match self.judge {
            None => Kind::Read,
            Some(_) => Kind::Write { keep_warm: false },
        }
    }

    fn decide(&self, current: Option<&Value<NameState>>) -> Option<NameState> {
        self.judge.as_ref().and_then(|judge| judge(current))
    }
}

/// Why an attempt is not through yet, for the message.
#[derive(Default)]
struct Trouble {
    voters: BTreeMap<RegionId, String>,
    may_have_happened: bool,
}

impl Trouble {
    fn into_unavailable(self, name: &BucketName) -> Unavailable {
        let voters: Vec<String> =
            self.voters.into_iter().map(|(region, why)| format!("{region}: {why}")).collect();
        let why =
            if voters.is_empty() { "too much contention".to_owned() } else { voters.join("; ") };
        let doubt = if self.may_have_happened { "; the change may still take effect" } else { "" };
        Unavailable::new(format!("no majority answers for the name {name} ({why}){doubt}"))
    }
}

/// A voter's answer to the question of one round.
struct Heard {
    round: u64,
    from: RegionId,
    answer: Result<Answer<NameState>, String>,
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

    pub(super) fn fresh_op(&self) -> OpId {
        OpId(u128::from_le_bytes(self.host().env().random()))
    }

    /// Reads a name's register through a majority.
    pub(super) async fn look(
        &self,
        name: &BucketName,
        limit: Duration,
    ) -> Result<Option<Value<NameState>>, Unavailable> {
        let operation = Operation { name: name.clone(), op: self.fresh_op(), judge: None };
        match self.run(operation, limit).await? {
            Outcome::Read { current }
            | Outcome::Refused { current }
            | Outcome::Conflict { current } => Ok(current),
            Outcome::Chosen { value, .. } => Ok(Some(value)),
        }
    }

    /// Runs one operation to its outcome and folds what it learnt into the name's record.
    pub(super) async fn run(
        &self,
        operation: Operation,
        limit: Duration,
    ) -> Result<Outcome<NameState>, Unavailable> {
        self.host().metrics().register_operations.inc();
        if self.is_alone() {
            return self.run_alone(operation).await;
        }
        let name = operation.name.clone();
        let mut trouble = Trouble::default();
        let rounds = self.run_rounds(operation, &mut trouble);
        let Ok(outcome) = self.host().env().timeout(limit, rounds).await else {
            return Err(trouble.into_unavailable(&name));
        };
        let outcome = outcome?;
        if let Some(value) = known(&outcome) {
            self.fold(&name, value).await?;
        }
        Ok(outcome)
    }

    fn is_alone(&self) -> bool {
        self.host().members().voters() == [self.host().region()]
    }

    /// The only voter asks itself: everything is one change of this disk.
    async fn run_alone(&self, operation: Operation) -> Result<Outcome<NameState>, Unavailable> {
        let this = self.clone();
        let (outcome, seq) = self
            .host()
            .store()
            .write(move |tx| {
                let key = register_key(&operation.name);
                let mut cell: Cell<NameState> = tx.get(Table::Register, &key)?.unwrap_or_default();
                let before = cell.clone();
                let row = name_row(tx.record(&RecordId::Name(operation.name.clone()))?);
                let outcome = this.ask_cell(&operation, &mut cell, row);
                if cell != before {
                    tx.put(Table::Register, &key, &cell)?;
                }
                let seq = match known(&outcome) {
                    Some(value) => fold(tx, &operation.name, value)?,
                    None => None,
                };
                Ok::<_, store::Error>((outcome, seq))
            })
            .await?;
        self.log_grew(seq);
        Ok(outcome)
    }

    fn ask_cell(
        &self,
        operation: &Operation,
        cell: &mut Cell<NameState>,
        row: Option<RowValue<NameState>>,
    ) -> Outcome<NameState> {
        let region = self.host().region();
        let mut proposer = Proposer::new(self.plan(operation, row.clone()));
        let mut step = proposer.start(None);
        loop {
            step = match step {
                Step::Ask(ask) => proposer.handle(region, cell.handle(&ask, row.clone()).answer),
                Step::Judge { current, floor } => match operation.decide(current.as_ref()) {
                    Some(state) => proposer.propose(state, self.host().stamp(floor)),
                    None => proposer.refuse(),
                },
                Step::Retry => proposer.retry(),
                Step::Wait => unreachable!("one voter's answer is a majority"),
                Step::Done(outcome) => return outcome,
            };
        }
    }

    fn plan(&self, operation: &Operation, row: Option<RowValue<NameState>>) -> Plan<NameState> {
        let host = self.host();
        Plan {
            region: host.region(),
            nonce: host.env().random_u64(),
            op: operation.op,
            voters: host.members().voters().to_vec(),
            row,
            kind: operation.kind(),
        }
    }

    async fn run_rounds(
        &self,
        operation: Operation,
        trouble: &mut Trouble,
    ) -> Result<Outcome<NameState>, Unavailable> {
        let row =
            name_row(self.host().store().read()?.record(&RecordId::Name(operation.name.clone()))?);
        let mut proposer = Proposer::new(self.plan(&operation, row));
        let (tell, mut heard) = mpsc::channel(limits::VOTERS_MAX * 4);
        let (mut round, mut attempt) = (0, 0);
        let mut step = proposer.start(None);
        loop {
            trouble.may_have_happened = proposer.may_have_happened();
            step = match step {
                Step::Ask(ask) => {
                    round += 1;
                    self.ask_everyone(&operation.name, &ask, round, &tell);
                    Step::Wait
                }
                Step::Judge { current, floor } => match operation.decide(current.as_ref()) {
                    Some(state) => proposer.propose(state, self.host().stamp(floor)),
                    None => proposer.refuse(),
                },
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
                        Ok(answer) => {
                            trouble.voters.remove(&news.from);
                            proposer.handle(news.from, answer)
                        }
                        Err(why) => {
                            trouble.voters.insert(news.from, why);
                            proposer.failed(news.from)
                        }
                    }
                }
                Step::Done(outcome) => return Ok(outcome),
            };
        }
    }

    /// Each voter is asked by a task of its own, so that one who is slower than a majority gets the
    /// question all the same.
    fn ask_everyone(
        &self,
        name: &BucketName,
        ask: &Ask<NameState>,
        round: u64,
        tell: &mpsc::Sender<Heard>,
    ) {
        for from in self.host().members().voters().to_vec() {
            let (this, tell) = (self.clone(), tell.clone());
            let (name, ask) = (name.clone(), ask.clone());
            self.host().env().spawn("register-ask", async move {
                let answer = this.ask_one(from, name, ask).await;
                // Nobody listens once the operation has its outcome.
                let _ = tell.send(Heard { round, from, answer }).await;
            });
        }
    }

    async fn ask_one(
        &self,
        voter: RegionId,
        name: BucketName,
        ask: Ask<NameState>,
    ) -> Result<Answer<NameState>, String> {
        let members = self.host().members();
        let (epoch, voters) = (members.epoch(), members.voters().to_vec());
        let request = RegisterRequest::Name { epoch, voters, name, ask };
        let response = if voter == self.host().region() {
            self.answer(voter, request).await.map_err(|why| why.to_string())?
        } else {
            self.call(voter, request).await.map_err(|why| why.to_string())?
        };
        match response {
            RegisterResponse::Name(answer) => Ok(*answer),
            RegisterResponse::Declined(why) => Err(why),
            RegisterResponse::Closed { .. }
            | RegisterResponse::Confirmed
            | RegisterResponse::Outdated(_) => Err("answered another question".to_owned()),
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

    /// A random share of a time that doubles, so that proposers in each other's way part.
    async fn pause(&self, attempt: u32) {
        let doubled = limits::REGISTER_PAUSE_MIN * 2_u32.pow(attempt.min(10));
        let span = doubled.min(limits::REGISTER_PAUSE_MAX).as_micros().max(1);
        let share = u128::from(self.host().env().random_u64()) % span;
        let micros = u64::try_from(share).expect("below the longest pause");
        self.host().env().sleep(Duration::from_micros(micros)).await;
    }

    /// Puts a value that is known to be chosen into the name's record, and so into the log.
    async fn fold(&self, name: &BucketName, value: &Value<NameState>) -> Result<(), Unavailable> {
        let id = RecordId::Name(name.clone());
        let local = name_row(self.host().store().read()?.record(&id)?);
        if local.is_some_and(|row| row.stamp >= value.stamp) {
            return Ok(());
        }
        let (name, value) = (name.clone(), value.clone());
        let seq = self.host().store().write(move |tx| fold(tx, &name, &value)).await?;
        self.log_grew(seq);
        Ok(())
    }

    fn log_grew(&self, seq: Option<u64>) {
        if let Some(seq) = seq {
            self.host().log_grew(seq);
        }
    }
}

fn fold(
    tx: &mut Tx<'_>,
    name: &BucketName,
    value: &Value<NameState>,
) -> Result<Option<u64>, store::Error> {
    let op = value.ops.first().copied().expect("a chosen value was made by an operation");
    let record = NameRecord { stamp: value.stamp, op, state: value.state.clone() };
    let merged = tx.merge(RecordId::Name(name.clone()), Record::Name(record), Source::Local)?;
    Ok(merged.seq)
}

/// The value that an outcome says is chosen.
fn known(outcome: &Outcome<NameState>) -> Option<&Value<NameState>> {
    match outcome {
        Outcome::Chosen { value, .. } => Some(value),
        Outcome::Refused { current }
        | Outcome::Conflict { current }
        | Outcome::Read { current } => current.as_ref(),
    }
}

/// Where a name's register is in [`Table::Register`].
pub(super) fn register_key(name: &BucketName) -> Vec<u8> {
    [b"name/", name.as_str().as_bytes()].concat()
}

/// A name's record as the row beside its register.
pub(super) fn name_row(record: Option<Record>) -> Option<RowValue<NameState>> {
    match record? {
        Record::Name(name) => Some(RowValue { stamp: name.stamp, state: name.state }),
        Record::AccessKey(_)
        | Record::Bucket(_)
        | Record::Part(_)
        | Record::Row(_)
        | Record::Upload(_) => None,
    }
}
