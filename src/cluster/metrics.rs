//! What happens between regions, in numbers.

use crate::obs::{Counter, Family, Gauge, Group};
use prometheus_client::registry::Registry;

use super::lag::LagLabels;

/// Counters of the drivers. Cheap handles.
#[derive(Clone, Default)]
pub struct ClusterMetrics {
    pub(super) bad_chunks: Counter,
    /// Versions that this region looks after and that have too few copies now.
    pub(super) below_copies: Gauge,
    /// By bucket and region: age of the oldest change made here that the region has not applied, and
    /// how many there are.
    pub(super) bucket_lag_ms: Family<LagLabels, Gauge>,
    pub(super) bucket_lag_changes: Family<LagLabels, Gauge>,
    pub(super) copies_dropped: Counter,
    pub(super) copies_made: Counter,
    /// Moves when scrub finds bytes that fail their checksum, and when they were replaced.
    pub(super) damage_found: Counter,
    pub(super) damage_mended: Counter,
    /// Held blobs that are damaged now.
    pub(super) damaged: Gauge,
    pub(super) fetched_chunks: Counter,
    pub(super) primaries_moved: Counter,
    pub(super) quarantined: Counter,
    pub(super) records_repaired: Counter,
    /// Operations on registers that this node began; compare with the retries.
    pub(super) register_operations: Counter,
    /// Attempts that were refused or not answered by a majority, and begun again.
    pub(super) register_retries: Counter,
    /// Bytes that repair fetched from other regions, and that scrub read from the disk.
    pub(super) repaired_bytes: Counter,
    pub(super) scrubbed_bytes: Counter,
    pub(super) tombstones_dropped: Counter,
}

impl Group for ClusterMetrics {
    fn register(&self, registry: &mut Registry) {
        let rows = [
            (
                "cluster_bad_chunks",
                "Chunks from peers that failed their checksum",
                &self.bad_chunks,
            ),
            ("scrub_damage_found", "Damage that scrub found", &self.damage_found),
            ("scrub_bytes", "Bytes that scrub read from the disk", &self.scrubbed_bytes),
            ("repair_mended", "Damaged blobs that were replaced", &self.damage_mended),
            ("repair_bytes", "Bytes that repair fetched from peers", &self.repaired_bytes),
            ("cluster_copies_dropped", "Copies given up by the drop rule", &self.copies_dropped),
            ("cluster_copies_made", "Copies made for others or for a move", &self.copies_made),
            ("cluster_primaries_moved", "Primaries moved away from here", &self.primaries_moved),
            ("cluster_fetched_chunks", "Chunks read from peers", &self.fetched_chunks),
            ("cluster_quarantined", "Changes of peers that could not be merged", &self.quarantined),
            (
                "cluster_records_repaired",
                "Records made good by comparing digests",
                &self.records_repaired,
            ),
            (
                "cluster_register_operations",
                "Operations on registers begun here",
                &self.register_operations,
            ),
            (
                "cluster_register_retries",
                "Attempts on registers that were begun again",
                &self.register_retries,
            ),
            (
                "cluster_tombstones_dropped",
                "Deletions dropped because every region knows them",
                &self.tombstones_dropped,
            ),
        ];
        for (name, help, counter) in rows {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "replication_bucket_lag_milliseconds",
            "Age of the oldest change made here that a region has not applied, by bucket id",
            self.bucket_lag_ms.clone(),
        );
        registry.register(
            "replication_bucket_lag_changes",
            "Changes made here that a region has not applied, by bucket id",
            self.bucket_lag_changes.clone(),
        );
        registry.register(
            "replication_below_copies",
            "Versions with too few copies that this region looks after",
            self.below_copies.clone(),
        );
        registry.register(
            "repair_damaged",
            "Held blobs that are damaged and not replaced yet",
            self.damaged.clone(),
        );
    }
}
