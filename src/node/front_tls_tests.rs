//! A real listener and real TLS clients: what stands before HTTP, and files that change.
#![allow(clippy::disallowed_methods, reason = "files of a test")]

use std::net::SocketAddr;

use ::http::{Request, Response, Version};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::door::Door;
use super::super::http::{Handler, bind, serve_behind};
use super::super::shutdown::Stopper;
use super::*;
use crate::node::env::real;
use crate::s3::{Outgoing, OverTls};

/// A folder with the files of a certificate for `localhost`.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.make();
        files
    }

    fn certificate(&self) -> PathBuf {
        self.0.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }

    /// Writes a new certificate with its key.
    fn make(&self) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(self.certificate(), cert.pem()).unwrap();
        std::fs::write(self.key(), signing_key.serialize_pem()).unwrap();
    }

    /// A client that believes the certificate of now.
    fn client(&self, alpn: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.certificate()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

fn env() -> Env {
    real(&tokio::runtime::Handle::current(), "/".as_ref())
}

/// Answers with the version, the client, and whether TLS was seen.
async fn listen(door: &Door) -> (SocketAddr, Stopper) {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler: Handler = Arc::new(|request: Request<Incoming>, client| {
        let tls = request.extensions().get::<OverTls>().is_some();
        let text = format!("{:?} {client} {tls}", request.version());
        Box::pin(std::future::ready(Response::new(Outgoing::from(text))))
    });
    let stopper = Stopper::new();
    let env = env();
    env.spawn("test", serve_behind(env.clone(), listener, handler, door, stopper.stop()));
    (address, stopper)
}

/// What is answered to a head and a request in clear, until the end.
async fn exchange(address: SocketAddr, head: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(&[head, request].concat()).await.unwrap();
    let mut answer = Vec::new();
    // A reset is how a close looks when bytes were left unread.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn connect(
    address: SocketAddr,
    client: &TlsConnector,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    client.connect("localhost".try_into().unwrap(), stream).await
}

#[tokio::test]
async fn both_versions_of_http_are_chosen_in_the_handshake() {
    let files = Files::new();
    let tls = Tls::load(&env(), &files.certificate(), &files.key()).unwrap();
    let (address, _stopper) = listen(&Door { tls: Some(tls), ..Door::default() }).await;
    for (alpn, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"][..], Version::HTTP_11),
        (&[][..], Version::HTTP_11),
    ] {
        let stream = connect(address, &files.client(alpn)).await.unwrap();
        let request = || Request::get("https://localhost/").header("host", "localhost");
        let request = request().body(Empty::<Bytes>::new()).unwrap();
        let io = TokioIo::new(stream);
        let answer = if version == Version::HTTP_2 {
            let (mut send, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            env().spawn("test connection", async { drop(connection.await) });
            send.send_request(request).await.unwrap()
        } else {
            let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            env().spawn("test connection", async { drop(connection.await) });
            send.send_request(request).await.unwrap()
        };
        assert_eq!(answer.version(), version);
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.starts_with(&format!("{version:?}")) && body.ends_with("true"), "{body}");
    }
    let plain = exchange(address, b"").await;
    assert!(!plain.contains("HTTP/1.1 200"), "no plain HTTP: {plain}");
}

#[tokio::test]
async fn files_that_change_are_read_again_and_wrong_ones_keep_what_was_there() {
    let files = Files::new();
    let tls = Tls::load(&env(), &files.certificate(), &files.key()).unwrap();
    let (address, _stopper) = listen(&Door { tls: Some(tls.clone()), ..Door::default() }).await;
    let old = files.client(&[]);
    assert!(connect(address, &old).await.is_ok());
    assert_eq!(tls.look(), None);

    let good = std::fs::read(files.certificate()).unwrap();
    std::fs::write(files.certificate(), "no certificate").unwrap();
    let why = tls.look().unwrap();
    assert!(why.contains("cert.pem: it has no certificate in PEM"), "{why}");
    assert!(connect(address, &old).await.is_ok(), "the old one goes on");
    std::fs::remove_file(files.certificate()).unwrap();
    let why = tls.look().unwrap();
    assert!(why.contains("cert.pem: there is no such file"), "{why}");
    let other = Files::new();
    std::fs::copy(other.certificate(), files.certificate()).unwrap();
    let why = tls.look().unwrap();
    assert!(why.contains("key.pem: it is not the key of the certificate"), "{why}");
    assert!(connect(address, &old).await.is_ok());
    std::fs::write(files.certificate(), good).unwrap();
    assert_eq!(tls.look(), None, "right again");

    files.make();
    assert_eq!(tls.look(), None);
    assert!(connect(address, &files.client(&[])).await.is_ok(), "the new one, without a restart");
    assert!(connect(address, &old).await.is_err());
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_at_the_start_and_the_key_is_not() {
    let files = Files::new();
    let secret = std::fs::read_to_string(files.key()).unwrap();
    std::fs::write(files.key(), secret.replace("PRIVATE", "PUBLIC")).unwrap();
    let why = Tls::load(&env(), &files.certificate(), &files.key()).err().unwrap();
    assert!(why.contains("key.pem: it has no private key in PEM"), "{why}");
    assert!(!secret.lines().skip(1).any(|line| why.contains(line)));
    let settings = config::Tls { cert: Some(files.certificate()), key: Some("/nowhere".into()) };
    let why = of_settings(&env(), &settings).err().unwrap().to_string();
    assert!(why.contains("/nowhere: there is no such file"), "{why}");
    assert!(of_settings(&env(), &config::Tls::default()).unwrap().is_none());
}

#[tokio::test]
async fn a_listed_proxy_says_who_the_client_is_and_nobody_else_does() {
    let listed = Door { proxies: ["127.0.0.0/8".parse().unwrap()].into(), ..Door::default() };
    let (address, _stopper) = listen(&listed).await;
    let first = b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n";
    let answer = exchange(address, first).await;
    assert!(answer.ends_with("203.0.113.9:56324 false"), "{answer}");
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    second.extend_from_slice(&[203, 0, 113, 9, 10, 0, 0, 1, 0xdc, 0x04, 1, 187]);
    let answer = exchange(address, &second).await;
    assert!(answer.ends_with("203.0.113.9:56324 false"), "{answer}");
    let own = exchange(address, b"PROXY UNKNOWN\r\n").await;
    assert!(own.contains(" 127.0.0.1:"), "the proxy's own checks: {own}");
    for bad in [&b""[..], b"PROXY TCP4 x\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"] {
        assert_eq!(exchange(address, bad).await, "", "it always begins with a head");
    }
    let (address, _stopper) = listen(&Door::default()).await;
    let forged = exchange(address, first).await;
    assert!(!forged.contains("203.0.113.9"), "{forged}");
    assert!(exchange(address, b"").await.contains(" 127.0.0.1:"));
}

#[tokio::test]
async fn a_proxys_head_stands_before_the_handshake() {
    let files = Files::new();
    let tls = Tls::load(&env(), &files.certificate(), &files.key()).unwrap();
    let proxies = ["127.0.0.1".parse().unwrap()].into();
    let (address, _stopper) = listen(&Door { tls: Some(tls), proxies }).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"PROXY TCP6 2001:db8::9 2001:db8::1 7 443\r\n").await.unwrap();
    let client = files.client(&[]);
    let mut stream = client.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.ends_with("[2001:db8::9]:7 true"), "{answer}");
}
