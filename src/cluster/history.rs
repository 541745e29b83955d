//! What happened of late, for people: regions that went and came, members, voters, disk, clock,
//! repairs, refused writes. In memory, bounded, since the node started; the log has it too.
//!
//! Most of it is seen by comparing the state of one second with that of the next, so that nothing
//! else needs to know of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::limits;
use crate::types::bucket::{Ack, Location};
use crate::types::members::MemberState;
use crate::types::region::RegionId;

use super::{Cluster, RepairPhase};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// A word for programs: `region`, `member`, `voters`, `disk`, `clock`, `repair`, `move`,
    /// `writes`.
    pub kind: &'static str,
    /// Something is wrong now, and was not before.
    pub bad: bool,
    pub what: String,
}

/// The last things that happened, the newest last.
#[derive(Default)]
pub(super) struct History(Mutex<VecDeque<Happened>>);

impl History {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Happened>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    fn add(&self, happened: Happened) {
        let mut all = self.lock();
        if all.len() >= limits::HISTORY_MAX {
            all.pop_front();
        }
        all.push_back(happened);
    }
}

/// What is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// The other members, and whether they can be reached.
    peers: BTreeMap<RegionId, bool>,
    members: BTreeMap<RegionId, MemberState>,
    voters: Vec<RegionId>,
    disk: Option<String>,
    clock_wrong: bool,
    /// Why a pass of repair runs.
    repair: Option<String>,
    /// Primaries that left this region since it started.
    moves: u64,
    /// Why plain writes are refused.
    refused: Option<String>,
}

type News = (&'static str, bool, String);

impl Cluster {
    /// What happened here of late, the newest first.
    pub fn history(&self) -> Vec<Happened> {
        self.inner.people.history.lock().iter().rev().cloned().collect()
    }

    /// Looks once a second for what is other than before.
    pub(super) async fn keep_history(self) {
        let mut before = self.state();
        loop {
            self.env().sleep(Duration::from_secs(1)).await;
            let now = self.state();
            for (kind, bad, what) in compare(&before, &now) {
                let at_ms = self.env().now_ms();
                self.inner.people.history.add(Happened { at_ms, kind, bad, what });
            }
            before = now;
        }
    }

    fn state(&self) -> State {
        let members = self.members();
        let repair = self.repair_status();
        let quorum = self.quorum_of(&Location::Everywhere, Ack::Default);
        State {
            peers: self.others().iter().map(|i| (i.id, self.is_connected(i.id))).collect(),
            members: members.members.iter().map(|m| (m.info.id, m.state)).collect(),
            voters: members.voters(),
            disk: self.store().trouble().map(|trouble| trouble.to_string()),
            clock_wrong: self.clock_wrong_ms() != 0,
            repair: (repair.phase != RepairPhase::Resting).then_some(repair.why),
            moves: self.inner.metrics.primaries_moved.get(),
            refused: quorum.check().err().map(|why| why.reason),
        }
    }
}

/// What is other than before, in words.
fn compare(before: &State, now: &State) -> Vec<News> {
    let mut news = Vec::new();
    for (region, connected) in &now.peers {
        match (before.peers.get(region), connected) {
            (Some(true), false) => news.push(("region", true, format!("{region} is away"))),
            (Some(false), true) => news.push(("region", false, format!("{region} is back"))),
            _ => {}
        }
    }
    for (region, state) in &now.members {
        let what = match (before.members.get(region), state) {
            (Some(before), now) if before == now => continue,
            (None, _) => format!("{region} was added"),
            (Some(_), MemberState::Joining) => format!("{region} joins"),
            (Some(MemberState::Draining), MemberState::Active) => {
                format!("{region} is not drained any more")
            }
            (Some(_), MemberState::Active) => format!("{region} is active"),
            (Some(_), MemberState::Draining) => format!("{region} is drained"),
        };
        news.push(("member", false, what));
    }
    for region in before.members.keys().filter(|region| !now.members.contains_key(region)) {
        news.push(("member", false, format!("{region} was removed")));
    }
    if before.voters != now.voters {
        let codes: Vec<String> = now.voters.iter().map(ToString::to_string).collect();
        news.push(("voters", false, format!("{} vote", codes.join(", "))));
    }
    news.extend(turned(
        "disk",
        before.disk.as_deref(),
        now.disk.as_deref(),
        "the disk is well again",
    ));
    if before.clock_wrong != now.clock_wrong {
        let what = if now.clock_wrong { "the clock is wrong" } else { "the clock is right again" };
        news.push(("clock", now.clock_wrong, what.to_owned()));
    }
    match (&before.repair, &now.repair) {
        (None, Some(why)) => news.push(("repair", false, format!("repair begins: {why}"))),
        (Some(_), None) => news.push(("repair", false, "repair has ended".to_owned())),
        _ => {}
    }
    let moved = now.moves.saturating_sub(before.moves);
    if moved > 0 {
        news.push(("move", false, format!("{moved} primaries went elsewhere")));
    }
    let (was, is) = (before.refused.as_deref(), now.refused.as_deref());
    news.extend(turned("writes", was, is, "writes are taken again"));
    news
}

/// Something went wrong, or is well again. The words may change while it lasts.
fn turned(kind: &'static str, before: Option<&str>, now: Option<&str>, well: &str) -> Option<News> {
    match (before, now) {
        (None, Some(why)) => Some((kind, true, why.to_owned())),
        (Some(_), None) => Some((kind, false, well.to_owned())),
        (None, None) | (Some(_), Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(code: &str) -> RegionId {
        code.parse().unwrap()
    }

    #[test]
    fn what_is_other_than_before_is_told_once() {
        let well = State {
            peers: BTreeMap::from([(region("iad"), true)]),
            members: BTreeMap::from([(region("iad"), MemberState::Active)]),
            voters: vec![region("fra"), region("iad")],
            ..State::default()
        };
        let ill = State {
            peers: BTreeMap::from([(region("iad"), false), (region("nrt"), true)]),
            members: BTreeMap::from([
                (region("iad"), MemberState::Draining),
                (region("nrt"), MemberState::Joining),
            ]),
            voters: vec![region("fra")],
            disk: Some("it failed".to_owned()),
            clock_wrong: true,
            repair: Some("iad is away".to_owned()),
            moves: 3,
            refused: Some("a write needs 2".to_owned()),
        };
        let said = |before: &State, now: &State| -> Vec<String> {
            compare(before, now).into_iter().map(|(_, _, what)| what).collect()
        };
        assert_eq!(
            said(&well, &ill),
            [
                "iad is away",
                "iad is drained",
                "nrt was added",
                "fra vote",
                "it failed",
                "the clock is wrong",
                "repair begins: iad is away",
                "3 primaries went elsewhere",
                "a write needs 2",
            ]
        );
        assert!(said(&ill, &ill).is_empty());
        let back = said(&ill, &well);
        for what in [
            "iad is back",
            "nrt was removed",
            "iad is not drained any more",
            "the disk is well again",
            "the clock is right again",
            "repair has ended",
            "writes are taken again",
        ] {
            assert!(back.iter().any(|said| said == what), "{what}: {back:?}");
        }
    }

    #[test]
    fn only_so_much_is_remembered() {
        let history = History::default();
        for at_ms in 0..limits::HISTORY_MAX as u64 + 5 {
            history.add(Happened { at_ms, kind: "region", bad: false, what: String::new() });
        }
        assert_eq!(history.lock().len(), limits::HISTORY_MAX);
        assert_eq!(history.lock().front().unwrap().at_ms, 5);
    }
}
