//! The members as this node has taken them: from the register, from peers that know more, from the
//! log; and changes of them.
//!
//! Invariant: members are taken only when they are known to be chosen, later ones only, durably and
//! together with what that means for the registers here. From then on no question of an older epoch
//! is answered: the change itself says so, before it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;

use crate::limits;
use crate::logic::register::change::{Adopted, Electorate, Seat};
use crate::logic::register::{Outcome, Value};
use crate::net::message::Request;
use crate::net::registers::{RegisterRequest, RegisterResponse};
use crate::store;
use crate::types::members::{Gone, Member, MemberState};
use crate::types::record::{Record, RecordId};
use crate::types::region::{RegionId, RegionInfo};

use super::electorate::VoterChange;
use super::error::Unavailable;
use super::members::Members;
use super::register::{Operation, known};
use super::rules::Rule;
use super::{Cluster, cells, standing};

/// Why the members were not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotChanged {
    /// It would be wrong, and why.
    Refused(String),
    /// After this it may have been changed all the same.
    Unavailable(String),
}

impl From<Unavailable> for NotChanged {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable(why.reason)
    }
}

impl From<store::Error> for NotChanged {
    fn from(why: store::Error) -> Self {
        Self::Unavailable(why.to_string())
    }
}

/// Makes the next members of the present ones: `None` where they are so already, an error where it
/// would be wrong. It may run several times.
pub(super) type Change = Arc<dyn Fn(&Members) -> Result<Option<Members>, String> + Send + Sync>;

/// What a [`Change`] said last.
type Judged = Arc<Mutex<Option<Result<Option<Members>, String>>>>;

/// What a node remembers of the members besides themselves.
pub(super) struct Roster {
    /// Of the electorate that this voter answers for.
    epoch: AtomicU64,
    alone: AtomicBool,
    /// This region is no member any more.
    gone: AtomicBool,
    /// The version in which this directory's region was listed.
    since: u64,
    /// Peers that this node's log is pushed to.
    pushing: Mutex<BTreeSet<RegionId>>,
    /// The change of voters that this node drives.
    pub(super) changing: Mutex<Option<VoterChange>>,
}

impl Roster {
    pub(super) fn new(members: &Members, own: RegionId, since: u64) -> Self {
        let roster = Self {
            epoch: AtomicU64::new(0),
            alone: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            since,
            pushing: Mutex::default(),
            changing: Mutex::default(),
        };
        roster.sit(members, own);
        roster
    }

    /// What holds as soon as these members are written down.
    fn sit(&self, members: &Members, own: RegionId) {
        let alone = members.members.len() == 1 && members.voters() == [own];
        self.alone.store(alone, Ordering::SeqCst);
        self.epoch.store(members.electorate().epoch(), Ordering::SeqCst);
        let still = members.member(own).is_some_and(|member| member.since == self.since);
        self.gone.store(!still, Ordering::SeqCst);
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// This region is the only member.
    pub(super) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::SeqCst)
    }

    fn pushing(&self) -> std::sync::MutexGuard<'_, BTreeSet<RegionId>> {
        self.pushing.lock().expect("no holder of this lock panics")
    }
}

impl Cluster {
    pub(super) fn roster(&self) -> &Roster {
        &self.inner.roster
    }

    /// Why this node does nothing any more: its region was removed.
    pub fn gone(&self) -> Option<String> {
        let gone = self.roster().gone.load(Ordering::SeqCst);
        gone.then(|| self.members().why_gone(self.region()))
    }

    /// Members say what they want; others hear who the members are, and nothing else. An old copy of
    /// a data directory answers nothing of what it has: that may have been deleted since.
    pub(super) fn admit(&self, from: RegionId, request: &Request) -> Result<(), String> {
        let about_members = match request {
            Request::Register(register) => {
                matches!(**register, RegisterRequest::Members | RegisterRequest::Adopt(_))
            }
            request => matches!(request, Request::Ping | Request::Time),
        };
        if !about_members && let Some(why) = self.outdated() {
            return Err(why);
        }
        let members = self.members();
        if members.contains(from) {
            return Ok(());
        }
        match request {
            Request::Register(register) if **register == RegisterRequest::Members => Ok(()),
            _ => Err(members.why_gone(from)),
        }
    }

    /// The members that a register's value, or else this node, knows.
    pub(super) fn members_in(&self, value: Option<&Value<Record>>) -> Arc<Members> {
        let taken = self.members();
        match value.map(|value| &value.state) {
            Some(Record::Members(members))
                if members.cluster == taken.cluster && members.version >= taken.version =>
            {
                Arc::new((**members).clone())
            }
            Some(_) | None => taken,
        }
    }

    /// Takes members that were decided, if they are later than what is known here.
    pub(super) async fn adopt(&self, given: Members) -> Result<(), store::Error> {
        let known = self.members();
        if given.version <= known.version || given.cluster != known.cluster {
            return Ok(());
        }
        let (own, cluster) = (self.region(), self.clone());
        let taken = self
            .store()
            .write(move |tx| {
                let Some(known) = Members::seat(tx)? else { return Ok(None) };
                if given.version <= known.version {
                    return Ok(None);
                }
                let mut seat = Seat::new(known.electorate.clone());
                match seat.adopt(&given.electorate, own) {
                    Adopted::Discard => cells::discard_all(tx)?,
                    Adopted::Kept if cluster.keeps(Rule::MembersBeginAnew) => {
                        cells::begin_members(tx)?;
                    }
                    Adopted::Kept | Adopted::Known => {}
                }
                for gone in given.gone.iter().filter(|gone| gone.version > known.version) {
                    standing::forget_counters(tx, gone.region)?;
                }
                given.keep(tx)?;
                cluster.roster().sit(&given, own);
                Ok::<_, store::Error>(Some((known, given)))
            })
            .await?;
        match taken {
            Some((before, members)) => {
                self.took(&before, members);
                Ok(())
            }
            None => self.take_written(),
        }
    }

    /// Takes what is written down and was not taken, because the disk answered too late: this voter
    /// answers for the later epoch already, and counts the voters of the earlier one.
    pub(super) fn take_written(&self) -> Result<(), store::Error> {
        let before = self.members();
        match Members::stored(&self.store().read()?)? {
            Some(written) if written.version > before.version => self.took(&before, written),
            Some(_) | None => {}
        }
        Ok(())
    }

    fn took(&self, before: &Members, members: Members) {
        {
            let mut known = self.inner.members.lock().expect("no holder of this lock panics");
            if members.version <= known.version {
                return;
            }
            *known = Arc::new(members.clone());
        }
        let (version, voters) = (members.version, members.voters());
        tracing::info!(version, ?voters, epoch = members.electorate().epoch(), "members");
        if let Some(why) = self.gone() {
            tracing::error!(why, "this node stops");
        }
        self.inner.registers.burn_warm();
        self.follow_members();
        let counted = |of: &Members, id| of.is_active(id);
        let fewer = before.active().find(|info| !counted(&members, info.id));
        if let Some(info) = fewer {
            self.want_repair(format!("{} is drained or removed", info.id));
        }
    }

    /// Reaches, gossips with and pushes to those that are members now.
    pub(super) fn follow_members(&self) {
        let members = self.members();
        let own = self.region();
        // What is decided of them next is stamped above them.
        self.clock().stamp(0, members.stamp);
        let others = members.members.iter().filter(|member| member.info.id != own);
        let reached = others.clone().map(|m| (m.info.id, m.address.clone())).collect();
        let askers = members.gone.iter().map(|gone| gone.region).collect();
        self.inner.peers.set_members(reached, askers);
        let others: Vec<RegionId> = others.map(|member| member.info.id).collect();
        self.inner.gossip.set_others(others.clone());
        if self.gone().is_some() {
            return;
        }
        for peer in others {
            if self.roster().pushing().insert(peer) {
                self.spawn_pusher(peer);
            }
        }
    }

    /// Whether this node's log still goes to a peer; where it does not, its pusher ends.
    pub(super) fn still_pushes(&self, peer: RegionId) -> bool {
        let still = self.members().contains(peer) && self.gone().is_none();
        if !still {
            self.roster().pushing().remove(&peer);
        }
        still
    }

    /// Tells everyone; who knows them now, and who does not and why.
    pub(super) async fn tell_members(&self, regions: &[RegionId]) -> BTreeMap<RegionId, String> {
        let members = self.members();
        let (own, registers) = (self.region(), self.registers());
        let told = regions.iter().filter(|region| **region != own).map(|region| {
            let request = RegisterRequest::Adopt(Box::new((*members).clone()));
            let (registers, version) = (&registers, members.version);
            async move {
                match registers.call(*region, request).await {
                    Ok(RegisterResponse::Members(theirs)) if theirs.version >= version => None,
                    Ok(other) => Some((*region, format!("odd answer {other:?}"))),
                    Err(why) => Some((*region, why.to_string())),
                }
            }
        });
        join_all(told).await.into_iter().flatten().collect()
    }

    /// Changes the members by their register, and tells everyone.
    pub(super) async fn change_members(&self, change: Change) -> Result<Members, NotChanged> {
        let before = self.members();
        let deadline = self.env().monotonic() + limits::REGISTER_TIMEOUT;
        let members = loop {
            if let Some(members) = self.try_change(&change).await? {
                break members;
            }
            if self.env().monotonic() >= deadline {
                let why = "the members are being changed by others; ask again";
                return Err(NotChanged::Unavailable(why.to_owned()));
            }
            self.env().sleep(limits::REGISTER_PAUSE_MIN).await;
        };
        let mut regions: BTreeSet<RegionId> = members.regions().map(|info| info.id).collect();
        regions.extend(before.regions().map(|info| info.id));
        let regions: Vec<RegionId> = regions.into_iter().collect();
        for (region, why) in self.tell_members(&regions).await {
            tracing::info!(%region, why, "will hear of the members later");
        }
        Ok(members)
    }

    /// One attempt; `None` where it was computed from members, or by voters, that are over.
    async fn try_change(&self, change: &Change) -> Result<Option<Members>, NotChanged> {
        let registers = self.registers();
        let judged = Judged::default();
        let (cluster, note, change) = (self.clone(), judged.clone(), change.clone());
        let judge = move |current: Option<&Value<Record>>, stamp| {
            let outcome = change(&cluster.members_in(current));
            let next = outcome.as_ref().ok().and_then(Clone::clone);
            *note.lock().expect("no holder of this lock panics") = Some(outcome);
            let mut next = next?;
            (next.stamp, next.version) = (stamp, next.version + 1);
            Some(Record::Members(Box::new(next)))
        };
        let operation = Operation {
            id: RecordId::Members,
            op: registers.fresh_op(),
            judge: Some(Arc::new(judge)),
            bodies: Vec::new(),
        };
        let outcome = registers.run(operation, limits::REGISTER_TIMEOUT).await?;
        if let Some(Record::Members(members)) = known(&outcome).map(|value| &value.state) {
            self.adopt((**members).clone()).await?;
        }
        let judged = judged.lock().expect("no holder of this lock panics").take();
        match (outcome, judged) {
            (Outcome::Chosen { .. }, _) | (_, Some(Ok(None))) => {
                Ok(Some((*self.members()).clone()))
            }
            (_, Some(Err(why))) => Err(NotChanged::Refused(why)),
            (_, Some(Ok(Some(_))) | None) => Ok(None),
        }
    }
}

/// A region is listed, and fetches what there is from then on.
fn listed(
    members: &Members,
    info: &RegionInfo,
    address: Option<&String>,
) -> Result<Option<Members>, String> {
    if let Some(known) = members.member(info.id) {
        return match known.state {
            MemberState::Joining => Ok(None),
            MemberState::Active | MemberState::Draining => {
                Err(format!("region {} is a member already", info.id))
            }
        };
    }
    if members.members.len() >= limits::REGIONS_MAX {
        return Err(format!("a cluster has at most {} regions", limits::REGIONS_MAX));
    }
    let mut next = members.clone();
    let since = members.version + 1;
    let (state, address) = (MemberState::Joining, address.cloned());
    next.members.push(Member { info: info.clone(), state, since, address });
    next.members.sort_by_key(|member| member.info.id);
    Ok(Some(next))
}

/// A member's state changes from one to the other.
fn turned(
    members: &Members,
    region: RegionId,
    from: MemberState,
    to: MemberState,
) -> Result<Option<Members>, String> {
    let mut next = members.clone();
    let Some(member) = next.member_mut(region) else {
        return Err(format!("region {region} is no member"));
    };
    if member.state == to {
        return Ok(None);
    }
    if member.state != from {
        return Err(format!("region {region} is {:?}", member.state).to_lowercase());
    }
    member.state = to;
    if next.holders().next().is_none() {
        return Err(format!("{region} is the last region that keeps bytes"));
    }
    Ok(Some(next))
}

/// A region is a member no more.
fn removed(
    members: &Members,
    gone: &Gone,
    needed: Option<MemberState>,
) -> Result<Option<Members>, String> {
    let Some(member) = members.member(gone.region) else { return Ok(None) };
    let region = gone.region;
    if needed.is_some_and(|needed| member.state != needed && member.state != MemberState::Joining) {
        return Err(format!("region {region} is not drained"));
    }
    if !gone.lost && members.is_voter(region) {
        return Err(format!("region {region} is still a voter"));
    }
    let mut next = members.clone();
    next.members.retain(|member| member.info.id != region);
    if next.holders().next().is_none() {
        return Err(format!("{region} is the last region that keeps bytes"));
    }
    next.gone.push(Gone { version: members.version + 1, ..gone.clone() });
    Ok(Some(next))
}

impl Cluster {
    /// Lists a new region. It may be given its token when this has ended well: every member knows
    /// of it then, so that nothing is forgotten that it has not heard of.
    pub async fn add_region(
        &self,
        info: RegionInfo,
        address: Option<String>,
    ) -> Result<Members, NotChanged> {
        let change: Change = Arc::new(move |members| listed(members, &info, address.as_ref()));
        let members = self.change_members(change).await?;
        let joined = |member: &&Member| member.state != MemberState::Joining;
        let regions: Vec<RegionId> =
            members.members.iter().filter(joined).map(|member| member.info.id).collect();
        let missing = self.tell_members(&regions).await;
        if missing.is_empty() {
            return Ok(members);
        }
        let missing: Vec<String> =
            missing.into_iter().map(|(region, why)| format!("{region}: {why}")).collect();
        Err(NotChanged::Unavailable(format!(
            "the region is listed, but not every member knows it yet ({}); ask again",
            missing.join("; ")
        )))
    }

    /// A region's copies, primaries and votes go elsewhere from now on.
    pub async fn drain_region(&self, region: RegionId) -> Result<Members, NotChanged> {
        let (from, to) = (MemberState::Active, MemberState::Draining);
        self.change_members(Arc::new(move |members| turned(members, region, from, to))).await
    }

    /// The way back.
    pub async fn undrain_region(&self, region: RegionId) -> Result<Members, NotChanged> {
        let (from, to) = (MemberState::Draining, MemberState::Active);
        self.change_members(Arc::new(move |members| turned(members, region, from, to))).await
    }

    /// A region that has fetched what there was begins to count.
    pub(super) async fn activate(&self, region: RegionId) -> Result<Members, NotChanged> {
        let (from, to) = (MemberState::Joining, MemberState::Active);
        self.change_members(Arc::new(move |members| turned(members, region, from, to))).await
    }

    /// Removes a region that is drained, or one that is `lost` for good.
    pub async fn remove_region(&self, region: RegionId, lost: bool) -> Result<Members, NotChanged> {
        let members = self.members();
        let Some(member) = members.member(region) else {
            return Err(NotChanged::Refused(format!("region {region} is no member")));
        };
        if region == self.region() {
            let why = format!("{region} cannot remove itself; ask another region");
            return Err(NotChanged::Refused(why));
        }
        if lost && self.is_connected(region) {
            let why = format!("{region} can be reached: it is not lost; drain it");
            return Err(NotChanged::Refused(why));
        }
        if !lost && member.state != MemberState::Joining {
            self.check_drained(region).await?;
        }
        let incarnations = self.known_heads().into_keys().filter(|(origin, _)| *origin == region);
        let incarnations = incarnations.map(|(_, incarnation)| incarnation).collect();
        let at_ms = self.env().now_ms();
        let gone = Gone { region, version: 0, at_ms, lost, incarnations };
        let needed = (!lost).then_some(MemberState::Draining);
        self.change_members(Arc::new(move |members| removed(members, &gone, needed))).await
    }

    async fn check_drained(&self, region: RegionId) -> Result<(), NotChanged> {
        let members = self.members();
        if members.electorate().is_joint() || members.is_voter(region) {
            let why = format!("{region} is still a voter; wait for the change of voters");
            return Err(NotChanged::Refused(why));
        }
        let remains = self.remains_of(region).await?;
        if remains.version < members.version {
            let why = format!("{region} has not heard of the drain yet; ask again");
            return Err(NotChanged::Refused(why));
        }
        if !remains.is_nothing() {
            return Err(NotChanged::Refused(format!(
                "{region} still has {} copies, {} parts of uploads and {} pending writes",
                remains.copies, remains.uploads, remains.pending
            )));
        }
        // What clients write there from now on is acknowledged by others, as it keeps nothing.
        self.await_log(region, remains.head).await
    }

    /// Waits until every member has applied a region's log up to there.
    async fn await_log(&self, region: RegionId, head: u64) -> Result<(), NotChanged> {
        let deadline = self.env().monotonic() + limits::REGISTER_TIMEOUT;
        loop {
            let applied = self.remains_of(region).await?.applied;
            if applied >= head {
                return Ok(());
            }
            if self.env().monotonic() >= deadline {
                return Err(NotChanged::Refused(format!(
                    "{} changes that were made in {region} are not known everywhere yet",
                    head - applied
                )));
            }
            self.env().sleep(limits::MEMBERS_INTERVAL).await;
        }
    }
}

/// The electorate as people see it.
impl Cluster {
    pub fn electorate(&self) -> Electorate {
        self.members().electorate().clone()
    }
}
