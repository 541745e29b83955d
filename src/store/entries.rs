//! The entries of the index, looked through as they lie: what does not fit its checksum, or is not
//! where a search looks for it, is found, and taken out.
//!
//! A flipped bit of a key puts an entry out of order. A search then misses it, and may miss its
//! neighbours too; what is written beside it may be put in a wrong place. So an entry is whole when
//! its checksum fits and a search for its key comes to it.
//!
//! Invariant: an entry is taken out only in the writer, and put in again in the same commit where
//! what it was is known.

use std::ops::Bound;
use std::sync::Arc;

use super::Store;
use super::error::Error;
use super::index::{Spot, View};
use super::rows::Entry;
use super::schema::Space;
use super::seal;
use super::shared::Shared;
use super::tx::Tx;

/// Tables of which each entry is made again of what else is known (`again`, `found`). The records
/// are mended from other regions.
pub(crate) const MENDED: [Space; 10] = [
    Space::Refs,
    Space::Kept,
    Space::Leaves,
    Space::Holding,
    Space::Pending,
    Space::Log,
    Space::Garbage,
    Space::Damaged,
    Space::Blobs,
    Space::Manifests,
];

/// Entries that one step looks at, about.
const STEP_ROWS: u64 = 4096;

/// A page of the index has fewer entries: it has 4096 bytes, or one larger entry.
const PAGE_ROWS_MAX: usize = 256;

/// How far the entries were checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntriesMark {
    /// Place of the table in [`Space::ALL`].
    table: usize,
    after: Option<Vec<u8>>,
}

/// What one step over the entries came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntriesChecked {
    /// Where to go on; `None` at the end.
    pub next: Option<EntriesMark>,
    /// Entries that were looked at.
    pub count: u64,
    /// Of these, those that are not whole.
    pub found: u64,
}

impl Store {
    /// Looks at the next entries of every table; copies are read with what they are copies of. What
    /// decayed is noted, and mended by `mend_entries`. Records are compared with their digests as
    /// well (`check_records`): here is found what is there and should not be, or not where it is.
    pub async fn check_entries(&self, from: EntriesMark) -> Result<EntriesChecked, Error> {
        let shared = Arc::clone(&self.shared);
        self.shared.env.blocking(move || shared.check_entries(from)).await
    }
}

/// Keys passed on a walk, to come back to a page before that of an entry.
#[derive(Default)]
pub(crate) struct Passed {
    rows: usize,
    last: Option<Vec<u8>>,
    before: Option<Vec<u8>>,
}

impl Passed {
    /// An entry that a search finds.
    pub(crate) fn note(&mut self, key: &[u8]) {
        self.rows += 1;
        if self.rows.is_multiple_of(PAGE_ROWS_MAX) {
            self.before = self.last.replace(key.to_vec());
        }
    }

    /// Where the next entry lies.
    pub(crate) fn spot(&self, row: &Entry) -> Spot {
        let (key, stored) = (row.key().to_vec(), row.stored().to_vec());
        Spot { from: self.before.clone(), key, stored }
    }
}

/// An entry that is not whole.
#[derive(Clone, Debug)]
pub(crate) struct Decayed {
    pub spot: Spot,
    /// Key and value as they were, where that is known.
    pub was: Option<(Vec<u8>, Vec<u8>)>,
}

impl View {
    /// Its checksum fits, and a search for its key comes to it.
    fn is_whole(&self, space: Space, row: &Entry) -> Result<bool, Error> {
        let there = self.get_raw(space, row.key(), |value| value == row.value())?;
        Ok(row.is_sound() && there == Some(true))
    }

    /// Nothing begins with this prefix, and nothing beside its place decayed: an entry of which the
    /// key did would still lie there. False where that is in doubt, which is noted.
    pub(crate) fn has_none(&self, space: Space, prefix: &[u8]) -> Result<bool, Error> {
        let after = self.range_raw(space, Bound::Included(prefix), Bound::Unbounded)?;
        let after = after.and_then(|mut rows| rows.next()).transpose()?;
        let before = self.before(space, prefix)?;
        if after.as_ref().is_some_and(|row| row.is_sound() && row.key().starts_with(prefix)) {
            return Ok(false);
        }
        let fits = after.is_none_or(|row| row.is_sound() && row.key() > prefix)
            && before.is_none_or(|row| row.is_sound() && row.key() < prefix);
        if !fits {
            self.doubt(space);
        }
        Ok(fits)
    }
}

impl Shared {
    fn check_entries(&self, from: EntriesMark) -> Result<EntriesChecked, Error> {
        let mut checked = EntriesChecked::default();
        let Some(space) = Space::ALL.get(from.table).copied() else { return Ok(checked) };
        let next = EntriesMark { table: from.table + 1, after: None };
        checked.next = Some(next).filter(|next| next.table < Space::ALL.len());
        if space == Space::Twin {
            return Ok(checked);
        }
        let view = self.index.view()?;
        let after = from.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mended = MENDED.contains(&space);
        let known = view.is_doubted(space);
        let rows = match mended {
            true => view.range_raw(space, after, Bound::Unbounded)?,
            false => view.range(space, after, Bound::Unbounded)?,
        };
        for row in rows.into_iter().flatten() {
            checked.count += 1;
            let whole = match row {
                Ok(row) if !mended || view.is_whole(space, &row)? => Some(row),
                Ok(_) | Err(Error::Corrupt(_)) => None,
                Err(error) => return Err(error),
            };
            match whole {
                // From one that is not whole nobody finds the way on.
                Some(row) if checked.count >= STEP_ROWS => {
                    let after = Some(row.key().to_vec());
                    checked.next = Some(EntriesMark { table: from.table, after });
                    break;
                }
                Some(_) => {}
                None => checked.found += 1,
            }
        }
        if mended && checked.found > 0 {
            let found = checked.found;
            tracing::error!(table = space.name(), found, "entries of the index have decayed");
            self.index.decay().tables().insert(space);
        } else if !known && view.is_doubted(space) {
            // Read from its copy.
            checked.found = checked.found.max(1);
        }
        Ok(checked)
    }

    /// Entries of a table that are not whole, at most `max`. Walks over all.
    pub(crate) fn decayed(&self, space: Space, max: usize) -> Result<Vec<Decayed>, Error> {
        let view = self.index.view()?;
        let (mut out, mut passed) = (Vec::new(), Passed::default());
        let rows = view.range_raw(space, Bound::Unbounded, Bound::Unbounded)?;
        for row in rows.into_iter().flatten() {
            let row = row?;
            if view.is_whole(space, &row)? {
                passed.note(row.key());
                continue;
            }
            let was = match row.is_sound() {
                true => Some((row.key().to_vec(), row.value().to_vec())),
                // What follows from records is derived again: one that went meanwhile must not
                // come back.
                false if matches!(space, Space::Refs | Space::Kept | Space::Leaves) => None,
                false => seal::corrected(space, row.key(), row.stored()),
            };
            out.push(Decayed { spot: passed.spot(&row), was });
            if out.len() >= max {
                break;
            }
        }
        Ok(out)
    }

    /// Takes entries out, and puts in again what is known of them. In the writer, which alone changes
    /// the index; no frame of the log is needed, because none took them out. How many were there, and
    /// how many came back.
    pub(crate) fn take_out(
        &self,
        tx: &mut Tx<'_>,
        space: Space,
        decayed: Vec<Decayed>,
    ) -> Result<(u64, u64), Error> {
        let (spots, was): (Vec<Spot>, Vec<_>) =
            decayed.into_iter().map(|one| (one.spot, one.was)).unzip();
        let taken = self.index.take_out(space, &spots)?;
        let (mut out, mut back) = (0, 0);
        for (_, was) in taken.into_iter().zip(was).filter(|(taken, _)| *taken) {
            out += 1;
            let Some((key, value)) = was else { continue };
            // What a search finds there is newer, or the same.
            match tx.layer.get(space, &key, |_| ()) {
                Ok(Some(())) => {}
                Ok(None) | Err(Error::Corrupt(_)) => {
                    tx.layer.top.put(space, key, Some(value));
                    back += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok((out, back))
    }
}
