//! What is kept to be brought back, in numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::obs::{Counter, EncodeLabelSet, Entries, Family, Gauge, Group, table};
use crate::types::kept::Why;

/// Label of why a version is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    why: &'static str,
}

/// Counters and gauges of this region. Cheap handles.
#[derive(Clone, Default)]
pub struct UndoMetrics {
    conflicts: Counter,
    /// What of the store's count was told already.
    told: Arc<AtomicU64>,
    /// After a whole walk.
    kept: Family<Reason, Gauge>,
    pub(super) rows_changed: Counter,
}

impl UndoMetrics {
    pub(super) fn note_conflicts(&self, all: u64) {
        let told = self.told.swap(all, Ordering::Relaxed);
        self.conflicts.inc_by(all.saturating_sub(told));
    }

    pub(super) fn note_kept(&self, kept: &BTreeMap<Why, u64>) {
        for (why, name) in [(Why::Lost, "lost"), (Why::Replaced, "replaced")] {
            let number = kept.get(&why).copied().unwrap_or(0);
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.kept.get_or_create(&Reason { why: name }).set(number);
        }
    }
}

impl Group for UndoMetrics {
    fn register(&self, entries: &mut Entries) {
        entries.add(&table::CONFLICTS, self.conflicts.clone());
        entries.add(&table::KEPT_VERSIONS, self.kept.clone());
        entries.add(&table::KEPT_ROWS_CHANGED, self.rows_changed.clone());
    }
}
