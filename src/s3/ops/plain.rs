//! Operations that are too small for a file of their own.

use serde::Deserialize;

use crate::limits;
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::bucket::SettingKind;

const NONE: BodyKind = BodyKind::None;
const DOCUMENT: BodyKind = BodyKind::Xml(limits::XML_BYTES_MAX);

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "GetBucketAccelerateConfiguration",
        Get,
        Bucket,
        "accelerate",
        GetAccelerateConfiguration,
        NONE,
        get_accelerate
    ),
    sub_resource!(
        "PutBucketAccelerateConfiguration",
        Put,
        Bucket,
        "accelerate",
        PutAccelerateConfiguration,
        DOCUMENT,
        put_accelerate
    ),
    sub_resource!("GetObjectTorrent", Get, Object, "torrent", GetObjectTorrent, NONE, torrent),
];

async fn torrent(_: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let why = "Objects have no torrents.";
    Err(S3Error::with(Code::NoSuchKey, why).extra("Key", req.key()?.as_str()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccelerateConfiguration {
    status: String,
}

async fn get_accelerate(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let enabled: Option<bool> =
        ctx.engine().document(req.bucket()?, SettingKind::Accelerate).await?;
    let mut out = Writer::new("AccelerateConfiguration");
    out.text_some("Status", enabled.map(|on| if on { "Enabled" } else { "Suspended" }));
    Ok(Reply::xml(out))
}

async fn put_accelerate(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let document: AccelerateConfiguration = req.xml("AccelerateConfiguration")?;
    let enabled = match document.status.as_str() {
        "Enabled" => true,
        "Suspended" => false,
        _ => return Err(S3Error::new(Code::MalformedXML)),
    };
    let bucket = req.bucket()?;
    if bucket.as_str().contains('.') {
        let why = "S3 Transfer Acceleration is not supported for buckets with periods (.) in \
                   their names";
        return Err(S3Error::with(Code::InvalidRequest, why));
    }
    ctx.engine().put_document(bucket, SettingKind::Accelerate, &enabled).await?;
    Ok(Reply::ok())
}
