//! One object: put, get, head, delete; and many deletes at once.

use futures_util::stream;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::engine::{Deleted, Deletion, GetObject, ObjectBody, PutObject, VersionRef};
use crate::limits;
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When, run};
use crate::s3::reply::{ByteStream, Reply, ReplyBody};
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::action::{Action, Target};
use crate::types::name::ObjectKey;
use crate::types::range::ByteRange;

use super::acl::of_new_object;
use super::answers::{object_head, with_checksum, with_etag, with_source, with_version};
use super::encryption::{customer_key, refuse_choice, with_sse};
use super::lifecycle::{with_expiry, with_expiry_of};
use super::lock::{bypasses, lock_asked};
use super::params::{attributes, conditions, if_range, parse_version, unquoted, version};

pub(super) static OPS: &[Op] = &[
    Op {
        name: "DeleteObject",
        on: On::Object,
        verb: Verb::Delete,
        when: &[],
        action: Action::DeleteObject,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(delete),
    },
    Op {
        name: "DeleteObjects",
        on: On::Bucket,
        verb: Verb::Post,
        when: &[When::Query("delete")],
        action: Action::DeleteObject,
        body: BodyKind::Xml(limits::XML_BYTES_MAX),
        auth: Auth::PerKey,
        run: run!(delete_many),
    },
    Op {
        name: "GetObject",
        on: On::Object,
        verb: Verb::Get,
        when: &[],
        action: Action::GetObject,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(get),
    },
    Op {
        name: "HeadObject",
        on: On::Object,
        verb: Verb::Head,
        when: &[],
        action: Action::GetObject,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(head),
    },
    Op {
        name: "PutObject",
        on: On::Object,
        verb: Verb::Put,
        when: &[],
        action: Action::PutObject,
        body: BodyKind::Stream,
        auth: Auth::Signed,
        run: run!(put),
    },
];

pub(super) async fn put(ctx: &Ctx, mut req: Req) -> Result<Reply, S3Error> {
    let began = ctx.env.monotonic();
    let (owner, acl) = of_new_object(ctx, &req).await?;
    let put = PutObject {
        bucket: req.bucket()?.clone(),
        key: req.key()?.clone(),
        owner,
        attributes: attributes(ctx, &req, acl, lock_asked(ctx, &req).await?)?,
        conditions: conditions(&req)?,
    };
    let stored = ctx.engine_for(&req)?.put_object(put, &mut req.body).await?;
    let reply = with_expiry_of(ctx, &req, &stored, Reply::ok()).await?;
    let reply = with_version(reply, stored.version_id.as_deref())?;
    let reply = with_sse(reply, &req, stored.sse.as_ref())?;
    let reply = with_checksum(with_etag(reply, &stored.etag.0)?, stored.checksum.as_ref(), None)?;
    with_source(reply, None, ctx.env.monotonic().saturating_sub(began))
}

/// What GetObject or HeadObject answers, for a request that was allowed already.
pub(in crate::s3) async fn read(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    if req.head { head(ctx, req).await } else { get(ctx, req).await }
}

async fn get(ctx: &Ctx, mut req: Req) -> Result<Reply, S3Error> {
    let began = ctx.env.monotonic();
    let engine = ctx.engine_to_read(&req)?;
    let read = engine.get_object(&asked(&mut req)?).await?;
    let took = ctx.env.monotonic().saturating_sub(began);
    let reply = with_source(object_head(&req, &read.info)?, read.body.source(), took)?;
    let reply = with_expiry(ctx, &req, &read.info, reply)?;
    let len = read.info.range.end - read.info.range.start;
    Ok(match len {
        0 => reply,
        len => reply.with_body(ReplyBody::Stream { len, stream: byte_stream(read.body) }),
    })
}

async fn head(ctx: &Ctx, mut req: Req) -> Result<Reply, S3Error> {
    let began = ctx.env.monotonic();
    let engine = ctx.engine_to_read(&req)?;
    let info = engine.head_object(&asked(&mut req)?).await?;
    let took = ctx.env.monotonic().saturating_sub(began);
    let reply = with_source(object_head(&req, &info)?, None, took)?;
    let mut reply = with_expiry(ctx, &req, &info, reply)?;
    reply.announced_len = Some(info.range.end - info.range.start);
    let copies = ctx.engine().replication_of(req.bucket()?, &info).await?;
    let copies: Vec<String> =
        copies.iter().map(|(region, state)| format!("{region}={}", state.as_str())).collect();
    reply.text("x-godwit-replication", &copies.join(", "))
}

/// What a GET or HEAD asks for.
fn asked(req: &mut Req) -> Result<GetObject, S3Error> {
    let seen = req.seen.take();
    let req = &*req;
    refuse_choice(req)?;
    Ok(GetObject {
        bucket: req.bucket()?.clone(),
        key: req.key()?.clone(),
        conditions: conditions(req)?,
        range: req.header("range")?.and_then(ByteRange::parse),
        if_range: if_range(req)?,
        part: req.query_as("partNumber")?,
        version: version(req)?,
        customer_key: customer_key(req)?,
        seen,
    })
}

fn byte_stream(body: ObjectBody) -> ByteStream {
    Box::pin(stream::unfold(body, |mut body| async move {
        let next = body.next().await?;
        Some((next.map_err(Into::into), body))
    }))
}

async fn delete(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let version = version(&req)?;
    let (bucket, key) = (req.bucket()?, req.key()?);
    let bypass = bypasses(ctx, &req, &req.target).await?;
    let deleted = ctx
        .engine_for(&req)?
        .delete_object(bucket, key, version, conditions(&req)?, bypass)
        .await?;
    let reply = with_version(Reply::no_content(), deleted.version_id.as_deref())?;
    if deleted.marker { reply.text("x-amz-delete-marker", "true") } else { Ok(reply) }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete {
    #[serde(default)]
    quiet: bool,
    #[serde(default)]
    object: Vec<DeleteEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteEntry {
    key: String,
    version_id: Option<String>,
    #[serde(rename = "ETag")]
    etag: Option<String>,
    last_modified_time: Option<IgnoredAny>,
    size: Option<IgnoredAny>,
}

impl DeleteEntry {
    fn deletion(&self) -> Result<Deletion, S3Error> {
        if self.last_modified_time.is_some() || self.size.is_some() {
            let why = "LastModifiedTime and Size are conditions of directory buckets.";
            return Err(S3Error::with(Code::NotImplemented, why));
        }
        let id = self.version_id.as_deref().filter(|v| !v.is_empty());
        let version = id.map_or(Ok(VersionRef::Current), parse_version)?;
        let key = ObjectKey::parse(&self.key)
            .map_err(|why| S3Error::with(Code::InvalidArgument, why.to_string()))?;
        let etag = self.etag.as_deref().map(|tag| unquoted(tag).to_owned());
        Ok(Deletion { key, version, etag, bypass: false })
    }
}

async fn delete_many(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let request: Delete = req.xml("Delete")?;
    if request.object.is_empty() || request.object.len() > limits::DELETE_KEYS_MAX {
        return Err(S3Error::new(Code::MalformedXML));
    }
    let mut out = Writer::new("DeleteResult");
    let mut deletions = Vec::with_capacity(request.object.len());
    for entry in &request.object {
        match entry.deletion() {
            Ok(deletion) => match may_delete(ctx, &req, &deletion).await {
                Ok(bypass) => deletions.push(Deletion { bypass, ..deletion }),
                Err(error) if error.code() == Code::AccessDenied => {
                    failed(&mut out, &entry.key, entry.version_id.as_deref(), &error);
                }
                Err(error) => return Err(error),
            },
            Err(error) => failed(&mut out, &entry.key, entry.version_id.as_deref(), &error),
        }
    }
    if !deletions.is_empty() {
        for outcome in ctx.engine_for(&req)?.delete_objects(req.bucket()?, deletions).await? {
            match outcome.result {
                Ok(_) if request.quiet => {}
                Ok(deleted) => {
                    out.open("Deleted").text("Key", outcome.key.as_str());
                    removed(&mut out, outcome.version, &deleted);
                    out.close();
                }
                Err(error) => {
                    let version = outcome.version.id();
                    failed(&mut out, outcome.key.as_str(), version.as_deref(), &error.into());
                }
            }
        }
    }
    Ok(Reply::xml(out))
}

/// The access decision of one key, and whether a governance retention is ended by it.
async fn may_delete(ctx: &Ctx, req: &Req, deletion: &Deletion) -> Result<bool, S3Error> {
    let action = match deletion.version {
        VersionRef::Current => Action::DeleteObject,
        VersionRef::Null | VersionRef::Exact(_) => Action::DeleteObjectVersion,
    };
    let around = req.around.of_version(deletion.version.id());
    let target = Target::Object(req.bucket()?.clone(), deletion.key.clone());
    ctx.engine().authorize(&req.caller, action, &target, &around).await?;
    bypasses(ctx, req, &target).await
}

/// What of versions a batch's answer says of one key.
fn removed(out: &mut Writer, asked: VersionRef, deleted: &Deleted) {
    let Some(id) = deleted.version_id.as_deref() else { return };
    if asked != VersionRef::Current {
        out.text("VersionId", id);
    }
    if deleted.marker {
        out.value("DeleteMarker", true).text("DeleteMarkerVersionId", id);
    }
}

fn failed(out: &mut Writer, key: &str, version: Option<&str>, error: &S3Error) {
    out.open("Error").text("Key", key).text_some("VersionId", version);
    out.text("Code", error.code().as_str());
    out.text("Message", error.message()).close();
}
