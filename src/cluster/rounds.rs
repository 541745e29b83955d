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
use crate::logic::register::{Answer, Ask, Outcome, row_value};
use crate::net::registers::{Bodies, RegisterRequest, RegisterResponse};
use crate::types::id::BlobId;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

use super::ask::{Missed, odd};
use super::batch::riding;
use super::error::Unavailable;
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

impl Registers {
    pub(super) async fn run_kind(
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
