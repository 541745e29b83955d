//! Object lock: until when a version cannot be deleted.
//! Source: S3 user guide, "Locking objects with Object Lock".

use serde::{Deserialize, Serialize};

/// A bucket's lock configuration; a bucket that has one is versioned for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectLock {
    /// What new versions get that say nothing themselves.
    pub default: Option<DefaultRetention>,
}

/// Retention of new versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRetention {
    pub mode: LockMode,
    pub period: LockPeriod,
}

/// How long, from when a version is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockPeriod {
    Days(u32),
    Years(u32),
}

/// Who may end a retention early: those who may bypass governance, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LockMode {
    Governance,
    Compliance,
}

/// What a write asks of the lock of the version that it makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockAsked {
    /// Without one the bucket's default counts.
    pub retention: Option<Retention>,
    pub legal_hold: bool,
}

impl LockAsked {
    pub fn is_empty(&self) -> bool {
        self.retention.is_none() && !self.legal_hold
    }
}

/// Retention of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    pub mode: LockMode,
    /// Milliseconds since 1970.
    pub until_ms: u64,
}
