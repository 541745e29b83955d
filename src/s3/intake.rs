//! From a request on the wire to what the pipeline works with.
//!
//! Invariant: the body is not touched before the pipeline says so, because the first read of it
//! tells the client to send (`100 Continue`).

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use hyper::body::Incoming;

use crate::engine::body::BodyError;
use crate::limits;
use crate::types::access::Circumstances;
use crate::types::action::Target;
use crate::types::name::BucketName;

use super::auth::payload::Payload;
use super::auth::{AuthOptions, Claim, Identity, Look};
use super::body::{Body, Expect, Raw};
use super::digest::Claims;
use super::error::{Code, S3Error};
use super::form::Form;
use super::op::{BodyKind, Op};
use super::request::{Query, Req};
use super::target::{self, Route};
use super::{Ctx, Signed};

/// A request before anything of its body was read.
pub(super) struct Head {
    pub(super) parts: Parts,
    pub(super) query: Query,
    pub(super) target: Target,
    /// Of a presigned request: its headers, and the parameters that stand for headers. Of a form:
    /// its fields that stand for headers.
    instead: Option<HeaderMap>,
    /// Of a form: its fields, and the file that is still to come.
    pub(super) form: Option<Form>,
    host: String,
    virtual_host: bool,
    raw: Raw,
}

/// Where a request goes.
pub(super) fn route<B>(request: &Request<B>, domains: &[String]) -> Result<Route, S3Error> {
    target::resolve(&host(request.headers(), request.uri()), request.uri().path(), domains)
}

/// `Host`, or `:authority` in HTTP/2.
pub(super) fn host(headers: &HeaderMap, uri: &http::Uri) -> String {
    let header = headers.get(http::header::HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| uri.authority().map(http::uri::Authority::as_str)).unwrap_or("").to_owned()
}

pub(super) fn split(
    ctx: &Ctx,
    request: Request<Incoming>,
    target: Target,
    virtual_host: bool,
    expect: Option<Expect>,
) -> Result<Head, S3Error> {
    let (parts, body) = request.into_parts();
    let raw = Raw::new(body, ctx.env.clone(), expect, ctx.metrics.received.clone());
    check_size(&parts)?;
    let query = Query::parse(parts.uri.query().unwrap_or(""))?;
    let host = host(&parts.headers, &parts.uri);
    let instead = with_presigned(&parts.headers, &query)?;
    Ok(Head { parts, query, target, instead, form: None, host, virtual_host, raw })
}

/// Parameters of a presigned URL that are no headers: those of the signature itself.
const SIGNATURE_PARAMETERS: [&str; 8] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// What a query signed with version 4 has, and one signed with version 2.
const V4_SIGNATURE: &str = "X-Amz-Signature";
const V2_SIGNATURE: &str = "Signature";

/// Some SDKs move every `x-amz-*` header of what they presign into the query, where the signature
/// covers it; S3 reads it there. With version 2 boto3 always does so, also with the type and the MD5
/// of the body, and what is signed has them as headers. Of version 4 checksums are left out: what
/// such a URL carries is the checksum of the empty body that it was made with.
fn with_presigned(headers: &HeaderMap, query: &Query) -> Result<Option<HeaderMap>, S3Error> {
    let v2 = query.has(V2_SIGNATURE);
    if !query.has(V4_SIGNATURE) && !v2 {
        return Ok(None);
    }
    let mut all = headers.clone();
    for (name, value) in query.pairs() {
        let lower = name.to_ascii_lowercase();
        let checksum = lower.starts_with("x-amz-checksum-") && lower != "x-amz-checksum-mode";
        let own = checksum
            || lower == "x-amz-sdk-checksum-algorithm"
            || SIGNATURE_PARAMETERS.contains(&lower.as_str());
        let of_body = v2 && ["content-md5", "content-type"].contains(&lower.as_str());
        let stands_for_header = of_body || lower.starts_with("x-amz-") && (v2 || !own);
        if !stands_for_header || headers.contains_key(&lower) {
            continue;
        }
        let bad = || S3Error::argument(name, value, "the parameter cannot be a header");
        let header = HeaderName::try_from(lower.as_str()).map_err(|_| bad())?;
        all.insert(header, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?);
    }
    Ok(Some(all))
}

fn check_size(parts: &Parts) -> Result<(), S3Error> {
    let line = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let headers = parts.headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4);
    let few = parts.headers.len() <= limits::HEADERS_MAX;
    if few && line + headers.sum::<usize>() <= limits::HEADER_BYTES_MAX {
        return Ok(());
    }
    Err(S3Error::new(Code::RequestHeaderSectionTooLarge)
        .extra("MaxSizeAllowed", limits::HEADER_BYTES_MAX.to_string()))
}

impl Head {
    pub(super) fn look(&self, now_ms: u64) -> Look<'_> {
        Look {
            method: self.parts.method.as_str(),
            path: self.parts.uri.path(),
            raw_query: self.parts.uri.query().unwrap_or(""),
            query: &self.query,
            headers: if self.query.has(V2_SIGNATURE) {
                self.headers()
            } else {
                &self.parts.headers
            },
            host: &self.host,
            host_bucket: self.host_bucket(),
            now_ms,
        }
    }

    /// What the operation sees as headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        self.instead.as_ref().unwrap_or(&self.parts.headers)
    }

    /// Reads the fields of a form. From here on it is the PutObject that it stands for.
    pub(super) async fn unfold(&mut self) -> Result<(), S3Error> {
        let form = Form::read(&self.parts.headers, &mut self.raw).await?;
        if let Some(bucket) = self.target.bucket() {
            self.target = Target::Object(bucket.clone(), form.key()?);
        }
        self.instead = Some(form.headers(&self.parts.headers)?);
        self.form = Some(form);
        Ok(())
    }

    /// A header as text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The credentials in the fields of a form.
    pub(super) fn form_claim<'a>(
        &self,
        look: &Look<'a>,
        options: &AuthOptions,
    ) -> Result<Claim, S3Error> {
        match &self.form {
            Some(form) => Claim::of_form(look, &form.fields, options),
            None => Err(S3Error::internal("a form was not read")),
        }
    }

    /// A form with a policy is judged by it.
    pub(super) fn check_policy(&mut self, now_ms: u64) -> Result<(), S3Error> {
        match (&mut self.form, self.target.bucket()) {
            (Some(form), Some(bucket)) => form.check_policy(bucket.as_str(), now_ms),
            (None, _) | (_, None) => Ok(()),
        }
    }

    fn host_bucket(&self) -> Option<&BucketName> {
        self.target.bucket().filter(|_| self.virtual_host)
    }

    /// The request of an operation, its body as the row says.
    pub(super) async fn into_request(
        self,
        op: &Op,
        identity: Identity,
        around: Circumstances,
        id: String,
    ) -> Result<Req, S3Error> {
        let Self { parts, query, target, instead, form, host, virtual_host, raw } = self;
        let head = parts.method == Method::HEAD;
        let mut headers = instead.unwrap_or(parts.headers);
        let (payload, form) = match form.map(Form::into_payload) {
            Some((payload, fields)) => (payload, Some(fields)),
            None => (identity.payload, None),
        };
        let (mut body, mut document) = (Body::empty(), Bytes::new());
        match op.body {
            // What comes all the same is not looked at.
            BodyKind::None => drop(raw),
            BodyKind::Xml(max) => {
                let claims = Claims::parse(&headers, &payload)?;
                document = whole(raw, &headers, payload, claims, max).await?;
            }
            BodyKind::ObjectXml(max) => {
                let claims = Claims::without_checksum(&headers, &payload)?;
                document = whole(raw, &headers, payload, claims, max).await?;
            }
            BodyKind::Stream => {
                let len = stream_len(&headers, parts.version, &payload)?;
                let claims = Claims::parse(&headers, &payload)?;
                body = Body::new(raw, payload, claims, len);
            }
        }
        strip_aws_chunked(&mut headers)?;
        let caller = identity.caller;
        Ok(Req {
            caller,
            around,
            seen: None,
            target,
            query,
            headers,
            form,
            body,
            document,
            id,
            host,
            virtual_host,
            head,
        })
    }

    /// A request that no row of the table answers.
    pub(super) async fn into_signed(
        self,
        identity: Identity,
        max: usize,
    ) -> Result<Signed, S3Error> {
        let Self { parts, query, raw, .. } = self;
        let claims = Claims::parse(&parts.headers, &identity.payload)?;
        let body = whole(raw, &parts.headers, identity.payload, claims, max).await?;
        let path = parts.uri.path().to_owned();
        Ok(Signed { caller: identity.caller, method: parts.method, path, query, body })
    }
}

/// A body that is read whole, at most `max` bytes.
async fn whole(
    raw: Raw,
    headers: &HeaderMap,
    payload: Payload,
    claims: Claims,
    max: usize,
) -> Result<Bytes, S3Error> {
    let len = announced_len(headers, &payload)?;
    Body::new(raw, payload, claims, len).collect(max).await.map_err(|error| match error {
        BodyError::TooLarge(max) => S3Error::new(Code::MaxMessageLengthExceeded)
            .extra("MaxMessageLengthBytes", max.to_string()),
        other => S3Error::from(other),
    })
}

/// The length of the decoded body, where the client says it.
fn announced_len(headers: &HeaderMap, payload: &Payload) -> Result<Option<u64>, S3Error> {
    let name = match payload {
        Payload::Plain { .. } => http::header::CONTENT_LENGTH,
        Payload::Chunked { .. } => HeaderName::from_static("x-amz-decoded-content-length"),
        // The end of a file is where its boundary is.
        Payload::File { .. } => return Ok(None),
    };
    let Some(value) = headers.get(&name) else { return Ok(None) };
    let len = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    len.map(Some).ok_or_else(|| {
        S3Error::argument(name.as_str(), "", format!("the header {name} is not a number"))
    })
}

/// The length of a body that is stored. S3 wants to know it beforehand; only a body in HTTP's own
/// chunks, or in frames of HTTP/2, may come without.
fn stream_len(
    headers: &HeaderMap,
    version: Version,
    payload: &Payload,
) -> Result<Option<u64>, S3Error> {
    let len = announced_len(headers, payload)?;
    if let Some(len) = len.filter(|len| *len > limits::BODY_BYTES_MAX) {
        return Err(S3Error::new(Code::EntityTooLarge)
            .extra("ProposedSize", len.to_string())
            .extra("MaxSizeAllowed", limits::BODY_BYTES_MAX.to_string()));
    }
    let framed = headers.contains_key(http::header::TRANSFER_ENCODING);
    let has_end = match payload {
        Payload::Plain { .. } => framed || version == Version::HTTP_2,
        Payload::Chunked { .. } => false,
        Payload::File { .. } => true,
    };
    if len.is_none() && !has_end {
        return Err(S3Error::new(Code::MissingContentLength));
    }
    Ok(len)
}

/// `aws-chunked` was the framing on the wire; it is no encoding of the object.
fn strip_aws_chunked(headers: &mut HeaderMap) -> Result<(), S3Error> {
    let name = http::header::CONTENT_ENCODING;
    let values: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
    let tokens: Vec<&[u8]> = values
        .iter()
        .flat_map(|value| value.split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    if !tokens.iter().any(|token| token.eq_ignore_ascii_case(b"aws-chunked")) {
        return Ok(());
    }
    let kept: Vec<&[u8]> = tokens
        .into_iter()
        .filter(|token| !token.is_empty() && !token.eq_ignore_ascii_case(b"aws-chunked"))
        .collect();
    let joined = kept.join(&b", "[..]);
    headers.remove(&name);
    if !joined.is_empty() {
        headers.insert(name, HeaderValue::from_bytes(&joined).map_err(S3Error::internal)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding_after(values: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(http::header::CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        strip_aws_chunked(&mut headers).unwrap();
        let value = headers.get(http::header::CONTENT_ENCODING)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn aws_chunked_is_no_encoding_of_the_object() {
        assert_eq!(encoding_after(&["aws-chunked"]), None);
        assert_eq!(encoding_after(&["gzip, aws-chunked"]), Some("gzip".into()));
        assert_eq!(encoding_after(&["aws-chunked,gzip", "br"]), Some("gzip, br".into()));
        assert_eq!(encoding_after(&["gzip"]), Some("gzip".into()));
        assert_eq!(encoding_after(&[]), None);
    }

    #[test]
    fn parameters_of_a_presigned_url_stand_for_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-meta-b", HeaderValue::from_static("header"));
        let query = "X-Amz-Signature=0&X-Amz-Expires=9&X-Amz-Meta-A=1&x-amz-meta-b=2&x-id=Get\
                     &x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-checksum-mode=ENABLED";
        let all = with_presigned(&headers, &Query::parse(query).unwrap()).unwrap().unwrap();
        let names: Vec<&str> = all.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-amz-meta-b", "x-amz-meta-a", "x-amz-checksum-mode"]);
        assert_eq!(all["x-amz-meta-b"], "header");
        let v2 = "AWSAccessKeyId=a&Signature=0&content-type=text%2Fplain&x-amz-meta-a=1";
        let all = with_presigned(&headers, &Query::parse(v2).unwrap()).unwrap().unwrap();
        assert_eq!(all["content-type"], "text/plain");
        assert_eq!(all["x-amz-meta-a"], "1");
        let unsigned = Query::parse("x-amz-meta-a=1").unwrap();
        assert!(with_presigned(&headers, &unsigned).unwrap().is_none());
        let bad = Query::parse("X-Amz-Signature=0&x-amz-meta-a=%0A").unwrap();
        assert_eq!(with_presigned(&headers, &bad).unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn a_stored_body_needs_a_length_unless_its_framing_has_an_end() {
        let plain = Payload::Plain { sha256: None };
        let chunked = Payload::Chunked { signer: None, trailer: true };
        let code = |headers: &HeaderMap, payload: &Payload| {
            stream_len(headers, Version::HTTP_11, payload).unwrap_err().code()
        };
        let mut headers = HeaderMap::new();
        assert_eq!(code(&headers, &plain), Code::MissingContentLength);
        headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
        assert_eq!(stream_len(&headers, Version::HTTP_11, &plain).unwrap(), None);
        assert_eq!(code(&headers, &chunked), Code::MissingContentLength);
        headers.insert("x-amz-decoded-content-length", HeaderValue::from_static("7"));
        assert_eq!(stream_len(&headers, Version::HTTP_11, &chunked).unwrap(), Some(7));
        headers.insert("content-length", HeaderValue::from_static("5368709121"));
        assert_eq!(code(&headers, &plain), Code::EntityTooLarge);
    }
}
