//! What can go wrong below: few kinds, by what the caller does next.

use std::fmt;
use std::io;
use std::sync::Arc;

/// An error of the local store. Cheap to clone: one failed sync answers many writers.
#[derive(Clone, Debug)]
pub enum Error {
    /// The store was closed. In normal running only at shutdown; nothing was kept.
    Closed,
    /// Stored bytes fail their checksum, or cannot be decoded. Nothing was served; get them from
    /// another holder.
    Corrupt(Arc<str>),
    /// No room for new bodies. Nothing was kept; deletes and reads go on.
    DiskFull,
    /// The index failed. As `Io`.
    Index(Arc<redb::Error>),
    /// The disk failed while doing `doing`. A read may be tried again, a failed write has poisoned
    /// the store.
    Io { doing: &'static str, source: Arc<io::Error> },
    /// The data directory was written by a newer version.
    Newer { found: u32, known: u32 },
    /// An earlier write or sync failed, so nothing more is written until a restart replays the log.
    Poisoned(Arc<str>),
    /// The disk has not finished what it was asked for, for too long. Whether the change is made is
    /// known only when the disk goes on.
    Stalled,
    /// One change has more bytes than a segment.
    TooLarge { bytes: u64 },
}

impl Error {
    pub(crate) fn io(doing: &'static str, source: io::Error) -> Self {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::DiskFull;
        }
        Self::Io { doing, source: Arc::new(source) }
    }

    pub(crate) fn index(source: impl Into<redb::Error>) -> Self {
        Self::Index(Arc::new(source.into()))
    }

    pub(crate) fn corrupt(what: impl Into<Arc<str>>) -> Self {
        Self::Corrupt(what.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the store is closed"),
            Self::Corrupt(what) => write!(f, "damaged: {what}"),
            Self::DiskFull => f.write_str("the disk is full"),
            Self::Index(source) => write!(f, "the index failed: {source}"),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
            Self::Newer { found, known } => {
                write!(f, "the data directory has format {found}, this program knows {known}")
            }
            Self::Poisoned(why) => write!(f, "writes stopped after a failure: {why}"),
            Self::Stalled => f.write_str("the disk does not answer"),
            Self::TooLarge { bytes } => write!(f, "a change of {bytes} bytes is too large"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Index(source) => Some(source.as_ref()),
            Self::Io { source, .. } => Some(source.as_ref()),
            Self::Closed
            | Self::Corrupt(_)
            | Self::DiskFull
            | Self::Newer { .. }
            | Self::Poisoned(_)
            | Self::Stalled
            | Self::TooLarge { .. } => None,
        }
    }
}
