//! What a TCP connection goes through before HTTP begins: the head of a proxy, and TLS.
//!
//! Invariant: only connections from addresses that the settings list begin with a proxy's head, and
//! those always do: nobody else can say that he is somebody else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{Config, Network};
use crate::env::Env;
use crate::limits;
use crate::logic::proxied::{self, BadHead, HEAD_BYTES, LINE_BYTES_MAX};
use crate::obs::Metrics;

use super::NodeError;
use super::certs::Left;
use super::front_tls::{self, Tls};
use super::tasks::Job;

/// What stands before a listener's HTTP; nothing by default.
#[derive(Clone, Default)]
pub struct Door {
    pub(super) tls: Option<Tls>,
    /// Whose connections begin with a proxy's head.
    pub(super) proxies: Arc<[Network]>,
}

/// A connection on which HTTP begins.
pub(crate) enum Opened {
    Plain(TcpStream),
    /// And whether HTTP/2 was chosen.
    Tls(Box<TlsStream<TcpStream>>, bool),
}

impl Door {
    /// As the settings say; wrong files are told here.
    pub(super) fn of(env: &Env, config: &Config) -> Result<Self, NodeError> {
        let proxies = config.s3.proxy_protocol.clone().into();
        Ok(Self { tls: front_tls::of_settings(env, &config.tls)?, proxies })
    }

    /// That of a port that no proxy stands before.
    pub(super) fn without_proxies(&self) -> Self {
        Self { proxies: Arc::default(), ..self.clone() }
    }

    /// What has to be looked at again and again; shows what there is to know of it.
    pub(super) fn looks(&self, metrics: &Metrics, left: &Left) -> Option<Job> {
        front_tls::show(self.tls.as_ref(), metrics, left);
        self.tls.as_ref().map(Tls::job)
    }

    /// The connection, and who is at its other end.
    pub(crate) async fn open(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> io::Result<(Opened, SocketAddr)> {
        let proxied = self.proxies.iter().any(|network| network.contains(peer.ip()));
        let client = if proxied { proxy_head(&mut stream).await?.unwrap_or(peer) } else { peer };
        let Some(tls) = &self.tls else { return Ok((Opened::Plain(stream), client)) };
        let stream = TlsAcceptor::from(tls.current()).accept(stream).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Opened::Tls(Box::new(stream), http2), client))
    }
}

async fn proxy_head(stream: &mut TcpStream) -> io::Result<proxied::Client> {
    let bad = |_: BadHead| {
        io::Error::new(io::ErrorKind::InvalidData, "a listed proxy sent no head of its protocol")
    };
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head[..1]).await?;
    if head[0] == b'P' {
        let mut line = vec![b'P'];
        while !line.ends_with(b"\n") && line.len() < LINE_BYTES_MAX {
            line.push(stream.read_u8().await?);
        }
        return proxied::line(&line).map_err(bad);
    }
    stream.read_exact(&mut head[1..]).await?;
    let rest = proxied::head(&head).map_err(bad)?;
    if rest.len > limits::PROXY_HEAD_BYTES_MAX {
        return Err(bad(BadHead));
    }
    let mut bytes = vec![0; rest.len];
    stream.read_exact(&mut bytes).await?;
    rest.client(&bytes).map_err(bad)
}
