//! What is measured when it is asked for: the gauges of a node that no request moves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::obs::{Counter, EncodeLabelSet, Entries, Family, Gauge, Group, Metrics, Real, table};
use crate::store::Trouble;
use crate::types::region::RegionId;

use super::env;
use super::readiness::Readiness;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
    region: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRegion {
    region: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTier {
    tier: &'static str,
}

/// Gauges, and counters that the store counts itself. Cheap handles.
#[derive(Clone, Default)]
pub(super) struct Figures {
    build: Family<Build, Gauge>,
    started: Real,
    clock: Real,
    ready: Gauge,
    resident: Gauge,
    cache: Family<ByTier, Gauge>,
    disk_total: Gauge,
    disk_free: Gauge,
    writable: Gauge,
    poisoned: Gauge,
    stalled: Gauge,
    write_queue: Gauge,
    commits: Counter,
    changes: Counter,
    log_bytes: Counter,
    checkpoints: Counter,
    segments: Gauge,
    segment_bytes: Gauge,
    segment_live_bytes: Gauge,
    compacted_bytes: Counter,
    freed_blobs: Counter,
    corrupt_reads: Counter,
    rtt: Family<ByRegion, Real>,
    connected: Family<ByRegion, Gauge>,
    queue: Family<ByRegion, Gauge>,
    behind: Family<ByRegion, Gauge>,
    registers: Gauge,
    scrub_finished: Real,
    scrub_stopped: Gauge,
    repair_queue: Gauge,
}

impl Group for Figures {
    fn register(&self, entries: &mut Entries) {
        entries.add(&table::BUILD_INFO, self.build.clone());
        entries.add(&table::START_TIMESTAMP, self.started.clone());
        entries.add(&table::CLOCK_TIMESTAMP, self.clock.clone());
        entries.add(&table::READY, self.ready.clone());
        entries.add(&table::RESIDENT, self.resident.clone());
        entries.add(&table::CACHE_BYTES, self.cache.clone());
        entries.add(&table::MESH_RTT, self.rtt.clone());
        let by_region = [
            (&table::MESH_REGION_CONNECTED, &self.connected),
            (&table::REPLICATION_QUEUE, &self.queue),
            (&table::REPLICATION_BEHIND, &self.behind),
        ];
        for (metric, family) in by_region {
            entries.add(metric, family.clone());
        }
        entries.add(&table::REGISTERS_SERVING, self.registers.clone());
        entries.add(&table::SCRUB_FINISHED, self.scrub_finished.clone());
        entries.add(&table::SCRUB_STOPPED, self.scrub_stopped.clone());
        entries.add(&table::REPAIR_QUEUE, self.repair_queue.clone());
        self.register_store(entries);
    }
}

impl Figures {
    /// Adds them to a node's metrics.
    pub(super) fn show(metrics: &Metrics, cluster: &Cluster, readiness: &Readiness) {
        let figures = Self::default();
        metrics.add(&figures);
        let build =
            Build { version: env!("CARGO_PKG_VERSION"), region: cluster.region().to_string() };
        figures.build.get_or_create(&build).set(1);
        figures.started.set(seconds(cluster.env().now_ms()));
        let (cluster, readiness) = (cluster.clone(), readiness.clone());
        metrics.measure(Arc::new(move || {
            figures.clock.set(seconds(cluster.env().now_ms()));
            figures.ready.set(i64::from(readiness.reason().is_none()));
            figures.resident.set(gauge(env::resident_bytes().unwrap_or_default()));
            figures.measure_store(&cluster);
            figures.measure_cluster(&cluster);
        }));
    }

    fn register_store(&self, entries: &mut Entries) {
        let gauges = [
            (&table::DISK_TOTAL, &self.disk_total),
            (&table::DISK_FREE, &self.disk_free),
            (&table::STORE_WRITABLE, &self.writable),
            (&table::STORE_POISONED, &self.poisoned),
            (&table::STORE_STALLED, &self.stalled),
            (&table::STORE_QUEUE, &self.write_queue),
            (&table::STORE_SEGMENTS, &self.segments),
            (&table::STORE_SEGMENT_BYTES, &self.segment_bytes),
            (&table::STORE_SEGMENT_LIVE_BYTES, &self.segment_live_bytes),
        ];
        for (metric, handle) in gauges {
            entries.add(metric, handle.clone());
        }
        let counters = [
            (&table::STORE_COMMITS, &self.commits),
            (&table::STORE_CHANGES, &self.changes),
            (&table::STORE_LOG_BYTES, &self.log_bytes),
            (&table::STORE_CHECKPOINTS, &self.checkpoints),
            (&table::STORE_COMPACTED_BYTES, &self.compacted_bytes),
            (&table::STORE_FREED_BLOBS, &self.freed_blobs),
            (&table::STORE_CORRUPT_READS, &self.corrupt_reads),
        ];
        for (metric, handle) in counters {
            entries.add(metric, handle.clone());
        }
    }

    fn measure_store(&self, cluster: &Cluster) {
        let store = cluster.store();
        let stats = store.stats();
        self.disk_total.set(gauge(stats.disk_total_bytes));
        self.disk_free.set(gauge(stats.disk_free_bytes));
        self.writable.set(i64::from(store.has_room()));
        self.poisoned.set(i64::from(stats.poisoned));
        let stalled = matches!(store.trouble(), Some(Trouble::Stalled { .. }));
        self.stalled.set(i64::from(stalled));
        self.write_queue.set(gauge(store.queued() as u64));
        self.segments.set(gauge(stats.segments));
        self.segment_bytes.set(gauge(stats.segment_bytes));
        self.segment_live_bytes.set(gauge(stats.segment_live_bytes));
        let cached = [("memory", stats.memory_cache_bytes), ("disk", stats.cache_bytes)];
        for (tier, bytes) in cached {
            self.cache.get_or_create(&ByTier { tier }).set(gauge(bytes));
        }
        let counted = [
            (&self.commits, stats.commits),
            (&self.changes, stats.changes),
            (&self.log_bytes, stats.log_bytes),
            (&self.checkpoints, stats.checkpoints),
            (&self.compacted_bytes, stats.compacted_bytes),
            (&self.freed_blobs, stats.freed_blobs),
            (&self.corrupt_reads, stats.corrupt_reads),
        ];
        for (counter, value) in counted {
            // Counted there since the start; told here.
            counter.inner().store(value, Ordering::Relaxed);
        }
    }

    fn measure_cluster(&self, cluster: &Cluster) {
        let of = |region: RegionId| ByRegion { region: region.to_string() };
        // A region that was removed is not told any more.
        self.rtt.clear();
        [&self.connected, &self.queue, &self.behind].iter().for_each(|family| family.clear());
        for peer in cluster.status() {
            let region = of(peer.region);
            let rtt = peer.rtt.unwrap_or_default().as_secs_f64();
            self.rtt.get_or_create(&region).set(rtt);
            self.connected.get_or_create(&region).set(i64::from(peer.connected));
            self.queue.get_or_create(&region).set(gauge(peer.behind));
            self.behind.get_or_create(&region).set(gauge(peer.ahead));
        }
        self.registers.set(i64::from(cluster.registers_waiting().is_none()));
        let scrub = cluster.scrub_status();
        self.scrub_finished.set(scrub.finished_ms.map_or(0.0, seconds));
        self.scrub_stopped.set(i64::from(scrub.stopped));
        self.repair_queue.set(gauge(cluster.repair_status().making));
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}
