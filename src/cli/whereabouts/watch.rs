//! `godwit where --watch`: the regions of an object, and what moved.

use std::collections::BTreeSet;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use super::{model, show};
use crate::cli::client::Client;
use crate::cli::error::{CliError, Exit};
use crate::cli::live::{
    Cell, Change, Column, Grid, Marks, Screen, Theme, Tone, Watch, again, column,
};
use crate::cli::{Common, output};
use crate::types::region::RegionId;

pub(super) fn run(
    common: &Common,
    watch: &Watch,
    client: &Client,
    query: &[(&str, &str)],
) -> Result<Exit, CliError> {
    let print = |found: &model::Where| show(common, found);
    client.run(again((common, watch), client, ("where", query), Object::default, print))?;
    Ok(Exit::Ok)
}

const COLUMNS: &[Column] = &[
    column("region", 6, false),
    column("has", 14, false),
    column("changed", 30, false),
    column("reads", 8, true),
    column("", 18, false),
];

/// What a region has that has none of it.
const NOTHING: &str = "nothing";

/// The longest bar.
const BAR: f64 = 16.0;

/// What is on the screen.
#[derive(Default)]
struct Object {
    seen: Option<model::Where>,
    rows: Vec<Vec<Cell>>,
    marks: Marks,
    /// Regions that had something to do with the object since the screen began.
    known: BTreeSet<RegionId>,
}

/// What a region has of an object.
fn has(found: &model::Where, region: RegionId) -> &'static str {
    if found.primary == Some(region) {
        "primary"
    } else if found.holders.contains(&region) {
        "a copy"
    } else if found.cached.contains(&region) {
        "a cached copy"
    } else {
        NOTHING
    }
}

impl Object {
    fn row(&mut self, found: &model::Where, region: RegionId, now: Duration) -> Vec<Cell> {
        let has = has(found, region);
        let change = self.marks.see(&region.to_string(), has, now);
        let fresh = change.as_ref().is_some_and(Change::is_fresh);
        let tone = match has {
            _ if fresh => Tone::Moved,
            NOTHING => Tone::Dim,
            "primary" => Tone::Good,
            _ => Tone::Plain,
        };
        let reads = found.heat.get(&region).copied().unwrap_or(0.0);
        let most = found.heat.values().copied().fold(0.0, f64::max);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bar")]
        let bar = if most > 0.0 { (reads / most * BAR).round() as usize } else { 0 };
        vec![
            Cell::text(region.to_string()).tone(tone),
            Cell::text(has).tone(tone),
            Cell::text(change.map(|change| change.told()).unwrap_or_default()).tone(Tone::Moved),
            Cell::text(format!("{reads:.1}")),
            Cell::text("\u{2587}".repeat(bar)),
        ]
    }
}

impl Screen for Object {
    type Look = model::Where;

    fn take(&mut self, look: model::Where, now: Duration) {
        let copies = look.holders.iter().chain(&look.cached).chain(look.heat.keys());
        for region in copies.chain(&look.primary) {
            if self.known.insert(*region) && self.seen.is_some() {
                self.marks.see(&region.to_string(), NOTHING, now);
            }
        }
        let known = self.known.clone();
        self.rows = known.into_iter().map(|region| self.row(&look, region, now)).collect();
        self.seen = Some(look);
    }

    fn press(&mut self, _: KeyCode) {}

    fn title(&self) -> String {
        let Some(seen) = &self.seen else { return "godwit where".to_owned() };
        format!("s3://{}/{}", seen.bucket, seen.key)
    }

    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect, theme: Theme, from: usize) {
        let Some(seen) = &self.seen else { return };
        let head = format!("{}   etag {}", output::size(seen.size), seen.etag);
        let moves = seen.moves.iter().map(|step| {
            let at = output::when(step.at_ms);
            Line::from(format!("{at}  {} -> {}: {}", step.from, step.to, step.reason))
        });
        let next = seen.note.iter().map(|note| Line::from(format!("next: {note}")));
        let lines: Vec<Line<'_>> = next.chain(moves).collect();
        let table = u16::try_from(self.rows.len()).unwrap_or(u16::MAX).saturating_add(1);
        let areas = [Constraint::Length(1), Constraint::Max(table), Constraint::Min(0)];
        let [first, table, below] = Layout::vertical(areas).spacing(1).areas(area);
        frame.render_widget(Line::styled(head, theme.style(Tone::Dim)), first);
        let grid = Grid { columns: COLUMNS, rows: self.rows.clone(), empty: "no region has it" };
        grid.draw(frame, table, (theme, None, from));
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), below);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::live::Live;
    use crate::cli::live::tests::{assert_shown, shown};

    fn found(primary: &str, holders: &[&str], cached: &[&str]) -> model::Where {
        let code = |code: &&str| code.parse::<RegionId>().unwrap();
        let heat = [("ams", 40.0), ("nrt", 812.0)];
        model::Where {
            bucket: "photos".to_owned(),
            key: "2026/cat.jpg".to_owned(),
            size: 422_195,
            etag: "9b2c".to_owned(),
            primary: Some(code(&primary)),
            holders: holders.iter().map(code).collect(),
            cached: cached.iter().map(code).collect(),
            heat: BTreeMap::from(heat.map(|(region, heat)| (code(&region), heat))),
            moves: Vec::new(),
            note: Some("nrt reads most, and has not for long enough".to_owned()),
            leases: Vec::new(),
        }
    }

    #[test]
    fn what_moved_is_marked_with_what_the_region_had() {
        let mut live = Live::new(Object::default());
        let at = Duration::from_secs;
        live.take(Ok(found("ams", &["ams", "iad"], &["nrt"])), at(0));
        assert_shown("where", &shown(&live, (80, 14), true));
        let mut moved = found("nrt", &["ams", "nrt"], &[]);
        moved.note = None;
        moved.moves.push(model::Move {
            at_ms: 1_795_269_600_000,
            from: "ams".parse().unwrap(),
            to: "nrt".parse().unwrap(),
            reason: "nrt reads 91 % of it".to_owned(),
        });
        live.take(Ok(moved), at(3));
        assert_shown("where-moved", &shown(&live, (80, 14), true));
        assert_shown("where-moved-monochrome", &shown(&live, (60, 14), false));
        assert_shown("where-small", &shown(&live, (20, 4), true));
    }
}
