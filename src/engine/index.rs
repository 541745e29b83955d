//! What the engine reads from this region's index: rows in key order, names, uploads, parts.
//!
//! Invariant: a snapshot is never held across an await; everything here runs on a blocking thread
//! and reads in bounded pages.

use std::ops::{Bound, ControlFlow};
use std::sync::LazyLock;

use crate::cluster::Unavailable;
use crate::store::{self, Snapshot};
use crate::types::bucket::{BucketConfig, NameState};
use crate::types::id::{BucketId, UploadId};
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::Row;
use crate::types::record::{PartRecord, Record, RecordId, UploadState};
use crate::types::stamp::Stamp;

use super::uploads::{UploadInfo, upload_info};
use super::{Engine, Error};

/// Records that one look at the index takes.
const PAGE: usize = 1000;

/// A name that sorts before all others but itself: a digit, hyphens, a digit.
pub(super) static FIRST_NAME: LazyLock<BucketName> = LazyLock::new(|| {
    let name = format!("0{}0", "-".repeat(61));
    BucketName::parse(&name).expect("63 characters that a name may have")
});

impl Engine {
    /// Active buckets, as this region knows them, by name.
    pub(super) async fn local_buckets(&self) -> Result<Vec<(BucketName, BucketConfig)>, Error> {
        self.look(|snapshot| names(snapshot, NameState::into_active)).await
    }

    /// The open uploads of a bucket, in the order of their beginnings.
    pub(super) async fn local_uploads(&self, bucket: BucketId) -> Result<Vec<UploadInfo>, Error> {
        self.look(move |snapshot| {
            let mut uploads = Vec::new();
            walk(snapshot, RecordId::Upload(UploadId(Stamp::ZERO)), |id, record| {
                let (RecordId::Upload(upload), Record::Upload(record)) = (id, record) else {
                    return ControlFlow::Break(());
                };
                if record.bucket == bucket && record.state == UploadState::Open {
                    uploads.push(upload_info(upload, &record));
                }
                ControlFlow::Continue(())
            })?;
            Ok(uploads)
        })
        .await
    }

    /// The parts of an upload that are known here, ended or not, by number.
    pub(super) async fn local_parts(&self, upload: UploadId) -> Result<Vec<PartRecord>, Error> {
        self.look(move |snapshot| {
            let mut parts = Vec::new();
            // Part numbers begin with 1.
            walk(snapshot, RecordId::Part(upload, 0), |id, record| match (id, record) {
                (RecordId::Part(of, _), Record::Part(part)) if of == upload => {
                    parts.push(*part);
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Break(()),
            })?;
            Ok(parts)
        })
        .await
    }

    /// The stamps of keys as this region has them.
    pub(super) async fn local_stamps(
        &self,
        bucket: BucketId,
        keys: Vec<ObjectKey>,
    ) -> Result<Vec<(Stamp, ObjectKey)>, Error> {
        self.look(move |snapshot| {
            let stamp = |key: ObjectKey| {
                let row = snapshot.row(bucket, &key).map_err(store_error)?;
                Ok((row.map_or(Stamp::ZERO, |row| row.stamp()), key))
            };
            keys.into_iter().map(stamp).collect()
        })
        .await
    }

    /// Reads the index away from the threads that serve.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.cluster.store().clone();
        self.env().blocking(move || read(&store.read().map_err(store_error)?)).await
    }
}

/// What is picked of the states of all names, by name.
pub(super) fn names<T>(
    snapshot: &Snapshot,
    pick: impl Fn(NameState) -> Option<T>,
) -> Result<Vec<(BucketName, T)>, Error> {
    let mut found = Vec::new();
    walk(snapshot, RecordId::Name(FIRST_NAME.clone()), |id, record| {
        let (RecordId::Name(name), Record::Name(record)) = (id, record) else {
            return ControlFlow::Break(());
        };
        found.extend(pick(record.state).map(|picked| (name, picked)));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Walks records in the order of the table, from the one after `after`.
pub(super) fn walk(
    snapshot: &Snapshot,
    mut after: RecordId,
    mut visit: impl FnMut(RecordId, Record) -> ControlFlow<()>,
) -> Result<(), Error> {
    loop {
        let page = snapshot.records(Some(&after), PAGE).map_err(store_error)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        let (next, is_last) = (last.clone(), page.len() < PAGE);
        for (id, record) in page {
            if visit(id, record).is_break() {
                return Ok(());
            }
        }
        if is_last {
            return Ok(());
        }
        after = next;
    }
}

pub(super) fn store_error(error: store::Error) -> Error {
    match error {
        store::Error::DiskFull => Error::StorageFull,
        store::Error::Index(_)
        | store::Error::Io { .. }
        | store::Error::Poisoned(_)
        | store::Error::Stalled => Unavailable::from(error).into(),
        store::Error::Closed
        | store::Error::Corrupt(_)
        | store::Error::Newer { .. }
        | store::Error::TooLarge { .. } => Error::Internal(error.to_string()),
    }
}

type Found = Result<(ObjectKey, Row), store::Error>;

/// A walk over the rows of a bucket that can jump.
pub(super) struct Rows<'a> {
    snapshot: &'a Snapshot,
    bucket: BucketId,
    from: Bound<ObjectKey>,
    rows: Option<Box<dyn Iterator<Item = Found> + 'a>>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, bucket: BucketId) -> Self {
        Self { snapshot, bucket, from: Bound::Unbounded, rows: None }
    }

    pub(super) fn seek(&mut self, from: Bound<&ObjectKey>) {
        self.from = from.cloned();
        self.rows = None;
    }

    pub(super) fn next(&mut self) -> Result<Option<(ObjectKey, Row)>, Error> {
        if self.rows.is_none() {
            let rows = self.snapshot.rows(self.bucket, self.from.as_ref()).map_err(store_error)?;
            self.rows = Some(Box::new(rows));
        }
        let rows = self.rows.as_mut().expect("it was made just above");
        rows.next().transpose().map_err(store_error)
    }
}
