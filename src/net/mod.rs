//! Those peers: what nodes say to each other, and how it gets there.

pub mod link;
mod mesh;
pub mod message;
pub mod registers;
pub mod tls;

pub use mesh::{Mesh, MeshError, MeshOptions};
