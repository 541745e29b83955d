//! The admin API and S3 as the commands call them.
//!
//! The node is found by `AWS_ENDPOINT_URL_S3`, as S3 tools find it: the admin API answers on the
//! same port. Signatures are the standard ones, made from `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`; what neither flags nor variables say, a context does.

use std::path::Path;
use std::sync::Arc;

use aws_credential_types::Credentials;
use bytes::Bytes;
use clap::Args;
use http::{Method, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context;
use super::error::{CliError, Exit};
use super::link::{Answer, Ask, Link};
use super::process;
use crate::admin::model::{ADMIN_PREFIX, ErrorBody};
use crate::node;
use crate::types::region::RegionId;

/// How a command finds a node and signs.
#[derive(Args, Clone)]
pub(super) struct Endpoint {
    /// The node to ask: the global endpoint or a region's
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", value_name = "URL", hide_env_values = true)]
    endpoint: Option<String>,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide = true, hide_env_values = true)]
    access_key: Option<String>,
    #[arg(env = "AWS_SECRET_ACCESS_KEY", long, hide = true, hide_env_values = true)]
    secret_key: Option<String>,
    /// The context to take what is not said from; without it the one that is used
    #[arg(long, env = "GODWIT_CONTEXT", value_name = "NAME", hide_env_values = true)]
    context: Option<String>,
}

impl Endpoint {
    /// With what the context says of what neither flags nor the environment do. A key is taken whole
    /// from one place.
    fn resolved(&self, signed: bool) -> Result<Self, CliError> {
        let keyed = self.access_key.is_some() || self.secret_key.is_some();
        let said = self.endpoint.is_some() && (keyed || !signed);
        if said && self.context.is_none() {
            return Ok(self.clone());
        }
        let mut all = self.clone();
        if let Some(known) = context::find(self.context.as_deref())? {
            all.endpoint = all.endpoint.or(Some(known.endpoint));
            if !keyed {
                (all.access_key, all.secret_key) = (known.access_key, known.secret_key);
            }
        }
        Ok(all)
    }
}

/// A node to ask.
pub(super) struct Client {
    pub(super) link: Arc<Link>,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// For requests that need no key.
    pub(super) fn unsigned(endpoint: &Endpoint) -> Result<Self, CliError> {
        Self::new(&endpoint.resolved(false)?, None)
    }

    /// For requests that need a key.
    pub(super) fn signed(endpoint: &Endpoint) -> Result<Self, CliError> {
        let endpoint = &endpoint.resolved(true)?;
        let (Some(access_key), Some(secret_key)) = (&endpoint.access_key, &endpoint.secret_key)
        else {
            return Err(CliError::new(Exit::Usage, "Usage", "there is no key to sign with")
                .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or: godwit context add"));
        };
        let provider = "environment";
        let credentials = Credentials::new(access_key, secret_key, None, None, provider);
        Self::new(endpoint, Some(credentials))
    }

    fn new(endpoint: &Endpoint, credentials: Option<Credentials>) -> Result<Self, CliError> {
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
        let env = node::env::real(runtime.handle(), Path::new("/"));
        Ok(Self { link: Arc::new(Link::new(env, uri, credentials)), runtime })
    }

    /// Runs `work` to its end, or until Ctrl-C or SIGTERM.
    pub(super) fn run<T>(
        &self,
        work: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        self.runtime.block_on(async {
            let failed = |error| CliError::new(Exit::Failure, "Failure", error);
            let stop = process::stop().map_err(|error: std::io::Error| failed(error))?;
            tokio::select! {
                biased;
                done = work => done,
                () = stop => Err(CliError::new(Exit::Interrupted, "Interrupted", "interrupted")),
            }
        })
    }

    /// `GET /-/admin/v1/PATH?QUERY`.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, CliError> {
        self.admin(admin_ask(Method::GET, path, query))
    }

    /// `DELETE /-/admin/v1/PATH?QUERY`.
    pub(super) fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, CliError> {
        self.admin(admin_ask(Method::DELETE, path, query))
    }

    /// `PUT /-/admin/v1/PATH?QUERY` with a JSON body.
    pub(super) fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body).expect("requests are plain structs");
        self.admin(admin_ask(Method::PUT, path, query).body(body.into()))
    }

    /// `POST /-/admin/v1/PATH` with a JSON body.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body).expect("requests are plain structs");
        self.admin(admin_ask(Method::POST, path, &[]).body(body.into()))
    }

    /// A row of one region's node; without a region of the node that answers.
    pub(super) fn of_region<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        region: Option<RegionId>,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let code = region.map(|region| region.to_string());
        let query: Vec<_> = code.iter().map(|code| ("region", code.as_str())).collect();
        let body = serde_json::to_vec(body).expect("requests are plain structs");
        let ask = admin_ask(method.clone(), path, &query);
        self.admin(if method == Method::GET { ask } else { ask.body(body.into()) })
    }

    /// A path as it is: status and body of the answer.
    pub(super) fn get_raw(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<(u16, Bytes), CliError> {
        let ask = Ask::new(Method::GET, path);
        let ask = query.iter().fold(ask, |ask, (name, value)| ask.query(name, *value));
        let answer = self.run(self.link.ask(&ask))?;
        Ok((answer.status, answer.body))
    }

    /// Between two looks at something that takes a while.
    pub(super) fn wait(&self, time: std::time::Duration) -> Result<(), CliError> {
        self.run(async {
            self.link.env.sleep(time).await;
            Ok(())
        })
    }

    fn admin<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, CliError> {
        decode(&self.link, &self.run(self.link.ask(&ask))?)
    }
}

/// A request to the admin API.
pub(super) fn admin_ask(method: Method, path: &str, query: &[(&str, &str)]) -> Ask {
    let ask = Ask::new(method, format!("{ADMIN_PREFIX}/{path}"));
    query.iter().fold(ask, |ask, (name, value)| ask.query(name, *value))
}

/// The document of an answer of the admin API.
pub(super) fn decode<T: DeserializeOwned>(link: &Link, answer: &Answer) -> Result<T, CliError> {
    if answer.status == 200 {
        return serde_json::from_slice(&answer.body).map_err(|error| {
            let message = format!("{} does not answer as godwit does: {error}", link.uri());
            CliError::new(Exit::Failure, "BadAnswer", message)
        });
    }
    Err(refusal(link, answer.status, &answer.body))
}

/// A refusal of the admin API.
pub(super) fn refusal(link: &Link, status: u16, body: &[u8]) -> CliError {
    let exit = Exit::of_status(status);
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { code, message, hint, request_id }) => {
            let error = CliError::new(exit, code, message).request_id(request_id);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
        Err(_) => CliError::new(exit, "BadAnswer", format!("{}: status {status}", link.uri())),
    }
}
