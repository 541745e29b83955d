//! What is set of a bucket or a version after it was made: a bucket's settings documents, its
//! configuration, and the marks of versions (tags, access control list, locks).
//!
//! Invariant: a document is validated by its own module before it comes here; here it is bytes.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::{ConfigChange, View, Write};
use crate::types::bucket::{BucketConfig, BucketRecord, SettingKind};
use crate::types::name::{AccountId, BucketName, ObjectKey};
use crate::types::object::{Marks, Row};
use crate::types::record::{Record, RecordId};
use crate::types::stamp::Stamp;

use super::version::VersionRef;
use super::{Engine, Error, above, mismatch};

/// Changes marks with the stamp of the change.
pub(super) type MarkChange = dyn Fn(&mut Marks, Stamp) -> Result<(), Error> + Send + Sync;

impl Engine {
    /// A bucket's settings document; `None` where none is set.
    pub async fn setting(
        &self,
        bucket: &BucketName,
        kind: SettingKind,
    ) -> Result<Option<Vec<u8>>, Error> {
        let config = self.bucket(bucket).await?;
        let record = self.bucket_record(&config).await?;
        Ok(record.setting(kind).map(<[u8]>::to_vec))
    }

    /// The bucket's owner and a settings document, as far as this region knows. Nobody is asked,
    /// so that every request may ask.
    pub fn known_setting(
        &self,
        bucket: &BucketName,
        kind: SettingKind,
    ) -> Result<Option<(AccountId, Vec<u8>)>, Error> {
        let Some(known) = self.known(bucket)? else { return Ok(None) };
        let document = known.record.as_ref().and_then(|record| record.setting(kind));
        Ok(document.map(|document| (known.config.owner.clone(), document.to_vec())))
    }

    /// A settings document that [`Engine::put_document`] set.
    pub async fn document<T: DeserializeOwned>(
        &self,
        bucket: &BucketName,
        kind: SettingKind,
    ) -> Result<Option<T>, Error> {
        let document = self.setting(bucket, kind).await?;
        let read = |bytes: Vec<u8>| postcard::from_bytes(&bytes);
        document.map(read).transpose().map_err(|why| Error::Internal(format!("{kind:?}: {why}")))
    }

    /// Sets a document that its module has validated.
    pub async fn put_document(
        &self,
        bucket: &BucketName,
        kind: SettingKind,
        document: &(impl Serialize + Sync),
    ) -> Result<(), Error> {
        let bytes = postcard::to_allocvec(document);
        let bytes = bytes.map_err(|why| Error::Internal(format!("{kind:?}: {why}")))?;
        self.put_setting(bucket, kind, Some(bytes)).await
    }

    /// Sets a document, or takes it away.
    pub async fn put_setting(
        &self,
        bucket: &BucketName,
        kind: SettingKind,
        document: Option<Vec<u8>>,
    ) -> Result<(), Error> {
        let place = self.place(bucket).await?;
        let (config, id) = (place.config.clone(), RecordId::Bucket(place.config.id));
        let subject = id.clone();
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            place.still_there(view)?;
            let mut record = match view.record(&id)? {
                Some(Record::Bucket(record)) => *record,
                None => BucketRecord::default(),
                Some(other) => return Err(mismatch(&other)),
            };
            record.set(kind, document.clone(), stamp);
            Ok(vec![(id.clone(), Record::Bucket(Box::new(record)))])
        });
        self.write(&config, Write { subject, bodies: Vec::new(), decide }).await?;
        Ok(())
    }

    /// Changes the tags of an object.
    pub async fn put_object_tags(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: VersionRef,
        tags: Vec<(String, String)>,
    ) -> Result<(), Error> {
        let change = move |marks: &mut Marks, stamp: Stamp| {
            (marks.tags.val, marks.tags.marker) = (tags.clone(), stamp);
            Ok(())
        };
        self.change_marks(bucket, key, version, Arc::new(change)).await
    }

    pub(super) async fn bucket_record(&self, config: &BucketConfig) -> Result<BucketRecord, Error> {
        match self.cluster.record(&RecordId::Bucket(config.id)).await? {
            Some(Record::Bucket(record)) => Ok(*record),
            None => Ok(BucketRecord::default()),
            Some(other) => Err(mismatch(&other)),
        }
    }

    /// Changes what the register of a bucket's name holds: versioning, lock, policy, access block.
    pub async fn change_bucket(
        &self,
        bucket: &BucketName,
        change: ConfigChange,
    ) -> Result<BucketConfig, Error> {
        let config = self.bucket(bucket).await?;
        let changed = self.cluster.change_bucket(bucket, config.id, change).await?;
        changed.ok_or(Error::NoSuchBucket)
    }

    /// Changes the marks of one version, as it is at the time of the change.
    pub(super) async fn change_marks(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: VersionRef,
        change: Arc<MarkChange>,
    ) -> Result<(), Error> {
        let place = self.place(bucket).await?;
        let (config, key) = (place.config.clone(), key.clone());
        // Learns it where it is not here yet; it is judged below.
        self.row_with(&config, &key, version).await?;
        let subject = place.row_id(&key);
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            let row = place.row(view, &key)?;
            above(stamp, &row)?;
            let mut changed = version.object(&row)?.0.clone();
            change(&mut changed.marks, stamp)?;
            Ok(vec![(place.row_id(&key), Record::Row(Row::of(changed)))])
        });
        self.write(&config, Write { subject, bodies: Vec::new(), decide }).await?;
        Ok(())
    }
}
