//! How QUIC is set up: windows for long fat paths, limits, the socket, keys that outlive a restart.
//!
//! Invariant: nothing of one cluster or node is the default of another: every key here comes from
//! the node's certificate. There is no early data (0-RTT), because it can be replayed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, ServerConfig,
    TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::env::Env;
use crate::limits;

use super::error::MeshError;
use super::tls::{Certificate, TlsError};

/// QUIC's smallest payload. Source: RFC 9000, section 14.
const MTU_MIN: u16 = 1200;

const CONNECTION_ID_BYTES: usize = 8;

/// Everything that one endpoint needs.
pub(super) struct Setup {
    pub(super) endpoint: EndpointConfig,
    pub(super) server: ServerConfig,
    pub(super) client: ClientConfig,
}

impl Setup {
    pub(super) fn new(
        env: &Env,
        certificate: &Certificate,
        mtu: Option<u16>,
        joins: bool,
    ) -> Result<Self, MeshError> {
        let transport = Arc::new(transport(mtu)?);
        let server =
            QuicServerConfig::try_from(certificate.server(env, joins)?).map_err(TlsError::new)?;
        let mut server = ServerConfig::with_crypto(Arc::new(server));
        server.transport_config(transport.clone());
        server.max_incoming(limits::MESH_HANDSHAKES_MAX);
        let client = QuicClientConfig::try_from(certificate.client(env)?).map_err(TlsError::new)?;
        let mut client = ClientConfig::new(Arc::new(client));
        client.transport_config(transport);
        Ok(Self { endpoint: endpoint(env.clone(), certificate), server, client })
    }
}

pub(super) fn transport(mtu: Option<u16>) -> Result<TransportConfig, MeshError> {
    let mut congestion = CubicConfig::default();
    congestion.initial_window(limits::MESH_FIRST_WINDOW);
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(Arc::new(congestion))
        .max_concurrent_bidi_streams(VarInt::from_u32(limits::MESH_STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(limits::MESH_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(limits::MESH_WINDOW))
        .send_window(limits::MESH_WINDOW.into())
        .initial_rtt(limits::MESH_FIRST_RTT)
        .keep_alive_interval(Some(limits::MESH_KEEP_ALIVE))
        .max_idle_timeout(Some(
            IdleTimeout::try_from(limits::MESH_IDLE_MAX).expect("half a minute is in range"),
        ));
    if let Some(mtu) = mtu {
        if mtu < MTU_MIN {
            return Err(MeshError::Mtu(mtu));
        }
        // A stated size means a tunnel: no larger packet passes, and segmentation in the kernel
        // makes some that do not (seen on Fly's private network).
        config.initial_mtu(mtu).min_mtu(mtu).mtu_discovery_config(None);
        config.enable_segmentation_offload(false);
    }
    Ok(config)
}

/// A node that was killed and started again tells its peers so at once (a stateless reset) instead
/// of leaving them to their idle timeout: for that its keys must be those of before.
fn endpoint(env: Env, certificate: &Certificate) -> EndpointConfig {
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &certificate.reset_key());
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.cid_generator(move || Box::new(Ids(env.clone())));
    config
}

/// Connection ids without a mark of this start: those of the life before must get an answer.
struct Ids(Env);

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.0.random::<CONNECTION_ID_BYTES>())
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The UDP port, with buffers for a full window of packets. An unspecified IPv6 address takes IPv4
/// too, and stands for IPv4 alone on a machine without IPv6.
pub(super) fn bind(address: SocketAddr) -> Result<UdpSocket, MeshError> {
    let bound = match socket(address) {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        result => result,
    };
    bound.map_err(|source| MeshError::Bind { address, source })
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // The kernel gives what it allows; less only costs speed.
    socket.set_recv_buffer_size(limits::MESH_SOCKET_BYTES)?;
    socket.set_send_buffer_size(limits::MESH_SOCKET_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_below_the_smallest_of_quic_is_refused() {
        assert!(matches!(transport(Some(1199)), Err(MeshError::Mtu(1199))));
        assert!(transport(Some(1372)).is_ok() && transport(None).is_ok());
    }

    #[test]
    fn a_port_in_use_is_told() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        assert!(matches!(bind(address), Err(MeshError::Bind { .. })));
    }
}
