//! A new file for the index, which is filled and takes the place of the one that is there.
//!
//! Invariant: whenever this is cut short, the index is the old file or the new one, whole: the new
//! one is synced before the one rename that gives it the name, and both are locked until then.

use std::sync::Arc;

use redb::{Database, WriteTransaction};

use crate::env::{DiskFile, Env, OpenMode};

use super::behind::IndexFile;
use super::error::Error;
use super::files::{self, Files};
use super::roots;
use super::trouble::Watcher;

/// Pages of a file kept in memory.
pub(super) const CACHE_BYTES: usize = 64 << 20;

/// The new file.
pub(super) struct Anew<'a> {
    env: &'a Env,
    files: &'a Files,
    file: Arc<dyn DiskFile>,
}

impl<'a> Anew<'a> {
    /// Makes the file, empty.
    pub(super) fn make(env: &'a Env, files: &'a Files) -> Result<Self, Error> {
        remove(files)?;
        let file = env
            .disk
            .open(&files.new_index(), OpenMode::Exclusive)
            .map_err(|e| Error::io("making the new index", e))?;
        Ok(Self { env, files, file })
    }

    pub(super) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Puts into it, in one transaction, what `fill` puts, as close together as it goes; it is
    /// durable when this returns. [`Error::DiskFull`] where there is no room, which `fill` is told
    /// of when it asks.
    pub(super) fn fill<E: From<Error>>(
        &self,
        fill: impl FnOnce(&WriteTransaction, &dyn Fn() -> Result<(), Error>) -> Result<(), E>,
    ) -> Result<(), E> {
        let file = Arc::new(IndexFile::new(Arc::clone(&self.file), Watcher::new(self.env)));
        self.fill_through(&file, fill)?;
        let failed = |e| Error::io("writing the new index", e);
        if !file.catch_up().map_err(failed)? {
            return Err(Error::DiskFull.into());
        }
        if file.is_spoilt() {
            return Err(failed(std::io::ErrorKind::Other.into()).into());
        }
        self.file.sync().map_err(failed)?;
        Ok(())
    }

    fn fill_through<E: From<Error>>(
        &self,
        file: &Arc<IndexFile>,
        fill: impl FnOnce(&WriteTransaction, &dyn Fn() -> Result<(), Error>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(file.backend())
            .map_err(Error::index)?;
        let filled = (|| {
            let transaction = database.begin_write().map_err(Error::index)?;
            fill(&transaction, &|| if file.is_behind() { Err(Error::DiskFull) } else { Ok(()) })?;
            transaction.commit().map_err(Error::index)?;
            database.compact().map_err(Error::index)?;
            Ok(())
        })();
        if filled.is_err() {
            // Closing writes, too, and says nothing of it.
            file.freeze();
        }
        filled
    }

    /// Gives it the index's name, for good when this returns.
    pub(super) fn take_place(&self) -> Result<(), Error> {
        let failed = |e| Error::io("putting the new index in its place", e);
        let disk = self.env.disk.as_ref();
        disk.rename(&self.files.new_index(), &self.files.index()).map_err(failed)?;
        disk.sync_dir(self.files.dir()).map_err(failed)?;
        roots::forget(self.files);
        Ok(())
    }
}

/// Removes a new file that did not take the place.
pub(super) fn remove(files: &Files) -> Result<(), Error> {
    files::remove(files.disk.as_ref(), &files.new_index())
        .map_err(|e| Error::io("removing a new index", e))
}
