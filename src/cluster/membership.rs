//! Drives `logic::membership` over datagrams: who seems alive, and hints that travel with it.
//!
//! Invariant: hints only. A datagram or an event that does not fit its queue is dropped, as the
//! network may drop it too; nothing rests on one arriving.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::env::{Env, Peers};
use crate::limits;
use crate::logic::membership::{Event, Liveness, Membership, News, Node, Subject};
use crate::types::region::RegionId;

use super::Cluster;

/// This node's ear for gossip. Cheap to clone.
#[derive(Clone)]
pub(super) struct Gossip {
    shared: Arc<Shared>,
    arrived: mpsc::Sender<Bytes>,
}

#[derive(Default)]
struct Shared {
    liveness: Mutex<BTreeMap<RegionId, Liveness>>,
    /// The latest per subject, told at the next turn.
    to_tell: Mutex<BTreeMap<Subject, News>>,
    /// Other members than before, from the next turn on.
    others: Mutex<Option<Vec<RegionId>>>,
}

impl Gossip {
    /// Gossips as `node` with `others`: run the turn until `stop`; events go to `events`.
    pub(super) fn new(
        env: &Env,
        peers: Arc<dyn Peers>,
        node: Node,
        others: Vec<RegionId>,
        events: mpsc::Sender<Event>,
        stop: watch::Receiver<bool>,
    ) -> (Self, Turn) {
        let (arrived, datagrams) = mpsc::channel(limits::GOSSIP_QUEUE_MAX);
        let gossip = Self { shared: Arc::default(), arrived };
        let core = Membership::new(node, others, env.random(), env.monotonic());
        let shared = gossip.shared.clone();
        (gossip, Turn { env: env.clone(), peers, core, shared, events, datagrams, stop })
    }

    /// Takes in a peer's datagram.
    pub(super) fn receive(&self, data: Bytes) {
        if self.arrived.try_send(data).is_err() {
            tracing::debug!("gossip queue is full or stopped, datagram dropped");
        }
    }

    /// What others say of a region.
    pub(super) fn liveness(&self, region: RegionId) -> Liveness {
        let map = self.shared.liveness.lock().expect("no holder of this lock panics");
        map.get(&region).copied().unwrap_or(Liveness::Down)
    }

    /// Looks for these from the next turn on.
    pub(super) fn set_others(&self, others: Vec<RegionId>) {
        *self.shared.others.lock().expect("no holder of this lock panics") = Some(others);
    }

    /// Tells everyone soon; replaces news of the same subject that were not told yet.
    pub(super) fn spread(&self, news: News) {
        let mut to_tell = self.shared.to_tell.lock().expect("no holder of this lock panics");
        if to_tell.len() < limits::GOSSIP_QUEUE_MAX || to_tell.contains_key(&news.subject()) {
            to_tell.insert(news.subject(), news);
        }
    }
}

/// What the loop woke up for.
enum Action {
    Arrived(Bytes),
    Due,
    Stop,
}

/// The gossip task.
pub(super) struct Turn {
    env: Env,
    peers: Arc<dyn Peers>,
    core: Membership,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    datagrams: mpsc::Receiver<Bytes>,
    stop: watch::Receiver<bool>,
}

impl Turn {
    pub(super) async fn run(mut self) {
        loop {
            let action = self.select().await;
            if matches!(action, Action::Stop) {
                return;
            }
            self.apply(action);
        }
    }

    async fn select(&mut self) -> Action {
        let wait = self.core.next_timeout().saturating_sub(self.env.monotonic());
        // Due timers go first: a flood of datagrams does not stop the probing.
        if wait.is_zero() {
            return Action::Due;
        }
        let due = self.env.sleep(wait.max(Duration::from_millis(1)));
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => Action::Stop,
            data = self.datagrams.recv() => data.map_or(Action::Stop, Action::Arrived),
            () = due => Action::Due,
        }
    }

    fn apply(&mut self, action: Action) {
        let now = self.env.monotonic();
        let others = self.shared.others.lock().expect("no holder of this lock panics").take();
        if let Some(others) = others {
            self.core.set_others(others);
        }
        let result = match action {
            Action::Arrived(data) => self.core.handle_datagram(now, &data),
            Action::Due => self.core.handle_timeout(now),
            Action::Stop => Ok(()),
        };
        if let Err(why) = result {
            tracing::debug!(%why, "gossip refused");
        }
        let to_tell = std::mem::take(
            &mut *self.shared.to_tell.lock().expect("no holder of this lock panics"),
        );
        for news in to_tell.into_values() {
            self.core.spread(now, news);
        }
        let output = self.core.take_output();
        for (to, data) in output.datagrams {
            self.peers.datagram(to, data);
        }
        for event in output.events {
            self.note(event);
        }
    }

    fn note(&self, event: Event) {
        if let Event::Liveness { region, is } = event {
            tracing::info!(%region, ?is, "region");
            let mut map = self.shared.liveness.lock().expect("no holder of this lock panics");
            map.insert(region, is);
        }
        if self.events.try_send(event).is_err() {
            tracing::debug!("event queue is full or stopped, hint dropped");
        }
    }
}

impl Cluster {
    /// What other nodes say of a region: a hint.
    pub fn liveness(&self, region: RegionId) -> Liveness {
        self.inner.gossip.liveness(region)
    }

    /// Tells others how far this node's log is, and looks around when a log has grown to which
    /// there is no path from here: a third region may have it.
    pub(super) async fn follow_gossip(self, mut events: mpsc::Receiver<Event>) {
        let mut stop = self.inner.stopping();
        let log = self.inner.grown.listen();
        loop {
            let news = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                event = events.recv() => match event {
                    Some(Event::News(news)) => news,
                    Some(Event::Liveness { .. }) => continue,
                    None => return,
                },
                () = log.grown() => {
                    let (origin, incarnation) = (self.region(), self.inner.incarnation);
                    let seq = self.inner.grown.head();
                    self.inner.gossip.spread(News::Head { origin, incarnation, seq });
                    continue;
                }
            };
            match news {
                News::Head { origin, .. } if !self.is_connected(origin) => {
                    let near = self.nearest(self.others().into_iter().map(|info| info.id));
                    if let Some(peer) = near.into_iter().find(|peer| self.is_connected(*peer)) {
                        self.exchange_heads(peer).await;
                    }
                }
                News::Bucket { .. } | News::Head { .. } => {}
            }
        }
    }
}
