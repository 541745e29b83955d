//! A world of regions: whole nodes, from the engine down to torn sectors, on virtual time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use godwit::cluster::{Cluster, ClusterOptions, Handler, Members};
use godwit::engine::{self, Engine};
use godwit::env::{Env, Tasks};
use godwit::logic::placement::PlacementConfig;
use godwit::store::{self, Store};
use godwit::types::id::ClusterId;
use godwit::types::region::{Coordinates, RegionId, RegionInfo, Role};
use tokio::time::Instant;

use crate::disk::{Fault, SimDisk};
use crate::env::{SimClock, SimRng, SimTasks};
use crate::net::{SimNet, SimPeers};

/// One way between two regions.
const ONE_WAY: Duration = Duration::from_millis(40);

/// One life of a node, from its start to its kill.
struct Life {
    tasks: Arc<SimTasks>,
    cluster: Cluster,
    engine: Engine,
}

struct Node {
    disk: SimDisk,
    clock: Arc<SimClock>,
    rng: Arc<SimRng>,
    life: Option<Life>,
    /// Nobody starts it for now.
    held: bool,
}

impl Node {
    fn new(rng: &SimRng, start: Instant, rate_ppm: i64) -> Self {
        Self {
            disk: SimDisk::new(rng.below(u64::MAX)),
            clock: SimClock::new(start, rate_ppm),
            rng: SimRng::new(rng.below(u64::MAX)),
            life: None,
            held: false,
        }
    }
}

pub(crate) struct World {
    start: Instant,
    pub(crate) net: Arc<SimNet>,
    /// For the nemesis and the clients.
    pub(crate) rng: Arc<SimRng>,
    nodes: BTreeMap<RegionId, Node>,
    members: Members,
    /// Pages of the index that nodes keep in memory, from their next start on.
    pub(crate) index_cache_bytes: usize,
}

pub(crate) fn info(id: RegionId) -> RegionInfo {
    RegionInfo {
        id,
        city: id.to_string(),
        coordinates: Coordinates { lat: f64::from(id.to_u16() % 90), lon: 0.0 },
        geography: "eu".to_owned(),
        failure_domain: id.to_string(),
        role: Role::Full,
        voter: true,
    }
}

/// How fast a machine counts time, within what leases allow for.
fn rate_ppm(seed: u64, n: u64) -> i64 {
    const WITHIN: u64 = godwit::limits::LEASE_RATE_PPM as u64;
    let drawn = SimRng::new(seed.wrapping_mul(31).wrapping_add(n)).below(2 * WITHIN - 1);
    i64::try_from(drawn).unwrap() - i64::try_from(WITHIN).unwrap() + 1
}

/// `GODWIT_INDEX_CACHE=0`: every look into an index is a read of its disk, which may fail.
fn index_cache_bytes() -> usize {
    let asked = std::env::var("GODWIT_INDEX_CACHE").ok();
    asked.map_or(64 << 20, |bytes| bytes.parse().unwrap())
}

impl World {
    /// Nodes in these regions, all started.
    pub(crate) async fn start(seed: u64, codes: &[&str]) -> Self {
        let rng = SimRng::new(seed);
        let start = Instant::now();
        let regions: Vec<RegionId> = codes.iter().map(|code| code.parse().unwrap()).collect();
        let infos = regions.iter().copied().map(info).collect();
        let mut nodes = BTreeMap::new();
        for (n, region) in regions.iter().enumerate() {
            let rate_ppm = rate_ppm(seed, n as u64);
            nodes.insert(*region, Node::new(&rng, start, rate_ppm));
        }
        let net = SimNet::new(SimRng::new(rng.below(u64::MAX)), ONE_WAY);
        let members = Members::new(ClusterId([7; 16]), infos).unwrap();
        let index_cache_bytes = index_cache_bytes();
        let mut world = Self { start, net, rng, nodes, members, index_cache_bytes };
        for region in &regions {
            world.boot(*region).await;
        }
        world
    }

    pub(crate) fn regions(&self) -> Vec<RegionId> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn pick(&self) -> RegionId {
        let regions = self.regions();
        regions[usize::try_from(self.rng.below(regions.len() as u64)).unwrap()]
    }

    pub(crate) fn is_up(&self, region: RegionId) -> bool {
        self.nodes[&region].life.is_some()
    }

    /// A new node that knows these members; whatever had its code is gone.
    pub(crate) async fn join(&mut self, region: RegionId, members: Members) {
        self.retire(region);
        self.members = members;
        self.nodes.insert(region, Node::new(&self.rng, self.start, 0));
        self.boot(region).await;
    }

    /// A node is stopped for good, its disk with it.
    pub(crate) fn retire(&mut self, region: RegionId) {
        if self.nodes.contains_key(&region) {
            self.crash(region);
            self.nodes.remove(&region);
        }
    }

    /// A node that is down stays down until it is started by name.
    pub(crate) fn hold(&mut self, region: RegionId, held: bool) {
        self.nodes.get_mut(&region).unwrap().held = held;
    }

    pub(crate) fn is_held(&self, region: RegionId) -> bool {
        self.nodes[&region].held
    }

    /// Starts a node on what its disk has.
    pub(crate) async fn boot(&mut self, region: RegionId) {
        let node = self.nodes.get_mut(&region).unwrap();
        assert!(node.life.is_none(), "{region} runs already");
        let tasks: Arc<SimTasks> = Arc::default();
        let env = Env {
            clock: node.clock.clone(),
            rng: node.rng.clone(),
            tasks: tasks.clone(),
            disk: Arc::new(node.disk.clone()),
        };
        let mut options = store::Options::new(PathBuf::from("/data"), region);
        options.segment_bytes = 16 << 20;
        options.checkpoint_interval = Duration::from_secs(5);
        options.index_cache_bytes = self.index_cache_bytes;
        let (store, report) = Store::open(env.clone(), options).await.unwrap();
        assert!(
            report.damage.is_empty(),
            "{region}: nothing that was synced is damaged by a crash"
        );
        let handler = Handler::new();
        let peers = Arc::new(SimPeers { net: self.net.clone(), me: region });
        let options = ClusterOptions {
            placement_interval: Duration::from_secs(1),
            placement: PlacementConfig {
                stay_min: Duration::from_secs(5),
                threshold_factor: 0.2,
                ..PlacementConfig::default()
            },
            ..ClusterOptions::default()
        };
        let members = self.members.clone();
        let cluster = Cluster::start(env, store, peers, &handler, members, options).await.unwrap();
        let engine_options = engine::Options { copies: 2, ..engine::Options::default() };
        let engine = Engine::new(cluster.clone(), engine_options);
        self.net.join(region, handler, tasks.clone());
        node.life = Some(Life { tasks, cluster, engine });
    }

    /// Power fails at one node: tasks end where they stand, what was not synced is torn or lost.
    pub(crate) fn crash(&mut self, region: RegionId) {
        let node = self.nodes.get_mut(&region).unwrap();
        let Some(life) = node.life.take() else { return };
        self.net.leave(region);
        life.tasks.kill();
        node.disk.crash();
        // Who starts it again sees to it that there is room.
        node.disk.set_capacity(u64::MAX);
    }

    /// A clock goes wrong, or right again: so much ahead, and so much a thousand seconds.
    pub(crate) fn skew(&self, region: RegionId, skew_ms: i64, drift: i64) {
        self.nodes[&region].clock.set_wrong(skew_ms, drift);
    }

    /// Nothing of a node runs for a while, and then all of it goes on.
    pub(crate) fn pause(&self, region: RegionId, pause: Duration) {
        if let Some(life) = &self.nodes[&region].life {
            life.tasks.pause(Instant::now() + pause);
        }
    }

    /// A node's disk has next to no room any more.
    pub(crate) fn fill_disk(&self, region: RegionId) {
        if self.is_up(region) {
            let disk = self.disk(region);
            disk.set_capacity(disk.used() + self.rng.below(4 << 20));
        }
    }

    /// A node's disk begins to fail in one of these places.
    pub(crate) fn fail_disk(&self, region: RegionId, fault: Fault, places: [&'static str; 3]) {
        if self.is_up(region) {
            let place = places[usize::try_from(self.rng.below(3)).unwrap()];
            self.disk(region).fail_in(fault, place, self.rng.below(20));
        }
    }

    /// A node's disk is well again; where it failed for good, the node goes down to be started again.
    pub(crate) fn mend_disk(&mut self, region: RegionId) {
        self.disk(region).heal();
        self.disk(region).set_capacity(u64::MAX);
        let failed =
            |life: &Life| matches!(life.cluster.store().trouble(), Some(store::Trouble::Failed(_)));
        if self.nodes[&region].life.as_ref().is_some_and(failed) {
            self.crash(region);
        }
    }

    pub(crate) fn disk(&self, region: RegionId) -> &SimDisk {
        &self.nodes[&region].disk
    }

    pub(crate) fn slow_disk(&self, region: RegionId, times: u32) {
        self.nodes[&region].disk.set_slowness(times);
    }

    pub(crate) fn engine(&self, region: RegionId) -> Engine {
        self.nodes[&region].life.as_ref().expect("the node runs").engine.clone()
    }

    pub(crate) fn cluster(&self, region: RegionId) -> Cluster {
        self.nodes[&region].life.as_ref().expect("the node runs").cluster.clone()
    }

    /// Runs a client's request, which dies with the node that it is sent to.
    pub(crate) fn run_on(&self, region: RegionId, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(life) = &self.nodes[&region].life {
            life.tasks.spawn("client", Box::pin(work));
        }
    }
}

/// A node's handler holds its cluster, which holds the network, which holds the handlers: a world that
/// is over would keep its memory.
impl Drop for World {
    fn drop(&mut self) {
        for region in self.regions() {
            self.crash(region);
        }
    }
}
