//! The mesh: this node's endpoint, its peers, and [`Peers`] over them.
//!
//! Start: [`Mesh::start`] binds the port and returns at once; connections come up on their own.
//! Invariant: a call never waits for a connection: without one it fails as `Unreachable` at once,
//! so that the caller can ask another region.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, Runtime, ServerConfig, TokioRuntime, VarInt,
};
use tokio::sync::{Semaphore, watch};

use crate::env::{BoxFuture, Class, Env, PeerError, PeerHandler, Peers};
use crate::limits;
use crate::types::id::ClusterId;
use crate::types::region::RegionId;

use super::certify::{Certifier, Wish};
use super::error::MeshError;
use super::link::{Link, canonical};
use super::metrics::MeshMetrics;
use super::pool::{self, Peer};
use super::quic::{self, Setup};
use super::tls::Certificate;
use super::{listen, wire};

/// What a mesh is made of.
#[derive(Clone, Debug)]
pub struct MeshOptions {
    /// Says which cluster and region this is.
    pub certificate: Certificate,
    /// The UDP port; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Where the other regions' nodes are: `HOST:PORT`, or several with commas. Host names are
    /// looked up again while there is no connection. A member without an address can still call us;
    /// an address of a region that is no member is for the time when it is one.
    pub addresses: BTreeMap<RegionId, String>,
    /// Regions whose nodes may call.
    pub members: Vec<RegionId>,
    /// Largest UDP payload, where the path's is known (1372 inside WireGuard); else it is found out.
    pub mtu: Option<u16>,
    /// Nodes without a certificate may ask for one: this node has the cluster's authority.
    pub joins: bool,
    /// The emulated wide area, for nodes on one machine.
    pub link: Option<Link>,
}

/// How one peer is reached, for people and metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerStatus {
    pub region: RegionId,
    pub connected: bool,
    pub address: Option<SocketAddr>,
    pub rtt: Option<Duration>,
    /// Why it is not connected.
    pub error: Option<String>,
}

/// What all tasks of a mesh use.
pub(super) struct Shared {
    pub(super) env: Env,
    pub(super) region: RegionId,
    pub(super) cluster: ClusterId,
    pub(super) endpoint: Endpoint,
    client: RwLock<ClientConfig>,
    mtu: Option<u16>,
    pub(super) joins: bool,
    certifier: RwLock<Option<Arc<dyn Certifier>>>,
    pub(super) metrics: MeshMetrics,
    peers: RwLock<BTreeMap<RegionId, Arc<Peer>>>,
    /// Regions whose nodes may call.
    callers: RwLock<BTreeSet<RegionId>>,
    /// Where regions are, members or not, as this node's own settings say.
    stated: BTreeMap<RegionId, String>,
    /// Calls that are being served; taken whole at the stop.
    pub(super) serving: Semaphore,
    pub(super) stop: watch::Sender<bool>,
    /// Connections that peers dialled, the oldest first.
    accepted: Mutex<BTreeMap<RegionId, VecDeque<Connection>>>,
}

impl Shared {
    pub(super) fn peer(&self, region: RegionId) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&region).cloned()
    }

    pub(super) fn may_call(&self, region: RegionId) -> bool {
        self.callers.read().unwrap_or_else(PoisonError::into_inner).contains(&region)
    }

    /// Who makes certificates, where this node has the cluster's authority.
    pub(super) fn certifier(&self) -> Option<Arc<dyn Certifier>> {
        self.certifier.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_certifier(&self, certifier: Option<Arc<dyn Certifier>>) {
        *self.certifier.write().unwrap_or_else(PoisonError::into_inner) = certifier;
    }

    /// With the certificate of now.
    pub(super) fn client(&self) -> ClientConfig {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps connections to these, and to nobody else.
    fn keep_to(self: &Arc<Self>, members: Vec<(RegionId, Option<String>)>) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let is_member = |region: &RegionId| members.iter().any(|(member, _)| member == region);
        for (_, left) in peers.extract_if(.., |region, _| !is_member(region)) {
            left.end();
        }
        for (region, given) in &members {
            let address = self.stated.get(region).or(given.as_ref());
            let Some(address) = address.filter(|_| *region != self.region) else { continue };
            peers.entry(*region).or_insert_with(|| {
                let peer = Arc::new(Peer::new(*region));
                pool::keep(self, &peer, address);
                peer
            });
        }
    }

    fn accepted(&self) -> MutexGuard<'_, BTreeMap<RegionId, VecDeque<Connection>>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a peer's connection; returns the oldest one if there are too many now.
    pub(super) fn admit(&self, region: RegionId, connection: Connection) -> Option<Connection> {
        let mut accepted = self.accepted();
        let all = accepted.entry(region).or_default();
        all.push_back(connection);
        if all.len() > limits::MESH_ACCEPTED_MAX { all.pop_front() } else { None }
    }

    /// Forgets a connection that has ended.
    pub(super) fn dismiss(&self, region: RegionId, connection: &Connection) {
        if let Some(all) = self.accepted().get_mut(&region) {
            all.retain(|other| other.stable_id() != connection.stable_id());
        }
    }
}

/// This node's place in the mesh.
pub struct Mesh(Arc<Shared>);

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mesh({})", self.0.region)
    }
}

impl Mesh {
    /// Binds the port and begins to connect to all peers. Inside a tokio runtime, whose sockets QUIC
    /// uses.
    pub fn start(
        env: Env,
        options: MeshOptions,
        handler: Arc<dyn PeerHandler>,
    ) -> Result<Arc<Self>, MeshError> {
        let MeshOptions { certificate, bind, addresses, members, mtu, joins, link } = options;
        let region = certificate.region;
        let setup = Setup::new(&env, &certificate, mtu, joins)?;
        let endpoint = open(&env, setup.endpoint, setup.server, bind, link)?;
        let shared = Arc::new(Shared {
            env,
            region,
            cluster: certificate.cluster,
            endpoint,
            client: RwLock::new(setup.client),
            mtu,
            joins,
            certifier: RwLock::default(),
            metrics: MeshMetrics::default(),
            peers: RwLock::default(),
            callers: RwLock::new(members.iter().copied().collect()),
            stated: addresses,
            serving: Semaphore::new(limits::MESH_SERVING_MAX),
            stop: watch::Sender::new(false),
            accepted: Mutex::default(),
        });
        shared.env.spawn("mesh listener", listen::run(shared.clone(), handler));
        shared.keep_to(members.into_iter().map(|member| (member, None)).collect());
        Ok(Arc::new(Self(shared)))
    }

    pub fn region(&self) -> RegionId {
        self.0.region
    }

    /// Where it listens, with the port that was taken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.endpoint.local_addr()
    }

    pub fn metrics(&self) -> &MeshMetrics {
        &self.0.metrics
    }

    /// Every peer that has an address here, by code.
    pub fn status(&self) -> Vec<PeerStatus> {
        let status = |peer: &Arc<Peer>| {
            let connection = peer.control();
            PeerStatus {
                region: peer.region,
                connected: connection.is_some(),
                address: connection.as_ref().map(|own| canonical(own.remote_address())),
                rtt: connection.as_ref().map(Connection::rtt),
                error: if connection.is_some() { None } else { peer.error() },
            }
        };
        self.0.peers.read().unwrap_or_else(PoisonError::into_inner).values().map(status).collect()
    }

    /// Shows this certificate from now on. Connections that stand go on as they are; attempts that
    /// failed are made again at once.
    pub fn renew(&self, certificate: &Certificate) -> Result<(), MeshError> {
        let shared = &self.0;
        let setup = Setup::new(&shared.env, certificate, shared.mtu, shared.joins)?;
        shared.endpoint.set_server_config(Some(setup.server));
        *shared.client.write().unwrap_or_else(PoisonError::into_inner) = setup.client;
        let peers = shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().for_each(|peer| peer.wake());
        Ok(())
    }

    /// Says who makes certificates here, until the mesh stops.
    pub fn certify_by(&self, certifier: Arc<dyn Certifier>) {
        self.0.set_certifier(Some(certifier));
    }

    /// Asks another region's node for this node's next certificate, as PEM.
    pub async fn ask_certificate(&self, of: RegionId, wish: &Wish) -> Result<String, PeerError> {
        let refused = |why: &dyn fmt::Display| PeerError::Refused(why.to_string());
        let peer = self.0.peer(of).ok_or(PeerError::Unreachable)?;
        let wish = serde_json::to_vec(wish).map_err(|why| refused(&why))?;
        let pem = peer.ask_certificate(&self.0.env, wish.into()).await?;
        String::from_utf8(pem.into()).map_err(|why| refused(&why))
    }

    /// Finishes the calls that are being served, then closes all connections. Own calls that are
    /// under way break.
    pub async fn stop(&self) {
        let shared = &self.0;
        let all = u32::try_from(limits::MESH_SERVING_MAX).expect("a small constant");
        // What is not done by then is cut off.
        let _ = shared
            .env
            .timeout(limits::MESH_STOP_GRACE, shared.serving.acquire_many(all))
            .await
            .map(|permits| permits.map(tokio::sync::SemaphorePermit::forget));
        // It may know the cluster, which knows this mesh.
        shared.set_certifier(None);
        shared.stop.send_replace(true);
        shared.endpoint.close(VarInt::from_u32(0), b"stopping");
        let _ = shared.env.timeout(limits::MESH_CLOSE_GRACE, shared.endpoint.wait_idle()).await;
    }
}

fn open(
    env: &Env,
    config: EndpointConfig,
    server: ServerConfig,
    bind: SocketAddr,
    link: Option<Link>,
) -> Result<Endpoint, MeshError> {
    let failed = |source| MeshError::Bind { address: bind, source };
    let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime);
    let socket = runtime.wrap_udp_socket(quic::bind(bind)?).map_err(failed)?;
    let socket = match link {
        Some(link) => wire::wrap(env, link, socket),
        None => socket,
    };
    Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime).map_err(failed)
}

impl Peers for Mesh {
    fn call(
        &self,
        to: RegionId,
        class: Class,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let shared = self.0.clone();
        Box::pin(async move {
            shared.metrics.calls.inc();
            let outcome = match shared.peer(to) {
                Some(peer) => peer.call(&shared.env, class, request, deadline).await,
                None => Err(PeerError::Unreachable),
            };
            if outcome.is_err() {
                shared.metrics.calls_failed.inc();
            }
            outcome
        })
    }

    fn datagram(&self, to: RegionId, data: Bytes) {
        let connection = self.0.peer(to).and_then(|peer| peer.control());
        // Datagrams may be lost; one that cannot be sent is.
        if connection.is_none_or(|connection| connection.send_datagram(data).is_err()) {
            self.0.metrics.datagrams_dropped.inc();
        }
    }

    fn rtt(&self, to: RegionId) -> Option<Duration> {
        self.0.peer(to)?.control().map(|connection| connection.rtt())
    }

    fn is_connected(&self, to: RegionId) -> bool {
        self.0.peer(to).is_some_and(|peer| peer.control().is_some())
    }

    fn set_members(&self, members: Vec<(RegionId, Option<String>)>, askers: Vec<RegionId>) {
        let callers = members.iter().map(|(member, _)| *member).chain(askers).collect();
        *self.0.callers.write().unwrap_or_else(PoisonError::into_inner) = callers;
        self.0.keep_to(members);
    }
}
