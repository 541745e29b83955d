//! What a request under way spends its time on, and its trace from region to region.
//!
//! A [`Flow`] goes with the request's task (and with what it hands on, by [`within`]); whoever waits
//! for the disk or for another region says so through [`measured`]. Without a flow that costs a
//! look. Spans are made only for requests whose trace is exported, and telling one never waits.
//! Source of ids and of the header: W3C Trace Context.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Counter, Entries, Group, table};
use crate::env::{Clock, Env};
use crate::limits;
use crate::types::region::RegionId;

tokio::task_local! {
    static CURRENT: Flow;
}

/// What time was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The caller's key and what it may do.
    Access,
    /// Bytes of the client.
    Receive,
    /// The local disk.
    Disk,
    /// Other regions; of several asked at once each counts.
    Regions,
}

impl Stage {
    pub const ALL: [Self; 4] = [Self::Access, Self::Receive, Self::Disk, Self::Regions];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Receive => "receive",
            Self::Disk => "disk",
            Self::Regions => "regions",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Access => 0,
            Self::Receive => 1,
            Self::Disk => 2,
            Self::Regions => 3,
        }
    }
}

/// Where in which trace something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    pub sampled: bool,
}

/// The first byte of a context behind a message.
const CONTEXT_VERSION: u8 = 1;

/// How long a context behind a message is.
pub const CONTEXT_BYTES: usize = 26;

impl Context {
    /// The `traceparent` header: `00-TRACE-SPAN-FLAGS`.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().splitn(4, '-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let mut context = Self { trace: [0; 16], span: [0; 8], sampled: false };
        hex::decode_to_slice(trace, &mut context.trace).ok()?;
        hex::decode_to_slice(span, &mut context.span).ok()?;
        // Later versions may have more behind the flags; 255 is none.
        let (version, flags) = (u8::from_str_radix(version, 16).ok()?, flags.get(..2)?);
        context.sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        let valid = version != 0xFF && context.trace != [0; 16] && context.span != [0; 8];
        valid.then_some(context)
    }

    /// As it stands behind a message between regions.
    pub fn to_bytes(self) -> [u8; CONTEXT_BYTES] {
        let mut out = [0; CONTEXT_BYTES];
        out[0] = CONTEXT_VERSION;
        out[1..17].copy_from_slice(&self.trace);
        out[17..25].copy_from_slice(&self.span);
        out[25] = u8::from(self.sampled);
        out
    }

    /// `None`: another version's, or nothing of the kind.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; CONTEXT_BYTES] = bytes.try_into().ok()?;
        let (trace, rest) = bytes[1..].split_first_chunk::<16>()?;
        let (span, flags) = rest.split_first_chunk::<8>()?;
        let known = bytes[0] == CONTEXT_VERSION;
        known.then_some(Self { trace: *trace, span: *span, sampled: flags == [1] })
    }
}

/// A span that is over.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: [u8; 16],
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub name: &'static str,
    pub kind: SpanKind,
    /// Nanoseconds since 1970.
    pub began_ns: u64,
    pub ended_ns: u64,
    pub facts: Vec<(&'static str, String)>,
    pub failed: bool,
}

/// Which side of a question a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    Internal,
    Server,
    Client,
}

/// Counters of exported traces. Cheap handles.
#[derive(Clone, Debug, Default)]
pub struct TraceMetrics {
    pub exported: Counter,
    pub dropped: Counter,
}

impl Group for TraceMetrics {
    fn register(&self, entries: &mut Entries) {
        entries.add(&table::TRACE_EXPORTED, self.exported.clone());
        entries.add(&table::TRACE_DROPPED, self.dropped.clone());
    }
}

/// Takes spans. Cheap to clone; by default there is nobody who does.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Sink>>);

#[derive(Debug)]
struct Sink {
    env: Env,
    spans: mpsc::Sender<Span>,
    one_in: u64,
    metrics: TraceMetrics,
}

impl Tracer {
    /// Takes the spans of one request in `one_in`, and of those whose caller wants it.
    pub fn new(env: Env, one_in: u64, metrics: TraceMetrics) -> (Self, mpsc::Receiver<Span>) {
        let (spans, heard) = mpsc::channel(limits::SPANS_WAITING_MAX);
        (Self(Some(Arc::new(Sink { env, spans, one_in, metrics }))), heard)
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The context that a request without one gets, or that of a span below `parent`.
    fn begin(&self, parent: Option<Context>) -> Option<(Arc<Sink>, Context)> {
        let sink = self.0.clone()?;
        let sampled = match parent {
            Some(parent) => parent.sampled,
            None => sink.one_in > 0 && sink.env.random_u64().is_multiple_of(sink.one_in),
        };
        let trace = parent.map_or_else(|| sink.env.random(), |parent| parent.trace);
        let context = Context { trace, span: sink.env.random(), sampled };
        sampled.then_some((sink, context))
    }
}

/// Of a request whose spans are taken.
#[derive(Debug)]
struct Recording {
    sink: Arc<Sink>,
    began: Duration,
    began_ns: u64,
}

struct Shared {
    clock: Arc<dyn Clock>,
    micros: [AtomicU64; Stage::ALL.len()],
    /// Also of a caller's trace that is not exported from here.
    trace: Option<[u8; 16]>,
    recording: Option<Recording>,
}

/// A request under way, at one of its spans. Cheap to clone.
#[derive(Clone)]
pub struct Flow {
    shared: Arc<Shared>,
    span: [u8; 8],
    parent: Option<[u8; 8]>,
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").field("trace", &self.trace_id()).finish_non_exhaustive()
    }
}

impl Flow {
    /// A request that begins, below `parent` where its caller said one.
    pub fn begin(clock: &Arc<dyn Clock>, tracer: &Tracer, parent: Option<Context>) -> Self {
        let begun = tracer.begin(parent);
        let trace = begun.as_ref().map(|(_, context)| context.trace);
        let span = begun.as_ref().map_or([0; 8], |(_, context)| context.span);
        let recording = begun.map(|(sink, _)| Recording {
            sink,
            began: clock.monotonic(),
            began_ns: clock.now_ms().saturating_mul(1_000_000),
        });
        let trace = trace.or_else(|| parent.map(|parent| parent.trace));
        let micros = [const { AtomicU64::new(0) }; Stage::ALL.len()];
        let shared = Shared { clock: clock.clone(), micros, trace, recording };
        Self { shared: Arc::new(shared), span, parent: parent.map(|parent| parent.span) }
    }

    /// As logs name the trace.
    pub fn trace_id(&self) -> Option<String> {
        self.shared.trace.map(hex::encode)
    }

    /// What was waited for until now.
    pub fn waited(&self, stage: Stage) -> Duration {
        Duration::from_micros(self.shared.micros[stage.index()].load(Ordering::Relaxed))
    }

    fn add(&self, stage: Stage, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.shared.micros[stage.index()].fetch_add(micros, Ordering::Relaxed);
    }

    /// What another region is told, so that its spans are below this one.
    fn context(&self) -> Option<Context> {
        let trace = self.shared.trace.filter(|_| self.shared.recording.is_some())?;
        Some(Context { trace, span: self.span, sampled: true })
    }

    fn child(&self) -> Self {
        let span = match &self.shared.recording {
            Some(recording) => recording.sink.env.random(),
            None => self.span,
        };
        Self { shared: self.shared.clone(), span, parent: Some(self.span) }
    }

    /// Ends this span, which began at `began`.
    fn end(&self, what: Ended, began: Duration) {
        let (Some(recording), Some(trace)) = (&self.shared.recording, self.shared.trace) else {
            return;
        };
        let at = |time: Duration| {
            let since = time.saturating_sub(recording.began).as_nanos();
            recording.began_ns.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
        };
        let span = Span {
            trace,
            id: self.span,
            parent: self.parent,
            name: what.name,
            kind: what.kind,
            began_ns: at(began),
            ended_ns: at(self.shared.clock.monotonic()),
            facts: what.facts,
            failed: what.failed,
        };
        if recording.sink.spans.try_send(span).is_err() {
            recording.sink.metrics.dropped.inc();
        }
    }

    /// The request is over.
    pub fn finish(&self, what: Ended) {
        if let Some(recording) = &self.shared.recording {
            self.end(what, recording.began);
        }
    }

    /// Whether somebody wants to know its spans.
    pub fn is_recorded(&self) -> bool {
        self.shared.recording.is_some()
    }
}

/// What is said of a span when it is over.
#[derive(Debug)]
pub struct Ended {
    pub name: &'static str,
    pub kind: SpanKind,
    pub facts: Vec<(&'static str, String)>,
    pub failed: bool,
}

/// The flow of the task that runs now.
pub fn current() -> Option<Flow> {
    CURRENT.try_with(Flow::clone).ok()
}

/// What goes behind a message to another region.
pub fn context() -> Option<Context> {
    CURRENT.try_with(Flow::context).ok().flatten()
}

/// Runs `work` as a part of `flow`.
pub async fn within<T>(flow: Option<Flow>, work: impl Future<Output = T> + Send) -> T {
    let work = std::pin::pin!(work);
    match flow {
        Some(flow) => CURRENT.scope(flow, work).await,
        None => work.await,
    }
}

/// Counts time that is measured elsewhere.
pub fn count(stage: Stage, took: Duration) {
    // Without a flow there is nobody to tell.
    let _ = CURRENT.try_with(|flow| flow.add(stage, took));
}

/// Waits for `work`, and says how long; a span of its own where spans are taken. `to` is the region
/// that is asked.
pub async fn measured<T, E>(
    stage: Stage,
    name: &'static str,
    to: Option<RegionId>,
    work: impl Future<Output = Result<T, E>> + Send,
) -> Result<T, E> {
    let work = std::pin::pin!(work);
    let Some(flow) = current() else { return work.await };
    let began = flow.shared.clock.monotonic();
    let child = flow.child();
    let done = CURRENT.scope(child.clone(), work).await;
    flow.add(stage, flow.shared.clock.monotonic().saturating_sub(began));
    if flow.is_recorded() {
        let kind = if to.is_some() { SpanKind::Client } else { SpanKind::Internal };
        let facts = to.map(|to| ("godwit.to", to.to_string())).into_iter().collect();
        child.end(Ended { name, kind, facts, failed: done.is_err() }, began);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_as_the_recommendation_says() {
        let context = Context::parse(HEADER).unwrap();
        assert_eq!(hex::encode(context.trace), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((hex::encode(context.span), context.sampled), ("b7ad6b7169203331".into(), true));
        assert!(!Context::parse(&HEADER.replace("-01", "-00")).unwrap().sampled);
        assert!(Context::parse(&format!("{}-more", HEADER.replacen("00", "01", 1))).is_some());
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for bad in ["", "00", &HEADER[..54], zero, &HEADER.replacen("00", "ff", 1), "00-x-y-01"] {
            assert_eq!(Context::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_context_comes_back_from_its_bytes_and_nothing_else_does() {
        let context = Context::parse(HEADER).unwrap();
        assert_eq!(Context::from_bytes(&context.to_bytes()), Some(context));
        assert_eq!(Context::from_bytes(&[]), None);
        assert_eq!(Context::from_bytes(&context.to_bytes()[1..]), None);
        let mut later = context.to_bytes();
        later[0] = 9;
        assert_eq!(Context::from_bytes(&later), None);
    }
}
