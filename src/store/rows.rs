//! Walks over a table of the index, entry by entry.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use redb::AccessGuard;

use super::decay::Decay;
use super::error::Error;
use super::guard::guarded;
use super::schema::Space;
use super::seal;
use super::twin::Both;

type Stored = AccessGuard<'static, &'static [u8]>;
type Range = redb::Range<'static, &'static [u8], &'static [u8]>;

/// A range of a table; it keeps its snapshot alive. An entry that decayed is an error, unless it
/// stands twice, and what follows it can be read all the same.
#[expect(clippy::large_enum_variant, reason = "lists have the large one, and make none else")]
pub(crate) enum Rows {
    Once(Once),
    Twice(Box<Both>),
}

impl Iterator for Rows {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Once(rows) => rows.next(),
            Self::Twice(rows) => rows.next(),
        }
    }
}

/// A range of a table that has its entries once.
pub(crate) struct Once {
    pub(super) rows: Range,
    /// Where a walk begins and ends, by entries that are sound: beside a key that decayed a search may
    /// begin elsewhere, and such a key may look as if it came later.
    pub(super) within: Within,
    pub(super) space: Space,
    pub(super) mixed: bool,
    /// Entries are given whether or not their checksums fit.
    pub(super) raw: bool,
    /// The key of the last entry.
    pub(super) last: Option<Vec<u8>>,
    /// A page on the way makes no sense: nothing comes after it.
    pub(super) has_failed: bool,
    pub(super) decay: Arc<Decay>,
}

/// An entry of a table.
pub(crate) struct Entry {
    key: Stored,
    value: Stored,
    /// Bytes before the key that say whose copy it is.
    prefix: usize,
    /// Length of the value without its checksum.
    len: usize,
    /// Its checksum fits, or it has none.
    sound: bool,
    /// It shall stand twice, and does not.
    alone: bool,
}

impl Entry {
    pub(super) fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.key.value().get(self.prefix..).unwrap_or_default()
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.value.value()[..self.len]
    }

    /// The value as it is stored, with its checksum.
    pub(crate) fn stored(&self) -> &[u8] {
        self.value.value()
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.sound
    }
}

impl Once {
    fn next(&mut self) -> Option<Result<Entry, Error>> {
        let entry = match self.advance(redb::Range::next, 0)? {
            Ok(entry) if !self.raw => entry,
            entry => return Some(entry),
        };
        if !entry.is_sound() {
            return Some(Err(self.decay.note(self.space, entry.key())));
        }
        // A page that is in two places of the table, because it was taken for free.
        if self.last.as_deref().is_some_and(|last| entry.key() <= last) {
            self.has_failed = true;
            return Some(Err(self.decay.note_page()));
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(entry.key());
        Some(Ok(entry))
    }

    /// What lies at one end, sound or not; `prefix` bytes of its key say whose copy it is.
    pub(super) fn advance(
        &mut self,
        end: impl Fn(&mut Range) -> Option<Result<(Stored, Stored), redb::StorageError>>,
        prefix: usize,
    ) -> Option<Result<Entry, Error>> {
        while !self.has_failed {
            let Self { rows, space, mixed, .. } = self;
            let entry = guarded(&self.decay, || {
                let row = end(rows).transpose().map_err(Error::index)?;
                Ok(row.map(|(key, value)| {
                    let open = seal::open(*space, key.value(), value.value(), *mixed);
                    let sealed = || value.value().len().saturating_sub(seal::BYTES);
                    let (sound, len) = (open.is_some(), open.map_or_else(sealed, <[u8]>::len));
                    Entry { key, value, prefix, len, sound, alone: false }
                }))
            });
            self.has_failed = entry.is_err();
            let place = |entry: &Entry| match entry.sound {
                true => self.within.place(entry.key.value()),
                false => Ordering::Equal,
            };
            match &entry {
                Ok(Some(entry)) if place(entry) == Ordering::Less && !self.raw => {}
                Ok(Some(entry)) if place(entry) == Ordering::Greater => return None,
                _ => return entry.transpose(),
            }
        }
        None
    }
}

/// A stretch of keys.
pub(super) struct Within(pub(super) Bound<Vec<u8>>, pub(super) Bound<Vec<u8>>);

impl Within {
    pub(super) fn of(from: Bound<&[u8]>, to: Bound<&[u8]>) -> Self {
        Self(from.map(<[u8]>::to_vec), to.map(<[u8]>::to_vec))
    }

    /// Whether a key is before, in, or after the stretch.
    pub(super) fn place(&self, key: &[u8]) -> Ordering {
        let Self(from, to) = self;
        let is_before = match from {
            Bound::Included(from) => key < from.as_slice(),
            Bound::Excluded(from) => key <= from.as_slice(),
            Bound::Unbounded => false,
        };
        let is_after = match to {
            Bound::Included(to) => key > to.as_slice(),
            Bound::Excluded(to) => key >= to.as_slice(),
            Bound::Unbounded => false,
        };
        match (is_before, is_after) {
            (true, _) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => Ordering::Equal,
        }
    }
}
