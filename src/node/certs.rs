//! The certificate with which this node proves to the others which region it is, and its renewal.
//!
//! A node looks at it once a minute. From a third of its life on it asks for the next one: itself
//! where it has the cluster's authority, else every member until one has it. Invariant: a new
//! certificate is on the disk before it is shown to anybody; one that was not got leaves the old one
//! in use. Connections that stand are not touched.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use crate::admin::certs::Certificates;
use crate::admin::model::{AuthorityCertificate, NodeCertificate};
use crate::config::Config;
use crate::env::{BoxFuture, Env};
use crate::limits;
use crate::net::certify::{Candidate, Wish};
use crate::net::{Mesh, Validity, tls};
use crate::obs::{EncodeLabelSet, Entries, Family, Group, Metrics, Real, table};
use crate::types::region::RegionId;

use super::NodeError;
use super::identity::{self, Charter, Identity};
use super::tasks::{Job, Round};

/// What the renewal of a node's certificate works with.
#[derive(Clone, Debug)]
pub struct CertOptions {
    /// The data directory, where the identity lies.
    pub home: PathBuf,
    /// Of certificates that are made here.
    pub life: Duration,
}

impl CertOptions {
    pub(super) fn of(config: &Config) -> Self {
        Self { home: config.data.clone(), life: config.cluster.certificate_life.0 }
    }
}

/// The certificate of a running node.
pub(super) struct Certs {
    env: Env,
    options: CertOptions,
    mesh: Arc<Mesh>,
    charter: Option<Charter>,
    state: Mutex<State>,
    /// One renewal at a time.
    renewing: tokio::sync::Mutex<()>,
}

struct State {
    identity: Identity,
    validity: Validity,
    /// Why the last renewal failed.
    failed: Option<String>,
}

impl Certs {
    pub(super) fn new(
        env: &Env,
        options: CertOptions,
        mesh: Arc<Mesh>,
        charter: Option<Charter>,
        identity: Identity,
    ) -> Result<Arc<Self>, NodeError> {
        let validity = identity.certificate.validity().map_err(unusable)?;
        let state = Mutex::new(State { identity, validity, failed: None });
        let renewing = tokio::sync::Mutex::default();
        Ok(Arc::new(Self { env: env.clone(), options, mesh, charter, state, renewing }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the certificate.
    fn trouble(&self) -> Option<String> {
        let state = self.state();
        trouble(state.validity, state.failed.as_deref(), self.env.now_ms())
    }

    /// Gets the next certificate and shows it from then on.
    pub(super) async fn renew(&self) -> Result<(), String> {
        let _one = self.renewing.lock().await;
        let made = self.next().await;
        let kept = match made {
            Ok(next) => self.take(next).await.map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        let mut state = self.state();
        if let Err(why) = &kept
            && state.failed.as_ref() != Some(why)
        {
            warn!(region = %state.identity.region, why, "the certificate could not be renewed");
        }
        state.failed = kept.clone().err();
        kept
    }

    async fn next(&self) -> Result<Identity, String> {
        let identity = self.state().identity.clone();
        let region = identity.region;
        if let Some(charter) = &self.charter {
            let validity = identity::validity(&self.env, self.options.life);
            let made = charter.renewal(region, validity).map_err(|error| error.to_string())?;
            let certificate = made.after(&identity.certificate);
            return Ok(Identity { certificate, issued_by: Some(region), ..identity });
        }
        let cluster = identity.certificate.cluster;
        let (candidate, wish) =
            Candidate::new(cluster, region).map_err(|error| error.to_string())?;
        let (by, pem) = self.ask(&wish).await?;
        let now_ms = self.env.now_ms();
        let certificate = candidate.succeed(&identity.certificate, pem, now_ms);
        let certificate = certificate.map_err(|error| format!("{by}: {error}"))?;
        Ok(Identity { certificate, issued_by: Some(by), ..identity })
    }

    /// Asks the members, the nearest first.
    async fn ask(&self, wish: &Wish) -> Result<(RegionId, String), String> {
        let mut peers = self.mesh.status();
        peers.sort_by_key(|peer| (peer.rtt.is_none(), peer.rtt));
        let mut answers = Vec::new();
        for peer in peers {
            match self.mesh.ask_certificate(peer.region, wish).await {
                Ok(pem) => return Ok((peer.region, pem)),
                Err(why) => answers.push(format!("{}: {why}", peer.region)),
            }
        }
        let answers = if answers.is_empty() { "no members".to_owned() } else { answers.join("; ") };
        Err(format!(
            "no node with the cluster's authority answers (where `godwit cluster init` was run, or \
             with GODWIT_CLUSTER): {answers}"
        ))
    }

    async fn take(&self, next: Identity) -> Result<(), NodeError> {
        let validity = next.certificate.validity().map_err(unusable)?;
        let (env, home, kept) = (self.env.clone(), self.options.home.clone(), next.clone());
        self.env.blocking(move || kept.save(&env, &home)).await?;
        self.mesh.renew(&next.certificate).map_err(|error| NodeError::Mesh(error.to_string()))?;
        let (region, days) = (next.region, days(validity.left_ms(self.env.now_ms())));
        let by = next.issued_by.map(|by| by.to_string());
        info!(%region, days, by, "the certificate was renewed");
        let mut state = self.state();
        (state.identity, state.validity) = (next, validity);
        Ok(())
    }

    /// Renews the certificate when it is time.
    pub(super) async fn round(&self) -> Round {
        if self.env.now_ms() >= self.state().validity.renews_ms() {
            // The failure is told and kept; the next round tries again.
            let _ = self.renew().await;
        }
        Round::Idle
    }

    pub(super) fn job(self: &Arc<Self>) -> Job {
        let certs = self.clone();
        let round = move || -> BoxFuture<'static, Round> {
            let certs = certs.clone();
            Box::pin(async move { certs.round().await })
        };
        let every = limits::CERTIFICATE_LOOK_EVERY;
        Job { name: "certificate", every, round: Box::new(round) }
    }

    /// Adds what is left of it to the node's metrics.
    pub(super) fn show(self: &Arc<Self>, metrics: &Metrics) -> Left {
        let left = Left::default();
        metrics.add(&left);
        let (certs, own) = (self.clone(), left.clone());
        metrics.measure(Arc::new(move || {
            own.set("mesh", certs.state().validity.left_ms(certs.env.now_ms()));
        }));
        left
    }
}

impl Certificates for Certs {
    fn shown(&self) -> Result<NodeCertificate, String> {
        let state = self.state();
        let shown = shown(&state.identity, self.charter.is_some(), self.env.now_ms());
        let trouble = trouble(state.validity, state.failed.as_deref(), self.env.now_ms());
        shown.map(|shown| NodeCertificate { trouble, ..shown }).map_err(|why| why.to_string())
    }

    fn trouble(&self) -> Option<String> {
        self.trouble()
    }

    fn renew(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.renew())
    }
}

/// The certificate in a data directory, whether a node runs there or not.
pub(crate) fn in_directory(env: &Env, dir: &Path) -> Result<Option<NodeCertificate>, NodeError> {
    let Some(identity) = Identity::load(env, dir)? else { return Ok(None) };
    let here = Charter::load(env, dir)?.is_some();
    shown(&identity, here, env.now_ms()).map(Some).map_err(unusable)
}

fn shown(identity: &Identity, here: bool, now_ms: u64) -> Result<NodeCertificate, tls::TlsError> {
    let certificate = &identity.certificate;
    let validity = certificate.validity()?;
    Ok(NodeCertificate {
        region: identity.region,
        subject: certificate.name(),
        fingerprint: certificate.fingerprint()?,
        from_ms: validity.from_ms,
        until_ms: validity.until_ms,
        days_left: days(validity.left_ms(now_ms)),
        renews_ms: validity.renews_ms(),
        issued_by: identity.issued_by,
        authority: AuthorityCertificate {
            cluster: certificate.cluster.to_string(),
            fingerprint: certificate.authority_fingerprint()?,
            here,
        },
        trouble: trouble(validity, None, now_ms),
    })
}

/// What a person has to know of a certificate, if anything.
fn trouble(validity: Validity, failed: Option<&str>, now_ms: u64) -> Option<String> {
    let why = failed.map_or_else(String::new, |why| format!("; {why}"));
    if validity.is_over(now_ms) {
        return Some(format!("it has run out{why}"));
    }
    let due = now_ms >= validity.renews_ms() && failed.is_some();
    let days = days(validity.left_ms(now_ms));
    (due || validity.is_near_its_end(now_ms))
        .then(|| format!("it runs out in {days} days and was not renewed{why}"))
}

fn days(ms: u64) -> u64 {
    ms / 1000 / 3600 / 24
}

fn unusable(error: tls::TlsError) -> NodeError {
    NodeError::Identity(format!("the certificate: {error}"))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

/// What is left of certificates, by what they are for.
#[derive(Clone, Default)]
pub(super) struct Left(Family<OfKind, Real>);

impl Left {
    pub(super) fn set(&self, kind: &'static str, left_ms: u64) {
        self.0.get_or_create(&OfKind { kind }).set(Duration::from_millis(left_ms).as_secs_f64());
    }
}

impl Group for Left {
    fn register(&self, entries: &mut Entries) {
        entries.add(&table::CERTIFICATE_LEFT, self.0.clone());
    }
}

#[cfg(test)]
#[path = "certs_tests.rs"]
mod tests;
