//! Real meshes on loopback: real QUIC, real certificates, the emulated wide area where it is needed.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking")]

use std::net::{SocketAddr, UdpSocket};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use godwit::env::{BoxFuture, Class, Env, PeerError, PeerHandler, Peers};
use godwit::limits;
use godwit::net::link::{Link, Path};
use godwit::net::tls::{Authority, Certificate};
use godwit::net::{Mesh, MeshError, MeshOptions, PeerStatus, Validity};
use godwit::node::env;
use godwit::obs::Metrics;
use godwit::types::id::ClusterId;
use godwit::types::region::RegionId;
use tokio::sync::{Semaphore, mpsc};

const OURS: ClusterId = ClusterId([1; 16]);
const THEIRS: ClusterId = ClusterId([2; 16]);
const LIFE: Validity = Validity { from_ms: 0, until_ms: 253_402_300_799_000 };
const SOON: Duration = Duration::from_secs(20);
const CLASSES: [Class; 5] =
    [Class::Register, Class::Log, Class::Read, Class::Repair, Class::Migration];

fn region(code: &str) -> RegionId {
    RegionId::parse(code).unwrap()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Answers with the caller and its bytes; `no` is refused; `hang` is never answered; `wait` is
/// answered when a permit is given.
struct Echo {
    datagrams: mpsc::Sender<(RegionId, Bytes)>,
    waiting: Arc<Semaphore>,
    permits: Arc<Semaphore>,
}

impl PeerHandler for Echo {
    fn handle(&self, from: RegionId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let (waiting, permits) = (self.waiting.clone(), self.permits.clone());
        Box::pin(async move {
            match request.as_ref() {
                b"no" => return Err("because".to_owned()),
                b"hang" => std::future::pending().await,
                b"wait" => {
                    waiting.add_permits(1);
                    permits.acquire().await.unwrap().forget();
                }
                _ => {}
            }
            Ok([from.to_string().as_bytes(), b":", &request].concat().into())
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
    /// Calls that came to wait, and permits to go on.
    waiting: Arc<Semaphore>,
    permits: Arc<Semaphore>,
    link: Link,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn options(certificate: Certificate, port: u16, others: &[(&str, u16)]) -> MeshOptions {
    let address = |(code, port): &(&str, u16)| (region(code), local(*port).to_string());
    MeshOptions {
        certificate,
        bind: local(port),
        addresses: others.iter().map(address).collect(),
        members: ["fra", "iad"].map(region).to_vec(),
        mtu: None,
        joins: false,
        link: None,
    }
}

impl Peer {
    async fn start(mut options: MeshOptions) -> Self {
        let env = env::real(&tokio::runtime::Handle::current(), FilePath::new("/"));
        let (datagrams, heard) = mpsc::channel(16);
        let (waiting, permits) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let link = Link::default();
        options.link = Some(link.clone());
        let handler =
            Arc::new(Echo { datagrams, waiting: waiting.clone(), permits: permits.clone() });
        // The port of a mesh that was stopped is free only when its last task has ended.
        let began = env.monotonic();
        let mesh = loop {
            match Mesh::start(env.clone(), options.clone(), handler.clone()) {
                Ok(mesh) => break mesh,
                Err(error) => assert!(env.monotonic() - began < SOON, "{error}"),
            }
            env.sleep(ms(5)).await;
        };
        Self { env, mesh, datagrams: heard, waiting, permits, link }
    }

    async fn until<T>(&self, what: &str, mut so: impl FnMut(&Mesh) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = so(&self.mesh) {
                    return found;
                }
                self.env.sleep(ms(5)).await;
            }
        };
        let found = self.env.timeout(SOON, wait).await;
        found.unwrap_or_else(|_| panic!("never: {what}; {:?}", self.mesh.status()))
    }

    async fn until_connected(&self, to: &str) {
        self.until("connected", |mesh| mesh.is_connected(region(to)).then_some(())).await;
    }

    async fn until_gone(&self, to: &str) {
        self.until("gone", |mesh| (!mesh.is_connected(region(to))).then_some(())).await;
    }

    /// Why the other region is not reached.
    async fn until_failed(&self, to: &str) -> String {
        let failed = |mesh: &Mesh| status(mesh, to).error;
        self.until("an error", failed).await
    }

    async fn call(&self, to: &str, class: Class, request: Bytes) -> Result<Bytes, PeerError> {
        self.mesh.call(region(to), class, request, SOON).await
    }
}

fn status(mesh: &Mesh, of: &str) -> PeerStatus {
    mesh.status().into_iter().find(|status| status.region == region(of)).unwrap()
}

/// Two UDP ports that are free.
fn ports() -> (u16, u16) {
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [a, b] = sockets.map(|socket| socket.local_addr().unwrap().port());
    (a, b)
}

/// Two nodes of one cluster, and the port of each.
async fn pair() -> (Peer, Peer, (u16, u16)) {
    let authority = Authority::new(OURS).unwrap();
    let (a, b) = ports();
    let certificate = |code: &str| authority.issue(OURS, region(code), LIFE).unwrap();
    let fra = Peer::start(options(certificate("fra"), a, &[("iad", b)])).await;
    let iad = Peer::start(options(certificate("iad"), b, &[("fra", a)])).await;
    (fra, iad, (a, b))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_datagrams_and_large_bodies_pass() {
    let (fra, mut iad, _) = pair().await;
    fra.until_connected("iad").await;
    assert_eq!(fra.call("iad", Class::Register, "hello".into()).await.unwrap(), "fra:hello");
    let refused = fra.call("iad", Class::Read, "no".into()).await;
    assert_eq!(refused, Err(PeerError::Refused("because".to_owned())));
    for class in CLASSES {
        let large = Bytes::from(vec![7; limits::CHUNK_BYTES + 1000]);
        let answer = fra.call("iad", class, large.clone()).await.unwrap();
        assert_eq!(answer.slice(4..), large);
    }
    fra.mesh.datagram(region("iad"), Bytes::from(vec![9; limits::DATAGRAM_BYTES_MAX]));
    let heard = iad.env.timeout(SOON, iad.datagrams.recv()).await.unwrap().unwrap();
    assert_eq!(heard, (region("fra"), Bytes::from(vec![9; limits::DATAGRAM_BYTES_MAX])));
    assert!(fra.mesh.rtt(region("iad")).is_some());
    let metrics = Metrics::new();
    metrics.add(fra.mesh.metrics());
    let text = metrics.text();
    assert!(text.contains("godwit_mesh_calls_total 7\n"), "{text}");
    assert!(text.contains("godwit_mesh_calls_failed_total 1\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_at_its_deadline_and_without_a_connection_at_once() {
    let (fra, _iad, _) = pair().await;
    fra.until_connected("iad").await;
    let late = fra.mesh.call(region("iad"), Class::Log, "hang".into(), ms(50));
    assert_eq!(late.await, Err(PeerError::Timeout));
    assert_eq!(fra.call("nrt", Class::Log, "x".into()).await, Err(PeerError::Unreachable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_is_refused_before_it_is_sent() {
    let (fra, _iad, _) = pair().await;
    fra.until_connected("iad").await;
    let large = Bytes::from(vec![0; limits::MESSAGE_BYTES_MAX + 1]);
    let refused = fra.call("iad", Class::Repair, large).await.unwrap_err();
    assert!(matches!(&refused, PeerError::Refused(why) if why.contains("longer")), "{refused}");
    // A request of the largest size; its answer is larger.
    let large = Bytes::from(vec![0; limits::MESSAGE_BYTES_MAX]);
    let refused = fra.call("iad", Class::Repair, large).await.unwrap_err();
    assert!(matches!(&refused, PeerError::Refused(why) if why.contains("longer")), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_at_once_are_all_answered() {
    let (fra, iad, _) = pair().await;
    fra.until_connected("iad").await;
    iad.until_connected("fra").await;
    let body = |i: usize| Bytes::from(vec![u8::try_from(i).unwrap(); 20_000]);
    let calls = (0..200).map(|i| {
        let (from, to) = if i % 2 == 0 { (&fra, "iad") } else { (&iad, "fra") };
        from.call(to, CLASSES[i % CLASSES.len()], body(i))
    });
    for (i, answer) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap().slice(4..), body(i));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_in_bulk_do_not_hold_up_a_register() {
    let (fra, iad, _) = pair().await;
    fra.until_connected("iad").await;
    let waiting: Vec<_> = (0..limits::MESH_CALLS_BULK_MAX + 10)
        .map(|_| fra.mesh.call(region("iad"), Class::Repair, "wait".into(), SOON))
        .collect();
    let all = tokio::spawn(join_all(waiting));
    let full = u32::try_from(limits::MESH_CALLS_BULK_MAX).unwrap();
    let bound = iad.env.timeout(SOON, iad.waiting.acquire_many(full)).await;
    bound.expect("so many are served at a time").unwrap().forget();
    assert_eq!(fra.call("iad", Class::Register, "x".into()).await.unwrap(), "fra:x");
    assert_eq!(iad.waiting.available_permits(), 0, "more are served than allowed");
    iad.permits.add_permits(limits::MESH_CALLS_BULK_MAX + 10);
    for answer in all.await.unwrap() {
        assert_eq!(answer.unwrap(), "fra:wait");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_comes_back_is_connected_again() {
    let authority = Authority::new(OURS).unwrap();
    let (a, b) = ports();
    let certificate = authority.issue(OURS, region("fra"), LIFE).unwrap();
    let fra = Peer::start(options(certificate, a, &[("iad", b)])).await;
    assert_eq!(fra.call("iad", Class::Log, "x".into()).await, Err(PeerError::Unreachable));
    let certificate = authority.issue(OURS, region("iad"), LIFE).unwrap();
    for _ in 0..2 {
        let iad = Peer::start(options(certificate.clone(), b, &[])).await;
        fra.until_connected("iad").await;
        assert_eq!(fra.call("iad", Class::Log, "x".into()).await.unwrap(), "fra:x");
        iad.mesh.stop().await;
        drop(iad);
        fra.until_gone("iad").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_crashed_and_came_back_is_known_before_the_silence_is_noticed() {
    let authority = Authority::new(OURS).unwrap();
    let (a, b) = ports();
    let certificate = |code: &str| authority.issue(OURS, region(code), LIFE).unwrap();
    let fra = Peer::start(options(certificate("fra"), a, &[("iad", b)])).await;
    let again = options(certificate("iad"), b, &[("fra", a)]);
    let iad = Peer::start(again.clone()).await;
    fra.until_connected("iad").await;
    let began = fra.env.monotonic();
    // Its farewell is lost, as that of a killed process.
    iad.link.set(local(a), Path { cut: true, ..Path::default() });
    iad.mesh.stop().await;
    drop(iad);
    let _iad = Peer::start(again).await;
    let retry = async {
        while fra.mesh.call(region("iad"), Class::Log, "x".into(), ms(300)).await.is_err() {
            fra.env.sleep(ms(5)).await;
        }
    };
    fra.env.timeout(SOON, retry).await.expect("the new process answers");
    assert!(fra.env.monotonic() - began < limits::MESH_IDLE_MAX, "only the silence told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_the_calls_that_are_being_served_finish() {
    let (fra, iad, _) = pair().await;
    fra.until_connected("iad").await;
    let call = tokio::spawn({
        let mesh = fra.mesh.clone();
        async move { mesh.call(region("iad"), Class::Log, "wait".into(), SOON).await }
    });
    iad.waiting.acquire().await.unwrap().forget();
    let stop = tokio::spawn({
        let mesh = iad.mesh.clone();
        async move { mesh.stop().await }
    });
    iad.permits.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap(), "fra:wait");
    stop.await.unwrap();
    fra.until_gone("iad").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_authority_is_refused_by_both() {
    let (ours, theirs) = (Authority::new(OURS).unwrap(), Authority::new(OURS).unwrap());
    let (a, b) = ports();
    let certificate = ours.issue(OURS, region("fra"), LIFE).unwrap();
    let fra = Peer::start(options(certificate, a, &[("iad", b)])).await;
    let certificate = theirs.issue(OURS, region("iad"), LIFE).unwrap();
    let iad = Peer::start(options(certificate, b, &[("fra", a)])).await;
    for (peer, other) in [(&fra, "iad"), (&iad, "fra")] {
        let error = peer.until_failed(other).await;
        assert!(error.contains("certificate"), "{error}");
        assert!(!peer.mesh.is_connected(region(other)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_refused_although_its_authority_is_known() {
    let authority = Authority::new(OURS).unwrap();
    let (a, b) = ports();
    let certificate = authority.issue(OURS, region("fra"), LIFE).unwrap();
    let fra = Peer::start(options(certificate, a, &[("iad", b)])).await;
    let certificate = authority.issue(THEIRS, region("iad"), LIFE).unwrap();
    let iad = Peer::start(options(certificate, b, &[("fra", a)])).await;
    for (peer, other) in [(&fra, "iad"), (&iad, "fra")] {
        let error = peer.until_failed(other).await;
        assert!(error.contains("certificate"), "{error}");
        assert!(!peer.mesh.is_connected(region(other)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_region_than_the_one_called_is_refused() {
    let authority = Authority::new(OURS).unwrap();
    let (a, b) = ports();
    let certificate = authority.issue(OURS, region("fra"), LIFE).unwrap();
    let fra = Peer::start(options(certificate, a, &[("iad", b)])).await;
    let certificate = authority.issue(OURS, region("nrt"), LIFE).unwrap();
    let nrt = Peer::start(options(certificate, b, &[("fra", a)])).await;
    let error = fra.until_failed("iad").await;
    assert!(error.contains("certificate"), "{error}");
    let error = nrt.until_failed("fra").await;
    assert!(error.contains("no member"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn round_trips_are_those_of_the_link() {
    let (fra, iad, (a, b)) = pair().await;
    let slow = Path { delay: ms(40), jitter: ms(2), ..Path::default() };
    fra.link.set(local(b), slow);
    iad.link.set(local(a), slow);
    fra.until_connected("iad").await;
    let began = fra.env.monotonic();
    fra.call("iad", Class::Log, "x".into()).await.unwrap();
    assert!(fra.env.monotonic() - began >= ms(80), "a packet was early");
    let near = async {
        while fra.mesh.rtt(region("iad")).is_none_or(|rtt| !(75..250).contains(&rtt.as_millis())) {
            fra.call("iad", Class::Log, "x".into()).await.unwrap();
        }
    };
    fra.env.timeout(SOON, near).await.expect("a round trip like the link's is measured");
    assert_eq!(status(&fra.mesh, "iad").address, Some(local(b)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_one_way_ends_calls_at_their_deadline_and_heals() {
    let (fra, iad, (a, b)) = pair().await;
    fra.until_connected("iad").await;
    iad.until_connected("fra").await;
    let mut heard = iad.datagrams;
    for (link, to) in [(&fra.link, local(b)), (&iad.link, local(a))] {
        link.set(to, Path { cut: true, ..Path::default() });
        let cut = fra.mesh.call(region("iad"), Class::Log, "x".into(), ms(200));
        assert_eq!(cut.await, Err(PeerError::Timeout));
        link.change(to, |path| path.cut = false);
        assert_eq!(fra.call("iad", Class::Log, "x".into()).await.unwrap(), "fra:x");
    }
    fra.mesh.datagram(region("iad"), "psst".into());
    assert_eq!(iad.env.timeout(SOON, heard.recv()).await.unwrap().unwrap().1, "psst");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_survive_lost_packets() {
    let (fra, iad, (a, b)) = pair().await;
    fra.until_connected("iad").await;
    let bad = Path { delay: ms(5), lost_per_million: 50_000, ..Path::default() };
    fra.link.set(local(b), bad);
    iad.link.set(local(a), bad);
    let calls = (0..50).map(|_| fra.call("iad", Class::Read, Bytes::from(vec![3; 30_000])));
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap().len(), 30_004);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_and_a_payload_below_quics_are_told_at_start() {
    let (fra, _iad, (a, _)) = pair().await;
    let certificate = Authority::new(OURS).unwrap().issue(OURS, region("fra"), LIFE).unwrap();
    let start = |options| {
        Mesh::start(
            fra.env.clone(),
            options,
            Arc::new(Echo {
                datagrams: mpsc::channel(1).0,
                waiting: Arc::new(Semaphore::new(0)),
                permits: Arc::new(Semaphore::new(0)),
            }),
        )
    };
    let taken = start(options(certificate.clone(), a, &[]));
    assert!(matches!(taken, Err(MeshError::Bind { .. })), "{taken:?}");
    let small = MeshOptions { mtu: Some(576), ..options(certificate, 0, &[]) };
    assert!(matches!(start(small), Err(MeshError::Mtu(576))));
}
