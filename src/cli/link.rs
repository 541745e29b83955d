//! Signed requests to a node: what the admin API and S3 have in common.
//!
//! Invariant: what is sent again after a failure is either without effect when done twice, or did
//! not reach the node.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_lc_rs::digest::{SHA256, digest};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
    SigningInstructions, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::connection::{Connections, Lost, Open};
use super::error::{CliError, Exit};
use crate::env::Env;

/// Everything but what RFC 3986 calls unreserved: what signatures want in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a path, which keeps its slashes.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// The largest answer that is read whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What one attempt may take, answer included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Pauses between attempts double from the first.
const PAUSE: Duration = Duration::from_millis(200);

/// A request before it is signed.
#[derive(Clone)]
pub(super) struct Ask {
    method: Method,
    /// Not encoded.
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(Cow<'static, str>, String)>,
    body: Bytes,
    tries: u32,
}

impl Ask {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method, path: path.into(), query, headers, body: Bytes::new(), tries: 1 }
    }

    pub(super) fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    /// How often it is sent until it is answered.
    pub(super) fn tries(mut self, tries: u32) -> Self {
        self.tries = tries;
        self
    }

    fn target(&self) -> String {
        let mut out = utf8_percent_encode(&self.path, PATH).to_string();
        for (index, (name, value)) in self.query.iter().enumerate() {
            let value = utf8_percent_encode(value, QUERY);
            out += &format!("{}{name}={value}", if index == 0 { '?' } else { '&' });
        }
        out
    }
}

/// Takes the bytes of an answer as they come, each with its place. A request that is sent again begins
/// again at 0.
pub(super) type Sink<'a> = dyn FnMut(u64, &[u8]) -> Result<(), CliError> + Send + 'a;

/// An answer, read whole; without its bytes where a sink took them.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// One node, and who asks it.
pub(super) struct Link {
    pub(super) env: Env,
    uri: Uri,
    credentials: Option<Credentials>,
    connections: Connections,
    /// It answered before; so what fails now may pass.
    answered: AtomicBool,
}

impl Link {
    pub(super) fn new(env: Env, uri: Uri, credentials: Option<Credentials>) -> Self {
        let connections = Connections::new(env.clone(), uri.clone());
        Self { env, uri, credentials, connections, answered: AtomicBool::new(false) }
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    fn authority(&self) -> &str {
        self.uri.authority().map(|authority| authority.as_str()).unwrap_or_default()
    }

    fn scheme(&self) -> &str {
        self.uri.scheme_str().unwrap_or("http")
    }

    /// Sends a request, again where that is allowed, and reads its answer whole.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Answer, CliError> {
        self.repeat(ask, None).await
    }

    /// The same, but what a success brings goes into `sink`.
    pub(super) async fn fetch(&self, ask: &Ask, sink: &mut Sink<'_>) -> Result<Answer, CliError> {
        self.repeat(ask, Some(sink)).await
    }

    async fn repeat(&self, ask: &Ask, mut sink: Option<&mut Sink<'_>>) -> Result<Answer, CliError> {
        let mut pause = PAUSE;
        let mut left = ask.tries;
        loop {
            left = left.saturating_sub(1);
            let attempt = self.attempt(ask, sink.as_deref_mut());
            let done = match self.env.timeout(REQUEST_TIMEOUT, attempt).await {
                Ok(done) => done?,
                Err(_) => Err(Lost { why: "no answer in time".to_owned(), unsent: false }),
            };
            let busy = |answer: &Answer| matches!(answer.status, 500 | 502..=504);
            match done {
                Ok(answer) if left == 0 || !busy(&answer) => return Ok(answer),
                Err(lost) if !self.may_pass(ask, &lost, left) => return Err(self.network(&lost)),
                Ok(_) | Err(_) => {}
            }
            let jitter = Duration::from_millis(self.env.random_u64() % 100);
            self.env.sleep(pause + jitter).await;
            pause *= 2;
        }
    }

    fn may_pass(&self, ask: &Ask, lost: &Lost, left: u32) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        left > 0 && answered && (lost.unsent || ask.method != Method::POST)
    }

    fn network(&self, lost: &Lost) -> CliError {
        let message = format!("{}: {}", self.uri, lost.why);
        CliError::new(Exit::Unavailable, "Network", message)
            .hint("is the node running, and AWS_ENDPOINT_URL_S3 its address?")
    }

    async fn attempt(
        &self,
        ask: &Ask,
        sink: Option<&mut Sink<'_>>,
    ) -> Result<Result<Answer, Lost>, CliError> {
        let Open { response, sender } = match self.connections.exchange(self.request(ask)?).await {
            Ok(open) => open,
            Err(lost) => return Ok(Err(lost)),
        };
        let (head, body) = response.into_parts();
        let body = match sink.filter(|_| head.status.is_success()) {
            Some(sink) => pour(body, sink).await?,
            None => Limited::new(body, ANSWER_BYTES_MAX)
                .collect()
                .await
                .map(|body| body.to_bytes())
                .map_err(|error| error.to_string()),
        };
        let body = match body {
            Ok(body) => body,
            Err(why) => return Ok(Err(Lost { why, unsent: false })),
        };
        self.answered.store(true, Ordering::Relaxed);
        self.connections.give_back(sender);
        Ok(Ok(Answer { status: head.status.as_u16(), headers: head.headers, body }))
    }

    /// Sends a request whose answer comes bit by bit.
    pub(super) async fn listen(&self, ask: &Ask) -> Result<(u16, Incoming), CliError> {
        let open = self.connections.exchange(self.request(ask)?).await;
        let Open { response, .. } = open.map_err(|lost| self.network(&lost))?;
        Ok((response.status().as_u16(), response.into_body()))
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, CliError> {
        self.build(ask).map_err(|error| CliError::new(Exit::Failure, "Failure", error))
    }

    fn build(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, Box<dyn std::error::Error>> {
        let target = ask.target();
        let mut request = Request::builder()
            .method(&ask.method)
            .uri(&target)
            .header(header::HOST, HeaderValue::from_str(self.authority())?)
            .body(Full::new(ask.body.clone()))?;
        if ask.body.is_empty() && matches!(ask.method, Method::PUT | Method::POST) {
            // S3 wants to be told that there is nothing.
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        for (name, value) in &ask.headers {
            let value = HeaderValue::from_bytes(value.as_bytes())?;
            request.headers_mut().insert(HeaderName::from_bytes(name.as_bytes())?, value);
        }
        let Some(credentials) = &self.credentials else { return Ok(request) };
        let mut settings = settings();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let hash = hex::encode(digest(&SHA256, &ask.body));
        let body = SignableBody::Precomputed(hash);
        let signed = self.sign(credentials, settings, ask, &target, body)?;
        for (name, value) in signed.headers() {
            let name = HeaderName::from_bytes(name.as_bytes())?;
            request.headers_mut().insert(name, HeaderValue::from_str(value)?);
        }
        Ok(request)
    }

    /// A URL that whoever has it can use for `lifetime`.
    pub(super) fn presign(&self, ask: &Ask, lifetime: Duration) -> Result<String, CliError> {
        let work = || -> Result<String, Box<dyn std::error::Error>> {
            let credentials = self.credentials.as_ref().ok_or("there is no key to sign with")?;
            let mut settings = settings();
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = Some(lifetime);
            settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
            let (target, body) = (ask.target(), SignableBody::UnsignedPayload);
            let signed = self.sign(credentials, settings, ask, &target, body)?;
            let url = format!("{}://{}{target}", self.scheme(), self.authority());
            let mut request = Request::builder().method(&ask.method).uri(url).body(())?;
            signed.apply_to_request_http1x(&mut request);
            Ok(request.uri().to_string())
        };
        work().map_err(|error| CliError::new(Exit::Failure, "Failure", error))
    }

    fn sign(
        &self,
        credentials: &Credentials,
        settings: SigningSettings,
        ask: &Ask,
        target: &str,
        body: SignableBody<'_>,
    ) -> Result<SigningInstructions, Box<dyn std::error::Error>> {
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("auto")
            .name("s3")
            .time(UNIX_EPOCH + Duration::from_millis(self.env.now_ms()))
            .settings(settings)
            .build()?;
        let url = format!("{}://{}{target}", self.scheme(), self.authority());
        let headers = ask.headers.iter().map(|(name, value)| (&**name, value.as_str()));
        let signable = SignableRequest::new(ask.method.as_str(), url, headers, body)?;
        Ok(sign(signable, &params.into())?.into_parts().0)
    }
}

/// Gives all bytes of an answer to `sink`; nothing is left of them.
async fn pour(mut body: Incoming, sink: &mut Sink<'_>) -> Result<Result<Bytes, String>, CliError> {
    let mut at = 0;
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => {
                sink(at, &data)?;
                at += data.len() as u64;
            }
            // Trailers.
            Ok(Err(_)) => {}
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    Ok(Ok(Bytes::new()))
}

fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings
}
