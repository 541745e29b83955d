//! What a bucket may grow to.
//!
//! Usage is what has arrived in the region that a write enters when it begins, so that writes at the
//! same time can grow a bucket beyond its quota by what is under way.
//!
//! Invariant: a write that makes a bucket smaller, or writes over as much as it brings, is never
//! refused.

use crate::types::bucket::{SettingKind, Versioning};
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::Row;
use crate::types::usage::{Quota, Usage};

use super::index::store_error;
use super::known::Known;
use super::{Engine, Error, Place};

impl Engine {
    /// What a bucket may grow to.
    pub async fn quota(&self, bucket: &BucketName) -> Result<Quota, Error> {
        Ok(self.document(bucket, SettingKind::Quota).await?.unwrap_or_default())
    }

    pub async fn put_quota(&self, bucket: &BucketName, quota: Quota) -> Result<(), Error> {
        match quota == Quota::default() {
            true => self.put_setting(bucket, SettingKind::Quota, None).await,
            false => self.put_document(bucket, SettingKind::Quota, &quota).await,
        }
    }

    pub(super) fn room(&self, known: &Known) -> Result<Option<Quota>, Error> {
        let Some(quota) = known.quota()? else { return Ok(None) };
        let store = self.cluster.store().read().map_err(store_error)?;
        Ok(Some(quota.left(store.usage(known.config.id).map_err(store_error)?)))
    }

    /// Refuses a body of this length before it is taken in.
    pub(super) fn check_room_for(
        &self,
        place: &Place,
        key: &ObjectKey,
        len: Option<u64>,
    ) -> Result<(), Error> {
        let (Some(_), Some(len)) = (place.room, len) else { return Ok(()) };
        let store = self.cluster.store().read().map_err(store_error)?;
        let row = store.row(place.config.id, key).map_err(store_error)?;
        place.check_room(&row.unwrap_or_default(), len)
    }
}

impl Place {
    /// Refuses what the quota has no room for even if the key's whole row went away.
    pub(super) fn check_room(&self, row: &Row, size: u64) -> Result<(), Error> {
        let Some(room) = self.room else { return Ok(()) };
        let freed = match self.config.versioning {
            Versioning::Off => Usage::of(row).bytes,
            Versioning::Enabled | Versioning::Suspended => 0,
        };
        let more = Usage {
            objects: u64::from(row.object().is_none()),
            versions: 1,
            bytes: size.saturating_sub(freed),
        };
        if more.bytes == 0 && more.objects == 0 || room.allows(more) {
            return Ok(());
        }
        Err(Error::QuotaExceeded)
    }
}
