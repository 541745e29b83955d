//! Merging two states of one record: commutative, associative, idempotent, and never going back.

use crate::types::kept::Cover;
use crate::types::members::Members;
use crate::types::object::{Placement, Row, Version};
use crate::types::record::Record;

/// A state after a merge.
#[derive(Clone, Debug)]
pub struct Merge {
    pub record: Record,
    /// It is another than the local one was.
    pub changed: bool,
}

/// The state that knows what both know. Records of different kinds never meet: the local one stays.
pub fn merge(local: Option<Record>, incoming: Record) -> Merge {
    let Some(local) = local else { return Merge { record: first(incoming), changed: true } };
    match (local, incoming) {
        (Record::Row(local), Record::Row(incoming)) => {
            let merged = rows(&local, incoming);
            let changed = merged != local;
            Merge { record: Record::Row(merged), changed }
        }
        (Record::Bucket(local), Record::Bucket(incoming)) => {
            let mut merged = local.clone();
            merged.merge(*incoming);
            let changed = merged != local;
            Merge { record: Record::Bucket(merged), changed }
        }
        (Record::Name(local), Record::Name(incoming)) => {
            let changed = incoming.stamp > local.stamp;
            Merge { record: Record::Name(if changed { incoming } else { local }), changed }
        }
        (Record::AccessKey(local), Record::AccessKey(incoming)) => {
            let changed = incoming.stamp > local.stamp;
            Merge { record: Record::AccessKey(if changed { incoming } else { local }), changed }
        }
        (Record::Upload(local), Record::Upload(incoming)) => {
            let changed = (&incoming.state, incoming.stamp) > (&local.state, local.stamp);
            Merge { record: Record::Upload(if changed { incoming } else { local }), changed }
        }
        (Record::Part(local), Record::Part(incoming)) => {
            let changed = incoming.stamp > local.stamp;
            Merge { record: Record::Part(if changed { incoming } else { local }), changed }
        }
        (Record::Members(local), Record::Members(incoming)) => {
            // An operator's way out leaps over versions that were stamped later elsewhere.
            let order = |members: &Members| (members.version, members.stamp);
            let changed = order(&incoming) > order(&local);
            Merge { record: Record::Members(if changed { incoming } else { local }), changed }
        }
        (local, _) => Merge { record: local, changed: false },
    }
}

/// The first state that is known of a record. A row in no order is put in order, so that replicas
/// that learnt the same by different ways have the same.
fn first(incoming: Record) -> Record {
    match incoming {
        Record::Row(row) => Record::Row(rows(&Row::default(), row)),
        Record::Bucket(_)
        | Record::Name(_)
        | Record::AccessKey(_)
        | Record::Members(_)
        | Record::Upload(_)
        | Record::Part(_) => incoming,
    }
}

/// The merge of two states of one row.
pub(super) fn rows(local: &Row, incoming: Row) -> Row {
    // What an erased version replaced does not come back, whichever of both is learnt first.
    let mut cover = local.covered().union(&incoming.covered());
    let mut erased = local.erased.clone();
    for (version, theirs) in incoming.erased {
        let known = erased.entry(version).or_insert(theirs);
        known.at = known.at.max(theirs.at);
    }
    let mut all = local.versions.clone();
    for version in incoming.versions {
        match all.iter_mut().find(|known| known.stamp == version.stamp) {
            Some(known) => {
                placements(&mut known.placement, version.placement);
                known.marks.merge(version.marks);
            }
            None => all.push(version),
        }
    }
    let gone = |v: &Version| erased.contains_key(&v.stamp) || (v.null && cover.covers(v.stamp));
    let mut versions: Vec<Version> = all.into_iter().filter(|v| !gone(v)).collect();
    versions.sort_by_key(|v| std::cmp::Reverse(v.stamp));
    cover.spared.retain(|stamp, _| !erased.contains_key(stamp));
    canonical(Row { versions, erased, cover })
}

/// Replicas that know the same have the same: a cover that says no more than the rest is left out.
pub(super) fn canonical(row: Row) -> Row {
    let rest = Row { cover: Cover::default(), ..row };
    let cover = if rest.covered() == row.cover { Cover::default() } else { row.cover };
    Row { cover, ..rest }
}

fn placements(known: &mut Placement, incoming: Placement) {
    for (region, holding) in incoming.holders {
        let entry = known.holders.entry(region).or_insert(holding);
        if (holding.counter, holding.state) > (entry.counter, entry.state) {
            *entry = holding;
        }
    }
    known.primary = known.primary.max(incoming.primary);
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
