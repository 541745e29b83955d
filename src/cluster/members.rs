//! Who belongs to this cluster, and who keeps its registers. This, not gossip, says who is a
//! member.
//!
//! Invariant: every node of one epoch computes the same voters from the same regions; two sets of
//! members with one epoch are equal.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::env::Peers;
use crate::limits;
use crate::store::{self, Snapshot, Store, Table};
use crate::types::id::ClusterId;
use crate::types::region::{RegionId, RegionInfo, Role};

/// Why regions cannot be a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadMembers {
    Empty,
    Twice(RegionId),
    TooMany(usize),
}

impl fmt::Display for BadMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a cluster has at least one region"),
            Self::Twice(region) => write!(f, "region {region} is named twice"),
            Self::TooMany(count) => {
                write!(f, "{count} regions; a full mesh has at most {}", limits::REGIONS_MAX)
            }
        }
    }
}

impl std::error::Error for BadMembers {}

/// The members register's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Members {
    cluster: ClusterId,
    /// Grows with every change of members, roles or voters.
    epoch: u64,
    /// By code, each once.
    regions: Vec<RegionInfo>,
    /// By code; one, two, or an odd number up to seven.
    voters: Vec<RegionId>,
}

impl Members {
    /// The first members, as `cluster init` writes them.
    pub fn new(cluster: ClusterId, mut regions: Vec<RegionInfo>) -> Result<Self, BadMembers> {
        regions.sort_by_key(|r| r.id);
        if regions.is_empty() {
            return Err(BadMembers::Empty);
        }
        if regions.len() > limits::REGIONS_MAX {
            return Err(BadMembers::TooMany(regions.len()));
        }
        if let Some(pair) = regions.windows(2).find(|w| w[0].id == w[1].id) {
            return Err(BadMembers::Twice(pair[0].id));
        }
        let voters = choose_voters(&regions);
        Ok(Self { cluster, epoch: 1, regions, voters })
    }

    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Every member, by code.
    pub fn regions(&self) -> impl Iterator<Item = &RegionInfo> {
        self.regions.iter()
    }

    pub fn get(&self, id: RegionId) -> Option<&RegionInfo> {
        self.regions.binary_search_by_key(&id, |r| r.id).ok().map(|at| &self.regions[at])
    }

    pub fn contains(&self, id: RegionId) -> bool {
        self.get(id).is_some()
    }

    /// The regions that keep registers, by code.
    pub fn voters(&self) -> &[RegionId] {
        &self.voters
    }

    pub fn is_voter(&self, id: RegionId) -> bool {
        self.voters.contains(&id)
    }

    /// Voters that make a majority.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// How many peers must confirm an acceptor's counters before it serves again: two, one in a
    /// cluster of two, none in a cluster of one.
    pub fn confirmations(&self) -> usize {
        (self.regions.len() - 1).min(2)
    }

    /// The members besides `own`, nearest first; unmeasured ones last, by code.
    pub fn by_distance(&self, own: RegionId, peers: &dyn Peers) -> Vec<RegionId> {
        nearest(self.regions().map(|r| r.id).filter(|id| *id != own), peers)
    }

    /// The voters besides `own`, nearest first.
    pub fn voters_by_distance(&self, own: RegionId, peers: &dyn Peers) -> Vec<RegionId> {
        nearest(self.voters.iter().copied().filter(|id| *id != own), peers)
    }
}

/// Where the members stand in [`Table::Member`].
const MEMBERS_KEY: &[u8] = b"members";

impl Members {
    /// The members as this data directory knows them.
    pub fn stored(view: &Snapshot) -> Result<Option<Self>, store::Error> {
        view.get(Table::Member, MEMBERS_KEY)
    }

    /// Writes down the members at the first start; later, what is written down counts, unless
    /// `given` is of a later epoch.
    pub(super) async fn adopt(store: &Store, given: Self) -> Result<Self, store::Error> {
        store
            .write(move |tx| {
                let known: Option<Self> = tx.get(Table::Member, MEMBERS_KEY)?;
                match known {
                    Some(known) if known.cluster != given.cluster => Err(store::Error::Corrupt(
                        format!("this directory is of cluster {}", known.cluster).into(),
                    )),
                    Some(known) if known.epoch >= given.epoch => {
                        if known != given {
                            tracing::warn!(
                                regions = ?known.regions().map(|r| r.id).collect::<Vec<_>>(),
                                "other members were given than are written down; these count"
                            );
                        }
                        Ok(known)
                    }
                    Some(_) | None => {
                        tx.put(Table::Member, MEMBERS_KEY, &given)?;
                        Ok(given)
                    }
                }
            })
            .await
    }
}

fn nearest(ids: impl Iterator<Item = RegionId>, peers: &dyn Peers) -> Vec<RegionId> {
    let mut ids: Vec<(Duration, RegionId)> =
        ids.map(|id| (peers.rtt(id).unwrap_or(Duration::MAX), id)).collect();
    ids.sort();
    ids.into_iter().map(|(_, id)| id).collect()
}

/// One region: itself; two: both; from three on an odd number, at most seven: the ones marked as
/// voters first, then other full members, then the rest.
fn choose_voters(regions: &[RegionInfo]) -> Vec<RegionId> {
    let marked = regions.iter().filter(|r| r.voter).count();
    let count = match regions.len() {
        n @ 0..=2 => n,
        n => {
            let wanted = marked.clamp(3, n.min(limits::VOTERS_MAX));
            wanted - (wanted + 1) % 2
        }
    };
    let mut order: Vec<&RegionInfo> = regions.iter().collect();
    order.sort_by_key(|r| (!r.voter, r.role != Role::Full, r.id));
    let mut voters: Vec<RegionId> = order.into_iter().take(count).map(|r| r.id).collect();
    voters.sort();
    assert!(matches!(voters.len(), 1 | 2 | 3 | 5 | 7), "one, two or an odd number");
    voters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::region::Coordinates;

    fn info(code: &str, voter: bool, role: Role) -> RegionInfo {
        RegionInfo {
            id: code.parse().unwrap(),
            city: code.to_uppercase(),
            coordinates: Coordinates { lat: 0.0, lon: 0.0 },
            geography: "eu".to_owned(),
            failure_domain: code.to_owned(),
            role,
            voter,
        }
    }

    fn voters(regions: &[(&str, bool, Role)]) -> Vec<String> {
        let regions = regions.iter().map(|(c, v, r)| info(c, *v, *r)).collect();
        let members = Members::new(ClusterId([1; 16]), regions).unwrap();
        members.voters().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn voters_are_one_or_two_or_an_odd_number() {
        let full = |code| (code, true, Role::Full);
        assert_eq!(voters(&[full("fra")]), ["fra"]);
        assert_eq!(voters(&[full("fra"), full("iad")]), ["fra", "iad"]);
        assert_eq!(voters(&[("fra", false, Role::Full), full("iad")]), ["fra", "iad"]);
        let four = [full("nrt"), full("fra"), full("iad"), full("ams")];
        assert_eq!(voters(&four), ["ams", "fra", "iad"]);
        let eight = ["ams", "cdg", "fra", "gru", "iad", "lhr", "nrt", "syd"].map(full);
        assert_eq!(voters(&eight).len(), 7);
    }

    #[test]
    fn unmarked_regions_vote_only_to_make_three() {
        let regions = [
            ("ams", false, Role::Cache),
            ("fra", false, Role::Full),
            ("iad", true, Role::Full),
            ("nrt", true, Role::Full),
        ];
        assert_eq!(voters(&regions), ["fra", "iad", "nrt"]);
    }

    #[test]
    fn members_are_each_named_once() {
        let twice = vec![info("fra", true, Role::Full), info("fra", true, Role::Full)];
        let id = twice[0].id;
        assert_eq!(Members::new(ClusterId([1; 16]), twice), Err(BadMembers::Twice(id)));
        assert_eq!(Members::new(ClusterId([1; 16]), Vec::new()), Err(BadMembers::Empty));
    }
}
