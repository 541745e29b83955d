//! The UDP socket of a mesh over the emulated wide area: packets leave when [`Link`] says that they
//! would arrive.
//!
//! Invariant: delay, loss and cuts are applied where a packet is sent, each node to its own, so that
//! QUIC above sees a real path: its round trips, losses and timeouts. A packet is never changed and
//! never early; one to an address of which the link says nothing leaves at once.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::Notify;

use crate::env::Env;

use super::link::{Flow, Link, canonical};

/// Bytes on their way from one node; beyond, packets are lost.
const UNDER_WAY_BYTES_MAX: usize = 128 << 20;

struct Packet {
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    contents: Vec<u8>,
}

#[derive(Default)]
struct State {
    flows: BTreeMap<SocketAddr, Flow>,
    /// By moment of arrival, then order of sending.
    under_way: BTreeMap<(Duration, u64), Packet>,
    bytes: usize,
    sent: u64,
    closed: bool,
}

/// A socket whose packets take the link.
pub(super) fn wrap(
    env: &Env,
    link: Link,
    inner: Arc<dyn AsyncUdpSocket>,
) -> Arc<dyn AsyncUdpSocket> {
    let state = Mutex::default();
    let wire = Arc::new(Wire { env: env.clone(), link, state, news: Notify::new() });
    env.spawn("emulated network", pump(wire.clone(), inner.clone()));
    Arc::new(WireSocket { inner, wire })
}

/// One node's end of the emulated network.
struct Wire {
    env: Env,
    link: Link,
    state: Mutex<State>,
    news: Notify,
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the packet was taken over; it may be lost.
    fn take(&self, transmit: &Transmit<'_>) -> bool {
        let Some(path) = self.link.path(transmit.destination) else { return false };
        let (now, random) = (self.env.monotonic(), self.env.random_u64());
        let mut state = self.state();
        let flow = state.flows.entry(canonical(transmit.destination)).or_default();
        let arrival = flow.arrival(&path, transmit.contents.len(), now, random);
        let Some(arrival) = arrival.filter(|_| state.bytes < UNDER_WAY_BYTES_MAX) else {
            return true;
        };
        let packet = Packet {
            destination: transmit.destination,
            ecn: transmit.ecn,
            contents: transmit.contents.to_vec(),
        };
        state.bytes += packet.contents.len();
        state.sent += 1;
        let order = state.sent;
        state.under_way.insert((arrival, order), packet);
        let first = state.under_way.first_key_value().is_some_and(|(at, _)| at.1 == order);
        drop(state);
        if first {
            self.news.notify_one();
        }
        true
    }

    /// The next packet that is due, or how long there is none; `None`: nothing is left to come.
    fn next(&self) -> Option<Result<Packet, Option<Duration>>> {
        let mut state = self.state();
        let Some(entry) = state.under_way.first_entry() else {
            return if state.closed { None } else { Some(Err(None)) };
        };
        let now = self.env.monotonic();
        let due = entry.key().0;
        if due > now {
            return Some(Err(Some(due - now)));
        }
        let packet = entry.remove();
        state.bytes -= packet.contents.len();
        Some(Ok(packet))
    }
}

/// Sends packets when they are due, until the socket is closed and the last one has left.
async fn pump(wire: Arc<Wire>, socket: Arc<dyn AsyncUdpSocket>) {
    let mut poller = socket.clone().create_io_poller();
    while let Some(next) = wire.next() {
        match next {
            Ok(packet) => send(&*socket, &mut poller, &packet).await,
            Err(None) => wire.news.notified().await,
            Err(Some(wait)) => {
                tokio::select! {
                    biased;
                    () = wire.news.notified() => {}
                    () = wire.env.sleep(wait) => {}
                }
            }
        }
    }
}

async fn send(socket: &dyn AsyncUdpSocket, poller: &mut Pin<Box<dyn UdpPoller>>, packet: &Packet) {
    let transmit = Transmit {
        destination: packet.destination,
        ecn: packet.ecn,
        contents: &packet.contents,
        segment_size: None,
        src_ip: None,
    };
    while let Err(error) = socket.try_send(&transmit) {
        // Any other error loses the packet, as a network does.
        if error.kind() != io::ErrorKind::WouldBlock {
            return;
        }
        let writable = std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx));
        if writable.await.is_err() {
            return;
        }
    }
}

/// A socket over the emulated network.
struct WireSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    wire: Arc<Wire>,
}

impl fmt::Debug for WireSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WireSocket")
    }
}

impl Drop for WireSocket {
    fn drop(&mut self) {
        self.wire.state().closed = true;
        self.wire.news.notify_one();
    }
}

impl AsyncUdpSocket for WireSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.wire.take(transmit) { Ok(()) } else { self.inner.try_send(transmit) }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
