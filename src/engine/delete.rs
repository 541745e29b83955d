//! Deletes: one key, or many as one change.
//!
//! Invariant: a delete writes a tombstone even where nothing is known of the key, because a write
//! made elsewhere earlier may still be on its way here, and the delete must win over it.

use std::sync::Arc;

use crate::cluster::{View, Write};
use crate::limits;
use crate::logic::precondition::{Conditions, ETagMatch};
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::{Content, Marks, Placement, Row, Version};
use crate::types::record::{Record, RecordId};
use crate::types::stamp::Stamp;

use super::{Engine, Error, Place, above, judge};

/// One key of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    pub key: ObjectKey,
    /// Only the object with this entity tag.
    pub etag: Option<String>,
}

/// What became of one key of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionOutcome {
    pub key: ObjectKey,
    pub result: Result<(), Error>,
}

impl Engine {
    /// Deletes a key. One that is not there is deleted too, unless a condition asks for it.
    pub async fn delete_object(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        conditions: Conditions,
    ) -> Result<(), Error> {
        let place = self.place(bucket).await?;
        if !conditions.is_empty() {
            judge(&conditions, &self.row(&place.config, key).await?)?;
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
        let mut plain: Vec<ObjectKey> =
            deletions.iter().filter(|d| d.etag.is_none()).map(|d| d.key.clone()).collect();
        plain.sort_unstable();
        plain.dedup();
        let together = match plain.is_empty() {
            true => Ok(()),
            false => self.bury(place, plain, Conditions::default()).await,
        };
        let mut outcomes = Vec::with_capacity(deletions.len());
        for Deletion { key, etag } in deletions {
            let result = match etag {
                None => together.clone(),
                Some(etag) => self.delete_exactly(bucket, &key, etag).await,
            };
            outcomes.push(DeletionOutcome { key, result });
        }
        Ok(outcomes)
    }

    async fn delete_exactly(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        etag: String,
    ) -> Result<(), Error> {
        let if_match = Some(ETagMatch::OneOf(vec![etag]));
        self.delete_object(bucket, key, Conditions { if_match, ..Conditions::default() }).await
    }

    async fn bury(
        &self,
        place: Place,
        keys: Vec<ObjectKey>,
        conditions: Conditions,
    ) -> Result<(), Error> {
        let (config, subject) = (place.config.clone(), self.newest(&place, &keys).await?);
        let keys: Arc<[ObjectKey]> = keys.into();
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            let mut records = Vec::with_capacity(keys.len());
            for key in keys.iter() {
                let row = place.row(view, key)?;
                judge(&conditions, &row)?;
                above(stamp, &row)?;
                records.push((place.row_id(key), Record::Row(tombstone(&row, stamp))));
            }
            Ok(records)
        });
        self.write(&config, Write { subject, bodies: Vec::new(), decide }).await?;
        Ok(())
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

pub(super) fn tombstone(row: &Row, stamp: Stamp) -> Row {
    let version = Version {
        stamp,
        replaces: row.null_stamp(),
        null: true,
        content: Content::Tombstone,
        marks: Marks::default(),
        placement: Placement::default(),
    };
    assert!(version.replaces < stamp, "a tombstone replaces older versions only");
    Row::of(version)
}
