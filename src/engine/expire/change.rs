//! What lifecycle rules change of one key, decided inside the store's writer.
//!
//! Invariant: the deletion of a current version is stamped just after the version that was judged,
//! so that whatever was written since, anywhere, is above it and stays; its marks say when it was
//! made. A version that is erased is named by its stamp alone. So it does no harm when two regions
//! do the same, or one does it twice.

use crate::engine::delete::deletion;
use crate::logic::lifecycle::{self, Day, Deed};
use crate::logic::lock;
use crate::types::bucket::Versioning;
use crate::types::lifecycle::Lifecycle;
use crate::types::name::ObjectKey;
use crate::types::object::{Content, Erased, Mark, Row, Version};
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
pub(super) fn changed(
    row: &Row,
    due: &[DueVersion<'_>],
    versioning: Versioning,
    stamp: Stamp,
) -> Row {
    let mut change = Row::default();
    for DueVersion { deed, version } in due {
        match deed {
            Deed::Expire(_) => change.versions.push(hiding(row, versioning, stamp)),
            Deed::Erase(_) | Deed::Unmark(_) => {
                change.erased.extend(gone_with(row, version).map(|v| {
                    let replaces = if v.null { v.replaces } else { Stamp::ZERO };
                    (v.stamp, Erased { at: stamp, replaces })
                }));
            }
        }
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
fn hiding(row: &Row, versioning: Versioning, stamp: Stamp) -> Version {
    let top = row.versions.first().map_or(Stamp::ZERO, |v| v.stamp);
    let mut at = Stamp { hlc: top.hlc.next(), region: stamp.region };
    // A marker that was put there before and erased does not come back.
    while row.erased.contains_key(&at) {
        at.hlc = at.hlc.next();
    }
    let (content, null, replaces) = match versioning {
        Versioning::Off => (Content::Tombstone, true, row.null_stamp()),
        Versioning::Enabled => (Content::Marker, false, Stamp::ZERO),
        Versioning::Suspended => (Content::Marker, true, row.null_stamp()),
    };
    let mut versions = deletion(content, null, replaces, at).versions;
    let mut version = versions.pop().expect("a deletion is one version");
    version.marks.tags = Mark { val: Vec::new(), marker: stamp };
    version
}
