//! `godwit status --watch`: the regions, and which of them came or went.

use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::{certificate, model, print, replication, state};
use crate::admin::model::{PeerState, RegionStatus};
use crate::cli::Common;
use crate::cli::client::Client;
use crate::cli::error::{CliError, Exit};
use crate::cli::live::{
    Cell, Change, Column, Grid, Marks, Screen, Theme, Tone, Watch, again, column,
};

pub(super) fn run(common: &Common, watch: &Watch, client: &Client) -> Result<Exit, CliError> {
    let ask = ("status", &[][..]);
    let print = |status: &model::Status| print(common, status);
    client.run(again((common, watch), client, ask, Regions::default, print))?;
    Ok(Exit::Ok)
}

const COLUMNS: &[Column] = &[
    column("region", 6, false),
    column("state", 9, false),
    column("changed", 26, false),
    column("behind", 8, true),
    column("queued", 8, true),
    column("way", 8, true),
    column("voter", 8, false),
    column("city", 20, false),
];

/// What is on the screen.
#[derive(Default)]
struct Regions {
    seen: Option<model::Status>,
    rows: Vec<Vec<Cell>>,
    marks: Marks,
}

impl Regions {
    fn row(&mut self, region: &RegionStatus, now: Duration) -> Vec<Cell> {
        let RegionStatus { code, behind, queued, rtt_ms, .. } = region;
        let voter = if region.voter { "voter" } else { "" };
        let state = state(region.state);
        let moved = self.marks.see(&format!("{code} state"), state, now);
        let said = if region.voter { "voter" } else { "no voter" };
        let voted = self.marks.see(&format!("{code} voter"), said, now);
        // Of two changes the later one is told.
        let change = [moved, voted].into_iter().flatten().min_by_key(|change| change.ago);
        let fresh = change.as_ref().is_some_and(Change::is_fresh);
        let tone = match (region.state, fresh) {
            (PeerState::Away, _) => Tone::Bad,
            (PeerState::Here | PeerState::Connected, true) => Tone::Moved,
            (PeerState::Here | PeerState::Connected, false) => Tone::Plain,
        };
        let lags = |changes: u64| Cell::text(changes.to_string()).tone_if(changes > 0, Tone::Look);
        vec![
            Cell::text(code.to_string()).tone(tone),
            Cell::text(state).tone(tone),
            Cell::text(change.map(|change| change.told()).unwrap_or_default()).tone(Tone::Moved),
            lags(*behind),
            lags(*queued),
            Cell::text(rtt_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"))),
            Cell::text(voter),
            Cell::text(region.city.clone()),
        ]
    }
}

impl Screen for Regions {
    type Look = model::Status;

    fn take(&mut self, look: model::Status, now: Duration) {
        let codes: Vec<String> = look.regions.iter().map(|one| one.code.to_string()).collect();
        self.marks.keep(|name| codes.iter().any(|code| name.starts_with(code)));
        self.rows = look.regions.iter().map(|region| self.row(region, now)).collect();
        self.seen = Some(look);
    }

    fn press(&mut self, _: KeyCode) {}

    fn title(&self) -> String {
        let Some(seen) = &self.seen else { return "godwit status".to_owned() };
        format!("godwit {} at {}", seen.version, seen.region)
    }

    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect, theme: Theme, from: usize) {
        let Some(seen) = &self.seen else { return };
        let mut lines = Vec::new();
        if let Some(trouble) = &seen.disk {
            let text = format!("disk of {}: {trouble}", seen.region);
            lines.push(Line::styled(text, theme.style(Tone::Bad)));
        }
        if let Some(trouble) = &seen.certificate {
            lines.push(Line::styled(certificate(seen, trouble), theme.style(Tone::Bad)));
        }
        let told = replication(&seen.replication).into_iter();
        lines.extend(told.map(|line| Line::styled(line, theme.style(Tone::Look))));
        let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).min(area.height / 2);
        let areas = [Constraint::Min(0), Constraint::Length(height)];
        let [table, below] = Layout::vertical(areas).areas(area);
        let grid = Grid { columns: COLUMNS, rows: self.rows.clone(), empty: "no region" };
        grid.draw(frame, table, (theme, None, from));
        frame.render_widget(Paragraph::new(lines), below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::model::{BucketLag, Replication};
    use crate::cli::live::Live;
    use crate::cli::live::tests::{assert_shown, shown};

    fn status(nrt: PeerState, voter: bool) -> model::Status {
        let region = |code: &str, city: &str, state, voter| RegionStatus {
            code: code.parse().unwrap(),
            city: city.to_owned(),
            lat: 0.0,
            lon: 0.0,
            state,
            rtt_ms: (state != PeerState::Away).then_some(12),
            behind: u64::from(state == PeerState::Away) * 5,
            queued: 0,
            voter,
        };
        model::Status {
            version: "1".to_owned(),
            region: "fra".parse().unwrap(),
            regions: vec![
                region("fra", "Frankfurt", PeerState::Here, voter),
                region("nrt", "Tokyo", nrt, true),
            ],
            replication: Replication { below_copies: 0, damaged: 0, buckets: Vec::new() },
            disk: None,
            certificate: None,
        }
    }

    #[test]
    fn a_region_that_goes_and_comes_is_marked_with_what_it_was() {
        let mut live = Live::new(Regions::default());
        let at = Duration::from_secs;
        assert_shown("status-nothing", &shown(&live, (80, 8), true));
        live.take(Ok(status(PeerState::Connected, true)), at(0));
        assert_shown("status", &shown(&live, (80, 8), true));
        let mut away = status(PeerState::Away, true);
        away.disk = Some("it is full".to_owned());
        away.replication.buckets.push(BucketLag {
            bucket: "photos".to_owned(),
            region: "nrt".parse().unwrap(),
            changes: 5,
            lag_ms: 9000,
        });
        live.take(Ok(away), at(5));
        assert_shown("status-away", &shown(&live, (120, 8), true));
        assert_shown("status-away-monochrome", &shown(&live, (80, 8), false));
        live.take(Ok(status(PeerState::Connected, false)), at(20));
        assert_shown("status-back", &shown(&live, (80, 8), true));
        live.take(Ok(status(PeerState::Connected, false)), at(40));
        let later = shown(&live, (80, 8), true);
        assert!(later.contains("was away, 20 s ago") && !later.contains("connected`"), "{later}");
    }
}
