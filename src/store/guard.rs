//! Pages of the index that decayed: redb trusts what it reads and panics where lengths and places in
//! a page make no sense. Here that is an error like any other damage, and the program goes on.
//!
//! A panic within the cleaning up after a panic cannot be caught: the program ends, and the next
//! opening writes the index anew (`opening`).
//!
//! Invariant: every call to redb that reads pages is made in [`guarded`]; a panic anywhere else ends
//! the program ([`end_on_panic`]), because nobody knows what it left behind.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::{Arc, Mutex, Once, Weak};

use super::decay::Decay;
use super::error::Error;
use super::files::Files;
use super::{lock, opening};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Whose pages are read now, and whether that has panicked.
    static MARK: Cell<u64> = const { Cell::new(0) };
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Ends the program at every panic but those that are caught here. For the start of a program.
pub fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        process::abort();
    }));
    QUIET.call_once(keep_quiet);
}

static QUIET: Once = Once::new();

/// What is caught here is told by who caught it.
fn keep_quiet() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if DEPTH.get() == 0 {
            return tell(panic);
        }
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let why = panic.payload_as_str().unwrap_or_default();
        if PANICKED.replace(true) {
            // It panics again while it puts away what it was doing, and nothing can catch that.
            tracing::error!(at, why, "a damaged page of the index ends the program");
            leave_mark(MARK.get());
        } else {
            tracing::debug!(at, why, "a page of the index makes no sense");
        }
    }));
}

/// What is to be done where a program ends because of a page, by the number of its directory.
static MARKS: Mutex<BTreeMap<u64, Weak<Files>>> = Mutex::new(BTreeMap::new());

/// A directory of which the next opening is told if one of its pages ends the program.
#[derive(Debug)]
pub(super) struct Mark(u64);

impl Mark {
    pub(super) fn number(&self) -> u64 {
        self.0
    }

    pub(super) fn of(files: &Arc<Files>) -> Self {
        let mut marks = lock(&MARKS);
        let number = marks.last_key_value().map_or(1, |(last, _)| last + 1);
        marks.insert(number, Arc::downgrade(files));
        Self(number)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        lock(&MARKS).remove(&self.0);
    }
}

fn leave_mark(number: u64) {
    let files = lock(&MARKS).get(&number).and_then(Weak::upgrade);
    if let Some(Err(error)) = files.map(|files| opening::ask_for_new_index(&files)) {
        tracing::error!(%error, "the next start is not told of it");
    }
}

/// Reads pages of the index.
pub(super) fn guarded<T>(
    decay: &Decay,
    read: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    QUIET.call_once(keep_quiet);
    MARK.set(decay.mark());
    DEPTH.set(DEPTH.get() + 1);
    // What it was reading with is not used again: a walk ends, a change is given up.
    let read = catch_unwind(AssertUnwindSafe(read));
    DEPTH.set(DEPTH.get() - 1);
    PANICKED.set(false);
    match read {
        Ok(Err(Error::Index(source))) if says_decayed(&source) => Err(decay.note_page()),
        Ok(read) => read,
        Err(_) => Err(decay.note_page()),
    }
}

/// Whether what redb read cannot be what it wrote. A header that decayed has another mark at its
/// start, or another version; where the tables are listed, one has another kind.
fn says_decayed(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. } => true,
        redb::Error::Io(error) => error.kind() == ErrorKind::InvalidData,
        _ => false,
    }
}
