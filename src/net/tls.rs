//! Who may speak on the mesh: a cluster's own authority, and one certificate a node.
//!
//! Invariant: both sides of every connection prove with a certificate of this cluster which region
//! they are. A certificate's only name is `REGION.CLUSTER.godwit`, so a node of another cluster, or
//! of another region than the one that was called, is refused in the handshake. There is no shared
//! password and no fallback.

use std::fmt;
use std::sync::Arc;

use quinn::Connection;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use webpki::EndEntityCert;

use crate::types::id::ClusterId;
use crate::types::region::RegionId;

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
    authority_pem: String,
    certificate_pem: String,
    key_pem: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, ..)", name(self.cluster, self.region))
    }
}

/// The one name of a node's certificate.
fn name(cluster: ClusterId, region: RegionId) -> String {
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

    /// The certificate of one region's node.
    pub fn issue(&self, cluster: ClusterId, region: RegionId) -> Result<Certificate, TlsError> {
        let authority_key = KeyPair::from_pem(&self.key_pem).map_err(wrong)?;
        let issuer = Issuer::new(authority_params(cluster), authority_key);
        let mut params = CertificateParams::new(vec![name(cluster, region)]).map_err(wrong)?;
        params.distinguished_name = common_name(&format!("godwit {region}"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(wrong)?;
        let certificate = params.signed_by(&key, &issuer).map_err(wrong)?;
        Ok(Certificate {
            cluster,
            region,
            authority_pem: self.certificate_pem.clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Certificate {
    /// The name that a caller demands of the node of a region.
    pub(super) fn name_of(&self, region: RegionId) -> String {
        name(self.cluster, region)
    }

    /// A key for one purpose, the same whenever this certificate is used.
    pub(super) fn derive(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, self.key_pem.as_bytes())
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let authority =
            CertificateDer::from_pem_slice(self.authority_pem.as_bytes()).map_err(wrong)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority).map_err(wrong)?;
        Ok(Arc::new(roots))
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let own = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes());
        Ok(vec![own.map_err(wrong)?])
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(wrong)
    }

    /// For calls that come in.
    pub(super) fn server(&self) -> Result<ServerConfig, TlsError> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots()?, provider()).build();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(wrong)?
            .with_client_cert_verifier(verifier.map_err(wrong)?)
            .with_single_cert(self.chain()?, self.key()?)
            .map_err(wrong)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }

    /// For calls that go out.
    pub(super) fn client(&self) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(wrong)?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(self.chain()?, self.key()?)
            .map_err(wrong)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }
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

    #[test]
    fn a_certificate_names_its_region_and_cluster_and_no_other() {
        let (ours, theirs) = (ClusterId([1; 16]), ClusterId([2; 16]));
        let authority = Authority::new(ours).unwrap();
        let certificate = authority.issue(ours, region("fra")).unwrap();
        let chain = certificate.chain().unwrap();
        assert_eq!(named_by(&chain[0], ours), Some(region("fra")));
        assert_eq!(named_by(&chain[0], theirs), None);
        assert_eq!(named_by(&CertificateDer::from(vec![1, 2, 3]), ours), None);
        assert!(certificate.server().is_ok() && certificate.client().is_ok());
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let cluster = ClusterId([1; 16]);
        let authority = Authority::new(cluster).unwrap();
        let certificate = authority.issue(cluster, region("fra")).unwrap();
        assert!(!format!("{authority:?}{certificate:?}").contains("PRIVATE"));
    }
}
