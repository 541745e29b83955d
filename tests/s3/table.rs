//! The table of operations against S3's own list, and against the documentation.

#![allow(clippy::disallowed_methods, reason = "a test reads the repository")]

use std::collections::BTreeSet;

use godwit::s3::{op, ops};

/// Rewrites what is compared when this variable is set.
const UPDATE: &str = "GODWIT_UPDATE";

#[test]
fn every_operation_of_s3_is_a_row() {
    let golden = include_str!("../golden/operations.txt");
    let expected: BTreeSet<&str> =
        golden.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    // Extensions have names of our own, of several words.
    let rows = op::all().map(|op| op.name).filter(|name| !name.contains(' '));
    let rows: BTreeSet<&str> = rows.collect();
    let missing: Vec<_> = expected.difference(&rows).collect();
    let strange: Vec<_> = rows.difference(&expected).collect();
    assert!(missing.is_empty() && strange.is_empty(), "missing {missing:?}, strange {strange:?}");
}

#[test]
fn the_compatibility_page_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/s3-compatibility.md");
    let expected = ops::compatibility();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(path, &expected).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == expected, "docs/s3-compatibility.md is old; run with {UPDATE}=1");
}
