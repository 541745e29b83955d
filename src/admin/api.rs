//! What the routes of the admin API work with.

use std::sync::Arc;

use crate::engine::Engine;
use crate::obs::audit::Audit;
use crate::obs::{Counter, EncodeLabelSet, Entries, Family, Group, Metrics, table};
use crate::s3::error::{Code, S3Error};
use crate::s3::feed::Feed;
use crate::types::name::AccountId;

use super::certs::Certificates;
use super::dev::Playground;
use super::elsewhere::Listeners;
use super::regions::MakeToken;
use super::route::Call;

/// What the admin API is told of its node.
pub struct AdminOptions {
    /// What clients are told to use for S3.
    pub endpoint: String,
    /// The account that the cluster was made with; without one nobody is an operator.
    pub operator: Option<AccountId>,
    pub metrics: Arc<Metrics>,
    pub feed: Feed,
    pub audit: Audit,
    /// Of new regions, where this node can make them.
    pub tokens: Option<MakeToken>,
    /// The regions of `godwit dev`.
    pub playground: Playground,
    /// Of this node.
    pub certificates: Arc<dyn Certificates>,
}

/// Handed to every route.
pub(crate) struct Api {
    pub(super) engine: Engine,
    /// What clients are told as endpoint.
    pub(super) endpoint: String,
    pub(super) metrics: Arc<Metrics>,
    /// What requests of S3 did.
    pub(super) feed: Feed,
    pub(super) counts: AdminMetrics,
    pub(super) audit: Audit,
    /// Those of other regions to the requests of this one.
    pub(super) listeners: Listeners,
    pub(super) operator: Option<AccountId>,
    /// Of new regions, where this node can make them.
    pub(super) tokens: Option<MakeToken>,
    /// The regions of `godwit dev`.
    pub(super) playground: Playground,
    pub(super) certificates: Arc<dyn Certificates>,
}

impl Api {
    /// Refuses whoever may not see the whole cluster.
    pub(super) fn operator(&self, call: &Call<'_>) -> Result<(), S3Error> {
        match self.operator.as_ref() == Some(call.account()?) {
            true => Ok(()),
            false => {
                let why = "This is for operators: admin keys of the account that the cluster was \
                           made with.";
                Err(S3Error::with(Code::AccessDenied, why))
            }
        }
    }
}

/// Label of a request that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Answered {
    pub(super) status: u16,
}

/// Counters of the admin API of one node. Cheap handles.
#[derive(Clone, Default)]
pub(super) struct AdminMetrics {
    pub(super) requests: Family<Answered, Counter>,
}

impl Group for AdminMetrics {
    fn register(&self, entries: &mut Entries) {
        entries.add(&table::ADMIN_REQUESTS, self.requests.clone());
    }
}
