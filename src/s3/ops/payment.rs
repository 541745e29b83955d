//! Who pays for the requests to a bucket.

use serde::Deserialize;

use crate::limits;
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::bucket::SettingKind;

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "GetBucketRequestPayment",
        Get,
        Bucket,
        "requestPayment",
        GetBucketRequestPayment,
        BodyKind::None,
        get
    ),
    sub_resource!(
        "PutBucketRequestPayment",
        Put,
        Bucket,
        "requestPayment",
        PutBucketRequestPayment,
        BodyKind::Xml(limits::XML_BYTES_MAX),
        put
    ),
];

const OWNER: &str = "BucketOwner";
const REQUESTER: &str = "Requester";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RequestPaymentConfiguration {
    payer: String,
}

async fn get(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let pays: Option<bool> =
        ctx.engine().document(req.bucket()?, SettingKind::RequestPayment).await?;
    let mut out = Writer::new("RequestPaymentConfiguration");
    out.text("Payer", if pays == Some(true) { REQUESTER } else { OWNER });
    Ok(Reply::xml(out))
}

async fn put(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let document: RequestPaymentConfiguration = req.xml("RequestPaymentConfiguration")?;
    let pays = match document.payer.as_str() {
        OWNER => false,
        REQUESTER => true,
        _ => return Err(S3Error::new(Code::MalformedXML)),
    };
    ctx.engine().put_document(req.bucket()?, SettingKind::RequestPayment, &pays).await?;
    Ok(Reply::ok())
}
