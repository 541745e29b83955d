//! The admin API: what a person or a tool asks of a node beyond S3, as JSON under one prefix.
//!
//! Invariant: requests are signed as those of S3 are, and verified by the same code; nothing but
//! health is answered without a key.

mod api;
pub(crate) mod health;
mod keys;
pub mod model;
mod names;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use tracing::{info, warn};

use crate::engine::Engine;
use crate::s3::error::{Code, S3Error};
use crate::s3::reply::ReplyBody;
use crate::s3::{Outgoing, Service};
use crate::types::access::Circumstances;

use api::{Api, Call, NoRoute};
use model::{ADMIN_PREFIX, ErrorBody};

/// The largest body of a request.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The admin API of one node. Cheap to clone.
#[derive(Clone)]
pub struct Admin(Arc<Api>);

impl Admin {
    /// `endpoint` is what clients are told to use for S3.
    pub fn new(engine: Engine, endpoint: String) -> Self {
        Self(Arc::new(Api { engine, endpoint }))
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
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let result = self.signed(s3, request, client).await;
        let status = result.as_ref().map_or_else(S3Error::status, |_| StatusCode::OK);
        info!(target: "godwit::admin", %method, path, status = status.as_u16(), "admin request");
        match result {
            Ok(value) => json(status, &value),
            Err(error) => refusal(&error),
        }
    }

    async fn signed(
        &self,
        s3: &Service,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> Result<serde_json::Value, S3Error> {
        let signed = s3.verify(request, BODY_BYTES_MAX).await?;
        let path = signed.path.strip_prefix(ADMIN_PREFIX).and_then(|rest| rest.strip_prefix('/'));
        let around = Circumstances {
            source_ip: Some(client.ip().to_canonical()),
            now_ms: self.0.engine.env().now_ms(),
            ..Circumstances::default()
        };
        let call = Call {
            caller: &signed.caller,
            around: &around,
            method: &signed.method,
            path: path.unwrap_or_default(),
            query: &signed.query,
            body: &signed.body,
        };
        match self.0.call(&call).await {
            Ok(result) => Ok(result?),
            Err(NoRoute) => Err(S3Error::new(Code::MethodNotAllowed)),
        }
    }
}

/// A document as an answer; never cached, because it tells how things are now.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Outgoing> {
    let bytes = serde_json::to_vec(value).expect("answers are plain structs with text keys");
    let mut response = Response::new(Outgoing::new(ReplyBody::Bytes(Bytes::from(bytes))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refusal(error: &S3Error) -> Response<Outgoing> {
    if error.status().is_server_error() {
        warn!(target: "godwit::admin", ?error, "admin request failed");
    }
    let code = error.code().as_str().to_owned();
    let body = ErrorBody { code, message: error.message().to_owned() };
    let mut response = json(error.status(), &body);
    if let Some(after) = error.headers().get(RETRY_AFTER) {
        response.headers_mut().insert(RETRY_AFTER, after.clone());
    }
    response
}
