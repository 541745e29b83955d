//! Who sent a request: signatures of versions 4 and 2, in the header or in the query.
//!
//! Invariant: credentials stand in exactly one place, and a request with credentials is never
//! taken for an anonymous one. Pure but for the cache of signing keys: the caller looks the access
//! key up between [`Claim::parse`] and [`Claim::verify`].

mod canonical;
mod date;
mod form;
pub(crate) mod payload;
mod presign;
mod v2;
mod v4;

use http::HeaderMap;

use crate::types::caller::Caller;
use crate::types::name::{AccessKeyId, BucketName};
use crate::types::record::AccessKeyRecord;

use super::error::{Code, S3Error};
use super::form::Fields;
use super::request::Query;
use canonical::Signed;
pub(crate) use form::decoded_policy;
use payload::Payload;
pub(crate) use presign::Promise;
pub(crate) use v4::SigningKeys;

/// What is accepted.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// Region names that are right in a credential scope, besides `auto` and `us-east-1`.
    pub regions: Vec<String>,
    /// Signatures of version 2 (HMAC-SHA1) are taken.
    pub signature_v2: bool,
}

/// Everything that the decision looks at.
pub(crate) struct Look<'a> {
    pub(crate) method: &'a str,
    /// As it came, not decoded.
    pub(crate) path: &'a str,
    /// As it came, not decoded.
    pub(crate) raw_query: &'a str,
    pub(crate) query: &'a Query,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) host: &'a str,
    /// The bucket, where the host names it.
    pub(crate) host_bucket: Option<&'a BucketName>,
    pub(crate) now_ms: u64,
}

impl<'a> Look<'a> {
    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn signed(&self) -> Signed<'a> {
        Signed {
            method: self.method,
            query: self.raw_query,
            headers: self.headers,
            host: self.host,
        }
    }
}

/// Who a request says it is from; not yet believed.
#[derive(Debug)]
pub(crate) enum Claim {
    Anonymous,
    Form(Box<form::Claim>),
    V2(v2::Claim),
    V4(Box<v4::Claim>),
}

/// A request whose sender is known.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) caller: Caller,
    /// What is still to be verified, of the body.
    pub(crate) payload: Payload,
}

impl Claim {
    /// Reads the credentials, wherever they are; everything that needs no secret is checked.
    pub(crate) fn parse(look: &Look<'_>, options: &AuthOptions) -> Result<Self, S3Error> {
        // An empty one says nothing: such a request is anonymous.
        let header = look.headers.get(http::header::AUTHORIZATION).filter(|text| !text.is_empty());
        let query_v4 = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"]
            .iter()
            .any(|name| look.query.has(name));
        let query_v2 = ["AWSAccessKeyId", "Signature"].iter().any(|name| look.query.has(name));
        let places = usize::from(header.is_some()) + usize::from(query_v4) + usize::from(query_v2);
        if places > 1 {
            return Err(S3Error::with(
                Code::InvalidArgument,
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, \
                 Signature query string parameter or the Authorization header should be specified",
            ));
        }
        refuse_session_token(look)?;
        if query_v4 {
            return Ok(Self::V4(Box::new(v4::Claim::from_query(look, options)?)));
        }
        if query_v2 {
            allow_v2(options)?;
            return Ok(Self::V2(v2::Claim::from_query(look)?));
        }
        let Some(header) = header else { return Ok(Self::Anonymous) };
        let header = header.to_str().map_err(|_| unsupported())?.trim();
        if let Some(rest) = header.strip_prefix(v4::ALGORITHM) {
            return Ok(Self::V4(Box::new(v4::Claim::from_header(rest, look, options)?)));
        }
        if let Some(rest) = header.strip_prefix("AWS ") {
            allow_v2(options)?;
            return Ok(Self::V2(v2::Claim::from_header(rest, look)?));
        }
        Err(unsupported())
    }

    /// Reads the credentials in the fields of a form.
    pub(crate) fn of_form(
        look: &Look<'_>,
        fields: &Fields,
        options: &AuthOptions,
    ) -> Result<Self, S3Error> {
        refuse_session_token(look)?;
        let claim = form::Claim::parse(look, fields, options)?;
        Ok(claim.map_or(Self::Anonymous, |claim| Self::Form(Box::new(claim))))
    }

    /// The key whose secret is needed to verify.
    pub(crate) fn access_key(&self) -> Option<&AccessKeyId> {
        match self {
            Self::Anonymous => None,
            Self::Form(claim) => Some(&claim.access_key),
            Self::V2(claim) => Some(&claim.access_key),
            Self::V4(claim) => Some(&claim.access_key),
        }
    }

    /// Believes the claim or not. `record` is that of [`Claim::access_key`], `None` when there is
    /// no such key.
    pub(crate) fn verify(
        self,
        look: &Look<'_>,
        record: Option<&AccessKeyRecord>,
        keys: &SigningKeys,
    ) -> Result<Identity, S3Error> {
        let Some(access_key) = self.access_key().cloned() else {
            let payload = payload::of_unsigned(look)?;
            return Ok(Identity { caller: Caller::Anonymous, payload });
        };
        let Some(record) = record.filter(|record| !record.revoked) else {
            return Err(S3Error::new(Code::InvalidAccessKeyId)
                .extra("AWSAccessKeyId", access_key.to_string()));
        };
        let payload = match self {
            Self::Anonymous => payload::of_unsigned(look)?,
            Self::Form(claim) => {
                claim.verify(&record.secret, keys)?;
                payload::of_unsigned(look)?
            }
            Self::V2(claim) => claim.verify(look, &record.secret)?,
            Self::V4(claim) => claim.verify(look, &record.secret, keys)?,
        };
        let caller = Caller::Key {
            access_key,
            account: record.account.clone(),
            scope: record.scope.clone(),
        };
        Ok(Identity { caller, payload })
    }
}

fn allow_v2(options: &AuthOptions) -> Result<(), S3Error> {
    if options.signature_v2 {
        return Ok(());
    }
    Err(S3Error::with(
        Code::InvalidRequest,
        "The authorization mechanism you have provided is not supported. Please use \
         AWS4-HMAC-SHA256.",
    ))
}

fn unsupported() -> S3Error {
    S3Error::with(Code::InvalidArgument, "Unsupported Authorization Type")
        .extra("ArgumentName", "Authorization")
}

/// There are no session tokens here; a request with one would otherwise fail at its signature.
fn refuse_session_token(look: &Look<'_>) -> Result<(), S3Error> {
    let header = look.header("x-amz-security-token");
    let query = look.query.get("X-Amz-Security-Token");
    if header.or(query).is_some_and(|token| !token.is_empty()) {
        return Err(no_session_tokens());
    }
    Ok(())
}

fn no_session_tokens() -> S3Error {
    S3Error::with(
        Code::InvalidToken,
        "Session tokens are not supported; use an access key and its secret alone.",
    )
}

/// The server's clock and the request's date are too far apart.
fn check_skew(look: &Look<'_>, at: date::SignedAt, request_time: &str) -> Result<(), S3Error> {
    let skew_max = crate::limits::REQUEST_SKEW_MAX.as_secs();
    if (look.now_ms / 1000).abs_diff(at.seconds) <= skew_max {
        return Ok(());
    }
    Err(S3Error::new(Code::RequestTimeTooSkewed)
        .extra("RequestTime", request_time)
        .extra("ServerTime", super::xml::iso_date(look.now_ms))
        .extra("MaxAllowedSkewMilliseconds", (skew_max * 1000).to_string()))
}

fn missing_date() -> S3Error {
    S3Error::with(
        Code::AccessDenied,
        "AWS authentication requires a valid Date or x-amz-date header",
    )
}

fn expired(look: &Look<'_>, expires_seconds: u64) -> S3Error {
    S3Error::with(Code::AccessDenied, "Request has expired")
        .extra("Expires", super::xml::iso_date(expires_seconds.saturating_mul(1000)))
        .extra("ServerTime", super::xml::iso_date(look.now_ms))
}

#[cfg(test)]
mod tests;
