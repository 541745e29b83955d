//! Lists of objects.
//!
//! Invariant: a list shows what this region's index holds, one consistent state for each page; in
//! the region that took a write, every later list shows it. Where one order is asked for, the index
//! first learns what the registers of the page's keys had chosen.

use std::ops::Bound;
use std::sync::Arc;

use crate::cluster::KeyRange;
use crate::limits;
use crate::logic::listing::{self, Cursor, Entry, Query};
use crate::logic::versions;
use crate::store::Snapshot;
use crate::types::bucket::BucketConfig;
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
            (Some(VersionRef::Exact(stamp)), key) => {
                if let Some(Ok(key)) = key.filter(|_| self.is_linearizable(&config)) {
                    // Its other versions are on this page, and it is not in the page's range.
                    self.row(&config, &key).await?;
                }
                Some(stamp)
            }
            (Some(version @ VersionRef::Null), Some(Ok(key))) => {
                let row = self.row(&config, &key).await?;
                version.find(&row).map(|v| v.stamp)
            }
            (Some(VersionRef::Null | VersionRef::Current) | None, _) => None,
        };
        let asked = query.clone();
        let page = move |snapshot: &Snapshot| {
            versions::page(&query, within, &mut AllRows(Rows::new(snapshot, bucket)))
        };
        let end = |page: &versions::Page| page.next.as_ref().map(|next| next.key.clone());
        let page = self.page(&config, &asked, page, end).await?;
        Ok(VersionsPage { page, owner: config.owner.clone() })
    }

    pub async fn list_objects(&self, list: ListObjects) -> Result<ObjectsPage, Error> {
        let config = self.bucket(&list.bucket).await?;
        let mut query = list.query;
        query.max = query.max.min(limits::LIST_KEYS_MAX);
        let (asked, bucket) = (query.clone(), config.id);
        let page = move |snapshot: &Snapshot| {
            listing::page(&query, &mut Objects { rows: Rows::new(snapshot, bucket) })
        };
        let end = |page: &listing::Page<_>| page.next().map(str::to_owned);
        let page = self.page(&config, &asked, page, end).await?;
        Ok(ObjectsPage { next: page.next().map(str::to_owned), entries: page.entries })
    }

    /// A page of this region's index; where a list has its place in the one order that all regions
    /// see, one that is computed after everything in its range was learnt.
    async fn page<P: Send + 'static>(
        &self,
        config: &BucketConfig,
        query: &Query,
        page: impl Fn(&Snapshot) -> Result<P, Error> + Clone + Send + 'static,
        end: impl Fn(&P) -> Option<String>,
    ) -> Result<P, Error> {
        let mut found = self.look(page.clone()).await?;
        if !self.is_linearizable(config) || query.max == 0 {
            return Ok(found);
        }
        for round in 1..=limits::LIST_FRESH_ROUNDS {
            // The last time all that can follow is learnt, so that the page ends within it.
            let until = end(&found).filter(|_| round < limits::LIST_FRESH_ROUNDS);
            let (prefix, after) = (query.prefix.clone(), query.after.clone());
            let range = KeyRange { bucket: config.id, prefix, after, until };
            self.cluster.freshen(range.clone()).await?;
            found = self.look(page.clone()).await?;
            let within = match end(&found) {
                Some(end) => range.reaches(&end),
                None => range.until.is_none(),
            };
            if within {
                break;
            }
        }
        Ok(found)
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
