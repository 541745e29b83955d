//! What wakes a person, or waits for the morning, and what that person does.

/// One rule.
pub struct Alert {
    pub name: &'static str,
    pub expr: &'static str,
    /// How long it has to be true.
    pub after: &'static str,
    /// `page` or `ticket`.
    pub severity: &'static str,
    pub summary: &'static str,
    pub what_to_do: &'static str,
}

const fn page(
    name: &'static str,
    after: &'static str,
    expr: &'static str,
    summary: &'static str,
    what_to_do: &'static str,
) -> Alert {
    Alert { name, expr, after, severity: "page", summary, what_to_do }
}

const fn ticket(
    name: &'static str,
    after: &'static str,
    expr: &'static str,
    summary: &'static str,
    what_to_do: &'static str,
) -> Alert {
    Alert { name, expr, after, severity: "ticket", summary, what_to_do }
}

pub const ALERTS: &[Alert] = &[
    page(
        "GodwitNodeDown",
        "3m",
        "up{job=\"godwit\"} == 0",
        "{{ $labels.instance }} does not answer",
        "Look whether the machine and the process run; start it again, it replays its log. The \
         other regions serve meanwhile. With its disk lost, start with an empty data directory.",
    ),
    page(
        "GodwitNotReady",
        "5m",
        "godwit_ready == 0",
        "{{ $labels.instance }} runs and wants no requests",
        "Ask `/-/health/ready` of its operations port for the reason; a long `starting` is the \
         replay of its log, `stopping` a stop that does not end.",
    ),
    page(
        "GodwitStorePoisoned",
        "1m",
        "godwit_store_poisoned == 1",
        "{{ $labels.instance }} had a failed sync and writes nothing",
        "Look into the system's log for errors of the disk. Start the node again if the disk is \
         good; else replace the disk and start with an empty data directory (docs/operations.md).",
    ),
    page(
        "GodwitErrors",
        "10m",
        "sum by (instance) (rate(godwit_s3_requests_total{status=~\"5..\"}[5m])) / \
         sum by (instance) (rate(godwit_s3_requests_total[5m])) > 0.02",
        "More than 2 % of the requests at {{ $labels.instance }} fail",
        "`godwit trace --status 5xx` shows which and why; `godwit status` whether regions are \
         away: writes wait for their copies, names and conditional writes for a majority.",
    ),
    page(
        "GodwitDiskFull",
        "5m",
        "godwit_store_writable == 0 unless godwit_store_poisoned == 1",
        "{{ $labels.instance }} takes no new bodies: its disk is full",
        "Make the volume larger, or delete what is not needed: room comes back after the blobs' \
         grace time. Deletions and reads go on meanwhile.",
    ),
    ticket(
        "GodwitDiskFillsUp",
        "1h",
        "godwit_disk_free_bytes / godwit_disk_total_bytes < 0.15",
        "Less than 15 % of the disk of {{ $labels.instance }} is free",
        "Make the volume larger, or `store.disk_cache` smaller; `godwit bucket ls` shows which \
         buckets grow. At 95 % the node takes no new bodies.",
    ),
    ticket(
        "GodwitCertificateRunsOut",
        "1h",
        "godwit_certificate_left_seconds < 1728000",
        "The {{ $labels.kind }} certificate of {{ $labels.instance }} runs out in less than 20 days",
        "A node renews its own a month before its end; `godwit cert ls` says why it did not: is a \
         node with the cluster's authority there (where `cluster init` was run, or with \
         GODWIT_CLUSTER)? Start it, then `godwit cert renew REGION`.",
    ),
    ticket(
        "GodwitTlsFilesWrong",
        "15m",
        "godwit_tls_files_right == 0",
        "{{ $labels.instance }} cannot use the files of its certificate",
        "The one that was read before goes on until it runs out. The node's log says what is wrong \
         with the files of `tls.cert` and `tls.key`; correct them, they are read again by themselves.",
    ),
    page(
        "GodwitRegionAway",
        "10m",
        "godwit_mesh_region_connected == 0",
        "{{ $labels.instance }} does not reach {{ $labels.region }}",
        "If its node is down, start it. If it runs, look at UDP between the two (port 7946, \
         firewall, MTU) and at `godwit doctor` on both.",
    ),
    ticket(
        "GodwitReplicationBehind",
        "15m",
        "max by (instance, region) (godwit_replication_bucket_lag_seconds) > 600",
        "{{ $labels.region }} is more than ten minutes behind {{ $labels.instance }}",
        "`godwit status` names the buckets. If the region is connected, its disk or the link \
         between the two is too slow for what is written: look at their panels.",
    ),
    ticket(
        "GodwitBelowCopies",
        "1h",
        "godwit_replication_below_copies > 0",
        "{{ $labels.instance }} looks after versions with too few copies",
        "`godwit repair status` says how far repair is. If it stands still: a region is away or \
         full, or somebody stopped it (`godwit repair start`).",
    ),
    page(
        "GodwitDamageStays",
        "1h",
        "godwit_repair_damaged > 0",
        "{{ $labels.instance }} holds damaged bytes that no other region replaced",
        "`godwit scrub status` names them; LOST means that no region has them: bring back the \
         region or the disk that does, or write the object again. Replace the disk if more come.",
    ),
    ticket(
        "GodwitDamageFound",
        "1m",
        "increase(godwit_scrub_damage_found_total[1d]) > 0",
        "Scrub found damaged bytes at {{ $labels.instance }}",
        "They are replaced by another region's. One is chance; several in a week are a disk that \
         fails: look at its SMART values, replace it.",
    ),
    ticket(
        "GodwitScrubLate",
        "1h",
        "time() - godwit_scrub_finished_timestamp_seconds > 2592000 and \
         time() - godwit_start_timestamp_seconds > 2592000",
        "{{ $labels.instance }} finished no scrub for 30 days",
        "`godwit scrub status`: was it stopped (`godwit scrub start`), or is `repair.scrub_rate` \
         too small for what the disk holds?",
    ),
    page(
        "GodwitClock",
        "5m",
        "godwit_clock_timestamp_seconds - timestamp(godwit_clock_timestamp_seconds) > 2 or \
         timestamp(godwit_clock_timestamp_seconds) - godwit_clock_timestamp_seconds > 2",
        "The clock of {{ $labels.instance }} is wrong",
        "Put it right (chrony, systemd-timesyncd): the later of two writes wins by the clock, and \
         changes from more than 500 ms ahead are put aside by the others.",
    ),
    page(
        "GodwitQuarantine",
        "5m",
        "increase(godwit_cluster_quarantined_total[15m]) > 0",
        "{{ $labels.instance }} puts changes of another region aside",
        "A clock is ahead, or a version is too old to read what a newer one wrote: compare the \
         clocks and the versions (`godwit status`). They are applied when that is put right.",
    ),
    page(
        "GodwitRegistersStuck",
        "10m",
        "increase(godwit_cluster_register_undecided_total[10m]) > 5 or \
         godwit_registers_serving == 0",
        "Names and conditional writes get no majority at {{ $labels.instance }}",
        "`godwit status` shows the voters: a majority must run and reach each other. A voter that \
         just started waits for its peers to confirm its counters.",
    ),
    ticket(
        "GodwitBadChunks",
        "5m",
        "increase(godwit_cluster_bad_chunks_total[1h]) > 0",
        "{{ $labels.instance }} was sent chunks that fail their checksum",
        "They were fetched from elsewhere instead. The log names the region that sent them: look \
         at its disk (`godwit scrub start` there) and at its memory.",
    ),
    ticket(
        "GodwitShedding",
        "10m",
        "rate(godwit_s3_requests_shed_total[5m]) > 1",
        "{{ $labels.instance }} answers SlowDown: too many requests at a time",
        "`godwit top` shows which operations. Send clients to more regions, or give the node more \
         processors; long uploads hold their place until they end.",
    ),
    ticket(
        "GodwitEventsWait",
        "15m",
        "godwit_notify_oldest_seconds > 900",
        "Events at {{ $labels.instance }} wait for more than 15 minutes",
        "Their destination does not take them: look at the webhook and at the log for the answer \
         that it gives. They are kept for a day, then given up.",
    ),
    ticket(
        "GodwitEventsLost",
        "1m",
        "increase(godwit_notify_lost_total[1h]) > 0",
        "{{ $labels.instance }} gave events up",
        "The label says why: `full` and `old` are a destination that was away for too long, \
         `refused` one that does not want them: check its address and credentials.",
    ),
    ticket(
        "GodwitLifecycleLate",
        "1h",
        "time() - godwit_lifecycle_finished_timestamp_seconds > 86400 and \
         godwit_lifecycle_finished_timestamp_seconds > 0",
        "Lifecycle rules at {{ $labels.instance }} have not run to their end for a day",
        "Look for `lifecycle rules` in the log, and at godwit_lifecycle_errors_total: a bucket \
         that is too large for a pass, or a region that is away.",
    ),
    ticket(
        "GodwitSlowRequests",
        "15m",
        "sum by (instance) (rate(godwit_s3_requests_slow_total[15m])) / \
         sum by (instance) (rate(godwit_s3_requests_total[15m])) > 0.05",
        "More than 5 % of the requests at {{ $labels.instance }} are slow",
        "Each has a line `godwit::slow` in the log, which says what it waited for: the disk, other \
         regions, the client (docs/operations.md, Why was it slow).",
    ),
    page(
        "GodwitAuditDropped",
        "1m",
        "increase(godwit_audit_dropped_total[15m]) > 0",
        "{{ $labels.instance }} lost lines of its audit log",
        "The file cannot be written or is too slow: look at its disk, its folder and its owner \
         (`audit.to`). The next line that is written says how many are missing.",
    ),
    ticket(
        "GodwitSpansDropped",
        "15m",
        "increase(godwit_trace_spans_dropped_total[15m]) > 0",
        "{{ $labels.instance }} drops spans of traces",
        "The collector (`trace.otlp`) cannot be reached, refuses, or is too slow: its answer is in \
         the log. `trace.one_in` takes fewer requests. Nothing else suffers.",
    ),
];
