//! Why a node does not start. Nothing runs after any of these.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::store;
use crate::types::region::RegionId;

/// A start that failed.
#[derive(Debug)]
pub enum NodeError {
    /// A port cannot be listened on.
    Bind { address: SocketAddr, source: io::Error },
    /// A small file of the data directory cannot be read or written.
    File { what: String, source: io::Error },
    /// Token, certificate or members are wrong.
    Identity(String),
    /// The keyring cannot be read.
    Keyring(String),
    /// The mesh does not start.
    Mesh(String),
    /// The data directory belongs to another region.
    OtherRegion { found: RegionId, wanted: RegionId },
    /// The store does not open.
    Store(store::Error),
    /// The certificate of the S3 port or its key cannot be used.
    Tls(String),
    /// Traces cannot be sent where the settings say.
    Trace(String),
    /// The webhooks of the settings cannot be used.
    Webhooks(String),
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::File { what, source } => write!(f, "{what}: {source}"),
            Self::Identity(why) => write!(f, "identity: {why}"),
            Self::Keyring(why) => write!(f, "keyring: {why}"),
            Self::Mesh(why) => write!(f, "mesh: {why}"),
            Self::OtherRegion { found, wanted } => write!(
                f,
                "the data directory belongs to region {found}, but this node is told to be {wanted}"
            ),
            Self::Store(error) => write!(f, "store: {error}"),
            Self::Tls(why) => write!(f, "tls: {why}"),
            Self::Trace(why) => write!(f, "traces: {why}"),
            Self::Webhooks(why) => write!(f, "webhooks: {why}"),
        }
    }
}

impl std::error::Error for NodeError {}

impl From<store::Error> for NodeError {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}
