//! Join tokens: what `godwit cluster token REGION` prints, and what is made of it.
//!
//! A token names a region and a time; its secret follows from both and from the authority's key, so
//! that nothing is kept of a token before it is used. Invariant: the secret of a token is never
//! sent. A node proves that it has one by a seal over the key that it made, so whoever hears the
//! question can do nothing with it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cluster::{Members, StatedMembers};
use crate::net::certify::Wish;
use crate::types::id::ClusterId;
use crate::types::name::AccountId;
use crate::types::region::RegionId;

use super::NodeError;

/// How a token begins, so that it is known when it lies somewhere.
const PREFIX: &str = "godwit-join-";

/// A token.
#[derive(Clone, Serialize, Deserialize)]
pub struct JoinToken {
    pub cluster: ClusterId,
    /// Who joins with it.
    pub region: RegionId,
    /// It is refused from then on: milliseconds since 1970.
    pub expires_ms: u64,
    /// Whose nodes are asked.
    pub members: Vec<RegionId>,
    pub authority_pem: String,
    pub(super) id: [u8; 16],
    pub(super) secret: [u8; 32],
}

impl JoinToken {
    pub fn to_text(&self) -> String {
        let bytes = serde_json::to_vec(self).expect("plain structs with text keys");
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// `None`: it is none of these, but perhaps one of an older version.
    pub fn from_text(text: &str) -> Option<Result<Self, NodeError>> {
        let text = text.trim().strip_prefix(PREFIX)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let token = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let broken = || NodeError::Identity("the token is not whole; copy it again".to_owned());
        Some(token.ok_or_else(broken))
    }

    /// What the node that has it asks with.
    pub(super) fn question(&self, wish: Wish) -> Question {
        let seal = seal(&self.secret, &wish);
        Question { wish, id: self.id, expires_ms: self.expires_ms, seal }
    }
}

/// What proves that the asker has the token.
fn seal(secret: &[u8; 32], wish: &Wish) -> [u8; 32] {
    *blake3::keyed_hash(secret, wish.key_bytes()).as_bytes()
}

/// A request for a first certificate.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) wish: Wish,
    pub(super) id: [u8; 16],
    pub(super) expires_ms: u64,
    seal: [u8; 32],
}

impl Question {
    /// Whether it was made with this token's secret.
    pub(super) fn is_sealed_with(&self, secret: &[u8; 32]) -> bool {
        // Compared in constant time.
        blake3::Hash::from_bytes(seal(secret, &self.wish)) == blake3::Hash::from_bytes(self.seal)
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain structs with text keys").into()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|why| why.to_string())
    }
}

/// What a node that joins is given.
#[derive(Serialize, Deserialize)]
pub(super) struct Welcome {
    pub(super) certificate_pem: String,
    pub(super) members: StatedMembers,
    /// The account that the cluster was made with.
    pub(super) operator: AccountId,
}

impl Welcome {
    pub(super) fn new(certificate_pem: String, members: Members, operator: AccountId) -> Self {
        Self { certificate_pem, members: members.into(), operator }
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain structs with text keys").into()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|why| why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::certify::Candidate;

    const CLUSTER: ClusterId = ClusterId([1; 16]);

    fn token() -> JoinToken {
        let region = "fra".parse().unwrap();
        JoinToken {
            cluster: CLUSTER,
            region,
            expires_ms: 1_000,
            members: vec![region],
            authority_pem: "pem".to_owned(),
            id: [7; 16],
            secret: [9; 32],
        }
    }

    #[test]
    fn a_token_comes_back_from_its_text_and_a_broken_one_is_told() {
        let text = token().to_text();
        let back = JoinToken::from_text(&format!(" {text}\n")).unwrap().unwrap();
        assert_eq!((back.id, back.secret, back.region), ([7; 16], [9; 32], token().region));
        let broken = JoinToken::from_text(&text[..text.len() - 5]).unwrap();
        assert!(broken.err().unwrap().to_string().contains("not whole"));
        assert!(JoinToken::from_text("eyJ").is_none(), "one of an older version");
    }

    #[test]
    fn a_question_proves_the_token_for_its_own_key_alone_and_does_not_have_the_secret() {
        let (_, wish) = Candidate::new(CLUSTER, token().region).unwrap();
        let (_, other) = Candidate::new(CLUSTER, token().region).unwrap();
        let asked = token().question(wish);
        assert!(asked.is_sealed_with(&[9; 32]) && !asked.is_sealed_with(&[8; 32]));
        let stolen = Question { wish: other, ..asked.clone() };
        assert!(!stolen.is_sealed_with(&[9; 32]));
        let sent = asked.to_bytes();
        let secret = serde_json::to_string(&[9; 32]).unwrap();
        assert!(!String::from_utf8_lossy(&sent).contains(&secret));
        assert!(sent.len() < crate::limits::CERTIFICATE_ASK_BYTES_MAX, "{}", sent.len());
    }
}
