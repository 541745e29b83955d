//! What a caller can do about a refusal.

use crate::s3::error::Code;

/// The next step, for the codes that have one that is always right.
pub(super) fn of(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::AccessDenied => {
            "sign with an admin key, or send a token that one made (POST /-/admin/v1/tokens)"
        }
        Code::InvalidAccessKeyId => "the key is unknown or revoked; `godwit keys ls` shows keys",
        Code::SignatureDoesNotMatch => "the secret is not that of the access key",
        Code::RequestTimeTooSkewed => "set the clock; `godwit doctor` shows by how much it is off",
        Code::ExpiredToken | Code::InvalidToken => "make a new token: POST /-/admin/v1/tokens",
        Code::MethodNotAllowed => "/-/openapi.json lists everything that there is",
        Code::NoSuchBucket => "`godwit bucket ls` shows the buckets",
        Code::NoSuchKey => "`godwit ls s3://BUCKET` shows the keys",
        Code::ServiceUnavailable | Code::SlowDown => {
            "try again soon; `godwit status` shows the regions"
        }
        Code::InternalError => "look for the request id in the log of the node",
        _ => return None,
    })
}
