//! Who keeps the registers of a scope, and how that changes while they are in use.
//!
//! Two steps, each decided by one compare-and-set of the scope's [`Electorate`] (the driver keeps it
//! in a register): from the old voters to a joint electorate, in which a quorum is a majority of the
//! old *and* a majority of the new; and, when every register that the old voters may have chosen a
//! value of has been rewritten under it, to the new voters alone. Each step is one epoch.
//!
//! Invariant: rounds of neighbouring epochs meet in a voter, rounds of epochs further apart never
//! run at once. So that this holds: each message carries its epoch and a voter answers its own epoch
//! alone ([`Seat::admit`]); the second step waits until a majority of the old voters has taken the
//! joint epoch, listed its registers after that, and each of these was rewritten; a region that
//! joins starts with no registers, whatever it kept from an earlier time ([`Seat::adopt`]). A warm
//! ballot needs no rule of its own: the voters that promised it make the rewriting go above it.
//!
//! Driving contract. A proposer is made [`among`](super::proposer::Proposer::among) the electorate
//! that its node knows and asks [`everyone`](Electorate::everyone); its questions name the epoch. A
//! voter calls [`Seat::admit`] before its cell sees a question, and answers a refusal in place of the
//! cell. [`Turned::Moved`] brings a newer electorate: the node takes it, and the proposer goes on by
//! [`moved`](super::proposer::Proposer::moved), with its own operation and what it proposed still
//! known. [`Turned::Behind`] is answered by sending the electorate, then the question again. What
//! [`Seat::adopt`] says is durable, in one transaction with the discarding that it asks for, before
//! anything is answered. Any node may drive a [`Change`], several at once too, and begin again from
//! its start after a crash: nothing of it has to be kept. It is over as soon as the electorate's
//! register holds a later epoch. Until then it can be given up by [`Electorate::abandoned`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::proposer::majority;
use crate::types::region::RegionId;

pub use crate::types::members::Electorate;

impl Electorate {
    /// The first voters of a scope, as the cluster's charter names them.
    pub fn first(epoch: u64, voters: impl IntoIterator<Item = RegionId>) -> Self {
        let voters: BTreeMap<RegionId, u64> = voters.into_iter().map(|r| (r, 0)).collect();
        assert!(!voters.is_empty(), "a register has voters");
        Self { epoch, voters, before: BTreeMap::new() }
    }

    /// The first step of a change: old and new voters together. `None`: a change is under way, or
    /// there is nothing to change.
    pub fn joint(&self, voters: impl IntoIterator<Item = RegionId>) -> Option<Self> {
        let epoch = self.epoch + 1;
        let joined = |region: RegionId| (region, *self.voters.get(&region).unwrap_or(&epoch));
        let voters: BTreeMap<RegionId, u64> = voters.into_iter().map(joined).collect();
        if self.is_joint() || voters.is_empty() || voters == self.voters {
            return None;
        }
        Some(Self { epoch, voters, before: self.voters.clone() })
    }

    /// The second step: the new voters alone. Only a [`Change`] says when.
    fn settled(&self) -> Self {
        Self { epoch: self.epoch + 1, voters: self.voters.clone(), before: BTreeMap::new() }
    }

    /// The way back instead: the old voters alone. Safe at any time, as each joint quorum has a
    /// majority of them.
    pub fn abandoned(&self) -> Option<Self> {
        let back =
            Self { epoch: self.epoch + 1, voters: self.before.clone(), before: BTreeMap::new() };
        self.is_joint().then_some(back)
    }

    /// Who decides about this electorate's own register: while a change is under way the voters
    /// before it alone, so that it can be given up without the new ones.
    ///
    /// Why no two answers come of that, though those of a settled epoch need not meet the old ones:
    /// the register of an epoch decides until it decides the next epoch, and nothing is decided on
    /// top of that in it; a voter answers for the next epoch only when it has taken what brought it,
    /// and begins the register anew from there, without what it had accepted before.
    #[must_use]
    pub fn deciders(&self) -> Self {
        match self.is_joint() {
            true => Self { voters: self.before.clone(), before: BTreeMap::new(), ..self.clone() },
            false => self.clone(),
        }
    }

    /// The voters that are left when these are lost for good and with them a majority: those go on by
    /// themselves, in an epoch that the lost ones cannot come to. Where no voter is left, `own`
    /// begins anew. What only lost voters had accepted is lost; what one of those that are left had
    /// accepted may have been chosen, and not each majority of them knows of it. So all of them are
    /// asked until every register was rewritten: a change from these voters to the same.
    #[must_use]
    pub fn recovered(&self, is_lost: impl Fn(RegionId) -> bool, own: RegionId, leap: u64) -> Self {
        let epoch = self.epoch + leap;
        let all = self.before.iter().chain(&self.voters);
        let left = all.filter(|(region, _)| !is_lost(**region)).map(|(region, at)| (*region, *at));
        let mut voters: BTreeMap<RegionId, u64> = left.collect();
        if voters.is_empty() {
            voters.insert(own, epoch);
        }
        // Of one or two the majority is all of them.
        let before = if voters.len() > 2 { voters.clone() } else { BTreeMap::new() };
        Self { epoch, voters, before }
    }

    /// What is left of voters that lost their majority: all of them are asked.
    fn asks_all(&self) -> bool {
        self.before == self.voters
    }

    /// Whether enough of those after a change can be asked.
    pub fn may_settle(&self, is_in: impl Fn(RegionId) -> bool) -> bool {
        match self.asks_all() {
            true => self.is_quorum(is_in),
            false => Self { before: BTreeMap::new(), ..self.clone() }.is_quorum(is_in),
        }
    }

    /// So many of the voters before a change list their registers.
    fn listing(&self) -> usize {
        if self.asks_all() { self.before.len() } else { majority(self.before.len()) }
    }

    /// The joint epoch as it must not be counted: by the new voters alone.
    #[cfg(test)]
    pub(super) fn newcomers_alone(&self) -> Self {
        Self { before: BTreeMap::new(), ..self.clone() }
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A change is under way.
    pub fn is_joint(&self) -> bool {
        !self.before.is_empty()
    }

    /// Everyone who is asked.
    pub fn everyone(&self) -> BTreeSet<RegionId> {
        self.voters.keys().chain(self.before.keys()).copied().collect()
    }

    pub fn has(&self, region: RegionId) -> bool {
        self.voters.contains_key(&region) || self.before.contains_key(&region)
    }

    /// Whether what these regions say, or have accepted, holds: a majority of each set.
    pub fn is_quorum(&self, is_in: impl Fn(RegionId) -> bool) -> bool {
        if self.asks_all() {
            return self.voters.keys().all(|region| is_in(*region));
        }
        let most = |voters: &BTreeMap<RegionId, u64>| {
            voters.is_empty()
                || voters.keys().filter(|r| is_in(**r)).count() >= majority(voters.len())
        };
        most(&self.voters) && most(&self.before)
    }
}

/// What a voter remembers of its scope, durably: the newest electorate that it took.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seat(Electorate);

/// A question of another epoch is not answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Turned {
    /// The asker's epoch is over: here is a newer one.
    Moved(Electorate),
    /// The voter has not taken the asker's epoch: send it the electorate first.
    Behind,
}

/// What taking an electorate means for the registers of the scope that this region keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// Nothing new.
    Known,
    /// Taken; registers stay as they are.
    Kept,
    /// Taken, and this region joined by it, or by one that it missed: every register of the scope
    /// that it still has is discarded in the same step.
    Discard,
}

impl Seat {
    /// A node that knows its scope from the charter alone.
    pub fn new(first: Electorate) -> Self {
        Self(first)
    }

    pub fn electorate(&self) -> &Electorate {
        &self.0
    }

    /// Whether a question of this epoch goes to the cell.
    pub fn admit(&self, epoch: u64) -> Result<(), Turned> {
        match epoch.cmp(&self.0.epoch) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => Err(Turned::Moved(self.0.clone())),
            std::cmp::Ordering::Greater => Err(Turned::Behind),
        }
    }

    /// Takes a newer electorate, which was decided.
    pub fn adopt(&mut self, electorate: &Electorate, own: RegionId) -> Adopted {
        if electorate.epoch <= self.0.epoch {
            return Adopted::Known;
        }
        let last = self.0.epoch;
        self.0 = electorate.clone();
        let of = |voters: &BTreeMap<RegionId, u64>| voters.get(&own).copied();
        let joined = of(&electorate.voters).max(of(&electorate.before));
        if joined.is_some_and(|joined| joined > last) { Adopted::Discard } else { Adopted::Kept }
    }
}

/// Names of registers that a voter has anything of, in order, after where the question began.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Page<K: Ord> {
    pub names: BTreeSet<K>,
    /// None follow these.
    pub is_last: bool,
}

/// What the driver of a change does next; it goes on until that is answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Next<K> {
    /// Send the joint electorate to everyone; each that has it durably goes to
    /// [`Change::installed`].
    Install,
    /// Ask the voters before the change, in the joint epoch, for their registers after this name;
    /// pages go to [`Change::listed`].
    List { after: Option<K> },
    /// Run a [`Kind::Rewrite`](super::proposer::Kind::Rewrite) on each of these in the joint epoch;
    /// each that ended goes to [`Change::rewritten`].
    Rewrite(BTreeSet<K>),
    /// Set the electorate's register from the joint one to this; then send it to everyone.
    Settle(Electorate),
}

/// One voter change, from the joint electorate to the settled one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change<K: Ord> {
    joint: Electorate,
    phase: Phase<K>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase<K: Ord> {
    Installing(BTreeSet<RegionId>),
    Listing { after: Option<K>, pages: BTreeMap<RegionId, Page<K>> },
    Rewriting { left: BTreeSet<K>, then: Option<K> },
    Done,
}

impl<K: Ord + Clone> Change<K> {
    /// Of a joint electorate that was decided.
    pub fn new(joint: Electorate) -> Self {
        assert!(joint.is_joint(), "a change has voters before and after it");
        Self { joint, phase: Phase::Installing(BTreeSet::new()) }
    }

    pub fn joint(&self) -> &Electorate {
        &self.joint
    }

    /// Whether the registers of this region are listed: it kept them before the change.
    pub fn lists(&self, region: RegionId) -> bool {
        self.joint.before.contains_key(&region)
    }

    /// What is to do now.
    pub fn next(&self) -> Next<K> {
        match &self.phase {
            Phase::Installing(_) => Next::Install,
            Phase::Listing { after, .. } => Next::List { after: after.clone() },
            Phase::Rewriting { left, .. } => Next::Rewrite(left.clone()),
            Phase::Done => Next::Settle(self.joint.settled()),
        }
    }

    /// This region has taken the joint electorate.
    pub fn installed(&mut self, by: RegionId) {
        let Phase::Installing(have) = &mut self.phase else { return };
        have.insert(by);
        if self.joint.is_quorum(|region| have.contains(&region)) {
            self.phase = Phase::Listing { after: None, pages: BTreeMap::new() };
        }
    }

    /// A voter before the change answered `Next::List` that began after `from`.
    pub fn listed(&mut self, by: RegionId, from: Option<&K>, page: Page<K>) {
        let says_nothing = page.names.is_empty() && !page.is_last;
        if !self.lists(by) || says_nothing {
            return;
        }
        let Phase::Listing { after, pages } = &mut self.phase else { return };
        if after.as_ref() != from {
            return;
        }
        pages.insert(by, page);
        if pages.len() < self.joint.listing() {
            return;
        }
        // Up to where the shortest unfinished page ends, the names of all of them are complete.
        let end = |page: &Page<K>| if page.is_last { None } else { page.names.last().cloned() };
        let then = pages.values().filter_map(end).min();
        let names = pages.values().flat_map(|page| &page.names);
        let left = names.filter(|name| then.as_ref().is_none_or(|end| *name <= end)).cloned();
        let left = left.collect();
        self.phase = Phase::Rewriting { left, then };
        self.go_on();
    }

    /// A quorum of the joint electorate has accepted this register's value, or it never had one.
    pub fn rewritten(&mut self, name: &K) {
        let Phase::Rewriting { left, .. } = &mut self.phase else { return };
        left.remove(name);
        self.go_on();
    }

    fn go_on(&mut self) {
        let Phase::Rewriting { left, then } = &mut self.phase else { return };
        if left.is_empty() {
            let pages = BTreeMap::new();
            self.phase = match then.take() {
                after @ Some(_) => Phase::Listing { after, pages },
                None => Phase::Done,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(codes: &[&str]) -> Vec<RegionId> {
        codes.iter().map(|code| RegionId::parse(code).unwrap()).collect()
    }

    fn page(names: &[u8], is_last: bool) -> Page<u8> {
        Page { names: names.iter().copied().collect(), is_last }
    }

    #[test]
    fn a_joint_quorum_needs_a_majority_of_old_and_new() {
        let old = regions(&["ams", "fra", "iad"]);
        let first = Electorate::first(1, old.clone());
        let joint = first.joint(regions(&["nrt", "syd", "iad"])).unwrap();
        assert_eq!(joint.joint(old), None, "one change at a time");
        let have = |codes: &[&str]| regions(codes);
        let is_quorum = |codes: &[&str]| {
            let have = regions(codes);
            joint.is_quorum(|region| have.contains(&region))
        };
        assert!(is_quorum(&["fra", "iad", "nrt"]));
        assert!(!is_quorum(&["ams", "fra", "iad"]));
        assert!(!is_quorum(&["nrt", "syd", "ams"]));
        assert_eq!(joint.everyone().len(), 5);
        let abandoned = joint.abandoned().unwrap();
        assert_eq!((abandoned.epoch(), abandoned.everyone()), (3, first.everyone()));
        assert_eq!(first.abandoned(), None);
        // A majority of the old ones decides whether a change is given up, and is in every quorum.
        assert_eq!((joint.deciders().everyone(), joint.deciders().epoch()), (first.everyone(), 2));
        assert_eq!(first.deciders(), first);
        assert!(joint.may_settle(|region| have(&["nrt", "syd"]).contains(&region)));
        assert!(!joint.may_settle(|region| have(&["ams", "fra", "iad"]).contains(&region)));
    }

    #[test]
    fn who_joins_or_missed_joining_discards_what_it_had() {
        let [ams, fra] = regions(&["ams", "fra"])[..] else { unreachable!() };
        let first = Electorate::first(1, [ams]);
        let to_fra = first.joint([fra]).unwrap();
        let at_fra = to_fra.settled();
        let to_ams = at_fra.joint([ams]).unwrap();
        let at_ams = to_ams.settled();
        let mut seat = Seat::new(first.clone());
        assert_eq!(seat.admit(1), Ok(()));
        assert_eq!(seat.adopt(&to_fra, ams), Adopted::Kept);
        assert_eq!(seat.adopt(&to_fra, ams), Adopted::Known);
        assert_eq!(seat.admit(1), Err(Turned::Moved(to_fra.clone())));
        assert_eq!(seat.admit(3), Err(Turned::Behind));
        let mut missed = seat.clone();
        assert_eq!(seat.adopt(&to_ams, ams), Adopted::Discard);
        assert_eq!(seat.adopt(&at_ams, ams), Adopted::Kept);
        assert_eq!(missed.adopt(&at_ams, ams), Adopted::Discard);
        assert_eq!(Seat::new(first).adopt(&to_fra, fra), Adopted::Discard);
    }

    #[test]
    fn what_is_left_of_the_voters_goes_on_in_an_epoch_that_the_lost_ones_do_not_reach() {
        let [ams, fra, iad] = regions(&["ams", "fra", "iad"])[..] else { unreachable!() };
        let first = Electorate::first(4, [ams, fra, iad]);
        let left = first.recovered(|region| region != fra, fra, 1000);
        assert_eq!((left.epoch(), left.everyone()), (1004, BTreeSet::from([fra])));
        // It keeps its registers; who has nothing of them begins without.
        assert_eq!(Seat::new(first.clone()).adopt(&left, fra), Adopted::Kept);
        let anew = first.recovered(|_| true, fra, 1000);
        assert_eq!(Seat::new(first).adopt(&anew, fra), Adopted::Discard);
    }

    #[test]
    fn three_that_are_left_are_all_asked_until_every_register_was_rewritten() {
        let seven = regions(&["ams", "fra", "iad", "gru", "lhr", "nrt", "syd"]);
        let [ams, fra, iad] = seven[..3] else { unreachable!() };
        let is_lost = |region: RegionId| seven[3..].contains(&region);
        let left = Electorate::first(4, seven.iter().copied()).recovered(is_lost, fra, 1000);
        assert!(left.is_joint() && left.is_quorum(|region| !is_lost(region)));
        assert!(!left.is_quorum(|region| region == ams || region == fra));
        assert!(!left.may_settle(|region| region != iad));
        let mut change = Change::new(left.clone());
        [ams, fra, iad].iter().for_each(|region| change.installed(*region));
        change.listed(ams, None, page(&[1], true));
        change.listed(fra, None, page(&[], true));
        assert_eq!(change.next(), Next::List { after: None });
        change.listed(iad, None, page(&[2], true));
        assert_eq!(change.next(), Next::Rewrite(BTreeSet::from([1, 2])));
        [1, 2].iter().for_each(|name| change.rewritten(name));
        let Next::Settle(settled) = change.next() else { panic!("not settled") };
        assert_eq!(settled.everyone(), left.everyone());
        assert!(settled.is_quorum(|region| region == ams || region == fra));
        // Another one of them is lost before that.
        let two = left.recovered(|region| region == iad, fra, 1000);
        assert!(!two.is_joint() && two.everyone() == BTreeSet::from([ams, fra]));
    }

    #[test]
    fn a_change_settles_when_every_listed_register_was_rewritten() {
        let [ams, fra, iad, nrt] = regions(&["ams", "fra", "iad", "nrt"])[..] else {
            unreachable!()
        };
        let joint = Electorate::first(1, [ams, fra, iad]).joint([ams, fra, nrt]).unwrap();
        let mut change = Change::new(joint);
        change.installed(ams);
        assert_eq!(change.next(), Next::Install);
        change.installed(fra);
        assert_eq!(change.next(), Next::List { after: None });
        change.listed(nrt, None, page(&[], true));
        change.listed(ams, None, page(&[1, 4], false));
        assert_eq!(change.next(), Next::List { after: None });
        change.listed(iad, None, page(&[2, 9], true));
        assert_eq!(change.next(), Next::Rewrite(BTreeSet::from([1, 2, 4])));
        [1, 2, 4].iter().for_each(|name| change.rewritten(name));
        assert_eq!(change.next(), Next::List { after: Some(4) });
        change.listed(fra, None, page(&[7], true));
        change.listed(ams, Some(&4), page(&[], true));
        change.listed(iad, Some(&4), page(&[9], true));
        change.rewritten(&9);
        let Next::Settle(settled) = change.next() else { panic!("not settled") };
        assert_eq!((settled.epoch(), settled.is_joint()), (3, false));
        assert_eq!(settled.everyone(), BTreeSet::from([ams, fra, nrt]));
    }
}
