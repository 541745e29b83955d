//! Sends traces to a collector: OTLP over HTTP, in JSON.
//! Source: OpenTelemetry protocol specification 1.x, "OTLP/HTTP" and "JSON Protobuf Encoding".
//!
//! Invariant: only the address of the settings is called; requests never wait for it. What the
//! collector does not take is counted and dropped, not tried again.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::warn;

use crate::config;
use crate::config::webhook::{Webhook, WebhookAuth, WebhookForm};
use crate::engine::Courier as _;
use crate::env::Env;
use crate::limits;
use crate::obs::flow::{Span, SpanKind, TraceMetrics, Tracer};
use crate::types::region::RegionId;

use super::NodeError;
use super::shutdown::Stop;
use super::webhooks::Webhooks;

/// Where traces go.
#[derive(Clone, Default)]
pub struct TraceOptions {
    /// Without an address there are no traces.
    pub url: Option<String>,
    /// Goes as `Authorization: Bearer`.
    pub token: Option<String>,
    /// One request in so many, besides those whose caller wants it.
    pub one_in: u64,
}

impl TraceOptions {
    pub(crate) fn of(settings: &config::Trace) -> Self {
        let config::Trace { otlp, token, one_in } = settings.clone();
        Self { url: otlp, token, one_in }
    }
}

/// The name that the collector's address has among destinations.
const COLLECTOR: &str = "collector";

/// What takes the node's spans, and the task that sends them.
pub(super) fn start(
    env: &Env,
    region: RegionId,
    options: &TraceOptions,
    metrics: &TraceMetrics,
    stop: Stop,
) -> Result<Tracer, NodeError> {
    let Some(url) = &options.url else { return Ok(Tracer::default()) };
    let url = url.parse().map_err(|why| NodeError::Trace(format!("trace.otlp, {url}: {why}")))?;
    let collector = Webhook {
        name: COLLECTOR.to_owned(),
        url,
        form: WebhookForm::S3,
        auth: options.token.clone().map_or(WebhookAuth::None, WebhookAuth::Bearer),
        accounts: Vec::new(),
    };
    let collector = Webhooks::new(env, &[collector], None).map_err(NodeError::Trace)?;
    let (tracer, spans) = Tracer::new(env.clone(), options.one_in, metrics.clone());
    let exporter = Exporter { env: env.clone(), region, collector, metrics: metrics.clone() };
    env.spawn("traces", exporter.run(spans, stop));
    Ok(tracer)
}

struct Exporter {
    env: Env,
    region: RegionId,
    collector: Webhooks,
    metrics: TraceMetrics,
}

impl Exporter {
    async fn run(self, mut spans: mpsc::Receiver<Span>, mut stop: Stop) {
        let (mut batch, mut complained) = (Vec::new(), false);
        loop {
            let came = tokio::select! {
                biased;
                came = spans.recv_many(&mut batch, limits::SPANS_BATCH_MAX) => came,
                () = stop.called() => 0,
            };
            if came == 0 {
                return;
            }
            let message = Bytes::from(document(self.region, &batch).to_string());
            let sent = self.collector.post(COLLECTOR, message);
            let sent = self.env.timeout(limits::NOTIFY_ANSWER_TIMEOUT, sent).await;
            let why = match sent {
                Ok(Ok(())) => None,
                Ok(Err(why)) => Some(format!("{why:?}")),
                Err(_) => Some("no answer in time".to_owned()),
            };
            let counted =
                if why.is_none() { &self.metrics.exported } else { &self.metrics.dropped };
            counted.inc_by(batch.len() as u64);
            // Once until it works again: the counter tells the rest.
            if let Some(why) = why.as_ref().filter(|_| !complained) {
                warn!(%why, "the collector does not take traces; they are dropped");
            }
            complained = why.is_some();
            batch.clear();
        }
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// `ExportTraceServiceRequest`.
fn document(region: RegionId, spans: &[Span]) -> Value {
    let resource = [
        text("service.name", "godwit"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("cloud.region", &region.to_string()),
    ];
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": "godwit" }, "spans": spans }],
    }] })
}

fn span(span: &Span) -> Value {
    let kind = match span.kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
    };
    let facts: Vec<Value> = span.facts.iter().map(|(key, value)| text(key, value)).collect();
    json!({
        "traceId": hex::encode(span.trace),
        "spanId": hex::encode(span.id),
        "parentSpanId": span.parent.map(hex::encode).unwrap_or_default(),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": span.began_ns.to_string(),
        "endTimeUnixNano": span.ended_ns.to_string(),
        "attributes": facts,
        "status": { "code": if span.failed { 2 } else { 0 } },
    })
}
