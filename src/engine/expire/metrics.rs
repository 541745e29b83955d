//! What lifecycle rules did, in numbers.

use crate::obs::{Counter, EncodeLabelSet, Entries, Family, Gauge, Group, table};

use super::Passed;

/// Label of what was done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Done {
    what: &'static str,
}

/// Counters and gauges of this region's walks. Cheap handles.
#[derive(Clone, Default)]
pub struct ExpiryMetrics {
    /// Moves with every object, version, marker or upload that a rule ended here.
    done: Family<Done, Counter>,
    /// Moves with every bucket that a walk had to leave early.
    errors: Counter,
    /// After a whole walk: versions that are due and wait for their regions.
    waiting: Gauge,
    /// After a whole walk: its end.
    finished: Gauge,
    /// After a whole walk: how long it took.
    took: Gauge,
}

impl ExpiryMetrics {
    pub(super) fn note(&self, passed: &Passed, now_ms: u64) {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.waiting.set(gauge(passed.waiting));
        self.finished.set(gauge(now_ms / 1000));
        self.took.set(gauge(passed.took.as_secs()));
    }

    pub(super) fn count(&self, before: &Passed, after: &Passed) {
        let kinds = [
            ("expired", before.expired, after.expired),
            ("erased", before.erased, after.erased),
            ("unmarked", before.unmarked, after.unmarked),
            ("aborted", before.aborted, after.aborted),
        ];
        for (what, before, after) in kinds {
            self.done.get_or_create(&Done { what }).inc_by(after - before);
        }
        self.errors.inc_by(after.errors - before.errors);
    }
}

impl Group for ExpiryMetrics {
    fn register(&self, entries: &mut Entries) {
        entries.add(&table::LIFECYCLE_DONE, self.done.clone());
        entries.add(&table::LIFECYCLE_ERRORS, self.errors.clone());
        entries.add(&table::LIFECYCLE_WAITING, self.waiting.clone());
        entries.add(&table::LIFECYCLE_FINISHED, self.finished.clone());
        entries.add(&table::LIFECYCLE_PASS, self.took.clone());
    }
}
