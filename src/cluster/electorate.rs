//! Looks after the members: takes what was decided, lets a region that has caught up begin to
//! count, and brings the voters to what the members say. Drives `logic::register::change`.
//!
//! Invariant: nothing here has to survive a crash, and any number of nodes may do it at once: each
//! step is one compare-and-set of the members' register, and rewriting a register twice is harmless.
//! New voters are asked for only when they answer, because a change waits for a majority of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;

use crate::limits;
use crate::logic::copies::rendezvous;
use crate::logic::lease::Term;
use crate::logic::register::change::{Change, Electorate, Next, Page};
use crate::net::registers::{RegisterRequest, RegisterResponse, Remains};
use crate::store;
use crate::types::id::UploadId;
use crate::types::members::{Member, MemberState};
use crate::types::object::HoldState;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

use super::Cluster;
use super::heat::placed;
use super::members::Members;
use super::pending;
use super::roster::NotChanged;

/// A change of voters that this node drives, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterChange {
    pub epoch: u64,
    /// `install`, `list`, `rewrite` or `settle`.
    pub phase: &'static str,
    /// Registers that the new voters have.
    pub rewritten: u64,
    /// Registers that were found so far.
    pub found: u64,
}

/// Since when something waits to be done, in the epoch and version that it is about.
struct Waiting {
    version: u64,
    since: Duration,
    /// The next look at what a drained region still has.
    drain_at: Duration,
}

impl Cluster {
    /// The change of voters that this node drives.
    pub fn voter_change(&self) -> Option<VoterChange> {
        self.roster().changing.lock().expect("no holder of this lock panics").clone()
    }

    pub(super) async fn keep_members(self) {
        let now = self.env().monotonic();
        let mut waiting = Waiting { version: 0, since: now, drain_at: now };
        let mut heard = BTreeMap::new();
        loop {
            self.env().sleep(limits::MEMBERS_INTERVAL).await;
            if let Err(why) = self.learn_members(&mut heard).await {
                tracing::error!(%why, "the members cannot be read");
                continue;
            }
            if self.gone().is_some() {
                continue;
            }
            if let Err(why) = self.look_after_members(&mut waiting).await {
                tracing::info!(why, "the members stay as they are for now");
            }
        }
    }

    /// Takes what the log brought; and what each member says, now and then: a region that was cut
    /// off while it was removed is sent no log any more, and hears of it in no other way.
    async fn learn_members(
        &self,
        heard: &mut BTreeMap<RegionId, Duration>,
    ) -> Result<(), store::Error> {
        self.take_written()?;
        let record = self.store().read()?.record(&RecordId::Members)?;
        if let Some(Record::Members(members)) = record {
            self.adopt(*members).await?;
        }
        let now = self.env().monotonic();
        heard.retain(|_, at| now.saturating_sub(*at) < limits::MEMBERS_ASKED_INTERVAL);
        let mut left = self.others();
        left.retain(|info| !heard.contains_key(&info.id) && self.is_connected(info.id));
        let registers = self.registers();
        let asked = left.iter().map(|info| registers.call(info.id, RegisterRequest::Members));
        for (info, answer) in left.iter().zip(join_all(asked).await) {
            if let Ok(RegisterResponse::Members(members)) = answer {
                heard.insert(info.id, now);
                self.adopt(*members).await?;
            }
        }
        Ok(())
    }

    async fn look_after_members(&self, waiting: &mut Waiting) -> Result<(), String> {
        let (members, own) = (self.members(), self.region());
        match members.member(own).map(|member| member.state) {
            Some(MemberState::Joining) => return self.catch_up_and_join().await,
            Some(MemberState::Draining) if self.env().monotonic() >= waiting.drain_at => {
                waiting.drain_at = self.env().monotonic() + limits::DRAIN_INTERVAL;
                self.want_repair("this region is drained".to_owned());
            }
            Some(MemberState::Active | MemberState::Draining) => {}
            None => return Ok(()),
        }
        let wanted = members.voters_wanted();
        let joint = members.electorate().is_joint();
        if !joint && (wanted.is_empty() || wanted == members.voters()) {
            return Ok(());
        }
        if waiting.version != members.version {
            (waiting.version, waiting.since) = (members.version, self.env().monotonic());
        }
        let waited = self.env().monotonic().saturating_sub(waiting.since);
        if waited < limits::CHANGE_PATIENCE * self.turn(&members) {
            return Ok(());
        }
        if joint {
            self.drive(&members).await;
            *self.roster().changing.lock().expect("no holder of this lock panics") = None;
            return Ok(());
        }
        self.begin_change(wanted).await
    }

    /// How many members that can be reached come before this one.
    fn turn(&self, members: &Members) -> u32 {
        let own = self.region();
        let before = members.regions().filter(|info| info.id < own && self.is_connected(info.id));
        u32::try_from(before.count()).unwrap_or(u32::MAX)
    }

    /// A new region has fetched what there is: from now on it counts.
    async fn catch_up_and_join(&self) -> Result<(), String> {
        let (members, own) = (self.members(), self.region());
        let settled = |id: RegionId| {
            members.member(id).is_some_and(|member| member.state != MemberState::Joining)
        };
        let mut compared = 0;
        for info in self.others().into_iter().filter(|info| settled(info.id)) {
            if !self.is_connected(info.id) {
                continue;
            }
            self.compare_with(info.id).await.map_err(|why| format!("{}: {why}", info.id))?;
            compared += 1;
        }
        if compared == 0 {
            return Err("no other region can be reached".to_owned());
        }
        tracing::info!(region = %own, "has what the others have, and begins to count");
        self.activate(own).await.map(|_| ()).map_err(told)
    }

    async fn begin_change(&self, wanted: Vec<RegionId>) -> Result<(), String> {
        let new: Vec<RegionId> =
            wanted.iter().copied().filter(|id| !self.members().is_voter(*id)).collect();
        if let Some((region, why)) = self.tell_members(&new).await.into_iter().next() {
            return Err(format!("the new voter {region} does not answer: {why}"));
        }
        let goal = wanted.clone();
        let change = move |members: &Members| {
            if members.voters_wanted() != goal {
                return Ok(None);
            }
            let joint = members.electorate.joint(goal.iter().copied());
            Ok(joint.map(|electorate| Members { electorate, ..members.clone() }))
        };
        self.change_members(Arc::new(change)).await.map(|_| ()).map_err(told)
    }

    /// From the joint electorate to the settled one.
    async fn drive(&self, members: &Members) {
        let joint = members.electorate().clone();
        let mut change: Change<Vec<u8>> = Change::new(joint.clone());
        let (mut found, mut rewritten) = (0, 0);
        // Leases that were granted before a quorum took the joint epoch are over by then.
        let mut leases_over = self.env().monotonic() + Term::DEFAULT.granted;
        let mut moved_at = self.env().monotonic();
        loop {
            if self.members().electorate().epoch() != joint.epoch() {
                return;
            }
            let next = change.next();
            let phase = match &next {
                Next::Install => "install",
                Next::List { .. } => "list",
                Next::Rewrite(_) => "rewrite",
                Next::Settle(_) => "settle",
            };
            let progress = VoterChange { epoch: joint.epoch(), phase, rewritten, found };
            *self.roster().changing.lock().expect("no holder of this lock panics") = Some(progress);
            let step = match next {
                Next::Install => {
                    let installed = self.install(&joint, &mut change).await;
                    leases_over = self.env().monotonic() + Term::DEFAULT.granted;
                    installed
                }
                Next::List { after } => self.list_registers(&joint, &mut change, after).await,
                Next::Rewrite(names) => {
                    found = rewritten + names.len() as u64;
                    let (done, failed) = self.rewrite_all(names, &mut change).await;
                    rewritten += done;
                    failed.map_or(Ok(()), Err)
                }
                Next::Settle(settled) => {
                    let left = leases_over.saturating_sub(self.env().monotonic());
                    self.env().sleep(left).await;
                    self.settle_voters(&joint, settled).await
                }
            };
            let now = self.env().monotonic();
            let Err(why) = step else {
                moved_at = now;
                continue;
            };
            tracing::info!(phase, why, "the change of voters waits");
            let waited = now.saturating_sub(moved_at);
            let is_there = |region| region == self.region() || self.is_connected(region);
            if waited >= limits::CHANGE_GIVEN_UP_AFTER && !joint.may_settle(is_there) {
                self.give_up(&joint).await;
            }
            self.env().sleep(limits::MEMBERS_INTERVAL).await;
        }
    }

    /// Too few of the new voters are there: the old ones go on, until the new ones answer again.
    async fn give_up(&self, joint: &Electorate) {
        let of = joint.clone();
        let change = move |members: &Members| {
            let back = of.abandoned().filter(|_| members.electorate == of);
            Ok(back.map(|electorate| Members { electorate, ..members.clone() }))
        };
        match self.change_members(Arc::new(change)).await {
            Ok(members) if members.electorate() != joint => {
                tracing::warn!(epoch = joint.epoch(), "the change of voters was given up");
            }
            Ok(_) => {}
            Err(why) => tracing::info!(?why, "the change of voters cannot be given up yet"),
        }
    }

    async fn install(
        &self,
        joint: &Electorate,
        change: &mut Change<Vec<u8>>,
    ) -> Result<(), String> {
        let everyone: Vec<RegionId> = joint.everyone().into_iter().collect();
        let missing = self.tell_members(&everyone).await;
        if self.members().electorate() != joint {
            return Ok(());
        }
        for region in everyone.into_iter().filter(|region| !missing.contains_key(region)) {
            change.installed(region);
        }
        match change.next() {
            Next::Install => Err(format!("the voters do not all answer: {missing:?}")),
            Next::List { .. } | Next::Rewrite(_) | Next::Settle(_) => Ok(()),
        }
    }

    async fn list_registers(
        &self,
        joint: &Electorate,
        change: &mut Change<Vec<u8>>,
        after: Option<Vec<u8>>,
    ) -> Result<(), String> {
        let registers = self.registers();
        let before: Vec<RegionId> =
            joint.everyone().into_iter().filter(|voter| change.lists(*voter)).collect();
        for voter in before {
            let request = RegisterRequest::List { epoch: joint.epoch(), after: after.clone() };
            match registers.ask_voter(voter, request).await {
                Ok(RegisterResponse::Listed { names, is_last }) => {
                    let names = names.into_iter().collect();
                    change.listed(voter, after.as_ref(), Page { names, is_last });
                }
                Ok(RegisterResponse::Members(members)) => {
                    self.adopt(*members).await.map_err(|why| why.to_string())?;
                    return Ok(());
                }
                Ok(other) => tracing::info!(%voter, ?other, "does not list its registers"),
                Err(why) => tracing::info!(%voter, why, "does not list its registers"),
            }
        }
        match change.next() {
            Next::List { after: still } if still == after => {
                Err("too few of the voters before the change list their registers".to_owned())
            }
            Next::Install | Next::List { .. } | Next::Rewrite(_) | Next::Settle(_) => Ok(()),
        }
    }

    async fn rewrite_all(
        &self,
        names: BTreeSet<Vec<u8>>,
        change: &mut Change<Vec<u8>>,
    ) -> (u64, Option<String>) {
        let registers = self.registers();
        let rewrites = names.into_iter().map(|name| {
            let registers = registers.clone();
            async move {
                let id = store::record_id(&name).map_err(|why| why.to_string())?;
                let rewritten = registers.rewrite(&id, limits::REGISTER_TIMEOUT).await;
                rewritten.map(|()| name).map_err(|why| why.reason)
            }
        });
        let mut done = 0;
        let mut failed = None;
        let mut rewrites = stream::iter(rewrites).buffer_unordered(limits::REWRITES_AT_ONCE);
        while let Some(rewritten) = rewrites.next().await {
            match rewritten {
                Ok(name) => {
                    change.rewritten(&name);
                    done += 1;
                }
                Err(why) => failed = Some(why),
            }
        }
        (done, failed)
    }

    async fn settle_voters(&self, joint: &Electorate, settled: Electorate) -> Result<(), String> {
        let joint = joint.clone();
        let change = move |members: &Members| {
            let still = members.electorate == joint;
            Ok(still.then(|| Members { electorate: settled.clone(), ..members.clone() }))
        };
        self.change_members(Arc::new(change)).await.map(|_| ()).map_err(told)
    }
}

fn told(why: NotChanged) -> String {
    match why {
        NotChanged::Refused(why) | NotChanged::Unavailable(why) => why,
    }
}

impl Cluster {
    /// Who ends an upload: the region that started it, and when that was removed, the first of the
    /// members in rendezvous order.
    pub fn decider(&self, upload: UploadId) -> RegionId {
        let (members, starter) = (self.members(), upload.0.region);
        let counts = |member: &&Member| member.state != MemberState::Joining;
        if members.member(starter).as_ref().is_some_and(counts) {
            return starter;
        }
        let left = members.members.iter().filter(counts).map(|member| member.info.id);
        rendezvous(&upload.0.to_bytes(), left).first().copied().unwrap_or(starter)
    }

    /// What a region still has that would be lost with it, as it says itself.
    pub async fn remains_of(&self, region: RegionId) -> Result<Remains, NotChanged> {
        match self.registers().ask_voter(region, RegisterRequest::Remains).await {
            Ok(RegisterResponse::Remains(remains)) => Ok(remains),
            Ok(RegisterResponse::Declined(why)) | Err(why) => {
                Err(NotChanged::Unavailable(format!("{region}: {why}")))
            }
            Ok(other) => Err(NotChanged::Unavailable(format!("{region}: odd answer {other:?}"))),
        }
    }

    /// What this region still has.
    pub(super) async fn remains(&self) -> Result<Remains, store::Error> {
        let cluster = self.clone();
        self.env().blocking(move || cluster.count_remains()).await
    }

    fn count_remains(&self) -> Result<Remains, store::Error> {
        let own = self.region();
        let mut remains = Remains { version: self.members().version, ..Remains::default() };
        let view = self.store().read()?;
        let mut after: Option<RecordId> = None;
        loop {
            let page = view.records(after.as_ref(), limits::REPAIR_PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (_, record) in &page {
                let (copies, uploads) = kept_by(own, record);
                remains.copies += copies;
                remains.uploads += u64::from(uploads);
            }
        }
        remains.pending = pending::count(&view)?;
        let log = (own, self.inner.incarnation);
        let known = self.known_heads();
        let applied = |region: RegionId| {
            let holders = known.get(&log);
            holders.and_then(|holders| holders.get(&region)).map_or(0, |head| head.stable)
        };
        let others = self.others().into_iter().map(|info| applied(info.id));
        remains.head = self.inner.grown.head();
        remains.applied = others.min().unwrap_or(remains.head);
        Ok(remains)
    }
}

/// Versions of a record that a region is to keep, and whether a part of an upload is there alone.
fn kept_by(own: RegionId, record: &Record) -> (u64, bool) {
    match record {
        Record::Row(row) => {
            let kept = row.versions.iter().filter(|version| {
                let place = &version.placement;
                let held = place.holders.get(&own).is_some_and(|h| h.state != HoldState::Absent);
                placed(version).is_some()
                    && (held || place.primary.is_some_and(|primary| primary.region == own))
            });
            (kept.count() as u64, false)
        }
        Record::Part(part) => (0, !part.ended && part.part.held_by == [own]),
        Record::AccessKey(_)
        | Record::Bucket(_)
        | Record::Members(_)
        | Record::Name(_)
        | Record::Upload(_) => (0, false),
    }
}
