//! Registers: CASPaxos (Rystsov, 2018), one small consensus per name or key, without a leader, a
//! lease or a clock.
//!
//! Invariant: two different values are never both chosen for one ballot order; every value chosen
//! later descends from the one chosen before. A caller folds into records only what an [`Outcome`]
//! says is chosen, never what was merely accepted.
//!
//! Not here: sending, storing, waiting. [`acceptor::Cell`] turns a question and its state into an
//! answer and a new state, which must be on stable storage before the answer leaves.
//! [`proposer::Proposer`] is driven by answers; its documentation says how. [`change`] says who the
//! voters are, and how they change.

pub mod acceptor;
pub mod change;
pub mod proposer;
mod record;

#[cfg(test)]
mod random;
#[cfg(test)]
pub(crate) mod tests;

use serde::{Deserialize, Serialize};

use crate::types::id::OpId;
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

pub use record::row_value;

/// What a register can hold: states that stand beside rows, which other ways of writing advance.
pub trait State: Clone + PartialEq {
    /// What holds where both are known: the larger stamp, or what both say together.
    fn together(value: (Stamp, &Self), row: (Stamp, &Self)) -> Self;
}

/// The state of registers in tests.
#[cfg(test)]
impl State for u8 {
    fn together(value: (Stamp, &Self), row: (Stamp, &Self)) -> Self {
        if row.0 > value.0 { *row.1 } else { *value.1 }
    }
}

/// Operations that a value remembers, newest first, so that a retry finds its own.
pub const OPS_MAX: usize = 8;

/// Order of attempts. Unique: a proposer never uses one for two values, and the nonce is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    pub round: u64,
    pub region: RegionId,
    /// Random per proposer, so that no memory of used rounds has to survive a restart.
    pub nonce: u64,
}

impl Ballot {
    /// Below every ballot that is ever used.
    pub const ZERO: Self = Self { round: 0, region: Stamp::ZERO.region, nonce: 0 };
}

/// What a register holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value<V> {
    /// Above every stamp that its proposer saw.
    pub stamp: Stamp,
    /// The operations that made it and its ancestors, newest first, at most [`OPS_MAX`].
    pub ops: Vec<OpId>,
    pub state: V,
}

/// A value with the ballot under which it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accepted<V> {
    pub ballot: Ballot,
    pub value: Value<V>,
}

/// A row beside the register that plain writes may have advanced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowValue<V> {
    /// Of the last change that an operation judges.
    pub stamp: Stamp,
    pub state: V,
}

/// What a proposer asks an acceptor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ask<V> {
    /// What have you accepted? Promises nothing.
    Query,
    /// Promise to refuse every lower ballot, and say what you have accepted.
    Prepare { ballot: Ballot },
    /// Accept this, unless a higher ballot was promised or your row is above `judged`.
    Accept {
        ballot: Ballot,
        value: Value<V>,
        /// The largest stamp that the proposer took into account.
        judged: Stamp,
        /// A fresh higher ballot of the same proposer, to be promised in the same step, so that
        /// its next change of this register takes one round.
        next: Option<Ballot>,
    },
}

/// What an acceptor answers. Each names the ballot it answers, so that late ones are recognised.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer<V> {
    State {
        accepted: Option<Accepted<V>>,
        row: Option<RowValue<V>>,
    },
    Promised {
        ballot: Ballot,
        accepted: Option<Accepted<V>>,
        row: Option<RowValue<V>>,
    },
    Accepted {
        ballot: Ballot,
    },
    /// A higher ballot was promised, or the row is above what was judged.
    Refused {
        ballot: Ballot,
        promised: Ballot,
        /// Of what it has accepted: below `ballot`, it never accepted and never will accept what was
        /// offered under that one.
        accepted: Ballot,
        row: Option<RowValue<V>>,
    },
}

/// What became of an operation. Every value in it is known to be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<V> {
    /// The change took effect, once. `value` is the latest state seen, of which it is part.
    Chosen { value: Value<V>, warm: Option<proposer::Warm<V>> },
    /// The caller refused to change `current`, and nothing of the operation took effect.
    Refused { current: Option<Value<V>> },
    /// The caller refused to change `current`, but an earlier round of this operation may have
    /// taken effect and been overwritten.
    Conflict { current: Option<Value<V>> },
    /// What a read found; `None`: nothing was ever chosen.
    Read { current: Option<Value<V>> },
}
