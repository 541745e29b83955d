//! From what a browser asks to the S3 request that it stands for, signed with the session's key.
//!
//! Invariant: nothing that the browser says can be taken for a credential, for another host, or for
//! a page of another origin: such headers do not pass.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_LENGTH, CONTENT_TYPE, EXPIRES, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, TRANSFER_ENCODING, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::sessions::Key;

/// Headers that pass as they are, besides those of [`PREFIXES`].
const PASSED: [HeaderName; 18] = [
    ACCEPT,
    CACHE_CONTROL,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPIRES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("x-forwarded-proto"),
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
    TRANSFER_ENCODING,
    USER_AGENT,
];

/// S3's own, and what this program adds to it.
const PREFIXES: [&str; 3] = ["x-amz-", "x-godwit-", "x-tigris-"];

/// Made here, whatever the browser says.
const OURS: [&str; 4] =
    ["x-amz-content-sha256", "x-amz-date", "x-amz-security-token", super::TOKEN];

/// Turns the head of a request into that of a signed S3 request for `target`, the path and query
/// as they go over the wire. `host` is that of the S3 endpoint.
pub(super) fn sign_as(
    key: &Key,
    mut parts: Parts,
    target: &str,
    host: &str,
    now_ms: u64,
) -> Result<Parts, Box<dyn std::error::Error>> {
    let mut headers = HeaderMap::new();
    for (name, value) in &parts.headers {
        let text = name.as_str();
        let passes = PASSED.contains(name) || PREFIXES.iter().any(|p| text.starts_with(p));
        if passes && !OURS.contains(&text) {
            headers.append(name, value.clone());
        }
    }
    headers.insert(HOST, HeaderValue::from_str(host)?);
    parts.uri = target.parse()?;
    parts.headers = headers;

    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let secret = &*key.secret.0;
    let identity = Credentials::new(&*key.id.0, secret, None, None, "console").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("auto")
        .name("s3")
        .time(UNIX_EPOCH + Duration::from_millis(now_ms))
        .settings(settings)
        .build()?
        .into();
    let mut signed = Vec::new();
    for (name, value) in &parts.headers {
        if name == HOST || name.as_str().starts_with("x-amz-") {
            signed.push((name.as_str(), std::str::from_utf8(value.as_bytes())?));
        }
    }
    let url = format!("http://{host}{target}");
    let body = SignableBody::UnsignedPayload;
    let signable = SignableRequest::new(parts.method.as_str(), url, signed.iter().copied(), body)?;
    let (instructions, _) = sign(signable, &params)?.into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes())?;
        parts.headers.insert(name, HeaderValue::from_str(value)?);
    }
    debug_assert!(parts.headers.contains_key(AUTHORIZATION));
    Ok(parts)
}
