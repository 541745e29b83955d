//! The admin API: what a person or a tool asks of a node beyond S3, as JSON under one prefix.
//!
//! One table (`routes.rs`) is what is routed, what `/-/openapi.json` says and what
//! `docs/admin-api.md` lists. Invariant: requests are signed as those of S3 are, and verified by
//! the same code, or carry a token of a key; nothing but health and the OpenAPI document is
//! answered without.

mod api;
mod audited;
mod backup;
pub mod certs;
mod cluster;
pub mod dev;
mod elsewhere;
mod events;
pub(crate) mod health;
mod hint;
mod keys;
pub mod model;
mod names;
pub mod openapi;
mod place;
pub(crate) mod program;
pub mod regions;
pub mod route;
pub mod routes;
mod storage;
mod tokens;
mod trace;
mod traffic;
mod undo;
mod upkeep;
mod whereabouts;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use tracing::{info, warn};

use crate::engine::Engine;
use crate::obs;
use crate::s3::error::{Code, S3Error};
use crate::s3::reply::ReplyBody;
use crate::s3::request::Query;
use crate::s3::{Outgoing, Service, Signed};
use crate::types::access::Circumstances;
use crate::types::caller::Caller;

pub use api::AdminOptions;
use api::{AdminMetrics, Answered, Api};
use audited::{Asked, Seen};
use model::{ADMIN_PREFIX, ErrorBody};
use route::{Answer, Call};

/// The largest body of a request.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Where the description of the API is served.
pub const OPENAPI_PATH: &str = "/-/openapi.json";

/// The admin API of one node. Cheap to clone.
#[derive(Clone)]
pub struct Admin(Arc<Api>);

impl Admin {
    pub fn new(engine: Engine, options: AdminOptions) -> Self {
        let AdminOptions {
            endpoint,
            operator,
            metrics,
            feed,
            audit,
            tokens,
            playground,
            certificates,
        } = options;
        let counts = AdminMetrics::default();
        metrics.add(&counts);
        let listeners = elsewhere::Listeners::default();
        let cluster = engine.cluster().clone();
        let api = Api {
            engine,
            endpoint,
            metrics,
            feed,
            counts,
            audit,
            listeners,
            operator,
            tokens,
            playground,
            certificates,
        };
        let api = Arc::new(api);
        let weak = Arc::downgrade(&api);
        cluster.answer_admin(Arc::new(move |question| {
            let api = weak.upgrade();
            Box::pin(async move {
                let api = api.ok_or_else(|| "stopping".to_owned())?;
                Box::pin(elsewhere::answer(api, question)).await
            })
        }));
        Self(api)
    }

    /// Answers a request whose path is below `/-/`; `not_ready` is for the health endpoints.
    pub async fn call(
        &self,
        s3: &Service,
        request: Request<Incoming>,
        client: SocketAddr,
        not_ready: Option<&'static str>,
    ) -> Response<Outgoing> {
        if let Some((status, health)) = health::answer(request.uri().path(), not_ready) {
            return json(status, &health);
        }
        if health::is_of_cluster(request.uri().path()) {
            let cluster = self.0.engine.cluster();
            let of = health::of_cluster(Some(cluster), request.uri().query());
            let (status, health) = Box::pin(of).await;
            return json(status, &health);
        }
        if request.uri().path() == OPENAPI_PATH {
            return json(StatusCode::OK, &openapi::document());
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let id = hex::encode_upper(self.0.engine.env().random::<8>());
        let mut seen = Seen::default();
        let result = self.authenticated(s3, request, client, &mut seen).await;
        seen.tell(&self.0, &Asked { method: &method, path: &path, id: &id, client }, &result);
        let (status, caller, code) = match &result {
            Ok((caller, _)) => (StatusCode::OK, caller.access_key().map(ToString::to_string), None),
            Err(error) => (error.status(), None, Some(error.code().as_str())),
        };
        let status = status.as_u16();
        self.0.counts.requests.get_or_create(&Answered { status }).inc();
        info!(target: "godwit::admin", %method, path, caller, status, code, id, "admin request");
        match result {
            Ok((_, answer)) => respond(answer),
            Err(error) => refusal(&error, id),
        }
    }

    async fn authenticated(
        &self,
        s3: &Service,
        request: Request<Incoming>,
        client: SocketAddr,
        seen: &mut Seen,
    ) -> Result<(Caller, Answer), S3Error> {
        let (signed, by_token) = match bearer(request.headers()) {
            Some(token) => (self.by_token(&token, request).await?, true),
            None => (s3.verify(request, BODY_BYTES_MAX).await?, false),
        };
        seen.note(&signed);
        let path = signed.path.strip_prefix(ADMIN_PREFIX).and_then(|rest| rest.strip_prefix('/'));
        let around = Circumstances {
            source_ip: Some(client.ip().to_canonical()),
            now_ms: self.0.engine.env().now_ms(),
            ..Circumstances::default()
        };
        let call = Call {
            caller: &signed.caller,
            by_token,
            around: &around,
            method: signed.method.as_str(),
            path: path.unwrap_or_default(),
            query: &signed.query,
            body: &signed.body,
        };
        let answer = self.perform(&call).await?;
        Ok((signed.caller, answer))
    }

    /// One request of a caller who was authenticated, here or by a console of this process.
    pub(crate) async fn perform(&self, call: &Call<'_>) -> Result<Answer, S3Error> {
        routes::answer(&self.0, call).await
    }

    async fn by_token(&self, token: &str, request: Request<Incoming>) -> Result<Signed, S3Error> {
        let bearer = tokens::verify(&self.0.engine, token).await?;
        if bearer.read_only && !routes::only_looks(request.method().as_str()) {
            let why = "The token may look, and change nothing.";
            return Err(S3Error::with(Code::AccessDenied, why));
        }
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|_| S3Error::new(Code::MaxMessageLengthExceeded))?.to_bytes();
        let path = parts.uri.path().to_owned();
        Ok(Signed { caller: bearer.caller, method: parts.method, path, query, body })
    }
}

/// The token of a request, where it has one.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn respond(answer: Answer) -> Response<Outgoing> {
    match answer {
        Answer::Json(value) => json(StatusCode::OK, &value),
        Answer::Lines(stream) => document(Outgoing::endless(stream), "application/jsonl"),
        Answer::Metrics(text) => document(Outgoing::from(text), obs::CONTENT_TYPE),
    }
}

/// A document as an answer; never cached, because it tells how things are now.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Outgoing> {
    let bytes = serde_json::to_vec(value).expect("answers are plain structs with text keys");
    let body = Outgoing::new(ReplyBody::Bytes(Bytes::from(bytes)));
    let mut response = document(body, "application/json");
    *response.status_mut() = status;
    response
}

fn document(body: Outgoing, kind: &'static str) -> Response<Outgoing> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refusal(error: &S3Error, request_id: String) -> Response<Outgoing> {
    if error.status().is_server_error() {
        warn!(target: "godwit::admin", ?error, request_id, "admin request failed");
    }
    let code = error.code();
    let body = ErrorBody {
        code: code.as_str().to_owned(),
        message: error.message().to_owned(),
        hint: hint::of(code).map(str::to_owned),
        request_id,
    };
    let mut response = json(error.status(), &body);
    if let Some(after) = error.headers().get(RETRY_AFTER) {
        response.headers_mut().insert(RETRY_AFTER, after.clone());
    }
    response
}
