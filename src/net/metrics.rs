//! What the mesh does, in numbers.

use crate::obs::{Counter, Entries, Gauge, Group, table};

/// Counters of the mesh. Cheap handles.
#[derive(Clone, Default)]
pub struct MeshMetrics {
    /// Moves with every question; compare with `calls_failed`.
    pub(super) calls: Counter,
    /// Moves when no answer came: out of reach, too late, broken, refused.
    pub(super) calls_failed: Counter,
    /// Moves with every question of a peer that a handler was given.
    pub(super) calls_served: Counter,
    /// Connections of this node that stand now; two a peer when all is well.
    pub(super) connected: Gauge,
    /// Moves when a connection that stood ends; compare with `connections`.
    pub(super) connections_lost: Counter,
    /// Moves when a connection of this node is taken by a peer.
    pub(super) connections: Counter,
    /// Moves when somebody who is no peer, or too many at once, knock.
    pub(super) connections_refused: Counter,
    /// Moves when gossip could not be sent.
    pub(super) datagrams_dropped: Counter,
}

impl MeshMetrics {
    /// Connections that stood and ended.
    pub fn lost(&self) -> u64 {
        self.connections_lost.get()
    }
}

impl Group for MeshMetrics {
    fn register(&self, entries: &mut Entries) {
        let rows = [
            (&table::MESH_CALLS, &self.calls),
            (&table::MESH_CALLS_FAILED, &self.calls_failed),
            (&table::MESH_CALLS_SERVED, &self.calls_served),
            (&table::MESH_CONNECTIONS, &self.connections),
            (&table::MESH_CONNECTIONS_LOST, &self.connections_lost),
            (&table::MESH_CONNECTIONS_REFUSED, &self.connections_refused),
            (&table::MESH_DATAGRAMS_DROPPED, &self.datagrams_dropped),
        ];
        for (metric, counter) in rows {
            entries.add(metric, counter.clone());
        }
        entries.add(&table::MESH_CONNECTED, self.connected.clone());
    }
}
