//! Which version of a key is meant, and how versions are named.
//!
//! Invariant: a version that was made while its bucket was versioned is named by its stamp, every
//! other one is `null`.

use std::sync::Arc;

use crate::types::bucket::Versioning;
use crate::types::object::{Content, ObjectMeta, Row, Version};
use crate::types::stamp::Stamp;

use super::Error;

/// A version as a client names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionRef {
    /// Whatever is the newest.
    #[default]
    Current,
    /// The one that was made without versioning.
    Null,
    Exact(Stamp),
}

impl VersionRef {
    /// The id that was given; none for the current version.
    pub fn id(self) -> Option<String> {
        match self {
            Self::Current => None,
            Self::Null => Some("null".to_owned()),
            Self::Exact(stamp) => Some(stamp.to_string()),
        }
    }

    /// The version among those that readers see, delete markers too.
    pub(super) fn find(self, row: &Row) -> Option<&Version> {
        match self {
            Self::Current => row.visible().next(),
            Self::Null => row.visible().find(|v| v.null),
            Self::Exact(stamp) => row.visible().find(|v| !v.null && v.stamp == stamp),
        }
    }

    /// The version, which must be an object.
    pub(super) fn object(self, row: &Row) -> Result<(&Version, &Arc<ObjectMeta>), Error> {
        let Some(version) = self.find(row) else {
            return Err(match self {
                Self::Current => Error::NoSuchKey,
                Self::Null | Self::Exact(_) => Error::NoSuchVersion,
            });
        };
        match &version.content {
            Content::Object(meta) => Ok((version, meta)),
            Content::Marker | Content::Tombstone => Err(Error::DeleteMarker {
                version_id: id_of(version),
                modified_ms: version.made_ms(),
                asked_for: self != Self::Current,
            }),
        }
    }
}

/// The id of a version.
pub fn id_of(version: &Version) -> String {
    if version.null { "null".to_owned() } else { version.stamp.to_string() }
}

/// The id of a version that was made just now; none in a bucket that never had versions.
pub(super) fn id_made(versioning: Versioning, stamp: Stamp) -> Option<String> {
    match versioning {
        Versioning::Off => None,
        Versioning::Enabled => Some(stamp.to_string()),
        Versioning::Suspended => Some("null".to_owned()),
    }
}

/// The id that the answer to a write says: while versioning is suspended none, as clients expect.
pub(super) fn id_stored(versioning: Versioning, stamp: Stamp) -> Option<String> {
    id_made(versioning, stamp).filter(|_| versioning == Versioning::Enabled)
}

/// The id of a version as answers about it say it.
pub(super) fn id_shown(versioning: Versioning, version: &Version) -> Option<String> {
    (versioning != Versioning::Off).then(|| id_of(version))
}
