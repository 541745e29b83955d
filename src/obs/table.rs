//! The one list of metrics: what each is called, which labels it has and what it means.
//!
//! The registry takes names, help texts and units from here, and `docs/metrics.md` is made from it,
//! so a metric that is not in this list cannot be exposed. Names follow Prometheus: `godwit_`, the
//! area, the thing, the base unit, `_total` where it only grows. Invariant: every label takes few
//! values (operations, status codes, regions, reasons written in the source); never a key, a name
//! of a bucket, an access key or an address. The one exception is the lag of buckets, by their ids
//! and only of those that are behind, at most `limits::LAGS_TOLD_MAX` at a time.

use prometheus_client::registry::Unit;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from zero at the start of the node.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many observations lie below each bound, their number and their sum.
    Histogram,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// As Prometheus has it, with prefix and suffixes.
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    /// What it tells, and when it moves.
    pub what: &'static str,
    /// The heading that it stands below.
    pub area: &'static str,
}

impl Metric {
    /// As its family is called: without the suffix of counters.
    pub fn base(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Kind::Gauge | Kind::Histogram => self.name,
        }
    }

    /// The base unit that its name ends with.
    pub fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"].into_iter().find(|unit| self.base().ends_with(unit))
    }

    /// What the registry is given: it adds prefix, unit and suffix itself.
    pub(super) fn registered(&self) -> (&'static str, Option<Unit>) {
        let base = self.base().strip_prefix("godwit_").unwrap_or_else(|| self.base());
        let without = |unit: &str| base.strip_suffix(unit).and_then(|b| b.strip_suffix('_'));
        let units = [("seconds", Unit::Seconds), ("bytes", Unit::Bytes)];
        let stem = units.into_iter().find_map(|(name, unit)| Some((without(name)?, Some(unit))));
        stem.unwrap_or((base, None))
    }
}

macro_rules! metrics {
    ($($area:literal { $($id:ident: $kind:ident $name:literal [$($label:literal)*]
        $what:literal;)* })*) => {
        $($(
            #[doc = $what]
            pub const $id: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                what: $what,
                area: $area,
            };
        )*)*

        /// Every metric, by area.
        pub const METRICS: &[Metric] = &[$($($id),*),*];
    };
}

metrics! {
    "The node" {
        BUILD_INFO: Gauge "godwit_build_info" ["version" "region"]
            "Always 1; its labels say which version this is and of which region";
        START_TIMESTAMP: Gauge "godwit_start_timestamp_seconds" []
            "When the node started, in seconds since 1970";
        CLOCK_TIMESTAMP: Gauge "godwit_clock_timestamp_seconds" []
            "The node's clock as it answers, in seconds since 1970; compare regions with each other";
        READY: Gauge "godwit_ready" []
            "1 while the node wants requests, 0 while it starts or stops";
        RESIDENT: Gauge "godwit_process_resident_bytes" []
            "Memory of the process; with `godwit dev` that of all its regions";
        CERTIFICATE_LEFT: Gauge "godwit_certificate_left_seconds" ["kind"]
            "Until a certificate runs out: `mesh` is the node's own for the other regions, which it \
             renews by itself when a third of its life is left; `tls` is that of `tls.cert`";
        TLS_FILES_RIGHT: Gauge "godwit_tls_files_right" []
            "0 while the files of tls.cert and tls.key cannot be used and an older certificate goes \
             on; 1 without TLS";
        ADMIN_REQUESTS: Counter "godwit_admin_requests_total" ["status"]
            "Requests of the admin API, by status of the answer";
    }
    "S3" {
        S3_REQUESTS: Counter "godwit_s3_requests_total" ["op" "status"]
            "Requests answered, when the last byte was handed over or the client went away";
        S3_ERRORS: Counter "godwit_s3_errors_total" ["code"]
            "Requests answered with an error, by its S3 code";
        S3_DURATION: Histogram "godwit_s3_request_duration_seconds" ["op"]
            "From the head of a request to the last byte of its answer";
        S3_FIRST_BYTE: Histogram "godwit_s3_first_byte_seconds" ["op"]
            "From the head of a request to the head of its answer";
        S3_RECEIVED: Counter "godwit_s3_received_bytes_total" []
            "Bytes of bodies of requests that were read";
        S3_SENT: Counter "godwit_s3_sent_bytes_total" []
            "Bytes of bodies of answers that were handed over";
        S3_SLOW: Counter "godwit_s3_requests_slow_total" []
            "Requests that took longer than `log.slow`; each has a line in the log";
        S3_OPEN: Gauge "godwit_s3_requests_open" []
            "Requests between their head and the end of their answer";
        S3_SHED: Counter "godwit_s3_requests_shed_total" []
            "Requests answered SlowDown because too many were open";
        ACCESS_LOG_DELIVERED: Counter "godwit_s3_access_log_lines_delivered_total" []
            "Lines of buckets' access logs, when their object was written";
        ACCESS_LOG_DROPPED: Counter "godwit_s3_access_log_lines_dropped_total" []
            "Lines of buckets' access logs that found no room, or no target";
    }
    "Reads and caches" {
        READ_CHUNKS: Counter "godwit_read_chunks_total" ["source"]
            "Chunks of bodies that readers here were given, by source: `memory`, `disk` (held \
             here), `cache` (a cached copy on this disk), `region` (fetched); all but the last \
             are hits";
        FETCHED_CHUNKS: Counter "godwit_cluster_fetched_chunks_total" []
            "Chunks fetched from other regions, once for all who read them at the time";
        BAD_CHUNKS: Counter "godwit_cluster_bad_chunks_total" []
            "Chunks of other regions that failed their checksum, and were not used";
        CACHE_BYTES: Gauge "godwit_cache_bytes" ["tier"]
            "Bytes in the caches: `memory` has chunks, `disk` cached copies of what others hold";
    }
    "Disk" {
        DISK_TOTAL: Gauge "godwit_disk_total_bytes" []
            "Size of the file system of the data directory, as of the last housekeeping";
        DISK_FREE: Gauge "godwit_disk_free_bytes" []
            "Of that, what is free";
        STORE_WRITABLE: Gauge "godwit_store_writable" []
            "1 while the store takes new bodies; 0: disk full, or a sync failed";
        STORE_POISONED: Gauge "godwit_store_poisoned" []
            "1 after a failed sync: the node writes nothing more until it is started again";
        STORE_STALLED: Gauge "godwit_store_stalled" []
            "1 while the disk does not answer: writes are refused until it goes on";
        STORE_QUEUE: Gauge "godwit_store_queue" []
            "Changes that wait for the store's writer";
        STORE_COMMITS: Counter "godwit_store_commits_total" []
            "Group commits, one sync of the disk each";
        STORE_CHANGES: Counter "godwit_store_changes_total" []
            "Changes in those commits";
        STORE_LOG_BYTES: Counter "godwit_store_log_bytes_total" []
            "Bytes appended to segments";
        STORE_CHECKPOINTS: Counter "godwit_store_checkpoints_total" []
            "Times that the index was made durable";
        STORE_SEGMENTS: Gauge "godwit_store_segments" []
            "Segment files";
        STORE_SEGMENT_BYTES: Gauge "godwit_store_segment_bytes" []
            "Their bytes";
        STORE_SEGMENT_LIVE_BYTES: Gauge "godwit_store_segment_live_bytes" []
            "Of these, those of bodies that are still named";
        STORE_COMPACTED_BYTES: Counter "godwit_store_compacted_bytes_total" []
            "Bytes that compaction copied forward";
        STORE_FREED_BLOBS: Counter "godwit_store_freed_blobs_total" []
            "Bodies that were freed because nothing names them any more";
        STORE_CORRUPT_READS: Counter "godwit_store_corrupt_reads_total" []
            "Reads from this disk that failed their checksum; should stay 0";
    }
    "Between regions" {
        MESH_RTT: Gauge "godwit_mesh_rtt_seconds" ["region"]
            "Smoothed round trip to another region";
        MESH_REGION_CONNECTED: Gauge "godwit_mesh_region_connected" ["region"]
            "1 while a connection to that region stands";
        MESH_CONNECTED: Gauge "godwit_mesh_connected" []
            "Connections of this node to others now; two a region when all is well";
        MESH_CONNECTIONS: Counter "godwit_mesh_connections_total" []
            "Connections to other regions that were made";
        MESH_CONNECTIONS_LOST: Counter "godwit_mesh_connections_lost_total" []
            "Connections that stood and ended";
        MESH_CONNECTIONS_REFUSED: Counter "godwit_mesh_connections_refused_total" []
            "Knocks of somebody who is no peer, or of too many at once";
        MESH_CALLS: Counter "godwit_mesh_calls_total" []
            "Questions to other regions";
        MESH_CALLS_FAILED: Counter "godwit_mesh_calls_failed_total" []
            "Questions without an answer: out of reach, too late, broken, refused";
        MESH_CALLS_SERVED: Counter "godwit_mesh_calls_served_total" []
            "Questions of other regions that were answered";
        MESH_DATAGRAMS_DROPPED: Counter "godwit_mesh_datagrams_dropped_total" []
            "Gossip that could not be sent";
    }
    "Replication" {
        REPLICATION_QUEUE: Gauge "godwit_replication_queue" ["region"]
            "Changes of this region that the other one has not applied";
        REPLICATION_BEHIND: Gauge "godwit_replication_behind" ["region"]
            "Changes of the other region that this one knows of and has not applied";
        BUCKET_LAG: Gauge "godwit_replication_bucket_lag_seconds" ["bucket" "region"]
            "Age of the oldest change made here that the region has not applied, by the bucket's \
             id; only of buckets that are behind";
        BUCKET_LAG_CHANGES: Gauge "godwit_replication_bucket_lag_changes" ["bucket" "region"]
            "How many such changes there are";
        BELOW_COPIES: Gauge "godwit_replication_below_copies" []
            "Versions with fewer copies than their bucket asks for, of those that this region \
             looks after";
        QUARANTINED: Counter "godwit_cluster_quarantined_total" []
            "Changes of other regions that could not be merged and were put aside: a clock is \
             wrong, or a version too old";
        CONFLICTS: Counter "godwit_conflicts_total" []
            "Writes that lost against another one made at the same time, as this region learnt it";
        KEPT_VERSIONS: Gauge "godwit_kept_versions" ["why"]
            "Versions that can be brought back: `lost` (losers of concurrent writes), `replaced` \
             (overwritten or deleted with soft delete)";
        KEPT_ROWS_CHANGED: Counter "godwit_kept_rows_changed_total" []
            "Keys of which this region began or ended what is kept";
        TOMBSTONES_DROPPED: Counter "godwit_cluster_tombstones_dropped_total" []
            "Deletions forgotten because every region knows them";
    }
    "Registers" {
        REGISTER_OPERATIONS: Counter "godwit_cluster_register_operations_total" []
            "Operations on registers that this node began: names of buckets, conditional writes, \
             consistent reads";
        REGISTER_RETRIES: Counter "godwit_cluster_register_retries_total" []
            "Rounds of them that were refused or got no majority, and were begun again";
        REGISTER_UNDECIDED: Counter "godwit_cluster_register_undecided_total" []
            "Operations given up without an outcome: no majority of voters in time";
        LEASE_READS: Counter "godwit_cluster_lease_reads_total" []
            "Consistent reads that a read lease answered without a message";
        LEASE_RECALLS: Counter "godwit_cluster_lease_recalls_total" []
            "Read leases that this region gave back because somebody else changed the key";
        LEASE_WAITS: Counter "godwit_cluster_lease_waits_total" []
            "Changes that this voter accepted only after holders of read leases had let go, or \
             their time was over";
        LEASES_HELD: Gauge "godwit_cluster_leases_held" []
            "Read leases that this region holds";
        REGISTERS_SERVING: Gauge "godwit_registers_serving" []
            "1 while this node votes or is no voter, 0 while it is a voter that must not vote yet";
    }
    "Placement" {
        PRIMARIES_MOVED: Counter "godwit_cluster_primaries_moved_total" []
            "Primaries moved away from here, nearer to their readers";
        COPIES_MADE: Counter "godwit_cluster_copies_made_total" []
            "Copies made here, for repair or before a move";
        COPIES_DROPPED: Counter "godwit_cluster_copies_dropped_total" []
            "Surplus copies given up here by the drop rule";
    }
    "Scrub and repair" {
        SCRUB_BYTES: Counter "godwit_scrub_bytes_total" []
            "Bytes that scrub read from the disk";
        SCRUB_FINISHED: Gauge "godwit_scrub_finished_timestamp_seconds" []
            "When the last whole pass of scrub ended, in seconds since 1970; 0 before the first";
        SCRUB_STOPPED: Gauge "godwit_scrub_stopped" []
            "1 after `godwit scrub stop`: nothing is checked";
        SCRUB_DAMAGE_FOUND: Counter "godwit_scrub_damage_found_total" []
            "Damage that scrub found";
        REPAIR_DAMAGED: Gauge "godwit_repair_damaged" []
            "Held bodies, records and parts of the index that are damaged and not mended yet";
        REPAIR_MENDED: Counter "godwit_repair_mended_total" []
            "Damaged bodies that were replaced by another region's bytes";
        REPAIR_BYTES: Counter "godwit_repair_bytes_total" []
            "Bytes that repair fetched from other regions";
        REPAIR_QUEUE: Gauge "godwit_repair_queue" []
            "Copies that wait or are being made here";
        RECORDS_REPAIRED: Counter "godwit_cluster_records_repaired_total" []
            "Records made good by comparing digests";
    }
    "Notifications" {
        NOTIFY_EVENTS: Counter "godwit_notify_events_total" []
            "Events of changes that were queued for delivery";
        NOTIFY_DELIVERED: Counter "godwit_notify_delivered_total" []
            "Events that their destinations took";
        NOTIFY_FAILURES: Counter "godwit_notify_failures_total" []
            "Attempts that a destination did not take";
        NOTIFY_LOST: Counter "godwit_notify_lost_total" ["why"]
            "Events given up: `full` queue, too `old`, `refused`";
        NOTIFY_QUEUED: Gauge "godwit_notify_queued" []
            "Events that wait";
        NOTIFY_QUEUED_BYTES: Gauge "godwit_notify_queued_bytes" []
            "Bytes of the events that wait";
        NOTIFY_OLDEST: Gauge "godwit_notify_oldest_seconds" []
            "Age of the oldest event that waits";
    }
    "Audit log" {
        AUDIT_LINES: Counter "godwit_audit_lines_total" []
            "Lines of the audit log that were written";
        AUDIT_DROPPED: Counter "godwit_audit_dropped_total" []
            "Lines of the audit log that found no room or could not be written; should stay 0";
    }
    "Traces" {
        TRACE_EXPORTED: Counter "godwit_trace_spans_exported_total" []
            "Spans that the collector took";
        TRACE_DROPPED: Counter "godwit_trace_spans_dropped_total" []
            "Spans that found no room, or that the collector did not take";
    }
    "Lifecycle rules" {
        LIFECYCLE_DONE: Counter "godwit_lifecycle_done_total" ["what"]
            "Objects `expired`, noncurrent versions `erased`, delete markers removed \
             (`unmarked`) and uploads `aborted` by rules in this region";
        LIFECYCLE_ERRORS: Counter "godwit_lifecycle_errors_total" []
            "Buckets whose rules could not be run to the end; tried again next time";
        LIFECYCLE_WAITING: Gauge "godwit_lifecycle_waiting" []
            "Versions that are due and wait for a region that is away";
        LIFECYCLE_FINISHED: Gauge "godwit_lifecycle_finished_timestamp_seconds" []
            "When the last whole walk over the buckets with rules ended, in seconds since 1970";
        LIFECYCLE_PASS: Gauge "godwit_lifecycle_pass_seconds" []
            "How long that walk took";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them_and_stand_once() {
        let mut seen = BTreeSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(seen.insert(name), "{name} stands twice");
            assert!(name.starts_with("godwit_") && !name.contains("__"), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            for unit in ["milliseconds", "_ms", "minutes", "kib", "_count", "_sum", "_bucket"] {
                assert!(!name.ends_with(unit), "{name}: base units only, no reserved ending");
            }
            let histogram = metric.kind == Kind::Histogram;
            assert!(!histogram || metric.unit() == Some("seconds"), "{name}");
            assert!(!metric.what.is_empty() && !metric.what.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn what_is_registered_has_neither_prefix_nor_suffix() {
        assert!(matches!(S3_SENT.registered(), ("s3_sent", Some(Unit::Bytes))));
        assert!(matches!(S3_REQUESTS.registered(), ("s3_requests", None)));
        assert_eq!(LIFECYCLE_FINISHED.registered().0, "lifecycle_finished_timestamp");
        assert_eq!(S3_SENT.unit(), Some("bytes"));
        assert_eq!(READY.unit(), None);
    }
}
