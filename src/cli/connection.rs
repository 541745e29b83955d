//! Connections to a node, plain or over TLS, kept for the next request.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::env::Env;
use crate::node;

type Sender = SendRequest<Full<Bytes>>;

/// Connections to one host. Each carries one request at a time.
pub(super) struct Connections {
    env: Env,
    uri: Uri,
    idle: Mutex<Vec<Sender>>,
    trust: OnceLock<Result<Arc<ClientConfig>, String>>,
}

/// Why there is no answer.
pub(super) struct Lost {
    /// For people.
    pub(super) why: String,
    /// The request did not reach the node, so that it can be sent again whatever it does.
    pub(super) unsent: bool,
}

/// The head of an answer; its connection is free again when the body was read and it is given back.
pub(super) struct Open {
    pub(super) response: Response<Incoming>,
    pub(super) sender: Sender,
}

impl Connections {
    pub(super) fn new(env: Env, uri: Uri) -> Self {
        Self { env, uri, idle: Mutex::new(Vec::new()), trust: OnceLock::new() }
    }

    /// Sends `request` and gives the head of the answer.
    pub(super) async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Open, Lost> {
        let unsent = |why: String| Lost { why, unsent: true };
        let kept = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut ready = None;
        while let Some(mut sender) = kept() {
            // One that the node closed meanwhile is not ready.
            if sender.ready().await.is_ok() {
                ready = Some(sender);
                break;
            }
        }
        let mut sender = match ready {
            Some(sender) => sender,
            None => self.connect().await.map_err(unsent)?,
        };
        match sender.try_send_request(request).await {
            Ok(response) => Ok(Open { response, sender }),
            Err(mut error) => {
                let unsent = error.take_message().is_some();
                Err(Lost { why: error.into_error().to_string(), unsent })
            }
        }
    }

    /// Keeps a connection for the next request; call it when the answer was read to its end.
    pub(super) fn give_back(&self, sender: Sender) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    }

    /// Errors are for people.
    async fn connect(&self) -> Result<Sender, String> {
        let host = self.uri.host().ok_or("no host in the URL")?;
        let tls = self.uri.scheme_str() == Some("https");
        let port = self.uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let stream =
            TcpStream::connect((name, port)).await.map_err(|e| format!("cannot connect: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        if !tls {
            return self.speak(stream).await;
        }
        let server = name.to_owned().try_into().map_err(|e| format!("{name}: {e}"))?;
        let trust = self.trust.get_or_init(|| trust().map(Arc::new)).clone()?;
        let stream = TlsConnector::from(trust).connect(server, stream).await;
        self.speak(stream.map_err(|e| format!("TLS: {e}"))?).await
    }

    async fn speak<S>(&self, stream: S) -> Result<Sender, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        // An error of the connection is told by the request that uses it.
        self.env.spawn("client connection", async { drop(connection.await) });
        Ok(sender)
    }
}

/// `SSL_CERT_FILE` goes before what the system trusts.
fn trust() -> Result<ClientConfig, String> {
    let stated = std::env::var("SSL_CERT_FILE").ok();
    node::trust::client_config(stated.as_deref().map(Path::new))
        .map_err(|why| format!("{why}; SSL_CERT_FILE names a PEM bundle"))
}
