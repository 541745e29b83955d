//! What lifecycle rules change of one key, decided inside the store's writer.
//!
//! Invariant: the deletion of a current version is stamped just after the version that was judged,
//! so that whatever was written since, anywhere, is above it and stays; its marks say when it was
//! made. A version that is erased is named by its stamp alone. So it does no harm when two regions
//! do the same, or one does it twice.

use crate::engine::Place;
use crate::engine::delete::without;
use crate::logic::lifecycle::{self, Day, Deed};
use crate::logic::lock;
use crate::types::lifecycle::Lifecycle;
use crate::types::name::ObjectKey;
use crate::types::object::{Mark, Row, Version};
use crate::types::stamp::Stamp;

/// What rules are judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) day: Day,
    pub(super) now_ms: u64,
    /// Everything that was written until then, anywhere, is known here.
    pub(super) known_ms: u64,
}

/// A version of a row and what is due of it.
pub(super) struct DueVersion<'a> {
    pub(super) deed: Deed,
    pub(super) version: &'a Version,
}

impl DueVersion<'_> {
    /// Not before it is known what a delete marker hides: a version that comes later would show.
    pub(super) fn is_known(&self, clock: Clock) -> bool {
        match self.deed {
            Deed::Expire(_) | Deed::Erase(_) => true,
            Deed::Unmark(_) => self.version.made_ms() <= clock.known_ms,
        }
    }
}

/// What is due of a key and no lock forbids.
pub(super) fn due<'a>(
    rules: &Lifecycle,
    clock: Clock,
    key: &ObjectKey,
    row: &'a Row,
) -> Vec<DueVersion<'a>> {
    let deeds = lifecycle::judge(rules, clock.day, key.as_str(), row, clock.now_ms);
    let due = deeds.into_iter().filter_map(|deed| {
        let (Deed::Expire(stamp) | Deed::Erase(stamp) | Deed::Unmark(stamp)) = deed;
        let version = row.versions.iter().find(|v| v.stamp == stamp)?;
        let free = match deed {
            // In a bucket with locks this only hides the object.
            Deed::Expire(_) => true,
            Deed::Erase(_) | Deed::Unmark(_) => gone_with(row, version)
                .all(|v| lock::may_erase(&v.marks, clock.now_ms, false).is_ok()),
        };
        free.then_some(DueVersion { deed, version })
    });
    due.collect()
}

/// The row that does this to what is there now. `stamp` is that of the change.
pub(super) fn changed(row: &Row, due: &[DueVersion<'_>], place: &Place, stamp: Stamp) -> Row {
    let mut change = Row::default();
    for DueVersion { deed, version } in due {
        let done = match deed {
            Deed::Expire(_) => hiding(row, place, stamp),
            Deed::Erase(_) | Deed::Unmark(_) => without(row, gone_with(row, version), stamp),
        };
        change.versions.extend(done.versions);
        change.erased.extend(done.erased);
        change.cover = change.cover.union(&done.cover);
    }
    change
}

/// The versions that go with one: the losers of concurrent writes with the null version, else one of
/// them would come forth.
fn gone_with<'a>(row: &'a Row, version: &Version) -> impl Iterator<Item = &'a Version> {
    let (null, stamp) = (version.null, version.stamp);
    row.versions.iter().filter(move |v| if null { v.null } else { v.stamp == stamp })
}

/// The tombstone or delete marker just above everything that the row has.
fn hiding(row: &Row, place: &Place, stamp: Stamp) -> Row {
    let top = row.versions.first().map_or(Stamp::ZERO, |v| v.stamp);
    let mut at = Stamp { hlc: top.hlc.next(), region: stamp.region };
    // A marker that was put there before and erased does not come back.
    while row.erased.contains_key(&at) {
        at.hlc = at.hlc.next();
    }
    let mut hidden = place.delete_at(row, at, stamp.hlc.ms());
    for version in &mut hidden.versions {
        version.marks.tags = Mark { val: Vec::new(), marker: stamp };
    }
    hidden
}
