//! What is kept of a row, and when it ends.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::logic::merge::merge;
use crate::types::name::AccountId;
use crate::types::object::{ETag, Marks, ObjectMeta, Placement, StoredHeaders};
use crate::types::record::Record;
use crate::types::region::RegionId;

const UNDO: u64 = 100;

fn keeping(soft: bool) -> Keeping {
    Keeping { undo_ms: UNDO, soft_delete_days: soft.then_some(7) }
}

fn stamp(ms: u64, region: &str) -> Stamp {
    Stamp { hlc: Hlc::from_ms(ms), region: RegionId::parse(region).unwrap() }
}

fn version(stamp: Stamp, object: bool) -> Version {
    let meta = || ObjectMeta {
        size: stamp.hlc.ms(),
        etag: ETag("e".into()),
        modified_ms: stamp.hlc.ms(),
        headers: StoredHeaders::default(),
        user_meta: Vec::new(),
        checksum: None,
        parts: Vec::new(),
        rides: false,
        owner: AccountId("o".into()),
        encryption: None,
    };
    let content = if object { Content::Object(Arc::new(meta())) } else { Content::Tombstone };
    let (replaces, null, marks) = (Stamp::ZERO, true, Marks::default());
    Version { stamp, replaces, null, content, marks, placement: Placement::default() }
}

fn join(a: &Row, b: Row) -> Row {
    let Record::Row(row) = merge(Some(Record::Row(a.clone())), Record::Row(b)).record else {
        unreachable!()
    };
    row
}

/// Where everything is known that was written before.
fn write(row: &Row, at: Stamp, soft: bool) -> Row {
    write_knowing(row, at, soft, at.hlc.ms())
}

fn write_knowing(row: &Row, at: Stamp, soft: bool, known_ms: u64) -> Row {
    join(row, over(row, version(at, true), &keeping(soft), at.hlc.ms(), known_ms))
}

fn end(row: &Row, now_ms: u64) -> Row {
    match due(row, &keeping(false), now_ms, now_ms) {
        Some(cover) => join(row, Row { cover, ..Row::default() }),
        None => row.clone(),
    }
}

fn kept(row: &Row) -> Vec<u64> {
    row.kept().map(|(v, _)| v.stamp.hlc.ms()).collect()
}

/// Two regions wrote at the same time, and both know it.
fn conflict() -> Row {
    let fra = write(&Row::default(), stamp(10, "fra"), false);
    join(&fra, write(&Row::default(), stamp(11, "iad"), false))
}

#[test]
fn an_ordinary_write_keeps_nothing_and_is_stored_without_a_cover() {
    let first = write(&Row::default(), stamp(10, "fra"), false);
    let second = write(&first, stamp(20, "fra"), false);
    assert_eq!((kept(&second), &second.cover), (vec![], &Cover::default()));
    assert!(!is_watched(&second));
}

#[test]
fn a_loser_is_kept_for_the_undo_window_through_later_writes_and_then_ends() {
    let row = conflict();
    assert_eq!((kept(&row), losers(&row).count()), (vec![10], 1));
    let row = end(&row, 50);
    assert_eq!(row.cover.spared.values().next().map(|keep| keep.until_ms), Some(50 + UNDO));
    let row = write(&write(&row, stamp(60, "fra"), false), stamp(70, "iad"), false);
    assert_eq!(kept(&row), [10], "the writes between are not kept");
    assert_eq!(kept(&end(&row, 149)), [10]);
    let ended = end(&row, 150);
    assert!(kept(&ended).is_empty());
    assert_eq!(join(&ended, conflict()), ended, "an old state does not bring it back");
    assert!(!is_watched(&ended));
}

#[test]
fn a_write_over_a_loser_begins_its_window() {
    let row = write(&conflict(), stamp(30, "fra"), false);
    assert_eq!(kept(&row), [10]);
    let keep = row.cover.spared.values().next().unwrap();
    assert_eq!((keep.until_ms, keep.why), (30 + UNDO, Why::Lost));
}

#[test]
fn a_loser_is_not_judged_before_all_that_was_written_is_known() {
    assert_eq!(due(&conflict(), &keeping(false), 1000, 11), None);
    assert!(due(&conflict(), &keeping(false), 1000, 12).is_some());
}

#[test]
fn a_losing_deletion_leaves_nothing_to_bring_back() {
    let deletion = Row::of(version(stamp(10, "fra"), false));
    let row = join(&write(&Row::default(), stamp(11, "iad"), false), deletion);
    assert_eq!(row.versions.len(), 2);
    let row = end(&row, 50);
    assert_eq!((row.versions.len(), is_watched(&row)), (1, false));
}

#[test]
fn soft_delete_keeps_a_stack_and_a_deletion_of_it_too() {
    let mut row = Row::default();
    for ms in [10, 20, 30] {
        row = write(&row, stamp(ms, "fra"), true);
    }
    let gone = over(&row, version(stamp(40, "fra"), false), &keeping(true), 40, 40);
    let row = join(&row, gone);
    assert_eq!((row.object(), kept(&row)), (None, vec![30, 20, 10]));
    let week_ms = 7 * 24 * 3600 * 1000;
    assert_eq!(kept(&end(&row, 20 + week_ms)), [30, 20]);
    assert_eq!(end(&row, 40 + week_ms).versions.len(), 1);
}

#[test]
fn what_soft_delete_kept_stays_after_it_was_switched_off() {
    let row = write(&write(&Row::default(), stamp(10, "fra"), true), stamp(20, "fra"), true);
    let row = write(&row, stamp(30, "fra"), false);
    assert_eq!(kept(&row), [10]);
}

#[test]
fn a_key_keeps_a_bounded_number() {
    let mut row = Row::default();
    for ms in 1..200 {
        row = write(&row, stamp(ms, "fra"), true);
    }
    assert_eq!(kept(&row).len(), limits::KEPT_MAX);
    assert_eq!(kept(&row)[0], 198);
}

#[test]
fn what_comes_late_from_a_region_that_was_cut_off_is_a_loser_though_others_wrote_twice_since() {
    let first = write(&Row::default(), stamp(5, "fra"), false);
    let late = write_knowing(&first, stamp(10, "nrt"), false, 6);
    let row = write_knowing(&first, stamp(11, "fra"), false, 6);
    let row = write_knowing(&row, stamp(12, "iad"), false, 6);
    let row = write_knowing(&row, stamp(13, "fra"), false, 6);
    let both = join(&row, late.clone());
    assert_eq!(join(&late, row.clone()), both, "in whatever order");
    assert_eq!((kept(&both), losers(&both).count()), (vec![10], 1));
    assert_eq!(both.object().map(|(v, _)| v.stamp), Some(stamp(13, "fra")));
    let noted = end(&both, 50);
    assert!(noted.cover.seen.is_empty(), "nothing comes late any more: {:?}", noted.cover);
    assert_eq!(kept(&noted), [10]);
    let ended = end(&noted, 50 + UNDO);
    assert_eq!((kept(&ended), join(&ended, both)), (vec![], ended.clone()));
    assert_eq!(join(&ended, late), ended, "it does not come back");
}

#[test]
fn what_a_region_overwrote_itself_while_it_was_cut_off_is_no_loser() {
    let mut late = write(&Row::default(), stamp(10, "nrt"), false);
    for ms in [12, 14] {
        late = write_knowing(&late, stamp(ms, "nrt"), false, 0);
    }
    let row = write(&Row::default(), stamp(11, "fra"), false);
    let row = write_knowing(&row, stamp(15, "iad"), false, 0);
    assert_eq!(kept(&join(&row, late)), [14]);
}

#[test]
fn a_late_loser_under_a_deletion_is_kept_and_not_seen() {
    let late = write(&Row::default(), stamp(10, "nrt"), false);
    let row = write(&Row::default(), stamp(11, "fra"), false);
    let gone = over(&row, version(stamp(12, "fra"), false), &keeping(false), 12, 0);
    let row = join(&join(&row, gone), late);
    assert_eq!((row.object(), kept(&row)), (None, vec![10]));
}

#[test]
fn what_was_seen_is_bounded_and_beyond_it_the_oldest_is_a_floor() {
    let mut row = Row::default();
    let codes = ('a'..='c').flat_map(|a| ('a'..='z').map(move |b| format!("{a}{b}x")));
    for (ms, code) in (1..).zip(codes.take(limits::SEEN_MAX + 10)) {
        row = write_knowing(&row, stamp(ms, &code), false, 0);
    }
    let cover = row.covered();
    assert_eq!(cover.seen.len(), limits::SEEN_MAX);
    assert!(cover.covers(stamp(8, "zzz")) && !cover.covers(stamp(10, "zzz")));
}

#[test]
fn losers_of_a_key_that_is_fought_over_are_bounded() {
    let (mut fra, mut iad) = (Row::default(), Row::default());
    for ms in 1..100 {
        fra = write_knowing(&fra, stamp(10 * ms, "fra"), false, 0);
        iad = write_knowing(&iad, stamp(10 * ms, "iad"), false, 0);
        (fra, iad) = (join(&fra, iad.clone()), join(&iad, fra));
    }
    assert_eq!(fra, iad);
    let kept = kept(&fra);
    assert!(kept.len() <= limits::LOST_KEPT_MAX + 1, "{kept:?}");
    assert_eq!(kept[..3], [990, 980, 970]);
}

/// A row of which everything is written down: what was ever heard of, and what of that is over.
#[derive(Clone, Debug, Default)]
struct Model {
    heard: BTreeSet<Stamp>,
    over: BTreeSet<Stamp>,
}

impl Model {
    fn there(&self) -> Vec<Stamp> {
        self.heard.iter().rev().filter(|made| !self.over.contains(made)).copied().collect()
    }

    fn write(&mut self, at: Stamp) {
        self.over.extend(self.there().first());
        self.heard.insert(at);
    }

    fn join(&mut self, other: &Self) {
        self.heard.extend(&other.heard);
        self.over.extend(&other.over);
    }

    /// Every version before that one was heard of.
    fn known_ms(&self, all: &BTreeSet<Stamp>) -> u64 {
        all.difference(&self.heard).next().map_or(u64::MAX, |first| first.hlc.ms())
    }
}

proptest! {
    /// In whatever order regions write and hear of each other: what a writer saw at the top is over,
    /// and nothing else is.
    #[test]
    fn a_version_is_over_exactly_when_somebody_who_saw_it_on_top_wrote_over_it(
        steps in prop::collection::vec((0..4_usize, 0..4_usize, 0..3_u8), 1..24),
    ) {
        const REGIONS: [&str; 4] = ["fra", "iad", "nrt", "syd"];
        let mut rows: [(Row, Model); 4] = Default::default();
        let mut all = BTreeSet::new();
        for (n, (at, from, what)) in steps.into_iter().enumerate() {
            // Clocks go wrong by a little: the later write may have the smaller stamp.
            let ms = 10 * (n as u64 + 1) + 15 * (3 - at as u64);
            let (row, model) = rows[at].clone();
            rows[at] = if what == 0 && from != at {
                let (other, theirs) = &rows[from];
                let mut both = model;
                both.join(theirs);
                (join(&row, other.clone()), both)
            } else {
                let made = stamp(ms, REGIONS[at]);
                let made = made.max(Stamp { hlc: row.stamp().hlc.next(), ..made });
                // What may still be written is later than this.
                let known_ms = model.known_ms(&all).min(10 * (n as u64 + 1));
                let known_ms = if what == 1 { known_ms } else { 0 };
                let mut after = model;
                after.write(made);
                all.insert(made);
                let for_ever = Keeping { undo_ms: u64::MAX / 2, soft_delete_days: None };
                let over = over(&row, version(made, true), &for_ever, ms, known_ms);
                (join(&row, over), after)
            };
            let there: Vec<Stamp> = rows[at].0.versions.iter().map(|v| v.stamp).collect();
            prop_assert_eq!(there, rows[at].1.there());
        }
    }

    #[test]
    fn regions_that_write_and_end_in_any_order_come_to_the_same(
        steps in prop::collection::vec((0..3_usize, 0..4_u8, any::<bool>()), 1..40),
    ) {
        const REGIONS: [&str; 3] = ["fra", "iad", "nrt"];
        let mut rows = [Row::default(), Row::default(), Row::default()];
        for (n, (at, what, soft)) in steps.into_iter().enumerate() {
            let ms = 10 * (n as u64 + 1);
            rows[at] = match what {
                0 | 1 => write_knowing(&rows[at], stamp(ms, REGIONS[at]), soft, 0),
                2 => end(&rows[at], ms + UNDO / 2),
                _ => join(&rows[at], rows[(at + 1) % 3].clone()),
            };
            let newest = rows[at].versions.iter().find(|v| v.null).map(|v| v.stamp);
            prop_assert!(newest.is_none_or(|newest| rows[at].covered().floor < newest));
        }
        let one = join(&join(&rows[0], rows[1].clone()), rows[2].clone());
        let two = join(&join(&rows[2], rows[0].clone()), rows[1].clone());
        prop_assert_eq!(&one, &two);
        let ended = end(&end(&one, u64::MAX / 4), u64::MAX / 2);
        prop_assert_eq!(ended.kept().count(), 0);
        for row in rows {
            prop_assert_eq!(join(&ended, row), ended.clone());
        }
    }
}
