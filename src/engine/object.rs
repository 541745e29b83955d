//! One object: put, get, head.
//!
//! Invariant: a put becomes visible whole or not at all, after its body passed every check of its
//! source; a read serves the bytes of exactly one version.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cluster::{Body, BodyStream, ReadError, Unavailable, Write};
use crate::limits;
use crate::logic::encryption::{DataKey, Opener};
use crate::logic::parts;
use crate::logic::precondition::{Conditions, Verdict};
use crate::logic::undo;
use crate::types::acl::Acl;
use crate::types::bucket::{BucketConfig, Versioning};
use crate::types::encryption::{SecretBytes, Sse, SseAsked};
use crate::types::kept::Keeping;
use crate::types::lock::LockAsked;
use crate::types::name::{AccountId, BucketName, ObjectKey};
use crate::types::object::{
    Checksum, Content, ETag, Marks, ObjectMeta, PartRef, Placement, Row, StoredHeaders, Version,
};
use crate::types::range::ByteRange;
use crate::types::record::Record;
use crate::types::stamp::Stamp;

use super::body::{BodySource, Digests};
use super::encryption::{Run, etag, opener};
use super::lock::{check_asked, marks_made};
use super::version::{VersionRef, id_shown, id_stored};
use super::{Engine, Error, Place, Source, above, current, judge};

/// How often a read starts again because the object changed under it.
const READ_TRIES: usize = 8;

/// What a client says of an object, apart from its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub headers: StoredHeaders,
    /// `x-amz-meta-*` without the prefix, lower case, in the order they came.
    pub user_meta: Vec<(String, String)>,
    pub tags: Vec<(String, String)>,
    /// Private to the owner without one.
    pub acl: Option<Acl>,
    pub lock: LockAsked,
    pub encryption: SseAsked,
}

/// Stores one object from one body.
#[derive(Clone, Debug)]
pub struct PutObject {
    pub bucket: BucketName,
    pub key: ObjectKey,
    pub owner: AccountId,
    pub attributes: Attributes,
    pub conditions: Conditions,
}

/// An object version that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub version: Stamp,
    /// Where the bucket keeps versions.
    pub version_id: Option<String>,
    pub etag: ETag,
    pub size: u64,
    pub modified_ms: u64,
    pub checksum: Option<Checksum>,
    /// How it is encrypted at rest, where it is.
    pub sse: Option<Sse>,
}

/// Reads one object, or a part of it.
#[derive(Clone, Debug)]
pub struct GetObject {
    pub bucket: BucketName,
    pub key: ObjectKey,
    pub conditions: Conditions,
    pub range: Option<ByteRange>,
    /// The range counts only while this holds; else the whole object is read.
    pub if_range: Conditions,
    /// The part to read, counted from 1; not together with a range.
    pub part: Option<u16>,
    pub version: VersionRef,
    /// Of SSE-C.
    pub customer_key: Option<SecretBytes>,
    /// The key's row as whoever allowed this has just seen it; else it is read.
    pub seen: Option<Row>,
}

/// What readers see of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectInfo {
    pub version: Stamp,
    /// Where the bucket has or had versions.
    pub version_id: Option<String>,
    pub meta: Arc<ObjectMeta>,
    pub marks: Marks,
    pub placement: Placement,
    /// The bytes that were asked for.
    pub range: Range<u64>,
    /// They were asked for as a range or as a part.
    pub partial: bool,
    /// How many parts it was uploaded in, where a part was asked for.
    pub parts_count: Option<usize>,
}

/// An object that is read.
pub struct ObjectRead {
    pub info: ObjectInfo,
    pub body: ObjectBody,
}

/// The bytes of a read.
pub struct ObjectBody {
    stream: Option<BodyStream>,
    opener: Option<Opener>,
}

impl ObjectBody {
    /// Where the first bytes came from; `None` where there are none.
    pub fn source(&self) -> Option<Source> {
        self.stream.as_ref().map(BodyStream::source)
    }

    /// The next run of bytes; `None` at the end. An error ends the body.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let bytes = self.stream.as_mut()?.next().await?;
        Some(match (bytes, &mut self.opener) {
            (Ok(bytes), Some(opener)) => Ok(opener.decrypt(bytes)),
            (Ok(bytes), None) => Ok(bytes),
            (Err(why), _) => Err(read_error(&why)),
        })
    }
}

impl Engine {
    pub async fn put_object(
        &self,
        put: PutObject,
        source: &mut dyn BodySource,
    ) -> Result<Stored, Error> {
        let place = self.place(&put.bucket).await?;
        self.judge_early(&place.config, &put.key, &put.conditions).await?;
        check_asked(&place.config, put.attributes.lock, self.env().now_ms())?;
        let place = place.within(&put.attributes.headers.location)?;
        self.check_room_for(&place, &put.key, source.len())?;
        let encrypting = self.encrypting(&put.bucket, &put.attributes.encryption)?;
        let data_key = encrypting.as_ref().map(|e| &e.key);
        let (run, digests) = self.take_body(&place.config, source, data_key).await?;
        let PutObject { key, owner, attributes, conditions, .. } = put;
        let meta = ObjectMeta {
            size: run.body.len,
            etag: etag(digests.md5, encrypting.as_ref().map(|e| (&e.record.sse, &e.key))),
            modified_ms: 0,
            headers: attributes.headers.clone(),
            user_meta: attributes.user_meta.clone(),
            checksum: digests.checksum,
            parts: plain_parts(&run),
            rides: run.body.rides,
            owner,
            encryption: encrypting.map(|e| e.record),
        };
        let Attributes { tags, acl, lock, .. } = attributes;
        let marks = marks_made(&place.config, tags, acl, lock, self.env().now_ms());
        self.store_version(place, key, conditions, (meta, marks), vec![run.body]).await
    }

    pub async fn get_object(&self, get: &GetObject) -> Result<ObjectRead, Error> {
        let config = self.bucket(&get.bucket).await?;
        let mut row = self.row_to_read(&config, get).await?;
        for _ in 0..READ_TRIES {
            let (version, meta) = get.version.object(&row)?;
            let info = select(&config, version, meta, get)?;
            let key = self.data_key(meta.encryption.as_ref(), get.customer_key.as_ref())?;
            if info.range.is_empty() {
                return Ok(ObjectRead { info, body: ObjectBody { stream: None, opener: None } });
            }
            let range = info.range.clone();
            let opener = opener(key.as_ref(), meta, range.clone())?;
            match self.cluster.read(&config, &get.key, version, range).await {
                Ok(stream) => {
                    let body = ObjectBody { stream: Some(stream), opener };
                    return Ok(ObjectRead { info, body });
                }
                // What is newer may have no place yet in the order that was asked for.
                Err(ReadError::Moved(_)) if self.is_linearizable(&config) => {
                    row = self.row_to_read(&config, get).await?;
                }
                Err(ReadError::Moved(newer)) => row = Cow::Owned(newer),
                Err(e @ (ReadError::Gone | ReadError::Unavailable(_))) => {
                    return Err(read_error(&e));
                }
            }
        }
        Err(Unavailable::new("the object changes faster than it can be read").into())
    }

    /// The same without the bytes.
    pub async fn head_object(&self, get: &GetObject) -> Result<ObjectInfo, Error> {
        let info = self.object_info(get).await?;
        self.data_key(info.meta.encryption.as_ref(), get.customer_key.as_ref())?;
        Ok(info)
    }

    /// The same without a look at keys: for operators, who see no bytes.
    pub async fn object_info(&self, get: &GetObject) -> Result<ObjectInfo, Error> {
        let config = self.bucket(&get.bucket).await?;
        let row = self.row_to_read(&config, get).await?;
        let (version, meta) = get.version.object(&row)?;
        select(&config, version, meta, get)
    }

    async fn row_to_read<'a>(
        &self,
        config: &BucketConfig,
        get: &'a GetObject,
    ) -> Result<Cow<'a, Row>, Error> {
        match &get.seen {
            Some(row) if !self.is_linearizable(config) => Ok(Cow::Borrowed(row)),
            None => self.row_with(config, &get.key, get.version).await.map(Cow::Owned),
            Some(seen) => {
                let row = self.row_with(config, &get.key, get.version).await?;
                let of = |row| get.version.find(row).map(|version| version.stamp);
                if of(&row) == of(seen) {
                    return Ok(Cow::Owned(row));
                }
                // Access was decided on another version. What was found is known here by now.
                Err(Unavailable::new("the object was changed while it was looked at").into())
            }
        }
    }

    /// The tags of an object.
    pub async fn object_tags(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        version: VersionRef,
    ) -> Result<Vec<(String, String)>, Error> {
        let config = self.bucket(bucket).await?;
        let row = self.row_with(&config, key, version).await?;
        let (version, _) = version.object(&row)?;
        Ok(version.marks.tags.val.clone())
    }

    pub(super) async fn place(&self, name: &BucketName) -> Result<Place, Error> {
        let (known, config) = (self.known(name)?, self.bucket(name).await?);
        let known = known.filter(|known| known.config.id == config.id);
        let (keeping, room) = match known {
            Some(known) => (known.keeping()?, self.room(&known)?),
            None => (Keeping::default(), None),
        };
        let known_ms = self.cluster.known_ms();
        Ok(Place { name: name.clone(), config, keeping, known_ms, room })
    }

    /// Takes a body in. Dropped on an error, the bytes that came are removed.
    pub(super) async fn take_body(
        &self,
        config: &Arc<BucketConfig>,
        source: &mut dyn BodySource,
        key: Option<&DataKey>,
    ) -> Result<(Run, Digests), Error> {
        if source.len().is_some_and(|len| len > limits::BODY_BYTES_MAX) {
            return Err(Error::EntityTooLarge { bytes_max: limits::BODY_BYTES_MAX });
        }
        let sink = self.cluster.body(config, source.len()).await?;
        let mut sink = self.sealing(sink, key);
        let mut taken = 0_u64;
        while let Some(bytes) = source.next().await? {
            taken += bytes.len() as u64;
            if taken > limits::BODY_BYTES_MAX {
                return Err(Error::EntityTooLarge { bytes_max: limits::BODY_BYTES_MAX });
            }
            sink.write(bytes).await?;
        }
        let run = sink.finish().await?;
        let (stored, digests) = (run.body.len, source.digests());
        assert_eq!((stored, digests.len), (taken, taken), "every byte is counted on both sides");
        Ok((run, digests))
    }

    /// Makes a version of a key whose bytes are here or named already.
    pub(super) async fn store_version(
        &self,
        place: Place,
        key: ObjectKey,
        conditions: Conditions,
        (meta, marks): (ObjectMeta, Marks),
        bodies: Vec<Body>,
    ) -> Result<Stored, Error> {
        let (config, subject) = (place.config.clone(), place.row_id(&key));
        let (etag, size, checksum) = (meta.etag.clone(), meta.size, meta.checksum.clone());
        let sse = meta.encryption.as_ref().map(|e| e.sse.clone());
        let is_conditional = !conditions.is_empty();
        let decide = Box::new(move |view: &crate::cluster::View<'_>, stamp: Stamp| {
            let row = place.row(view, &key)?;
            judge(&conditions, &row)?;
            above(stamp, &row)?;
            place.check_room(&row, meta.size)?;
            let made = (meta.clone(), marks.clone());
            let row = place.put(&row, stamp, made);
            Ok(vec![(place.row_id(&key), Record::Row(row))])
        });
        let write = Write { subject, bodies, decide };
        let written = self.write_if(&config, write, is_conditional).await?;
        let version = written.stamp;
        let version_id = id_stored(config.versioning, version);
        let modified_ms = version.hlc.ms();
        Ok(Stored { version, version_id, etag, size, modified_ms, checksum, sse })
    }
}

impl Place {
    /// The row that puts an object over what was there.
    pub(super) fn put(&self, row: &Row, stamp: Stamp, (meta, marks): (ObjectMeta, Marks)) -> Row {
        let version = Version {
            stamp,
            replaces: Stamp::ZERO,
            null: self.config.versioning != Versioning::Enabled,
            content: Content::Object(Arc::new(ObjectMeta { modified_ms: stamp.hlc.ms(), ..meta })),
            marks,
            placement: Placement::default(),
        };
        match version.null {
            true => self.over(row, version, stamp.hlc.ms()),
            false => Row::of(version),
        }
    }
}

impl Place {
    /// A null version over what is there.
    pub(super) fn over(&self, row: &Row, version: Version, now_ms: u64) -> Row {
        undo::over(row, version, &self.keeping, now_ms, self.known_ms)
    }
}

/// The runs of a body that came in one piece.
pub(super) fn plain_parts(run: &Run) -> Vec<PartRef> {
    let seal = run.seal;
    let part = |blob| PartRef { number: 1, blob, checksum: None, held_by: Vec::new(), seal };
    run.body.blob.map(part).into_iter().collect()
}

/// Judges the conditions and finds the bytes that are asked for.
fn select(
    config: &BucketConfig,
    version: &Version,
    meta: &Arc<ObjectMeta>,
    get: &GetObject,
) -> Result<ObjectInfo, Error> {
    let version_id = id_shown(config.versioning, version);
    match get.conditions.read(current(meta)) {
        Verdict::Proceed => {}
        Verdict::Failed(header) => return Err(Error::PreconditionFailed(header.into())),
        Verdict::NotModified => {
            let etag = meta.etag.0.to_string();
            return Err(Error::NotModified { etag, modified_ms: meta.modified_ms });
        }
    }
    let size = meta.size;
    let wanted = get.range.filter(|_| get.if_range.read(current(meta)) == Verdict::Proceed);
    let (range, parts_count) = match (wanted, get.part) {
        (Some(_), Some(_)) => {
            let why = "a range and a part number cannot be asked for together";
            return Err(Error::InvalidRequest(why.into()));
        }
        (Some(range), None) => (range.resolve(size).ok_or(Error::InvalidRange { size })?, None),
        (None, Some(number)) => {
            let count = parts::parts_count(meta);
            let range = parts::part_range(meta, number)
                .ok_or_else(|| Error::InvalidPartNumber { parts: count.unwrap_or(1) })?;
            (range, count)
        }
        (None, None) => (0..size, None),
    };
    assert!(range.end <= size, "a range lies within its object");
    let partial = wanted.is_some() || get.part.is_some();
    let marks = version.marks.clone();
    Ok(ObjectInfo {
        version: version.stamp,
        version_id,
        meta: meta.clone(),
        marks,
        placement: version.placement.clone(),
        range,
        partial,
        parts_count,
    })
}

/// A read that found no bytes. A moved object is met before this, by starting again.
pub(super) fn read_error(error: &ReadError) -> Error {
    match error {
        ReadError::Unavailable(why) => why.clone().into(),
        ReadError::Gone | ReadError::Moved(_) => Unavailable::new(error.to_string()).into(),
    }
}
