//! Entries that stand twice: what is in the small tables of the index, and nowhere else in the world
//! (registers, cursors, members), is in one table more, under its table's number and its key.
//!
//! Invariant: both are changed in one commit ([`Index::apply`](super::index::Index::apply)), so that
//! a difference is decay. What decayed in one place is read from the other, at once and as it was;
//! a value that decayed in both is refused.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use super::Store;
use super::error::Error;
use super::index::{self, Decay, Entry, Index, Once, Table};
use super::layer;
use super::schema::Space;
use super::seal;
use super::tx::Tx;

/// Entries of one commit while an older index gets its copies.
const PAGE: usize = 20_000;

/// Whether an entry stands twice.
pub(super) fn applies(space: Space, key: &[u8]) -> bool {
    space.is_twinned() && seal::applies(space, key)
}

/// Where its copy is.
pub(super) fn key(space: Space, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(space.number());
    out.extend_from_slice(key);
    out
}

/// One of the two walks.
struct Side {
    /// `None`: there are none, or they cannot be read.
    rows: Option<Once>,
    has_failed: bool,
    /// The next entry that is sound.
    next: Option<Entry>,
    /// Since both walks had the same: entries that decayed here, and that are here alone.
    decayed: usize,
    alone: usize,
}

/// A walk, as the index could begin it.
type Walk = Result<Option<Once>, Error>;

impl Side {
    fn of(walk: Walk) -> Result<Self, Error> {
        let (rows, has_failed) = match walk {
            Ok(rows) => (rows, false),
            Err(Error::Corrupt(_)) => (None, true),
            Err(error) => return Err(error),
        };
        Ok(Self { rows, has_failed, next: None, decayed: 0, alone: 0 })
    }

    /// The next entry, sound or not. Where it cannot be read the other side has what comes.
    fn advance(&mut self, prefix: usize) -> Result<Option<Entry>, Error> {
        match self.rows.as_mut().and_then(|rows| rows.advance(redb::Range::next, prefix)) {
            Some(Err(Error::Corrupt(_))) => {
                (self.rows, self.has_failed) = (None, true);
                Ok(None)
            }
            entry => entry.transpose(),
        }
    }
}

/// A stretch of a table and its copies, walked side by side. Each walk begins and ends at an entry
/// outside of the stretch that both have: what decayed at an end is told from what is not of it.
pub(crate) struct Both {
    space: Space,
    within: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    here: Side,
    there: Side,
    decay: Arc<Decay>,
    has_ended: bool,
    has_failed: bool,
}

impl Both {
    pub(super) fn new(
        space: Space,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        (here, there): (Walk, Walk),
        decay: Arc<Decay>,
    ) -> Result<Self, Error> {
        let (here, there) = (Side::of(here)?, Side::of(there)?);
        let within = (from.map(<[u8]>::to_vec), to.map(<[u8]>::to_vec));
        Ok(Self { space, within, here, there, decay, has_ended: false, has_failed: false })
    }

    /// Goes to the next sound entry of each side.
    fn fill(&mut self) -> Result<(), Error> {
        for (side, prefix) in [(&mut self.here, 0), (&mut self.there, 1)] {
            while side.next.is_none() {
                let Some(entry) = side.advance(prefix)? else { break };
                if entry.is_sound() {
                    side.next = Some(entry);
                } else {
                    self.decay.heal(self.space, entry.key());
                    side.decayed += 1;
                }
            }
        }
        if self.here.has_failed && self.there.has_failed && !self.has_failed {
            self.has_failed = true;
            return Err(self.decay.note_page());
        }
        Ok(())
    }

    /// Both walks are at the same entry, or at their ends: each that decayed on one side must have
    /// been on the other.
    fn meet(&mut self) -> Result<(), Error> {
        let lost = self.here.decayed > self.there.alone || self.there.decayed > self.here.alone;
        for side in [&mut self.here, &mut self.there] {
            (side.decayed, side.alone) = (0, 0);
        }
        if lost { Err(self.decay.note(self.space, b"one that decayed twice")) } else { Ok(()) }
    }

    /// Which side comes next; `Equal`: both, or none.
    fn order(&self) -> Ordering {
        match (&self.here.next, &self.there.next) {
            // What never stands twice is whole.
            (Some(here), _) if !applies(self.space, here.key()) => Ordering::Equal,
            (Some(here), Some(there)) => here.key().cmp(there.key()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
    }

    /// The next entry of either, whether or not it is of the stretch.
    fn step(&mut self) -> Result<Option<Entry>, Error> {
        self.fill()?;
        let side = match self.order() {
            Ordering::Equal => {
                self.meet()?;
                let here = self.here.next.take();
                if here.as_ref().is_some_and(|here| applies(self.space, here.key())) {
                    self.there.next = None;
                }
                let is_past = |here: &Entry| self.place(here.key()) == Ordering::Greater;
                self.has_ended = here.as_ref().is_none_or(is_past);
                return Ok(here);
            }
            Ordering::Less => &mut self.here,
            Ordering::Greater => &mut self.there,
        };
        side.alone += 1;
        let entry = side.next.take().map(Entry::alone);
        entry.iter().for_each(|entry| self.decay.heal(self.space, entry.key()));
        Ok(entry)
    }

    /// Whether a key is before, in, or after the stretch.
    fn place(&self, key: &[u8]) -> Ordering {
        let (from, to) = &self.within;
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

impl Iterator for Both {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.has_ended {
            match self.step() {
                Err(error) => return Some(Err(error)),
                Ok(Some(entry)) if self.place(entry.key()) == Ordering::Equal => {
                    return Some(Ok(entry));
                }
                Ok(_) => {}
            }
        }
        None
    }
}

/// What became of entries that decayed in one of their two places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TwinsMended {
    /// Written again from their copies.
    pub mended: u64,
    /// Tables with entries that decayed in both places: refused from now on.
    pub lost: u64,
}

impl Store {
    /// Writes again what decayed in one of its two places. Costs nothing where nothing was found.
    pub async fn mend_twins(&self) -> Result<TwinsMended, Error> {
        if !self.shared.index.decay().tables().iter().any(|space| space.is_twinned()) {
            return Ok(TwinsMended::default());
        }
        let shared = Arc::clone(&self.shared);
        // In the writer, which alone changes the index. What it writes is what is there.
        self.write(move |_: &mut Tx<'_>| shared.index.mend_twins()).await
    }
}

impl Index {
    fn mend_twins(&self) -> Result<TwinsMended, Error> {
        let decayed: Vec<Space> =
            self.decay().tables().iter().copied().filter(|space| space.is_twinned()).collect();
        let view = self.view()?;
        let (mut alone, mut mended) = (Vec::new(), TwinsMended::default());
        let (mut whole, mut lost) = (Vec::new(), Vec::new());
        for space in decayed {
            match entries_alone(&view, space) {
                Ok(found) => {
                    alone.extend(found.into_iter().map(|(key, value)| (space, key, value)));
                    whole.push(space);
                }
                Err(Error::Corrupt(_)) => lost.push(space),
                Err(error) => return Err(error),
            }
        }
        drop(view);
        mended.lost = lost.len() as u64;
        // What is left of an entry that is lost says that there was one: it stays.
        if !lost.is_empty() {
            let tables: Vec<&str> = lost.iter().map(|space| space.name()).collect();
            tracing::error!(?tables, "entries of the index decayed in both of their places");
        }
        if lost.is_empty() || !alone.is_empty() {
            self.put_again(&whole, &alone, lost.is_empty())?;
            mended.mended = alone.len() as u64;
        }
        let mut tables = self.decay().tables();
        whole.iter().for_each(|space| {
            tables.remove(space);
        });
        Ok(mended)
    }

    /// Takes out what decayed in these tables, and puts entries in both of their places.
    fn put_again(
        &self,
        spaces: &[Space],
        entries: &[(Space, Vec<u8>, Vec<u8>)],
        may_clear_all: bool,
    ) -> Result<(), Error> {
        self.change(|transaction| {
            for space in spaces {
                clear(&mut index::open(transaction, *space)?, *space)?;
            }
            let mut copies = index::open(transaction, Space::Twin)?;
            match may_clear_all {
                true => clear(&mut copies, Space::Twin)?,
                false => spaces.iter().try_for_each(|space| clear_copies(&mut copies, *space))?,
            }
            for (space, key, value) in entries {
                let mut table = index::open(transaction, *space)?;
                index::put(&mut table, *space, key, value)?;
                index::put(&mut copies, Space::Twin, &self::key(*space, key), value)?;
            }
            Ok(())
        })
    }

    /// An index of a format without copies gets them. What it has in these tables has checksums then.
    pub(super) fn make_twins(&mut self) -> Result<(), Error> {
        let view = self.view()?;
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut page = Vec::new();
        for space in Space::ALL.into_iter().filter(|space| space.is_twinned()) {
            for row in view.range(space, all.0, all.1)?.into_iter().flatten() {
                let row = match row {
                    // It stays as it is, and is refused.
                    Err(Error::Corrupt(_)) => continue,
                    row => row?,
                };
                if applies(space, row.key()) {
                    page.push((space, row.key().to_vec(), row.value().to_vec()));
                }
                if page.len() == PAGE {
                    self.put_again(&[], &std::mem::take(&mut page), false)?;
                }
            }
        }
        drop(view);
        self.put_again(&[], &page, false)?;
        self.has_twins();
        Ok(())
    }
}

/// Entries that are sound in one place alone.
fn entries_alone(view: &index::View, space: Space) -> Result<Vec<layer::Entry>, Error> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut found = Vec::new();
    for row in view.range(space, all.0, all.1)?.into_iter().flatten() {
        let row = row?;
        if row.is_alone() {
            found.push((row.key().to_vec(), row.value().to_vec()));
        }
    }
    Ok(found)
}

/// Takes out every entry whose checksum does not fit.
fn clear(table: &mut Table<'_>, space: Space) -> Result<(), Error> {
    let is_sound = |key: &[u8], stored: &[u8]| seal::open(space, key, stored, false).is_some();
    table.retain(|key, stored| is_sound(key, stored)).map_err(Error::index)
}

/// The same among the copies of one table.
fn clear_copies(copies: &mut Table<'_>, of: Space) -> Result<(), Error> {
    let is_sound =
        |key: &[u8], stored: &[u8]| seal::open(Space::Twin, key, stored, false).is_some();
    let (first, end) = ([of.number()], [of.number() + 1]);
    copies
        .retain_in::<&[u8], _>(&first[..]..&end[..], |key, stored| is_sound(key, stored))
        .map_err(Error::index)
}
