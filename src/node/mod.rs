//! One node: everything below wired together, started and stopped in order.
//!
//! Start: store (which replays its log), mesh, drivers, engine, fronts, then ready. Stop: not
//! ready, accept nothing more and finish what is in flight, background jobs, drivers, mesh,
//! checkpoint. Invariant: what is started later may use what was started earlier, never the other
//! way round.

mod anycast;
pub mod audit;
mod certs;
pub mod dev;
mod door;
pub mod env;
mod error;
mod events;
mod figures;
mod files;
mod fleet;
mod front_tls;
mod http;
pub mod identity;
pub mod join;
mod join_token;
pub(crate) mod keyring;
mod office;
mod ops;
pub mod otlp;
mod readiness;
mod settings;
mod shutdown;
mod tasks;
pub(crate) mod trust;
pub mod webhooks;
mod wires;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ::http::HeaderValue;
use tokio::net::TcpListener;
use tracing::{debug, info, warn};

use crate::admin::dev::Playground;
use crate::admin::regions::MakeToken;
use crate::admin::{Admin, AdminOptions};
use crate::cluster::{self, Cluster, ClusterOptions, Members};
use crate::console::{Console, Told};
use crate::engine::{self, Engine, Expirer, Keeper};
use crate::env::{Env, Peers};
use crate::logic::keyring::Keyring;
use crate::net::{Mesh, MeshOptions};
use crate::obs::Metrics;
use crate::obs::audit::{Audit, AuditMetrics};
use crate::obs::flow::{TraceMetrics, Tracer};
use crate::s3::{self, feed::Feed};
use crate::store::{self, Store, Trouble};
use crate::types::region::RegionId;

pub use audit::AuditOptions;
pub use certs::CertOptions;
use certs::Certs;
pub(crate) use certs::in_directory as certificate_in;
pub use door::Door;
pub use error::NodeError;
use figures::Figures;
use http::Handler;
use identity::{Charter, FirstKey, Identity};
use office::Office;
pub use otlp::TraceOptions;
use readiness::Readiness;
use shutdown::{Stop, Stopper};
use tasks::{Job, Round};
use webhooks::Webhooks;

/// What a node is made of.
pub struct NodeOptions {
    pub store: store::Options,
    pub identity: Identity,
    /// The cluster's authority, on a node that has it.
    pub charter: Option<Charter>,
    pub certs: CertOptions,
    pub mesh: MeshOptions,
    pub cluster: ClusterOptions,
    pub engine: engine::Options,
    /// Of SSE-S3 and SSE-KMS.
    pub keyring: Keyring,
    /// Destinations of bucket notifications.
    pub webhooks: Webhooks,
    pub s3: s3::Options,
    pub audit: AuditOptions,
    pub trace: TraceOptions,
    /// What clients are told to use; without it, the address of the S3 listener.
    pub endpoint: Option<String>,
    /// The regions of `godwit dev`.
    pub playground: Playground,
    /// What stands before the HTTP of the S3 port and the console.
    pub door: Door,
    pub stop_grace: Duration,
}

/// The listeners of a node, bound before anything is opened, so that a port in use is told at once.
pub struct Listeners {
    pub s3: TcpListener,
    pub ops: TcpListener,
    /// Of the web console, where the node has one.
    pub console: Option<TcpListener>,
}

impl Listeners {
    pub async fn bind(s3: SocketAddr, ops: SocketAddr) -> Result<Self, NodeError> {
        Ok(Self { s3: bind(s3).await?, ops: bind(ops).await?, console: None })
    }

    /// With the web console.
    pub async fn with_console(mut self, console: SocketAddr) -> Result<Self, NodeError> {
        self.console = Some(bind(console).await?);
        Ok(self)
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, NodeError> {
    http::bind(address).await.map_err(|source| NodeError::Bind { address, source })
}

/// A running node.
pub struct Node {
    env: Env,
    audit: Audit,
    region: RegionId,
    store: Store,
    mesh: Arc<Mesh>,
    cluster: Cluster,
    engine: Engine,
    s3: s3::Service,
    handler: Handler,
    readiness: Readiness,
    feed: Feed,
    fronts: Stopper,
    jobs: Stopper,
    stop_grace: Duration,
}

/// Between two rounds of the store's clean-up.
const MAINTAIN_EVERY: Duration = Duration::from_secs(5);

/// Between two looks at the state of the disk.
const WATCH_DISK_EVERY: Duration = Duration::from_secs(1);

/// A part that came after the end of its upload waits this long for its clean-up.
const END_PARTS_EVERY: Duration = Duration::from_secs(60);

/// Pauses between attempts to make the first key known.
const HAND_IN_PAUSE_MIN: Duration = Duration::from_millis(200);
const HAND_IN_PAUSE_MAX: Duration = Duration::from_secs(2);

/// What the last steps of a stop may take.
const JOBS_GRACE: Duration = Duration::from_secs(10);

impl Node {
    /// Starts everything; when this returns the node answers requests.
    pub async fn start(
        env: Env,
        options: NodeOptions,
        listeners: Listeners,
    ) -> Result<Self, NodeError> {
        let region = options.identity.region;
        let readiness = Readiness::starting();
        let metrics = Arc::new(Metrics::new());
        let (fronts, jobs) = (Stopper::new(), Stopper::new());
        // Health answers from the first moment, so that a slow replay is seen as such.
        let known = Arc::new(OnceLock::new());
        let ops = ops::handler(metrics.clone(), readiness.clone(), known.clone());
        env.spawn("ops", http::serve(env.clone(), listeners.ops, ops, jobs.stop()));
        let dir = options.store.dir.clone();
        let (store, report) = Store::open(env.clone(), options.store).await?;
        info!(%region, ?report, "store open");
        let members = options.identity.members.clone();
        let tracer = start_traces(&env, region, &options.trace, &metrics, jobs.stop())?;
        let drivers = ClusterOptions { tracer: tracer.clone(), ..options.cluster };
        let (mesh, cluster) = join(&store, options.mesh, members, drivers, &metrics).await?;
        let _ = known.set(cluster.clone());
        events::start(&env, &dir, &cluster, jobs.stop()).await;
        let engine = Engine::new(cluster.clone(), options.engine).with_keyring(options.keyring);
        let engine = engine.with_courier(Arc::new(options.webhooks));

        let (charter, identity) = (options.charter.clone(), options.identity.clone());
        open_office(&cluster, &mesh, &options.certs, &charter);
        let certs = Certs::new(&env, options.certs, mesh.clone(), charter, identity)?;

        let endpoint = options.endpoint;
        let endpoint = endpoint.unwrap_or_else(|| endpoint_of(&listeners.s3, &options.door));
        let feed = options.s3.feed.clone();
        let audit = start_audit(&env, &options.audit, &metrics, jobs.stop())?;
        let told = AdminOptions {
            endpoint: endpoint.clone(),
            operator: options.identity.operator(),
            metrics: metrics.clone(),
            feed: feed.clone(),
            audit: audit.clone(),
            tokens: options.charter.map(|charter| tokens(&env, charter)),
            playground: options.playground,
            certificates: certs.clone(),
        };
        let s3 = s3::Options { audit: audit.clone(), tracer, ..options.s3 };
        let s3 = front(&engine, s3, Admin::new(engine.clone(), told), readiness.clone());
        metrics.add(s3.metrics());
        Figures::show(&metrics, &cluster, &readiness);
        let handler = handler_of(s3.clone());
        let told = telling(&audit, region);
        let console = Console::new(env.clone(), handler.clone(), endpoint, told);
        let at = (listeners.s3, listeners.console);
        start_fronts(&env, at, (handler.clone(), console), &options.door, &fronts);
        start_jobs(&store, &engine, &s3, options.identity.first_key, &jobs);
        start_looks(&engine, (&metrics, &readiness), &certs, &options.door, &jobs);
        readiness.set_ready();
        info!(%region, "ready");
        Ok(Self {
            env,
            audit,
            region,
            store,
            mesh,
            cluster,
            engine,
            s3,
            handler,
            readiness,
            feed,
            fronts,
            jobs,
            stop_grace: options.stop_grace,
        })
    }

    pub fn region(&self) -> RegionId {
        self.region
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What the console in front of it tells of sign-ins.
    pub(crate) fn told(&self) -> (Audit, RegionId) {
        (self.audit.clone(), self.region)
    }

    /// What its S3 listener does with a request.
    pub(crate) fn handler(&self) -> Handler {
        self.handler.clone()
    }

    pub(crate) fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Stops in order. What was answered is on disk whatever happens here; a clean stop makes the
    /// next start quick.
    pub async fn stop(self) {
        let region = self.region;
        self.readiness.set_not_ready("stopping");
        events::stops(&self.cluster);
        self.feed.close();
        if self.fronts.finish(&self.env, self.stop_grace).await.is_err() {
            warn!(%region, "requests were cut off after the grace time");
        }
        if self.jobs.finish(&self.env, JOBS_GRACE).await.is_err() {
            warn!(%region, "a background job did not end in time");
        }
        if self.env.timeout(JOBS_GRACE, self.s3.deliver_logs(true)).await.is_err() {
            warn!(%region, "access logs were not delivered in time; they are lost");
        }
        self.cluster.stop().await;
        self.mesh.stop().await;
        match self.store.close().await {
            Ok(()) => info!(%region, "stopped"),
            Err(error) => warn!(%region, %error, "no checkpoint; the next start replays the log"),
        }
    }
}

/// The mesh, and the drivers that speak over it.
async fn join(
    store: &Store,
    mesh: MeshOptions,
    members: Members,
    options: ClusterOptions,
    metrics: &Metrics,
) -> Result<(Arc<Mesh>, Cluster), NodeError> {
    let (env, handler) = (store.env(), cluster::Handler::new());
    let mesh = Mesh::start(env.clone(), mesh, handler.clone())
        .map_err(|error| NodeError::Mesh(error.to_string()))?;
    let (peers, store): (Arc<dyn Peers>, _) = (mesh.clone(), store.clone());
    let cluster =
        Box::pin(Cluster::start(env.clone(), store, peers, &handler, members, options)).await?;
    metrics.add(cluster.metrics());
    metrics.add(cluster.notify_metrics());
    metrics.add(mesh.metrics());
    Ok((mesh, cluster))
}

/// What clients are told where the settings do not say it.
fn endpoint_of(s3: &TcpListener, door: &Door) -> String {
    let address = s3.local_addr().map(|address| address.to_string());
    let scheme = if door.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", address.unwrap_or_else(|_| "127.0.0.1:8080".to_owned()))
}

fn handler_of(s3: s3::Service) -> Handler {
    Arc::new(move |request, client| {
        let s3 = s3.clone();
        Box::pin(async move { s3.call(request, client).await })
    })
}

/// Makes tokens for new regions by the cluster's authority.
fn tokens(env: &Env, charter: Charter) -> MakeToken {
    let env = env.clone();
    Arc::new(move |region, members, life| {
        let token = charter.join_token(&env, region, life, members);
        (token.to_text(), token.expires_ms)
    })
}

/// Lets others ask for certificates, where this node has the cluster's authority.
fn open_office(cluster: &Cluster, mesh: &Mesh, options: &CertOptions, charter: &Option<Charter>) {
    let Some(charter) = charter.clone() else { return };
    let (now, options) = (cluster.clone(), options.clone());
    let members = Arc::new(move || Members::clone(&now.members()));
    let office = Office::new(cluster.env(), options.home, charter, options.life, members);
    mesh.certify_by(Arc::new(office));
}

/// The S3 front, with the admin API for what is not S3.
fn front(engine: &Engine, options: s3::Options, admin: Admin, readiness: Readiness) -> s3::Service {
    let own: s3::Own = Arc::new(move |s3: s3::Service, request, client| {
        let (admin, not_ready) = (admin.clone(), readiness.reason());
        Box::pin(async move { admin.call(&s3, request, client, not_ready).await })
    });
    s3::Service::new(engine.env().clone(), Arc::new(engine.clone()), options, own)
}

/// The audit log; a file that cannot be opened is told at once.
fn start_audit(
    env: &Env,
    options: &AuditOptions,
    metrics: &Metrics,
    stop: Stop,
) -> Result<Audit, NodeError> {
    let counts = AuditMetrics::default();
    metrics.add(&counts);
    audit::start(env, options, &counts, stop).map_err(|source| {
        let what = match &options.to {
            audit::AuditTo::File(path) => path.display().to_string(),
            audit::AuditTo::Off | audit::AuditTo::Log => "the audit log".to_owned(),
        };
        NodeError::File { what, source }
    })
}

/// What takes spans, and what sends them.
fn start_traces(
    env: &Env,
    region: RegionId,
    options: &TraceOptions,
    metrics: &Metrics,
    stop: Stop,
) -> Result<Tracer, NodeError> {
    let counts = TraceMetrics::default();
    metrics.add(&counts);
    otlp::start(env, region, options, &counts, stop)
}

/// Serves S3 and, where there is a port for it, the web console.
fn start_fronts(
    env: &Env,
    (s3, console_at): (TcpListener, Option<TcpListener>),
    (handler, console): (Handler, Console),
    door: &Door,
    fronts: &Stopper,
) {
    if let Some(listener) = console_at {
        start_console(env, listener, console, &door.without_proxies(), fronts.stop());
    }
    env.spawn("s3", http::serve_behind(env.clone(), s3, handler, door, fronts.stop()));
}

/// Sign-ins at the console of this node are told here.
fn telling(audit: &Audit, region: RegionId) -> Told {
    let audit = audit.clone();
    Arc::new(move || Some((audit.clone(), region)))
}

/// Serves the web console.
fn start_console(env: &Env, listener: TcpListener, console: Console, door: &Door, stop: Stop) {
    let handler: Handler = Arc::new(move |mut request, client| {
        let console = console.clone();
        if request.extensions().get::<s3::OverTls>().is_some() {
            // Its cookie is to go over TLS alone then.
            let https = HeaderValue::from_static("https");
            request.headers_mut().insert("x-forwarded-proto", https);
        }
        Box::pin(async move { console.call(request, client).await })
    });
    env.spawn("console", http::serve_behind(env.clone(), listener, handler, door, stop));
}

/// Makes the cluster's first key known, as soon as enough regions are there to keep it. A key that
/// was revoked since stays revoked.
async fn hand_in(env: Env, engine: Engine, key: FirstKey, mut stop: Stop) {
    let mut pause = HAND_IN_PAUSE_MIN;
    loop {
        let known = engine.access_key(&key.access_key).await;
        if matches!(known, Ok(Some(_))) {
            return;
        }
        match engine.adopt_access_key(&key.access_key, key.record.clone()).await {
            Ok(()) => return,
            Err(error) => debug!(%error, "the first key is not known yet"),
        }
        tokio::select! {
            biased;
            () = stop.called() => return,
            () = env.sleep(pause) => pause = (pause * 2).min(HAND_IN_PAUSE_MAX),
        }
    }
}

/// Everything that goes on without a request.
fn start_jobs(
    store: &Store,
    engine: &Engine,
    s3: &s3::Service,
    first_key: Option<FirstKey>,
    jobs: &Stopper,
) {
    let env = engine.env();
    tasks::start(env, background(store, engine, s3), &jobs.stop());
    env.spawn("notifications", notify(engine.clone(), jobs.stop()));
    if let Some(key) = first_key {
        env.spawn("first key", hand_in(env.clone(), engine.clone(), key, jobs.stop()));
    }
}

/// Everything that is looked at again and again.
fn start_looks(
    engine: &Engine,
    (metrics, readiness): (&Metrics, &Readiness),
    certs: &Arc<Certs>,
    door: &Door,
    jobs: &Stopper,
) {
    let left = certs.show(metrics);
    let cluster = engine.cluster();
    let [lifecycle, undo] = walks(engine, metrics);
    let membership = membership(cluster.clone(), readiness.clone());
    let watch = watch_disk(cluster.store().clone(), readiness.clone());
    let mut looks = vec![lifecycle, undo, membership, watch, certs.job()];
    looks.extend(door.looks(metrics, &left));
    tasks::start(engine.env(), looks, &jobs.stop());
}

/// Delivers events until the node stops.
async fn notify(engine: Engine, mut stop: Stop) {
    engine.deliver_events(stop.called()).await;
}

/// Says in the log and in the node's readiness what is wrong with its disk.
fn watch_disk(store: Store, readiness: Readiness) -> Job {
    let told = Arc::new(Mutex::new(None));
    let round = move || -> crate::env::BoxFuture<'static, Round> {
        let trouble = store.trouble();
        let (reason, kind) = match &trouble {
            None => (None, None),
            Some(Trouble::Full) => (None, Some("full")),
            Some(Trouble::NoRoom) => (Some("the disk is full"), Some("no room")),
            Some(Trouble::Failed(_)) => {
                (Some("the disk failed; start the node again"), Some("failed"))
            }
            Some(Trouble::Stalled { .. }) => (Some("the disk does not answer"), Some("stalled")),
            Some(Trouble::Unread(_)) => (Some("the index cannot be read"), Some("unread")),
        };
        readiness.set_disk(reason);
        let before =
            std::mem::replace(&mut *told.lock().unwrap_or_else(PoisonError::into_inner), kind);
        match trouble {
            Some(trouble) if before != kind => warn!(%trouble, "the disk is in trouble"),
            None if before.is_some() => info!("the disk is well again"),
            Some(_) | None => {}
        }
        Box::pin(std::future::ready(Round::Idle))
    };
    Job { name: "disk watch", every: WATCH_DISK_EVERY, round: Box::new(round) }
}

/// What goes over all that is kept, again and again.
fn walks(engine: &Engine, metrics: &Metrics) -> [Job; 2] {
    let expirer = Arc::new(Expirer::new(engine));
    metrics.add(expirer.metrics());
    let keeper = Arc::new(Keeper::new(engine));
    metrics.add(keeper.metrics());
    [lifecycle(expirer), undo(keeper)]
}

/// Runs lifecycle rules.
fn lifecycle(expirer: Arc<Expirer>) -> Job {
    let every = expirer.every();
    let round = move || -> crate::env::BoxFuture<'static, Round> {
        let expirer = expirer.clone();
        Box::pin(async move {
            match expirer.round().await {
                Ok(true) => Round::More,
                Ok(false) => Round::Idle,
                Err(error) => {
                    warn!(%error, "lifecycle rules could not be run; tried again later");
                    Round::Idle
                }
            }
        })
    };
    Job { name: "lifecycle rules", every, round: Box::new(round) }
}

/// A node whose region was removed gets no requests any more.
fn membership(cluster: Cluster, readiness: Readiness) -> Job {
    let round = move || -> crate::env::BoxFuture<'static, Round> {
        if cluster.gone().is_some() {
            readiness.set_not_ready("this region was removed from its cluster");
        }
        Box::pin(std::future::ready(Round::Idle))
    };
    let every = crate::limits::MEMBERS_INTERVAL;
    Job { name: "membership", every, round: Box::new(round) }
}

/// Ends what was kept for long enough.
fn undo(keeper: Arc<Keeper>) -> Job {
    let round = move || -> crate::env::BoxFuture<'static, Round> {
        let keeper = keeper.clone();
        Box::pin(async move {
            match keeper.round().await {
                Ok(true) => Round::More,
                Ok(false) => Round::Idle,
                Err(error) => {
                    warn!(%error, "what is kept could not be looked at; tried again later");
                    Round::Idle
                }
            }
        })
    };
    Job { name: "undo windows", every: crate::limits::KEPT_INTERVAL, round: Box::new(round) }
}

/// The node's background jobs. The drivers between regions have tasks of their own.
fn background(store: &Store, engine: &Engine, s3: &s3::Service) -> Vec<Job> {
    let (store, engine, s3) = (store.clone(), engine.clone(), s3.clone());
    let maintain = move || -> crate::env::BoxFuture<'static, Round> {
        let store = store.clone();
        Box::pin(async move {
            match store.maintain().await {
                Ok(true) => Round::More,
                Ok(false) => Round::Idle,
                Err(error) => {
                    warn!(%error, "clean-up of the store failed; tried again later");
                    Round::Idle
                }
            }
        })
    };
    let end_parts = move || -> crate::env::BoxFuture<'static, Round> {
        let engine = engine.clone();
        Box::pin(async move {
            if let Err(error) = engine.end_late_parts().await {
                warn!(%error, "clean-up after uploads failed; tried again later");
            }
            if let Err(error) = engine.end_soft_deleted_buckets().await {
                warn!(%error, "names of deleted buckets are not free yet; tried again later");
            }
            Round::Idle
        })
    };
    let deliver_logs = move || -> crate::env::BoxFuture<'static, Round> {
        let s3 = s3.clone();
        Box::pin(async move {
            s3.deliver_logs(false).await;
            Round::Idle
        })
    };
    vec![
        Job {
            name: "access logs",
            every: crate::limits::LOG_LOOK_EVERY,
            round: Box::new(deliver_logs),
        },
        Job { name: "store clean-up", every: MAINTAIN_EVERY, round: Box::new(maintain) },
        Job {
            name: "uploads and names clean-up",
            every: END_PARTS_EVERY,
            round: Box::new(end_parts),
        },
    ]
}
