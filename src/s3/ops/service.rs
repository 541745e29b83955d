//! Operations on the account's whole space.

use crate::engine::ListBuckets;
use crate::s3::Ctx;
use crate::s3::error::S3Error;
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, run};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::action::Action;

use super::answers::account_element;
use super::bucket::region_of;
use super::params::{account, non_empty};

pub(super) static OPS: &[Op] = &[Op {
    name: "ListBuckets",
    on: On::Service,
    verb: Verb::Get,
    when: &[],
    action: Action::ListAllMyBuckets,
    body: BodyKind::None,
    auth: Auth::Signed,
    run: run!(list_buckets),
}];

/// Names in one page. Source: S3 API reference, ListBuckets.
const BUCKETS_MAX: usize = 10_000;

async fn list_buckets(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let owner = account(&req);
    let max = match req.query_as::<usize>("max-buckets")? {
        Some(max) if (1..=BUCKETS_MAX).contains(&max) => max,
        Some(max) => {
            let why = "max-buckets is between 1 and 10000";
            return Err(S3Error::argument("max-buckets", &max.to_string(), why));
        }
        None => BUCKETS_MAX,
    };
    let prefix = non_empty(&req, "prefix");
    let list = ListBuckets {
        owner: owner.clone(),
        prefix: prefix.clone().unwrap_or_default(),
        after: non_empty(&req, "continuation-token"),
        max,
    };
    let page = ctx.engine().list_buckets(list).await?;
    let mut out = Writer::new("ListAllMyBucketsResult");
    account_element(&mut out, "Owner", &owner);
    out.open("Buckets");
    for bucket in &page.buckets {
        out.open("Bucket").text("Name", bucket.name.as_str());
        out.date("CreationDate", bucket.created_ms);
        out.text("BucketRegion", &region_of(&bucket.location)).close();
    }
    out.close().text_some("Prefix", prefix.as_deref());
    out.text_some("ContinuationToken", page.next.as_deref());
    Ok(Reply::xml(out))
}
