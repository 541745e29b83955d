//! What the mesh does, in numbers.

use prometheus_client::registry::Registry;

use crate::obs::{Counter, Gauge, Group};

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

impl Group for MeshMetrics {
    fn register(&self, registry: &mut Registry) {
        let rows = [
            ("mesh_calls", "Calls to peers", &self.calls),
            ("mesh_calls_failed", "Calls to peers without an answer", &self.calls_failed),
            ("mesh_calls_served", "Calls of peers", &self.calls_served),
            ("mesh_connections_lost", "Connections to peers that ended", &self.connections_lost),
            ("mesh_connections", "Connections to peers that were made", &self.connections),
            (
                "mesh_connections_refused",
                "Connections of others that were refused",
                &self.connections_refused,
            ),
            ("mesh_datagrams_dropped", "Datagrams that were not sent", &self.datagrams_dropped),
        ];
        for (name, help, counter) in rows {
            registry.register(name, help, counter.clone());
        }
        registry.register("mesh_connected", "Connections to peers now", self.connected.clone());
    }
}
