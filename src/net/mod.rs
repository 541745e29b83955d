//! Those peers: what nodes say to each other, and how it gets there.
//!
//! * [`message`], [`registers`]: what is said.
//! * [`Mesh`]: [`crate::env::Peers`] over QUIC, mutual TLS, one UDP port.
//! * [`tls`]: the cluster's authority and the nodes' certificates.
//! * [`certify`]: how a node gets the next one.
//! * [`join`]: how a node without one comes in.
//! * [`link`]: delays, loss and cuts of a wide area between nodes of one machine.

mod address;
pub mod certify;
mod error;
mod frame;
pub mod join;
mod kinds;
pub mod link;
mod listen;
mod mesh;
pub mod message;
mod metrics;
mod pool;
mod quic;
pub mod registers;
pub mod spoken;
pub mod tls;
mod validity;
mod wire;

pub use error::MeshError;
pub use mesh::{Mesh, MeshOptions, PeerStatus};
pub use metrics::MeshMetrics;
pub use validity::Validity;
