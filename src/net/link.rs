//! An emulated wide area between nodes on one machine: packets leave late, or not at all.
//!
//! It sits below QUIC, at the UDP socket, so that round trips, losses and recovery are those that
//! QUIC sees on a real network. Used by `godwit dev` and by tests.
//!
//! Invariant: a link delays and drops whole packets; it never changes one, it never sends one before
//! its time, and it keeps the order of those to one place: QUIC takes what is overtaken for lost.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Debug;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::mpsc;

use crate::env::Env;
use crate::types::region::Coordinates;

/// Light in fibre: two thirds of that in vacuum.
const FIBRE_KM_PER_MS: f64 = 200.0;

/// Routes are longer than the great circle.
const DETOUR: f64 = 1.5;

/// What the last mile and the machines add, one way.
const BASE_MS: f64 = 2.0;

/// Packets under way at one node; more are lost, as in a full queue.
const PACKETS_MAX: usize = 65_536;

/// One way between two places.
pub fn delay(from: Coordinates, to: Coordinates) -> Duration {
    let ms = BASE_MS + from.distance_km(to) / FIBRE_KM_PER_MS * DETOUR;
    Duration::from_secs_f64(ms / 1000.0)
}

/// How one direction between two nodes behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Path {
    pub delay: Duration,
    /// Up to this much more, at random.
    pub jitter: Duration,
    /// Packets in a million that are lost.
    pub lost_per_million: u32,
    /// Nothing passes.
    pub cut: bool,
}

/// What leaves one node. Cheap to clone; changes act at once, so that a test can cut a link.
#[derive(Clone, Debug, Default)]
pub struct Link {
    paths: Arc<Mutex<BTreeMap<SocketAddr, Path>>>,
}

impl Link {
    /// Sets how packets to `to` behave; without a path they pass at once.
    pub fn set(&self, to: SocketAddr, path: Path) {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).insert(to, path);
    }

    fn path(&self, to: SocketAddr) -> Path {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.get(&to).copied().unwrap_or_default()
    }

    /// A socket whose packets take the link.
    pub(super) fn wrap(
        &self,
        env: &Env,
        socket: Arc<dyn AsyncUdpSocket>,
    ) -> Arc<dyn AsyncUdpSocket> {
        let (queue, packets) = mpsc::channel(PACKETS_MAX);
        env.spawn("link", carry(env.clone(), socket.clone(), packets));
        let last = Mutex::new(BTreeMap::new());
        Arc::new(Delayed { env: env.clone(), link: self.clone(), last, socket, queue })
    }
}

/// A packet that waits for its time.
struct Packet {
    due: Duration,
    to: SocketAddr,
    ecn: Option<EcnCodepoint>,
    contents: Bytes,
}

struct Delayed {
    env: Env,
    link: Link,
    /// When the last packet to each place leaves.
    last: Mutex<BTreeMap<SocketAddr, Duration>>,
    socket: Arc<dyn AsyncUdpSocket>,
    queue: mpsc::Sender<Packet>,
}

impl Debug for Delayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Delayed")
    }
}

impl Delayed {
    /// When a packet leaves: not before the one ahead of it.
    fn due(&self, to: SocketAddr, delay: Duration) -> Duration {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.entry(to).or_default();
        *last = (self.env.monotonic() + delay).max(*last);
        *last
    }
}

impl AsyncUdpSocket for Delayed {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let path = self.link.path(transmit.destination);
        let random = self.env.random_u64();
        let lost = random % 1_000_000 < u64::from(path.lost_per_million);
        if path.cut || lost {
            return Ok(());
        }
        let share = u32::try_from(random >> 32).expect("32 bits");
        let jitter = path.jitter.mul_f64(f64::from(share) / f64::from(u32::MAX));
        let packet = Packet {
            due: self.due(transmit.destination, path.delay + jitter),
            to: transmit.destination,
            ecn: transmit.ecn,
            contents: Bytes::copy_from_slice(transmit.contents),
        };
        // A full queue loses the packet, as a router does.
        let _ = self.queue.try_send(packet);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// The queue takes packets at any time.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Packets by time, then in the order they came.
#[derive(Default)]
struct Waiting {
    order: BinaryHeap<Reverse<(Duration, u64)>>,
    packets: BTreeMap<u64, Packet>,
    next: u64,
}

impl Waiting {
    fn push(&mut self, packet: Packet) {
        self.order.push(Reverse((packet.due, self.next)));
        self.packets.insert(self.next, packet);
        self.next += 1;
    }

    fn next_due(&self) -> Option<Duration> {
        self.order.peek().map(|Reverse((due, _))| *due)
    }

    /// The first packet whose time has come.
    fn pop(&mut self, now: Duration) -> Option<Packet> {
        self.next_due().filter(|due| *due <= now)?;
        let Reverse((_, number)) = self.order.pop()?;
        self.packets.remove(&number)
    }
}

/// Sends every packet when its time has come; ends when the socket is gone.
async fn carry(env: Env, socket: Arc<dyn AsyncUdpSocket>, mut queue: mpsc::Receiver<Packet>) {
    let mut waiting = Waiting::default();
    loop {
        let now = env.monotonic();
        while let Some(packet) = waiting.pop(now) {
            send(&socket, &packet).await;
        }
        let wait = waiting.next_due().map(|due| due.saturating_sub(now));
        let arrived = match wait {
            None => queue.recv().await,
            Some(wait) => match env.timeout(wait, queue.recv()).await {
                Ok(arrived) => arrived,
                Err(_) => continue,
            },
        };
        match arrived {
            Some(packet) => waiting.push(packet),
            None => return,
        }
    }
}

async fn send(socket: &Arc<dyn AsyncUdpSocket>, packet: &Packet) {
    let transmit = Transmit {
        destination: packet.to,
        ecn: packet.ecn,
        contents: &packet.contents,
        segment_size: None,
        src_ip: None,
    };
    let mut poller = socket.clone().create_io_poller();
    loop {
        match socket.try_send(&transmit) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let writable = std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await;
                if writable.is_err() {
                    return;
                }
            }
            // An error of the socket is a lost packet.
            Ok(()) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(due_ms: u64) -> Packet {
        let to = SocketAddr::from(([127, 0, 0, 1], 1));
        let due = Duration::from_millis(due_ms);
        Packet { due, to, ecn: None, contents: Bytes::new() }
    }

    #[test]
    fn delays_follow_the_globe() {
        let frankfurt = Coordinates { lat: 50.03, lon: 8.56 };
        let tokyo = Coordinates { lat: 35.77, lon: 140.39 };
        let ms = delay(frankfurt, tokyo).as_millis();
        assert!((70..75).contains(&ms), "{ms}");
        assert_eq!(delay(tokyo, tokyo), Duration::from_millis(2));
    }

    #[test]
    fn packets_leave_in_order_of_time_and_never_early() {
        let mut waiting = Waiting::default();
        for due in [30, 10, 20, 10] {
            waiting.push(packet(due));
        }
        assert!(waiting.pop(Duration::from_millis(9)).is_none());
        let mut out = Vec::new();
        while let Some(packet) = waiting.pop(Duration::from_millis(20)) {
            out.push(packet.due.as_millis());
        }
        assert_eq!(out, [10, 10, 20]);
        assert_eq!(waiting.next_due(), Some(Duration::from_millis(30)));
    }
}
