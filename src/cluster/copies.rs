//! Keeping the number of copies: the driver of `logic::copies`.
//!
//! Invariant: a region says in the row that it holds a version only after every byte of it is on
//! its disk, synced, in the same change; and it takes that back, before any byte goes, only after
//! `copies` other holders have confirmed theirs in the same round.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::env::Class;
use crate::limits;
use crate::logic::copies::{Place, next_holder, successor, surplus_holder};
use crate::net::message::{Request, Response, VersionOf};
use crate::store::{self, SealedBlob};
use crate::types::bucket::BucketConfig;
use crate::types::id::BlobId;
use crate::types::object::{BlobRef, HoldState, Holding, ObjectMeta, Primary, Version};
use crate::types::record::RecordId;
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::error::{ReadError, Unavailable};
use super::fetch::Wanted;
use super::heat::{Object, placed};
use super::migrate::copies_name;
use super::outlet::chunks_of;
use super::{Cluster, stream};

/// A version whose copy is made here.
type Copy = (Object, Stamp);

/// Copies that wait or are being made, those with the fewest other holders first, then the oldest.
#[derive(Default)]
pub(super) struct Making {
    all: BTreeSet<Copy>,
    waiting: BTreeSet<(usize, Stamp, Object)>,
    workers: usize,
}

impl Making {
    /// Waiting and being made.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes one on; true when another worker may begin.
    fn add(&mut self, left: usize, object: Object, stamp: Stamp) -> Result<bool, String> {
        if self.all.contains(&(object.clone(), stamp)) {
            return Ok(false);
        }
        if self.all.len() >= limits::COPIES_WAITING_MAX {
            return Err(format!("{} other copies wait", self.all.len()));
        }
        self.all.insert((object.clone(), stamp));
        self.waiting.insert((left, stamp, object));
        let begin = self.workers < limits::COPIES_AT_ONCE;
        self.workers += usize::from(begin);
        Ok(begin)
    }

    /// The next one for a worker, which ends where there is none.
    fn next(&mut self) -> Option<Copy> {
        let Some((_, stamp, object)) = self.waiting.pop_first() else {
            self.workers -= 1;
            return None;
        };
        Some((object, stamp))
    }

    fn done(&mut self, copy: &Copy) {
        self.all.remove(copy);
    }
}

impl Cluster {
    /// The regions that may hold an object's bytes.
    fn places(&self, config: &BucketConfig, object: &ObjectMeta) -> Vec<Place> {
        let own = self.region();
        let members = self.members();
        let may_hold = members.holders().filter(|info| config.allows(object, info.id));
        may_hold
            .map(|info| Place {
                region: info.id,
                failure_domain: info.failure_domain.clone(),
                reachable: info.id == own || self.is_connected(info.id),
            })
            .collect()
    }

    /// Looks at one version: whether it needs another copy, has one too many, or lost its primary.
    pub(super) async fn attend(
        &self,
        config: &BucketConfig,
        object: &Object,
        version: &Version,
    ) -> Result<(), store::Error> {
        let own = self.region();
        let Some(meta) = placed(version) else { return Ok(()) };
        if self.admit_loss(object, version).await? {
            return Ok(());
        }
        self.leave_no_trace(config, version).await?;
        let places = self.places(config, meta);
        let members = self.members();
        // Those that were removed hold nothing.
        let held = version.placement.held().filter(|region| members.contains(*region));
        let holders: BTreeSet<RegionId> = held.collect();
        let copies = usize::from(config.copies).clamp(1, places.len().max(1));
        let name = copies_name(object, version);
        let (bucket, key) = object.clone();
        let of = VersionOf { bucket, key, stamp: version.stamp };
        let Some(primary) = version.placement.primary else {
            // Parts came in at several regions: the one that completed it pulls them together, or,
            // where that is away or may not keep them, the first of those that may.
            let reachable = || places.iter().filter(|place| place.reachable);
            let origin = reachable().find(|place| place.region == version.stamp.region);
            if origin.or_else(|| reachable().next()).is_some_and(|place| place.region == own) {
                self.request_copy(own, of).await;
            }
            return Ok(());
        };
        let staying = |region: &RegionId| places.iter().any(|place| place.region == *region);
        let lasting = self.lasting(&holders.iter().copied().filter(staying).collect());
        if primary.region != own {
            self.maybe_take_over(object, version, primary).await?;
        } else {
            self.ask_for_copy(&name, (&lasting, copies), &places, &of).await;
            if !staying(&own) {
                self.hand_on(object, version, primary, &lasting).await?;
            }
        }
        let near = |region| region == own || self.is_connected(region);
        let looks_after = primary.region == own
            || (!near(primary.region)
                && successor(&name, &holders, primary.region, &near) == Some(own));
        self.note_copies(object, version.stamp, !looks_after || lasting.len() >= copies);
        let too_many = surplus_holder(&name, &holders, copies, primary.region, &places);
        if too_many == Some(own) && !self.moves_here_or_away(object) {
            self.give_up_copy((&places, copies), object, version).await?;
        }
        Ok(())
    }

    /// The primary leaves a region that is drained, or that its bucket has no more: to the first of
    /// the holders that stay.
    async fn hand_on(
        &self,
        object: &Object,
        version: &Version,
        primary: Primary,
        staying: &BTreeSet<RegionId>,
    ) -> Result<(), store::Error> {
        let name = copies_name(object, version);
        let near = |region| self.is_connected(region);
        let Some(to) = successor(&name, staying, primary.region, &near) else { return Ok(()) };
        let handed = self
            .change_placement(object, version.stamp, move |_, _, version| {
                let placement = &mut version.placement;
                let still = placement.primary == Some(primary) && placement.held().any(|r| r == to);
                if still {
                    placement.primary = Some(Primary { epoch: primary.epoch + 1, region: to });
                }
                Ok(still)
            })
            .await?;
        if handed {
            self.inner.metrics.primaries_moved.inc();
        }
        Ok(())
    }

    /// A move is under way: this region's primary goes, or this copy was made to become the primary
    /// and its row does not say so yet.
    fn moves_here_or_away(&self, object: &Object) -> bool {
        let now_ms = self.env().now_ms();
        let state = self.inner.placing.lock();
        let patience = u64::try_from(limits::COPY_PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let came = state.regrets.get(object).and_then(|regret| regret.moved_ms);
        state.moving.contains_key(object)
            || came.is_some_and(|at| now_ms.saturating_sub(at) < patience)
    }

    /// The holders that count: one that is away counts for a while, because it mostly comes back,
    /// but not when a single copy would be left meanwhile.
    fn lasting(&self, holders: &BTreeSet<RegionId>) -> BTreeSet<RegionId> {
        let own = self.region();
        let near: BTreeSet<RegionId> =
            holders.iter().copied().filter(|r| *r == own || self.is_connected(*r)).collect();
        if near.len() <= 1 {
            return near;
        }
        let gone_after = self.inner.options.primary_gone_after;
        let stays =
            |region: &&RegionId| near.contains(region) || self.away_for(**region) < gone_after;
        holders.iter().filter(stays).copied().collect()
    }

    /// A claim of this region that is no longer true, because its disk was replaced or bytes on it
    /// are damaged, is taken back: others must not count on it. The primary asks for another copy.
    async fn admit_loss(&self, object: &Object, version: &Version) -> Result<bool, store::Error> {
        let own = self.region();
        let Some(meta) = placed(version) else { return Ok(false) };
        if !version.placement.held().any(|region| region == own) {
            return Ok(false);
        }
        let snapshot = self.store().read()?;
        let mut lost = false;
        for part in &meta.parts {
            lost = lost || !snapshot.holds(&part.blob.id)?;
        }
        drop(snapshot);
        if !lost {
            return Ok(false);
        }
        let (bucket, key) = object;
        tracing::error!(%bucket, %key, "a copy that this region had is lost or damaged");
        self.change_placement(object, version.stamp, move |_, _, version| {
            set_holding(version, own, HoldState::Absent);
            Ok(true)
        })
        .await
    }

    /// Asks for one more copy where there are too few: the first region that should have it and does
    /// not decline. Not again before that one had time for it.
    async fn ask_for_copy(
        &self,
        name: &[u8],
        (holders, copies): (&BTreeSet<RegionId>, usize),
        places: &[Place],
        of: &VersionOf,
    ) {
        let now = self.env().monotonic();
        let mut places = places.to_vec();
        {
            let mut state = self.inner.placing.lock();
            state.declined.retain(|_, at| now.saturating_sub(*at) < limits::DECLINED_KEPT);
            places.retain(|place| !state.declined.contains_key(&place.region));
        }
        while let Some(region) = next_holder(name, holders, copies, &places) {
            if self.request_copy(region, of.clone()).await {
                return;
            }
            self.inner.placing.lock().declined.insert(region, self.env().monotonic());
            places.retain(|place| place.region != region);
        }
    }

    /// Asks a region, or this one, to make a copy; false when it declined. Not again before it had
    /// time for it.
    async fn request_copy(&self, region: RegionId, of: VersionOf) -> bool {
        let now = self.env().monotonic();
        let copy = ((of.bucket, of.key.clone()), of.stamp);
        {
            let mut state = self.inner.placing.lock();
            if state.asked.len() >= limits::COPIES_WAITING_MAX {
                state.asked.retain(|_, (_, at)| now.saturating_sub(*at) < limits::COPY_PATIENCE);
            }
            let lately = state.asked.get(&copy);
            let patient =
                |(of, at): &(RegionId, _)| *of == region && now - *at < limits::COPY_PATIENCE;
            if lately.is_some_and(patient) {
                return true;
            }
            state.asked.insert(copy.clone(), (region, now));
        }
        let declined = if region == self.region() {
            self.accept_copy(of, Vec::new()).err()
        } else {
            let request = Request::MakeCopy { of, homes: Vec::new() };
            match self.call(region, Class::Repair, &request, limits::ACK_TIMEOUT).await {
                Ok(Response::Done) => None,
                Ok(Response::Declined(why)) => Some(why),
                Ok(other) => Some(format!("odd answer: {}", other.name())),
                Err(why) => Some(why.to_string()),
            }
        };
        let Some(why) = declined else { return true };
        tracing::info!(%region, why, "a copy was declined; another region is asked");
        self.inner.placing.lock().asked.remove(&copy);
        false
    }

    /// Takes the making of a copy on: in the background, what has the fewest copies first.
    pub(super) fn accept_copy(
        &self,
        of: VersionOf,
        homes: Vec<(RegionId, u64)>,
    ) -> Result<(), String> {
        let object = (of.bucket, of.key.clone());
        let row = self.store().read().and_then(|snapshot| snapshot.row(of.bucket, &of.key));
        let row = row.map_err(|why| why.to_string())?.unwrap_or_default();
        let version = row.versions.iter().find(|version| version.stamp == of.stamp);
        let held = version.into_iter().flat_map(|version| version.placement.held());
        let left = held.filter(|region| self.is_connected(*region)).count();
        let mut state = self.inner.placing.lock();
        if !homes.is_empty() {
            let now_ms = self.env().now_ms();
            let regret = state.regret(&object);
            regret.homes = homes.into_iter().collect();
            regret.moved_ms = Some(now_ms);
        }
        if !self.store().has_room() {
            return Err("the disk is full".to_owned());
        }
        if state.making.add(left, object, of.stamp)? {
            drop(state);
            self.spawn("copies", self.clone().make_copies());
        }
        Ok(())
    }

    /// Makes the copies that wait, one after the other; as many of these run as may at a time.
    async fn make_copies(self) {
        loop {
            let next = self.inner.placing.lock().making.next();
            let Some((object, stamp)) = next else { return };
            let of = VersionOf { bucket: object.0, key: object.1.clone(), stamp };
            if let Err(why) = self.make_copy(&object, &of).await {
                tracing::warn!(bucket = %of.bucket, why, "a copy was not made; asked for again");
            }
            self.inner.placing.lock().making.done(&(object, stamp));
        }
    }

    /// Fetches what is missing and becomes a holder, in one change.
    async fn make_copy(&self, object: &Object, of: &VersionOf) -> Result<(), String> {
        let row = self.store().read().and_then(|s| s.row(of.bucket, &of.key));
        let row = row.map_err(|why| why.to_string())?.unwrap_or_default();
        let found = row.versions.iter().find(|version| version.stamp == of.stamp);
        let Some((version, meta)) = found.and_then(|v| Some((v, placed(v)?))) else {
            return Err("the version is not known here".to_owned());
        };
        let mut missing = false;
        for part in &meta.parts {
            missing |= !self.store().holds(&part.blob.id).map_err(|why| why.to_string())?;
        }
        let claimed = version.placement.held().any(|region| region == self.region());
        if claimed && !missing && version.placement.primary.is_some() {
            return Ok(());
        }
        let wanted = Arc::new(Wanted::new(of.clone(), version, meta, false));
        let mut sealed = Vec::new();
        for part in &meta.parts {
            let here = self.store().holds(&part.blob.id).map_err(|why| why.to_string())?;
            if here || self.store().promote(&part.blob).await.map_err(|why| why.to_string())? {
                continue;
            }
            let blob = self.fetch_blob(&wanted, part.blob).await;
            sealed.push(blob.map_err(|why| why.to_string())?);
        }
        let parts: Vec<BlobRef> = meta.parts.iter().map(|part| part.blob).collect();
        self.become_holder(object, of, sealed, parts).await.map_err(|why| why.to_string())
    }

    /// All bytes of a blob, from here and from elsewhere, within the budget of repair.
    pub(super) async fn fetch_blob(
        &self,
        wanted: &Arc<Wanted>,
        blob: BlobRef,
    ) -> Result<SealedBlob, ReadError> {
        let mut writer = self.store().blob_writer(blob.id);
        let rate = self.inner.options.repair_rate;
        for index in 0..chunks_of(blob.len) {
            let (bytes, source) = self.chunk_of(wanted.clone(), blob, index).await?;
            let len = bytes.len() as u64;
            writer.write(bytes).await.map_err(Unavailable::from)?;
            if matches!(source, stream::Source::Region(_)) {
                self.inner.metrics.repaired_bytes.inc_by(len);
                self.inner.repair_budget.pay(self.env(), len, rate).await;
            }
        }
        let sealed = writer.finish().await.map_err(Unavailable::from)?;
        if sealed.blob() == blob {
            return Ok(sealed);
        }
        Err(Unavailable::new("the chunks are whole, and together they are another blob").into())
    }

    async fn become_holder(
        &self,
        object: &Object,
        of: &VersionOf,
        sealed: Vec<SealedBlob>,
        parts: Vec<BlobRef>,
    ) -> Result<(), store::Error> {
        let own = self.region();
        let became = self
            .change_placement(object, of.stamp, move |tx, _, version| {
                for blob in sealed {
                    tx.attach(blob)?;
                }
                for blob in parts {
                    if !tx.holds(&blob.id)? {
                        return Ok(false);
                    }
                }
                set_holding(version, own, HoldState::Held);
                version.placement.primary.get_or_insert(Primary { epoch: 1, region: own });
                Ok(true)
            })
            .await?;
        if became {
            self.inner.metrics.copies_made.inc();
        }
        Ok(())
    }

    /// Does this region have the version, and will it keep it while the asker decides?
    ///
    /// The bytes are checked first, which takes a while; in it this region may declare and even drop
    /// its copy. So what decides is read last, the row inside the lock that a declaration takes: a
    /// dropped copy leaves the row before its round ends.
    pub(super) async fn confirm(&self, of: &VersionOf) -> Result<bool, store::Error> {
        let Some(parts) = self.claimed_parts(of)? else { return Ok(false) };
        for blob in &parts {
            if !self.store().verify(blob).await? {
                return Ok(false);
            }
        }
        let copy = ((of.bucket, of.key.clone()), of.stamp);
        let state = self.inner.placing.lock();
        let held = self.claimed_parts(of)?.is_some();
        Ok(state.rounds.confirms(&copy, held))
    }

    /// The blobs of a version of which this region's row says that it holds it.
    fn claimed_parts(&self, of: &VersionOf) -> Result<Option<Vec<BlobRef>>, store::Error> {
        let own = self.region();
        let row = self.store().read()?.row(of.bucket, &of.key)?.unwrap_or_default();
        let found = row.versions.iter().find(|version| version.stamp == of.stamp);
        let claimed = found
            .filter(|version| version.placement.held().any(|region| region == own))
            .and_then(placed);
        Ok(claimed.map(|meta| meta.parts.iter().map(|part| part.blob).collect()))
    }

    /// One round of the drop rule for this region's copy.
    async fn give_up_copy(
        &self,
        (places, copies): (&[Place], usize),
        object: &Object,
        version: &Version,
    ) -> Result<(), store::Error> {
        let own = self.region();
        let copy = (object.clone(), version.stamp);
        let number = self.inner.placing.lock().rounds.declare(copy.clone(), copies);
        let (bucket, key) = object.clone();
        let of = VersionOf { bucket, key, stamp: version.stamp };
        let mut may_drop = false;
        // One that is drained, or that may not have it any more, gives its own up soon.
        let counts = |region: &RegionId| {
            *region != own && places.iter().any(|place| place.region == *region)
        };
        for holder in version.placement.held().filter(counts) {
            let request = Request::Confirm(of.clone());
            let answer = self.call(holder, Class::Repair, &request, limits::ACK_TIMEOUT).await;
            if let Ok(Response::Confirmed(true)) = answer {
                may_drop = self.inner.placing.lock().rounds.confirmed(&copy, number, holder);
            }
        }
        if may_drop {
            let dropped = self.drop_copy(object, version).await;
            self.inner.placing.lock().rounds.end(&copy);
            return dropped;
        }
        self.inner.placing.lock().rounds.end(&copy);
        Ok(())
    }

    /// Says that the copy is gone and lets the bytes go, in one change, so that nothing can begin to
    /// count on them in between.
    async fn drop_copy(&self, object: &Object, version: &Version) -> Result<(), store::Error> {
        let own = self.region();
        let namer = RecordId::Row(object.0, object.1.clone());
        let dropped = self
            .change_placement(object, version.stamp, move |tx, row, version| {
                if version.placement.primary.is_some_and(|p| p.region == own) {
                    return Ok(false);
                }
                set_holding(version, own, HoldState::Absent);
                let blobs = |v: &Version| placed(v).map(|meta| meta.parts.clone());
                let others = row.versions.iter().filter(|v| v.stamp != version.stamp);
                let kept: BTreeSet<BlobId> =
                    others.filter_map(blobs).flatten().map(|part| part.blob.id).collect();
                for part in blobs(version).unwrap_or_default() {
                    // A copy of the object names the same bytes and counts them as its own.
                    if !kept.contains(&part.blob.id) {
                        tx.release_of(&part.blob.id, &namer)?;
                    }
                }
                Ok(true)
            })
            .await?;
        if dropped {
            self.inner.metrics.copies_dropped.inc();
        }
        Ok(())
    }
}

pub(super) fn set_holding(version: &mut Version, region: RegionId, state: HoldState) {
    let known = version.placement.holders.get(&region).map_or(0, |holding| holding.counter);
    let holding = Holding { counter: known + 1, state };
    version.placement.holders.insert(region, holding);
}
