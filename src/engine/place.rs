//! Where things shall be: the move of one primary, the regions of a bucket after it was made, a
//! picture of where a bucket lies, and cached copies that go.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::cluster::{self, Unavailable};
use crate::limits;
use crate::types::bucket::{BucketConfig, Location};
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::{Content, ObjectMeta, Row, Version};
use crate::types::region::RegionId;

use super::forward::{Answer, Question};
use super::index::{Rows, store_error};
use super::{Engine, Error};

/// What became of the wish that a primary be elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is there.
    There,
    /// It is on its way.
    Begun,
}

/// What one region dropped of its cached copies; why not, where it could not be asked.
pub type UncachedAt = (RegionId, Result<cluster::Uncached, Unavailable>);

/// Where the versions of a bucket lie, as far as this region knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    pub versions: u64,
    /// Versions that ride in their rows: every region has them.
    pub riding: u64,
    pub primaries: BTreeMap<RegionId, u64>,
    /// Versions and bytes that each region holds.
    pub held: BTreeMap<RegionId, (u64, u64)>,
    /// Versions of which a copy lies, or rides, where the bucket or the object does not allow it.
    pub outside: u64,
    /// Only so many rows were counted; there are more.
    pub cut: bool,
}

/// What of a bucket would not follow it to other regions.
#[derive(Default)]
struct Staying {
    riding: u64,
    /// An object whose own regions have none in common with the new ones.
    apart: Option<ObjectKey>,
}

impl Engine {
    /// Begins the move of an object's primary, by the region that has it.
    pub async fn place_primary(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        to: RegionId,
    ) -> Result<Placed, Error> {
        match self.place_here(bucket, key, to).await? {
            Ok(placed) => Ok(placed),
            Err(at) => {
                let (bucket, key) = (bucket.clone(), key.clone());
                match self.ask_region(at, Question::Place { bucket, key, to }).await? {
                    Answer::Placed { begun: true } => Ok(Placed::Begun),
                    Answer::Placed { begun: false } => Ok(Placed::There),
                    Answer::Refused(why) => Err(why),
                    other => Err(other.odd()),
                }
            }
        }
    }

    /// The same where the primary is here; else the region where it is.
    pub(super) async fn place_here(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        to: RegionId,
    ) -> Result<Result<Placed, RegionId>, Error> {
        let config = self.bucket(bucket).await?;
        match self.cluster.move_primary(&config, key, to).await? {
            Some(cluster::Moving::There) => Ok(Ok(Placed::There)),
            Some(cluster::Moving::Begun) => Ok(Ok(Placed::Begun)),
            Some(cluster::Moving::Ask(at)) => Ok(Err(at)),
            Some(cluster::Moving::Refused(why)) => Err(Error::Conflict(why)),
            None => Err(Error::NoSuchKey),
        }
    }

    /// Changes the regions of a bucket. Copies follow by themselves, the nearest first; a region that
    /// is none of them any more drops its own when enough others have theirs. When this returns,
    /// every region writes by the new ones; after an error it may be changed all the same.
    pub async fn relocate(
        &self,
        bucket: &BucketName,
        places: &[String],
        leave_small: bool,
    ) -> Result<Location, Error> {
        let location = self.may_relocate(bucket, places, leave_small).await?;
        if self.bucket(bucket).await?.location != location {
            let to = location.clone();
            let change = Arc::new(move |config: &mut BucketConfig| config.location = to.clone());
            self.change_bucket(bucket, change).await?;
        }
        self.cluster.settle_everywhere().await?;
        Ok(location)
    }

    /// Refuses what [`Engine::relocate`] would; changes nothing.
    pub async fn may_relocate(
        &self,
        bucket: &BucketName,
        places: &[String],
        leave_small: bool,
    ) -> Result<Location, Error> {
        let location = self.location(places)?;
        let config = self.bucket(bucket).await?;
        if config.location == location {
            return Ok(location);
        }
        if config.lock.is_some() {
            let why = "a bucket with object lock keeps its regions: what is locked must be known \
                       where it is asked for at every moment";
            return Err(Error::InvalidBucketState(why.to_owned()));
        }
        self.cluster.writable(&location, config.ack)?;
        if !covers(&location, &config.location) {
            let staying = self.staying(bucket, &location).await?;
            check_staying(&staying, &location, leave_small)?;
        }
        Ok(location)
    }

    async fn staying(&self, bucket: &BucketName, to: &Location) -> Result<Staying, Error> {
        let mut staying = Staying::default();
        let (to, id) = (to.clone(), self.bucket(bucket).await?.id);
        self.look(move |snapshot| {
            let mut rows = Rows::new(snapshot, id);
            while let Some((key, row)) = rows.next()? {
                for (_, meta) in objects(&row) {
                    staying.riding += u64::from(meta.rides && meta.size > 0);
                    if let Location::Only(none) = to.and(&meta.headers.location)
                        && none.is_empty()
                    {
                        staying.apart = Some(key);
                        return Ok(staying);
                    }
                }
            }
            Ok(staying)
        })
        .await
    }

    /// Counts where a bucket lies.
    pub async fn picture(&self, bucket: &BucketName) -> Result<Picture, Error> {
        let config = self.bucket(bucket).await?;
        self.look(move |snapshot| {
            let mut picture = Picture::default();
            for (seen, row) in snapshot
                .rows(config.id, std::ops::Bound::Unbounded)
                .map_err(store_error)?
                .enumerate()
            {
                if seen >= limits::PICTURE_ROWS_MAX {
                    picture.cut = true;
                    break;
                }
                let (_, row) = row.map_err(store_error)?;
                for (version, meta) in objects(&row) {
                    picture.add(version, meta, &config.location);
                }
            }
            Ok(picture)
        })
        .await
    }

    /// Drops cached copies of the keys that begin so, in one region or in all.
    pub async fn drop_cached(
        &self,
        bucket: &BucketName,
        prefix: &str,
        region: Option<RegionId>,
    ) -> Result<Vec<UncachedAt>, Error> {
        self.bucket(bucket).await?;
        let members = self.cluster.members();
        let regions: Vec<RegionId> = match region {
            Some(region) if members.contains(region) => vec![region],
            Some(region) => return Err(Error::InvalidLocation(region.to_string())),
            None => members.regions().map(|info| info.id).collect(),
        };
        let all = regions.into_iter().map(|region| async move {
            (region, self.drop_cached_at(region, bucket, prefix).await)
        });
        let mut dropped = Vec::new();
        for (region, outcome) in join_all(all).await {
            dropped.push((
                region,
                match outcome {
                    Ok(uncached) => Ok(uncached),
                    Err(Error::Unavailable { reason, .. }) => Err(Unavailable::new(reason)),
                    Err(why) => return Err(why),
                },
            ));
        }
        Ok(dropped)
    }

    async fn drop_cached_at(
        &self,
        region: RegionId,
        bucket: &BucketName,
        prefix: &str,
    ) -> Result<cluster::Uncached, Error> {
        let mut all = cluster::Uncached::default();
        let mut after = None;
        loop {
            let (some, next) = if region == self.region() {
                self.drop_cached_here(bucket, prefix, after.as_ref()).await?
            } else {
                let (bucket, prefix) = (bucket.clone(), prefix.to_owned());
                match self.ask_region(region, Question::Uncache { bucket, prefix, after }).await? {
                    Answer::Uncached { copies, bytes, next } => {
                        (cluster::Uncached { copies, bytes }, next)
                    }
                    Answer::Refused(why) => return Err(why),
                    other => return Err(other.odd()),
                }
            };
            all.copies += some.copies;
            all.bytes += some.bytes;
            if next.is_none() {
                return Ok(all);
            }
            after = next;
        }
    }

    /// One page of it.
    pub(super) async fn drop_cached_here(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<(cluster::Uncached, Option<ObjectKey>), Error> {
        let config = self.bucket(bucket).await?;
        self.cluster.drop_cached(config.id, prefix, after).await.map_err(store_error)
    }
}

impl Picture {
    fn add(&mut self, version: &Version, meta: &ObjectMeta, location: &Location) {
        self.versions += 1;
        if meta.parts.is_empty() {
            return;
        }
        let allowed = location.and(&meta.headers.location);
        if meta.rides {
            self.riding += 1;
            self.outside += u64::from(allowed != Location::Everywhere);
            return;
        }
        if let Some(primary) = version.placement.primary {
            *self.primaries.entry(primary.region).or_default() += 1;
        }
        let mut outside = false;
        for region in version.placement.held() {
            let (count, bytes) = self.held.entry(region).or_default();
            *count += 1;
            *bytes += meta.size;
            outside |= !allowed.allows(region);
        }
        self.outside += u64::from(outside);
    }
}

fn objects(row: &Row) -> impl Iterator<Item = (&Version, &ObjectMeta)> {
    row.versions.iter().filter_map(|version| match &version.content {
        Content::Object(meta) => Some((version, meta.as_ref())),
        Content::Marker | Content::Tombstone => None,
    })
}

/// Everything that was allowed stays allowed.
fn covers(new: &Location, old: &Location) -> bool {
    match (new, old) {
        (Location::Everywhere, _) => true,
        (Location::Only(_), Location::Everywhere) => false,
        (Location::Only(new), Location::Only(old)) => old.iter().all(|region| new.contains(region)),
    }
}

fn check_staying(staying: &Staying, to: &Location, leave_small: bool) -> Result<(), Error> {
    if let Some(key) = &staying.apart {
        return Err(Error::InvalidBucketState(format!(
            "the object {key} has regions of its own, none of which is among the new ones: copy it \
             or delete it first"
        )));
    }
    if *to != Location::Everywhere && staying.riding > 0 && !leave_small {
        return Err(Error::InvalidBucketState(format!(
            "{} small objects ride in their rows, which are in every region, and cannot be taken \
             back from there: leave them (`leave_small`), or copy what must not be elsewhere into a \
             new bucket",
            staying.riding
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(codes: &[&str]) -> Location {
        Location::Only(codes.iter().map(|code| code.parse().unwrap()).collect())
    }

    #[test]
    fn what_narrows_is_looked_at_and_what_widens_is_not() {
        assert!(covers(&Location::Everywhere, &only(&["fra"])));
        assert!(covers(&only(&["fra", "iad"]), &only(&["fra"])));
        assert!(!covers(&only(&["fra"]), &only(&["fra", "iad"])));
        assert!(!covers(&only(&["fra", "iad", "nrt"]), &Location::Everywhere));
    }
}
