//! How the bytes of an object are encrypted at rest, and the names and keys that say so.
//!
//! Three keys make a hierarchy. A run of bytes (a body or a part) has a key of its own, derived
//! from the data key of its object; the data key is wrapped by a key that a client brings (SSE-C)
//! or that the cluster's keyring has (SSE-S3, SSE-KMS). The keyring is never in a data directory.
//! Source: S3 user guide, "Protecting data with encryption".

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// Bytes of every key: AES-256 and HMAC-SHA-256.
pub const KEY_BYTES: usize = 32;

/// Bytes of the tag of AES-GCM.
pub const TAG_BYTES: usize = 16;

/// Longest name of a key in the keyring.
pub const KEY_NAME_BYTES_MAX: usize = 128;

/// The name of a key in the keyring; what SSE-KMS calls a key's id. Letters, digits and `-_./:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyName(Arc<str>);

impl KeyName {
    /// `None` for a text that can be no name.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=KEY_NAME_BYTES_MAX).contains(&text.len());
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
        (fits && text.chars().all(plain)).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A secret key. Shows nothing of itself, and is compared in constant time.
#[derive(Clone)]
pub struct SecretBytes(pub [u8; KEY_BYTES]);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretBytes {}

/// Who keeps the key that wraps the data key of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sse {
    /// SSE-C: the client, who sends it with every request. It is never stored.
    Customer,
    /// SSE-KMS: the keyring; the key that the request or the bucket's default named.
    Kms(KeyName),
    /// SSE-S3: the keyring; the one that was its first when the object was made.
    S3(KeyName),
}

/// What is kept of an object's encryption, in its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    pub sse: Sse,
    pub wrapped: WrappedKey,
}

/// A data key, encrypted with AES-256-GCM under a key made of the wrapping key and the salt. A salt
/// is used once, so that the nonce may be zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    pub salt: [u8; KEY_BYTES],
    pub key: [u8; KEY_BYTES],
    pub tag: [u8; TAG_BYTES],
}

/// What is kept beside one encrypted run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Makes the run's key out of the data key; used once.
    pub nonce: [u8; 16],
    /// Over the root of the run's manifest: with it every chunk that a read verifies is known to
    /// be what this data key's owner wrote.
    pub mac: [u8; KEY_BYTES],
}

/// The encryption that a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SseAsked {
    /// Nothing: what the bucket's default says.
    #[default]
    Default,
    /// SSE-C.
    Customer(SecretBytes),
    Kms(KeyName),
    S3,
}

impl SseAsked {
    /// The key that the client brought.
    pub fn customer_key(&self) -> Option<&SecretBytes> {
        match self {
            Self::Customer(key) => Some(key),
            Self::Default | Self::Kms(_) | Self::S3 => None,
        }
    }
}

/// A bucket's default encryption: `PutBucketEncryption`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketEncryption {
    /// SSE-KMS with this key; SSE-S3 without one.
    pub kms: Option<KeyName>,
    /// Kept and shown; there is no call to save.
    pub bucket_key: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys_are_short_and_plain() {
        for good in ["a", "2026-11", "arn:aws:kms:x:1:key/ab-cd", &"k".repeat(128)] {
            assert_eq!(KeyName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "ü", "a\n", &"k".repeat(129)] {
            assert_eq!(KeyName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", SseAsked::Customer(SecretBytes([7; 32]))).find('7'), None);
    }
}
