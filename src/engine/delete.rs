//! Deletes: one key, or many as one change.
//!
//! Invariant: a delete writes a tombstone even where nothing is known of the key, because a write
//! made elsewhere earlier may still be on its way here, and the delete must win over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::cluster::{View, Write};
use crate::limits;
use crate::logic::lock;
use crate::logic::precondition::{Conditions, ETagMatch};
use crate::types::bucket::Versioning;
use crate::types::kept::Cover;
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::{Content, Erased, Marks, Placement, Row, Version};
use crate::types::record::{Record, RecordId};
use crate::types::stamp::Stamp;

use super::lock::locked;
use super::version::{VersionRef, id_made};
use super::{Engine, Error, Place, above, judge};

/// One key of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    pub key: ObjectKey,
    pub version: VersionRef,
    /// Only the object with this entity tag.
    pub etag: Option<String>,
    /// Ends a governance retention.
    pub bypass: bool,
}

/// What a delete did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// It made a delete marker, or removed one for good.
    pub marker: bool,
    /// The version that it made or removed, where the bucket has or had versions.
    pub version_id: Option<String>,
}

/// What became of one key of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionOutcome {
    pub key: ObjectKey,
    pub version: VersionRef,
    pub result: Result<Deleted, Error>,
}

impl Engine {
    /// Deletes a key, or one version of it for good; `bypass` ends a governance retention. One that
    /// is not there is deleted too, unless a condition asks for it.
    pub async fn delete_object(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: VersionRef,
        conditions: Conditions,
        bypass: bool,
    ) -> Result<Deleted, Error> {
        let place = self.place(bucket).await?;
        let versioning = place.config.versioning;
        if version != VersionRef::Current && versioning != Versioning::Off {
            return self.erase(place, key, version, conditions, bypass).await;
        }
        if let VersionRef::Exact(_) = version {
            // No version of a bucket without versions has an id but `null`.
            return Err(Error::NoSuchVersion);
        }
        self.bury(place, vec![key.clone()], conditions).await
    }

    /// Deletes many keys: those without a condition as one change set, the others one by one.
    pub async fn delete_objects(
        &self,
        bucket: &BucketName,
        deletions: Vec<Deletion>,
    ) -> Result<Vec<DeletionOutcome>, Error> {
        if deletions.is_empty() || deletions.len() > limits::DELETE_KEYS_MAX {
            let max = limits::DELETE_KEYS_MAX;
            return Err(Error::InvalidArgument(format!("a batch has 1 to {max} keys")));
        }
        let place = self.place(bucket).await?;
        let one_by_one = self.is_linearizable(&place.config);
        let together =
            |d: &Deletion| d.etag.is_none() && d.version == VersionRef::Current && !one_by_one;
        let mut plain: Vec<ObjectKey> =
            deletions.iter().filter(|d| together(d)).map(|d| d.key.clone()).collect();
        plain.sort_unstable();
        plain.dedup();
        let buried = match plain.is_empty() {
            true => Ok(Deleted::default()),
            false => self.bury(place, plain, Conditions::default()).await,
        };
        let one = |deletion: Deletion| {
            let buried = together(&deletion).then(|| buried.clone());
            async move {
                let result = match buried {
                    Some(buried) => buried,
                    None => self.delete_exactly(bucket, &deletion).await,
                };
                let Deletion { key, version, .. } = deletion;
                DeletionOutcome { key, version, result }
            }
        };
        let outcomes = stream::iter(deletions).map(one).buffered(limits::DELETES_AT_ONCE);
        Ok(outcomes.collect().await)
    }

    async fn delete_exactly(
        &self,
        bucket: &BucketName,
        deletion: &Deletion,
    ) -> Result<Deleted, Error> {
        let if_match = deletion.etag.clone().map(|etag| ETagMatch::OneOf(vec![etag]));
        let conditions = Conditions { if_match, ..Conditions::default() };
        let Deletion { key, version, bypass, .. } = deletion;
        self.delete_object(bucket, key, *version, conditions, *bypass).await
    }

    /// Puts tombstones or delete markers over keys.
    async fn bury(
        &self,
        place: Place,
        keys: Vec<ObjectKey>,
        conditions: Conditions,
    ) -> Result<Deleted, Error> {
        let (config, subject) = (place.config.clone(), self.newest(&place, &keys).await?);
        let keys: Arc<[ObjectKey]> = keys.into();
        let is_conditional = !conditions.is_empty();
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            let mut records = Vec::with_capacity(keys.len());
            for key in keys.iter() {
                let row = place.row(view, key)?;
                judge(&conditions, &row)?;
                above(stamp, &row)?;
                let row = place.delete(&row, stamp);
                records.push((place.row_id(key), Record::Row(row)));
            }
            Ok(records)
        });
        let write = Write { subject, bodies: Vec::new(), decide };
        let written = self.write_if(&config, write, is_conditional).await?;
        let version_id = id_made(config.versioning, written.stamp);
        Ok(Deleted { marker: version_id.is_some(), version_id })
    }

    /// Removes one version for good.
    async fn erase(
        &self,
        place: Place,
        key: &ObjectKey,
        version: VersionRef,
        conditions: Conditions,
        bypass: bool,
    ) -> Result<Deleted, Error> {
        let now_ms = self.env().now_ms();
        let (config, key) = (place.config.clone(), key.clone());
        let subject = place.row_id(&key);
        if config.lock.is_some() {
            self.learn_locks(&config, &subject).await?;
        }
        let row = self.row_with(&config, &key, version).await?;
        let version_id = match version {
            VersionRef::Exact(stamp) => stamp.to_string(),
            VersionRef::Null | VersionRef::Current => "null".to_owned(),
        };
        let Some(found) = version.find(&row) else {
            return Ok(Deleted { marker: false, version_id: Some(version_id) });
        };
        let marker = matches!(found.content, Content::Marker);
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            let row = place.row(view, &key)?;
            judge(&conditions, &row)?;
            above(stamp, &row)?;
            // The losers of concurrent writes go with the null version; else one would come forth.
            let gone = |v: &&Version| match version {
                VersionRef::Exact(exact) => !v.null && v.stamp == exact,
                VersionRef::Null | VersionRef::Current => v.null,
            };
            for version in row.versions.iter().filter(gone) {
                lock::may_erase(&version.marks, now_ms, bypass).map_err(locked)?;
            }
            let row = without(&row, row.versions.iter().filter(gone), stamp);
            if row.erased.is_empty() {
                return Ok(Vec::new());
            }
            Ok(vec![(place.row_id(&key), Record::Row(row))])
        });
        self.write(&config, Write { subject, bodies: Vec::new(), decide }).await?;
        Ok(Deleted { marker, version_id: Some(version_id) })
    }

    /// The row with the largest stamp: the floor of a change of all of them.
    pub(super) async fn newest(
        &self,
        place: &Place,
        keys: &[ObjectKey],
    ) -> Result<RecordId, Error> {
        let first = keys.first().expect("callers give at least one key");
        if keys.len() == 1 {
            return Ok(place.row_id(first));
        }
        let keys = keys.to_vec();
        let stamps = self.local_stamps(place.config.id, keys).await?;
        Ok(stamps
            .into_iter()
            .max()
            .map_or_else(|| place.row_id(first), |(_, key)| place.row_id(&key)))
    }
}

impl Place {
    /// The row that deletes what was there, as its bucket does it.
    pub(super) fn delete(&self, row: &Row, stamp: Stamp) -> Row {
        self.delete_at(row, stamp, stamp.hlc.ms())
    }

    /// The same, made at another time than its stamp says.
    pub(super) fn delete_at(&self, row: &Row, stamp: Stamp, now_ms: u64) -> Row {
        let null = |content| self.over(row, deletion(content, true, stamp), now_ms);
        match self.config.versioning {
            Versioning::Off => null(Content::Tombstone),
            Versioning::Enabled => Row::of(deletion(Content::Marker, false, stamp)),
            Versioning::Suspended => null(Content::Marker),
        }
    }
}

fn deletion(content: Content, null: bool, stamp: Stamp) -> Version {
    let (marks, placement) = (Marks::default(), Placement::default());
    Version { stamp, replaces: Stamp::ZERO, null, content, marks, placement }
}

/// The row that removes these versions of it for good. With null versions goes whatever else is
/// under the newest of them, known here or not.
pub(super) fn without<'a>(
    row: &Row,
    versions: impl Iterator<Item = &'a Version>,
    at: Stamp,
) -> Row {
    let (mut erased, mut cover) = (BTreeMap::new(), Cover::default());
    for version in versions {
        if version.null {
            cover = Cover::up_to(row.covered().top());
        }
        let replaces = if version.null { version.replaces } else { Stamp::ZERO };
        erased.insert(version.stamp, Erased { at, replaces });
    }
    Row { versions: Vec::new(), erased, cover }
}
