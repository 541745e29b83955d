//! Mending: bytes that were found damaged are fetched from another region, chunk by chunk, each
//! verified, and take the place of the damaged ones; entries of the index are made again of what else
//! this disk has, or, records, of what other regions and the log have.
//!
//! Invariant: damaged bytes are not served and not counted as a copy. What no region can give stays
//! noted, is tried again, and is told by bucket and key; nothing is dropped because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;

use crate::env::Class;
use crate::limits;
use crate::logic::merge;
use crate::net::message::{Request, Response, VersionOf};
use crate::store::{self, SealedBlob, Source, TableMended, TwinsMended, Tx};
use crate::types::id::{BlobId, BucketId};
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::{BlobRef, Content, HoldState, Row, Version};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::batch;
use super::copies::set_holding;
use super::error::ReadError;
use super::fetch::Wanted;

/// Something damaged that could not be mended yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    pub bucket: Option<BucketName>,
    pub key: Option<ObjectKey>,
    /// The version whose bytes these are, or the upload.
    pub version: Option<Stamp>,
    pub bytes: u64,
    /// Every region that may have the bytes was asked, and none has them.
    pub lost: bool,
    pub why: String,
}

/// How the last try to mend a blob ended.
#[derive(Clone, Debug)]
struct Tried {
    at: Duration,
    lost: bool,
    why: String,
}

/// How far damaged records were tried.
#[derive(Debug, Default)]
struct RecordTries {
    /// The log was looked through for them.
    not_in_log: BTreeSet<RecordId>,
    /// The last one that was tried, where others follow.
    after: Option<RecordId>,
    /// The log is not looked through again before this.
    search_from: Duration,
}

impl RecordTries {
    /// The log was looked through, which took from `began` to `now`.
    fn searched(&mut self, began: Duration, now: Duration, missing: Vec<RecordId>) {
        self.not_in_log.extend(missing);
        self.search_from = now + now.saturating_sub(began) * (limits::LOG_SEARCH_PARTS - 1);
    }
}

/// What peers said of a damaged record.
enum Asked {
    /// The state that this region had.
    Same(Record),
    /// Another one, as all together have it; `None` where not every peer answered, or none has any.
    Other(Option<Record>),
}

/// What mending remembers: what is damaged is in the store.
#[derive(Debug, Default)]
pub(super) struct Mending {
    tried: Mutex<BTreeMap<BlobId, Tried>>,
    records: Mutex<RecordTries>,
    wake: Notify,
}

impl Mending {
    /// Something was found.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BlobId, Tried>> {
        self.tried.lock().expect("no holder of this lock panics")
    }

    fn records(&self) -> MutexGuard<'_, RecordTries> {
        self.records.lock().expect("no holder of this lock panics")
    }

    /// Everything may be tried again at once.
    pub(super) fn forget_tries(&self) {
        self.lock().clear();
        *self.records() = RecordTries::default();
        self.wake();
    }
}

/// Who names a blob.
struct Namer {
    of: VersionOf,
    /// The version, where it is an object's.
    version: Option<Version>,
    sources: Vec<RegionId>,
}

impl Cluster {
    pub(super) async fn mend_damage(self) {
        loop {
            let wake = self.inner.mending.wake.notified();
            // Either way it looks: reads find damage too.
            let _ = self.env().timeout(limits::MEND_INTERVAL, wake).await;
            if let Err(why) = self.mend_all().await {
                tracing::error!(%why, "what is damaged cannot be looked after");
            }
        }
    }

    /// Gets sound records for those that do not fit their digests, as long as that gets on. What
    /// cannot be had is tried again after the others.
    async fn mend_records(&self) -> Result<(), store::Error> {
        self.store().put_back_strays().await?;
        for _ in 0..=limits::BAD_RECORDS_MAX / limits::DAMAGED_PAGE {
            let (page, is_last) = self.next_bad_records();
            if !self.mend_page(page).await? || is_last {
                break;
            }
        }
        Ok(())
    }

    /// The damaged records to be tried now, and whether none follows them.
    fn next_bad_records(&self) -> (Vec<RecordId>, bool) {
        let bad: BTreeSet<RecordId> = self.store().bad_records().into_iter().collect();
        let mut tries = self.inner.mending.records();
        tries.not_in_log.retain(|id| bad.contains(id));
        let from = tries.after.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = bad.range((from, Bound::Unbounded)).cloned();
        let page: Vec<RecordId> = rest.by_ref().take(limits::DAMAGED_PAGE).collect();
        let is_last = rest.next().is_none();
        tries.after = page.last().filter(|_| !is_last).cloned();
        (page, is_last)
    }

    /// Puts back the states that this region had: those that a peer has too, then those that are in the
    /// log. Another state is taken only where neither has it and every region was asked, and said.
    async fn mend_page(&self, page: Vec<RecordId>) -> Result<bool, store::Error> {
        let (mut mended, mut others) = (false, BTreeMap::new());
        for some in page.chunks(limits::REPAIR_AT_ONCE) {
            let asked = join_all(some.iter().map(|id| self.ask_for(id))).await;
            for (id, asked) in some.iter().zip(asked) {
                match asked {
                    Ok(Asked::Same(record)) => {
                        mended |= self.put_back(id, record, "a peer").await?
                    }
                    Ok(Asked::Other(record)) => {
                        others.insert(id.clone(), record);
                    }
                    // It is on a page that makes no sense, which is told.
                    Err(store::Error::Corrupt(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        mended |= self.mend_from_log(&mut others).await?;
        for (id, other) in others {
            match other {
                Some(record) => {
                    mended |= self.put_back(&id, record, "a peer, another state").await?
                }
                None => {
                    tracing::error!(?id, "a damaged record is nowhere else yet; it is not served");
                }
            }
        }
        Ok(mended)
    }

    /// Looks for damaged records in the log: once for each, and now and then for those that are found
    /// one after the other, because it is all read for that. Taken out of `wanted` is what was mended,
    /// and what cannot be decided yet.
    async fn mend_from_log(
        &self,
        wanted: &mut BTreeMap<RecordId, Option<Record>>,
    ) -> Result<bool, store::Error> {
        let mut sought: BTreeSet<RecordId> = self.store().bad_records().into_iter().collect();
        let began = self.env().monotonic();
        {
            let tries = self.inner.mending.records();
            let is_new = wanted.keys().any(|id| !tries.not_in_log.contains(id));
            if !is_new || began < tries.search_from {
                wanted.retain(|id, _| tries.not_in_log.contains(id));
                return Ok(false);
            }
            sought.retain(|id| !tries.not_in_log.contains(id));
        }
        let (mut mended, mut search) = (false, self.store().search_log(sought).await?);
        while let Some(found) = search.next().await {
            for (id, record) in found {
                mended |= self.put_back(&id, record, "the log").await?;
            }
        }
        let (now, missing) = (self.env().monotonic(), search.missing()?);
        let mut tries = self.inner.mending.records();
        tries.searched(began, now, missing);
        wanted.retain(|id, _| tries.not_in_log.contains(id));
        Ok(mended)
    }

    async fn put_back(
        &self,
        id: &RecordId,
        record: Record,
        from: &str,
    ) -> Result<bool, store::Error> {
        let replaced = self.store().replace_record(id.clone(), record).await?;
        if replaced {
            self.inner.metrics.damage_mended.inc();
            tracing::warn!(?id, from, "a damaged record was replaced");
        }
        Ok(replaced)
    }

    /// Asks the peers for a damaged record, until one has the state that this region had.
    async fn ask_for(&self, id: &RecordId) -> Result<Asked, store::Error> {
        let sound = self.store().digests_of(id)?;
        let (mut merged, mut asked_all) = (None::<Record>, true);
        for info in self.others() {
            let Some(record) = self.record_of(info.id, id).await else {
                asked_all = false;
                continue;
            };
            let Some(record) = record else { continue };
            if sound.contains(&store::digest_of(id, &record)) {
                return Ok(Asked::Same(record));
            }
            merged = Some(match merged {
                Some(other) => merge::merge(Some(other), record).record,
                None => record,
            });
        }
        Ok(Asked::Other(merged.filter(|_| asked_all)))
    }

    /// A record as a peer has it; `None`: it cannot be asked.
    async fn record_of(&self, peer: RegionId, id: &RecordId) -> Option<Option<Record>> {
        let request = Request::Records(vec![id.clone()]);
        let answer = self.call(peer, Class::Repair, &request, limits::PUSH_TIMEOUT).await;
        let Ok(Response::Records(mut records)) = answer else { return None };
        let Some(carried) = records.pop()? else { return Some(None) };
        let (found, record) = batch::decode(&carried.entry).ok()?;
        (found == *id).then_some(Some(record))
    }

    /// Has entries of the index made again of what else is on this disk.
    async fn mend_entries(&self) -> Result<(), store::Error> {
        let TwinsMended { mended, lost } = self.store().mend_twins().await?;
        self.inner.metrics.damage_mended.inc_by(mended);
        if mended + lost > 0 {
            tracing::warn!(mended, lost, "entries of the index had decayed in one of two places");
        }
        for (table, mended) in self.store().mend_entries().await?.tables {
            let TableMended { taken_out, made_again, given_up } = mended;
            self.inner.metrics.damage_mended.inc_by(made_again);
            tracing::warn!(
                table,
                taken_out,
                made_again,
                given_up,
                "entries of the index had decayed"
            );
        }
        Ok(())
    }

    /// Tries what is due. What must be fetched comes after what this disk knows itself.
    async fn mend_all(&self) -> Result<(), store::Error> {
        if let Err(why) = self.mend_entries().await {
            tracing::error!(%why, "entries of the index cannot be mended yet");
        }
        self.tell_damage();
        self.mend_records().await?;
        let damaged = self.store().read()?.damaged(limits::DAMAGED_PAGE)?;
        self.inner.mending.lock().retain(|id, _| damaged.iter().any(|blob| blob.id == *id));
        for blob in damaged {
            let now = self.env().monotonic();
            let last = self.inner.mending.lock().get(&blob.id).map(|tried| tried.at);
            if last.is_some_and(|at| now.saturating_sub(at) < limits::MEND_RETRY) {
                continue;
            }
            match self.mend(blob).await? {
                Ok(()) => {
                    self.inner.mending.lock().remove(&blob.id);
                }
                Err(why) => {
                    let tried = self.tried(&why);
                    self.inner.mending.lock().insert(blob.id, tried);
                    for damaged in self.name_damaged(&blob)? {
                        let bucket = damaged.bucket.map(|name| name.to_string());
                        let key = damaged.key.map(|key| key.to_string());
                        let (lost, why) = (damaged.lost, damaged.why);
                        tracing::error!(bucket, key, lost, why, "damaged, and not mended yet");
                    }
                }
            }
        }
        self.tell_damage();
        Ok(())
    }

    /// Says how much is damaged, of bodies and of the index.
    fn tell_damage(&self) {
        let blobs = self.store().read().and_then(|view| view.damaged(limits::DAMAGED_PAGE));
        // What cannot be read is noted by that, and counts as damage of the index.
        let blobs = blobs.map_or(0, |blobs| blobs.len());
        let count = blobs + self.store().bad_records().len() + self.name_entries().len();
        self.inner.metrics.damaged.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How a try ended that brought nothing. Nothing is lost while a region is away: it may have it.
    fn tried(&self, why: &ReadError) -> Tried {
        let others = self.others().into_iter().map(|info| info.id);
        let away: Vec<String> =
            others.filter(|id| !self.is_connected(*id)).map(|id| id.to_string()).collect();
        let gone = matches!(why, ReadError::Gone);
        let why = match gone && !away.is_empty() {
            true => format!("no region that can be reached has it; away: {}", away.join(", ")),
            false => why.to_string(),
        };
        Tried { at: self.env().monotonic(), lost: gone && away.is_empty(), why }
    }

    /// Gets whole bytes for one blob; the inner error says why there are none.
    async fn mend(&self, blob: BlobRef) -> Result<Result<(), ReadError>, store::Error> {
        if self.store().recheck(&blob).await? {
            tracing::info!(blob = %blob.id, "bytes that could not be read are whole again");
            return Ok(Ok(()));
        }
        let namers = self.namers(&blob)?;
        let Some(first) = namers.first() else {
            // Only something pending names it, or nothing; it goes when nothing does.
            return Ok(Err(ReadError::Gone));
        };
        let sources = namers.iter().flat_map(|namer| namer.sources.iter().copied()).collect();
        let wanted = Arc::new(Wanted::of_blob(first.of.clone(), &blob, sources));
        let sealed = match self.fetch_blob(&wanted, blob).await {
            Ok(sealed) => sealed,
            Err(why) => return Ok(Err(why)),
        };
        if self.replace(sealed, namers).await? {
            self.inner.metrics.damage_mended.inc();
            tracing::warn!(blob = %blob.id, bytes = blob.len, "damaged bytes were replaced");
        }
        Ok(Ok(()))
    }

    /// Puts whole bytes in the place of damaged ones, and says again that this region has them
    /// where it had taken that back.
    async fn replace(&self, sealed: SealedBlob, of: Vec<Namer>) -> Result<bool, store::Error> {
        let (own, blob) = (self.region(), sealed.blob());
        let replaced = self.store().write(move |tx| {
            if !tx.is_damaged(&blob.id)? {
                return Ok(None);
            }
            tx.attach(sealed)?;
            let mut last = None;
            for Namer { of, version, .. } in of {
                if version.is_some() {
                    last = claim(tx, own, of)?.or(last);
                }
            }
            Ok::<_, store::Error>(Some(last))
        });
        let Some(seq) = replaced.await? else { return Ok(false) };
        if let Some(seq) = seq {
            self.log_grew(seq);
        }
        Ok(true)
    }

    /// The versions and parts that name a blob.
    fn namers(&self, blob: &BlobRef) -> Result<Vec<Namer>, store::Error> {
        let snapshot = self.store().read()?;
        let mut namers = Vec::new();
        for id in snapshot.named_by(&blob.id, limits::NAMERS_MAX)? {
            let record = snapshot.record(&id)?;
            match (id, record) {
                (RecordId::Row(bucket, key), Some(Record::Row(row))) => {
                    namers.extend(row_namers(&row, blob, bucket, &key));
                }
                (RecordId::Part(upload, _), Some(Record::Part(part))) => {
                    let open = snapshot.record(&RecordId::Upload(upload))?;
                    if let Some(Record::Upload(open)) = open {
                        let (bucket, key) = (open.bucket, open.key.clone());
                        let of = VersionOf { bucket, key, stamp: upload.0 };
                        let sources = part.part.held_by.clone();
                        namers.push(Namer { of, version: None, sources });
                    }
                }
                _ => {}
            }
        }
        Ok(namers)
    }

    /// Says of a blob whose bytes it is.
    fn name_damaged(&self, blob: &BlobRef) -> Result<Vec<Damaged>, store::Error> {
        let names = self.bucket_names()?;
        let tried = self.inner.mending.lock().get(&blob.id).cloned();
        let (lost, why) = tried
            .map_or_else(|| (false, "not tried yet".to_owned()), |tried| (tried.lost, tried.why));
        let damaged = |of: Option<&VersionOf>| Damaged {
            bucket: of.and_then(|of| names.get(&of.bucket).cloned()),
            key: of.map(|of| of.key.clone()),
            version: of.map(|of| of.stamp),
            bytes: blob.len,
            lost,
            why: why.clone(),
        };
        let namers = self.namers(blob)?;
        if namers.is_empty() {
            return Ok(vec![damaged(None)]);
        }
        Ok(namers.iter().map(|namer| damaged(Some(&namer.of))).collect())
    }

    /// What is damaged here and not mended yet, by name, and how much there is of it.
    pub fn damaged(&self) -> Result<(Vec<Damaged>, usize), store::Error> {
        let damaged = self.store().read()?.damaged(limits::DAMAGED_PAGE)?;
        let mut named = self.name_records()?;
        named.extend(self.name_entries());
        let count = damaged.len() + named.len();
        for blob in damaged.iter().take(limits::DAMAGED_NAMED_MAX) {
            named.extend(self.name_damaged(blob)?);
        }
        Ok((named, count))
    }

    /// Damaged records of the index.
    fn name_records(&self) -> Result<Vec<Damaged>, store::Error> {
        let bad = self.store().bad_records();
        if bad.is_empty() {
            return Ok(Vec::new());
        }
        let names = self.bucket_names()?;
        let named = bad.into_iter().take(limits::DAMAGED_NAMED_MAX).map(|id| {
            let (bucket, key) = match id {
                RecordId::Row(bucket, key) => (names.get(&bucket).cloned(), Some(key)),
                RecordId::Bucket(bucket) => (names.get(&bucket).cloned(), None),
                RecordId::Name(name) => (Some(name), None),
                RecordId::AccessKey(_)
                | RecordId::Members
                | RecordId::Part(..)
                | RecordId::Upload(_) => (None, None),
            };
            let why = "its record in the index is damaged".to_owned();
            Damaged { bucket, key, version: None, bytes: 0, lost: false, why }
        });
        Ok(named.collect())
    }

    /// What decayed in the index besides records.
    fn name_entries(&self) -> Vec<Damaged> {
        let tables = self.store().decayed_tables().into_iter();
        let tables = tables
            .map(|table| format!("entries of its index ({table}) are damaged, not mended yet"));
        let pages = self.store().damaged_pages();
        let damaged =
            |why| Damaged { bucket: None, key: None, version: None, bytes: 0, lost: false, why };
        tables.chain(pages).map(damaged).collect()
    }

    /// Names of the buckets that are in use.
    pub(super) fn bucket_names(&self) -> Result<BTreeMap<BucketId, BucketName>, store::Error> {
        Ok(self.named_buckets()?.into_iter().map(|(id, (name, _))| (id, name)).collect())
    }
}

/// The versions of a row that name a blob.
fn row_namers(row: &Row, blob: &BlobRef, bucket: BucketId, key: &ObjectKey) -> Vec<Namer> {
    let mut namers = Vec::new();
    for version in &row.versions {
        let Content::Object(meta) = &version.content else { continue };
        let Some(part) = meta.parts.iter().find(|part| part.blob.id == blob.id) else { continue };
        let primary = version.placement.primary.map(|primary| primary.region);
        let mut sources: Vec<RegionId> = primary.into_iter().collect();
        sources.extend(version.placement.held());
        sources.extend(&part.held_by);
        sources.push(blob.id.0.region);
        let of = VersionOf { bucket, key: key.clone(), stamp: version.stamp };
        namers.push(Namer { of, version: Some(version.clone()), sources });
    }
    namers
}

/// Says again that this region holds a version, if it had taken that back and has all of it.
fn claim(tx: &mut Tx<'_>, own: RegionId, of: VersionOf) -> Result<Option<u64>, store::Error> {
    let row = tx.row(of.bucket, &of.key)?.unwrap_or_default();
    let found = row.versions.into_iter().find(|version| version.stamp == of.stamp);
    let Some(mut version) = found else { return Ok(None) };
    let took_back = |h: &crate::types::object::Holding| h.state == HoldState::Absent;
    if !version.placement.holders.get(&own).is_some_and(took_back) {
        return Ok(None);
    }
    let parts = version.object().map(|meta| meta.parts.clone()).unwrap_or_default();
    for part in parts {
        if !tx.holds(&part.blob.id)? {
            return Ok(None);
        }
    }
    set_holding(&mut version, own, HoldState::Held);
    let id = RecordId::Row(of.bucket, of.key);
    Ok(tx.merge(id, Record::Row(Row::of(version)), Source::Local)?.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_walk_over_the_log_there_is_none_for_nine_times_as_long() {
        let mut tries = RecordTries::default();
        let secs = Duration::from_secs;
        tries.searched(secs(10), secs(30), vec![RecordId::Members]);
        assert_eq!(tries.search_from, secs(30 + 180));
        assert_eq!(tries.not_in_log, BTreeSet::from([RecordId::Members]));
    }
}
