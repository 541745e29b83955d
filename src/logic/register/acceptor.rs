//! The memory of a register at one voter.
//!
//! Invariant: `promised` only grows and is never below the accepted ballot. The caller has made a
//! changed cell durable before the answer leaves; a cell that comes back with less than it promised
//! breaks everything (DESIGN, registers: counters are confirmed at start).

use serde::{Deserialize, Serialize};

use super::{Accepted, Answer, Ask, Ballot, RowValue, State, Value};
use crate::types::stamp::Stamp;

/// Promise and acceptance of one register at one voter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cell<V> {
    pub promised: Ballot,
    pub accepted: Option<Accepted<V>>,
}

impl<V> Default for Cell<V> {
    fn default() -> Self {
        Self { promised: Ballot::ZERO, accepted: None }
    }
}

/// An answer and whether the cell changed (then it must be durable first).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled<V> {
    pub answer: Answer<V>,
    pub changed: bool,
}

impl<V: State> Cell<V> {
    /// Answers one question. `row` is this voter's own record beside the register.
    pub fn handle(&mut self, ask: &Ask<V>, row: Option<RowValue<V>>) -> Handled<V> {
        let before = self.promised;
        let handled = match ask {
            Ask::Query => Handled {
                answer: Answer::State { accepted: self.accepted.clone(), row },
                changed: false,
            },
            Ask::Prepare { ballot } => self.prepare(*ballot, row),
            Ask::Accept { ballot, value, judged, next } => {
                self.accept(*ballot, value, *judged, *next, row)
            }
        };
        assert!(self.promised >= before, "a promise is never taken back");
        assert!(self.accepted.as_ref().is_none_or(|a| a.ballot <= self.promised));
        handled
    }

    fn prepare(&mut self, ballot: Ballot, row: Option<RowValue<V>>) -> Handled<V> {
        if ballot < self.promised {
            return self.refuse(ballot, row);
        }
        let changed = ballot > self.promised;
        self.promised = ballot;
        let accepted = self.accepted.clone();
        Handled { answer: Answer::Promised { ballot, accepted, row }, changed }
    }

    fn accept(
        &mut self,
        ballot: Ballot,
        value: &Value<V>,
        judged: Stamp,
        next: Option<Ballot>,
        row: Option<RowValue<V>>,
    ) -> Handled<V> {
        if let Some(accepted) = &self.accepted
            && accepted.ballot == ballot
        {
            // The question came twice. Another value under the same ballot is its proposer's fault.
            if accepted.value != *value {
                return self.refuse(ballot, row);
            }
            return Handled { answer: Answer::Accepted { ballot }, changed: false };
        }
        // A row with the value's own stamp is this value, already known to be chosen. What was
        // accepted counts like a row: it may stand for a deletion whose row was dropped since.
        let accepted = self.accepted.as_ref().map(|a| a.value.stamp);
        let known = row.as_ref().map(|r| r.stamp).into_iter().chain(accepted);
        let overtaken = known.into_iter().any(|stamp| stamp > judged && stamp != value.stamp);
        if ballot < self.promised || overtaken {
            return self.refuse(ballot, row);
        }
        self.promised = next.map_or(ballot, |n| n.max(ballot));
        self.accepted = Some(Accepted { ballot, value: value.clone() });
        Handled { answer: Answer::Accepted { ballot }, changed: true }
    }

    fn refuse(&self, ballot: Ballot, row: Option<RowValue<V>>) -> Handled<V> {
        let promised = self.promised;
        let accepted = self.accepted.as_ref().map_or(Ballot::ZERO, |a| a.ballot);
        Handled { answer: Answer::Refused { ballot, promised, accepted, row }, changed: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::id::OpId;
    use crate::types::region::RegionId;
    use crate::types::stamp::Hlc;

    fn ballot(round: u64) -> Ballot {
        Ballot { round, region: RegionId::parse("fra").unwrap(), nonce: 7 }
    }

    fn stamp(ms: u64) -> Stamp {
        Stamp { hlc: Hlc::from_ms(ms), region: RegionId::parse("fra").unwrap() }
    }

    fn value(ms: u64) -> Value<u8> {
        Value { stamp: stamp(ms), ops: vec![OpId(1)], state: 1 }
    }

    fn accept(round: u64, ms: u64, judged: u64, next: Option<u64>) -> Ask<u8> {
        let next = next.map(ballot);
        Ask::Accept { ballot: ballot(round), value: value(ms), judged: stamp(judged), next }
    }

    #[test]
    fn a_lower_ballot_than_promised_is_refused() {
        let mut cell = Cell::default();
        assert!(cell.handle(&Ask::Prepare { ballot: ballot(3) }, None).changed);
        assert!(!cell.handle(&Ask::Prepare { ballot: ballot(3) }, None).changed);
        for ask in [Ask::Prepare { ballot: ballot(2) }, accept(2, 5, 0, None)] {
            let answer = cell.handle(&ask, None).answer;
            let (promised, accepted) = (ballot(3), Ballot::ZERO);
            let refused = Answer::Refused { ballot: ballot(2), promised, accepted, row: None };
            assert_eq!(answer, refused);
        }
        assert_eq!(cell.accepted, None);
    }

    #[test]
    fn accepting_promises_the_next_ballot_in_the_same_step() {
        let mut cell = Cell::default();
        cell.handle(&accept(2, 5, 0, Some(9)), None);
        assert_eq!(cell.promised, ballot(9));
        assert!(matches!(
            cell.handle(&Ask::Prepare { ballot: ballot(8) }, None).answer,
            Answer::Refused { .. }
        ));
        // The same question again changes nothing and is answered alike.
        let again = cell.handle(&accept(2, 5, 0, Some(9)), None);
        assert_eq!(
            again,
            Handled { answer: Answer::Accepted { ballot: ballot(2) }, changed: false }
        );
    }

    #[test]
    fn a_row_above_what_was_judged_refuses_the_value() {
        let mut cell = Cell::default();
        let row = Some(RowValue { stamp: stamp(6), state: 9 });
        let answer = cell.handle(&accept(2, 7, 5, None), row.clone()).answer;
        assert!(matches!(answer, Answer::Refused { row: Some(r), .. } if r.state == 9));
        assert_eq!(cell.accepted, None);
        let answer = cell.handle(&accept(3, 7, 6, None), row).answer;
        assert_eq!(answer, Answer::Accepted { ballot: ballot(3) });
    }

    #[test]
    fn what_was_accepted_counts_like_a_row_that_was_not_judged() {
        let mut cell = Cell::default();
        cell.handle(&accept(2, 7, 5, None), None);
        let refused = cell.handle(&accept(3, 8, 6, None), None).answer;
        assert!(matches!(refused, Answer::Refused { .. }));
        let accepted = cell.handle(&accept(3, 8, 7, None), None).answer;
        assert_eq!(accepted, Answer::Accepted { ballot: ballot(3) });
    }
}
