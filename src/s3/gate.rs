//! The engine behind the pipeline: keys, access decisions, and everything that operations do.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::engine::{Engine, Error};
use crate::env::BoxFuture;
use crate::types::access::Circumstances;
use crate::types::action::{Action, Target};
use crate::types::caller::Caller;
use crate::types::event::{By, Cause};
use crate::types::name::{AccessKeyId, BucketName};
use crate::types::object::Row;
use crate::types::record::AccessKeyRecord;

use super::around;
use super::error::{Code, S3Error};
use super::intake::Head;
use super::op::Op;
use super::ops::copy_source_bucket;
use super::request::Req;
use super::{Ctx, Gate};

/// The account that the caller takes for the owner of the bucket, and of the source of a copy.
const EXPECTED_OWNER: &str = "x-amz-expected-bucket-owner";
const EXPECTED_SOURCE_OWNER: &str = "x-amz-source-expected-bucket-owner";

/// What a region knew when it answered; handed back, the region that answers then knows as much.
pub(super) const TOKEN: &str = "x-godwit-token";

impl Gate for Engine {
    fn access_key<'a>(
        &'a self,
        id: &'a AccessKeyId,
    ) -> BoxFuture<'a, Result<Option<AccessKeyRecord>, Error>> {
        Box::pin(Self::access_key(self, id))
    }

    fn authorize<'a>(
        &'a self,
        caller: &'a Caller,
        action: Action,
        target: &'a Target,
        around: &'a Circumstances,
    ) -> BoxFuture<'a, Result<Option<Row>, Error>> {
        Box::pin(Self::authorize(self, caller, action, target, around))
    }

    fn reach<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            Self::reach(self, token).await.map_err(|why| match why {
                Error::InvalidArgument(why) => Error::InvalidArgument(format!("{TOKEN}: {why}")),
                other => other,
            })
        })
    }

    fn token(&self) -> Option<Arc<str>> {
        Self::token(self)
            .inspect_err(|why| tracing::error!(%why, "what this region knows cannot be read"))
            .ok()
    }

    fn engine(&self) -> Option<&Engine> {
        Some(self)
    }
}

impl Ctx {
    /// What the operations call.
    pub(crate) fn engine(&self) -> &Engine {
        self.gate.engine().expect("the table of S3's operations is served with an engine")
    }

    /// The same for a read: in the one order that all regions see, where that is asked for.
    pub(crate) fn engine_to_read(&self, req: &Req) -> Result<Cow<'_, Engine>, S3Error> {
        let engine = self.engine();
        Ok(match wants_one_order(req)? {
            true => Cow::Owned(engine.clone().linearizable()),
            false => Cow::Borrowed(engine),
        })
    }

    /// The same for a change of what others are told of: the engine on behalf of who asks. Where
    /// nobody is told, nobody is named.
    pub(crate) fn engine_for(&self, req: &Req) -> Result<Engine, S3Error> {
        let cause = if req.form.is_some() { Cause::Form } else { Cause::Plain };
        let engine = if req.target.bucket().is_some_and(|b| !self.engine().is_watched(b)) {
            self.engine().caused_by(cause)
        } else {
            let account = req.caller.account();
            let by = By {
                principal: account.map_or_else(|| "Anonymous".to_owned(), ToString::to_string),
                address: req.around.source_ip.map(|ip| ip.to_string()),
                request: req.id.clone(),
            };
            self.engine().on_behalf(by, cause)
        };
        Ok(if wants_one_order(req)? { engine.linearizable() } else { engine })
    }
}

/// Whether a request asks that its read or change of a key has its place in the one order that all
/// regions see. Tigris has the second name.
fn wants_one_order(req: &Req) -> Result<bool, S3Error> {
    for name in ["x-godwit-consistent", "x-tigris-consistent"] {
        if let Some(wanted) = req.header_as::<bool>(name)? {
            return Ok(wanted);
        }
    }
    Ok(false)
}

/// Refuses a request whose bucket belongs to another account than the caller expects, so that
/// nothing is read from or written to a bucket that changed hands.
/// Source: S3 user guide, "Verifying bucket ownership".
pub(super) async fn expected_owner(ctx: &Ctx, op: &Op, head: &Head) -> Result<(), S3Error> {
    if op.action == Action::CreateBucket {
        return Ok(());
    }
    if let (Some(expected), Some(bucket)) = (head.text(EXPECTED_OWNER), head.target.bucket()) {
        owned_by(ctx, bucket, expected).await?;
    }
    let Some(expected) = head.text(EXPECTED_SOURCE_OWNER) else { return Ok(()) };
    let source = head.text("x-amz-copy-source").unwrap_or_default();
    match copy_source_bucket(source) {
        Some(bucket) => owned_by(ctx, &bucket, expected).await,
        None => Ok(()),
    }
}

pub(super) const CHARGED: HeaderName = HeaderName::from_static("x-amz-request-charged");
pub(super) const REQUESTER: HeaderValue = HeaderValue::from_static("requester");

/// Whether the request is the caller's to pay, because it says so and the bucket, or that of a
/// copy's source, wants it.
pub(super) async fn is_charged(ctx: &Ctx, caller: &Caller, head: &Head) -> Result<bool, S3Error> {
    if !around::pays(head.headers()) {
        return Ok(false);
    }
    let source = head.text("x-amz-copy-source").and_then(copy_source_bucket);
    for bucket in head.target.bucket().into_iter().chain(&source) {
        match ctx.engine().charges(caller, bucket).await {
            Ok(true) => return Ok(true),
            // A bucket that is being made is nobody's yet.
            Ok(false) | Err(Error::NoSuchBucket) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

async fn owned_by(ctx: &Ctx, bucket: &BucketName, expected: &str) -> Result<(), S3Error> {
    if *ctx.engine().bucket_config(bucket).await?.owner.0 == *expected {
        return Ok(());
    }
    let why = "The bucket does not belong to the account that the request expects.";
    Err(S3Error::with(Code::AccessDenied, why))
}
