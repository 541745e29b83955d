//! Two or three real meshes on loopback.

use std::path::Path as FilePath;

use tokio::sync::mpsc;

use super::super::link::Path;
use super::super::tls::Authority;
use super::*;
use crate::node::env;
use crate::types::id::ClusterId;

const OURS: ClusterId = ClusterId([1; 16]);
const SOON: Duration = Duration::from_secs(10);

fn region(code: &str) -> RegionId {
    RegionId::parse(code).unwrap()
}

/// Answers with the caller and its bytes; `no` is refused; `hang` is never answered.
struct Echo {
    datagrams: mpsc::Sender<(RegionId, Bytes)>,
}

impl PeerHandler for Echo {
    fn handle(&self, from: RegionId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(async move {
            match request.as_ref() {
                b"no" => Err("because".to_owned()),
                b"hang" => std::future::pending().await,
                bytes => Ok([from.to_string().as_bytes(), b":", bytes].concat().into()),
            }
        })
    }

    fn datagram(&self, from: RegionId, data: Bytes) {
        let _ = self.datagrams.try_send((from, data));
    }
}

struct Peer {
    env: Env,
    mesh: Arc<Mesh>,
    datagrams: mpsc::Receiver<(RegionId, Bytes)>,
    link: Link,
}

impl Peer {
    fn start(authority: &Authority, code: &str, port: u16, others: &[(&str, u16)]) -> Self {
        let env = env::real(&tokio::runtime::Handle::current(), FilePath::new("/"));
        let (datagrams, heard) = mpsc::channel(16);
        let link = Link::default();
        let address = |port: u16| format!("127.0.0.1:{port}");
        let options = MeshOptions {
            certificate: authority.issue(OURS, region(code)).unwrap(),
            bind: address(port).parse().unwrap(),
            addresses: others.iter().map(|(code, port)| (region(code), address(*port))).collect(),
            members: ["fra", "iad"].map(region).to_vec(),
            mtu: None,
            link: Some(link.clone()),
        };
        let mesh = Mesh::start(env.clone(), options, Arc::new(Echo { datagrams })).unwrap();
        Self { env, mesh, datagrams: heard, link }
    }

    async fn until(&self, what: &str, so: impl Fn(&Mesh) -> bool) {
        let wait = async {
            while !so(&self.mesh) {
                self.env.sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(self.env.timeout(SOON, wait).await.is_ok(), "never: {what}");
    }

    async fn call(
        &self,
        to: &str,
        class: Class,
        request: &'static [u8],
    ) -> Result<Bytes, PeerError> {
        let request = Bytes::from_static(request);
        self.mesh.call(region(to), class, request, Duration::from_secs(5)).await
    }
}

/// Two UDP ports that are free.
fn ports() -> (u16, u16) {
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [a, b] = sockets.map(|socket| socket.local_addr().unwrap().port());
    (a, b)
}

fn pair(authority: &Authority) -> (Peer, Peer, SocketAddr) {
    let (a, b) = ports();
    let fra = Peer::start(authority, "fra", a, &[("iad", b)]);
    let iad = Peer::start(authority, "iad", b, &[("fra", a)]);
    (fra, iad, SocketAddr::from(([127, 0, 0, 1], b)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_datagrams_and_large_answers_pass() {
    let authority = Authority::new(OURS).unwrap();
    let (fra, mut iad, _) = pair(&authority);
    fra.until("connected", |mesh| mesh.is_connected(region("iad"))).await;
    assert_eq!(fra.call("iad", Class::Register, b"hello").await.unwrap(), "fra:hello");
    let refused = fra.call("iad", Class::Read, b"no").await;
    assert_eq!(refused, Err(PeerError::Refused("because".to_owned())));
    let large = Bytes::from(vec![7; limits::MESSAGE_BYTES_MAX - 100]);
    let answer = fra.mesh.call(region("iad"), Class::Repair, large.clone(), SOON).await.unwrap();
    assert_eq!(answer.slice(4..), large);
    let late = fra.mesh.call(region("iad"), Class::Log, "hang".into(), Duration::from_millis(50));
    assert_eq!(late.await, Err(PeerError::Timeout));
    assert_eq!(fra.call("nrt", Class::Log, b"x").await, Err(PeerError::Unreachable));
    fra.mesh.datagram(region("iad"), Bytes::from_static(b"psst"));
    let heard = iad.env.timeout(SOON, iad.datagrams.recv()).await.unwrap().unwrap();
    assert_eq!(heard, (region("fra"), Bytes::from_static(b"psst")));
    assert!(fra.mesh.rtt(region("iad")).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_comes_back_is_connected_again() {
    let authority = Authority::new(OURS).unwrap();
    let (a, b) = ports();
    let fra = Peer::start(&authority, "fra", a, &[("iad", b)]);
    assert_eq!(fra.call("iad", Class::Log, b"x").await, Err(PeerError::Unreachable));
    for _ in 0..2 {
        let iad = Peer::start(&authority, "iad", b, &[]);
        fra.until("connected", |mesh| mesh.is_connected(region("iad"))).await;
        assert_eq!(fra.call("iad", Class::Log, b"x").await.unwrap(), "fra:x");
        iad.mesh.stop().await;
        drop(iad);
        fra.until("gone", |mesh| !mesh.is_connected(region("iad"))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_turned_away() {
    let (ours, theirs) = (Authority::new(OURS).unwrap(), Authority::new(OURS).unwrap());
    let (a, b) = ports();
    let fra = Peer::start(&ours, "fra", a, &[("iad", b)]);
    let iad = Peer::start(&theirs, "iad", b, &[("fra", a)]);
    // Long enough for several attempts of both.
    fra.env.sleep(Duration::from_millis(500)).await;
    assert!(!fra.mesh.is_connected(region("iad")));
    assert!(!iad.mesh.is_connected(region("fra")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_delays_and_cuts() {
    let authority = Authority::new(OURS).unwrap();
    let (fra, _iad, iad_address) = pair(&authority);
    let slow = Path { delay: Duration::from_millis(40), ..Path::default() };
    fra.link.set(iad_address, slow);
    fra.until("connected", |mesh| mesh.is_connected(region("iad"))).await;
    let began = fra.env.monotonic();
    fra.call("iad", Class::Log, b"x").await.unwrap();
    assert!(fra.env.monotonic() - began >= slow.delay, "a packet was early");
    fra.link.set(iad_address, Path { cut: true, ..Path::default() });
    let cut = fra.mesh.call(region("iad"), Class::Log, "x".into(), Duration::from_millis(300));
    assert_eq!(cut.await, Err(PeerError::Timeout));
    fra.link.set(iad_address, Path::default());
    fra.call("iad", Class::Log, b"x").await.unwrap();
}
