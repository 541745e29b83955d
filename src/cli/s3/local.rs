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

/// All regular files below a folder, sorted. Links are followed to files, not to folders, so that a
/// walk ends. Names that are not UTF-8 are told, because no key can have them.
pub(in crate::cli) fn walk(folder: &Path) -> Result<Vec<Found>, CliError> {
    let mut out = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((path, prefix)) = folders.pop() {
        let failed = |error: io::Error| CliError::file(&path, &error);
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str() else {
                let why = io::Error::new(io::ErrorKind::InvalidData, "the name is not UTF-8");
                return Err(CliError::file(&path, &why));
            };
            let relative = format!("{prefix}{name}");
            if entry.file_type().map_err(failed)?.is_dir() {
                folders.push((path, format!("{relative}/")));
                continue;
            }
            let meta = fs::metadata(&path).map_err(|error| CliError::file(&path, &error))?;
            if meta.is_file() && !relative.ends_with(UNFINISHED) {
                out.push(found(relative, &meta));
            }
        }
    }
    out.sort_by(|a, b| a.relative.cmp(&b.relative));
    Ok(out)
}

pub(in crate::cli) fn is_folder(path: &Path) -> bool {
    path.is_dir()
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
