//! TLS of the S3 port and the console: a certificate and its key in files, read again when they
//! change.
//!
//! Invariant: files that cannot be used stop a start, and change nothing on a node that runs: what
//! was read before goes on, and what is wrong is said until it is right.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

use crate::config;
use crate::env::{BoxFuture, Env};
use crate::net::Validity;
use crate::obs::{Entries, Gauge, Group, Metrics, table};

use super::NodeError;
use super::certs::Left;
use super::files;
use super::tasks::{Job, Round};

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The certificate of now. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls(Arc<Inner>);

struct Inner {
    env: Env,
    certificate: PathBuf,
    key: PathBuf,
    loaded: RwLock<Loaded>,
    /// What is wrong with the files now.
    wrong: Mutex<Option<String>>,
}

struct Loaded {
    /// To see whether they changed.
    texts: [String; 2],
    config: Arc<ServerConfig>,
    validity: Validity,
}

/// TLS as the settings say, if they do.
pub(super) fn of_settings(env: &Env, settings: &config::Tls) -> Result<Option<Tls>, NodeError> {
    let (Some(certificate), Some(key)) = (&settings.cert, &settings.key) else { return Ok(None) };
    let tls = Tls::load(env, certificate, key).map_err(NodeError::Tls)?;
    Ok(Some(tls))
}

impl Tls {
    /// An error is for people, and says which file.
    pub(super) fn load(env: &Env, certificate: &Path, key: &Path) -> Result<Self, String> {
        let loaded = load(read(env, certificate, key)?, certificate, key)?;
        if loaded.validity.is_over(env.now_ms()) {
            warn!(file = %certificate.display(), "the certificate has run out; clients refuse it");
        }
        Ok(Self(Arc::new(Inner {
            env: env.clone(),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            loaded: RwLock::new(loaded),
            wrong: Mutex::default(),
        })))
    }

    /// For the next handshake.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.0.loaded.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    fn validity(&self) -> Validity {
        self.0.loaded.read().unwrap_or_else(PoisonError::into_inner).validity
    }

    /// Looks at the files; what is wrong with them, if anything.
    pub(super) fn look(&self) -> Option<String> {
        let wrong = self.reload().err();
        let mut told = self.0.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        match &wrong {
            Some(why) if told.as_ref() != Some(why) => {
                warn!(
                    why,
                    "the files of tls.cert and tls.key cannot be used; the certificate that \
                    was read before goes on"
                );
            }
            None if told.is_some() => info!("the files of tls.cert and tls.key are right again"),
            Some(_) | None => {}
        }
        told.clone_from(&wrong);
        wrong
    }

    fn reload(&self) -> Result<(), String> {
        let inner = &self.0;
        let texts = read(&inner.env, &inner.certificate, &inner.key)?;
        if inner.loaded.read().unwrap_or_else(PoisonError::into_inner).texts == texts {
            return Ok(());
        }
        let loaded = load(texts, &inner.certificate, &inner.key)?;
        let days = Duration::from_millis(loaded.validity.left_ms(inner.env.now_ms()));
        info!(days = days.as_secs() / (24 * 3600), "the certificate of tls.cert was read again");
        *inner.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    pub(super) fn job(&self) -> Job {
        let own = self.clone();
        let round = move || -> BoxFuture<'static, Round> {
            let own = own.clone();
            Box::pin(async move {
                let env = own.0.env.clone();
                env.blocking(move || own.look()).await;
                Round::Idle
            })
        };
        Job { name: "TLS files", every: LOOK_EVERY, round: Box::new(round) }
    }
}

/// Adds what is left of the certificate, and whether the files are right, to the metrics.
pub(super) fn show(tls: Option<&Tls>, metrics: &Metrics, left: &Left) {
    let right = Right::default();
    metrics.add(&right);
    right.0.set(1);
    let Some(own) = tls.cloned() else { return };
    let left = left.clone();
    metrics.measure(Arc::new(move || {
        let is_wrong = own.0.wrong.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        right.0.set(i64::from(!is_wrong));
        left.set("tls", own.validity().left_ms(own.0.env.now_ms()));
    }));
}

#[derive(Clone, Default)]
struct Right(Gauge);

impl Group for Right {
    fn register(&self, entries: &mut Entries) {
        entries.add(&table::TLS_FILES_RIGHT, self.0.clone());
    }
}

fn read(env: &Env, certificate: &Path, key: &Path) -> Result<[String; 2], String> {
    let text = |path: &Path| {
        let shown = path.display();
        let text = files::read_open(env, path).map_err(|error| format!("{shown}: {error}"))?;
        text.ok_or_else(|| format!("{shown}: there is no such file"))
    };
    Ok([text(certificate)?, text(key)?])
}

fn load(texts: [String; 2], certificate: &Path, key: &Path) -> Result<Loaded, String> {
    let [chain, secret] = &texts;
    let (at, key_at) = (certificate.display(), key.display());
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let chain = chain.map_err(|error| format!("{at}: {error}"))?;
    let first = chain.first().ok_or_else(|| format!("{at}: it has no certificate in PEM"))?;
    let validity = Validity::of(first).ok_or_else(|| format!("{at}: it is no certificate"))?;
    // The error says nothing of the key.
    let secret = PrivateKeyDer::from_pem_slice(secret.as_bytes())
        .map_err(|_| format!("{key_at}: it has no private key in PEM"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, secret);
    let mut config = config.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("{key_at}: it is not the key of the certificate in {at}")
        }
        error => format!("{at}, {key_at}: {error}"),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), validity, texts })
}

#[cfg(test)]
#[path = "front_tls_tests.rs"]
mod tests;
