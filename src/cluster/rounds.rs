//! The rounds of one operation: drives a proposer over the voters until it has its outcome.
//!
//! Each voter is asked by a task of its own; what comes late counts for nothing here, and stays true
//! at the voter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::limits;
use crate::logic::register::change::Electorate;
use crate::logic::register::proposer::{Kind, Proposer, Step};
use crate::logic::register::{Answer, Ask, Outcome};
use crate::net::registers::{Bodies, RegisterRequest, RegisterResponse};
use crate::types::id::BlobId;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

use super::ask::{Missed, odd};
use super::batch::riding;
use super::cells::row_seen;
use super::error::Unavailable;
use super::offer::Offer;
use super::register::{Ended, Operation, Registers};

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

/// Whose answers count for a register: the members' own is decided by the voters before a change.
fn deciders(id: &RecordId, electorate: &Electorate) -> Electorate {
    match id == &RecordId::Members {
        true => electorate.deciders(),
        false => electorate.clone(),
    }
}

impl Registers {
    pub(super) async fn run_kind(
        &self,
        operation: Operation,
        kind: Kind,
        offer: Option<&mut Offer>,
        limit: Duration,
    ) -> Result<Ended, Unavailable> {
        if operation.judge.is_some() {
            self.host().await_clock().await;
        }
        let id = operation.id.clone();
        let mut notes = Notes::default();
        let rounds = Box::pin(self.run_rounds(operation, kind, offer, &mut notes));
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

    async fn run_rounds(
        &self,
        operation: Operation,
        kind: Kind,
        offer: Option<&mut Offer>,
        notes: &mut Notes,
    ) -> Result<(Outcome<Record>, BTreeSet<RegionId>), Unavailable> {
        let row = row_seen(&self.host().store().read()?, &operation.id)?;
        let electorate = self.host().members().electorate().clone();
        let plan = self.plan(&operation, kind, row);
        let proposer = Proposer::new(plan).among(deciders(&operation.id, &electorate));
        let (tell, heard) = mpsc::channel(limits::VOTERS_MAX * 4);
        let registers = self;
        let rounds = Rounds {
            registers,
            operation,
            offer,
            electorate,
            proposer,
            round: 0,
            tell,
            heard,
            notes,
        };
        rounds.drive().await
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
}

/// One operation on its way.
struct Rounds<'a> {
    registers: &'a Registers,
    operation: Operation,
    offer: Option<&'a mut Offer>,
    electorate: Electorate,
    proposer: Proposer<Record>,
    /// Of the question that was asked last.
    round: u64,
    tell: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
    notes: &'a mut Notes,
}

impl Rounds<'_> {
    async fn drive(mut self) -> Result<(Outcome<Record>, BTreeSet<RegionId>), Unavailable> {
        let registers = self.registers;
        let (state, env) = (registers.state(), registers.host().env());
        let warm = match self.operation.judge {
            Some(_) => state.take_warm(&self.operation.id, env.monotonic()),
            None => None,
        };
        let (mut step, mut attempt) = (self.proposer.start(warm), 0);
        loop {
            self.notes.may_have_happened = self.proposer.may_have_happened();
            step = match step {
                Step::Ask(ask) => self.ask(ask).await?,
                Step::Judge { current, floor } => {
                    if let Some(offer) = &mut self.offer {
                        offer.name_holders(&self.electorate).await?;
                    }
                    let floor = (floor, self.electorate.epoch());
                    let current = current.as_ref();
                    registers.judge(&self.operation, &mut self.proposer, current, floor)
                }
                Step::Retry => {
                    attempt += 1;
                    registers.host().metrics().register_retries.inc();
                    registers.pause(attempt).await;
                    self.proposer.retry()
                }
                Step::Wait => self.hear().await,
                Step::Done(mut outcome) => {
                    if let Outcome::Chosen { warm, .. } = &mut outcome
                        && let Some(warm) = warm.take()
                    {
                        state.keep_warm(&self.operation.id, warm, env.monotonic());
                    }
                    return Ok((outcome, self.proposer.accepted_by().clone()));
                }
            };
        }
    }

    async fn ask(&mut self, ask: Ask<Record>) -> Result<Step<Record>, Unavailable> {
        self.round += 1;
        let bodies = self.bodies_of(&ask).await?;
        if let Some(offer) = &mut self.offer {
            if let (Ask::Accept { .. }, Some(first)) = (&ask, offer.first()) {
                return Ok(Box::pin(self.ask_first(first, ask, bodies)).await);
            }
            offer.begin();
        }
        self.ask_all(&ask, &bodies, None);
        Ok(Step::Wait)
    }

    /// One voter gets the value together with the bytes that it names; the others when it has both.
    async fn ask_first(
        &mut self,
        first: RegionId,
        ask: Ask<Record>,
        bodies: Bodies,
    ) -> Step<Record> {
        let (epoch, voters) = self.epoch_and_voters();
        let Some(offer) = &mut self.offer else { return Step::Wait };
        let (registers, id) = (self.registers, self.operation.id.clone());
        let (its_ask, its_bodies) = (ask.clone(), bodies.clone());
        let asked = offer.hold_with(first, |change| async move {
            let (change, ask, bodies) = (Box::new(change), its_ask, its_bodies);
            let request = RegisterRequest::Offer { change, epoch, voters, id, ask, bodies };
            // Apart from failures of the way: those are said by the inner one.
            Ok(registers.ask_of_epoch(first, epoch, request).await)
        });
        let answer = match asked.await {
            Some(Ok(answer)) => answer,
            Some(Err(why)) => Err(Missed::Failed(why)),
            None => Err(Missed::Failed("made no progress".to_owned())),
        };
        let step = match answer {
            Ok(RegisterResponse::Record { answer, .. }) => {
                offer.held_by(vec![first]);
                let accepted = matches!(*answer, Answer::Accepted { .. });
                let step = self.proposer.handle(first, *answer);
                if accepted {
                    self.ask_all(&ask, &bodies, Some(first));
                    return step;
                }
                step
            }
            Ok(other) => {
                offer.begin();
                self.notes.voters.insert(first, odd(other));
                self.proposer.withheld(first)
            }
            Err(missed) => {
                offer.begin();
                self.missed(first, missed)
            }
        };
        // Nobody else gets what one voter did not take.
        let others = self.electorate.everyone().into_iter().filter(|voter| *voter != first);
        others.fold(step, |step, voter| match step {
            Step::Wait => self.proposer.withheld(voter),
            step => step,
        })
    }

    /// Each voter is asked by a task of its own, so that one who is slower than a majority gets the
    /// question all the same.
    fn ask_all(&self, ask: &Ask<Record>, bodies: &Bodies, but: Option<RegionId>) {
        let (epoch, voters) = self.epoch_and_voters();
        for from in voters.iter().copied().filter(|voter| Some(*voter) != but) {
            let (this, tell, round) = (self.registers.clone(), self.tell.clone(), self.round);
            let (id, ask, bodies) = (self.operation.id.clone(), ask.clone(), bodies.clone());
            let voters = voters.clone();
            self.registers.host().env().spawn("register-ask", async move {
                let request = RegisterRequest::Record { epoch, voters, id, ask, bodies };
                let answer = this.ask_one(from, epoch, request).await;
                // Nobody listens once the operation has its outcome.
                let _ = tell.send(Heard { round, from, answer }).await;
            });
        }
    }

    fn epoch_and_voters(&self) -> (u64, Vec<RegionId>) {
        (self.electorate.epoch(), self.electorate.everyone().into_iter().collect())
    }

    /// The next answer to the question that was asked last.
    async fn hear(&mut self) -> Step<Record> {
        let news = self.heard.recv().await.expect("this end holds a sender too");
        match news.answer {
            _ if news.round != self.round => Step::Wait,
            Ok((answer, bodies)) => {
                self.notes.voters.remove(&news.from);
                self.notes.bodies.extend(bodies);
                self.proposer.handle(news.from, answer)
            }
            Err(missed) => self.missed(news.from, missed),
        }
    }

    fn missed(&mut self, voter: RegionId, missed: Missed) -> Step<Record> {
        match missed {
            Missed::Moved(newer) if newer.epoch() > self.electorate.epoch() => {
                self.electorate = newer.clone();
                self.proposer.moved(deciders(&self.operation.id, &newer))
            }
            Missed::Moved(_) => self.proposer.failed(voter),
            Missed::Failed(why) => {
                self.notes.voters.insert(voter, why);
                self.proposer.failed(voter)
            }
        }
    }

    /// The bodies that ride in a value that is offered: the operation's own, what voters gave, or
    /// what is on this disk.
    async fn bodies_of(&self, ask: &Ask<Record>) -> Result<Bodies, Unavailable> {
        let Ask::Accept { value, .. } = ask else { return Ok(Vec::new()) };
        let mut bodies = Vec::new();
        for blob in riding(&value.state) {
            let own = self.operation.bodies.iter().find(|(id, _)| *id == blob.id);
            let known = own.map(|(_, bytes)| bytes).or_else(|| self.notes.bodies.get(&blob.id));
            let bytes = match known {
                Some(bytes) => Some(bytes.clone()),
                None => {
                    let store = self.registers.host().store();
                    store.chunk(&blob, 0).await?.map(|(bytes, _)| bytes)
                }
            };
            bodies.extend(bytes.map(|bytes| (blob.id, bytes)));
        }
        Ok(bodies)
    }
}
