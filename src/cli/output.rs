//! Standard output and standard error.
//!
//! A reader that went away (`godwit status | head -1`) ends the output, not the program.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

use serde::Serialize;
use time::OffsetDateTime;

use super::Common;
use super::error::{CliError, Exit};

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

/// Bytes of the result as they are.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| CliError::file("-".as_ref(), &error))
}

/// Whether a person looks at standard error: there are progress bars then.
pub(super) fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// What colours mean: red is wrong, yellow wants a look, green is well, cyan is a way on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

/// Whether there are colours where `terminal` says that a person looks.
/// Sources: no-color.org, bixense.com/clicolors.
fn colours(terminal: bool, variable: &dyn Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let forced = variable("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
    if set("NO_COLOR") {
        return false;
    }
    forced || (terminal && variable("TERM").as_deref() != Some("dumb"))
}

/// Whether standard output gets colours.
pub(super) fn in_colour() -> bool {
    colours(io::stdout().is_terminal(), &|name| std::env::var(name).ok())
}

/// Text for standard error, coloured where a person looks.
pub(super) fn coloured(colour: Colour, text: &str) -> String {
    paint(io::stderr().is_terminal(), colour, text)
}

/// The same for standard output.
pub(super) fn shown(colour: Colour, text: &str) -> String {
    paint(io::stdout().is_terminal(), colour, text)
}

fn paint(terminal: bool, colour: Colour, text: &str) -> String {
    match colours(terminal, &|name| std::env::var(name).ok()) {
        true => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
        false => text.to_owned(),
    }
}

/// Asks before something is destroyed; with `-y` it does not, and where nobody can answer it is an
/// error.
pub(super) fn confirm(common: &Common, what: &str) -> Result<(), CliError> {
    if common.yes {
        return Ok(());
    }
    let refused = |message: String| {
        CliError::new(Exit::Usage, "NotConfirmed", message).hint("-y does it without asking")
    };
    if !io::stdin().is_terminal() {
        return Err(refused(format!("this would {what}, and nobody can be asked")));
    }
    let _ = write!(io::stderr().lock(), "{what}? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(refused("nothing was done".to_owned())),
    }
}

/// Bytes for people: `412.3 KiB`.
pub(super) fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    size_of(bytes as f64)
}

pub(super) fn size_of(mut bytes: f64) -> String {
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].iter();
    let mut unit = units.next();
    while bytes >= 1024.0 {
        let Some(next) = units.next() else { break };
        unit = Some(next);
        bytes /= 1024.0;
    }
    match unit.copied().unwrap_or("PiB") {
        "B" => format!("{bytes:.0} B"),
        unit => format!("{bytes:.1} {unit}"),
    }
}

/// `1 object`, `2 objects`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A time for people, in UTC: `2026-11-21 14:00:00`.
pub(super) fn when(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(0);
    let Ok(time) = OffsetDateTime::from_unix_timestamp(seconds) else { return "-".to_owned() };
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{} {hour:02}:{minute:02}:{second:02}", time.date())
}

/// A line of a terminal that the next one replaces; nothing ends it.
pub(super) fn progress(text: &str) {
    let mut error = io::stderr().lock();
    let _ = write!(error, "\r\x1b[K{text}").and_then(|()| error.flush());
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
    let moment = seconds.and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let format = time::format_description::well_known::Rfc3339;
    moment.and_then(|moment| moment.format(&format).ok()).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_people_who_want_them() {
        let with = |terminal, set: &[(&str, &str)]| {
            let find =
                |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
            colours(terminal, &find)
        };
        assert!(with(true, &[]) && !with(false, &[]));
        assert!(!with(true, &[("NO_COLOR", "1")]) && with(true, &[("NO_COLOR", "")]));
        assert!(with(false, &[("CLICOLOR_FORCE", "1")]) && !with(true, &[("TERM", "dumb")]));
        assert!(!with(true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
    }

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [0, 1023, 1024, 422_195, 5 << 30].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "412.3 KiB", "5.0 GiB"]);
        assert_eq!(when(1_795_269_600_000), "2026-11-21 14:00:00");
    }
}
