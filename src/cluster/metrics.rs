//! What happens between regions, in numbers.

use crate::obs::{Counter, EncodeLabelSet, Entries, Family, Gauge, Group, Real, table};

use super::lag::LagLabels;

/// Counters of the drivers. Cheap handles.
#[derive(Clone, Default)]
pub struct ClusterMetrics {
    pub(super) bad_chunks: Counter,
    /// Versions that this region looks after and that have too few copies now.
    pub(super) below_copies: Gauge,
    /// By bucket and region: age of the oldest change made here that the region has not applied, and
    /// how many there are.
    pub(super) bucket_lag: Family<LagLabels, Real>,
    pub(super) bucket_lag_changes: Family<LagLabels, Gauge>,
    pub(super) copies_dropped: Counter,
    pub(super) copies_made: Counter,
    /// Moves when scrub finds bytes that fail their checksum, and when they were replaced.
    pub(super) damage_found: Counter,
    pub(super) damage_mended: Counter,
    /// Held blobs, records and parts of the index that are damaged now.
    pub(super) damaged: Gauge,
    pub(super) fetched_chunks: Counter,
    /// Reads that a lease answered; leases that were recalled; changes that waited for holders here.
    pub(super) lease_reads: Counter,
    pub(super) lease_recalls: Counter,
    pub(super) lease_waits: Counter,
    pub(super) leases_held: Gauge,
    pub(super) primaries_moved: Counter,
    pub(super) quarantined: Counter,
    pub(super) records_repaired: Counter,
    /// Chunks that readers here were given, by where they came from.
    pub(super) read_chunks: Family<ReadFrom, Counter>,
    /// Operations on registers that this node began; compare with the retries.
    pub(super) register_operations: Counter,
    /// Attempts that were refused or not answered by a majority, and begun again.
    pub(super) register_retries: Counter,
    /// Operations that ended without an outcome.
    pub(super) register_undecided: Counter,
    /// Bytes that repair fetched from other regions, and that scrub read from the disk.
    pub(super) repaired_bytes: Counter,
    pub(super) scrubbed_bytes: Counter,
    pub(super) tombstones_dropped: Counter,
}

/// Label of a chunk that a reader was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReadFrom {
    pub(super) source: &'static str,
}

impl Group for ClusterMetrics {
    fn register(&self, entries: &mut Entries) {
        let rows = [
            (&table::BAD_CHUNKS, &self.bad_chunks),
            (&table::SCRUB_DAMAGE_FOUND, &self.damage_found),
            (&table::SCRUB_BYTES, &self.scrubbed_bytes),
            (&table::REPAIR_MENDED, &self.damage_mended),
            (&table::REPAIR_BYTES, &self.repaired_bytes),
            (&table::COPIES_DROPPED, &self.copies_dropped),
            (&table::COPIES_MADE, &self.copies_made),
            (&table::PRIMARIES_MOVED, &self.primaries_moved),
            (&table::FETCHED_CHUNKS, &self.fetched_chunks),
            (&table::LEASE_READS, &self.lease_reads),
            (&table::LEASE_RECALLS, &self.lease_recalls),
            (&table::LEASE_WAITS, &self.lease_waits),
            (&table::QUARANTINED, &self.quarantined),
            (&table::RECORDS_REPAIRED, &self.records_repaired),
            (&table::REGISTER_OPERATIONS, &self.register_operations),
            (&table::REGISTER_RETRIES, &self.register_retries),
            (&table::REGISTER_UNDECIDED, &self.register_undecided),
            (&table::TOMBSTONES_DROPPED, &self.tombstones_dropped),
        ];
        for (metric, counter) in rows {
            entries.add(metric, counter.clone());
        }
        entries.add(&table::READ_CHUNKS, self.read_chunks.clone());
        entries.add(&table::BUCKET_LAG, self.bucket_lag.clone());
        entries.add(&table::BUCKET_LAG_CHANGES, self.bucket_lag_changes.clone());
        entries.add(&table::BELOW_COPIES, self.below_copies.clone());
        entries.add(&table::REPAIR_DAMAGED, self.damaged.clone());
        entries.add(&table::LEASES_HELD, self.leases_held.clone());
    }
}
