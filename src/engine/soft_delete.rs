//! Buckets that were deleted with soft delete: listed, had back, ended.
//!
//! Invariant: only the account that owned a bucket sees it here, has it back or ends it early.

use crate::cluster::RestoreOutcome;
use crate::types::bucket::{NameState, SoftDeleted};
use crate::types::name::{AccountId, BucketName};

use super::bucket::info;
use super::index::names;
use super::{BucketInfo, Engine, Error};

/// A deleted bucket that can be brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedBucket {
    pub bucket: BucketInfo,
    /// Milliseconds since 1970.
    pub deleted_ms: u64,
    /// When it is gone for good.
    pub until_ms: u64,
}

impl Engine {
    /// The deleted buckets of an account that can be brought back, as this region knows them, by
    /// name.
    pub async fn deleted_buckets(&self, owner: &AccountId) -> Result<Vec<DeletedBucket>, Error> {
        let now_ms = self.env().now_ms();
        let kept = self.local_soft_deleted().await?.into_iter();
        let shown = kept.filter(|(_, kept)| kept.config.owner == *owner && kept.until_ms > now_ms);
        let shown = shown.map(|(name, kept)| {
            let SoftDeleted { config, deleted_ms, until_ms } = kept;
            DeletedBucket { bucket: info(name, &config), deleted_ms, until_ms }
        });
        Ok(shown.collect())
    }

    /// Brings a deleted bucket back, with its settings and what its keys keep. One that is back
    /// already stays.
    pub async fn restore_bucket(
        &self,
        owner: &AccountId,
        name: &BucketName,
    ) -> Result<BucketInfo, Error> {
        let kept = self.soft_deleted(owner, name).await?;
        match self.cluster.restore_bucket(name, kept.config.id).await? {
            RestoreOutcome::Restored(config) => Ok(info(name.clone(), &config)),
            RestoreOutcome::Exists(config) if config.owner == *owner => {
                Err(Error::BucketAlreadyOwnedByYou)
            }
            RestoreOutcome::Exists(_) => Err(Error::BucketAlreadyExists),
            RestoreOutcome::NotFound => Err(Error::NoSuchBucket),
        }
    }

    /// Ends a deleted bucket before its time: its name is free.
    pub async fn purge_bucket(&self, owner: &AccountId, name: &BucketName) -> Result<(), Error> {
        let kept = self.soft_deleted(owner, name).await?;
        match self.cluster.end_soft_deleted(name, kept.config.id, true).await? {
            true => Ok(()),
            false => Err(Error::NoSuchBucket),
        }
    }

    /// Frees the names of deleted buckets whose time is over. Every region may.
    pub async fn end_soft_deleted_buckets(&self) -> Result<(), Error> {
        let now_ms = self.env().now_ms();
        for (name, kept) in self.local_soft_deleted().await? {
            if kept.until_ms <= now_ms {
                self.cluster.end_soft_deleted(&name, kept.config.id, false).await?;
            }
        }
        Ok(())
    }

    /// What is kept under a name, as its register says; for others than its owner there is nothing.
    async fn soft_deleted(
        &self,
        owner: &AccountId,
        name: &BucketName,
    ) -> Result<SoftDeleted, Error> {
        let kept = self.cluster.soft_deleted(name).await?;
        kept.filter(|kept| kept.config.owner == *owner).ok_or(Error::NoSuchBucket)
    }

    async fn local_soft_deleted(&self) -> Result<Vec<(BucketName, SoftDeleted)>, Error> {
        self.look(|snapshot| names(snapshot, NameState::into_soft_deleted)).await
    }
}
