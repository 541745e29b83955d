//! One webhook over real sockets: TLS, kept connections, and answers of every kind.
#![allow(clippy::disallowed_methods, reason = "the other side runs on the test's own runtime")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::node::env::real;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers each request on each connection with the next of these texts, and the last one for
/// ever; an empty one closes the connection.
struct Other {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Other {
    async fn start(answers: &[&str], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let (count, kept) = (connections.clone(), Arc::clone(&requests));
        let answers: Vec<String> = answers.iter().map(|text| (*text).to_owned()).collect();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let (kept, answers) = (Arc::clone(&kept), answers.clone());
                match tls.clone() {
                    // A client that does not trust this goes away.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            tokio::spawn(talk(stream, kept, answers));
                        }
                    }
                    None => {
                        tokio::spawn(talk(stream, kept, answers));
                    }
                }
            }
        });
        Self { port, connections, requests }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    kept: Arc<Mutex<Vec<String>>>,
    answers: Vec<String>,
) {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let Ok(n @ 1..) = stream.read(&mut piece).await else { return };
        bytes.extend_from_slice(&piece[..n]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        if !text.ends_with("{\"a\":1}") {
            continue;
        }
        bytes.clear();
        let answer = {
            let mut kept = kept.lock().unwrap();
            kept.push(text);
            answers.get(kept.len() - 1).or_else(|| answers.last()).unwrap().clone()
        };
        if answer.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn webhooks(url: &str, ca: Option<&Path>) -> Webhooks {
    let env = real(&tokio::runtime::Handle::current(), Path::new("/"));
    let hook: Webhook = format!("hook={url} bearer=token").parse().unwrap();
    Webhooks::new(&env, &[hook], ca).unwrap()
}

async fn post(webhooks: &Webhooks) -> Result<(), Undelivered> {
    let post = webhooks.post("hook", Bytes::from_static(b"{\"a\":1}"));
    tokio::time::timeout(Duration::from_secs(20), post).await.unwrap()
}

#[tokio::test]
async fn connections_are_kept_and_made_anew_when_they_were_closed() {
    let other = Other::start(&[OK, OK, "", OK], None).await;
    let webhooks = webhooks(&format!("http://127.0.0.1:{}/x", other.port), None);
    post(&webhooks).await.unwrap();
    post(&webhooks).await.unwrap();
    assert_eq!(other.connections(), 1);
    // The third request is met by a close, and sent again on a new connection.
    post(&webhooks).await.unwrap();
    assert_eq!(other.connections(), 2);
    let requests = other.requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 4);
    let first = requests[0].to_lowercase();
    assert!(first.starts_with("post /x http/1.1\r\n"), "{first}");
    assert!(first.contains("authorization: bearer token\r\n"), "{first}");
    assert!(first.contains("content-length: 7\r\n"), "{first}");
}

#[tokio::test]
async fn statuses_say_whether_to_come_again() {
    let cases = [
        ("200 OK", None),
        ("204 No Content", None),
        ("302 Found\r\nlocation: http://127.0.0.1:1/", Some(true)),
        ("400 Bad Request", Some(true)),
        ("404 Not Found", Some(true)),
        ("408 Request Timeout", Some(false)),
        ("429 Too Many Requests", Some(false)),
        ("500 Internal Server Error", Some(false)),
        ("503 Service Unavailable", Some(false)),
    ];
    for (status, refused) in cases {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        let other = Other::start(&[&answer], None).await;
        let webhooks = webhooks(&format!("http://127.0.0.1:{}/", other.port), None);
        let found = match post(&webhooks).await {
            Ok(()) => None,
            Err(Undelivered::Refused(_)) => Some(true),
            Err(Undelivered::Failed(_)) => Some(false),
        };
        assert_eq!(found, refused, "{status}");
        assert_eq!(other.connections(), 1, "no redirect is followed");
    }
}

#[tokio::test]
async fn an_answer_that_never_ends_is_not_read_to_its_end() {
    for sent in [limits::NOTIFY_ANSWER_BYTES_MAX * 2, 1] {
        let long = "x".repeat(sent);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n{long}");
        let other = Other::start(&[&answer], None).await;
        let webhooks = webhooks(&format!("http://127.0.0.1:{}/", other.port), None);
        post(&webhooks).await.unwrap();
        post(&webhooks).await.unwrap();
        assert_eq!(other.connections(), 2, "such a connection is not kept");
    }
}

#[tokio::test]
async fn nobody_there_and_no_such_webhook_are_failures() {
    let other = Other::start(&[""], None).await;
    let webhooks = webhooks(&format!("http://127.0.0.1:{}/", other.port), None);
    assert!(matches!(post(&webhooks).await, Err(Undelivered::Failed(_))));
    let unknown = webhooks.post("other", Bytes::new()).await;
    assert!(matches!(unknown, Err(Undelivered::Failed(_))));
    assert_eq!((webhooks.form("hook"), webhooks.form("other")), (Some(Form::S3), None));
}

#[tokio::test]
async fn certificates_are_checked_against_the_bundle_of_the_settings() {
    let made = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap(), key)
    };
    let (certificate, key) = made("localhost");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let other = Other::start(&[OK], Some(TlsAcceptor::from(Arc::new(config)))).await;
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good.pem"), dir.path().join("bad.pem"));
    std::fs::write(&good, certificate.pem()).unwrap();
    std::fs::write(&bad, made("localhost").0.pem()).unwrap();
    let url = |host: &str| format!("https://{host}:{}/", other.port);
    post(&webhooks(&url("localhost"), Some(&good))).await.unwrap();
    assert_eq!(other.requests.lock().unwrap().len(), 1);
    for refused in
        [webhooks(&url("localhost"), Some(&bad)), webhooks(&url("127.0.0.1"), Some(&good))]
    {
        match post(&refused).await {
            Err(Undelivered::Failed(why)) => assert!(why.contains("TLS"), "{why}"),
            taken => panic!("{taken:?}"),
        }
    }
    assert_eq!(other.requests.lock().unwrap().len(), 1, "nothing was sent to who is not trusted");
    let env = real(&tokio::runtime::Handle::current(), Path::new("/"));
    let hook: Webhook = "hook=https://localhost/".parse().unwrap();
    let missing = dir.path().join("none.pem");
    assert!(Webhooks::new(&env, std::slice::from_ref(&hook), Some(&missing)).is_err());
    let plain: Webhook = "hook=http://localhost/".parse().unwrap();
    assert!(Webhooks::new(&env, &[plain.clone(), plain], None).is_err(), "two of one name");
}
