//! Metrics: one registry a node, and groups of counters that live next to what they count.
//!
//! Invariant: a metric is a field of a struct that implements [`Group`], and a row of the one list
//! in `table`, which says its name, its labels and what it means. Bucket names and keys are never
//! labels. Nothing here is global: a test or a second node in the process has its own.

pub mod audit;
pub mod flow;
pub mod page;
pub mod table;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric as Handle, Registry};

pub use prometheus_client::encoding::EncodeLabelSet;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
pub use table::{Kind, METRICS, Metric};

/// A gauge of fractions: seconds.
pub type Real = Gauge<f64, std::sync::atomic::AtomicU64>;

/// Bounds for durations of requests and syncs, seconds: 0.5 ms to 60 s.
pub const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Metrics of one component. Its fields are cheap handles, cloned into the registry.
pub trait Group {
    /// Registers every field as a row of the list.
    fn register(&self, entries: &mut Entries);
}

/// What a node's registry has so far.
pub struct Entries {
    registry: Registry,
    metrics: Vec<Metric>,
}

impl Entries {
    /// Shows `handle` as `metric`.
    pub fn add(&mut self, metric: &Metric, handle: impl Handle) {
        self.metrics.push(*metric);
        match metric.registered() {
            (stem, Some(unit)) => {
                self.registry.register_with_unit(stem, metric.what, unit, handle);
            }
            (stem, None) => self.registry.register(stem, metric.what, handle),
        }
    }
}

/// Sets gauges to what is true now, just before they are told.
pub type Measure = Arc<dyn Fn() + Send + Sync>;

/// The registry of one node.
pub struct Metrics {
    entries: Mutex<Entries>,
    measures: Mutex<Vec<Measure>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::with_prefix("godwit");
        let entries = Mutex::new(Entries { registry, metrics: Vec::new() });
        Self { entries, measures: Mutex::default() }
    }

    /// Makes a group show in [`Metrics::text`]. Each group is added once.
    pub fn add(&self, group: &dyn Group) {
        group.register(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Has `measure` run before the metrics are told.
    pub fn measure(&self, measure: Measure) {
        self.measures.lock().unwrap_or_else(PoisonError::into_inner).push(measure);
    }

    /// The OpenMetrics text that Prometheus scrapes. What has no series yet is announced too.
    pub fn text(&self) -> String {
        // Held until the text is made: two scrapes at a time do not see each other's half.
        let measures = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        for measure in measures.iter() {
            measure();
        }
        let mut out = String::new();
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut out, &entries.registry).expect("writing to a String cannot fail");
        with_empty(out, &entries.metrics)
    }
}

/// The encoder leaves out families without a series; who looks for one should see that it is there.
fn with_empty(mut out: String, metrics: &[Metric]) -> String {
    const END: &str = "# EOF\n";
    out.truncate(out.len() - if out.ends_with(END) { END.len() } else { 0 });
    for metric in metrics {
        let (base, kind) = (metric.base(), metric.kind.as_str());
        let head = format!("# TYPE {base} {kind}\n");
        if !out.contains(&head) {
            out += &format!("# HELP {base} {}.\n{head}", metric.what);
        }
    }
    out + END
}

/// Media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
    struct Labels {
        op: &'static str,
        status: u16,
    }

    #[derive(Clone, Default)]
    struct Sample {
        requests: Family<Labels, Counter>,
        open: Gauge,
        sent: Counter,
    }

    impl Group for Sample {
        fn register(&self, entries: &mut Entries) {
            entries.add(&table::S3_REQUESTS, self.requests.clone());
            entries.add(&table::S3_OPEN, self.open.clone());
            entries.add(&table::S3_SENT, self.sent.clone());
        }
    }

    #[test]
    fn a_group_shows_under_the_names_of_the_list_and_gauges_are_measured_first() {
        let metrics = Metrics::new();
        let sample = Sample::default();
        metrics.add(&sample);
        let measured = sample.clone();
        metrics.measure(Arc::new(move || {
            measured.open.set(3);
        }));
        sample.requests.get_or_create(&Labels { op: "GetObject", status: 200 }).inc();
        sample.sent.inc_by(7);
        let text = metrics.text();
        let series = "godwit_s3_requests_total{op=\"GetObject\",status=\"200\"} 1\n";
        assert!(text.contains(series), "{text}");
        assert!(text.contains("godwit_s3_requests_open 3\n"), "{text}");
        assert!(text.contains("godwit_s3_sent_bytes_total 7\n"), "{text}");
        let help = format!("# HELP godwit_s3_requests_open {}.\n", table::S3_OPEN.what);
        assert!(text.contains(&help), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_family_without_series_is_announced() {
        let metrics = Metrics::new();
        metrics.add(&Sample::default());
        let text = metrics.text();
        assert!(text.contains("# TYPE godwit_s3_requests counter\n"), "{text}");
        assert_eq!(text.matches("# TYPE ").count(), 3, "each once: {text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
