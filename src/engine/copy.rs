//! Copies: a new record over the same bytes.
//!
//! Invariant: a copy moves no bytes unless source and copy may not lie in the same places;
//! the source that is judged is the source that is copied.

use std::ops::Range;
use std::sync::Arc;

use md5::{Digest, Md5};

use crate::cluster::{ReadError, Unavailable};
use crate::logic::checksum::Sum;
use crate::logic::encryption::DataKey;
use crate::logic::precondition::{Conditions, Refusal};
use crate::types::access::Circumstances;
use crate::types::acl::Acl;
use crate::types::action::{Action, Target};
use crate::types::bucket::{BucketConfig, Location};
use crate::types::caller::Caller;
use crate::types::encryption::{SecretBytes, Sse, SseAsked};
use crate::types::event::Cause;
use crate::types::lock::LockAsked;
use crate::types::name::{AccountId, BucketName, ObjectKey};
use crate::types::object::{
    Checksum, ChecksumAlgorithm, ChecksumKind, ETag, ObjectMeta, PartRef, Row, StoredHeaders,
    Version,
};
use crate::types::region::RegionId;

use super::encryption::{Encrypting, Run, etag, opener};
use super::lock::{check_asked, marks_made};
use super::object::{plain_parts, read_error};
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
    /// Of the source, where that is SSE-C.
    pub customer_key: Option<SecretBytes>,
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
    pub encryption: SseAsked,
    /// A change that makes copying an object to itself meaningful, other than `replace`.
    pub storage_class: Option<String>,
    /// Other regions than the source's, whatever else is replaced.
    pub location: Option<Location>,
    /// Where the copy leads on a website; that of the source is not copied.
    pub website_redirect: Option<String>,
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
    /// Of an encrypted source.
    pub(super) key: Option<DataKey>,
}

/// What was computed over bytes that were copied.
pub(super) struct CopiedDigests {
    pub(super) md5: [u8; 16],
    /// The one that was asked for.
    pub(super) checksum: Option<Checksum>,
}

/// What bytes are copied for.
#[derive(Clone, Copy)]
pub(super) struct CopyTarget<'a> {
    pub(super) config: &'a Arc<BucketConfig>,
    /// Encrypts the copy.
    pub(super) key: Option<&'a DataKey>,
    /// Computed besides the MD5.
    pub(super) checksum: Option<ChecksumAlgorithm>,
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

    /// The source may lie in the regions of `target` and in no others, so that its bytes lie well
    /// for the copy.
    pub(super) fn lies_as_in(&self, target: &BucketConfig) -> bool {
        self.config.location.and(&self.meta.headers.location) == target.location
    }
}

impl Engine {
    pub async fn copy_object(&self, caller: &Caller, copy: CopyObject) -> Result<Copied, Error> {
        let target = self.place(&copy.bucket).await?;
        let found = self.copy_source(caller, &copy.source).await?;
        refuse_idle_copy(&copy)?;
        let mut meta = described(&found.meta, &copy);
        let target = target.within(&meta.headers.location)?;
        meta.parts = found.named_parts();
        let encrypting = self.encrypting_copy(&copy.bucket, &copy.encryption, &found)?;
        let key = encrypting.as_ref().map(|e| &e.key);
        let bodies = if found.lies_as_in(&target.config) && found.key.as_ref() == key {
            Vec::new()
        } else {
            let (all, config, checksum) = (0..found.meta.size, &target.config, None);
            let (run, digests) = self
                .copy_bytes(&copy.source, &found, all, CopyTarget { config, key, checksum })
                .await?;
            let encrypted = encrypting.as_ref().map(|e| (&e.record.sse, &e.key));
            take_over(&mut meta, &run, etag(digests.md5, encrypted));
            vec![run.body]
        };
        meta.encryption = encrypting.map(|e| e.record);
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
        let row = self.row_with(&config, &source.key, source.version).await?;
        let found = found(config, &row, source)?;
        let encryption = found.meta.encryption.as_ref();
        let key = self.data_key(encryption, source.customer_key.as_ref())?;
        Ok(Found { key, ..found })
    }

    /// The encryption of a copy: as asked, else the target bucket's default, else as the keyring
    /// keeps the source. Between two keys of the keyring only the data key is wrapped anew.
    fn encrypting_copy(
        &self,
        target: &BucketName,
        asked: &SseAsked,
        found: &Found,
    ) -> Result<Option<Encrypting>, Error> {
        let kept = found.meta.encryption.as_ref().map(|e| &e.sse);
        let made = match (self.encrypting(target, asked)?, kept) {
            (None, Some(Sse::Kms(name))) => {
                self.encrypting(target, &SseAsked::Kms(name.clone()))?
            }
            (None, Some(Sse::S3(_))) => self.encrypting(target, &SseAsked::S3)?,
            (made, Some(Sse::Customer | Sse::Kms(_) | Sse::S3(_)) | None) => made,
        };
        match (made, kept, &found.key) {
            (Some(made), Some(kept), Some(key)) if rewraps(kept, &made.record.sse) => {
                self.encrypting_with(made.record.sse, None, key.clone()).map(Some)
            }
            (made, _, _) => Ok(made),
        }
    }

    /// Copies bytes of the source through this node, encrypted with `key` where there is one, and
    /// computes their digests. Starts again when the source's
    /// holders changed, not when the source itself did: then the copy would be of two versions.
    pub(super) async fn copy_bytes(
        &self,
        source: &CopySource,
        found: &Found,
        range: Range<u64>,
        target: CopyTarget<'_>,
    ) -> Result<(Run, CopiedDigests), Error> {
        let CopyTarget { config, key, checksum } = target;
        let mut version = found.version.clone();
        for _ in 0..COPY_TRIES {
            let sink = self.cluster.body(config, Some(range.end - range.start)).await?;
            let mut sink = self.sealing(sink, key);
            let mut opener = opener(found.key.as_ref(), &found.meta, range.clone())?;
            let (mut md5, mut sum) = (Md5::new(), checksum.map(Sum::new));
            let digests = |md5: Md5, sum: Option<Sum>| CopiedDigests {
                md5: md5.finalize().into(),
                checksum: sum.map(Sum::finish),
            };
            if range.is_empty() {
                return Ok((sink.finish().await?, digests(md5, sum)));
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
                let mut bytes = bytes.map_err(|e| read_error(&e))?;
                if let Some(opener) = &mut opener {
                    bytes = opener.decrypt(bytes);
                }
                md5.update(&bytes);
                if let Some(sum) = &mut sum {
                    sum.update(&bytes);
                }
                sink.write(bytes).await?;
            }
            let run = sink.finish().await?;
            if run.body.len != range.end - range.start {
                return Err(Error::Internal("the source has fewer bytes than its record".into()));
            }
            return Ok((run, digests(md5, sum)));
        }
        Err(changed())
    }
}

fn changed() -> Error {
    Unavailable::new("the source changed while it was copied").into()
}

fn found(config: Arc<BucketConfig>, row: &Row, source: &CopySource) -> Result<Found, Error> {
    let (version, meta) = source.version.object(row).map_err(|why| match why {
        Error::NoSuchKey => Error::NoSuchSource(source.key.clone()),
        why => why,
    })?;
    source.conditions.copy_source(current(meta)).map_err(|refusal| match refusal {
        Refusal::Failed(header) => {
            let header = header.to_ascii_lowercase();
            Error::PreconditionFailed(format!("x-amz-copy-source-{header}"))
        }
        Refusal::NoSuchKey => Error::NoSuchSource(source.key.clone()),
    })?;
    Ok(Found { config, version: version.clone(), meta: meta.clone(), key: None })
}

/// Both keys are the keyring's, and what the ETag says stays true.
fn rewraps(from: &Sse, to: &Sse) -> bool {
    matches!((from, to), (Sse::Kms(_), Sse::Kms(_)) | (Sse::S3(_), Sse::S3(_)))
}

/// A copy to itself that changes nothing is a mistake. Source: S3 API reference, CopyObject.
fn refuse_idle_copy(copy: &CopyObject) -> Result<(), Error> {
    let same = copy.source.bucket == copy.bucket
        && copy.source.key == copy.key
        && copy.source.version == VersionRef::Current;
    let changes = copy.replace.is_some()
        || copy.replace_tags.is_some()
        || copy.storage_class.is_some()
        || copy.location.is_some()
        || copy.encryption != SseAsked::Default
        || copy.website_redirect.is_some();
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
        meta.headers.website_redirect.clone_from(&copy.website_redirect);
        meta.headers.storage_class = copy.storage_class.clone();
    }
    if let Some(location) = &copy.location {
        meta.headers.location = location.clone();
    }
    meta
}

/// The metadata of bytes that were copied into one run.
fn take_over(meta: &mut ObjectMeta, run: &Run, etag: ETag) {
    assert_eq!(meta.size, run.body.len, "a copy has the size of its source");
    meta.parts = plain_parts(run);
    meta.rides = run.body.rides;
    meta.etag = etag;
    // A composite checksum is over parts that the copy does not have.
    meta.checksum = meta.checksum.take().filter(|c| c.kind == ChecksumKind::FullObject);
}
