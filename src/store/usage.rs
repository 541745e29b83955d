//! How much is in each bucket: counted where rows change.
//!
//! Invariant: the entry of a bucket is the sum over its rows as they are in the same commit, because
//! both come of one change. So it is exact whatever was merged, in every region by itself, and
//! replay comes to the same sums. A bucket without an entry has nothing.

use crate::types::record::Record;
use crate::types::usage::Usage;

use super::error::Error;
use super::layer::Layer;
use super::schema::{self, Space};

impl Layer<'_> {
    /// Puts what a row's change adds to its bucket, and takes off what it no longer has.
    pub(super) fn derive_usage(
        &mut self,
        key: &[u8],
        old: Option<&Record>,
        new: Option<&Record>,
    ) -> Result<(), Error> {
        let (before, after) = (of(old), of(new));
        let Some(bucket) = schema::bucket_of_row(key).filter(|_| before != after) else {
            return Ok(());
        };
        let sum = self.get(Space::Usage, bucket, schema::decode::<Usage>)?.transpose()?;
        let rest = sum.unwrap_or_default().minus(before);
        let rest = rest.ok_or_else(|| Error::corrupt("a bucket has less than one of its rows"))?;
        let sum = rest.plus(after);
        let value = (sum != Usage::default()).then(|| schema::encode(&sum));
        self.top.put(Space::Usage, bucket.to_vec(), value);
        Ok(())
    }
}

fn of(record: Option<&Record>) -> Usage {
    match record {
        Some(Record::Row(row)) => Usage::of(row),
        Some(
            Record::Bucket(_)
            | Record::Name(_)
            | Record::AccessKey(_)
            | Record::Members(_)
            | Record::Upload(_)
            | Record::Part(_),
        )
        | None => Usage::default(),
    }
}
