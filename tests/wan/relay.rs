//! The wide area between the namespaces: every packet of one region to another passes here, and is
//! late, lost or cut as the path says. It knows addresses and nothing of what it carries.
//!
//! Region `a` knows region `b` as `10.77.a.(100 + b)`, an address of this process; what comes in there
//! goes out to `10.77.b.1` from `10.77.b.(100 + a)`, which is how `b` knows `a`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use godwit::net::link::{self, Flow, Path};
use godwit::types::region::Coordinates;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::random::Random;

pub const PORT: u16 = 7946;

/// Packets of one direction that are under way; beyond, they are lost.
const UNDER_WAY_MAX: usize = 20_000;

/// Where region `of` reaches region `to`.
pub fn address(of: usize, to: usize) -> SocketAddr {
    let last = u8::try_from(100 + to).unwrap();
    SocketAddr::from((Ipv4Addr::new(10, 77, u8::try_from(of).unwrap(), last), PORT))
}

/// The node of a region.
pub fn node(region: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, u8::try_from(region).unwrap(), 1)
}

type Paths = Arc<Mutex<Vec<Vec<Path>>>>;

/// All paths. Cheap to clone; changes act at once.
#[derive(Clone)]
pub struct Relay {
    paths: Paths,
    usual: Arc<Vec<Vec<Path>>>,
    carried: Arc<AtomicU64>,
}

impl Relay {
    /// Paths as long as the places are apart; the addresses are there already.
    pub async fn start(places: &[Coordinates], seed: u64) -> Self {
        let path = |from: Coordinates, to| {
            let delay = link::delay(from, to);
            Path { delay, jitter: delay / 20, lost_per_million: 100, ..Path::default() }
        };
        let row = |from: &Coordinates| places.iter().map(|to| path(*from, *to)).collect();
        let usual: Vec<Vec<Path>> = places.iter().map(row).collect();
        let paths: Paths = Arc::new(Mutex::new(usual.clone()));
        let relay = Self { paths, usual: Arc::new(usual), carried: Arc::default() };
        for a in 0..places.len() {
            for b in 0..a {
                let near = Arc::new(UdpSocket::bind(address(a, b)).await.unwrap());
                let far = Arc::new(UdpSocket::bind(address(b, a)).await.unwrap());
                let seed = seed.wrapping_add((a * 64 + b) as u64);
                relay.carry((a, b), near.clone(), far.clone(), seed);
                relay.carry((b, a), far, near, !seed);
            }
        }
        relay
    }

    /// Carries what comes in `from` one region to the other one.
    fn carry(
        &self,
        (from, to): (usize, usize),
        inlet: Arc<UdpSocket>,
        outlet: Arc<UdpSocket>,
        seed: u64,
    ) {
        let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY_MAX);
        let (relay, began) = (self.clone(), Instant::now());
        tokio::spawn(async move {
            let (mut flow, mut random) = (Flow::default(), Random::new(seed));
            let mut packet = vec![0; 65_536];
            loop {
                // An error is that of a packet before: its region does not listen.
                let Ok(length) = inlet.recv(&mut packet).await else { continue };
                let path = relay.path(from, to);
                let due = flow.arrival(&path, length, began.elapsed(), random.number());
                if let Some(due) = due {
                    // A full queue loses packets, as a router does.
                    let _ = sender.try_send((began + due, packet[..length].to_vec()));
                }
            }
        });
        let (carried, node) = (self.carried.clone(), SocketAddr::from((node(to), PORT)));
        tokio::spawn(async move {
            while let Some((due, packet)) = receiver.recv().await {
                tokio::time::sleep_until(due.into()).await;
                carried.fetch_add(1, Ordering::Relaxed);
                // A node that is away takes no packets.
                let _ = outlet.send_to(&packet, node).await;
            }
        });
    }

    fn path(&self, from: usize, to: usize) -> Path {
        self.paths.lock().unwrap()[from][to]
    }

    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// There and back, without jitter.
    pub fn round_trip(&self, a: usize, b: usize) -> Duration {
        self.usual[a][b].delay + self.usual[b][a].delay
    }

    /// Nothing passes in this direction.
    pub fn cut_one_way(&self, from: usize, to: usize) {
        self.paths.lock().unwrap()[from][to].cut = true;
    }

    pub fn cut(&self, a: usize, b: usize) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    pub fn isolate(&self, region: usize) {
        (0..self.usual.len()).filter(|other| *other != region).for_each(|b| self.cut(region, b));
    }

    /// Every path loses this share of its packets.
    pub fn lose(&self, per_million: u32) {
        let mut paths = self.paths.lock().unwrap();
        paths.iter_mut().flatten().for_each(|path| path.lost_per_million = per_million);
    }

    /// Paths without jitter and loss, to measure on.
    pub fn calm(&self) {
        let steady = |path: &mut Path| (path.jitter, path.lost_per_million) = (Duration::ZERO, 0);
        self.paths.lock().unwrap().iter_mut().flatten().for_each(steady);
    }

    pub fn heal(&self) {
        self.paths.lock().unwrap().clone_from(&self.usual);
    }
}
