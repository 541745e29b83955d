//! Who reads what: counted where the reads come in, reported to the primaries, and told to people.
//!
//! Nothing here moves anything (`migrate`), and no safety rests on any of it: a lost report is a
//! slower move.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;

use crate::env::Class;
use crate::limits;
use crate::logic::copies::Rounds;
use crate::logic::heat::Heat;
use crate::logic::placement::{Accesses, Regret};
use crate::net::link;
use crate::net::message::{HeatItem, KnownHere, Move, Request, Response, VersionOf};
use crate::store;
use crate::types::bucket::BucketConfig;
use crate::types::id::BucketId;
use crate::types::name::ObjectKey;
use crate::types::object::{Content, ObjectMeta, Version};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::copies::Making;
use super::stream::{Source, Whereabouts};

/// A key, whatever version.
pub(super) type Object = (BucketId, ObjectKey);

/// How long a region may take to say what it knows of a key.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// A move that waits for its new holder.
#[derive(Clone, Debug)]
pub(super) struct Moving {
    pub(super) to: RegionId,
    pub(super) stamp: Stamp,
    pub(super) since: Duration,
    /// When the new holder was asked last.
    pub(super) asked: Duration,
    pub(super) reason: String,
}

/// What the drivers of placement remember, all of it in memory: a restart loses counts and moves
/// under way, never a copy.
pub(super) struct Placing {
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    heat: Heat<(Object, Stamp)>,
    /// At the primary: what is known of the readers of an object.
    pub(super) regrets: BTreeMap<Object, Regret>,
    /// Objects with news since they were judged.
    pub(super) touched: BTreeSet<Object>,
    pub(super) moving: BTreeMap<Object, Moving>,
    moves: VecDeque<(Object, Move)>,
    pub(super) rounds: Rounds<(Object, Stamp)>,
    /// Copies being made here, or waiting for it.
    pub(super) making: Making,
    /// Copies that were asked for, of whom and when.
    pub(super) asked: BTreeMap<(Object, Stamp), (RegionId, Duration)>,
    /// Regions that declined to make a copy, and when.
    pub(super) declined: BTreeMap<RegionId, Duration>,
}

impl Default for Placing {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                heat: Heat::new(limits::HEAT_COUNTERS, limits::HEAT_HALF_LIFE),
                regrets: BTreeMap::new(),
                touched: BTreeSet::new(),
                moving: BTreeMap::new(),
                moves: VecDeque::new(),
                rounds: Rounds::default(),
                making: Making::default(),
                asked: BTreeMap::new(),
                declined: BTreeMap::new(),
            }),
        }
    }
}

impl Placing {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    pub(super) fn remember(&mut self, object: Object, moved: Move) {
        self.moves.push_front((object, moved));
        self.moves.truncate(limits::MOVES_KEPT);
    }

    /// What is known of an object's readers; when too many are known, the coldest half goes.
    pub(super) fn regret(&mut self, object: &Object) -> &mut Regret {
        if !self.regrets.contains_key(object) && self.regrets.len() >= limits::REGRETS_MAX {
            let sum = |regret: &Regret| regret.heat().values().sum::<f64>();
            let mut sums: Vec<f64> = self.regrets.values().map(sum).collect();
            sums.sort_by(f64::total_cmp);
            let median = sums[sums.len() / 2];
            self.regrets.retain(|_, regret| sum(regret) > median);
        }
        self.regrets.entry(object.clone()).or_default()
    }
}

/// Bodies whose bytes are placed: those that ride are everywhere.
pub(super) fn placed(version: &Version) -> Option<&ObjectMeta> {
    match &version.content {
        Content::Object(meta) if !meta.rides && !meta.parts.is_empty() => Some(meta),
        Content::Object(_) | Content::Marker | Content::Tombstone => None,
    }
}

impl Cluster {
    /// Counts a read that came in here.
    pub(super) fn note_read(&self, of: &VersionOf, version: &Version, source: Source, bytes: u64) {
        if placed(version).is_none() || bytes == 0 {
            return;
        }
        let missed = matches!(source, Source::Region(_));
        let accesses = Accesses {
            hits: u32::from(!missed),
            misses: u32::from(missed),
            bytes,
            missed_bytes: if missed { bytes } else { 0 },
            cached_whole: false,
        };
        let key = ((of.bucket, of.key.clone()), of.stamp);
        self.inner.placing.lock().heat.note(&key, accesses, self.env().monotonic());
    }

    /// Sends what was counted since the last time to the primaries.
    pub(super) async fn report_heat(&self) -> Result<(), store::Error> {
        let taken = self.inner.placing.lock().heat.take(limits::HEAT_ITEMS_MAX);
        if taken.is_empty() {
            return Ok(());
        }
        let mut reports: BTreeMap<RegionId, Vec<HeatItem>> = BTreeMap::new();
        {
            let snapshot = self.store().read()?;
            for (((bucket, key), stamp), accesses) in taken {
                let Some(row) = snapshot.row(bucket, &key)? else { continue };
                let found = row.versions.iter().find(|version| version.stamp == stamp);
                let Some((version, meta)) = found.and_then(|v| Some((v, placed(v)?))) else {
                    continue;
                };
                let Some(primary) = version.placement.primary else { continue };
                let accesses = Accesses { cached_whole: self.has_whole(meta)?, ..accesses };
                let of = VersionOf { bucket, key, stamp };
                reports.entry(primary.region).or_default().push(HeatItem { of, accesses });
            }
        }
        for (primary, items) in reports {
            if primary == self.region() {
                self.take_heat(primary, items)?;
                continue;
            }
            let request = Request::Heat(items);
            let sent = self.call(primary, Class::Migration, &request, ASK_LIMIT).await;
            if let Err(why) = sent {
                tracing::debug!(%primary, %why, "a report of reads was lost");
            }
        }
        Ok(())
    }

    /// All bytes are here, held or cached.
    pub(super) fn has_whole(&self, meta: &ObjectMeta) -> Result<bool, store::Error> {
        for part in &meta.parts {
            if !self.store().holds(&part.blob.id)? && !self.store().cached(&part.blob).whole {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A region's reads of objects whose primary is here.
    pub(super) fn take_heat(
        &self,
        from: RegionId,
        items: Vec<HeatItem>,
    ) -> Result<(), store::Error> {
        let own = self.region();
        let regions: Vec<RegionId> = self.members().regions().map(|info| info.id).collect();
        let rtt_ms = self.distances();
        let snapshot = self.store().read()?;
        for HeatItem { of, accesses } in items {
            let Some(row) = snapshot.row(of.bucket, &of.key)? else { continue };
            let Some((version, meta)) = row.object() else { continue };
            let ours = version.placement.primary.is_some_and(|primary| primary.region == own);
            if version.stamp != of.stamp || !ours || placed(version).is_none() {
                continue;
            }
            let object = (of.bucket, of.key);
            let mut state = self.inner.placing.lock();
            let config = &self.inner.options.placement;
            let regret = state.regret(&object);
            regret.note(config, (from, own), accesses, &regions, &rtt_ms, meta.size);
            state.touched.insert(object);
        }
        Ok(())
    }

    /// Round trips between any two regions, by their places on the globe.
    pub(super) fn distances(&self) -> impl Fn(RegionId, RegionId) -> f64 + use<> {
        let members = self.members();
        move |a, b| match (members.get(a), members.get(b)) {
            (Some(a), Some(b)) => {
                2.0 * link::delay(a.coordinates, b.coordinates).as_secs_f64() * 1000.0
            }
            (None, _) | (_, None) => 0.0,
        }
    }

    /// What this node knows of where a key is.
    pub(super) fn known_here(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
    ) -> Result<KnownHere, store::Error> {
        let Some(row) = self.store().read()?.row(bucket, key)? else {
            return Ok(KnownHere::default());
        };
        let Some((version, meta)) = row.object() else { return Ok(KnownHere::default()) };
        let mut whole = !meta.parts.is_empty();
        for part in &meta.parts {
            whole = whole && self.store().cached(&part.blob).whole;
        }
        let object = (bucket, key.clone());
        let verdict =
            self.verdict(&object, version, &self.bucket_configs()?).map(|verdict| verdict.reason);
        let state = self.inner.placing.lock();
        let regret = state.regrets.get(&object);
        let own = state.heat.count(&(object.clone(), version.stamp), self.env().monotonic());
        let heat = match regret.filter(|_| verdict.is_some()) {
            Some(regret) => regret.heat().iter().map(|(region, heat)| (*region, *heat)).collect(),
            None if own > 0.0 => vec![(self.region(), own)],
            None => Vec::new(),
        };
        let ours = state.moves.iter().filter(|(moved, _)| *moved == object);
        Ok(KnownHere {
            cached: whole,
            heat,
            moves: ours.map(|(_, moved)| moved.clone()).collect(),
            verdict,
        })
    }

    /// Where the current version of a key is: this node's row, and what all regions say of it.
    /// `None` when there is no object here.
    pub async fn whereabouts(
        &self,
        config: &BucketConfig,
        key: &ObjectKey,
    ) -> Result<Option<Whereabouts>, store::Error> {
        let row = self.store().read()?.row(config.id, key)?;
        let Some(row) = row else { return Ok(None) };
        let Some((version, meta)) = row.object() else { return Ok(None) };
        let mut known = vec![(self.region(), Some(self.known_here(config.id, key)?))];
        let request = Request::Whereabouts { bucket: config.id, key: key.clone() };
        let asked = self.others().into_iter().map(|info| {
            let request = &request;
            async move {
                let answer = self.call(info.id, Class::Read, request, ASK_LIMIT).await;
                match answer {
                    Ok(Response::Whereabouts(known)) => (info.id, Some(known)),
                    Ok(_) | Err(_) => (info.id, None),
                }
            }
        });
        known.extend(join_all(asked).await);
        let mut found = Whereabouts {
            primary: version.placement.primary,
            holders: version.placement.held().collect(),
            rides: meta.rides,
            ..Whereabouts::default()
        };
        if meta.rides {
            let may_hold = self.members();
            let allowed = may_hold.regions().filter(|info| config.allows(meta, info.id));
            found.holders = allowed.map(|info| info.id).collect();
        }
        gather(&mut found, known);
        Ok(Some(found))
    }
}

/// Puts together what the regions say.
fn gather(found: &mut Whereabouts, known: Vec<(RegionId, Option<KnownHere>)>) {
    let mut heat: BTreeMap<RegionId, f64> = BTreeMap::new();
    for (region, known) in known {
        let Some(known) = known else {
            found.silent.push(region);
            continue;
        };
        if known.cached && !found.holders.contains(&region) {
            found.cached.push(region);
        }
        for (of, count) in known.heat {
            let entry = heat.entry(of).or_default();
            *entry = entry.max(count);
        }
        found.moves.extend(known.moves);
        found.verdict = found.verdict.take().or(known.verdict);
    }
    found.moves.sort_by(|a, b| b.cmp(a));
    found.heat = heat.into_iter().collect();
    found.heat.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
}
