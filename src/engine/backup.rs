//! Backups of this node and what they bring back, while it runs.
//!
//! Invariant: one at a time; nothing that a restore does here makes a record.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::backup::{Progress, Totals};

use super::{Engine, Error};

/// What is done with a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupKind {
    Create,
    Restore,
}

/// How the last backup or restore of this node came out, or how far it is.
#[derive(Clone, Debug)]
pub struct BackupStatus {
    pub kind: BackupKind,
    pub path: PathBuf,
    pub started_ms: u64,
    /// `None` while it is under way.
    pub ended: Option<Result<Totals, String>>,
    pub records: u64,
    pub blobs: u64,
    pub bytes: u64,
}

/// The one that is under way, or the last one.
#[derive(Clone, Default)]
pub(super) struct Backups(Arc<Mutex<Option<Work>>>);

struct Work {
    kind: BackupKind,
    path: PathBuf,
    started_ms: u64,
    progress: Arc<Progress>,
    ended: Option<Result<Totals, String>>,
}

impl Backups {
    fn lock(&self) -> MutexGuard<'_, Option<Work>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Begins to write a backup of this node to a file of this machine, or to bring back from one
    /// the bytes that records here name.
    pub fn start_backup(&self, kind: BackupKind, path: PathBuf) -> Result<(), Error> {
        if !path.is_absolute() {
            let why = "the path of a backup begins with /: it is one of the node's machine";
            return Err(Error::InvalidArgument(why.to_owned()));
        }
        let progress = Arc::new(Progress::default());
        let mut last = self.backups.lock();
        if last.as_ref().is_some_and(|work| work.ended.is_none()) {
            let why = "a backup or a restore is under way on this node; see how far it is";
            return Err(Error::Conflict(why.to_owned()));
        }
        *last = Some(Work {
            kind,
            path: path.clone(),
            started_ms: self.env().now_ms(),
            progress: progress.clone(),
            ended: None,
        });
        drop(last);
        let engine = self.clone();
        self.env().spawn("backup", async move {
            let (store, cluster) = (engine.cluster.store(), engine.cluster.members().cluster());
            let done = match kind {
                BackupKind::Create => store.back_up(path.clone(), cluster, &progress).await,
                BackupKind::Restore => store.bring_back(&path, &progress).await,
            };
            match &done {
                Ok(totals) => tracing::info!(?kind, path = %path.display(), ?totals, "done"),
                Err(why) => tracing::error!(?kind, path = %path.display(), %why, "failed"),
            }
            let done = done.map_err(|why| why.to_string());
            if let Some(work) = engine.backups.lock().as_mut() {
                work.ended = Some(done);
            }
        });
        Ok(())
    }

    /// Ends the one that is under way; what it wrote is no backup.
    pub fn stop_backup(&self) {
        if let Some(work) = self.backups.lock().as_ref() {
            work.progress.stop.store(true, Ordering::Relaxed);
        }
    }

    pub fn backup_status(&self) -> Option<BackupStatus> {
        let last = self.backups.lock();
        let work = last.as_ref()?;
        Some(BackupStatus {
            kind: work.kind,
            path: work.path.clone(),
            started_ms: work.started_ms,
            ended: work.ended.clone(),
            records: work.progress.records.load(Ordering::Relaxed),
            blobs: work.progress.blobs.load(Ordering::Relaxed),
            bytes: work.progress.bytes.load(Ordering::Relaxed),
        })
    }
}
