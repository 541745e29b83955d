//! What the dashboard shows, in its order.

use serde_json::{Value, json};

/// How a panel is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// A heading.
    Row,
    /// One number.
    Stat,
    /// Lines over time.
    Lines,
}

impl Draw {
    /// Its type in Grafana, height and width.
    pub fn shape(self) -> (&'static str, u64, u64) {
        match self {
            Self::Row => ("row", 1, 24),
            Self::Stat => ("stat", 4, 4),
            Self::Lines => ("timeseries", 8, 8),
        }
    }

    pub fn options(self) -> Value {
        match self {
            Self::Row => json!({}),
            Self::Stat => json!({
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "colorMode": "value", "graphMode": "area", "textMode": "auto",
                "justifyMode": "auto", "orientation": "auto", "wideLayout": true,
                "showPercentChange": false, "percentChangeColorMode": "standard",
            }),
            Self::Lines => json!({
                "legend": {
                    "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": true,
                },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
        }
    }
}

/// One panel: its queries with their legends.
pub struct Panel {
    pub draw: Draw,
    pub title: &'static str,
    pub what: &'static str,
    /// One of Grafana's units.
    pub unit: &'static str,
    pub queries: &'static [(&'static str, &'static str)],
}

const fn row(title: &'static str) -> Panel {
    Panel { draw: Draw::Row, title, what: "", unit: "none", queries: &[] }
}

const fn stat(
    title: &'static str,
    unit: &'static str,
    what: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { draw: Draw::Stat, title, what, unit, queries }
}

const fn lines(
    title: &'static str,
    unit: &'static str,
    what: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { draw: Draw::Lines, title, what, unit, queries }
}

/// A metric of the nodes that are chosen.
macro_rules! of {
    ($metric:literal) => {
        concat!($metric, "{instance=~\"$instance\"}")
    };
    ($metric:literal, $matcher:literal) => {
        concat!($metric, "{instance=~\"$instance\",", $matcher, "}")
    };
}

/// Its growth a second.
macro_rules! rate {
    ($metric:literal) => {
        concat!("rate(", of!($metric), "[$__rate_interval])")
    };
    ($metric:literal, $matcher:literal) => {
        concat!("rate(", of!($metric, $matcher), "[$__rate_interval])")
    };
}

/// A sum over what is not named.
macro_rules! sum {
    ($by:literal, $metric:literal) => {
        concat!("sum by (", $by, ") (", rate!($metric), ")")
    };
}

macro_rules! quantile {
    ($part:literal, $by:literal, $metric:literal) => {
        concat!(
            "histogram_quantile(",
            $part,
            ", sum by (le, ",
            $by,
            ") (rate(",
            $metric,
            "_bucket{instance=~\"$instance\"}[$__rate_interval])))"
        )
    };
}

pub const PANELS: &[Panel] = &[
    row("At a glance"),
    stat(
        "Nodes ready",
        "none",
        "Nodes that want requests.",
        &[(concat!("sum(", of!("godwit_ready"), ")"), "")],
    ),
    stat(
        "Requests",
        "reqps",
        "S3 requests answered a second, all nodes.",
        &[(concat!("sum(", rate!("godwit_s3_requests_total"), ")"), "")],
    ),
    stat(
        "Failed",
        "percentunit",
        "Share of requests answered with 5xx.",
        &[(
            concat!(
                "sum(",
                rate!("godwit_s3_requests_total", "status=~\"5..\""),
                ") / clamp_min(sum(",
                rate!("godwit_s3_requests_total"),
                "), 0.001)"
            ),
            "",
        )],
    ),
    stat(
        "Read hits",
        "percentunit",
        "Chunks that were in the region of their reader.",
        &[(
            concat!(
                "sum(",
                rate!("godwit_read_chunks_total", "source!=\"region\""),
                ") / clamp_min(sum(",
                rate!("godwit_read_chunks_total"),
                "), 0.001)"
            ),
            "",
        )],
    ),
    stat(
        "Too few copies",
        "none",
        "Versions with fewer copies than their bucket asks for.",
        &[(concat!("sum(", of!("godwit_replication_below_copies"), ")"), "")],
    ),
    stat(
        "Damaged",
        "none",
        "Bodies that are damaged and not replaced: should be 0.",
        &[(concat!("sum(", of!("godwit_repair_damaged"), ")"), "")],
    ),
    row("Requests"),
    lines(
        "By operation",
        "reqps",
        "Answers a second.",
        &[(sum!("op", "godwit_s3_requests_total"), "{{op}}")],
    ),
    lines(
        "By status",
        "reqps",
        "Answers a second.",
        &[(sum!("status", "godwit_s3_requests_total"), "{{status}}")],
    ),
    lines(
        "Errors by code",
        "reqps",
        "Answers with an error, by S3 code.",
        &[(sum!("code", "godwit_s3_errors_total"), "{{code}}")],
    ),
    lines(
        "To the first byte",
        "s",
        "Head of the request to head of the answer.",
        &[
            (quantile!("0.5", "instance", "godwit_s3_first_byte_seconds"), "p50 {{instance}}"),
            (quantile!("0.99", "instance", "godwit_s3_first_byte_seconds"), "p99 {{instance}}"),
        ],
    ),
    lines(
        "To the last byte",
        "s",
        "99 of 100 requests are faster, by operation.",
        &[(quantile!("0.99", "op", "godwit_s3_request_duration_seconds"), "{{op}}")],
    ),
    lines(
        "Bytes",
        "Bps",
        "Bodies in and out.",
        &[
            (sum!("instance", "godwit_s3_received_bytes_total"), "in {{instance}}"),
            (sum!("instance", "godwit_s3_sent_bytes_total"), "out {{instance}}"),
        ],
    ),
    lines(
        "Open",
        "none",
        "Requests under way.",
        &[(of!("godwit_s3_requests_open"), "{{instance}}")],
    ),
    lines(
        "Slowed down",
        "reqps",
        "Answered SlowDown because too many were open.",
        &[(rate!("godwit_s3_requests_shed_total"), "{{instance}}")],
    ),
    lines(
        "Admin API",
        "reqps",
        "By status.",
        &[(sum!("status", "godwit_admin_requests_total"), "{{status}}")],
    ),
    lines(
        "Slow",
        "reqps",
        "Took longer than `log.slow`; each has a line in the log.",
        &[(rate!("godwit_s3_requests_slow_total"), "{{instance}}")],
    ),
    lines(
        "Not told",
        "cps",
        "Lines of the audit log and spans of traces that were dropped; 0 is well.",
        &[
            (rate!("godwit_audit_dropped_total"), "audit {{instance}}"),
            (rate!("godwit_trace_spans_dropped_total"), "spans {{instance}}"),
        ],
    ),
    row("Reads and caches"),
    lines(
        "Chunks by source",
        "cps",
        "Where readers' bytes came from.",
        &[(sum!("source", "godwit_read_chunks_total"), "{{source}}")],
    ),
    lines(
        "Fetched from other regions",
        "cps",
        "Once for all who read them.",
        &[
            (rate!("godwit_cluster_fetched_chunks_total"), "{{instance}}"),
            (rate!("godwit_cluster_bad_chunks_total"), "bad {{instance}}"),
        ],
    ),
    lines(
        "Caches",
        "bytes",
        "Bytes in memory and of cached copies.",
        &[(of!("godwit_cache_bytes"), "{{tier}} {{instance}}")],
    ),
    row("Between regions"),
    lines(
        "Round trips",
        "s",
        "Smoothed, as each node measures it.",
        &[(of!("godwit_mesh_rtt_seconds"), "{{instance}} to {{region}}")],
    ),
    lines(
        "Connected",
        "none",
        "1: a connection stands.",
        &[(of!("godwit_mesh_region_connected"), "{{instance}} to {{region}}")],
    ),
    lines(
        "Questions",
        "cps",
        "To other regions, and those without an answer.",
        &[
            (rate!("godwit_mesh_calls_total"), "{{instance}}"),
            (rate!("godwit_mesh_calls_failed_total"), "failed {{instance}}"),
        ],
    ),
    lines(
        "Waits to be sent",
        "none",
        "Changes that the other region has not applied.",
        &[(of!("godwit_replication_queue"), "{{instance}} to {{region}}")],
    ),
    lines(
        "Lag of buckets",
        "s",
        "Oldest change not applied elsewhere, the worst ten.",
        &[(
            concat!("topk(10, ", of!("godwit_replication_bucket_lag_seconds"), ")"),
            "{{bucket}} to {{region}}",
        )],
    ),
    lines(
        "Conflicts and quarantine",
        "cps",
        "Writes at the same time; changes put aside.",
        &[
            (rate!("godwit_conflicts_total"), "lost {{instance}}"),
            (rate!("godwit_cluster_quarantined_total"), "put aside {{instance}}"),
        ],
    ),
    row("Registers and placement"),
    lines(
        "Register operations",
        "ops",
        "Names, conditional writes, consistent reads.",
        &[
            (rate!("godwit_cluster_register_operations_total"), "{{instance}}"),
            (rate!("godwit_cluster_register_retries_total"), "again {{instance}}"),
            (rate!("godwit_cluster_register_undecided_total"), "undecided {{instance}}"),
        ],
    ),
    lines(
        "Moves of primaries",
        "cps",
        "Nearer to their readers.",
        &[(rate!("godwit_cluster_primaries_moved_total"), "from {{instance}}")],
    ),
    lines(
        "Copies",
        "cps",
        "Made, and surplus ones dropped.",
        &[
            (rate!("godwit_cluster_copies_made_total"), "made {{instance}}"),
            (rate!("godwit_cluster_copies_dropped_total"), "dropped {{instance}}"),
        ],
    ),
    row("Scrub and repair"),
    lines(
        "Too few copies",
        "none",
        "By the region that looks after them.",
        &[(of!("godwit_replication_below_copies"), "{{instance}}")],
    ),
    lines(
        "Repair",
        "Bps",
        "Bytes fetched; copies that wait stand beside.",
        &[
            (rate!("godwit_repair_bytes_total"), "{{instance}}"),
            (of!("godwit_repair_queue"), "waiting {{instance}}"),
        ],
    ),
    lines(
        "Scrub",
        "Bps",
        "Bytes read and checked.",
        &[(rate!("godwit_scrub_bytes_total"), "{{instance}}")],
    ),
    lines(
        "Damage",
        "none",
        "Found by scrub, replaced, failed reads.",
        &[
            (of!("godwit_scrub_damage_found_total"), "found {{instance}}"),
            (of!("godwit_repair_mended_total"), "replaced {{instance}}"),
            (of!("godwit_store_corrupt_reads_total"), "failed reads {{instance}}"),
        ],
    ),
    row("Disk, clock, memory"),
    lines(
        "Disk free",
        "percentunit",
        "Of the file system of the data directory.",
        &[(
            concat!(of!("godwit_disk_free_bytes"), " / ", of!("godwit_disk_total_bytes")),
            "{{instance}}",
        )],
    ),
    lines(
        "Commits",
        "ops",
        "Syncs of the disk, and the changes in them.",
        &[
            (rate!("godwit_store_commits_total"), "commits {{instance}}"),
            (rate!("godwit_store_changes_total"), "changes {{instance}}"),
        ],
    ),
    lines(
        "Writer's queue",
        "none",
        "Changes that wait for the store's writer.",
        &[(of!("godwit_store_queue"), "{{instance}}")],
    ),
    lines(
        "Segments",
        "bytes",
        "On disk, and of that live.",
        &[
            (of!("godwit_store_segment_bytes"), "{{instance}}"),
            (of!("godwit_store_segment_live_bytes"), "live {{instance}}"),
        ],
    ),
    lines(
        "Clock against Prometheus",
        "s",
        "Ahead by; behind is cut off at 0.",
        &[(
            concat!(
                of!("godwit_clock_timestamp_seconds"),
                " - timestamp(",
                of!("godwit_clock_timestamp_seconds"),
                ")"
            ),
            "{{instance}}",
        )],
    ),
    lines(
        "Memory",
        "bytes",
        "Resident.",
        &[(of!("godwit_process_resident_bytes"), "{{instance}}")],
    ),
    row("Notifications and lifecycle rules"),
    lines(
        "Events",
        "cps",
        "Queued, taken, given up.",
        &[
            (rate!("godwit_notify_events_total"), "queued {{instance}}"),
            (rate!("godwit_notify_delivered_total"), "taken {{instance}}"),
            (rate!("godwit_notify_lost_total"), "given up {{why}} {{instance}}"),
        ],
    ),
    lines(
        "Events that wait",
        "none",
        "And the age of the oldest, in seconds.",
        &[
            (of!("godwit_notify_queued"), "{{instance}}"),
            (of!("godwit_notify_oldest_seconds"), "oldest {{instance}}"),
        ],
    ),
    lines(
        "Ended by rules",
        "cps",
        "Expired, erased, unmarked, aborted.",
        &[(sum!("what", "godwit_lifecycle_done_total"), "{{what}}")],
    ),
];
