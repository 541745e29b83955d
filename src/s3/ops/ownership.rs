//! Who owns a bucket's objects, and what the bucket blocks of public access.

use std::sync::Arc;

use serde::Deserialize;

use crate::limits;
use crate::logic::acl;
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::acl::{Acl, Ownership};
use crate::types::bucket::{AccessBlock, BucketConfig};

const DOCUMENT: BodyKind = BodyKind::Xml(limits::XML_BYTES_MAX);

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "DeleteBucketOwnershipControls",
        Delete,
        Bucket,
        "ownershipControls",
        PutBucketOwnershipControls,
        BodyKind::None,
        delete_ownership
    ),
    sub_resource!(
        "DeletePublicAccessBlock",
        Delete,
        Bucket,
        "publicAccessBlock",
        PutBucketPublicAccessBlock,
        BodyKind::None,
        delete_block
    ),
    sub_resource!(
        "GetBucketOwnershipControls",
        Get,
        Bucket,
        "ownershipControls",
        GetBucketOwnershipControls,
        BodyKind::None,
        get_ownership
    ),
    sub_resource!(
        "GetPublicAccessBlock",
        Get,
        Bucket,
        "publicAccessBlock",
        GetBucketPublicAccessBlock,
        BodyKind::None,
        get_block
    ),
    sub_resource!(
        "PutBucketOwnershipControls",
        Put,
        Bucket,
        "ownershipControls",
        PutBucketOwnershipControls,
        DOCUMENT,
        put_ownership
    ),
    sub_resource!(
        "PutPublicAccessBlock",
        Put,
        Bucket,
        "publicAccessBlock",
        PutBucketPublicAccessBlock,
        DOCUMENT,
        put_block
    ),
];

async fn get_ownership(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let rules = ctx.engine().bucket_rules(req.bucket()?).await?;
    let ownership = rules.set_ownership.ok_or(Code::OwnershipControlsNotFoundError)?;
    let mut out = Writer::new("OwnershipControls");
    out.open("Rule").text("ObjectOwnership", ownership.as_str());
    Ok(Reply::xml(out))
}

#[derive(Debug, Deserialize)]
struct OwnershipControls {
    #[serde(rename = "Rule")]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    object_ownership: String,
}

async fn put_ownership(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let document: OwnershipControls = req.xml("OwnershipControls")?;
    let [rule] = &document.rules[..] else { return Err(S3Error::new(Code::MalformedXML)) };
    let ownership = Ownership::parse(&rule.object_ownership).ok_or(Code::MalformedXML)?;
    let rules = ctx.engine().bucket_rules(req.bucket()?).await?;
    check(ownership, &rules.acl)?;
    ctx.engine().put_ownership(req.bucket()?, Some(ownership)).await?;
    Ok(Reply::ok())
}

/// Without lists, a bucket cannot have one that says anything.
pub(super) fn check(ownership: Ownership, acl: &Acl) -> Result<(), S3Error> {
    let shared = !acl::is_only_for(acl, [&acl.owner, &acl.owner]);
    if ownership == Ownership::BucketOwnerEnforced && shared {
        return Err(S3Error::new(Code::InvalidBucketAclWithObjectOwnership));
    }
    Ok(())
}

async fn delete_ownership(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    ctx.engine().put_ownership(req.bucket()?, None).await?;
    Ok(Reply::no_content())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PublicAccessBlockConfiguration {
    block_public_acls: bool,
    ignore_public_acls: bool,
    block_public_policy: bool,
    restrict_public_buckets: bool,
}

async fn get_block(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let config = ctx.engine().bucket_config(req.bucket()?).await?;
    let block = config.access_block.ok_or(Code::NoSuchPublicAccessBlockConfiguration)?;
    let mut out = Writer::new("PublicAccessBlockConfiguration");
    out.value("BlockPublicAcls", block.block_public_acls);
    out.value("IgnorePublicAcls", block.ignore_public_acls);
    out.value("BlockPublicPolicy", block.block_public_policy);
    out.value("RestrictPublicBuckets", block.restrict_public_buckets);
    Ok(Reply::xml(out))
}

async fn put_block(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let document: PublicAccessBlockConfiguration = req.xml("PublicAccessBlockConfiguration")?;
    let block = AccessBlock {
        block_public_acls: document.block_public_acls,
        ignore_public_acls: document.ignore_public_acls,
        block_public_policy: document.block_public_policy,
        restrict_public_buckets: document.restrict_public_buckets,
    };
    set_block(ctx, &req, Some(block)).await?;
    Ok(Reply::ok())
}

async fn delete_block(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    set_block(ctx, &req, None).await?;
    Ok(Reply::no_content())
}

async fn set_block(ctx: &Ctx, req: &Req, block: Option<AccessBlock>) -> Result<(), S3Error> {
    let change = move |config: &mut BucketConfig| config.access_block = block;
    ctx.engine().change_bucket(req.bucket()?, Arc::new(change)).await?;
    Ok(())
}
