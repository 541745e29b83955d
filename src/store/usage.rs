//! How much is in each bucket: counted where rows change.
//!
//! Invariant: the entry of a bucket is the sum over its rows as they are in the same commit, because
//! both come of one change. So it is exact whatever was merged, in every region by itself, and
//! replay comes to the same sums. A bucket without an entry has nothing.

use std::ops::Bound;

use crate::types::id::BucketId;
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
        let sum = match self.get(Space::Usage, bucket, schema::decode::<Usage>) {
            Err(Error::Corrupt(_)) => self.counted(bucket)?,
            sum => sum?.transpose()?.unwrap_or_default(),
        };
        let rest = sum.minus(before);
        let rest = rest.ok_or_else(|| Error::corrupt("a bucket has less than one of its rows"))?;
        let sum = rest.plus(after);
        let value = (sum != Usage::default()).then(|| schema::encode(&sum));
        self.top.put(Space::Usage, bucket.to_vec(), value);
        Ok(())
    }

    /// What is in a bucket, counted as it was before this change: for an entry that decayed.
    fn counted(&self, bucket: &[u8]) -> Result<Usage, Error> {
        let prefix = schema::row_prefix(BucketId(bucket.try_into().map_err(|_| bad_key())?));
        let end = schema::prefix_end(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut sum, mut from) = (Usage::default(), prefix);
        loop {
            let rows = self.scan(Space::Records, Bound::Included(&from), to, PAGE)?;
            for (_, value) in &rows {
                sum = sum.plus(of(Some(&schema::decode(value)?)));
            }
            match rows.last() {
                Some((last, _)) if rows.len() == PAGE => from = [last.as_slice(), &[0]].concat(),
                Some(_) | None => return Ok(sum),
            }
        }
    }
}

/// Rows that one look at the index takes.
const PAGE: usize = 1000;

fn bad_key() -> Error {
    Error::corrupt("a stored bucket id")
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
