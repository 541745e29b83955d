//! What the S3 front counts.

use crate::obs::{
    Counter, EncodeLabelSet, Entries, Family, Gauge, Group, Histogram, SECONDS, table,
};

/// Label of a finished request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Done {
    pub(crate) op: &'static str,
    pub(crate) status: u16,
}

/// Label of what is told apart by operation alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByOp {
    pub(crate) op: &'static str,
}

/// Label of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByCode {
    pub(crate) code: &'static str,
}

/// Counters of the S3 port of one node.
#[derive(Clone)]
pub struct S3Metrics {
    /// Moves when an answer's last byte was handed over or the client went away.
    pub(crate) requests: Family<Done, Counter>,
    /// From the head of the request to the last byte of the answer.
    pub(crate) seconds: Family<ByOp, Histogram, fn() -> Histogram>,
    /// From the head of the request to the head of the answer.
    pub(crate) first_byte: Family<ByOp, Histogram, fn() -> Histogram>,
    /// Answers that are errors.
    pub(crate) errors: Family<ByCode, Counter>,
    /// Bytes of bodies of requests, as they are read.
    pub(crate) received: Counter,
    /// Bytes of bodies of answers, as far as they were handed over.
    pub(crate) sent: Counter,
    /// Requests between their head and the end of their answer.
    pub(crate) open: Gauge,
    /// Lines of access logs, when their object was written; compare with those dropped.
    pub(crate) log_lines_delivered: Counter,
    /// Lines that found no room, or that their target does not take any more.
    pub(crate) log_lines_dropped: Counter,
    /// Requests answered SlowDown because too many were open.
    pub(crate) shed: Counter,
    /// Requests that took longer than the setting.
    pub(crate) slow: Counter,
}

impl Default for S3Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            first_byte: Family::new_with_constructor(histogram),
            errors: Family::default(),
            received: Counter::default(),
            sent: Counter::default(),
            open: Gauge::default(),
            log_lines_delivered: Counter::default(),
            log_lines_dropped: Counter::default(),
            shed: Counter::default(),
            slow: Counter::default(),
        }
    }
}

impl Group for S3Metrics {
    fn register(&self, entries: &mut Entries) {
        entries.add(&table::S3_REQUESTS, self.requests.clone());
        entries.add(&table::S3_ERRORS, self.errors.clone());
        entries.add(&table::S3_DURATION, self.seconds.clone());
        entries.add(&table::S3_FIRST_BYTE, self.first_byte.clone());
        entries.add(&table::S3_RECEIVED, self.received.clone());
        entries.add(&table::S3_SENT, self.sent.clone());
        entries.add(&table::S3_OPEN, self.open.clone());
        entries.add(&table::S3_SLOW, self.slow.clone());
        entries.add(&table::S3_SHED, self.shed.clone());
        entries.add(&table::ACCESS_LOG_DELIVERED, self.log_lines_delivered.clone());
        entries.add(&table::ACCESS_LOG_DROPPED, self.log_lines_dropped.clone());
    }
}
