//! What lifecycle rules did, in numbers.

use prometheus_client::registry::{Registry, Unit};

use crate::obs::{Counter, EncodeLabelSet, Family, Gauge, Group};

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
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "lifecycle_done",
            "Objects expired, noncurrent versions erased, delete markers removed and uploads \
             aborted by lifecycle rules in this region",
            self.done.clone(),
        );
        registry.register(
            "lifecycle_errors",
            "Buckets whose lifecycle rules could not be run to the end; tried again next time",
            self.errors.clone(),
        );
        registry.register(
            "lifecycle_waiting",
            "Versions that are due by lifecycle rules and wait for a region that is away",
            self.waiting.clone(),
        );
        registry.register_with_unit(
            "lifecycle_finished_timestamp",
            "When the last whole walk over the buckets with lifecycle rules ended",
            Unit::Seconds,
            self.finished.clone(),
        );
        registry.register_with_unit(
            "lifecycle_pass",
            "How long the last whole walk over the buckets with lifecycle rules took",
            Unit::Seconds,
            self.took.clone(),
        );
    }
}
