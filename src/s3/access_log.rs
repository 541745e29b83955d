//! Access logs of buckets: a line a request, gathered in memory and delivered as objects.
//!
//! Invariant: what is gathered is bounded, and what does not fit is counted. Lines are lost with
//! the process: the log is best effort, as S3's is. A delivery is no request, so that no log is
//! about itself, not even where a bucket is its own target.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, REFERER, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, Request};
use tracing::warn;

use crate::engine::{Engine, Error, Logged};
use crate::env::Env;
use crate::limits;
use crate::logic::access_log::{self, Delivery, KeyFormat, Operation};
use crate::types::action::Target;
use crate::types::name::{BucketName, ObjectKey};
use crate::types::region::RegionId;

use super::Ctx;
use super::form::Form;
use super::metrics::S3Metrics;
use super::request::Query;

/// When gathered lines are delivered.
#[derive(Clone, Copy, Debug)]
pub struct AccessLogOptions {
    /// After this time.
    pub every: Duration,
    /// After this many bytes of one bucket.
    pub bytes: u64,
}

impl Default for AccessLogOptions {
    fn default() -> Self {
        Self { every: limits::LOG_EVERY_DEFAULT, bytes: limits::LOG_OBJECT_BYTES_DEFAULT }
    }
}

/// The lines that wait for their delivery, and which buckets want any.
pub(super) struct Logs {
    env: Env,
    options: AccessLogOptions,
    region: RegionId,
    metrics: S3Metrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<BucketName, Waiting>,
    /// Of all lines that wait.
    bytes: usize,
}

/// Lines of one bucket.
struct Waiting {
    since: Duration,
    bytes: usize,
    lines: Vec<Line>,
}

struct Line {
    day: u64,
    text: String,
}

impl State {
    /// Keeps lines, and tells how many found no room.
    fn add(&mut self, bucket: &BucketName, since: Duration, lines: Vec<Line>) -> usize {
        let mut dropped = 0;
        for line in lines {
            let bytes = line.text.len();
            if self.bytes + bytes > limits::LOG_WAITING_BYTES_MAX {
                dropped += 1;
                continue;
            }
            self.bytes += bytes;
            let waiting = self.waiting.entry(bucket.clone()).or_insert_with(|| Waiting {
                since,
                bytes: 0,
                lines: Vec::new(),
            });
            waiting.since = waiting.since.min(since);
            waiting.bytes += bytes;
            waiting.lines.push(line);
        }
        dropped
    }

    /// Takes out what is to be delivered now.
    fn due(
        &mut self,
        now: Duration,
        options: AccessLogOptions,
        all: bool,
    ) -> BTreeMap<BucketName, Waiting> {
        let due = |waiting: &Waiting| {
            let old = now.saturating_sub(waiting.since) >= options.every;
            all || old || waiting.bytes as u64 >= options.bytes
        };
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (out, left) = waiting.partition(|(_, waiting)| due(waiting));
        self.waiting = left;
        self.bytes = self.waiting.values().map(|waiting| waiting.bytes).sum();
        out
    }
}

impl Logs {
    pub(super) fn new(
        env: Env,
        options: AccessLogOptions,
        region: RegionId,
        metrics: S3Metrics,
    ) -> Self {
        Self { env, options, region, metrics, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Where the bucket's log goes, if anywhere.
    fn wanted(&self, engine: &Engine, bucket: &BucketName) -> Option<Logged> {
        engine.known_logging(bucket).unwrap_or_else(|error| {
            warn!(%bucket, %error, "where the access log goes cannot be read");
            None
        })
    }

    fn add(&self, bucket: &BucketName, since: Duration, lines: Vec<Line>) {
        let dropped = self.state().add(bucket, since, lines);
        self.drop_lines(dropped);
    }

    /// Delivers what is due, or everything. What cannot be delivered for the moment waits on; what
    /// its target does not take any more is dropped.
    pub(super) async fn deliver(&self, engine: &Engine, all: bool) {
        let due = self.state().due(self.env.monotonic(), self.options, all);
        for (bucket, waiting) in due {
            let logged = match engine.known_logging(&bucket) {
                Ok(Some(logged)) => logged,
                Ok(None) => {
                    self.drop_lines(waiting.lines.len());
                    continue;
                }
                Err(error) => {
                    warn!(%bucket, %error, "where the access log goes cannot be read");
                    self.add(&bucket, waiting.since, waiting.lines);
                    continue;
                }
            };
            let mut objects: BTreeMap<u64, Vec<Line>> = BTreeMap::new();
            for line in waiting.lines {
                let apart = logged.logging.format == KeyFormat::ByEvent;
                objects.entry(if apart { line.day } else { 0 }).or_default().push(line);
            }
            for (day, lines) in objects {
                self.deliver_object(engine, &bucket, &logged, day, (waiting.since, lines)).await;
            }
        }
    }

    async fn deliver_object(
        &self,
        engine: &Engine,
        bucket: &BucketName,
        logged: &Logged,
        day: u64,
        (since, lines): (Duration, Vec<Line>),
    ) {
        let delivery = Delivery {
            logging: &logged.logging,
            owner: &logged.owner,
            region: self.region,
            source: bucket,
            day,
            now_ms: self.env.now_ms(),
            unique: &hex::encode_upper(self.env.random::<8>()),
        };
        let text: String = lines.iter().map(|line| line.text.as_str()).collect();
        let (key, count) = (delivery.key(), lines.len());
        match engine.deliver_log(bucket, &logged.logging, &key, Bytes::from(text)).await {
            Ok(()) => {
                self.metrics.log_lines_delivered.inc_by(count as u64);
            }
            Err(error @ (Error::Unavailable { .. } | Error::StorageFull)) => {
                warn!(%bucket, %error, "an access log is delivered later");
                self.add(bucket, since, lines);
            }
            Err(error) => {
                warn!(%bucket, %error, count, "an access log cannot be delivered; it is dropped");
                self.drop_lines(count);
            }
        }
    }

    fn drop_lines(&self, count: usize) {
        self.metrics.log_lines_dropped.inc_by(count as u64);
    }
}

/// A request that is logged, as its head tells it.
pub(super) struct Seen {
    logs: Arc<Logs>,
    logged: Logged,
    bucket: BucketName,
    key: String,
    at_ms: u64,
    remote_ip: String,
    operation: String,
    line: String,
    referer: String,
    user_agent: String,
    host: String,
    version: String,
    signature: (&'static str, &'static str),
    /// Of a stored body: its length, where the client said it.
    body_bytes: Option<u64>,
    has_body: bool,
}

/// How a request ended.
pub(super) struct Ended<'a> {
    pub(super) id: &'a str,
    pub(super) requester: &'a str,
    pub(super) status: u16,
    pub(super) error: &'a str,
    pub(super) sent_bytes: u64,
    /// Of the object that was read.
    pub(super) object_bytes: Option<u64>,
    pub(super) total_ms: u64,
    /// Until the first byte of the answer.
    pub(super) ready_ms: u64,
}

impl Seen {
    /// `None` where the bucket has no log.
    pub(super) fn of<B>(
        ctx: &Ctx,
        request: &Request<B>,
        target: &Target,
        peer: SocketAddr,
        website: bool,
    ) -> Option<Box<Self>> {
        let bucket = target.bucket()?;
        let logged = ctx.logs.wanted(ctx.gate.engine()?, bucket)?;
        let headers = request.headers();
        let text = |name| text_of(headers, name);
        let query = Query::parse(request.uri().query().unwrap_or("")).unwrap_or_default();
        let operation = Operation {
            method: request.method().as_str(),
            on_object: target.key().is_some(),
            copies: headers.contains_key("x-amz-copy-source"),
            website,
        };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let path = access_log::without_signature(path);
        let length = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let sent = length(CONTENT_LENGTH.as_str());
        Some(Box::new(Self {
            logs: ctx.logs.clone(),
            logged,
            bucket: bucket.clone(),
            key: target.key().map(ToString::to_string).unwrap_or_default(),
            at_ms: ctx.env.now_ms(),
            remote_ip: peer.ip().to_canonical().to_string(),
            operation: operation.name(|name| query.has(name)),
            line: format!("{} {path} {:?}", request.method(), request.version()),
            referer: text(REFERER),
            user_agent: text(USER_AGENT),
            host: text(HOST),
            version: query.get("versionId").unwrap_or_default().to_owned(),
            signature: signature(headers, &query),
            body_bytes: length("x-amz-decoded-content-length").or(sent),
            has_body: sent.is_some_and(|n| n > 0) || headers.contains_key(TRANSFER_ENCODING),
        }))
    }

    /// A form names its object and its signer in its fields.
    pub(super) fn unfold(&mut self, form: &Form, key: &ObjectKey) {
        self.key = key.to_string();
        self.signature = (form.signature_version().unwrap_or_default(), "");
    }

    /// Writes the line.
    pub(super) fn end(self, ended: &Ended<'_>) {
        let (signature, auth) = self.signature;
        let stored = self.body_bytes.filter(|n| *n > 0 && self.operation == "REST.PUT.OBJECT");
        let request = access_log::Request {
            bucket_owner: &self.logged.owner.0,
            bucket: self.bucket.as_str(),
            at_ms: self.at_ms,
            remote_ip: &self.remote_ip,
            requester: ended.requester,
            id: ended.id,
            operation: &self.operation,
            key: &self.key,
            line: &self.line,
            status: ended.status,
            error: ended.error,
            sent_bytes: ended.sent_bytes,
            object_bytes: ended.object_bytes.or(stored),
            total_ms: ended.total_ms,
            turn_around_ms: (!self.has_body).then_some(ended.ready_ms),
            referer: &self.referer,
            user_agent: &self.user_agent,
            version: &self.version,
            host_id: ended.id,
            signature,
            auth,
            host: &self.host,
            ..access_log::Request::default()
        };
        let line = Line { day: access_log::day(self.at_ms), text: request.text() };
        self.logs.add(&self.bucket, self.logs.env.monotonic(), vec![line]);
    }
}

fn text_of(headers: &HeaderMap, name: http::HeaderName) -> String {
    let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    value.map(String::from).unwrap_or_default()
}

/// Version and place of the signature.
fn signature(headers: &HeaderMap, query: &Query) -> (&'static str, &'static str) {
    let header = headers.get(http::header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
    match header {
        Some(value) if value.starts_with(b"AWS ") => ("SigV2", "AuthHeader"),
        Some(_) => ("SigV4", "AuthHeader"),
        None if query.has("X-Amz-Signature") => ("SigV4", "QueryString"),
        None if query.has("Signature") => ("SigV2", "QueryString"),
        None => ("", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: AccessLogOptions =
        AccessLogOptions { every: Duration::from_secs(60), bytes: 100 };

    fn bucket(name: &str) -> BucketName {
        BucketName::parse(name).unwrap()
    }

    fn lines(count: usize, bytes: usize) -> Vec<Line> {
        let line = || Line { day: 0, text: "x".repeat(bytes) };
        std::iter::repeat_with(line).take(count).collect()
    }

    #[test]
    fn lines_are_due_by_age_and_by_size_of_their_bucket() {
        let mut state = State::default();
        let at = Duration::from_secs;
        assert_eq!(state.add(&bucket("old"), at(10), lines(1, 10)), 0);
        assert_eq!(state.add(&bucket("old"), at(50), lines(1, 10)), 0);
        assert_eq!(state.add(&bucket("large"), at(50), lines(10, 10)), 0);
        assert_eq!(state.add(&bucket("new"), at(50), lines(9, 11)), 0);
        let mut due = |now, all| -> Vec<String> {
            let due = state.due(at(now), OPTIONS, all);
            due.into_keys().map(String::from).collect()
        };
        assert_eq!(due(60, false), ["large"]);
        assert_eq!(due(69, false), [""; 0]);
        assert_eq!(due(70, false), ["old"]);
        assert_eq!(due(70, true), ["new"]);
        assert_eq!(state.bytes, 0);
    }

    #[test]
    fn lines_that_find_no_room_are_counted_and_room_comes_back() {
        let mut state = State::default();
        let half = limits::LOG_WAITING_BYTES_MAX / 2;
        assert_eq!(state.add(&bucket("one"), Duration::ZERO, lines(1, half)), 0);
        assert_eq!(state.add(&bucket("two"), Duration::ZERO, lines(3, half)), 2);
        assert_eq!(state.due(Duration::ZERO, OPTIONS, false).len(), 2);
        assert_eq!(state.add(&bucket("one"), Duration::ZERO, lines(2, half)), 0);
    }
}
