//! What the routes of the admin API work with.

use std::sync::Arc;

use crate::engine::Engine;
use crate::obs::{Counter, EncodeLabelSet, Entries, Family, Group, Metrics, table};
use crate::s3::feed::Feed;

/// Handed to every route.
pub(crate) struct Api {
    pub(super) engine: Engine,
    /// What clients are told as endpoint.
    pub(super) endpoint: String,
    pub(super) metrics: Arc<Metrics>,
    /// What requests of S3 did.
    pub(super) feed: Feed,
    pub(super) counts: AdminMetrics,
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
