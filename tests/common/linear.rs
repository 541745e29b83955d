//! Is a history of one key linearizable? Wing and Gong's search ("Testing and verifying concurrent
//! objects", 1993) with Lowe's memory of what was tried ("Testing for linearizability", 2017).
//!
//! A key is a register that holds a value or nothing. Each write writes a value that no other write
//! of the history writes (a number, an ETag): the caller sees to it. An operation without an answer,
//! or with one that leaves its outcome open (409 ConditionalRequestConflict, 503), may take effect
//! at any time after its start, or never: it is held open to the end. So is every plain write,
//! answered or not: it counts from when an operation that goes through the register first sees it
//! (DESIGN, registers).
//!
//! Invariant: a verdict is never a guess. A search that would take more than [`STEPS_MAX`] steps
//! ends with [`Fault::TooHard`], which is no pass.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;

/// Steps of one search before it is given up.
const STEPS_MAX: usize = 5_000_000;

/// What a client asks of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op<V> {
    /// An unconditional write that does not go through the register.
    Plain(Option<V>),
    /// An unconditional write through the register; `None` deletes.
    Put(Option<V>),
    /// If-None-Match: *
    PutIfAbsent(V),
    /// If-Match on a write.
    PutIfMatch { expected: V, new: V },
    /// If-Match on a deletion.
    DeleteIfMatch(V),
    /// If-Match: * on a deletion.
    DeleteIfPresent,
    /// A strong read.
    Read,
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer<V> {
    Done,
    /// 412, or 404 to an If-Match: nothing took effect.
    Refused,
    /// What a read showed.
    Saw(Option<V>),
    /// 409, 503, a broken connection: it may have happened, and may happen yet.
    Unknown,
}

#[derive(Clone, Debug)]
struct Event<V> {
    op: Op<V>,
    answer: Answer<V>,
    start: usize,
    /// `usize::MAX`: open to the end.
    end: usize,
}

/// All operations on one key, in the order in which they began and ended.
#[derive(Clone, Debug)]
pub struct History<V> {
    events: Vec<Event<V>>,
    now: usize,
}

impl<V> Default for History<V> {
    fn default() -> Self {
        Self { events: Vec::new(), now: 0 }
    }
}

/// What a search that found an order took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    pub operations: usize,
    pub steps: usize,
}

/// Why a history does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No order explains the answers. The text shows the history and how far an order got.
    NotLinearizable(String),
    TooHard(String),
}

impl<V: Clone + Debug + Eq + Hash> History<V> {
    /// An operation begins; before its request is sent.
    pub fn begin(&mut self, op: Op<V>) -> usize {
        self.now += 1;
        let (start, end) = (self.now, usize::MAX);
        self.events.push(Event { op, answer: Answer::Unknown, start, end });
        self.events.len() - 1
    }

    /// It was answered; after the whole answer came.
    pub fn end(&mut self, operation: usize, answer: Answer<V>) {
        self.now += 1;
        let event = &mut self.events[operation];
        let fits = match (&event.op, &answer) {
            (Op::Read, Answer::Saw(_) | Answer::Unknown) => true,
            (Op::Read, Answer::Done | Answer::Refused) | (_, Answer::Saw(_)) => false,
            (Op::Plain(_) | Op::Put(_), Answer::Refused) => false,
            (_, Answer::Done | Answer::Refused | Answer::Unknown) => true,
        };
        assert!(fits, "{:?} cannot be answered {answer:?}", event.op);
        event.answer = answer;
        let open = event.answer == Answer::Unknown || matches!(event.op, Op::Plain(_));
        event.end = if open { usize::MAX } else { self.now };
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Operations that were answered in a way that says what became of them.
    pub fn definite(&self) -> usize {
        self.events.iter().filter(|e| e.end != usize::MAX).count()
    }

    /// True if some order of the operations that respects real time explains every answer.
    pub fn check(&self) -> Result<Explained, Fault> {
        Search::new(&self.events).run()
    }
}

/// Values as numbers: 0 for nothing, 1 for all values that nobody ever named again, so that states
/// which no operation can tell apart are one.
type State = usize;
const NOTHING: State = 0;
const UNNAMED: State = 1;

/// What an operation with its answer does to numbered values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Effect {
    Write(State),
    WriteIf {
        expected: State,
        new: State,
    },
    /// Refused: this was not the state.
    Not(State),
    /// Refused: this was the state, or a read showed it.
    Is(State),
    /// Refused creation: something was there.
    Present,
    /// Something was there and is gone.
    Clear,
    Nothing,
}

impl Effect {
    /// It changes nothing, wherever it takes place.
    fn only_looks(self) -> bool {
        match self {
            Self::Not(_) | Self::Is(_) | Self::Present | Self::Nothing => true,
            Self::Write(_) | Self::WriteIf { .. } | Self::Clear => false,
        }
    }

    /// The state after it, or `None` where it cannot take place.
    fn on(self, state: State) -> Option<State> {
        match self {
            Self::Write(new) => Some(new),
            Self::WriteIf { expected, new } => (state == expected).then_some(new),
            Self::Not(other) => (state != other).then_some(state),
            Self::Is(same) => (state == same).then_some(state),
            Self::Present => (state != NOTHING).then_some(state),
            Self::Clear => (state != NOTHING).then_some(NOTHING),
            Self::Nothing => Some(state),
        }
    }
}

#[derive(Clone, Copy)]
struct Call {
    event: usize,
    effect: Effect,
    start: usize,
    end: usize,
}

struct Frame {
    state: State,
    choices: Vec<usize>,
    tried: usize,
}

struct Search<'a, V> {
    events: &'a [Event<V>],
    /// Sorted by start; without those that can be left out.
    calls: Vec<Call>,
    done: Vec<u64>,
    order: Vec<usize>,
    steps: usize,
}

impl<'a, V: Clone + Debug + Eq + Hash> Search<'a, V> {
    fn new(events: &'a [Event<V>]) -> Self {
        let numbers = numbers(events);
        let state = |value: &V| numbers.get(value).copied().unwrap_or(UNNAMED);
        let maybe = |value: &Option<V>| value.as_ref().map_or(NOTHING, state);
        let mut calls = Vec::new();
        for (at, event) in events.iter().enumerate() {
            let effect = match (&event.op, &event.answer) {
                (Op::Plain(new) | Op::Put(new), _) => Effect::Write(maybe(new)),
                (Op::PutIfAbsent(_), Answer::Refused) => Effect::Present,
                (Op::PutIfAbsent(new), _) => Effect::WriteIf { expected: NOTHING, new: state(new) },
                (
                    Op::PutIfMatch { expected, .. } | Op::DeleteIfMatch(expected),
                    Answer::Refused,
                ) => Effect::Not(state(expected)),
                (Op::PutIfMatch { expected, new }, _) => {
                    Effect::WriteIf { expected: state(expected), new: state(new) }
                }
                (Op::DeleteIfMatch(expected), _) => {
                    Effect::WriteIf { expected: state(expected), new: NOTHING }
                }
                (Op::DeleteIfPresent, Answer::Refused) => Effect::Is(NOTHING),
                (Op::DeleteIfPresent, _) => Effect::Clear,
                (Op::Read, Answer::Saw(value)) => Effect::Is(maybe(value)),
                (Op::Read, _) => Effect::Nothing,
            };
            if effect != Effect::Nothing {
                calls.push(Call { event: at, effect, start: event.start, end: event.end });
            }
        }
        let done = vec![0; calls.len().div_ceil(64)];
        Self { events, calls, done, order: Vec::new(), steps: 0 }
    }

    fn is_done(&self, call: usize) -> bool {
        self.done[call / 64] & (1 << (call % 64)) != 0
    }

    fn flip(&mut self, call: usize) {
        self.done[call / 64] ^= 1 << (call % 64);
    }

    /// What may come next: no other operation that is left has ended before it began. Of open
    /// operations with one effect only the first to begin: it can stand wherever the others can. What
    /// only looks and fits now is the only choice: put first, it leaves any order of the others right.
    fn choices(&self, state: State) -> Vec<usize> {
        let left = || (0..self.calls.len()).filter(|c| !self.is_done(*c));
        let first_end = left().map(|c| self.calls[c].end).min().unwrap_or(usize::MAX);
        let mut open = HashSet::new();
        let mut choices: Vec<usize> = left()
            .take_while(|c| self.calls[*c].start <= first_end)
            .filter(|c| self.calls[*c].end != usize::MAX || open.insert(self.calls[*c].effect))
            .collect();
        let fits = |c: &&usize| {
            let effect = self.calls[**c].effect;
            effect.only_looks() && effect.on(state).is_some()
        };
        if let Some(look) = choices.iter().find(fits) {
            return vec![*look];
        }
        // What must come soon first: open ones only where they are needed.
        choices.sort_by_key(|c| self.calls[*c].end);
        choices
    }

    fn all_definite_done(&self) -> bool {
        (0..self.calls.len()).all(|c| self.is_done(c) || self.calls[c].end == usize::MAX)
    }

    fn run(mut self) -> Result<Explained, Fault> {
        let mut tried: HashSet<(Vec<u64>, State)> = HashSet::new();
        let mut longest: Vec<usize> = Vec::new();
        let mut frames = vec![Frame { state: NOTHING, choices: self.choices(NOTHING), tried: 0 }];
        while let Some(frame) = frames.last_mut() {
            if self.steps >= STEPS_MAX {
                return Err(Fault::TooHard(self.story(&longest)));
            }
            let Some(call) = frame.choices.get(frame.tried).copied() else {
                frames.pop();
                if let Some(call) = self.order.pop() {
                    self.flip(call);
                }
                continue;
            };
            frame.tried += 1;
            let Some(state) = self.calls[call].effect.on(frame.state) else { continue };
            self.steps += 1;
            self.flip(call);
            if !tried.insert((self.done.clone(), state)) {
                self.flip(call);
                continue;
            }
            self.order.push(call);
            if self.order.len() > longest.len() {
                longest.clone_from(&self.order);
            }
            if self.all_definite_done() {
                break;
            }
            frames.push(Frame { state, choices: self.choices(state), tried: 0 });
        }
        if self.all_definite_done() {
            return Ok(Explained { operations: self.events.len(), steps: self.steps });
        }
        Err(Fault::NotLinearizable(self.story(&longest)))
    }

    /// The history, each line with its place in the longest order that was found.
    fn story(&self, order: &[usize]) -> String {
        let place: HashMap<usize, usize> =
            order.iter().enumerate().map(|(n, call)| (self.calls[*call].event, n + 1)).collect();
        let mut text = String::from("place  began..ended  operation\n");
        for (at, event) in self.events.iter().enumerate() {
            let place = place.get(&at).map_or_else(String::new, usize::to_string);
            let end = match event.end {
                usize::MAX => "open".to_owned(),
                end => end.to_string(),
            };
            let line = format!("{:?} -> {:?}", event.op, event.answer);
            text.push_str(&format!("{place:>5}  {:>5}..{end:<5}  {line}\n", event.start));
        }
        text
    }
}

/// A number for each value that somebody names besides its writer.
fn numbers<V: Clone + Eq + Hash>(events: &[Event<V>]) -> HashMap<V, State> {
    let mut numbers = HashMap::new();
    for event in events {
        let named = match (&event.op, &event.answer) {
            (Op::PutIfMatch { expected, .. } | Op::DeleteIfMatch(expected), _) => Some(expected),
            (Op::Read, Answer::Saw(value)) => value.as_ref(),
            (
                Op::Plain(_) | Op::Put(_) | Op::PutIfAbsent(_) | Op::DeleteIfPresent | Op::Read,
                _,
            ) => None,
        };
        if let Some(value) = named {
            let next = numbers.len() + UNNAMED + 1;
            numbers.entry(value.clone()).or_insert(next);
        }
    }
    numbers
}
