//! Bucket policies.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use crate::limits;
use crate::logic::acl;
use crate::logic::policy::Policy;
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::{Reply, ReplyBody};
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::bucket::BucketConfig;
use crate::types::name::BucketName;

/// A text that is too long is read as far as it takes to say so in the policy's own words.
const DOCUMENT: BodyKind = BodyKind::Xml(limits::XML_BYTES_MAX);

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "DeleteBucketPolicy",
        Delete,
        Bucket,
        "policy",
        DeleteBucketPolicy,
        BodyKind::None,
        delete
    ),
    sub_resource!("GetBucketPolicy", Get, Bucket, "policy", GetBucketPolicy, BodyKind::None, get),
    sub_resource!(
        "GetBucketPolicyStatus",
        Get,
        Bucket,
        "policyStatus",
        GetBucketPolicyStatus,
        BodyKind::None,
        status
    ),
    sub_resource!("PutBucketPolicy", Put, Bucket, "policy", PutBucketPolicy, DOCUMENT, put),
];

async fn text(ctx: &Ctx, req: &Req) -> Result<String, S3Error> {
    let bucket = req.bucket()?;
    let policy = ctx.engine().bucket_config(bucket).await?.policy.clone();
    policy
        .ok_or_else(|| S3Error::new(Code::NoSuchBucketPolicy).extra("BucketName", bucket.as_str()))
}

async fn get(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let text = text(ctx, &req).await?;
    let json = HeaderValue::from_static("application/json");
    let reply = Reply::ok().with(http::header::CONTENT_TYPE, json);
    Ok(reply.with_body(ReplyBody::Bytes(Bytes::from(text))))
}

/// Whether anyone may do anything, by policy or by grants.
pub(super) async fn is_public(ctx: &Ctx, bucket: &BucketName) -> Result<bool, S3Error> {
    let config = ctx.engine().bucket_config(bucket).await?;
    let policy = config.policy.as_deref().map(Policy::parse).transpose();
    let by_policy = policy.map_err(S3Error::internal)?.is_some_and(|policy| policy.is_public());
    let rules = ctx.engine().bucket_rules(bucket).await?;
    let by_grants = !rules.enforced() && !rules.block.ignore_public_acls;
    Ok(by_policy || by_grants && acl::is_public(&rules.acl))
}

async fn status(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let mut out = Writer::new("PolicyStatus");
    out.value("IsPublic", is_public(ctx, req.bucket()?).await?);
    Ok(Reply::xml(out))
}

async fn put(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let malformed = |why: String| S3Error::with(Code::MalformedPolicy, why);
    if req.document.len() > limits::POLICY_BYTES_MAX {
        return Err(malformed("Policy exceeds the maximum allowed document size.".into())
            .extra("MaxSizeAllowed", limits::POLICY_BYTES_MAX.to_string()));
    }
    let text = std::str::from_utf8(&req.document).map_err(|why| malformed(why.to_string()))?;
    let policy = Policy::parse(text).map_err(|why| malformed(why.to_string()))?;
    if !policy.is_about(req.bucket()?.as_str()) {
        return Err(malformed("Policy has invalid resource".into()));
    }
    let config = ctx.engine().bucket_config(req.bucket()?).await?;
    if config.access_block.is_some_and(|b| b.block_public_policy) && policy.is_public() {
        return Err(S3Error::with(Code::AccessDenied, "The bucket blocks public policies."));
    }
    set(ctx, &req, Some(text.to_owned())).await?;
    Ok(Reply::no_content())
}

async fn delete(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    set(ctx, &req, None).await?;
    Ok(Reply::no_content())
}

async fn set(ctx: &Ctx, req: &Req, policy: Option<String>) -> Result<(), S3Error> {
    let change = move |config: &mut BucketConfig| config.policy.clone_from(&policy);
    ctx.engine().change_bucket(req.bucket()?, Arc::new(change)).await?;
    Ok(())
}
