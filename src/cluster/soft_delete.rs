//! Buckets that were deleted and are kept: had back by their owner, or ended.
//!
//! Invariant: a bucket is had back, or its name given to another, never both: the name's register
//! decides. Its end is judged inside the change that makes it.

use std::sync::Arc;

use crate::limits;
use crate::logic::register::{Outcome, Value};
use crate::types::bucket::{BucketConfig, NameState, SoftDeleted};
use crate::types::id::BucketId;
use crate::types::name::BucketName;
use crate::types::record::RecordId;

use super::Cluster;
use super::error::Unavailable;
use super::names::name_value;

/// What became of having a bucket back.
#[derive(Clone, Debug, PartialEq)]
pub enum RestoreOutcome {
    Restored(BucketConfig),
    /// The name has a bucket.
    Exists(BucketConfig),
    /// Nothing is kept under this name (any more).
    NotFound,
}

/// The bucket that is kept under a name, before its end.
fn kept(state: Option<&NameState>, now_ms: u64) -> Option<&SoftDeleted> {
    match state? {
        NameState::SoftDeleted(kept) if kept.until_ms > now_ms => Some(kept),
        NameState::SoftDeleted(_)
        | NameState::Active(_)
        | NameState::Deleting(_)
        | NameState::Free => None,
    }
}

fn state_of(outcome: Outcome<NameState>) -> Option<NameState> {
    match outcome {
        Outcome::Chosen { value, .. } => Some(value.state),
        Outcome::Refused { current }
        | Outcome::Conflict { current }
        | Outcome::Read { current } => current.map(|value| value.state),
    }
}

impl Cluster {
    /// The bucket that is kept under a name, as the name's register has it.
    pub async fn soft_deleted(
        &self,
        name: &BucketName,
    ) -> Result<Option<SoftDeleted>, Unavailable> {
        let id = RecordId::Name(name.clone());
        let current = self.registers().look(&id, limits::NAME_LOOKUP_TIMEOUT).await?;
        let state = current.as_ref().and_then(name_value).map(|value| value.state);
        Ok(kept(state.as_ref(), self.env().now_ms()).cloned())
    }

    /// Gives a kept bucket its name back, with its settings and what its keys keep. After an error
    /// it may be back all the same.
    pub async fn restore_bucket(
        &self,
        name: &BucketName,
        id: BucketId,
    ) -> Result<RestoreOutcome, Unavailable> {
        let (registers, now_ms) = (self.registers(), self.env().now_ms());
        let judge = move |current: Option<&Value<NameState>>| {
            let kept = kept(current.map(|value| &value.state), now_ms)?;
            (kept.config.id == id).then(|| NameState::Active(kept.config.clone()))
        };
        let outcome = registers.change(name, registers.fresh_op(), Arc::new(judge)).await?;
        registers.forget_absent(&RecordId::Name(name.clone()));
        Ok(match state_of(outcome) {
            Some(NameState::Active(config)) if config.id == id => RestoreOutcome::Restored(config),
            Some(NameState::Active(config)) => RestoreOutcome::Exists(config),
            Some(NameState::Deleting(_) | NameState::Free | NameState::SoftDeleted(_)) | None => {
                RestoreOutcome::NotFound
            }
        })
    }

    /// Gives a kept bucket's name up: at its end, or `early`. Whether this did it.
    pub async fn end_soft_deleted(
        &self,
        name: &BucketName,
        id: BucketId,
        early: bool,
    ) -> Result<bool, Unavailable> {
        let (registers, now_ms) = (self.registers(), self.env().now_ms());
        let judge = move |current: Option<&Value<NameState>>| match &current?.state {
            NameState::SoftDeleted(kept) if kept.config.id == id => {
                (early || kept.until_ms <= now_ms).then_some(NameState::Free)
            }
            NameState::SoftDeleted(_)
            | NameState::Active(_)
            | NameState::Deleting(_)
            | NameState::Free => None,
        };
        let outcome = registers.change(name, registers.fresh_op(), Arc::new(judge)).await?;
        Ok(matches!(outcome, Outcome::Chosen { .. }))
    }
}
