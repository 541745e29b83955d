//! Read leases between regions: asks for them, grants them as a voter, and recalls what stands in
//! the way of a change. Drives `logic::lease`, which says why that is safe.
//!
//! A question for a lease is a read of the key's register in which each voter promises, in the same
//! step of its disk's writer, to accept nothing else for a while. A voter that is asked to accept
//! another value asks the holders to let go, and accepts when they did or when their time is over;
//! a holder that lets go tells the other voters at once, so that a change waits for the way to it
//! and back, whichever voters it needs.
//!
//! Invariant: grants are looked at in the step that accepts, and noted on disk (that there are any)
//! before they are answered. What this does not do: decide what is chosen; without leases nothing
//! here sends anything.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::env::{Class, Env};
use crate::limits;
use crate::logic::lease::{Found, Grants, Held, Hold, LeaseNo, Moment, Term};
use crate::logic::register::acceptor::Cell;
use crate::logic::register::proposer::{Kind, Plan, Proposer, Step};
use crate::logic::register::{Answer, Ask, Outcome, Value, row_value};
use crate::net::message::{Request, Response};
use crate::net::registers::{Bodies, RegisterRequest, RegisterResponse};
use crate::store::{self, Table, Tx};
use crate::types::object::Row;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::ask::{Missed, odd};
use super::cells::{cell_key, load_cell};
use super::conditional::as_of;
use super::error::Unavailable;
use super::register::Registers;

/// Says that this node may have granted leases that last still.
const GRANTED_KEY: &[u8] = b"leases-granted";

/// What a node holds and what it granted.
pub(super) struct Leases {
    held: Mutex<Held<RecordId, Arc<Value<Record>>>>,
    grants: Mutex<Grants<RecordId>>,
    /// Recalls under way.
    recalling: Mutex<BTreeSet<(RecordId, RegionId)>>,
    /// A grant has ended early.
    given_back: Notify,
}

/// What a question for a lease brought: what a read of the register shows.
struct Learnt {
    current: Option<Value<Record>>,
    bodies: Bodies,
    /// By a quorum of those who agree on it.
    granted: bool,
}

impl Leases {
    /// `start` names this process.
    pub(super) fn new(env: &Env, start: u64, may_have_granted: bool) -> Self {
        let mut grants = Grants::new(limits::LEASE_GRANTS_MAX);
        if may_have_granted {
            grants = grants.restarted(env.monotonic() + Term::DEFAULT.granted);
        }
        Self {
            held: Mutex::new(Held::new(Term::DEFAULT, start, limits::LEASES_MAX)),
            grants: Mutex::new(grants),
            recalling: Mutex::default(),
            given_back: Notify::new(),
        }
    }

    /// What the disk says of an earlier life.
    pub(super) fn may_have_granted(tx: &Tx<'_>) -> Result<bool, store::Error> {
        Ok(tx.get::<bool>(Table::Meta, GRANTED_KEY)?.is_some())
    }

    fn held(&self) -> MutexGuard<'_, Held<RecordId, Arc<Value<Record>>>> {
        self.held.lock().expect("no holder of this lock panics")
    }

    fn grants(&self) -> MutexGuard<'_, Grants<RecordId>> {
        self.grants.lock().expect("no holder of this lock panics")
    }

    fn release(&self, id: &RecordId, holder: RegionId, upto: LeaseNo) {
        self.grants().release(id, holder, upto);
        self.given_back.notify_waiters();
    }
}

fn moment(env: &Env) -> Moment {
    Moment { counted: env.monotonic(), wall_ms: env.now_ms() }
}

// The reader's side.

impl Cluster {
    /// Reads a key's row in the one order that all regions see, in a bucket with read leases.
    pub async fn row_leased(&self, id: &RecordId) -> Result<Option<Row>, Unavailable> {
        let registers = self.registers();
        if registers.is_alone() {
            return self.row_linearizable(id).await;
        }
        let found = registers.leases().held().read(id, moment(self.env()));
        match found {
            Found::Lease { value, serial, renew } => {
                if renew {
                    registers.renew(id);
                }
                if let Some(row) = self.row_held(id, &value, serial)? {
                    self.metrics().lease_reads.inc();
                    return Ok(Some(row));
                }
            }
            Found::Worth => {
                if let Some(current) = registers.read_and_ask(id).await? {
                    let Some(value) = current else { return Ok(None) };
                    self.learn_bodies(id, &value).await?;
                    return Ok(Some(as_of(self.store().read()?.record(id)?, &value)));
                }
            }
            Found::Nothing => {}
        }
        self.row_linearizable(id).await
    }

    /// What is here of the key, where the lease lasts after it was read. A row above the value is
    /// of somebody who asked no register: the voters decide about that.
    fn row_held(
        &self,
        id: &RecordId,
        value: &Value<Record>,
        serial: u64,
    ) -> Result<Option<Row>, store::Error> {
        let local = self.store().read()?.record(id)?;
        let known = local.as_ref().map_or(Stamp::ZERO, |local| row_value(local).stamp);
        if known > value.stamp {
            return Ok(None);
        }
        let row = as_of(local, value);
        let serves = self.registers().leases().held().serves(id, serial, moment(self.env()));
        Ok(serves.then_some(row))
    }

    /// Reads that leases answered since the start of this node.
    pub fn lease_reads(&self) -> u64 {
        self.metrics().lease_reads.get()
    }

    /// How long this region holds a lease of the key still.
    pub fn lease_left(&self, id: &RecordId) -> Option<Duration> {
        self.registers().leases().held().left(id, moment(self.env()))
    }
}

impl Registers {
    pub(super) fn leases(&self) -> &Leases {
        &self.state().leases
    }

    fn renew(&self, id: &RecordId) {
        let (this, id) = (self.clone(), id.clone());
        // The next read must not ask as well.
        let no = self.leases().held().ask(&id, moment(self.host().env()));
        self.host().spawn("lease", async move {
            if let Err(why) = this.ask_for(&id, no).await {
                tracing::debug!(?id, %why, "no lease");
            }
        });
    }

    /// Reads a register and asks for a lease in the same round. `None`: that round showed nothing.
    async fn read_and_ask(
        &self,
        id: &RecordId,
    ) -> Result<Option<Option<Value<Record>>>, Unavailable> {
        let no = self.leases().held().ask(id, moment(self.host().env()));
        self.ask_for(id, no).await
    }

    async fn ask_for(
        &self,
        id: &RecordId,
        no: LeaseNo,
    ) -> Result<Option<Option<Value<Record>>>, Unavailable> {
        self.host().metrics().register_operations.inc();
        let limit = limits::REGISTER_ROUND_TIMEOUT;
        let round = Box::pin(self.lease_round(id, no));
        let learnt = self.host().env().timeout(limit, round).await.unwrap_or(Ok(None))?;
        let mut holds = false;
        if let Some(Learnt { current: Some(value), bodies, granted }) = &learnt {
            let bodies = bodies.iter().cloned().collect();
            self.fold(id, value, &bodies).await?;
            holds = *granted && self.leases().held().granted(id, no, Arc::new(value.clone()));
        }
        if !holds {
            self.leases().held().refused(id, no);
            if self.host().lease_left(id).is_none() {
                self.give_back(id, no, self.host().region());
            }
        }
        self.count_leases();
        Ok(learnt.map(|learnt| learnt.current))
    }

    /// One round, in which a majority has to agree. `None`: it does not.
    async fn lease_round(&self, id: &RecordId, no: LeaseNo) -> Result<Option<Learnt>, Unavailable> {
        let host = self.host();
        let electorate = host.members().electorate().clone();
        let epoch = electorate.epoch();
        let row = host.store().read()?.record(id)?.as_ref().map(row_value);
        let voters: Vec<RegionId> = electorate.everyone().into_iter().collect();
        let plan = Plan {
            region: host.region(),
            nonce: host.env().random_u64(),
            op: self.fresh_op(),
            voters: voters.clone(),
            row,
            kind: Kind::Read,
        };
        let mut proposer = Proposer::new(plan).among(electorate.clone());
        proposer.start(None);
        let (tell, mut heard) = mpsc::channel(limits::VOTERS_MAX * 2);
        for voter in voters.clone() {
            let (this, id, tell) = (self.clone(), id.clone(), tell.clone());
            let request = RegisterRequest::Lease { epoch, voters: voters.clone(), id, no };
            host.env().spawn("lease-ask", async move {
                let answer = this.ask_for_lease(voter, epoch, request).await;
                // Nobody listens once a majority has answered.
                let _ = tell.send((voter, answer)).await;
            });
        }
        drop(tell);
        let (mut granting, mut learnt) = (BTreeSet::new(), Vec::new());
        while let Some((voter, answer)) = heard.recv().await {
            let step = match answer {
                Ok((answer, bodies, granted)) => {
                    learnt.extend(bodies);
                    if granted {
                        granting.insert(voter);
                    }
                    proposer.handle(voter, answer)
                }
                Err(_) => proposer.failed(voter),
            };
            match step {
                Step::Wait => {}
                Step::Done(Outcome::Read { current }) => {
                    let granted = electorate.is_quorum(|voter| granting.contains(&voter));
                    return Ok(Some(Learnt { current, bodies: learnt, granted }));
                }
                Step::Done(_) | Step::Ask(_) | Step::Judge { .. } | Step::Retry => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn ask_for_lease(
        &self,
        voter: RegionId,
        epoch: u64,
        request: RegisterRequest,
    ) -> Result<(Answer<Record>, Bodies, bool), Missed> {
        match self.ask_of_epoch(voter, epoch, request).await? {
            RegisterResponse::Lease { answer, bodies, granted } => Ok((*answer, bodies, granted)),
            other => Err(Missed::Failed(odd(other))),
        }
    }

    /// Lets a lease go before this node changes the key, so that nobody has to ask for it.
    pub(super) fn let_go(&self, id: &RecordId) {
        let (upto, had) = self.leases().held().let_go(id);
        if had {
            self.give_back(id, upto, self.host().region());
            self.count_leases();
        }
    }

    /// A voter wants a key to be changed.
    pub(super) fn recalled(&self, from: RegionId, id: &RecordId) -> RegisterResponse {
        let (upto, had) = self.leases().held().let_go(id);
        if had {
            self.host().metrics().lease_recalls.inc();
            self.give_back(id, upto, from);
            self.count_leases();
        }
        RegisterResponse::Released { upto }
    }

    /// Tells the voters, but for one who knows, that they need not wait for this region.
    fn give_back(&self, id: &RecordId, upto: LeaseNo, but: RegionId) {
        let own = self.host().region();
        self.leases().release(id, own, upto);
        let everyone = self.host().members().electorate().everyone();
        for voter in everyone.into_iter().filter(|voter| *voter != own && *voter != but) {
            let (this, id) = (self.clone(), id.clone());
            self.host().spawn("lease-release", async move {
                let request = RegisterRequest::Release { id, upto };
                // Where it does not arrive, its end does.
                let _ = this.call(voter, request).await;
            });
        }
    }

    fn count_leases(&self) {
        let held = self.leases().held().count(moment(self.host().env()));
        self.host().metrics().leases_held.set(i64::try_from(held).unwrap_or(i64::MAX));
    }
}

// The voter's side.

impl Registers {
    /// Says what was accepted and promises, in the same step, to accept nothing else for a term.
    pub(super) async fn answer_lease(
        &self,
        holder: RegionId,
        epoch: u64,
        id: RecordId,
        no: LeaseNo,
    ) -> Result<RegisterResponse, store::Error> {
        let this = self.clone();
        let told = self
            .host()
            .store()
            .write(move |tx| {
                if this.turned(epoch).is_some() {
                    return Ok(None);
                }
                let now = this.host().env().monotonic();
                let until = now + Term::DEFAULT.granted;
                let granted = matches!(id, RecordId::Row(..))
                    && this.leases().grants().grant(&id, (holder, no), now, until);
                if granted && !Leases::may_have_granted(tx)? {
                    tx.put(Table::Meta, GRANTED_KEY, &true)?;
                }
                let row = tx.record(&id)?.as_ref().map(row_value);
                let answer = load_cell(tx, &id)?.handle(&Ask::Query, row).answer;
                Ok::<_, store::Error>(Some((answer, granted)))
            })
            .await?;
        let Some((answer, granted)) = told else {
            return Ok(self.turned(epoch).unwrap_or(RegisterResponse::Behind));
        };
        match self.with_bodies(answer).await? {
            RegisterResponse::Record { answer, bodies } => {
                Ok(RegisterResponse::Lease { answer, bodies, granted })
            }
            other => Ok(other),
        }
    }

    /// What is to be waited for before this cell accepts a value of this stamp. Accepting again what
    /// is there shows nothing new.
    fn lease_hold(&self, id: &RecordId, cell: &Cell<Record>, stamp: Stamp) -> Option<Hold> {
        let hold = self.leases().grants().hold(id, self.host().env().monotonic())?;
        let accepted = cell.accepted.as_ref().map(|accepted| accepted.value.stamp);
        (matches!(id, RecordId::Row(..)) && accepted != Some(stamp)).then_some(hold)
    }

    /// Whether that is to be waited for.
    pub(super) fn is_leased(&self, id: &RecordId, cell: &Cell<Record>, ask: &Ask<Record>) -> bool {
        match ask {
            Ask::Accept { value, .. } => self.lease_hold(id, cell, value.stamp).is_some(),
            Ask::Prepare { .. } | Ask::Query => false,
        }
    }

    /// Waits until no holder of a lease reads what a value of this stamp replaces.
    pub(super) async fn wait_for_leases(
        &self,
        id: &RecordId,
        stamp: Stamp,
    ) -> Result<(), store::Error> {
        let env = self.host().env();
        if self.leases().grants().hold(id, env.monotonic()).is_none() {
            return Ok(());
        }
        let cell: Option<Cell<Record>> =
            self.host().store().read()?.get(Table::Register, &cell_key(id))?;
        let cell = cell.unwrap_or_default();
        let mut waited = false;
        loop {
            let given_back = self.leases().given_back.notified();
            let Some(hold) = self.lease_hold(id, &cell, stamp) else { return Ok(()) };
            if !waited {
                waited = true;
                self.host().metrics().lease_waits.inc();
            }
            let left = hold.until.saturating_sub(env.monotonic());
            self.recall_all(id, hold);
            // Either way it is looked at again.
            let _ = env.timeout(left, given_back).await;
        }
    }

    /// Somebody is about to change the key: holders may begin to let go.
    pub(super) fn recall_early(&self, id: &RecordId) {
        let hold = self.leases().grants().hold(id, self.host().env().monotonic());
        if let Some(hold) = hold {
            self.recall_all(id, hold);
        }
    }

    /// The change was accepted, or was not: leases are granted again.
    pub(super) fn open_to_leases(&self, id: &RecordId) {
        self.leases().grants().open(id);
    }

    fn recall_all(&self, id: &RecordId, hold: Hold) {
        let closed_until = self.host().env().monotonic() + Term::DEFAULT.granted;
        self.leases().grants().close(id, closed_until);
        for holder in hold.holders {
            let recall = (id.clone(), holder);
            let recalling = &self.leases().recalling;
            if !recalling.lock().expect("no holder of this lock panics").insert(recall.clone()) {
                continue;
            }
            let this = self.clone();
            self.host().spawn("lease-recall", async move {
                this.recall(&recall.0, holder).await;
                let mut recalling =
                    this.leases().recalling.lock().expect("no holder of this lock panics");
                recalling.remove(&recall);
            });
        }
    }

    /// Until the holder has let go, or its grant has ended.
    async fn recall(&self, id: &RecordId, holder: RegionId) {
        let env = self.host().env();
        while self.leases().grants().has(id, holder, env.monotonic()) {
            let answer = if holder == self.host().region() {
                Ok(self.recalled(holder, id))
            } else {
                let request = RegisterRequest::Recall { id: id.clone() };
                let request = Request::Register(Box::new(request));
                let limit = limits::LEASE_RECALL_TIMEOUT;
                match self.host().call(holder, Class::Register, &request, limit).await {
                    Ok(Response::Register(response)) => Ok(*response),
                    Ok(other) => Err(other.name().to_owned()),
                    Err(why) => Err(why.to_string()),
                }
            };
            match answer {
                Ok(RegisterResponse::Released { upto }) => {
                    return self.leases().release(id, holder, upto);
                }
                other => tracing::debug!(%holder, ?other, "a lease was not given back"),
            }
            env.sleep(limits::LEASE_RECALL_PAUSE).await;
        }
    }

    /// A holder tells that it has let go.
    pub(super) fn released(
        &self,
        from: RegionId,
        id: &RecordId,
        upto: LeaseNo,
    ) -> RegisterResponse {
        self.leases().release(id, from, upto);
        RegisterResponse::Released { upto }
    }

    /// Notes on disk that no grant lasts, so that the next start has nothing to wait for.
    pub(super) async fn forget_leases(&self) -> Result<(), store::Error> {
        self.count_leases();
        let this = self.clone();
        let marked = self.host().store().read()?.get::<bool>(Table::Meta, GRANTED_KEY)?.is_some();
        if !marked {
            return Ok(());
        }
        self.host()
            .store()
            .write(move |tx| {
                let now = this.host().env().monotonic();
                if this.leases().grants().forget_ended(now) && Leases::may_have_granted(tx)? {
                    tx.delete(Table::Meta, GRANTED_KEY)?;
                }
                Ok(())
            })
            .await
    }
}
