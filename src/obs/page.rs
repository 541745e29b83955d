//! The page of all metrics, made from their list.

use crate::limits::LAGS_TOLD_MAX;

use super::table::METRICS;

/// `docs/metrics.md`.
pub fn page() -> String {
    let mut page = format!(
        "# Metrics\n\n\
         Each node tells its own at `/metrics` of its operations port (9091, no credentials), as \
         OpenMetrics text, and to operators at `GET /-/admin/v1/metrics`. A family that has no \
         series yet is announced all the same. Counters begin at zero when the node starts.\n\n\
         Labels take few values: operations, statuses, S3 error codes, regions, reasons. No label \
         ever has the name of a bucket, a key or an access key; the lag of buckets goes by their \
         ids, and only of those that are behind, at most {LAGS_TOLD_MAX} at a time.\n\n\
         A dashboard and alerts that use them are in [deploy/grafana](../deploy/grafana/README.md). \
         This page is made from `src/obs/table.rs`: \
         `GODWIT_UPDATE=1 cargo test --test cli -- observe::` writes it.\n",
    );
    let mut area = "";
    for metric in METRICS {
        if metric.area != area {
            area = metric.area;
            page += &format!("\n## {area}\n\n| Name | Kind | Unit | Labels | What |\n");
            page += "|---|---|---|---|---|\n";
        }
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(" ") };
        let (name, kind) = (metric.name, metric.kind.as_str());
        let unit = metric.unit().unwrap_or("-");
        page += &format!("| `{name}` | {kind} | {unit} | {labels} | {} |\n", metric.what);
    }
    page
}
