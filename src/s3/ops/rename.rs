//! Renames within a bucket: S3's own operation, and a copy that says that it is one.
//! Source: S3 API reference, RenameObject; Tigris, object rename.

use percent_encoding::percent_decode_str;

use crate::engine::{CopySource, RenameObject};
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When, run};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::action::Action;
use crate::types::name::ObjectKey;

use super::answers::checksum_elements;
use super::params::{conditions, copy_source, named_conditions, places};

const COPY: When = When::Header("x-amz-copy-source");

macro_rules! rename {
    ($name:literal, $when:expr, $run:path) => {
        Op {
            name: $name,
            on: On::Object,
            verb: Verb::Put,
            when: $when,
            action: Action::PutObject,
            body: BodyKind::None,
            auth: Auth::Signed,
            run: run!($run),
        }
    };
}

pub(super) static OPS: &[Op] = &[
    rename!(
        "CopyObject with X-Godwit-Rename",
        &[COPY, When::HeaderStarts("x-godwit-rename", "true")],
        rename_by_copy
    ),
    rename!(
        "CopyObject with X-Tigris-Rename",
        &[COPY, When::HeaderStarts("x-tigris-rename", "true")],
        rename_by_copy
    ),
    rename!("RenameObject", &[When::Query("renameObject")], rename_object),
];

async fn rename_object(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    stays(&req)?;
    let rename = RenameObject {
        around: req.around.clone(),
        bucket: req.bucket()?.clone(),
        source: source_key(&req)?,
        target: req.key()?.clone(),
        source_conditions: named_conditions(
            &req,
            [
                "x-amz-rename-source-if-match",
                "x-amz-rename-source-if-none-match",
                "x-amz-rename-source-if-modified-since",
                "x-amz-rename-source-if-unmodified-since",
            ],
        )?,
        conditions: conditions(&req)?,
    };
    ctx.engine_for(&req)?.rename_object(&req.caller, rename).await?;
    Ok(Reply::ok())
}

async fn rename_by_copy(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    stays(&req)?;
    let CopySource { bucket, key, conditions: source_conditions, .. } = copy_source(&req)?;
    if bucket != *req.bucket()? {
        let why = "An object is renamed within its bucket; copy and delete it instead.";
        return Err(S3Error::with(Code::InvalidRequest, why));
    }
    let target = req.key()?.clone();
    let conditions = conditions(&req)?;
    let rename = RenameObject {
        around: req.around.clone(),
        bucket,
        source: key,
        target,
        source_conditions,
        conditions,
    };
    let stored = ctx.engine_for(&req)?.rename_object(&req.caller, rename).await?;
    let mut out = Writer::new("CopyObjectResult");
    out.date("LastModified", stored.modified_ms).etag(&stored.etag.0);
    checksum_elements(&mut out, stored.checksum.as_ref(), None);
    Ok(Reply::xml(out))
}

/// A rename moves no bytes, and so keeps the object's regions.
fn stays(req: &Req) -> Result<(), S3Error> {
    match places(req)? {
        None => Ok(()),
        Some((name, places)) => {
            let why = "A rename moves no bytes; copy the object to other regions instead.";
            Err(S3Error::argument(name, &places.join(","), why))
        }
    }
}

/// `x-amz-rename-source`: a key of the same bucket, escaped as in a URL.
fn source_key(req: &Req) -> Result<ObjectKey, S3Error> {
    let name = "x-amz-rename-source";
    let text = req.header(name)?.unwrap_or_default();
    let bad = || S3Error::argument(name, text, "A key of this bucket, escaped as in a URL.");
    let key = percent_decode_str(text).decode_utf8().map_err(|_| bad())?;
    ObjectKey::parse(key.strip_prefix('/').unwrap_or(&key)).map_err(|_| bad())
}
