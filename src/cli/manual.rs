//! `godwit completions` and `godwit man`, and `docs/cli.md`: made from the commands themselves.

use std::fmt::Write as _;

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::error::{CliError, Exit};
use super::{Common, output};

/// Prints the completions of a shell.
#[derive(Args)]
#[command(after_help = "Examples:\n  godwit completions bash > godwit.bash")]
pub(super) struct Completions {
    /// For which shell
    shell: Shell,
}

pub(super) fn completions(command: &Completions) -> Result<Exit, CliError> {
    let mut out = Vec::new();
    generate(command.shell, &mut super::command(), "godwit", &mut out);
    output::bytes(&out)?;
    Ok(Exit::Ok)
}

/// Prints the manual page of a command: godwit man bucket set | man -l -
#[derive(Args)]
#[command(after_help = "Examples:\n  godwit man > godwit.1\n  godwit man bucket set")]
pub(super) struct Man {
    /// The command; without it, godwit itself
    command: Vec<String>,
}

pub(super) fn man(_: &Common, command: &Man) -> Result<Exit, CliError> {
    let mut found = super::command();
    found.build();
    let mut at = &found;
    for name in &command.command {
        at = at.find_subcommand(name).ok_or_else(|| {
            CliError::new(Exit::Usage, "Usage", format!("there is no command `{name}`"))
                .hint("godwit --help lists them")
        })?;
    }
    let mut out = Vec::new();
    let failed = |error: std::io::Error| CliError::new(Exit::Failure, "Failure", error);
    clap_mangen::Man::new(at.clone()).render(&mut out).map_err(failed)?;
    output::bytes(&out)?;
    Ok(Exit::Ok)
}

/// Every command that does something, by its words: `bucket set`.
pub fn commands() -> Vec<(String, Command)> {
    let mut root = super::command().term_width(100);
    root.build();
    let mut out = Vec::new();
    walk(&root, "", &mut out);
    out
}

fn walk(command: &Command, words: &str, out: &mut Vec<(String, Command)>) {
    for sub in command.get_subcommands() {
        let words = format!("{words} {}", sub.get_name()).trim().to_owned();
        match sub.has_subcommands() {
            true => walk(sub, &words, out),
            false => out.push((words, sub.clone())),
        }
    }
}

/// The help text of a command, as `--help` prints it.
pub fn help(command: &Command) -> String {
    let text = command.clone().term_width(100).render_long_help().to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// The lines below "Examples:" of a command's help.
pub fn examples(command: &Command) -> Vec<String> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let Some((_, lines)) = after.split_once("Examples:\n") else { return Vec::new() };
    lines.lines().map(|line| line.trim().to_owned()).collect()
}

/// `docs/cli.md`.
pub fn page() -> String {
    let mut out = String::from(
        "# Command line\n\n\
         Commands find a node by `AWS_ENDPOINT_URL_S3` and sign with `AWS_ACCESS_KEY_ID` and \
         `AWS_SECRET_ACCESS_KEY`; they use S3 and the [admin API](admin-api.md) and nothing else.\n\
         Results go to standard output, everything else to standard error; `--json` prints one \
         object, or one a line where there are many.\n\
         Progress is shown on a terminal alone; `NO_COLOR` and `CLICOLOR_FORCE` are respected.\n\
         What destroys something asks first; `-y` does not ask, and where nobody can answer it is \
         needed.\n\
         This page is made from the commands (`GODWIT_UPDATE=1 cargo test --test cli` writes it).\n\n\
         ## Exit codes\n\n| Code | Meaning |\n|---|---|\n",
    );
    for exit in Exit::ALL {
        let _ = writeln!(out, "| {} | {} |", *exit as u8, exit.what());
    }
    out += "\n## Commands\n";
    for (words, command) in commands() {
        let _ = write!(out, "\n### godwit {words}\n\n```text\n{}```\n", help(&command));
    }
    out
}
