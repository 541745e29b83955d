//! Small worlds of one register: all of them hold, and none without its rule.

use super::world::Want::{self, Create, Delete, Plain, Read, Swap};
use super::world::{Register, Way, Wrong};
use super::{finds, holds, is_long};
use crate::logic::register::proposer::Rule;

/// Three voters, no retries, no warm ballots, clocks that agree.
fn register(clients: &[&[Want]]) -> Register {
    Register {
        voters: 3,
        clients: clients.iter().map(|ops| ops.to_vec()).collect(),
        retries: 0,
        warm: false,
        clocks: Vec::new(),
        rows: true,
        changes: Vec::new(),
        abandons: false,
        without: None,
    }
}

/// A world in which the voters change; without rows, which are not part of it.
fn changing(voters: usize, changes: &[&[usize]], clients: &[&[Want]]) -> Register {
    let changes = changes.iter().map(|to| to.to_vec()).collect();
    Register { voters, changes, rows: false, ..register(clients) }
}

fn one_by_another() -> Register {
    changing(1, &[&[1]], &[&[Create(1)], &[Read]])
}

fn there_and_back() -> Register {
    changing(1, &[&[1], &[0]], &[&[Create(1)], &[Read]])
}

#[test]
fn every_schedule_of_a_voter_change_is_linearizable() {
    holds("one voter by another", one_by_another());
}

#[test]
fn every_schedule_of_creations_and_reads_is_linearizable() {
    holds("two creators", register(&[&[Create(1)], &[Create(2)]]));
    holds("a creator and a reader", register(&[&[Create(1)], &[Read]]));
    let lone = register(&[&[Create(1)]]);
    holds("a creator that begins again twice", Register { retries: 2, ..lone });
    let two = register(&[&[Create(1)], &[Create(2)]]);
    holds("two voters, creators that begin again", Register { voters: 2, retries: 1, ..two });
}

#[test]
fn every_schedule_with_plain_writes_beside_is_linearizable() {
    let clients: &[&[Want]] = &[&[Create(1), Swap(1, 3)], &[Plain(2)]];
    holds("create and change, a plain write", register(clients));
    let warm = Register { warm: true, clocks: vec![0, 9], ..register(clients) };
    holds("the same with a warm ballot and clocks that differ", warm);
}

#[test]
fn every_schedule_of_a_warm_ballot_and_a_deletion_is_linearizable() {
    holds("a creator, a deletion", register(&[&[Create(1)], &[Delete(1)]]));
    let world = register(&[&[Create(1), Swap(1, 3)], &[Delete(1)]]);
    let world = Register { voters: 1, warm: true, retries: 1, ..world };
    holds("create and change, a deletion, one voter", world);
}

/// `just long models`: 5 million states, an hour without optimisation.
#[test]
fn larger_worlds_are_linearizable() {
    if !is_long() {
        return;
    }
    holds("a creator, two reads", register(&[&[Create(1)], &[Read, Read]]));
    holds("a creator, one that reads after", register(&[&[Create(1)], &[Create(2), Read]]));
    holds("create and delete, a creator", register(&[&[Create(1), Delete(1)], &[Create(2)]]));
    holds("creator, reader, plain write", register(&[&[Create(1)], &[Read], &[Plain(2)]]));
    let world = register(&[&[Create(1), Swap(1, 3)], &[Delete(1)]]);
    let world = Register { voters: 2, warm: true, retries: 1, ..world };
    holds("create and change, a deletion, two voters", world);
    let chain = register(&[&[Create(1), Swap(1, 2), Swap(1, 3), Read]]);
    holds("a warm ballot, four operations", Register { warm: true, ..chain });
    let abandons = Register { abandons: true, ..one_by_another() };
    holds("one voter by another, maybe given up", abandons);
    holds("one voter by another and back", there_and_back());
    holds("one voter by three", changing(1, &[&[0, 1, 2]], &[&[Create(1)], &[Read]]));
    let warm = changing(1, &[&[1]], &[&[Create(1), Swap(1, 2)], &[Swap(1, 3), Read]]);
    holds("one by another, a warm ballot", Register { warm: true, retries: 1, ..warm });
    let two = register(&[&[Create(1)], &[Create(2)]]);
    holds("two creators that begin again", Register { retries: 1, ..two });
}

/// The world in which a rule is missed, and holds with it.
fn world_of(rule: Rule) -> Register {
    match rule {
        Rule::OwnOperation => Register { retries: 1, ..register(&[&[Create(1)]]) },
        Rule::WriteBack => register(&[&[Create(1)], &[Read, Read]]),
        Rule::FullRound => {
            let world = register(&[&[Create(1), Create(3)], &[Delete(1)]]);
            Register { voters: 1, warm: true, retries: 1, ..world }
        }
        Rule::JudgedStamp => {
            let world = register(&[&[Create(1), Swap(1, 3)], &[Plain(2)]]);
            Register { warm: true, clocks: vec![0, 9], ..world }
        }
        Rule::RowOnChosen => {
            Register { clocks: vec![9], ..register(&[&[Create(1)], &[Create(2), Read]]) }
        }
        Rule::BallotOnce => register(&[&[Create(1)], &[Create(2), Read]]),
        Rule::WarmBurnt => {
            let world = register(&[&[Create(1), Swap(1, 2), Swap(1, 3), Read]]);
            Register { warm: true, ..world }
        }
        Rule::Promises => register(&[&[Create(1)], &[Create(2)]]),
        Rule::PassedOver => unreachable!("too deep for a model: left out in random schedules"),
        Rule::Epochs | Rule::JointMajority | Rule::Rewriting => one_by_another(),
        // Too deep to be met by chance: a schedule leads there.
        Rule::JoinsEmpty => changing(3, &[&[3], &[0]], &[&[Create(1)], &[Create(2)]]),
    }
}

fn is_missed(rule: Rule) {
    let world = Register { without: Some(rule), ..world_of(rule) };
    finds(&format!("without {rule:?}"), world);
}

#[test]
fn a_retry_that_does_not_look_for_its_own_operation_is_found() {
    is_missed(Rule::OwnOperation);
}

#[test]
fn reads_that_write_nothing_back_are_found() {
    is_missed(Rule::WriteBack);
}

#[test]
fn refusals_from_a_warm_ballot_are_found() {
    is_missed(Rule::FullRound);
    holds("with FullRound", world_of(Rule::FullRound));
}

#[test]
fn accepting_below_a_newer_row_is_found() {
    is_missed(Rule::JudgedStamp);
}

#[test]
fn folding_what_is_merely_accepted_is_found() {
    is_missed(Rule::RowOnChosen);
}

#[test]
fn two_proposers_with_one_ballot_are_found() {
    is_missed(Rule::BallotOnce);
}

#[test]
fn a_warm_ballot_used_after_a_failure_is_found() {
    is_missed(Rule::WarmBurnt);
}

#[test]
fn a_voter_that_forgets_its_promises_is_found() {
    is_missed(Rule::Promises);
}

#[test]
fn a_voter_that_answers_other_epochs_is_found() {
    is_missed(Rule::Epochs);
}

#[test]
fn counting_new_voters_alone_during_a_change_is_found() {
    is_missed(Rule::JointMajority);
}

#[test]
fn leaving_before_registers_are_rewritten_is_found() {
    is_missed(Rule::Rewriting);
}

/// Voters 0 to 2 leave for 3 while only 0 has accepted the second client's value, under the larger
/// ballot; 3 alone chooses the first client's; then 0 comes back and 3 leaves.
fn comes_back(without: Option<Rule>) -> Option<Wrong> {
    let model = Register { without, ..world_of(Rule::JoinsEmpty) };
    let mut way = Way::new(&model);
    way.begin(1, 0);
    way.deliver(1, &[0, 1, 0]);
    way.change(&[1, 2, 3], &[1, 2]);
    way.settle(&[3]);
    way.begin(0, 2);
    way.deliver(0, &[3, 3]);
    way.change(&[3, 0], &[3]);
    way.begin(2, 3);
    way.deliver(2, &[3, 0, 3, 0]);
    way.settle(&[0]);
    way.wrong()
}

#[test]
fn a_voter_that_comes_back_with_old_registers_is_found() {
    assert_eq!(comes_back(None), None);
    assert_eq!(comes_back(Some(Rule::JoinsEmpty)), Some(Wrong::NoChain));
}
