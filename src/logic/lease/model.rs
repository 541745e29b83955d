//! Registers under leases as a model: the real [`Cell`], [`Proposer`], [`Grants`] and [`Held`], and
//! every schedule of questions, answers, clocks, starts and a voter change; then each rule left out
//! once, and the walk must end at a fault.
//!
//! What stands for what. A question that was ever sent stays deliverable to every voter, again and
//! again; answers to questions for a lease, and what a holder gives back, are heard whenever they
//! come, in any order. Time passes in steps; in each, every node counts the two or three units that
//! its rate says. Letting go by an own decision and by a recall is one action, which may always
//! happen. A read by the holder is one step: what it shows is at least what anybody was shown before.
//!
//! Bounds: one write, one read through the register, two questions for a lease, the steps of time.

use std::collections::BTreeSet;
use std::time::Duration;

use stateright::{Model, Property};

use super::{Grants, Held, LeaseNo, Moment, Term};
use crate::logic::register::acceptor::Cell;
use crate::logic::register::change::Electorate;
use crate::logic::register::proposer::{Kind, Plan, Proposer, Step};
use crate::logic::register::tests::{finds, holds};
use crate::logic::register::{Accepted, Answer, Ask, Ballot, Outcome, Value};
use crate::types::id::OpId;
use crate::types::region::RegionId;
use crate::types::stamp::{Hlc, Stamp};

/// What must be kept; left out one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rule {
    /// A voter accepts no other value while a grant lasts.
    Waits,
    /// A voter that started anew accepts nothing for a term.
    Quiet,
    /// A holder uses less of the term, by how far clocks may be off.
    RateBound,
    /// A holder counts from before it asked.
    FromAsking,
    /// A lease counts where a quorum granted it,
    Quorum,
    /// and all of these had accepted the same.
    Agreement,
    /// What was asked for before a lease was let go gives none.
    Asked,
    /// What is given back is what was asked for up to then.
    Numbers,
    /// A read looks at the clock.
    Clock,
    /// Voters leave a term after the joint epoch was taken.
    Leaving,
    /// A grant and the state that goes with it are one step.
    OneStep,
}

#[derive(Clone, Debug)]
struct Leased {
    voters: usize,
    /// One more node, which replaces the only voter.
    change: bool,
    steps: u64,
    asks: u64,
    /// A voter may start anew.
    starts: bool,
    /// Somebody reads through the register.
    reader: bool,
    without: Option<Rule>,
}

const KEY: u8 = 0;
/// Of the model: 3 units a step are the fastest count, 2 the slowest.
const TERM: Term = Term { granted: Duration::from_millis(6), used: Duration::from_millis(4) };

/// An operation on the register, or the round of a question for a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Run {
    proposer: Proposer<u8>,
    epoch: u64,
    asked: Ask<u8>,
    /// The newest that was shown when it began.
    floor: Stamp,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Client {
    begun: bool,
    run: Option<Run>,
    asks: BTreeSet<(u64, Ask<u8>)>,
}

/// A question for a lease and who granted it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asking {
    no: LeaseNo,
    electorate: Electorate,
    proposer: Proposer<u8>,
    granted: BTreeSet<RegionId>,
}

/// A voter's answer to it, on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Told {
    voter: usize,
    no: LeaseNo,
    ballot: Ballot,
    value: Value<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    /// Units that the voters count in a step, and the holder.
    rates: (u64, u64),
    step: u64,
    decided: Vec<Electorate>,
    /// The newest electorate that each voter took, by its place.
    seats: Vec<usize>,
    /// The only register is rewritten; voters leave when this much was counted.
    leave_at: Option<Duration>,
    cells: Vec<Cell<u8>>,
    grants: Vec<Grants<u8>>,
    starts_left: u8,
    held: Held<u8, Value<u8>>,
    asking: Option<Asking>,
    /// Questions for leases, with their epochs.
    questions: BTreeSet<(u64, LeaseNo)>,
    /// Granted later than it was said: where that rule is left out.
    owed: BTreeSet<(usize, LeaseNo)>,
    told: BTreeSet<Told>,
    given_back: BTreeSet<LeaseNo>,
    asks_left: u64,
    /// The writer and the reader.
    clients: Vec<Client>,
    /// The newest value that anybody was shown.
    shown: Stamp,
    read_locally: bool,
    wrong: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Pass,
    Begin(usize, usize),
    Deliver(usize, usize, (u64, Ask<u8>)),
    AskLease(usize),
    Grant(usize, u64, LeaseNo),
    Owe(usize, LeaseNo),
    Hear(Told),
    LetGo,
    GiveBack(usize, LeaseNo),
    Start(usize),
    ReadHere,
    Join,
    Install(usize),
    Rewrite,
    Leave,
}

fn region(n: usize) -> RegionId {
    const CODES: [&str; 6] = ["ams", "fra", "iad", "nrt", "syd", "gru"];
    RegionId::parse(CODES[n]).unwrap()
}

/// After the writer.
const READER: usize = 1;
const HOLDER: usize = 5;

/// Below those of the clients in the same round.
fn ballot(round: u64) -> Ballot {
    Ballot { round, region: Stamp::ZERO.region, nonce: 1 }
}

fn value(ms: u64, state: u8) -> Value<u8> {
    let stamp = Stamp { hlc: Hlc::from_ms(ms), region: region(4) };
    Value { stamp, ops: Vec::new(), state }
}

impl Leased {
    fn is_without(&self, rule: Rule) -> bool {
        self.without == Some(rule)
    }

    fn nodes(&self) -> usize {
        self.voters + usize::from(self.change)
    }

    fn proposer(&self, client: usize, kind: Kind, electorate: &Electorate) -> Proposer<u8> {
        let nonce = client as u64 + 1;
        let (voters, op) = (vec![region(0)], OpId(nonce.into()));
        let plan = Plan { region: region(client), nonce, op, voters, row: None, kind };
        Proposer::new(plan).among(electorate.clone())
    }

    fn begin(&self, world: &mut World, client: usize, at: usize) {
        let kind = if client == READER { Kind::Read } else { Kind::Write { keep_warm: false } };
        let electorate = world.decided[at].clone();
        let mut proposer = self.proposer(client, kind, &electorate);
        let Step::Ask(asked) = proposer.start(None) else { unreachable!("it asks first") };
        let (epoch, floor) = (electorate.epoch(), world.shown);
        let here = &mut world.clients[client];
        here.begun = true;
        here.asks.insert((epoch, asked.clone()));
        here.run = Some(Run { proposer, epoch, asked, floor });
    }

    fn take(&self, world: &mut World, client: usize, mut step: Step<u8>) {
        loop {
            let run = world.clients[client].run.as_mut().expect("an operation under way");
            step = match step {
                Step::Ask(ask) => {
                    (run.asked, step) = (ask.clone(), Step::Wait);
                    let epoch = run.epoch;
                    world.clients[client].asks.insert((epoch, ask));
                    step
                }
                Step::Judge { floor, .. } => {
                    let stamp = Stamp { hlc: floor.hlc.next(), region: region(client) };
                    run.proposer.propose(2, stamp)
                }
                // Given up.
                Step::Retry => return world.clients[client].run = None,
                Step::Wait => return,
                Step::Done(outcome) => {
                    let (value, floor) = match outcome {
                        Outcome::Chosen { value, .. } => (value, Stamp::ZERO),
                        Outcome::Read { current: Some(value) } => (value, run.floor),
                        other => unreachable!("{other:?}"),
                    };
                    world.wrong |= value.stamp < floor;
                    world.shown = world.shown.max(value.stamp);
                    return world.clients[client].run = None;
                }
            };
        }
    }

    fn deliver(
        &self,
        world: &mut World,
        (client, voter): (usize, usize),
        (epoch, ask): &(u64, Ask<u8>),
    ) {
        if world.epoch_of(voter) != *epoch || self.must_wait(world, voter, ask) {
            return;
        }
        let answer = world.cells[voter].handle(ask, None).answer;
        let Some(run) = &mut world.clients[client].run else { return };
        if run.asked == *ask && run.epoch == *epoch {
            let step = run.proposer.handle(region(voter), answer);
            self.take(world, client, step);
        }
    }

    fn must_wait(&self, world: &World, voter: usize, ask: &Ask<u8>) -> bool {
        let Ask::Accept { value, .. } = ask else { return false };
        let known = world.cells[voter].accepted.as_ref().map(|a| a.value.stamp);
        known != Some(value.stamp)
            && !self.is_without(Rule::Waits)
            && world.grants[voter].hold(&KEY, world.counted()).is_some()
    }

    fn ask_lease(&self, world: &mut World, at: usize) {
        world.asks_left -= 1;
        let electorate = world.decided[at].clone();
        let mut proposer = self.proposer(HOLDER, Kind::Read, &electorate);
        proposer.start(None);
        let no = world.held.ask(&KEY, world.moment());
        world.questions.insert((electorate.epoch(), no));
        world.asking = Some(Asking { no, electorate, proposer, granted: BTreeSet::new() });
    }

    fn grant(&self, world: &mut World, voter: usize, no: LeaseNo) {
        let Some(accepted) = world.cells[voter].accepted.clone() else { return };
        let Accepted { ballot, value } = accepted;
        world.told.insert(Told { voter, no, ballot, value });
        if self.is_without(Rule::OneStep) {
            world.owed.insert((voter, no));
        } else {
            world.really_grant(voter, no);
        }
    }

    fn hear(&self, world: &mut World, told: Told) {
        world.told.remove(&told);
        let now = world.moment();
        let Some(asking) = world.asking.as_mut().filter(|a| a.no == told.no) else { return };
        asking.granted.insert(region(told.voter));
        let accepted = Accepted { ballot: told.ballot, value: told.value.clone() };
        let answer = Answer::State { accepted: Some(accepted), row: None };
        let current = match asking.proposer.handle(region(told.voter), answer) {
            Step::Done(Outcome::Read { current }) => current,
            Step::Wait if self.is_without(Rule::Quorum) => Some(told.value),
            Step::Wait => return,
            Step::Retry if self.is_without(Rule::Agreement) => Some(told.value),
            Step::Done(_) | Step::Ask(_) | Step::Judge { .. } | Step::Retry => None,
        };
        let (no, granted) = (asking.no, &asking.granted);
        let quorum = asking.electorate.is_quorum(|region| granted.contains(&region));
        world.asking = None;
        match current.filter(|_| quorum || self.is_without(Rule::Quorum)) {
            Some(value) if self.is_without(Rule::FromAsking) => {
                world.held.granted_since(&KEY, no, value, now);
            }
            Some(value) => {
                world.held.granted(&KEY, no, value);
            }
            None => world.held.refused(&KEY, no),
        }
    }

    fn let_go(&self, world: &mut World) {
        let upto = match self.is_without(Rule::Asked) {
            true => world.held.let_go_of_lease_alone(&KEY),
            false => world.held.let_go(&KEY).0,
        };
        world.given_back.insert(upto);
    }

    fn read_here(&self, world: &mut World) {
        let now = world.moment();
        let Some((value, serial)) = world.held.lease_of(&KEY) else { return };
        // A copy: how much a lease served is no part of this.
        if self.is_without(Rule::Clock) || world.held.clone().serves(&KEY, serial, now) {
            world.wrong |= value.stamp < world.shown;
            world.shown = world.shown.max(value.stamp);
            world.read_locally = true;
        }
    }

    /// Both have taken the joint epoch and accept what there is again: one schedule of rewriting.
    fn rewrite(world: &mut World) {
        let highest = world.cells.iter().filter_map(|cell| cell.accepted.clone());
        let highest = highest.max_by_key(|a| a.ballot).expect("it began with a value");
        let promised = world.cells.iter().map(|cell| cell.promised.round).max().unwrap_or(0);
        let ballot = ballot(promised + 1);
        let accepted = Some(Accepted { ballot, value: highest.value });
        world.cells = vec![Cell { promised: ballot, accepted }; world.cells.len()];
        world.leave_at = Some(world.counted() + TERM.granted);
    }

    fn changes(&self, world: &World, actions: &mut Vec<Action>) {
        if !self.change {
            return;
        }
        let (newest, everyone) = (world.decided.len() - 1, 0..self.nodes());
        if newest == 0 {
            actions.push(Action::Join);
        }
        let behind = |n: &usize| world.seats[*n] < newest;
        actions.extend(everyone.clone().filter(behind).map(Action::Install));
        if newest == 1 && !everyone.clone().any(|n| behind(&n)) && world.leave_at.is_none() {
            actions.push(Action::Rewrite);
        }
        let may = |at: Duration| world.counted() >= at || self.is_without(Rule::Leaving);
        if newest == 1 && world.leave_at.is_some_and(may) {
            actions.push(Action::Leave);
        }
    }
}

impl World {
    fn counted(&self) -> Duration {
        Duration::from_millis(self.step * self.rates.0)
    }

    fn moment(&self) -> Moment {
        Moment { counted: Duration::from_millis(self.step * self.rates.1), wall_ms: 0 }
    }

    fn epoch_of(&self, voter: usize) -> u64 {
        self.decided[self.seats[voter]].epoch()
    }

    /// Questions that no voter heeds, now or later, and answers that nobody waits for: the same world
    /// with and without them. A grant that belongs to no question only delays.
    fn forget_what_changes_nothing(&mut self) {
        let cells = &self.cells;
        for client in &mut self.clients {
            let asked = client.run.as_ref().map(|run| (run.epoch, run.asked.clone()));
            client.asks.retain(|question| {
                let heeds = |cell: &Cell<u8>| cell.clone().handle(&question.1, None).changed;
                asked.as_ref() == Some(question) || cells.iter().any(heeds)
            });
        }
        let waited_for = self.asking.as_ref().map(|asking| asking.no);
        self.told.retain(|told| Some(told.no) == waited_for);
        if self.asks_left == 0 && waited_for.is_none() {
            self.questions.clear();
            let now = self.counted();
            if self.owed.is_empty() && self.grants.iter().all(|g| g.hold(&KEY, now).is_none()) {
                self.given_back.clear();
            }
        }
    }

    fn really_grant(&mut self, voter: usize, no: LeaseNo) {
        let now = self.counted();
        let until = now + TERM.granted;
        self.grants[voter].grant(&KEY, (region(HOLDER), no), now, until);
    }
}

impl Model for Leased {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let accepted = Some(Accepted { ballot: ballot(0), value: value(1, 1) });
        let cell = Cell { promised: ballot(0), accepted };
        let mut cells = vec![cell; self.voters];
        cells.resize(self.nodes(), Cell::default());
        let used = if self.is_without(Rule::RateBound) { TERM.granted } else { TERM.used };
        let first = Electorate::first(1, (0..self.voters).map(region));
        let world = World {
            rates: (3, 2),
            step: 0,
            decided: vec![first],
            seats: vec![0; self.nodes()],
            leave_at: None,
            cells,
            grants: vec![Grants::new(9); self.nodes()],
            starts_left: u8::from(self.starts),
            held: Held::new(Term { used, ..TERM }, 1, 9),
            asking: None,
            questions: BTreeSet::new(),
            owed: BTreeSet::new(),
            told: BTreeSet::new(),
            given_back: BTreeSet::new(),
            asks_left: self.asks,
            clients: vec![Client::default(); 1 + usize::from(self.reader)],
            shown: value(1, 1).stamp,
            read_locally: false,
            wrong: false,
        };
        let rates = match (self.steps, self.change) {
            (0, _) | (_, true) => vec![(3, 2)],
            (_, false) => vec![(3, 2), (2, 3), (3, 3)],
        };
        rates.into_iter().map(|rates| World { rates, ..world.clone() }).collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let nodes = 0..self.nodes();
        if world.step < self.steps {
            actions.push(Action::Pass);
        }
        for (client, here) in world.clients.iter().enumerate() {
            if !here.begun {
                actions.push(Action::Begin(client, world.decided.len() - 1));
            }
            let all = here.asks.iter().flat_map(|ask| nodes.clone().map(move |n| (n, ask)));
            actions.extend(all.map(|(n, ask)| Action::Deliver(client, n, ask.clone())));
        }
        if world.asks_left > 0 {
            actions.extend((0..world.decided.len()).map(Action::AskLease));
        }
        for (epoch, no) in &world.questions {
            let takes = nodes.clone().filter(|n| world.epoch_of(*n) == *epoch);
            actions.extend(takes.map(|n| Action::Grant(n, *epoch, *no)));
        }
        actions.extend(world.owed.iter().map(|(voter, no)| Action::Owe(*voter, *no)));
        actions.extend(world.told.iter().cloned().map(Action::Hear));
        if world.held.lease_of(&KEY).is_some() || world.asking.is_some() {
            actions.push(Action::LetGo);
        }
        let back = world.given_back.iter().flat_map(|no| nodes.clone().map(move |n| (n, *no)));
        actions.extend(back.map(|(n, no)| Action::GiveBack(n, no)));
        if world.starts_left > 0 {
            actions.extend(nodes.map(Action::Start));
        }
        if world.held.lease_of(&KEY).is_some() {
            actions.push(Action::ReadHere);
        }
        self.changes(world, actions);
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Pass => world.step += 1,
            Action::Begin(client, at) => self.begin(&mut world, client, at),
            Action::Deliver(client, voter, ask) => self.deliver(&mut world, (client, voter), &ask),
            Action::AskLease(at) => self.ask_lease(&mut world, at),
            Action::Grant(voter, _, no) => self.grant(&mut world, voter, no),
            Action::Owe(voter, no) => {
                world.owed.remove(&(voter, no));
                world.really_grant(voter, no);
            }
            Action::Hear(told) => self.hear(&mut world, told),
            Action::LetGo => self.let_go(&mut world),
            Action::GiveBack(voter, _) if self.is_without(Rule::Numbers) => {
                world.grants[voter].release_any(&KEY, region(HOLDER));
            }
            Action::GiveBack(voter, no) => world.grants[voter].release(&KEY, region(HOLDER), no),
            Action::Start(voter) => {
                world.starts_left -= 1;
                let quiet = match self.is_without(Rule::Quiet) {
                    true => Duration::ZERO,
                    false => world.counted() + TERM.granted,
                };
                world.grants[voter] = Grants::new(9).restarted(quiet);
            }
            Action::ReadHere => self.read_here(&mut world),
            Action::Join => {
                let joint = world.decided[0].joint([region(self.voters)])?;
                world.decided.push(joint);
            }
            Action::Install(voter) => world.seats[voter] = world.decided.len() - 1,
            Action::Rewrite => Self::rewrite(&mut world),
            Action::Leave => {
                let epoch = world.decided[1].epoch() + 1;
                world.decided.push(Electorate::first(epoch, [region(self.voters)]));
            }
        }
        world.forget_what_changes_nothing();
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nobody is shown less than others before", |_, world: &World| {
                !world.wrong
            }),
            Property::sometimes("read here, then changed", |model: &Self, world: &World| {
                let changed = !model.change || world.decided.len() == 3;
                world.read_locally && world.shown > value(1, 1).stamp && changed
            }),
        ]
    }
}

/// One voter; the writer, one question for a lease.
fn one() -> Leased {
    let (starts, reader) = (false, false);
    Leased { voters: 1, change: false, steps: 3, asks: 1, starts, reader, without: None }
}

/// Two questions, no time.
fn two_questions() -> Leased {
    Leased { asks: 2, steps: 0, ..one() }
}

/// Three voters, no time.
fn three() -> Leased {
    Leased { voters: 3, steps: 0, ..one() }
}

fn world_of(rule: Rule) -> Leased {
    match rule {
        Rule::Waits | Rule::RateBound | Rule::FromAsking | Rule::Clock => one(),
        Rule::Asked | Rule::Numbers | Rule::OneStep => two_questions(),
        Rule::Quiet => Leased { starts: true, ..one() },
        Rule::Quorum => three(),
        // Too deep to be met by chance: schedules lead there.
        Rule::Agreement => Leased { reader: true, ..three() },
        Rule::Leaving => Leased { change: true, steps: 2, ..one() },
    }
}

#[test]
fn nobody_is_shown_less_than_others_were_before_under_leases() {
    holds("leases: one voter that may start anew", world_of(Rule::Quiet));
    holds("leases: two questions", two_questions());
}

/// `just long models`.
#[test]
fn larger_worlds_of_leases_hold() {
    if std::env::var_os("GODWIT_LONG").is_none() {
        return;
    }
    holds("leases: one voter, a reader", Leased { reader: true, asks: 2, ..one() });
    holds("leases: two questions, a start", Leased { asks: 2, starts: true, ..one() });
    holds("leases: three voters", three());
    holds("leases: three voters, a reader", world_of(Rule::Agreement));
    holds("leases: one voter by another", world_of(Rule::Leaving));
    holds("leases: two voters, time", Leased { voters: 2, ..one() });
    holds("leases: another voter, two questions", Leased { change: true, asks: 2, ..one() });
}

#[test]
fn each_rule_of_leases_is_missed() {
    for rule in [
        Rule::Waits,
        Rule::Quiet,
        Rule::RateBound,
        Rule::FromAsking,
        Rule::Quorum,
        Rule::Asked,
        Rule::Numbers,
        Rule::Clock,
        Rule::OneStep,
    ] {
        let world = Leased { without: Some(rule), ..world_of(rule) };
        finds(&format!("leases without {rule:?}"), world);
    }
}

/// One schedule, step by step; what cannot be done is left out.
struct Way {
    model: Leased,
    world: World,
}

impl Way {
    fn new(rule: Rule, without: Option<Rule>) -> Self {
        let model = Leased { without, ..world_of(rule) };
        let world = model.init_states().remove(0);
        Self { model, world }
    }

    fn go(&mut self, wanted: impl Fn(&Action) -> bool) {
        let mut actions = Vec::new();
        self.model.actions(&self.world, &mut actions);
        // Of a client's questions the one asked last.
        let action = actions.into_iter().rev().find(wanted);
        let next = action.and_then(|action| self.model.next_state(&self.world, action));
        if let Some(next) = next {
            self.world = next;
        }
    }

    /// The client's newest question reaches these voters.
    fn deliver(&mut self, client: usize, voters: &[usize]) {
        for to in voters {
            self.go(|a| matches!(a, Action::Deliver(c, n, _) if *c == client && n == to));
        }
    }

    /// The holder asks these voters for a lease.
    fn lease(&mut self, voters: &[usize]) {
        self.go(|a| *a == Action::AskLease(0));
        for n in voters {
            self.go(|a| matches!(a, Action::Grant(to, ..) if to == n));
            self.go(|a| matches!(a, Action::Hear(told) if told.voter == *n));
        }
    }
}

/// The second value is accepted by one voter of three; a holder asks that one and another.
fn half_chosen(without: Option<Rule>) -> bool {
    let mut way = Way::new(Rule::Agreement, without);
    way.go(|a| *a == Action::Begin(0, 0));
    way.deliver(0, &[0, 1, 1]);
    way.lease(&[0, 1]);
    way.go(|a| *a == Action::ReadHere);
    way.go(|a| *a == Action::Begin(READER, 0));
    way.deliver(READER, &[0, 2]);
    way.world.wrong
}

#[test]
fn a_lease_of_what_voters_disagree_on_is_found() {
    assert!(!half_chosen(None));
    assert!(half_chosen(Some(Rule::Agreement)));
}

/// The only voter grants a lease and is replaced by another one, which accepts the second value.
fn left_behind(without: Option<Rule>) -> bool {
    let mut way = Way::new(Rule::Leaving, without);
    way.lease(&[0]);
    way.go(|a| *a == Action::Join);
    way.go(|a| *a == Action::Install(0));
    way.go(|a| *a == Action::Install(1));
    way.go(|a| *a == Action::Rewrite);
    way.go(|a| *a == Action::Leave);
    way.go(|a| *a == Action::Install(1));
    way.go(|a| matches!(a, Action::Begin(0, _)));
    way.deliver(0, &[1, 1]);
    way.go(|a| *a == Action::ReadHere);
    way.world.wrong
}

#[test]
fn voters_that_leave_before_their_grants_end_are_found() {
    assert!(!left_behind(None));
    assert!(left_behind(Some(Rule::Leaving)));
}
