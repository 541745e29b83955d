//! URLs that are signed here, for clients that ask for one instead of signing.
//! Source: "Authenticating Requests: Using Query Parameters", S3 API reference.

use aws_sigv4::sign::v4::calculate_signature;
use http::header::HOST;
use http::{HeaderMap, HeaderName};
use percent_encoding::utf8_percent_encode;

use crate::types::name::{AccessKeyId, SecretKey};

use super::canonical::{self, PATH, QUERY, Signed};
use super::date::SignedAt;
use super::payload::UNSIGNED;
use super::v4::{ALGORITHM, Scope, SigningKeys, string_to_sign};

/// A request that somebody else shall make.
pub(crate) struct Promise<'a> {
    pub(crate) method: &'a str,
    pub(crate) scheme: &'a str,
    pub(crate) host: &'a str,
    /// Not escaped.
    pub(crate) path: &'a str,
    pub(crate) version: Option<&'a str>,
    /// How long the URL is good.
    pub(crate) seconds: u64,
}

impl Promise<'_> {
    /// The URL, signed for whoever has this key.
    pub(crate) fn url(
        &self,
        access_key: &AccessKeyId,
        secret: &SecretKey,
        keys: &SigningKeys,
        now_ms: u64,
    ) -> String {
        let at = SignedAt { seconds: now_ms / 1000 };
        let scope = Scope::new(at, "auto");
        let credential = format!("{access_key}/{}", scope.text());
        let (date, seconds) = (at.basic(), self.seconds.to_string());
        let mut query = String::new();
        let parameters = [
            ("X-Amz-Algorithm", Some(ALGORITHM)),
            ("X-Amz-Credential", Some(credential.as_str())),
            ("X-Amz-Date", Some(date.as_str())),
            ("X-Amz-Expires", Some(seconds.as_str())),
            ("X-Amz-SignedHeaders", Some("host")),
            ("versionId", self.version),
        ];
        for (name, value) in parameters {
            let Some(value) = value else { continue };
            query.extend([name, "="]);
            query.extend(utf8_percent_encode(value, QUERY));
            query.push('&');
        }
        let path = utf8_percent_encode(self.path, PATH).to_string();
        let headers = HeaderMap::new();
        let names: [HeaderName; 1] = [HOST];
        let signed = Signed {
            method: self.method,
            query: query.trim_end_matches('&'),
            headers: &headers,
            host: self.host,
        };
        let request = canonical::request(&signed, &path, &names, UNSIGNED);
        let key = keys.key(access_key, &scope, at, secret);
        let signature = calculate_signature(key, string_to_sign(at, &scope, &request).as_bytes());
        let Self { scheme, host, .. } = self;
        format!("{scheme}://{host}{path}?{query}X-Amz-Signature={signature}")
    }
}
