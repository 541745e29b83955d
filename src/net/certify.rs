//! How a node gets a certificate: it makes the key itself, and asks who has the authority.
//!
//! Invariant: a private key never leaves the node that made it. A [`Wish`] proves that whoever sends
//! it has the key; that he may have a certificate is proven apart from it: by the certificate that
//! the node still has, or by a token.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use bytes::Bytes;
use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey as _};
use serde::{Deserialize, Serialize};

use crate::env::BoxFuture;
use crate::types::id::ClusterId;
use crate::types::region::RegionId;

use super::tls::{Certificate, TlsError};

/// Who has the cluster's authority answers by this.
pub trait Certifier: Send + Sync {
    /// A new certificate, as PEM, for a region whose node proved by its present one who it is.
    fn renew(&self, region: RegionId, wish: &Wish) -> Result<String, String>;

    /// Answers a node that has no certificate.
    fn join(&self, question: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;
}

/// A request for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    pub region: RegionId,
    pub(super) public_key: PublicKey,
    /// Made with the private key, over the cluster, the region and the public key.
    proof: Vec<u8>,
}

impl Wish {
    /// The key that the certificate shall be for.
    pub fn key_bytes(&self) -> &[u8; 32] {
        &self.public_key.0
    }

    /// Whether its sender has the key.
    pub(super) fn check(&self, cluster: ClusterId) -> Result<(), TlsError> {
        let text = proven(cluster, self.region, &self.public_key);
        let key = UnparsedPublicKey::new(&ED25519, &self.public_key.0);
        key.verify(&text, &self.proof)
            .map_err(|_| TlsError::new("the request does not prove that its sender has the key"))
    }
}

/// An Ed25519 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PublicKey([u8; 32]);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

fn proven(cluster: ClusterId, region: RegionId, key: &PublicKey) -> Vec<u8> {
    let mut text = format!("godwit certificate for {region} of {cluster}: ").into_bytes();
    text.extend_from_slice(&key.0);
    text
}

/// A key that waits for its certificate.
pub struct Candidate {
    cluster: ClusterId,
    region: RegionId,
    key_pem: String,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidate({}, ..)", self.region)
    }
}

impl Candidate {
    /// A new key, and the request for its certificate.
    pub fn new(cluster: ClusterId, region: RegionId) -> Result<(Self, Wish), TlsError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(TlsError::new)?;
        let public_key = PublicKey(key.public_key_raw().try_into().map_err(TlsError::new)?);
        let proof = key.sign(&proven(cluster, region, &public_key)).map_err(TlsError::new)?;
        let candidate = Self { cluster, region, key_pem: key.serialize_pem() };
        Ok((candidate, Wish { region, public_key, proof }))
    }

    /// With the certificate that the authority of `before` gave for it: of this cluster and region,
    /// for this key, and valid now.
    pub fn succeed(
        self,
        before: &Certificate,
        certificate_pem: String,
        now_ms: u64,
    ) -> Result<Certificate, TlsError> {
        let first = self.first(&before.authority_pem, certificate_pem, now_ms)?;
        Ok(first.after(before))
    }

    /// The same, where there was none before.
    pub fn first(
        self,
        authority_pem: &str,
        certificate_pem: String,
        now_ms: u64,
    ) -> Result<Certificate, TlsError> {
        let Self { cluster, region, key_pem } = self;
        let authority_pem = authority_pem.to_owned();
        let reset = None;
        let certificate =
            Certificate { cluster, region, authority_pem, certificate_pem, key_pem, reset };
        certificate.verify(now_ms)?;
        Ok(certificate)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tls::Authority;
    use super::super::validity::Validity;
    use super::*;

    const CLUSTER: ClusterId = ClusterId([1; 16]);
    const OTHER: ClusterId = ClusterId([2; 16]);
    const LIFE: Validity = Validity { from_ms: 0, until_ms: 90_000_000 };

    fn region(code: &str) -> RegionId {
        RegionId::parse(code).unwrap()
    }

    #[test]
    fn a_key_made_elsewhere_gets_a_certificate_of_its_region() {
        let authority = Authority::new(CLUSTER).unwrap();
        let old = authority.issue(CLUSTER, region("fra"), LIFE).unwrap();
        let (candidate, wish) = Candidate::new(CLUSTER, region("fra")).unwrap();
        let later = Validity { from_ms: 1_000, until_ms: 180_000_000 };
        let pem = authority.certify(CLUSTER, &wish, later).unwrap();
        let new = candidate.succeed(&old, pem, 2_000).unwrap();
        assert_eq!((new.region, new.validity().unwrap()), (region("fra"), later));
        assert_ne!(new.fingerprint().unwrap(), old.fingerprint().unwrap());
        assert_eq!(new.reset_key(), old.reset_key(), "peers know a restarted node by it");
    }

    #[test]
    fn a_request_of_somebody_who_has_not_the_key_is_refused() {
        let authority = Authority::new(CLUSTER).unwrap();
        let (_, wish) = Candidate::new(CLUSTER, region("fra")).unwrap();
        let (_, mut stolen) = Candidate::new(CLUSTER, region("fra")).unwrap();
        stolen.public_key = wish.public_key;
        assert!(authority.certify(CLUSTER, &stolen, LIFE).is_err());
        let renamed = Wish { region: region("iad"), ..wish.clone() };
        assert!(authority.certify(CLUSTER, &renamed, LIFE).is_err());
        assert!(authority.certify(OTHER, &wish, LIFE).is_err());
        assert!(authority.certify(CLUSTER, &wish, LIFE).is_ok());
    }

    #[test]
    fn a_certificate_that_does_not_fit_is_not_taken() {
        let (ours, theirs) = (Authority::new(CLUSTER).unwrap(), Authority::new(CLUSTER).unwrap());
        let old = ours.issue(CLUSTER, region("fra"), LIFE).unwrap();
        let take = |by: &Authority, of: &str, now_ms| {
            let (candidate, wish) = Candidate::new(CLUSTER, region("fra")).unwrap();
            let (_, other) = Candidate::new(CLUSTER, region(of)).unwrap();
            let wish = if of == "fra" { wish } else { other };
            let pem = by.certify(CLUSTER, &wish, LIFE).unwrap();
            candidate.succeed(&old, pem, now_ms)
        };
        assert!(take(&ours, "fra", 1_000).is_ok());
        assert!(take(&theirs, "fra", 1_000).is_err(), "another authority");
        assert!(take(&ours, "iad", 1_000).is_err(), "another region's");
        assert!(take(&ours, "fra", 90_001_000).is_err(), "it has run out");
        let (candidate, _) = Candidate::new(CLUSTER, region("fra")).unwrap();
        let (_, wish) = Candidate::new(CLUSTER, region("fra")).unwrap();
        let pem = ours.certify(CLUSTER, &wish, LIFE).unwrap();
        assert!(candidate.succeed(&old, pem, 1_000).is_err(), "for another key");
    }
}
