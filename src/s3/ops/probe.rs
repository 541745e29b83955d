//! What clients ask of a bucket or an object on their way, and what is true today: no versions, no
//! rules.
//!
//! Invariant: an answer here is what a bucket without any settings has. Where settings can be made,
//! their operation is elsewhere.

use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::types::action::Action;

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

pub(super) static OPS: &[Op] = &[unset!(
    "GetBucketReplication",
    "replication",
    GetReplicationConfiguration,
    ReplicationConfigurationNotFoundError
)];

fn missing(req: &Req, code: Code) -> Result<Reply, S3Error> {
    Err(S3Error::new(code).extra("BucketName", req.bucket()?.as_str()))
}
