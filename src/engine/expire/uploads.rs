//! Uploads that nobody ended in time.
//!
//! Invariant: only the region that began an upload aborts it; that it is still open is judged inside
//! the change that ends it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::index::store_error;
use crate::engine::known::decode;
use crate::engine::{Engine, Error, mismatch};
use crate::limits;
use crate::logic::lifecycle;
use crate::store::Snapshot;
use crate::types::bucket::SettingKind;
use crate::types::id::{BucketId, UploadId};
use crate::types::lifecycle::Lifecycle;
use crate::types::name::{BucketName, ObjectKey};
use crate::types::record::{Record, RecordId, UploadState};

use super::change::Clock;

/// An upload that is due.
struct Stale {
    bucket: BucketName,
    key: ObjectKey,
    upload: UploadId,
}

impl Engine {
    /// Aborts uploads after this one, at most a batch, and counts them; the upload after which it
    /// goes on, `None` when all were looked at.
    pub(super) async fn abort_some(
        &self,
        ruled: Arc<BTreeMap<BucketId, BucketName>>,
        after: RecordId,
        aborted: &mut u64,
    ) -> Result<Option<RecordId>, Error> {
        let (engine, clock) = (self.clone(), self.lifecycle_clock(0));
        let find = move |snapshot: &Snapshot| engine.find_stale(snapshot, &ruled, &after, clock);
        let (stale, next) = self.look(find).await?;
        for Stale { bucket, key, upload } in stale {
            match self.abort_upload(&bucket, &key, upload).await {
                Ok(()) => *aborted += 1,
                // It was ended by its client just now, or went with its bucket.
                Err(Error::NoSuchUpload | Error::NoSuchBucket) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(next)
    }

    fn find_stale(
        &self,
        snapshot: &Snapshot,
        ruled: &BTreeMap<BucketId, BucketName>,
        after: &RecordId,
        clock: Clock,
    ) -> Result<(Vec<Stale>, Option<RecordId>), Error> {
        let page = snapshot.records(Some(after), limits::LIFECYCLE_PAGE).map_err(store_error)?;
        let whole = page.len() == limits::LIFECYCLE_PAGE;
        let mut rules: BTreeMap<BucketId, Option<Arc<Lifecycle>>> = BTreeMap::new();
        let (mut stale, mut last) = (Vec::new(), None);
        for (id, record) in page {
            let (RecordId::Upload(upload), Record::Upload(record)) = (&id, record) else {
                return Ok((stale, None));
            };
            let upload = *upload;
            last = Some(id);
            let mine =
                record.state == UploadState::Open && self.cluster.decider(upload) == self.region();
            let Some(bucket) = ruled.get(&record.bucket).filter(|_| mine) else { continue };
            let rules = match rules.get(&record.bucket) {
                Some(known) => known.clone(),
                None => {
                    let found = rules_in(snapshot, record.bucket)?;
                    rules.entry(record.bucket).or_insert(found).clone()
                }
            };
            let Some(rules) = rules else { continue };
            let key = record.key.as_str();
            let due = lifecycle::abortion(&rules, clock.day, key, record.started_ms);
            if due.is_some_and(|due| due.at_ms <= clock.now_ms) {
                stale.push(Stale { bucket: bucket.clone(), key: record.key, upload });
            }
            if stale.len() >= limits::LIFECYCLE_BATCH {
                return Ok((stale, last));
            }
        }
        Ok((stale, last.filter(|_| whole)))
    }
}

fn rules_in(snapshot: &Snapshot, bucket: BucketId) -> Result<Option<Arc<Lifecycle>>, Error> {
    match snapshot.record(&RecordId::Bucket(bucket)).map_err(store_error)? {
        Some(Record::Bucket(bucket)) => decode(Some(&*bucket), SettingKind::Lifecycle),
        Some(other) => Err(mismatch(&other)),
        None => Ok(None),
    }
}
