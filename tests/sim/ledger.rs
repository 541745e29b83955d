//! The ledger: what clients asked for and were told, and what must hold of it at any moment and at
//! the end of a run.

use std::collections::{BTreeMap, BTreeSet};

use godwit::types::region::RegionId;
use godwit::types::stamp::Stamp;

/// What became of an attempt, as its client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No answer, or one that leaves it open (503): it may have happened or happen yet.
    Open,
    Answered(Stamp),
    /// An answer that says it did not and will not happen.
    Refused,
}

/// One write of one client.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) key: String,
    pub(crate) region: RegionId,
    /// `None`: a delete.
    pub(crate) len: Option<usize>,
    pub(crate) outcome: Outcome,
}

/// What a read showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Which attempt wrote it.
    pub(crate) attempt: usize,
    pub(crate) stamp: Stamp,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) attempts: Vec<Attempt>,
    /// The largest stamp that a region has answered or shown for a key: later reads there must not
    /// go below it (promise P3).
    floors: BTreeMap<(RegionId, String), Stamp>,
    pub(crate) reads: usize,
}

impl Ledger {
    pub(crate) fn begin(&mut self, key: &str, region: RegionId, len: Option<usize>) -> usize {
        let key = key.to_owned();
        self.attempts.push(Attempt { key, region, len, outcome: Outcome::Open });
        self.attempts.len() - 1
    }

    pub(crate) fn end(&mut self, attempt: usize, outcome: Outcome) {
        self.attempts[attempt].outcome = outcome;
        if let Outcome::Answered(stamp) = outcome {
            let attempt = &self.attempts[attempt];
            let floor = self.floors.entry((attempt.region, attempt.key.clone()));
            let floor = floor.or_insert(Stamp::ZERO);
            *floor = stamp.max(*floor);
        }
    }

    /// A region lost its disk: what it answered others have, and it hears of it later.
    pub(crate) fn forget(&mut self, region: RegionId) {
        self.floors.retain(|(of, _), _| *of != region);
    }

    /// What a read that begins now in `region` must at least show.
    pub(crate) fn floor(&self, region: RegionId, key: &str) -> Stamp {
        self.floors.get(&(region, key.to_owned())).copied().unwrap_or(Stamp::ZERO)
    }

    /// Checks what a read showed: bytes of one attempt on this key, of its whole length.
    pub(crate) fn check_read(
        &mut self,
        key: &str,
        floor: Stamp,
        stamp: Stamp,
        body: &[u8],
    ) -> Seen {
        self.reads += 1;
        let attempt = self.whole(key, body);
        assert!(stamp >= floor, "{key}: read {stamp:?} after {floor:?} was answered here");
        Seen { attempt, stamp }
    }

    fn whole(&self, key: &str, body: &[u8]) -> usize {
        let head: [u8; 8] = body[..8].try_into().unwrap();
        let attempt = usize::try_from(u64::from_le_bytes(head)).unwrap();
        let wrote =
            self.attempts.get(attempt).unwrap_or_else(|| panic!("{key}: nobody wrote this"));
        assert_eq!(wrote.key, key, "bytes of another key");
        assert_eq!(
            wrote.len,
            Some(body.len()),
            "{key}: not the length that attempt {attempt} wrote"
        );
        assert!(body == pattern(attempt, body.len()), "{key}: bytes of more than one version");
        attempt
    }

    /// Checks the one state that all regions agree on at the end. `state`: the current stamp of
    /// every key that has a row, with the body where it is an object.
    pub(crate) fn check_end(&self, state: &BTreeMap<String, (Stamp, Option<Vec<u8>>)>) {
        let keys: BTreeSet<&String> = self.attempts.iter().map(|a| &a.key).collect();
        for key in keys {
            let current = state.get(key);
            let stamp = current.map_or(Stamp::ZERO, |(stamp, _)| *stamp);
            let body = current.and_then(|(_, body)| body.as_ref());
            let shown = body.map(|body| self.whole(key, body));
            for (n, attempt) in self.attempts.iter().enumerate().filter(|(_, a)| a.key == *key) {
                let Outcome::Answered(answered) = attempt.outcome else { continue };
                assert!(
                    answered <= stamp,
                    "lost: attempt {n} on {key} at {} was answered with {answered:?}, the end has \
                     {stamp:?}",
                    attempt.region
                );
                if answered == stamp {
                    assert_eq!(
                        attempt.len.is_some(),
                        shown.is_some(),
                        "{key}: wrong kind at the end"
                    );
                    assert!(
                        shown.is_none_or(|s| s == n),
                        "{key}: attempt {n} won, {shown:?} shows"
                    );
                }
            }
            if let Some(shown) = shown {
                let outcome = self.attempts[shown].outcome;
                assert_ne!(outcome, Outcome::Refused, "{key}: shows refused attempt {shown}");
            }
        }
    }
}

/// The body of an attempt: its number, over and over. At least eight bytes.
pub(crate) fn pattern(attempt: usize, len: usize) -> Vec<u8> {
    assert!(len >= 8);
    let mut bytes = (attempt as u64).to_le_bytes().repeat(len.div_ceil(8));
    bytes.truncate(len);
    bytes
}
