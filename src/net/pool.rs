//! The way to one peer: two connections that this node dials and keeps, and calls over them.
//!
//! Invariant: a node calls only over connections that it dialled itself, and serves only on those
//! that it accepted, so two nodes that dial each other at once need no rule about who wins. A
//! connection is used only after the peer has said that it takes this node's certificate.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::{
    Connection, ConnectionError, RecvStream, SendStream, TransportErrorCode, VarInt, WriteError,
};
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use crate::env::{Class, Env, PeerError};
use crate::limits;
use crate::types::region::RegionId;

use super::address::Addresses;
use super::frame::{self, HEAD_BYTES, Kind, Status};
use super::mesh::Shared;
use super::tls;

/// Which of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneKind {
    /// Registers, logs, gossip: small and urgent.
    Control,
    /// Bytes of objects, so that they never stand before the others.
    Bulk,
}

impl LaneKind {
    fn of(class: Class) -> Self {
        match class {
            Class::Register | Class::Log => Self::Control,
            Class::Read | Class::Repair | Class::Migration => Self::Bulk,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Bulk => "bulk",
        }
    }
}

/// Of a stream among the others of its connection; larger first.
pub(super) fn priority(class: Class) -> i32 {
    match class {
        Class::Register => 4,
        Class::Log => 3,
        Class::Read => 2,
        Class::Repair => 1,
        Class::Migration => 0,
    }
}

/// One of the two connections, or the attempts to make it.
#[derive(Default)]
pub(super) struct Lane {
    state: Mutex<LaneState>,
    /// The peer was heard of: try again now.
    wake: Notify,
}

#[derive(Default)]
struct LaneState {
    connection: Option<Connection>,
    /// Why there is none.
    error: Option<String>,
}

impl Lane {
    fn connection(&self) -> Option<Connection> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).connection.clone()
    }

    fn set(&self, state: Result<Connection, String>) {
        let state = match state {
            Ok(connection) => LaneState { connection: Some(connection), error: None },
            Err(error) => LaneState { connection: None, error: Some(error) },
        };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn error(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).error.clone()
    }
}

/// Another region's node.
pub(super) struct Peer {
    pub(super) region: RegionId,
    control: Lane,
    bulk: Lane,
    /// It is no member any more.
    over: watch::Sender<bool>,
}

impl Peer {
    pub(super) fn new(region: RegionId) -> Self {
        let over = watch::Sender::new(false);
        Self { region, control: Lane::default(), bulk: Lane::default(), over }
    }

    /// Its connections are closed, and no more are made.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }

    fn lane(&self, kind: LaneKind) -> &Lane {
        match kind {
            LaneKind::Control => &self.control,
            LaneKind::Bulk => &self.bulk,
        }
    }

    /// The connection of urgent things.
    pub(super) fn control(&self) -> Option<Connection> {
        self.control.connection()
    }

    /// Why the last attempt failed, while there is no connection.
    pub(super) fn error(&self) -> Option<String> {
        self.control.error().or_else(|| self.bulk.error())
    }

    /// The peer was heard of: whatever is missing is tried again now.
    pub(super) fn wake(&self) {
        for lane in [&self.control, &self.bulk] {
            if lane.connection().is_none() {
                lane.wake.notify_one();
            }
        }
    }

    /// The connection for a class; while only one stands, that one.
    fn connection(&self, class: Class) -> Option<Connection> {
        let (first, second) = match LaneKind::of(class) {
            LaneKind::Control => (&self.control, &self.bulk),
            LaneKind::Bulk => (&self.bulk, &self.control),
        };
        first.connection().or_else(|| second.connection())
    }

    /// One question and its answer.
    pub(super) async fn call(
        &self,
        env: &Env,
        class: Class,
        request: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        let connection = self.connection(class).ok_or(PeerError::Unreachable)?;
        let exchange = exchange(&connection, Kind::Call(class), request, deadline);
        env.timeout(deadline, exchange).await.unwrap_or(Err(PeerError::Timeout))
    }
}

impl Peer {
    /// Asks for this node's next certificate.
    pub(super) async fn ask_certificate(&self, env: &Env, wish: Bytes) -> Result<Bytes, PeerError> {
        let connection = self.connection(Class::Register).ok_or(PeerError::Unreachable)?;
        let limit = limits::CERTIFICATE_ASK_TIMEOUT;
        let exchange = exchange(&connection, Kind::Certify, wish, limit);
        env.timeout(limit, exchange).await.unwrap_or(Err(PeerError::Timeout))
    }
}

pub(super) async fn exchange(
    connection: &Connection,
    kind: Kind,
    request: Bytes,
    deadline: Duration,
) -> Result<Bytes, PeerError> {
    let mut frame = frame::request(kind, deadline, request)
        .map_err(|bad| PeerError::Refused(bad.to_string()))?;
    let (mut send, recv) = connection.open_bi().await.map_err(|_| PeerError::Unreachable)?;
    if let Kind::Call(class) = kind {
        // Fails only on a stream that ended, which the next write tells.
        let _ = send.set_priority(priority(class));
    }
    match write(&mut send, &mut frame).await {
        // A peer that refuses early stops the stream; its answer says why.
        Ok(()) | Err(WriteError::Stopped(_)) => read_answer(recv).await,
        Err(_) => Err(PeerError::Broken),
    }
}

/// Writes a frame and ends the stream.
pub(super) async fn write(send: &mut SendStream, frame: &mut [Bytes; 2]) -> Result<(), WriteError> {
    send.write_all_chunks(frame).await?;
    // Fails only after a reset, and there was none.
    let _ = send.finish();
    Ok(())
}

async fn read_answer(mut recv: RecvStream) -> Result<Bytes, PeerError> {
    let mut head = [0; HEAD_BYTES];
    recv.read_exact(&mut head).await.map_err(|_| PeerError::Broken)?;
    let (status, len) =
        frame::answer_head(head).map_err(|bad| PeerError::Refused(bad.to_string()))?;
    let body = recv.read_to_end(len).await.map_err(|_| PeerError::Broken)?;
    if body.len() != len {
        return Err(PeerError::Broken);
    }
    match status {
        Status::Answer => Ok(body.into()),
        Status::Refused => Err(PeerError::Refused(String::from_utf8_lossy(&body).into_owned())),
    }
}

/// Keeps both connections to a peer until the mesh stops.
pub(super) fn keep(shared: &Arc<Shared>, peer: &Arc<Peer>, addresses: &str) {
    for kind in [LaneKind::Control, LaneKind::Bulk] {
        let addresses = Addresses::new(addresses);
        let (shared, peer) = (shared.clone(), peer.clone());
        let env = shared.env.clone();
        env.spawn("mesh connection", async move {
            let (mut stop, mut over) = (shared.stop.subscribe(), peer.over.subscribe());
            let keeper = Keeper { shared: &shared, peer: &peer, kind, addresses, failures: 0 };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => {}
                _ = over.wait_for(|over| *over) => {
                    if let Some(connection) = peer.lane(kind).connection() {
                        connection.close(VarInt::from_u32(0), b"no member any more");
                    }
                }
                () = keeper.run() => {}
            }
            peer.lane(kind).set(Err("stopping".to_owned()));
        });
    }
}

/// The task that keeps one lane.
struct Keeper<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
    kind: LaneKind,
    addresses: Addresses,
    /// Attempts in a row that led to nothing.
    failures: u32,
}

impl Keeper<'_> {
    async fn run(mut self) {
        loop {
            let error = match self.attempt().await {
                Ok(connection) => self.hold(connection).await,
                Err(error) => error,
            };
            self.tell(&error);
            self.peer.lane(self.kind).set(Err(error));
            self.pause().await;
        }
    }

    /// Uses a connection until it ends, and says why it ended.
    async fn hold(&mut self, connection: Connection) -> String {
        let (shared, lane) = (self.shared, self.peer.lane(self.kind));
        let (region, kind) = (self.peer.region, self.kind.name());
        info!(own = %shared.region, peer = %region, kind, at = %connection.remote_address(),
            "connected");
        lane.set(Ok(connection.clone()));
        shared.metrics.connections.inc();
        shared.metrics.connected.inc();
        let began = shared.env.monotonic();
        let why = connection.closed().await;
        shared.metrics.connected.dec();
        shared.metrics.connections_lost.inc();
        if shared.env.monotonic() - began > limits::MESH_STEADY_AFTER {
            self.failures = 0;
        }
        why.to_string()
    }

    /// The first failure is told as such, its repetitions are not.
    fn tell(&self, error: &str) {
        let (own, peer, kind) = (self.shared.region, self.peer.region, self.kind.name());
        if self.peer.lane(self.kind).error().as_deref() == Some(error) {
            debug!(%own, %peer, kind, error, "still not connected");
        } else {
            warn!(%own, %peer, kind, error, "not connected");
        }
    }

    /// Waits before the next attempt, longer after each, by chance so that peers do not fall into
    /// step; or until the peer was heard of.
    async fn pause(&mut self) {
        let env = &self.shared.env;
        let pause = pause_after(self.failures, env.random_u64());
        self.failures = self.failures.saturating_add(1);
        tokio::select! {
            biased;
            () = self.peer.lane(self.kind).wake.notified() => {}
            () = env.sleep(pause) => {}
        }
    }

    async fn attempt(&mut self) -> Result<Connection, String> {
        let shared = self.shared;
        let found = self.addresses.find(&shared.env).await?;
        let mut error = "no address".to_owned();
        for address in found {
            let dial = self.dial(address);
            match shared.env.timeout(limits::MESH_CONNECT_TIMEOUT, dial).await {
                Ok(Ok(connection)) => {
                    self.addresses.prefer(address);
                    return Ok(connection);
                }
                Ok(Err(why)) => error = format!("{address}: {why}"),
                Err(_) => error = format!("{address}: no answer"),
            }
        }
        self.addresses.doubt(&shared.env);
        Err(error)
    }

    async fn dial(&self, address: SocketAddr) -> Result<Connection, String> {
        let shared = self.shared;
        let name = tls::name(shared.cluster, self.peer.region);
        let connecting = shared.endpoint.connect_with(shared.client(), address, &name);
        let connection = connecting.map_err(text)?.await.map_err(|why| self.explain(&why))?;
        let hello = Bytes::copy_from_slice(self.kind.name().as_bytes());
        let limit = limits::MESH_CONNECT_TIMEOUT;
        match exchange(&connection, Kind::Hello, hello, limit).await {
            Ok(_) => Ok(connection),
            Err(error) => Err(match connection.close_reason() {
                Some(ConnectionError::ApplicationClosed(close)) => {
                    format!("refused: {}", String::from_utf8_lossy(&close.reason))
                }
                Some(reason) => self.explain(&reason),
                None => error.to_string(),
            }),
        }
    }

    /// Why a connection ended; where a certificate has run out, whose, and what to type.
    fn explain(&self, why: &ConnectionError) -> String {
        if !is_over(why) {
            return why.to_string();
        }
        let ours = matches!(why, ConnectionError::ConnectionClosed(_));
        let region = if ours { self.shared.region } else { self.peer.region };
        let whose = if ours { "this node's" } else { "its" };
        format!(
            "{whose} certificate has run out, or a clock is wrong: compare the clocks; then run \
             `godwit cluster token {region}` where the cluster's authority is, and start the node \
             of {region} once with GODWIT_TOKEN=..."
        )
    }
}

/// The alert of a certificate whose time is over, or has not come. Source: RFC 8446, section 6.2.
const CERTIFICATE_EXPIRED: u8 = 45;

/// Whether a handshake failed because of the times of a certificate.
pub(super) fn is_over(why: &ConnectionError) -> bool {
    let code = match why {
        ConnectionError::ConnectionClosed(close) => close.error_code,
        ConnectionError::TransportError(error) => error.code,
        ConnectionError::VersionMismatch
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => return false,
    };
    code == TransportErrorCode::crypto(CERTIFICATE_EXPIRED)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn pause_after(failures: u32, random: u64) -> Duration {
    let doubled = limits::MESH_PAUSE_MIN.saturating_mul(1 << failures.min(16));
    let pause = doubled.min(limits::MESH_PAUSE_MAX);
    let part = u32::try_from(random % 1000).expect("below 1000");
    pause / 2 + pause * part / 2000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_never_nothing() {
        for failures in [0, 1, 5, 40, u32::MAX] {
            for random in [0, 500, 999] {
                let pause = pause_after(failures, random);
                assert!(pause >= limits::MESH_PAUSE_MIN / 2 && pause <= limits::MESH_PAUSE_MAX);
            }
        }
        assert!(pause_after(3, 0) > pause_after(0, 0));
    }

    #[test]
    fn bytes_of_objects_never_share_a_connection_with_registers() {
        assert_eq!(LaneKind::of(Class::Register), LaneKind::Control);
        assert_eq!(LaneKind::of(Class::Log), LaneKind::Control);
        for class in [Class::Read, Class::Repair, Class::Migration] {
            assert_eq!(LaneKind::of(class), LaneKind::Bulk);
        }
        let order = [Class::Register, Class::Log, Class::Read, Class::Repair, Class::Migration];
        assert!(order.windows(2).all(|pair| priority(pair[0]) > priority(pair[1])));
    }
}
