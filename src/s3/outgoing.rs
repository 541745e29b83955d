//! The body of an answer on its way out.
//!
//! Invariant: its length is known before the first byte, and what is reported at the end are the
//! bytes that were really handed over.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::reply::{ByteStream, ReplyBody};

/// What every listener of a node answers with.
pub struct Outgoing {
    body: ReplyBody,
    left: u64,
    sent: u64,
    end: Option<Box<dyn FnOnce(Sent) + Send>>,
    /// No length is announced; it ends when its source does.
    endless: bool,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    /// Why it is not whole, where it is not: a failed source, or a client that went away.
    pub(crate) cut: Option<String>,
}

impl Outgoing {
    pub fn empty() -> Self {
        Self::new(ReplyBody::Empty)
    }

    pub(crate) fn new(body: ReplyBody) -> Self {
        let left = match &body {
            ReplyBody::Empty => 0,
            ReplyBody::Bytes(bytes) => bytes.len() as u64,
            ReplyBody::Stream { len, .. } => *len,
        };
        Self { body, left, sent: 0, end: None, endless: false }
    }

    /// What is sent for as long as the client listens.
    pub(crate) fn endless(stream: ByteStream) -> Self {
        let mut body = Self::new(ReplyBody::Stream { len: u64::MAX, stream });
        body.endless = true;
        body
    }

    /// Calls `end` once: after the last byte, or when the body is given up.
    pub(crate) fn on_end(mut self, end: impl FnOnce(Sent) + Send + 'static) -> Self {
        self.end = Some(Box::new(end));
        if self.left == 0 {
            self.finish(None);
        }
        self
    }

    fn finish(&mut self, cut: Option<String>) {
        if let Some(end) = self.end.take() {
            end(Sent { bytes: self.sent, cut });
        }
    }

    fn give(&mut self, bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let len = bytes.len() as u64;
        if len > self.left {
            return self.fail("the body is longer than was announced".into());
        }
        self.left -= len;
        self.sent += len;
        if self.left == 0 {
            self.body = ReplyBody::Empty;
            self.finish(None);
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn fail(&mut self, error: BoxError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.body = ReplyBody::Empty;
        self.finish(Some(error.to_string()));
        Poll::Ready(Some(Err(error)))
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        Self::new(ReplyBody::Bytes(bytes))
    }
}

impl From<String> for Outgoing {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.body {
            ReplyBody::Empty => Poll::Ready(None),
            ReplyBody::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                if bytes.is_empty() { Poll::Ready(None) } else { self.give(bytes) }
            }
            ReplyBody::Stream { stream, .. } => match stream.as_mut().poll_next(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => self.give(bytes),
                Poll::Ready(Some(Err(error))) => self.fail(error),
                Poll::Ready(None) if self.left == 0 || self.endless => Poll::Ready(None),
                Poll::Ready(None) => self.fail("the body is shorter than was announced".into()),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.endless { SizeHint::default() } else { SizeHint::with_exact(self.left) }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.finish(Some("the client went away".to_owned()));
    }
}

/// Reads a stream of a known small length whole, so that head and body leave in one packet and a
/// failure can still become an answer of its own.
pub(crate) async fn collect(len: u64, mut stream: ByteStream) -> Result<Bytes, BoxError> {
    use futures_util::StreamExt as _;
    let mut whole: Option<Vec<u8>> = None;
    let mut single = Bytes::new();
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        match &mut whole {
            Some(buffer) => buffer.extend_from_slice(&bytes),
            None if single.is_empty() => single = bytes,
            None => whole = Some([single.as_ref(), bytes.as_ref()].concat()),
        }
    }
    let bytes = whole.map_or(single, Bytes::from);
    if bytes.len() as u64 == len {
        Ok(bytes)
    } else {
        Err("the body has another length than was announced".into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::stream;
    use http_body_util::BodyExt as _;

    use super::*;

    type Pieces = Vec<Result<Bytes, BoxError>>;

    fn streamed(len: u64, pieces: Pieces) -> (Outgoing, Arc<Mutex<Vec<Sent>>>) {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let seen = ends.clone();
        let stream: ByteStream = Box::pin(stream::iter(pieces));
        let body = Outgoing::new(ReplyBody::Stream { len, stream })
            .on_end(move |sent| seen.lock().unwrap().push(sent));
        (body, ends)
    }

    fn pieces(texts: &[&'static str]) -> Pieces {
        texts.iter().map(|t| Ok(Bytes::from_static(t.as_bytes()))).collect()
    }

    #[tokio::test]
    async fn the_end_is_reported_once_with_what_was_sent() {
        let (body, ends) = streamed(5, pieces(&["abc", "de"]));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcde");
        assert_eq!(*ends.lock().unwrap(), [Sent { bytes: 5, cut: None }]);
    }

    #[tokio::test]
    async fn a_body_of_another_length_is_cut() {
        for (len, texts) in [(6, ["abc", "de"]), (4, ["abc", "de"])] {
            let (body, ends) = streamed(len, pieces(&texts));
            assert!(body.collect().await.is_err());
            assert!(ends.lock().unwrap()[0].cut.is_some(), "{len}");
        }
        let (body, ends) = streamed(5, vec![Ok(Bytes::from_static(b"ab")), Err("gone".into())]);
        assert!(body.collect().await.is_err());
        assert_eq!(*ends.lock().unwrap(), [Sent { bytes: 2, cut: Some("gone".into()) }]);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_seen() {
        let (mut body, ends) = streamed(5, pieces(&["abc", "de"]));
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(ends.lock().unwrap()[0].bytes, 3);
        assert!(ends.lock().unwrap()[0].cut.is_some());
    }

    #[tokio::test]
    async fn what_has_no_end_announces_no_length_and_ends_with_its_source() {
        let stream: ByteStream = Box::pin(stream::iter(pieces(&["abc", "de"])));
        let body = Outgoing::endless(stream);
        assert_eq!(body.size_hint().exact(), None);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcde");
    }

    #[tokio::test]
    async fn small_streams_are_collected_and_checked() {
        let stream = |texts| -> ByteStream { Box::pin(stream::iter(pieces(texts))) };
        assert_eq!(collect(3, stream(&["a", "b", "c"])).await.unwrap(), "abc");
        assert_eq!(collect(0, stream(&[])).await.unwrap(), "");
        assert!(collect(4, stream(&["abc"])).await.is_err());
    }
}
