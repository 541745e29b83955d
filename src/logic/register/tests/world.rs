//! The register with rows beside it as a model: the real [`Cell`] and [`Proposer`], and every
//! schedule of questions, answers, rows and clients that give up.
//!
//! What stands for what. A question that was ever sent stays deliverable to every voter, again and
//! again, until it can change nothing: that is loss (never delivered), duplication and reordering
//! at once. Its answer is heard at once or never; one that came late would find its proposer in a
//! state that it also reaches by hearing at once and having its next question delivered late. An
//! operation that is given up with its questions still under way is a proposer that crashed.
//!
//! Who changes the voters is a client of its own; that an electorate is decided is one step here, for
//! it is a compare-and-set of another register.
//!
//! Bounds: the voters, the operations of each client one after the other, and how often each
//! operation begins a round again; the tests name them.

use std::collections::BTreeSet;

use stateright::{Model, Property};

use super::linear::{Answer as Told, History, Op};
use crate::logic::register::acceptor::Cell;
use crate::logic::register::change::{Adopted, Change, Electorate, Next, Page, Seat, Turned};
use crate::logic::register::proposer::{Kind, Plan, Proposer, Rule, Step, Warm, majority};
use crate::logic::register::{Answer, Ask, Outcome, RowValue, Value};
use crate::types::id::OpId;
use crate::types::region::RegionId;
use crate::types::stamp::{Hlc, Stamp};

/// What a client does; states are small numbers, 0 stands for "nothing".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Want {
    /// If-None-Match: *
    Create(u8),
    /// If-Match on a write.
    Swap(u8, u8),
    /// If-Match on a deletion.
    Delete(u8),
    Read,
    /// A write that asks no register: a row, which spreads.
    Plain(u8),
    /// What a voter change does; no client's operation.
    Rewrite,
}

impl Want {
    /// The new state, or `None` when refused.
    fn judge(self, now: u8) -> Option<u8> {
        match self {
            Self::Create(v) => (now == 0).then_some(v),
            Self::Swap(expected, v) => (now == expected).then_some(v),
            Self::Delete(expected) => (now == expected).then_some(0),
            Self::Plain(v) => Some(v),
            Self::Read | Self::Rewrite => None,
        }
    }

    fn op(self) -> Op<u8> {
        match self {
            Self::Create(v) => Op::PutIfAbsent(v),
            Self::Swap(expected, new) => Op::PutIfMatch { expected, new },
            Self::Delete(expected) => Op::DeleteIfMatch(expected),
            Self::Read | Self::Rewrite => Op::Read,
            Self::Plain(v) => Op::Plain(Some(v)),
        }
    }
}

/// One small world, and which rule is left out of it.
#[derive(Clone, Debug)]
pub(super) struct Register {
    pub(super) voters: usize,
    /// Operations of each client, one after the other. Client n is in the region of voter n.
    pub(super) clients: Vec<Vec<Want>>,
    /// How often an operation begins again.
    pub(super) retries: u8,
    /// Clients keep warm ballots.
    pub(super) warm: bool,
    /// How far the clock of each client's region is ahead.
    pub(super) clocks: Vec<u64>,
    /// Rows take what is chosen, and spread; without plain writes they can be left out.
    pub(super) rows: bool,
    /// Later voters, by number.
    pub(super) changes: Vec<Vec<usize>>,
    /// A change may be given up, once.
    pub(super) abandons: bool,
    pub(super) without: Option<Rule>,
}

/// The epoch stands in each message.
type Question = (u64, Ask<u8>);

/// An operation under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Run {
    proposer: Proposer<u8>,
    retries_left: u8,
    epoch: u64,
    asked: Option<Question>,
    /// The largest stamp that rows of a majority had reached when it began.
    settled: Stamp,
    /// What it last judged, by stamp.
    judged: Stamp,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Client {
    /// Operations begun.
    begun: usize,
    /// The newest electorate that it knows, by its place among the decided.
    knows: usize,
    run: Option<Run>,
    warm: Option<Warm<u8>>,
    /// Everything it ever asked that may still change a voter.
    asks: BTreeSet<Question>,
}

/// When an operation began and how it ended, in the order of these moments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Moment {
    Begin(usize, usize),
    End(usize, usize, Ended),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Ended {
    Done,
    Refused,
    Saw(u8),
    Unknown,
}

/// What must never be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wrong {
    NotLinearizable,
    /// Two values that are both known chosen, and neither comes from the other.
    NoChain,
    /// A plain write that a majority of voters had before the operation began was not looked at.
    Overlooked,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    /// Electorates, each decided by a compare-and-set of the one before.
    decided: Vec<Electorate>,
    change: Option<Change<u8>>,
    changes_begun: usize,
    abandons_left: u8,
    seats: Vec<Seat>,
    cells: Vec<Cell<u8>>,
    rows: Vec<Option<RowValue<u8>>>,
    clients: Vec<Client>,
    /// Rows on their way to every voter.
    spread: Vec<RowValue<u8>>,
    log: Vec<Moment>,
    /// Values that outcomes named: all of them are chosen.
    chosen: Vec<Value<u8>>,
    forgets_left: u8,
    wrong: Option<Wrong>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The next operation of a client that knows this electorate.
    Begin(usize, usize),
    /// One client's question reaches a voter; is the answer heard?
    Deliver {
        client: usize,
        voter: usize,
        ask: Question,
        heard: bool,
    },
    /// A row reaches a voter.
    Fold {
        row: usize,
        voter: usize,
    },
    /// No further answer comes for this client.
    GiveUp(usize),
    /// A voter comes back without its memory: only where that rule is left out.
    Forget(usize),
    /// The next voter change is decided.
    Change,
    Abandon,
    /// A node takes an electorate that was decided.
    Install {
        node: usize,
        at: usize,
    },
    /// A node lists its registers for the change.
    List(usize),
    Settle,
}

/// The one register of this world.
const NAME: u8 = 0;
const FIRST_EPOCH: u64 = 1;
/// How often one who changes voters begins to rewrite.
const REWRITES_MAX: usize = 2;

fn region(n: usize) -> RegionId {
    const CODES: [&str; 5] = ["ams", "fra", "iad", "nrt", "syd"];
    RegionId::parse(CODES[n]).unwrap()
}

impl Register {
    fn nodes(&self) -> usize {
        let later = self.changes.iter().flatten().map(|n| n + 1).max().unwrap_or(0);
        later.max(self.voters)
    }

    fn first(&self) -> Electorate {
        Electorate::first(FIRST_EPOCH, (0..self.voters).map(region))
    }

    /// As proposers count it.
    fn counted(&self, electorate: &Electorate) -> Electorate {
        if self.is_without(Rule::JointMajority) {
            electorate.newcomers_alone()
        } else {
            electorate.clone()
        }
    }

    /// After the clients comes the one who changes voters.
    fn is_coordinator(&self, client: usize) -> bool {
        client == self.clients.len()
    }

    fn want(&self, world: &World, client: usize) -> Want {
        match self.clients.get(client) {
            Some(wants) => wants[world.clients[client].begun - 1],
            None => Want::Rewrite,
        }
    }

    fn is_without(&self, rule: Rule) -> bool {
        self.without == Some(rule)
    }

    /// The proposer of one operation. Without [`Rule::BallotOnce`] all share one nonce and region.
    fn proposer(&self, world: &World, client: usize, want: Want) -> Proposer<u8> {
        let number = client as u64 * 8 + world.clients[client].begun as u64;
        let kind = match want {
            Want::Read => Kind::Read,
            Want::Rewrite => Kind::Rewrite,
            Want::Create(_) | Want::Swap(..) | Want::Delete(_) | Want::Plain(_) => {
                Kind::Write { keep_warm: self.warm }
            }
        };
        let shared = self.is_without(Rule::BallotOnce);
        let mut proposer = Proposer::new(Plan {
            region: if shared { region(0) } else { region(client) },
            nonce: if shared { 1 } else { number },
            op: OpId(number.into()),
            voters: (0..self.voters).map(region).collect(),
            row: world.rows.get(client).cloned().flatten(),
            kind,
        });
        proposer.without = self.without;
        proposer.among(self.counted(&world.decided[world.clients[client].knows]))
    }

    fn begin(&self, world: &mut World, client: usize, knows: usize) {
        let at = world.clients[client].begun;
        let want = self.clients.get(client).map_or(Want::Rewrite, |wants| wants[at]);
        world.clients[client].knows = knows;
        if !self.is_coordinator(client) {
            world.note(Moment::Begin(client, at));
        }
        if let Want::Plain(state) = want {
            world.clients[client].begun += 1;
            let floor = world.rows[client].as_ref().map_or(Stamp::ZERO, |r| r.stamp);
            let row = RowValue { stamp: self.stamp(client, floor), state };
            world.fold(client, &row);
            world.spread(row);
            return;
        }
        let mut proposer = self.proposer(world, client, want);
        world.clients[client].begun += 1;
        let warm = match want {
            Want::Read | Want::Rewrite => None,
            // Kept although it is used: only a success replaces it.
            _ if self.is_without(Rule::WarmBurnt) => world.clients[client].warm.clone(),
            _ => world.clients[client].warm.take(),
        };
        let step = proposer.start(warm);
        let settled = if self.changes.is_empty() { world.settled() } else { Stamp::ZERO };
        let (retries_left, judged) = (self.retries, Stamp::ZERO);
        let epoch = world.decided[knows].epoch();
        let run = Run { proposer, retries_left, epoch, asked: None, settled, judged };
        world.clients[client].run = Some(run);
        self.take(world, client, step);
    }

    fn stamp(&self, client: usize, floor: Stamp) -> Stamp {
        let clock = Hlc(self.clocks.get(client).copied().unwrap_or(0));
        Stamp { hlc: clock.max(floor.hlc.next()), region: region(client) }
    }

    fn take(&self, world: &mut World, client: usize, step: Step<u8>) {
        let want = self.want(world, client);
        let mut step = step;
        loop {
            let here = &mut world.clients[client];
            let run = here.run.as_mut().expect("an operation under way");
            step = match step {
                Step::Ask(ask) => {
                    here.asks.insert((run.epoch, ask.clone()));
                    run.asked = Some((run.epoch, ask));
                    return;
                }
                Step::Judge { current, floor } => {
                    run.judged = floor;
                    match want.judge(current.map_or(0, |c| c.state)) {
                        Some(state) => run.proposer.propose(state, self.stamp(client, floor)),
                        None => run.proposer.refuse(),
                    }
                }
                Step::Retry if run.retries_left > 0 => {
                    run.retries_left -= 1;
                    run.proposer.retry()
                }
                Step::Retry => return world.end(self, client, Ended::Unknown),
                Step::Wait => return,
                Step::Done(outcome) => return self.finish(world, client, outcome),
            };
        }
    }

    fn finish(&self, world: &mut World, client: usize, outcome: Outcome<u8>) {
        let run = world.clients[client].run.as_ref().expect("an operation under way");
        let (settled, judged) = (run.settled, run.judged);
        let stamp = |current: &Option<Value<u8>>| current.as_ref().map_or(Stamp::ZERO, |c| c.stamp);
        let (ended, looked_at, chosen) = match outcome {
            Outcome::Chosen { value, warm } => {
                if let Some(warm) = warm {
                    world.clients[client].warm = Some(warm);
                }
                (Ended::Done, judged, Some(value))
            }
            Outcome::Refused { current } => (Ended::Refused, stamp(&current), current),
            Outcome::Conflict { current } => (Ended::Unknown, settled, current),
            Outcome::Read { current } => {
                let saw = current.as_ref().map_or(0, |c| c.state);
                (Ended::Saw(saw), stamp(&current), current)
            }
        };
        if looked_at < settled {
            world.wrong = Some(Wrong::Overlooked);
        }
        if let Some(value) = chosen {
            world.check_chain(&value);
            if !self.rows {
                return world.end(self, client, ended);
            }
            let row = RowValue { stamp: value.stamp, state: value.state };
            world.fold(client, &row);
            world.spread(row);
        }
        world.end(self, client, ended);
    }

    fn deliver(
        &self,
        world: &mut World,
        (client, voter): (usize, usize),
        (epoch, ask): &Question,
        heard: bool,
    ) {
        match world.seats[voter].admit(*epoch) {
            Ok(()) => {}
            Err(_) if self.is_without(Rule::Epochs) => {}
            Err(Turned::Behind) => return,
            Err(Turned::Moved(electorate)) => {
                let here = &mut world.clients[client];
                if let Some(run) = here.run.as_mut().filter(|r| heard && r.epoch == *epoch) {
                    let at = world.decided.iter().position(|e| *e == electorate);
                    here.knows = at.expect("it was decided");
                    run.epoch = electorate.epoch();
                    let step = run.proposer.moved(self.counted(&electorate));
                    self.take(world, client, step);
                }
                return;
            }
        }
        let row = world.rows[voter].clone();
        let answer = world.cells[voter].handle(ask, row).answer;
        if self.is_without(Rule::RowOnChosen)
            && let (Ask::Accept { value, .. }, Answer::Accepted { .. }) = (ask, &answer)
        {
            let row = RowValue { stamp: value.stamp, state: value.state };
            world.fold(voter, &row);
        }
        if heard && let Some(run) = &mut world.clients[client].run {
            let step = run.proposer.handle(region(voter), answer);
            self.take(world, client, step);
        }
    }

    /// A node takes a decided electorate, and tells the one who changes voters.
    fn install(&self, world: &mut World, node: usize, at: usize) {
        let electorate = world.decided[at].clone();
        let adopted = world.seats[node].adopt(&electorate, region(node));
        if adopted == Adopted::Discard && !self.is_without(Rule::JoinsEmpty) {
            world.cells[node] = Cell::default();
        }
        if let Some(change) = world.change.as_mut().filter(|c| *c.joint() == electorate) {
            change.installed(region(node));
        }
    }

    fn list(&self, world: &mut World, node: usize) {
        let has = world.cells[node].accepted.is_some();
        let names = has.then_some(NAME).into_iter().collect();
        let Some(change) = world.change.as_mut() else { return };
        change.listed(region(node), None, Page { names, is_last: true });
        if self.is_without(Rule::Rewriting) {
            change.rewritten(&NAME);
        }
    }

    /// A question of an epoch goes to its voters.
    fn asks(&self, world: &World, (epoch, _): &Question, node: usize) -> bool {
        let electorate = world.decided.iter().find(|e| e.epoch() == *epoch);
        self.counted(electorate.expect("it was decided")).has(region(node))
    }

    /// What may happen to voters.
    fn changes(&self, world: &World, actions: &mut Vec<Action>) {
        let last = world.decided.last().expect("the first");
        if !last.is_joint() && world.changes_begun < self.changes.len() {
            actions.push(Action::Change);
        }
        if last.is_joint() && world.abandons_left > 0 {
            actions.push(Action::Abandon);
        }
        for (node, seat) in world.seats.iter().enumerate() {
            let newer = |at: &usize| world.decided[*at].epoch() > seat.electorate().epoch();
            let news = (0..world.decided.len()).filter(newer);
            actions.extend(news.map(|at| Action::Install { node, at }));
        }
        let Some(change) = &world.change else { return };
        let coordinator = self.clients.len();
        let here = &world.clients[coordinator];
        match change.next() {
            Next::Install => {}
            Next::List { .. } => {
                let epoch = change.joint().epoch();
                let can =
                    |n: &usize| change.lists(region(*n)) && world.seats[*n].admit(epoch).is_ok();
                actions.extend((0..self.nodes()).filter(can).map(Action::List));
            }
            Next::Rewrite(_) if here.run.is_none() && here.begun < REWRITES_MAX => {
                actions.push(Action::Begin(coordinator, world.decided.len() - 1));
            }
            Next::Rewrite(_) => {}
            Next::Settle(_) => actions.push(Action::Settle),
        }
    }

    fn give_up(&self, world: &mut World, client: usize) {
        for voter in (0..self.nodes()).map(region) {
            let Some(run) = &mut world.clients[client].run else { return };
            match run.proposer.failed(voter) {
                Step::Wait => {}
                step => return self.take(world, client, step),
            }
        }
    }
}

impl World {
    fn fold(&mut self, voter: usize, row: &RowValue<u8>) {
        let Some(mine) = self.rows.get_mut(voter) else { return };
        if mine.as_ref().is_none_or(|r| r.stamp < row.stamp) {
            *mine = Some(row.clone());
        }
    }

    fn spread(&mut self, row: RowValue<u8>) {
        if let Err(at) = self.spread.binary_search_by_key(&row.stamp, |r| r.stamp) {
            self.spread.insert(at, row);
        }
    }

    /// The largest stamp that the rows of a majority have reached.
    fn settled(&self) -> Stamp {
        let stamp = |row: &Option<RowValue<u8>>| row.as_ref().map_or(Stamp::ZERO, |r| r.stamp);
        let mut stamps: Vec<Stamp> = self.rows.iter().map(stamp).collect();
        stamps.sort_unstable();
        stamps[stamps.len() - majority(stamps.len())]
    }

    /// Moments of one kind that follow each other are one moment: their order says nothing.
    fn note(&mut self, moment: Moment) {
        let ends = matches!(moment, Moment::End(..));
        let same = |m: &&Moment| matches!(m, Moment::End(..)) == ends;
        let from = self.log.len() - self.log.iter().rev().take_while(same).count();
        let at = from + self.log[from..].partition_point(|m| *m < moment);
        self.log.insert(at, moment);
    }

    fn end(&mut self, model: &Register, client: usize, ended: Ended) {
        self.clients[client].run = None;
        if model.is_coordinator(client) {
            if let Some(change) = self.change.as_mut().filter(|_| ended != Ended::Unknown) {
                change.rewritten(&NAME);
            }
            return;
        }
        let at = self.clients[client].begun - 1;
        if ended != Ended::Unknown {
            self.note(Moment::End(client, at, ended));
            if self.history(model).check().is_err() {
                self.wrong = Some(Wrong::NotLinearizable);
            }
        }
    }

    fn history(&self, model: &Register) -> History<u8> {
        let mut history = History::default();
        let mut ids = Vec::new();
        for moment in &self.log {
            match moment {
                Moment::Begin(client, at) => {
                    let id = history.begin(model.clients[*client][*at].op());
                    ids.push(((*client, *at), id));
                }
                Moment::End(client, at, ended) => {
                    let told = match ended {
                        Ended::Done => Told::Done,
                        Ended::Refused => Told::Refused,
                        Ended::Saw(state) => Told::Saw((*state != 0).then_some(*state)),
                        Ended::Unknown => Told::Unknown,
                    };
                    let id = ids.iter().find(|(op, _)| *op == (*client, *at));
                    history.end(id.expect("it began").1, told);
                }
            }
        }
        history
    }

    /// Of two chosen values the later comes from the earlier.
    fn check_chain(&mut self, value: &Value<u8>) {
        let comes_from = |late: &Value<u8>, early: &Value<u8>| {
            early.ops.first().is_none_or(|op| late.ops.contains(op))
        };
        for other in &self.chosen {
            let fits = if other.stamp == value.stamp {
                other == value
            } else if other.stamp < value.stamp {
                comes_from(value, other)
            } else {
                comes_from(other, value)
            };
            if !fits {
                self.wrong = Some(Wrong::NoChain);
            }
        }
        if let Err(at) = self.chosen.binary_search(value) {
            self.chosen.insert(at, value.clone());
        }
    }

    /// Questions whose answers nobody waits for and that no voter would heed, now or later: the
    /// same world with and without them. Promises and rows only grow.
    fn forget_dead_questions(&mut self) {
        let (cells, rows, seats) = (&self.cells, &self.rows, &self.seats);
        for client in &mut self.clients {
            let asked = client.run.as_ref().and_then(|run| run.asked.as_ref());
            client.asks.retain(|question| {
                let (epoch, ask) = question;
                let heeds = |n: usize| match seats[n].admit(*epoch) {
                    Ok(()) => cells[n].clone().handle(ask, rows[n].clone()).changed,
                    Err(Turned::Behind) => true,
                    Err(Turned::Moved(_)) => false,
                };
                asked == Some(question) || (0..cells.len()).any(heeds)
            });
        }
    }
}

impl Model for Register {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            decided: vec![self.first()],
            change: None,
            changes_begun: 0,
            abandons_left: u8::from(self.abandons),
            seats: vec![Seat::new(self.first()); self.nodes()],
            cells: vec![Cell::default(); self.nodes()],
            rows: vec![None; self.nodes()],
            clients: vec![Client::default(); self.clients.len() + 1],
            spread: Vec::new(),
            log: Vec::new(),
            chosen: Vec::new(),
            forgets_left: u8::from(self.is_without(Rule::Promises)),
            wrong: None,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (client, here) in world.clients.iter().enumerate() {
            let left = self.clients.get(client).is_some_and(|wants| here.begun < wants.len());
            if here.run.is_none() && left {
                let knows = here.knows..world.decided.len();
                actions.extend(knows.map(|at| Action::Begin(client, at)));
            }
            if here.run.is_some() {
                actions.push(Action::GiveUp(client));
            }
            let all = 0..self.nodes();
            for (ask, voter) in here.asks.iter().flat_map(|a| all.clone().map(move |v| (a, v))) {
                if !self.asks(world, ask, voter) {
                    continue;
                }
                let heard = [true, false].into_iter().filter(|h| !h || here.run.is_some());
                actions.extend(heard.map(|heard| Action::Deliver {
                    client,
                    voter,
                    ask: ask.clone(),
                    heard,
                }));
            }
        }
        for (row, value) in world.spread.iter().enumerate() {
            let news = |v: &usize| world.rows[*v].as_ref().is_none_or(|r| r.stamp < value.stamp);
            let voters = (0..self.voters).filter(news);
            actions.extend(voters.map(|voter| Action::Fold { row, voter }));
        }
        if world.forgets_left > 0 {
            actions.extend((0..self.voters).map(Action::Forget));
        }
        self.changes(world, actions);
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Begin(client, knows) => self.begin(&mut world, client, knows),
            Action::Deliver { client, voter, ask, heard } => {
                self.deliver(&mut world, (client, voter), &ask, heard);
            }
            Action::Fold { row, voter } => {
                let row = world.spread[row].clone();
                world.fold(voter, &row);
            }
            Action::GiveUp(client) => self.give_up(&mut world, client),
            Action::Change => {
                let next = self.changes[world.changes_begun].iter().map(|n| region(*n));
                let joint = world.decided.last().expect("the first").joint(next)?;
                world.changes_begun += 1;
                world.decided.push(joint.clone());
                world.change = Some(Change::new(joint));
            }
            Action::Abandon => {
                world.abandons_left -= 1;
                let back = world.decided.last().expect("the first").abandoned()?;
                world.decided.push(back);
                world.change = None;
            }
            Action::Install { node, at } => self.install(&mut world, node, at),
            Action::List(node) => self.list(&mut world, node),
            Action::Settle => {
                let Next::Settle(settled) = world.change.take()?.next() else { return None };
                world.decided.push(settled);
            }
            Action::Forget(voter) => {
                world.forgets_left -= 1;
                world.cells[voter] = Cell::default();
            }
        }
        if !self.is_without(Rule::Promises) && !self.is_without(Rule::Epochs) {
            world.forget_dead_questions();
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("linearizable, one chain, nothing overlooked", |_, world: &World| {
                world.wrong.is_none()
            }),
            Property::sometimes("all operations are answered", |model: &Self, world: &World| {
                let asked = model.clients.iter().flatten();
                let asked = asked.filter(|want| !matches!(want, Want::Plain(_))).count();
                let changed = world.changes_begun == model.changes.len()
                    && world.decided.last().is_some_and(|e| !e.is_joint());
                let answered = world.log.iter().filter(|m| matches!(m, Moment::End(..))).count();
                answered == asked && changed
            }),
        ]
    }
}

/// One schedule, step by step.
pub(super) struct Way<'a> {
    model: &'a Register,
    world: World,
}

impl<'a> Way<'a> {
    pub(super) fn new(model: &'a Register) -> Self {
        Self { model, world: model.init_states().remove(0) }
    }

    fn go(&mut self, wanted: impl Fn(&Action) -> bool) {
        let mut actions = Vec::new();
        self.model.actions(&self.world, &mut actions);
        // Of a client's questions the one asked last.
        let action = actions.into_iter().rev().find(wanted).expect("it can be done");
        self.world = self.model.next_state(&self.world, action).expect("it changes something");
    }

    pub(super) fn begin(&mut self, client: usize, knows: usize) {
        self.go(|action| *action == Action::Begin(client, knows));
    }

    /// The client's newest question reaches these voters, one after the other, and is answered.
    pub(super) fn deliver(&mut self, from: usize, voters: &[usize]) {
        for to in voters {
            self.go(|action| {
                matches!(action, Action::Deliver { client, voter, heard: true, .. }
                    if *client == from && voter == to)
            });
        }
    }

    pub(super) fn change(&mut self, install: &[usize], list: &[usize]) {
        self.go(|action| *action == Action::Change);
        self.install(install);
        list.iter().for_each(|node| self.go(|action| *action == Action::List(*node)));
    }

    pub(super) fn settle(&mut self, install: &[usize]) {
        self.go(|action| *action == Action::Settle);
        self.install(install);
    }

    fn install(&mut self, nodes: &[usize]) {
        let newest = self.world.decided.len() - 1;
        for n in nodes {
            self.go(|action| *action == Action::Install { node: *n, at: newest });
        }
    }

    pub(super) fn wrong(&self) -> Option<Wrong> {
        self.world.wrong
    }
}
