//! Names that users choose: buckets, keys, accounts, access keys.
//!
//! Invariant: a value of these types is valid; it is made by parsing at the edge and never checked
//! again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Why a bucket name is refused.
/// Source: S3 user guide, "General purpose bucket naming rules".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBucketName {
    /// Not 3 to 63 characters.
    Length,
    /// A character other than `a-z`, `0-9`, `.`, `-`.
    Character,
    /// Does not begin and end with a letter or a digit, or has `..`.
    Shape,
    /// Looks like an IPv4 address.
    Address,
    /// A prefix or suffix that S3 keeps for itself.
    Reserved,
}

impl fmt::Display for BadBucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "a bucket name has 3 to 63 characters",
            Self::Character => "a bucket name has only a-z, 0-9, dots and hyphens",
            Self::Shape => {
                "a bucket name begins and ends with a letter or digit and has no two dots in a row"
            }
            Self::Address => "a bucket name is not formatted as an IP address",
            Self::Reserved => "this prefix or suffix is reserved",
        })
    }
}

impl std::error::Error for BadBucketName {}

/// A bucket's name, unique across the platform.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(Arc<str>);

const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES: [&str; 4] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3"];

impl BucketName {
    /// Parses by S3's rules.
    pub fn parse(name: &str) -> Result<Self, BadBucketName> {
        if !(3..=63).contains(&name.len()) {
            return Err(BadBucketName::Length);
        }
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
        if !name.bytes().all(allowed) {
            return Err(BadBucketName::Character);
        }
        let ends = [name.as_bytes()[0], name.as_bytes()[name.len() - 1]];
        if !ends.iter().all(u8::is_ascii_alphanumeric) || name.contains("..") {
            return Err(BadBucketName::Shape);
        }
        if name.parse::<std::net::Ipv4Addr>().is_ok() {
            return Err(BadBucketName::Address);
        }
        if RESERVED_PREFIXES.iter().any(|p| name.starts_with(p))
            || RESERVED_SUFFIXES.iter().any(|s| name.ends_with(s))
        {
            return Err(BadBucketName::Reserved);
        }
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BucketName {
    type Err = BadBucketName;
    fn from_str(name: &str) -> Result<Self, BadBucketName> {
        Self::parse(name)
    }
}

impl TryFrom<String> for BucketName {
    type Error = BadBucketName;
    fn try_from(name: String) -> Result<Self, BadBucketName> {
        Self::parse(&name)
    }
}

impl From<BucketName> for String {
    fn from(name: BucketName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why an object key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKey {
    Empty,
    /// Longer than [`limits::KEY_BYTES_MAX`].
    TooLong,
    NotUtf8,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a key has at least one character"),
            Self::TooLong => {
                write!(f, "a key has at most {} bytes in UTF-8", limits::KEY_BYTES_MAX)
            }
            Self::NotUtf8 => f.write_str("a key is UTF-8"),
        }
    }
}

impl std::error::Error for BadKey {}

/// An object's key: 1 to 1024 bytes of UTF-8. Never a path: no part of it reaches a file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    pub fn parse(key: &str) -> Result<Self, BadKey> {
        match key.len() {
            0 => Err(BadKey::Empty),
            n if n > limits::KEY_BYTES_MAX => Err(BadKey::TooLong),
            _ => Ok(Self(key.into())),
        }
    }

    /// The same for bytes from the wire or the disk.
    pub fn from_utf8(bytes: &[u8]) -> Result<Self, BadKey> {
        Self::parse(std::str::from_utf8(bytes).map_err(|_| BadKey::NotUtf8)?)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for ObjectKey {
    type Err = BadKey;
    fn from_str(key: &str) -> Result<Self, BadKey> {
        Self::parse(key)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = BadKey;
    fn try_from(key: String) -> Result<Self, BadKey> {
        Self::parse(&key)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0.as_ref().to_owned()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The owner of buckets: a canonical id of 64 hexadecimal digits, as S3 shows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct AccountId(pub Arc<str>);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public half of an access key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct AccessKeyId(pub Arc<str>);

impl AccessKeyId {
    /// 1 to 128 characters of `[A-Za-z0-9_-]`.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        ((1..=128).contains(&text.len()) && text.bytes().all(allowed)).then(|| Self(text.into()))
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret half of an access key. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretKey(pub Arc<str>);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_rules_of_s3() {
        for good in ["abc", "a.b", "my-bucket", "123", "a1.b2-c3"] {
            assert!(BucketName::parse(good).is_ok(), "{good}");
        }
        let bad = [
            ("ab", BadBucketName::Length),
            ("Abc", BadBucketName::Character),
            ("a_b", BadBucketName::Character),
            ("-abc", BadBucketName::Shape),
            ("abc.", BadBucketName::Shape),
            ("a..b", BadBucketName::Shape),
            ("192.168.1.1", BadBucketName::Address),
            ("xn--abc", BadBucketName::Reserved),
            ("abc-s3alias", BadBucketName::Reserved),
        ];
        for (name, why) in bad {
            assert_eq!(BucketName::parse(name), Err(why), "{name}");
        }
        assert_eq!(BucketName::parse(&"a".repeat(64)), Err(BadBucketName::Length));
    }

    #[test]
    fn keys_keep_every_byte() {
        for key in ["a//b", "./x", "%41", "+", " ", "\u{1}", "é"] {
            assert_eq!(ObjectKey::parse(key).unwrap().as_str(), key);
        }
        assert_eq!(ObjectKey::parse(""), Err(BadKey::Empty));
        assert_eq!(ObjectKey::parse(&"a".repeat(1025)), Err(BadKey::TooLong));
        assert_eq!(ObjectKey::from_utf8(&[0xff]), Err(BadKey::NotUtf8));
    }
}
