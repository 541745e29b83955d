//! From a reply or an error to HTTP, and the one log line a request leaves.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{debug, error};

use crate::env::Env;
use crate::limits;
use crate::obs::audit::Audit;
use crate::obs::flow::{self, Context, Flow, SpanKind};
use crate::types::action::Target;
use crate::types::caller::Caller;
use crate::types::region::RegionId;

use super::access_log::{Ended, Seen};
use super::audited;
use super::error::{Code, S3Error};
use super::feed::{Feed, Told};
use super::gate;
use super::intake::Head;
use super::metrics::{ByCode, ByOp, Done, S3Metrics};
use super::ops::speaks_json;
use super::outgoing::{self, Outgoing, Sent};
use super::reply::{Reply, ReplyBody};
use super::slow::{self, Took};
use super::xml::Writer;
use super::{Ctx, Options};

/// What is known of a request that is under way, for its answer and its log line.
pub(super) struct Trail {
    pub(super) id: String,
    pub(super) op: &'static str,
    pub(super) caller: Caller,
    /// Held until the answer's last byte.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// Where the bucket has an access log.
    pub(super) seen: Option<Box<Seen>>,
    pub(super) error: Option<Code>,
    pub(super) target: Option<Target>,
    /// The other end of the connection.
    pub(super) source: Option<IpAddr>,
    /// The audit log hears of it.
    pub(super) audited: bool,
    /// Where its time goes, where somebody wants to know.
    pub(super) flow: Option<Flow>,
    head: bool,
    began: Duration,
}

impl Trail {
    pub(super) fn new(ctx: &Ctx, method: &Method, target: Option<&Target>) -> Self {
        ctx.metrics.open.inc();
        Self {
            id: hex::encode_upper(ctx.env.random::<8>()),
            op: "Unknown",
            caller: Caller::Anonymous,
            permit: None,
            seen: None,
            error: None,
            target: target.cloned(),
            source: None,
            audited: false,
            flow: None,
            head: *method == Method::HEAD,
            began: ctx.env.monotonic(),
        }
    }

    /// Looks where the time goes from now on: for the slow-request log, for a trace that is exported
    /// from here, or for one that its caller names.
    pub(super) fn follow(&mut self, ctx: &Ctx, headers: &HeaderMap) {
        let named = headers.get("traceparent").and_then(|value| value.to_str().ok());
        let parent = named.and_then(Context::parse);
        let Options { tracer, slow, .. } = &ctx.options;
        if parent.is_some() || tracer.is_on() || !slow.is_zero() {
            self.flow = Some(Flow::begin(&ctx.env.clock, tracer, parent));
        }
    }

    /// Ends the request's own span.
    fn end_span(&self, status: StatusCode) {
        let Some(flow) = self.flow.as_ref().filter(|flow| flow.is_recorded()) else { return };
        let target = self.target.as_ref();
        let mut facts = vec![
            ("http.response.status_code", status.as_u16().to_string()),
            ("godwit.request_id", self.id.clone()),
        ];
        let bucket = target.and_then(Target::bucket);
        facts.extend(bucket.map(|bucket| ("aws.s3.bucket", bucket.to_string())));
        facts.extend(target.and_then(Target::key).map(|key| ("aws.s3.key", key.to_string())));
        facts.extend(self.error.map(|code| ("error.type", code.as_str().to_owned())));
        let failed = status.is_server_error();
        flow.finish(flow::Ended { name: self.op, kind: SpanKind::Server, facts, failed });
    }

    /// A form was read, and its object is known.
    pub(super) fn unfold(&mut self, head: &Head) {
        self.target = Some(head.target.clone());
        if let (Some(seen), Some(form), Some(key)) = (&mut self.seen, &head.form, head.target.key())
        {
            seen.unfold(form, key);
        }
    }

    /// The answer: an error as S3's XML, the headers that all answers have, the log line at the
    /// end of the body.
    pub(super) async fn finish(
        mut self,
        ctx: &Ctx,
        result: Result<Reply, S3Error>,
    ) -> Response<Outgoing> {
        let mut cause = None;
        let result = match result {
            Ok(reply) => settle(reply).await,
            Err(error) => Err(error),
        };
        let mut reply = result.unwrap_or_else(|error| {
            cause = Some(format!("{error:?}"));
            self.error = Some(error.code());
            self.render(&error)
        });
        common_headers(&mut reply.headers, ctx, &self.id);
        if self.head {
            let len = announced(&reply);
            reply.body = ReplyBody::Empty;
            if let Some(len) = len {
                reply.headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
            }
        }
        self.send(ctx, reply, cause)
    }

    fn render(&self, error: &S3Error) -> Reply {
        let mut reply = Reply::empty(error.status());
        reply.headers.clone_from(error.headers());
        if self.head || error.code() == Code::NotModified {
            return reply;
        }
        let elements = self.elements(error);
        let (kind, body) = if speaks_json(self.op) {
            let object: Map<String, Value> =
                elements.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
            ("application/json", Bytes::from(Value::from(object).to_string()))
        } else {
            let mut out = Writer::bare("Error");
            for (name, text) in elements {
                out.text(name, &text);
            }
            ("application/xml", out.finish())
        };
        reply.body = ReplyBody::Bytes(body);
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        reply
    }

    /// What an error's document says.
    fn elements(&self, error: &S3Error) -> Vec<(&'static str, String)> {
        let resource = self.target.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut all = vec![
            ("Code", error.code().as_str().to_owned()),
            ("Message", error.message().to_owned()),
        ];
        let named = |name| error.extras().iter().any(|(extra, _)| *extra == name);
        all.extend(self.what_is_missing(error.code()).filter(|(name, _)| !named(*name)));
        all.extend(error.extras().iter().cloned());
        all.push(("Resource", error.resource_or(&resource)));
        all.extend([("RequestId", self.id.clone()), ("HostId", self.id.clone())]);
        all
    }

    /// Clients read the bucket or key out of these errors.
    fn what_is_missing(&self, code: Code) -> Option<(&'static str, String)> {
        let target = self.target.as_ref()?;
        match code {
            Code::NoSuchKey => Some(("Key", target.key()?.to_string())),
            Code::NoSuchBucket
            | Code::BucketAlreadyExists
            | Code::BucketAlreadyOwnedByYou
            | Code::BucketNotEmpty => Some(("BucketName", target.bucket()?.to_string())),
            _ => None,
        }
    }

    fn send(self, ctx: &Ctx, reply: Reply, cause: Option<String>) -> Response<Outgoing> {
        let line = Line {
            env: ctx.env.clone(),
            metrics: ctx.metrics.clone(),
            feed: ctx.options.feed.clone(),
            audit: ctx.options.audit.clone(),
            region: ctx.options.region,
            slow: ctx.options.slow,
            status: reply.status,
            source: text_of(&reply.headers, "x-godwit-source"),
            object_bytes: object_bytes(&reply),
            ready: ctx.env.monotonic(),
            cause,
            trail: self,
        };
        let body = Outgoing::new(reply.body).on_end(move |sent| line.write(&sent));
        let mut response = Response::new(body);
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        response
    }
}

/// Small streams become bytes: head and body leave in one packet, and a failed source is an error
/// with a status.
async fn settle(mut reply: Reply) -> Result<Reply, S3Error> {
    if let ReplyBody::Stream { len, .. } = &reply.body
        && *len <= limits::REPLY_WHOLE_BYTES_MAX
    {
        let body = std::mem::replace(&mut reply.body, ReplyBody::Empty);
        if let ReplyBody::Stream { len, stream } = body {
            let bytes = outgoing::collect(len, stream).await.map_err(S3Error::internal)?;
            reply.body = ReplyBody::Bytes(bytes);
        }
    }
    Ok(reply)
}

fn announced(reply: &Reply) -> Option<u64> {
    match &reply.body {
        ReplyBody::Empty => reply.announced_len,
        ReplyBody::Bytes(bytes) => Some(bytes.len() as u64),
        ReplyBody::Stream { len, .. } => Some(*len),
    }
}

/// Headers of every answer.
fn common_headers(headers: &mut HeaderMap, ctx: &Ctx, id: &str) {
    let own = [
        ("x-amz-request-id", id),
        ("x-amz-id-2", id),
        ("x-godwit-served-from", &ctx.options.region.to_string()),
    ];
    for (name, value) in own {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(token) = ctx.gate.token()
        && let Ok(token) = HeaderValue::from_str(&token)
    {
        headers.insert(HeaderName::from_static(gate::TOKEN), token);
    }
    headers.insert(http::header::SERVER, HeaderValue::from_static("godwit"));
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The size of the object that an answer is about: only those have an entity tag and a length.
fn object_bytes(reply: &Reply) -> Option<u64> {
    if !reply.headers.contains_key(http::header::ETAG) {
        return None;
    }
    match text_of(&reply.headers, "content-range") {
        Some(range) => range.rsplit_once('/')?.1.parse().ok(),
        None => match &reply.body {
            ReplyBody::Empty => reply.announced_len.or_else(|| content_length(&reply.headers)),
            ReplyBody::Bytes(bytes) => Some(bytes.len() as u64),
            ReplyBody::Stream { len, .. } => Some(*len),
        },
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The log line of a request.
struct Line {
    env: Env,
    metrics: S3Metrics,
    feed: Feed,
    audit: Audit,
    region: RegionId,
    slow: Duration,
    status: StatusCode,
    source: Option<String>,
    object_bytes: Option<u64>,
    /// When the head of the answer was there.
    ready: Duration,
    cause: Option<String>,
    trail: Trail,
}

impl Line {
    /// Written when the last byte was handed over. ERROR means that a person must look.
    fn write(self, sent: &Sent) {
        if self.trail.audited {
            audited::tell(&self.audit, &self.env, self.region, &self.trail, self.status.as_u16());
        }
        self.trail.end_span(self.status);
        let took = self.env.monotonic().saturating_sub(self.trail.began);
        let first_byte = self.ready.saturating_sub(self.trail.began);
        self.count(sent.bytes, took, first_byte);
        let Self { env, metrics, feed, status, source, object_bytes, cause, slow, .. } = self;
        let mut trail = self.trail;
        let op = trail.op;
        if let Some(seen) = trail.seen.take() {
            seen.end(&Ended {
                id: &trail.id,
                requester: trail.caller.account().map_or("", |account| &account.0),
                status: status.as_u16(),
                error: trail.error.map_or("", Code::as_str),
                sent_bytes: sent.bytes,
                object_bytes,
                total_ms: millis(took),
                ready_ms: millis(first_byte),
            });
        }
        feed.tell(|| Told {
            at_ms: env.now_ms(),
            id: trail.id.clone(),
            op,
            caller: trail.caller.clone(),
            bucket: trail.target.as_ref().and_then(|target| target.bucket().cloned()),
            key: trail.target.as_ref().and_then(|target| target.key().cloned()),
            status: status.as_u16(),
            error: trail.error.map(Code::as_str),
            bytes: sent.bytes,
            ms: millis(took),
            source: source.clone(),
        });
        let is_slow = !slow.is_zero() && took >= slow;
        let flow = trail.flow.as_ref().filter(|_| is_slow);
        let is_failure = status == StatusCode::INTERNAL_SERVER_ERROR;
        if flow.is_none() && !is_failure && !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let target = trail.target.map(|target| target.to_string()).unwrap_or_default();
        let caller = match &trail.caller {
            Caller::Anonymous => "anonymous".to_owned(),
            Caller::Key { access_key, .. } => access_key.to_string(),
        };
        let (status, bytes) = (status.as_u16(), sent.bytes);
        let ms = millis(took);
        let (id, cut) = (trail.id, sent.cut.as_deref());
        let trace = trail.flow.as_ref().and_then(Flow::trace_id);
        if let Some(flow) = flow {
            metrics.slow.inc();
            let (trace, target, id) = (trace.as_deref(), target.as_str(), id.as_str());
            let caller = caller.as_str();
            let total = took;
            slow::tell(
                &Took { op, target, caller, status, id, trace, bytes, first_byte, total },
                flow,
            );
        }
        if is_failure {
            error!(op, caller, target, status, bytes, ms, source, cause, cut, id, trace, "request");
        } else {
            debug!(op, caller, target, status, bytes, ms, source, cause, cut, id, trace, "request");
        }
    }

    fn count(&self, sent_bytes: u64, took: Duration, first_byte: Duration) {
        let (metrics, op) = (&self.metrics, self.trail.op);
        metrics.open.dec();
        metrics.sent.inc_by(sent_bytes);
        metrics.requests.get_or_create(&Done { op, status: self.status.as_u16() }).inc();
        metrics.seconds.get_or_create(&ByOp { op }).observe(took.as_secs_f64());
        metrics.first_byte.get_or_create(&ByOp { op }).observe(first_byte.as_secs_f64());
        if let Some(code) = self.trail.error.map(Code::as_str) {
            metrics.errors.get_or_create(&ByCode { code }).inc();
        }
    }
}
