//! This node as a voter: answers questions about registers, and looks after what it accepted.
//!
//! Invariant: an answer leaves after what it promises is on stable storage; no answer leaves before
//! peers have confirmed that this disk did not go back in time (a voter that forgot a promise
//! breaks uniqueness). A value that was accepted and of which nothing more is heard is brought to
//! its end.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::limits;
use crate::logic::register::acceptor::{Cell, Handled};
use crate::logic::register::{Accepted, Answer, Ask, Ballot, Value, row_value};
use crate::net::registers::{Bodies, Counters, KeyRange, RegisterRequest, RegisterResponse};
use crate::store::{self, SealedBlob, Snapshot, Table, Tx};
use crate::types::bucket::NameState;
use crate::types::id::{BlobId, BucketId};
use crate::types::name::ObjectKey;
use crate::types::object::Row;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::batch::{blobs_of, riding, same_kind};
use super::names::{self, NameAge, name_age, name_value};
use super::register::{Registers, attach};
use super::turns::Turns;

/// Registers that are looked after together.
const PAGE: usize = 64;

/// Whether this node may answer as a voter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Peers have not confirmed the counters yet.
    Waiting {
        confirmed: usize,
        needed: usize,
    },
    Serving,
    /// A peer knows larger counters: this disk lost promises.
    Outdated(Counters),
}

/// The voter's own memory; registers are in the store.
pub(super) struct Acceptor {
    counters: Counters,
    standing: watch::Sender<Standing>,
    /// About how many registers are open; exact after each sweep.
    open: AtomicUsize,
    turns: Turns,
}

/// A note that a register's accepted value is not known to be chosen, or that its name is being
/// deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open {
    id: RecordId,
    since_ms: u64,
}

impl Acceptor {
    pub(super) fn new(counters: Counters) -> Self {
        let standing = Standing::Waiting { confirmed: 0, needed: 0 };
        let (open, turns) = (AtomicUsize::new(0), Turns::default());
        Self { counters, standing: watch::Sender::new(standing), open, turns }
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

impl Cluster {
    /// Why this node keeps no registers although it is a voter; for people.
    pub fn registers_waiting(&self) -> Option<String> {
        if !self.members().is_voter(self.region()) {
            return None;
        }
        self.inner.registers.acceptor.standing().why_not()
    }
}

impl Standing {
    fn why_not(&self) -> Option<String> {
        match self {
            Self::Serving => None,
            Self::Waiting { confirmed, needed } => Some(format!(
                "started, but {confirmed} of {needed} peers have confirmed its counters"
            )),
            Self::Outdated(_) => {
                Some("its disk went back in time: it must rejoin as a new node".to_owned())
            }
        }
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
                if let Some(turned) = self.turned(epoch) {
                    return Ok(turned);
                }
                match self.may_serve(&voters).and_then(|()| self.may_take(&id, &ask)) {
                    Ok(()) => self.answer_in_turn(from, epoch, id, (ask, bodies)).await,
                    Err(why) => Ok(RegisterResponse::Declined(why)),
                }
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
            RegisterRequest::Confirm(counters) => self.confirm_for(from, counters).await,
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
        }
    }

    async fn answer_in_turn(
        &self,
        from: RegionId,
        epoch: u64,
        id: RecordId,
        (ask, bodies): (Ask<Record>, Bodies),
    ) -> Result<RegisterResponse, store::Error> {
        let (host, turns) = (self.host(), &self.state().acceptor.turns);
        match ask {
            Ask::Query => self.answer_record(epoch, id, ask, bodies).await,
            Ask::Prepare { ballot } => {
                turns.wait(host.env(), &id, ballot).await;
                let response = self.answer_record(epoch, id.clone(), ask, bodies).await?;
                if let RegisterResponse::Record { answer, .. } = &response
                    && matches!(**answer, Answer::Promised { .. })
                {
                    let round = host.peers().rtt(from).unwrap_or_default();
                    turns.begin(host.env(), &id, ballot, round + limits::TURN_SLACK);
                }
                Ok(response)
            }
            Ask::Accept { ballot, .. } => {
                let response = self.answer_record(epoch, id.clone(), ask, bodies).await;
                turns.end(&id, ballot);
                response
            }
        }
    }

    async fn answer_record(
        &self,
        epoch: u64,
        id: RecordId,
        ask: Ask<Record>,
        bodies: Bodies,
    ) -> Result<RegisterResponse, store::Error> {
        if let Ask::Query = ask {
            return self.answer_query(epoch, &id).await;
        }
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
                    return Ok(Asked::Closed);
                }
                let mut cell = load_cell(tx, &id)?;
                let row = tx.record(&id)?.as_ref().map(row_value);
                let handled = cell.handle(&ask, row);
                if handled.changed && matches!(ask, Ask::Accept { .. }) {
                    attach(tx, sealed)?;
                    let blobs = held_blobs(tx, &cell)?;
                    tx.put_holding(Table::Register, &cell_key(&id), &cell, &blobs)?;
                    let known = reduce(tx, &id)?;
                    if !known {
                        let key = open_key(&id);
                        tx.put(Table::Register, &key, &Open { id, since_ms: now_ms })?;
                    }
                    let handled = Box::new(handled);
                    return Ok(Asked::Answered { handled, opened: !known });
                }
                if handled.changed {
                    save_cell(tx, &id, &cell)?;
                }
                let handled = Box::new(handled);
                Ok::<_, store::Error>(Asked::Answered { handled, opened: false })
            })
            .await?;
        match asked {
            Asked::Closed => {
                let why = "the bucket is being deleted or was deleted";
                Ok(RegisterResponse::Declined(why.to_owned()))
            }
            Asked::Turned => Ok(self.turned(epoch).unwrap_or(RegisterResponse::Behind)),
            Asked::Answered { handled, opened } => {
                if let (Some(stamp), true) = (offered, handled.changed) {
                    self.state().accepted_keys.note(&subject, stamp);
                }
                self.state().acceptor.open.fetch_add(usize::from(opened), Ordering::Relaxed);
                self.with_bodies(handled.answer).await
            }
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
            let row = view.record(id)?.as_ref().map(row_value);
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
    async fn with_bodies(&self, answer: Answer<Record>) -> Result<RegisterResponse, store::Error> {
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

    /// Remembers a peer's counters, durably, unless it knew larger ones.
    async fn confirm_for(
        &self,
        peer: RegionId,
        counters: Counters,
    ) -> Result<RegisterResponse, store::Error> {
        let key = counters_key(peer);
        self.host()
            .store()
            .write(move |tx| {
                let known: Option<Counters> = tx.get(Table::Meta, &key)?;
                match known {
                    Some(known) if !counters.follows(&known) => {
                        return Ok(RegisterResponse::Outdated(known));
                    }
                    Some(known) if known == counters => {}
                    Some(_) | None => tx.put(Table::Meta, &key, &counters)?,
                }
                Ok(RegisterResponse::Confirmed)
            })
            .await
    }

    /// Runs until `stop`: gets this voter confirmed, then sweeps.
    pub(super) async fn keep(self, mut stop: watch::Receiver<bool>) {
        let work = std::pin::pin!(self.keep_on());
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = work => {}
        }
    }

    async fn keep_on(&self) {
        let host = self.host();
        self.get_confirmed().await;
        if self.state().acceptor.standing() != Standing::Serving {
            return;
        }
        loop {
            host.env().sleep(limits::REGISTER_SILENCE).await;
            if let Err(why) = self.sweep().await {
                tracing::error!(%why, "registers cannot be looked after");
            }
        }
    }

    async fn get_confirmed(&self) {
        let host = self.host();
        let mut confirmed: Vec<RegionId> = Vec::new();
        let mut waited = limits::REGISTER_PAUSE_MIN;
        loop {
            // Anew each time: a region that is removed is not waited for.
            let needed = host.members().confirmations();
            for peer in host.members().by_distance(host.region(), &**host.peers()) {
                if confirmed.len() >= needed {
                    break;
                }
                if confirmed.contains(&peer) {
                    continue;
                }
                let request = RegisterRequest::Confirm(self.state().acceptor.counters);
                match self.call(peer, request).await {
                    Ok(RegisterResponse::Confirmed) => confirmed.push(peer),
                    Ok(RegisterResponse::Outdated(known)) => {
                        tracing::error!(
                            %peer, ?known, mine = ?self.state().acceptor.counters,
                            "this disk went back in time; this node keeps no registers"
                        );
                        self.state().acceptor.standing.send_replace(Standing::Outdated(known));
                        return;
                    }
                    Ok(other) => tracing::warn!(%peer, ?other, "unexpected answer to counters"),
                    Err(why) => tracing::debug!(%peer, %why, "counters not confirmed"),
                }
            }
            if confirmed.len() >= needed {
                self.state().acceptor.standing.send_replace(Standing::Serving);
                return;
            }
            let confirmed = confirmed.len();
            self.state().acceptor.standing.send_replace(Standing::Waiting { confirmed, needed });
            host.env().sleep(waited).await;
            waited = (waited * 2).min(limits::REGISTER_PAUSE_MAX);
        }
    }

    /// Brings to an end what was accepted at least a while ago and of which nothing more was heard;
    /// of what the rows know by now only ballot and stamp are kept.
    async fn sweep(&self) -> Result<(), store::Error> {
        let due_ms = u64::try_from(limits::REGISTER_SILENCE.as_millis()).unwrap_or(u64::MAX);
        let (mut after, mut open): (Option<Vec<u8>>, usize) = (None, 0);
        loop {
            let page: Vec<(Vec<u8>, Open)> =
                self.host().store().read()?.scan(Table::Register, OPEN, after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            open += page.len();
            let now_ms = self.host().env().now_ms();
            let old = |note: &Open| now_ms.saturating_sub(note.since_ms) >= due_ms;
            let due: Vec<RecordId> =
                page.into_iter().map(|(_, note)| note).filter(old).map(|note| note.id).collect();
            if due.is_empty() {
                continue;
            }
            let (ended, left) = self.reduce_known(due).await?;
            open -= ended;
            join_all(left.iter().map(|id| async move {
                if let Err(why) = self.finish(id).await {
                    tracing::debug!(?id, %why, "register left open for now");
                }
            }))
            .await;
        }
        self.state().acceptor.open.store(open, Ordering::Relaxed);
        Ok(())
    }

    /// Ends what the rows here know; how many those were, and the others.
    async fn reduce_known(
        &self,
        ids: Vec<RecordId>,
    ) -> Result<(usize, Vec<RecordId>), store::Error> {
        self.host()
            .store()
            .write(move |tx| {
                let (mut ended, mut left) = (0, Vec::new());
                for id in ids {
                    if reduce(tx, &id)? {
                        ended += 1;
                    } else {
                        left.push(id);
                    }
                }
                Ok((ended, left))
            })
            .await
    }

    /// Finds out what became of a value; the next sweep ends what is known then.
    async fn finish(&self, id: &RecordId) -> Result<(), super::Unavailable> {
        let current = self.look(id, limits::REGISTER_TIMEOUT).await?;
        let name = match id {
            RecordId::Name(name) => name,
            RecordId::AccessKey(_)
            | RecordId::Members
            | RecordId::Bucket(_)
            | RecordId::Part(..)
            | RecordId::Row(..)
            | RecordId::Upload(_) => return Ok(()),
        };
        let current = current.and_then(|value| name_value(&value));
        match name_age(current.as_ref(), self.host().env().now_ms()) {
            NameAge::Settled | NameAge::Deleting => Ok(()),
            NameAge::Stuck => self.set_back(name).await,
        }
    }
}

/// Prefixes of [`Table::Register`].
pub(super) const CELL: &[u8] = b"cell/";
const OPEN: &[u8] = b"open/";

/// How a voter's change of a register went.
enum Asked {
    Answered {
        handled: Box<Handled<Record>>,
        /// Its outcome is to be found out.
        opened: bool,
    },
    /// The bucket takes no writes.
    Closed,
    /// The epoch changed meanwhile.
    Turned,
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

fn counters_key(peer: RegionId) -> Vec<u8> {
    [b"counters/", peer.to_string().as_bytes()].concat()
}

/// A region of this code that comes is another one.
pub(super) fn forget_counters(tx: &mut Tx<'_>, peer: RegionId) -> Result<(), store::Error> {
    tx.delete(Table::Meta, &counters_key(peer))
}

/// Lets all registers go: this region joins the voters, and whatever it kept from an earlier time
/// counts no more.
pub(super) fn discard_all(tx: &mut Tx<'_>) -> Result<(), store::Error> {
    loop {
        let page: Vec<(Vec<u8>, Cell<Record>)> = tx.scan(Table::Register, CELL, None, PAGE)?;
        if page.is_empty() {
            break;
        }
        for (key, _) in page {
            tx.delete(Table::Register, &key)?;
        }
    }
    loop {
        let page: Vec<(Vec<u8>, Open)> = tx.scan(Table::Register, OPEN, None, PAGE)?;
        if page.is_empty() {
            return Ok(());
        }
        for (key, _) in page {
            tx.delete(Table::Register, &key)?;
        }
    }
}

pub(super) fn cell_key(id: &RecordId) -> Vec<u8> {
    [CELL, store::record_key(id).as_slice()].concat()
}

fn open_key(id: &RecordId) -> Vec<u8> {
    [OPEN, store::record_key(id).as_slice()].concat()
}

pub(super) fn load_cell(tx: &Tx<'_>, id: &RecordId) -> Result<Cell<Record>, store::Error> {
    Ok(tx.get(Table::Register, &cell_key(id))?.unwrap_or_default())
}

/// Keeps a promise, and whatever blobs the cell held.
pub(super) fn save_cell(
    tx: &mut Tx<'_>,
    id: &RecordId,
    cell: &Cell<Record>,
) -> Result<(), store::Error> {
    tx.put(Table::Register, &cell_key(id), cell)
}

/// The blobs of the accepted value that are here: kept until its outcome is known.
fn held_blobs(tx: &Tx<'_>, cell: &Cell<Record>) -> Result<Vec<BlobId>, store::Error> {
    let mut held = Vec::new();
    let value = cell.accepted.as_ref().map(|accepted| &accepted.value.state);
    for blob in value.into_iter().flat_map(blobs_of) {
        if tx.holds(&blob.id)? {
            held.push(blob.id);
        }
    }
    Ok(held)
}

/// Ends an open register whose value the record here knows; of a key's only ballot, stamp and
/// operations are kept, because the row says the rest. False where it stays open.
pub(super) fn reduce(tx: &mut Tx<'_>, id: &RecordId) -> Result<bool, store::Error> {
    let mut cell = load_cell(tx, id)?;
    if let Some(accepted) = &mut cell.accepted {
        let record = tx.record(id)?;
        let known = record.as_ref().map_or(Stamp::ZERO, |record| row_value(record).stamp);
        let deleting = match &accepted.value.state {
            Record::Name(name) => matches!(name.state, NameState::Deleting(_)),
            Record::AccessKey(_)
            | Record::Members(_)
            | Record::Bucket(_)
            | Record::Part(_)
            | Record::Row(_)
            | Record::Upload(_) => false,
        };
        if known < accepted.value.stamp || deleting {
            return Ok(false);
        }
        if let Record::Row(row) = &mut accepted.value.state {
            *row = Row::default();
            tx.put_holding(Table::Register, &cell_key(id), &cell, &[])?;
        }
    }
    tx.delete(Table::Register, &open_key(id))?;
    Ok(true)
}

/// Lets the row of a deletion go; its stamp stays in the register, so that nothing that was judged
/// before it is accepted. False where the register has something newer: then the row stays.
pub(super) fn forget_row(
    tx: &mut Tx<'_>,
    id: &RecordId,
    stamp: Stamp,
) -> Result<bool, store::Error> {
    let Some(mut cell) = tx.get::<Cell<Record>>(Table::Register, &cell_key(id))? else {
        return Ok(true);
    };
    let ballot = match &cell.accepted {
        Some(accepted) if accepted.value.stamp > stamp => return Ok(false),
        Some(accepted) => accepted.ballot,
        None => Ballot::ZERO,
    };
    let state = Record::Row(Row::default());
    cell.accepted = Some(Accepted { ballot, value: Value { stamp, ops: Vec::new(), state } });
    tx.put_holding(Table::Register, &cell_key(id), &cell, &[])?;
    tx.delete(Table::Register, &open_key(id))?;
    Ok(true)
}

/// The keys in range of which a value was accepted that no row here shows, with its stamp; and
/// whether there are more than may be told.
pub(super) fn open_in(
    snapshot: &Snapshot,
    range: &KeyRange,
) -> Result<(Vec<(ObjectKey, Stamp)>, bool), store::Error> {
    let bucket = [OPEN, store::row_prefix(range.bucket).as_slice()].concat();
    let prefix = [&bucket, range.prefix.as_bytes()].concat();
    let after = range.after.as_ref().map(|after| [&bucket, after.as_bytes()].concat());
    let mut after = after.filter(|after| *after > prefix);
    let mut open = Vec::new();
    loop {
        let page: Vec<(Vec<u8>, Open)> =
            snapshot.scan(Table::Register, &prefix, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok((open, false)) };
        after = Some(last.clone());
        for (_, note) in page {
            let RecordId::Row(_, key) = &note.id else { continue };
            if !range.reaches(key.as_str()) {
                return Ok((open, false));
            }
            let cell: Option<Cell<Record>> = snapshot.get(Table::Register, &cell_key(&note.id))?;
            let Some(accepted) = cell.and_then(|cell| cell.accepted) else { continue };
            let row = snapshot.record(&note.id)?;
            let known = row.as_ref().map_or(Stamp::ZERO, |row| row_value(row).stamp);
            if accepted.value.stamp > known {
                open.push((key.clone(), accepted.value.stamp));
            }
            if open.len() > limits::LIST_OPEN_MAX {
                return Ok((open, true));
            }
        }
    }
}

/// Whether a register of this bucket holds something that no row here shows yet.
pub(super) fn has_open(tx: &Tx<'_>, bucket: BucketId) -> Result<bool, store::Error> {
    let prefix = [OPEN, store::row_prefix(bucket).as_slice()].concat();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page: Vec<(Vec<u8>, Open)> =
            tx.scan(Table::Register, &prefix, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(false) };
        after = Some(last.clone());
        for (_, note) in &page {
            let cell = load_cell(tx, &note.id)?;
            let row = tx.record(&note.id)?;
            let known = row.as_ref().map_or(Stamp::ZERO, |row| row_value(row).stamp);
            if cell.accepted.is_some_and(|accepted| accepted.value.stamp > known) {
                return Ok(true);
            }
        }
    }
}
