//! Registers as they lie on a voter's disk: a cell by register, and a note for each that waits for
//! its outcome.
//!
//! Invariant: a cell is changed together with what it says of others (its note, the blobs that it
//! holds, the row that it is judged with) in one write of the store. Of a key whose row knows what
//! was accepted only ballot, stamp and operations are kept.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::logic::register::acceptor::Cell;
use crate::logic::register::{Accepted, Ballot, RowValue, Value, row_value};
use crate::net::registers::KeyRange;
use crate::store::{self, Snapshot, Table, Tx};
use crate::types::bucket::NameState;
use crate::types::id::{BlobId, BucketId};
use crate::types::name::ObjectKey;
use crate::types::object::Row;
use crate::types::record::{Record, RecordId};
use crate::types::stamp::Stamp;

use super::batch::blobs_of;
use super::members::Members;

/// Registers that are looked at together.
pub(super) const PAGE: usize = 64;

/// Prefixes of [`Table::Register`].
pub(super) const CELL: &[u8] = b"cell/";
pub(super) const OPEN: &[u8] = b"open/";

/// A note that a register's accepted value is not known to be chosen, or that its name is being
/// deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) id: RecordId,
    pub(super) since_ms: u64,
}

/// Lets registers of a bucket go, up to a page of them; how many.
pub(super) fn drop_some(tx: &mut Tx<'_>, bucket: BucketId) -> Result<usize, store::Error> {
    let prefix = |kind| [kind, store::row_prefix(bucket).as_slice()].concat();
    let cells: Vec<(Vec<u8>, Cell<Record>)> =
        tx.scan(Table::Register, &prefix(CELL), None, PAGE)?;
    let notes: Vec<(Vec<u8>, Open)> = tx.scan(Table::Register, &prefix(OPEN), None, PAGE)?;
    let keys = cells.iter().map(|(key, _)| key).chain(notes.iter().map(|(key, _)| key));
    for key in keys {
        tx.delete(Table::Register, key)?;
    }
    Ok(cells.len() + notes.len())
}

/// Whether anything is kept of a bucket's registers.
pub(super) fn has_some(view: &Snapshot, bucket: BucketId) -> Result<bool, store::Error> {
    let prefix = [CELL, store::row_prefix(bucket).as_slice()].concat();
    let first: Vec<(Vec<u8>, Cell<Record>)> = view.scan(Table::Register, &prefix, None, 1)?;
    Ok(!first.is_empty())
}

pub(super) fn cell_key(id: &RecordId) -> Vec<u8> {
    [CELL, store::record_key(id).as_slice()].concat()
}

pub(super) fn open_key(id: &RecordId) -> Vec<u8> {
    [OPEN, store::record_key(id).as_slice()].concat()
}

pub(super) fn load_cell(tx: &Tx<'_>, id: &RecordId) -> Result<Cell<Record>, store::Error> {
    Ok(tx.get(Table::Register, &cell_key(id))?.unwrap_or_default())
}

/// Keeps a promise, and whatever blobs the cell held.
pub(super) fn save_cell(
    tx: &mut Tx<'_>,
    id: &RecordId,
    cell: &Cell<Record>,
) -> Result<(), store::Error> {
    tx.put(Table::Register, &cell_key(id), cell)
}

/// The blobs of the accepted value that are here: kept until its outcome is known.
pub(super) fn held_blobs(tx: &Tx<'_>, cell: &Cell<Record>) -> Result<Vec<BlobId>, store::Error> {
    let mut held = Vec::new();
    let value = cell.accepted.as_ref().map(|accepted| &accepted.value.state);
    for blob in value.into_iter().flat_map(blobs_of) {
        if tx.holds(&blob.id)? {
            held.push(blob.id);
        }
    }
    Ok(held)
}

/// Ends an open register whose value the record here knows; of a key's only ballot, stamp and
/// operations are kept, because the row says the rest. False where it stays open.
pub(super) fn reduce(tx: &mut Tx<'_>, id: &RecordId) -> Result<bool, store::Error> {
    let mut cell = load_cell(tx, id)?;
    if let Some(accepted) = &mut cell.accepted {
        let record = tx.record(id)?;
        let known = record.as_ref().map_or(Stamp::ZERO, |record| row_value(record).stamp);
        let deleting = match &accepted.value.state {
            Record::Name(name) => matches!(name.state, NameState::Deleting(_)),
            Record::AccessKey(_)
            | Record::Members(_)
            | Record::Bucket(_)
            | Record::Part(_)
            | Record::Row(_)
            | Record::Upload(_) => false,
        };
        if known < accepted.value.stamp || deleting {
            return Ok(false);
        }
        if let Record::Row(row) = &mut accepted.value.state {
            *row = Row::default();
            tx.put_holding(Table::Register, &cell_key(id), &cell, &[])?;
        }
    }
    tx.delete(Table::Register, &open_key(id))?;
    Ok(true)
}

/// Lets the row of a deletion go; its stamp stays in the register, so that nothing that was judged
/// before it is accepted. False where the register has something newer: then the row stays.
pub(super) fn forget_row(
    tx: &mut Tx<'_>,
    id: &RecordId,
    stamp: Stamp,
) -> Result<bool, store::Error> {
    let Some(mut cell) = tx.get::<Cell<Record>>(Table::Register, &cell_key(id))? else {
        return Ok(true);
    };
    let ballot = match &cell.accepted {
        Some(accepted) if accepted.value.stamp > stamp => return Ok(false),
        Some(accepted) => accepted.ballot,
        None => Ballot::ZERO,
    };
    let state = Record::Row(Row::default());
    cell.accepted = Some(Accepted { ballot, value: Value { stamp, ops: Vec::new(), state } });
    tx.put_holding(Table::Register, &cell_key(id), &cell, &[])?;
    tx.delete(Table::Register, &open_key(id))?;
    Ok(true)
}

/// What is known here to be chosen for a register. Of the members that is what this node has taken,
/// where the log has not brought it yet.
pub(super) fn row_of(tx: &Tx<'_>, id: &RecordId) -> Result<Option<RowValue<Record>>, store::Error> {
    let seat = if *id == RecordId::Members { Members::seat(tx)? } else { None };
    Ok(later(tx.record(id)?, seat).as_ref().map(row_value))
}

/// The same outside of a change.
pub(super) fn row_seen(
    view: &Snapshot,
    id: &RecordId,
) -> Result<Option<RowValue<Record>>, store::Error> {
    let seat = if *id == RecordId::Members { Members::stored(view)? } else { None };
    Ok(later(view.record(id)?, seat).as_ref().map(row_value))
}

/// The first members stand in no register: nobody decided them.
fn later(record: Option<Record>, seat: Option<Members>) -> Option<Record> {
    let logged = match &record {
        Some(Record::Members(members)) => members.version,
        Some(_) | None => 1,
    };
    match seat.filter(|seat| seat.version > logged) {
        Some(seat) => Some(Record::Members(Box::new(seat))),
        None => record,
    }
}

/// The members' register begins anew with each epoch, from the members that brought it: what a voter
/// accepted of it in an earlier one and was not chosen must not be found again by voters who are
/// others than those that decided.
pub(super) fn begin_members(tx: &mut Tx<'_>) -> Result<(), store::Error> {
    tx.delete(Table::Register, &cell_key(&RecordId::Members))?;
    tx.delete(Table::Register, &open_key(&RecordId::Members))
}

/// Lets all registers go: this region joins the voters, and whatever it kept from an earlier time
/// counts no more.
pub(super) fn discard_all(tx: &mut Tx<'_>) -> Result<(), store::Error> {
    loop {
        let page: Vec<(Vec<u8>, Cell<Record>)> = tx.scan(Table::Register, CELL, None, PAGE)?;
        if page.is_empty() {
            break;
        }
        for (key, _) in page {
            tx.delete(Table::Register, &key)?;
        }
    }
    loop {
        let page: Vec<(Vec<u8>, Open)> = tx.scan(Table::Register, OPEN, None, PAGE)?;
        if page.is_empty() {
            return Ok(());
        }
        for (key, _) in page {
            tx.delete(Table::Register, &key)?;
        }
    }
}

/// The keys in range of which a value was accepted that no row here shows, with its stamp; and
/// whether there are more than may be told.
pub(super) fn open_in(
    snapshot: &Snapshot,
    range: &KeyRange,
) -> Result<(Vec<(ObjectKey, Stamp)>, bool), store::Error> {
    let bucket = [OPEN, store::row_prefix(range.bucket).as_slice()].concat();
    let prefix = [&bucket, range.prefix.as_bytes()].concat();
    let after = range.after.as_ref().map(|after| [&bucket, after.as_bytes()].concat());
    let mut after = after.filter(|after| *after > prefix);
    let mut open = Vec::new();
    loop {
        let page: Vec<(Vec<u8>, Open)> =
            snapshot.scan(Table::Register, &prefix, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok((open, false)) };
        after = Some(last.clone());
        for (_, note) in page {
            let RecordId::Row(_, key) = &note.id else { continue };
            if !range.reaches(key.as_str()) {
                return Ok((open, false));
            }
            let cell: Option<Cell<Record>> = snapshot.get(Table::Register, &cell_key(&note.id))?;
            let Some(accepted) = cell.and_then(|cell| cell.accepted) else { continue };
            let row = snapshot.record(&note.id)?;
            let known = row.as_ref().map_or(Stamp::ZERO, |row| row_value(row).stamp);
            if accepted.value.stamp > known {
                open.push((key.clone(), accepted.value.stamp));
            }
            if open.len() > limits::LIST_OPEN_MAX {
                return Ok((open, true));
            }
        }
    }
}

/// Whether a register of this bucket holds something that no row here shows yet.
pub(super) fn has_open(tx: &Tx<'_>, bucket: BucketId) -> Result<bool, store::Error> {
    let prefix = [OPEN, store::row_prefix(bucket).as_slice()].concat();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page: Vec<(Vec<u8>, Open)> =
            tx.scan(Table::Register, &prefix, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(false) };
        after = Some(last.clone());
        for (_, note) in &page {
            let cell = load_cell(tx, &note.id)?;
            let row = tx.record(&note.id)?;
            let known = row.as_ref().map_or(Stamp::ZERO, |row| row_value(row).stamp);
            if cell.accepted.is_some_and(|accepted| accepted.value.stamp > known) {
                return Ok(true);
            }
        }
    }
}
