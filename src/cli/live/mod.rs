//! Live screens: a terminal that is drawn anew when what is seen changed or a key was pressed.
//!
//! Invariant: the terminal is given back however the command ends; what is drawn is a function of
//! the state alone, so that tests draw it without a terminal.

mod grid;
mod marks;
mod terminal;
#[cfg(test)]
pub(super) mod tests;
mod watch;

pub(super) use grid::{Cell, Column, Grid, Sort, column};
pub(super) use marks::{Change, Marks};
pub(super) use terminal::{on_terminal, run};
pub(super) use watch::{Watch, again};

use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::error::CliError;

/// What a live screen is about.
pub(super) trait Screen {
    /// What one look at the cluster gives.
    type Look;
    /// Takes a look that was made at `now`, a count of time that only grows.
    fn take(&mut self, look: Self::Look, now: Duration);
    /// A key that means something here alone.
    fn press(&mut self, key: KeyCode);
    /// What the first line says.
    fn title(&self) -> String;
    /// Keys that mean something here alone, and what they do.
    fn keys(&self) -> &'static [(&'static str, &'static str)];
    /// Draws below the first line; lists begin with their row `from`.
    fn draw(&self, frame: &mut Frame<'_>, area: Rect, theme: Theme, from: usize);
}

/// What a text means; red, yellow and green are for those who see them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    /// It wants a look.
    Look,
    Bad,
    Dim,
    /// It was otherwise a moment ago.
    Moved,
}

/// How meanings look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Theme {
    /// Without it there are bold, underlined and reversed letters alone (no-color.org).
    pub(super) colour: bool,
}

impl Theme {
    pub(super) fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        match (tone, self.colour) {
            (Tone::Plain, _) | (Tone::Good, false) => plain,
            (Tone::Good, true) => plain.fg(Color::Green),
            (Tone::Look, true) => plain.fg(Color::Yellow),
            (Tone::Look, false) => plain.add_modifier(Modifier::BOLD),
            (Tone::Bad, true) => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Bad, false) => plain.add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
            (Tone::Dim, true) => plain.fg(Color::DarkGray),
            (Tone::Dim, false) => plain.add_modifier(Modifier::DIM),
            (Tone::Moved, true) => plain.fg(Color::Cyan).add_modifier(Modifier::BOLD),
            (Tone::Moved, false) => plain.add_modifier(Modifier::REVERSED),
        }
    }
}

/// What a key does to the whole command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressed {
    GoOn,
    End,
    Interrupt,
}

/// A screen with what all of them have: a first and a last line, help, a pause, a place in lists.
pub(super) struct Live<S> {
    pub(super) screen: S,
    help: bool,
    paused: bool,
    /// Why the last look failed.
    trouble: Option<String>,
    from: usize,
}

/// Keys of every screen.
const KEYS: &[(&str, &str)] = &[
    ("up, down", "go through a list that is longer than the screen"),
    ("p", "pause, and go on"),
    ("?", "show and hide this"),
    ("q, Esc", "end"),
];

/// Lists are not gone through farther than this.
const FROM_MAX: usize = 10_000;

impl<S: Screen> Live<S> {
    pub(super) fn new(screen: S) -> Self {
        Self { screen, help: false, paused: false, trouble: None, from: 0 }
    }

    /// Takes what a look gave. One that failed leaves what was there, and is told.
    pub(super) fn take(&mut self, look: Result<S::Look, CliError>, now: Duration) {
        match look {
            Err(why) => self.trouble = Some(why.message().to_owned()),
            Ok(look) => {
                self.trouble = None;
                if !self.paused {
                    self.screen.take(look, now);
                }
            }
        }
    }

    pub(super) fn press(&mut self, key: KeyCode, modifiers: KeyModifiers) -> Pressed {
        match key {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => {
                return Pressed::Interrupt;
            }
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Char('q') | KeyCode::Esc => return Pressed::End,
            KeyCode::Char('?') => self.help = !self.help,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Up => self.from = self.from.saturating_sub(1),
            KeyCode::Down => self.from = (self.from + 1).min(FROM_MAX),
            other => {
                self.from = 0;
                self.screen.press(other);
            }
        }
        Pressed::GoOn
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>, theme: Theme) {
        let lines = [Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)];
        let [head, body, foot] = Layout::vertical(lines).areas(frame.area());
        let mut title = vec![Span::styled(self.screen.title(), Modifier::BOLD)];
        if self.paused {
            title.push(Span::styled("   paused", theme.style(Tone::Look)));
        }
        frame.render_widget(Line::from(title), head);
        self.screen.draw(frame, body, theme, self.from);
        let last = match &self.trouble {
            Some(why) => Line::styled(format!("{why}; trying again"), theme.style(Tone::Bad)),
            None => Line::styled("? keys   p pause   q end", theme.style(Tone::Dim)),
        };
        frame.render_widget(last, foot);
        if self.help {
            self.draw_help(frame, body);
        }
    }

    fn draw_help(&self, frame: &mut Frame<'_>, area: Rect) {
        let keys = self.screen.keys().iter().chain(KEYS);
        let lines = keys.map(|(key, does)| Line::from(format!("  {key:<18} {does}")));
        let lines: Vec<Line<'_>> = lines.collect();
        frame.render_widget(Clear, area);
        frame.render_widget(Paragraph::new(lines), area);
    }
}
