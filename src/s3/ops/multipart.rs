//! Multipart uploads: create, parts, complete, abort, lists.

use serde::Deserialize;

use crate::engine::{
    CompleteUpload, CreateUpload, ListParts, ListUploads, PartsPage, UploadInfo, UploadPart,
    UploadPartCopy, UploadsPage,
};
use crate::limits;
use crate::logic::parts::{self, Listed};
use crate::s3::Ctx;
use crate::s3::digest;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When, run};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::action::Action;
use crate::types::id::UploadId;
use crate::types::object::{ChecksumAlgorithm, ChecksumKind};
use crate::types::range::ByteRange;

use super::acl::of_new_object;
use super::answers::{
    Encoding, account_element, checksum_elements, class_of, kind_name, location, with_checksum,
    with_etag, with_version,
};
use super::encryption::{customer_key, with_sse};
use super::lifecycle::{with_abortion, with_expiry_of};
use super::lock::lock_asked;
use super::params::{attributes, conditions, copy_source, non_empty, page_size, unquoted};

pub(super) static OPS: &[Op] = &[
    Op {
        name: "AbortMultipartUpload",
        on: On::Object,
        verb: Verb::Delete,
        when: &[When::Query("uploadId")],
        action: Action::AbortMultipartUpload,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(abort),
    },
    Op {
        name: "CompleteMultipartUpload",
        on: On::Object,
        verb: Verb::Post,
        when: &[When::Query("uploadId")],
        action: Action::PutObject,
        body: BodyKind::ObjectXml(limits::XML_BYTES_MAX),
        auth: Auth::Signed,
        run: run!(complete),
    },
    Op {
        name: "CreateMultipartUpload",
        on: On::Object,
        verb: Verb::Post,
        when: &[When::Query("uploads")],
        action: Action::PutObject,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(create),
    },
    Op {
        name: "ListMultipartUploads",
        on: On::Bucket,
        verb: Verb::Get,
        when: &[When::Query("uploads")],
        action: Action::ListBucketMultipartUploads,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(list_uploads),
    },
    Op {
        name: "ListParts",
        on: On::Object,
        verb: Verb::Get,
        when: &[When::Query("uploadId")],
        action: Action::ListMultipartUploadParts,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(list_parts),
    },
    Op {
        name: "UploadPart",
        on: On::Object,
        verb: Verb::Put,
        when: &[When::Query("uploadId")],
        action: Action::PutObject,
        body: BodyKind::Stream,
        auth: Auth::Signed,
        run: run!(upload_part),
    },
    Op {
        name: "UploadPartCopy",
        on: On::Object,
        verb: Verb::Put,
        when: &[When::Query("uploadId"), When::Header("x-amz-copy-source")],
        action: Action::PutObject,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(upload_part_copy),
    },
];

async fn create(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let checksum = upload_checksum(&req)?;
    let (bucket, key) = (req.bucket()?.clone(), req.key()?.clone());
    let (owner, acl) = of_new_object(ctx, &req).await?;
    let create = CreateUpload {
        bucket: bucket.clone(),
        key: key.clone(),
        owner,
        attributes: attributes(ctx, &req, acl, lock_asked(ctx, &req).await?)?,
        checksum,
    };
    let begun = ctx.engine().create_upload(create).await?;
    let mut out = Writer::new("InitiateMultipartUploadResult");
    out.text("Bucket", bucket.as_str()).text("Key", key.as_str());
    out.value("UploadId", begun.upload);
    let reply = with_abortion(ctx, &req, begun.upload.0.hlc.ms(), Reply::xml(out))?;
    let reply = with_sse(reply, &req, begun.sse.as_ref())?;
    let Some((algorithm, kind)) = checksum else { return Ok(reply) };
    reply
        .text("x-amz-checksum-algorithm", digest::algorithm_name(algorithm))?
        .text("x-amz-checksum-type", kind_name(kind))
}

/// The checksum that the parts of a new upload will have.
fn upload_checksum(req: &Req) -> Result<Option<(ChecksumAlgorithm, ChecksumKind)>, S3Error> {
    let invalid = |name: &str, value: &str| {
        S3Error::with(Code::InvalidRequest, format!("Value for {name} header is invalid."))
            .extra("Value", value)
    };
    let Some(name) = req.header("x-amz-checksum-algorithm")? else { return Ok(None) };
    let algorithm =
        digest::algorithm_of(name).ok_or_else(|| invalid("x-amz-checksum-algorithm", name))?;
    let kind = match req.header("x-amz-checksum-type")? {
        None => parts::default_kind(algorithm),
        Some("COMPOSITE") => ChecksumKind::Composite,
        Some("FULL_OBJECT") => ChecksumKind::FullObject,
        Some(other) => return Err(invalid("x-amz-checksum-type", other)),
    };
    Ok(Some((algorithm, kind)))
}

async fn upload_part(ctx: &Ctx, mut req: Req) -> Result<Reply, S3Error> {
    let part = ctx.engine().upload_part(part_of(&req)?, &mut req.body).await?;
    let reply = with_sse(with_etag(Reply::ok(), &part.etag.0)?, &req, part.sse.as_ref())?;
    with_checksum(reply, part.checksum.as_ref(), None)
}

async fn upload_part_copy(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let range = req.header("x-amz-copy-source-range")?.map(source_range).transpose()?;
    let copy = UploadPartCopy { part: part_of(&req)?, source: copy_source(&req)?, range };
    let part = ctx.engine().upload_part_copy(&req.caller, copy).await?;
    let mut out = Writer::new("CopyPartResult");
    out.date("LastModified", part.modified_ms).etag(&part.etag.0);
    checksum_elements(&mut out, part.checksum.as_ref(), None);
    with_sse(Reply::xml(out), &req, part.sse.as_ref())
}

/// A range with both ends, as S3 wants it here.
fn source_range(text: &str) -> Result<ByteRange, S3Error> {
    match ByteRange::parse(text) {
        Some(range @ ByteRange::From { last: Some(_), .. }) => Ok(range),
        Some(ByteRange::From { last: None, .. } | ByteRange::Suffix(_)) | None => {
            let why = "The x-amz-copy-source-range value must be of the form bytes=first-last \
                       where first and last are the zero-based offsets of the first and last \
                       bytes to copy";
            Err(S3Error::argument("x-amz-copy-source-range", text, why))
        }
    }
}

fn part_of(req: &Req) -> Result<UploadPart, S3Error> {
    let number: u32 = req.query_required("partNumber")?;
    let number = u16::try_from(number).ok().filter(|n| (1..=limits::PARTS_MAX).contains(n));
    let Some(number) = number else {
        let why = "Part number must be an integer between 1 and 10000, inclusive";
        return Err(S3Error::argument("partNumber", req.query("partNumber").unwrap_or(""), why));
    };
    let (bucket, key) = (req.bucket()?.clone(), req.key()?.clone());
    let (upload, customer_key) = (upload_id(req)?, customer_key(req)?);
    Ok(UploadPart { bucket, key, upload, number, customer_key })
}

/// A text that is no upload id is an upload that is not there.
fn upload_id(req: &Req) -> Result<UploadId, S3Error> {
    let text = req.query("uploadId").unwrap_or_default();
    text.parse().map_err(|_| S3Error::new(Code::NoSuchUpload).extra("UploadId", text))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CompleteMultipartUpload {
    #[serde(default)]
    part: Vec<CompletedPart>,
}

#[derive(Debug, Deserialize)]
struct CompletedPart {
    #[serde(rename = "PartNumber")]
    number: u16,
    #[serde(rename = "ETag")]
    etag: String,
    #[serde(rename = "ChecksumCRC32")]
    crc32: Option<String>,
    #[serde(rename = "ChecksumCRC32C")]
    crc32c: Option<String>,
    #[serde(rename = "ChecksumCRC64NVME")]
    crc64nvme: Option<String>,
    #[serde(rename = "ChecksumSHA1")]
    sha1: Option<String>,
    #[serde(rename = "ChecksumSHA256")]
    sha256: Option<String>,
}

impl CompletedPart {
    fn listed(&self) -> Result<Listed, S3Error> {
        let given = [
            (ChecksumAlgorithm::Crc32, &self.crc32),
            (ChecksumAlgorithm::Crc32c, &self.crc32c),
            (ChecksumAlgorithm::Crc64Nvme, &self.crc64nvme),
            (ChecksumAlgorithm::Sha1, &self.sha1),
            (ChecksumAlgorithm::Sha256, &self.sha256),
        ];
        let found = given.into_iter().find_map(|(a, text)| Some((a, text.as_deref()?)));
        let checksum = match found {
            None => None,
            Some((algorithm, text)) => {
                let value = digest::decode_checksum(algorithm, text)
                    .ok_or_else(|| S3Error::new(Code::MalformedXML))?;
                Some((algorithm, value))
            }
        };
        Ok(Listed { number: self.number, etag: unquoted(&self.etag).to_owned(), checksum })
    }
}

async fn complete(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let request: CompleteMultipartUpload = req.xml("CompleteMultipartUpload")?;
    if request.part.is_empty() || request.part.len() > usize::from(limits::PARTS_MAX) {
        return Err(S3Error::new(Code::MalformedXML));
    }
    let (bucket, key) = (req.bucket()?.clone(), req.key()?.clone());
    let listed: Vec<Listed> =
        request.part.iter().map(CompletedPart::listed).collect::<Result<_, _>>()?;
    let listed = parts::last_of_each(listed);
    let count = listed.len();
    let complete = CompleteUpload {
        bucket: bucket.clone(),
        key: key.clone(),
        upload: upload_id(&req)?,
        parts: listed,
        conditions: conditions(&req)?,
        checksum: whole_checksum(&req)?,
        size: object_size(&req)?,
        customer_key: customer_key(&req)?,
    };
    let stored = ctx.engine_for(&req)?.complete_upload(complete).await?;
    let mut out = Writer::new("CompleteMultipartUploadResult");
    out.text("Location", &location(&req)?);
    out.text("Bucket", bucket.as_str()).text("Key", key.as_str()).etag(&stored.etag.0);
    if let Some(checksum) = &stored.checksum {
        checksum_elements(&mut out, Some(checksum), Some(count));
        out.text("ChecksumType", kind_name(checksum.kind));
    }
    let reply = with_expiry_of(ctx, &req, &stored, Reply::xml(out)).await?;
    let reply = with_sse(reply, &req, stored.sse.as_ref())?;
    with_version(reply, stored.version_id.as_deref())
}

/// The whole object's size, where the client gives it.
fn object_size(req: &Req) -> Result<Option<u64>, S3Error> {
    const NAME: &str = "x-amz-mp-object-size";
    let Some(text) = req.header(NAME)? else { return Ok(None) };
    let size = text.trim().parse().map_err(|_| S3Error::argument(NAME, text, "a size is bytes"))?;
    Ok(Some(size))
}

/// The whole object's checksum, where the client gives it.
fn whole_checksum(req: &Req) -> Result<Option<(ChecksumAlgorithm, Vec<u8>)>, S3Error> {
    let all = [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ];
    for algorithm in all {
        let name = digest::algorithm_header(algorithm);
        let Some(text) = req.header(name)? else { continue };
        // A composite one has the number of parts behind it.
        let text = text.split_once('-').map_or(text, |(value, _)| value);
        let value = digest::decode_checksum(algorithm, text).ok_or_else(|| {
            S3Error::with(Code::BadDigest, format!("Value for {name} header is invalid."))
        })?;
        return Ok(Some((algorithm, value)));
    }
    Ok(None)
}

async fn abort(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    ctx.engine().abort_upload(req.bucket()?, req.key()?, upload_id(&req)?).await?;
    Ok(Reply::no_content())
}

async fn list_parts(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let list = ListParts {
        bucket: req.bucket()?.clone(),
        key: req.key()?.clone(),
        upload: upload_id(&req)?,
        after: req.query_as("part-number-marker")?.unwrap_or(0),
        max: page_size(&req, "max-parts")?,
    };
    let page = ctx.engine().list_parts(list.clone()).await?;
    let mut out = Writer::new("ListPartsResult");
    out.text("Bucket", list.bucket.as_str()).text("Key", list.key.as_str());
    out.value("UploadId", list.upload);
    out.value("PartNumberMarker", list.after);
    let last = page.parts.last().map_or(0, |part| part.number);
    out.value("NextPartNumberMarker", last).value("MaxParts", list.max);
    parts_elements(&mut out, &page);
    with_abortion(ctx, &req, page.upload.started_ms, Reply::xml(out))
}

fn parts_elements(out: &mut Writer, page: &PartsPage) {
    out.value("IsTruncated", page.truncated);
    upload_facts(out, &page.upload);
    for part in &page.parts {
        out.open("Part").value("PartNumber", part.number);
        out.date("LastModified", part.modified_ms).etag(&hex::encode(part.md5));
        out.value("Size", part.size);
        checksum_elements(out, part.checksum.as_ref(), None);
        out.close();
    }
}

/// What both lists say of an upload.
fn upload_facts(out: &mut Writer, upload: &UploadInfo) {
    account_element(out, "Initiator", &upload.owner);
    account_element(out, "Owner", &upload.owner);
    out.text("StorageClass", class_of(upload.headers.storage_class.as_ref()));
    if let Some((algorithm, kind)) = upload.checksum {
        out.text("ChecksumAlgorithm", digest::algorithm_name(algorithm));
        out.text("ChecksumType", kind_name(kind));
    }
}

async fn list_uploads(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let encoding = Encoding::of(&req)?;
    let key_after = non_empty(&req, "key-marker");
    let list = ListUploads {
        prefix: req.query("prefix").unwrap_or_default().to_owned(),
        delimiter: non_empty(&req, "delimiter"),
        // Without a key marker it is ignored. Source: S3 API reference, ListMultipartUploads.
        upload_after: non_empty(&req, "upload-id-marker")
            .filter(|_| key_after.is_some())
            .and_then(|text| text.parse().ok()),
        key_after,
        max: page_size(&req, "max-uploads")?,
    };
    let page = ctx.engine().list_uploads(req.bucket()?, list.clone()).await?;
    let mut out = Writer::new("ListMultipartUploadsResult");
    out.text("Bucket", req.bucket()?.as_str());
    out.text("KeyMarker", &encoding.encode(list.key_after.as_deref().unwrap_or_default()));
    out.text("UploadIdMarker", req.query("upload-id-marker").unwrap_or_default());
    out.text("Prefix", &encoding.encode(&list.prefix));
    out.text_some("Delimiter", list.delimiter.as_deref().map(|d| encoding.encode(d)).as_deref());
    out.value("MaxUploads", list.max);
    encoding.element(&mut out);
    uploads_elements(&mut out, &page, encoding);
    Ok(Reply::xml(out))
}

fn uploads_elements(out: &mut Writer, page: &UploadsPage, encoding: Encoding) {
    out.value("IsTruncated", page.next.is_some());
    if let Some((key, upload)) = &page.next {
        out.listed("NextKeyMarker", &encoding.encode(key));
        out.text("NextUploadIdMarker", &upload.map(|u| u.to_string()).unwrap_or_default());
    }
    for upload in &page.uploads {
        out.open("Upload").listed("Key", &encoding.encode(upload.key.as_str()));
        out.value("UploadId", upload.upload);
        upload_facts(out, upload);
        out.date("Initiated", upload.started_ms).close();
    }
    for prefix in &page.common_prefixes {
        out.open("CommonPrefixes").listed("Prefix", &encoding.encode(prefix)).close();
    }
}
