//! Replicated records as what registers hold, beside the records that plain writes advance.
//!
//! Invariant: what of a record an operation judges is in its [`RowValue`]; what is left out (older
//! versions, tags) moves no stamp there.

use super::{RowValue, State};
use crate::logic::merge::merge;
use crate::types::record::Record;
use crate::types::stamp::Stamp;

impl State for Record {
    fn together(value: (Stamp, &Self), row: (Stamp, &Self)) -> Self {
        merge(Some(value.1.clone()), row.1.clone()).record
    }
}

/// A record as the row beside its register.
pub fn row_value(record: &Record) -> RowValue<Record> {
    match record {
        Record::Row(row) => RowValue { stamp: row.made_stamp(), state: Record::Row(row.head()) },
        Record::Bucket(_)
        | Record::Name(_)
        | Record::AccessKey(_)
        | Record::Members(_)
        | Record::Upload(_)
        | Record::Part(_) => RowValue { stamp: record.stamp(), state: record.clone() },
    }
}
