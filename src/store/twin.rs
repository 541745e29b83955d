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
use super::decay::Decay;
use super::error::Error;
use super::index::{self, Index};
use super::rows::{Entry, Once, Within};
use super::schema::Space;
use super::seal;
use super::tx::Tx;

/// A table that is being written anew, until it takes its place.
const ANEW: &str = "anew";

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
    /// The next entry that is sound, and the key of the last one.
    next: Option<Entry>,
    last: Option<Vec<u8>>,
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
        Ok(Self { rows, has_failed, next: None, last: None, decayed: 0, alone: 0 })
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
    within: Within,
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
        let within = Within::of(from, to);
        Ok(Self { space, within, here, there, decay, has_ended: false, has_failed: false })
    }

    /// Goes to the next sound entry of each side.
    fn fill(&mut self) -> Result<(), Error> {
        for (side, prefix) in [(&mut self.here, 0), (&mut self.there, 1)] {
            while side.next.is_none() {
                let Some(entry) = side.advance(prefix)? else { break };
                // One that is out of order was put beside a key that had decayed.
                if entry.is_sound() && side.last.as_deref() < Some(entry.key()) {
                    side.last = Some(entry.key().to_vec());
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

    /// Both walks are at the same entry, or at their ends. One is lost when something decayed in both
    /// that neither has. What decayed in one place alone and is missed in the other was written over
    /// or deleted since: a key that decayed is not found by who does that.
    fn meet(&mut self) -> Result<(), Error> {
        let is_short = |of: &Side, by: &Side| of.has_failed || of.decayed > by.alone;
        let (here, there) = (&self.here, &self.there);
        let decayed = here.decayed > there.alone || there.decayed > here.alone;
        let lost = decayed && is_short(here, there) && is_short(there, here);
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
                let is_past = |here: &Entry| self.within.place(here.key()) == Ordering::Greater;
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
}

impl Iterator for Both {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.has_ended {
            match self.step() {
                Err(error) => return Some(Err(error)),
                Ok(Some(entry)) if self.within.place(entry.key()) == Ordering::Equal => {
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
    /// Tables with entries that decayed are written anew, and all copies: a key that decayed puts
    /// others out of their order.
    pub(super) fn mend_twins(&self) -> Result<TwinsMended, Error> {
        let decayed: Vec<Space> =
            self.decay().tables().iter().copied().filter(|space| space.is_twinned()).collect();
        let view = self.view_behind_the_door()?;
        let mut mended = TwinsMended::default();
        for space in &decayed {
            match count_alone(&view, *space) {
                Ok(alone) => mended.mended += alone,
                Err(Error::Corrupt(_)) => {
                    let table = space.name();
                    tracing::error!(table, "entries of the index decayed in both of their places");
                    mended.lost += 1;
                }
                Err(error) => return Err(error),
            }
        }
        // What is left of an entry that is lost says that there was one: it stays.
        if mended.lost > 0 {
            return Ok(TwinsMended { mended: 0, ..mended });
        }
        self.change(|transaction| {
            for space in &decayed {
                let mut anew = index::open_named(transaction, ANEW)?;
                each(&view, *space, |key, value| index::put(&mut anew, *space, key, value))?;
                drop(anew);
                index::take_place(transaction, ANEW, *space)?;
            }
            let mut copies = index::open_named(transaction, ANEW)?;
            for space in Space::ALL.into_iter().filter(|space| space.is_twinned()) {
                each(&view, space, |key, value| match applies(space, key) {
                    true => index::put(&mut copies, Space::Twin, &self::key(space, key), value),
                    false => Ok(()),
                })?;
            }
            drop(copies);
            index::take_place(transaction, ANEW, Space::Twin)
        })?;
        let mut tables = self.decay().tables();
        tables.retain(|space| !decayed.contains(space));
        Ok(mended)
    }

    /// Puts entries in both of their places.
    fn put_twice(&self, entries: &[(Space, Vec<u8>, Vec<u8>)]) -> Result<(), Error> {
        self.change(|transaction| {
            let mut copies = index::open(transaction, Space::Twin)?;
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
                    self.put_twice(&std::mem::take(&mut page))?;
                }
            }
        }
        drop(view);
        self.put_twice(&page)?;
        self.has_twins();
        Ok(())
    }
}

/// How many entries are sound in one place alone.
fn count_alone(view: &index::View, space: Space) -> Result<u64, Error> {
    let mut count = 0;
    for row in view.range(space, Bound::Unbounded, Bound::Unbounded)?.into_iter().flatten() {
        count += u64::from(row?.is_alone());
    }
    Ok(count)
}

/// Goes over all entries of a table.
fn each(
    view: &index::View,
    space: Space,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    for row in view.range(space, Bound::Unbounded, Bound::Unbounded)?.into_iter().flatten() {
        let row = row?;
        visit(row.key(), row.value())?;
    }
    Ok(())
}
