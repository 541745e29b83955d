//! What was deleted or overwritten and is kept to be brought back: its lists, bringing it back, and
//! ending it early. Source: Tigris, "Soft delete"; the forms are those of its SDKs.
//!
//! Invariant: without the headers of this file nothing that is kept shows anywhere in S3.

use serde::Deserialize;

use crate::engine::{Kept, VersionRef};
use crate::limits;
use crate::logic::listing;
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When, run};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::action::Action;
use crate::types::kept::Keeping;
use crate::types::name::{BucketName, ObjectKey};
use crate::types::stamp::Stamp;

use super::answers::{Encoding, account_element, class_of};
use super::params::{account, non_empty, page_size, parse_version};

const SOFT: When = When::HeaderStarts("x-tigris-soft-delete", "true");
const VERSION: &str = "x-tigris-restore-version";

pub(super) static OPS: &[Op] = &[
    // A bucket that is not there is nobody's to allow: who may make buckets may ask, and the engine
    // answers the account that had it.
    Op {
        name: "DeleteBucket with X-Tigris-Soft-Delete",
        on: On::Bucket,
        verb: Verb::Delete,
        when: &[SOFT],
        action: Action::CreateBucket,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(purge_bucket),
    },
    Op {
        name: "DeleteBucket undone",
        on: On::Bucket,
        verb: Verb::Post,
        when: &[When::Query("restore")],
        action: Action::CreateBucket,
        body: BodyKind::Xml(limits::XML_BYTES_MAX),
        auth: Auth::Signed,
        run: run!(restore_bucket),
    },
    Op {
        name: "DeleteObject with X-Tigris-Soft-Delete",
        on: On::Object,
        verb: Verb::Delete,
        when: &[When::Query("versionId"), SOFT],
        action: Action::DeleteObjectVersion,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(purge),
    },
    Op {
        name: "ListObjectVersions with X-Tigris-Soft-Delete",
        on: On::Bucket,
        verb: Verb::Get,
        when: &[When::Query("versions"), SOFT],
        action: Action::ListBucketVersions,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(list_versions),
    },
    Op {
        name: "ListObjectsV2 with X-Tigris-Soft-Delete",
        on: On::Bucket,
        verb: Verb::Get,
        when: &[When::QueryIs("list-type", "2"), SOFT],
        action: Action::ListBucket,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(list_keys),
    },
    Op {
        name: "RestoreObject with X-Tigris-Restore-Type",
        on: On::Object,
        verb: Verb::Post,
        when: &[When::Query("restore"), When::HeaderStarts("x-tigris-restore-type", "soft-delete")],
        action: Action::PutObject,
        body: BodyKind::Xml(limits::XML_BYTES_MAX),
        auth: Auth::Signed,
        run: run!(restore),
    },
];

/// What a new bucket's header asks for: days of soft delete, or none.
pub(super) fn asked(req: &Req) -> Result<Option<Option<u16>>, S3Error> {
    const NAME: &str = "x-tigris-soft-delete";
    let Some(value) = req.header(NAME)? else { return Ok(None) };
    match value {
        "true" => Ok(Some(Some(limits::SOFT_DELETE_DAYS_DEFAULT))),
        "false" => Ok(Some(None)),
        days => match days.parse::<u16>() {
            Ok(days) if limits::SOFT_DELETE_DAYS.contains(&days) => Ok(Some(Some(days))),
            Ok(_) | Err(_) => {
                let why = "It is true, false, or a number of days from 7 to 90.";
                Err(S3Error::argument(NAME, days, why))
            }
        },
    }
}

#[derive(Deserialize)]
pub(super) struct SoftDelete {
    enabled: bool,
    retention_days: Option<u16>,
}

/// The same of a bucket's JSON document.
pub(super) fn of_json(asked: SoftDelete) -> Result<Option<u16>, S3Error> {
    let SoftDelete { enabled, retention_days } = asked;
    let days = retention_days.unwrap_or(limits::SOFT_DELETE_DAYS_DEFAULT);
    if enabled && !limits::SOFT_DELETE_DAYS.contains(&days) {
        let why = "What is deleted is kept for 7 to 90 days.";
        return Err(S3Error::argument("soft_delete.retention_days", &days.to_string(), why));
    }
    Ok(enabled.then_some(days))
}

/// Switches a bucket's soft delete.
pub(super) async fn keep(
    ctx: &Ctx,
    bucket: &BucketName,
    soft_delete_days: Option<u16>,
) -> Result<(), S3Error> {
    let keeping = Keeping { soft_delete_days, ..ctx.engine().keeping(bucket).await? };
    Ok(ctx.engine().put_keeping(bucket, keeping).await?)
}

async fn restore_bucket(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    ctx.engine().restore_bucket(&account(&req), req.bucket()?).await?;
    Ok(Reply::ok())
}

async fn purge_bucket(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    ctx.engine().purge_bucket(&account(&req), req.bucket()?).await?;
    Ok(Reply::no_content())
}

async fn restore(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let (bucket, key) = (req.bucket()?, req.key()?);
    let version = match req.header(VERSION)? {
        Some(id) => Some(exact(VERSION, id)?),
        None => None,
    };
    let around = req.around.of_version(version.map(|stamp| stamp.to_string()));
    let engine = ctx.engine_for(&req)?;
    engine.authorize(&req.caller, Action::GetObjectVersion, &req.target, &around).await?;
    engine.restore(bucket, key.clone(), version, true).await?;
    Ok(Reply::ok())
}

async fn purge(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let (bucket, key) = (req.bucket()?, req.key()?);
    let id = req.query("versionId").unwrap_or_default();
    let version = exact("versionId", id)?;
    ctx.engine_for(&req)?.purge(bucket, key.clone(), version).await?;
    Reply::no_content().text("x-amz-version-id", id)
}

fn exact(name: &str, id: &str) -> Result<Stamp, S3Error> {
    match parse_version(id)? {
        VersionRef::Exact(stamp) => Ok(stamp),
        VersionRef::Current | VersionRef::Null => {
            Err(S3Error::argument(name, id, "It is the id of a version that is kept."))
        }
    }
}

/// The soft-deleted view has no directories.
fn flat(req: &Req) -> Result<(), S3Error> {
    match non_empty(req, "delimiter") {
        None => Ok(()),
        Some(_) => {
            let why = "Lists of what was deleted have no delimiter; use a prefix.";
            Err(S3Error::with(Code::NotImplemented, why))
        }
    }
}

fn key_of(name: &str, text: &str) -> Result<ObjectKey, S3Error> {
    ObjectKey::parse(text).map_err(|_| S3Error::argument(name, text, "It is no key."))
}

async fn list_versions(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    flat(&req)?;
    let encoding = Encoding::of(&req)?;
    let (marker, id_marker) = (non_empty(&req, "key-marker"), non_empty(&req, "version-id-marker"));
    let after = match (&marker, &id_marker) {
        (None, None) => None,
        (Some(key), None) => Some((key_of("key-marker", key)?, Stamp::ZERO)),
        (Some(key), Some(id)) => {
            Some((key_of("key-marker", key)?, exact("version-id-marker", id)?))
        }
        (None, Some(id)) => {
            let why = "A version-id marker cannot be specified without a key marker.";
            return Err(S3Error::argument("version-id-marker", id, why));
        }
    };
    let max = page_size(&req, "max-keys")?;
    let prefix = req.query("prefix").unwrap_or_default();
    let page = ctx.engine().kept(req.bucket()?, prefix, after, max).await?;
    let mut out = Writer::new("ListVersionsResult");
    out.text("Name", req.bucket()?.as_str()).text("Prefix", &encoding.encode(prefix));
    out.text("KeyMarker", &encoding.encode(&marker.unwrap_or_default()));
    out.text("VersionIdMarker", &id_marker.unwrap_or_default());
    if let Some((key, stamp)) = &page.next {
        out.listed("NextKeyMarker", &encoding.encode(key.as_str()));
        out.text("NextVersionIdMarker", &stamp.to_string());
    }
    out.value("MaxKeys", max);
    encoding.element(&mut out);
    out.value("IsTruncated", page.next.is_some());
    for kept in &page.kept {
        out.open("Version");
        element(&mut out, kept, encoding);
        out.text("VersionId", &kept.version.stamp.to_string()).value("IsLatest", false);
        out.close();
    }
    Ok(Reply::xml(out))
}

/// Keys that have no object and can have one again, each with its newest kept version.
async fn list_keys(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    flat(&req)?;
    let encoding = Encoding::of(&req)?;
    let (token, start) = (non_empty(&req, "continuation-token"), non_empty(&req, "start-after"));
    let from = match &token {
        None => start.clone(),
        Some(token) => Some(listing::parse_token(token).map_err(|_| {
            let why = "The continuation token provided is incorrect";
            S3Error::argument("continuation-token", token, why)
        })?),
    };
    let mut after = match &from {
        None => None,
        Some(key) => Some((key_of("start-after", key)?, Stamp::ZERO)),
    };
    let max = page_size(&req, "max-keys")?;
    let prefix = req.query("prefix").unwrap_or_default();
    let mut found: Vec<Kept> = Vec::new();
    loop {
        let page = ctx.engine().kept(req.bucket()?, prefix, after, limits::LIST_KEYS_MAX).await?;
        for kept in page.kept {
            let deleted = kept.current.as_ref().is_none_or(|current| current.meta.is_none());
            if deleted && found.last().is_none_or(|last| last.key != kept.key) {
                found.push(kept);
            }
        }
        after = page.next;
        if after.is_none() || found.len() > max {
            break;
        }
    }
    let more = found.len() > max;
    found.truncate(max);
    let mut out = Writer::new("ListBucketResult");
    out.text("Name", req.bucket()?.as_str()).text("Prefix", &encoding.encode(prefix));
    out.value("MaxKeys", max);
    encoding.element(&mut out);
    out.value("KeyCount", found.len()).text_some("ContinuationToken", token.as_deref());
    let next = found.last().filter(|_| more).map(|last| listing::token(last.key.as_str()));
    out.text_some("NextContinuationToken", next.as_deref());
    out.text_some("StartAfter", start.as_deref().map(|s| encoding.encode(s)).as_deref());
    out.value("IsTruncated", more);
    for kept in &found {
        out.open("Contents");
        element(&mut out, kept, encoding);
        out.close();
    }
    Ok(Reply::xml(out))
}

fn element(out: &mut Writer, kept: &Kept, encoding: Encoding) {
    out.listed("Key", &encoding.encode(kept.key.as_str()));
    out.date("LastModified", kept.version.made_ms);
    if let Some(meta) = &kept.version.meta {
        out.etag(&meta.etag.0).value("Size", meta.size);
        out.text("StorageClass", class_of(meta.headers.storage_class.as_ref()));
        account_element(out, "Owner", &meta.owner);
    }
}
