//! Screens drawn without a terminal, compared with those that are kept.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

use super::*;
use crate::cli::error::Exit;

/// What a screen shows: its lines, then what of them is not plain.
pub(in crate::cli) fn shown<S: Screen>(
    live: &Live<S>,
    (width, height): (u16, u16),
    colour: bool,
) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| live.draw(frame, Theme { colour })).unwrap();
    let buffer = terminal.backend().buffer();
    let (mut lines, mut marks) = (String::new(), String::new());
    for (y, line) in buffer.content().chunks(usize::from(width)).enumerate() {
        let text: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        lines += &format!("|{text:<0$}|\n", usize::from(width));
        for run in line.chunk_by(|a, b| (a.fg, a.modifier) == (b.fg, b.modifier)) {
            let (fg, modifier) = (run[0].fg, run[0].modifier);
            let text: String = run.iter().map(ratatui::buffer::Cell::symbol).collect();
            if (fg, modifier) != (Color::Reset, Modifier::empty()) && !text.trim().is_empty() {
                let fg = if fg == Color::Reset { String::new() } else { format!("{fg} ") };
                let modifier =
                    if modifier.is_empty() { String::new() } else { format!("{modifier:?} ") };
                marks += &format!("{:>2} {fg}{modifier}`{}`\n", y + 1, text.trim());
            }
        }
    }
    format!("{lines}\n{marks}")
}

/// What is drawn is what stands in the repository.
#[allow(clippy::disallowed_methods, reason = "a test that reads and writes golden files")]
#[track_caller]
pub(in crate::cli) fn assert_shown(name: &str, shown: &str) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/cli/screens");
    let path = format!("{folder}/{name}.txt");
    if std::env::var_os("GODWIT_UPDATE").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&path, shown).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == shown, "{name} is drawn otherwise; GODWIT_UPDATE=1 writes it\n{shown}");
}

/// A screen that counts.
#[derive(Default)]
struct Counter {
    looks: u64,
    pressed: Vec<KeyCode>,
}

impl Screen for Counter {
    type Look = u64;

    fn take(&mut self, look: u64, _: Duration) {
        self.looks += look;
    }

    fn press(&mut self, key: KeyCode) {
        self.pressed.push(key);
    }

    fn title(&self) -> String {
        format!("{} looks", self.looks)
    }

    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[("x", "do something")]
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect, _: Theme, from: usize) {
        frame.render_widget(Line::from(format!("from {from}")), area);
    }
}

fn press<S: Screen>(live: &mut Live<S>, key: KeyCode) -> Pressed {
    live.press(key, KeyModifiers::NONE)
}

#[test]
fn keys_end_pause_explain_and_go_through_lists() {
    let mut live = Live::new(Counter::default());
    live.take(Ok(1), Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(press(&mut live, KeyCode::Down), Pressed::GoOn);
    }
    press(&mut live, KeyCode::Up);
    let lines = shown(&live, (40, 4), false);
    assert!(lines.contains("|1 looks") && lines.contains("|from 2"), "{lines}");
    press(&mut live, KeyCode::Char('p'));
    live.take(Ok(5), Duration::ZERO);
    assert!(shown(&live, (40, 4), false).contains("|1 looks   paused"), "nothing moves");
    press(&mut live, KeyCode::Char('p'));
    live.take(Ok(5), Duration::ZERO);
    assert!(shown(&live, (40, 4), false).contains("|6 looks "));
    press(&mut live, KeyCode::Char('x'));
    assert_eq!(live.screen.pressed, [KeyCode::Char('x')]);
    assert!(shown(&live, (40, 4), false).contains("|from 0"), "another list begins at its top");
    press(&mut live, KeyCode::Char('?'));
    assert!(shown(&live, (60, 8), false).contains("x                  do something"));
    assert_eq!(press(&mut live, KeyCode::Esc), Pressed::GoOn, "it hides the help");
    assert_eq!(press(&mut live, KeyCode::Esc), Pressed::End);
    assert_eq!(press(&mut live, KeyCode::Char('q')), Pressed::End);
    assert_eq!(press(&mut live, KeyCode::Char('c')), Pressed::GoOn);
    assert_eq!(live.press(KeyCode::Char('c'), KeyModifiers::CONTROL), Pressed::Interrupt);
}

#[test]
fn a_look_that_fails_leaves_what_was_there_and_is_told() {
    let mut live = Live::new(Counter::default());
    live.take(Ok(2), Duration::ZERO);
    live.take(Err(CliError::new(Exit::Unavailable, "Network", "no node")), Duration::ZERO);
    let lines = shown(&live, (40, 4), true);
    assert!(lines.contains("|2 looks") && lines.contains("no node; trying again"), "{lines}");
    assert!(lines.contains("4 Red BOLD `no node; trying again`"), "{lines}");
    live.take(Ok(1), Duration::ZERO);
    assert!(!shown(&live, (40, 4), true).contains("trying again"));
}

#[test]
fn without_colours_what_matters_is_still_told_apart() {
    let tones = [Tone::Look, Tone::Bad, Tone::Dim, Tone::Moved];
    let styles = tones.map(|tone| Theme { colour: false }.style(tone));
    for (index, style) in styles.iter().enumerate() {
        assert_eq!(style.fg, None);
        assert!(!styles[..index].contains(style), "{style:?} means one thing");
    }
}

#[test]
fn a_terminal_that_is_too_small_shows_less_and_breaks_nothing() {
    let live = Live::new(Counter::default());
    for size in [(1, 1), (2, 2), (10, 3), (300, 1), (1, 90)] {
        shown(&live, size, true);
    }
}
