//! Openings of a data directory that came to no end.
//!
//! Where a page that redb keeps for itself is damaged, its panic may end the program: it panics
//! again while it puts away what it was doing. Whoever starts the program again would meet the page
//! again. So such an end asks for a new index. And each opening is counted until it is over, however
//! it ends: after two that did not the index is looked through first.
//!
//! Invariant: the count is a hint. One that is lost, or wrong, costs time alone.

use std::io;

use crate::env::OpenMode;

use super::error::Error;
use super::files::{self, Files};

/// Openings without an end after which the index is looked through.
const LOOK_AFTER: u8 = 2;

/// In the place of a count: the index shall be written anew.
const ANEW: u8 = u8::MAX;

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
    file.write_all_at(0, &[&[ANEW]]).map_err(failed)
}

/// An opening under way.
pub(super) struct Opening<'a> {
    files: &'a Files,
    first: First,
}

impl<'a> Opening<'a> {
    /// Counts this one.
    pub(super) fn begin(files: &'a Files) -> (Self, First) {
        let before = count(files).unwrap_or_else(|error| {
            tracing::warn!(%error, "this opening is not counted");
            0
        });
        let first = match before {
            0..LOOK_AFTER => First::Nothing,
            LOOK_AFTER..ANEW => First::LookThrough,
            ANEW => First::WriteAnew,
        };
        if first != First::Nothing {
            tracing::warn!("the last start came to no good end: the index is looked after first");
        }
        (Self { files, first }, first)
    }

    /// It is over, well or not; who was asked for a new index made one, or is asked again.
    pub(super) fn end(self, well: bool) {
        if !well && self.first == First::WriteAnew {
            return;
        }
        if let Err(error) = files::remove(self.files.disk.as_ref(), &self.files.opening()) {
            tracing::warn!(%error, "this opening counts as one without an end");
        }
    }
}

/// How many came to no end before this one, which is counted with them.
fn count(files: &Files) -> io::Result<u8> {
    let file = files.disk.open(&files.opening(), OpenMode::ReadWrite)?;
    let mut before = [0];
    if file.size()? > 0 {
        file.read_exact_at(0, &mut before)?;
    }
    let [before] = before;
    if before != ANEW {
        file.write_all_at(0, &[&[(before + 1).min(ANEW - 1)]])?;
    }
    Ok(before)
}
