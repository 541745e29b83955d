//! Which tags a bucket or an object may have.
//! Source: S3 user guide, "Categorizing your objects using tags"; tag restrictions of AWS billing.

use std::collections::BTreeSet;

/// Tags of one object, and of one bucket.
pub const OBJECT_TAGS_MAX: usize = 10;
pub const BUCKET_TAGS_MAX: usize = 50;

const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

/// Why a set of tags is refused; with the key that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Key(String),
    Value(String),
    /// Keys that begin with `aws:` are not a user's.
    System(String),
    Twice(String),
    /// More than this many.
    TooMany(usize),
}

/// Checks a whole set.
pub fn check(tags: &[(String, String)], max: usize) -> Result<(), Refusal> {
    if tags.len() > max {
        return Err(Refusal::TooMany(max));
    }
    let mut seen = BTreeSet::new();
    for (key, value) in tags {
        let chars = key.chars().count();
        if !(1..=KEY_CHARS_MAX).contains(&chars) || !key.chars().all(is_allowed) {
            return Err(Refusal::Key(key.clone()));
        }
        if key.starts_with("aws:") {
            return Err(Refusal::System(key.clone()));
        }
        if value.chars().count() > VALUE_CHARS_MAX || !value.chars().all(is_allowed) {
            return Err(Refusal::Value(key.clone()));
        }
        if !seen.insert(key) {
            return Err(Refusal::Twice(key.clone()));
        }
    }
    Ok(())
}

/// Letters, digits, separators and some signs; a tab or a line end is none of them.
/// Source: S3 user guide, "Categorizing your storage using tags".
fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> Result<(), Refusal> {
        check(&[(key.to_owned(), value.to_owned())], OBJECT_TAGS_MAX)
    }

    #[test]
    fn a_tag_has_blanks_but_no_characters_that_control() {
        assert_eq!(one("a b", "\u{a0}c"), Ok(()));
        for control in ["\u{b}", "\t", "\n", "\u{85}"] {
            assert_eq!(one("a", control), Err(Refusal::Value("a".into())), "{control:?}");
            assert_eq!(one(control, "a"), Err(Refusal::Key(control.into())), "{control:?}");
        }
    }

    #[test]
    fn a_tag_has_a_key_and_bounds() {
        assert_eq!(one(&"é".repeat(128), &"v".repeat(256)), Ok(()));
        assert_eq!(one("a b_c.d:e/f=g+h-i@j", ""), Ok(()));
        assert_eq!(one("", "v"), Err(Refusal::Key(String::new())));
        assert_eq!(one(&"k".repeat(129), ""), Err(Refusal::Key("k".repeat(129))));
        assert_eq!(one("k", &"v".repeat(257)), Err(Refusal::Value("k".to_owned())));
        assert_eq!(one("k?", ""), Err(Refusal::Key("k?".to_owned())));
        assert_eq!(one("aws:k", ""), Err(Refusal::System("aws:k".to_owned())));
    }

    #[test]
    fn a_set_has_each_key_once_and_a_bound() {
        let tags = |n: usize| -> Vec<(String, String)> {
            (0..n).map(|i| (format!("k{i}"), String::new())).collect()
        };
        assert_eq!(check(&tags(10), OBJECT_TAGS_MAX), Ok(()));
        assert_eq!(check(&tags(11), OBJECT_TAGS_MAX), Err(Refusal::TooMany(10)));
        let twice = [tags(1), tags(1)].concat();
        assert_eq!(check(&twice, OBJECT_TAGS_MAX), Err(Refusal::Twice("k0".to_owned())));
    }
}
