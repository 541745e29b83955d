//! Doing what lifecycle rules say: a walk over the buckets that have rules, slice by slice.
//!
//! Invariant: what is done to a key is judged again inside the change that does it, by the rules
//! and the versions as they are then. So a walk can end anywhere and begin anew, a rule that was
//! taken back stops at once, and an object that was written meanwhile stays. Requests are not held
//! up: a slice is bounded, reads on a blocking thread and is followed by a pause.

mod change;
mod metrics;
mod rows;
mod uploads;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cluster::Horizon;
use crate::limits;
use crate::logic::lifecycle::{self, Deed};
use crate::store::Snapshot;
use crate::types::bucket::{BucketConfig, NameState, SettingKind};
use crate::types::event::Cause;
use crate::types::id::{BucketId, UploadId};
use crate::types::name::{BucketName, ObjectKey};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::index::{names, store_error};
use super::{Engine, Error};
use change::Clock;
pub use metrics::ExpiryMetrics;
use rows::Search;

/// What one walk over all buckets did in this region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Buckets with rules.
    pub buckets: u64,
    /// Keys that were looked at.
    pub keys: u64,
    /// Current versions that were deleted or hidden.
    pub expired: u64,
    /// Noncurrent versions that were deleted for good.
    pub erased: u64,
    /// Delete markers that hid nothing and were removed.
    pub unmarked: u64,
    pub aborted: u64,
    /// Versions that are due, but a region is away that does it or that may know more of them.
    pub waiting: u64,
    /// Those regions.
    pub away: BTreeSet<RegionId>,
    /// Buckets that were left early.
    pub errors: u64,
    pub took: Duration,
}

impl Passed {
    fn count(&mut self, deeds: &[Deed]) {
        for deed in deeds {
            match deed {
                Deed::Expire(_) => self.expired += 1,
                Deed::Erase(_) => self.erased += 1,
                Deed::Unmark(_) => self.unmarked += 1,
            }
        }
    }
}

/// A walk under way.
struct Walk {
    began: Duration,
    passed: Passed,
    /// The buckets with rules.
    ruled: Arc<BTreeMap<BucketId, BucketName>>,
    /// The last upload that was looked at; they come first.
    uploads: Option<RecordId>,
    /// What is left of the buckets.
    buckets: VecDeque<(BucketName, BucketId)>,
    spot: Option<Spot>,
    /// What must have been applied here before a delete marker goes, or the regions of which that
    /// is not known.
    horizon: Result<Horizon, Vec<RegionId>>,
}

/// Where in a bucket a walk is.
struct Spot {
    bucket: (BucketName, BucketId),
    /// What is left of the keys that rules are about; the first one is being walked. `None` before
    /// the first slice.
    prefixes: Option<VecDeque<String>>,
    /// The last key that was looked at.
    after: Option<ObjectKey>,
}

/// Runs the lifecycle rules of all buckets, as far as this region is the one to do it.
pub struct Expirer {
    engine: Engine,
    metrics: ExpiryMetrics,
    state: Mutex<State>,
}

/// What is remembered from one slice to the next; nothing of it must survive a restart.
struct State {
    walk: Option<Walk>,
    /// No walk begins before.
    rest_until: Duration,
}

impl Expirer {
    pub fn new(engine: &Engine) -> Self {
        let engine = engine.caused_by(Cause::Expiration);
        let first = engine.options.lifecycle_interval.min(limits::LIFECYCLE_FIRST);
        let rest_until = engine.env().monotonic() + first;
        let state = Mutex::new(State { walk: None, rest_until });
        Self { engine, metrics: ExpiryMetrics::default(), state }
    }

    pub fn metrics(&self) -> &ExpiryMetrics {
        &self.metrics
    }

    /// How often [`Expirer::round`] is to be called.
    pub fn every(&self) -> Duration {
        self.engine.options.lifecycle_interval.min(limits::LIFECYCLE_FIRST)
    }

    /// A slice, if it is time for one; whether another one follows at once.
    pub async fn round(&self) -> Result<bool, Error> {
        let now = self.engine.env().monotonic();
        let resting = {
            let state = self.lock();
            state.walk.is_none() && now < state.rest_until
        };
        if resting {
            return Ok(false);
        }
        let Some(passed) = self.step().await? else { return Ok(true) };
        let interval = self.engine.options.lifecycle_interval;
        let rest = match passed.errors {
            0 => interval,
            _ => interval.min(limits::LIFECYCLE_RETRY),
        };
        self.lock().rest_until = self.engine.env().monotonic() + rest;
        Ok(false)
    }

    /// One whole walk.
    pub async fn pass(&self) -> Result<Passed, Error> {
        loop {
            if let Some(passed) = self.step().await? {
                return Ok(passed);
            }
        }
    }

    /// One slice of a walk, which is begun where none is under way; what the walk did when it is
    /// over. Not to be called twice at a time.
    pub async fn step(&self) -> Result<Option<Passed>, Error> {
        let under_way = self.lock().walk.take();
        let mut walk = match under_way {
            Some(walk) => walk,
            None => self.begin().await?,
        };
        let before = walk.passed.clone();
        let more = self.slice(&mut walk).await;
        self.metrics.count(&before, &walk.passed);
        if more {
            self.lock().walk = Some(walk);
            self.engine.env().sleep(limits::LIFECYCLE_PAUSE).await;
            return Ok(None);
        }
        let mut passed = walk.passed;
        passed.took = self.engine.env().monotonic().saturating_sub(walk.began);
        self.metrics.note(&passed, self.engine.env().now_ms());
        tell(&passed);
        Ok(Some(passed))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn begin(&self) -> Result<Walk, Error> {
        let buckets = self.engine.look(ruled_buckets).await?;
        let ruled = buckets.iter().map(|(name, id)| (*id, name.clone())).collect();
        Ok(Walk {
            began: self.engine.env().monotonic(),
            passed: Passed { buckets: buckets.len() as u64, ..Passed::default() },
            ruled: Arc::new(ruled),
            uploads: (!buckets.is_empty()).then_some(RecordId::Upload(UploadId(Stamp::ZERO))),
            buckets,
            spot: None,
            horizon: self.engine.cluster.horizon(),
        })
    }

    /// Goes on a little; whether there is more to do. A bucket where something fails is left.
    async fn slice(&self, walk: &mut Walk) -> bool {
        if let Some(after) = walk.uploads.take() {
            match self.engine.abort_some(walk.ruled.clone(), after, &mut walk.passed.aborted).await
            {
                Ok(next) => walk.uploads = next,
                Err(error) => {
                    tracing::warn!(%error, "stale uploads are aborted later");
                    walk.passed.errors += 1;
                }
            }
            return true;
        }
        let spot = match walk.spot.take() {
            Some(spot) => spot,
            None => match walk.buckets.pop_front() {
                Some(bucket) => Spot { bucket, prefixes: None, after: None },
                None => return false,
            },
        };
        let name = spot.bucket.0.clone();
        match self.advance(spot, &walk.horizon, &mut walk.passed).await {
            Ok(spot) => walk.spot = spot,
            Err(Error::NoSuchBucket) => {}
            Err(error) => {
                tracing::warn!(bucket = %name, %error, "lifecycle rules are tried again later");
                walk.passed.errors += 1;
            }
        }
        walk.spot.is_some() || !walk.buckets.is_empty()
    }

    /// One slice of a bucket, and where the next one begins; `None` at its end.
    async fn advance(
        &self,
        mut spot: Spot,
        horizon: &Result<Horizon, Vec<RegionId>>,
        passed: &mut Passed,
    ) -> Result<Option<Spot>, Error> {
        let place = self.engine.place(&spot.bucket.0).await?;
        let rules = match self.engine.known(&spot.bucket.0)? {
            Some(known) => known.lifecycle()?,
            None => None,
        };
        let Some(rules) = rules.filter(|_| place.config.id == spot.bucket.1) else {
            return Ok(None);
        };
        let prefixes = spot.prefixes.get_or_insert_with(|| {
            lifecycle::prefixes(&rules).into_iter().map(str::to_owned).collect()
        });
        let Some(prefix) = prefixes.front().cloned() else { return Ok(None) };
        let known_ms = match horizon {
            Ok(horizon) => self.engine.cluster.knows_until(horizon).map_err(store_error)?,
            Err(_) => 0,
        };
        let search = Search {
            rules,
            clock: self.engine.lifecycle_clock(known_ms),
            prefix,
            after: spot.after.take(),
            unheard: horizon.as_ref().err().into_iter().flatten().copied().collect(),
        };
        let slice = self.engine.find_due(place.config.id, search).await?;
        passed.keys += slice.seen;
        passed.waiting += slice.waiting;
        passed.away.extend(slice.away);
        if !slice.due.is_empty() {
            let (deeds, written) = self.engine.do_due(place, slice.due, known_ms).await;
            passed.count(&deeds);
            written?;
        }
        if !slice.ended {
            spot.after = slice.last;
            return Ok(Some(spot));
        }
        let prefixes = spot.prefixes.map(|mut prefixes| {
            prefixes.pop_front();
            prefixes
        });
        let more = prefixes.as_ref().is_some_and(|prefixes| !prefixes.is_empty());
        Ok(more.then_some(Spot { bucket: spot.bucket, prefixes, after: None }))
    }
}

impl Engine {
    fn lifecycle_clock(&self, known_ms: u64) -> Clock {
        Clock { day: self.day(), now_ms: self.env().now_ms(), known_ms }
    }
}

/// The buckets that have rules, by name.
fn ruled_buckets(snapshot: &Snapshot) -> Result<VecDeque<(BucketName, BucketId)>, Error> {
    let mut ruled = VecDeque::new();
    for (name, BucketConfig { id, .. }) in names(snapshot, NameState::into_active)? {
        let record = snapshot.record(&RecordId::Bucket(id)).map_err(store_error)?;
        let Some(Record::Bucket(record)) = record else { continue };
        if record.setting(SettingKind::Lifecycle).is_some() {
            ruled.push_back((name, id));
        }
    }
    Ok(ruled)
}

/// The line of a walk in the log.
fn tell(passed: &Passed) {
    let Passed { buckets, keys, expired, erased, unmarked, aborted, waiting, away, errors, took } =
        passed;
    if !away.is_empty() {
        let away: Vec<String> = away.iter().map(ToString::to_string).collect();
        let away = away.join(",");
        tracing::warn!(waiting, away, "due by lifecycle rules, but these regions are away");
    }
    if *buckets > 0 {
        tracing::info!(
            buckets,
            keys,
            expired,
            erased,
            unmarked,
            aborted,
            waiting,
            errors,
            ?took,
            "lifecycle rules were run"
        );
    }
}
