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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::env::{BoxFuture, Env};
use crate::limits;
use crate::s3::Outgoing;

use super::shutdown::Stop;

/// Answers one request; the address is the client's.
pub(crate) type Handler = Arc<
    dyn Fn(Request<Incoming>, SocketAddr) -> BoxFuture<'static, Response<Outgoing>> + Send + Sync,
>;

/// How long the head of a request may take (slow clients).
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

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
pub(crate) async fn serve(env: Env, listener: TcpListener, handler: Handler, mut stop: Stop) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.called() => return,
            accepted = accept(&room, &listener) => accepted,
        };
        match accepted {
            Ok((stream, client, permit)) => {
                let connection =
                    connection(env.clone(), stream, client, handler.clone(), stop.clone());
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
    stream: TcpStream,
    client: SocketAddr,
    handler: Handler,
    mut stop: Stop,
) {
    let mut builder = Builder::new(Spawner(env));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(limits::HEADERS_MAX)
        .max_buf_size(limits::HEADER_BYTES_MAX)
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .max_header_list_size(u32::try_from(limits::HEADER_BYTES_MAX).expect("64 KiB"))
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(Duration::from_secs(30));
    let service = service_fn(move |request| {
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
