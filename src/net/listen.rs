//! The serving side: connections of peers, and their calls.
//!
//! Invariant: who calls is what the certificate says, proven in the handshake; no field of a message
//! is asked. Handshakes, connections a peer, calls and bytes are bounded, and a body is read only
//! after its call was let in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, Incoming, RecvStream, SendStream, VarInt};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{debug, warn};

use crate::env::{Class, PeerHandler};
use crate::limits;
use crate::types::region::RegionId;

use super::certify::Wish;
use super::frame::{self, HEAD_BYTES, Kind};
use super::mesh::Shared;
use super::{join, pool, tls};

/// Codes of closed connections, for the log of the other side.
const CLOSE_REFUSED: u32 = 1;
const CLOSE_REPLACED: u32 = 2;

/// Accepts connections until the endpoint is closed. The handler is held by the tasks here alone, so
/// that nothing of it is left after a stop.
pub(super) async fn run(shared: Arc<Shared>, handler: Arc<dyn PeerHandler>) {
    let handshakes = Arc::new(Semaphore::new(limits::MESH_HANDSHAKES_MAX));
    while let Some(incoming) = shared.endpoint.accept().await {
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            shared.metrics.connections_refused.inc();
            incoming.refuse();
            continue;
        };
        let (owned, handler) = (shared.clone(), handler.clone());
        shared.env.spawn("mesh handshake", async move {
            match accept(&owned, incoming).await {
                Ok(Accepted::Peer(connection, region)) => {
                    drop(permit);
                    serve(owned, handler, connection, region).await;
                }
                // So many at a time as there are handshakes.
                Ok(Accepted::Joins(connection)) => {
                    let certifier = owned.certifier();
                    join::serve(&owned.env, certifier, connection).await;
                }
                Err(why) => {
                    owned.metrics.connections_refused.inc();
                    debug!(own = %owned.region, why, "a connection was refused");
                }
            }
        });
    }
}

/// Who came.
enum Accepted {
    Peer(Connection, RegionId),
    /// A node without a certificate, that wants its first one.
    Joins(Connection),
}

/// Finishes the handshake, and tells who it is.
async fn accept(shared: &Shared, incoming: Incoming) -> Result<Accepted, String> {
    let at = incoming.remote_address();
    let connecting = incoming.accept().map_err(|error| error.to_string())?;
    let connection = match shared.env.timeout(limits::MESH_CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            if pool::is_over(&error) {
                warn!(own = %shared.region, %at,
                    "a node whose certificate is not valid now was turned away; `godwit cert ls` \
                     shows whose");
            }
            return Err(error.to_string());
        }
        Err(_) => return Err("the handshake took too long".to_owned()),
    };
    if shared.joins && join::is_asked_for(&connection) {
        return Ok(Accepted::Joins(connection));
    }
    let refused = |why: &str| {
        connection.close(VarInt::from_u32(CLOSE_REFUSED), why.as_bytes());
        Err(why.to_owned())
    };
    match tls::region_of(&connection, shared.cluster) {
        None => refused("the certificate names no region of this cluster"),
        Some(region) if region == shared.region => {
            warn!(%region, at = %connection.remote_address(),
                "another node says that it is this region; two nodes have one certificate");
            refused("this is the node of that region")
        }
        Some(region) if !shared.may_call(region) => {
            warn!(%region, "a node of a region that is no member was turned away");
            refused("the region is no member")
        }
        Some(region) => Ok(Accepted::Peer(connection, region)),
    }
}

/// Calls of one connection that are served at a time.
struct Gate {
    control: Semaphore,
    bulk: Semaphore,
}

impl Gate {
    fn of(&self, class: Class) -> &Semaphore {
        match class {
            Class::Register | Class::Log => &self.control,
            Class::Read | Class::Repair | Class::Migration => &self.bulk,
        }
    }
}

/// Serves a peer's connection until it ends.
async fn serve(
    shared: Arc<Shared>,
    handler: Arc<dyn PeerHandler>,
    connection: Connection,
    region: RegionId,
) {
    if let Some(oldest) = shared.admit(region, connection.clone()) {
        oldest.close(VarInt::from_u32(CLOSE_REPLACED), b"replaced by newer connections");
    }
    let gate = Arc::new(Gate {
        control: Semaphore::new(limits::MESH_CALLS_CONTROL_MAX),
        bulk: Semaphore::new(limits::MESH_CALLS_BULK_MAX),
    });
    let datagrams = receive_datagrams(handler.clone(), connection.clone(), region);
    shared.env.spawn("mesh datagrams", datagrams);
    let env = shared.env.clone();
    while let Ok((send, recv)) = connection.accept_bi().await {
        let (shared, handler, gate) = (shared.clone(), handler.clone(), gate.clone());
        let call = Served { shared, handler, gate, region };
        env.spawn("mesh call", call.run(send, recv));
    }
    shared.dismiss(region, &connection);
}

async fn receive_datagrams(
    handler: Arc<dyn PeerHandler>,
    connection: Connection,
    region: RegionId,
) {
    while let Ok(data) = connection.read_datagram().await {
        handler.datagram(region, data);
    }
}

/// What the caller is told: an answer, or why there is none.
type Outcome = Result<Bytes, String>;

/// One call of a peer.
struct Served {
    shared: Arc<Shared>,
    handler: Arc<dyn PeerHandler>,
    gate: Arc<Gate>,
    region: RegionId,
}

impl Served {
    async fn run(self, mut send: SendStream, mut recv: RecvStream) {
        match self.answer(&send, &mut recv).await {
            Ok((outcome, serving)) => {
                let mut frame = frame::answer(outcome);
                if pool::write(&mut send, &mut frame).await.is_ok() && serving.is_some() {
                    // Until the answer has arrived or the caller has gone: a stop waits for that.
                    let _ = send.stopped().await;
                }
            }
            Err(why) => debug!(own = %self.shared.region, peer = %self.region, why, "bad call"),
        }
    }

    /// Reads the request and has it answered. An error means that there is nobody to answer.
    async fn answer(
        &self,
        send: &SendStream,
        recv: &mut RecvStream,
    ) -> Result<(Outcome, Option<SemaphorePermit<'_>>), String> {
        let env = &self.shared.env;
        let mut head = [0; HEAD_BYTES];
        let read = recv.read_exact(&mut head);
        match env.timeout(limits::MESH_CONNECT_TIMEOUT, read).await {
            Ok(read) => read.map_err(|error| error.to_string())?,
            Err(_) => return Err("no head came".to_owned()),
        }
        let head = match frame::request_head(head) {
            Ok(head) => head,
            Err(bad) => return Ok((Err(bad.to_string()), None)),
        };
        let class = match head.kind {
            Kind::Call(class) => class,
            Kind::Join => return Ok((Err("this node has a certificate".to_owned()), None)),
            Kind::Certify => return Ok((self.certify(recv, head.len).await?, None)),
            Kind::Hello => return Ok((self.welcome(recv, head.len).await?, None)),
        };
        let _ = send.set_priority(pool::priority(class));
        let deadline = env.monotonic() + head.deadline;
        let entry = async {
            let own = self.gate.of(class).acquire().await;
            (own, self.shared.serving.acquire().await)
        };
        let Ok((Ok(_own), Ok(serving))) = env.timeout(head.deadline, entry).await else {
            return Ok((Err("too many calls are being served".to_owned()), None));
        };
        let left = deadline.saturating_sub(env.monotonic());
        let body = read_body(recv, head.len);
        let Ok(body) = env.timeout(left.max(Duration::from_millis(1)), body).await else {
            return Err("the request did not arrive in time".to_owned());
        };
        self.shared.metrics.calls_served.inc();
        Ok((self.handler.handle(self.region, body?).await, Some(serving)))
    }

    /// The next certificate of the peer, of its own region alone.
    async fn certify(&self, recv: &mut RecvStream, len: usize) -> Result<Outcome, String> {
        let limit = limits::MESH_CONNECT_TIMEOUT;
        let body = self.shared.env.timeout(limit, read_body(recv, len)).await;
        let body = body.map_err(|_| "the request did not arrive in time".to_owned())??;
        let Some(certifier) = self.shared.certifier() else {
            return Ok(Err("this node has not the cluster's authority".to_owned()));
        };
        let wish: Wish = match serde_json::from_slice(&body) {
            Ok(wish) => wish,
            Err(why) => return Ok(Err(why.to_string())),
        };
        Ok(certifier.renew(self.region, &wish).map(Bytes::from))
    }

    /// The peer's certificate was taken. It can be reached now, so what was given up is tried again.
    async fn welcome(&self, recv: &mut RecvStream, len: usize) -> Result<Outcome, String> {
        read_body(recv, len).await?;
        if let Some(peer) = self.shared.peer(self.region) {
            peer.wake();
        }
        Ok(Ok(Bytes::new()))
    }
}

async fn read_body(recv: &mut RecvStream, len: usize) -> Result<Bytes, String> {
    let body = recv.read_to_end(len).await.map_err(|error| error.to_string())?;
    if body.len() == len {
        Ok(body.into())
    } else {
        Err("the body is shorter than its head says".to_owned())
    }
}
