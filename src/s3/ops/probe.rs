//! What clients ask of a bucket or an object on their way, and what is true today: no versions, no
//! rules.
//!
//! Invariant: an answer here is what a bucket without any settings has. Where settings can be made,
//! their operation is elsewhere.

use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When, run};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::action::Action;

/// A row that only reads.
macro_rules! reads {
    ($name:literal, $on:ident, $query:literal, $action:ident, $run:path) => {
        Op {
            name: $name,
            on: On::$on,
            verb: Verb::Get,
            when: &[When::Query($query)],
            action: Action::$action,
            body: BodyKind::None,
            auth: Auth::Signed,
            run: run!($run),
        }
    };
}

/// A row whose setting is never there.
macro_rules! unset {
    ($name:literal, $query:literal, $action:ident, $code:ident) => {
        Op {
            name: $name,
            on: On::Bucket,
            verb: Verb::Get,
            when: &[When::Query($query)],
            action: Action::$action,
            body: BodyKind::None,
            auth: Auth::Signed,
            run: |_, req| Box::pin(async move { missing(&req, Code::$code) }),
        }
    };
}

pub(super) static OPS: &[Op] = &[
    unset!(
        "GetBucketReplication",
        "replication",
        GetReplicationConfiguration,
        ReplicationConfigurationNotFoundError
    ),
    reads!(
        "GetBucketRequestPayment",
        Bucket,
        "requestPayment",
        GetBucketRequestPayment,
        request_payment
    ),
];

fn missing(req: &Req, code: Code) -> Result<Reply, S3Error> {
    Err(S3Error::new(code).extra("BucketName", req.bucket()?.as_str()))
}

async fn request_payment(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    ctx.engine().head_bucket(req.bucket()?).await?;
    let mut out = Writer::new("RequestPaymentConfiguration");
    out.text("Payer", "BucketOwner");
    Ok(Reply::xml(out))
}
