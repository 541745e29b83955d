//! What S3 means, for a caller who is not HTTP: typed requests in, typed results out.
//!
//! Invariant: no HTTP type and no XML occurs here. Nothing of a failed operation is visible; every
//! rule that a write depends on is judged inside the store's writer, on the state that the write
//! changes.

mod access;
mod acl;
mod backup;
pub mod body;
mod bucket;
mod copy;
mod delete;
mod document;
mod encryption;
pub mod error;
mod expire;
mod forward;
mod index;
mod insight;
mod known;
mod lifecycle;
mod listing;
mod lock;
mod logging;
mod multipart;
mod notify;
mod object;
mod payment;
mod place;
mod prefetch;
mod quota;
mod rename;
mod scope;
mod soft_delete;
mod tidy;
mod token;
mod undo;
mod uploads;
mod version;

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{Cluster, Contested, Unavailable, View, Write, Written};
use crate::env::Env;
use crate::limits;
use crate::logic::keyring::Keyring;
use crate::logic::precondition::{Conditions, Current, Refusal};
use crate::types::bucket::{Ack, BucketConfig, Location, NameState};
use crate::types::event::{Because, By, Cause};
use crate::types::id::OpId;
use crate::types::kept::Keeping;
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::{ObjectMeta, Row};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;
use crate::types::usage::Quota;

pub use crate::cluster::{Source, Whereabouts};
pub use crate::logic::lifecycle::Due;
pub use access::NewAccessKey;
pub use acl::BucketRules;
pub use backup::{BackupKind, BackupStatus};
pub use bucket::{ANYWHERE, BucketInfo, BucketsPage, CreateBucket, ListBuckets, Promises};
pub use copy::{Copied, CopyObject, CopySource};
pub use delete::{Deleted, Deletion, DeletionOutcome};
pub use error::Error;
pub use expire::{Expirer, ExpiryMetrics, Passed};
pub use insight::{Copies, CopyState, PeerView, RegionView};
use known::KnownBuckets;
pub use listing::{ListObjects, ListVersions, ObjectsPage, VersionsPage};
pub use lock::LockState;
pub use logging::{LogRefusal, Logged};
pub use multipart::{Begun, CompleteUpload, CreateUpload, Part, UploadPart, UploadPartCopy};
pub use notify::{Courier, Undelivered};
pub use object::{Attributes, GetObject, ObjectBody, ObjectInfo, ObjectRead, PutObject, Stored};
pub use place::{Picture, Placed, UncachedAt};
pub use rename::RenameObject;
pub use soft_delete::DeletedBucket;
pub use undo::{Keeper, Kept, KeptPage, Side, UndoMetrics};
pub use uploads::{ListParts, ListUploads, PartInfo, PartsPage, UploadInfo, UploadsPage};
pub use version::{VersionRef, id_of};

/// What new buckets are made with, and when lifecycle rules are run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub ack: Ack,
    /// Regions that have a copy soon after a write.
    pub copies: u8,
    /// Bodies up to this many bytes travel with their rows.
    pub riding_bytes: u32,
    /// Refuse access keys when this region last heard longer ago than this which keys were changed;
    /// `None`: go on with what it knows.
    pub keys_heard_within: Option<Duration>,
    /// How long a day of lifecycle rules is.
    pub lifecycle_day: Duration,
    /// From the end of one walk that runs lifecycle rules to the next.
    pub lifecycle_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ack: Ack::Default,
            copies: 3,
            riding_bytes: limits::RIDING_BYTES_DEFAULT,
            keys_heard_within: None,
            lifecycle_day: limits::LIFECYCLE_DAY,
            lifecycle_interval: limits::LIFECYCLE_INTERVAL,
        }
    }
}

/// The operations of S3 over one cluster, as this region's node serves them. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    cluster: Cluster,
    options: Options,
    keyring: Arc<Keyring>,
    buckets: Arc<KnownBuckets>,
    prefetches: prefetch::Prefetches,
    backups: backup::Backups,
    /// Of access keys.
    policies: scope::Policies,
    /// The last answer's token.
    token: token::LastToken,
    /// Why it makes changes, for those who are told of them.
    because: Because,
    /// Reads and changes keys in the one order that all regions see, whatever the bucket says.
    linearizable: bool,
    /// Takes events to their destinations; without one there are no destinations.
    courier: Option<Arc<dyn Courier>>,
}

impl Engine {
    pub fn new(cluster: Cluster, options: Options) -> Self {
        cluster.answer_forwarded(forward::answer);
        Self::plain(cluster, options)
    }

    fn plain(cluster: Cluster, options: Options) -> Self {
        let (keyring, buckets, because) = (Arc::default(), Arc::default(), Because::default());
        let (policies, prefetches) = (scope::Policies::default(), prefetch::Prefetches::default());
        let (courier, linearizable, backups) = (None, false, backup::Backups::default());
        let token = token::LastToken::default();
        Self {
            cluster,
            options,
            keyring,
            buckets,
            prefetches,
            backups,
            policies,
            token,
            because,
            linearizable,
            courier,
        }
    }

    /// The same engine, which has events delivered.
    #[must_use]
    pub fn with_courier(self, courier: Arc<dyn Courier>) -> Self {
        Self { courier: Some(courier), ..self }
    }

    /// The same engine, whose changes are made for this client.
    #[must_use]
    pub fn on_behalf(&self, by: By, cause: Cause) -> Self {
        let because = Because { by: Some(Arc::new(by)), cause };
        Self { because, ..self.clone() }
    }

    /// The same engine, which reads and changes keys in the one order that all regions see.
    #[must_use]
    pub fn linearizable(self) -> Self {
        Self { linearizable: true, ..self }
    }

    fn by(&self, by: Option<Arc<By>>) -> Self {
        let because = Because { by, ..self.because };
        Self { because, ..self.clone() }
    }

    /// The same engine, whose changes come from something else than a plain request.
    #[must_use]
    pub fn caused_by(&self, cause: Cause) -> Self {
        let because = Because { cause, ..self.because.clone() };
        Self { because, ..self.clone() }
    }

    /// With the keys of SSE-S3 and SSE-KMS.
    #[must_use]
    pub fn with_keyring(self, keyring: Keyring) -> Self {
        Self { keyring: Arc::new(keyring), ..self }
    }

    /// What goes on between the regions, for those who look after it.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The region that serves.
    pub fn region(&self) -> RegionId {
        self.cluster.region()
    }

    pub fn env(&self) -> &Env {
        self.cluster.env()
    }

    /// Where a key's current version is.
    pub async fn whereabouts(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<Whereabouts, Error> {
        let config = self.bucket(bucket).await?;
        let found = self.cluster.whereabouts(&config, key).await.map_err(index::store_error)?;
        found.ok_or(Error::NoSuchKey)
    }

    async fn bucket(&self, name: &BucketName) -> Result<Arc<BucketConfig>, Error> {
        if let Some(known) = self.known(name)? {
            return Ok(known.config.clone());
        }
        self.cluster.bucket(name).await?.ok_or(Error::NoSuchBucket)
    }

    async fn row(&self, config: &BucketConfig, key: &ObjectKey) -> Result<Row, Error> {
        if self.is_linearizable(config) {
            return self.row_linearizable(config, key).await;
        }
        Ok(self.cluster.row(config, key).await?.unwrap_or_default())
    }

    /// The row as the key's register has it, by a majority of the voters.
    async fn row_linearizable(&self, config: &BucketConfig, key: &ObjectKey) -> Result<Row, Error> {
        let id = RecordId::Row(config.id, key.clone());
        let row = match config.consistency.has_leases() {
            true => self.cluster.row_leased(&id).await?,
            false => self.cluster.row_linearizable(&id).await?,
        };
        Ok(row.unwrap_or_default())
    }

    fn is_linearizable(&self, config: &BucketConfig) -> bool {
        self.linearizable || config.consistency.is_strong()
    }

    /// Refuses before a body is read what its conditions would refuse afterwards: where they do not
    /// hold here, the key's register is asked.
    async fn judge_early(
        &self,
        config: &BucketConfig,
        key: &ObjectKey,
        conditions: &Conditions,
    ) -> Result<(), Error> {
        if conditions.is_empty() {
            return Ok(());
        }
        // Only what is known here: the answer of others would cost as much as the register's.
        let view = self.cluster.store().read().map_err(index::store_error)?;
        let known = view.row(config.id, key).map_err(index::store_error)?;
        drop(view);
        if known.is_none_or(|row| judge(conditions, &row).is_ok()) {
            return Ok(());
        }
        judge(conditions, &self.row_linearizable(config, key).await?)
    }

    /// The same, with a version that may not have arrived here yet: the region that made it is
    /// asked, so that who has a version's id can use it everywhere at once.
    async fn row_with(
        &self,
        config: &BucketConfig,
        key: &ObjectKey,
        version: VersionRef,
    ) -> Result<Row, Error> {
        let row = self.row(config, key).await?;
        let VersionRef::Exact(stamp) = version else { return Ok(row) };
        let known = |row: &Row| version.find(row).is_some() || row.erased.contains_key(&stamp);
        let (origin, own) = (stamp.region, self.region());
        // What was made here is here, unless the disk was another then.
        let here = origin == own && stamp.hlc.0 >= self.cluster.store().incarnation().0;
        if known(&row) || here {
            return Ok(row);
        }
        let age_ms = self.env().now_ms().saturating_sub(stamp.hlc.ms());
        let old = Duration::from_millis(age_ms) > limits::VERSION_ASKED_AGE_MAX;
        if old {
            return Ok(row);
        }
        let id = RecordId::Row(config.id, key.clone());
        let not_here = |why: Unavailable| {
            let reason =
                format!("this version is not here yet, and where it was made: {}", why.reason);
            Error::from(Unavailable { reason, ..why })
        };
        if origin != own && self.cluster.members().contains(origin) {
            self.cluster.learn_from(origin, vec![id.clone()]).await.map_err(not_here)?;
            let row = self.row(config, key).await?;
            if known(&row) {
                return Ok(row);
            }
        }
        // The region that made it may have lost its disk since.
        self.cluster.catch_up(config, &id).await.map_err(not_here)?;
        self.row(config, key).await
    }

    async fn write(
        &self,
        config: &Arc<BucketConfig>,
        write: Write<Error>,
    ) -> Result<Written, Error> {
        match write.subject {
            RecordId::Row(..) if self.is_linearizable(config) => {
                self.write_linearizable(config, write, None).await
            }
            RecordId::Row(..)
            | RecordId::AccessKey(_)
            | RecordId::Members
            | RecordId::Bucket(_)
            | RecordId::Name(_)
            | RecordId::Part(..)
            | RecordId::Upload(_) => {
                self.cluster.write_because(config, write, self.because.clone()).await
            }
        }
    }

    /// A change that has conditions is decided by its key's register.
    async fn write_if(
        &self,
        config: &Arc<BucketConfig>,
        write: Write<Error>,
        is_conditional: bool,
    ) -> Result<Written, Error> {
        if is_conditional {
            self.write_linearizable(config, write, None).await
        } else {
            self.write(config, write).await
        }
    }

    /// `op`: of a change that is asked for again under the same name.
    async fn write_linearizable(
        &self,
        config: &Arc<BucketConfig>,
        write: Write<Error>,
        op: Option<OpId>,
    ) -> Result<Written, Error> {
        self.cluster.write_linearizable(config, write, self.because.clone(), op).await
    }
}

/// A bucket as a decision names it: the name must still mean this bucket when the write is made.
#[derive(Clone)]
struct Place {
    name: BucketName,
    config: Arc<BucketConfig>,
    /// How long it keeps what is written over.
    keeping: Keeping,
    /// Everything that was written until then, anywhere, is known here.
    known_ms: u64,
    /// What is left of its quota where it has one.
    room: Option<Quota>,
}

impl Place {
    /// The same bucket for the bytes of an object that has regions of its own: some of the bucket's,
    /// because a promise of the bucket cannot be taken back by one object (P8).
    fn within(self, location: &Location) -> Result<Self, Error> {
        if let (Location::Only(own), Location::Only(of_bucket)) = (location, &self.config.location)
            && let Some(outside) = own.iter().find(|region| !of_bucket.contains(region))
        {
            let of_bucket: Vec<String> = of_bucket.iter().map(RegionId::to_string).collect();
            let of_bucket = of_bucket.join(", ");
            let why = format!("region {outside} is none of its bucket's, which are {of_bucket}");
            return Err(Error::InvalidArgument(why));
        }
        let config = self.config.within(location);
        Ok(Self { config, ..self })
    }

    fn row_id(&self, key: &ObjectKey) -> RecordId {
        RecordId::Row(self.config.id, key.clone())
    }

    /// The row of a key inside a decision, in a bucket that is still there.
    fn row(&self, view: &View<'_>, key: &ObjectKey) -> Result<Row, Error> {
        self.still_there(view)?;
        match view.record(&self.row_id(key))? {
            Some(Record::Row(row)) => Ok(row),
            None => Ok(Row::default()),
            Some(other) => Err(mismatch(&other)),
        }
    }

    fn still_there(&self, view: &View<'_>) -> Result<(), Error> {
        let id = self.config.id;
        match view.record(&RecordId::Name(self.name.clone()))? {
            // Learnt by a register read and not replicated to here yet.
            None => Ok(()),
            Some(Record::Name(name)) => match name.state {
                NameState::Active(config) if config.id == id => {
                    let known = &self.config;
                    if config.versioning != known.versioning {
                        let why = "the bucket's versioning was changed just now";
                        return Err(Unavailable::new(why).into());
                    }
                    if config.consistency.is_strong() != known.consistency.is_strong() {
                        let why = "the bucket's consistency was changed just now";
                        return Err(Unavailable::new(why).into());
                    }
                    Ok(())
                }
                NameState::Deleting(config) if config.id == id => {
                    Err(Error::Conflict("the bucket is being deleted".into()))
                }
                NameState::Active(_)
                | NameState::Deleting(_)
                | NameState::Free
                | NameState::SoftDeleted(_) => Err(Error::NoSuchBucket),
            },
            Some(other) => Err(mismatch(&other)),
        }
    }
}

/// A record under an id of another kind: the store checks that this cannot be.
fn mismatch(record: &Record) -> Error {
    Error::Internal(format!("a record of another kind than its id: {record:?}"))
}

/// Judges a write's conditions on what readers see now.
fn judge(conditions: &Conditions, row: &Row) -> Result<(), Error> {
    let current = row.object().map(|(_, meta)| current(meta));
    conditions.write(current).map_err(|refusal| match refusal {
        Refusal::Failed(header) => Error::PreconditionFailed(header.into()),
        Refusal::NoSuchKey => Error::NoSuchKey,
    })
}

fn current(meta: &ObjectMeta) -> Current<'_> {
    Current { etag: &meta.etag.0, modified_s: meta.modified_ms / 1000 }
}

/// The stamp of a change must be above what it replaces; else the change would be lost in a merge.
fn above(stamp: Stamp, row: &Row) -> Result<(), Error> {
    if stamp > row.stamp() {
        return Ok(());
    }
    Err(Error::Unavailable {
        reason: "the object was changed by a region whose clock is ahead".into(),
        retry_after: Duration::from_secs(1),
    })
}

impl From<Contested> for Error {
    fn from(_: Contested) -> Self {
        Self::ConditionalConflict
    }
}

impl From<Unavailable> for Error {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable { reason: why.reason, retry_after: why.retry_after }
    }
}
