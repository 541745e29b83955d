//! Which events a change of a row is.
//!
//! Invariant: what was known before is no event, so that a change that is applied a second time
//! tells nothing.

use crate::types::event::{Cause, EventKind};
use crate::types::object::{Content, ETag, Marks, Row, Version};
use crate::types::stamp::Stamp;

/// A change as its maker knows it.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub stamp: Stamp,
    pub cause: Cause,
    /// It ends a multipart upload.
    pub completes: bool,
}

/// One thing that happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    pub kind: EventKind,
    pub size: Option<u64>,
    pub etag: Option<ETag>,
    /// The version that it happened to, by its stamp; `None` for the null version.
    pub version: Option<Stamp>,
}

impl Happened {
    fn to(kind: EventKind, version: &Version) -> Self {
        let object = version.object();
        Self {
            kind,
            size: object.map(|meta| meta.size),
            etag: object.map(|meta| meta.etag.clone()),
            version: (!version.null).then_some(version.stamp),
        }
    }
}

/// What a change does to a key: `before` is its row as it was, `made` what the change brings.
pub fn of(change: Change, before: Option<&Row>, made: &Row) -> Vec<Happened> {
    let empty = Row::default();
    let before = before.unwrap_or(&empty);
    let mut happened = Vec::new();
    for version in &made.versions {
        let known = before.versions.iter().find(|v| v.stamp == version.stamp);
        match known {
            // A lifecycle rule stamps a deletion just after what it deletes; its marks say when.
            None if version.stamp.max(version.marks.stamp()) == change.stamp => {
                let kind = born(change, before, version);
                happened.extend(kind.map(|kind| Happened::to(kind, version)));
            }
            None => {}
            Some(known) => {
                let kinds = marked(change.stamp, &known.marks, &version.marks);
                happened.extend(kinds.map(|kind| Happened::to(kind, version)));
            }
        }
    }
    happened.extend(erased(change, before, made));
    happened
}

fn born(change: Change, before: &Row, version: &Version) -> Option<EventKind> {
    let expires = change.cause == Cause::Expiration;
    match version.content {
        Content::Object(_) if change.completes => Some(EventKind::Completed),
        Content::Object(_) => Some(match change.cause {
            Cause::Copy => EventKind::Copied,
            Cause::Form => EventKind::Posted,
            Cause::Rename => EventKind::Renamed,
            Cause::Expiration | Cause::Plain => EventKind::Put,
        }),
        Content::Marker if expires => Some(EventKind::ExpiredByMarker),
        Content::Marker => Some(EventKind::MarkerMade),
        // To delete what is not there is no event.
        Content::Tombstone if before.object().is_none() => None,
        Content::Tombstone if expires => Some(EventKind::Expired),
        Content::Tombstone => Some(EventKind::Deleted),
    }
}

fn marked(stamp: Stamp, known: &Marks, made: &Marks) -> impl Iterator<Item = EventKind> {
    let new = |known: Stamp, made: Stamp| made == stamp && known != stamp;
    let kind = if made.tags.val.is_empty() { EventKind::TagsDeleted } else { EventKind::TagsPut };
    let tags = new(known.tags.marker, made.tags.marker).then_some(kind);
    let acl = new(known.acl.marker, made.acl.marker).then_some(EventKind::AclPut);
    tags.into_iter().chain(acl)
}

/// Versions that were deleted for good. With the null version go the losers of concurrent writes,
/// which is one event.
fn erased(change: Change, before: &Row, made: &Row) -> Vec<Happened> {
    let kind = match change.cause {
        Cause::Expiration => EventKind::Expired,
        Cause::Copy | Cause::Form | Cause::Plain | Cause::Rename => EventKind::Deleted,
    };
    let is_null = |stamp: &Stamp| before.versions.iter().any(|v| v.stamp == *stamp && v.null);
    let now = made
        .erased
        .iter()
        .filter(|(stamp, erased)| erased.at == change.stamp && !before.erased.contains_key(stamp));
    let mut versions: Vec<Option<Stamp>> =
        now.map(|(stamp, _)| (!is_null(stamp)).then_some(*stamp)).collect();
    versions.sort_unstable();
    versions.dedup();
    let erased = |version| Happened { kind, size: None, etag: None, version };
    versions.into_iter().map(erased).collect()
}
