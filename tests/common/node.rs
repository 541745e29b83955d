//! Nodes of one cluster in this process, each over a directory of its own: real from the engine
//! down, but for the network, which hands messages over in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use godwit::cluster::{Cluster, ClusterOptions, Handler, Members};
use godwit::config::Webhook;
use godwit::engine::{Engine, Options};
use godwit::env::{BoxFuture, Class, Clock, Env, PeerError, PeerHandler as _, Peers};
use godwit::logic::keyring::Keyring;
use godwit::node::env;
use godwit::node::webhooks::Webhooks;
use godwit::store::{self, Store};
use godwit::types::encryption::{KeyName, SecretBytes};
use godwit::types::id::ClusterId;
use godwit::types::region::{Coordinates, RegionId, RegionInfo, Role};

pub const REGION: &str = "fra";

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// The network: who can be reached by whom. And the one time of all nodes.
#[derive(Default)]
pub struct Wires {
    ahead_ms: AtomicU64,
    handlers: Mutex<BTreeMap<RegionId, Arc<Handler>>>,
    away: Mutex<BTreeSet<RegionId>>,
}

impl Wires {
    /// Cuts a region off, or joins it again.
    pub fn set_away(&self, region: RegionId, away: bool) {
        let mut set = self.away.lock().unwrap();
        if away {
            set.insert(region)
        } else {
            set.remove(&region)
        };
    }

    /// Lets time pass without waiting for it.
    fn pass_time(&self, time: Duration) {
        self.ahead_ms.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn between(&self, from: RegionId, to: RegionId) -> Option<Arc<Handler>> {
        let away = self.away.lock().unwrap();
        if away.contains(&from) || away.contains(&to) {
            return None;
        }
        self.handlers.lock().unwrap().get(&to).cloned()
    }
}

/// The system's clock, ahead by the time that was passed over.
struct Ahead {
    clock: Arc<dyn Clock>,
    wires: Arc<Wires>,
}

impl Clock for Ahead {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms() + self.wires.ahead_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        let ahead = Duration::from_millis(self.wires.ahead_ms.load(Ordering::SeqCst));
        self.clock.monotonic() + ahead
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(duration)
    }
}

/// One region's end of the wires.
struct Wire {
    own: RegionId,
    wires: Arc<Wires>,
    env: Env,
}

impl Peers for Wire {
    fn call(
        &self,
        to: RegionId,
        _class: Class,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let (own, env, handler) = (self.own, self.env.clone(), self.wires.between(self.own, to));
        Box::pin(async move {
            let handler = handler.ok_or(PeerError::Unreachable)?;
            match env.timeout(deadline, handler.handle(own, request)).await {
                Ok(answer) => answer.map_err(PeerError::Refused),
                Err(_) => Err(PeerError::Timeout),
            }
        })
    }

    fn datagram(&self, to: RegionId, data: Bytes) {
        if let Some(handler) = self.wires.between(self.own, to) {
            handler.datagram(self.own, data);
        }
    }

    fn rtt(&self, _to: RegionId) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }

    fn is_connected(&self, to: RegionId) -> bool {
        self.wires.between(self.own, to).is_some()
    }

    fn set_members(&self, _: Vec<(RegionId, Option<String>)>, _: Vec<RegionId>) {}
}

/// The keys of every test node's keyring, `first` and `second`.
pub const FIRST_KEY: [u8; 32] = [0xA1; 32];
pub const SECOND_KEY: [u8; 32] = [0xB2; 32];

fn keyring() -> Keyring {
    let line = |name, key| Keyring::line(&KeyName::parse(name).unwrap(), &SecretBytes(key));
    Keyring::parse(&(line("first", FIRST_KEY) + &line("second", SECOND_KEY))).unwrap()
}

/// One node with its engine.
pub struct Node {
    pub engine: Engine,
    pub cluster: Cluster,
    pub env: Env,
    pub wires: Arc<Wires>,
    dir: TempDir,
    regions: Vec<RegionInfo>,
    webhooks: Vec<Webhook>,
    deliveries: Deliveries,
}

/// The task that delivers events, and what stops it.
struct Deliveries {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Deliveries {
    #[allow(clippy::disallowed_methods, reason = "on the test's own runtime")]
    fn start(engine: &Engine) -> Self {
        let (stop, stopped) = oneshot::channel();
        let engine = engine.clone();
        let task = tokio::spawn(async move {
            engine.deliver_events(async { drop(stopped.await) }).await;
        });
        Self { stop, task }
    }

    async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }
}

impl Node {
    /// Lets time pass where this node is alone.
    pub async fn pass_time(&self, time: Duration) {
        pass_time(std::slice::from_ref(self), time).await;
    }

    /// A cluster of one.
    pub async fn start() -> Self {
        Self::with_webhooks(&[]).await
    }

    /// A cluster of one whose buckets may name these destinations, as the settings write them.
    pub async fn with_webhooks(webhooks: &[String]) -> Self {
        let wires = Arc::new(Wires::default());
        let webhooks = webhooks.iter().map(|text| text.parse().unwrap()).collect();
        let regions = vec![info(REGION)];
        Self::start_in(TempDir::new().unwrap(), wires, REGION, regions, webhooks).await
    }

    /// A cluster of these regions.
    pub async fn cluster(codes: &[&str]) -> Vec<Self> {
        let wires = Arc::new(Wires::default());
        let regions: Vec<RegionInfo> = codes.iter().map(|code| info(code)).collect();
        let mut nodes = Vec::new();
        for code in codes {
            let dir = TempDir::new().unwrap();
            let regions = regions.clone();
            nodes.push(Self::start_in(dir, wires.clone(), code, regions, Vec::new()).await);
        }
        nodes
    }

    async fn start_in(
        dir: TempDir,
        wires: Arc<Wires>,
        code: &str,
        regions: Vec<RegionInfo>,
        webhooks: Vec<Webhook>,
    ) -> Self {
        let mut env = env::real(&tokio::runtime::Handle::current(), dir.path());
        env.clock = Arc::new(Ahead { clock: env.clock.clone(), wires: wires.clone() });
        let cluster = start_cluster(&env, dir.path(), &wires, code, &regions).await;
        let options = Options { copies: 2, ..Options::default() };
        let courier = Webhooks::new(&env, &webhooks, None).unwrap();
        let engine = Engine::new(cluster.clone(), options).with_keyring(keyring());
        let engine = engine.with_courier(Arc::new(courier));
        let deliveries = Deliveries::start(&engine);
        Self { engine, cluster, env, wires, dir, regions, webhooks, deliveries }
    }

    /// Where its bytes lie.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What its settings name after the next start.
    pub fn set_webhooks(&mut self, webhooks: &[String]) {
        self.webhooks = webhooks.iter().map(|text| text.parse().unwrap()).collect();
    }

    /// Stops the node and starts it again on the same data.
    pub async fn restart(self) -> Self {
        let Self { engine, cluster, env, wires, dir, regions, webhooks, deliveries } = self;
        deliveries.stop().await;
        let code = cluster.region().to_string();
        wires.handlers.lock().unwrap().remove(&cluster.region());
        cluster.stop().await;
        cluster.store().close().await.unwrap();
        drop((engine, cluster, env));
        Self::start_in(dir, wires, &code, regions, webhooks).await
    }
}

fn info(code: &str) -> RegionInfo {
    RegionInfo {
        id: code.parse().unwrap(),
        city: code.into(),
        coordinates: Coordinates { lat: 50.1, lon: 8.7 },
        geography: "eu".into(),
        failure_domain: code.into(),
        role: Role::Full,
        voter: true,
    }
}

/// Opens the store; the tasks of a node that was just stopped may hold it for a moment.
async fn open(env: &Env, options: store::Options) -> Store {
    let deadline = env.monotonic() + PATIENCE;
    loop {
        match Store::open(env.clone(), options.clone()).await {
            Ok((store, _report)) => return store,
            Err(why) if env.monotonic() > deadline => panic!("{why}"),
            Err(_) => env.sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn start_cluster(
    env: &Env,
    dir: &Path,
    wires: &Arc<Wires>,
    code: &str,
    regions: &[RegionInfo],
) -> Cluster {
    let own: RegionId = code.parse().unwrap();
    let mut options = store::Options::new(dir.join("data"), own);
    options.segment_bytes = 16 << 20;
    let store = open(env, options).await;
    let members = Members::new(ClusterId([7; 16]), regions.to_vec()).unwrap();
    let handler = Handler::new();
    let wire = Wire { own, wires: wires.clone(), env: env.clone() };
    let peers: Arc<dyn Peers> = Arc::new(wire);
    let options = ClusterOptions::default();
    let cluster = Cluster::start(env.clone(), store, peers, &handler, members, options).await;
    wires.handlers.lock().unwrap().insert(own, handler);
    cluster.unwrap()
}

/// Lets time pass for all nodes. A write that was under way has taken that long now: until it is done,
/// its disk counts as one that does not answer.
pub async fn pass_time(nodes: &[Node], time: Duration) {
    nodes[0].wires.pass_time(time);
    for node in nodes {
        let store = node.cluster.store().clone();
        eventually(&node.env, "the disk answers", || async { store.trouble().is_none() }).await;
    }
}

/// Waits until a condition holds; panics with what was waited for.
pub async fn eventually<F: Future<Output = bool>>(
    env: &Env,
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let deadline = env.monotonic() + PATIENCE;
    while !condition().await {
        assert!(env.monotonic() < deadline, "waited in vain until {what}");
        env.sleep(Duration::from_millis(10)).await;
    }
}
