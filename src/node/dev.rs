//! `godwit dev`: a whole cluster in one process, for a look, for demonstrations and for tests.
//!
//! Every region is a real node with its own directory, store, QUIC endpoint and listeners on
//! loopback; only the wide area between them is emulated. Ports: the first is the global
//! endpoint's; region i (from 1) has S3 and admin API at `first + i`, metrics and health at `first
//! + 10 + i`, and its mesh at UDP `first + i`; the web console is at 8081, or at `first + 10`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tracing::warn;

use crate::admin::dev::Playing;
use crate::cluster::ClusterOptions;
use crate::config::{self, Regions};
use crate::console::Console;
use crate::engine::{self, Engine};
use crate::env::Env;
use crate::limits;
use crate::logic::keyring::Keyring;
use crate::logic::placement::PlacementConfig;
use crate::net::MeshOptions;
use crate::s3;
use crate::store;
use crate::types::region::{RegionId, RegionInfo};

use super::anycast::Anycast;
use super::audit::{AuditOptions, AuditTo};
use super::certs::CertOptions;
use super::door::Door;
use super::fleet::{Fleet, Make};
use super::identity::{self, Charter, FirstKey};
use super::otlp::TraceOptions;
use super::shutdown::Stopper;
use super::webhooks::Webhooks;
use super::wires::Wires;
use super::{Listeners, Node, NodeError, NodeOptions, files, http, keyring};

/// The first port when none is given.
pub const PORT_DEFAULT: u16 = 9000;

/// Regions that `--regions N` takes, in this order.
pub const REGIONS: [&str; 9] = ["iad", "fra", "nrt", "syd", "gru", "lhr", "sin", "lax", "jnb"];

/// How many of them when nothing is said.
pub const REGIONS_DEFAULT: usize = 3;

/// Where the ports of metrics and health begin, after the first port.
const OPS_OFFSET: u16 = 10;

/// Where the console is unless ports are chosen.
const CONSOLE_PORT: u16 = 8081;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// `None`: those of the directory, else the first three.
    pub regions: Option<Vec<RegionId>>,
    /// `None`: that of the directory, else [`PORT_DEFAULT`].
    pub port: Option<u16>,
    /// An existing directory.
    pub dir: PathBuf,
    /// Delays of the wide area between the regions.
    pub wan: bool,
    /// Keys of SSE-S3 and SSE-KMS; where it says nothing, one is made in `dir`.
    pub encryption: config::Encryption,
    /// How long a day of lifecycle rules is, where it is no day.
    pub lifecycle_day: Option<Duration>,
    /// Destinations of bucket notifications, the same for all regions.
    pub notify: config::Notify,
    /// Where audit logs go; of a file each region has its own, with its code at the end.
    pub audit: config::Audit,
    /// Where traces go.
    pub trace: config::Trace,
    /// Requests that take longer leave a line.
    pub slow: Duration,
}

/// What `godwit dev --json` prints: the line that programs wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Announcement {
    pub endpoint: String,
    /// The web console.
    pub console: String,
    pub access_key: String,
    pub secret_key: String,
    pub regions: Vec<AnnouncedRegion>,
}

/// One region in [`Announcement`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnnouncedRegion {
    pub code: RegionId,
    /// Its own S3 endpoint.
    pub s3: String,
    /// Metrics and health.
    pub admin: String,
    pub pid: u32,
}

/// A running cluster.
pub struct Dev {
    env: Env,
    fleet: Arc<Fleet>,
    front: Stopper,
    announcement: Announcement,
}

impl Dev {
    /// Starts all regions, and returns when every one is ready and the key works everywhere.
    pub async fn start(env: Env, options: DevOptions) -> Result<Self, NodeError> {
        let remembered = files::load(&env, &options.dir, REMEMBERED_FILE);
        let charter = Charter::load(&env, &options.dir)?;
        let remembered = remembered.map_err(|source| file(&options.dir, source))?;
        let (plan, charter) = match (remembered, charter) {
            (Some(remembered), Some(charter)) => (again(&options, remembered)?, charter),
            _ => fresh(&env, &options)?,
        };
        // Ports first: one that is taken is told before anything is written.
        let global = super::bind(plan.global()).await?;
        let mut listeners = Vec::new();
        for index in 0..plan.regions.len() {
            listeners.push(Listeners::bind(plan.s3(index), plan.ops(index)).await?);
        }
        let console = bind_console(&plan, options.port.is_none()).await?;
        charter.save(&env, &options.dir)?;
        files::save(&env, &options.dir, REMEMBERED_FILE, &plan)
            .map_err(|source| file(&options.dir, source))?;
        let keyring = keyring::of_dev(&env, &options.dir, &options.encryption)?;
        let meshes = plan.regions.iter().enumerate().map(|(index, code)| (*code, plan.mesh(index)));
        let meshes: Vec<(RegionId, SocketAddr)> = meshes.collect();
        let wires = options.wan.then(|| Arc::new(Wires::new(&meshes, charter.members())));
        let parts = Arc::new(Parts { env, options, plan, charter, keyring, wires });
        let fleet = parts.fleet();
        let starts = listeners.into_iter().enumerate().map(|(index, listeners)| {
            let (parts, fleet) = (parts.clone(), fleet.clone());
            async move { Box::pin(parts.start(index, listeners, fleet)).await }
        });
        for node in futures_util::future::try_join_all(starts).await? {
            fleet.put(node);
        }
        let dev = Self::front(&parts, fleet, Doors { global, console })?;
        dev.settle(&parts.charter).await?;
        Ok(dev)
    }

    fn front(parts: &Parts, fleet: Arc<Fleet>, doors: Doors) -> Result<Self, NodeError> {
        let Parts { env, plan, charter, .. } = parts;
        let env = env.clone();
        let front = Stopper::new();
        let sites = plan.regions.iter().filter_map(|region| {
            let info = charter.members().get(*region)?;
            Some(fleet.site(*region, info.coordinates))
        });
        let handler = Anycast::new(sites.collect(), Regions::built_in()).handler();
        let console = doors.console.local_addr();
        let console = console.map_err(|source| file("the console".as_ref(), source))?;
        let announcement = announcement(plan, charter, console);
        let (endpoint, stop) = (announcement.endpoint.clone(), front.stop());
        let console = Console::new(env.clone(), handler.clone(), endpoint, fleet.told());
        super::start_console(&env, doors.console, console, &Door::default(), stop);
        let global = http::serve(env.clone(), doors.global, handler, front.stop());
        env.spawn("global endpoint", global);
        Ok(Self { announcement, env, fleet, front })
    }

    /// Waits until the regions see each other, and hands in the key.
    async fn settle(&self, charter: &Charter) -> Result<(), NodeError> {
        let FirstKey { access_key, record } = charter.first_key();
        let deadline = self.env.monotonic() + SETTLE_MAX;
        loop {
            let engines = self.fleet.engines();
            let away = |engine: &Engine| {
                let regions = engine.regions();
                regions.iter().any(|r| r.peer.is_some_and(|peer| !peer.connected))
            };
            let connected = !engines.iter().any(away);
            let why = if connected {
                match engines[0].adopt_access_key(access_key, record.clone()).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error.to_string(),
                }
            } else {
                "the regions do not reach each other".to_owned()
            };
            if self.env.monotonic() > deadline {
                return Err(NodeError::Mesh(why));
            }
            self.env.sleep(SETTLE_STEP).await;
        }
    }

    /// What to print.
    pub fn announcement(&self) -> &Announcement {
        &self.announcement
    }

    /// Stops the global endpoint, then all nodes at the same time.
    pub async fn stop(self) {
        if self.front.finish(&self.env, STOP_GRACE).await.is_err() {
            warn!("requests at the global endpoint were cut off");
        }
        self.fleet.stop().await;
    }
}

/// What nodes of its regions are made of, again after a stop.
struct Parts {
    env: Env,
    options: DevOptions,
    plan: Plan,
    charter: Charter,
    keyring: Keyring,
    wires: Option<Arc<Wires>>,
}

impl Parts {
    /// The regions, none of which runs yet.
    fn fleet(self: &Arc<Self>) -> Arc<Fleet> {
        let dir = |region: &RegionId| (*region, self.dir(*region));
        let regions = self.plan.regions.iter().map(dir).collect();
        let parts = self.clone();
        let make: Make = Box::new(move |region, playing| {
            let parts = parts.clone();
            Box::pin(async move {
                let index = parts.plan.regions.iter().position(|code| *code == region);
                let index = index.expect("a fleet asks for its own regions");
                let (s3, ops) = (parts.plan.s3(index), parts.plan.ops(index));
                let listeners = Listeners::bind(s3, ops).await?;
                Box::pin(parts.start(index, listeners, playing)).await
            })
        });
        Fleet::new(self.env.clone(), self.wires.clone(), regions, make)
    }

    fn dir(&self, region: RegionId) -> PathBuf {
        self.options.dir.join(region.to_string())
    }

    async fn start(
        &self,
        index: usize,
        listeners: Listeners,
        playing: Arc<dyn Playing>,
    ) -> Result<Node, NodeError> {
        let options = self.node(index, playing)?;
        Node::start(self.env.clone(), options, listeners).await
    }

    /// One region's node.
    fn node(&self, index: usize, playing: Arc<dyn Playing>) -> Result<NodeOptions, NodeError> {
        let Self { env, options, plan, charter, keyring, wires } = self;
        let region = plan.regions[index];
        let dir = self.dir(region);
        env.disk.create_dir_all(&dir).map_err(|source| file(&dir, source))?;
        let identity = identity::of_charter(env, &dir, region, charter)?;
        let others = (0..plan.regions.len()).filter(|other| *other != index);
        let addresses = others.map(|other| (plan.regions[other], plan.mesh(other).to_string()));
        let mesh = MeshOptions {
            certificate: identity.certificate.clone(),
            bind: plan.mesh(index),
            addresses: addresses.collect(),
            members: plan.regions.clone(),
            mtu: None,
            joins: false,
            link: wires.as_ref().and_then(|wires| wires.link(region)),
        };
        let config::Notify { webhooks, ca } = &options.notify;
        let webhooks = Webhooks::new(env, webhooks, ca.as_deref());
        let mut s3 = s3::Options::new(region);
        s3.slow = options.slow;
        s3.auth.regions = plan.regions.iter().map(ToString::to_string).collect();
        Ok(NodeOptions {
            charter: Some(charter.clone()),
            certs: CertOptions { home: dir.clone(), life: limits::CERTIFICATE_LIFE },
            store: store::Options::new(dir.join("store"), region),
            mesh,
            identity,
            cluster: placement(),
            engine: engine_options(options.lifecycle_day),
            keyring: keyring.clone(),
            webhooks: webhooks.map_err(NodeError::Webhooks)?,
            s3,
            audit: audit(&options.audit, region),
            trace: TraceOptions::of(&options.trace),
            endpoint: Some(format!("http://{}", plan.global())),
            playground: Some(playing),
            door: Door::default(),
            stop_grace: STOP_GRACE,
        })
    }
}

/// The listeners in front of all regions.
struct Doors {
    global: TcpListener,
    console: TcpListener,
}

/// The console's port: the usual one where nobody chose ports and it is free, else the one after
/// those of S3.
async fn bind_console(plan: &Plan, usual: bool) -> Result<TcpListener, NodeError> {
    if usual && let Ok(listener) = super::bind((Ipv4Addr::LOCALHOST, CONSOLE_PORT).into()).await {
        return Ok(listener);
    }
    super::bind(plan.address(usize::from(OPS_OFFSET))).await
}

/// How long the regions have to find each other, and the pause between two looks.
const SETTLE_MAX: Duration = Duration::from_secs(30);
const SETTLE_STEP: Duration = Duration::from_millis(20);

/// Ctrl-C should not take long.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Copies of what is written into a bucket that was made here: one region of three starts without
/// the bytes, so that there is something to see.
const COPIES: u8 = 2;

/// What a directory remembers, so that the next run has the same ports and regions. The key is in
/// the charter beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    port: u16,
    regions: Vec<RegionId>,
}

const REMEMBERED_FILE: &str = "dev.json";

impl Plan {
    fn address(&self, offset: usize) -> SocketAddr {
        let offset = u16::try_from(offset).expect("at most nine regions");
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port.saturating_add(offset)))
    }

    fn global(&self) -> SocketAddr {
        self.address(0)
    }

    fn s3(&self, index: usize) -> SocketAddr {
        self.address(1 + index)
    }

    fn ops(&self, index: usize) -> SocketAddr {
        self.address(usize::from(OPS_OFFSET) + 1 + index)
    }

    /// UDP, so the number may be that of the S3 port.
    fn mesh(&self, index: usize) -> SocketAddr {
        self.s3(index)
    }
}

/// A directory that was used before keeps its regions.
fn again(options: &DevOptions, remembered: Plan) -> Result<Plan, NodeError> {
    if let Some(wanted) = &options.regions
        && *wanted != remembered.regions
    {
        let codes: Vec<String> = remembered.regions.iter().map(ToString::to_string).collect();
        return Err(NodeError::Identity(format!(
            "the data directory has the regions {}; leave --regions out, or take another directory",
            codes.join(",")
        )));
    }
    Ok(Plan { port: options.port.unwrap_or(remembered.port), ..remembered })
}

fn fresh(env: &Env, options: &DevOptions) -> Result<(Plan, Charter), NodeError> {
    let first =
        || REGIONS.iter().take(REGIONS_DEFAULT).filter_map(|code| RegionId::parse(code)).collect();
    let regions: Vec<RegionId> = options.regions.clone().unwrap_or_else(first);
    let known = Regions::built_in();
    let infos: Result<Vec<RegionInfo>, NodeError> = regions
        .iter()
        .map(|code| match known.find(*code) {
            Ok(region) => Ok(region.info()),
            Err(error) => Err(NodeError::Identity(error.to_string())),
        })
        .collect();
    let charter = Charter::new(env, infos?)?;
    Ok((Plan { port: options.port.unwrap_or(PORT_DEFAULT), regions }, charter))
}

/// Every region has a file of its own.
fn audit(settings: &config::Audit, region: RegionId) -> AuditOptions {
    let mut options = AuditOptions::of(settings);
    if let AuditTo::File(path) = &mut options.to {
        let mut name = path.clone().into_os_string();
        name.push(format!(".{region}"));
        *path = name.into();
    }
    options
}

/// Rules are run often enough that a short day can be watched.
fn engine_options(lifecycle_day: Option<Duration>) -> engine::Options {
    let usual = engine::Options { copies: COPIES, ..engine::Options::default() };
    let Some(lifecycle_day) = lifecycle_day else { return usual };
    let lifecycle_interval = (lifecycle_day / 4).min(usual.lifecycle_interval);
    engine::Options { lifecycle_day, lifecycle_interval, ..usual }
}

/// Waits of placement that fit a demonstration: a key that is read once a second from one other
/// region moves there within half a minute.
fn placement() -> ClusterOptions {
    ClusterOptions {
        placement_interval: Duration::from_secs(1),
        placement: PlacementConfig {
            threshold_factor: 0.5,
            stay_min: Duration::from_secs(10),
            return_window: Duration::from_secs(30),
            hit_weight: 0.3,
            ..PlacementConfig::default()
        },
        ..ClusterOptions::default()
    }
}

fn announcement(plan: &Plan, charter: &Charter, console: SocketAddr) -> Announcement {
    let FirstKey { access_key, record } = charter.first_key();
    let regions = plan.regions.iter().enumerate();
    Announcement {
        endpoint: format!("http://{}", plan.global()),
        console: format!("http://localhost:{}", console.port()),
        access_key: access_key.to_string(),
        secret_key: record.secret.0.to_string(),
        regions: regions
            .map(|(index, code)| AnnouncedRegion {
                code: *code,
                s3: format!("http://{}", plan.s3(index)),
                admin: format!("http://{}", plan.ops(index)),
                pid: std::process::id(),
            })
            .collect(),
    }
}

fn file(path: &Path, source: io::Error) -> NodeError {
    NodeError::File { what: path.display().to_string(), source }
}
