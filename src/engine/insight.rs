//! What people ask of a region that is not S3: its peers, and the access keys of an account.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::types::name::{AccessKeyId, AccountId, BucketName};
use crate::types::object::HoldState;
use crate::types::record::{AccessKeyRecord, Record, RecordId};
use crate::types::region::{RegionId, RegionInfo, Role};
use crate::types::usage::Usage;

use super::index::{store_error, walk};
use super::{Engine, Error, ObjectInfo};

/// One member, as this region sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionView {
    pub info: RegionInfo,
    pub voter: bool,
    /// `None`: this region itself.
    pub peer: Option<PeerView>,
}

/// Another region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerView {
    pub connected: bool,
    pub rtt: Option<Duration>,
    /// Changes of this region that it has not applied.
    pub behind: u64,
    /// Changes of its own that this region has not applied.
    pub ahead: u64,
}

/// How often a bucket's bytes are kept, and where they may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    pub count: usize,
    /// By code.
    pub regions: Vec<RegionId>,
}

/// Whether a region has a version's bytes, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    Held,
    /// None is kept there.
    None,
    /// On its way.
    Pending,
}

impl CopyState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::None => "none",
            Self::Pending => "pending",
        }
    }
}

impl Engine {
    /// How much is in a bucket, as far as changes have arrived in this region.
    pub async fn usage(&self, bucket: &BucketName) -> Result<Usage, Error> {
        let id = self.bucket(bucket).await?.id;
        let store = self.cluster.store().read().map_err(store_error)?;
        store.usage(id).map_err(store_error)
    }

    /// The copies that the objects of a bucket have soon after they were written.
    pub async fn copies_of(&self, bucket: &BucketName) -> Result<Copies, Error> {
        let config = self.bucket(bucket).await?;
        let members = self.cluster.members();
        let may_hold = members.holders().filter(|info| config.location.allows(info.id));
        let regions: Vec<RegionId> = may_hold.map(|info| info.id).collect();
        Ok(Copies { count: usize::from(config.copies).min(regions.len()), regions })
    }

    /// Every region that may have a version's bytes, and whether it does: what it says of itself in
    /// the record; of bytes that ride in the record, whether it has applied everything of here.
    pub async fn replication_of(
        &self,
        bucket: &BucketName,
        info: &ObjectInfo,
    ) -> Result<Vec<(RegionId, CopyState)>, Error> {
        let config = self.bucket(bucket).await?;
        let (meta, own) = (&info.meta, self.region());
        let peers = self.cluster.status();
        let caught_up = |region: RegionId| {
            let peer = peers.iter().find(|peer| peer.region == region);
            region == own
                || region == info.version.region
                || peer.is_some_and(|peer| peer.behind == 0)
        };
        let state = |region: RegionId| match info.placement.holders.get(&region) {
            _ if meta.rides || meta.parts.is_empty() => match caught_up(region) {
                true => CopyState::Held,
                false => CopyState::Pending,
            },
            Some(holding) if holding.state == HoldState::Held => CopyState::Held,
            Some(_) | None => CopyState::None,
        };
        let members = self.cluster.members();
        let may_hold = members.regions().filter(|info| info.role != Role::Cache);
        let allowed = may_hold.filter(|region| config.allows(meta, region.id));
        Ok(allowed.map(|region| (region.id, state(region.id))).collect())
    }

    /// All members, by code.
    pub fn regions(&self) -> Vec<RegionView> {
        let members = self.cluster.members();
        let peers = self.cluster.status();
        let view = |info: &RegionInfo| {
            let peer = peers.iter().find(|peer| peer.region == info.id);
            RegionView {
                info: info.clone(),
                voter: members.is_voter(info.id),
                peer: peer.map(|peer| PeerView {
                    connected: peer.connected,
                    rtt: peer.rtt,
                    behind: peer.behind,
                    ahead: peer.ahead,
                }),
            }
        };
        members.regions().map(view).collect()
    }

    /// The keys of an account that this region knows and that are not revoked, by id.
    pub async fn access_keys(
        &self,
        account: &AccountId,
    ) -> Result<Vec<(AccessKeyId, AccessKeyRecord)>, Error> {
        let account = account.clone();
        self.look(move |snapshot| {
            let mut keys = Vec::new();
            let first = RecordId::AccessKey(AccessKeyId("".into()));
            walk(snapshot, first, |id, record| {
                let (RecordId::AccessKey(id), Record::AccessKey(record)) = (id, record) else {
                    return ControlFlow::Break(());
                };
                if record.account == account && !record.revoked {
                    keys.push((id, record));
                }
                ControlFlow::Continue(())
            })?;
            Ok(keys)
        })
        .await
    }
}
