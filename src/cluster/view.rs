//! What this node knows of the other regions: who is reachable, how near, how far each has got; and
//! from that, who can keep a bucket's promises now.
//!
//! Nothing here is agreed on: it orders candidates and decides what is tried, never what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::net::message::LogHead;
use crate::types::bucket::{Ack, BucketConfig, Location};
use crate::types::id::Incarnation;
use crate::types::object::ObjectMeta;
use crate::types::region::{RegionId, RegionInfo};

use super::Cluster;
use super::acks::Wanted;
use super::error::Unavailable;
use super::standing::why_outdated;

/// What one peer said last.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerView {
    /// Monotonic time of its last answer or request.
    pub(super) last_contact: Option<Duration>,
    pub(super) heads: BTreeMap<(RegionId, Incarnation), LogHead>,
}

/// One peer, for people and metrics.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    pub region: RegionId,
    pub connected: bool,
    pub rtt: Option<Duration>,
    /// Since its last message; `None`: never since this node started.
    pub silent_for: Option<Duration>,
    /// Changes of this node that it has not applied.
    pub behind: u64,
    /// Changes of its own that this node has not applied.
    pub ahead: u64,
}

/// Who can acknowledge a change of one bucket now.
#[derive(Clone, Debug)]
pub(super) struct Quorum {
    own: RegionId,
    rolled_back: bool,
    /// Why this region writes no more.
    gone: Option<String>,
    own_domain: Option<String>,
    /// This node may hold the bytes and counts itself.
    pub(super) here: bool,
    /// Regions that must have bytes and record.
    pub(super) ack: usize,
    /// The other regions that may hold the bytes, with their failure domains.
    eligible: BTreeMap<RegionId, String>,
    /// Those that are connected, nearest first.
    reachable: Vec<RegionId>,
}

impl Quorum {
    /// Regions besides this one that must acknowledge.
    pub(super) fn followers_needed(&self) -> usize {
        self.ack.saturating_sub(usize::from(self.here))
    }

    /// The others could keep the promise without this region.
    pub(super) fn holds_without_own(&self) -> bool {
        self.reachable.len() >= self.ack
    }

    /// Refuses before anything is stored what could not be acknowledged.
    pub(super) fn check(&self) -> Result<(), Unavailable> {
        if self.rolled_back {
            return Err(Unavailable::new(why_outdated(self.own)));
        }
        if let Some(why) = &self.gone {
            return Err(Unavailable::new(why.clone()));
        }
        let needed = self.followers_needed();
        if self.reachable.len() >= needed {
            return Ok(());
        }
        let away: Vec<String> = self
            .eligible
            .keys()
            .filter(|region| !self.reachable.contains(region))
            .map(RegionId::to_string)
            .collect();
        Err(Unavailable::new(format!(
            "a write here needs {} of its regions and {} can be reached from {}; away: {}",
            self.ack,
            self.reachable.len() + usize::from(self.here),
            self.own,
            if away.is_empty() { "none".to_owned() } else { away.join(", ") },
        )))
    }

    /// Reachable followers in the order in which they are tried: as many failure domains as
    /// possible first, then by distance.
    pub(super) fn followers(&self) -> Vec<RegionId> {
        let mut seen: BTreeSet<&str> = self.own_domain.as_deref().into_iter().collect();
        let (mut first, mut later) = (Vec::new(), Vec::new());
        for region in &self.reachable {
            let fresh = seen.insert(&self.eligible[region]);
            if fresh { first.push(*region) } else { later.push(*region) }
        }
        first.extend(later);
        first
    }

    /// What a change at `seq` of this node's log waits for. Failure domains are counted where
    /// enough of them are reachable.
    pub(super) fn wanted(&self, seq: u64) -> Wanted {
        let mut domains: BTreeSet<&str> =
            self.reachable.iter().map(|region| self.eligible[region].as_str()).collect();
        if let Some(own) = self.own_domain.as_deref().filter(|_| self.here) {
            domains.remove(own);
        }
        let need = self.followers_needed();
        let by_domain = domains.len() >= need;
        Wanted {
            seq,
            need,
            eligible: self.eligible.clone(),
            own_domain: by_domain.then(|| match &self.own_domain {
                Some(domain) if self.here => domain.clone(),
                _ => String::new(),
            }),
        }
    }

    pub(super) fn too_late(&self) -> Unavailable {
        Unavailable::new(format!(
            "not enough of {} regions acknowledged in time; the write may still appear",
            self.ack
        ))
    }
}

impl Cluster {
    /// The members besides this one, by code.
    pub(super) fn others(&self) -> Vec<RegionInfo> {
        let own = self.region();
        self.members().regions().filter(|info| info.id != own).cloned().collect()
    }

    /// Connected first, then by round trip; regions of one distance by code.
    pub(super) fn nearest(&self, regions: impl IntoIterator<Item = RegionId>) -> Vec<RegionId> {
        let peers = &self.inner.peers;
        let mut ordered: Vec<(bool, Duration, RegionId)> = regions
            .into_iter()
            .filter(|region| *region != self.region())
            .map(|region| {
                let rtt = peers.rtt(region).unwrap_or(Duration::MAX);
                (!peers.is_connected(region), rtt, region)
            })
            .collect();
        ordered.sort_unstable();
        ordered.dedup();
        ordered.into_iter().map(|(_, _, region)| region).collect()
    }

    /// Who can keep the promises of a bucket now.
    pub(super) fn quorum(&self, config: &BucketConfig) -> Quorum {
        self.quorum_of(&config.location, config.ack)
    }

    /// Refuses where a bucket with these regions could not be written to from here now.
    pub fn writable(&self, location: &Location, ack: Ack) -> Result<(), Unavailable> {
        self.quorum_of(location, ack).check()
    }

    pub(super) fn quorum_of(&self, location: &Location, ack: Ack) -> Quorum {
        let own = self.region();
        let members = self.members();
        let me = members.get(own);
        let here = members.holders().any(|info| info.id == own) && location.allows(own);
        let eligible: BTreeMap<RegionId, String> = members
            .holders()
            .filter(|info| info.id != own && location.allows(info.id))
            .map(|info| (info.id, info.failure_domain.clone()))
            .collect();
        let reachable = self
            .nearest(eligible.keys().copied())
            .into_iter()
            .filter(|region| self.inner.peers.is_connected(*region))
            .collect();
        Quorum {
            own,
            rolled_back: self.inner.rolled_back.load(Ordering::Relaxed),
            gone: self.gone(),
            own_domain: me.map(|info| info.failure_domain.clone()),
            here,
            ack: ack.required(eligible.len() + usize::from(here)),
            eligible,
            reachable,
        }
    }

    /// A message of this peer came.
    pub(super) fn heard_from(&self, peer: RegionId) {
        let now = self.env().monotonic();
        self.inner.views().entry(peer).or_default().last_contact = Some(now);
    }

    /// How long a region has been out of reach; zero while it is connected.
    pub(super) fn away_for(&self, region: RegionId) -> Duration {
        if region == self.region() || self.is_connected(region) {
            return Duration::ZERO;
        }
        let contact = self.inner.views().get(&region).and_then(|view| view.last_contact);
        self.env().monotonic().saturating_sub(contact.unwrap_or_default())
    }

    /// Every peer, by code.
    pub fn status(&self) -> Vec<PeerStatus> {
        let own_head = self.inner.grown.head();
        let heads = self.heads().unwrap_or_else(|why| {
            tracing::error!(%why, "heads of the logs cannot be read");
            Vec::new()
        });
        let now = self.env().monotonic();
        let views = self.inner.views();
        let mut statuses = Vec::new();
        for info in self.others() {
            let view = views.get(&info.id).cloned().unwrap_or_default();
            let latest = view.heads.values().filter(|head| head.origin == info.id);
            let ahead = latest.max_by_key(|head| head.incarnation).map_or(0, |theirs| {
                let log = (theirs.origin, theirs.incarnation);
                let ours = heads.iter().find(|head| (head.origin, head.incarnation) == log);
                theirs.applied.saturating_sub(ours.map_or(0, |head| head.applied))
            });
            statuses.push(PeerStatus {
                region: info.id,
                connected: self.is_connected(info.id),
                rtt: self.inner.peers.rtt(info.id),
                silent_for: view.last_contact.map(|at| now.saturating_sub(at)),
                behind: own_head.saturating_sub(self.inner.acks.applied(info.id)),
                ahead,
            });
        }
        statuses
    }

    /// This node may keep the bytes of an object, cached copies included.
    pub fn may_keep(&self, config: &BucketConfig, object: &ObjectMeta) -> bool {
        config.allows(object, self.region())
    }
}
