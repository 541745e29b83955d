//! Who belongs to this cluster, and who keeps its registers. This, not gossip, says who is a
//! member.
//!
//! Invariant: two sets of members with one version are equal. What a node has taken is on its disk
//! before it acts on it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::env::Peers;
use crate::limits;
use crate::store::{self, Snapshot, Store, Table, Tx};
use crate::types::id::ClusterId;
use crate::types::members::{Electorate, Member, MemberState};
use crate::types::region::{RegionId, RegionInfo, Role};
use crate::types::stamp::Stamp;

pub use crate::types::members::Members;

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
        let voters = choose_voters(&regions, &[]);
        Ok(Self::first(cluster, regions, voters))
    }

    /// The value before any change.
    fn first(cluster: ClusterId, regions: Vec<RegionInfo>, voters: Vec<RegionId>) -> Self {
        let listed = |info| Member { info, state: MemberState::Active, since: 1, address: None };
        Self {
            stamp: Stamp::ZERO,
            cluster,
            version: 1,
            members: regions.into_iter().map(listed).collect(),
            electorate: Electorate::first(1, voters),
            gone: Vec::new(),
        }
    }

    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Every member, by code.
    pub fn regions(&self) -> impl Iterator<Item = &RegionInfo> {
        self.members.iter().map(|member| &member.info)
    }

    pub fn member(&self, id: RegionId) -> Option<&Member> {
        self.members.binary_search_by_key(&id, |m| m.info.id).ok().map(|at| &self.members[at])
    }

    pub(super) fn member_mut(&mut self, id: RegionId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.info.id == id)
    }

    pub fn get(&self, id: RegionId) -> Option<&RegionInfo> {
        self.member(id).map(|member| &member.info)
    }

    pub fn contains(&self, id: RegionId) -> bool {
        self.member(id).is_some()
    }

    /// Members that new copies, primaries and votes may go to.
    pub fn active(&self) -> impl Iterator<Item = &RegionInfo> {
        let active = |member: &&Member| member.state == MemberState::Active;
        self.members.iter().filter(active).map(|member| &member.info)
    }

    /// Members that may be given bytes to keep.
    pub fn holders(&self) -> impl Iterator<Item = &RegionInfo> {
        self.active().filter(|info| info.role != Role::Cache)
    }

    pub fn is_active(&self, id: RegionId) -> bool {
        self.member(id).is_some_and(|member| member.state == MemberState::Active)
    }

    pub fn electorate(&self) -> &Electorate {
        &self.electorate
    }

    /// The regions that keep registers, by code; during a change the old and the new ones.
    pub fn voters(&self) -> Vec<RegionId> {
        self.electorate.everyone().into_iter().collect()
    }

    pub fn is_voter(&self, id: RegionId) -> bool {
        self.electorate.has(id)
    }

    /// Voters that make a majority.
    pub fn majority(&self) -> usize {
        self.electorate.everyone().len() / 2 + 1
    }

    /// The voters that these members should have: as many as the regions that are marked, 1, 2, 3, 5
    /// or 7, and of those that are equally good the ones that are voters now.
    pub(super) fn voters_wanted(&self) -> Vec<RegionId> {
        let active: Vec<RegionInfo> = self.active().cloned().collect();
        choose_voters(&active, &self.voters())
    }

    /// How many peers must confirm an acceptor's counters before it serves again: most of them, so
    /// that one of those that are asked remembers what was said at the start before. Two where there
    /// are two or three, one in a cluster of two, none in a cluster of one.
    pub fn confirmations(&self) -> usize {
        let settled = self.members.iter().filter(|m| m.state != MemberState::Joining).count();
        let peers = settled.saturating_sub(1);
        peers / 2 + usize::from(peers > 0)
    }

    /// The members besides `own`, nearest first; unmeasured ones last, by code.
    pub fn by_distance(&self, own: RegionId, peers: &dyn Peers) -> Vec<RegionId> {
        nearest(self.regions().map(|r| r.id).filter(|id| *id != own), peers)
    }

    /// The voters besides `own`, nearest first.
    pub fn voters_by_distance(&self, own: RegionId, peers: &dyn Peers) -> Vec<RegionId> {
        nearest(self.voters().into_iter().filter(|id| *id != own), peers)
    }

    /// What a node hears that is of this cluster no more.
    pub fn why_gone(&self, region: RegionId) -> String {
        let Some(gone) = self.gone.iter().rev().find(|gone| gone.region == region) else {
            return format!("region {region} is no member of this cluster");
        };
        format!(
            "region {region} was removed from this cluster (version {} of its members); to come \
             back it must join as a new one: on a node that has the cluster's authority run \
             `godwit region add {region}`, then start it with that token and an empty data directory",
            gone.version
        )
    }
}

/// The members as they were written down and put into tokens before there was a register for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatedMembers {
    cluster: ClusterId,
    epoch: u64,
    regions: Vec<RegionInfo>,
    voters: Vec<RegionId>,
    /// What they are now, in tokens of later regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    now: Option<Box<Members>>,
}

impl From<Members> for StatedMembers {
    fn from(members: Members) -> Self {
        Self {
            cluster: members.cluster,
            epoch: 1,
            regions: members.regions().cloned().collect(),
            voters: members.voters(),
            now: (members.version > 1).then(|| Box::new(members)),
        }
    }
}

impl From<StatedMembers> for Members {
    fn from(stated: StatedMembers) -> Self {
        match stated.now {
            Some(now) => *now,
            None => Self::first(stated.cluster, stated.regions, stated.voters),
        }
    }
}

/// The first members as old data directories have them.
#[derive(Serialize, Deserialize)]
struct Charter {
    cluster: ClusterId,
    epoch: u64,
    regions: Vec<RegionInfo>,
    voters: Vec<RegionId>,
}

/// Where the members stand in [`Table::Member`], and where they stood before they could change.
const MEMBERS_KEY: &[u8] = b"members/2";
const CHARTER_KEY: &[u8] = b"members";
/// The version in which this directory's region was listed.
const SINCE_KEY: &[u8] = b"since";

impl Members {
    /// The members as this data directory knows them.
    pub fn stored(view: &Snapshot) -> Result<Option<Self>, store::Error> {
        if let Some(known) = view.get(Table::Member, MEMBERS_KEY)? {
            return Ok(Some(known));
        }
        let charter: Option<Charter> = view.get(Table::Member, CHARTER_KEY)?;
        Ok(charter.map(|old| Self::first(old.cluster, old.regions, old.voters)))
    }

    /// The same within a change: what this node answers for as a voter.
    pub(super) fn seat(tx: &Tx<'_>) -> Result<Option<Self>, store::Error> {
        if let Some(known) = tx.get(Table::Member, MEMBERS_KEY)? {
            return Ok(Some(known));
        }
        let charter: Option<Charter> = tx.get(Table::Member, CHARTER_KEY)?;
        Ok(charter.map(|old| Self::first(old.cluster, old.regions, old.voters)))
    }

    pub(super) fn keep(&self, tx: &mut Tx<'_>) -> Result<(), store::Error> {
        tx.put(Table::Member, MEMBERS_KEY, self)
    }

    /// Writes down the members at the first start; later, what is written down counts, unless
    /// `given` is later. Also the version in which this region was listed when it first started.
    pub(super) async fn open(store: &Store, given: Self) -> Result<(Self, u64), store::Error> {
        let own = store.region();
        store
            .write(move |tx| {
                let members = match Self::seat(tx)? {
                    Some(known) if known.cluster != given.cluster => {
                        return Err(store::Error::Corrupt(
                            format!("this directory is of cluster {}", known.cluster).into(),
                        ));
                    }
                    // What others decided meanwhile is heard from them, not from a token.
                    Some(known) => known,
                    None => given,
                };
                members.keep(tx)?;
                let since = match tx.get(Table::Member, SINCE_KEY)? {
                    Some(since) => since,
                    None => members.member(own).map_or(0, |member| member.since),
                };
                tx.put(Table::Member, SINCE_KEY, &since)?;
                Ok((members, since))
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
/// voters first, then other full members, then the rest; of those that are alike the present ones.
fn choose_voters(regions: &[RegionInfo], now: &[RegionId]) -> Vec<RegionId> {
    let marked = regions.iter().filter(|r| r.voter).count();
    let count = match regions.len() {
        n @ 0..=2 => n,
        n => {
            let wanted = marked.clamp(3, n.min(limits::VOTERS_MAX));
            wanted - (wanted + 1) % 2
        }
    };
    let mut order: Vec<&RegionInfo> = regions.iter().collect();
    order.sort_by_key(|r| (!r.voter, r.role != Role::Full, !now.contains(&r.id), r.id));
    let mut voters: Vec<RegionId> = order.into_iter().take(count).map(|r| r.id).collect();
    voters.sort();
    assert!(matches!(voters.len(), 0 | 1 | 2 | 3 | 5 | 7), "one, two or an odd number");
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
    fn so_many_confirm_a_start_that_one_of_them_confirmed_the_one_before() {
        let codes = ["ams", "cdg", "fra", "gru", "iad", "lhr", "nrt", "syd"];
        for count in 1..=codes.len() {
            let regions = codes[..count].iter().map(|code| info(code, true, Role::Full)).collect();
            let members = Members::new(ClusterId([1; 16]), regions).unwrap();
            let (peers, needed) = (count - 1, members.confirmations());
            assert!(needed <= peers && (peers == 0 || 2 * needed > peers), "{count}: {needed}");
            // Also where one region came or left between the two starts.
            assert!(peers == 0 || needed + peers.div_ceil(2) > peers, "{count}");
        }
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
