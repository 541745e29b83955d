//! A cluster of one region over a directory of its own, real from the engine down.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use godwit::cluster::{Cluster, ClusterOptions, Handler, Members};
use godwit::engine::{Engine, NewAccessKey, Options};
use godwit::env::{BoxFuture, Class, Env, PeerError, Peers};
use godwit::node::env;
use godwit::store::{self, Store};
use godwit::types::id::ClusterId;
use godwit::types::record::KeyScope;
use godwit::types::region::{Coordinates, RegionId, RegionInfo, Role};

pub const REGION: &str = "fra";

/// Nobody is there.
struct Alone;

impl Peers for Alone {
    fn call(
        &self,
        _to: RegionId,
        _class: Class,
        _request: Bytes,
        _deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        Box::pin(async { Err(PeerError::Unreachable) })
    }

    fn datagram(&self, _to: RegionId, _data: Bytes) {}

    fn rtt(&self, _to: RegionId) -> Option<Duration> {
        None
    }

    fn is_connected(&self, _to: RegionId) -> bool {
        false
    }
}

/// One node with its engine.
pub struct Node {
    pub engine: Engine,
    pub cluster: Cluster,
    pub env: Env,
    pub dir: TempDir,
}

impl Node {
    pub async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap()).await
    }

    pub async fn start_in(dir: TempDir) -> Self {
        let env = env::real(&tokio::runtime::Handle::current(), dir.path());
        let cluster = start_cluster(&env, dir.path()).await;
        let engine = Engine::new(cluster.clone(), Options::default());
        Self { engine, cluster, env, dir }
    }

    /// Stops the node and starts it again on the same data.
    pub async fn restart(self) -> Self {
        let Self { engine, cluster, env, dir } = self;
        cluster.stop().await;
        cluster.store().close().await.unwrap();
        drop((engine, cluster, env));
        Self::start_in(dir).await
    }

    pub async fn admin_key(&self) -> NewAccessKey {
        self.engine.create_access_key(None, KeyScope::Admin).await.unwrap()
    }
}

/// Opens the store; the tasks of a node that was just stopped may hold it for a moment.
async fn open(env: &Env, options: store::Options) -> Store {
    let deadline = env.monotonic() + Duration::from_secs(10);
    loop {
        match Store::open(env.clone(), options.clone()).await {
            Ok((store, _report)) => return store,
            Err(why) if env.monotonic() > deadline => panic!("{why}"),
            Err(_) => env.sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn start_cluster(env: &Env, dir: &Path) -> Cluster {
    let region: RegionId = REGION.parse().unwrap();
    let mut options = store::Options::new(dir.join("data"), region);
    options.segment_bytes = 16 << 20;
    let store = open(env, options).await;
    let info = RegionInfo {
        id: region,
        city: "Frankfurt".into(),
        coordinates: Coordinates { lat: 50.1, lon: 8.7 },
        geography: "eu".into(),
        failure_domain: "fra".into(),
        role: Role::Full,
        voter: true,
    };
    let members = Members::new(ClusterId([7; 16]), vec![info]).unwrap();
    let handler = Handler::new();
    let peers: Arc<dyn Peers> = Arc::new(Alone);
    let options = ClusterOptions::default();
    Cluster::start(env.clone(), store, peers, &handler, members, options).await.unwrap()
}
