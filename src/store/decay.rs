//! What was found to have decayed in the index, until it is mended: kept in memory alone, because
//! who reads it again finds it again. Only what a `salvage` has missed is written down.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits;

use super::error::Error;
use super::files::Files;
use super::guard::Mark;
use super::schema::Space;

/// What was found to have decayed, until it is mended.
#[derive(Default)]
pub(crate) struct Decay {
    /// Keys of records that do not fit their digests, up to a bound.
    records: Mutex<BTreeSet<Vec<u8>>>,
    /// Tables with other entries whose checksums do not fit.
    tables: Mutex<BTreeSet<Space>>,
    /// A page was met that makes no sense, and the index was not written anew since.
    pages: AtomicBool,
    /// It cannot be written anew.
    given_up: AtomicBool,
    times_anew: AtomicU64,
    /// It was written anew, and what it lacks was not mended yet.
    missed: AtomicBool,
    /// Who is told where a page ends the program.
    mark: Option<Mark>,
    /// Entries of how many are in the new index.
    progress: Mutex<Option<(u64, u64)>>,
}

impl Decay {
    /// Of an index whose next opening is told if a page ends the program.
    pub(super) fn of(files: &Arc<Files>) -> Arc<Self> {
        Arc::new(Self { mark: Some(Mark::of(files)), ..Self::default() })
    }

    pub(super) fn mark(&self) -> u64 {
        self.mark.as_ref().map_or(0, Mark::number)
    }

    pub(crate) fn records(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tables(&self) -> MutexGuard<'_, BTreeSet<Space>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a page was met that makes no sense.
    pub(crate) fn has_pages(&self) -> bool {
        self.pages.load(Ordering::SeqCst)
    }

    /// Whether the index shall be written anew.
    pub(crate) fn wants_anew(&self) -> bool {
        self.has_pages() && !self.given_up.load(Ordering::SeqCst)
    }

    pub(super) fn note_page(&self) -> Error {
        if !self.pages.swap(true, Ordering::SeqCst) {
            tracing::error!("{PAGE_DECAYED}");
        }
        let given_up = self.given_up.load(Ordering::SeqCst);
        Error::corrupt(if given_up { PAGES_LOST } else { PAGE_DECAYED })
    }

    /// No more tries to write the index anew.
    pub(super) fn give_up(&self) {
        self.tell_progress(None);
        if !self.given_up.swap(true, Ordering::SeqCst) {
            tracing::error!("{PAGES_LOST}");
        }
    }

    /// The index was written anew.
    pub(super) fn note_anew(&self) {
        self.tell_progress(None);
        self.pages.store(false, Ordering::SeqCst);
        self.times_anew.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it was written anew: what was noted as decayed may be noted again since.
    pub(super) fn times_anew(&self) -> u64 {
        self.times_anew.load(Ordering::SeqCst)
    }

    pub(super) fn has_missed(&self) -> bool {
        self.missed.load(Ordering::SeqCst)
    }

    pub(super) fn set_missed(&self, missed: bool) {
        self.missed.store(missed, Ordering::SeqCst);
    }

    pub(super) fn tell_progress(&self, progress: Option<(u64, u64)>) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// What is to be said of pages; `None` where none were met.
    pub(super) fn tell_pages(&self) -> Option<String> {
        if !self.has_pages() {
            return None;
        }
        if self.given_up.load(Ordering::SeqCst) {
            return Some(PAGES_LOST.to_owned());
        }
        let progress = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        Some(progress.map_or_else(
            || PAGE_DECAYED.to_owned(),
            |(done, total)| format!("{PAGE_DECAYED}: {done} of {total} entries are"),
        ))
    }

    /// Notes an entry that is read from its other place.
    pub(super) fn heal(&self, space: Space, key: &[u8]) {
        if self.tables().insert(space) {
            let (table, key) = (space.name(), key.escape_ascii());
            tracing::warn!(table, %key, "an entry of the index is damaged; its copy is whole");
        }
    }

    /// Notes an entry; it is refused.
    pub(super) fn note(&self, space: Space, key: &[u8]) -> Error {
        let (table, shown) = (space.name(), key.escape_ascii());
        if space == Space::Records {
            let mut records = self.records();
            if records.len() < limits::BAD_RECORDS_MAX && records.insert(key.to_vec()) {
                tracing::error!(key = %shown, "a record in the index is damaged");
            }
            return Error::corrupt("a record in the index does not fit its digest");
        }
        if self.tables().insert(space) {
            tracing::error!(table, key = %shown, "an entry of the index is damaged");
        }
        Error::corrupt(format!("an entry of the index ({table})"))
    }
}

/// A page that makes no sense.
const PAGE_DECAYED: &str = "a page of the index is damaged: what is in it is refused until the index \
    was written anew";

/// What a person does where that cannot be done.
const PAGES_LOST: &str = "pages of the index are damaged in both places of what stands twice: let this \
    region join anew, as after a disk that failed (docs/operations.md)";
