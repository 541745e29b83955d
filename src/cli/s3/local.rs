//! Files of this machine, as the commands copy them.
#![allow(clippy::disallowed_methods, reason = "commands work on files of the user, not of a node")]

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use crate::cli::error::CliError;

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Found {
    /// Below the folder that was walked, with slashes.
    pub(in crate::cli) relative: String,
    pub(in crate::cli) size: u64,
    pub(in crate::cli) modified_ms: u64,
}

/// How the name of a file ends while it is being written.
const UNFINISHED: &str = ".godwit-unfinished";

fn found(relative: String, meta: &fs::Metadata) -> Found {
    let since = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified_ms = since.map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
    Found { relative, size: meta.len(), modified_ms }
}

/// One file.
pub(in crate::cli) fn look(path: &Path) -> Result<Found, CliError> {
    let meta = fs::metadata(path).map_err(|error| CliError::file(path, &error))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(found(name.unwrap_or_default(), &meta))
}

/// Something in a folder; the name of a folder ends with a slash.
struct Named {
    path: PathBuf,
    relative: String,
}

/// What is in one folder, in the order of the keys that its files have: a folder stands where the
/// files below it do. Names that are not UTF-8 are told, because no key can have them.
fn listed(folder: &Path, prefix: &str) -> Result<std::vec::IntoIter<Named>, CliError> {
    let failed = |error: io::Error| CliError::file(folder, &error);
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str() else {
            let why = io::Error::new(io::ErrorKind::InvalidData, "the name is not UTF-8");
            return Err(CliError::file(&path, &why));
        };
        let slash = if entry.file_type().map_err(failed)?.is_dir() { "/" } else { "" };
        all.push(Named { path, relative: format!("{prefix}{name}{slash}") });
    }
    all.sort_unstable_by(|a, b| a.relative.cmp(&b.relative));
    Ok(all.into_iter())
}

/// Files below a folder, one by one; the folders on the way are open.
struct Walk(Vec<std::vec::IntoIter<Named>>);

impl Walk {
    fn step(&mut self) -> Result<Option<Found>, CliError> {
        while let Some(folder) = self.0.last_mut() {
            let Some(Named { path, relative }) = folder.next() else {
                self.0.pop();
                continue;
            };
            if relative.ends_with('/') {
                self.0.push(listed(&path, &relative)?);
                continue;
            }
            let meta = fs::metadata(&path).map_err(|error| CliError::file(&path, &error))?;
            if meta.is_file() && !relative.ends_with(UNFINISHED) {
                return Ok(Some(found(relative, &meta)));
            }
        }
        Ok(None)
    }
}

impl Iterator for Walk {
    type Item = Result<Found, CliError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// All regular files below a folder, in the order of their names as a list of keys has it, read as
/// they are asked for. Links are followed to files, not to folders, so that a walk ends.
pub(in crate::cli) fn walk(
    folder: &Path,
) -> Result<impl Iterator<Item = Result<Found, CliError>> + Send + use<>, CliError> {
    Ok(Walk(vec![listed(folder, "")?]))
}

pub(in crate::cli) fn is_folder(path: &Path) -> bool {
    path.is_dir()
}

pub(in crate::cli) fn is_file(path: &Path) -> bool {
    path.is_file()
}

/// A file being read.
pub(in crate::cli) struct Source(PathBuf, File);

impl Source {
    pub(in crate::cli) fn open(path: &Path) -> Result<Self, CliError> {
        let file = File::open(path).map_err(|error| CliError::file(path, &error))?;
        Ok(Self(path.to_owned(), file))
    }

    /// Exactly `len` bytes; a file that became shorter is an error.
    pub(in crate::cli) fn piece(&self, at: u64, len: usize) -> Result<Bytes, CliError> {
        let mut bytes = vec![0; len];
        let read = self.1.read_exact_at(&mut bytes, at);
        read.map_err(|error| CliError::file(&self.0, &error))?;
        Ok(bytes.into())
    }
}

/// A file being written; it has its name only when it is whole.
pub(in crate::cli) struct Target {
    path: PathBuf,
    unfinished: PathBuf,
    file: File,
    done: bool,
}

impl Target {
    pub(in crate::cli) fn create(path: &Path) -> Result<Self, CliError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|error| CliError::file(folder, &error))?;
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(UNFINISHED);
        let unfinished = path.with_file_name(name);
        let file =
            File::create(&unfinished).map_err(|error| CliError::file(&unfinished, &error))?;
        Ok(Self { path: path.to_owned(), unfinished, file, done: false })
    }

    pub(in crate::cli) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), CliError> {
        let written = self.file.write_all_at(bytes, at);
        written.map_err(|error| CliError::file(&self.unfinished, &error))
    }

    /// Gives it its name, and the time of its object.
    pub(in crate::cli) fn finish(mut self, modified_ms: u64) -> Result<(), CliError> {
        let time = UNIX_EPOCH + Duration::from_millis(modified_ms);
        let renamed =
            self.file.set_modified(time).and_then(|()| fs::rename(&self.unfinished, &self.path));
        renamed.map_err(|error| CliError::file(&self.path, &error))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.done {
            // It may be gone with its folder.
            let _ = fs::remove_file(&self.unfinished);
        }
    }
}

pub(in crate::cli) fn remove(path: &Path) -> Result<(), CliError> {
    fs::remove_file(path).map_err(|error| CliError::file(path, &error))
}

/// The next `len` bytes of standard input, fewer at its end.
pub(in crate::cli) fn from_input(len: usize) -> Result<Bytes, CliError> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(len as u64).read_to_end(&mut bytes);
    read.map_err(|error| CliError::file(Path::new("-"), &error))?;
    Ok(bytes.into())
}

/// What a file is, by the end of its name.
pub(in crate::cli) fn kind_of(name: &str) -> &'static str {
    const KINDS: &[(&str, &str)] = &[
        ("avif", "image/avif"),
        ("css", "text/css"),
        ("csv", "text/csv"),
        ("gif", "image/gif"),
        ("gz", "application/gzip"),
        ("htm", "text/html"),
        ("html", "text/html"),
        ("ico", "image/x-icon"),
        ("jpeg", "image/jpeg"),
        ("jpg", "image/jpeg"),
        ("js", "text/javascript"),
        ("json", "application/json"),
        ("md", "text/markdown"),
        ("mjs", "text/javascript"),
        ("mp3", "audio/mpeg"),
        ("mp4", "video/mp4"),
        ("pdf", "application/pdf"),
        ("png", "image/png"),
        ("svg", "image/svg+xml"),
        ("tar", "application/x-tar"),
        ("txt", "text/plain"),
        ("wasm", "application/wasm"),
        ("webp", "image/webp"),
        ("woff2", "font/woff2"),
        ("xml", "application/xml"),
        ("zip", "application/zip"),
    ];
    let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default();
    let found = KINDS.iter().find(|(known, _)| *known == end);
    found.map_or("application/octet-stream", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_order_of_their_names_whatever_folders_they_are_in() {
        let folder = tempfile::tempdir().unwrap();
        let mut names =
            ["a/b/c", "a/b.c", "a-b", "a.b", "a0", "a/b-/x", "b", "B", "é/z", "a/b/a/z"];
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        fs::create_dir(folder.path().join("empty")).unwrap();
        fs::write(folder.path().join(format!("x{UNFINISHED}")), "").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("link")).unwrap();
        let walked = walk(folder.path()).unwrap().map(|found| found.unwrap().relative);
        let walked: Vec<String> = walked.filter(|name| name != "link").collect();
        names.sort_unstable();
        assert_eq!(walked, names);
        assert!(walk(folder.path()).unwrap().any(|found| found.unwrap().relative == "link"));
        assert!(walk(&folder.path().join("absent")).is_err());
    }
}
