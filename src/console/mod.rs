//! The web console: a page, a session, and S3 and the admin API for whoever is signed in.
//!
//! It stands in front of the S3 port as any client does. What the page asks below `/api/s3` and
//! `/api/admin` is signed here with the key that the person signed in with and handed to the same
//! door that serves the S3 port, bodies streaming both ways.
//!
//! Invariant: the console decides nothing about access and knows no engine; a session can do what
//! its key can do over S3, no more. The secret never goes to the browser.

mod assets;
mod guard;
mod sessions;
mod sign;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use serde_json::json;
use tracing::{info, warn};

use crate::env::{BoxFuture, Env};
use crate::limits;
use crate::logic::attempts::{Attempts, Rule};
use crate::obs::audit::{self, Audit, Entry};
use crate::s3::Outgoing;
use crate::types::name::{AccessKeyId, SecretKey};
use crate::types::region::RegionId;

use sessions::{Key, Session, Sessions};

/// What serves an S3 port: one request in, one answer out.
pub type Door = Arc<
    dyn Fn(Request<Incoming>, SocketAddr) -> BoxFuture<'static, Response<Outgoing>> + Send + Sync,
>;

/// The header that repeats the session's token.
pub const TOKEN: &str = "x-godwit-console";

const API: &str = "/api/";
const SESSION: &str = "/api/session";
const S3: &str = "/api/s3";
const ADMIN: &str = "/api/admin";
/// Where the admin API is behind the door.
const ADMIN_DOOR: &str = "/-/admin/v1";
/// Answers any key whose signature is right.
const WHOAMI: &str = "/-/admin/v1/whoami";

/// Sign-ins of one address with one key.
const PER_KEY: Rule = Rule {
    free: 5,
    wait_min: Duration::from_secs(1),
    wait_max: Duration::from_secs(60),
    forget: Duration::from_secs(900),
    sources_max: 4096,
};
/// Sign-ins of one address, whatever the key: people behind one proxy share it.
const PER_ADDRESS: Rule = Rule { free: 50, ..PER_KEY };

/// Who hears of sign-ins, and of which region they are told; asked each time, because the console of
/// `godwit dev` stays while regions stop and start.
pub type Told = Arc<dyn Fn() -> Option<(Audit, RegionId)> + Send + Sync>;

/// The console of one node, or of one `godwit dev`. Cheap to clone.
#[derive(Clone)]
pub struct Console(Arc<Inner>);

struct Inner {
    env: Env,
    door: Door,
    /// What clients are told as S3 endpoint.
    endpoint: String,
    sessions: Sessions,
    attempts: Mutex<Guesses>,
    told: Told,
}

/// Sign-ins of late.
struct Guesses {
    keys: Attempts<(IpAddr, AccessKeyId)>,
    addresses: Attempts<IpAddr>,
}

/// Why the console itself refuses.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
    retry_after: Option<Duration>,
}

const fn refusal(status: StatusCode, code: &'static str, message: &'static str) -> Refusal {
    Refusal { status, code, message, retry_after: None }
}

const NOT_SIGNED_IN: Refusal =
    refusal(StatusCode::UNAUTHORIZED, "NotSignedIn", "Sign in: there is no session, or it ended.");
const WRONG_KEY: Refusal =
    refusal(StatusCode::FORBIDDEN, "WrongKey", "The access key or the secret is not right.");
const NOT_OWN: Refusal =
    refusal(StatusCode::FORBIDDEN, "NotOwnPage", "The request does not come from the console.");
const NOT_FOUND: Refusal = refusal(StatusCode::NOT_FOUND, "NotFound", "There is nothing here.");

impl Console {
    /// `door` serves the S3 port whose address clients are told as `endpoint`.
    pub fn new(env: Env, door: Door, endpoint: String, told: Told) -> Self {
        let sessions = Sessions::new(env.clone());
        let (keys, addresses) = (Attempts::new(PER_KEY), Attempts::new(PER_ADDRESS));
        let attempts = Mutex::new(Guesses { keys, addresses });
        Self(Arc::new(Inner { env, door, endpoint, sessions, attempts, told }))
    }

    /// Answers one request of a browser at `client`.
    pub async fn call(&self, request: Request<Incoming>, client: SocketAddr) -> Response<Outgoing> {
        let path = request.uri().path().to_owned();
        let result = if path.starts_with(API) {
            self.api(request, &path, client).await
        } else if !request.method().is_safe() {
            Err(NOT_FOUND)
        } else {
            let answer = assets::answer(&path, request.headers()).map(page);
            answer.ok_or(NOT_FOUND)
        };
        result.unwrap_or_else(|refusal| refused(&refusal))
    }

    async fn api(
        &self,
        request: Request<Incoming>,
        path: &str,
        client: SocketAddr,
    ) -> Result<Response<Outgoing>, Refusal> {
        if !guard::is_own(request.method(), request.headers()) {
            return Err(NOT_OWN);
        }
        if path == SESSION && request.method() == Method::POST {
            return self.sign_in(request, client).await;
        }
        let headers = request.headers();
        let cookie = guard::cookie(headers, &cookie_name(headers)).unwrap_or_default().to_owned();
        let session = self.0.sessions.find(&cookie).ok_or(NOT_SIGNED_IN)?;
        let token = headers.get(TOKEN).map(HeaderValue::as_bytes).unwrap_or_default();
        if !request.method().is_safe() && !session.is_token(token) {
            return Err(NOT_OWN);
        }
        if path == SESSION {
            return match *request.method() {
                Method::GET => Ok(self.welcome(&session)),
                Method::DELETE => {
                    self.tell("SignOut", Some(&session.key.id), client, StatusCode::OK);
                    Ok(self.sign_out(&session, &cookie, request.headers()))
                }
                _ => Err(NOT_FOUND),
            };
        }
        let Some(target) = target(&request) else { return Err(NOT_FOUND) };
        let method = request.method().clone();
        let mut response = self.enter(&session.key, request, &target, client).await?;
        guard::mark_object(response.headers_mut(), &method);
        Ok(response)
    }

    /// Signs a request with a key and hands it to the door.
    async fn enter(
        &self,
        key: &Key,
        request: Request<Incoming>,
        target: &str,
        client: SocketAddr,
    ) -> Result<Response<Outgoing>, Refusal> {
        let (parts, body) = request.into_parts();
        let host = self.0.endpoint.split_once("://").map_or("localhost", |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or(host);
        let signed = sign::sign_as(key, parts, target, host, self.0.env.now_ms());
        let parts = signed.map_err(|error| {
            warn!(target: "godwit::console", %error, "a request cannot be signed");
            refusal(StatusCode::BAD_REQUEST, "BadRequest", "A header or the path is not valid.")
        })?;
        Ok((self.0.door)(Request::from_parts(parts, body), client).await)
    }

    /// The key comes as `Authorization: Basic`, and the request has no body: it is the one that,
    /// signed, asks behind the door whether the key is right.
    async fn sign_in(
        &self,
        mut request: Request<Incoming>,
        client: SocketAddr,
    ) -> Result<Response<Outgoing>, Refusal> {
        let key = key_of(request.headers()).ok_or(WRONG_KEY)?;
        if !request.body().is_end_stream() {
            return Err(refusal(StatusCode::BAD_REQUEST, "BadRequest", "A body is not expected."));
        }
        let address = source(client.ip());
        self.may_try(address, &key.id)?;
        let headers = request.headers().clone();
        *request.method_mut() = Method::GET;
        let answer = self.enter(&key, request, WHOAMI, client).await?;
        let right = answer.status() == StatusCode::OK;
        info!(target: "godwit::console", access_key = %key.id, %address, right, "sign-in");
        self.tell("SignIn", Some(&key.id).filter(|_| right), client, answer.status());
        if answer.status().is_server_error() {
            let why = "The store cannot say now whether the key is right; try again soon.";
            return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", why));
        }
        if !right {
            return Err(WRONG_KEY);
        }
        self.succeeded(address, &key.id);
        if let Some(old) = guard::cookie(&headers, &cookie_name(&headers)) {
            self.0.sessions.end(old);
        }
        let (cookie, session) = self.0.sessions.begin(key);
        let mut response = self.welcome(&session);
        response.headers_mut().insert(SET_COOKIE, set_cookie(&headers, &cookie));
        Ok(response)
    }

    /// Tells the audit log. A key that did not prove itself is not named: people type their secret
    /// into the wrong field.
    fn tell(&self, op: &str, key: Option<&AccessKeyId>, client: SocketAddr, status: StatusCode) {
        let Some((audit, region)) = (self.0.told)() else { return };
        audit.tell(&Entry {
            at_ms: self.0.env.now_ms(),
            region,
            door: audit::Door::Console,
            id: "",
            op,
            caller: key.map_or("anonymous", |key| &key.0),
            account: None,
            source: Some(client.ip().to_canonical()),
            bucket: None,
            key: None,
            access_key: None,
            status: status.as_u16(),
            error: (!status.is_success()).then_some("WrongKey"),
        });
    }

    fn may_try(&self, address: IpAddr, key: &AccessKeyId) -> Result<(), Refusal> {
        let now = self.0.env.monotonic();
        let mut attempts = self.0.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let Guesses { keys, addresses } = &mut *attempts;
        let source = (address, key.clone());
        let wait = keys.wait(&source, now).max(addresses.wait(&address, now));
        if wait.is_zero() {
            keys.begin(source, now);
            addresses.begin(address, now);
            return Ok(());
        }
        let why = "Too many attempts; wait a little.";
        let refusal = refusal(StatusCode::TOO_MANY_REQUESTS, "SlowDown", why);
        Err(Refusal { retry_after: Some(wait), ..refusal })
    }

    fn succeeded(&self, address: IpAddr, key: &AccessKeyId) {
        let mut attempts = self.0.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.keys.succeeded(&(address, key.clone()));
        attempts.addresses.succeeded(&address);
    }

    fn welcome(&self, session: &Session) -> Response<Outgoing> {
        document(
            StatusCode::OK,
            &json!({
                "access_key": session.key.id.to_string(),
                "token": session.token,
                "endpoint": self.0.endpoint,
                "idle_seconds": limits::SESSION_IDLE_MAX.as_secs(),
                "version": env!("CARGO_PKG_VERSION"),
            }),
        )
    }

    fn sign_out(&self, session: &Session, cookie: &str, headers: &HeaderMap) -> Response<Outgoing> {
        self.0.sessions.end(cookie);
        info!(target: "godwit::console", access_key = %session.key.id, "sign-out");
        let mut response = document(StatusCode::OK, &json!({}));
        let mut gone = set_cookie(headers, "").as_bytes().to_vec();
        gone.extend(b"; Max-Age=0");
        let gone = HeaderValue::from_bytes(&gone).expect("a cookie and a number");
        response.headers_mut().insert(SET_COOKIE, gone);
        response
    }
}

/// The path and query behind the door.
fn target(request: &Request<Incoming>) -> Option<String> {
    let wire = request.uri().path_and_query()?.as_str();
    let (door, rest) = match wire.strip_prefix(S3) {
        Some(rest) => ("", rest),
        None => (ADMIN_DOOR, wire.strip_prefix(ADMIN)?),
    };
    rest.starts_with('/').then(|| format!("{door}{rest}"))
}

/// Cookies do not tell ports apart, so the name does: consoles on one host do not sign each other
/// out.
fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    let port: String = port.chars().filter(char::is_ascii_digit).collect();
    format!("godwit-{port}")
}

fn set_cookie(headers: &HeaderMap, value: &str) -> HeaderValue {
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if secure { "; Secure" } else { "" };
    let name = cookie_name(headers);
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&cookie).expect("digits, hexadecimal and words")
}

/// One source of attempts: an address, or the network that one IPv6 customer has.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let bits = ip.to_bits() & (u128::MAX << 64);
            IpAddr::V6(bits.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The access key and secret of `Authorization: Basic`. Source: RFC 7617.
fn key_of(headers: &HeaderMap) -> Option<Key> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let secret = SecretKey(secret.trim().into());
    Some(Key { id: AccessKeyId::parse(id.trim())?, secret })
}

fn page(mut response: Response<Outgoing>) -> Response<Outgoing> {
    guard::mark_page(response.headers_mut());
    response
}

fn document(status: StatusCode, value: &serde_json::Value) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::from(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page(response)
}

fn refused(refusal: &Refusal) -> Response<Outgoing> {
    let body = json!({"code": refusal.code, "message": refusal.message});
    let mut response = document(refusal.status, &body);
    if let Some(wait) = refusal.retry_after {
        let seconds = wait.as_millis().div_ceil(1000).to_string();
        let seconds = HeaderValue::from_str(&seconds).expect("digits");
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}
