//! The simulated network: messages between nodes with delay, loss, broken connections and cuts.
//!
//! It replaces `net` at the message boundary: what travels is what the real mesh would send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use godwit::env::{BoxFuture, Class, PeerError, PeerHandler, Peers, Tasks};
use godwit::types::region::RegionId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::env::{SimRng, SimTasks};

/// A living node as the network knows it.
#[derive(Clone)]
struct Endpoint {
    handler: Arc<dyn PeerHandler>,
    tasks: Arc<SimTasks>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<RegionId, Endpoint>,
    /// Messages from the first to the second do not arrive.
    cuts: BTreeSet<(RegionId, RegionId)>,
    /// One call in so many breaks, before or after it was delivered; 0: none.
    break_one_in: u64,
    /// One datagram in so many is lost; 0: none.
    lose_one_in: u64,
    /// How much longer every message from or to a region takes.
    slow: BTreeMap<RegionId, Duration>,
}

/// All links of one world.
pub(crate) struct SimNet {
    state: Mutex<State>,
    rng: Arc<SimRng>,
    /// Delay of one way between two different regions.
    one_way: Duration,
}

impl SimNet {
    pub(crate) fn new(rng: Arc<SimRng>, one_way: Duration) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), rng, one_way })
    }

    pub(crate) fn join(
        &self,
        region: RegionId,
        handler: Arc<dyn PeerHandler>,
        tasks: Arc<SimTasks>,
    ) {
        self.state.lock().unwrap().nodes.insert(region, Endpoint { handler, tasks });
    }

    pub(crate) fn leave(&self, region: RegionId) {
        self.state.lock().unwrap().nodes.remove(&region);
    }

    pub(crate) fn cut(&self, from: RegionId, to: RegionId) {
        self.state.lock().unwrap().cuts.insert((from, to));
    }

    /// No cuts and no faults from now on.
    pub(crate) fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        state.cuts.clear();
        state.slow.clear();
        state.break_one_in = 0;
        state.lose_one_in = 0;
    }

    pub(crate) fn set_faults(&self, break_one_in: u64, lose_one_in: u64) {
        let mut state = self.state.lock().unwrap();
        state.break_one_in = break_one_in;
        state.lose_one_in = lose_one_in;
    }

    pub(crate) fn slow_down(&self, region: RegionId, by: Duration) {
        self.state.lock().unwrap().slow.insert(region, by);
    }

    fn delay(&self, from: RegionId, to: RegionId) -> Duration {
        let jitter_us = self.rng.below(self.one_way.as_micros() as u64 / 4 + 1);
        let state = self.state.lock().unwrap();
        let slow = [from, to].iter().filter_map(|region| state.slow.get(region)).sum::<Duration>();
        self.one_way + Duration::from_micros(jitter_us) + slow
    }

    fn reachable(&self, from: RegionId, to: RegionId) -> Option<Endpoint> {
        let state = self.state.lock().unwrap();
        if state.cuts.contains(&(from, to)) {
            return None;
        }
        state.nodes.get(&to).cloned()
    }

    fn draws(&self, pick: impl Fn(&State) -> u64) -> bool {
        let one_in = pick(&self.state.lock().unwrap());
        one_in != 0 && self.rng.one_in(one_in)
    }
}

/// One node's view of the network.
pub(crate) struct SimPeers {
    pub(crate) net: Arc<SimNet>,
    pub(crate) me: RegionId,
}

impl SimPeers {
    async fn exchange(
        net: Arc<SimNet>,
        me: RegionId,
        to: RegionId,
        request: Bytes,
    ) -> Result<Bytes, PeerError> {
        if net.reachable(me, to).is_none() {
            return Err(PeerError::Unreachable);
        }
        if net.draws(|s| s.break_one_in) {
            tokio::time::sleep(net.delay(me, to)).await;
            return Err(PeerError::Broken);
        }
        tokio::time::sleep(net.delay(me, to)).await;
        let Some(peer) = net.reachable(me, to) else {
            return std::future::pending().await;
        };
        let (done, reply) = oneshot::channel();
        let handler = Arc::clone(&peer.handler);
        peer.tasks.spawn(
            "serve",
            Box::pin(async move {
                let _ = done.send(handler.handle(me, request).await);
            }),
        );
        let Ok(reply) = reply.await else {
            return Err(PeerError::Broken);
        };
        tokio::time::sleep(net.delay(to, me)).await;
        if net.draws(|s| s.break_one_in) {
            return Err(PeerError::Broken);
        }
        if net.state.lock().unwrap().cuts.contains(&(to, me)) {
            return std::future::pending().await;
        }
        reply.map_err(PeerError::Refused)
    }
}

impl Peers for SimPeers {
    fn call(
        &self,
        to: RegionId,
        _class: Class,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        assert!(request.len() <= godwit::limits::MESSAGE_BYTES_MAX, "message of {}", request.len());
        let exchange = Self::exchange(Arc::clone(&self.net), self.me, to, request);
        Box::pin(async move {
            let started = Instant::now();
            tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_| {
                assert!(started.elapsed() >= deadline);
                Err(PeerError::Timeout)
            })
        })
    }

    fn datagram(&self, to: RegionId, data: Bytes) {
        assert!(data.len() <= godwit::limits::DATAGRAM_BYTES_MAX);
        let (net, me) = (Arc::clone(&self.net), self.me);
        if net.draws(|s| s.lose_one_in) {
            return;
        }
        tokio::task::spawn(async move {
            tokio::time::sleep(net.delay(me, to)).await;
            if let Some(peer) = net.reachable(me, to) {
                peer.handler.datagram(me, data);
            }
        });
    }

    fn rtt(&self, to: RegionId) -> Option<Duration> {
        self.is_connected(to).then_some(self.net.one_way * 2)
    }

    fn is_connected(&self, to: RegionId) -> bool {
        self.net.reachable(self.me, to).is_some() && self.net.reachable(to, self.me).is_some()
    }

    fn set_members(&self, _: Vec<(RegionId, Option<String>)>, _: Vec<RegionId>) {}
}
