//! The terminal of a live screen: keys, size, looks that come in, and how it is given back.

use std::io::{self, IsTerminal as _};
use std::pin::pin;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event};

use super::{Live, Pressed, Screen, Theme};
use crate::cli::error::{CliError, Exit};
use crate::cli::{Common, output};
use crate::env::Env;

/// Between two looks at the keyboard.
const KEYS_EVERY: Duration = Duration::from_millis(50);

/// Whether a person looks at a terminal that can be drawn on.
pub(in crate::cli) fn on_terminal(common: &Common) -> bool {
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    !common.json && !dumb && io::stdout().is_terminal()
}

/// A terminal that shows a screen of its own; dropped, it shows again what it showed before. The
/// hook for panics that comes with it does the same.
struct Terminal(ratatui::DefaultTerminal);

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn failed(error: io::Error) -> CliError {
    CliError::new(Exit::Failure, "Terminal", error).hint("a pipe, and TERM=dumb, give tables")
}

/// Looks again every so often, and draws, until a key ends it. The first look was made before.
pub(in crate::cli) async fn run<S: Screen>(
    env: &Env,
    every: Duration,
    live: &mut Live<S>,
    look: impl AsyncFn() -> Result<S::Look, CliError>,
) -> Result<(), CliError> {
    let theme = Theme { colour: output::in_colour() };
    let mut terminal = Terminal(ratatui::try_init().map_err(failed)?);
    loop {
        let mut next = pin!(async {
            env.sleep(every).await;
            look().await
        });
        let found = loop {
            terminal.0.draw(|frame| live.draw(frame, theme)).map_err(failed)?;
            tokio::select! {
                biased;
                found = &mut next => break found,
                pressed = keys(env, live) => match pressed? {
                    Pressed::GoOn => {}
                    Pressed::End => return Ok(()),
                    Pressed::Interrupt => return Err(interrupted()),
                }
            }
        };
        live.take(found, env.monotonic());
    }
}

fn interrupted() -> CliError {
    CliError::new(Exit::Interrupted, "Interrupted", "interrupted")
}

/// Waits for keys, or another size of the terminal, and does what they say.
async fn keys<S: Screen>(env: &Env, live: &mut Live<S>) -> Result<Pressed, CliError> {
    loop {
        env.sleep(KEYS_EVERY).await;
        let mut changed = false;
        while event::poll(Duration::ZERO).map_err(failed)? {
            changed = true;
            if let Event::Key(key) = event::read().map_err(failed)?
                && key.is_press()
            {
                let pressed = live.press(key.code, key.modifiers);
                if pressed != Pressed::GoOn {
                    return Ok(pressed);
                }
            }
        }
        if changed {
            return Ok(Pressed::GoOn);
        }
    }
}
