//! Connections to all other regions over QUIC, with mutual TLS.
//!
//! Every node calls every other one and keeps two connections to it: one for what is small and
//! urgent, one for bytes in bulk, so that neither waits behind the other's losses. Calls go out on a
//! node's own connections and come in on those of others; a request is one stream.
//!
//! Invariant: who is on the other side is known from its certificate alone. A broken connection is
//! made again for as long as the node runs.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AsyncUdpSocket, ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, Incoming,
    RecvStream, Runtime, SendStream, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::env::{BoxFuture, Class, Env, PeerError, PeerHandler, Peers};
use crate::limits;
use crate::types::region::RegionId;

use super::link::Link;
use super::tls::{self, Certificate, TlsError};

/// How a node takes part in the mesh.
#[derive(Clone)]
pub struct MeshOptions {
    pub certificate: Certificate,
    /// Where this node listens.
    pub bind: SocketAddr,
    /// Where the other regions' nodes are: `HOST:PORT`, looked up at every attempt to connect. A
    /// member without an address can still call us.
    pub addresses: BTreeMap<RegionId, String>,
    /// Regions whose nodes may call.
    pub members: Vec<RegionId>,
    /// Largest UDP payload; without it the path is probed.
    pub mtu: Option<u16>,
    /// An emulated wide area.
    pub link: Option<Link>,
}

/// Why the mesh does not start.
#[derive(Debug)]
pub enum MeshError {
    /// The port cannot be had.
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    Tls(TlsError),
}

impl fmt::Display for MeshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, source } => write!(f, "UDP {address}: {source}"),
            Self::Tls(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for MeshError {}

impl From<TlsError> for MeshError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

/// Silence after which a connection is given up, and how often a sign of life is sent.
const IDLE_MAX: Duration = Duration::from_secs(6);
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// One attempt to connect may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Pause between attempts: doubled each time, up to the largest; a quarter of it at random.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Windows that fill 1 Gbit/s at 250 ms.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Requests of one peer at the same time, on one connection.
const STREAMS_MAX: u32 = 1024;

/// How long the last packets of a stop may take.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// First byte of an answer.
const ANSWERED: u8 = 0;
const REFUSED: u8 = 1;

/// Which of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Control,
    Bulk,
}

impl Lane {
    const ALL: [Self; 2] = [Self::Control, Self::Bulk];

    fn of(class: Class) -> Self {
        match class {
            Class::Register | Class::Log => Self::Control,
            Class::Read | Class::Repair | Class::Migration => Self::Bulk,
        }
    }
}

/// Larger goes first.
fn priority(class: Class) -> i32 {
    match class {
        Class::Register => 4,
        Class::Log => 3,
        Class::Read => 2,
        Class::Repair => 1,
        Class::Migration => 0,
    }
}

/// A node's connections. Cheap to share; [`Mesh::stop`] ends it.
pub struct Mesh {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    options: MeshOptions,
    endpoint: Endpoint,
    client: ClientConfig,
    out: Mutex<BTreeMap<(RegionId, Lane), Connection>>,
    stop: watch::Sender<bool>,
}

impl Mesh {
    /// Listens and begins to connect. Inside a tokio runtime, whose sockets QUIC uses.
    pub fn start(
        env: Env,
        options: MeshOptions,
        handler: Arc<dyn PeerHandler>,
    ) -> Result<Arc<Self>, MeshError> {
        let transport = Arc::new(transport(&options));
        let server = QuicServerConfig::try_from(options.certificate.server()?);
        let server = server.expect("TLS 1.3 with a suite for QUIC's first packets");
        let mut server = ServerConfig::with_crypto(Arc::new(server));
        server.transport_config(transport.clone());
        let client = QuicClientConfig::try_from(options.certificate.client()?);
        let client = client.expect("TLS 1.3 with a suite for QUIC's first packets");
        let mut client = ClientConfig::new(Arc::new(client));
        client.transport_config(transport);

        let bound = |source| MeshError::Bind { address: options.bind, source };
        let socket = socket(&env, &options).map_err(bound)?;
        let endpoint = Endpoint::new_with_abstract_socket(
            EndpointConfig::default(),
            Some(server),
            socket,
            Arc::new(TokioRuntime),
        );
        let stop = watch::Sender::new(false);
        let out = Mutex::new(BTreeMap::new());
        let endpoint = endpoint.map_err(bound)?;
        let inner = Arc::new(Inner { env, options, endpoint, client, out, stop });
        inner.env.spawn("mesh accept", inner.clone().accept(handler));
        for region in inner.options.addresses.keys().copied() {
            for lane in Lane::ALL {
                inner.env.spawn("mesh connect", inner.clone().keep_connected(region, lane));
            }
        }
        Ok(Arc::new(Self { inner }))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.endpoint.local_addr()
    }

    /// Tells all peers that this node goes, and ends.
    pub async fn stop(&self) {
        let inner = &self.inner;
        inner.stop.send_replace(true);
        inner.endpoint.close(VarInt::from_u32(0), b"stop");
        // Peers that do not hear it find out by the silence.
        let _ = inner.env.timeout(CLOSE_GRACE, inner.endpoint.wait_idle()).await;
    }
}

/// What may be under way before the first acknowledgement. The mesh is the operator's own, and its
/// connections stand for days: starting at ten packets, as on the open net, would cost the first
/// object after each connect half a dozen round trips.
const FIRST_WINDOW: u64 = 512 << 10;

fn transport(options: &MeshOptions) -> TransportConfig {
    let mut congestion = CubicConfig::default();
    congestion.initial_window(FIRST_WINDOW);
    let mut config = TransportConfig::default();
    let idle = IdleTimeout::try_from(IDLE_MAX).expect("a few seconds fit");
    config
        .congestion_controller_factory(Arc::new(congestion))
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    if let Some(mtu) = options.mtu {
        // A tunnel with a known size: what segments beyond it would be lost in silence.
        config.initial_mtu(mtu).min_mtu(mtu).mtu_discovery_config(None);
        config.enable_segmentation_offload(false);
    }
    config
}

fn socket(env: &Env, options: &MeshOptions) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let socket = UdpSocket::bind(options.bind)?;
    let buffers = socket2::SockRef::from(&socket);
    // As much as the system gives; less only costs speed.
    let _ = buffers.set_recv_buffer_size(4 << 20);
    let _ = buffers.set_send_buffer_size(4 << 20);
    let socket = TokioRuntime.wrap_udp_socket(socket)?;
    Ok(match &options.link {
        Some(link) => link.wrap(env, socket),
        None => socket,
    })
}

impl Inner {
    fn out(&self) -> std::sync::MutexGuard<'_, BTreeMap<(RegionId, Lane), Connection>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self, to: RegionId, lane: Lane) -> Option<Connection> {
        let connection = self.out().get(&(to, lane)).cloned();
        connection.filter(|connection| connection.close_reason().is_none())
    }

    async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Connects, waits for the end of the connection, and connects again.
    async fn keep_connected(self: Arc<Self>, region: RegionId, lane: Lane) {
        let mut pause = PAUSE_MIN;
        loop {
            let connected = tokio::select! {
                biased;
                () = self.stopped() => return,
                connected = self.connect(region) => connected,
            };
            match connected {
                Ok(connection) => {
                    pause = PAUSE_MIN;
                    info!(%region, ?lane, "peer connected");
                    self.out().insert((region, lane), connection.clone());
                    let why = connection.closed().await;
                    self.out().remove(&(region, lane));
                    info!(%region, ?lane, %why, "peer gone");
                }
                Err(why) => debug!(%region, ?lane, why, "peer not reached"),
            }
            let part = u32::try_from(self.env.random_u64() % 256).expect("a byte");
            let wait = pause * 3 / 4 + pause / 4 * part / 256;
            pause = (pause * 2).min(PAUSE_MAX);
            tokio::select! {
                biased;
                () = self.stopped() => return,
                () = self.env.sleep(wait) => {}
            }
        }
    }

    async fn connect(&self, region: RegionId) -> Result<Connection, String> {
        let address = self.options.addresses.get(&region).cloned().unwrap_or_default();
        let ipv6 = self.endpoint.local_addr().is_ok_and(|address| address.is_ipv6());
        let found = self.env.blocking(move || look_up(&address, ipv6)).await?;
        let mut last = "the name has no address".to_owned();
        for address in found {
            let cluster = self.options.certificate.cluster;
            let name = tls::server_name(cluster, region).to_str().into_owned();
            let connecting = self.endpoint.connect_with(self.client.clone(), address, &name);
            let connecting = connecting.map_err(|error| error.to_string())?;
            match self.env.timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = format!("{address}: {error}"),
                Err(_) => last = format!("{address}: no answer"),
            }
        }
        Err(last)
    }

    async fn accept(self: Arc<Self>, handler: Arc<dyn PeerHandler>) {
        // Ends when the endpoint is closed.
        while let Some(incoming) = self.endpoint.accept().await {
            self.env.spawn("mesh peer", self.clone().welcome(incoming, handler.clone()));
        }
    }

    async fn welcome(self: Arc<Self>, incoming: Incoming, handler: Arc<dyn PeerHandler>) {
        let from = incoming.remote_address();
        let connection = match self.env.timeout(CONNECT_TIMEOUT, incoming.into_future()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return debug!(%from, %error, "handshake failed"),
            Err(_) => return debug!(%from, "handshake took too long"),
        };
        match self.caller(&connection) {
            Some(region) => self.serve(region, connection, handler).await,
            None => {
                warn!(%from, "a node that is no member was turned away");
                connection.close(VarInt::from_u32(1), b"no member");
            }
        }
    }

    fn caller(&self, connection: &Connection) -> Option<RegionId> {
        let identity = connection.peer_identity()?;
        let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        let members = self.options.members.iter().copied();
        tls::region_of(chain.first()?, self.options.certificate.cluster, members)
    }

    /// Answers a peer's requests until its connection ends.
    async fn serve(
        self: Arc<Self>,
        from: RegionId,
        connection: Connection,
        handler: Arc<dyn PeerHandler>,
    ) {
        loop {
            tokio::select! {
                biased;
                datagram = connection.read_datagram() => match datagram {
                    Ok(data) => handler.datagram(from, data),
                    Err(_) => return,
                },
                stream = connection.accept_bi() => match stream {
                    Ok((send, receive)) => {
                        let answer = answer(from, send, receive, handler.clone());
                        self.env.spawn("mesh request", answer);
                    }
                    Err(_) => return,
                },
            }
        }
    }
}

fn look_up(address: &str, ipv6: bool) -> Result<Vec<SocketAddr>, String> {
    let found = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    // A socket of one family cannot reach the other, but an IPv6 one reaches mapped IPv4.
    let fit = |address: SocketAddr| match address {
        SocketAddr::V4(v4) if ipv6 => Some(SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))),
        SocketAddr::V6(_) if !ipv6 => None,
        same => Some(same),
    };
    Ok(found.filter_map(fit).collect())
}

/// One request of a peer. A connection that breaks here is noticed by the caller.
async fn answer(
    from: RegionId,
    mut send: SendStream,
    mut receive: RecvStream,
    handler: Arc<dyn PeerHandler>,
) {
    let Ok(request) = receive.read_to_end(limits::MESSAGE_BYTES_MAX).await else { return };
    let (kind, body) = match handler.handle(from, request.into()).await {
        Ok(response) => (ANSWERED, response),
        Err(why) => (REFUSED, Bytes::from(why)),
    };
    let mut parts = [Bytes::copy_from_slice(&[kind]), body];
    if send.write_all_chunks(&mut parts).await.is_ok() {
        // Fails when the stream was finished or reset: then nobody waits.
        let _ = send.finish();
    }
}

async fn ask(connection: Connection, class: Class, request: Bytes) -> Result<Bytes, PeerError> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|_| PeerError::Broken)?;
    send.set_priority(priority(class)).map_err(|_| PeerError::Broken)?;
    send.write_chunk(request).await.map_err(|_| PeerError::Broken)?;
    send.finish().map_err(|_| PeerError::Broken)?;
    let answer = receive.read_to_end(limits::MESSAGE_BYTES_MAX + 1).await;
    let answer = Bytes::from(answer.map_err(|_| PeerError::Broken)?);
    match answer.first() {
        Some(&ANSWERED) => Ok(answer.slice(1..)),
        Some(&REFUSED) => {
            Err(PeerError::Refused(String::from_utf8_lossy(&answer[1..]).into_owned()))
        }
        Some(_) | None => Err(PeerError::Broken),
    }
}

impl Peers for Mesh {
    fn call(
        &self,
        to: RegionId,
        class: Class,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        if request.len() > limits::MESSAGE_BYTES_MAX {
            let why = format!("a request of {} bytes is too large", request.len());
            return Box::pin(std::future::ready(Err(PeerError::Refused(why))));
        }
        let Some(connection) = self.inner.connection(to, Lane::of(class)) else {
            return Box::pin(std::future::ready(Err(PeerError::Unreachable)));
        };
        let env = self.inner.env.clone();
        Box::pin(async move {
            let answer = env.timeout(deadline, ask(connection, class, request)).await;
            answer.unwrap_or(Err(PeerError::Timeout))
        })
    }

    fn datagram(&self, to: RegionId, data: Bytes) {
        if let Some(connection) = self.inner.connection(to, Lane::Control) {
            // May be lost, like every datagram.
            let _ = connection.send_datagram(data);
        }
    }

    fn rtt(&self, to: RegionId) -> Option<Duration> {
        Some(self.inner.connection(to, Lane::Control)?.rtt())
    }

    fn is_connected(&self, to: RegionId) -> bool {
        Lane::ALL.iter().all(|lane| self.inner.connection(to, *lane).is_some())
    }
}

#[cfg(test)]
mod tests;
