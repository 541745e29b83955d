//! One operation on a register, from its first question to its outcome.
//!
//! Driving contract: [`Proposer::start`] gives the first [`Step`]; then each answer goes to
//! [`Proposer::handle`] (each missing one to [`Proposer::failed`]) and gives the next.
//! `Step::Ask` goes to every voter, and replaces the question before it. `Step::Judge` shows the
//! current value and is answered at once by [`Proposer::propose`] or [`Proposer::refuse`].
//! `Step::Retry` means: wait a random while, then [`Proposer::retry`]. The caller bounds retries;
//! an operation given up after [`Proposer::may_have_happened`] has an unknown outcome.
//!
//! Invariant: one ballot is used for one value. What is judged is the accepted value of the highest
//! ballot of a majority together with the rows that were seen; it is written back before anything
//! rests on it, unless that majority agrees on it. A row that all of them have is no agreement: a value
//! that was judged without it may have been accepted elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::change::Electorate;
use super::{Accepted, Answer, Ask, Ballot, OPS_MAX, Outcome, RowValue, State, Value};
use crate::types::id::OpId;
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

/// What an operation is, apart from the change itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan<V> {
    pub region: RegionId,
    /// Random, never used by another proposer.
    pub nonce: u64,
    pub op: OpId,
    /// Who keeps the register; 1, 2, 3, 5 or 7 regions.
    pub voters: Vec<RegionId>,
    /// The record beside the register in this region.
    pub row: Option<RowValue<V>>,
    pub kind: Kind,
}

/// Reading or changing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Read,
    /// `keep_warm` asks the acceptors to promise a fresh ballot with their acceptance, so that the
    /// next change takes one round.
    Write {
        keep_warm: bool,
    },
    /// A read that has what it found accepted again whatever its voters agree on: what a voter
    /// change does to every register.
    Rewrite,
}

/// A ballot that a majority promised when it accepted `value`. Good for one change, in memory only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Warm<V> {
    ballot: Ballot,
    value: Value<V>,
}

/// What the caller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<V> {
    /// Send to every voter.
    Ask(Ask<V>),
    /// Decide on `current`: propose a state with a stamp above `floor`, or refuse.
    Judge {
        current: Option<Value<V>>,
        floor: Stamp,
    },
    /// Wait a random while, then call [`Proposer::retry`].
    Retry,
    /// Nothing; more answers are needed.
    Wait,
    Done(Outcome<V>),
}

/// Rules that experiments showed to be necessary; tests switch each off to see that it is missed.
/// Those that the proposer does not keep itself are kept by what drives it: there the models leave
/// them out.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// A retry looks for its own operation, and never answers "refused" while that is open.
    OwnOperation,
    /// It is open after a proposal until that was passed over.
    PassedOver,
    /// What a majority disagrees on is written back before an answer rests on it.
    WriteBack,
    /// "Refused" is never answered from a warm ballot's value.
    FullRound,
    /// A voter whose row is above what was judged does not accept.
    JudgedStamp,
    /// Rows take what is known chosen, not what is merely accepted.
    RowOnChosen,
    /// No two proposers share ballots.
    BallotOnce,
    /// A warm ballot is gone once it was used, whatever came of it.
    WarmBurnt,
    /// A voter never comes back with less than it promised.
    Promises,
    /// Each message carries its epoch, and a voter answers its own epoch alone.
    Epochs,
    /// During a voter change a quorum is a majority of the old and of the new voters.
    JointMajority,
    /// Every register is rewritten before the old voters leave.
    Rewriting,
    /// A region that joins the voters has no registers of an earlier time.
    JoinsEmpty,
}

/// How often a read that finds voters disagree looks again before it asks for promises.
const READ_LOOKS: u8 = 2;

/// The logarithm of the longest leap of a retry over the rounds of others.
const RETRY_LEAP_MAX: u32 = 8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposer<V> {
    plan: Plan<V>,
    electorate: Electorate,
    /// Highest round seen or used.
    round: u64,
    /// Largest row seen.
    row: Option<RowValue<V>>,
    phase: Phase<V>,
    /// An own value was offered to acceptors, the last one.
    proposed: Option<Proposed>,
    /// The same before the offer under way, of which it is not known yet whether it was in vain.
    proposed_before: Option<Proposed>,
    /// Looks without promises that a read tries before it asks for promises, which are in the way of
    /// others: mostly it came while a change was under way.
    looks_left: u8,
    /// The next retry looks again.
    looks: bool,
    retries: u32,
    /// Who accepted the value that ended the operation.
    accepted_by: BTreeSet<RegionId>,
    #[cfg(test)]
    pub(crate) without: Option<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Proposed {
    ballot: Ballot,
    /// The newest operation of what it was made from.
    before: Option<OpId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase<V> {
    /// Nothing is asked: before the start, between retries, after the end.
    Idle,
    /// Collecting what acceptors have; without a ballot nothing is promised.
    Asking {
        ballot: Option<Ballot>,
        answers: BTreeMap<RegionId, Option<Accepted<V>>>,
        lost: BTreeSet<RegionId>,
    },
    Judging(Judged<V>),
    Offering {
        ballot: Ballot,
        value: Value<V>,
        next: Option<Ballot>,
        then: Then,
        /// It is this operation's own value.
        own: bool,
        accepted: BTreeSet<RegionId>,
        /// Who never accepts it.
        refused: BTreeSet<RegionId>,
        lost: BTreeSet<RegionId>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Judged<V> {
    ballot: Ballot,
    current: Option<Value<V>>,
    /// The highest ballot under which a voter that answered has accepted something.
    at: Option<Ballot>,
    /// The majority agrees: `current` is chosen as it is.
    agreed: bool,
    /// From a warm ballot: good enough to propose, not to refuse.
    warm: bool,
}

impl<V> Judged<V> {
    /// What was proposed is not chosen and never will be, if it is not in `current`: that comes from
    /// what the proposal was made from, and a majority has accepted it under a higher ballot.
    fn passes_over(&self, proposed: Proposed) -> bool {
        let comes_from = |op| self.current.as_ref().is_some_and(|c| c.ops.contains(&op));
        self.agreed && self.at > Some(proposed.ballot) && proposed.before.is_some_and(comes_from)
    }
}

/// The outcome, once what is offered is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Then {
    Chosen,
    Conflict,
    Read,
    Refused,
}

impl Then {
    fn outcome<V>(self, current: Option<Value<V>>) -> Outcome<V> {
        match self {
            Self::Chosen => {
                Outcome::Chosen { value: current.expect("what was chosen is a value"), warm: None }
            }
            Self::Conflict => Outcome::Conflict { current },
            Self::Read => Outcome::Read { current },
            Self::Refused => Outcome::Refused { current },
        }
    }
}

impl<V: State> Proposer<V> {
    pub fn new(plan: Plan<V>) -> Self {
        assert!(!plan.voters.is_empty(), "a register has voters");
        let row = plan.row.clone();
        let electorate = Electorate::first(0, plan.voters.iter().copied());
        Self {
            plan,
            electorate,
            round: 0,
            row,
            phase: Phase::Idle,
            proposed: None,
            proposed_before: None,
            looks_left: READ_LOOKS,
            looks: false,
            retries: 0,
            accepted_by: BTreeSet::new(),
            #[cfg(test)]
            without: None,
        }
    }

    /// Asks these in place of the plan's voters, whose scope never changes its own.
    pub fn among(mut self, electorate: Electorate) -> Self {
        assert!(matches!(self.phase, Phase::Idle), "before the start");
        self.electorate = electorate;
        self
    }

    /// Goes on among newer voters: what the round under way still brings is not counted.
    pub fn moved(&mut self, electorate: Electorate) -> Step<V> {
        if electorate.epoch() <= self.electorate.epoch() {
            return Step::Wait;
        }
        self.electorate = electorate;
        match self.phase {
            Phase::Idle => Step::Wait,
            Phase::Asking { .. } | Phase::Offering { .. } | Phase::Judging(_) => {
                self.phase = Phase::Idle;
                Step::Retry
            }
        }
    }

    /// The first step. `warm` is what the last change of this register by this node left.
    pub fn start(&mut self, warm: Option<Warm<V>>) -> Step<V> {
        match (self.plan.kind, warm) {
            (Kind::Read, _) => self.ask(None),
            (Kind::Write { .. } | Kind::Rewrite, None) | (Kind::Rewrite, Some(_)) => self.prepare(),
            (Kind::Write { .. }, Some(warm)) => {
                self.round = self.round.max(warm.ballot.round);
                let (current, overtaken) = over(Some(warm.value), self.row.as_ref());
                let ballot = warm.ballot;
                self.judge(Judged { ballot, current, at: None, agreed: !overtaken, warm: true })
            }
        }
    }

    /// The next attempt, after a pause.
    pub fn retry(&mut self) -> Step<V> {
        assert!(matches!(self.phase, Phase::Idle), "a retry follows Step::Retry");
        if std::mem::take(&mut self.looks) {
            return self.ask(None);
        }
        // Farther with every retry: one that keeps a warm ballot moves on by one with each change,
        // and would stay ahead for ever.
        self.retries = self.retries.saturating_add(1);
        self.round += (1 << self.retries.min(RETRY_LEAP_MAX)) - 1;
        self.prepare()
    }

    /// True once an own value was offered: giving up now leaves the outcome unknown.
    pub fn may_have_happened(&self) -> bool {
        self.proposed.is_some()
    }

    /// The voters that are known to have accepted what the operation ended with; none where the end
    /// rests on what they had before.
    pub fn accepted_by(&self) -> &BTreeSet<RegionId> {
        &self.accepted_by
    }

    /// Takes one voter's answer.
    pub fn handle(&mut self, from: RegionId, answer: Answer<V>) -> Step<V> {
        if !self.electorate.has(from) {
            return Step::Wait;
        }
        match answer {
            Answer::State { accepted, row } => self.informed(from, None, accepted, row),
            Answer::Promised { ballot, accepted, row } => {
                self.informed(from, Some(ballot), accepted, row)
            }
            Answer::Accepted { ballot } => self.accepted(from, ballot),
            Answer::Refused { ballot, promised, accepted, row } => {
                self.round = self.round.max(promised.round);
                self.see_row(row);
                match &mut self.phase {
                    Phase::Asking { ballot: Some(b), .. } if *b == ballot => self.failed(from),
                    Phase::Offering { ballot: b, refused, .. } if *b == ballot => {
                        if accepted < ballot {
                            refused.insert(from);
                        }
                        self.failed(from)
                    }
                    Phase::Asking { .. }
                    | Phase::Offering { .. }
                    | Phase::Idle
                    | Phase::Judging(_) => Step::Wait,
                }
            }
        }
    }

    /// A voter will not answer the question that was asked last.
    pub fn failed(&mut self, from: RegionId) -> Step<V> {
        let (Phase::Asking { lost, .. } | Phase::Offering { lost, .. }) = &mut self.phase else {
            return Step::Wait;
        };
        lost.insert(from);
        if self.electorate.is_quorum(|region| !lost.contains(&region)) {
            return Step::Wait;
        }
        if let Phase::Offering { own: true, refused, .. } = &self.phase
            && !self.electorate.is_quorum(|region| !refused.contains(&region))
        {
            // No majority will ever accept it: it was not offered, so to speak.
            self.proposed = self.proposed_before;
        }
        self.phase = Phase::Idle;
        Step::Retry
    }

    /// A voter never gets the question that was asked last: what it offers goes to others first,
    /// who did not take it.
    pub fn withheld(&mut self, from: RegionId) -> Step<V> {
        if let Phase::Offering { refused, .. } = &mut self.phase {
            refused.insert(from);
        }
        self.failed(from)
    }

    /// Answers `Step::Judge`: the change makes `state`, under a stamp above the floor.
    pub fn propose(&mut self, state: V, stamp: Stamp) -> Step<V> {
        let Phase::Judging(judged) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            unreachable!("a proposal answers Step::Judge");
        };
        let floor = self.floor(judged.current.as_ref());
        assert!(stamp > floor, "stamps above all seen");
        let before = judged.current.map_or(Vec::new(), |c| c.ops);
        self.proposed_before = self.proposed;
        self.proposed = Some(Proposed { ballot: judged.ballot, before: before.first().copied() });
        let mut ops = vec![self.plan.op];
        ops.extend(before.into_iter().take(OPS_MAX - 1));
        self.offer(judged.ballot, Value { stamp, ops, state }, floor, (Then::Chosen, true))
    }

    /// Answers `Step::Judge`: there is nothing to change.
    pub fn refuse(&mut self) -> Step<V> {
        let Phase::Judging(judged) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            unreachable!("a refusal answers Step::Judge");
        };
        if judged.warm && !self.skips_full_round() {
            return self.prepare();
        }
        let is_open = self.proposed.is_some_and(|proposed| !judged.passes_over(proposed));
        let then = match is_open && !self.skips_open_outcome() {
            true => Then::Conflict,
            false => Then::Refused,
        };
        self.settle(judged, then)
    }

    fn prepare(&mut self) -> Step<V> {
        let ballot = self.fresh_ballot();
        self.ask(Some(ballot))
    }

    fn fresh_ballot(&mut self) -> Ballot {
        self.round += 1;
        Ballot { round: self.round, region: self.plan.region, nonce: self.plan.nonce }
    }

    fn ask(&mut self, ballot: Option<Ballot>) -> Step<V> {
        self.phase = Phase::Asking { ballot, answers: BTreeMap::new(), lost: BTreeSet::new() };
        Step::Ask(ballot.map_or(Ask::Query, |ballot| Ask::Prepare { ballot }))
    }

    fn see_row(&mut self, row: Option<RowValue<V>>) {
        let Some(row) = row else { return };
        self.row = Some(match self.row.take() {
            None => row,
            Some(known) => RowValue {
                stamp: known.stamp.max(row.stamp),
                state: V::together((known.stamp, &known.state), (row.stamp, &row.state)),
            },
        });
    }

    fn informed(
        &mut self,
        from: RegionId,
        about: Option<Ballot>,
        accepted: Option<Accepted<V>>,
        row: Option<RowValue<V>>,
    ) -> Step<V> {
        self.see_row(row);
        if let Some(accepted) = &accepted {
            self.round = self.round.max(accepted.ballot.round);
        }
        let Phase::Asking { ballot, answers, .. } = &mut self.phase else {
            return Step::Wait;
        };
        if *ballot != about {
            return Step::Wait;
        }
        answers.insert(from, accepted);
        if !self.electorate.is_quorum(|region| answers.contains_key(&region)) {
            return Step::Wait;
        }
        let ballot = *ballot;
        let answers: Vec<_> = std::mem::take(answers).into_values().collect();
        self.weigh(ballot, answers)
    }

    /// A majority has answered: what does the register hold?
    fn weigh(&mut self, ballot: Option<Ballot>, answers: Vec<Option<Accepted<V>>>) -> Step<V> {
        let same = answers
            .windows(2)
            .all(|w| w[0].as_ref().map(|a| a.ballot) == w[1].as_ref().map(|a| a.ballot));
        let highest = answers.into_iter().flatten().max_by_key(|a| (a.ballot, a.value.stamp));
        let at = highest.as_ref().map(|a| a.ballot);
        let highest = highest.map(|a| a.value);
        let (current, overtaken) = over(highest, self.row.as_ref());
        let agreed = same && !overtaken;
        let Some(ballot) = ballot else {
            // A read without promises: only agreement is an answer.
            if agreed || self.skips_write_back() {
                self.phase = Phase::Idle;
                return Step::Done(Outcome::Read { current });
            }
            if !overtaken && self.looks_left > 0 {
                self.looks_left -= 1;
                self.looks = true;
                self.phase = Phase::Idle;
                return Step::Retry;
            }
            return self.prepare();
        };
        self.judge(Judged { ballot, current, at, agreed, warm: false })
    }

    fn judge(&mut self, judged: Judged<V>) -> Step<V> {
        match self.plan.kind {
            Kind::Read => return self.settle(judged, Then::Read),
            Kind::Rewrite => {
                return self.settle(Judged { agreed: false, ..judged }, Then::Read);
            }
            Kind::Write { .. } => {}
        }
        let ops = judged.current.as_ref().map_or(&[][..], |c| &c.ops);
        if !self.skips_own_operation() {
            if ops.contains(&self.plan.op) {
                return self.settle(judged, Then::Chosen);
            }
            // More operations passed than a value remembers: an own one may be among them.
            if let Some(proposed) = self.proposed
                && ops.len() >= OPS_MAX
                && proposed.before.is_none_or(|op| !ops.contains(&op))
            {
                return self.settle(judged, Then::Conflict);
            }
        }
        let (current, floor) = (judged.current.clone(), self.floor(judged.current.as_ref()));
        self.phase = Phase::Judging(judged);
        Step::Judge { current, floor }
    }

    fn floor(&self, current: Option<&Value<V>>) -> Stamp {
        let row = self.row.as_ref().map_or(Stamp::ZERO, |r| r.stamp);
        current.map_or(Stamp::ZERO, |c| c.stamp).max(row)
    }

    /// Ends with `then` about the current value: at once when it is chosen, else after writing it
    /// back.
    fn settle(&mut self, judged: Judged<V>, then: Then) -> Step<V> {
        match judged.current {
            Some(current) if !judged.agreed && !self.skips_write_back() => {
                let floor = self.floor(Some(&current));
                self.offer(judged.ballot, current, floor, (then, false))
            }
            current => {
                self.phase = Phase::Idle;
                Step::Done(then.outcome(current))
            }
        }
    }

    fn offer(
        &mut self,
        ballot: Ballot,
        value: Value<V>,
        judged: Stamp,
        (then, own): (Then, bool),
    ) -> Step<V> {
        let judged = self.claimed(judged);
        let keep_warm = self.plan.kind == Kind::Write { keep_warm: true } && then == Then::Chosen;
        let next = keep_warm.then(|| self.fresh_ballot());
        assert!(next.is_none_or(|n| n > ballot), "the next ballot is higher");
        let (accepted, refused, lost) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let offered = value.clone();
        self.phase =
            Phase::Offering { ballot, value: offered, next, then, own, accepted, refused, lost };
        Step::Ask(Ask::Accept { ballot, value, judged, next })
    }

    fn accepted(&mut self, from: RegionId, about: Ballot) -> Step<V> {
        let Phase::Offering { ballot, accepted, .. } = &mut self.phase else {
            return Step::Wait;
        };
        if *ballot != about {
            return Step::Wait;
        }
        accepted.insert(from);
        if !self.electorate.is_quorum(|region| accepted.contains(&region)) {
            return Step::Wait;
        }
        let Phase::Offering { value, next, then, accepted, .. } =
            std::mem::replace(&mut self.phase, Phase::Idle)
        else {
            unreachable!("looked at above");
        };
        self.accepted_by = accepted;
        let warm = next.map(|ballot| Warm { ballot, value: value.clone() });
        Step::Done(match then {
            Then::Chosen => Outcome::Chosen { value, warm },
            Then::Conflict | Then::Read | Then::Refused => then.outcome(Some(value)),
        })
    }

    #[cfg(test)]
    fn skips_own_operation(&self) -> bool {
        self.without == Some(Rule::OwnOperation)
    }

    #[cfg(test)]
    fn skips_open_outcome(&self) -> bool {
        self.skips_own_operation() || self.without == Some(Rule::PassedOver)
    }

    #[cfg(test)]
    fn skips_write_back(&self) -> bool {
        self.without == Some(Rule::WriteBack)
    }

    #[cfg(test)]
    fn skips_full_round(&self) -> bool {
        self.without == Some(Rule::FullRound)
    }

    /// The judged stamp, so large that no voter refuses it where its rule is left out.
    #[cfg(test)]
    fn claimed(&self, judged: Stamp) -> Stamp {
        let all = Stamp { hlc: crate::types::stamp::Hlc(u64::MAX), region: self.plan.region };
        if self.without == Some(Rule::JudgedStamp) { all } else { judged }
    }
}

#[cfg(not(test))]
#[expect(clippy::unused_self, reason = "the test build looks at a field")]
impl<V> Proposer<V> {
    fn skips_own_operation(&self) -> bool {
        false
    }

    fn skips_open_outcome(&self) -> bool {
        false
    }

    fn skips_write_back(&self) -> bool {
        false
    }

    fn skips_full_round(&self) -> bool {
        false
    }

    fn claimed(&self, judged: Stamp) -> Stamp {
        judged
    }
}

/// More than half.
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Value and row together, and whether the row is above the value. A row takes over the operations
/// of the value below it.
fn over<V: State>(value: Option<Value<V>>, row: Option<&RowValue<V>>) -> (Option<Value<V>>, bool) {
    match (value, row) {
        (value, None) => (value, false),
        (None, Some(row)) => {
            let value = Value { stamp: row.stamp, ops: Vec::new(), state: row.state.clone() };
            (Some(value), true)
        }
        (Some(value), Some(row)) => {
            let state = V::together((value.stamp, &value.state), (row.stamp, &row.state));
            let stamp = value.stamp.max(row.stamp);
            (Some(Value { stamp, ops: value.ops, state }), row.stamp > value.stamp)
        }
    }
}
