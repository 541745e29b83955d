//! Tags of objects and of buckets.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::limits;
use crate::logic::tags::{self, BUCKET_TAGS_MAX, OBJECT_TAGS_MAX, Refusal};
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::{self, Writer};
use crate::s3::{Ctx, around};
use crate::types::action::Action;
use crate::types::bucket::SettingKind;

use super::answers::with_version;
use super::params::version;

const NONE: BodyKind = BodyKind::None;
const DOCUMENT: BodyKind = BodyKind::Xml(limits::XML_BYTES_MAX);

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "DeleteBucketTagging",
        Delete,
        Bucket,
        "tagging",
        PutBucketTagging,
        NONE,
        delete_bucket
    ),
    sub_resource!(
        "DeleteObjectTagging",
        Delete,
        Object,
        "tagging",
        DeleteObjectTagging,
        NONE,
        delete_object
    ),
    sub_resource!("GetBucketTagging", Get, Bucket, "tagging", GetBucketTagging, NONE, get_bucket),
    sub_resource!("GetObjectTagging", Get, Object, "tagging", GetObjectTagging, NONE, get_object),
    sub_resource!(
        "PutBucketTagging",
        Put,
        Bucket,
        "tagging",
        PutBucketTagging,
        DOCUMENT,
        put_bucket
    ),
    Op {
        // The decision looks at the tags in the body.
        auth: Auth::PerKey,
        ..sub_resource!(
            "PutObjectTagging",
            Put,
            Object,
            "tagging",
            PutObjectTagging,
            DOCUMENT,
            put_object
        )
    },
];

type Tags = Vec<(String, String)>;

#[derive(Debug, Deserialize)]
struct Tagging {
    #[serde(rename = "TagSet")]
    set: TagSet,
}

#[derive(Debug, Deserialize)]
struct TagSet {
    #[serde(rename = "Tag", default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

/// A document of tags as `x-amz-tagging` says the same.
pub(in crate::s3) fn tags_as_header(document: &str) -> Result<String, S3Error> {
    let document: Tagging = xml::parse(document.as_bytes(), "Tagging")?;
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = document.set.tags.iter();
    let pairs: Vec<String> =
        pairs.map(|tag| format!("{}={}", escape(&tag.key), escape(&tag.value))).collect();
    Ok(pairs.join("&"))
}

/// The tags of a `?tagging` request, by their keys: tags have no order.
fn asked(req: &Req, max: usize) -> Result<Tags, S3Error> {
    let document: Tagging = req.xml("Tagging")?;
    let mut all: Tags = document.set.tags.into_iter().map(|t| (t.key, t.value)).collect();
    tags::check(&all, max).map_err(refused)?;
    all.sort_unstable();
    Ok(all)
}

pub(super) fn refused(why: Refusal) -> S3Error {
    let of =
        |key: String, why: &'static str| S3Error::with(Code::InvalidTag, why).extra("TagKey", key);
    match why {
        Refusal::Key(key) => of(key, "The TagKey you have provided is invalid"),
        Refusal::Value(key) => of(key, "The TagValue you have provided is invalid"),
        Refusal::System(key) => of(key, "System tags cannot be added/updated by requester"),
        Refusal::Twice(key) => of(key, "Cannot provide multiple Tags with the same key"),
        Refusal::TooMany(max) => {
            S3Error::with(Code::InvalidTag, format!("There cannot be more than {max} tags"))
        }
    }
}

fn shown(tags: &[(String, String)]) -> Reply {
    let mut out = Writer::new("Tagging");
    out.open("TagSet");
    for (key, value) in tags {
        out.open("Tag").text("Key", key).text("Value", value).close();
    }
    Reply::xml(out)
}

async fn get_object(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let version = version(&req)?;
    let tags = ctx.engine_to_read(&req)?.object_tags(req.bucket()?, req.key()?, version).await?;
    with_version(shown(&tags), version.id().as_deref())
}

async fn put_object(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let tags = asked(&req, OBJECT_TAGS_MAX);
    let around = req.around.clone().with_tags(tags.as_deref().unwrap_or_default());
    let action = around::action(Action::PutObjectTagging, &req.query);
    ctx.engine().authorize(&req.caller, action, &req.target, &around).await?;
    set_object(ctx, &req, tags?, Reply::ok()).await
}

async fn delete_object(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    set_object(ctx, &req, Tags::new(), Reply::no_content()).await
}

async fn set_object(ctx: &Ctx, req: &Req, tags: Tags, reply: Reply) -> Result<Reply, S3Error> {
    let version = version(req)?;
    ctx.engine_for(req)?.put_object_tags(req.bucket()?, req.key()?, version, tags).await?;
    with_version(reply, version.id().as_deref())
}

async fn get_bucket(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let bucket = req.bucket()?;
    let tags: Option<Tags> = ctx.engine().document(bucket, SettingKind::Tagging).await?;
    let none = || S3Error::new(Code::NoSuchTagSet).extra("BucketName", bucket.as_str());
    Ok(shown(&tags.ok_or_else(none)?))
}

async fn put_bucket(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let tags = asked(&req, BUCKET_TAGS_MAX)?;
    ctx.engine().put_document(req.bucket()?, SettingKind::Tagging, &tags).await?;
    Ok(Reply::no_content())
}

async fn delete_bucket(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    ctx.engine().put_setting(req.bucket()?, SettingKind::Tagging, None).await?;
    Ok(Reply::no_content())
}
