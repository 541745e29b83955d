//! Signature version 4, in the header and in the query (presigned URLs).
//! Source: "Authenticating Requests (AWS Signature Version 4)", S3 API reference.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use http::HeaderName;
use subtle::ConstantTimeEq;

use crate::limits;
use crate::s3::error::{Code, S3Error};
use crate::types::name::{AccessKeyId, SecretKey};

use super::date::SignedAt;
use super::payload::{ChunkSigner, Declared, Payload, UNSIGNED};
use super::{AuthOptions, Look, canonical};

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Headers of S3's own prefix that stand between client and server, or that clients leave out of
/// what they sign: they grant nothing.
const NEED_NO_SIGNATURE: [&str; 3] = ["x-amz-cf-id", "x-amz-content-sha256", "x-amz-user-agent"];

/// A signature of version 4, taken apart.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) access_key: AccessKeyId,
    scope: Scope,
    at: SignedAt,
    names: Vec<HeaderName>,
    signature: String,
    /// The payload's line in the canonical request.
    payload: String,
    /// How the body comes.
    declared: Declared,
}

/// `20130524/us-east-1/s3/aws4_request`.
#[derive(Debug)]
pub(super) struct Scope {
    day: String,
    region: String,
}

impl Scope {
    pub(super) fn new(at: SignedAt, region: &str) -> Self {
        Self { day: at.day(), region: region.to_owned() }
    }

    pub(super) fn text(&self) -> String {
        format!("{}/{}/s3/aws4_request", self.day, self.region)
    }
}

impl Claim {
    /// From what follows the algorithm's name in `Authorization`.
    pub(super) fn from_header(
        rest: &str,
        look: &Look<'_>,
        options: &AuthOptions,
    ) -> Result<Self, S3Error> {
        let bad = |what: &str| {
            S3Error::with(
                Code::AuthorizationHeaderMalformed,
                format!("The authorization header is malformed; {what}."),
            )
        };
        let (mut credential, mut names, mut signature) = (None, None, None);
        for part in rest.split(',') {
            match part.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => names = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                Some(_) | None => return Err(bad("it has an unknown part")),
            }
        }
        let credential = credential.ok_or_else(|| bad("the Credential is missing"))?;
        let names = names.ok_or_else(|| bad("the SignedHeaders are missing"))?;
        let signature = signature.ok_or_else(|| bad("the Signature is missing"))?;
        let (access_key, scope) = credential_of(credential, options, &bad)?;
        let (at, text) = header_date(look)?;
        check_day(&scope, at, &bad)?;
        super::check_skew(look, at, text)?;
        let names = names_of(names).ok_or_else(|| bad("the SignedHeaders are not valid"))?;
        check_signed(look, &names, false)?;
        let payload = look.header("x-amz-content-sha256").ok_or_else(|| {
            S3Error::with(
                Code::MissingSecurityHeader,
                "Missing required header for this request: x-amz-content-sha256",
            )
        })?;
        Ok(Self {
            access_key,
            scope,
            at,
            names,
            signature: signature.to_owned(),
            payload: payload.to_owned(),
            declared: Declared::parse(payload)?,
        })
    }

    /// From the parameters of a presigned URL.
    pub(super) fn from_query(look: &Look<'_>, options: &AuthOptions) -> Result<Self, S3Error> {
        let bad = |what: &str| {
            S3Error::with(
                Code::AuthorizationQueryParametersError,
                format!("Error parsing the authorization parameters; {what}."),
            )
        };
        let need = |name: &str| {
            look.query.get(name).ok_or_else(|| {
                bad("Query-string authentication version 4 requires the X-Amz-Algorithm, \
                     X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and \
                     X-Amz-Expires parameters")
            })
        };
        if need("X-Amz-Algorithm")? != ALGORITHM {
            return Err(bad("X-Amz-Algorithm only supports AWS4-HMAC-SHA256"));
        }
        let (access_key, scope) = credential_of(need("X-Amz-Credential")?, options, &bad)?;
        let at = SignedAt::parse_basic(need("X-Amz-Date")?)
            .ok_or_else(|| bad("X-Amz-Date must be in the form 20130524T000000Z"))?;
        check_day(&scope, at, &bad)?;
        let names = names_of(need("X-Amz-SignedHeaders")?)
            .ok_or_else(|| bad("the X-Amz-SignedHeaders are not valid"))?;
        let signature = need("X-Amz-Signature")?.to_owned();
        check_life(look, at, need("X-Amz-Expires")?)?;
        check_signed(look, &names, true)?;
        let header = look.header("x-amz-content-sha256");
        let signed = names.iter().any(|name| name == "x-amz-content-sha256");
        let payload = header
            .filter(|_| signed)
            .or_else(|| look.query.get("X-Amz-Content-Sha256"))
            .unwrap_or(UNSIGNED);
        let declared = Declared::parse(header.unwrap_or(payload))?;
        Ok(Self { access_key, scope, at, names, signature, payload: payload.to_owned(), declared })
    }

    /// Computes the signature again and compares.
    pub(super) fn verify(
        self,
        look: &Look<'_>,
        secret: &SecretKey,
        keys: &SigningKeys,
    ) -> Result<Payload, S3Error> {
        let key = keys.key(&self.access_key, &self.scope, self.at, secret);
        let signed = look.signed();
        let (escaped, wire) = canonical::paths(look.path);
        let mut right = false;
        for path in std::iter::once(escaped.as_ref()).chain(wire) {
            let request = canonical::request(&signed, path, &self.names, &self.payload);
            let text = string_to_sign(self.at, &self.scope, &request);
            let expected = calculate_signature(key, text.as_bytes());
            right |= bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes()));
        }
        if !right {
            let request = canonical::request(&signed, &escaped, &self.names, &self.payload);
            return Err(self.mismatch(&request));
        }
        Ok(match self.declared {
            Declared::Hash(hash) => Payload::Plain { sha256: Some(hash) },
            Declared::Unsigned => Payload::Plain { sha256: None },
            Declared::ChunksUnsigned => Payload::Chunked { signer: None, trailer: true },
            Declared::ChunksSigned { trailer } => {
                let signer = ChunkSigner {
                    key,
                    date: self.at.basic(),
                    scope: self.scope.text(),
                    previous: self.signature,
                };
                Payload::Chunked { signer: Some(Box::new(signer)), trailer }
            }
        })
    }

    /// With what was computed, so that the author of a client can compare. No secret is in it.
    fn mismatch(&self, request: &[u8]) -> S3Error {
        S3Error::new(Code::SignatureDoesNotMatch)
            .extra("AWSAccessKeyId", self.access_key.to_string())
            .extra("StringToSign", string_to_sign(self.at, &self.scope, request))
            .extra("SignatureProvided", self.signature.as_str())
            .extra("CanonicalRequest", String::from_utf8_lossy(request))
    }
}

/// What the signature is of, besides the key.
pub(super) fn string_to_sign(at: SignedAt, scope: &Scope, request: &[u8]) -> String {
    let hash = hex::encode(digest(&SHA256, request));
    format!("{ALGORITHM}\n{}\n{}\n{hash}", at.basic(), scope.text())
}

/// The key and scope of a credential: `AKID/20130524/us-east-1/s3/aws4_request`.
pub(super) fn credential_of(
    text: &str,
    options: &AuthOptions,
    bad: &impl Fn(&str) -> S3Error,
) -> Result<(AccessKeyId, Scope), S3Error> {
    let parts: Vec<&str> = text.split('/').collect();
    let [access_key, day, region, service, end] = parts[..] else {
        return Err(bad("the Credential must be ACCESS_KEY/YYYYMMDD/REGION/s3/aws4_request"));
    };
    if end != "aws4_request" {
        return Err(bad("the Credential must end in aws4_request"));
    }
    if service != "s3" {
        return Err(bad("the service of the Credential is wrong; this endpoint belongs to \"s3\""));
    }
    let known = ["auto", "us-east-1"].contains(&region);
    if !known && !options.regions.iter().any(|name| name == region) {
        return Err(bad(&format!("the region '{region}' is wrong; expecting 'auto'"))
            .extra("Region", "auto"));
    }
    let access_key = AccessKeyId::parse(access_key).ok_or_else(|| {
        S3Error::new(Code::InvalidAccessKeyId).extra("AWSAccessKeyId", access_key)
    })?;
    Ok((access_key, Scope { day: day.to_owned(), region: region.to_owned() }))
}

/// The date of a request signed in its header, and as it was written.
fn header_date<'a>(look: &Look<'a>) -> Result<(SignedAt, &'a str), S3Error> {
    let text = look.header("x-amz-date").or_else(|| look.header("date"));
    let text = text.ok_or_else(super::missing_date)?;
    let at = SignedAt::parse(text).ok_or_else(super::missing_date)?;
    Ok((at, text))
}

pub(super) fn check_day(
    scope: &Scope,
    at: SignedAt,
    bad: &impl Fn(&str) -> S3Error,
) -> Result<(), S3Error> {
    if scope.day == at.day() {
        return Ok(());
    }
    Err(bad(&format!(
        "Invalid credential date \"{}\". This date is not the same as X-Amz-Date: \"{}\"",
        scope.day,
        at.day()
    )))
}

/// A presigned URL lives from its date for 1 to 604,800 seconds.
fn check_life(look: &Look<'_>, at: SignedAt, expires: &str) -> Result<(), S3Error> {
    let max = limits::PRESIGN_MAX.as_secs();
    let life = expires.parse::<u64>().ok().filter(|life| (1..=max).contains(life));
    let Some(life) = life else {
        return Err(S3Error::with(
            Code::AccessDenied,
            "X-Amz-Expires must be a number of seconds between 1 and 604800 (a week)",
        ));
    };
    let now = look.now_ms / 1000;
    if at.seconds > now + limits::REQUEST_SKEW_MAX.as_secs() {
        return Err(S3Error::with(Code::AccessDenied, "Request is not yet valid")
            .extra("ServerTime", crate::s3::xml::iso_date(look.now_ms)));
    }
    if at.seconds + life < now {
        return Err(super::expired(look, at.seconds + life).extra("X-Amz-Expires", expires));
    }
    Ok(())
}

fn names_of(text: &str) -> Option<Vec<HeaderName>> {
    let names: Vec<HeaderName> =
        text.split(';').map(HeaderName::try_from).collect::<Result<_, _>>().ok()?;
    (names.len() <= limits::HEADERS_MAX && names.contains(&http::header::HOST)).then_some(names)
}

/// Every header that means something to S3 must be covered, or whoever holds a presigned URL, or
/// sits between, could add to the request.
fn check_signed(look: &Look<'_>, names: &[HeaderName], presigned: bool) -> Result<(), S3Error> {
    let exempt = |name: &str| {
        NEED_NO_SIGNATURE.contains(&name) && (presigned || name != "x-amz-content-sha256")
    };
    let missing: Vec<&str> = look
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-amz-") && !names.contains(name))
        .map(HeaderName::as_str)
        .filter(|name| !exempt(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(S3Error::with(
        Code::AccessDenied,
        "There were headers present in the request which were not signed",
    )
    .extra("HeadersNotSigned", missing.join(", ")))
}

/// Signing keys, which cost four HMACs, by access key, day and region. A changed secret is seen,
/// because it is compared.
pub(crate) struct SigningKeys(moka::sync::Cache<(AccessKeyId, String), Arc<Derived>>);

struct Derived {
    secret: SecretKey,
    key: [u8; 32],
}

/// Entries: one per access key, day and region that is in use.
const SIGNING_KEYS_MAX: u64 = 16_384;

impl SigningKeys {
    pub(crate) fn new() -> Self {
        Self(moka::sync::Cache::new(SIGNING_KEYS_MAX))
    }

    pub(super) fn key(
        &self,
        access_key: &AccessKeyId,
        scope: &Scope,
        at: SignedAt,
        secret: &SecretKey,
    ) -> [u8; 32] {
        let id = (access_key.clone(), scope.text());
        if let Some(found) = self.0.get(&id)
            && found.secret == *secret
        {
            return found.key;
        }
        let time = UNIX_EPOCH + Duration::from_secs(at.seconds);
        let derived = generate_signing_key(&secret.0, time, &scope.region, "s3");
        let mut key = [0; 32];
        key.copy_from_slice(derived.as_ref());
        self.0.insert(id, Arc::new(Derived { secret: secret.clone(), key }));
        key
    }
}
