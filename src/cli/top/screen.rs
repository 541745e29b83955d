//! The live screen: a line of sums, how the last looks went, and one of the tables.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::Sparkline;

use super::rates::{Look, Seen, seen};
use super::views::View;
use crate::admin::model::PeerState;
use crate::cli::live::{Screen, Sort, Theme, Tone};
use crate::cli::output;

/// Looks whose requests are drawn.
const HISTORY_MAX: usize = 512;

/// Lines of the drawing, where there are at least so many lines for everything.
const DRAWING: u16 = 3;
const DRAWING_FROM: u16 = 14;

/// What is on the screen.
pub(super) struct Board {
    before: Look,
    seen: Seen,
    /// Rates were made of two looks.
    twice: bool,
    history: VecDeque<u64>,
    view: usize,
    sorts: [Sort; View::ALL.len()],
}

impl Board {
    pub(super) fn new(first: Look) -> Self {
        Self {
            seen: seen(None, &first),
            before: first,
            twice: false,
            history: VecDeque::new(),
            view: 0,
            sorts: View::ALL.map(View::sort),
        }
    }

    fn turn(&mut self, by: usize) {
        self.view = (self.view + by) % View::ALL.len();
    }

    fn sums(&self, theme: Theme) -> Line<'static> {
        if !self.twice {
            return Line::styled("measuring ...", theme.style(Tone::Dim));
        }
        let all = &self.seen.all;
        let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        let hits = all.hits.map_or_else(|| "-".to_owned(), |hits| format!("{:.0} %", hits * 100.0));
        let errors = if all.errors_per_s > 0.0 { Tone::Bad } else { Tone::Plain };
        let size = output::size_of;
        Line::from(vec![
            Span::raw(format!("{:.1} req/s  ", all.per_s)),
            Span::styled(format!("{:.1} 5xx/s", all.errors_per_s), theme.style(errors)),
            Span::raw(format!(
                "  p50 {}  p99 {}  {} open  cache {hits}  out {}/s  in {}/s",
                ms(all.p50_ms),
                ms(all.p99_ms),
                all.open,
                size(all.sent_bytes_per_s),
                size(all.received_bytes_per_s),
            )),
        ])
    }

    fn tabs(&self, theme: Theme) -> Line<'static> {
        let mut tabs = Vec::new();
        for (index, view) in View::ALL.iter().enumerate() {
            let text = format!(" {} {} ", index + 1, view.name());
            let style = match index == self.view {
                true => theme.style(Tone::Plain).add_modifier(Modifier::REVERSED),
                false => theme.style(Tone::Dim),
            };
            tabs.push(Span::styled(text, style));
        }
        Line::from(tabs)
    }
}

impl Screen for Board {
    type Look = Look;

    fn take(&mut self, look: Look, _: Duration) {
        self.seen = seen(Some(&self.before), &look);
        self.twice = true;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bar")]
        self.history.push_back(self.seen.all.per_s.round() as u64);
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
        self.before = look;
    }

    fn press(&mut self, key: KeyCode) {
        let sort = &mut self.sorts[self.view];
        match key {
            KeyCode::Right | KeyCode::Tab => self.turn(1),
            KeyCode::Left | KeyCode::BackTab => self.turn(View::ALL.len() - 1),
            KeyCode::Char('s') => {
                sort.column = (sort.column + 1) % View::ALL[self.view].columns().len();
            }
            KeyCode::Char('r') => sort.down = !sort.down,
            KeyCode::Char(digit) => {
                let view = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
                let view = view.and_then(|number| number.checked_sub(1));
                self.view = view.filter(|view| *view < View::ALL.len()).unwrap_or(self.view);
            }
            _ => {}
        }
    }

    fn title(&self) -> String {
        let status = &self.seen.status;
        let away = status.regions.iter().filter(|region| region.state == PeerState::Away).count();
        let away = if away > 0 { format!(", {away} away") } else { String::new() };
        let regions = output::count(status.regions.len(), "region");
        format!("godwit {} at {}   {regions}{away}", status.version, status.region)
    }

    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("left, right, Tab", "the table before, the next table"),
            ("1 to 4", "regions, operations, storage, lag"),
            ("s", "order by the next column"),
            ("r", "turn the order round"),
        ]
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect, theme: Theme, from: usize) {
        let drawing = if area.height >= DRAWING_FROM { DRAWING } else { 0 };
        let trouble = u16::from(self.seen.status.disk.is_some());
        let areas = [1, drawing, trouble, 1].map(Constraint::Length);
        let areas = areas.into_iter().chain([Constraint::Min(0)]);
        let [sums, line, disk, tabs, table] = Layout::vertical(areas).areas(area);
        frame.render_widget(self.sums(theme), sums);
        let room = usize::from(line.width);
        let skip = self.history.len().saturating_sub(room);
        let bars: Vec<u64> = self.history.iter().skip(skip).copied().collect();
        frame.render_widget(Sparkline::default().data(&bars), line);
        if let Some(trouble) = &self.seen.status.disk {
            let text = format!("disk of {}: {trouble}", self.seen.status.region);
            frame.render_widget(Line::styled(text, theme.style(Tone::Bad)), disk);
        }
        frame.render_widget(self.tabs(theme), tabs);
        let (view, sort) = (View::ALL[self.view], self.sorts[self.view]);
        view.grid(&self.seen).sorted(sort).draw(frame, table, (theme, Some(sort), from));
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyModifiers;

    use super::super::rates::tests::looks;
    use super::*;
    use crate::cli::live::Live;
    use crate::cli::live::tests::{assert_shown, shown};

    fn live() -> Live<Board> {
        let (before, now) = looks();
        let mut live = Live::new(Board::new(before));
        live.take(Ok(now), Duration::from_secs(2));
        live
    }

    fn press(live: &mut Live<Board>, keys: &[KeyCode]) {
        for key in keys {
            live.press(*key, KeyModifiers::NONE);
        }
    }

    #[test]
    fn the_screen_is_drawn_as_it_is_kept() {
        let mut live = live();
        assert_shown("top-80x24", &shown(&live, (80, 24), true));
        assert_shown("top-80x24-monochrome", &shown(&live, (80, 24), false));
        assert_shown("top-140x30", &shown(&live, (140, 30), true));
        assert_shown("top-30x8", &shown(&live, (30, 8), true));
        for (name, key) in [("operations", '2'), ("storage", '3'), ("lag", '4')] {
            press(&mut live, &[KeyCode::Char(key)]);
            assert_shown(&format!("top-{name}"), &shown(&live, (100, 16), true));
        }
        press(&mut live, &[KeyCode::Char('?')]);
        assert_shown("top-help", &shown(&live, (80, 24), true));
    }

    #[test]
    fn before_the_second_look_there_are_states_alone() {
        let (before, _) = looks();
        let live = Live::new(Board::new(before));
        assert_shown("top-first", &shown(&live, (80, 16), true));
    }

    #[test]
    fn a_cluster_of_which_nothing_is_known_is_an_empty_screen() {
        let (mut before, _) = looks();
        before.status.regions.clear();
        before.status.replication.buckets.clear();
        before.status.disk = Some("it is full".to_owned());
        before.regions.clear();
        let mut live = Live::new(Board::new(before));
        for key in ['1', '2', '3', '4'] {
            press(&mut live, &[KeyCode::Char(key)]);
            let lines = shown(&live, (80, 24), true);
            assert!(lines.contains("disk of fra: it is full"), "{lines}");
        }
        assert_shown("top-empty", &shown(&live, (80, 24), true));
    }

    #[test]
    fn keys_turn_the_tables_and_their_order() {
        let mut live = live();
        let first = |live: &Live<Board>| {
            let lines = shown(live, (80, 24), false);
            let mut table = lines.lines().skip_while(|line| !line.starts_with("|region"));
            table.nth(1).unwrap().chars().skip(1).take(3).collect::<String>()
        };
        assert_eq!(first(&live), "fra");
        press(&mut live, &[KeyCode::Char('r')]);
        assert_eq!(first(&live), "nrt", "the order is turned round");
        press(&mut live, &[KeyCode::Char('s'), KeyCode::Char('s')]);
        assert_eq!(first(&live), "iad", "the most behind is first");
        let view = |live: &Live<Board>| View::ALL[live.screen.view];
        press(&mut live, &[KeyCode::Right, KeyCode::Tab]);
        assert_eq!(view(&live), View::Storage);
        press(&mut live, &[KeyCode::Left, KeyCode::Left, KeyCode::BackTab]);
        assert_eq!(view(&live), View::Lag);
        press(&mut live, &[KeyCode::Char('9'), KeyCode::Char('0'), KeyCode::Char('x')]);
        assert_eq!(view(&live), View::Lag, "keys that mean nothing change nothing");
        press(&mut live, &[KeyCode::Char('1')]);
        assert_eq!(first(&live), "iad", "each table keeps its order");
    }
}
