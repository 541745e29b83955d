//! What writes end and what of that is kept to be brought back: the undo window of losers of
//! concurrent writes, and soft delete.
//!
//! Invariant: a change made here only adds to a row's cover, so that it does no harm when two
//! regions make it, or one makes it twice.

use std::collections::BTreeMap;

use crate::limits;
use crate::types::kept::{Cover, Keeping, Spared, Why};
use crate::types::object::{Content, Row, Version};
use crate::types::stamp::{Hlc, Stamp};

use super::merge::canonical;

/// A null version over what is there: what it covers, as its bucket keeps it. Where everything is
/// known that was written until `known_ms`, nothing comes late below that.
pub fn over(row: &Row, version: Version, keeping: &Keeping, now_ms: u64, known_ms: u64) -> Row {
    let mut spared = kept_so_far(row, keeping, now_ms);
    if let (Some(soft_ms), Some(newest)) = (keeping.soft_ms(), row.versions.iter().find(|v| v.null))
        && matches!(newest.content, Content::Object(_))
    {
        let until_ms = now_ms.saturating_add(soft_ms);
        spared.insert(newest.stamp, Spared { until_ms, why: Why::Replaced });
    }
    bound(&mut spared);
    let mut cover = Cover { spared: BTreeMap::new(), ..row.covered() };
    row.versions.iter().filter(|v| v.null).for_each(|v| cover.see(v.stamp));
    settle(&mut cover, known_ms);
    // What the version says by itself must not reach what is kept, or itself.
    let mut replaces = cover.floor.min(below(version.stamp));
    if let Some((first, _)) = spared.first_key_value() {
        replaces = replaces.min(below(*first));
    }
    let cover = Cover { spared, ..cover };
    let row = Row { versions: vec![Version { replaces, ..version }], cover, ..Row::default() };
    canonical(row)
}

/// Nothing more is told apart where nothing comes late any more.
fn settle(cover: &mut Cover, known_ms: u64) {
    let known = |stamp: &Stamp| stamp.hlc.ms() < known_ms;
    if let Some(top) = cover.stamps_seen().filter(known).max() {
        cover.raise(top);
    }
    while cover.seen.len() > limits::SEEN_MAX {
        let Some(lowest) = cover.stamps_seen().min() else { break };
        cover.raise(lowest);
    }
}

/// What a row with several null versions says of them from now on: losers begin their undo window,
/// and what is kept for long enough ends. `None`: nothing is due. Losers are only looked at where
/// everything is known that was written until `known_ms`: another one may be on its way.
pub fn due(row: &Row, keeping: &Keeping, now_ms: u64, known_ms: u64) -> Option<Cover> {
    let now = row.covered();
    let newest = row.versions.iter().find(|v| v.null)?;
    let mut due = now.clone();
    due.spared.retain(|_, keep| keep.until_ms > now_ms);
    if newest.stamp.hlc.ms() < known_ms
        && let Some(top) = losers(row).map(|v| v.stamp).max()
    {
        due.raise(top);
        settle(&mut due, known_ms);
        due.spared.extend(new_losers(row, keeping, now_ms));
        bound(&mut due.spared);
    }
    (due != now).then_some(due)
}

/// The same row without this kept version; losers that were not noted yet begin their window.
pub fn without(row: &Row, version: Stamp, keeping: &Keeping, now_ms: u64) -> Cover {
    let mut cover = row.covered();
    losers(row).for_each(|v| cover.see(v.stamp));
    cover.spared = kept_so_far(row, keeping, now_ms);
    cover.spared.remove(&version);
    cover
}

/// Null versions that nobody who wrote later had seen; deletions among them.
pub fn losers(row: &Row) -> impl Iterator<Item = &Version> {
    let noted = |v: &&Version| row.cover.spared.contains_key(&v.stamp);
    row.versions.iter().filter(|v| v.null).skip(1).filter(move |v| !noted(v))
}

/// Whether something of this row has an end to be waited for.
pub fn is_watched(row: &Row) -> bool {
    !row.cover.spared.is_empty() || row.versions.iter().filter(|v| v.null).nth(1).is_some()
}

/// What is kept already, and the losers that were not noted yet.
fn kept_so_far(row: &Row, keeping: &Keeping, now_ms: u64) -> BTreeMap<Stamp, Spared> {
    let mut spared = row.cover.spared.clone();
    spared.retain(|_, keep| keep.until_ms > now_ms);
    spared.extend(new_losers(row, keeping, now_ms));
    spared
}

fn new_losers(row: &Row, keeping: &Keeping, now_ms: u64) -> impl Iterator<Item = (Stamp, Spared)> {
    let keep = Spared { until_ms: now_ms.saturating_add(keeping.lost_ms()), why: Why::Lost };
    let objects = losers(row).filter(|v| matches!(v.content, Content::Object(_)));
    objects.filter(move |_| keep.until_ms > now_ms).map(move |v| (v.stamp, keep))
}

fn bound(spared: &mut BTreeMap<Stamp, Spared>) {
    let lost: Vec<Stamp> =
        spared.iter().filter(|(_, keep)| keep.why == Why::Lost).map(|(stamp, _)| *stamp).collect();
    for stamp in lost.iter().rev().skip(limits::LOST_KEPT_MAX) {
        spared.remove(stamp);
    }
    while spared.len() > limits::KEPT_MAX {
        spared.pop_first();
    }
}

/// A stamp below this one.
fn below(stamp: Stamp) -> Stamp {
    Stamp { hlc: Hlc(stamp.hlc.0.saturating_sub(1)), ..stamp }
}

#[cfg(test)]
#[path = "undo_tests.rs"]
mod tests;
