//! The engine behind the pipeline: keys, access decisions, and everything that operations do.

use crate::engine::{Engine, Error};
use crate::env::BoxFuture;
use crate::types::action::{Action, Target};
use crate::types::caller::Caller;
use crate::types::name::AccessKeyId;
use crate::types::record::AccessKeyRecord;

use super::{Ctx, Gate};

impl Gate for Engine {
    fn access_key<'a>(
        &'a self,
        id: &'a AccessKeyId,
    ) -> BoxFuture<'a, Result<Option<AccessKeyRecord>, Error>> {
        Box::pin(Self::access_key(self, id))
    }

    fn authorize<'a>(
        &'a self,
        caller: &'a Caller,
        action: Action,
        target: &'a Target,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(Self::authorize(self, caller, action, target))
    }

    fn engine(&self) -> Option<&Engine> {
        Some(self)
    }
}

impl Ctx {
    /// What the operations call.
    pub(crate) fn engine(&self) -> &Engine {
        self.gate.engine().expect("the table of S3's operations is served with an engine")
    }
}
