//! What happened of late, for people: starts and stops, regions that went and came, members, voters,
//! disk, clock, repairs, refused writes. In memory, bounded; whoever has a place for it hands in
//! what was before this start, and takes what is new. The log has it too.
//!
//! Most of it is seen by comparing the state of one second with that of the next, so that nothing
//! else needs to know of it.

use std::borrow::Cow;
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
    /// A word for programs: `node`, `region`, `member`, `voters`, `disk`, `clock`, `repair`, `move`,
    /// `writes`.
    pub kind: Cow<'static, str>,
    /// Something is wrong now, and was not before.
    pub bad: bool,
    pub what: String,
}

/// The last things that happened, the newest last.
#[derive(Default)]
pub(super) struct History(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    all: VecDeque<Happened>,
    /// Things that happened since this start, also those that found no room any more.
    new: u64,
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().expect("no holder of this lock panics")
    }

    fn add(&self, mut happened: Happened) {
        if let Some((end, _)) = happened.what.char_indices().nth(limits::HISTORY_TEXT_MAX) {
            happened.what.truncate(end);
        }
        let mut remembered = self.lock();
        if remembered.all.len() >= limits::HISTORY_MAX {
            remembered.all.pop_front();
        }
        remembered.all.push_back(happened);
        remembered.new += 1;
    }

    /// What was before this start, the newest last.
    fn before(&self, earlier: Vec<Happened>) {
        let mut remembered = self.lock();
        for happened in earlier.into_iter().rev() {
            if remembered.all.len() >= limits::HISTORY_MAX {
                break;
            }
            remembered.all.push_front(happened);
        }
    }

    fn since(&self, count: u64) -> (u64, Vec<Happened>) {
        let remembered = self.lock();
        let new = usize::try_from(remembered.new.saturating_sub(count)).unwrap_or(usize::MAX);
        let skip = remembered.all.len().saturating_sub(new);
        (remembered.new, remembered.all.iter().skip(skip).cloned().collect())
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
    repair: Pass,
    /// Primaries that left this region since it started.
    moves: u64,
    /// Why plain writes are refused.
    refused: Option<String>,
}

/// The pass of repair that runs, or ran last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pass {
    started_ms: Option<u64>,
    runs: bool,
    why: String,
}

type News = (&'static str, bool, String);

impl Cluster {
    /// What happened here of late, the newest first.
    pub fn history(&self) -> Vec<Happened> {
        self.inner.people.history.lock().all.iter().rev().cloned().collect()
    }

    /// What happened since so many things had; and how many have now.
    pub fn history_since(&self, count: u64) -> (u64, Vec<Happened>) {
        self.inner.people.history.since(count)
    }

    /// Takes in what was before this start, the newest last.
    pub fn remember(&self, earlier: Vec<Happened>) {
        self.inner.people.history.before(earlier);
    }

    /// Something happened to the node that nothing here sees.
    pub fn note_life(&self, bad: bool, what: &str) {
        self.happened(("node", bad, what.to_owned()));
    }

    fn happened(&self, (kind, bad, what): News) {
        let (at_ms, kind) = (self.env().now_ms(), Cow::Borrowed(kind));
        self.inner.people.history.add(Happened { at_ms, kind, bad, what });
    }

    /// Looks once a second for what is other than before.
    pub(super) async fn keep_history(self) {
        let mut before = self.state();
        loop {
            self.env().sleep(Duration::from_secs(1)).await;
            let now = self.state();
            compare(&before, &now).into_iter().for_each(|news| self.happened(news));
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
            repair: Pass {
                started_ms: repair.started_ms,
                runs: repair.phase != RepairPhase::Resting,
                why: repair.why,
            },
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
    news.extend(
        passes(&before.repair, &now.repair).into_iter().map(|what| ("repair", false, what)),
    );
    let moved = now.moves.saturating_sub(before.moves);
    if moved > 0 {
        news.push(("move", false, format!("{moved} primaries went elsewhere")));
    }
    let (was, is) = (before.refused.as_deref(), now.refused.as_deref());
    news.extend(turned("writes", was, is, "writes are taken again"));
    news
}

/// What became of passes of repair. One that began and ended between two looks is seen by the time
/// when it began.
fn passes(before: &Pass, now: &Pass) -> Vec<String> {
    let ended = || "repair has ended".to_owned();
    if before.started_ms == now.started_ms {
        return if before.runs && !now.runs { vec![ended()] } else { Vec::new() };
    }
    let begins = format!("repair begins: {}", now.why);
    let ends = [(before.runs, ended()), (true, begins), (!now.runs, ended())];
    ends.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect()
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

    fn pass(started_ms: Option<u64>, runs: bool) -> Pass {
        Pass { started_ms, runs, why: "iad is away".to_owned() }
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
            repair: pass(Some(7), true),
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
        let mended = State { repair: pass(Some(7), false), ..well.clone() };
        let back = said(&ill, &mended);
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
    fn a_pass_of_repair_that_is_over_within_a_second_is_seen() {
        let (begins, ended) = ("repair begins: iad is away", "repair has ended");
        let (none, first) = (pass(None, false), pass(Some(7), false));
        assert_eq!(passes(&none, &first), [begins, ended]);
        assert_eq!(passes(&first, &pass(Some(8), true)), [begins]);
        assert_eq!(passes(&pass(Some(7), true), &pass(Some(8), false)), [ended, begins, ended]);
        assert_eq!(passes(&pass(Some(7), true), &first), [ended]);
        assert!(passes(&first, &first).is_empty());
    }

    fn at(at_ms: u64) -> Happened {
        Happened { at_ms, kind: Cow::Borrowed("region"), bad: false, what: String::new() }
    }

    #[test]
    fn only_so_much_is_remembered() {
        let history = History::default();
        (0..limits::HISTORY_MAX as u64 + 5).for_each(|at_ms| history.add(at(at_ms)));
        assert_eq!(history.lock().all.len(), limits::HISTORY_MAX);
        assert_eq!(history.lock().all.front().unwrap().at_ms, 5);
        let what = "ä".repeat(limits::HISTORY_TEXT_MAX + 1);
        history.add(Happened { what, ..at(0) });
        let last = history.lock().all.back().unwrap().what.clone();
        assert_eq!(last.chars().count(), limits::HISTORY_TEXT_MAX);
    }

    #[test]
    fn what_was_before_this_start_is_in_front_and_not_told_again() {
        let history = History::default();
        history.add(at(100));
        history.before(vec![at(1), at(2)]);
        history.add(at(101));
        let times = |all: &[Happened]| all.iter().map(|one| one.at_ms).collect::<Vec<_>>();
        let all: Vec<Happened> = history.lock().all.iter().cloned().collect();
        assert_eq!(times(&all), [1, 2, 100, 101]);
        let (count, new) = history.since(0);
        assert_eq!((count, times(&new)), (2, vec![100, 101]));
        assert_eq!(times(&history.since(1).1), [101]);
        assert!(history.since(2).1.is_empty());
        history.before((0..limits::HISTORY_MAX as u64).map(at).collect());
        assert_eq!(history.lock().all.len(), limits::HISTORY_MAX, "no more than that");
        assert_eq!(history.lock().all.back().unwrap().at_ms, 101, "the newest stay");
    }
}
