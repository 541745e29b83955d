//! What one node does now, in few figures: sums since its start, from its metrics, so that who asks
//! twice has rates.

use crate::engine::Error;

use super::api::Api;
use super::elsewhere::REGION;
use super::model::Traffic;
use super::route::{Call, Route, route};

pub(super) const ROUTES: &[Route] = &[route!(
    GET "traffic", Operator, traffic, () => Traffic, [REGION],
    "What a node does, in sums since its start: asked twice, they are rates."
)];

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn traffic(api: &Api, _: &Call<'_>, (): ()) -> Result<Traffic, Error> {
    let figures = read(&api.metrics.text());
    let now_ms = api.engine.env().now_ms();
    let repair = api.engine.cluster().repair_status();
    Ok(Traffic {
        region: Some(api.engine.region()),
        now_ms,
        copies_waiting: repair.making,
        below_copies: repair.below,
        ..figures
    })
}

/// Reads OpenMetrics text.
fn read(text: &str) -> Traffic {
    let mut found = Traffic::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let label = |wanted: &str| {
            let rest = labels.split_once(&format!("{wanted}=\""))?.1;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let op = || label("op").unwrap_or_default();
        match name {
            "godwit_s3_requests_total" => {
                let failed = label("status").is_some_and(|status| status.starts_with('5'));
                let sums = found.ops.entry(op()).or_default();
                sums.requests += value;
                sums.errors += if failed { value } else { 0.0 };
            }
            "godwit_s3_request_duration_seconds_sum" => {
                found.ops.entry(op()).or_default().seconds += value;
            }
            "godwit_s3_request_duration_seconds_bucket" => {
                // The last bound is none: all requests are below it.
                if let Some(bound) = label("le").filter(|bound| bound != "+Inf") {
                    found.ops.entry(op()).or_default().within.insert(bound, value);
                }
            }
            "godwit_s3_requests_open" => found.open = value,
            "godwit_s3_sent_bytes_total" => found.sent_bytes = value,
            "godwit_s3_received_bytes_total" => found.received_bytes = value,
            "godwit_read_chunks_total" => {
                *found.chunks.entry(label("source").unwrap_or_default()).or_default() += value;
            }
            "godwit_cluster_primaries_moved_total" => found.moves = value,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::admin::model::OpSums;

    #[test]
    fn figures_are_taken_from_the_text_of_the_metrics() {
        let text = "# TYPE x counter\n\
            godwit_s3_requests_total{op=\"GetObject\",status=\"200\"} 7\n\
            godwit_s3_requests_total{op=\"GetObject\",status=\"503\"} 2\n\
            godwit_s3_request_duration_seconds_sum{op=\"GetObject\"} 1.5\n\
            godwit_s3_request_duration_seconds_bucket{le=\"0.01\",op=\"GetObject\"} 6\n\
            godwit_s3_request_duration_seconds_bucket{le=\"+Inf\",op=\"GetObject\"} 9\n\
            godwit_s3_requests_open 3\ngodwit_s3_sent_bytes_total 10\n\
            godwit_read_chunks_total{source=\"memory\"} 4\n\
            godwit_cluster_primaries_moved_total 5\n";
        let found = read(text);
        let within = BTreeMap::from([("0.01".to_owned(), 6.0)]);
        let sums = OpSums { requests: 9.0, errors: 2.0, seconds: 1.5, within };
        assert_eq!(found.ops, BTreeMap::from([("GetObject".to_owned(), sums)]));
        assert_eq!((found.open, found.sent_bytes, found.moves), (3.0, 10.0, 5.0));
        assert_eq!(found.chunks, BTreeMap::from([("memory".to_owned(), 4.0)]));
    }
}
