//! Registers under random schedules, larger than the models can walk: loss, duplication, reordering,
//! proposers that vanish, plain writes beside the register; each history is checked for
//! linearizability. Folding what is merely accepted must be caught.

use std::collections::BTreeMap;

use super::acceptor::Cell;
use super::proposer::{Kind, Plan, Proposer, Rule, Step, Warm};
use super::tests::linear::{Answer as Answered, Fault, History, Op};
use super::{Answer, Ask, Outcome, RowValue, Value};
use crate::types::id::OpId;
use crate::types::region::RegionId;
use crate::types::stamp::{Hlc, Stamp};

/// Splitmix64: small, seeded, good enough to choose schedules.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }
}

/// What a client wants of the register, whose states are small numbers; 0 stands for "nothing".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// If-None-Match: *
    Create(u8),
    /// Unconditional, but through the register.
    Put(u8),
    /// Fails when there is nothing.
    Delete,
    Read,
    /// A plain write: no answer is expected from the register.
    Plain(u8),
}

impl Want {
    /// The new state, or `None` when refused.
    fn judge(self, now: u8) -> Option<u8> {
        match self {
            Self::Create(v) => (now == 0).then_some(v),
            Self::Put(v) | Self::Plain(v) => Some(v),
            Self::Delete => (now != 0).then_some(0),
            Self::Read => None,
        }
    }

    fn op(self) -> Op<u8> {
        match self {
            Self::Create(v) => Op::PutIfAbsent(v),
            Self::Put(v) => Op::Put(Some(v)),
            Self::Delete => Op::DeleteIfPresent,
            Self::Read => Op::Read,
            Self::Plain(v) => Op::Plain(Some(v)),
        }
    }
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Done,
    Refused,
    Saw(u8),
    /// No answer, or "conflict": it may have happened, at any time after its start.
    Unknown,
}

impl Told {
    fn answer(self) -> Answered<u8> {
        match self {
            Self::Done => Answered::Done,
            Self::Refused => Answered::Refused,
            Self::Saw(state) => Answered::Saw((state != 0).then_some(state)),
            Self::Unknown => Answered::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Event {
    want: Want,
    told: Told,
    start: usize,
    end: usize,
}

/// True if some order of the events that respects real time explains every answer.
fn linearizable(events: &[Event]) -> bool {
    let begins = events.iter().enumerate().map(|(n, event)| (event.start, n, true));
    let ends = events.iter().enumerate().map(|(n, event)| (event.end, n, false));
    let mut moments: Vec<_> = begins.chain(ends).filter(|m| m.0 != usize::MAX).collect();
    moments.sort_unstable();
    let mut history = History::default();
    let mut ids = BTreeMap::new();
    for (_, n, begins) in moments {
        if begins {
            ids.insert(n, history.begin(events[n].want.op()));
        } else {
            history.end(ids[&n], events[n].told.answer());
        }
    }
    match history.check() {
        Ok(_) => true,
        Err(Fault::NotLinearizable(_)) => false,
        Err(Fault::TooHard(story)) => panic!("given up:\n{story}"),
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    /// Voters fold what they accept into their row.
    row_on_accepted: bool,
    /// Of proposers.
    without: Option<Rule>,
}

struct Voter {
    cell: Cell<u8>,
    row: Option<RowValue<u8>>,
}

struct Client {
    region: usize,
    want: Want,
    proposer: Proposer<u8>,
    retries: usize,
    event: usize,
    over: bool,
}

enum Message {
    Ask { client: usize, to: usize, ask: Ask<u8> },
    Answer { client: usize, from: usize, answer: Answer<u8> },
    Row { to: usize, row: RowValue<u8> },
}

struct World {
    dice: Dice,
    faults: Faults,
    regions: Vec<RegionId>,
    voters: Vec<Voter>,
    clients: Vec<Client>,
    bag: Vec<Message>,
    events: Vec<Event>,
    warm: BTreeMap<usize, Warm<u8>>,
    clocks: Vec<u64>,
    time: usize,
    counted: u64,
}

const REGIONS: [&str; 5] = ["ams", "fra", "iad", "nrt", "syd"];

impl World {
    fn new(seed: u64, voters: usize, faults: Faults) -> Self {
        let mut dice = Dice(seed);
        Self {
            faults,
            regions: REGIONS[..voters].iter().map(|r| RegionId::parse(r).unwrap()).collect(),
            voters: (0..voters).map(|_| Voter { cell: Cell::default(), row: None }).collect(),
            clients: Vec::new(),
            bag: Vec::new(),
            events: Vec::new(),
            warm: BTreeMap::new(),
            // Clocks that disagree: stamps and ballots then order differently.
            clocks: (0..voters).map(|_| dice.next() % 5).collect(),
            time: 0,
            counted: 0,
            dice,
        }
    }

    fn fold(&mut self, at: usize, row: &RowValue<u8>) {
        let mine = &mut self.voters[at].row;
        if mine.as_ref().is_none_or(|r| r.stamp < row.stamp) {
            *mine = Some(row.clone());
        }
    }

    fn stamp(&mut self, region: usize, floor: Stamp) -> Stamp {
        self.clocks[region] += self.dice.next() % 3;
        let now = Hlc(self.clocks[region]);
        Stamp { hlc: now.max(floor.hlc.next()), region: self.regions[region] }
    }

    fn arrive(&mut self, want: Want) {
        let region = self.dice.below(self.voters.len());
        self.time += 1;
        let event = self.events.len();
        let (start, end) = (self.time, usize::MAX);
        self.events.push(Event { want, told: Told::Unknown, start, end });
        if let Want::Plain(state) = want {
            let floor = self.voters[region].row.as_ref().map_or(Stamp::ZERO, |r| r.stamp);
            let row = RowValue { stamp: self.stamp(region, floor), state };
            self.fold(region, &row);
            self.spread(region, &row);
            return;
        }
        self.counted += 1;
        let kind = match want {
            Want::Read => Kind::Read,
            Want::Create(_) | Want::Put(_) | Want::Delete | Want::Plain(_) => {
                Kind::Write { keep_warm: self.dice.percent(30) }
            }
        };
        let mut proposer = Proposer::new(Plan {
            region: self.regions[region],
            nonce: self.counted,
            op: OpId(self.counted.into()),
            voters: self.regions.clone(),
            row: self.voters[region].row.clone(),
            kind,
        });
        proposer.without = self.faults.without;
        let warm = if kind == Kind::Read { None } else { self.warm.remove(&region) };
        let step = proposer.start(warm);
        let client = self.clients.len();
        self.clients.push(Client { region, want, proposer, retries: 0, event, over: false });
        self.take(client, step);
    }

    fn spread(&mut self, from: usize, row: &RowValue<u8>) {
        for to in (0..self.voters.len()).filter(|to| *to != from) {
            self.bag.push(Message::Row { to, row: row.clone() });
        }
    }

    fn take(&mut self, client: usize, step: Step<u8>) {
        let mut step = step;
        loop {
            let region = self.clients[client].region;
            step = match step {
                Step::Ask(ask) => {
                    for to in 0..self.voters.len() {
                        self.bag.push(Message::Ask { client, to, ask: ask.clone() });
                    }
                    return;
                }
                Step::Judge { current, floor } => {
                    let now = current.map_or(0, |c| c.state);
                    match self.clients[client].want.judge(now) {
                        Some(state) => {
                            let stamp = self.stamp(region, floor);
                            self.clients[client].proposer.propose(state, stamp)
                        }
                        None => self.clients[client].proposer.refuse(),
                    }
                }
                Step::Retry => {
                    self.clients[client].retries += 1;
                    if self.clients[client].retries > 4 {
                        self.clients[client].over = true;
                        return;
                    }
                    self.clients[client].proposer.retry()
                }
                Step::Wait => return,
                Step::Done(outcome) => return self.finish(client, outcome),
            };
        }
    }

    fn finish(&mut self, client: usize, outcome: Outcome<u8>) {
        let region = self.clients[client].region;
        let (told, chosen) = match outcome {
            Outcome::Chosen { value, warm } => {
                if let Some(warm) = warm {
                    self.warm.insert(region, warm);
                }
                (Told::Done, Some(value))
            }
            Outcome::Refused { current } => (Told::Refused, current),
            Outcome::Conflict { current } => (Told::Unknown, current),
            Outcome::Read { current } => {
                (Told::Saw(current.as_ref().map_or(0, |c| c.state)), current)
            }
        };
        if let Some(Value { stamp, state, .. }) = chosen {
            let row = RowValue { stamp, state };
            self.fold(region, &row);
            self.spread(region, &row);
        }
        self.time += 1;
        self.clients[client].over = true;
        let event = &mut self.events[self.clients[client].event];
        event.told = told;
        if told != Told::Unknown {
            event.end = self.time;
        }
    }

    fn step(&mut self) {
        if self.bag.is_empty() {
            // Silence: whoever waits hears that nobody will answer.
            let waiting: Vec<usize> =
                (0..self.clients.len()).filter(|c| !self.clients[*c].over).collect();
            for client in waiting {
                self.give_up_on_all(client);
            }
            return;
        }
        let at = self.dice.below(self.bag.len());
        let message = self.bag.swap_remove(at);
        if self.dice.percent(10) {
            if let Message::Ask { client, .. } | Message::Answer { client, .. } = message
                && self.dice.percent(20)
            {
                self.give_up_on_all(client);
            }
            return;
        }
        let twice = self.dice.percent(10);
        for _ in 0..=usize::from(twice) {
            self.deliver(&message);
        }
    }

    fn give_up_on_all(&mut self, client: usize) {
        for voter in self.regions.clone() {
            if self.clients[client].over {
                return;
            }
            let step = self.clients[client].proposer.failed(voter);
            self.take(client, step);
        }
    }

    fn deliver(&mut self, message: &Message) {
        match message {
            Message::Ask { client, to, ask } => {
                let voter = &mut self.voters[*to];
                let answer = voter.cell.handle(ask, voter.row.clone()).answer;
                if self.faults.row_on_accepted
                    && let (Ask::Accept { value, .. }, Answer::Accepted { .. }) = (ask, &answer)
                {
                    let row = RowValue { stamp: value.stamp, state: value.state };
                    self.fold(*to, &row);
                }
                self.bag.push(Message::Answer { client: *client, from: *to, answer });
            }
            Message::Answer { client, from, answer } => {
                if !self.clients[*client].over {
                    let from = self.regions[*from];
                    let step = self.clients[*client].proposer.handle(from, answer.clone());
                    self.take(*client, step);
                }
            }
            Message::Row { to, row } => self.fold(*to, row),
        }
    }

    /// Runs operations that overlap, and a last read that nothing disturbs.
    fn run(&mut self, plain: bool) {
        let count = 3 + self.dice.below(4);
        for i in 0..count {
            let v = u8::try_from(i + 1).unwrap();
            let want = match self.dice.below(if plain { 9 } else { 8 }) {
                0..3 => Want::Create(v),
                3 => Want::Put(v),
                4 => Want::Delete,
                5..8 => Want::Read,
                _ => Want::Plain(v),
            };
            self.arrive(want);
            for _ in 0..self.dice.below(40) {
                self.step();
            }
        }
        for _ in 0..5000 {
            if self.clients.iter().all(|c| c.over) {
                break;
            }
            self.step();
        }
    }
}

/// Seeds whose history nothing explains.
fn broken(seeds: std::ops::Range<u64>, voters: usize, plain: bool, faults: Faults) -> Vec<u64> {
    let fails = |seed: &u64| {
        let mut world = World::new(*seed, voters, faults);
        world.run(plain);
        !linearizable(&world.events)
    };
    seeds.filter(fails).collect()
}

#[test]
fn random_schedules_are_linearizable() {
    assert_eq!(broken(0..12_000, 3, false, Faults::default()), Vec::<u64>::new());
    assert_eq!(broken(0..2_000, 5, false, Faults::default()), Vec::<u64>::new());
    assert_eq!(broken(0..1_000, 2, false, Faults::default()), Vec::<u64>::new());
    assert_eq!(broken(0..500, 1, false, Faults::default()), Vec::<u64>::new());
}

#[test]
fn random_schedules_with_plain_writes_beside_are_linearizable() {
    assert_eq!(broken(50_000..58_000, 3, true, Faults::default()), Vec::<u64>::new());
}

#[test]
fn folding_accepted_values_into_rows_is_caught() {
    let faults = Faults { row_on_accepted: true, ..Faults::default() };
    assert!(!broken(0..12_000, 3, false, faults).is_empty());
}

/// Too deep for the models: one schedule in 12,000.
#[test]
fn refusing_for_certain_what_was_not_passed_over_is_caught() {
    let faults = Faults { without: Some(Rule::PassedOver), ..Faults::default() };
    assert_eq!(broken(5638..5639, 3, false, faults), [5638]);
    assert!(broken(5638..5639, 3, false, Faults::default()).is_empty());
}

#[test]
fn undisturbed_operations_take_the_fewest_rounds() {
    let mut world = World::new(1, 3, Faults::default());
    let rounds = |world: &mut World, want| {
        world.arrive(want);
        let mut asks = 0;
        while !world.bag.is_empty() {
            asks += world.bag.iter().filter(|m| matches!(m, Message::Ask { to: 0, .. })).count();
            for message in std::mem::take(&mut world.bag) {
                world.deliver(&message);
            }
        }
        (asks, world.events.last().unwrap().told)
    };
    assert_eq!(rounds(&mut world, Want::Read), (1, Told::Saw(0)));
    assert_eq!(rounds(&mut world, Want::Create(7)), (2, Told::Done));
    assert_eq!(rounds(&mut world, Want::Create(8)), (1, Told::Refused));
    assert_eq!(rounds(&mut world, Want::Read), (1, Told::Saw(7)));
}

#[test]
fn a_warm_ballot_makes_a_change_in_one_round_once() {
    let fra = RegionId::parse("fra").unwrap();
    let plan = |nonce: u64| Plan {
        region: fra,
        nonce,
        op: OpId(nonce.into()),
        voters: vec![fra],
        row: None,
        kind: Kind::Write { keep_warm: true },
    };
    let stamp = |n| Stamp { hlc: Hlc(n), region: fra };
    let mut cell = Cell::default();
    let mut drive = |p: &mut Proposer<u8>, mut step: Step<u8>, n: u64| {
        let mut asks = 0;
        loop {
            step = match step {
                Step::Ask(ask) => {
                    asks += 1;
                    let answer = cell.handle(&ask, None).answer;
                    p.handle(fra, answer)
                }
                Step::Judge { .. } => p.propose(u8::try_from(n).unwrap(), stamp(n)),
                Step::Retry => p.retry(),
                Step::Wait => unreachable!("one voter answers at once"),
                Step::Done(Outcome::Chosen { value, warm }) => return (asks, value.state, warm),
                Step::Done(other) => unreachable!("{other:?}"),
            };
        }
    };
    let mut first = Proposer::new(plan(1));
    let step = first.start(None);
    let (asks, _, warm) = drive(&mut first, step, 1);
    assert_eq!(asks, 2);
    let mut second = Proposer::new(plan(2));
    let step = second.start(warm.clone());
    let (asks, state, _) = drive(&mut second, step, 2);
    assert_eq!((asks, state), (1, 2));
    // The same warm ballot again is refused, and the two rounds follow.
    let mut third = Proposer::new(plan(3));
    let step = third.start(warm);
    let (asks, state, _) = drive(&mut third, step, 3);
    assert_eq!((asks, state), (3, 3));
}
