//! Object lock: a bucket's configuration, and the retention and legal hold of versions.
//!
//! Invariant: what keeps a version is judged inside the change that would remove it or loosen it.

use std::sync::Arc;

use crate::cluster::Unavailable;
use crate::logic::lock::{self, Locked};
use crate::types::acl::Acl;
use crate::types::bucket::{BucketConfig, Versioning};
use crate::types::lock::{LockAsked, LockMode, ObjectLock, Retention};
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::{Mark, Marks};
use crate::types::record::RecordId;
use crate::types::stamp::Stamp;

use super::version::VersionRef;
use super::{Engine, Error};

/// What is set of a version's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockState {
    pub retention: Option<Retention>,
    pub legal_hold: bool,
}

impl Engine {
    /// Gives a bucket with versions a lock configuration; it is never taken away again.
    pub async fn put_object_lock(
        &self,
        bucket: &BucketName,
        lock: ObjectLock,
    ) -> Result<(), Error> {
        let config = self.bucket(bucket).await?;
        if config.versioning != Versioning::Enabled {
            return Err(Error::InvalidBucketState("Object Lock needs versioning enabled".into()));
        }
        let change = move |config: &mut BucketConfig| {
            if config.versioning == Versioning::Enabled {
                config.lock = Some(lock.clone());
            }
        };
        let changed = self.change_bucket(bucket, Arc::new(change)).await?;
        match changed.versioning {
            Versioning::Enabled => Ok(()),
            Versioning::Off | Versioning::Suspended => Err(Error::InvalidBucketState(
                "Object Lock needs versioning enabled; it was suspended just now".into(),
            )),
        }
    }

    /// Learns of every lock that was answered, in whatever region it was set; a version is erased
    /// only after that. Where too few regions can be asked, it stays.
    pub(super) async fn learn_locks(
        &self,
        config: &BucketConfig,
        row: &RecordId,
    ) -> Result<(), Error> {
        self.cluster.catch_up(config, row).await.map_err(|why| {
            let reason = format!("it is not known whether the object is locked: {}", why.reason);
            Error::from(Unavailable { reason, ..why })
        })
    }

    pub async fn lock_state(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: VersionRef,
    ) -> Result<LockState, Error> {
        let config = self.bucket(bucket).await?;
        refuse_without(&config)?;
        let row = self.row_with(&config, key, version).await?;
        let (version, _) = version.object(&row)?;
        let legal_hold = version.marks.legal_hold.val;
        Ok(LockState { retention: lock::retention(&version.marks), legal_hold })
    }

    pub async fn put_retention(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: VersionRef,
        retention: Option<Retention>,
        bypass: bool,
    ) -> Result<(), Error> {
        refuse_without(&*self.bucket(bucket).await?)?;
        let now_ms = self.env().now_ms();
        refuse_past(retention, now_ms)?;
        let change = move |marks: &mut Marks, stamp: Stamp| {
            lock::may_change(marks, retention, now_ms, bypass).map_err(locked)?;
            (marks.retention.val, marks.retention.marker) = (retention, stamp);
            let until_ms = compliance(retention);
            marks.compliance_until_ms = marks.compliance_until_ms.max(until_ms);
            Ok(())
        };
        self.change_marks(bucket, key, version, Arc::new(change)).await
    }

    pub async fn put_legal_hold(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: VersionRef,
        on: bool,
    ) -> Result<(), Error> {
        refuse_without(&*self.bucket(bucket).await?)?;
        let change = move |marks: &mut Marks, stamp: Stamp| {
            (marks.legal_hold.val, marks.legal_hold.marker) = (on, stamp);
            Ok(())
        };
        self.change_marks(bucket, key, version, Arc::new(change)).await
    }
}

/// What a version with these tags, this list and these locks is made with.
pub(super) fn marks_made(
    config: &BucketConfig,
    tags: Vec<(String, String)>,
    acl: Option<Acl>,
    asked: LockAsked,
    now_ms: u64,
) -> Marks {
    let rule = config.lock.as_ref().and_then(|lock| lock.default);
    let retention = asked.retention.or_else(|| rule.map(|rule| lock::by_default(rule, now_ms)));
    Marks {
        tags: Mark { val: tags, marker: Stamp::ZERO },
        acl: Mark { val: acl, marker: Stamp::ZERO },
        retention: Mark { val: retention, marker: Stamp::ZERO },
        legal_hold: Mark { val: asked.legal_hold, marker: Stamp::ZERO },
        compliance_until_ms: compliance(retention),
    }
}

/// Refuses what a write asks of a lock and cannot have: judged when the write, or its upload, begins.
pub(super) fn check_asked(
    config: &BucketConfig,
    asked: LockAsked,
    now_ms: u64,
) -> Result<(), Error> {
    if asked.is_empty() {
        return Ok(());
    }
    refuse_without(config)?;
    refuse_past(asked.retention, now_ms)
}

pub(super) fn locked(Locked: Locked) -> Error {
    Error::AccessDenied("Access Denied because object protected by object lock.".into())
}

fn compliance(retention: Option<Retention>) -> u64 {
    retention.filter(|r| r.mode == LockMode::Compliance).map_or(0, |r| r.until_ms)
}

fn refuse_without(config: &BucketConfig) -> Result<(), Error> {
    match config.lock {
        Some(_) => Ok(()),
        None => Err(Error::InvalidRequest("Bucket is missing Object Lock Configuration".into())),
    }
}

fn refuse_past(retention: Option<Retention>, now_ms: u64) -> Result<(), Error> {
    match retention {
        Some(retention) if retention.until_ms <= now_ms => {
            Err(Error::InvalidArgument("The retain until date must be in the future!".into()))
        }
        Some(_) | None => Ok(()),
    }
}
