//! The regions of `godwit dev`: each runs or is stopped, and is stopped and started again while the
//! others go on.
//!
//! Invariant: one region runs at least, so that somebody answers; a region's directory is open once.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tracing::{info, warn};

use crate::admin::dev::{Changed, Playing, Wiring};
use crate::admin::model::{DownRegion, DownState};
use crate::console::Told;
use crate::engine::Engine;
use crate::env::{BoxFuture, Env};
use crate::types::region::{Coordinates, RegionId};

use super::anycast::Site;
use super::wires::Wires;
use super::{Node, NodeError};

/// How long a region that was stopped a moment ago may keep its ports and files, and the pause
/// between two attempts to start it.
const START_MAX: Duration = Duration::from_secs(30);
const START_PAUSE: Duration = Duration::from_millis(200);

/// Starts the node of a region, with the fleet that it belongs to.
pub(super) type Make = Box<
    dyn Fn(RegionId, Arc<dyn Playing>) -> BoxFuture<'static, Result<Node, NodeError>> + Send + Sync,
>;

/// One region.
struct Slot {
    region: RegionId,
    dir: PathBuf,
    life: Life,
}

enum Life {
    Runs(Box<Node>),
    Down(DownRegion),
}

/// All of them.
pub(super) struct Fleet {
    env: Env,
    wires: Option<Arc<Wires>>,
    make: Make,
    slots: Mutex<Vec<Slot>>,
    own: Weak<Self>,
}

impl Fleet {
    /// Of regions that do not run yet, with their directories.
    pub(super) fn new(
        env: Env,
        wires: Option<Arc<Wires>>,
        regions: Vec<(RegionId, PathBuf)>,
        make: Make,
    ) -> Arc<Self> {
        let since_ms = env.now_ms();
        let slot = |(region, dir)| {
            let life = Life::Down(down(region, DownState::Starting, since_ms));
            Slot { region, dir, life }
        };
        let slots = Mutex::new(regions.into_iter().map(slot).collect());
        Arc::new_cyclic(|own| Self { env, wires, make, slots, own: own.clone() })
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A region runs.
    pub(super) fn put(&self, node: Node) {
        let mut slots = self.slots();
        if let Some(slot) = slots.iter_mut().find(|slot| slot.region == node.region()) {
            slot.life = Life::Runs(Box::new(node));
        }
    }

    /// Something of the node of a region, where it runs.
    fn of<T>(&self, region: RegionId, take: impl FnOnce(&Node) -> T) -> Option<T> {
        let slots = self.slots();
        match &slots.iter().find(|slot| slot.region == region)?.life {
            Life::Runs(node) => Some(take(node)),
            Life::Down(_) => None,
        }
    }

    /// What those that run work with.
    pub(super) fn engines(&self) -> Vec<Engine> {
        let slots = self.slots();
        let nodes = slots.iter().filter_map(|slot| match &slot.life {
            Life::Runs(node) => Some(node.engine().clone()),
            Life::Down(_) => None,
        });
        nodes.collect()
    }

    /// A place that requests go to while its region runs.
    pub(super) fn site(self: &Arc<Self>, region: RegionId, coordinates: Coordinates) -> Site {
        let (asked, taken) = (self.clone(), self.clone());
        Site {
            region,
            coordinates,
            ready: Box::new(move || {
                asked.of(region, |node| node.readiness().reason().is_none()).unwrap_or(false)
            }),
            handler: Box::new(move || taken.of(region, Node::handler)),
        }
    }

    /// Sign-ins at the console are told by the first region that runs.
    pub(super) fn told(self: &Arc<Self>) -> Told {
        let fleet = self.clone();
        Arc::new(move || {
            let slots = fleet.slots();
            slots.iter().find_map(|slot| match &slot.life {
                Life::Runs(node) => Some(node.told()),
                Life::Down(_) => None,
            })
        })
    }

    /// Stops all that run, at the same time.
    pub(super) async fn stop(&self) {
        let nodes: Vec<Node> = {
            let mut slots = self.slots();
            let since_ms = self.env.now_ms();
            slots
                .iter_mut()
                .filter_map(|slot| slot.stopped(DownState::Stopping, since_ms))
                .collect()
        };
        futures_util::future::join_all(nodes.into_iter().map(Node::stop)).await;
    }

    fn set(&self, region: RegionId, state: DownState, why: Option<String>) {
        let mut slots = self.slots();
        if let Some(slot) = slots.iter_mut().find(|slot| slot.region == region)
            && let Life::Down(down) = &mut slot.life
        {
            (down.state, down.why) = (state, why);
        }
    }

    /// Stops a node that was taken out, and puts its directory aside where its disk is lost.
    async fn end(self: Arc<Self>, node: Box<Node>, lose: Option<PathBuf>) {
        let region = node.region();
        Box::pin(node.stop()).await;
        let mut why = None;
        if let Some(dir) = lose {
            let aside = dir.with_file_name(format!("{region}.lost-{}", self.env.now_ms()));
            info!(%region, aside = %aside.display(), "its directory is put aside");
            let env = self.env.clone();
            let moved = self.env.blocking(move || env.disk.rename(&dir, &aside)).await;
            why = moved.err().map(|error| format!("its directory cannot be put aside: {error}"));
        }
        self.set(region, DownState::Stopped, why);
    }

    async fn begin(self: Arc<Self>, region: RegionId) {
        let deadline = self.env.monotonic() + START_MAX;
        loop {
            let playing: Arc<dyn Playing> = self.clone();
            match (self.make)(region, playing).await {
                Ok(node) => return self.put(node),
                // Its ports and files are free when the last of its tasks has ended.
                Err(_) if self.env.monotonic() < deadline => self.env.sleep(START_PAUSE).await,
                Err(error) => {
                    warn!(%region, %error, "the region does not start");
                    return self.set(region, DownState::Stopped, Some(error.to_string()));
                }
            }
        }
    }
}

impl Slot {
    /// Takes the node out of a region that runs.
    fn stopped(&mut self, state: DownState, since_ms: u64) -> Option<Node> {
        if !matches!(self.life, Life::Runs(_)) {
            return None;
        }
        match std::mem::replace(&mut self.life, Life::Down(down(self.region, state, since_ms))) {
            Life::Runs(node) => Some(*node),
            Life::Down(_) => None,
        }
    }
}

fn down(region: RegionId, state: DownState, since_ms: u64) -> DownRegion {
    DownRegion { region, state, since_ms, why: None }
}

impl Playing for Fleet {
    fn wires(&self) -> Option<&dyn Wiring> {
        self.wires.as_deref().map(|wires| -> &dyn Wiring { wires })
    }

    fn down(&self) -> Vec<DownRegion> {
        let slots = self.slots();
        let down = slots.iter().filter_map(|slot| match &slot.life {
            Life::Runs(_) => None,
            Life::Down(down) => Some(down.clone()),
        });
        down.collect()
    }

    fn stop(&self, region: RegionId, lose: bool) -> Changed {
        let mut slots = self.slots();
        let running = slots.iter().filter(|slot| matches!(slot.life, Life::Runs(_))).count();
        let Some(slot) = slots.iter_mut().find(|slot| slot.region == region) else {
            return Changed::NoSuchRegion;
        };
        match &slot.life {
            Life::Down(_) => return Changed::Not(format!("the region {region} does not run")),
            Life::Runs(_) if running == 1 => {
                return Changed::Not(format!("the region {region} is the last one that runs"));
            }
            Life::Runs(_) => {}
        }
        let dir = lose.then(|| slot.dir.clone());
        if let (Some(node), Some(own)) =
            (slot.stopped(DownState::Stopping, self.env.now_ms()), self.own.upgrade())
        {
            self.env.spawn("stop of a region", own.end(Box::new(node), dir));
        }
        Changed::Yes
    }

    fn start(&self, region: RegionId) -> Changed {
        let mut slots = self.slots();
        let Some(slot) = slots.iter_mut().find(|slot| slot.region == region) else {
            return Changed::NoSuchRegion;
        };
        match &mut slot.life {
            Life::Runs(_) => return Changed::Not(format!("the region {region} runs already")),
            Life::Down(down) => match down.state {
                DownState::Stopped => (down.state, down.why) = (DownState::Starting, None),
                DownState::Stopping => {
                    return Changed::Not(format!("the region {region} is still stopping"));
                }
                DownState::Starting => {
                    return Changed::Not(format!("the region {region} starts already"));
                }
            },
        }
        if let Some(own) = self.own.upgrade() {
            self.env.spawn("start of a region", own.begin(region));
        }
        Changed::Yes
    }
}
