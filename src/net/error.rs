//! Why the mesh does not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::tls::TlsError;

/// The mesh does not start. Never happens in normal running; nothing was changed.
#[derive(Debug)]
pub enum MeshError {
    /// The UDP port is in use, or the address is not this machine's.
    Bind { address: SocketAddr, source: io::Error },
    /// The certificate or its key cannot be used.
    Tls(TlsError),
    /// A payload size that QUIC does not allow.
    Mtu(u16),
}

impl fmt::Display for MeshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, source } => write!(f, "cannot listen on UDP {address}: {source}"),
            Self::Tls(why) => write!(f, "certificate: {why}"),
            Self::Mtu(mtu) => write!(f, "a payload of {mtu} bytes; QUIC needs at least 1200"),
        }
    }
}

impl std::error::Error for MeshError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::Tls(source) => Some(source),
            Self::Mtu(_) => None,
        }
    }
}

impl From<TlsError> for MeshError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}
