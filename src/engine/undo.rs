//! Bringing back what writes ended: losers of concurrent writes within the undo window, and what
//! was overwritten or deleted in a bucket with soft delete.
//!
//! Invariant: bringing back is a new write of the same bytes; what was kept stays kept until its
//! end. An end is judged again inside the change that makes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cluster::{Horizon, Lead, View, Write};
use crate::limits;
use crate::logic::undo;
use crate::store::Snapshot;
use crate::types::bucket::SettingKind;
use crate::types::id::BucketId;
use crate::types::kept::{Keeping, Why};
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::{Marks, ObjectMeta, Row, Version};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::index::store_error;
use super::known::decode;
use super::{Engine, Error, Stored, above, mismatch};

mod metrics;
pub use metrics::UndoMetrics;

/// A version of a key as lists of kept ones show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    pub stamp: Stamp,
    /// `None`: a deletion.
    pub meta: Option<Arc<ObjectMeta>>,
    pub made_ms: u64,
}

/// A version that can be brought back.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub key: ObjectKey,
    pub why: Why,
    /// Milliseconds since 1970; `None`: the window has not begun, because not every region was
    /// heard of since the write.
    pub until_ms: Option<u64>,
    pub version: Side,
    /// What readers see now.
    pub current: Option<Side>,
}

/// One page of kept versions.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptPage {
    pub kept: Vec<Kept>,
    /// The last version of the page; `None` on the last page.
    pub next: Option<(ObjectKey, Stamp)>,
}

fn side(version: &Version) -> Side {
    let (stamp, made_ms) = (version.stamp, version.made_ms());
    Side { stamp, meta: version.object().cloned(), made_ms }
}

/// What a row keeps, newest first.
fn kept_of<'a>(key: &'a ObjectKey, row: &'a Row) -> impl Iterator<Item = Kept> + 'a {
    let current = row.current().map(side);
    row.kept().map(move |(version, _)| {
        let noted = row.cover.spared.get(&version.stamp);
        Kept {
            key: key.clone(),
            why: noted.map_or(Why::Lost, |keep| keep.why),
            until_ms: noted.map(|keep| keep.until_ms),
            version: side(version),
            current: current.clone(),
        }
    })
}

impl Engine {
    /// How long a bucket keeps what writes end.
    pub async fn keeping(&self, bucket: &BucketName) -> Result<Keeping, Error> {
        Ok(self.document(bucket, SettingKind::Keeping).await?.unwrap_or_default())
    }

    /// Changes how long a bucket keeps what is written over from now on.
    pub async fn put_keeping(&self, bucket: &BucketName, keeping: Keeping) -> Result<(), Error> {
        let days = keeping.soft_delete_days;
        if days.is_some_and(|days| !limits::SOFT_DELETE_DAYS.contains(&days)) {
            let (from, to) = (limits::SOFT_DELETE_DAYS.start(), limits::SOFT_DELETE_DAYS.end());
            let why = format!("soft delete keeps what is deleted for {from} to {to} days");
            return Err(Error::InvalidArgument(why));
        }
        if u128::from(keeping.undo_ms) > limits::UNDO_WINDOW_MAX.as_millis() {
            let days = limits::UNDO_WINDOW_MAX.as_secs() / (24 * 3600);
            return Err(Error::InvalidArgument(format!("an undo window has at most {days} days")));
        }
        self.put_document(bucket, SettingKind::Keeping, &keeping).await
    }

    /// What is kept below a prefix, as far as this region knows: after this version of this key,
    /// with [`Stamp::ZERO`] after the whole key.
    pub async fn kept(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<(ObjectKey, Stamp)>,
        max: usize,
    ) -> Result<KeptPage, Error> {
        let id = self.bucket(bucket).await?.id;
        let prefix = prefix.to_owned();
        let max = max.min(limits::LIST_KEYS_MAX);
        self.look(move |snapshot| {
            let mut kept = Vec::new();
            if let Some((key, stamp)) = &after
                && let Some(row) = snapshot.row(id, key).map_err(store_error)?
            {
                kept.extend(kept_of(key, &row).filter(|kept| kept.version.stamp < *stamp));
            }
            let mut after = after.map(|(key, _)| RecordId::Row(id, key));
            while kept.len() <= max {
                let rows = snapshot.kept(Some((id, &prefix)), after.as_ref(), limits::KEPT_PAGE);
                let rows = rows.map_err(store_error)?;
                let Some((last, _)) = rows.last() else { break };
                after = Some(last.clone());
                for (id, row) in &rows {
                    let RecordId::Row(_, key) = id else { continue };
                    kept.extend(kept_of(key, row));
                }
            }
            let more = kept.len() > max;
            kept.truncate(max);
            let next = kept.last().filter(|_| more);
            let next = next.map(|kept| (kept.key.clone(), kept.version.stamp));
            Ok(KeptPage { kept, next })
        })
        .await
    }

    /// Brings a kept version back: the newest one where none is named and readers see no object.
    pub async fn restore(
        &self,
        bucket: &BucketName,
        key: ObjectKey,
        version: Option<Stamp>,
        over_current: bool,
    ) -> Result<Stored, Error> {
        let place = self.place(bucket).await?;
        let (config, subject) = (place.config.clone(), place.row_id(&key));
        let id = subject.clone();
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            let row = place.row(view, &key)?;
            above(stamp, &row)?;
            if version.is_none() && !over_current && row.object().is_some() {
                let why = "the object is there; say which version shall replace it";
                return Err(Error::Conflict(why.to_owned()));
            }
            let made = found(&row, version)?;
            Ok(vec![(place.row_id(&key), Record::Row(place.put(&row, stamp, made)))])
        });
        let write = Write { subject, bodies: Vec::new(), decide };
        let written = self.write(&config, write).await?;
        let row = match self.cluster.record(&id).await? {
            Some(Record::Row(row)) => row,
            Some(other) => return Err(mismatch(&other)),
            None => Row::default(),
        };
        let made = row.versions.iter().find(|v| v.stamp == written.stamp).and_then(|v| v.object());
        let meta = made.ok_or_else(|| Error::Conflict("the object was changed since".into()))?;
        Ok(Stored {
            version: written.stamp,
            version_id: super::version::id_stored(config.versioning, written.stamp),
            etag: meta.etag.clone(),
            size: meta.size,
            modified_ms: meta.modified_ms,
            checksum: meta.checksum.clone(),
            sse: meta.encryption.as_ref().map(|e| e.sse.clone()),
        })
    }

    /// Ends a kept version at once.
    pub async fn purge(
        &self,
        bucket: &BucketName,
        key: ObjectKey,
        version: Stamp,
    ) -> Result<(), Error> {
        let place = self.place(bucket).await?;
        let (config, subject) = (place.config.clone(), place.row_id(&key));
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            let row = place.row(view, &key)?;
            if !row.kept().any(|(kept, _)| kept.stamp == version) {
                return Err(Error::NoSuchVersion);
            }
            let cover = undo::without(&row, version, &place.keeping, stamp.hlc.ms());
            let row = Row { cover, ..Row::default() };
            Ok(vec![(place.row_id(&key), Record::Row(row))])
        });
        self.write(&config, Write { subject, bodies: Vec::new(), decide }).await?;
        Ok(())
    }
}

/// The object of a kept version, for a new one: its bytes are where they are.
fn found(row: &Row, version: Option<Stamp>) -> Result<(ObjectMeta, Marks), Error> {
    let wanted = |v: &Version| version.is_none_or(|stamp| v.stamp == stamp);
    let none = if version.is_some() { Error::NoSuchVersion } else { Error::NoSuchKey };
    let (version, meta) = row.kept().find(|(v, _)| wanted(v)).ok_or(none)?;
    let held: Vec<RegionId> = version.placement.held().collect();
    let mut meta = Arc::unwrap_or_clone(meta.clone());
    if !held.is_empty() {
        meta.parts.iter_mut().for_each(|part| part.held_by.clone_from(&held));
    }
    Ok((meta, version.marks.clone().as_made()))
}

/// Ends what was kept for long enough, page by page.
pub struct Keeper {
    engine: Engine,
    metrics: UndoMetrics,
    pass: Mutex<Option<Pass>>,
}

/// A walk over everything that is kept.
struct Pass {
    after: Option<RecordId>,
    /// What must have been applied here before a loser is judged.
    horizon: Option<Horizon>,
    /// Versions that were seen, by why they are kept.
    kept: BTreeMap<Why, u64>,
}

impl Keeper {
    pub fn new(engine: &Engine) -> Self {
        let metrics = UndoMetrics::default();
        Self { engine: engine.clone(), metrics, pass: Mutex::default() }
    }

    pub fn metrics(&self) -> &UndoMetrics {
        &self.metrics
    }

    /// One page; whether there is more of this walk. Not to be called twice at a time.
    pub async fn round(&self) -> Result<bool, Error> {
        self.metrics.note_conflicts(self.engine.cluster.store().stats().conflicts);
        let under_way = self.pass.lock().unwrap_or_else(PoisonError::into_inner).take();
        let horizon = || self.engine.cluster.horizon().ok();
        let mut pass = under_way.unwrap_or_else(|| Pass {
            after: None,
            horizon: horizon(),
            kept: BTreeMap::new(),
        });
        let more = self.page(&mut pass).await?;
        if more {
            *self.pass.lock().unwrap_or_else(PoisonError::into_inner) = Some(pass);
        } else {
            self.metrics.note_kept(&pass.kept);
        }
        Ok(more)
    }

    /// One whole walk.
    pub async fn pass(&self) -> Result<(), Error> {
        while self.round().await? {}
        Ok(())
    }

    async fn page(&self, pass: &mut Pass) -> Result<bool, Error> {
        let cluster = &self.engine.cluster;
        let known_ms = match &pass.horizon {
            Some(horizon) => cluster.knows_until(horizon).map_err(store_error)?,
            None => 0,
        };
        let (after, now_ms) = (pass.after.take(), self.engine.env().now_ms());
        let (rows, keepings) = self
            .engine
            .look(move |snapshot| {
                let rows = snapshot.kept(None, after.as_ref(), limits::KEPT_PAGE);
                let rows = rows.map_err(store_error)?;
                let keepings = keepings(snapshot, &rows)?;
                Ok((rows, keepings))
            })
            .await?;
        let full = rows.len() == limits::KEPT_PAGE;
        pass.after = rows.last().filter(|_| full).map(|(id, _)| id.clone());
        let keepings = Arc::new(keepings);
        let mut due = Vec::new();
        for (id, row) in rows {
            let RecordId::Row(bucket, key) = &id else { continue };
            for kept in kept_of(key, &row) {
                *pass.kept.entry(kept.why).or_default() += 1;
            }
            let Some(newest) = row.versions.iter().find(|v| v.null) else { continue };
            let keeping = keepings.get(bucket).copied().unwrap_or_default();
            if cluster.lead(newest) == Lead::Here
                && undo::due(&row, &keeping, now_ms, known_ms).is_some()
            {
                due.push(id);
            }
        }
        if !due.is_empty() {
            let judge = move |id: &RecordId, row: &Row| {
                let RecordId::Row(bucket, _) = id else { return None };
                let keeping = keepings.get(bucket).copied().unwrap_or_default();
                undo::due(row, &keeping, now_ms, known_ms)
            };
            let changed = cluster.cover_rows(due, judge).await.map_err(store_error)?;
            self.metrics.rows_changed.inc_by(changed);
        }
        Ok(pass.after.is_some())
    }
}

/// How long the buckets of these rows keep what writes end.
fn keepings(
    snapshot: &Snapshot,
    rows: &[(RecordId, Row)],
) -> Result<BTreeMap<BucketId, Keeping>, Error> {
    let mut keepings = BTreeMap::new();
    for (id, _) in rows {
        let RecordId::Row(bucket, _) = id else { continue };
        if keepings.contains_key(bucket) {
            continue;
        }
        let record = match snapshot.record(&RecordId::Bucket(*bucket)).map_err(store_error)? {
            Some(Record::Bucket(record)) => Some(*record),
            Some(other) => return Err(mismatch(&other)),
            None => None,
        };
        let keeping: Option<Arc<Keeping>> = decode(record.as_ref(), SettingKind::Keeping)?;
        keepings.insert(*bucket, keeping.map(|keeping| *keeping).unwrap_or_default());
    }
    Ok(keepings)
}
