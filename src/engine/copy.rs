//! Copies: a new record over the same bytes.
//!
//! Invariant: a copy moves no bytes unless the two buckets may not keep them in the same places;
//! the source that is judged is the source that is copied.

use std::ops::Range;
use std::sync::Arc;

use md5::{Digest, Md5};

use crate::cluster::{Body, ReadError, Unavailable};
use crate::logic::parts;
use crate::logic::precondition::{Conditions, Refusal};
use crate::types::access::Circumstances;
use crate::types::acl::Acl;
use crate::types::action::{Action, Target};
use crate::types::bucket::BucketConfig;
use crate::types::caller::Caller;
use crate::types::event::Cause;
use crate::types::lock::LockAsked;
use crate::types::name::{AccountId, BucketName, ObjectKey};
use crate::types::object::{ChecksumKind, ETag, ObjectMeta, PartRef, Row, StoredHeaders, Version};
use crate::types::region::RegionId;

use super::lock::{check_asked, marks_made};
use super::object::read_error;
use super::version::{VersionRef, id_shown};
use super::{Engine, Error, Stored, current};

/// How often a copy starts again because its source changed.
const COPY_TRIES: usize = 4;

/// What is copied, and only if.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySource {
    pub bucket: BucketName,
    pub key: ObjectKey,
    pub version: VersionRef,
    pub conditions: Conditions,
    /// Of the request that copies.
    pub around: Circumstances,
}

/// Copies one object.
#[derive(Clone, Debug)]
pub struct CopyObject {
    pub source: CopySource,
    pub bucket: BucketName,
    pub key: ObjectKey,
    pub owner: AccountId,
    /// New headers and metadata instead of the source's.
    pub replace: Option<(StoredHeaders, Vec<(String, String)>)>,
    /// New tags instead of the source's.
    pub replace_tags: Option<Vec<(String, String)>>,
    /// The copy's own list; a source's is never copied.
    pub acl: Option<Acl>,
    pub lock: LockAsked,
    /// A change that makes copying an object to itself meaningful, other than `replace`.
    pub storage_class: Option<String>,
    /// On the target.
    pub conditions: Conditions,
}

/// A copy that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub stored: Stored,
    pub source_modified_ms: u64,
    /// The source's version, where its bucket has or had versions.
    pub source_version_id: Option<String>,
}

/// The source as it was judged.
pub(super) struct Found {
    pub(super) config: Arc<BucketConfig>,
    pub(super) version: Version,
    pub(super) meta: Arc<ObjectMeta>,
}

impl Found {
    /// The runs of the source, as another record names them: held where the source is held now.
    pub(super) fn named_parts(&self) -> Vec<PartRef> {
        let held: Vec<RegionId> = self.version.placement.held().collect();
        let mut parts = self.meta.parts.clone();
        if !held.is_empty() {
            parts.iter_mut().for_each(|part| part.held_by.clone_from(&held));
        }
        parts
    }
}

impl Engine {
    pub async fn copy_object(&self, caller: &Caller, copy: CopyObject) -> Result<Copied, Error> {
        let target = self.place(&copy.bucket).await?;
        let found = self.copy_source(caller, &copy.source).await?;
        refuse_idle_copy(&copy)?;
        let mut meta = described(&found.meta, &copy);
        meta.parts = found.named_parts();
        let bodies = if same_places(&found.config, &target.config) {
            Vec::new()
        } else {
            let (body, md5) =
                self.copy_bytes(&copy.source, &found, 0..found.meta.size, &target.config).await?;
            take_over(&mut meta, &body, parts::plain_etag(md5));
            vec![body]
        };
        let source_modified_ms = found.meta.modified_ms;
        let source_version_id = id_shown(found.config.versioning, &found.version);
        let tags = copy.replace_tags.unwrap_or_else(|| found.version.marks.tags.val.clone());
        let now_ms = self.env().now_ms();
        check_asked(&target.config, copy.lock, now_ms)?;
        let marks = marks_made(&target.config, tags, copy.acl, copy.lock, now_ms);
        let made = (meta, marks);
        let copying = self.caused_by(Cause::Copy);
        let stored = copying.store_version(target, copy.key, copy.conditions, made, bodies).await?;
        Ok(Copied { stored, source_modified_ms, source_version_id })
    }

    /// Finds and judges a source that the caller may read.
    pub(super) async fn copy_source(
        &self,
        caller: &Caller,
        source: &CopySource,
    ) -> Result<Found, Error> {
        let target = Target::Object(source.bucket.clone(), source.key.clone());
        // The source's version is what is asked about, whatever else the request names.
        let around = source.around.of_version(source.version.id());
        let action = match source.version {
            VersionRef::Current => Action::GetObject,
            VersionRef::Null | VersionRef::Exact(_) => Action::GetObjectVersion,
        };
        self.authorize(caller, action, &target, &around).await?;
        let config = self.bucket(&source.bucket).await?;
        let row = self.row(&config, &source.key).await?;
        found(config, &row, source)
    }

    /// Copies bytes of the source through this node, and their MD5. Starts again when the source's
    /// holders changed, not when the source itself did: then the copy would be of two versions.
    pub(super) async fn copy_bytes(
        &self,
        source: &CopySource,
        found: &Found,
        range: Range<u64>,
        target: &Arc<BucketConfig>,
    ) -> Result<(Body, [u8; 16]), Error> {
        let mut version = found.version.clone();
        for _ in 0..COPY_TRIES {
            let mut sink = self.cluster.body(target, Some(range.end - range.start)).await?;
            let mut md5 = Md5::new();
            if range.is_empty() {
                return Ok((sink.finish().await?, md5.finalize().into()));
            }
            let read = self.cluster.read(&found.config, &source.key, &version, range.clone()).await;
            let mut stream = match read {
                Ok(stream) => stream,
                Err(ReadError::Moved(row)) => {
                    let newer = row.versions.into_iter().find(|v| v.stamp == version.stamp);
                    version = newer.ok_or_else(changed)?;
                    continue;
                }
                Err(e @ (ReadError::Gone | ReadError::Unavailable(_))) => {
                    return Err(read_error(&e));
                }
            };
            while let Some(bytes) = stream.next().await {
                let bytes = bytes.map_err(|e| read_error(&e))?;
                md5.update(&bytes);
                sink.write(bytes).await?;
            }
            let body = sink.finish().await?;
            if body.len != range.end - range.start {
                return Err(Error::Internal("the source has fewer bytes than its record".into()));
            }
            return Ok((body, md5.finalize().into()));
        }
        Err(changed())
    }
}

fn changed() -> Error {
    Unavailable::new("the source changed while it was copied").into()
}

fn found(config: Arc<BucketConfig>, row: &Row, source: &CopySource) -> Result<Found, Error> {
    let (version, meta) = source.version.object(row)?;
    source.conditions.copy_source(current(meta)).map_err(|refusal| match refusal {
        Refusal::Failed(header) => {
            let header = header.to_ascii_lowercase();
            Error::PreconditionFailed(format!("x-amz-copy-source-{header}"))
        }
        Refusal::NoSuchKey => Error::NoSuchKey,
    })?;
    Ok(Found { config, version: version.clone(), meta: meta.clone() })
}

/// Both buckets allow the same regions, so that the bytes lie well for both.
pub(super) fn same_places(a: &BucketConfig, b: &BucketConfig) -> bool {
    a.location == b.location
}

/// A copy to itself that changes nothing is a mistake. Source: S3 API reference, CopyObject.
fn refuse_idle_copy(copy: &CopyObject) -> Result<(), Error> {
    let same = copy.source.bucket == copy.bucket
        && copy.source.key == copy.key
        && copy.source.version == VersionRef::Current;
    let changes =
        copy.replace.is_some() || copy.replace_tags.is_some() || copy.storage_class.is_some();
    if same && !changes {
        return Err(Error::InvalidRequest(
            "This copy request is illegal because it is trying to copy an object to itself \
             without changing the object's metadata, storage class, website redirect location or \
             encryption attributes"
                .into(),
        ));
    }
    Ok(())
}

fn described(source: &ObjectMeta, copy: &CopyObject) -> ObjectMeta {
    let mut meta = source.clone();
    meta.owner = copy.owner.clone();
    if let Some((headers, user_meta)) = copy.replace.clone() {
        meta.headers = headers;
        meta.user_meta = user_meta;
    } else {
        // Not copied by S3: it belongs to the name, not to the bytes.
        meta.headers.website_redirect = None;
        meta.headers.storage_class = copy.storage_class.clone();
    }
    meta
}

/// The metadata of bytes that were copied into one run.
fn take_over(meta: &mut ObjectMeta, body: &Body, etag: ETag) {
    assert_eq!(meta.size, body.len, "a copy has the size of its source");
    let part = |blob| PartRef { number: 1, blob, checksum: None, held_by: Vec::new() };
    meta.parts = body.blob.map(part).into_iter().collect();
    meta.rides = body.rides;
    meta.etag = etag;
    // A composite checksum is over parts that the copy does not have.
    meta.checksum = meta.checksum.take().filter(|c| c.kind == ChecksumKind::FullObject);
}
