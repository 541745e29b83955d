//! What is kept of a row, and when it ends.

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

fn write(row: &Row, at: Stamp, soft: bool) -> Row {
    join(row, over(row, version(at, true), &keeping(soft), at.hlc.ms()))
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
    let gone = over(&row, version(stamp(40, "fra"), false), &keeping(true), 40);
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

proptest! {
    #[test]
    fn regions_that_write_and_end_in_any_order_come_to_the_same(
        steps in prop::collection::vec((0..3_usize, 0..4_u8, any::<bool>()), 1..40),
    ) {
        const REGIONS: [&str; 3] = ["fra", "iad", "nrt"];
        let mut rows = [Row::default(), Row::default(), Row::default()];
        for (n, (at, what, soft)) in steps.into_iter().enumerate() {
            let ms = 10 * (n as u64 + 1);
            rows[at] = match what {
                0 | 1 => write(&rows[at], stamp(ms, REGIONS[at]), soft),
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
