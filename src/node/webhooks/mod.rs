//! Messages to the webhooks that the settings name, over HTTP.
//!
//! Invariant: only a URL of the operator's settings is ever called, whatever a bucket's
//! configuration says; no redirect is followed and no proxy is asked, so that nobody else chooses
//! where this node connects to. Connections are kept for the next message.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::webhook::{Webhook, WebhookAuth, WebhookForm};
use crate::engine::{Courier, Undelivered};
use crate::env::{BoxFuture, Env};
use crate::limits;
use crate::logic::notify::message::Form;
use crate::types::name::AccountId;

use super::trust;

type Sender = SendRequest<Full<Bytes>>;

/// The webhooks of a node; by default none.
#[derive(Default)]
pub struct Webhooks {
    targets: BTreeMap<String, Arc<Target>>,
}

struct Target {
    env: Env,
    url: Uri,
    form: Form,
    /// Anybody where there are none.
    accounts: Vec<String>,
    auth: Option<HeaderValue>,
    tls: Option<TlsConnector>,
    /// Connections without a message under way.
    idle: Mutex<Vec<Sender>>,
}

impl Webhooks {
    /// `ca` is a bundle of certificates instead of the system's. An error is for people.
    pub fn new(env: &Env, webhooks: &[Webhook], ca: Option<&Path>) -> Result<Self, String> {
        let tls = match webhooks.iter().any(|hook| is_tls(&hook.url)) {
            true => Some(TlsConnector::from(Arc::new(trust::client_config(ca)?))),
            false => None,
        };
        let mut targets = BTreeMap::new();
        for hook in webhooks {
            let target = Target {
                env: env.clone(),
                url: hook.url.clone(),
                form: match hook.form {
                    WebhookForm::S3 => Form::S3,
                    WebhookForm::Tigris => Form::Tigris,
                },
                accounts: hook.accounts.clone(),
                auth: authorization(&hook.auth)?,
                tls: tls.clone().filter(|_| is_tls(&hook.url)),
                idle: Mutex::new(Vec::new()),
            };
            if targets.insert(hook.name.clone(), Arc::new(target)).is_some() {
                return Err(format!("two webhooks are called `{}`", hook.name));
            }
        }
        Ok(Self { targets })
    }
}

impl Courier for Webhooks {
    fn form(&self, destination: &str) -> Option<Form> {
        self.targets.get(destination).map(|target| target.form)
    }

    fn serves(&self, destination: &str, account: &AccountId) -> bool {
        self.targets.get(destination).is_some_and(|target| {
            target.accounts.is_empty() || target.accounts.iter().any(|id| **id == *account.0)
        })
    }

    fn url(&self, destination: &str) -> Option<String> {
        self.targets.get(destination).map(|target| target.url.to_string())
    }

    fn at(&self, url: &str) -> Option<String> {
        let url: Uri = url.parse().ok()?;
        let mut targets = self.targets.iter();
        let (name, _) = targets.find(|(_, t)| t.form == Form::Tigris && t.url == url)?;
        Some(name.clone())
    }

    fn post(
        &self,
        destination: &str,
        message: Bytes,
    ) -> BoxFuture<'static, Result<(), Undelivered>> {
        let target = self.targets.get(destination).cloned();
        Box::pin(async move {
            let target = target.ok_or_else(|| failed("no such webhook"))?;
            target.post(message).await
        })
    }
}

impl Target {
    async fn post(&self, message: Bytes) -> Result<(), Undelivered> {
        // A kept connection may have been closed meanwhile; a new one then says what is wrong.
        while let Some(sender) = self.kept() {
            if let Ok(status) = self.exchange(sender, message.clone()).await {
                return judge(status);
            }
        }
        let sender = self.connect().await.map_err(failed)?;
        judge(self.exchange(sender, message).await.map_err(failed)?)
    }

    fn kept(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }

    async fn exchange(&self, mut sender: Sender, message: Bytes) -> Result<StatusCode, String> {
        sender.ready().await.map_err(|error| error.to_string())?;
        let request = self.request(message)?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let rest = Limited::new(answer.into_body(), limits::NOTIFY_ANSWER_BYTES_MAX);
        // An answer that is longer, or does not end, closes the connection; its status counts.
        let read = self.env.timeout(limits::NOTIFY_ANSWER_TIMEOUT, rest.collect()).await;
        if matches!(read, Ok(Ok(_))) {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
        Ok(status)
    }

    fn request(&self, message: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let authority = self.url.authority().ok_or("no host in the URL")?;
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, authority.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("godwit/", env!("CARGO_PKG_VERSION")));
        if let Some(auth) = &self.auth {
            request = request.header(AUTHORIZATION, auth.clone());
        }
        request.body(Full::new(message)).map_err(|error| error.to_string())
    }

    async fn connect(&self) -> Result<Sender, String> {
        let host = self.url.host().ok_or("no host in the URL")?;
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let usual = if self.tls.is_some() { 443 } else { 80 };
        let port = self.url.port_u16().unwrap_or(usual);
        let stream =
            TcpStream::connect((name, port)).await.map_err(|e| format!("cannot connect: {e}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let Some(tls) = &self.tls else { return self.speak(stream).await };
        let server = name.to_owned().try_into().map_err(|e| format!("{name}: {e}"))?;
        let stream = tls.connect(server, stream).await.map_err(|e| format!("TLS: {e}"))?;
        self.speak(stream).await
    }

    async fn speak<S>(&self, stream: S) -> Result<Sender, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        // An error of the connection is told by the request that uses it.
        self.env.spawn("webhook connection", async { drop(connection.await) });
        Ok(sender)
    }
}

/// What a status says. A redirect is not followed: the settings have the wrong URL.
fn judge(status: StatusCode) -> Result<(), Undelivered> {
    let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    if status.is_success() {
        Ok(())
    } else if status.is_server_error() || later.contains(&status) {
        Err(Undelivered::Failed(format!("status {status}")))
    } else {
        Err(Undelivered::Refused(format!("status {status}")))
    }
}

fn failed(why: impl Into<String>) -> Undelivered {
    Undelivered::Failed(why.into())
}

fn is_tls(url: &Uri) -> bool {
    url.scheme_str() == Some("https")
}

fn authorization(auth: &WebhookAuth) -> Result<Option<HeaderValue>, String> {
    let text = match auth {
        WebhookAuth::None => return Ok(None),
        WebhookAuth::Basic { user, password } => {
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        }
        WebhookAuth::Bearer(token) => format!("Bearer {token}"),
    };
    let mut value = HeaderValue::try_from(text).map_err(|_| "a token has odd characters")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests;
