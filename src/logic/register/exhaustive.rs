//! Every schedule of small cases: three voters, each question delivered at any time or never, each
//! answer lost or delivered at once, each client repeating a bounded number of times.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::acceptor::Cell;
use super::proposer::{Kind, Plan, Proposer, Rule, Step};
use super::{Ask, Outcome};
use crate::types::id::OpId;
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

const VOTERS: [RegionId; 3] = [Stamp::ZERO.region, parse("fra"), parse("nrt")];

const fn parse(code: &str) -> RegionId {
    match RegionId::parse(code) {
        Some(region) => region,
        None => unreachable!(),
    }
}

/// What a client does: create the value, or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Want {
    Create,
    Read,
}

/// Answer of an operation; `Unknown` covers a conflict and a client that stopped asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Told {
    Open,
    Done,
    Refused,
    Saw(Option<u8>),
    Unknown,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Client {
    proposer: Proposer<u8>,
    want: Want,
    retries_left: u8,
    /// The question that it waits for answers to.
    asked: Option<Ask<u8>>,
    told: Told,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    cells: Vec<Cell<u8>>,
    clients: Vec<Client>,
    /// (client, voter, question): delivered at most once each, in any order, or never.
    asks: BTreeSet<(usize, usize, Ask<u8>)>,
    /// Clients that begin when all before them have ended.
    waiting: Vec<(Want, u8)>,
}

impl State {
    fn new(first: &[(Want, u8)], waiting: &[(Want, u8)], without: Option<Rule>) -> Self {
        let mut state = Self {
            cells: vec![Cell::default(); VOTERS.len()],
            clients: Vec::new(),
            asks: BTreeSet::new(),
            waiting: waiting.to_vec(),
        };
        for (want, retries) in first {
            state.begin(*want, *retries, without);
        }
        state
    }

    fn begin(&mut self, want: Want, retries_left: u8, without: Option<Rule>) {
        let number = self.clients.len();
        let nonce = number as u64 + 1;
        let kind = match want {
            Want::Create => Kind::Write { keep_warm: false },
            Want::Read => Kind::Read,
        };
        let (region, op) = (VOTERS[number % 3], OpId(nonce.into()));
        let plan = Plan { region, nonce, op, voters: VOTERS.to_vec(), row: None, kind };
        let mut proposer = Proposer::new(plan);
        proposer.without = without;
        let step = proposer.start(None);
        self.clients.push(Client { proposer, want, retries_left, asked: None, told: Told::Open });
        self.take(number, step);
    }

    fn take(&mut self, at: usize, step: Step<u8>) {
        let client = &mut self.clients[at];
        let step = match step {
            Step::Judge { current: Some(_), .. } => client.proposer.refuse(),
            Step::Judge { current: None, floor } => {
                let region = VOTERS[at % 3];
                let stamp = Stamp { hlc: floor.hlc.next(), region };
                client.proposer.propose(u8::try_from(at).unwrap(), stamp)
            }
            other => other,
        };
        match step {
            Step::Ask(ask) => {
                client.asked = Some(ask.clone());
                self.asks.extend((0..VOTERS.len()).map(|v| (at, v, ask.clone())));
            }
            Step::Retry if client.retries_left > 0 => {
                client.retries_left -= 1;
                let step = client.proposer.retry();
                self.take(at, step);
            }
            Step::Retry => self.end(at, Told::Unknown),
            Step::Wait => {}
            Step::Judge { .. } => unreachable!("judged above"),
            Step::Done(outcome) => {
                let told = match outcome {
                    Outcome::Chosen { .. } => Told::Done,
                    Outcome::Refused { .. } => Told::Refused,
                    Outcome::Conflict { .. } => Told::Unknown,
                    Outcome::Read { current } => Told::Saw(current.map(|c| c.state)),
                };
                self.end(at, told);
            }
        }
    }

    fn end(&mut self, at: usize, told: Told) {
        let without = self.clients[at].proposer.without;
        self.clients[at].told = told;
        if self.clients.iter().all(|c| c.told != Told::Open) && !self.waiting.is_empty() {
            let (want, retries) = self.waiting.remove(0);
            self.begin(want, retries, without);
        }
    }

    fn successors(&self) -> Vec<Self> {
        let mut next = Vec::new();
        for key in &self.asks {
            let mut state = self.clone();
            state.asks.remove(key);
            let answer = state.cells[key.1].handle(&key.2, None).answer;
            if !state.is_stale(key.0, &key.2) {
                let mut answered = state.clone();
                let step = answered.clients[key.0].proposer.handle(VOTERS[key.1], answer);
                answered.take(key.0, step);
                next.push(answered);
            }
            next.push(state);
        }
        for at in 0..self.clients.len() {
            if self.clients[at].told != Told::Open {
                continue;
            }
            let mut state = self.clone();
            for voter in VOTERS {
                match state.clients[at].proposer.failed(voter) {
                    Step::Wait => {}
                    step => {
                        state.take(at, step);
                        break;
                    }
                }
            }
            next.push(state);
        }
        for state in &mut next {
            state.forget_dead_questions();
        }
        next
    }

    fn is_stale(&self, client: usize, ask: &Ask<u8>) -> bool {
        self.clients[client].told != Told::Open || self.clients[client].asked.as_ref() != Some(ask)
    }

    /// Late questions that no longer change anything: the same state with and without them.
    fn forget_dead_questions(&mut self) {
        let (cells, clients) = (&self.cells, &self.clients);
        self.asks.retain(|(client, voter, ask)| {
            let client = &clients[*client];
            let stale = client.told != Told::Open || client.asked.as_ref() != Some(ask);
            match ask {
                Ask::Query => !stale,
                Ask::Prepare { ballot } => !stale || *ballot > cells[*voter].promised,
                Ask::Accept { ballot, .. } => !stale || *ballot >= cells[*voter].promised,
            }
        });
    }

    /// At most one creator succeeds; what was told is never taken back.
    fn holds(&self) -> bool {
        let told = |want| self.clients.iter().filter(move |c| c.want == want).map(|c| c.told);
        let created = told(Want::Create).filter(|t| *t == Told::Done).count();
        let mut seen: Option<u8> = None;
        let ordered = told(Want::Read).all(|t| match t {
            Told::Saw(now) => {
                let kept = seen.is_none() || seen == now;
                seen = now;
                kept
            }
            Told::Open | Told::Unknown | Told::Done | Told::Refused => true,
        });
        let alone = self.clients.iter().filter(|c| c.want == Want::Create).count() == 1;
        let refused = told(Want::Create).any(|t| t == Told::Refused);
        created <= 1 && ordered && !(alone && refused)
    }
}

/// Walks every reachable state; the number of states, or `None` when one is wrong.
fn walk(start: State) -> Option<usize> {
    let hash = |state: &State| {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish()
    };
    let mut seen = HashSet::from([hash(&start)]);
    let mut open = vec![start];
    while let Some(state) = open.pop() {
        if !state.holds() {
            return None;
        }
        open.extend(state.successors().into_iter().filter(|s| seen.insert(hash(s))));
    }
    Some(seen.len())
}

#[test]
fn two_creators_never_both_succeed_in_any_schedule() {
    let states = walk(State::new(&[(Want::Create, 1), (Want::Create, 0)], &[], None));
    println!("{states:?} states");
    assert!(states.is_some_and(|n| n > 10_000));
}

#[test]
fn reads_one_after_the_other_never_go_back_in_any_schedule() {
    let (first, second) = ([(Want::Create, 0), (Want::Read, 0)], [(Want::Read, 0)]);
    let states = walk(State::new(&first, &second, None));
    println!("{states:?} states");
    assert!(states.is_some_and(|n| n > 1_000));
    assert_eq!(walk(State::new(&first, &second, Some(Rule::WriteBack))), None);
}

#[test]
fn a_lone_creator_that_repeats_is_never_told_that_it_came_second() {
    let states = walk(State::new(&[(Want::Create, 2)], &[], None));
    println!("{states:?} states");
    assert!(states.is_some_and(|n| n > 100));
    let broken = State::new(&[(Want::Create, 2)], &[], Some(Rule::OwnOperation));
    assert_eq!(walk(broken), None);
}
