//! Object lock: the bucket's configuration, retention and legal hold of versions.
//! Source: S3 API reference, PutObjectLockConfiguration, PutObjectRetention, PutObjectLegalHold.

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::engine::ObjectInfo;
use crate::limits;
use crate::logic;
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::{self, Writer};
use crate::types::action::{Action, Target};
use crate::types::lock::{
    DefaultRetention, LockAsked, LockMode, LockPeriod, ObjectLock, Retention,
};

use super::params::version;

/// Longest default retention. Source: S3 user guide, "Object Lock considerations".
const DAYS_MAX: u32 = 36_500;
const YEARS_MAX: u32 = 100;

const XML: BodyKind = BodyKind::Xml(limits::XML_BYTES_MAX);
const NONE: BodyKind = BodyKind::None;

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "GetObjectLegalHold",
        Get,
        Object,
        "legal-hold",
        GetObjectLegalHold,
        NONE,
        get_hold
    ),
    sub_resource!(
        "GetObjectLockConfiguration",
        Get,
        Bucket,
        "object-lock",
        GetBucketObjectLockConfiguration,
        NONE,
        get_configuration
    ),
    sub_resource!(
        "GetObjectRetention",
        Get,
        Object,
        "retention",
        GetObjectRetention,
        NONE,
        get_retention
    ),
    sub_resource!(
        "PutObjectLegalHold",
        Put,
        Object,
        "legal-hold",
        PutObjectLegalHold,
        XML,
        put_hold
    ),
    sub_resource!(
        "PutObjectLockConfiguration",
        Put,
        Bucket,
        "object-lock",
        PutBucketObjectLockConfiguration,
        XML,
        put_configuration
    ),
    sub_resource!(
        "PutObjectRetention",
        Put,
        Object,
        "retention",
        PutObjectRetention,
        XML,
        put_retention
    ),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ObjectLockConfiguration {
    object_lock_enabled: Option<String>,
    rule: Option<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    default_retention: Option<DefaultElement>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DefaultElement {
    mode: Option<String>,
    days: Option<i64>,
    years: Option<i64>,
}

async fn put_configuration(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let asked: ObjectLockConfiguration = req.xml("ObjectLockConfiguration")?;
    if asked.object_lock_enabled.as_deref() != Some("Enabled") {
        return Err(S3Error::new(Code::MalformedXML));
    }
    let rule = asked.rule.and_then(|rule| rule.default_retention);
    let lock = ObjectLock { default: rule.as_ref().map(default_of).transpose()? };
    ctx.engine().put_object_lock(req.bucket()?, lock).await?;
    Ok(Reply::ok())
}

fn default_of(element: &DefaultElement) -> Result<DefaultRetention, S3Error> {
    let mode = element.mode.as_deref().and_then(mode_of);
    let mode = mode.ok_or_else(|| S3Error::new(Code::MalformedXML))?;
    let bad = || {
        let why = "Default retention period must be a positive integer value.";
        S3Error::with(Code::InvalidRetentionPeriod, why)
    };
    let number =
        |n: i64, max: u32| u32::try_from(n).ok().filter(|n| (1..=max).contains(n)).ok_or_else(bad);
    let period = match (element.days, element.years) {
        (Some(days), None) => LockPeriod::Days(number(days, DAYS_MAX)?),
        (None, Some(years)) => LockPeriod::Years(number(years, YEARS_MAX)?),
        (Some(_), Some(_)) | (None, None) => return Err(S3Error::new(Code::MalformedXML)),
    };
    Ok(DefaultRetention { mode, period })
}

async fn get_configuration(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let config = ctx.engine().bucket_config(req.bucket()?).await?;
    let Some(lock) = &config.lock else {
        return Err(S3Error::new(Code::ObjectLockConfigurationNotFoundError)
            .extra("BucketName", req.bucket()?.as_str()));
    };
    let mut out = Writer::new("ObjectLockConfiguration");
    out.text("ObjectLockEnabled", "Enabled");
    if let Some(DefaultRetention { mode, period }) = lock.default {
        out.open("Rule").open("DefaultRetention").text("Mode", mode_name(mode));
        match period {
            LockPeriod::Days(days) => out.value("Days", days),
            LockPeriod::Years(years) => out.value("Years", years),
        };
        out.close().close();
    }
    Ok(Reply::xml(out))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RetentionElement {
    mode: Option<String>,
    retain_until_date: Option<String>,
}

async fn put_retention(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let asked: RetentionElement = req.xml("Retention")?;
    let malformed = || S3Error::new(Code::MalformedXML);
    let retention = match (asked.mode.as_deref(), asked.retain_until_date.as_deref()) {
        (Some(mode), Some(date)) => Some(Retention {
            mode: mode_of(mode).ok_or_else(malformed)?,
            until_ms: date_of(date).ok_or_else(malformed)?,
        }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(malformed()),
    };
    let bypass = bypasses(ctx, &req, &req.target).await?;
    let (bucket, key) = (req.bucket()?, req.key()?);
    ctx.engine().put_retention(bucket, key, version(&req)?, retention, bypass).await?;
    Ok(Reply::ok())
}

async fn get_retention(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let state = ctx.engine().lock_state(req.bucket()?, req.key()?, version(&req)?).await?;
    let retention =
        state.retention.ok_or_else(|| S3Error::new(Code::NoSuchObjectLockConfiguration))?;
    let mut out = Writer::new("Retention");
    out.text("Mode", mode_name(retention.mode)).date("RetainUntilDate", retention.until_ms);
    Ok(Reply::xml(out))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LegalHold {
    status: Option<String>,
}

async fn put_hold(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let asked: LegalHold = req.xml("LegalHold")?;
    let on = match asked.status.as_deref() {
        Some("ON") => true,
        Some("OFF") => false,
        Some(_) | None => return Err(S3Error::new(Code::MalformedXML)),
    };
    ctx.engine().put_legal_hold(req.bucket()?, req.key()?, version(&req)?, on).await?;
    Ok(Reply::ok())
}

async fn get_hold(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let state = ctx.engine().lock_state(req.bucket()?, req.key()?, version(&req)?).await?;
    let mut out = Writer::new("LegalHold");
    out.text("Status", if state.legal_hold { "ON" } else { "OFF" });
    Ok(Reply::xml(out))
}

/// The request asks to end a governance retention of this object, and its caller may.
pub(super) async fn bypasses(ctx: &Ctx, req: &Req, target: &Target) -> Result<bool, S3Error> {
    let asked = req.header("x-amz-bypass-governance-retention")?;
    if !asked.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    let action = Action::BypassGovernanceRetention;
    ctx.engine().authorize(&req.caller, action, target, &req.around).await?;
    Ok(true)
}

/// What the headers of a write ask of its version's lock, by a caller who may ask it.
pub(super) async fn lock_asked(ctx: &Ctx, req: &Req) -> Result<LockAsked, S3Error> {
    let asked = from_headers(req)?;
    let actions = [
        (asked.retention.is_some(), Action::PutObjectRetention),
        (asked.legal_hold, Action::PutObjectLegalHold),
    ];
    for (_, action) in actions.into_iter().filter(|(asked, _)| *asked) {
        ctx.engine().authorize(&req.caller, action, &req.target, &req.around).await?;
    }
    Ok(asked)
}

fn from_headers(req: &Req) -> Result<LockAsked, S3Error> {
    const MODE: &str = "x-amz-object-lock-mode";
    const DATE: &str = "x-amz-object-lock-retain-until-date";
    const HOLD: &str = "x-amz-object-lock-legal-hold";
    let bad = |name: &'static str, text: &str| {
        S3Error::argument(name, text, "The value is not one that object lock has.")
    };
    let retention = match (req.header(MODE)?, req.header(DATE)?) {
        (None, None) => None,
        (Some(mode), Some(date)) => Some(Retention {
            mode: mode_of(mode).ok_or_else(|| bad(MODE, mode))?,
            until_ms: date_of(date).ok_or_else(|| bad(DATE, date))?,
        }),
        (Some(_), None) | (None, Some(_)) => {
            let why = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both \
                       be supplied";
            return Err(S3Error::argument(MODE, "", why));
        }
    };
    let legal_hold = match req.header(HOLD)? {
        None | Some("OFF") => false,
        Some("ON") => true,
        Some(other) => return Err(bad(HOLD, other)),
    };
    Ok(LockAsked { retention, legal_hold })
}

/// What GET and HEAD say of a version's lock.
pub(super) fn with_lock(mut reply: Reply, info: &ObjectInfo) -> Result<Reply, S3Error> {
    if let Some(retention) = logic::lock::retention(&info.marks) {
        let until = xml::iso_date(retention.until_ms);
        reply = reply
            .text("x-amz-object-lock-mode", mode_name(retention.mode))?
            .text("x-amz-object-lock-retain-until-date", &until)?;
    }
    if info.marks.legal_hold.val {
        reply = reply.text("x-amz-object-lock-legal-hold", "ON")?;
    }
    Ok(reply)
}

fn mode_of(name: &str) -> Option<LockMode> {
    match name {
        "COMPLIANCE" => Some(LockMode::Compliance),
        "GOVERNANCE" => Some(LockMode::Governance),
        _ => None,
    }
}

fn mode_name(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Compliance => "COMPLIANCE",
        LockMode::Governance => "GOVERNANCE",
    }
}

/// Milliseconds since 1970 of a date as XML writes it.
fn date_of(text: &str) -> Option<u64> {
    let date = OffsetDateTime::parse(text.trim(), &Rfc3339).ok()?;
    u64::try_from(date.unix_timestamp_nanos() / 1_000_000).ok()
}
