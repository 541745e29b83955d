//! Moving primaries: the driver of `logic::placement`, and the loop that looks after places.
//!
//! A move from p to r: r becomes a holder and says so in the row; p sees it and writes
//! `primary = (epoch + 1, r)`; the holder that is now too many goes by the drop rule (`copies`).
//! Invariant: every step leaves at least as many holders as before; whatever step a crash hits, the
//! object stays readable and the move is made again or not at all.

use std::collections::BTreeMap;

use crate::env::Class;
use crate::limits;
use crate::logic::copies;
use crate::logic::placement::{Candidate, Verdict};
use crate::net::message::{Move, Request, Response, VersionOf};
use crate::store::{self, Source, Tx};
use crate::types::bucket::{BucketConfig, Location, NameState, SoftDeleted};
use crate::types::id::{BucketId, Incarnation};
use crate::types::name::BucketName;
use crate::types::object::{Primary, Row, Version};
use crate::types::record::{Record, RecordId};
use crate::types::region::{RegionId, Role};
use crate::types::stamp::Stamp;

use super::error::Unavailable;
use super::heat::{Moving, Object, placed};
use super::{Cluster, stopped};

/// How far the loop has looked.
#[derive(Default)]
struct Looked {
    /// Position in each log.
    logs: BTreeMap<(RegionId, Incarnation), u64>,
    /// The slow walk over all rows.
    walk: Option<RecordId>,
    /// The regions of each bucket.
    locations: BTreeMap<BucketId, Location>,
}

impl Cluster {
    pub(super) async fn keep_places(self) {
        let mut stop = self.inner.stopping();
        let mut looked = Looked::default();
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                () = self.env().sleep(self.inner.options.placement_interval) => {}
            }
            if let Err(why) = self.look_after_places(&mut looked).await {
                tracing::error!(%why, "placement cannot be looked after");
            }
        }
    }

    async fn look_after_places(&self, looked: &mut Looked) -> Result<(), store::Error> {
        self.report_heat().await?;
        self.judge_touched().await?;
        self.finish_moves().await?;
        let configs = self.bucket_configs()?;
        self.notice_relocations(&mut looked.locations, &configs);
        for (bucket, key) in self.changed_rows(looked)? {
            let Some(config) = configs.get(&bucket) else { continue };
            let Some(row) = self.store().read()?.row(bucket, &key)? else { continue };
            for version in row.versions.iter().filter(|version| placed(version).is_some()) {
                self.attend(config, &(bucket, key.clone()), version).await?;
            }
        }
        Ok(())
    }

    /// Rows that changed since the last look, and the next page of the walk over all.
    fn changed_rows(&self, looked: &mut Looked) -> Result<Vec<Object>, store::Error> {
        let snapshot = self.store().read()?;
        let mut rows = Vec::new();
        for (log, head) in snapshot.heads()? {
            let after = looked.logs.entry(log).or_default();
            let changes = snapshot.log(log.0, log.1, *after, limits::ATTENTION_MAX)?;
            *after = changes.last().map_or(head, |(seq, _)| *seq);
            rows.extend(changes.into_iter().filter_map(|(_, id)| object(id)));
        }
        let page = snapshot.records(looked.walk.as_ref(), limits::PLACEMENT_PAGE)?;
        looked.walk = page.last().map(|(id, _)| id.clone());
        rows.extend(page.into_iter().filter_map(|(id, _)| object(id)));
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    /// Every bucket that is in use, by id.
    pub(super) fn bucket_configs(&self) -> Result<BTreeMap<BucketId, BucketConfig>, store::Error> {
        Ok(self.named_buckets()?.into_iter().map(|(id, (_, config))| (id, config)).collect())
    }

    /// The same with their names.
    pub(super) fn named_buckets(
        &self,
    ) -> Result<BTreeMap<BucketId, (BucketName, BucketConfig)>, store::Error> {
        // Names come right after the settings of buckets; a bucket may be called `000`.
        let mut after = RecordId::Bucket(BucketId([u8::MAX; 16]));
        let mut configs = BTreeMap::new();
        loop {
            let page = self.store().read()?.records(Some(&after), limits::PLACEMENT_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(configs) };
            after = last.clone();
            for (id, record) in page {
                let RecordId::Name(called) = id else { return Ok(configs) };
                if let Record::Name(name) = record
                    && let NameState::Active(config)
                    | NameState::SoftDeleted(SoftDeleted { config, .. }) = name.state
                {
                    configs.insert(config.id, (called, config));
                }
            }
        }
    }

    /// What the rule says of an object whose primary is here; `None` when it is not here.
    pub(super) fn verdict(
        &self,
        object: &Object,
        version: &Version,
        configs: &BTreeMap<BucketId, BucketConfig>,
    ) -> Option<Verdict> {
        let meta = placed(version)?;
        let own = self.region();
        if version.placement.primary.is_none_or(|primary| primary.region != own) {
            return None;
        }
        let config = configs.get(&object.0)?;
        let members = self.members();
        let candidates: Vec<Candidate> = members
            .regions()
            .map(|info| Candidate {
                region: info.id,
                allowed: info.role == Role::Full
                    && (info.id == own || members.is_active(info.id))
                    && config.allows(meta, info.id)
                    && (info.id == own || self.is_connected(info.id)),
            })
            .collect();
        let away = self.freeze();
        let state = self.inner.placing.lock();
        let busy = (state.moving.len() >= limits::MOVES_AT_ONCE)
            .then(|| format!("{} others are under way", state.moving.len()));
        let regret = state.regrets.get(object).cloned().unwrap_or_default();
        let now_ms = self.env().now_ms();
        Some(regret.judge(
            &self.inner.options.placement,
            (own, meta.size, now_ms),
            &candidates,
            &self.distances(),
            away.or(busy).as_deref(),
        ))
    }

    /// Why nothing moves at all: a region went away a short while ago. It mostly comes back, with its
    /// readers, and until then the links are for repair.
    fn freeze(&self) -> Option<String> {
        let gone_after = self.inner.options.primary_gone_after;
        let members = self.members();
        members.regions().filter(|info| info.role != Role::Cache).find_map(|info| {
            let away = self.away_for(info.id);
            let lately = !away.is_zero() && away < gone_after;
            lately.then(|| format!("{} is away for {} s", info.id, away.as_secs()))
        })
    }

    /// Judges what was read since the last time, and begins the moves that are due.
    async fn judge_touched(&self) -> Result<(), store::Error> {
        let touched = std::mem::take(&mut self.inner.placing.lock().touched);
        if touched.is_empty() {
            return Ok(());
        }
        let configs = self.bucket_configs()?;
        for object in touched {
            let Some(row) = self.store().read()?.row(object.0, &object.1)? else { continue };
            let Some(version) = row.current() else { continue };
            let Some(verdict) = self.verdict(&object, version, &configs) else { continue };
            let Some(to) = verdict.move_to else { continue };
            // Said in the log; it is judged again when it is read again.
            let _ = self.begin_move(object, version, to, verdict.reason).await;
        }
        Ok(())
    }

    /// An error says who declined, and nothing moves.
    pub(super) async fn begin_move(
        &self,
        object: Object,
        version: &Version,
        to: RegionId,
        reason: String,
    ) -> Result<(), Unavailable> {
        let stamp = version.stamp;
        {
            let mut state = self.inner.placing.lock();
            if let Some(moving) = state.moving.get(&object) {
                let elsewhere = format!("it is on its way to {} already", moving.to);
                return if moving.to == to { Ok(()) } else { Err(Unavailable::new(elsewhere)) };
            }
            let since = self.env().monotonic();
            state.moving.insert(object.clone(), Moving { to, stamp, since, asked: since, reason });
        }
        let Err(why) = self.ask_for_move(&object, stamp, to).await else { return Ok(()) };
        tracing::info!(%to, why, "a move could not begin");
        self.inner.placing.lock().moving.remove(&object);
        Err(Unavailable::new(why))
    }

    /// Asks the region that shall have the primary for a copy. One that has a copy is asked too: it
    /// learns when the object came and where from.
    async fn ask_for_move(
        &self,
        object: &Object,
        stamp: Stamp,
        to: RegionId,
    ) -> Result<(), String> {
        let mut homes = self.inner.placing.lock().regret(object).homes.clone();
        homes.insert(self.region(), self.env().now_ms());
        let homes = homes.into_iter().collect();
        let (bucket, key) = object.clone();
        let request = Request::MakeCopy { of: VersionOf { bucket, key, stamp }, homes };
        match self.call(to, Class::Migration, &request, limits::ACK_TIMEOUT).await {
            Ok(Response::Done) => Ok(()),
            Ok(Response::Declined(why)) => Err(format!("{to} declined: {why}")),
            Ok(other) => Err(format!("{to} answered {}", other.name())),
            Err(why) => Err(format!("{to}: {why}")),
        }
    }

    /// Hands the primary over where the new holder has its copy; gives up what takes too long.
    async fn finish_moves(&self) -> Result<(), store::Error> {
        let moving = self.inner.placing.lock().moving.clone();
        for (object, moving) in moving {
            let row = self.store().read()?.row(object.0, &object.1)?;
            let version = row.and_then(|row| {
                row.versions.into_iter().find(|version| version.stamp == moving.stamp)
            });
            let holds =
                version.as_ref().is_some_and(|v| v.placement.held().any(|r| r == moving.to));
            if holds {
                self.hand_over(&object, &moving).await?;
            }
            let now = self.env().monotonic();
            let waited = now.saturating_sub(moving.since);
            if version.is_none() || holds || waited >= limits::COPY_PATIENCE {
                self.inner.placing.lock().moving.remove(&object);
            } else if now.saturating_sub(moving.asked) >= limits::MOVE_ASKED_EVERY {
                if let Some(moving) = self.inner.placing.lock().moving.get_mut(&object) {
                    moving.asked = now;
                }
                if let Err(why) = self.ask_for_move(&object, moving.stamp, moving.to).await {
                    tracing::info!(to = %moving.to, why, "a move waits");
                }
            }
        }
        Ok(())
    }

    async fn hand_over(&self, object: &Object, moving: &Moving) -> Result<(), store::Error> {
        let (own, to) = (self.region(), moving.to);
        let done = self
            .change_placement(object, moving.stamp, move |_, _, version| {
                let holds = version.placement.held().any(|region| region == to);
                let primary = version.placement.primary.filter(|p| p.region == own && holds);
                let Some(Primary { epoch, .. }) = primary else { return Ok(false) };
                version.placement.primary = Some(Primary { epoch: epoch + 1, region: to });
                Ok(true)
            })
            .await?;
        if !done {
            return Ok(());
        }
        tracing::info!(bucket = %object.0, from = %own, %to, reason = moving.reason, "primary moved");
        self.inner.metrics.primaries_moved.inc();
        let at_ms = self.env().now_ms();
        let moved = Move { at_ms, from: own, to, reason: moving.reason.clone() };
        let mut state = self.inner.placing.lock();
        state.remember(object.clone(), moved);
        state.regrets.remove(object);
        Ok(())
    }

    /// Changes the placement of one version in a change of its own, and in the same change what of
    /// this disk goes with it; false when `change` declines or the version is no more.
    pub(super) async fn change_placement(
        &self,
        (bucket, key): &Object,
        stamp: Stamp,
        change: impl FnOnce(&mut Tx<'_>, &Row, &mut Version) -> Result<bool, store::Error>
        + Send
        + 'static,
    ) -> Result<bool, store::Error> {
        let (bucket, key) = (*bucket, key.clone());
        let seq = self
            .store()
            .write(move |tx| {
                let row = tx.row(bucket, &key)?.unwrap_or_default();
                let found = row.versions.iter().find(|version| version.stamp == stamp);
                let Some(mut version) = found.cloned() else { return Ok(None) };
                if !change(tx, &row, &mut version)? {
                    return Ok(None);
                }
                let record = Record::Row(Row::of(version));
                let merged = tx.merge(RecordId::Row(bucket, key), record, Source::Local)?;
                Ok::<_, store::Error>(Some(merged.seq))
            })
            .await?;
        if let Some(Some(seq)) = seq {
            self.log_grew(seq);
        }
        Ok(seq.is_some())
    }

    /// The primary is gone for long: the first holder in rendezvous order takes over.
    pub(super) async fn maybe_take_over(
        &self,
        object: &Object,
        version: &Version,
        gone: Primary,
    ) -> Result<(), store::Error> {
        let silent = self.away_for(gone.region);
        let members = self.members();
        if members.contains(gone.region) && silent < self.inner.options.primary_gone_after {
            return Ok(());
        }
        let own = self.region();
        let counts = |region: &RegionId| members.is_active(*region);
        let holders = version.placement.held().filter(counts).collect();
        let reachable = |region| region == own || self.is_connected(region);
        let name = copies_name(object, version);
        if copies::successor(&name, &holders, gone.region, &reachable) != Some(own) {
            return Ok(());
        }
        let took = self
            .change_placement(object, version.stamp, move |_, _, version| {
                let still = version.placement.primary == Some(gone);
                if still {
                    let epoch = gone.epoch + 1;
                    version.placement.primary = Some(Primary { epoch, region: own });
                }
                Ok(still)
            })
            .await?;
        if took {
            let reason = format!("{} was silent for {} s", gone.region, silent.as_secs());
            let at_ms = self.env().now_ms();
            let moved = Move { at_ms, from: gone.region, to: own, reason };
            self.inner.placing.lock().remember(object.clone(), moved);
        }
        Ok(())
    }
}

/// What the order of holders is computed from: the same everywhere.
pub(super) fn copies_name(object: &Object, version: &Version) -> Vec<u8> {
    let mut name = object.0.0.to_vec();
    name.extend_from_slice(object.1.as_bytes());
    name.extend_from_slice(&version.stamp.to_bytes());
    name
}

fn object(id: RecordId) -> Option<Object> {
    match id {
        RecordId::Row(bucket, key) => Some((bucket, key)),
        RecordId::AccessKey(_)
        | RecordId::Members
        | RecordId::Bucket(_)
        | RecordId::Name(_)
        | RecordId::Part(..)
        | RecordId::Upload(_) => None,
    }
}
