//! Drivers between regions: how changes get to `ack` regions and then everywhere, how bytes are
//! found and read, and how everything that was missed is made good.
//!
//! Invariants: a change is answered only when `ack` regions have it on stable storage; every change
//! goes through the store's merge, whatever way it came; bytes are verified before they are served.
//! What this does not do: decide what a request means (`engine`), or touch disk and network itself
//! (`store`, `net`).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use crate::env::{Class, Env, PeerError, Peers};
use crate::limits;
use crate::logic::clock::{Ahead, Clock};
use crate::logic::fence::Fence;
use crate::logic::membership::Node;
use crate::logic::placement::PlacementConfig;
use crate::net::message::{Request, Response};
use crate::obs::flow::{self, Stage, Tracer};
use crate::store::{self, Store, Table, Tx};
use crate::types::id::Incarnation;
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

mod acceptor;
mod acks;
mod active;
mod ask;
mod batch;
mod body;
mod budget;
mod cells;
mod commit;
mod conditional;
mod config;
mod copies;
mod electorate;
mod error;
mod events;
mod fetch;
mod floor;
mod forward;
mod grown;
mod health;
mod heat;
mod history;
mod hold;
mod janitor;
mod kept;
mod keys;
mod lag;
mod lead;
mod lease;
mod lookup;
mod members;
mod membership;
mod mend;
mod metrics;
mod migrate;
mod names;
mod offer;
mod outlet;
mod pending;
mod place;
mod positions;
mod race;
mod range;
mod receive;
mod recover;
mod register;
mod repair;
mod replicate;
mod restore;
mod roster;
mod rounds;
mod rules;
mod scrub;
mod serve;
mod soft_delete;
mod stage;
mod standing;
mod stream;
mod sweep;
#[cfg(test)]
mod tests;
mod timekeeping;
mod turns;
mod view;
mod write;

pub use body::{Body, BodySink};
pub use config::ConfigChange;
pub use electorate::VoterChange;
pub use error::{Contested, ReadError, Unavailable};
pub use events::{Lane, Lost, NotifyMetrics, Tally, Waiting};
pub use forward::{AnswerAdmin, AnswerForwarded};
pub use history::Happened;
pub use keys::KeyChange;
pub use lag::BucketLag;
pub use lead::{Horizon, Lead};
pub use members::{BadMembers, Members, StatedMembers};
pub use mend::Damaged;
pub use metrics::ClusterMetrics;
pub use names::{CreateOutcome, DeleteOutcome};
pub use place::{Moving, Uncached};
pub use range::KeyRange;
pub use repair::Unfinished;
pub use restore::{RepairPhase, RepairStatus};
pub use roster::NotChanged;
pub use scrub::{ScrubPhase, ScrubProgress, ScrubStatus};
pub use serve::Handler;
pub use soft_delete::RestoreOutcome;
pub use stream::{BodyStream, Source, Whereabouts};
pub use view::PeerStatus;
pub use write::{Decide, View, Write, Written};

/// How the drivers behave.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// A deletion that every region knows is dropped after this.
    pub tombstone_age: Duration,
    /// Between two steps of housekeeping.
    pub sweep_interval: Duration,
    /// Between two looks at heat and copies; reports go to the primaries as often.
    pub placement_interval: Duration,
    /// A primary that was silent for this long is replaced.
    pub primary_gone_after: Duration,
    pub placement: PlacementConfig,
    /// From the beginning of one scrub to the next, and bytes a second that it reads at most.
    pub scrub_every: Duration,
    pub scrub_rate: u64,
    /// Bytes a second that repair fetches at most.
    pub repair_rate: u64,
    /// Takes the spans of what peers ask for.
    pub tracer: Tracer,
    #[cfg(test)]
    pub(crate) left_out: Option<rules::Rule>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            tombstone_age: limits::TOMBSTONE_AGE,
            sweep_interval: limits::SWEEP_INTERVAL,
            placement_interval: limits::PLACEMENT_INTERVAL,
            primary_gone_after: limits::PRIMARY_GONE_AFTER,
            placement: PlacementConfig::default(),
            scrub_every: limits::SCRUB_INTERVAL,
            scrub_rate: limits::SCRUB_RATE_DEFAULT,
            repair_rate: limits::REPAIR_RATE_DEFAULT,
            tracer: Tracer::default(),
            #[cfg(test)]
            left_out: None,
        }
    }
}

/// Everything between this node and the others. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    store: Store,
    peers: Arc<dyn Peers>,
    region: RegionId,
    incarnation: Incarnation,
    options: ClusterOptions,
    metrics: ClusterMetrics,
    members: Mutex<Arc<Members>>,
    roster: roster::Roster,
    clock: Mutex<Clock>,
    fence: Mutex<Fence>,
    /// The own clock was compared with others'.
    compared: Notify,
    acks: acks::Acks,
    active: active::Active,
    stages: stage::Stages,
    flights: fetch::Flights,
    absences: lookup::Absences,
    placing: heat::Placing,
    scrub: scrub::Scrub,
    mending: mend::Mending,
    restore: restore::Restore,
    repair_budget: budget::Budget,
    forwarded: OnceLock<AnswerForwarded>,
    people: People,
    known: lead::Known,
    noted: events::Noted,
    views: Mutex<BTreeMap<RegionId, view::PeerView>>,
    registers: register::RegisterState,
    gossip: membership::Gossip,
    /// When the last round began that heard of every change of access keys.
    keys_heard: Mutex<Option<Duration>>,
    /// This data directory is an old copy: no more writes.
    rolled_back: AtomicBool,
    /// Last position of this node's log.
    grown: grown::Grown,
    /// Something new was heard of the logs of others.
    learnt: Notify,
    /// Some log was applied further.
    moved: Notify,
    /// Held while what somebody waits for is pulled.
    pulling: tokio::sync::Mutex<()>,
    /// A log has a gap that only the digests can fill.
    compare: AtomicBool,
    stop: watch::Sender<bool>,
    /// Every task has one; the first is dropped by `stop`, and the channel closes with the last.
    running: Mutex<Option<mpsc::Sender<()>>>,
    ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

/// What is there for those who look after the cluster.
#[derive(Default)]
struct People {
    admin: OnceLock<AnswerAdmin>,
    alone: health::Alone,
    history: history::History,
}

impl Inner {
    fn views(&self) -> MutexGuard<'_, BTreeMap<RegionId, view::PeerView>> {
        self.views.lock().expect("no holder of this lock panics")
    }

    fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }
}

impl Cluster {
    /// Starts the drivers on an open store. `handler` is the one that `peers` deliver to.
    pub async fn start(
        env: Env,
        store: Store,
        peers: Arc<dyn Peers>,
        handler: &Handler,
        members: Members,
        options: ClusterOptions,
    ) -> Result<Self, store::Error> {
        let region = store.region();
        let (incarnation, opened) = (store.incarnation(), store.log_end());
        let (running, ended) = mpsc::channel(1);
        let (clock, new_disk) = kept_clock(&store)?;
        let own_head = own_head(&store)?;
        let (members, since) = Members::open(&store, members).await?;
        let registers = register::RegisterState::open(&env, &store, opened).await?;
        let fence = Fence::new(env.now_ms(), env.monotonic());
        let stop = watch::channel(false).0;
        let (tell, events) = mpsc::channel(limits::GOSSIP_QUEUE_MAX);
        let node = Node { region, incarnation, boot: registers.acceptor.boot(), renewal: 0 };
        let others = members.regions().map(|r| r.id).filter(|id| *id != region).collect();
        let (gossip, turn) =
            membership::Gossip::new(&env, peers.clone(), node, others, tell, stop.subscribe());
        let cluster = Self {
            inner: Arc::new(Inner {
                env,
                store,
                peers,
                region,
                incarnation,
                options,
                metrics: ClusterMetrics::default(),
                roster: roster::Roster::new(&members, region, since),
                members: Mutex::new(Arc::new(members)),
                clock: Mutex::new(clock),
                fence: Mutex::new(fence),
                compared: Notify::new(),
                acks: acks::Acks::default(),
                active: active::Active::default(),
                stages: stage::Stages::default(),
                flights: fetch::Flights::default(),
                absences: lookup::Absences::default(),
                placing: heat::Placing::default(),
                scrub: scrub::Scrub::default(),
                mending: mend::Mending::default(),
                restore: restore::Restore::default(),
                repair_budget: budget::Budget::default(),
                forwarded: OnceLock::new(),
                people: People::default(),
                known: lead::Known::default(),
                noted: events::Noted::default(),
                views: Mutex::new(BTreeMap::new()),
                registers,
                gossip,
                keys_heard: Mutex::new(None),
                rolled_back: AtomicBool::new(false),
                grown: grown::Grown::new(own_head),
                learnt: Notify::new(),
                moved: Notify::new(),
                pulling: tokio::sync::Mutex::new(()),
                compare: AtomicBool::new(false),
                stop,
                running: Mutex::new(Some(running)),
                ended: tokio::sync::Mutex::new(ended),
            }),
        };
        cluster.serve_with(handler);
        cluster.spawn("gossip", turn.run());
        cluster.spawn("gossip-follower", cluster.clone().follow_gossip(events));
        cluster.spawn_keepers(new_disk);
        Ok(cluster)
    }
}

/// The last position of this node's own log.
fn own_head(store: &Store) -> Result<u64, store::Error> {
    let log = (store.region(), store.incarnation());
    let heads = store.read()?.heads()?;
    Ok(heads.iter().find(|(of, _)| *of == log).map_or(0, |(_, last)| *last))
}

/// Where the last stamp that went into a change is kept.
const CLOCK_KEY: &[u8] = b"clock";

impl Cluster {
    pub fn region(&self) -> RegionId {
        self.inner.region
    }

    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    pub fn peers(&self) -> &Arc<dyn Peers> {
        &self.inner.peers
    }

    pub fn metrics(&self) -> &ClusterMetrics {
        &self.inner.metrics
    }

    pub fn members(&self) -> Arc<Members> {
        self.inner.members.lock().expect("no holder of this lock panics").clone()
    }

    /// A stamp above `floor` and above everything that this node has seen.
    pub fn stamp(&self, floor: Stamp) -> Stamp {
        let now_ms = self.right_ms();
        self.clock().stamp(now_ms, floor)
    }

    /// Ends the tasks and waits for them. Writes under way get no answer.
    pub async fn stop(&self) {
        self.inner.stop.send_replace(true);
        drop(self.running().take());
        let mut ended = self.inner.ended.lock().await;
        while ended.recv().await.is_some() {}
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.inner.clock.lock().expect("no holder of this lock panics")
    }

    fn running(&self) -> MutexGuard<'_, Option<mpsc::Sender<()>>> {
        self.inner.running.lock().expect("no holder of this lock panics")
    }

    /// Later stamps of this node are above this one of another.
    fn observe(&self, stamp: Stamp) -> Result<(), Ahead> {
        let now_ms = self.right_ms();
        self.clock().observe(stamp, now_ms)
    }

    /// Makes sure that no stamp up to this one is made again after a restart.
    fn keep_clock(&self, tx: &mut Tx<'_>, stamp: Stamp) -> Result<(), store::Error> {
        tx.put(Table::Local, CLOCK_KEY, &stamp)
    }

    /// From now on peers are answered and the members followed.
    fn serve_with(&self, handler: &Handler) {
        handler.serve(self.clone());
        self.follow_members();
    }

    /// Everything that goes on without a request.
    fn spawn_keepers(&self, new_disk: bool) {
        if new_disk {
            self.spawn("clock", self.clone().raise_clock());
        }
        self.spawn("registers", self.registers().keep(self.inner.stopping()));
        self.spawn("clock-watch", self.clone().watch_clock());
        self.spawn("access-keys", self.clone().follow_keys());
        self.spawn("members", self.clone().keep_members());
        self.spawn("log-follower", self.clone().follow_logs());
        self.spawn("digests", self.clone().compare_digests());
        self.spawn("housekeeping", self.clone().keep_house());
        self.spawn("placement", self.clone().keep_places());
        self.spawn("repair", self.clone().run_repair());
        self.spawn("scrub", self.clone().run_scrub());
        self.spawn("mending", self.clone().mend_damage());
        self.spawn("history", self.clone().keep_history());
    }

    /// Runs a task until it ends or the node stops, which may be wherever it waits: what must be
    /// whole is one write of the store.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let Some(running) = self.running().clone() else { return };
        let mut stop = self.inner.stopping();
        self.env().spawn(name, async move {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => {}
                () = task => {}
            }
            drop(running);
        });
    }

    fn is_connected(&self, region: RegionId) -> bool {
        self.inner.peers.is_connected(region)
    }

    async fn call(
        &self,
        to: RegionId,
        class: Class,
        request: &Request,
        deadline: Duration,
    ) -> Result<Response, PeerError> {
        let asked = async {
            let message = request.encode_with(flow::context());
            self.inner.peers.call(to, class, message, deadline).await
        };
        let bytes = flow::measured(Stage::Regions, request.name(), Some(to), asked).await?;
        self.heard_from(to);
        Response::decode(&bytes).map_err(|why| PeerError::Refused(why.to_string()))
    }
}

/// The clock as it was when this node stopped, and whether it never ran on this disk. One that went
/// back does not make stamps a second time.
fn kept_clock(store: &Store) -> Result<(Clock, bool), store::Error> {
    let mut clock = Clock::new(store.region());
    let last: Option<Stamp> = store.read()?.get(Table::Local, CLOCK_KEY)?;
    if let Some(last) = last {
        clock.stamp(0, last);
    }
    Ok((clock, last.is_none()))
}

/// Waits for the end of the node.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the node.
    let _ = stop.wait_for(|stop| *stop).await;
}
