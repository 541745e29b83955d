//! Signature version 2 (HMAC-SHA1), in the header and in the query: what s3cmd with
//! `signature_v2`, boto3's presigning and many older tools send.
//! Source: "Signing and Authenticating REST Requests", S3 user guide.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq;

use crate::s3::error::{Code, S3Error};
use crate::types::name::{AccessKeyId, SecretKey};

use super::Look;
use super::date::SignedAt;
use super::payload::{self, Payload};

/// Parameters that name a part of the resource, and so are signed.
const SUB_RESOURCES: [&str; 40] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "encryption",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "retention",
    "select",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// A signature of version 2, taken apart.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) access_key: AccessKeyId,
    signature: Vec<u8>,
    provided: String,
    /// The date line of what is signed: a date, nothing, or the end of a presigned URL's life.
    date: String,
}

impl Claim {
    /// From what follows `AWS ` in `Authorization`.
    pub(super) fn from_header(rest: &str, look: &Look<'_>) -> Result<Self, S3Error> {
        let (access_key, signature) = rest.trim().rsplit_once(':').ok_or_else(|| {
            S3Error::with(
                Code::InvalidArgument,
                "AWS authorization header is invalid. Expected AwsAccessKeyId:signature",
            )
        })?;
        let amz_date = look.header("x-amz-date");
        let text = amz_date.or_else(|| look.header("date")).ok_or_else(super::missing_date)?;
        let at = SignedAt::parse(text).ok_or_else(super::missing_date)?;
        super::check_skew(look, at, text)?;
        let date = if amz_date.is_some() { String::new() } else { text.to_owned() };
        Self::new(access_key, signature, date)
    }

    /// From the parameters of a presigned URL.
    pub(super) fn from_query(look: &Look<'_>) -> Result<Self, S3Error> {
        let need = |name: &str| {
            look.query.get(name).ok_or_else(|| {
                S3Error::with(
                    Code::AccessDenied,
                    "Query-string authentication requires the Signature, Expires and \
                     AWSAccessKeyId parameters",
                )
            })
        };
        let (access_key, signature) = (need("AWSAccessKeyId")?, need("Signature")?);
        let expires = need("Expires")?;
        let end: u64 = expires.parse().map_err(|_| {
            S3Error::with(
                Code::AccessDenied,
                format!("Invalid date (should be seconds since epoch): {expires}"),
            )
        })?;
        if end <= look.now_ms / 1000 {
            return Err(super::expired(look, end));
        }
        Self::new(access_key, signature, expires.to_owned())
    }

    fn new(access_key: &str, signature: &str, date: String) -> Result<Self, S3Error> {
        let access_key = AccessKeyId::parse(access_key).ok_or_else(|| {
            S3Error::new(Code::InvalidAccessKeyId).extra("AWSAccessKeyId", access_key)
        })?;
        // What is no base64 equals no signature.
        let bytes = STANDARD.decode(signature).unwrap_or_default();
        Ok(Self { access_key, signature: bytes, provided: signature.to_owned(), date })
    }

    /// Computes the signature again and compares.
    pub(super) fn verify(self, look: &Look<'_>, secret: &SecretKey) -> Result<Payload, S3Error> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.0.as_bytes());
        for form in FORMS {
            let expected = hmac::sign(&key, &self.string_to_sign(look, form));
            if bool::from(expected.as_ref().ct_eq(&self.signature)) {
                return payload::of_unsigned(look);
            }
        }
        let text = self.string_to_sign(look, FORMS[0]);
        Err(S3Error::new(Code::SignatureDoesNotMatch)
            .extra("AWSAccessKeyId", self.access_key.to_string())
            .extra("StringToSign", String::from_utf8_lossy(&text))
            .extra("SignatureProvided", self.provided))
    }

    fn string_to_sign(&self, look: &Look<'_>, form: Form) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(look.method.as_bytes());
        for name in ["content-md5", "content-type"] {
            out.push(b'\n');
            out.extend_from_slice(look.headers.get(name).map_or(b"", |value| value.as_bytes()));
        }
        out.push(b'\n');
        out.extend_from_slice(self.date.as_bytes());
        out.push(b'\n');
        amz_headers(look, &mut out);
        resource(look, form, &mut out);
        out
    }
}

/// How a resource is written. Clients differ, and all forms name the same one.
#[derive(Clone, Copy)]
struct Form {
    /// `?acl=` is signed as `acl=`, not as `acl`.
    equals: bool,
    /// `/bucket` is signed as `/bucket/` (botocore with path style).
    slash: bool,
}

const FORMS: [Form; 4] = [
    Form { equals: true, slash: false },
    Form { equals: true, slash: true },
    Form { equals: false, slash: false },
    Form { equals: false, slash: true },
];

/// `x-amz-*` headers, sorted, several values of one joined.
fn amz_headers(look: &Look<'_>, out: &mut Vec<u8>) {
    let mut names: Vec<&str> = look
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-"))
        .collect();
    names.sort_unstable();
    for name in names {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        for (i, value) in look.headers.get_all(name).iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(value.as_bytes().trim_ascii());
        }
        out.push(b'\n');
    }
}

/// Path style without a key and without the slash behind the bucket.
fn is_bare_bucket(look: &Look<'_>) -> bool {
    let bucket = look.path.strip_prefix('/').unwrap_or("");
    look.host_bucket.is_none() && !bucket.is_empty() && !bucket.contains('/')
}

/// The bucket of the host, the raw path, and the sub-resources in order, their values decoded.
fn resource(look: &Look<'_>, form: Form, out: &mut Vec<u8>) {
    if let Some(bucket) = look.host_bucket {
        out.push(b'/');
        out.extend_from_slice(bucket.as_str().as_bytes());
    }
    out.extend_from_slice(if look.path.is_empty() { b"/" } else { look.path.as_bytes() });
    if form.slash && is_bare_bucket(look) {
        out.push(b'/');
    }
    let signed = |name: &str| SUB_RESOURCES.contains(&name);
    let mut parts: Vec<(&str, Option<&str>)> = look
        .raw_query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (pair, None),
        })
        .filter(|(name, _)| signed(name))
        .collect();
    parts.sort_unstable();
    for (i, (name, value)) in parts.into_iter().enumerate() {
        out.push(if i == 0 { b'?' } else { b'&' });
        out.extend_from_slice(name.as_bytes());
        let Some(value) = value else { continue };
        if form.equals || !value.is_empty() {
            out.push(b'=');
            out.extend(percent_decode_str(&value.replace('+', " ")));
        }
    }
}
