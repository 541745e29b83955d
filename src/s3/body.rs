//! The body of a request, verified while it comes in.
//!
//! Invariant: the end is reported only after length, chunk signatures and every claimed digest were
//! found right. A body that is not wanted is read on for a while, so that the client sees the
//! answer and the connection can be used again; unless the client waits for `100 Continue`, which
//! is sent by the first read.

use std::convert::Infallible;
use std::error::Error;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use crate::engine::body::{BodyError, BodySource, Digests};
use crate::env::{BoxFuture, Env};
use crate::limits;
use crate::obs::Counter;
use crate::obs::flow::{self, Stage};
use crate::types::object::ChecksumAlgorithm;

use super::auth::payload::Payload;
use super::chunked::{Decoder, Step};
use super::digest::{Claims, Hasher};
use super::form::{self, Fault, Parser};

/// A body as the connection gives it.
type Incoming =
    Pin<Box<dyn http_body::Body<Data = Bytes, Error = Box<dyn Error + Send + Sync>> + Send + Sync>>;

/// A request's body: what `Stream` operations hand to the engine.
pub struct Body(Source);

enum Source {
    Empty,
    /// Read and hashed by the task that asks.
    Direct(Box<Reader>),
    /// Read and hashed by a task of its own, while the one that asks is storing.
    Piped(Pipe),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self(Source::Empty)
    }

    /// Verifies `payload` and `claims` while `raw` comes in. `len` is that of the decoded bytes.
    pub(crate) fn new(raw: Raw, payload: Payload, claims: Claims, len: Option<u64>) -> Self {
        Self(Source::Direct(Box::new(Reader::new(raw, payload, claims, len))))
    }

    /// The whole body, where it is at most `max` bytes.
    pub(crate) async fn collect(mut self, max: usize) -> Result<Bytes, BodyError> {
        let too_large = || BodyError::TooLarge(max as u64);
        if self.len().is_some_and(|len| len > max as u64) {
            return Err(too_large());
        }
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        let mut whole: Option<BytesMut> = None;
        while let Some(next) = self.next().await? {
            let buffer = whole.get_or_insert_with(|| BytesMut::from(first.as_ref()));
            if buffer.len() + next.len() > max {
                return Err(too_large());
            }
            buffer.extend_from_slice(&next);
        }
        match whole {
            Some(buffer) => Ok(buffer.freeze()),
            None if first.len() > max => Err(too_large()),
            None => Ok(first),
        }
    }

    /// A large body is hashed in a task of its own from the first read on.
    fn pipe(&mut self) {
        if !matches!(&self.0, Source::Direct(reader) if reader.is_large() && reader.is_fresh()) {
            return;
        }
        if let Source::Direct(reader) = std::mem::replace(&mut self.0, Source::Empty) {
            self.0 = Source::Piped(Pipe::start(reader));
        }
    }
}

impl BodySource for Body {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, BodyError>> {
        self.pipe();
        match &mut self.0 {
            Source::Empty => Box::pin(async { Ok(None) }),
            Source::Direct(reader) => Box::pin(reader.next()),
            Source::Piped(pipe) => Box::pin(pipe.next()),
        }
    }

    fn digests(&self) -> Digests {
        let known = match &self.0 {
            Source::Empty => None,
            Source::Direct(reader) => reader.digests.clone(),
            Source::Piped(pipe) => pipe.digests.clone(),
        };
        known.unwrap_or_else(of_nothing)
    }

    fn want_checksum(&mut self, algorithm: ChecksumAlgorithm) {
        if let Source::Direct(reader) = &mut self.0
            && let Some(hasher) = &mut reader.hasher
        {
            hasher.also(algorithm);
        }
    }

    fn len(&self) -> Option<u64> {
        match &self.0 {
            Source::Empty => Some(0),
            Source::Direct(reader) => reader.len,
            Source::Piped(pipe) => pipe.len,
        }
    }
}

/// Digests of an empty body.
fn of_nothing() -> Digests {
    let hasher = Hasher::new(Claims::default());
    hasher.finish(|_| None).expect("nothing was claimed")
}

/// A client that waits for `100 Continue`. As long as the body was not read, it was not sent; an
/// answer then ends the connection, because what comes next on it may be the body or another
/// request, and neither side can tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expect(Arc<AtomicBool>);

impl Expect {
    /// Of a request that says so.
    pub(crate) fn of(headers: &http::HeaderMap) -> Option<Self> {
        let value = headers.get(http::header::EXPECT)?;
        value.as_bytes().eq_ignore_ascii_case(b"100-continue").then(Self::default)
    }

    fn read(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The client was never told to send.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }
}

/// What comes from the connection, with limits on how slowly.
pub(crate) struct Raw {
    body: Incoming,
    env: Env,
    /// Where the client waits for `100 Continue` before it sends.
    expect: Option<Expect>,
    counter: Counter,
    received: u64,
    waited: Duration,
    ended: bool,
}

impl Raw {
    /// `counter` counts the bytes that are read.
    pub(crate) fn new<B>(body: B, env: Env, expect: Option<Expect>, counter: Counter) -> Self
    where
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
        B: Send + Sync + 'static,
    {
        let ended = body.is_end_stream();
        let body: Incoming = if ended { nothing() } else { Box::pin(body.map_err(Into::into)) };
        Self { body, env, expect, counter, received: 0, waited: Duration::ZERO, ended }
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Result<Option<Bytes>, BodyError> {
        while !self.ended {
            if let Some(expect) = self.expect.take() {
                expect.read();
            }
            let frame = match self.body.frame().now_or_never() {
                Some(frame) => frame,
                None => self.wait().await?,
            };
            let Some(frame) = frame else {
                self.ended = true;
                break;
            };
            let frame = frame.map_err(|error| broken(error.as_ref(), self.received))?;
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.received += data.len() as u64;
                self.counter.inc_by(data.len() as u64);
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Waits for a frame, but neither for ever nor for a trickle.
    async fn wait(&mut self) -> Result<Frame, BodyError> {
        let began = self.env.monotonic();
        let frame = self.env.timeout(limits::BODY_IDLE_MAX, self.body.frame()).await;
        let took = self.env.monotonic().saturating_sub(began);
        flow::count(Stage::Receive, took);
        self.waited += took;
        let least = limits::BODY_RATE_MIN.saturating_mul(self.waited.as_secs());
        if self.waited >= limits::BODY_RATE_GRACE && self.received < least {
            return Err(BodyError::Timeout);
        }
        frame.map_err(|_| BodyError::Timeout)
    }
}

type Frame = Option<Result<http_body::Frame<Bytes>, Box<dyn Error + Send + Sync>>>;

/// A connection that ends within a body is a truncated body.
fn broken(error: &(dyn Error + Send + Sync + 'static), received: u64) -> BodyError {
    match error.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_incomplete_message() || error.is_body_write_aborted() => {
            BodyError::Truncated { expected: 0, received }
        }
        Some(_) | None => BodyError::Broken(error.to_string()),
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if self.ended || self.expect.is_some() {
            return;
        }
        let body = std::mem::replace(&mut self.body, nothing());
        let env = self.env.clone();
        self.env.spawn("s3 body drain", async move {
            // When the time is over, the body is dropped and the connection closed.
            let _ = env.timeout(limits::DRAIN_TIME_MAX, drain(body)).await;
        });
    }
}

fn nothing() -> Incoming {
    Box::pin(http_body_util::Empty::new().map_err(|never: Infallible| match never {}))
}

async fn drain(mut body: Incoming) {
    let mut left = limits::DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = left.checked_sub(len) else { return };
        left = rest;
    }
}

/// Decodes and verifies.
struct Reader {
    raw: Raw,
    framing: Framing,
    /// What the body must have at least and at most.
    sizes: RangeInclusive<u64>,
    /// Gone when the end was reached.
    hasher: Option<Hasher>,
    digests: Option<Digests>,
    len: Option<u64>,
    received: u64,
}

impl Reader {
    fn new(raw: Raw, payload: Payload, claims: Claims, len: Option<u64>) -> Self {
        let mut sizes = 0..=len.unwrap_or(limits::BODY_BYTES_MAX);
        let framing = match payload {
            Payload::Plain { .. } => Framing::None,
            Payload::Chunked { signer, trailer } => {
                Framing::Chunked(Box::new(Decoder::new(signer, trailer)))
            }
            Payload::File { parser, sizes: allowed } => {
                sizes = allowed;
                Framing::File(parser)
            }
        };
        let hasher = Some(Hasher::new(claims));
        Self { raw, framing, sizes, hasher, digests: None, len, received: 0 }
    }

    fn is_large(&self) -> bool {
        *self.sizes.end() >= limits::PIPED_BODY_BYTES_MIN
    }

    fn is_fresh(&self) -> bool {
        self.received == 0 && self.hasher.is_some()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let result = self.read().await;
        match result {
            Ok(Some(data)) => {
                self.received += data.len() as u64;
                if self.received > *self.sizes.end() {
                    return Err(BodyError::TooLarge(*self.sizes.end()));
                }
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(&data);
                }
                Ok(Some(data))
            }
            Ok(None) => {
                self.end()?;
                Ok(None)
            }
            Err(BodyError::Truncated { .. }) => Err(self.truncated()),
            Err(error) => Err(error),
        }
    }

    fn truncated(&self) -> BodyError {
        BodyError::Truncated { expected: self.len.unwrap_or(0), received: self.received }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, BodyError> {
        match &mut self.framing {
            Framing::None => self.raw.frame().await,
            Framing::Chunked(decoder) => chunked(&mut self.raw, decoder).await,
            Framing::File(parser) => file(&mut self.raw, parser).await,
        }
    }

    fn end(&mut self) -> Result<(), BodyError> {
        if self.len.is_some_and(|len| len != self.received) {
            return Err(self.truncated());
        }
        let (min, received) = (*self.sizes.start(), self.received);
        if received < min {
            return Err(BodyError::TooSmall { min, received });
        }
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let digests = hasher.finish(|name| match &self.framing {
            Framing::Chunked(decoder) => decoder.trailer(name),
            Framing::None | Framing::File(_) => None,
        })?;
        debug_assert_eq!(digests.len, self.received, "every byte was hashed");
        self.digests = Some(digests);
        Ok(())
    }
}

/// How the bytes stand in what comes from the connection.
enum Framing {
    None,
    Chunked(Box<Decoder>),
    File(Box<Parser>),
}

async fn chunked(raw: &mut Raw, decoder: &mut Decoder) -> Result<Option<Bytes>, BodyError> {
    loop {
        match decoder.step()? {
            Step::Data(data) => return Ok(Some(data)),
            Step::More | Step::End => match raw.frame().await? {
                Some(bytes) => decoder.push(bytes),
                None => {
                    decoder.finish()?;
                    return Ok(None);
                }
            },
        }
    }
}

/// What follows the file of a form is not read.
async fn file(raw: &mut Raw, parser: &mut Parser) -> Result<Option<Bytes>, BodyError> {
    let malformed = |fault: Fault| BodyError::Form(format!("{fault:?}"));
    loop {
        match parser.step().map_err(malformed)? {
            form::Step::Data(data) => return Ok(Some(data)),
            form::Step::End => return Ok(None),
            form::Step::More => match raw.frame().await? {
                Some(bytes) => parser.push(bytes),
                None => {
                    parser.finish().map_err(malformed)?;
                    return Ok(None);
                }
            },
            form::Step::Field { .. } | form::Step::File { .. } => {
                return Err(BodyError::Form("a field behind the file".to_owned()));
            }
        }
    }
}

/// A reader in a task of its own.
struct Pipe {
    data: mpsc::Receiver<Result<Piece, BodyError>>,
    digests: Option<Digests>,
    len: Option<u64>,
}

enum Piece {
    Data(Bytes),
    End(Digests),
}

impl Pipe {
    fn start(mut reader: Box<Reader>) -> Self {
        let (send, data) = mpsc::channel(limits::PIPED_BODY_FRAMES_MAX);
        let len = reader.len;
        let env = reader.raw.env.clone();
        env.spawn("s3 body", async move {
            loop {
                let piece = match reader.next().await {
                    Ok(Some(data)) => Ok(Piece::Data(data)),
                    Ok(None) => {
                        Ok(Piece::End(reader.digests.take().expect("set when the end is reported")))
                    }
                    Err(error) => Err(error),
                };
                let last = !matches!(piece, Ok(Piece::Data(_)));
                if send.send(piece).await.is_err() || last {
                    return;
                }
            }
        });
        Self { data, digests: None, len }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.digests.is_some() {
            return Ok(None);
        }
        match self.data.recv().await {
            Some(Ok(Piece::Data(data))) => Ok(Some(data)),
            Some(Ok(Piece::End(digests))) => {
                self.digests = Some(digests);
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            None => Err(BodyError::Broken("the reader of the body is gone".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::AtomicU64;
    use std::task::{Context, Poll};

    use http_body::Frame;

    use super::*;
    use crate::env::{Clock, Tasks};

    /// A clock that tests move. A sleep is over at once, or never.
    struct Moved {
        ms: AtomicU64,
        sleeps_end: bool,
    }

    impl Clock for Moved {
        fn now_ms(&self) -> u64 {
            self.ms.load(Ordering::SeqCst)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.now_ms())
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            if self.sleeps_end {
                let ms = u64::try_from(duration.as_millis()).unwrap();
                self.ms.fetch_add(ms, Ordering::SeqCst);
                return Box::pin(std::future::ready(()));
            }
            Box::pin(std::future::pending())
        }
    }

    /// Runs tasks on the test's runtime.
    struct Here;

    #[expect(clippy::disallowed_methods, reason = "this is the door, for tests")]
    impl Tasks for Here {
        fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
            tokio::spawn(task);
        }

        fn spawn_thread(&self, _: &'static str, task: BoxFuture<'static, ()>) {
            tokio::spawn(task);
        }

        fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
            work();
        }
    }

    fn env(sleeps_end: bool) -> (Env, Arc<Moved>) {
        let clock = Arc::new(Moved { ms: AtomicU64::new(0), sleeps_end });
        let mut env = crate::node::env::real(&tokio::runtime::Handle::current(), "/no".as_ref());
        env.clock = clock.clone();
        env.tasks = Arc::new(Here);
        (env, clock)
    }

    /// Gives each piece after one `Pending` and `step` of time; stays `Pending` after the last,
    /// unless it ends.
    struct Slow {
        pieces: VecDeque<Bytes>,
        clock: Arc<Moved>,
        step: u64,
        ready: bool,
        ends: bool,
    }

    impl http_body::Body for Slow {
        type Data = Bytes;
        type Error = Box<dyn Error + Send + Sync>;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.pieces.is_empty() {
                return if self.ends { Poll::Ready(None) } else { Poll::Pending };
            }
            self.ready = !self.ready;
            if self.ready {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.clock.ms.fetch_add(self.step, Ordering::SeqCst);
            Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn slow(sizes: &[usize], step: u64, sleeps_end: bool, ends: bool) -> Body {
        let (env, clock) = env(sleeps_end);
        let pieces = sizes.iter().map(|size| Bytes::from(vec![1; *size])).collect();
        let raw = Raw::new(
            Slow { pieces, clock, step, ready: false, ends },
            env,
            None,
            Counter::default(),
        );
        Body::new(raw, Payload::Plain { sha256: None }, Claims::default(), None)
    }

    async fn read(body: &mut Body) -> Result<u64, BodyError> {
        let mut len = 0;
        while let Some(bytes) = body.next().await? {
            len += bytes.len() as u64;
        }
        Ok(len)
    }

    #[tokio::test]
    async fn a_client_that_stops_sending_is_given_up() {
        let mut body = slow(&[], 0, true, false);
        assert_eq!(read(&mut body).await, Err(BodyError::Timeout));
    }

    #[tokio::test]
    async fn a_client_that_trickles_is_given_up_and_a_slow_one_is_not() {
        let mut trickle = slow(&[10; 10], 10_000, false, true);
        assert_eq!(read(&mut trickle).await, Err(BodyError::Timeout));
        let mut steady = slow(&[20_000; 10], 10_000, false, true);
        assert_eq!(read(&mut steady).await, Ok(200_000));
    }

    #[tokio::test]
    async fn the_digests_are_those_of_the_bytes() {
        let mut body = slow(&[1000; 3000], 0, false, true);
        body.want_checksum(ChecksumAlgorithm::Crc32c);
        assert_eq!(read(&mut body).await, Ok(3_000_000));
        let mut expected = Hasher::new(Claims::default());
        expected.also(ChecksumAlgorithm::Crc32c);
        expected.update(&vec![1; 3_000_000]);
        assert_eq!(body.digests(), expected.finish(|_| None).unwrap());
        assert_eq!(body.next().await, Ok(None), "the end stays the end");
    }
}
