//! Standard output and standard error.
//!
//! A reader that went away (`godwit status | head -1`) ends the output, not the program.

use std::io::{self, Write};

use serde::Serialize;

/// One line of the result.
pub(super) fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// The result as one line of JSON.
pub(super) fn json(value: &impl Serialize) {
    line(&serde_json::to_string(value).expect("results are plain structs with text keys"));
}

/// A line that is not the result: progress, hints, errors.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Rows with their columns in line.
pub(super) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
    for row in rows {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        line(text.trim_end());
    }
}

/// A moment as a person reads it; `-` for none.
pub(super) fn time(at_ms: Option<u64>) -> String {
    let seconds = at_ms.and_then(|ms| i64::try_from(ms / 1000).ok());
    let moment = seconds.and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok());
    let format = time::format_description::well_known::Rfc3339;
    moment.and_then(|moment| moment.format(&format).ok()).unwrap_or_else(|| "-".to_owned())
}
