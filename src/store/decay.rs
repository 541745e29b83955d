//! What was found to have decayed in the index, until it is mended: kept in memory alone, because
//! who reads it again finds it again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits;

use super::error::Error;
use super::schema::Space;

/// What was found to have decayed, until it is mended.
#[derive(Default)]
pub(crate) struct Decay {
    /// Keys of records that do not fit their digests, up to a bound.
    records: Mutex<BTreeSet<Vec<u8>>>,
    /// Tables with other entries whose checksums do not fit.
    tables: Mutex<BTreeSet<Space>>,
    /// A page was met that makes no sense.
    pages: AtomicBool,
}

impl Decay {
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

    pub(super) fn note_page(&self) -> Error {
        if !self.pages.swap(true, Ordering::SeqCst) {
            tracing::error!("{PAGES_DECAYED}");
        }
        Error::corrupt(PAGES_DECAYED)
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

/// What a person does about pages.
pub(crate) const PAGES_DECAYED: &str = "pages of the index are damaged, and what is in them is \
    refused: let this region join anew, as after a disk that failed (docs/operations.md)";
