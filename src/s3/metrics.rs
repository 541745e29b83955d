//! What the S3 front counts.

use prometheus_client::registry::{Registry, Unit};

use crate::obs::{Counter, EncodeLabelSet, Family, Gauge, Group, Histogram, SECONDS};

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

/// Counters of the S3 port of one node.
#[derive(Clone)]
pub struct S3Metrics {
    /// Moves when an answer's last byte was handed over or the client went away.
    pub(crate) requests: Family<Done, Counter>,
    /// From the head of the request to the last byte of the answer.
    pub(crate) seconds: Family<ByOp, Histogram, fn() -> Histogram>,
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
}

impl Default for S3Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            sent: Counter::default(),
            open: Gauge::default(),
            log_lines_delivered: Counter::default(),
            log_lines_dropped: Counter::default(),
            shed: Counter::default(),
        }
    }
}

impl Group for S3Metrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("s3_requests", "S3 requests answered", self.requests.clone());
        registry.register_with_unit(
            "s3_request_duration",
            "From the head of an S3 request to the last byte of its answer",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register_with_unit(
            "s3_sent",
            "Bytes of bodies of S3 answers handed over",
            Unit::Bytes,
            self.sent.clone(),
        );
        registry.register("s3_requests_open", "S3 requests under way", self.open.clone());
        registry.register(
            "s3_requests_shed",
            "S3 requests answered SlowDown because too many were open",
            self.shed.clone(),
        );
        registry.register(
            "s3_access_log_lines_delivered",
            "Lines of access logs that were delivered to their buckets",
            self.log_lines_delivered.clone(),
        );
        registry.register(
            "s3_access_log_lines_dropped",
            "Lines of access logs that found no room or no target",
            self.log_lines_dropped.clone(),
        );
    }
}
