//! Files that commands read before a node runs: settings, regions.
#![allow(clippy::disallowed_methods, reason = "commands read their files before there is a node")]

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::{CliError, Exit};
use crate::config::{Config, Regions};

/// A variable of the process environment.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A file's text.
pub(super) fn text(path: &Path) -> Result<String, CliError> {
    fs::read_to_string(path).map_err(|error| CliError::file(path, &error))
}

/// A file's text, or that of standard input where the file is `-`.
pub(super) fn text_or_input(path: &Path) -> Result<String, CliError> {
    if path == Path::new("-") {
        return std::io::read_to_string(std::io::stdin())
            .map_err(|error| CliError::file(path, &error));
    }
    text(path)
}

/// The settings of a node from `file` (none: defaults) and the environment.
pub(super) fn settings(file: Option<&Path>) -> Result<Config, CliError> {
    let read = match file {
        Some(path) => Some(text(path)?),
        None => None,
    };
    Ok(Config::load(read.as_deref(), &environment)?)
}

/// The folder of regions. A folder that does not exist stands for the regions that come with the
/// program.
pub(super) fn regions(folder: &Path) -> Result<Regions, CliError> {
    if !folder.exists() {
        return Ok(Regions::built_in());
    }
    let mut files = Vec::new();
    let failed = |error: std::io::Error| CliError::file(folder, &error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| name.ends_with(".toml")) else { continue };
        let text = fs::read_to_string(&path).map_err(|error| CliError::file(&path, &error))?;
        files.push((name.to_owned(), text));
    }
    files.sort();
    Ok(Regions::parse(files.iter().map(|(name, text)| (name.as_str(), text.as_str())))?)
}

/// Makes a directory that only its owner may look into, unless it is there.
pub(super) fn private_dir(path: &Path) -> Result<(), CliError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| CliError::file(path, &error))
}

/// A directory of this process alone, removed when it is dropped.
pub(super) struct Temporary(PathBuf);

/// Names that are tried: others may be left of processes that were killed.
const TEMPORARY_TRIES: u32 = 100;

impl Temporary {
    pub(super) fn new() -> Result<Self, CliError> {
        let id = std::process::id();
        for number in 0..TEMPORARY_TRIES {
            let path = std::env::temp_dir().join(format!("godwit-dev-{id}-{number}"));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(CliError::file(&path, &error)),
            }
        }
        Err(CliError::new(Exit::Failure, "File", "no temporary directory can be made"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            super::output::note(&format!("{} is left: {error}", self.0.display()));
        }
    }
}
