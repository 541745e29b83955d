//! Bucket names: who has one, made and given up through registers, looked up in records.
//!
//! Invariant: of two creates of one name at most one succeeds (P7). A name is freed only after
//! every member region has durably closed the bucket and reported it empty. A deletion that got
//! stuck is set back by whoever meets it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::logic::register::{Outcome, RowValue, Value};
use crate::net::registers::{RegisterRequest, RegisterResponse};
use crate::store::{self, Table, Tx};
use crate::types::bucket::{BucketConfig, NameRecord, NameState, SoftDeleted};
use crate::types::id::{BucketId, OpId};
use crate::types::name::BucketName;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::ask::odd;
use super::cells;
use super::error::Unavailable;
use super::pending;
use super::register::{Operation, Registers};
use super::rules::Rule;

/// What became of a create.
#[derive(Clone, Debug, PartialEq)]
pub enum CreateOutcome {
    Created,
    /// The name has a bucket, of this or another owner.
    Exists(BucketConfig),
    /// The name is kept for a bucket that was deleted.
    SoftDeleted(SoftDeleted),
}

/// What became of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    Deleted,
    NotEmpty,
    /// No such bucket under this name (any more).
    NotFound,
}

/// How far the deletion of a bucket is, if one is under way.
pub(super) enum NameAge {
    Settled,
    Deleting,
    /// Older than [`limits::DELETING_MAX`].
    Stuck,
}

/// What a deletion that this region drives ends with.
#[derive(Clone, Copy)]
enum DeleteEnd {
    /// The bucket is what it was.
    SetBack,
    Free,
    Keep(Duration),
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A region's note that it takes no writes for a bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Closed {
    name: BucketName,
    /// The deletion's. A chosen value of the name above it that is active opens the bucket again.
    stamp: Stamp,
}

/// Decides on what a name stands for: `Some` changes it, `None` refuses.
pub(super) type NameJudge =
    Arc<dyn Fn(Option<&Value<NameState>>) -> Option<NameState> + Send + Sync + 'static>;

/// What a register of a name holds.
pub(super) fn name_value(value: &Value<Record>) -> Option<Value<NameState>> {
    let row = name_row(Some(value.state.clone()))?;
    Some(Value { stamp: value.stamp, ops: value.ops.clone(), state: row.state })
}

/// A name's record as the row beside its register.
fn name_row(record: Option<Record>) -> Option<RowValue<NameState>> {
    match record? {
        Record::Name(name) => Some(RowValue { stamp: name.stamp, state: name.state }),
        Record::AccessKey(_)
        | Record::Members(_)
        | Record::Bucket(_)
        | Record::Part(_)
        | Record::Row(_)
        | Record::Upload(_) => None,
    }
}

/// Prefix of [`Table::Local`]: [`Closed`] by bucket.
const CLOSED: &[u8] = b"closed/";

fn closed_key(bucket: BucketId) -> Vec<u8> {
    [CLOSED, &bucket.0].concat()
}

/// Whether this region takes no writes for the bucket: to be asked in the same change as the write.
pub(super) fn closed(tx: &Tx<'_>, bucket: BucketId) -> Result<bool, store::Error> {
    let Some(note) = tx.get::<Closed>(Table::Local, &closed_key(bucket))? else {
        return Ok(false);
    };
    let reopened = match name_row(tx.record(&RecordId::Name(note.name))?) {
        Some(row) => match row.state {
            NameState::Active(config) => config.id == bucket && row.stamp > note.stamp,
            NameState::Deleting(_) | NameState::Free | NameState::SoftDeleted(_) => false,
        },
        None => false,
    };
    Ok(!reopened)
}

/// The next buckets, in order of their ids, that this region closed, and which of them are gone: of
/// those the name stands for nothing, or for another bucket. Whoever freed the name had it from
/// every member that it closed the bucket durably, and ids are used once, so that no change of a
/// bucket that is gone is ever accepted again.
pub(super) fn next_gone(
    view: &store::Snapshot,
    after: &mut Option<BucketId>,
) -> Result<Vec<BucketId>, store::Error> {
    let from = after.map(closed_key);
    let page: Vec<(Vec<u8>, Closed)> =
        view.scan(Table::Local, CLOSED, from.as_deref(), limits::GONE_BUCKETS_PAGE)?;
    let (mut gone, mut last) = (Vec::new(), None);
    for (key, note) in page {
        let id = key.strip_prefix(CLOSED).and_then(|id| id.try_into().ok());
        let Some(bucket) = id.map(BucketId) else { continue };
        last = Some(bucket);
        let Some(row) = name_row(view.record(&RecordId::Name(note.name))?) else { continue };
        let is_gone = match row.state {
            NameState::Free => row.stamp > note.stamp,
            NameState::Active(config)
            | NameState::Deleting(config)
            | NameState::SoftDeleted(SoftDeleted { config, .. }) => {
                config.id != bucket && row.stamp > note.stamp
            }
        };
        gone.extend(is_gone.then_some(bucket));
    }
    *after = last;
    Ok(gone)
}

/// A deletion under way is told from a stuck one by the time in its stamp.
pub(super) fn name_age(value: Option<&Value<NameState>>, now_ms: u64) -> NameAge {
    let Some(Value { stamp, state: NameState::Deleting(_), .. }) = value else {
        return NameAge::Settled;
    };
    let age = Duration::from_millis(now_ms.saturating_sub(stamp.hlc.ms()));
    if age < limits::DELETING_MAX { NameAge::Deleting } else { NameAge::Stuck }
}

fn being_deleted(name: &BucketName) -> Unavailable {
    Unavailable::new(format!("the bucket {name} is being deleted right now"))
}

impl Cluster {
    /// The bucket behind a name: what is known here, or one read of the name's register.
    pub async fn bucket(
        &self,
        name: &BucketName,
    ) -> Result<Option<Arc<BucketConfig>>, Unavailable> {
        self.registers().bucket(name).await
    }

    /// Makes a bucket under a free name. Of two creates anywhere at any time at most one succeeds.
    /// After an error it may have been made all the same.
    pub async fn create_bucket(
        &self,
        name: &BucketName,
        config: BucketConfig,
    ) -> Result<CreateOutcome, Unavailable> {
        self.registers().create(name, config).await
    }

    /// Gives up a name, when no region has anything in the bucket. With `keep` the bucket can be
    /// had back for so long, and its name is given up then.
    pub async fn delete_bucket(
        &self,
        name: &BucketName,
        id: BucketId,
        keep: Option<Duration>,
    ) -> Result<DeleteOutcome, Unavailable> {
        self.registers().delete(name, id, keep).await
    }
}

impl Registers {
    /// The bucket behind a name: the record here, or one read of the register when there is none.
    pub(super) async fn bucket(
        &self,
        name: &BucketName,
    ) -> Result<Option<Arc<BucketConfig>>, Unavailable> {
        let row = name_row(self.host().store().read()?.record(&RecordId::Name(name.clone()))?);
        if let Some(row) = row {
            match row.state {
                NameState::Active(config) => return Ok(Some(Arc::new(config))),
                NameState::Deleting(config) => {
                    let value = Value {
                        stamp: row.stamp,
                        ops: Vec::new(),
                        state: NameState::Deleting(config.clone()),
                    };
                    self.heal_if_stuck(name, &value);
                    return Ok(Some(Arc::new(config)));
                }
                // The register may have gone on since.
                NameState::Free | NameState::SoftDeleted(_) => {}
            }
        }
        let id = RecordId::Name(name.clone());
        if self.known_absent(&id) {
            return Ok(None);
        }
        let current = self.look(&id, limits::NAME_LOOKUP_TIMEOUT).await?;
        match current.as_ref().and_then(name_value).map(|value| value.state) {
            Some(NameState::Active(config) | NameState::Deleting(config)) => {
                Ok(Some(Arc::new(config)))
            }
            Some(NameState::Free | NameState::SoftDeleted(_)) | None => {
                self.note_absent(id);
                Ok(None)
            }
        }
    }

    fn heal_if_stuck(&self, name: &BucketName, value: &Value<NameState>) {
        match name_age(Some(value), self.host().env().now_ms()) {
            NameAge::Settled | NameAge::Deleting => {}
            NameAge::Stuck => {
                let (this, name) = (self.clone(), name.clone());
                self.host().env().spawn("name-set-back", async move {
                    if let Err(why) = this.set_back(&name).await {
                        tracing::warn!(%name, %why, "a stuck deletion could not be set back");
                    }
                });
            }
        }
    }

    /// Makes a bucket under a free name.
    pub(super) async fn create(
        &self,
        name: &BucketName,
        config: BucketConfig,
    ) -> Result<CreateOutcome, Unavailable> {
        let (mine, now_ms) = (config.id, self.host().env().now_ms());
        let judge = move |current: Option<&Value<NameState>>| match current.map(|v| &v.state) {
            None | Some(NameState::Free) => Some(NameState::Active(config.clone())),
            Some(NameState::SoftDeleted(kept)) if kept.until_ms <= now_ms => {
                Some(NameState::Active(config.clone()))
            }
            Some(NameState::Active(_) | NameState::SoftDeleted(_)) => None,
            // A stuck deletion gives its bucket back; the name is not free.
            Some(NameState::Deleting(theirs)) => match name_age(current, now_ms) {
                NameAge::Stuck => Some(NameState::Active(theirs.clone())),
                NameAge::Deleting | NameAge::Settled => None,
            },
        };
        let value = match self.change(name, self.fresh_op(), Arc::new(judge)).await? {
            Outcome::Chosen { value, .. } => Some(value),
            Outcome::Refused { current }
            | Outcome::Conflict { current }
            | Outcome::Read { current } => current,
        };
        self.forget_absent(&RecordId::Name(name.clone()));
        match value.map(|v| v.state) {
            Some(NameState::Active(config)) if config.id == mine => Ok(CreateOutcome::Created),
            Some(NameState::Active(config)) => Ok(CreateOutcome::Exists(config)),
            Some(NameState::Deleting(_)) => Err(being_deleted(name)),
            Some(NameState::SoftDeleted(kept)) => Ok(CreateOutcome::SoftDeleted(kept)),
            Some(NameState::Free) | None => {
                Err(Unavailable::new(format!("the name {name} was freed while it was looked at")))
            }
        }
    }

    pub(super) async fn change(
        &self,
        name: &BucketName,
        op: OpId,
        judge: NameJudge,
    ) -> Result<Outcome<NameState>, Unavailable> {
        let judge = move |current: Option<&Value<Record>>, stamp: Stamp| {
            let state = judge(current.and_then(name_value).as_ref())?;
            Some(Record::Name(NameRecord { stamp, op, state }))
        };
        let id = RecordId::Name(name.clone());
        let operation = Operation { id, op, judge: Some(Arc::new(judge)), bodies: Vec::new() };
        let named = |value: Option<Value<Record>>| value.as_ref().and_then(name_value);
        Ok(match self.run(operation, limits::REGISTER_TIMEOUT).await? {
            Outcome::Chosen { value, .. } => match named(Some(value)) {
                Some(value) => Outcome::Chosen { value, warm: None },
                None => return Err(Unavailable::new(format!("{name} is no name's register"))),
            },
            Outcome::Refused { current } => Outcome::Refused { current: named(current) },
            Outcome::Conflict { current } => Outcome::Conflict { current: named(current) },
            Outcome::Read { current } => Outcome::Read { current: named(current) },
        })
    }

    /// Gives up a name: only when no region has anything of the bucket.
    pub(super) async fn delete(
        &self,
        name: &BucketName,
        id: BucketId,
        keep: Option<Duration>,
    ) -> Result<DeleteOutcome, Unavailable> {
        let attempt = self.fresh_op();
        let Some(stamp) = self.begin_delete(name, id, attempt).await? else {
            return Ok(DeleteOutcome::NotFound);
        };
        let verdict = self.close_everywhere(name, id, stamp).await;
        let end = match verdict {
            Ok(true) | Err(_) => DeleteEnd::SetBack,
            Ok(false) => keep.map_or(DeleteEnd::Free, DeleteEnd::Keep),
        };
        let ended = self.end_delete(name, attempt, end).await?;
        match verdict {
            Err(why) => Err(why),
            Ok(true) => Ok(DeleteOutcome::NotEmpty),
            Ok(false) if ended => Ok(DeleteOutcome::Deleted),
            Ok(false) => Err(Unavailable::new(format!(
                "the deletion of {name} took too long; nothing changed"
            ))),
        }
    }

    /// Marks the bucket; the stamp of the mark, or `None` when there is no such bucket.
    async fn begin_delete(
        &self,
        name: &BucketName,
        id: BucketId,
        attempt: OpId,
    ) -> Result<Option<Stamp>, Unavailable> {
        let now_ms = self.host().env().now_ms();
        let judge = move |current: Option<&Value<NameState>>| match current.map(|v| &v.state) {
            Some(NameState::Active(config)) if config.id == id => {
                Some(NameState::Deleting(config.clone()))
            }
            Some(NameState::Deleting(config)) if config.id == id => {
                match name_age(current, now_ms) {
                    NameAge::Stuck => Some(NameState::Deleting(config.clone())),
                    NameAge::Deleting | NameAge::Settled => None,
                }
            }
            Some(
                NameState::Active(_)
                | NameState::Deleting(_)
                | NameState::Free
                | NameState::SoftDeleted(_),
            )
            | None => None,
        };
        let current = match self.change(name, attempt, Arc::new(judge)).await? {
            Outcome::Chosen { value, .. } if value.ops.first() == Some(&attempt) => {
                return Ok(Some(value.stamp));
            }
            Outcome::Chosen { value, .. } => Some(value),
            Outcome::Refused { current }
            | Outcome::Conflict { current }
            | Outcome::Read { current } => current,
        };
        match current.map(|v| v.state) {
            Some(NameState::Active(config) | NameState::Deleting(config)) if config.id == id => {
                Err(being_deleted(name))
            }
            Some(
                NameState::Active(_)
                | NameState::Deleting(_)
                | NameState::Free
                | NameState::SoftDeleted(_),
            )
            | None => Ok(None),
        }
    }

    /// Asks every member region to stop writes; whether any of them has something of the bucket.
    async fn close_everywhere(
        &self,
        name: &BucketName,
        bucket: BucketId,
        stamp: Stamp,
    ) -> Result<bool, Unavailable> {
        let members: Vec<RegionId> = self.host().members().regions().map(|r| r.id).collect();
        let answers = join_all(members.into_iter().map(|region| async move {
            let request = RegisterRequest::Close { name: name.clone(), bucket, stamp };
            match self.ask_voter(region, request).await {
                Ok(RegisterResponse::Closed { live }) => Ok(live),
                Ok(other) => Err(format!("{region}: {}", odd(other))),
                Err(why) => Err(format!("{region}: {why}")),
            }
        }))
        .await;
        if answers.contains(&Ok(true)) {
            return Ok(true);
        }
        let away: Vec<String> = answers.into_iter().filter_map(Result::err).collect();
        if away.is_empty() || !self.host().keeps(Rule::AllClose) {
            return Ok(false);
        }
        Err(Unavailable::new(format!(
            "a bucket is deleted only when every region says that it is empty; {}",
            away.join(", ")
        )))
    }

    /// Ends the own attempt; false when somebody set it back before.
    async fn end_delete(
        &self,
        name: &BucketName,
        attempt: OpId,
        end: DeleteEnd,
    ) -> Result<bool, Unavailable> {
        let deleted_ms = self.host().env().now_ms();
        let judge = move |current: Option<&Value<NameState>>| {
            let current = current.filter(|value| value.ops.first() == Some(&attempt))?;
            match &current.state {
                NameState::Deleting(config) => {
                    let config = config.clone();
                    Some(match end {
                        DeleteEnd::SetBack => NameState::Active(config),
                        DeleteEnd::Free => NameState::Free,
                        DeleteEnd::Keep(keep) => {
                            let until_ms = deleted_ms.saturating_add(millis(keep));
                            NameState::SoftDeleted(SoftDeleted { config, deleted_ms, until_ms })
                        }
                    })
                }
                NameState::Active(_) | NameState::Free | NameState::SoftDeleted(_) => None,
            }
        };
        let outcome = self.change(name, self.fresh_op(), Arc::new(judge)).await?;
        Ok(matches!(outcome, Outcome::Chosen { .. }))
    }

    /// Makes a bucket whose deletion got stuck active again.
    pub(super) async fn set_back(&self, name: &BucketName) -> Result<(), Unavailable> {
        let now_ms = self.host().env().now_ms();
        let judge = move |current: Option<&Value<NameState>>| match name_age(current, now_ms) {
            NameAge::Settled | NameAge::Deleting => None,
            NameAge::Stuck => match current.map(|v| &v.state) {
                Some(NameState::Deleting(config)) => Some(NameState::Active(config.clone())),
                Some(NameState::Active(_) | NameState::Free | NameState::SoftDeleted(_)) | None => {
                    None
                }
            },
        };
        self.change(name, self.fresh_op(), Arc::new(judge)).await.map(|_| ())
    }

    /// Stops writes of a bucket here, durably, and says whether anything of it is here.
    pub(super) async fn close(
        &self,
        name: BucketName,
        bucket: BucketId,
        stamp: Stamp,
    ) -> Result<bool, store::Error> {
        let store = self.host().store();
        let pending = store
            .write(move |tx| {
                let key = closed_key(bucket);
                let known: Option<Closed> = tx.get(Table::Local, &key)?;
                if known.is_none_or(|note| note.stamp < stamp) {
                    tx.put(Table::Local, &key, &Closed { name, stamp })?;
                }
                Ok::<_, store::Error>(
                    pending::of_bucket(tx, bucket)? || cells::has_open(tx, bucket)?,
                )
            })
            .await?;
        if pending {
            return Ok(true);
        }
        // After the note is durable no write is added, so a later view sees all there will be.
        let view = store.clone();
        self.host().env().blocking(move || has_keys(&view, bucket)).await
    }
}

/// Whether a key has a version that readers see, or a delete marker.
fn has_keys(store: &store::Store, bucket: BucketId) -> Result<bool, store::Error> {
    let view = store.read()?;
    for row in view.rows(bucket, std::ops::Bound::Unbounded)? {
        let (_, row) = row?;
        if row.visible().next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
