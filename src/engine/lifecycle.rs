//! A bucket's lifecycle rules as requests ask for them: when an object expires and an upload is
//! aborted. What is due is done by `expire`.
//!
//! Invariant: nothing is asked of another region; the rules are those that this region knew at most
//! [`limits::LIFECYCLE_KEPT`] ago, so that the usual request costs one look into a table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::limits;
use crate::logic::lifecycle::{self, Day, Due, Object};
use crate::types::bucket::{BucketConfig, NameState, SettingKind};
use crate::types::lifecycle::Lifecycle;
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::Version;
use crate::types::record::{Record, RecordId};

use super::index::store_error;
use super::{Engine, Error, ObjectInfo, Stored, mismatch};

/// Rules that were read a moment ago.
#[derive(Default)]
pub(super) struct KnownRules(Mutex<BTreeMap<BucketName, Known>>);

/// The rules of one bucket.
struct Known {
    rules: Option<Arc<Lifecycle>>,
    /// Until when they count.
    until: Duration,
}

impl KnownRules {
    fn get(&self, bucket: &BucketName, now: Duration) -> Option<Option<Arc<Lifecycle>>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(bucket).filter(|known| now < known.until).map(|known| known.rules.clone())
    }

    fn note(&self, bucket: &BucketName, rules: Option<Arc<Lifecycle>>, now: Duration) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= limits::LIFECYCLES_MAX {
            known.retain(|_, known| now < known.until);
        }
        if known.len() < limits::LIFECYCLES_MAX {
            known.insert(bucket.clone(), Known { rules, until: now + limits::LIFECYCLE_KEPT });
        }
    }

    /// The rules were changed here.
    pub(super) fn forget(&self, bucket: &BucketName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(bucket);
    }
}

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
        let now = self.env().monotonic();
        if let Some(known) = self.rules.get(bucket, now) {
            return Ok(known);
        }
        let snapshot = self.cluster.store().read().map_err(store_error)?;
        let name = snapshot.record(&RecordId::Name(bucket.clone())).map_err(store_error)?;
        let rules = match name {
            Some(Record::Name(name)) => match name.state {
                NameState::Active(config) | NameState::Deleting(config) => {
                    self.rules_here(&config)?
                }
                NameState::Free => None,
            },
            None => None,
            Some(other) => return Err(mismatch(&other)),
        };
        self.rules.note(bucket, rules.clone(), now);
        Ok(rules)
    }

    /// The rules of a bucket as this region has them now.
    pub(super) fn rules_here(
        &self,
        config: &BucketConfig,
    ) -> Result<Option<Arc<Lifecycle>>, Error> {
        let snapshot = self.cluster.store().read().map_err(store_error)?;
        match snapshot.record(&RecordId::Bucket(config.id)).map_err(store_error)? {
            Some(record) => rules_of(&record),
            None => Ok(None),
        }
    }
}

/// The rules in a bucket's record, if any.
pub(super) fn rules_of(record: &Record) -> Result<Option<Arc<Lifecycle>>, Error> {
    let Record::Bucket(bucket) = record else { return Err(mismatch(record)) };
    let Some(bytes) = bucket.setting(SettingKind::Lifecycle) else { return Ok(None) };
    let rules: Lifecycle = postcard::from_bytes(bytes)
        .map_err(|why| Error::Internal(format!("lifecycle rules do not decode: {why}")))?;
    Ok(Some(Arc::new(rules)))
}
