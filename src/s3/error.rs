//! The errors of S3: one table of codes, and the only place where they become answers.
//!
//! Invariant: a status or a code is chosen nowhere else. What lies below is kept as the source for
//! the log and never sent.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::engine;
use crate::engine::body::BodyError;
use crate::limits;

/// One row a code: name, status, default message.
macro_rules! codes {
    (@shown $name:ident) => { stringify!($name) };
    (@shown $name:ident $shown:literal) => { $shown };
    ($($name:ident $(= $shown:literal)? $status:literal $message:literal;)*) => {
        /// An S3 error code. Source: S3 API reference, "Error responses".
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($name),* }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As `<Code>` names it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => codes!(@shown $name $($shown)?)),* }
            }

            fn row(self) -> (u16, &'static str) {
                match self { $(Self::$name => ($status, $message)),* }
            }
        }
    };
}

codes! {
    AccessControlListNotSupported 400 "The bucket does not allow ACLs.";
    AccessDenied 403 "Access Denied";
    AccessForbidden 403 "Access Forbidden";
    AuthorizationHeaderMalformed 400 "The authorization header is malformed.";
    AuthorizationQueryParametersError 400 "The authorization query parameters are not right.";
    BadDigest 400
        "The Content-MD5 or checksum value that you specified did not match what the server \
         received.";
    BadRequest 400 "The request cannot be understood.";
    BucketAlreadyExists 409
        "The requested bucket name is not available. The bucket namespace is shared by all \
         users of the system. Select a different name and try again.";
    BucketAlreadyOwnedByYou 409
        "Your previous request to create the named bucket succeeded and you already own it.";
    BucketNotEmpty 409 "The bucket you tried to delete is not empty.";
    ConditionalRequestConflict 409
        "A conflicting conditional operation is under way on this resource. Try again.";
    CredentialsNotSupported 400 "This request does not support credentials.";
    EntityTooLarge 400 "Your proposed upload exceeds the maximum allowed size.";
    EntityTooSmall 400 "Your proposed upload is smaller than the minimum allowed size.";
    ExpiredToken 400 "The provided token has expired.";
    IllegalLocationConstraintException 400
        "The specified location constraint is not valid for this cluster.";
    IncompleteBody 400
        "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    IncorrectNumberOfFilesInPostRequest 400
        "POST requires exactly one file upload per request.";
    InternalError 500 "We encountered an internal error. Please try again.";
    InvalidAccessKeyId 403 "The AWS Access Key Id you provided does not exist in our records.";
    InvalidArgument 400 "Invalid Argument";
    InvalidBucketAclWithObjectOwnership 400
        "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting";
    InvalidBucketName 400 "The specified bucket is not valid.";
    InvalidBucketState 409 "The request is not valid with the current state of the bucket.";
    InvalidChunkSizeError 403 "Only the last chunk is allowed to have a size less than 8192 bytes.";
    InvalidDigest 400 "The Content-MD5 or checksum value that you specified is not valid.";
    InvalidEncryptionAlgorithmError 400 "The encryption request you specified is not valid.";
    InvalidLocationConstraint 400 "The specified location constraint is not valid.";
    InvalidObjectState 403 "The operation is not valid for the object's storage class.";
    InvalidPart 400
        "One or more of the specified parts could not be found. The part may not have been \
         uploaded, or the specified entity tag may not match the part's entity tag.";
    InvalidPartOrder 400
        "The list of parts was not in ascending order. Parts must be ordered by part number.";
    InvalidPolicyDocument 400
        "The content of the form does not meet the conditions specified in the policy document.";
    InvalidRange 416 "The requested range is not satisfiable.";
    InvalidRedirectLocation 400
        "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.";
    InvalidRequest 400 "Invalid Request";
    InvalidRetentionPeriod 400 "The retention period specified is invalid.";
    InvalidSecurity 403 "The provided security credentials are not valid.";
    InvalidStorageClass 400 "The storage class you specified is not valid.";
    InvalidTag 400 "The tag provided was not a valid tag.";
    InvalidTargetBucketForLogging 400
        "The target bucket for logging does not exist, is not owned by you, or does not have the \
         appropriate grants for the log-delivery group.";
    InvalidToken 400 "The provided token is malformed or otherwise not valid.";
    InvalidURI 400 "Couldn't parse the specified URI.";
    KmsNotFoundException = "KMS.NotFoundException" 400 "The key of SSE-KMS does not exist.";
    KeyTooLongError 400 "Your key is too long.";
    MalformedACLError 400
        "The XML you provided was not well-formed or did not validate against our published \
         schema.";
    MalformedPOSTRequest 400
        "The body of your POST request is not well-formed multipart/form-data.";
    MalformedPolicy 400 "Policies must be valid JSON.";
    MalformedXML 400
        "The XML you provided was not well-formed or did not validate against our published \
         schema.";
    MaxMessageLengthExceeded 400 "Your request was too large.";
    MaxPostPreDataLengthExceededError 400
        "Your POST request fields preceding the upload file were too large.";
    MetadataTooLarge 400 "Your metadata headers exceed the maximum allowed metadata size.";
    MethodNotAllowed 405 "The specified method is not allowed against this resource.";
    MissingContentLength 411 "You must provide the Content-Length HTTP header.";
    MissingRequestBodyError 400 "Request body is empty.";
    MissingSecurityHeader 400 "Your request was missing a required header.";
    NoSuchBucket 404 "The specified bucket does not exist.";
    NoSuchBucketPolicy 404 "The bucket policy does not exist.";
    NoSuchCORSConfiguration 404 "The CORS configuration does not exist.";
    NoSuchKey 404 "The specified key does not exist.";
    NoSuchLifecycleConfiguration 404 "The lifecycle configuration does not exist.";
    NoSuchObjectLockConfiguration 404
        "The specified object does not have an object lock configuration.";
    NoSuchPublicAccessBlockConfiguration 404 "The public access block configuration was not found.";
    NoSuchTagSet 404 "The TagSet does not exist.";
    NoSuchUpload 404
        "The specified upload does not exist. The upload ID may be invalid, or the upload may \
         have been aborted or completed.";
    NoSuchVersion 404 "The specified version does not exist.";
    NoSuchWebsiteConfiguration 404 "The specified bucket does not have a website configuration.";
    NotImplemented 501 "A header you provided implies functionality that is not implemented.";
    NotModified 304 "Not Modified";
    ObjectLockConfigurationNotFoundError 404
        "Object Lock configuration does not exist for this bucket.";
    OperationAborted 409
        "A conflicting conditional operation is currently in progress against this resource. \
         Try again.";
    OwnershipControlsNotFoundError 404 "The bucket ownership controls were not found.";
    PermanentRedirect 301
        "The bucket you are attempting to access must be addressed using the specified \
         endpoint.";
    PreconditionFailed 412 "At least one of the pre-conditions you specified did not hold";
    QuotaExceeded 403
        "The bucket would grow beyond its quota. Delete something, or have its owner raise the quota.";
    ReplicationConfigurationNotFoundError 404 "The replication configuration was not found.";
    RequestHeaderSectionTooLarge 400
        "Your request header section exceeds the maximum allowed size.";
    RequestTimeTooSkewed 403
        "The difference between the request time and the server's time is too large.";
    RequestTimeout 400
        "Your socket connection to the server was not read from or written to within the \
         timeout period.";
    ServerSideEncryptionConfigurationNotFoundError 404
        "The server side encryption configuration was not found.";
    ServiceUnavailable 503
        "The service cannot keep a promise of this bucket at the moment. Please try again.";
    SignatureDoesNotMatch 403
        "The request signature we calculated does not match the signature you provided. Check \
         your key and signing method.";
    SlowDown 503 "Please reduce your request rate.";
    TooManyBuckets 400 "You have attempted to create more buckets than allowed.";
    UnexpectedContent 400 "This request does not support content.";
    UnresolvableGrantByEmailAddress 400
        "The email address you provided does not match any account on record.";
    XAmzContentChecksumMismatch 400
        "The value of the x-amz-checksum header does not match the computed checksum.";
    XAmzContentSHA256Mismatch 400
        "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

impl Code {
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).expect("the table has valid statuses only")
    }

    /// What `<Message>` says when nothing more exact is known.
    pub fn message(self) -> &'static str {
        self.row().1
    }
}

/// An answer that is an error.
pub struct S3Error(Box<Parts>);

struct Parts {
    code: Code,
    message: Cow<'static, str>,
    resource: Option<String>,
    /// Further elements of the body, in order: `ArgumentName`, `StringToSign`, ...
    extra: Vec<(&'static str, String)>,
    headers: HeaderMap,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl S3Error {
    /// With the code's own message.
    pub fn new(code: Code) -> Self {
        Self::with(code, code.message())
    }

    /// With a message that says what to do.
    pub fn with(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            code,
            message: message.into(),
            resource: None,
            extra: Vec::new(),
            headers: HeaderMap::new(),
            source: None,
        }))
    }

    /// `InvalidArgument` with the name and value that S3 names in the body.
    pub fn argument(name: &str, value: &str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::with(Code::InvalidArgument, message)
            .extra("ArgumentName", name)
            .extra("ArgumentValue", value)
    }

    /// Something that must not happen; `source` goes to the log.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Code::InternalError).source(source)
    }

    /// A promise that cannot be kept now; says when to come again.
    pub fn unavailable(reason: &str, retry_after: Duration) -> Self {
        Self::with(Code::ServiceUnavailable, format!("{reason}. Please try again."))
            .retry_after(retry_after)
    }

    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.0.resource = Some(resource.into());
        self
    }

    #[must_use]
    pub fn extra(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.extra.push((name, value.into()));
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs().max(1);
        self.header(http::header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Kept for the log, never sent.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    pub(crate) fn extras(&self) -> &[(&'static str, String)] {
        &self.0.extra
    }

    pub(crate) fn resource_or(&self, default: &str) -> String {
        self.0.resource.clone().unwrap_or_else(|| default.to_owned())
    }
}

impl fmt::Debug for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.message)
    }
}

impl Error for S3Error {}

impl From<Code> for S3Error {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<BodyError> for S3Error {
    fn from(error: BodyError) -> Self {
        let answer = match &error {
            BodyError::BadDigest(header) if header == "x-amz-content-sha256" => {
                Self::new(Code::XAmzContentSHA256Mismatch)
            }
            BodyError::BadDigest(header) if header == "content-md5" => Self::with(
                Code::BadDigest,
                "The Content-MD5 you specified did not match what we received.",
            ),
            BodyError::BadDigest(header) => Self::with(
                Code::BadDigest,
                format!(
                    "The {} you specified did not match the calculated checksum.",
                    header.strip_prefix("x-amz-checksum-").unwrap_or(header).to_uppercase()
                ),
            ),
            BodyError::Broken(_) | BodyError::Truncated { .. } => Self::new(Code::IncompleteBody),
            BodyError::Form(_) => Self::new(Code::MalformedPOSTRequest),
            BodyError::Malformed(why) => Self::with(
                Code::InvalidRequest,
                format!("The body does not have the framing that its headers announce: {why}."),
            ),
            BodyError::Signature => Self::new(Code::SignatureDoesNotMatch),
            BodyError::Timeout => Self::new(Code::RequestTimeout),
            BodyError::TooLarge(max) => {
                Self::new(Code::EntityTooLarge).extra("MaxSizeAllowed", max.to_string())
            }
            BodyError::TooSmall { min, received } => Self::new(Code::EntityTooSmall)
                .extra("ProposedSize", received.to_string())
                .extra("MinSizeAllowed", min.to_string()),
        };
        answer.source(error)
    }
}

impl From<engine::Error> for S3Error {
    fn from(error: engine::Error) -> Self {
        use engine::Error as E;
        let text = error.to_string();
        let answer = match error.clone() {
            E::AccessDenied(_) => Self::new(Code::AccessDenied),
            E::Body(error) => return Self::from(error),
            E::BucketAlreadyExists => Self::new(Code::BucketAlreadyExists),
            E::BucketAlreadyOwnedByYou => Self::new(Code::BucketAlreadyOwnedByYou),
            E::BucketNotEmpty => Self::new(Code::BucketNotEmpty),
            E::BucketSoftDeleted { .. } => Self::with(Code::BucketAlreadyExists, sentence(&text)),
            E::Conflict(_) => Self::with(Code::OperationAborted, sentence(&text)),
            E::EntityTooLarge { bytes_max } => {
                Self::new(Code::EntityTooLarge).extra("MaxSizeAllowed", bytes_max.to_string())
            }
            E::EntityTooSmall { part, bytes } => Self::new(Code::EntityTooSmall)
                .extra("PartNumber", part.to_string())
                .extra("ProposedSize", bytes.to_string())
                .extra("MinSizeAllowed", limits::PART_BYTES_MIN.to_string()),
            E::Internal(_) => Self::new(Code::InternalError),
            E::InvalidBucketState(_) => Self::with(Code::InvalidBucketState, text),
            E::InvalidArgument(_) => Self::with(Code::InvalidArgument, sentence(&text)),
            E::InvalidLocation(place) => {
                Self::with(Code::InvalidLocationConstraint, sentence(&text))
                    .extra("LocationConstraint", place)
            }
            E::InvalidPart { part, .. } => {
                Self::new(Code::InvalidPart).extra("PartNumber", part.to_string())
            }
            E::InvalidPartNumber { parts } => {
                let why = "The object has no part of this number.";
                Self::with(Code::InvalidPart, why).extra("ActualPartCount", parts.to_string())
            }
            E::InvalidPartOrder => Self::new(Code::InvalidPartOrder),
            E::InvalidRange { size } => {
                let range = HeaderValue::try_from(format!("bytes */{size}"));
                let answer =
                    Self::new(Code::InvalidRange).extra("ActualObjectSize", size.to_string());
                match range {
                    Ok(range) => answer.header(http::header::CONTENT_RANGE, range),
                    Err(_) => answer,
                }
            }
            E::InvalidRequest(_) => Self::with(Code::InvalidRequest, sentence(&text)),
            E::NoSuchBucket => Self::new(Code::NoSuchBucket),
            E::NoSuchKey => Self::new(Code::NoSuchKey),
            E::NoSuchSource(key) => Self::new(Code::NoSuchKey).extra("Key", key.as_str()),
            E::NoSuchUpload => Self::new(Code::NoSuchUpload),
            E::DeleteMarker { version_id, modified_ms, asked_for } => {
                delete_marker(&version_id, modified_ms, asked_for)
            }
            E::NoKeyring => Self::with(Code::NotImplemented, NO_KEYRING),
            E::NoSuchEncryptionKey(name) => {
                Self::new(Code::KmsNotFoundException).extra("KeyId", name)
            }
            E::NoSuchVersion => Self::new(Code::NoSuchVersion),
            E::NotModified { etag, modified_ms } => not_modified(&etag, modified_ms),
            E::ConditionalConflict => Self::new(Code::ConditionalRequestConflict),
            E::PreconditionFailed(header) => {
                Self::new(Code::PreconditionFailed).extra("Condition", header)
            }
            E::QuotaExceeded => Self::new(Code::QuotaExceeded),
            E::StorageFull => Self::unavailable(&text, limits::RETRY_WHEN_FULL),
            E::Unavailable { reason, retry_after } => Self::unavailable(&reason, retry_after),
        };
        answer.source(error)
    }
}

/// What the operator has to do is in the message, because nobody else sees it.
const NO_KEYRING: &str = "Server side encryption was asked for, and this node has no keyring \
                          (GODWIT_KEYRING). SSE-C needs none.";

/// A delete marker: asked for by its id it is no object, met as the current version the key has none.
fn delete_marker(version_id: &str, modified_ms: u64, asked_for: bool) -> S3Error {
    let mut answer = if asked_for {
        S3Error::new(Code::MethodNotAllowed)
            .header(http::header::ALLOW, HeaderValue::from_static("DELETE"))
    } else {
        S3Error::new(Code::NoSuchKey)
    };
    let headers = [
        (HeaderName::from_static("x-amz-delete-marker"), "true".to_owned()),
        (HeaderName::from_static("x-amz-version-id"), version_id.to_owned()),
        (http::header::LAST_MODIFIED, super::xml::http_date(modified_ms)),
    ];
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            answer = answer.header(name, value);
        }
    }
    answer
}

/// 304 says what the client's copy is.
fn not_modified(etag: &str, modified_ms: u64) -> S3Error {
    let mut answer = S3Error::new(Code::NotModified);
    let headers = [
        (http::header::ETAG, format!("\"{etag}\"")),
        (http::header::LAST_MODIFIED, super::xml::http_date(modified_ms)),
    ];
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            answer = answer.header(name, value);
        }
    }
    answer
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_have_a_status_and_a_message() {
        assert!(Code::ALL.windows(2).all(|w| w[0].as_str() < w[1].as_str()));
        for code in Code::ALL {
            assert!(code.status().as_u16() >= 300, "{code:?}");
            assert!(!code.message().is_empty(), "{code:?}");
        }
    }
}
