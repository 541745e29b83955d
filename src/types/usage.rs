//! How much is in a bucket.

use serde::{Deserialize, Serialize};

use super::object::Row;

/// Counts over the rows of a bucket, of what readers see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Keys that a plain list shows.
    pub objects: u64,
    /// Versions of objects, and delete markers.
    pub versions: u64,
    /// Of all versions.
    pub bytes: u64,
}

impl Usage {
    /// What one row adds.
    pub fn of(row: &Row) -> Self {
        let mut usage = Self { objects: u64::from(row.object().is_some()), ..Self::default() };
        for version in row.visible() {
            usage.versions += 1;
            usage.bytes += version.object().map_or(0, |meta| meta.size);
        }
        usage
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            objects: self.objects + other.objects,
            versions: self.versions + other.versions,
            bytes: self.bytes + other.bytes,
        }
    }

    /// `None` where `other` is no part of this.
    pub fn minus(self, other: Self) -> Option<Self> {
        Some(Self {
            objects: self.objects.checked_sub(other.objects)?,
            versions: self.versions.checked_sub(other.versions)?,
            bytes: self.bytes.checked_sub(other.bytes)?,
        })
    }
}

/// What a bucket may grow to; `None`: without end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Of all versions.
    pub bytes: Option<u64>,
    /// Keys that a plain list shows.
    pub objects: Option<u64>,
}

impl Quota {
    /// What is left of it; nothing where more is there already.
    #[must_use]
    pub fn left(self, used: Usage) -> Self {
        Self {
            bytes: self.bytes.map(|bytes| bytes.saturating_sub(used.bytes)),
            objects: self.objects.map(|objects| objects.saturating_sub(used.objects)),
        }
    }

    /// Whether so much more is within it.
    pub fn allows(self, more: Usage) -> bool {
        self.bytes.is_none_or(|bytes| more.bytes <= bytes)
            && self.objects.is_none_or(|objects| more.objects <= objects)
    }
}
