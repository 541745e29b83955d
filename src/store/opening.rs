//! Openings of a data directory that came to no end.
//!
//! Where a page that redb keeps for itself is damaged, its panic may end the program: it panics
//! again while it puts away what it was doing. Whoever starts the program again would meet the page
//! again. So such an end asks for a new index. And each opening is counted until it is over, however
//! it ends: after two that did not the index is looked through first, after three it is written anew
//! without being looked at.
//!
//! Invariant: the count is a hint. One that is lost, or wrong, costs time alone.

use crate::env::OpenMode;

use super::behind::is_full;
use super::error::Error;
use super::files::{self, Files};

/// Openings without an end after which the index is looked through, and is written anew.
const LOOK_AFTER: u8 = 2;
const ANEW_AFTER: u8 = 3;

/// What is done before the index is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    Nothing,
    LookThrough,
    WriteAnew,
}

/// Has the next opening write the index anew.
pub(super) fn ask_for_new_index(files: &Files) -> Result<(), Error> {
    let failed = |e| Error::io("asking for a new index", e);
    let file = files.disk.open(&files.opening(), OpenMode::ReadWrite).map_err(failed)?;
    file.write_all_at(0, &[&[ANEW_AFTER]]).map_err(failed)
}

/// An opening under way.
pub(super) struct Opening<'a> {
    files: &'a Files,
}

impl<'a> Opening<'a> {
    /// Counts this one.
    pub(super) fn begin(files: &'a Files) -> Result<(Self, First), Error> {
        let failed = |e| Error::io("counting the openings", e);
        let file = files.disk.open(&files.opening(), OpenMode::ReadWrite).map_err(failed)?;
        let mut before = [0];
        if file.size().map_err(failed)? > 0 {
            file.read_exact_at(0, &mut before).map_err(failed)?;
        }
        match file.write_all_at(0, &[&[before[0].saturating_add(1)]]) {
            Err(error) if is_full(&error) => {
                tracing::warn!(%error, "no room to count this opening");
            }
            written => written.map_err(failed)?,
        }
        let first = match before[0] {
            0..LOOK_AFTER => First::Nothing,
            LOOK_AFTER..ANEW_AFTER => First::LookThrough,
            ANEW_AFTER.. => First::WriteAnew,
        };
        if first != First::Nothing {
            let openings = before[0];
            tracing::warn!(openings, "the last openings came to no end: the index is looked after");
        }
        Ok((Self { files }, first))
    }

    /// It is over, well or not.
    pub(super) fn end(self) -> Result<(), Error> {
        files::remove(self.files.disk.as_ref(), &self.files.opening())
            .map_err(|e| Error::io("counting the openings", e))
    }
}
