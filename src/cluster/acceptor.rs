//! This node as a voter: answers questions about registers.
//!
//! Invariant: an answer leaves after what it promises is on stable storage; no answer leaves before
//! peers have confirmed that this disk did not go back in time (`standing`). What was accepted is
//! looked after by `sweep`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::limits;
use crate::logic::register::acceptor::{Cell, Handled};
use crate::logic::register::{Answer, Ask, Value};
use crate::net::message::PendingChange;
use crate::net::registers::{Bodies, Counters, LogEnd, RegisterRequest, RegisterResponse};
use crate::store::{self, SealedBlob, Table, Tx};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::batch::{riding, same_kind};
use super::cells::{
    CELL, Open, cell_key, held_blobs, load_cell, open_key, reduce, row_of, row_seen, save_cell,
};
use super::hold::Holding;
use super::names;
use super::register::{Registers, attach};
use super::stage::Arrived;
use super::standing::Standing;
use super::turns::Turns;

/// The voter's own memory; registers are in the store.
pub(super) struct Acceptor {
    pub(super) counters: Counters,
    /// The end of this disk's log at the start.
    pub(super) opened: LogEnd,
    /// Promises and acceptances since.
    pub(super) changes: AtomicU64,
    pub(super) standing: watch::Sender<Standing>,
    /// About how many registers are open; exact after each sweep.
    pub(super) open: AtomicUsize,
    turns: Turns,
}

impl Acceptor {
    pub(super) fn new(counters: Counters, opened: LogEnd) -> Self {
        let standing = watch::Sender::new(Standing::Waiting { confirmed: 0, needed: 0 });
        let (open, turns) = (AtomicUsize::new(0), Turns::default());
        Self { counters, opened, changes: AtomicU64::new(0), standing, open, turns }
    }

    /// Names this start.
    pub(super) fn nonce(&self) -> u64 {
        self.counters.nonce
    }

    /// Starts of this data directory.
    pub(super) fn boot(&self) -> u64 {
        self.counters.boot
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }
}

impl Registers {
    /// Answers a peer's question, or this node's own.
    pub(super) async fn answer(
        &self,
        from: RegionId,
        request: RegisterRequest,
    ) -> Result<RegisterResponse, store::Error> {
        match request {
            RegisterRequest::Record { epoch, voters, id, ask, bodies } => {
                let question = Question { ask, bodies, arrived: None };
                self.answer_one(from, (epoch, &voters), id, question, None).await
            }
            RegisterRequest::Offer { change, epoch, voters, id, ask, bodies } => {
                let question = Question { ask, bodies, arrived: None };
                self.answer_one(from, (epoch, &voters), id, question, Some(*change)).await
            }
            RegisterRequest::Range { epoch, voters, range } => {
                if let Some(turned) = self.turned(epoch) {
                    return Ok(turned);
                }
                match self.may_serve(&voters) {
                    Ok(()) => self.answer_range(epoch, range).await,
                    Err(why) => Ok(RegisterResponse::Declined(why)),
                }
            }
            RegisterRequest::Members => {
                Ok(RegisterResponse::Members(Box::new((*self.host().members()).clone())))
            }
            RegisterRequest::Adopt(members) => {
                self.host().adopt(*members).await?;
                Ok(RegisterResponse::Members(Box::new((*self.host().members()).clone())))
            }
            RegisterRequest::List { epoch, after } => self.list(epoch, after),
            RegisterRequest::Remains => Ok(match self.host().remains().await {
                Ok(remains) => RegisterResponse::Remains(remains),
                Err(why) => RegisterResponse::Declined(why.to_string()),
            }),
            RegisterRequest::Confirm(counters) => self.confirm_for(from, counters, None).await,
            RegisterRequest::Reached { counters, opened, now } => {
                self.confirm_for(from, counters, Some((opened, now))).await
            }
            RegisterRequest::Close { name, bucket, stamp } => {
                let live = self.close(name, bucket, stamp).await?;
                Ok(RegisterResponse::Closed { live })
            }
            RegisterRequest::KeyNews { epoch, voters, since, after } => {
                if let Some(turned) = self.turned(epoch) {
                    return Ok(turned);
                }
                match self.may_serve(&voters) {
                    Ok(()) => Ok(RegisterResponse::KeyNews(self.key_news(since, after.as_ref())?)),
                    Err(why) => Ok(RegisterResponse::Declined(why)),
                }
            }
            RegisterRequest::Lease { epoch, voters, id, no } => {
                if let Some(turned) = self.turned(epoch) {
                    return Ok(turned);
                }
                match self.may_serve(&voters) {
                    Ok(()) => self.answer_lease(from, epoch, id, no).await,
                    Err(why) => Ok(RegisterResponse::Declined(why)),
                }
            }
            RegisterRequest::Recall { id } => Ok(self.recalled(from, &id)),
            RegisterRequest::Release { id, upto } => Ok(self.released(from, &id, upto)),
        }
    }

    /// Answers a question about one register; the bytes of a `change` are waited for before.
    async fn answer_one(
        &self,
        from: RegionId,
        (epoch, voters): (u64, &[RegionId]),
        id: RecordId,
        mut question: Question,
        change: Option<PendingChange>,
    ) -> Result<RegisterResponse, store::Error> {
        if let Some(turned) = self.turned(epoch) {
            return Ok(turned);
        }
        let may_take = self.may_serve(voters).and_then(|()| self.may_take(&id, &question.ask));
        if let Err(why) = may_take {
            return Ok(RegisterResponse::Declined(why));
        }
        if let Some(change) = change {
            match self.host().gather(from, change).await {
                Ok(arrived) => question.arrived = Some(arrived),
                Err(why) => return Ok(RegisterResponse::Declined(why)),
            }
        }
        self.answer_in_turn(from, epoch, id, question).await
    }

    async fn answer_in_turn(
        &self,
        from: RegionId,
        epoch: u64,
        id: RecordId,
        question: Question,
    ) -> Result<RegisterResponse, store::Error> {
        let (host, turns) = (self.host(), &self.state().acceptor.turns);
        match question.ask {
            Ask::Query => self.answer_query(epoch, &id).await,
            Ask::Prepare { ballot } => {
                self.recall_early(&id);
                turns.wait(host.env(), &id, ballot).await;
                let response = self.answer_record(epoch, id.clone(), question).await?;
                if let RegisterResponse::Record { answer, .. } = &response
                    && matches!(**answer, Answer::Promised { .. })
                {
                    let round = host.peers().rtt(from).unwrap_or_default();
                    turns.begin(host.env(), &id, ballot, round + limits::TURN_SLACK);
                }
                Ok(response)
            }
            Ask::Accept { ballot, ref value, .. } => {
                self.wait_for_leases(&id, value.stamp).await?;
                let response = self.answer_record(epoch, id.clone(), question).await;
                self.open_to_leases(&id);
                turns.end(&id, ballot);
                response
            }
        }
    }

    async fn answer_record(
        &self,
        epoch: u64,
        id: RecordId,
        question: Question,
    ) -> Result<RegisterResponse, store::Error> {
        let Question { ask, bodies, arrived } = question;
        let (mut sealed, mut offered) = (Vec::new(), None);
        if let Ask::Accept { value, .. } = &ask {
            offered = Some(value.stamp);
            sealed = match self.bodies_of_offer(value, bodies).await? {
                Ok(sealed) => sealed,
                Err(why) => return Ok(RegisterResponse::Declined(why.to_owned())),
            };
        }
        let (now_ms, subject) = (self.host().env().now_ms(), id.clone());
        let this = self.clone();
        let asked = self
            .host()
            .store()
            .write(move |tx| {
                if this.turned(epoch).is_some() {
                    return Ok(Asked::Turned);
                }
                if let (Ask::Accept { value, .. }, RecordId::Row(bucket, _)) = (&ask, &id)
                    && shows_something(&value.state)
                    && names::closed(tx, *bucket)?
                {
                    return Ok(Asked::Declined("the bucket is being deleted or was deleted"));
                }
                if let Some(arrived) = arrived
                    && !arrived.keep(tx, Holding::Offered, now_ms)?
                {
                    return Ok(Asked::Declined("its bytes were given up before"));
                }
                let cell = load_cell(tx, &id)?;
                if this.is_leased(&id, &cell, &ask) {
                    return Ok(Asked::Declined("a region reads the key by a lease"));
                }
                handle(tx, (id, cell), &ask, sealed, now_ms)
            })
            .await?;
        match asked {
            Asked::Declined(why) => Ok(RegisterResponse::Declined(why.to_owned())),
            Asked::Turned => Ok(self.turned(epoch).unwrap_or(RegisterResponse::Behind)),
            Asked::Answered { handled, opened } => {
                if handled.changed {
                    self.note_change(&subject, offered);
                }
                self.state().acceptor.open.fetch_add(usize::from(opened), Ordering::Relaxed);
                self.with_bodies(handled.answer).await
            }
        }
    }

    /// Something was promised, or accepted with this stamp.
    fn note_change(&self, subject: &RecordId, accepted: Option<Stamp>) {
        self.state().acceptor.changes.fetch_add(1, Ordering::Relaxed);
        if let Some(stamp) = accepted {
            self.state().accepted_keys.note(subject, stamp);
        }
    }

    async fn answer_query(
        &self,
        epoch: u64,
        id: &RecordId,
    ) -> Result<RegisterResponse, store::Error> {
        let answer = {
            let view = self.host().store().read()?;
            // What is seen is of this epoch, as none has followed since.
            if let Some(turned) = self.turned(epoch) {
                return Ok(turned);
            }
            let cell: Option<Cell<Record>> = view.get(Table::Register, &cell_key(id))?;
            let row = row_seen(&view, id)?;
            cell.unwrap_or_default().handle(&Ask::Query, row).answer
        };
        self.with_bodies(answer).await
    }

    /// The answer to a question of another epoch than this voter's; `None` where it is the same.
    pub(super) fn turned(&self, epoch: u64) -> Option<RegisterResponse> {
        match epoch.cmp(&self.host().roster().epoch()) {
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(RegisterResponse::Behind),
            std::cmp::Ordering::Less => {
                let members = (*self.host().members()).clone();
                Some(RegisterResponse::Members(Box::new(members)))
            }
        }
    }

    /// Names of the registers here.
    fn list(&self, epoch: u64, after: Option<Vec<u8>>) -> Result<RegisterResponse, store::Error> {
        let view = self.host().store().read()?;
        if let Some(turned) = self.turned(epoch) {
            return Ok(turned);
        }
        if let Some(why) = self.state().acceptor.standing().why_not() {
            return Ok(RegisterResponse::Declined(why));
        }
        let after = after.map(|name| [CELL, &name].concat());
        let page: Vec<(Vec<u8>, Cell<Record>)> =
            view.scan(Table::Register, CELL, after.as_deref(), limits::REGISTERS_PAGE)?;
        let is_last = page.len() < limits::REGISTERS_PAGE;
        let name = |(key, _): (Vec<u8>, _)| key.strip_prefix(CELL).map(<[u8]>::to_vec);
        let names = page.into_iter().filter_map(name).collect();
        Ok(RegisterResponse::Listed { names, is_last })
    }

    /// The bodies that ride in a value, or why it is not accepted.
    async fn bodies_of_offer(
        &self,
        value: &Value<Record>,
        bodies: Bodies,
    ) -> Result<Result<Vec<SealedBlob>, &'static str>, store::Error> {
        let (sent, store) = (bodies.len(), self.host().store());
        let sealed = self.seal_bodies(&value.state, &bodies.into_iter().collect()).await?;
        let here = riding(&value.state).iter().try_fold(sealed.len(), |count, blob| {
            Ok::<_, store::Error>(count + usize::from(store.holds(&blob.id)?))
        })?;
        if here < sent {
            return Ok(Err("a body fails its checksum"));
        }
        if self.host().observe(value.stamp).is_err() {
            return Ok(Err("the stamp is too far ahead"));
        }
        Ok(Ok(sealed))
    }

    /// Adds the bodies of a value that no row here knows yet: its asker may be the one who brings
    /// it to its end.
    pub(super) async fn with_bodies(
        &self,
        answer: Answer<Record>,
    ) -> Result<RegisterResponse, store::Error> {
        let mut bodies = Vec::new();
        let accepted = match &answer {
            Answer::State { accepted: Some(accepted), row }
            | Answer::Promised { accepted: Some(accepted), row, .. } => {
                let known = row.as_ref().map_or(Stamp::ZERO, |row| row.stamp);
                (known < accepted.value.stamp).then_some(accepted)
            }
            Answer::State { accepted: None, .. }
            | Answer::Promised { accepted: None, .. }
            | Answer::Accepted { .. }
            | Answer::Refused { .. } => None,
        };
        for blob in accepted.iter().flat_map(|accepted| riding(&accepted.value.state)) {
            if let Some((bytes, _)) = self.host().store().chunk(&blob, 0).await? {
                bodies.push((blob.id, bytes));
            }
        }
        Ok(RegisterResponse::Record { answer: Box::new(answer), bodies })
    }

    /// Whether this node is a voter among these and keeps its promises.
    fn may_serve(&self, voters: &[RegionId]) -> Result<(), String> {
        let host = self.host();
        let members = host.members();
        if voters != members.voters() {
            let (ours, epoch) = (members.voters(), members.electorate().epoch());
            return Err(format!("its voters are {ours:?} of epoch {epoch}, not {voters:?}"));
        }
        if !members.is_voter(host.region()) {
            return Err("not a voter".to_owned());
        }
        self.state().acceptor.standing().why_not().map_or(Ok(()), Err)
    }

    fn may_take(&self, id: &RecordId, ask: &Ask<Record>) -> Result<(), String> {
        match ask {
            Ask::Accept { value, .. } if !same_kind(id, &value.state) => {
                Err("a value of another kind than its register".to_owned())
            }
            Ask::Accept { .. }
                if self.state().acceptor.open.load(Ordering::Relaxed)
                    >= limits::REGISTERS_OPEN_MAX =>
            {
                Err("too many registers wait for their outcome".to_owned())
            }
            Ask::Accept { .. } | Ask::Prepare { .. } | Ask::Query => Ok(()),
        }
    }
}

/// How a voter's change of a register went.
enum Asked {
    Answered {
        handled: Box<Handled<Record>>,
        /// Its outcome is to be found out.
        opened: bool,
    },
    /// Nothing was promised, and why.
    Declined(&'static str),
    /// The epoch changed meanwhile.
    Turned,
}

/// A question about a register, with what came along.
struct Question {
    ask: Ask<Record>,
    /// That ride in the value.
    bodies: Bodies,
    /// Other bytes of the value: held in the same write that answers the question.
    arrived: Option<Arrived>,
}

/// Answers a question from a register's cell, and keeps what the answer says.
fn handle(
    tx: &mut Tx<'_>,
    (id, mut cell): (RecordId, Cell<Record>),
    ask: &Ask<Record>,
    sealed: Vec<SealedBlob>,
    now_ms: u64,
) -> Result<Asked, store::Error> {
    let row = row_of(tx, &id)?;
    let handled = Box::new(cell.handle(ask, row));
    let mut opened = false;
    if handled.changed && matches!(ask, Ask::Accept { .. }) {
        attach(tx, sealed)?;
        let blobs = held_blobs(tx, &cell)?;
        tx.put_holding(Table::Register, &cell_key(&id), &cell, &blobs)?;
        opened = !reduce(tx, &id)?;
        if opened {
            tx.put(Table::Register, &open_key(&id), &Open { id, since_ms: now_ms })?;
        }
    } else if handled.changed {
        save_cell(tx, &id, &cell)?;
    }
    Ok(Asked::Answered { handled, opened })
}

/// A row of a deleted bucket shows nothing; it is still rewritten when the voters change.
fn shows_something(value: &Record) -> bool {
    match value {
        Record::Row(row) => row.visible().next().is_some(),
        Record::AccessKey(_)
        | Record::Bucket(_)
        | Record::Members(_)
        | Record::Name(_)
        | Record::Part(_)
        | Record::Upload(_) => true,
    }
}
