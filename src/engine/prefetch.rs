//! Fetching the objects of a list ahead of their readers.
//!
//! Invariant: it holds up no request and promises nothing: what goes beyond a bound, or comes while
//! enough other lists are fetched, is left to the readers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cluster::ReadError;
use crate::limits;
use crate::logic::listing::Entry;
use crate::types::name::{BucketName, ObjectKey};

use super::{Engine, Error, ObjectsPage};

/// How many lists are fetched at a time.
#[derive(Clone)]
pub(super) struct Prefetches(Arc<Semaphore>);

impl Default for Prefetches {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::PREFETCHES_MAX)))
    }
}

impl Engine {
    /// Brings the objects of a page into this region, in the background. Whether it was begun.
    pub fn prefetch(&self, bucket: &BucketName, page: &ObjectsPage) -> bool {
        let mut left = limits::PREFETCH_BYTES_MAX;
        let small = page.entries.iter().filter_map(|entry| match entry {
            Entry::Key(key, meta) if meta.size <= limits::PREFETCH_OBJECT_BYTES_MAX => {
                Some((key, meta.size))
            }
            Entry::Key(..) | Entry::Prefix(_) => None,
        });
        let fits = small.take_while(|(_, size)| {
            left = left.saturating_sub(*size);
            left > 0
        });
        let keys: Vec<ObjectKey> = fits.map(|(key, _)| key.clone()).collect();
        let Ok(permit) = self.prefetches.0.clone().try_acquire_owned() else { return false };
        let (engine, bucket) = (self.clone(), bucket.clone());
        self.env().spawn("prefetch", async move { engine.fetch_all(bucket, keys, permit).await });
        true
    }

    async fn fetch_all(&self, bucket: BucketName, keys: Vec<ObjectKey>, _: OwnedSemaphorePermit) {
        for key in keys {
            if let Err(why) = self.fetch_one(&bucket, &key).await {
                tracing::debug!(%bucket, %key, %why, "not fetched ahead");
            }
        }
    }

    /// Reads the current object as it is stored, so that its chunks are kept here.
    async fn fetch_one(&self, bucket: &BucketName, key: &ObjectKey) -> Result<(), Error> {
        let config = self.bucket(bucket).await?;
        let row = self.row(&config, key).await?;
        let Some((version, meta)) = row.object() else { return Ok(()) };
        let held = || version.placement.held().any(|region| region == self.region());
        if meta.rides || !self.cluster.may_keep(&config, meta) || held() {
            return Ok(());
        }
        match self.cluster.read(&config, key, version, 0..meta.size).await {
            Ok(mut stream) => {
                while let Some(bytes) = stream.next().await {
                    bytes.map_err(|why| super::object::read_error(&why))?;
                }
                Ok(())
            }
            // Changed since the list: its readers will see.
            Err(ReadError::Moved(_) | ReadError::Gone) => Ok(()),
            Err(ReadError::Unavailable(why)) => Err(why.into()),
        }
    }
}
