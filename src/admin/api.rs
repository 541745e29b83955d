//! What the routes of the admin API work with.

use std::sync::Arc;

use crate::engine::Engine;
use crate::obs::Metrics;
use crate::s3::feed::Feed;

/// Handed to every route.
pub(crate) struct Api {
    pub(super) engine: Engine,
    /// What clients are told as endpoint.
    pub(super) endpoint: String,
    pub(super) metrics: Arc<Metrics>,
    /// What requests of S3 did.
    pub(super) feed: Feed,
}
