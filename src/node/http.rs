//! HTTP listeners: connections in, one handler for every request on them, and an orderly end.
//!
//! Invariant: a listener that stops accepts nothing more, lets every request that was begun come to
//! its end within the grace that the wiring gives, and tells clients to close. What a request means
//! is decided elsewhere.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::env::{BoxFuture, Env};
use crate::limits;
use crate::s3::{Outgoing, OverTls};

use super::door::{Door, Opened};
use super::shutdown::Stop;

/// Answers one request; the address is the client's.
pub(crate) type Handler = Arc<
    dyn Fn(Request<Incoming>, SocketAddr) -> BoxFuture<'static, Response<Outgoing>> + Send + Sync,
>;

/// How long the head of a request may take (slow clients), and the first bytes of a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// More than the fronts take, so that it is they who refuse, with an error that says why. Bodies
/// are read in pieces of at most this size too.
const READ_BYTES_MAX: usize = 4 * limits::HEADER_BYTES_MAX;
const READ_HEADERS_MAX: usize = 2 * limits::HEADERS_MAX;

/// How HTTP/2 begins; no method of HTTP/1 does. Source: RFC 9113, section 3.4.
const HTTP2_START: &[u8; 4] = b"PRI ";

/// Pause before looking again for the rest of a beginning that came in pieces.
const START_PAUSE: Duration = Duration::from_millis(10);

/// Connections at the same time; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 8192;

/// Pause after the system refused a connection (no descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Requests at the same time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// Tasks of HTTP/2 go through the same door as all others.
#[derive(Clone)]
struct Spawner(Env);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, task: F) {
        self.0.spawn("http2 stream", task);
    }
}

/// Binds a port for [`serve`].
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Accepts until the node stops. Each connection holds a [`Stop`] of its own, so that the stopper
/// waits for what is in flight.
pub(crate) fn serve(
    env: Env,
    listener: TcpListener,
    handler: Handler,
    stop: Stop,
) -> impl Future<Output = ()> + Send + 'static {
    serve_behind(env, listener, handler, &Door::default(), stop)
}

/// The same, of connections that go through a door first.
pub(crate) fn serve_behind(
    env: Env,
    listener: TcpListener,
    handler: Handler,
    door: &Door,
    stop: Stop,
) -> impl Future<Output = ()> + Send + use<> {
    run(env, listener, handler, door.clone(), stop)
}

async fn run(env: Env, listener: TcpListener, handler: Handler, door: Door, mut stop: Stop) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.called() => return,
            accepted = accept(&room, &listener) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let (door, handler) = (door.clone(), handler.clone());
                let connection =
                    connection(env.clone(), (stream, peer), door, handler, stop.clone());
                env.spawn("http connection", async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "no connection accepted");
                env.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    room: &Arc<Semaphore>,
    listener: &TcpListener,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, client) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, client, permit))
}

async fn connection(
    env: Env,
    (stream, peer): (TcpStream, SocketAddr),
    door: Door,
    handler: Handler,
    mut stop: Stop,
) {
    let started = tokio::select! {
        biased;
        () = stop.called() => return,
        started = env.timeout(HEADER_TIMEOUT, start(&env, &door, stream, peer)) => started,
    };
    let (opened, http2, client) = match started {
        Ok(Ok(started)) => started,
        Ok(Err(error)) => {
            debug!(%peer, %error, "a connection without a request");
            return;
        }
        Err(_) => {
            debug!(%peer, "a connection whose request did not begin");
            return;
        }
    };
    match opened {
        Opened::Plain(stream) => speak(env, stream, (http2, false), (client, handler), stop).await,
        Opened::Tls(stream, _) => {
            speak(env, *stream, (http2, true), (client, handler), stop).await;
        }
    }
}

/// Goes through the door, and finds out the version.
async fn start(
    env: &Env,
    door: &Door,
    stream: TcpStream,
    peer: SocketAddr,
) -> io::Result<(Opened, bool, SocketAddr)> {
    let (opened, client) = door.open(stream, peer).await?;
    let http2 = match &opened {
        Opened::Plain(stream) => is_http2(env, stream).await?,
        Opened::Tls(_, http2) => *http2,
    };
    Ok((opened, http2, client))
}

async fn speak<S>(
    env: Env,
    stream: S,
    (http2, over_tls): (bool, bool),
    (client, handler): (SocketAddr, Handler),
    mut stop: Stop,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(Spawner(env));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(READ_HEADERS_MAX)
        .max_buf_size(READ_BYTES_MAX)
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .max_header_list_size(u32::try_from(READ_BYTES_MAX).expect("256 KiB"))
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(Duration::from_secs(30));
    let builder = if http2 { builder.http2_only() } else { builder.http1_only() };
    let service = service_fn(move |mut request: Request<Incoming>| {
        if over_tls {
            request.extensions_mut().insert(OverTls);
        }
        let answer = handler(request, client);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.called() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%client, error, "connection ended early");
    }
}

/// Which version the client speaks, by its first bytes. The builder could tell as well, but would
/// wait for them without end.
async fn is_http2(env: &Env, stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; HTTP2_START.len()];
    loop {
        let len = stream.peek(&mut start).await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !HTTP2_START.starts_with(&start[..len]) {
            return Ok(false);
        }
        if len == start.len() {
            return Ok(true);
        }
        env.sleep(START_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use crate::env::Clock;
    use crate::node::env::real;
    use crate::node::shutdown::Stopper;

    use super::*;

    /// Every pause is over at once.
    struct Hasty;

    impl Clock for Hasty {
        fn now_ms(&self) -> u64 {
            0
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    async fn listen(env: &Env) -> (SocketAddr, Stopper) {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler: Handler = Arc::new(|request: Request<Incoming>, _| {
            let text = format!("{:?} {}", request.version(), request.headers().len());
            Box::pin(std::future::ready(Response::new(Outgoing::from(text))))
        });
        let stopper = Stopper::new();
        env.spawn("test listener", serve(env.clone(), listener, handler, stopper.stop()));
        (address, stopper)
    }

    fn real_env() -> Env {
        real(&tokio::runtime::Handle::current(), "/nowhere".as_ref())
    }

    /// What the server answers to these bytes, until it closes.
    async fn exchange(address: SocketAddr, pieces: &[&str]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = Vec::new();
        // A reset is how a close looks when bytes were left unread.
        let end = stream.read_to_end(&mut answer).await.map_err(|error| error.kind());
        assert!(matches!(end, Ok(_) | Err(io::ErrorKind::ConnectionReset)), "{end:?}");
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn a_client_that_does_not_begin_is_let_go() {
        let env = Env { clock: Arc::new(Hasty), ..real_env() };
        let (address, _stopper) = listen(&env).await;
        assert_eq!(exchange(address, &[]).await, "");
        assert_eq!(exchange(address, &["PRI"]).await, "");
    }

    #[tokio::test]
    async fn the_version_is_told_by_the_first_bytes() {
        let (address, _stopper) = listen(&real_env()).await;
        let rest = "UT / HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let answer = exchange(address, &["P", rest]).await;
        assert!(answer.ends_with("HTTP/1.1 2"), "{answer}");
        let client =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                .http2_only(true)
                .build_http::<http_body_util::Empty<bytes::Bytes>>();
        let answer = client.get(format!("http://{address}/").parse().unwrap()).await.unwrap();
        assert_eq!(answer.version(), http::Version::HTTP_2);
    }

    #[tokio::test]
    async fn a_listener_that_stops_lets_idle_connections_go() {
        let env = real_env();
        let (address, stopper) = listen(&env).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut used = TcpStream::connect(address).await.unwrap();
        used.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(used.read(&mut [0; 4096]).await.unwrap() > 0);
        stopper.finish(&env, Duration::from_secs(10)).await.unwrap();
        assert_eq!(silent.read(&mut [0; 16]).await.unwrap(), 0);
        assert_eq!(used.read(&mut [0; 16]).await.unwrap(), 0);
    }
}
