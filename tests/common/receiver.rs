//! A webhook on the loopback: it keeps what it gets, and answers as it is told.

#![allow(clippy::disallowed_methods, reason = "a test server runs on the test's own runtime")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One request that came.
#[derive(Clone, Debug)]
pub struct Message {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
    /// What it was answered.
    pub status: StatusCode,
}

/// A listening webhook.
pub struct Receiver {
    pub address: SocketAddr,
    messages: Arc<Mutex<Vec<Message>>>,
    status: Arc<AtomicU16>,
    listener: JoinHandle<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let messages: Arc<Mutex<Vec<Message>>> = Arc::default();
        let status = Arc::new(AtomicU16::new(200));
        let (kept, answer) = (messages.clone(), status.clone());
        let listener = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (kept, answer) = (kept.clone(), answer.clone());
                let service =
                    service_fn(move |request| take(request, kept.clone(), answer.clone()));
                tokio::spawn(async move {
                    let builder = hyper::server::conn::http1::Builder::new();
                    // A node that goes away in the middle is what some tests do.
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, messages, status, listener }
    }

    /// What every message is answered from now on.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }

    /// The events of all messages that were taken, in the order they came.
    pub fn events(&self) -> Vec<Value> {
        let taken = self.messages().into_iter().filter(|message| message.status.is_success());
        taken
            .flat_map(|message| {
                let list = message.body.get("Records").or_else(|| message.body.get("events"));
                list.unwrap().as_array().unwrap().clone()
            })
            .collect()
    }

    /// Nobody listens any more.
    pub async fn stop(self) -> SocketAddr {
        self.listener.abort();
        // Aborted is how it ends.
        let _ = self.listener.await;
        self.address
    }
}

async fn take(
    request: Request<Incoming>,
    kept: Arc<Mutex<Vec<Message>>>,
    answer: Arc<AtomicU16>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = StatusCode::from_u16(answer.load(Ordering::SeqCst)).unwrap();
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap();
    let (method, path, headers) = (parts.method, parts.uri.to_string(), parts.headers);
    kept.lock().unwrap().push(Message { method, path, headers, body, status });
    let mut response = Response::new(Full::new(Bytes::from_static(b"thanks")));
    *response.status_mut() = status;
    Ok(response)
}
