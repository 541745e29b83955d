//! Whether this node should get requests, and why not.
//!
//! Readiness never depends on other regions: a node that is alone answers, and says 503 with the
//! reason for what it cannot do alone.

use std::sync::{Arc, Mutex, PoisonError};

/// Shared by the wiring, which sets it, and the health endpoints, which tell it.
#[derive(Clone)]
pub(crate) struct Readiness(Arc<Mutex<Option<&'static str>>>);

impl Readiness {
    /// Not ready, for the first reason of all.
    pub(crate) fn starting() -> Self {
        Self(Arc::new(Mutex::new(Some("starting"))))
    }

    pub(crate) fn set_ready(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn set_not_ready(&self, reason: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// `None`: ready.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
