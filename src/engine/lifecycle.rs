//! A bucket's lifecycle rules as requests ask for them: when an object expires and an upload is
//! aborted. What is due is done by `expire`.
//!
//! Invariant: nothing is asked of another region; the rules are those that this region knows, so
//! that the usual request costs one look into memory.

use std::sync::Arc;

use crate::logic::lifecycle::{self, Day, Due, Object};
use crate::types::lifecycle::Lifecycle;
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::Version;

use super::{Engine, Error, ObjectInfo, Stored};

impl Engine {
    /// When an object that was read as the current one expires.
    pub fn expiry(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        info: &ObjectInfo,
    ) -> Result<Option<Due>, Error> {
        let Some(rules) = self.known_rules(bucket)? else { return Ok(None) };
        let (tags, made_ms) = (&info.marks.tags.val[..], info.meta.modified_ms);
        let object = Object { key: key.as_str(), tags, size: info.meta.size, made_ms };
        Ok(lifecycle::expiry(&rules, self.day(), &object))
    }

    /// When an object that was stored just now expires; not at all where another one followed.
    pub async fn expiry_of_stored(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        stored: &Stored,
    ) -> Result<Option<Due>, Error> {
        let Some(rules) = self.known_rules(bucket)? else { return Ok(None) };
        let row = self.row(&*self.bucket(bucket).await?, key).await?;
        let current = row.object().filter(|(version, _)| version.stamp == stored.version);
        let Some((Version { marks, .. }, meta)) = current else { return Ok(None) };
        let (tags, made_ms) = (&marks.tags.val[..], meta.modified_ms);
        let object = Object { key: key.as_str(), tags, size: meta.size, made_ms };
        Ok(lifecycle::expiry(&rules, self.day(), &object))
    }

    /// When an upload that began then is aborted.
    pub fn abortion(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        started_ms: u64,
    ) -> Result<Option<Due>, Error> {
        let Some(rules) = self.known_rules(bucket)? else { return Ok(None) };
        Ok(lifecycle::abortion(&rules, self.day(), key.as_str(), started_ms))
    }

    pub(super) fn day(&self) -> Day {
        Day::of_ms(u64::try_from(self.options.lifecycle_day.as_millis()).unwrap_or(u64::MAX))
    }

    /// The rules of a bucket, if it has any.
    fn known_rules(&self, bucket: &BucketName) -> Result<Option<Arc<Lifecycle>>, Error> {
        self.known(bucket)?.map_or(Ok(None), |known| known.lifecycle())
    }
}
