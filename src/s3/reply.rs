//! Answers: what an operation gives back, before it becomes HTTP.

use std::error::Error;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::error::S3Error;
use super::xml::Writer;

/// Bytes of a body that is streamed; an error ends the connection, because the head is gone.
pub type ByteStream =
    Pin<Box<dyn Stream<Item = Result<Bytes, Box<dyn Error + Send + Sync>>> + Send>>;

/// The body of a [`Reply`].
pub enum ReplyBody {
    Empty,
    Bytes(Bytes),
    /// Exactly `len` bytes.
    Stream {
        len: u64,
        stream: ByteStream,
    },
}

/// What an operation answers. `Content-Length` follows from the body; on HEAD it is the length of
/// the body that a GET would have had, and the body is not sent.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: ReplyBody,
    /// Length to announce where there is no body to take it from (HEAD).
    pub announced_len: Option<u64>,
}

impl Reply {
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: ReplyBody::Empty, announced_len: None }
    }

    pub fn ok() -> Self {
        Self::empty(StatusCode::OK)
    }

    pub fn no_content() -> Self {
        Self::empty(StatusCode::NO_CONTENT)
    }

    /// 200 with an XML document.
    pub fn xml(document: Writer) -> Self {
        let mut reply = Self::ok();
        reply.body = ReplyBody::Bytes(document.finish());
        reply
            .headers
            .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        reply
    }

    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    #[must_use]
    pub fn with_body(mut self, body: ReplyBody) -> Self {
        self.body = body;
        self
    }

    /// A header whose value this program made.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// A header whose value comes from a user (metadata, stored headers). Text outside ASCII goes
    /// as it is, in UTF-8; what no header can carry (line ends) is an error, never cut.
    pub fn text(mut self, name: &str, value: &str) -> Result<Self, S3Error> {
        let name = HeaderName::try_from(name).map_err(S3Error::internal)?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(S3Error::internal)?;
        self.headers.append(name, value);
        Ok(self)
    }
}
