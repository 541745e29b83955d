//! Whether this node should get requests, and why not.
//!
//! Readiness never depends on other regions: a node that is alone answers, and says 503 with the
//! reason for what it cannot do alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by the wiring, which sets it, and the health endpoints, which tell it.
#[derive(Clone)]
pub(crate) struct Readiness(Arc<Mutex<Reasons>>);

/// Why a node should get no requests.
struct Reasons {
    /// It starts or stops.
    life: Option<&'static str>,
    /// Its disk takes no writes; other regions' do.
    disk: Option<&'static str>,
}

impl Readiness {
    /// Not ready, for the first reason of all.
    pub(crate) fn starting() -> Self {
        Self(Arc::new(Mutex::new(Reasons { life: Some("starting"), disk: None })))
    }

    pub(crate) fn set_ready(&self) {
        self.lock().life = None;
    }

    pub(crate) fn set_not_ready(&self, reason: &'static str) {
        self.lock().life = Some(reason);
    }

    /// What keeps the disk from taking writes, if anything does.
    pub(crate) fn set_disk(&self, reason: Option<&'static str>) {
        self.lock().disk = reason;
    }

    /// `None`: ready.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        let reasons = self.lock();
        reasons.life.or(reasons.disk)
    }

    fn lock(&self) -> MutexGuard<'_, Reasons> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_when_neither_its_life_nor_its_disk_speaks_against_it() {
        let readiness = Readiness::starting();
        readiness.set_disk(Some("the disk does not answer"));
        assert_eq!(readiness.reason(), Some("starting"));
        readiness.set_ready();
        assert_eq!(readiness.reason(), Some("the disk does not answer"));
        readiness.set_disk(None);
        assert_eq!(readiness.reason(), None);
    }
}
