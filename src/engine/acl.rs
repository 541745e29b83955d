//! Access control lists and ownership of a bucket and its objects.
//!
//! Invariant: a list is checked by its caller before it comes here; here it is kept and judged.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::logic::acl::{self, Needs};
use crate::types::acl::{Acl, Ownership};
use crate::types::action::Action;
use crate::types::bucket::{AccessBlock, BucketConfig, BucketRecord, SettingKind};
use crate::types::name::{AccountId, BucketName, ObjectKey};
use crate::types::object::{ObjectMeta, Version};
use crate::types::stamp::Stamp;

use super::known::Known;
use super::version::VersionRef;
use super::{Engine, Error};

/// What decides of a bucket's access besides its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketRules {
    pub owner: AccountId,
    /// `None` where it was not set.
    pub set_ownership: Option<Ownership>,
    /// What was set, or the owner's alone.
    pub acl: Acl,
    pub block: AccessBlock,
}

impl BucketRules {
    pub(super) fn of(config: &BucketConfig, record: &BucketRecord) -> Result<Self, Error> {
        let acl = record.setting(SettingKind::Acl).map(decode).transpose()?;
        Ok(Self {
            owner: config.owner.clone(),
            set_ownership: record.setting(SettingKind::Ownership).map(decode).transpose()?,
            acl: acl.unwrap_or_else(|| Acl::private(config.owner.clone())),
            block: config.access_block.unwrap_or_default(),
        })
    }

    pub fn ownership(&self) -> Ownership {
        self.set_ownership.unwrap_or_default()
    }

    /// Lists do not count: everything is the bucket owner's.
    pub fn enforced(&self) -> bool {
        self.ownership() == Ownership::BucketOwnerEnforced
    }

    /// Whether the lists allow an action; `object` is the list of the object that it is about.
    pub(super) fn grants(
        &self,
        action: Action,
        account: Option<&AccountId>,
        object: Option<&Acl>,
    ) -> bool {
        if self.enforced() {
            return false;
        }
        let (list, permission) = match (acl::needs(action), object) {
            (Some(Needs::OfBucket(permission)), _) => (&self.acl, permission),
            (Some(Needs::OfObject(permission)), Some(object)) => (object, permission),
            (Some(Needs::OfObject(_)), None) | (None, _) => return false,
        };
        acl::allows(list, account, permission, self.block.ignore_public_acls)
    }
}

impl Engine {
    pub async fn bucket_rules(&self, bucket: &BucketName) -> Result<BucketRules, Error> {
        self.rules_of(&*self.known_or_asked(bucket).await?).await
    }

    /// The same of a bucket at hand. Where no setting has arrived here, the voters are asked.
    pub(super) async fn rules_of(&self, known: &Known) -> Result<BucketRules, Error> {
        match &known.record {
            Some(record) => BucketRules::of(&known.config, record),
            None => BucketRules::of(&known.config, &self.bucket_record(&known.config).await?),
        }
    }

    pub async fn put_bucket_acl(&self, bucket: &BucketName, acl: &Acl) -> Result<(), Error> {
        self.put_setting(bucket, SettingKind::Acl, Some(encode(acl))).await
    }

    /// Sets the ownership, or takes the setting away.
    pub async fn put_ownership(
        &self,
        bucket: &BucketName,
        ownership: Option<Ownership>,
    ) -> Result<(), Error> {
        let document = ownership.map(|ownership| encode(&ownership));
        self.put_setting(bucket, SettingKind::Ownership, document).await
    }

    /// The list of the current object.
    pub async fn object_acl(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: VersionRef,
    ) -> Result<Acl, Error> {
        let config = self.bucket(bucket).await?;
        let row = self.row_with(&config, key, version).await?;
        let (version, meta) = version.object(&row)?;
        Ok(acl_of(version, meta))
    }

    pub async fn put_object_acl(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: VersionRef,
        acl: Acl,
    ) -> Result<(), Error> {
        let change = move |marks: &mut crate::types::object::Marks, stamp: Stamp| {
            (marks.acl.val, marks.acl.marker) = (Some(acl.clone()), stamp);
            Ok(())
        };
        self.change_marks(bucket, key, version, Arc::new(change)).await
    }

    /// Whether an account has a key that this region knows.
    pub async fn knows_account(&self, account: &AccountId) -> Result<bool, Error> {
        Ok(!self.access_keys(account).await?.is_empty())
    }
}

/// The list of a version: what was set, or its owner's alone.
pub(super) fn acl_of(version: &Version, meta: &ObjectMeta) -> Acl {
    version.marks.acl.val.clone().unwrap_or_else(|| Acl::private(meta.owner.clone()))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("these have no type that postcard refuses")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    postcard::from_bytes(bytes).map_err(|why| Error::Internal(format!("a bucket's rules: {why}")))
}
