//! What this region knows of its buckets, decoded once: configuration, policy, settings. Almost
//! every request asks for it, and it changes seldom.
//!
//! Invariant: what is given is what the store has at the time of asking. Everything kept is
//! forgotten when the store's revision of settings has moved on; an answered change of a setting is
//! seen by the next request.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, RwLock};

use serde::de::DeserializeOwned;

use crate::limits;
use crate::logic::access_log::Logging;
use crate::logic::policy::Policy;
use crate::types::bucket::{BucketConfig, BucketRecord, NameState, SettingKind};
use crate::types::encryption::BucketEncryption;
use crate::types::kept::Keeping;
use crate::types::lifecycle::Lifecycle;
use crate::types::name::BucketName;
use crate::types::record::{Record, RecordId};
use crate::types::usage::Quota;

use super::index::store_error;
use super::{Engine, Error, mismatch};

/// One setting, decoded when it is first asked for.
type Decoded<T> = OnceLock<Result<Option<Arc<T>>, Error>>;

/// A bucket as this region knows it.
pub(super) struct Known {
    pub(super) config: Arc<BucketConfig>,
    /// `None` where no setting has arrived here.
    pub(super) record: Option<BucketRecord>,
    policy: Decoded<Policy>,
    encryption: Decoded<BucketEncryption>,
    lifecycle: Decoded<Lifecycle>,
    logging: Decoded<Logging>,
    requesters_pay: Decoded<bool>,
    keeping: Decoded<Keeping>,
    quota: Decoded<Quota>,
}

impl Known {
    fn new(config: BucketConfig, record: Option<BucketRecord>) -> Self {
        Self {
            config: Arc::new(config),
            record,
            policy: OnceLock::new(),
            encryption: OnceLock::new(),
            lifecycle: OnceLock::new(),
            logging: OnceLock::new(),
            requesters_pay: OnceLock::new(),
            keeping: OnceLock::new(),
            quota: OnceLock::new(),
        }
    }

    /// One whose name is not known here but in its register; its settings are not known at all.
    pub(super) fn of_register(config: &BucketConfig) -> Self {
        Self::new(config.clone(), None)
    }

    pub(super) fn policy(&self) -> Result<Option<Arc<Policy>>, Error> {
        let read = || parse_policy(self.config.policy.as_deref());
        self.policy.get_or_init(read).clone()
    }

    /// Somebody wants to be told of what changes in it.
    fn is_watched(&self) -> bool {
        let record = self.record.as_ref();
        record.is_some_and(|record| record.setting(SettingKind::Notification).is_some())
    }

    pub(super) fn encryption(&self) -> Result<Option<Arc<BucketEncryption>>, Error> {
        self.decoded(&self.encryption, SettingKind::Encryption)
    }

    pub(super) fn lifecycle(&self) -> Result<Option<Arc<Lifecycle>>, Error> {
        self.decoded(&self.lifecycle, SettingKind::Lifecycle)
    }

    pub(super) fn logging(&self) -> Result<Option<Arc<Logging>>, Error> {
        self.decoded(&self.logging, SettingKind::Logging)
    }

    pub(super) fn requesters_pay(&self) -> Result<Option<Arc<bool>>, Error> {
        self.decoded(&self.requesters_pay, SettingKind::RequestPayment)
    }

    /// How long it keeps what writes end.
    pub(super) fn keeping(&self) -> Result<Keeping, Error> {
        let set = self.decoded(&self.keeping, SettingKind::Keeping)?;
        Ok(set.map(|keeping| *keeping).unwrap_or_default())
    }

    pub(super) fn quota(&self) -> Result<Option<Arc<Quota>>, Error> {
        self.decoded(&self.quota, SettingKind::Quota)
    }

    fn decoded<T: DeserializeOwned>(
        &self,
        kept: &Decoded<T>,
        kind: SettingKind,
    ) -> Result<Option<Arc<T>>, Error> {
        kept.get_or_init(|| decode(self.record.as_ref(), kind)).clone()
    }
}

/// The buckets that were asked for since a setting of any changed.
#[derive(Default)]
pub(super) struct KnownBuckets(RwLock<Kept>);

#[derive(Default)]
struct Kept {
    /// The store's revision of settings at which all of them were read.
    revision: u64,
    buckets: BTreeMap<BucketName, Arc<Known>>,
}

impl KnownBuckets {
    fn get(&self, name: &BucketName, revision: u64) -> Option<Arc<Known>> {
        let kept = self.0.read().expect("no holder of this lock panics");
        if kept.revision != revision {
            return None;
        }
        kept.buckets.get(name).cloned()
    }

    /// `revision` was asked for before the bucket was read.
    fn keep(&self, name: &BucketName, revision: u64, known: Arc<Known>) {
        let mut kept = self.0.write().expect("no holder of this lock panics");
        if kept.revision > revision {
            return;
        }
        if kept.revision < revision || kept.buckets.len() >= limits::BUCKETS_KNOWN_MAX {
            kept.buckets.clear();
            kept.revision = revision;
        }
        kept.buckets.insert(name.clone(), known);
    }
}

impl Engine {
    /// A bucket, if this region knows that it is there and not being deleted. Nobody is asked.
    pub(super) fn known(&self, name: &BucketName) -> Result<Option<Arc<Known>>, Error> {
        let store = self.cluster.store();
        let revision = store.settings_revision();
        if let Some(known) = self.buckets.get(name, revision) {
            return Ok(Some(known));
        }
        let snapshot = store.read().map_err(store_error)?;
        let read = |id: RecordId| snapshot.record(&id).map_err(store_error);
        let config = match read(RecordId::Name(name.clone()))? {
            Some(Record::Name(name)) => match name.state {
                NameState::Active(config) => config,
                NameState::Deleting(_) | NameState::Free | NameState::SoftDeleted(_) => {
                    return Ok(None);
                }
            },
            None => return Ok(None),
            Some(other) => return Err(mismatch(&other)),
        };
        let record = match read(RecordId::Bucket(config.id))? {
            Some(Record::Bucket(record)) => Some(*record),
            None => None,
            Some(other) => return Err(mismatch(&other)),
        };
        let known = Arc::new(Known::new(config, record));
        self.buckets.keep(name, revision, known.clone());
        Ok(Some(known))
    }

    /// The same, and where this region does not know it, what the name's register says.
    pub(super) async fn known_or_asked(&self, name: &BucketName) -> Result<Arc<Known>, Error> {
        match self.known(name)? {
            Some(known) => Ok(known),
            None => Ok(Arc::new(Known::of_register(&*self.bucket(name).await?))),
        }
    }

    /// Whether somebody is told of what changes in a bucket, as far as this region knows; so for one
    /// that it does not know.
    pub fn is_watched(&self, name: &BucketName) -> bool {
        self.known(name).ok().flatten().is_none_or(|known| known.is_watched())
    }
}

/// Reads a bucket's policy, which was checked when it was set.
pub(super) fn parse_policy(text: Option<&str>) -> Result<Option<Arc<Policy>>, Error> {
    let policy = text.map(|text| Policy::parse(text).map(Arc::new)).transpose();
    policy.map_err(|why| Error::Internal(format!("a policy: {why}")))
}

/// Reads a setting's document, which was made here or in another region.
pub(super) fn decode<T: DeserializeOwned>(
    record: Option<&BucketRecord>,
    kind: SettingKind,
) -> Result<Option<Arc<T>>, Error> {
    let Some(bytes) = record.and_then(|record| record.setting(kind)) else { return Ok(None) };
    let document = postcard::from_bytes(bytes);
    document.map(|document| Some(Arc::new(document))).map_err(|why| {
        Error::Internal(format!("the setting {kind:?} of a bucket does not decode: {why}"))
    })
}
