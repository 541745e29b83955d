//! Where the access log of a bucket goes.

use serde::Deserialize;

use crate::engine::{self, LogRefusal};
use crate::limits;
use crate::logic::access_log::{KeyFormat, Logging};
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::acl::Acl;
use crate::types::bucket::SettingKind;
use crate::types::name::BucketName;

use super::acl::{GrantElement, checked, grant, write_grant};

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "GetBucketLogging",
        Get,
        Bucket,
        "logging",
        GetBucketLogging,
        BodyKind::None,
        get
    ),
    sub_resource!(
        "PutBucketLogging",
        Put,
        Bucket,
        "logging",
        PutBucketLogging,
        BodyKind::Xml(limits::XML_BYTES_MAX),
        put
    ),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BucketLoggingStatus {
    logging_enabled: Option<LoggingEnabled>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LoggingEnabled {
    target_bucket: String,
    #[serde(default)]
    target_prefix: String,
    #[serde(default)]
    target_grants: Grants,
    target_object_key_format: Option<FormatElement>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Grants {
    #[serde(default)]
    grant: Vec<GrantElement>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FormatElement {
    simple_prefix: Option<Empty>,
    partitioned_prefix: Option<Partitioned>,
}

#[derive(Debug, Deserialize)]
struct Empty {}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Partitioned {
    partition_date_source: Option<String>,
}

impl FormatElement {
    fn format(&self) -> Result<KeyFormat, S3Error> {
        let source = match (&self.simple_prefix, &self.partitioned_prefix) {
            (Some(Empty {}), None) => return Ok(KeyFormat::Simple),
            (None, Some(partitioned)) => partitioned.partition_date_source.as_deref(),
            (None, None) | (Some(_), Some(_)) => return Err(S3Error::new(Code::MalformedXML)),
        };
        match source {
            None | Some("DeliveryTime") => Ok(KeyFormat::ByDelivery),
            Some("EventTime") => Ok(KeyFormat::ByEvent),
            Some(_) => Err(S3Error::new(Code::MalformedXML)),
        }
    }
}

async fn get(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let logging: Option<Logging> =
        ctx.engine().document(req.bucket()?, SettingKind::Logging).await?;
    let mut out = Writer::new("BucketLoggingStatus");
    let Some(logging) = logging else { return Ok(Reply::xml(out)) };
    out.open("LoggingEnabled").text("TargetBucket", logging.target.as_str());
    out.text("TargetPrefix", &logging.prefix);
    if !logging.grants.is_empty() {
        out.open("TargetGrants");
        logging.grants.iter().for_each(|grant| write_grant(&mut out, grant));
        out.close();
    }
    out.open("TargetObjectKeyFormat");
    let source = match logging.format {
        KeyFormat::Simple => None,
        KeyFormat::ByDelivery => Some("DeliveryTime"),
        KeyFormat::ByEvent => Some("EventTime"),
    };
    match source {
        None => out.text("SimplePrefix", ""),
        Some(source) => out.open("PartitionedPrefix").text("PartitionDateSource", source).close(),
    };
    Ok(Reply::xml(out))
}

async fn put(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let document: BucketLoggingStatus = req.xml("BucketLoggingStatus")?;
    let bucket = req.bucket()?;
    // Source: S3 API reference, PutBucketLogging: "you must be the bucket owner".
    if req.caller.account() != Some(&ctx.engine().bucket_config(bucket).await?.owner) {
        let why = "Only the owner of a bucket sets where its log goes.";
        return Err(S3Error::with(Code::AccessDenied, why));
    }
    match document.logging_enabled {
        None => ctx.engine().put_setting(bucket, SettingKind::Logging, None).await?,
        Some(element) => {
            let logging = logging(ctx, &element).await?;
            if let Some(refusal) = ctx.engine().log_refusal(bucket, &logging, None).await? {
                return Err(refused(refusal, &logging));
            }
            ctx.engine().put_document(bucket, SettingKind::Logging, &logging).await?;
        }
    }
    Ok(Reply::ok())
}

/// The document, as far as it can be checked by itself.
async fn logging(ctx: &Ctx, element: &LoggingEnabled) -> Result<Logging, S3Error> {
    let format = element.target_object_key_format.as_ref();
    let format = format.map_or(Ok(KeyFormat::Simple), FormatElement::format)?;
    let target = BucketName::parse(&element.target_bucket).map_err(|_| no_target())?;
    if element.target_prefix.len() > limits::LOG_PREFIX_BYTES_MAX {
        let why = "The target prefix is too long for the keys of log objects.";
        return Err(S3Error::argument("TargetPrefix", &element.target_prefix, why));
    }
    let grants: Result<Vec<_>, S3Error> = element.target_grants.grant.iter().map(grant).collect();
    let mut grants = grants?;
    if !grants.is_empty() {
        let rules = ctx.engine().bucket_rules(&target).await.map_err(|error| match error {
            engine::Error::NoSuchBucket => no_target(),
            error => S3Error::from(error),
        })?;
        let acl = Acl { owner: rules.owner.clone(), grants };
        grants = checked(ctx, &rules, acl).await?.grants;
    }
    Ok(Logging { target, prefix: element.target_prefix.clone(), grants, format })
}

fn no_target() -> S3Error {
    let why = "The target bucket for logging does not exist";
    S3Error::with(Code::InvalidTargetBucketForLogging, why)
}

fn refused(refusal: LogRefusal, logging: &Logging) -> S3Error {
    let invalid = |why: &'static str| S3Error::with(Code::InvalidTargetBucketForLogging, why);
    let answer = match refusal {
        LogRefusal::Denied => {
            let why = "The policy of the target bucket does not let logging.s3.amazonaws.com put \
                       objects under the prefix, and no grant lets the log delivery group write.";
            S3Error::with(Code::AccessDenied, why)
        }
        LogRefusal::Locked => invalid("The target bucket has a default retention"),
        LogRefusal::Missing => no_target(),
        LogRefusal::RequestersPay => invalid("Requesters pay for the target bucket"),
        LogRefusal::OtherOwner => {
            invalid("The owner for the bucket to be logged and the target bucket must be the same.")
        }
    };
    answer.extra("TargetBucket", logging.target.as_str())
}
