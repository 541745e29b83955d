//! One connection for one request, plain or over TLS.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::env::Env;
use crate::node;

/// Sends `request` to the host of `uri` and gives the head of the answer. Errors are for people.
pub(super) async fn exchange(
    env: &Env,
    uri: &Uri,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, String> {
    let host = uri.host().ok_or("no host in the URL")?;
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let stream =
        TcpStream::connect((name, port)).await.map_err(|e| format!("cannot connect: {e}"))?;
    if !tls {
        return speak(env, stream, request).await;
    }
    let server = name.to_owned().try_into().map_err(|e| format!("{name}: {e}"))?;
    let stream = TlsConnector::from(Arc::new(trust()?)).connect(server, stream).await;
    speak(env, stream.map_err(|e| format!("TLS: {e}"))?, request).await
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    env: &Env,
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    // An error of the connection is told by the request that uses it.
    env.spawn("client connection", async { drop(connection.await) });
    sender.send_request(request).await.map_err(|e| e.to_string())
}

/// `SSL_CERT_FILE` goes before what the system trusts.
fn trust() -> Result<ClientConfig, String> {
    let stated = std::env::var("SSL_CERT_FILE").ok();
    node::trust::client_config(stated.as_deref().map(Path::new))
        .map_err(|why| format!("{why}; SSL_CERT_FILE names a PEM bundle"))
}
