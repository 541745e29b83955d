//! Who may speak on the mesh: a cluster's own authority, and one certificate a node.
//!
//! Invariant: both sides of every connection prove with a certificate of this cluster which region
//! they are. A certificate's only name is `REGION.CLUSTER.godwit`, so a node of another cluster, or
//! of another region than the one that was called, is refused in the handshake. There is no shared
//! password and no fallback. A session is never resumed, so that a certificate that has run out opens
//! no connection; those that stand go on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use quinn::Connection;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use webpki::EndEntityCert;

use crate::env::Env;
use crate::types::id::ClusterId;
use crate::types::region::RegionId;

use super::certify::Wish;
use super::join;
use super::validity::{self, Validity};

/// The protocol's name and version in the handshake.
pub const ALPN: &[u8] = b"godwit/1";

/// A key or certificate that cannot be made or used. Never happens in normal running; the text says
/// nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    pub(super) fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

fn wrong(error: impl fmt::Display) -> TlsError {
    TlsError::new(error)
}

/// What makes the certificates of one cluster. Whoever has it can be any of its nodes.
#[derive(Clone, Serialize, Deserialize)]
pub struct Authority {
    certificate_pem: String,
    key_pem: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(..)")
    }
}

/// A node's certificate with its key, and the authority that it believes.
#[derive(Clone, Serialize, Deserialize)]
pub struct Certificate {
    pub cluster: ClusterId,
    pub region: RegionId,
    pub(super) authority_pem: String,
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
    /// That of the node's first certificate, once there was a second one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reset: Option<[u8; 32]>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, ..)", name(self.cluster, self.region))
    }
}

/// The one name of a node's certificate.
pub(super) fn name(cluster: ClusterId, region: RegionId) -> String {
    format!("{region}.{cluster}.godwit")
}

fn common_name(text: &str) -> DistinguishedName {
    let mut out = DistinguishedName::new();
    out.push(DnType::CommonName, text);
    out
}

fn authority_params(cluster: ClusterId) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("godwit cluster {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

impl Authority {
    /// A new authority of a new cluster.
    pub fn new(cluster: ClusterId) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(wrong)?;
        let certificate = authority_params(cluster).self_signed(&key).map_err(wrong)?;
        Ok(Self { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// A key with the certificate of one region's node.
    pub fn issue(
        &self,
        cluster: ClusterId,
        region: RegionId,
        validity: Validity,
    ) -> Result<Certificate, TlsError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(wrong)?;
        Ok(Certificate {
            cluster,
            region,
            authority_pem: self.certificate_pem.clone(),
            certificate_pem: self.sign((cluster, region), &key, validity)?,
            key_pem: key.serialize_pem(),
            reset: None,
        })
    }

    /// Its certificate, as PEM; no secret.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The secret of a join token: who has it was given the token by whoever has the authority.
    pub fn join_secret(&self, token: &[u8]) -> [u8; 32] {
        let key = blake3::derive_key("godwit 2026 join token", self.key_pem.as_bytes());
        *blake3::keyed_hash(&key, token).as_bytes()
    }

    /// The certificate of one region's node, as PEM, for a key that is with the node. That it may
    /// have one was looked at before.
    pub fn certify(
        &self,
        cluster: ClusterId,
        wish: &Wish,
        validity: Validity,
    ) -> Result<String, TlsError> {
        wish.check(cluster)?;
        self.sign((cluster, wish.region), &wish.public_key, validity)
    }

    fn sign(
        &self,
        (cluster, region): (ClusterId, RegionId),
        key: &impl PublicKeyData,
        validity: Validity,
    ) -> Result<String, TlsError> {
        let authority_key = KeyPair::from_pem(&self.key_pem).map_err(wrong)?;
        let issuer = Issuer::new(authority_params(cluster), authority_key);
        let mut params = CertificateParams::new(vec![name(cluster, region)]).map_err(wrong)?;
        params.distinguished_name = common_name(&format!("godwit {region}"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = moment(validity.from_ms)?;
        params.not_after = moment(validity.until_ms)?;
        Ok(params.signed_by(key, &issuer).map_err(wrong)?.pem())
    }
}

fn moment(ms: u64) -> Result<OffsetDateTime, TlsError> {
    let seconds = i64::try_from(ms / 1000).map_err(wrong)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(wrong)
}

/// The node's clock, for the times of certificates.
#[derive(Debug)]
struct WallClock(Env);

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.now_ms())))
    }
}

fn fingerprint(pem: &str) -> Result<String, TlsError> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(wrong)?;
    Ok(hex::encode(digest(&SHA256, &certificate)))
}

fn validity_of(pem: &str) -> Result<Validity, TlsError> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(wrong)?;
    validity::of(&certificate).ok_or_else(|| wrong("its times cannot be read"))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Certificate {
    /// Its one name.
    pub fn name(&self) -> String {
        name(self.cluster, self.region)
    }

    pub fn validity(&self) -> Result<Validity, TlsError> {
        validity_of(&self.certificate_pem)
    }

    /// The SHA-256 of the certificate.
    pub fn fingerprint(&self) -> Result<String, TlsError> {
        fingerprint(&self.certificate_pem)
    }

    /// The SHA-256 of the authority's certificate.
    pub fn authority_fingerprint(&self) -> Result<String, TlsError> {
        fingerprint(&self.authority_pem)
    }

    /// The key of stateless resets: the same over all certificates of a data directory, so that
    /// peers know a node that was started again.
    pub(super) fn reset_key(&self) -> [u8; 32] {
        let first =
            || blake3::derive_key("godwit 2026 mesh stateless reset", self.key_pem.as_bytes());
        self.reset.unwrap_or_else(first)
    }

    /// As the next one of a data directory whose certificate was `before`.
    pub fn after(self, before: &Self) -> Self {
        Self { reset: Some(before.reset_key()), ..self }
    }

    /// Whether it is the authority's, of its region, valid now, and for its key.
    pub(super) fn verify(&self, now_ms: u64) -> Result<(), TlsError> {
        let roots = self.roots()?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        let chain = self.chain()?;
        let name = ServerName::try_from(self.name()).map_err(wrong)?;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        let own = chain.first().ok_or_else(|| wrong("no certificate"))?;
        let verified = verifier.map_err(wrong)?.verify_server_cert(own, &[], &name, &[], now);
        verified.map_err(wrong)?;
        CertifiedKey::from_der(chain, self.key()?, &provider()).map_err(wrong)?;
        Ok(())
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        roots(&self.authority_pem)
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let own = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes());
        Ok(vec![own.map_err(wrong)?])
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(wrong)
    }

    /// For calls that come in.
    /// `joins`: also of nodes without a certificate, that ask for their first one.
    pub(super) fn server(&self, env: &Env, joins: bool) -> Result<ServerConfig, TlsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, provider());
        let verifier = if joins { verifier.allow_unauthenticated() } else { verifier };
        let clock = Arc::new(WallClock(env.clone()));
        let mut config = ServerConfig::builder_with_details(provider(), clock)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(wrong)?
            .with_client_cert_verifier(verifier.build().map_err(wrong)?)
            .with_single_cert(self.chain()?, self.key()?)
            .map_err(wrong)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        if joins {
            config.alpn_protocols.push(join::ALPN.to_vec());
        }
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// For calls that go out.
    pub(super) fn client(&self, env: &Env) -> Result<ClientConfig, TlsError> {
        let clock = Arc::new(WallClock(env.clone()));
        let mut config = ClientConfig::builder_with_details(provider(), clock)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(wrong)?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(self.chain()?, self.key()?)
            .map_err(wrong)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn roots(authority_pem: &str) -> Result<Arc<RootCertStore>, TlsError> {
    let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes()).map_err(wrong)?;
    let mut roots = RootCertStore::empty();
    roots.add(authority).map_err(wrong)?;
    Ok(Arc::new(roots))
}

/// For the one call of a node that has no certificate yet.
pub(super) fn joining(env: &Env, authority_pem: &str) -> Result<ClientConfig, TlsError> {
    let clock = Arc::new(WallClock(env.clone()));
    let mut config = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(wrong)?
        .with_root_certificates(roots(authority_pem)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![join::ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Which region the other side of a connection proved to be.
pub(super) fn region_of(connection: &Connection, cluster: ClusterId) -> Option<RegionId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    named_by(chain.first()?, cluster)
}

/// The region that a verified certificate names, if it is of this cluster.
fn named_by(certificate: &CertificateDer<'_>, cluster: ClusterId) -> Option<RegionId> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_dns_names();
    let region = RegionId::parse(names.next()?.split('.').next()?)?;
    let whole = certificate.valid_dns_names().eq([name(cluster, region).as_str()]);
    whole.then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(code: &str) -> RegionId {
        RegionId::parse(code).unwrap()
    }

    const LIFE: Validity = Validity { from_ms: 0, until_ms: 90_000_000 };

    fn env() -> Env {
        crate::node::env::real(&tokio::runtime::Handle::current(), "/".as_ref())
    }

    #[tokio::test]
    async fn a_certificate_names_its_region_and_cluster_and_no_other() {
        let (ours, theirs) = (ClusterId([1; 16]), ClusterId([2; 16]));
        let authority = Authority::new(ours).unwrap();
        let certificate = authority.issue(ours, region("fra"), LIFE).unwrap();
        let chain = certificate.chain().unwrap();
        assert_eq!(named_by(&chain[0], ours), Some(region("fra")));
        assert_eq!(named_by(&chain[0], theirs), None);
        assert_eq!(named_by(&CertificateDer::from(vec![1, 2, 3]), ours), None);
        assert!(certificate.server(&env(), true).is_ok() && certificate.client(&env()).is_ok());
        assert_eq!(certificate.validity(), Ok(LIFE));
        assert!(certificate.verify(1_000).is_ok() && certificate.verify(90_001_000).is_err());
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let cluster = ClusterId([1; 16]);
        let authority = Authority::new(cluster).unwrap();
        let certificate = authority.issue(cluster, region("fra"), LIFE).unwrap();
        assert!(!format!("{authority:?}{certificate:?}").contains("PRIVATE"));
    }
}
