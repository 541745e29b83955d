//! Multipart uploads: begin, parts, complete, abort.
//!
//! Invariant: the region inside an upload's id alone decides whether it is completed or aborted
//! (asked of it by `forward`); completing is one change that makes the object and ends every part,
//! and doing it again gives the same answer. The bytes of parts that no object took are named by
//! nobody from then on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::cluster::{Body, View, Write};
use crate::limits;
use crate::logic::parts::{self, Listed, Refusal};
use crate::logic::precondition::Conditions;
use crate::types::bucket::BucketConfig;
use crate::types::caller::Caller;
use crate::types::encryption::{SecretBytes, Sse};
use crate::types::id::{BlobId, Hash, OpId, UploadId};
use crate::types::name::{AccountId, BucketName, ObjectKey};
use crate::types::object::{
    BlobRef, Checksum, ChecksumAlgorithm, ChecksumKind, Content, ETag, ObjectMeta, PartRef, Row,
};
use crate::types::range::ByteRange;
use crate::types::record::{PartRecord, Record, RecordId, UploadRecord, UploadState};
use crate::types::stamp::Stamp;

use super::body::BodySource;
use super::copy::{CopySource, CopyTarget, Found};
use super::encryption::{Run, shown_md5};
use super::lock::{check_asked, marks_made};
use super::version::id_stored;
use super::{Attributes, Engine, Error, Place, Stored, above, judge, mismatch};

/// Begins an upload.
#[derive(Clone, Debug)]
pub struct CreateUpload {
    pub bucket: BucketName,
    pub key: ObjectKey,
    pub owner: AccountId,
    pub attributes: Attributes,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// An upload that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    pub upload: UploadId,
    /// How its parts will be encrypted at rest, where they will.
    pub sse: Option<Sse>,
}

/// Names one part of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPart {
    pub bucket: BucketName,
    pub key: ObjectKey,
    pub upload: UploadId,
    pub number: u16,
    /// Of an SSE-C upload.
    pub customer_key: Option<SecretBytes>,
}

/// Takes a part from an object.
#[derive(Clone, Debug)]
pub struct UploadPartCopy {
    pub part: UploadPart,
    pub source: CopySource,
    /// All of it when missing.
    pub range: Option<ByteRange>,
}

/// A part that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub etag: ETag,
    pub modified_ms: u64,
    pub checksum: Option<Checksum>,
    pub sse: Option<Sse>,
}

/// Makes the object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CompleteUpload {
    pub bucket: BucketName,
    pub key: ObjectKey,
    pub upload: UploadId,
    pub parts: Vec<Listed>,
    pub conditions: Conditions,
    /// The whole object's checksum, to be compared, where the client gives it.
    pub checksum: Option<(ChecksumAlgorithm, Vec<u8>)>,
    /// The whole object's size, to be compared, where the client gives it.
    pub size: Option<u64>,
    /// Of an SSE-C upload; judged where the request enters.
    #[serde(skip)]
    pub customer_key: Option<SecretBytes>,
}

impl Engine {
    pub async fn create_upload(&self, create: CreateUpload) -> Result<Begun, Error> {
        if let Some((algorithm, kind)) = create.checksum
            && !parts::kind_allowed(algorithm, kind)
        {
            let why = "this checksum algorithm does not have this checksum type";
            return Err(Error::InvalidRequest(why.into()));
        }
        let place = self.place(&create.bucket).await?;
        check_asked(&place.config, create.attributes.lock, self.env().now_ms())?;
        let place = place.within(&create.attributes.headers.location)?;
        let encrypting = self.encrypting(&create.bucket, &create.attributes.encryption)?;
        let encryption = encrypting.map(|e| e.record);
        let sse = encryption.as_ref().map(|e| e.sse.clone());
        self.cluster.await_clock().await;
        let upload = UploadId(self.cluster.stamp(Stamp::ZERO));
        let record = UploadRecord {
            stamp: upload.0,
            bucket: place.config.id,
            key: create.key,
            owner: create.owner,
            headers: create.attributes.headers,
            user_meta: create.attributes.user_meta,
            tags: create.attributes.tags,
            acl: create.attributes.acl,
            lock: create.attributes.lock,
            checksum: create.checksum,
            encryption,
            started_ms: upload.0.hlc.ms(),
            state: UploadState::Open,
        };
        let (config, subject) = (place.config.clone(), RecordId::Upload(upload));
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            place.still_there(view)?;
            let record = UploadRecord { stamp, ..record.clone() };
            Ok(vec![(RecordId::Upload(upload), Record::Upload(Box::new(record)))])
        });
        self.write(&config, Write { subject, bodies: Vec::new(), decide }).await?;
        Ok(Begun { upload, sse })
    }

    pub async fn upload_part(
        &self,
        part: UploadPart,
        source: &mut dyn BodySource,
    ) -> Result<Part, Error> {
        let place = self.place(&part.bucket).await?;
        let record = self.open_upload(&place, &part.key, part.upload).await?;
        let place = place.within(&record.headers.location)?;
        self.check_room_for(&place, &part.key, source.len())?;
        if let Some((algorithm, _)) = record.checksum {
            source.want_checksum(algorithm);
        }
        let key = self.data_key(record.encryption.as_ref(), part.customer_key.as_ref())?;
        let config = unriding(&place.config);
        let (run, digests) = self.take_body(&config, source, key.as_ref()).await?;
        let sse = record.encryption.map(|e| e.sse);
        let md5 = shown_md5(digests.md5, sse.as_ref().zip(key.as_ref()));
        let made = Made { taken: Taken::Run(run), md5, checksum: digests.checksum, sse };
        self.store_part(place, part, made).await
    }

    /// A part from bytes that are stored already: named where they are one whole run with a known
    /// digest, else copied.
    pub async fn upload_part_copy(
        &self,
        caller: &Caller,
        copy: UploadPartCopy,
    ) -> Result<Part, Error> {
        let place = self.place(&copy.part.bucket).await?;
        let record = self.open_upload(&place, &copy.part.key, copy.part.upload).await?;
        let place = place.within(&record.headers.location)?;
        let key = self.data_key(record.encryption.as_ref(), copy.part.customer_key.as_ref())?;
        let found = self.copy_source(caller, &copy.source).await?;
        let size = found.meta.size;
        let range = match copy.range {
            Some(range) => range.resolve_whole(size).ok_or(Error::InvalidRange { size })?,
            None => 0..size,
        };
        if range.end - range.start > limits::BODY_BYTES_MAX {
            return Err(Error::EntityTooLarge { bytes_max: limits::BODY_BYTES_MAX });
        }
        let plain = key.is_none() && found.key.is_none();
        let whole = plain && range == (0..size) && found.lies_as_in(&place.config);
        let wanted = record.checksum.map(|(algorithm, _)| algorithm);
        if let (true, Some(made)) = (whole, named(&found, wanted)) {
            return self.store_part(place, copy.part, made).await;
        }
        let config = unriding(&place.config);
        let target = CopyTarget { config: &config, key: key.as_ref(), checksum: wanted };
        let (run, digests) = self.copy_bytes(&copy.source, &found, range, target).await?;
        let sse = record.encryption.map(|e| e.sse);
        let md5 = shown_md5(digests.md5, sse.as_ref().zip(key.as_ref()));
        let made = Made { taken: Taken::Run(run), md5, checksum: digests.checksum, sse };
        self.store_part(place, copy.part, made).await
    }

    /// Makes the object. Asked again after it was made, gives the same answer. The key of an SSE-C
    /// upload is needed where its parts have checksums. Source: S3 API reference,
    /// CompleteMultipartUpload.
    pub async fn complete_upload(&self, complete: CompleteUpload) -> Result<Stored, Error> {
        let place = self.place(&complete.bucket).await?;
        let record = self.upload(&place, &complete.key, complete.upload).await?;
        if record.checksum.is_some() || complete.customer_key.is_some() {
            self.data_key(record.encryption.as_ref(), complete.customer_key.as_ref())?;
        }
        self.end_upload(complete).await
    }

    /// The same without a look at keys, which the region that was asked first has had.
    pub(super) async fn end_upload(&self, complete: CompleteUpload) -> Result<Stored, Error> {
        let place = self.place(&complete.bucket).await?;
        let record = self.upload(&place, &complete.key, complete.upload).await?;
        match record.state {
            UploadState::Open => {}
            UploadState::Aborted => return Err(Error::NoSuchUpload),
            UploadState::Completed(stamp) => return self.completed(&place, &complete, stamp).await,
        }
        if self.cluster.decider(complete.upload) != self.region() {
            return self.complete_elsewhere(&place, complete).await;
        }
        let numbers = self.gather_parts(&complete).await?;
        let (config, subject) = (place.config.clone(), place.row_id(&complete.key));
        let (complete, known_ms) = (Arc::new(complete), place.known_ms);
        let (keeping, room) = (place.keeping, place.room);
        let (judged, listed) = (complete.clone(), numbers.clone());
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            completion(&place, &judged, &listed, view, stamp)
        });
        let write = Write { subject, bodies: Vec::new(), decide };
        let stamp = if complete.conditions.is_empty() && !self.is_linearizable(&config) {
            self.write(&config, write).await?.stamp
        } else {
            // Asked for again, it is the same change.
            let op = op_of(complete.upload);
            match self.write_linearizable(&config, write, Some(op)).await {
                Ok(written) => written.stamp,
                Err(Error::ConditionalConflict) => {
                    Box::pin(self.recover_completion(&config, &complete, numbers)).await?
                }
                Err(why) => return Err(why),
            }
        };
        let place = Place { name: complete.bucket.clone(), config, keeping, known_ms, room };
        self.completed(&place, &complete, stamp).await
    }

    /// A crash may have come between a completion's choice and its record here: then the object is
    /// made, and the upload is ended now. The stamp of the object.
    async fn recover_completion(
        &self,
        config: &Arc<BucketConfig>,
        complete: &Arc<CompleteUpload>,
        numbers: Vec<u16>,
    ) -> Result<Stamp, Error> {
        let (upload, row) = (complete.upload, RecordId::Row(config.id, complete.key.clone()));
        let took_effect = self.cluster.took_effect(&row, op_of(upload)).await?;
        let Some(latest) = took_effect else { return Err(Error::ConditionalConflict) };
        let (judged, made) = (complete.clone(), Arc::new(Mutex::new(latest)));
        let found = made.clone();
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            let record = open_record(view, upload)?;
            let stored = part_records(view, upload, &numbers)?;
            let whole =
                parts::assemble(&judged.parts, &stored, record.checksum).map_err(refused)?;
            // Where it was overwritten since, nothing shows its stamp any more.
            let stamps = match view.record(&row)? {
                Some(Record::Row(row)) => made_of(&row, &whole.parts),
                Some(other) => return Err(mismatch(&other)),
                None => None,
            };
            let object = stamps.unwrap_or(latest);
            *found.lock().expect("no holder of this lock panics") = object;
            let mut records = end_parts(view, upload, &numbers, stamp)?;
            let ended = UploadRecord { stamp, state: UploadState::Completed(object), ..record };
            records.push((RecordId::Upload(upload), Record::Upload(Box::new(ended))));
            Ok(records)
        });
        let subject = RecordId::Upload(upload);
        self.write(config, Write { subject, bodies: Vec::new(), decide }).await?;
        Ok(*made.lock().expect("no holder of this lock panics"))
    }

    pub async fn abort_upload(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<(), Error> {
        let place = self.place(bucket).await?;
        match self.upload(&place, key, upload).await?.state {
            UploadState::Open => {}
            UploadState::Aborted => return Ok(()),
            UploadState::Completed(_) => return Err(Error::NoSuchUpload),
        }
        if self.cluster.decider(upload) != self.region() {
            return self.abort_elsewhere(bucket, key, upload).await;
        }
        let numbers = self.part_numbers(upload).await?;
        let (config, subject) = (place.config.clone(), RecordId::Upload(upload));
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            let record = open_record(view, upload)?;
            let mut records = end_parts(view, upload, &numbers, stamp)?;
            let ended = UploadRecord { stamp, state: UploadState::Aborted, ..record };
            records.push((RecordId::Upload(upload), Record::Upload(Box::new(ended))));
            Ok(records)
        });
        self.write(&config, Write { subject, bodies: Vec::new(), decide }).await?;
        Ok(())
    }

    /// The upload, of this key of this bucket.
    pub(super) async fn upload(
        &self,
        place: &Place,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<UploadRecord, Error> {
        match self.cluster.record(&RecordId::Upload(upload)).await? {
            Some(Record::Upload(r)) if r.bucket == place.config.id && r.key == *key => Ok(*r),
            Some(Record::Upload(_)) | None => Err(Error::NoSuchUpload),
            Some(other) => Err(mismatch(&other)),
        }
    }

    pub(super) async fn open_upload(
        &self,
        place: &Place,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<UploadRecord, Error> {
        let record = self.upload(place, key, upload).await?;
        if record.state == UploadState::Open { Ok(record) } else { Err(Error::NoSuchUpload) }
    }

    /// The numbers of the parts that are known here. A listed one that entered elsewhere and is
    /// still on its way is looked for; the first that nobody has ends the search.
    async fn gather_parts(&self, complete: &CompleteUpload) -> Result<Vec<u16>, Error> {
        let mut numbers = self.part_numbers(complete.upload).await?;
        for listed in &complete.parts {
            let Err(at) = numbers.binary_search(&listed.number) else { continue };
            let id = RecordId::Part(complete.upload, listed.number);
            if self.cluster.record(&id).await?.is_none() {
                break;
            }
            numbers.insert(at, listed.number);
        }
        Ok(numbers)
    }

    async fn store_part(&self, place: Place, part: UploadPart, made: Made) -> Result<Part, Error> {
        let Made { taken, md5, checksum, sse } = made;
        if !(1..=limits::PARTS_MAX).contains(&part.number) {
            let why = format!("a part number is between 1 and {}", limits::PARTS_MAX);
            return Err(Error::InvalidArgument(why));
        }
        let (run, bodies) = taken.into_run(part.number, checksum.clone());
        let (config, subject) = (place.config.clone(), RecordId::Part(part.upload, part.number));
        let (id, upload, stored) = (subject.clone(), part.upload, checksum.clone());
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            place.still_there(view)?;
            // An upload begun elsewhere may not be replicated to here yet; it was looked up before.
            if view.record(&RecordId::Upload(upload))?.is_some() {
                open_record(view, upload)?;
            }
            let record = PartRecord {
                stamp,
                md5,
                part: run.clone(),
                checksum: stored.clone(),
                modified_ms: stamp.hlc.ms(),
                ended: false,
            };
            Ok(vec![(id.clone(), Record::Part(Box::new(record)))])
        });
        let written = self.write(&config, Write { subject, bodies, decide }).await?;
        let modified_ms = written.stamp.hlc.ms();
        Ok(Part { etag: parts::plain_etag(md5), modified_ms, checksum, sse })
    }

    /// The answer of a completion, from the parts that made it.
    async fn completed(
        &self,
        place: &Place,
        complete: &CompleteUpload,
        stamp: Stamp,
    ) -> Result<Stored, Error> {
        let row = self.row(&place.config, &complete.key).await?;
        let made = row.versions.iter().find(|v| v.stamp == stamp);
        let meta = made.and_then(|v| match &v.content {
            Content::Object(meta) => Some(meta.clone()),
            Content::Marker | Content::Tombstone => None,
        });
        if let Some(meta) = meta {
            let (etag, size) = (meta.etag.clone(), meta.size);
            let (modified_ms, checksum) = (meta.modified_ms, meta.checksum.clone());
            let version_id = id_stored(place.config.versioning, stamp);
            let sse = meta.encryption.as_ref().map(|e| e.sse.clone());
            let version = stamp;
            return Ok(Stored { version, version_id, etag, size, modified_ms, checksum, sse });
        }
        // Overwritten or deleted since: what was made is known from the list of parts.
        let md5s = complete.parts.iter().map(|l| md5_of(&l.etag)).collect::<Option<Vec<_>>>();
        let etag = parts::multipart_etag(&md5s.ok_or(Error::NoSuchUpload)?);
        let modified_ms = stamp.hlc.ms();
        let version_id = id_stored(place.config.versioning, stamp);
        let (version, checksum, sse) = (stamp, None, None);
        Ok(Stored { version, version_id, etag, size: 0, modified_ms, checksum, sse })
    }
}

/// A part as it came in.
struct Made {
    taken: Taken,
    /// What its ETag shows.
    md5: [u8; 16],
    checksum: Option<Checksum>,
    sse: Option<Sse>,
}

/// Where a part's bytes are.
enum Taken {
    Run(Run),
    Named(PartRef),
}

impl Taken {
    fn into_run(self, number: u16, checksum: Option<Checksum>) -> (PartRef, Vec<Body>) {
        match self {
            Self::Named(run) => (PartRef { number, checksum, ..run }, Vec::new()),
            Self::Run(Run { body, seal }) => {
                let blob = body.blob.unwrap_or_else(empty_blob);
                (PartRef { number, blob, checksum, held_by: Vec::new(), seal }, vec![body])
            }
        }
    }
}

/// What stands for the bytes of an empty part; no blob has this id.
fn empty_blob() -> BlobRef {
    BlobRef { id: BlobId(Stamp::ZERO), len: 0, root: Hash::of(&[]) }
}

/// A part's bytes never ride: its record says who holds them, whatever their number.
fn unriding(config: &Arc<BucketConfig>) -> Arc<BucketConfig> {
    Arc::new(BucketConfig { riding_bytes_max: 0, ..BucketConfig::clone(config) })
}

/// A part that names the run of an object that is one plain run with known digests, and not riding
/// in its row.
fn named(found: &Found, wanted: Option<ChecksumAlgorithm>) -> Option<Made> {
    let md5 = md5_of(&found.meta.etag.0)?;
    let full = |c: &&Checksum| c.kind == ChecksumKind::FullObject && Some(c.algorithm) == wanted;
    let checksum = found.meta.checksum.as_ref().filter(full).cloned();
    match &found.named_parts()[..] {
        [only] if !found.meta.rides && checksum.is_some() == wanted.is_some() => {
            Some(Made { taken: Taken::Named(only.clone()), md5, checksum, sse: None })
        }
        _ => None,
    }
}

fn md5_of(etag: &str) -> Option<[u8; 16]> {
    let mut md5 = [0; 16];
    hex::decode_to_slice(etag, &mut md5).ok()?;
    Some(md5)
}

/// The operation by which an upload becomes an object.
fn op_of(upload: UploadId) -> OpId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Hash::of(&upload.0.to_bytes()).0[..16]);
    OpId(u128::from_le_bytes(bytes))
}

/// The version that has these parts.
fn made_of(row: &Row, parts: &[PartRef]) -> Option<Stamp> {
    let blobs = |parts: &[PartRef]| parts.iter().map(|part| part.blob).collect::<Vec<_>>();
    let wanted = blobs(parts);
    let made = row.versions.iter().find(|version| match &version.content {
        Content::Object(meta) => blobs(&meta.parts) == wanted,
        Content::Marker | Content::Tombstone => false,
    });
    made.map(|version| version.stamp)
}

/// Everything that a completion changes.
fn completion(
    place: &Place,
    complete: &CompleteUpload,
    numbers: &[u16],
    view: &View<'_>,
    stamp: Stamp,
) -> Result<Vec<(RecordId, Record)>, Error> {
    let row = place.row(view, &complete.key)?;
    judge(&complete.conditions, &row)?;
    above(stamp, &row)?;
    let upload = complete.upload;
    let record = open_record(view, upload)?;
    let stored = part_records(view, upload, numbers)?;
    let whole = parts::assemble(&complete.parts, &stored, record.checksum).map_err(refused)?;
    compare(complete.checksum.as_ref(), whole.checksum.as_ref())?;
    place.check_room(&row, whole.size)?;
    if let Some(size) = complete.size.filter(|size| *size != whole.size) {
        let why = format!("the parts have {} bytes together, not {size}", whole.size);
        return Err(Error::InvalidRequest(why));
    }
    let meta = ObjectMeta {
        size: whole.size,
        etag: whole.etag,
        modified_ms: 0,
        headers: record.headers.clone(),
        user_meta: record.user_meta.clone(),
        checksum: whole.checksum,
        parts: whole.parts,
        rides: false,
        owner: record.owner.clone(),
        encryption: record.encryption.clone(),
    };
    let (tags, acl) = (record.tags.clone(), record.acl.clone());
    let marks = marks_made(&place.config, tags, acl, record.lock, stamp.hlc.ms());
    let mut records = end_parts(view, upload, numbers, stamp)?;
    let ended = UploadRecord { stamp, state: UploadState::Completed(stamp), ..record };
    records.push((place.row_id(&complete.key), Record::Row(place.put(&row, stamp, (meta, marks)))));
    records.push((RecordId::Upload(upload), Record::Upload(Box::new(ended))));
    Ok(records)
}

fn refused(refusal: Refusal) -> Error {
    let part = |part, why: &str| Error::InvalidPart { part, why: why.to_owned() };
    match refusal {
        Refusal::Empty => Error::InvalidRequest("a completion lists at least one part".into()),
        Refusal::Checksum { number } => part(number, "its checksum is another one"),
        Refusal::ETag { number } => part(number, "its ETag is another one"),
        Refusal::Order => Error::InvalidPartOrder,
        Refusal::TooLarge => Error::EntityTooLarge { bytes_max: limits::OBJECT_BYTES_MAX },
        Refusal::TooSmall { number, bytes } => Error::EntityTooSmall { part: number, bytes },
        Refusal::Unknown { number } => part(number, "it was not uploaded"),
    }
}

/// The client's checksum of the whole object against the one that the parts give.
fn compare(
    given: Option<&(ChecksumAlgorithm, Vec<u8>)>,
    made: Option<&Checksum>,
) -> Result<(), Error> {
    let Some((algorithm, value)) = given else { return Ok(()) };
    match made {
        Some(made) if made.algorithm == *algorithm && made.value == *value => Ok(()),
        Some(made) if made.algorithm == *algorithm => {
            Err(super::body::BodyError::BadDigest("the checksum of the whole object".into()).into())
        }
        Some(_) | None => {
            let why = "the upload has no checksum of this algorithm for the whole object";
            Err(Error::InvalidRequest(why.into()))
        }
    }
}

fn open_record(view: &View<'_>, upload: UploadId) -> Result<UploadRecord, Error> {
    match view.record(&RecordId::Upload(upload))? {
        Some(Record::Upload(record)) if record.state == UploadState::Open => Ok(*record),
        Some(Record::Upload(_)) | None => Err(Error::NoSuchUpload),
        Some(other) => Err(mismatch(&other)),
    }
}

fn part_records(
    view: &View<'_>,
    upload: UploadId,
    numbers: &[u16],
) -> Result<BTreeMap<u16, PartRecord>, Error> {
    let mut records = BTreeMap::new();
    for number in numbers {
        match view.record(&RecordId::Part(upload, *number))? {
            Some(Record::Part(record)) => {
                records.insert(*number, *record);
            }
            None => {}
            Some(other) => return Err(mismatch(&other)),
        }
    }
    Ok(records)
}

/// The parts as they are when their upload is over: they name no bytes any more.
fn end_parts(
    view: &View<'_>,
    upload: UploadId,
    numbers: &[u16],
    stamp: Stamp,
) -> Result<Vec<(RecordId, Record)>, Error> {
    let ended = part_records(view, upload, numbers)?
        .into_iter()
        .filter(|(_, record)| !record.ended)
        .map(|(number, record)| {
            let id = RecordId::Part(upload, number);
            (id, Record::Part(Box::new(PartRecord { stamp, ended: true, ..record })))
        });
    Ok(ended.collect())
}
