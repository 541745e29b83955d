//! One page of a list: prefix, delimiter, where it goes on, and how many.
//!
//! Invariant: the pages of a list, put together, are what one walk over all keys would give, in
//! byte order of UTF-8; a common prefix costs one seek however many keys it stands for. It knows
//! nothing of what the keys stand for: the cursor gives only what is to be listed.

use std::ops::Bound;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::types::name::ObjectKey;

/// An ordered walk over keys.
pub trait Cursor {
    type Item;
    type Error;
    /// The next call of [`Cursor::next`] gives the first key from here on.
    fn seek(&mut self, from: Bound<&ObjectKey>);
    fn next(&mut self) -> Result<Option<(ObjectKey, Self::Item)>, Self::Error>;
}

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub prefix: String,
    pub delimiter: Option<String>,
    /// Only keys after this one. A common prefix here stands for all of its keys.
    pub after: Option<String>,
    /// Entries, keys and common prefixes together.
    pub max: usize,
}

/// One entry of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<T> {
    Key(ObjectKey, T),
    /// Every key that begins with this, up to and with the delimiter.
    Prefix(String),
}

impl<T> Entry<T> {
    /// What the entry is sorted by and continued from.
    pub fn name(&self) -> &str {
        match self {
            Self::Key(key, _) => key.as_str(),
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In order.
    pub entries: Vec<Entry<T>>,
    /// More follow; the name of the last entry continues.
    pub truncated: bool,
}

impl<T> Page<T> {
    /// What `after` of the next page is; `None` on the last page.
    pub fn next(&self) -> Option<&str> {
        self.entries.last().filter(|_| self.truncated).map(Entry::name)
    }
}

/// Reads one page.
pub fn page<C: Cursor>(query: &Query, cursor: &mut C) -> Result<Page<C::Item>, C::Error> {
    let mut page = Page { entries: Vec::new(), truncated: false };
    if query.max == 0 || !seek_start(query, cursor) {
        return Ok(page);
    }
    let after = query.after.as_deref();
    while let Some((key, item)) = cursor.next()? {
        if !key.as_str().starts_with(&query.prefix) {
            break;
        }
        if after.is_some_and(|after| key.as_str() <= after) {
            continue;
        }
        let common = common_prefix(query, key.as_str());
        if let Some(common) = common
            && after == Some(common)
        {
            if !skip(cursor, common) {
                break;
            }
            continue;
        }
        if page.entries.len() == query.max {
            page.truncated = true;
            break;
        }
        match common.map(str::to_owned) {
            None => page.entries.push(Entry::Key(key, item)),
            Some(common) => {
                let more = skip(cursor, &common);
                page.entries.push(Entry::Prefix(common));
                if !more {
                    break;
                }
            }
        }
    }
    assert!(page.entries.len() <= query.max, "a page is never longer than asked for");
    Ok(page)
}

/// The part of a key up to and with the first delimiter behind the prefix.
pub(super) fn common_prefix<'a>(query: &Query, key: &'a str) -> Option<&'a str> {
    let delimiter = query.delimiter.as_deref().filter(|d| !d.is_empty())?;
    let start = query.prefix.len();
    let at = key[start..].find(delimiter)?;
    Some(&key[..start + at + delimiter.len()])
}

/// Seeks to the first key that can be listed; false when there is none.
pub(super) fn seek_start<C: Cursor>(query: &Query, cursor: &mut C) -> bool {
    let after = query.after.as_deref().filter(|after| *after >= query.prefix.as_str());
    let (text, inclusive) = match after {
        Some(after) => (after, false),
        None => (query.prefix.as_str(), true),
    };
    match ObjectKey::parse(text) {
        Ok(key) if inclusive => cursor.seek(Bound::Included(&key)),
        Ok(key) => cursor.seek(Bound::Excluded(&key)),
        Err(_) if text.is_empty() => cursor.seek(Bound::Unbounded),
        // Longer than any key: no key has it as prefix, but keys may sort after it.
        Err(_) if inclusive => return false,
        Err(_) => match ObjectKey::parse(longest_key_prefix(text)) {
            Ok(key) => cursor.seek(Bound::Excluded(&key)),
            Err(_) => return false,
        },
    }
    true
}

fn longest_key_prefix(text: &str) -> &str {
    &text[..text.floor_char_boundary(crate::limits::KEY_BYTES_MAX)]
}

/// Seeks past every key that begins with `prefix`; false when no key can follow.
pub(super) fn skip<C: Cursor>(cursor: &mut C, prefix: &str) -> bool {
    let Some(next) = successor(prefix) else { return false };
    match ObjectKey::parse(&next) {
        Ok(key) => cursor.seek(Bound::Included(&key)),
        // The successor is longer than a key may be: then the prefix is a whole key itself.
        Err(_) => match ObjectKey::parse(prefix) {
            Ok(key) => cursor.seek(Bound::Excluded(&key)),
            Err(_) => return false,
        },
    }
    true
}

/// The smallest text above every text that begins with `prefix`; `None` when there is none.
pub fn successor(prefix: &str) -> Option<String> {
    let mut head = prefix;
    while let Some(last) = head.chars().next_back() {
        head = &head[..head.len() - last.len_utf8()];
        let next = match last {
            char::MAX => continue,
            // Surrogates are no characters.
            '\u{d7ff}' => '\u{e000}',
            c => char::from_u32(u32::from(c) + 1)?,
        };
        let mut out = head.to_owned();
        out.push(next);
        return Some(out);
    }
    None
}

/// A text that is no continuation token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadToken;

const TOKEN_VERSION: u8 = 1;

/// ListObjectsV2's opaque token for going on after `name`.
pub fn token(name: &str) -> String {
    let mut bytes = vec![TOKEN_VERSION];
    bytes.extend_from_slice(name.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The name inside a token.
pub fn parse_token(token: &str) -> Result<String, BadToken> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| BadToken)?;
    match bytes.split_first() {
        Some((&TOKEN_VERSION, name)) => String::from_utf8(name.to_vec()).map_err(|_| BadToken),
        Some(_) | None => Err(BadToken),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    struct Keys<'a> {
        keys: &'a BTreeSet<ObjectKey>,
        from: Bound<ObjectKey>,
        reads: usize,
    }

    impl<'a> Keys<'a> {
        fn new(keys: &'a BTreeSet<ObjectKey>) -> Self {
            Self { keys, from: Bound::Unbounded, reads: 0 }
        }
    }

    impl Cursor for Keys<'_> {
        type Item = ();
        type Error = Infallible;

        fn seek(&mut self, from: Bound<&ObjectKey>) {
            self.from = from.cloned();
        }

        fn next(&mut self) -> Result<Option<(ObjectKey, ())>, Infallible> {
            self.reads += 1;
            let key = self.keys.range((self.from.clone(), Bound::Unbounded)).next().cloned();
            if let Some(key) = &key {
                self.from = Bound::Excluded(key.clone());
            }
            Ok(key.map(|key| (key, ())))
        }
    }

    /// The obvious way: all names in order, then cut.
    fn model(query: &Query, keys: &BTreeSet<ObjectKey>) -> (Vec<String>, bool) {
        let mut names = Vec::new();
        for key in keys {
            let Some(rest) = key.as_str().strip_prefix(&query.prefix) else { continue };
            let after = query.after.as_deref();
            if after.is_some_and(|after| key.as_str() <= after) {
                continue;
            }
            let delimiter = query.delimiter.as_deref().filter(|d| !d.is_empty());
            let name = match delimiter.and_then(|d| rest.find(d).map(|at| at + d.len())) {
                Some(end) => format!("{}{}", query.prefix, &rest[..end]),
                None => key.to_string(),
            };
            if after == Some(&name) || names.last() == Some(&name) {
                continue;
            }
            names.push(name);
        }
        let truncated = query.max > 0 && names.len() > query.max;
        names.truncate(query.max);
        (names, truncated)
    }

    fn names<T>(page: &Page<T>) -> Vec<String> {
        page.entries.iter().map(|e| e.name().to_owned()).collect()
    }

    fn text() -> impl Strategy<Value = String> {
        let letters = ["a", "b", "/", "//", "é", "\u{d7ff}", "\u{10ffff}", "z"];
        prop::collection::vec(prop::sample::select(letters.to_vec()), 0..5).prop_map(|v| v.concat())
    }

    fn key_set() -> impl Strategy<Value = BTreeSet<ObjectKey>> {
        prop::collection::btree_set(
            text().prop_filter_map("empty", |t| ObjectKey::parse(&t).ok()),
            0..40,
        )
    }

    proptest! {
        #[test]
        fn a_page_equals_the_naive_model(
            keys in key_set(),
            prefix in text(),
            delimiter in prop::option::of(text()),
            after in prop::option::of(text()),
            max in 0usize..8,
        ) {
            let query = Query { prefix, delimiter, after, max };
            let page = page(&query, &mut Keys::new(&keys)).unwrap();
            prop_assert_eq!((names(&page), page.truncated), model(&query, &keys));
        }

        #[test]
        fn pages_put_together_are_the_whole_list(
            keys in key_set(),
            prefix in text(),
            delimiter in prop::option::of(text()),
            max in 1usize..5,
        ) {
            let whole = Query { prefix, delimiter, after: None, max: 1000 };
            let (expected, _) = model(&whole, &keys);
            let mut query = Query { max, ..whole };
            let mut seen = Vec::new();
            loop {
                let page = page(&query, &mut Keys::new(&keys)).unwrap();
                seen.extend(names(&page));
                match page.next() {
                    None => break,
                    Some(next) => query.after = Some(next.to_owned()),
                }
            }
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn the_successor_is_above_every_text_with_the_prefix(prefix in text(), rest in text()) {
            match successor(&prefix) {
                Some(next) => {
                    let with_prefix = format!("{prefix}{rest}");
                    prop_assert!(with_prefix < next && !next.starts_with(&prefix));
                }
                None => prop_assert!(prefix.chars().all(|c| c == char::MAX)),
            }
        }

        #[test]
        fn tokens_round_trip(name in ".*") {
            prop_assert_eq!(parse_token(&token(&name)), Ok(name));
        }
    }

    #[test]
    fn a_common_prefix_costs_one_seek() {
        let keys: BTreeSet<ObjectKey> = (0..1000)
            .map(|i| ObjectKey::parse(&format!("a/{i}")).unwrap())
            .chain([ObjectKey::parse("b").unwrap()])
            .collect();
        let query = Query { delimiter: Some("/".into()), max: 10, ..Query::default() };
        let mut cursor = Keys::new(&keys);
        assert_eq!(names(&page(&query, &mut cursor).unwrap()), ["a/", "b"]);
        assert!(cursor.reads <= 3, "{} reads", cursor.reads);
    }

    #[test]
    fn names_longer_than_any_key_are_taken() {
        let keys: BTreeSet<ObjectKey> =
            ["a".repeat(1024), "b".into()].iter().map(|k| ObjectKey::parse(k).unwrap()).collect();
        let long = "a".repeat(2000);
        let query = Query { after: Some(long.clone()), max: 9, ..Query::default() };
        assert_eq!(names(&page(&query, &mut Keys::new(&keys)).unwrap()), ["b"]);
        let query = Query { prefix: long, max: 9, ..Query::default() };
        assert!(page(&query, &mut Keys::new(&keys)).unwrap().entries.is_empty());
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for bad in ["", "!", "AA", "/////", &URL_SAFE_NO_PAD.encode([1, 0xff])] {
            assert_eq!(parse_token(bad), Err(BadToken), "{bad}");
        }
    }
}
