//! Lists of objects.
//!
//! Invariant: a list shows what this region's index holds, one consistent state for each page; in
//! the region that took a write, every later list shows it.

use std::ops::Bound;
use std::sync::Arc;

use crate::limits;
use crate::logic::listing::{self, Cursor, Entry, Query};
use crate::logic::versions;
use crate::types::name::{AccountId, BucketName, ObjectKey};
use crate::types::object::{ObjectMeta, Row};

use super::index::Rows;
use super::version::VersionRef;
use super::{Engine, Error};

/// One page of a bucket's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListObjects {
    pub bucket: BucketName,
    pub query: Query,
}

/// Keys and common prefixes.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectsPage {
    pub entries: Vec<Entry<Arc<ObjectMeta>>>,
    /// Where the next page goes on; `None` on the last.
    pub next: Option<String>,
}

/// One page of a bucket's versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListVersions {
    pub bucket: BucketName,
    /// With the key marker as `after`.
    pub query: Query,
    /// Only versions of the marker's key that are older than this one, and later keys.
    pub within: Option<VersionRef>,
}

/// Versions and common prefixes, and whose the bucket is.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionsPage {
    pub page: versions::Page,
    pub owner: AccountId,
}

impl Engine {
    pub async fn list_versions(&self, list: ListVersions) -> Result<VersionsPage, Error> {
        let config = self.bucket(&list.bucket).await?;
        let (mut query, bucket) = (list.query, config.id);
        query.max = query.max.min(limits::LIST_KEYS_MAX);
        let within = match (list.within, query.after.as_deref().map(ObjectKey::parse)) {
            (Some(VersionRef::Exact(stamp)), _) => Some(stamp),
            (Some(version @ VersionRef::Null), Some(Ok(key))) => {
                let row = self.row(&config, &key).await?;
                version.find(&row).map(|v| v.stamp)
            }
            (Some(VersionRef::Null | VersionRef::Current) | None, _) => None,
        };
        let page = self.look(move |snapshot| {
            versions::page(&query, within, &mut AllRows(Rows::new(snapshot, bucket)))
        });
        Ok(VersionsPage { page: page.await?, owner: config.owner.clone() })
    }

    pub async fn list_objects(&self, list: ListObjects) -> Result<ObjectsPage, Error> {
        let config = self.bucket(&list.bucket).await?;
        let mut query = list.query;
        query.max = query.max.min(limits::LIST_KEYS_MAX);
        let bucket = config.id;
        let page = self.look(move |snapshot| {
            listing::page(&query, &mut Objects { rows: Rows::new(snapshot, bucket) })
        });
        let page = page.await?;
        Ok(ObjectsPage { next: page.next().map(str::to_owned), entries: page.entries })
    }
}

/// The rows of a bucket that readers see.
struct Objects<'a> {
    rows: Rows<'a>,
}

impl Cursor for Objects<'_> {
    type Item = Arc<ObjectMeta>;
    type Error = Error;

    fn seek(&mut self, from: Bound<&ObjectKey>) {
        self.rows.seek(from);
    }

    fn next(&mut self) -> Result<Option<(ObjectKey, Self::Item)>, Error> {
        while let Some((key, row)) = self.rows.next()? {
            if let Some((_, meta)) = row.object() {
                return Ok(Some((key, meta.clone())));
            }
        }
        Ok(None)
    }
}

/// The rows of a bucket as they are.
struct AllRows<'a>(Rows<'a>);

impl Cursor for AllRows<'_> {
    type Item = Row;
    type Error = Error;

    fn seek(&mut self, from: Bound<&ObjectKey>) {
        self.0.seek(from);
    }

    fn next(&mut self) -> Result<Option<(ObjectKey, Self::Item)>, Error> {
        self.0.next()
    }
}
