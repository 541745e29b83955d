//! What a person asks of places: the move of one primary, the regions of a bucket, and that cached
//! copies go.
//!
//! Nothing here is another way to move or to drop: a move is begun as placement begins one, and what
//! lies where it may not goes by the drop rule (`copies`). Cached copies are nobody's promise.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::limits;
use crate::store::{self, Snapshot};
use crate::types::bucket::{BucketConfig, Location};
use crate::types::id::BucketId;
use crate::types::name::ObjectKey;
use crate::types::object::{BlobRef, ObjectMeta, Row, Version};
use crate::types::region::{RegionId, Role};

use super::Cluster;
use super::error::Unavailable;
use super::heat::{Object, placed};

/// What became of the wish for a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moving {
    /// It has its primary there.
    There,
    /// The move has begun; it ends when the bytes have arrived.
    Begun,
    /// Only the node of this region can begin it.
    Ask(RegionId),
    /// It cannot be; why.
    Refused(String),
}

/// What was dropped of cached copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uncached {
    pub copies: u64,
    pub bytes: u64,
}

impl Cluster {
    /// Begins the move of the current version's primary to another region, whoever reads it. It
    /// follows its readers again after it has been there for a while.
    pub async fn move_primary(
        &self,
        config: &BucketConfig,
        key: &ObjectKey,
        to: RegionId,
    ) -> Result<Option<Moving>, Unavailable> {
        let row = self.store().read()?.row(config.id, key)?.unwrap_or_default();
        let Some((version, meta)) = row.object() else { return Ok(None) };
        if placed(version).is_none() {
            let why = "it is small and rides in its row: every region of its bucket has it";
            return Ok(Some(Moving::Refused(why.to_owned())));
        }
        let Some(primary) = version.placement.primary else {
            return Err(Unavailable::new("its parts are being put together; ask again"));
        };
        if primary.region == to {
            return Ok(Some(Moving::There));
        }
        if let Some(why) = self.may_not_lead(config, meta, to) {
            return Ok(Some(Moving::Refused(why)));
        }
        if primary.region != self.region() {
            return Ok(Some(Moving::Ask(primary.region)));
        }
        if self.inner.placing.lock().moving.len() >= limits::MOVES_ASKED_MAX {
            return Err(Unavailable::new("too many moves are under way; ask again"));
        }
        let object: Object = (config.id, key.clone());
        self.begin_move(object, version, to, "asked for".to_owned()).await?;
        Ok(Some(Moving::Begun))
    }

    /// Why a region cannot have the primary of an object.
    fn may_not_lead(
        &self,
        config: &BucketConfig,
        meta: &ObjectMeta,
        to: RegionId,
    ) -> Option<String> {
        let members = self.members();
        let Some(info) = members.get(to) else { return Some(format!("{to} is no member")) };
        if info.role != Role::Full {
            return Some(format!("{to} holds no primaries: its role is not `full`"));
        }
        if !members.is_active(to) {
            return Some(format!("{to} is joining or drained"));
        }
        if !config.allows(meta, to) {
            return Some(format!("{to} is none of the regions of its bucket, or of the object"));
        }
        (to != self.region() && !self.is_connected(to))
            .then(|| format!("{to} cannot be reached from {}", self.region()))
    }

    /// Drops the cached copies that this region has of a bucket's objects, a page at a time: of the
    /// keys that begin so and come after `after`. Gives the key that the next page comes after.
    pub async fn drop_cached(
        &self,
        bucket: BucketId,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<(Uncached, Option<ObjectKey>), store::Error> {
        let (blobs, next) = {
            let snapshot = self.store().read()?;
            cached_page(&snapshot, bucket, prefix, after)?
        };
        let mut gone = Uncached::default();
        for blob in blobs {
            if let Some(bytes) = self.store().uncache(&blob).await? {
                gone.copies += 1;
                gone.bytes += bytes;
            }
        }
        Ok((gone, next))
    }

    /// A region that may not have an object's bytes keeps no cached copy of it either.
    pub(super) async fn leave_no_trace(
        &self,
        config: &BucketConfig,
        version: &Version,
    ) -> Result<(), store::Error> {
        let own = self.region();
        let Some(meta) = placed(version).filter(|meta| !config.allows(meta, own)) else {
            return Ok(());
        };
        for part in &meta.parts {
            self.store().uncache(&part.blob).await?;
        }
        Ok(())
    }

    /// Begins a pass of repair when a bucket has other regions than it had at the last look.
    pub(super) fn notice_relocations(
        &self,
        known: &mut BTreeMap<BucketId, Location>,
        configs: &BTreeMap<BucketId, BucketConfig>,
    ) {
        let mut changed = false;
        for (id, config) in configs {
            let before = known.insert(*id, config.location.clone());
            changed |= before.is_some_and(|before| before != config.location);
        }
        known.retain(|id, _| configs.contains_key(id));
        if changed {
            self.want_repair("a bucket has other regions".to_owned());
        }
    }
}

/// The blobs of the next rows of a bucket whose keys begin so.
fn cached_page(
    snapshot: &Snapshot,
    bucket: BucketId,
    prefix: &str,
    after: Option<&ObjectKey>,
) -> Result<(Vec<BlobRef>, Option<ObjectKey>), store::Error> {
    let first = ObjectKey::parse(prefix).ok();
    let from = match (after, &first) {
        (Some(after), _) => Bound::Excluded(after),
        (None, Some(first)) => Bound::Included(first),
        (None, None) => Bound::Unbounded,
    };
    let (mut blobs, mut last) = (Vec::new(), None);
    for (seen, row) in snapshot.rows(bucket, from)?.enumerate() {
        if seen >= limits::PURGE_PAGE {
            return Ok((blobs, last));
        }
        let (key, row): (ObjectKey, Row) = row?;
        if !key.as_str().starts_with(prefix) {
            break;
        }
        let parts = row.versions.iter().filter_map(placed).flat_map(|meta| &meta.parts);
        blobs.extend(parts.map(|part| part.blob));
        last = Some(key);
    }
    Ok((blobs, None))
}
