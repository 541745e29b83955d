//! The settings of a bucket that its name's register holds, changed one after the other.
//!
//! Invariant: a change is computed from the configuration that the register has, so that of two
//! changes at the same time none is lost.

use std::sync::Arc;

use crate::logic::register::{Outcome, Value};
use crate::types::bucket::{BucketConfig, NameState};
use crate::types::id::BucketId;
use crate::types::name::BucketName;

use super::Cluster;
use super::error::Unavailable;

/// Changes a configuration. It may run several times, each time on what the register has then.
pub type ConfigChange = Arc<dyn Fn(&mut BucketConfig) + Send + Sync>;

impl Cluster {
    /// Changes a bucket's configuration; `None` where the name has another bucket or none, or one
    /// that is being deleted. After an error it may have been changed all the same.
    pub async fn change_bucket(
        &self,
        name: &BucketName,
        id: BucketId,
        change: ConfigChange,
    ) -> Result<Option<BucketConfig>, Unavailable> {
        let registers = self.registers();
        let op = registers.fresh_op();
        let judge = move |current: Option<&Value<NameState>>| {
            let config = current?.state.clone().into_active();
            let mut config = config.filter(|config| config.id == id)?;
            change(&mut config);
            assert!(config.id == id, "a change keeps the bucket");
            Some(NameState::Active(config))
        };
        match registers.change(name, op, Arc::new(judge)).await? {
            Outcome::Chosen { value, .. } => {
                Ok(value.state.into_active().filter(|config| config.id == id))
            }
            Outcome::Refused { .. } | Outcome::Read { .. } => Ok(None),
            Outcome::Conflict { .. } => Err(Unavailable::new(format!(
                "the bucket {name} is changed by others at the same time; ask again"
            ))),
        }
    }
}
