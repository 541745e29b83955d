//! Bodies on their way in: what the engine asks of whoever reads them from a client.
//!
//! Invariant: a source returns `None` only after it verified everything that the client claimed of
//! the bytes (signature, length, digests); until then nothing that was read may become visible.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::env::BoxFuture;
use crate::types::object::{Checksum, ChecksumAlgorithm};

/// A stream of verified bytes.
#[expect(clippy::len_without_is_empty, reason = "a stream is no collection")]
pub trait BodySource: Send {
    /// The next run of bytes; `None` at the end, when everything claimed of them holds.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, BodyError>>;
    /// What was computed on the way. Whole only after [`BodySource::next`] gave `None`.
    fn digests(&self) -> Digests;
    /// The length that the client announced, of the decoded bytes.
    fn len(&self) -> Option<u64>;
    /// Asks for this checksum where the client sent none; before the first read. A source that
    /// cannot compute it gives none.
    fn want_checksum(&mut self, _algorithm: ChecksumAlgorithm) {}
}

/// What a source computed over its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    pub md5: [u8; 16],
    pub len: u64,
    /// The additional checksum that the client sent (verified) or asked for (computed).
    pub checksum: Option<Checksum>,
}

/// Why a body did not arrive whole and true. All are the client's or its network's doing; nothing
/// of the body is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyError {
    /// A digest that the client sent is not that of the bytes; the header's name.
    BadDigest(String),
    /// The connection broke.
    Broken(String),
    /// The form around the body is wrong.
    Form(String),
    /// The framing (aws-chunked, trailers) is wrong.
    Malformed(String),
    /// The signature of a chunk or of the trailer is wrong.
    Signature,
    /// Too slow.
    Timeout,
    /// Longer than this many bytes.
    TooLarge(u64),
    /// Shorter than whoever signed for it allows.
    TooSmall { min: u64, received: u64 },
    /// Ended before the announced length.
    Truncated { expected: u64, received: u64 },
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadDigest(header) => write!(f, "the body does not match {header}"),
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
            Self::Form(why) => write!(f, "malformed form: {why}"),
            Self::Malformed(why) => write!(f, "malformed body: {why}"),
            Self::Signature => f.write_str("the signature of a chunk is wrong"),
            Self::Timeout => f.write_str("the body came too slowly"),
            Self::TooLarge(max) => write!(f, "the body is longer than {max} bytes"),
            Self::TooSmall { min, received } => {
                write!(f, "the body has {received} bytes, less than {min}")
            }
            Self::Truncated { expected, received } => {
                write!(f, "the body ended after {received} of {expected} bytes")
            }
        }
    }
}

impl std::error::Error for BodyError {}

/// A body that is in memory already: for forms, tests and whoever has the bytes.
#[derive(Debug)]
pub struct WholeBody {
    bytes: Option<Bytes>,
    digests: Digests,
}

impl WholeBody {
    pub fn new(bytes: Bytes) -> Self {
        use md5::{Digest, Md5};
        let digests =
            Digests { md5: Md5::digest(&bytes).into(), len: bytes.len() as u64, checksum: None };
        Self { bytes: Some(bytes), digests }
    }

    /// With a checksum that the caller has verified.
    pub fn with_checksum(mut self, checksum: Checksum) -> Self {
        self.digests.checksum = Some(checksum);
        self
    }
}

impl BodySource for WholeBody {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, BodyError>> {
        let bytes = self.bytes.take().filter(|b| !b.is_empty());
        Box::pin(async move { Ok(bytes) })
    }

    fn digests(&self) -> Digests {
        self.digests.clone()
    }

    fn len(&self) -> Option<u64> {
        Some(self.digests.len)
    }
}
