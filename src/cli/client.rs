//! The admin API as the commands call it: one signed request, one answer, one connection.
//!
//! The node is found by `AWS_ENDPOINT_URL_S3`, as S3 tools find it: the admin API answers on the
//! same port. Signatures are the standard ones, made from `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`.

use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connection;
use super::error::{CliError, Exit};
use crate::admin::model::{ADMIN_PREFIX, ErrorBody};
use crate::env::Env;
use crate::node;

/// How a command finds a node and signs.
#[derive(Args, Clone)]
pub(super) struct Endpoint {
    /// The node to ask: the global endpoint or a region's
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", value_name = "URL")]
    endpoint: Option<String>,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide = true, hide_env_values = true)]
    access_key: Option<String>,
    #[arg(env = "AWS_SECRET_ACCESS_KEY", long, hide = true, hide_env_values = true)]
    secret_key: Option<String>,
}

/// What a request may take, answers included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Everything but what RFC 3986 calls unreserved: what signatures want in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A node to ask.
pub(super) struct Client {
    uri: Uri,
    credentials: Option<Credentials>,
    env: Env,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// For requests that need no key.
    pub(super) fn unsigned(endpoint: &Endpoint) -> Result<Self, CliError> {
        let usage = |message: String| {
            CliError::new(Exit::Usage, "Usage", message)
                .hint("set AWS_ENDPOINT_URL_S3, for instance to http://127.0.0.1:9000")
        };
        let text = endpoint
            .endpoint
            .as_deref()
            .ok_or_else(|| usage("which node to ask is not said".to_owned()))?;
        let uri: Uri = text.parse().map_err(|error| usage(format!("`{text}`: {error}")))?;
        if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(usage(format!("`{text}` is not a URL with http:// or https://")));
        }
        let runtime = node::env::runtime().map_err(|error| {
            CliError::new(Exit::Failure, "Failure", format!("no runtime: {error}"))
        })?;
        Ok(Self {
            uri,
            credentials: None,
            env: node::env::real(runtime.handle(), Path::new("/")),
            runtime,
        })
    }

    /// For requests that need a key.
    pub(super) fn signed(endpoint: &Endpoint) -> Result<Self, CliError> {
        let mut client = Self::unsigned(endpoint)?;
        let (Some(access_key), Some(secret_key)) = (&endpoint.access_key, &endpoint.secret_key)
        else {
            return Err(CliError::new(Exit::Usage, "Usage", "there is no key to sign with")
                .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
        };
        let provider = "environment";
        let credentials = Credentials::new(access_key, secret_key, None, None, provider);
        client.credentials = Some(credentials);
        Ok(client)
    }

    /// `GET /-/admin/v1/PATH?QUERY`.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, CliError> {
        self.decode(self.send(Method::GET, &admin_path(path, query), Bytes::new())?)
    }

    /// `DELETE /-/admin/v1/PATH?QUERY`.
    pub(super) fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, CliError> {
        self.decode(self.send(Method::DELETE, &admin_path(path, query), Bytes::new())?)
    }

    /// `PUT /-/admin/v1/PATH?QUERY` with a JSON body.
    pub(super) fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body).expect("requests are plain structs");
        self.decode(self.send(Method::PUT, &admin_path(path, query), body.into())?)
    }

    /// `POST /-/admin/v1/PATH` with a JSON body.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body).expect("requests are plain structs");
        let path = format!("{ADMIN_PREFIX}/{path}");
        self.decode(self.send(Method::POST, &path, body.into())?)
    }

    /// A path as it is: status and body of the answer.
    pub(super) fn get_raw(&self, path: &str) -> Result<(u16, Bytes), CliError> {
        self.send(Method::GET, path, Bytes::new())
    }

    fn decode<T: DeserializeOwned>(&self, answer: (u16, Bytes)) -> Result<T, CliError> {
        let (status, body) = answer;
        if status == 200 {
            return serde_json::from_slice(&body).map_err(|error| {
                let message = format!("{} does not answer as godwit does: {error}", self.uri);
                CliError::new(Exit::Failure, "BadAnswer", message)
            });
        }
        let exit = Exit::of_status(status);
        Err(match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(ErrorBody { code, message, hint, request_id }) => {
                let error = CliError::new(exit, code, message).request_id(request_id);
                match hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                }
            }
            Err(_) => CliError::new(exit, "BadAnswer", format!("{}: status {status}", self.uri)),
        })
    }

    fn send(&self, method: Method, path: &str, body: Bytes) -> Result<(u16, Bytes), CliError> {
        let network = |error: &dyn Display| {
            CliError::new(Exit::Unavailable, "Network", format!("{}: {error}", self.uri))
                .hint("is the node running, and AWS_ENDPOINT_URL_S3 its address?")
        };
        let request = self.request(method, path, body)?;
        let work = async {
            let answer = connection::exchange(&self.env, &self.uri, request).await?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            body.map(|body| (status, body.to_bytes())).map_err(|error| error.to_string())
        };
        let limited = self.env.timeout(REQUEST_TIMEOUT, work);
        match self.runtime.block_on(limited) {
            Ok(answer) => answer.map_err(|error| network(&error)),
            Err(_) => Err(network(&"no answer in time")),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, CliError> {
        let failed =
            |error: &dyn Display| CliError::new(Exit::Failure, "Failure", error.to_string());
        let host = self.uri.authority().map(|a| a.as_str()).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, HeaderValue::from_str(host).map_err(|e| failed(&e))?)
            .body(Full::new(body.clone()))
            .map_err(|error| failed(&error))?;
        if let Some(credentials) = &self.credentials {
            self.sign(&mut request, credentials, &body).map_err(|error| failed(&error))?;
        }
        Ok(request)
    }

    fn sign(
        &self,
        request: &mut Request<Full<Bytes>>,
        credentials: &Credentials,
        body: &[u8],
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("auto")
            .name("s3")
            .time(UNIX_EPOCH + Duration::from_millis(self.env.now_ms()))
            .settings(settings)
            .build()?;
        let url = format!(
            "{}://{}{}",
            self.uri.scheme_str().unwrap_or("http"),
            self.uri.authority().map(|a| a.as_str()).unwrap_or_default(),
            request.uri()
        );
        let headers = std::iter::empty();
        let signable = SignableRequest::new(
            request.method().as_str(),
            url,
            headers,
            SignableBody::Bytes(body),
        )?;
        let (instructions, _) = sign(signable, &params.into())?.into_parts();
        for (name, value) in instructions.headers() {
            let name = http::HeaderName::from_bytes(name.as_bytes())?;
            request.headers_mut().insert(name, HeaderValue::from_str(value)?);
        }
        Ok(())
    }
}

fn admin_path(path: &str, query: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        query.iter().map(|(n, v)| format!("{n}={}", utf8_percent_encode(v, QUERY))).collect();
    let mark = if pairs.is_empty() { "" } else { "?" };
    format!("{ADMIN_PREFIX}/{path}{mark}{}", pairs.join("&"))
}
