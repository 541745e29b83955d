//! Buckets: make, find, delete, list.
//!
//! Invariant: a name stands for at most one bucket in the whole cluster; the name's register
//! decides, not this node.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{CreateOutcome, DeleteOutcome};
use crate::types::bucket::{Ack, BucketConfig, Consistency, Location, Versioning};
use crate::types::id::BucketId;
use crate::types::lock::ObjectLock;
use crate::types::name::{AccountId, BucketName};
use crate::types::region::{RegionId, RegionInfo, Role};

use super::{Engine, Error};

/// Makes a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateBucket {
    pub name: BucketName,
    pub owner: AccountId,
    /// Region codes or geographies that its bytes may lie in; empty, `auto` or `global`: anywhere.
    pub location: Vec<String>,
    /// With object lock, and so with versions.
    pub lock: bool,
}

/// What a bucket promises, where it is not what this node's options say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promises {
    pub ack: Option<Ack>,
    pub copies: Option<u8>,
    pub consistency: Option<Consistency>,
    /// Read leases, where it is strong.
    pub leases: Option<bool>,
}

impl Promises {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn keep(&self, config: &mut BucketConfig) {
        let Self { ack, copies, .. } = *self;
        config.ack = ack.unwrap_or(config.ack);
        config.copies = copies.unwrap_or(config.copies);
        config.consistency = self.order(config.consistency);
    }

    fn order(&self, before: Consistency) -> Consistency {
        let strong = self.consistency.unwrap_or(before).is_strong();
        let leases = self.leases.unwrap_or(before == Consistency::Leased);
        match (strong, leases) {
            (false, _) => Consistency::Eventual,
            (true, false) => Consistency::Strong,
            (true, true) => Consistency::Leased,
        }
    }

    /// Leases are of strong reads.
    fn check(&self, before: Consistency) -> Result<(), Error> {
        if self.leases == Some(true) && !self.order(before).is_strong() {
            let why = "read leases are for a bucket whose consistency is strong";
            return Err(Error::InvalidArgument(why.into()));
        }
        Ok(())
    }
}

/// A bucket as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketInfo {
    pub name: BucketName,
    pub created_ms: u64,
    pub location: Location,
}

/// Lists an account's buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListBuckets {
    pub owner: AccountId,
    pub prefix: String,
    /// Only names after this one.
    pub after: Option<String>,
    pub max: usize,
}

/// Buckets in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketsPage {
    pub buckets: Vec<BucketInfo>,
    /// Where the next page goes on; `None` on the last.
    pub next: Option<String>,
}

/// What stands for "no preference" in a location: what S3's clients send without being asked.
pub const ANYWHERE: [&str; 4] = ["", "auto", "global", "us-east-1"];

impl Engine {
    /// Makes a bucket. Making one's own bucket again is `BucketAlreadyOwnedByYou`.
    pub async fn create_bucket(&self, create: CreateBucket) -> Result<BucketInfo, Error> {
        self.create_bucket_with(create, Promises::default()).await
    }

    /// The same, with other promises than this node's options say.
    pub async fn create_bucket_with(
        &self,
        create: CreateBucket,
        promises: Promises,
    ) -> Result<BucketInfo, Error> {
        let CreateBucket { name, owner, location, lock } = create;
        promises.check(Consistency::Eventual)?;
        let location = self.location(&location)?;
        let mut config = BucketConfig {
            id: BucketId(self.env().random()),
            owner: owner.clone(),
            created_ms: self.env().now_ms(),
            location,
            ack: self.options.ack,
            copies: self.options.copies,
            riding_bytes_max: self.options.riding_bytes,
            versioning: if lock { Versioning::Enabled } else { Versioning::Off },
            lock: lock.then(ObjectLock::default),
            policy: None,
            access_block: None,
            consistency: Consistency::Eventual,
        };
        promises.keep(&mut config);
        match self.cluster.create_bucket(&name, config.clone()).await? {
            CreateOutcome::Created => Ok(info(name, &config)),
            CreateOutcome::Exists(other) if other.owner == owner => {
                Err(Error::BucketAlreadyOwnedByYou)
            }
            CreateOutcome::Exists(_) => Err(Error::BucketAlreadyExists),
            CreateOutcome::SoftDeleted(kept) if kept.config.owner == owner => {
                Err(Error::BucketSoftDeleted { until_ms: kept.until_ms })
            }
            CreateOutcome::SoftDeleted(_) => Err(Error::BucketAlreadyExists),
        }
    }

    pub async fn head_bucket(&self, name: &BucketName) -> Result<BucketInfo, Error> {
        let config = self.bucket(name).await?;
        Ok(info(name.clone(), &config))
    }

    /// The bucket's whole configuration, for those who show it.
    pub async fn bucket_config(&self, name: &BucketName) -> Result<Arc<BucketConfig>, Error> {
        self.bucket(name).await
    }

    /// Changes what a bucket promises. When this returns, its consistency is what every region
    /// follows, and what was changed otherwise before is known in all of them; after an error it may
    /// be changed all the same, and asking again says whether it is.
    pub async fn promise(&self, name: &BucketName, promises: Promises) -> Result<(), Error> {
        promises.check(self.bucket(name).await?.consistency)?;
        self.change_bucket(name, Arc::new(move |config| promises.keep(config))).await?;
        if promises.consistency.is_some() {
            self.cluster.settle_everywhere().await?;
        }
        Ok(())
    }

    /// Deletes an empty bucket; where it has soft delete it can be brought back for as long.
    pub async fn delete_bucket(&self, name: &BucketName) -> Result<(), Error> {
        let config = self.bucket(name).await?;
        let keep = self.keeping(name).await?.soft_ms().map(Duration::from_millis);
        match self.cluster.delete_bucket(name, config.id, keep).await? {
            DeleteOutcome::Deleted => Ok(()),
            DeleteOutcome::NotEmpty => Err(Error::BucketNotEmpty),
            DeleteOutcome::NotFound => Err(Error::NoSuchBucket),
        }
    }

    pub async fn list_buckets(&self, list: ListBuckets) -> Result<BucketsPage, Error> {
        let ListBuckets { owner, prefix, after, max } = list;
        let mut buckets = Vec::new();
        for (name, config) in self.local_buckets().await? {
            let late = after.as_deref().is_none_or(|after| name.as_str() > after);
            if config.owner == owner && name.as_str().starts_with(&prefix) && late {
                buckets.push(info(name, &config));
            }
        }
        let more = buckets.len() > max;
        buckets.truncate(max);
        let next = buckets.last().filter(|_| more).map(|last| last.name.to_string());
        Ok(BucketsPage { buckets, next })
    }

    /// Reads a location: codes and geographies of this cluster's regions.
    pub fn location(&self, places: &[String]) -> Result<Location, Error> {
        let places: Vec<&str> =
            places.iter().map(|p| p.trim()).filter(|p| !ANYWHERE.contains(p)).collect();
        if places.is_empty() {
            return Ok(Location::Everywhere);
        }
        let members = self.cluster.members();
        let regions: Vec<&RegionInfo> = members.regions().collect();
        locate(&places, &regions).map(Location::Only)
    }
}

pub(super) fn info(name: BucketName, config: &BucketConfig) -> BucketInfo {
    BucketInfo { name, created_ms: config.created_ms, location: config.location.clone() }
}

/// The regions that the places name, in order and once. Caches hold nothing, so they are no place.
fn locate(places: &[&str], regions: &[&RegionInfo]) -> Result<Vec<RegionId>, Error> {
    let mut found = Vec::new();
    for place in places {
        let before = found.len();
        let place_lower = place.to_ascii_lowercase();
        for region in regions.iter().filter(|r| r.role != Role::Cache) {
            if region.id.to_string() == place_lower || in_geography(region, &place_lower) {
                found.push(region.id);
            }
        }
        if found.len() == before {
            return Err(Error::InvalidLocation((*place).to_owned()));
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// A geography by its own name or by the ones that Tigris and S3 have for it.
fn in_geography(region: &RegionInfo, place: &str) -> bool {
    let place = match place {
        "eur" => "eu",
        "usa" => "na",
        other => other,
    };
    region.geography == place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::region::Coordinates;

    fn region(code: &str, geography: &str, role: Role) -> RegionInfo {
        RegionInfo {
            id: code.parse().unwrap(),
            city: String::new(),
            coordinates: Coordinates { lat: 0.0, lon: 0.0 },
            geography: geography.into(),
            failure_domain: code.into(),
            role,
            voter: true,
        }
    }

    #[test]
    fn places_are_codes_or_geographies_of_regions_that_hold() {
        let regions = [
            region("fra", "eu", Role::Full),
            region("ams", "eu", Role::Replica),
            region("iad", "na", Role::Full),
            region("cdg", "eu", Role::Cache),
        ];
        let regions: Vec<&RegionInfo> = regions.iter().collect();
        let codes = |places: &[&str]| -> Vec<String> {
            locate(places, &regions).unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(codes(&["fra", "iad", "fra"]), ["fra", "iad"]);
        assert_eq!(codes(&["eur"]), ["ams", "fra"]);
        assert_eq!(codes(&["USA"]), ["iad"]);
        for bad in ["cdg", "mars", "us-west-2"] {
            assert_eq!(locate(&[bad], &regions), Err(Error::InvalidLocation(bad.into())));
        }
    }
}
