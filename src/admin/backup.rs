//! Backups of one node.

use std::path::PathBuf;

use crate::engine::{BackupKind, Error};

use super::api::Api;
use super::elsewhere::REGION;
use super::model::{Backup, BackupState, BackupTask};
use super::route::{Call, Route, route};

pub(super) const ROUTES: &[Route] = &[
    route!(GET "backup", Operator, status, () => Backup, [REGION],
        "How far the backup or restore of the node is, or how the last one came out."),
    route!(POST "backup/create", Operator, create, BackupTask => Backup, [REGION],
        "Writes a backup of the node to a file of its own machine, while it runs."),
    route!(POST "backup/restore", Operator, restore, BackupTask => Backup, [REGION],
        "Brings back from a file of the node's machine the bytes that its records name and that it \
         does not have; never a record."),
    route!(POST "backup/stop", Operator, stop, () => Backup, [REGION],
        "Ends the one that is under way; what it wrote is no backup."),
];

async fn create(api: &Api, call: &Call<'_>, task: BackupTask) -> Result<Backup, Error> {
    api.engine.start_backup(BackupKind::Create, PathBuf::from(task.path))?;
    status(api, call, ()).await
}

async fn restore(api: &Api, call: &Call<'_>, task: BackupTask) -> Result<Backup, Error> {
    api.engine.start_backup(BackupKind::Restore, PathBuf::from(task.path))?;
    status(api, call, ()).await
}

async fn stop(api: &Api, call: &Call<'_>, (): ()) -> Result<Backup, Error> {
    api.engine.stop_backup();
    status(api, call, ()).await
}

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn status(api: &Api, _: &Call<'_>, (): ()) -> Result<Backup, Error> {
    let Some(status) = api.engine.backup_status() else { return Ok(Backup::default()) };
    let (state, why) = match &status.ended {
        None => (BackupState::Running, None),
        Some(Ok(_)) => (BackupState::Done, None),
        Some(Err(why)) => (BackupState::Failed, Some(why.clone())),
    };
    let totals = status.ended.and_then(Result::ok);
    Ok(Backup {
        state,
        restores: status.kind == BackupKind::Restore,
        path: status.path.display().to_string(),
        started_ms: status.started_ms,
        records: totals.map_or(status.records, |totals| totals.records),
        blobs: totals.map_or(status.blobs, |totals| totals.blobs),
        bytes: totals.map_or(status.bytes, |totals| totals.bytes),
        absent: totals.map_or(0, |totals| totals.absent),
        why,
    })
}
