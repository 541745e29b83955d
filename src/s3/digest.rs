//! What a client claims of its body (MD5, SHA-256, checksums), and the computing of it.
//!
//! Invariant: every claim is parsed before the first byte is read, and checked after the last.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use md5::{Digest as _, Md5};

use crate::engine::body::{BodyError, Digests};
use crate::logic::checksum::Sum;
use crate::types::object::ChecksumAlgorithm;

use super::auth::payload::Payload;
use super::error::{Code, S3Error};

/// The algorithms with their headers and the lengths of their values.
const ALGORITHMS: [(ChecksumAlgorithm, &str, &str, usize); 5] = [
    (ChecksumAlgorithm::Crc32, "CRC32", "x-amz-checksum-crc32", 4),
    (ChecksumAlgorithm::Crc32c, "CRC32C", "x-amz-checksum-crc32c", 4),
    (ChecksumAlgorithm::Crc64Nvme, "CRC64NVME", "x-amz-checksum-crc64nvme", 8),
    (ChecksumAlgorithm::Sha1, "SHA1", "x-amz-checksum-sha1", 20),
    (ChecksumAlgorithm::Sha256, "SHA256", "x-amz-checksum-sha256", 32),
];

/// As requests and documents name it: `CRC32C`.
pub fn algorithm_name(algorithm: ChecksumAlgorithm) -> &'static str {
    row(algorithm).1
}

/// The header that carries it: `x-amz-checksum-crc32c`.
pub fn algorithm_header(algorithm: ChecksumAlgorithm) -> &'static str {
    row(algorithm).2
}

/// The algorithm of a name, in any case.
pub fn algorithm_of(name: &str) -> Option<ChecksumAlgorithm> {
    ALGORITHMS.iter().find(|row| row.1.eq_ignore_ascii_case(name)).map(|row| row.0)
}

fn row(algorithm: ChecksumAlgorithm) -> (ChecksumAlgorithm, &'static str, &'static str, usize) {
    *ALGORITHMS.iter().find(|row| row.0 == algorithm).expect("the table has every algorithm")
}

/// Raw bytes of a checksum in base64; `None` when it is not one of this algorithm.
pub fn decode_checksum(algorithm: ChecksumAlgorithm, text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.trim()).ok().filter(|value| value.len() == row(algorithm).3)
}

/// What the client says of its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) md5: Option<[u8; 16]>,
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) checksum: Option<Claim>,
}

/// An additional checksum: said in the header, or to come in a trailer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) algorithm: ChecksumAlgorithm,
    /// `None`: the trailer says it.
    pub(crate) value: Option<Vec<u8>>,
}

impl Claims {
    pub(crate) fn parse(headers: &HeaderMap, payload: &Payload) -> Result<Self, S3Error> {
        let trailer = matches!(payload, Payload::Chunked { trailer: true, .. });
        let checksum = checksum(headers, trailer)?;
        Ok(Self { checksum, ..Self::without_checksum(headers, payload)? })
    }

    /// Where `x-amz-checksum-*` speaks of something else than the body.
    pub(crate) fn without_checksum(
        headers: &HeaderMap,
        payload: &Payload,
    ) -> Result<Self, S3Error> {
        let sha256 = match payload {
            Payload::Plain { sha256 } => *sha256,
            Payload::Chunked { .. } | Payload::File { .. } => None,
        };
        Ok(Self { md5: content_md5(headers)?, sha256, checksum: None })
    }
}

fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, S3Error> {
    let Some(value) = headers.get("content-md5") else { return Ok(None) };
    let bytes = STANDARD.decode(value.as_bytes().trim_ascii()).ok();
    match bytes.and_then(|bytes| bytes.try_into().ok()) {
        Some(md5) => Ok(Some(md5)),
        None => Err(S3Error::with(
            Code::InvalidDigest,
            "The Content-MD5 you specified is not valid: it must be the base64 of 16 bytes.",
        )
        .extra("Content-MD5", String::from_utf8_lossy(value.as_bytes()))),
    }
}

fn checksum(headers: &HeaderMap, trailer: bool) -> Result<Option<Claim>, S3Error> {
    let mut claims = Vec::new();
    for (algorithm, _, header, _) in ALGORITHMS {
        let Some(value) = headers.get(header) else { continue };
        let value = value.to_str().ok().and_then(|text| decode_checksum(algorithm, text));
        let value = value.ok_or_else(|| {
            S3Error::with(Code::BadDigest, format!("Value for {header} header is invalid."))
        })?;
        claims.push(Claim { algorithm, value: Some(value) });
    }
    if let Some(names) = headers.get("x-amz-trailer").filter(|_| trailer) {
        let names = names.to_str().unwrap_or_default();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            claims.push(Claim { algorithm: trailer_algorithm(name)?, value: None });
        }
    }
    if claims.len() > 1 {
        return Err(S3Error::with(
            Code::InvalidRequest,
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        ));
    }
    let claim = claims.pop();
    check_announced(headers, claim.as_ref())?;
    Ok(claim)
}

fn trailer_algorithm(name: &str) -> Result<ChecksumAlgorithm, S3Error> {
    let found = ALGORITHMS.iter().find(|row| row.2.eq_ignore_ascii_case(name));
    found.map(|row| row.0).ok_or_else(|| {
        S3Error::with(
            Code::InvalidRequest,
            "The value specified in the x-amz-trailer header is not supported",
        )
    })
}

/// What `x-amz-sdk-checksum-algorithm` announces must come.
fn check_announced(headers: &HeaderMap, claim: Option<&Claim>) -> Result<(), S3Error> {
    let Some(name) = headers.get("x-amz-sdk-checksum-algorithm") else { return Ok(()) };
    let announced = name.to_str().ok().and_then(algorithm_of);
    let Some(announced) = announced else {
        return Err(S3Error::with(
            Code::InvalidRequest,
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        ));
    };
    match claim {
        // MD5 covers the body too; S3 takes either.
        None if headers.contains_key("content-md5") => Ok(()),
        None => Err(S3Error::with(
            Code::InvalidRequest,
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
             x-amz-trailer headers were found.",
        )),
        Some(claim) if claim.algorithm != announced => Err(S3Error::with(
            Code::InvalidRequest,
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        )),
        Some(_) => Ok(()),
    }
}

/// Everything that is computed over one body.
pub(crate) struct Hasher {
    claims: Claims,
    md5: Md5,
    sha256: Option<Context>,
    sum: Option<Sum>,
    len: u64,
}

impl Hasher {
    pub(crate) fn new(claims: Claims) -> Self {
        let sha256 = claims.sha256.map(|_| Context::new(&SHA256));
        let sum = claims.checksum.as_ref().map(|c| Sum::new(c.algorithm));
        Self { claims, md5: Md5::new(), sha256, sum, len: 0 }
    }

    /// Computes this checksum where the client sent none.
    pub(crate) fn also(&mut self, algorithm: ChecksumAlgorithm) {
        debug_assert_eq!(self.len, 0, "asked for before the first byte");
        if self.sum.is_none() {
            self.sum = Some(Sum::new(algorithm));
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.md5.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(sum) = &mut self.sum {
            sum.update(bytes);
        }
    }

    /// Checks every claim; `trailer` gives the value of a trailer by name.
    pub(crate) fn finish<'a>(
        self,
        trailer: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Digests, BodyError> {
        let bad = |header: &str| Err(BodyError::BadDigest(header.to_owned()));
        let md5: [u8; 16] = self.md5.finalize().into();
        if self.claims.md5.is_some_and(|claimed| claimed != md5) {
            return bad("content-md5");
        }
        if let (Some(sha256), Some(claimed)) = (self.sha256, self.claims.sha256)
            && sha256.finish().as_ref() != claimed
        {
            return bad("x-amz-content-sha256");
        }
        let mut checksum = None;
        if let Some(sum) = self.sum {
            let made = sum.finish();
            let algorithm = made.algorithm;
            if let Some(claim) = self.claims.checksum {
                let claimed = match claim.value {
                    Some(claimed) => claimed,
                    None => from_trailer(algorithm, trailer(algorithm_header(algorithm)))?,
                };
                if claimed != made.value {
                    return bad(algorithm_header(algorithm));
                }
            }
            checksum = Some(made);
        }
        Ok(Digests { md5, len: self.len, checksum })
    }
}

fn from_trailer(algorithm: ChecksumAlgorithm, text: Option<&str>) -> Result<Vec<u8>, BodyError> {
    let header = algorithm_header(algorithm);
    let text =
        text.ok_or_else(|| BodyError::Malformed(format!("the trailer {header} is missing")))?;
    decode_checksum(algorithm, text)
        .ok_or_else(|| BodyError::Malformed(format!("the trailer {header} is not valid")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
            })
            .collect()
    }

    const PLAIN: Payload = Payload::Plain { sha256: None };

    /// Check values of "123456789". Source: the CRC catalogue, and RFC 1321, 3174, 6234 tools.
    #[test]
    fn checksums_have_their_published_check_values() {
        let cases = [
            (ChecksumAlgorithm::Crc32, "cbf43926"),
            (ChecksumAlgorithm::Crc32c, "e3069283"),
            (ChecksumAlgorithm::Crc64Nvme, "ae8b14860a799888"),
            (ChecksumAlgorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (
                ChecksumAlgorithm::Sha256,
                "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            ),
        ];
        for (algorithm, expected) in cases {
            let mut hasher = Hasher::new(Claims::default());
            hasher.also(algorithm);
            hasher.update(b"1234");
            hasher.update(b"56789");
            let digests = hasher.finish(|_| None).unwrap();
            assert_eq!(hex::encode(digests.checksum.unwrap().value), expected);
            assert_eq!(hex::encode(digests.md5), "25f9e794323b453885f5181f1b624d0b");
            assert_eq!(digests.len, 9);
        }
    }

    #[test]
    fn claims_in_headers_are_parsed_or_refused() {
        let claims = Claims::parse(
            &headers(&[
                ("x-amz-sdk-checksum-algorithm", "CRC32"),
                ("x-amz-checksum-crc32", "AAAAAA=="),
                ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
            ]),
            &PLAIN,
        )
        .unwrap();
        assert_eq!(claims.checksum.unwrap().value, Some(vec![0; 4]));
        let bad: [(&[(&str, &str)], Code); 6] = [
            (&[("content-md5", "")], Code::InvalidDigest),
            (&[("content-md5", "YWJj")], Code::InvalidDigest),
            (&[("x-amz-checksum-crc32", "AAAA")], Code::BadDigest),
            (&[("x-amz-sdk-checksum-algorithm", "CRC32")], Code::InvalidRequest),
            (&[("x-amz-sdk-checksum-algorithm", "CRC99")], Code::InvalidRequest),
            (
                &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32c", "AAAAAA==")],
                Code::InvalidRequest,
            ),
        ];
        for (pairs, code) in bad {
            let map: HeaderMap = pairs
                .iter()
                .map(|(n, v)| {
                    (
                        n.parse::<http::HeaderName>().unwrap(),
                        v.parse::<http::HeaderValue>().unwrap(),
                    )
                })
                .collect();
            assert_eq!(Claims::parse(&map, &PLAIN).unwrap_err().code(), code, "{pairs:?}");
        }
    }

    #[test]
    fn trailers_are_claims_only_where_trailers_come() {
        let map = headers(&[("x-amz-trailer", "x-amz-checksum-crc32c")]);
        let chunked = Payload::Chunked { signer: None, trailer: true };
        let claim = Claims::parse(&map, &chunked).unwrap().checksum.unwrap();
        assert_eq!(claim, Claim { algorithm: ChecksumAlgorithm::Crc32c, value: None });
        assert_eq!(Claims::parse(&map, &PLAIN).unwrap().checksum, None);
        let map = headers(&[("x-amz-trailer", "x-amz-meta-a")]);
        assert_eq!(Claims::parse(&map, &chunked).unwrap_err().code(), Code::InvalidRequest);
    }

    #[test]
    fn each_wrong_digest_is_named() {
        let right = |claims: Claims| {
            let mut hasher = Hasher::new(claims);
            hasher.update(b"123456789");
            hasher.finish(|name| (name == "x-amz-checksum-crc32").then_some("AAAAAA=="))
        };
        let crc = |value| Some(Claim { algorithm: ChecksumAlgorithm::Crc32, value });
        let cases = [
            (Claims { md5: Some([0; 16]), ..Claims::default() }, "content-md5"),
            (Claims { sha256: Some([0; 32]), ..Claims::default() }, "x-amz-content-sha256"),
            (
                Claims { checksum: crc(Some(vec![0; 4])), ..Claims::default() },
                "x-amz-checksum-crc32",
            ),
            (Claims { checksum: crc(None), ..Claims::default() }, "x-amz-checksum-crc32"),
        ];
        for (claims, header) in cases {
            assert_eq!(right(claims), Err(BodyError::BadDigest(header.into())));
        }
        let good =
            Claims { checksum: crc(Some(vec![0xcb, 0xf4, 0x39, 0x26])), ..Claims::default() };
        assert!(right(good).is_ok());
    }
}
