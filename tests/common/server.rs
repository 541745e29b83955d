//! An S3 port in this process, on a free port of the loopback.

#![allow(clippy::disallowed_methods, reason = "a test server runs on the test's own runtime")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use godwit::logic::keyring::Keyring;
use godwit::s3::{Options, Outgoing, Own, Service};
use godwit::types::record::KeyScope;

use super::client::Client;
use super::node::Node;

/// A node with its S3 port and the owner of everything.
pub struct Server {
    pub node: Node,
    pub address: SocketAddr,
    pub client: Client,
    pub service: Service,
    listener: JoinHandle<()>,
}

impl Server {
    pub async fn start() -> Self {
        Self::on(Node::start().await).await
    }

    /// A server with one bucket and these webhooks in its settings.
    pub async fn with_webhooks(bucket: &str, webhooks: &[String]) -> Self {
        let server = Self::on(Node::with_webhooks(webhooks).await).await;
        server.client.put(&format!("/{bucket}"), "").await.expect(200);
        server
    }

    async fn on(node: Node) -> Self {
        let (address, service, listener) = listen(&node).await;
        let client = client_of(&node, address, None, KeyScope::Admin).await;
        Self { node, address, client, service, listener }
    }

    /// The server of the first of several regions, with the others.
    pub async fn among(codes: &[&str]) -> (Self, Vec<Node>) {
        let mut nodes = Node::cluster(codes).await;
        let node = nodes.remove(0);
        let (address, service, listener) = listen(&node).await;
        let client = client_of(&node, address, None, KeyScope::Admin).await;
        (Self { node, address, client, service, listener }, nodes)
    }

    /// A server with one bucket.
    pub async fn with_bucket(name: &str) -> Self {
        let server = Self::start().await;
        server.client.put(&format!("/{name}"), "").await.expect(200);
        server
    }

    /// The same of a node that has no keyring.
    pub async fn without_keyring(bucket: &str) -> Self {
        let mut node = Node::start().await;
        node.engine = node.engine.with_keyring(Keyring::default());
        let (address, service, listener) = listen(&node).await;
        let client = client_of(&node, address, None, KeyScope::Admin).await;
        client.put(&format!("/{bucket}"), "").await.expect(200);
        Self { node, address, client, service, listener }
    }

    /// The same, with other webhooks in its settings.
    pub async fn restart_with_webhooks(mut self, webhooks: &[String]) -> Self {
        self.node.set_webhooks(webhooks);
        self.restart().await
    }

    /// The same node with the same data, on another port.
    pub async fn restart(self) -> Self {
        self.listener.abort();
        // Aborted is how it ends.
        let _ = self.listener.await;
        drop(self.service);
        let node = self.node.restart().await;
        let (address, service, listener) = listen(&node).await;
        Self { node, address, client: Client { address, ..self.client }, service, listener }
    }

    /// The owner of another account.
    pub async fn stranger(&self) -> Client {
        client_of(&self.node, self.address, None, KeyScope::Admin).await
    }

    /// Another key of the client's account.
    pub async fn key_with(&self, scope: KeyScope) -> Client {
        let id = godwit::types::name::AccessKeyId::parse(&self.client.access_key).unwrap();
        let record = self.node.engine.access_key(&id).await.unwrap().unwrap();
        client_of(&self.node, self.address, Some(record.account), scope).await
    }
}

async fn client_of(
    node: &Node,
    address: SocketAddr,
    account: Option<godwit::types::name::AccountId>,
    scope: KeyScope,
) -> Client {
    let key = node.engine.create_access_key(account, scope).await.unwrap();
    let secret_key = key.record.secret.0.to_string();
    Client { address, access_key: key.id.to_string(), secret_key }
}

async fn listen(node: &Node) -> (SocketAddr, Service, JoinHandle<()>) {
    let options = Options { own_hosts: true, ..Options::new(node.engine.region()) };
    let own: Own = Arc::new(|_, _, _| {
        let mut answer = Response::new(Outgoing::empty());
        *answer.status_mut() = StatusCode::NOT_FOUND;
        Box::pin(std::future::ready(answer))
    });
    let gate = Arc::new(node.engine.clone());
    let service = Service::new(node.env.clone(), gate, options, own);
    let shared = service.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = service.clone();
            let service = service_fn(move |request| {
                let service = service.clone();
                async move { Ok::<_, Infallible>(service.call(request, peer).await) }
            });
            tokio::spawn(async move {
                let mut builder = Builder::new(TokioExecutor::new());
                builder.http1().timer(TokioTimer::new()).half_close(true);
                // A client that goes away in the middle is what some tests do.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, shared, task)
}
