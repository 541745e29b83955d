//! The keyring: the keys that wrap data keys. It comes from outside of every data directory.
//!
//! As text: one key a line, `NAME:KEY` with the 32 bytes of the key in base64; `#` begins a remark.
//! The first key wraps what SSE-S3 asks for from now on, so that a new first line rotates the key;
//! the others stay, because objects name the key that wrapped theirs. SSE-KMS may name any.
//! Invariant: no key shows in a message.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::types::encryption::{KEY_BYTES, KeyName, SecretBytes};

/// The keys of one region; those of another should be the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    keys: Vec<(KeyName, SecretBytes)>,
}

/// Why a text is no keyring; the line counts from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadKeyring {
    /// Not `NAME:KEY`, or the name can be none.
    Line(usize),
    /// Not 32 bytes in base64.
    Key(usize),
    /// The name stood before.
    Twice(usize),
}

impl fmt::Display for BadKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line} of the keyring is not NAME:KEY"),
            Self::Key(line) => write!(f, "line {line} of the keyring: a key is 32 bytes in base64"),
            Self::Twice(line) => write!(f, "line {line} of the keyring: its name stood before"),
        }
    }
}

impl std::error::Error for BadKeyring {}

impl Keyring {
    /// Reads a keyring. Lines may also be separated by commas, which an environment variable may
    /// need. An empty text is an empty keyring.
    pub fn parse(text: &str) -> Result<Self, BadKeyring> {
        let mut keys: Vec<(KeyName, SecretBytes)> = Vec::new();
        for (number, line) in (1..).zip(text.split(['\n', ','])) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The name of a key may have colons, a key has none.
            let (name, key) = line.rsplit_once(':').ok_or(BadKeyring::Line(number))?;
            let name = KeyName::parse(name).ok_or(BadKeyring::Line(number))?;
            let key = STANDARD.decode(key.trim()).map_err(|_| BadKeyring::Key(number))?;
            let key: [u8; KEY_BYTES] = key.try_into().map_err(|_| BadKeyring::Key(number))?;
            if keys.iter().any(|(known, _)| *known == name) {
                return Err(BadKeyring::Twice(number));
            }
            keys.push((name, SecretBytes(key)));
        }
        Ok(Self { keys })
    }

    /// One line of a keyring.
    pub fn line(name: &KeyName, key: &SecretBytes) -> String {
        format!("{name}:{}\n", STANDARD.encode(key.0))
    }

    /// What SSE-S3 wraps with now.
    pub fn first(&self) -> Option<(&KeyName, &SecretBytes)> {
        self.keys.first().map(|(name, key)| (name, key))
    }

    pub fn find(&self, name: &KeyName) -> Option<&SecretBytes> {
        self.keys.iter().find(|(known, _)| known == name).map(|(_, key)| key)
    }

    /// In their order.
    pub fn names(&self) -> impl Iterator<Item = &KeyName> {
        self.keys.iter().map(|(name, _)| name)
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_is_lines_of_names_and_keys() {
        let key = |n| SecretBytes([n; KEY_BYTES]);
        let name = |n| KeyName::parse(n).unwrap();
        let two = Keyring::line(&name("arn:aws:kms:a"), &key(2));
        let text = format!("# remark\n{}\n {two}", Keyring::line(&name("one"), &key(1)));
        let ring = Keyring::parse(&text).unwrap();
        assert_eq!(ring.first(), Some((&name("one"), &key(1))));
        assert_eq!(ring.find(&name("arn:aws:kms:a")), Some(&key(2)));
        assert_eq!(ring.find(&name("three")), None);
        assert_eq!(Keyring::parse(&text.replace('\n', ",")), Ok(ring));
        assert!(Keyring::parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_keyring_is_refused_by_its_line() {
        let good = Keyring::line(&KeyName::parse("a").unwrap(), &SecretBytes([1; KEY_BYTES]));
        for (text, why) in [
            (format!("{good}nothing"), BadKeyring::Line(2)),
            (format!("b c{good}"), BadKeyring::Line(1)),
            (format!("{good}b:AAAA"), BadKeyring::Key(2)),
            (format!("{good}b:not base64"), BadKeyring::Key(2)),
            (format!("{good}{good}"), BadKeyring::Twice(2)),
        ] {
            assert_eq!(Keyring::parse(&text), Err(why));
        }
    }
}
