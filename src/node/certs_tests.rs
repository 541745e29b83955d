//! Two nodes' meshes on loopback whose clocks a test moves: certificates come and go without a wait.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::env::{Class, Clock, PeerHandler, Peers};
use crate::net::MeshOptions;
use crate::net::join::{self, JoinOptions, NotJoined};
use crate::node::join_token::Welcome;
use crate::node::office::Office;
use crate::types::region::RegionInfo;

const DAY: u64 = 24 * 3600 * 1000;
const LIFE: Duration = limits::CERTIFICATE_LIFE;
const SOON: Duration = Duration::from_secs(30);

/// The machine's clock, and days that a test adds to it.
struct Moved {
    real: Arc<dyn Clock>,
    added_ms: AtomicU64,
}

impl Clock for Moved {
    fn now_ms(&self) -> u64 {
        self.real.now_ms() + self.added_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.real.sleep(duration)
    }
}

struct Echo;

impl PeerHandler for Echo {
    fn handle(&self, _: RegionId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(std::future::ready(Ok(request)))
    }

    fn datagram(&self, _: RegionId, _: Bytes) {}
}

fn region(code: &str) -> RegionId {
    code.parse().unwrap()
}

/// One cluster of two regions, one clock, one charter.
struct World {
    env: Env,
    clock: Arc<Moved>,
    charter: Charter,
    ports: BTreeMap<RegionId, u16>,
}

struct One {
    mesh: Arc<Mesh>,
    certs: Arc<Certs>,
    home: TempDir,
}

impl World {
    fn new() -> Self {
        let mut env = super::super::env::real(&tokio::runtime::Handle::current(), "/".as_ref());
        let clock = Arc::new(Moved { real: env.clock.clone(), added_ms: AtomicU64::new(0) });
        env.clock = clock.clone();
        let known = crate::config::Regions::built_in();
        let infos: Vec<RegionInfo> =
            ["iad", "fra"].iter().map(|code| known.find(region(code)).unwrap().info()).collect();
        let charter = Charter::new(&env, infos).unwrap();
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let ports = sockets.map(|socket| socket.local_addr().unwrap().port());
        let ports = ["iad", "fra"].map(region).into_iter().zip(ports).collect();
        Self { env, clock, charter, ports }
    }

    fn pass(&self, days: u64) {
        self.clock.added_ms.fetch_add(days * DAY, Ordering::SeqCst);
    }

    fn start(&self, code: &str, has_authority: bool) -> One {
        let identity =
            self.charter.identity(region(code), identity::validity(&self.env, LIFE)).unwrap();
        let home = tempfile::tempdir().unwrap();
        identity.save(&self.env, home.path()).unwrap();
        self.start_with(home, identity, has_authority)
    }

    fn start_with(&self, home: TempDir, identity: Identity, has_authority: bool) -> One {
        let own = identity.region;
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let others = self.ports.iter().filter(|(code, _)| **code != own);
        let options = MeshOptions {
            certificate: identity.certificate.clone(),
            bind: address(self.ports[&own]),
            addresses: others.map(|(code, port)| (*code, address(*port).to_string())).collect(),
            members: self.ports.keys().copied().collect(),
            mtu: None,
            joins: has_authority,
            link: None,
        };
        let mesh = Mesh::start(self.env.clone(), options, Arc::new(Echo)).unwrap();
        let charter = has_authority.then(|| self.charter.clone());
        if let Some(charter) = charter.clone() {
            let (home, members) = (home.path().to_owned(), charter.members().clone());
            let office =
                Office::new(&self.env, home, charter, LIFE, Arc::new(move || members.clone()));
            mesh.certify_by(Arc::new(office));
        }
        let options = CertOptions { home: home.path().to_owned(), life: LIFE };
        let certs = Certs::new(&self.env, options, mesh.clone(), charter, identity).unwrap();
        One { mesh, certs, home }
    }

    async fn until<T>(&self, what: &str, mut so: impl FnMut() -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = so() {
                    return found;
                }
                self.env.sleep(Duration::from_millis(5)).await;
            }
        };
        let found = self.env.timeout(SOON, wait).await;
        found.unwrap_or_else(|_| panic!("never: {what}"))
    }

    async fn until_connected(&self, from: &One, to: &str) {
        self.until("connected", || from.mesh.is_connected(region(to)).then_some(())).await;
    }

    async fn until_refused(&self, from: &One, why: &str) -> String {
        let told = || {
            let status = from.mesh.status();
            status.into_iter().find_map(|peer| peer.error).filter(|error| error.contains(why))
        };
        self.until(why, told).await
    }
}

async fn call(from: &One, to: &str) {
    let answer = from.mesh.call(region(to), Class::Log, "x".into(), SOON).await;
    assert_eq!(answer.unwrap(), "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gets_its_next_certificate_when_a_third_is_left_and_breaks_no_connection() {
    let world = World::new();
    let (iad, fra) = (world.start("iad", true), world.start("fra", false));
    world.until_connected(&fra, "iad").await;
    let first = fra.certs.shown().unwrap();
    assert_eq!((first.days_left, first.issued_by), (89, None));
    world.pass(59);
    fra.certs.round().await;
    assert_eq!(fra.certs.shown().unwrap().fingerprint, first.fingerprint, "it is too early");
    world.pass(2);
    fra.certs.round().await;
    let second = fra.certs.shown().unwrap();
    assert_ne!(second.fingerprint, first.fingerprint);
    assert_eq!((second.days_left, second.issued_by), (89, Some(region("iad"))));
    assert_eq!(second.trouble, None);
    call(&fra, "iad").await;
    assert_eq!(fra.mesh.metrics().lost(), 0, "no connection broke");
    // The one with the authority makes its own.
    iad.certs.round().await;
    assert_eq!(iad.certs.shown().unwrap().issued_by, Some(region("iad")));
    // It is on the disk, and good for new connections when the first one has long run out.
    world.pass(40);
    fra.mesh.stop().await;
    let kept = Identity::load(&world.env, fra.home.path()).unwrap().unwrap();
    assert_eq!(kept.certificate.fingerprint().unwrap(), second.fingerprint);
    let One { home, mesh, certs } = fra;
    drop((mesh, certs));
    let port = world.ports[&region("fra")];
    world.until("the port is free", || UdpSocket::bind(("127.0.0.1", port)).ok()).await;
    let fra = world.start_with(home, kept, false);
    world.until_connected(&fra, "iad").await;
    call(&fra, "iad").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_authority_the_old_certificate_stays_and_the_trouble_is_told() {
    let world = World::new();
    let (iad, fra) = (world.start("iad", false), world.start("fra", false));
    world.until_connected(&fra, "iad").await;
    let first = fra.certs.shown().unwrap();
    world.pass(61);
    fra.certs.round().await;
    let shown = fra.certs.shown().unwrap();
    assert_eq!(shown.fingerprint, first.fingerprint);
    let trouble = shown.trouble.unwrap();
    assert!(trouble.contains("runs out in 28 days"), "{trouble}");
    assert!(
        trouble.contains("iad: refused: this node has not the cluster's authority"),
        "{trouble}"
    );
    assert_eq!(fra.certs.trouble().as_ref(), Some(&trouble));
    call(&fra, "iad").await;
    drop(iad);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_has_run_out_is_refused_and_both_sides_say_what_to_type() {
    let world = World::new();
    let fra = world.start("fra", false);
    world.pass(91);
    let iad = world.start("iad", true);
    let error = world.until_refused(&fra, "this node's certificate has run out").await;
    assert!(error.contains("godwit cluster token fra"), "{error}");
    let error = world.until_refused(&iad, "its certificate has run out").await;
    assert!(error.contains("godwit cluster token fra"), "{error}");
    assert!(fra.certs.trouble().unwrap().contains("it has run out"));
    assert!(fra.certs.renew().await.is_err(), "it cannot ask any more");
    // With a new identity it is taken again, without a restart of the other one.
    let offered =
        identity::Offered { token: None, charter: Some(&world.charter.to_text()), life: LIFE };
    let home = fra.home.path();
    let new = identity::establish(&world.env, home, region("fra"), &offered).unwrap();
    fra.mesh.renew(&new.certificate).unwrap();
    world.until_connected(&fra, "iad").await;
    world.until_connected(&iad, "fra").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_the_certificate_of_another_region() {
    let world = World::new();
    let (_iad, fra) = (world.start("iad", true), world.start("fra", false));
    world.until_connected(&fra, "iad").await;
    let (_, wish) = Candidate::new(world.charter.members().cluster(), region("iad")).unwrap();
    let refused = fra.mesh.ask_certificate(region("iad"), &wish).await.unwrap_err().to_string();
    assert!(refused.contains("asks for a certificate of iad"), "{refused}");
}

impl World {
    /// As the node of fra asks for its first certificate, at iad's door.
    fn asks(&self) -> JoinOptions {
        let iad = region("iad");
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let token = self.charter.join_token(&self.env, region("fra"), LIFE, self.charter.members());
        JoinOptions {
            cluster: token.cluster,
            authority_pem: token.authority_pem,
            addresses: [(iad, format!("127.0.0.1:{}", self.ports[&iad]))].into(),
            bind: SocketAddr::from(([127, 0, 0, 1], port)),
            mtu: None,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_certificate_gets_its_first_one_for_a_token_and_is_a_peer_then() {
    let world = World::new();
    let iad = world.start("iad", true);
    let hour = Duration::from_secs(3600);
    let token = world.charter.join_token(&world.env, region("fra"), hour, world.charter.members());
    let (candidate, wish) = Candidate::new(token.cluster, region("fra")).unwrap();
    let question = token.question(wish).to_bytes();
    let (by, answer) = join::ask(&world.env, &world.asks(), question.clone()).await.unwrap();
    let welcome = Welcome::from_bytes(&answer).unwrap();
    let now_ms = world.env.now_ms();
    let pem = welcome.certificate_pem;
    let certificate = candidate.first(&token.authority_pem, pem, now_ms).unwrap();
    let identity = Identity {
        region: region("fra"),
        members: welcome.members.into(),
        certificate,
        issued_by: Some(by),
        first_key: None,
        operator: Some(welcome.operator),
    };
    let fra = world.start_with(tempfile::tempdir().unwrap(), identity, false);
    world.until_connected(&fra, "iad").await;
    world.until_connected(&iad, "fra").await;
    call(&fra, "iad").await;
    // An hour later the same question is worth nothing.
    world.clock.added_ms.fetch_add(3_600_001, Ordering::SeqCst);
    let over = join::ask(&world.env, &world.asks(), question).await.unwrap_err();
    assert!(matches!(&over, NotJoined::Refused(why) if why.contains("has run out")), "{over:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_the_authority_lets_nobody_in_and_one_of_another_cluster_is_not_believed() {
    let world = World::new();
    let _iad = world.start("iad", false);
    let token = world.charter.join_token(&world.env, region("fra"), LIFE, world.charter.members());
    let (_, wish) = Candidate::new(token.cluster, region("fra")).unwrap();
    let question = token.question(wish).to_bytes();
    let away = join::ask(&world.env, &world.asks(), question.clone()).await.unwrap_err();
    assert!(matches!(&away, NotJoined::Away(why) if why.contains("authority")), "{away:?}");
    let other = World::new();
    let _there = other.start("iad", true);
    let options = JoinOptions { addresses: other.asks().addresses, ..world.asks() };
    let away = join::ask(&world.env, &options, question).await.unwrap_err();
    assert!(matches!(&away, NotJoined::Away(why) if why.contains("certificate")), "{away:?}");
}
