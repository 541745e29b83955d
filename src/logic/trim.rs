//! Notes of erased versions in rows that have other versions: which of them may go.
//!
//! Invariant: what a row says of its versions, which null versions are over, and the stamp of its
//! last change stay as they are. That every region has applied the deletion is for the caller to
//! know; then no state is left in which an erased version could come back.

use crate::types::object::Row;
use crate::types::stamp::Stamp;

use super::merge::{canonical, rows};

/// The erased versions that a row need not speak of any more. `old` says it of a deletion.
pub fn spent(row: &Row, old: impl Fn(Stamp) -> bool) -> Vec<Stamp> {
    let last = row.made_stamp();
    let notes = row.erased.iter().filter(|(_, note)| note.at < last && old(note.at));
    notes.map(|(version, _)| *version).collect()
}

/// The row without these notes.
#[must_use]
pub fn without(row: Row, spent: &[Stamp]) -> Row {
    let cover = row.covered();
    let Row { versions, mut erased, .. } = row;
    erased.retain(|version, _| !spent.contains(version));
    canonical(Row { versions, erased, cover })
}

/// A row that comes from a peer, without the notes that went here before: those that are spent, not
/// known here, and about nothing that is here.
#[must_use]
pub fn incoming(local: &Row, row: Row, old: impl Fn(Stamp) -> bool) -> Row {
    let mut spent = spent(&row, old);
    spent.retain(|version| !local.erased.contains_key(version));
    if spent.is_empty() {
        return row;
    }
    let shorter = without(row.clone(), &spent);
    let same = rows(local, shorter.clone()).versions == rows(local, row.clone()).versions;
    if same { shorter } else { row }
}
