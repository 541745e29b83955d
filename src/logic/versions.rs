//! One page of a list of versions: keys in order, the versions of a key newest first.
//!
//! Invariant: the pages of a list, put together, are what one walk over all versions would give; a
//! common prefix is one entry, wherever its keys' versions end.

use std::ops::Bound;

use crate::types::name::ObjectKey;
use crate::types::object::{Row, Version};
use crate::types::stamp::Stamp;

use super::listing::{Cursor, Query, common_prefix, seek_start, skip};

/// One entry of a page.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "most entries of a page are versions")]
pub enum Entry {
    Version {
        key: ObjectKey,
        version: Version,
        /// The newest of its key.
        latest: bool,
    },
    /// Every key that begins with this, up to and with the delimiter.
    Prefix(String),
}

/// Where a page goes on: after this version of this key, or after the whole key or prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    pub key: String,
    pub version: Option<Stamp>,
}

/// A page.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// `None` on the last page.
    pub next: Option<Next>,
}

/// Reads one page. `query.after` is the key marker; with `within` the versions of that very key
/// that are older than the stamp come first.
pub fn page<C: Cursor<Item = Row>>(
    query: &Query,
    within: Option<Stamp>,
    cursor: &mut C,
) -> Result<Page, C::Error> {
    let mut page = Page { entries: Vec::new(), next: None };
    if query.max == 0 || !start(query, within, cursor) {
        return Ok(page);
    }
    let after = query.after.as_deref();
    while let Some((key, row)) = cursor.next()? {
        if !key.as_str().starts_with(&query.prefix) {
            break;
        }
        let resumed = within.filter(|_| after == Some(key.as_str()));
        if resumed.is_none() && after.is_some_and(|after| key.as_str() <= after) {
            continue;
        }
        if !row.visible().any(|version| is_older(version, resumed)) {
            continue;
        }
        if let Some(common) = common_prefix(query, key.as_str()).map(str::to_owned) {
            if after != Some(common.as_str()) {
                if page.entries.len() == query.max {
                    page.next = last(&page.entries);
                    break;
                }
                page.entries.push(Entry::Prefix(common.clone()));
            }
            if !skip(cursor, &common) {
                break;
            }
            continue;
        }
        if !versions(&mut page, query.max, &key, &row, resumed) {
            break;
        }
    }
    Ok(page)
}

/// Adds a key's versions; false when the page was full before the last one.
fn versions(
    page: &mut Page,
    max: usize,
    key: &ObjectKey,
    row: &Row,
    older_than: Option<Stamp>,
) -> bool {
    let newest = row.visible().next().map(|v| v.stamp);
    for version in row.visible().filter(|version| is_older(version, older_than)) {
        if page.entries.len() == max {
            page.next = last(&page.entries);
            return false;
        }
        let latest = Some(version.stamp) == newest;
        let (key, version) = (key.clone(), version.clone());
        page.entries.push(Entry::Version { key, version, latest });
    }
    true
}

fn is_older(version: &Version, than: Option<Stamp>) -> bool {
    than.is_none_or(|stamp| version.stamp < stamp)
}

fn last(entries: &[Entry]) -> Option<Next> {
    entries.last().map(|entry| match entry {
        Entry::Version { key, version, .. } => {
            Next { key: key.as_str().to_owned(), version: Some(version.stamp) }
        }
        Entry::Prefix(prefix) => Next { key: prefix.clone(), version: None },
    })
}

fn start<C: Cursor<Item = Row>>(query: &Query, within: Option<Stamp>, cursor: &mut C) -> bool {
    let key = query.after.as_deref().filter(|after| after.starts_with(&query.prefix));
    match (within, key.map(ObjectKey::parse)) {
        (Some(_), Some(Ok(key))) => {
            cursor.seek(Bound::Included(&key));
            true
        }
        (Some(_) | None, Some(_) | None) => seek_start(query, cursor),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::types::object::{Content, Marks, Placement};
    use crate::types::stamp::Hlc;

    struct Keys(BTreeMap<ObjectKey, Row>, VecDeque<(ObjectKey, Row)>);

    impl Cursor for Keys {
        type Item = Row;
        type Error = Infallible;
        fn seek(&mut self, from: Bound<&ObjectKey>) {
            let rest = self.0.range((from.cloned(), Bound::Unbounded));
            self.1 = rest.map(|(k, r)| (k.clone(), r.clone())).collect();
        }
        fn next(&mut self) -> Result<Option<(ObjectKey, Row)>, Infallible> {
            Ok(self.1.pop_front())
        }
    }

    fn version(n: u64, null: bool, tombstone: bool) -> Version {
        Version {
            stamp: Stamp { hlc: Hlc(n), ..Stamp::ZERO },
            replaces: Stamp::ZERO,
            null: null || tombstone,
            content: if tombstone { Content::Tombstone } else { Content::Marker },
            marks: Marks::default(),
            placement: Placement::default(),
        }
    }

    /// Keys with versions: number, whether it is null, whether it is gone.
    fn rows(drawn: BTreeMap<String, BTreeMap<u64, (bool, bool)>>) -> BTreeMap<ObjectKey, Row> {
        let row = |versions: BTreeMap<u64, (bool, bool)>| {
            let newest_first = versions.into_iter().rev();
            let versions = newest_first.map(|(n, (null, gone))| version(n, null, gone)).collect();
            Row { versions, ..Row::default() }
        };
        drawn.into_iter().map(|(key, v)| (ObjectKey::parse(&key).unwrap(), row(v))).collect()
    }

    /// What the entries of a whole list are.
    fn naive(rows: &BTreeMap<ObjectKey, Row>, query: &Query) -> Vec<(String, Option<u64>, bool)> {
        let mut out: Vec<(String, Option<u64>, bool)> = Vec::new();
        for (key, row) in rows.iter().filter(|(k, _)| k.as_str().starts_with(&query.prefix)) {
            let seen: Vec<&Version> = row.visible().collect();
            if seen.is_empty() {
                continue;
            }
            if let Some(common) = common_prefix(query, key.as_str()) {
                if out.last().is_none_or(|(last, ..)| last != common) {
                    out.push((common.to_owned(), None, false));
                }
                continue;
            }
            for (i, v) in seen.into_iter().enumerate() {
                out.push((key.as_str().to_owned(), Some(v.stamp.hlc.0), i == 0));
            }
        }
        out
    }

    /// A whole list by the words of S3's reference: what a key marker and a version marker leave of
    /// all versions, then rolled up, then cut.
    fn by_the_book(
        rows: &BTreeMap<ObjectKey, Row>,
        query: &Query,
        within: Option<u64>,
    ) -> Vec<(String, Option<u64>)> {
        let after = query.after.as_deref();
        let mut names: Vec<(String, Option<u64>)> = Vec::new();
        for (key, row) in rows {
            let Some(rest) = key.as_str().strip_prefix(&*query.prefix) else { continue };
            let delimiter = query.delimiter.as_deref().filter(|d| !d.is_empty());
            let end = delimiter.and_then(|d| rest.find(d).map(|at| at + d.len()));
            for version in row.visible() {
                let n = version.stamp.hlc.0;
                let listed = match after {
                    None => true,
                    Some(after) if after == key.as_str() => within.is_some_and(|within| n < within),
                    Some(after) => key.as_str() > after,
                };
                let name = match end {
                    Some(end) => (format!("{}{}", query.prefix, &rest[..end]), None),
                    None => (key.to_string(), Some(n)),
                };
                let rolled = end.is_some() && after == Some(name.0.as_str());
                if listed && !rolled && names.last() != Some(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    #[test]
    fn a_prefix_of_which_no_older_version_is_left_is_not_listed() {
        let row = BTreeMap::from([(8, (false, false))]);
        let mut cursor = Keys(rows(BTreeMap::from([("b//".to_owned(), row)])), VecDeque::new());
        let (delimiter, after) = (Some("/".to_owned()), Some("b//".to_owned()));
        let query = Query { prefix: String::new(), delimiter, after, max: 1 };
        for (within, listed) in [(1, 0), (9, 1)] {
            let within = Stamp { hlc: Hlc(within), ..Stamp::ZERO };
            let Ok(page) = page(&query, Some(within), &mut cursor);
            assert_eq!(page.entries.len(), listed);
        }
    }

    proptest! {
        #[test]
        fn a_page_after_any_marker_is_the_one_by_the_book(
            drawn in prop::collection::btree_map("[ab/]{1,4}",
                prop::collection::btree_map(1..9_u64, (any::<bool>(), any::<bool>()), 1..5), 0..12),
            prefix in "[ab/]{0,2}",
            delimiter in prop::option::of("[/b]{0,2}"),
            after in prop::option::of("[ab/]{1,4}"),
            within in prop::option::of(1..9_u64),
            max in 0..6_usize,
        ) {
            let rows = rows(drawn);
            let within = within.filter(|_| after.is_some());
            let query = Query { prefix, delimiter, after, max };
            let mut expected = by_the_book(&rows, &query, within);
            let more = max > 0 && expected.len() > max;
            expected.truncate(max);
            let stamp = |n| Stamp { hlc: Hlc(n), ..Stamp::ZERO };
            let mut cursor = Keys(rows, VecDeque::new());
            let Ok(page) = page(&query, within.map(stamp), &mut cursor);
            let got: Vec<_> = page.entries.into_iter().map(|entry| match entry {
                Entry::Version { key, version, .. } => (key.to_string(), Some(version.stamp.hlc.0)),
                Entry::Prefix(prefix) => (prefix, None),
            }).collect();
            prop_assert_eq!((got, page.next.is_some()), (expected, more));
        }

        #[test]
        fn pages_together_are_the_whole_list(
            drawn in prop::collection::btree_map("[ab/]{1,4}",
                prop::collection::btree_map(1..30_u64, (any::<bool>(), any::<bool>()), 1..5), 0..12),
            prefix in "[ab/]{0,2}",
            delimiter in prop::option::of("[/b]"),
            max in 1..5_usize,
        ) {
            let rows = rows(drawn);
            let mut query = Query { prefix, delimiter, after: None, max };
            let expected = naive(&rows, &query);
            let (mut got, mut within) = (Vec::new(), None);
            loop {
                let mut cursor = Keys(rows.clone(), VecDeque::new());
                let Ok(page) = page(&query, within, &mut cursor);
                prop_assert!(page.entries.len() <= max);
                got.extend(page.entries.into_iter().map(|entry| match entry {
                    Entry::Version { key, version, latest } =>
                        (key.as_str().to_owned(), Some(version.stamp.hlc.0), latest),
                    Entry::Prefix(prefix) => (prefix, None, false),
                }));
                let Some(next) = page.next else { break };
                query.after = Some(next.key);
                within = next.version;
            }
            prop_assert_eq!(got, expected);
        }
    }
}
