//! Copies within the platform: whole objects.

use crate::engine::CopyObject;
use crate::s3::Ctx;
use crate::s3::error::S3Error;
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When, run};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::action::Action;

use super::acl::of_new_object;
use super::answers::{checksum_elements, with_version};
use super::encryption::{sse_asked, with_sse};
use super::lifecycle::with_expiry_of;
use super::lock::lock_asked;
use super::params::{
    conditions, copy_source, object_location, storage_class, stored_headers, tags, user_meta,
    website_redirect,
};

pub(super) static OPS: &[Op] = &[Op {
    name: "CopyObject",
    on: On::Object,
    verb: Verb::Put,
    when: &[When::Header("x-amz-copy-source")],
    action: Action::PutObject,
    body: BodyKind::None,
    auth: Auth::Signed,
    run: run!(copy_object),
}];

async fn copy_object(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let replace = replaces(&req, "x-amz-metadata-directive")?;
    let replace_tags = replaces(&req, "x-amz-tagging-directive")?;
    let (owner, acl) = of_new_object(ctx, &req).await?;
    let copy = CopyObject {
        source: copy_source(&req)?,
        bucket: req.bucket()?.clone(),
        key: req.key()?.clone(),
        owner,
        acl,
        replace: if replace { Some((stored_headers(ctx, &req)?, user_meta(&req)?)) } else { None },
        replace_tags: if replace_tags { Some(tags(&req)?.unwrap_or_default()) } else { None },
        storage_class: storage_class(&req)?,
        location: object_location(ctx, &req)?,
        website_redirect: website_redirect(&req)?,
        lock: lock_asked(ctx, &req).await?,
        conditions: conditions(&req)?,
        encryption: sse_asked(&req)?,
    };
    let copied = ctx.engine_for(&req)?.copy_object(&req.caller, copy).await?;
    let stored = copied.stored;
    let mut out = Writer::new("CopyObjectResult");
    out.date("LastModified", stored.modified_ms).etag(&stored.etag.0);
    checksum_elements(&mut out, stored.checksum.as_ref(), None);
    let reply = with_expiry_of(ctx, &req, &stored, Reply::xml(out)).await?;
    let reply = with_version(reply, stored.version_id.as_deref())?;
    let reply = with_sse(reply, &req, stored.sse.as_ref())?;
    match copied.source_version_id {
        Some(id) => reply.text("x-amz-copy-source-version-id", &id),
        None => Ok(reply),
    }
}

/// Reads a directive: `COPY` (also when it is missing) or `REPLACE`.
fn replaces(req: &Req, name: &str) -> Result<bool, S3Error> {
    match req.header(name)? {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => Err(S3Error::argument(name, other, "Unknown directive.")),
    }
}
