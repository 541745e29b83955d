//! Replication as S3 shows it, of what is true here: copies and the regions that may have them.
//!
//! Invariant: what is shown is what is done. A bucket whose bytes lie in one region only has no
//! replication; of any other it is a property that cannot be set or taken away by this document.

use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "DeleteBucketReplication",
        Delete,
        Bucket,
        "replication",
        PutReplicationConfiguration,
        BodyKind::None,
        delete
    ),
    sub_resource!(
        "GetBucketReplication",
        Get,
        Bucket,
        "replication",
        GetReplicationConfiguration,
        BodyKind::None,
        get
    ),
];

/// One rule: every object, so many copies, in any of these regions.
async fn get(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let bucket = req.bucket()?;
    let copies = ctx.engine().copies_of(bucket).await?;
    if copies.count < 2 {
        let code = Code::ReplicationConfigurationNotFoundError;
        return Err(S3Error::new(code).extra("BucketName", bucket.as_str()));
    }
    let regions: Vec<String> = copies.regions.iter().map(ToString::to_string).collect();
    let regions = regions.join(",");
    let mut out = Writer::new("ReplicationConfiguration");
    out.text("Role", "automatic").open("Rule");
    out.text("ID", &format!("{} copies in {regions}", copies.count)).value("Priority", 1);
    out.open("Filter").text("Prefix", "").close().text("Status", "Enabled");
    out.open("DeleteMarkerReplication").text("Status", "Enabled").close();
    out.open("Destination").text("Bucket", &format!("arn:aws:s3:::{bucket}")).close();
    Reply::xml(out)
        .text("x-godwit-copies", &copies.count.to_string())?
        .text("x-godwit-regions", &regions)
}

/// Takes away what a bucket in one region has not.
async fn delete(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    if ctx.engine().copies_of(req.bucket()?).await?.count < 2 {
        return Ok(Reply::no_content());
    }
    Err(S3Error::with(Code::NotImplemented, super::absent::REPLICATION))
}
