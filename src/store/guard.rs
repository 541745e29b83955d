//! Pages of the index that decayed: redb trusts what it reads and panics where lengths and places in
//! a page make no sense. Here that is an error like any other damage, and the program goes on.
//!
//! Invariant: every call to redb that reads pages is made in [`guarded`]; a panic anywhere else ends
//! the program ([`end_on_panic`]), because nobody knows what it left behind.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;

use super::decay::Decay;
use super::error::Error;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Ends the program at every panic but those that are caught here. For the start of a program.
pub fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if DEPTH.get() > 0 {
            let at = panic.location().map(ToString::to_string).unwrap_or_default();
            let why = panic.payload_as_str().unwrap_or_default();
            tracing::error!(at, why, "a page of the index makes no sense");
            return;
        }
        tell(panic);
        process::abort();
    }));
}

/// Reads pages of the index.
pub(super) fn guarded<T>(
    decay: &Decay,
    read: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    DEPTH.set(DEPTH.get() + 1);
    // What it was reading with is not used again: a walk ends, a change is given up.
    let read = catch_unwind(AssertUnwindSafe(read));
    DEPTH.set(DEPTH.get() - 1);
    match read {
        Ok(Err(Error::Index(source))) if matches!(*source, redb::Error::Corrupted(_)) => {
            Err(decay.note_page())
        }
        Ok(read) => read,
        Err(_) => Err(decay.note_page()),
    }
}
