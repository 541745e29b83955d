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

/// A null version over what is there: what it covers, as its bucket keeps it.
pub fn over(row: &Row, version: Version, keeping: &Keeping, now_ms: u64) -> Row {
    let floor = row.null_stamp();
    let mut spared = kept_so_far(row, keeping, now_ms);
    if let (Some(soft_ms), Some(newest)) = (keeping.soft_ms(), row.versions.iter().find(|v| v.null))
        && matches!(newest.content, Content::Object(_))
    {
        let until_ms = now_ms.saturating_add(soft_ms);
        spared.insert(newest.stamp, Spared { until_ms, why: Why::Replaced });
    }
    bound(&mut spared);
    let (replaces, cover) = match spared.first_key_value() {
        None => (floor, Cover::default()),
        // What the version says by itself must not reach what is kept.
        Some((first, _)) => (below(*first).min(floor), Cover { floor, spared }),
    };
    assert!(replaces < version.stamp, "a version replaces older ones only");
    Row { versions: vec![Version { replaces, ..version }], cover, ..Row::default() }
}

/// What a row with several null versions says of them from now on: losers begin their undo window,
/// and what is kept for long enough ends. `None`: nothing is due. Losers are only looked at where
/// everything is known that was written until `known_ms`: another one may be on its way.
pub fn due(row: &Row, keeping: &Keeping, now_ms: u64, known_ms: u64) -> Option<Cover> {
    let now = row.covered();
    let newest = row.versions.iter().find(|v| v.null)?;
    let mut spared = now.spared.clone();
    spared.retain(|_, keep| keep.until_ms > now_ms);
    let mut floor = now.floor;
    if newest.stamp.hlc.ms() < known_ms
        && let Some(top) = losers(row).map(|v| v.stamp).max()
    {
        floor = top;
        spared.extend(new_losers(row, keeping, now_ms));
        bound(&mut spared);
    }
    let due = Cover { floor, spared };
    (due != now).then_some(due)
}

/// The same row without this kept version; losers that were not noted yet begin their window.
pub fn without(row: &Row, version: Stamp, keeping: &Keeping, now_ms: u64) -> Cover {
    let top = losers(row).map(|v| v.stamp).max();
    let floor = row.covered().floor.max(top.unwrap_or(Stamp::ZERO));
    let mut spared = kept_so_far(row, keeping, now_ms);
    spared.remove(&version);
    Cover { floor, spared }
}

/// Null versions that nobody who wrote later had seen; deletions among them.
pub fn losers(row: &Row) -> impl Iterator<Item = &Version> {
    let floor = row.covered().floor;
    row.versions.iter().filter(|v| v.null).skip(1).filter(move |v| v.stamp > floor)
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
