//! What a request says of its body: a hash, nothing, or signed chunks.
//! Source: "Signature Calculations for the Authorization Header: Transferring Payload in Multiple
//! Chunks", S3 API reference.

use std::ops::RangeInclusive;

use aws_lc_rs::digest::{SHA256, digest};
use aws_sigv4::sign::v4::calculate_signature;
use subtle::ConstantTimeEq;

use crate::s3::error::{Code, S3Error};
use crate::s3::form::Parser;

use super::Look;

/// SHA-256 of nothing, in hexadecimal.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const CHUNKS_SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const CHUNKS_SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const CHUNKS_UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// How the body comes, and what the signature says of it.
#[derive(Debug)]
pub(crate) enum Payload {
    /// As it is; its SHA-256, where the client said it.
    Plain { sha256: Option<[u8; 32]> },
    /// In aws-chunked framing; with signatures of chunks where there is a signer.
    Chunked { signer: Option<Box<ChunkSigner>>, trailer: bool },
    /// As the file of a form whose fields were read, of one of these sizes.
    File { parser: Box<Parser>, sizes: RangeInclusive<u64> },
}

/// What `x-amz-content-sha256` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    Hash([u8; 32]),
    Unsigned,
    ChunksSigned { trailer: bool },
    ChunksUnsigned,
}

impl Declared {
    pub(crate) fn parse(text: &str) -> Result<Self, S3Error> {
        match text {
            UNSIGNED => return Ok(Self::Unsigned),
            CHUNKS_SIGNED => return Ok(Self::ChunksSigned { trailer: false }),
            CHUNKS_SIGNED_TRAILER => return Ok(Self::ChunksSigned { trailer: true }),
            CHUNKS_UNSIGNED_TRAILER => return Ok(Self::ChunksUnsigned),
            _ => {}
        }
        let mut hash = [0; 32];
        if hex::decode_to_slice(text, &mut hash).is_ok() {
            return Ok(Self::Hash(hash));
        }
        if text.starts_with("STREAMING-AWS4-ECDSA") {
            return Err(S3Error::with(
                Code::NotImplemented,
                "Signatures of version 4A are not supported.",
            ));
        }
        Err(S3Error::argument(
            "x-amz-content-sha256",
            text,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- value of signature \
             version 4, or a valid sha256 value.",
        ))
    }
}

/// The payload of a request without a signature of version 4: nothing vouches for what the header
/// says, but framing and hash are still as it says.
pub(crate) fn of_unsigned(look: &Look<'_>) -> Result<Payload, S3Error> {
    match look.header("x-amz-content-sha256").map(Declared::parse).transpose()? {
        None | Some(Declared::Unsigned) => Ok(Payload::Plain { sha256: None }),
        Some(Declared::Hash(hash)) => Ok(Payload::Plain { sha256: Some(hash) }),
        Some(Declared::ChunksUnsigned) => Ok(Payload::Chunked { signer: None, trailer: true }),
        Some(Declared::ChunksSigned { .. }) => Err(S3Error::with(
            Code::InvalidRequest,
            "Signed chunks need a request signed with signature version 4.",
        )),
    }
}

/// The chain of chunk signatures: each covers the one before it.
#[derive(Clone, Debug)]
pub(crate) struct ChunkSigner {
    pub(crate) key: [u8; 32],
    /// `20130524T000000Z`.
    pub(crate) date: String,
    /// `20130524/us-east-1/s3/aws4_request`.
    pub(crate) scope: String,
    /// Of the chunk before, at first that of the request.
    pub(crate) previous: String,
}

impl ChunkSigner {
    /// The chunk with this SHA-256 has this signature, and is the next.
    pub(crate) fn chunk(&mut self, sha256: &[u8], signature: &str) -> bool {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{EMPTY_SHA256}\n{}",
            self.date,
            self.scope,
            self.previous,
            hex::encode(sha256)
        );
        self.advance(&text, signature)
    }

    /// The trailers, written as `name:value\n` each, have this signature.
    pub(crate) fn trailer(&mut self, trailers: &str, signature: &str) -> bool {
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}",
            self.date,
            self.scope,
            self.previous,
            hex::encode(digest(&SHA256, trailers.as_bytes()))
        );
        self.advance(&text, signature)
    }

    fn advance(&mut self, text: &str, signature: &str) -> bool {
        let expected = calculate_signature(self.key, text.as_bytes());
        let same = bool::from(expected.as_bytes().ct_eq(signature.as_bytes()));
        self.previous = expected;
        same
    }
}
