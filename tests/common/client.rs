//! A client of the S3 port: one request a connection, signed by the SDK's own signer.

#![allow(clippy::disallowed_methods, reason = "a client has a clock and tasks of its own")]

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A caller with a key.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: SocketAddr,
    pub access_key: String,
    pub secret_key: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }

    /// The text of every element of this name, in order.
    pub fn all(&self, element: &str) -> Vec<&str> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let pieces = self.text().split(open.as_str()).skip(1);
        pieces.map(|piece| piece.split_once(close.as_str()).unwrap().0).collect()
    }

    pub fn one(&self, element: &str) -> &str {
        let all = self.all(element);
        assert_eq!(all.len(), 1, "{element} in {}", self.text());
        all[0]
    }

    /// The error code and the status, or the empty text.
    pub fn code(&self) -> (u16, &str) {
        let code = if self.body.starts_with(b"<?xml") {
            self.all("Code").first().copied()
        } else if self.body.starts_with(b"{") {
            let code = self.text().split_once("\"Code\":\"");
            code.and_then(|(_, rest)| rest.split('"').next())
        } else {
            None
        };
        (self.status.as_u16(), code.unwrap_or_default())
    }

    /// Panics with the answer unless it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{:?} {text}", self.headers);
        self
    }
}

/// How a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signing {
    Anonymous,
    Header,
    Query(Duration),
}

/// A request being made.
#[derive(Clone, Debug)]
pub struct Call {
    client: Client,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    /// Said of the body instead of its hash.
    payload: Option<&'static str>,
    signing: Signing,
    at: SystemTime,
}

impl Client {
    /// `path` is raw: escaped as it shall go over the wire, with its query.
    pub fn call(&self, method: &str, path: &str) -> Call {
        Call {
            client: self.clone(),
            method: method.parse().unwrap(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
            payload: None,
            signing: Signing::Header,
            at: SystemTime::now(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send().await
    }

    pub async fn head(&self, path: &str) -> Answer {
        self.call("HEAD", path).send().await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path).send().await
    }

    pub async fn put(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.call("PUT", path).body(body).send().await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.call("POST", path).body(body).send().await
    }
}

impl Call {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Signs this as `x-amz-content-sha256`.
    pub fn payload(mut self, declared: &'static str) -> Self {
        self.payload = Some(declared);
        self
    }

    pub fn anonymous(mut self) -> Self {
        self.signing = Signing::Anonymous;
        self
    }

    pub fn presigned(mut self, lifetime: Duration) -> Self {
        self.signing = Signing::Query(lifetime);
        self
    }

    pub fn at(mut self, at: SystemTime) -> Self {
        self.at = at;
        self
    }

    /// Signs and sends.
    pub async fn send(self) -> Answer {
        let address = self.client.address;
        exchange(address, self.signed()).await
    }

    /// Signs and sends; `None` when the connection broke before the whole answer was here.
    pub async fn try_send(self) -> Option<Answer> {
        let address = self.client.address;
        try_exchange(address, self.signed()).await
    }

    /// The head of the request as text, for tests that send bytes of their own.
    pub fn wire_head(&self, headers: &[(&str, &str)]) -> String {
        let request = self.signed();
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri());
        for (name, value) in request.headers() {
            if headers.iter().any(|(instead, _)| name == instead) {
                continue;
            }
            head += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }

    fn signed(&self) -> Request<Full<Bytes>> {
        let uri = format!("http://{}{}", self.client.address, self.path);
        let mut request = Request::builder().method(&self.method).uri(&uri);
        request = request.header("host", self.client.address.to_string());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if self.body.is_empty() && matches!(self.method, Method::PUT | Method::POST) {
            // As every SDK does; hyper leaves it out.
            request = request.header("content-length", "0");
        }
        let mut request = request.body(Full::new(self.body.clone())).unwrap();
        if self.signing != Signing::Anonymous {
            self.sign(&uri, &mut request);
        }
        // Over the wire goes the path alone.
        let path = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
        *request.uri_mut() = path;
        request
    }

    fn sign(&self, uri: &str, request: &mut Request<Full<Bytes>>) {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let mut body = SignableBody::Bytes(&self.body);
        if let Some(declared) = self.payload {
            body = SignableBody::Precomputed(declared.to_owned());
        }
        if let Signing::Query(lifetime) = self.signing {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = Some(lifetime);
            settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
            body = SignableBody::UnsignedPayload;
        }
        let (id, secret) = (&self.client.access_key, &self.client.secret_key);
        let identity = Credentials::new(id, secret, None, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("auto")
            .name("s3")
            .time(self.at)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let headers = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let host = self.client.address.to_string();
        let headers = headers.chain([("host", host.as_str())]);
        let signable = SignableRequest::new(self.method.as_str(), uri, headers, body).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        instructions.apply_to_request_http1x(request);
    }
}

/// Sends one request on a connection of its own.
pub async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    try_exchange(address, request).await.expect("the server answers")
}

/// The same; `None` when the connection broke before the whole answer was here.
pub async fn try_exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Option<Answer> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.ok()?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    drop(sender);
    // How the server closes is not looked at: the answer is whole.
    let _ = connection.await;
    Some(Answer { status: head.status, headers: head.headers, body })
}
