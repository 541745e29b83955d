//! What the audit log is told of a request of the admin API.
//!
//! Invariant: of query, body and answer only the names in [`NAMES`] are looked at, so that no secret
//! and no token gets there whatever a route takes and gives.

use std::net::SocketAddr;

use http::{Method, StatusCode};
use serde_json::Value;

use crate::obs::audit::{Door, Entry};
use crate::s3::Signed;
use crate::s3::error::S3Error;
use crate::types::caller::Caller;

use super::api::Api;
use super::route::Answer;

/// What is taken out of query, body and answer.
const NAMES: [&str; 3] = ["bucket", "key", "access_key"];

/// A request as it came.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) id: &'a str,
    pub(super) client: SocketAddr,
}

/// What was learnt of a request by the time that it was answered.
#[derive(Default)]
pub(super) struct Seen {
    caller: Option<Caller>,
    named: [Option<String>; NAMES.len()],
}

impl Seen {
    /// It was authenticated.
    pub(super) fn note(&mut self, signed: &Signed) {
        self.caller = Some(signed.caller.clone());
        if signed.method == Method::GET {
            return;
        }
        for (slot, name) in self.named.iter_mut().zip(NAMES) {
            *slot = signed.query.get(name).map(str::to_owned);
        }
        if let Ok(body) = serde_json::from_slice::<Value>(&signed.body) {
            self.take(&body);
        }
    }

    fn take(&mut self, document: &Value) {
        for (slot, name) in self.named.iter_mut().zip(NAMES) {
            if slot.is_none() {
                *slot = document.get(name).and_then(Value::as_str).map(str::to_owned);
            }
        }
    }

    /// Tells what changed something, or would have.
    pub(super) fn tell(
        mut self,
        api: &Api,
        asked: &Asked<'_>,
        result: &Result<(Caller, Answer), S3Error>,
    ) {
        if *asked.method == Method::GET || !api.audit.is_on() {
            return;
        }
        if let Ok((_, Answer::Json(document))) = result {
            self.take(document);
        }
        let (status, error) = match result {
            Ok(_) => (StatusCode::OK, None),
            Err(error) => (error.status(), Some(error.code().as_str())),
        };
        let (caller, account) = match &self.caller {
            None | Some(Caller::Anonymous) => ("anonymous", None),
            Some(Caller::Key { access_key, account, .. }) => (&*access_key.0, Some(&*account.0)),
        };
        let [bucket, key, access_key] = self.named.each_ref().map(Option::as_deref);
        api.audit.tell(&Entry {
            at_ms: api.engine.env().now_ms(),
            region: api.engine.region(),
            door: Door::Admin,
            id: asked.id,
            op: &format!("{} {}", asked.method, asked.path),
            caller,
            account,
            source: Some(asked.client.ip().to_canonical()),
            bucket,
            key,
            access_key,
            status: status.as_u16(),
            error,
        });
    }
}
