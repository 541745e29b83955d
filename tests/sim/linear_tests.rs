//! The checker of histories finds what is wrong in known-bad histories, accepts known-good ones,
//! and agrees with a search that tries every order.

use super::linear::Answer::{self, Done, Refused, Saw, Unknown};
use super::linear::Op::{self, DeleteIfMatch, DeleteIfPresent, Plain, Put, Read};
use super::linear::{Explained, Fault, History};

type Line = (usize, usize, Op<u8>, Answer<u8>);

/// A history from lines (begin, end, operation, answer); `usize::MAX` as end: never answered.
fn history(lines: &[Line]) -> History<u8> {
    let mut history = History::default();
    let mut ids = vec![0; lines.len()];
    // Within one moment beginnings come first.
    let ends = lines.iter().enumerate().map(|(n, line)| (line.1, 1, n));
    let mut moments: Vec<_> =
        lines.iter().enumerate().map(|(n, line)| (line.0, 0, n)).chain(ends).collect();
    moments.sort_unstable();
    for (at, ends, n) in moments {
        if ends == 0 {
            ids[n] = history.begin(lines[n].2.clone());
        } else if at != usize::MAX {
            history.end(ids[n], lines[n].3.clone());
        }
    }
    history
}

fn verdict(lines: &[Line]) -> bool {
    match history(lines).check() {
        Ok(_) => true,
        Err(Fault::NotLinearizable(_)) => false,
        Err(Fault::TooHard(story)) => panic!("given up:\n{story}"),
    }
}

fn create(value: u8) -> Op<u8> {
    Op::PutIfAbsent(value)
}

fn swap(expected: u8, new: u8) -> Op<u8> {
    Op::PutIfMatch { expected, new }
}

#[test]
fn known_bad_histories_are_found() {
    let open = usize::MAX;
    let bad: &[(&str, &[Line])] = &[
        ("two creations of one key", &[(1, 4, create(1), Done), (2, 3, create(2), Done)]),
        (
            "a lost update",
            &[(1, 2, Put(Some(1)), Done), (3, 6, swap(1, 2), Done), (4, 5, swap(1, 3), Done)],
        ),
        (
            "a stale read",
            &[(1, 2, Put(Some(1)), Done), (3, 4, Put(Some(2)), Done), (5, 6, Read, Saw(Some(1)))],
        ),
        (
            "a read that goes back",
            &[
                (1, 2, Put(Some(1)), Done),
                (3, 8, Put(Some(2)), Done),
                (4, 5, Read, Saw(Some(2))),
                (6, 7, Read, Saw(Some(1))),
            ],
        ),
        ("a value out of nowhere", &[(1, 2, Read, Saw(Some(9)))]),
        (
            "a refused write that took effect",
            &[(1, 2, create(1), Refused), (3, 4, Read, Saw(Some(1)))],
        ),
        ("a refusal without a reason", &[(1, 2, create(1), Refused)]),
        (
            "a refused match of what was there",
            &[(1, 2, create(1), Done), (3, 4, swap(1, 2), Refused)],
        ),
        (
            "a deletion that came back",
            &[(1, 2, create(1), Done), (3, 4, DeleteIfMatch(1), Done), (5, 6, Read, Saw(Some(1)))],
        ),
        (
            "an open write that shows twice",
            &[
                (1, open, swap(5, 7), Unknown),
                (2, 3, Put(Some(5)), Done),
                (4, 5, Read, Saw(Some(7))),
                (6, 7, Put(Some(8)), Done),
                (8, 9, Read, Saw(Some(7))),
            ],
        ),
        (
            "a plain write that shows before it began",
            &[(1, 2, Read, Saw(Some(4))), (3, 4, Plain(Some(4)), Done)],
        ),
        (
            "a plain write that was seen and is gone",
            &[(1, 2, Plain(Some(4)), Done), (3, 4, Read, Saw(Some(4))), (5, 6, create(5), Done)],
        ),
    ];
    for (what, lines) in bad {
        assert!(!verdict(lines), "{what} passes");
    }
}

#[test]
fn known_good_histories_pass() {
    let open = usize::MAX;
    let good: &[(&str, &[Line])] = &[
        ("nothing", &[]),
        (
            "one winner",
            &[(1, 4, create(1), Refused), (2, 3, create(2), Done), (5, 6, Read, Saw(Some(2)))],
        ),
        (
            "an open write that happened late",
            &[
                (1, open, Put(Some(1)), Unknown),
                (2, 3, Read, Saw(None)),
                (4, 5, create(2), Done),
                (6, 7, Read, Saw(Some(1))),
            ],
        ),
        (
            "an open write that never happened",
            &[(1, 2, create(1), Unknown), (3, 4, create(2), Done), (5, 6, Read, Saw(Some(2)))],
        ),
        (
            "overlapping reads that see both",
            &[(1, 8, Put(Some(1)), Done), (2, 3, Read, Saw(None)), (4, 5, Read, Saw(Some(1)))],
        ),
        (
            "an answered plain write that is seen late",
            &[
                (1, 2, Plain(Some(3)), Done),
                (3, 4, create(1), Done),
                (5, 6, swap(1, 2), Refused),
                (7, 8, Read, Saw(Some(3))),
            ],
        ),
        (
            "a match that another's deletion spoils",
            &[
                (1, 2, create(1), Done),
                (3, 6, DeleteIfMatch(1), Done),
                (4, 5, swap(1, 2), Refused),
                (7, 8, Read, Saw(None)),
            ],
        ),
    ];
    for (what, lines) in good {
        assert!(verdict(lines), "{what} does not pass");
    }
}

#[test]
fn a_failing_history_is_told_line_by_line() {
    let lines = [(1, 2, create(1), Done), (3, 4, Read, Saw(None))];
    let Err(Fault::NotLinearizable(story)) = history(&lines).check() else { panic!("it passes") };
    assert!(story.contains("PutIfAbsent(1) -> Done"), "{story}");
    assert!(story.contains("Read -> Saw(None)"), "{story}");
}

#[test]
fn many_open_operations_do_not_make_a_search_endless() {
    let mut history: History<u32> = History::default();
    for n in 0..60 {
        history.begin(Plain(Some(1000 + n)));
        history.begin(Op::PutIfAbsent(2000 + n));
        let write = history.begin(Put(Some(n)));
        history.end(write, Done);
        let read = history.begin(Read);
        history.end(read, Saw(Some(n)));
    }
    let Explained { operations, .. } = history.check().expect("it is linearizable");
    assert_eq!(operations, 240);
    let read = history.begin(Read);
    history.end(read, Saw(Some(7)));
    assert!(matches!(history.check(), Err(Fault::NotLinearizable(_))));
}

/// Numbers of a seed. Source: Steele, Lea, Flood, "Fast splittable generators", 2014.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Up to five operations on few values, with answers by chance.
fn random_lines(dice: &mut Dice) -> Vec<Line> {
    let count = 2 + dice.below(4);
    let line = |n: u64| {
        let new = n as u8 + 1;
        let other = dice.below(count) as u8 + 1;
        let op = match dice.below(8) {
            0 => Plain(Some(new)),
            1 => Put((dice.below(3) > 0).then_some(new)),
            2 => create(new),
            3 => swap(other, new),
            4 => DeleteIfMatch(other),
            5 => DeleteIfPresent,
            _ => Read,
        };
        let answer = match (&op, dice.below(4)) {
            (_, 0) => Unknown,
            (Read, _) => Saw((dice.below(3) > 0).then_some(other)),
            (Plain(_) | Put(_), _) | (_, 1 | 2) => Done,
            _ => Refused,
        };
        let start = dice.below(12) as usize;
        (start, start + 1 + dice.below(6) as usize, op, answer)
    };
    (0..count).map(line).collect()
}

/// The state after an operation with this answer, or `None` where it cannot have been answered so.
fn effect(op: &Op<u8>, answer: &Answer<u8>, now: Option<u8>) -> Option<Option<u8>> {
    let (fits, next) = match op {
        Plain(new) | Put(new) => (true, *new),
        Op::PutIfAbsent(new) => (now.is_none(), Some(*new)),
        Op::PutIfMatch { expected, new } => (now == Some(*expected), Some(*new)),
        DeleteIfMatch(expected) => (now == Some(*expected), None),
        DeleteIfPresent => (now.is_some(), None),
        Read => (true, now),
    };
    match answer {
        Done => fits.then_some(next),
        Refused => (!fits).then_some(now),
        Saw(value) => (*value == now).then_some(now),
        Unknown => Some(if fits { next } else { now }),
    }
}

/// Tries every order of the lines that are left. No reduction, no memory.
fn explained(lines: &[Line], left: &[usize], now: Option<u8>) -> bool {
    let is_open = |n: usize| lines[n].3 == Unknown || matches!(lines[n].2, Plain(_));
    if left.iter().all(|n| is_open(*n)) {
        return true;
    }
    left.iter().any(|n| {
        let late = left.iter().any(|m| m != n && !is_open(*m) && lines[*m].1 < lines[*n].0);
        let rest: Vec<usize> = left.iter().copied().filter(|m| m != n).collect();
        let next = effect(&lines[*n].2, &lines[*n].3, now);
        !late && next.is_some_and(|next| explained(lines, &rest, next))
    })
}

#[test]
fn the_search_agrees_with_trying_every_order() {
    let mut dice = Dice(42);
    let mut verdicts = [0, 0];
    for round in 0..20_000 {
        let lines = random_lines(&mut dice);
        let every: Vec<usize> = (0..lines.len()).collect();
        let expected = explained(&lines, &every, None);
        assert_eq!(verdict(&lines), expected, "round {round}: {lines:#?}");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 2_000), "{verdicts:?}");
}
