//! How far other regions are behind this one's changes, bucket by bucket.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits;
use crate::obs::EncodeLabelSet;
use crate::store;
use crate::types::id::BucketId;
use crate::types::name::BucketName;
use crate::types::record::RecordId;
use crate::types::region::RegionId;

use super::Cluster;

/// Changes of one bucket that were made here and that one region has not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketLag {
    pub bucket: BucketId,
    /// `None`: it was deleted, or its name is not known here yet.
    pub name: Option<BucketName>,
    pub region: RegionId,
    pub changes: u64,
    /// Age of the oldest of them.
    pub lag_ms: u64,
}

/// The labels of a bucket's lag: by its id, because names are nobody's business on the operations
/// port. `godwit status` tells the names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LagLabels {
    bucket: String,
    region: String,
}

impl Cluster {
    /// What other regions have not applied yet of this one's changes, most first; of a long way
    /// behind only the first stretch is counted.
    pub fn bucket_lag(&self) -> Result<Vec<BucketLag>, store::Error> {
        let head = self.inner.grown.head();
        let applied: Vec<(RegionId, u64)> =
            self.others().iter().map(|info| (info.id, self.inner.acks.applied(info.id))).collect();
        let from = applied.iter().map(|(_, applied)| *applied).min().unwrap_or(head);
        if from >= head {
            return Ok(Vec::new());
        }
        let snapshot = self.store().read()?;
        let log = (self.region(), self.inner.incarnation);
        let now_ms = self.env().now_ms();
        let mut lags: BTreeMap<(BucketId, RegionId), (u64, u64)> = BTreeMap::new();
        for (seq, id) in snapshot.log(log.0, log.1, from, limits::LAG_ENTRIES_MAX)? {
            let bucket = match &id {
                RecordId::Row(bucket, _) | RecordId::Bucket(bucket) => *bucket,
                RecordId::AccessKey(_)
                | RecordId::Members
                | RecordId::Name(_)
                | RecordId::Part(..)
                | RecordId::Upload(_) => continue,
            };
            let made_ms = snapshot.record(&id)?.map_or(now_ms, |record| record.stamp().hlc.ms());
            for (region, _) in applied.iter().filter(|(_, applied)| *applied < seq) {
                let (changes, lag_ms) = lags.entry((bucket, *region)).or_default();
                *changes += 1;
                *lag_ms = (*lag_ms).max(now_ms.saturating_sub(made_ms));
            }
        }
        let names = self.bucket_names()?;
        let lags = lags.into_iter().map(|((bucket, region), (changes, lag_ms))| BucketLag {
            name: names.get(&bucket).cloned(),
            bucket,
            region,
            changes,
            lag_ms,
        });
        let mut lags: Vec<BucketLag> = lags.collect();
        lags.sort_by_key(|lag| std::cmp::Reverse((lag.lag_ms, lag.changes)));
        lags.truncate(limits::LAGS_TOLD_MAX);
        Ok(lags)
    }

    /// Puts it into the metrics.
    pub(super) fn measure_lag(&self) -> Result<(), store::Error> {
        let lags = self.bucket_lag()?;
        let metrics = &self.inner.metrics;
        metrics.bucket_lag.clear();
        metrics.bucket_lag_changes.clear();
        for lag in lags {
            let labels =
                LagLabels { bucket: lag.bucket.to_string(), region: lag.region.to_string() };
            let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let age = Duration::from_millis(lag.lag_ms).as_secs_f64();
            metrics.bucket_lag.get_or_create(&labels).set(age);
            metrics.bucket_lag_changes.get_or_create(&labels).set(number(lag.changes));
        }
        Ok(())
    }
}
