//! The way in for a node that has no certificate yet: a handshake of its own name, in which the
//! other side alone proves who it is, one question, and its answer.
//!
//! Invariant: only nodes with the cluster's authority let anybody in without a certificate, and to
//! nothing but this question. What the question proves is not looked at here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, Runtime, TokioRuntime,
    TransportErrorCode, VarInt,
};
use tracing::debug;

use crate::env::{Env, PeerError};
use crate::limits;
use crate::types::id::ClusterId;
use crate::types::region::RegionId;

use super::address::Addresses;
use super::certify::Certifier;
use super::error::MeshError;
use super::frame::{self, HEAD_BYTES, Kind};
use super::tls::{self, TlsError};
use super::{pool, quic};

/// The name of this handshake.
pub(super) const ALPN: &[u8] = b"godwit-join/1";

/// Whom to ask, and how.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    pub cluster: ClusterId,
    /// The authority that the other side has to be of, as PEM.
    pub authority_pem: String,
    /// Where the members' nodes are.
    pub addresses: BTreeMap<RegionId, String>,
    /// The UDP port, which the mesh takes afterwards.
    pub bind: SocketAddr,
    pub mtu: Option<u16>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotJoined {
    /// Somebody with the authority said no.
    Refused(String),
    /// Nobody with the authority was reached; this is what became of each.
    Away(String),
}

impl fmt::Display for NotJoined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) | Self::Away(why) => f.write_str(why),
        }
    }
}

/// Asks all members at once; the first answer counts.
pub async fn ask(
    env: &Env,
    options: &JoinOptions,
    question: Bytes,
) -> Result<(RegionId, Bytes), NotJoined> {
    let away = |error: MeshError| NotJoined::Away(error.to_string());
    let client = client(env, options).map_err(away)?;
    let endpoint = open(options).map_err(away)?;
    let mut asked: FuturesUnordered<_> = options
        .addresses
        .iter()
        .map(|(region, stated)| {
            let (endpoint, client, question) = (&endpoint, client.clone(), question.clone());
            async move {
                let ways = Addresses::new(stated);
                (*region, one((env, endpoint, client), options, (*region, ways), question).await)
            }
        })
        .collect();
    let (mut refused, mut told) = (None, Vec::new());
    let mut answer = None;
    while let Some((region, outcome)) = asked.next().await {
        match outcome {
            Ok(bytes) => {
                answer = Some((region, bytes));
                break;
            }
            Err(NotJoined::Refused(why)) => refused = Some(NotJoined::Refused(why)),
            Err(NotJoined::Away(why)) => told.push(format!("{region}: {why}")),
        }
    }
    drop(asked);
    close(env, endpoint, options.bind).await;
    told.sort();
    let away =
        if told.is_empty() { "no member has an address".to_owned() } else { told.join("; ") };
    answer.ok_or_else(|| refused.unwrap_or(NotJoined::Away(away)))
}

fn client(env: &Env, options: &JoinOptions) -> Result<ClientConfig, MeshError> {
    let config = tls::joining(env, &options.authority_pem)?;
    let config = QuicClientConfig::try_from(config).map_err(TlsError::new)?;
    let mut client = ClientConfig::new(Arc::new(config));
    client.transport_config(Arc::new(quic::transport(options.mtu)?));
    Ok(client)
}

fn open(options: &JoinOptions) -> Result<Endpoint, MeshError> {
    let failed = |source| MeshError::Bind { address: options.bind, source };
    let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime);
    let socket = runtime.wrap_udp_socket(quic::bind(options.bind)?).map_err(failed)?;
    Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket, runtime)
        .map_err(failed)
}

/// Returns when the port is free again: its last task ends a moment later.
async fn close(env: &Env, endpoint: Endpoint, bind: SocketAddr) {
    endpoint.close(VarInt::from_u32(0), b"done");
    let _ = env.timeout(limits::MESH_CLOSE_GRACE, endpoint.wait_idle()).await;
    drop(endpoint);
    let free = async {
        while quic::bind(bind).is_err() {
            env.sleep(limits::MESH_PAUSE_MIN).await;
        }
    };
    // Attempts that nobody answered end late. Who needs the port tells that it is taken.
    let _ = env.timeout(limits::JOIN_CLOSE_GRACE, free).await;
}

/// A node that closed the connection without an answer is asked again after this.
const AGAIN: Duration = Duration::from_millis(200);

/// Asks one region's node, at each of its addresses.
async fn one(
    (env, endpoint, client): (&Env, &Endpoint, ClientConfig),
    options: &JoinOptions,
    (region, mut ways): (RegionId, Addresses),
    question: Bytes,
) -> Result<Bytes, NotJoined> {
    let name = tls::name(options.cluster, region);
    let mut why = "no address".to_owned();
    for address in ways.find(env).await.map_err(NotJoined::Away)? {
        let exchange = async {
            loop {
                let connecting = endpoint
                    .connect_with(client.clone(), address, &name)
                    .map_err(|why| NotJoined::Away(why.to_string()))?;
                let connection = connecting.await.map_err(|why| NotJoined::Away(explain(&why)))?;
                let limit = limits::CERTIFICATE_ASK_TIMEOUT;
                match pool::exchange(&connection, Kind::Join, question.clone(), limit).await {
                    Ok(answer) => return Ok(answer),
                    Err(PeerError::Refused(why)) => return Err(NotJoined::Refused(why)),
                    // It starts, or stops.
                    Err(_) => env.sleep(AGAIN).await,
                }
            }
        };
        match env.timeout(limits::CERTIFICATE_ASK_TIMEOUT, exchange).await {
            Ok(Err(NotJoined::Away(error))) => why = format!("{address}: {error}"),
            Ok(outcome) => return outcome,
            Err(_) => why = format!("{address}: no answer"),
        }
    }
    Err(NotJoined::Away(why))
}

/// The alert of a server that knows no protocol that the client offers. Source: RFC 7301.
const NO_APPLICATION_PROTOCOL: u8 = 120;

fn explain(why: &ConnectionError) -> String {
    let code = TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL);
    match why {
        ConnectionError::ConnectionClosed(close) if close.error_code == code => {
            "this node has not the cluster's authority".to_owned()
        }
        other => other.to_string(),
    }
}

/// Whether the other side came to ask for its first certificate.
pub(super) fn is_asked_for(connection: &Connection) -> bool {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    data.is_some_and(|data| data.protocol.as_deref() == Some(ALPN))
}

/// Answers one question and closes the connection.
pub(super) async fn serve(env: &Env, certifier: Option<Arc<dyn Certifier>>, with: Connection) {
    let answered = env.timeout(limits::CERTIFICATE_ASK_TIMEOUT, answer(certifier, &with)).await;
    if let Ok(Err(why)) = answered {
        debug!(at = %with.remote_address(), why, "a node that wants to join asked nothing");
    }
    with.close(VarInt::from_u32(0), b"done");
}

async fn answer(certifier: Option<Arc<dyn Certifier>>, with: &Connection) -> Result<(), String> {
    let text = |why: &dyn fmt::Display| why.to_string();
    let (mut send, mut recv) = with.accept_bi().await.map_err(|why| text(&why))?;
    let mut head = [0; HEAD_BYTES];
    recv.read_exact(&mut head).await.map_err(|why| text(&why))?;
    let head = frame::request_head(head).map_err(|why| text(&why))?;
    if head.kind != Kind::Join {
        return Err("it is no question of a node that joins".to_owned());
    }
    let question = recv.read_to_end(head.len).await.map_err(|why| text(&why))?;
    // Without an answer it is asked again.
    let certifier = certifier.ok_or("this node is starting")?;
    let mut frame = frame::answer(certifier.join(question.into()).await);
    pool::write(&mut send, &mut frame).await.map_err(|why| text(&why))?;
    let _ = send.stopped().await;
    Ok(())
}
