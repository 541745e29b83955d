//! What answers say to browsers about requests of other origins.
//!
//! Invariant: a request without `Origin` costs nothing here, and no answer but a preflight's is
//! decided here: an answer gets headers, its status and body stay.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::engine::Error;
use crate::logic::cors::{self, Allowed, Rule};
use crate::types::action::Target;
use crate::types::bucket::SettingKind;
use crate::types::name::BucketName;

use super::Ctx;
use super::error::S3Error;

const VARIES: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
);

/// A request of a page of another origin, which is answered like any other and then marked.
pub(super) struct Crossing {
    bucket: BucketName,
    origin: String,
    method: String,
}

impl Crossing {
    /// `None` where the answer needs no mark: no `Origin`, no bucket, or a preflight.
    pub(super) fn of(method: &Method, headers: &HeaderMap, target: &Target) -> Option<Self> {
        let origin = headers.get(ORIGIN)?.to_str().ok()?.to_owned();
        if *method == Method::OPTIONS {
            return None;
        }
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).and_then(|m| m.to_str().ok());
        let method = asked.unwrap_or(method.as_str()).to_owned();
        Some(Self { bucket: target.bucket()?.clone(), origin, method })
    }

    /// Marks the answer as the bucket's rules say. Without them, or where they cannot be read, the
    /// browser shows the page nothing.
    pub(super) async fn mark(self, ctx: &Ctx, headers: &mut HeaderMap) {
        let Some(engine) = ctx.gate.engine() else { return };
        let rules: Vec<Rule> = match engine.document(&self.bucket, SettingKind::Cors).await {
            Ok(Some(rules)) => rules,
            Ok(None) | Err(Error::NoSuchBucket) => return,
            Err(error) => {
                tracing::warn!(bucket = %self.bucket, %error, "the CORS rules cannot be read");
                return;
            }
        };
        let asked = cors::Asked { origin: &self.origin, method: &self.method, headers: &[] };
        headers.insert(VARY, VARIES);
        let Some(allowed) = cors::find(&rules, &asked) else { return };
        match marks(&allowed, &self.origin, &[]) {
            Ok(marks) => headers.extend(marks),
            Err(error) => {
                tracing::warn!(bucket = %self.bucket, ?error, "a CORS rule is no header");
            }
        }
    }
}

/// The headers of an answer to an allowed request. `asked` are the headers that a preflight named.
pub(super) fn marks(
    allowed: &Allowed<'_>,
    origin: &str,
    asked: &[&str],
) -> Result<HeaderMap, S3Error> {
    let Allowed { rule, every_origin } = *allowed;
    let mut headers = HeaderMap::new();
    let mut add = |name: HeaderName, text: &str| -> Result<(), S3Error> {
        headers.insert(name, HeaderValue::try_from(text).map_err(S3Error::internal)?);
        Ok(())
    };
    add(ACCESS_CONTROL_ALLOW_ORIGIN, if every_origin { "*" } else { origin })?;
    add(ACCESS_CONTROL_ALLOW_METHODS, &rule.methods.join(", "))?;
    if !asked.is_empty() {
        add(ACCESS_CONTROL_ALLOW_HEADERS, &asked.join(", ").to_ascii_lowercase())?;
    }
    if !rule.expose.is_empty() {
        add(ACCESS_CONTROL_EXPOSE_HEADERS, &rule.expose.join(", "))?;
    }
    if let Some(seconds) = rule.max_age_seconds {
        add(ACCESS_CONTROL_MAX_AGE, &seconds.to_string())?;
    }
    if !every_origin {
        add(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true")?;
    }
    headers.insert(VARY, VARIES);
    Ok(headers)
}
