//! Buckets: create, head, delete, location.

use serde::Deserialize;

use crate::engine::{ANYWHERE, CreateBucket, Error};
use crate::limits;
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When, run};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::acl::{Acl, Ownership};
use crate::types::action::Action;
use crate::types::bucket::Location;

use super::acl::of_new_bucket;
use super::params::{self, account};
use super::{promises, undelete};

pub(super) static OPS: &[Op] = &[
    Op {
        name: "CreateBucket",
        on: On::Bucket,
        verb: Verb::Put,
        when: &[],
        action: Action::CreateBucket,
        body: BodyKind::Xml(limits::XML_BYTES_MAX),
        auth: Auth::Signed,
        run: run!(create),
    },
    Op {
        name: "DeleteBucket",
        on: On::Bucket,
        verb: Verb::Delete,
        when: &[],
        action: Action::DeleteBucket,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(delete),
    },
    Op {
        name: "GetBucketLocation",
        on: On::Bucket,
        verb: Verb::Get,
        when: &[When::Query("location")],
        action: Action::GetBucketLocation,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(location),
    },
    Op {
        name: "HeadBucket",
        on: On::Bucket,
        verb: Verb::Head,
        when: &[],
        action: Action::ListBucket,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(head),
    },
];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CreateBucketConfiguration {
    location_constraint: String,
}

async fn create(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let lock = req
        .header("x-amz-bucket-object-lock-enabled")?
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let (acl, ownership) = of_new_bucket(ctx, &req).await?;
    let keeping = undelete::asked(&req)?;
    let name = req.bucket()?.clone();
    let location = places(&req)?;
    let promises = promises::of_headers(&req)?;
    let anywhere = location.iter().all(|place| ANYWHERE.contains(&place.as_str()));
    let plain = anywhere && promises.is_empty();
    let path = format!("/{name}");
    let create = CreateBucket { name, owner: account(&req), location, lock };
    let created = ctx.engine().create_bucket_with(create, promises).await;
    match created {
        Err(Error::BucketAlreadyOwnedByYou) if plain => {
            let asked = acl.unwrap_or_else(|| Acl::private(account(&req)));
            same_again(ctx, &req, &asked, ownership).await?;
        }
        Err(error) => return Err(error.into()),
        Ok(_) => {
            // Before this it is private, which is the safe side of a failure in between.
            if ownership.is_some() {
                ctx.engine().put_ownership(req.bucket()?, ownership).await?;
            }
            if let Some(acl) = acl {
                ctx.engine().put_bucket_acl(req.bucket()?, &acl).await?;
            }
            if let Some(days) = keeping {
                undelete::keep(ctx, req.bucket()?, days).await?;
            }
        }
    }
    Reply::ok().text("location", &path)
}

/// One's own bucket made again without a location is 200, as S3 answers in its oldest region, and
/// the bucket stays what it is. Where that is not what was asked for, the name is taken.
async fn same_again(
    ctx: &Ctx,
    req: &Req,
    acl: &Acl,
    ownership: Option<Ownership>,
) -> Result<(), S3Error> {
    let rules = ctx.engine().bucket_rules(req.bucket()?).await?;
    let same = rules.acl == *acl && (ownership.is_none() || ownership == rules.set_ownership);
    if same { Ok(()) } else { Err(S3Error::new(Code::BucketAlreadyExists)) }
}

/// The regions that a new bucket is restricted to: by header (ours or Tigris's) or by document.
fn places(req: &Req) -> Result<Vec<String>, S3Error> {
    if let Some((_, places)) = params::places(req)? {
        return Ok(places);
    }
    if req.document.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let document: CreateBucketConfiguration = req.xml("CreateBucketConfiguration")?;
    Ok(document.location_constraint.split(',').map(|place| place.trim().to_owned()).collect())
}

async fn delete(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    ctx.engine().delete_bucket(req.bucket()?).await?;
    Ok(Reply::no_content())
}

async fn location(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let bucket = ctx.engine().head_bucket(req.bucket()?).await?;
    let mut out = Writer::new("LocationConstraint");
    out.content(&region_of(&bucket.location));
    Ok(Reply::xml(out))
}

async fn head(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let bucket = ctx.engine().head_bucket(req.bucket()?).await?;
    Reply::ok().text("x-amz-bucket-region", &region_of(&bucket.location))
}

/// What a bucket's location is called: `auto` without a restriction, else its regions.
pub(super) fn region_of(location: &Location) -> String {
    match location {
        Location::Everywhere => "auto".to_owned(),
        Location::Only(regions) => {
            regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
    }
}
