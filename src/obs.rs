//! Metrics: one registry a node, and groups of counters that live next to what they count.
//!
//! Invariant: a metric is a field of a struct that implements [`Group`], its doc comment (and its
//! help text) says when it moves, and its name is `godwit_AREA_NOUN_UNIT`. Bucket names and keys
//! are never labels. Nothing here is global: a test or a second node in the process has its own.

use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

pub use prometheus_client::encoding::EncodeLabelSet;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;

/// Bounds for durations of requests and syncs, seconds: 0.5 ms to 60 s.
pub const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Metrics of one component. Its fields are cheap handles, cloned into the registry.
pub trait Group {
    /// Registers every field under its name without the `godwit_` prefix, which the registry adds.
    fn register(&self, registry: &mut Registry);
}

/// The registry of one node.
pub struct Metrics {
    registry: Mutex<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        Self { registry: Mutex::new(Registry::with_prefix("godwit")) }
    }

    /// Makes a group show in [`Metrics::text`]. Each group is added once.
    pub fn add(&self, group: &dyn Group) {
        group.register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The OpenMetrics text that Prometheus scrapes.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut out, &registry).expect("writing to a String cannot fail");
        out
    }
}

/// Media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
    struct Labels {
        op: &'static str,
    }

    #[derive(Default)]
    struct Sample {
        requests: Family<Labels, Counter>,
        open: Gauge,
    }

    impl Group for Sample {
        fn register(&self, registry: &mut Registry) {
            registry.register("sample_requests", "Requests answered", self.requests.clone());
            registry.register("sample_open", "Requests open", self.open.clone());
        }
    }

    #[test]
    fn a_group_shows_with_prefix_labels_and_help() {
        let metrics = Metrics::new();
        let sample = Sample::default();
        metrics.add(&sample);
        sample.requests.get_or_create(&Labels { op: "GetObject" }).inc();
        sample.open.set(3);
        let text = metrics.text();
        assert!(text.contains("godwit_sample_requests_total{op=\"GetObject\"} 1\n"), "{text}");
        assert!(text.contains("godwit_sample_open 3\n"), "{text}");
        assert!(text.contains("# HELP godwit_sample_open Requests open.\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
