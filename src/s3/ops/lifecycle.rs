//! Lifecycle rules of a bucket: the setting, and what answers about objects say of it.
//! Source: S3 API reference, PutBucketLifecycleConfiguration.

use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use crate::engine::{Due, ObjectInfo, Stored};
use crate::limits;
use crate::logic::lifecycle::{self, Refusal};
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::{self, Writer};
use crate::types::bucket::SettingKind;
use crate::types::lifecycle::{
    Expiration, Form, Lifecycle, Noncurrent, Rule, Scope, SmallestTransition,
};

use super::answers::Encoding;

const SMALLEST: &str = "x-amz-transition-default-minimum-object-size";

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Where a transition of S3 can lead to.
const TRANSITION_CLASSES: [&str; 6] =
    ["DEEP_ARCHIVE", "GLACIER", "GLACIER_IR", "INTELLIGENT_TIERING", "ONEZONE_IA", "STANDARD_IA"];

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "DeleteBucketLifecycle",
        Delete,
        Bucket,
        "lifecycle",
        PutLifecycleConfiguration,
        BodyKind::None,
        delete
    ),
    sub_resource!(
        "GetBucketLifecycleConfiguration",
        Get,
        Bucket,
        "lifecycle",
        GetLifecycleConfiguration,
        BodyKind::None,
        get
    ),
    sub_resource!(
        "PutBucketLifecycleConfiguration",
        Put,
        Bucket,
        "lifecycle",
        PutLifecycleConfiguration,
        BodyKind::Xml(limits::XML_BYTES_MAX),
        put
    ),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LifecycleConfiguration {
    #[serde(default)]
    rule: Vec<RuleElement>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RuleElement {
    #[serde(rename = "ID")]
    id: Option<String>,
    status: String,
    prefix: Option<String>,
    filter: Option<FilterElement>,
    expiration: Option<ExpirationElement>,
    noncurrent_version_expiration: Option<NoncurrentElement>,
    abort_incomplete_multipart_upload: Option<AbortElement>,
    #[serde(default)]
    transition: Vec<TransitionElement>,
    #[serde(default)]
    noncurrent_version_transition: Vec<TransitionElement>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilterElement {
    prefix: Option<String>,
    tag: Option<Tag>,
    object_size_greater_than: Option<u64>,
    object_size_less_than: Option<u64>,
    and: Option<AndElement>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AndElement {
    prefix: Option<String>,
    #[serde(default)]
    tag: Vec<Tag>,
    object_size_greater_than: Option<u64>,
    object_size_less_than: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExpirationElement {
    days: Option<i64>,
    date: Option<String>,
    expired_object_delete_marker: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NoncurrentElement {
    noncurrent_days: i64,
    newer_noncurrent_versions: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AbortElement {
    days_after_initiation: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TransitionElement {
    date: Option<String>,
    days: Option<i64>,
    noncurrent_days: Option<i64>,
    storage_class: String,
}

async fn put(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let document: LifecycleConfiguration = req.xml("LifecycleConfiguration")?;
    let smallest = match req.header(SMALLEST)? {
        None | Some("all_storage_classes_128K") => SmallestTransition::AllClasses128K,
        Some("varies_by_storage_class") => SmallestTransition::ByClass,
        Some(_) => {
            let why = "Invalid TransitionDefaultMinimumObjectSize found";
            return Err(S3Error::with(Code::InvalidRequest, why));
        }
    };
    let document = Lifecycle { rules: checked(ctx, document)?, smallest };
    ctx.engine().put_document(req.bucket()?, SettingKind::Lifecycle, &document).await?;
    Reply::ok().text(SMALLEST, smallest_name(smallest))
}

/// The rules of a document that S3 would take, and that are kept.
pub(super) fn checked(ctx: &Ctx, document: LifecycleConfiguration) -> Result<Vec<Rule>, S3Error> {
    document.rule.iter().flat_map(transitions).try_for_each(check_transition)?;
    let moves = document.rule.iter().flat_map(transitions).next().map(|t| t.storage_class.clone());
    let rules = document.rule.into_iter().map(|element| rule_of(ctx, element));
    let rules = rules.collect::<Result<Vec<Rule>, _>>()?;
    lifecycle::check(&rules, moves.is_some()).map_err(|why| match why {
        Refusal::Shape => S3Error::new(Code::MalformedXML),
        Refusal::Argument(why) => S3Error::with(Code::InvalidArgument, why),
        Refusal::Request(why) => S3Error::with(Code::InvalidRequest, why),
    })?;
    if let Some(class) = moves {
        let why = "There is one storage tier here: objects do not move to other storage classes. \
                   Take the transitions out of the rules.";
        return Err(
            S3Error::with(Code::InvalidStorageClass, why).extra("StorageClassRequested", class)
        );
    }
    Ok(rules)
}

fn transitions(rule: &RuleElement) -> impl Iterator<Item = &TransitionElement> {
    rule.transition.iter().chain(&rule.noncurrent_version_transition)
}

/// What S3 would refuse of a transition is refused in its words.
fn check_transition(transition: &TransitionElement) -> Result<(), S3Error> {
    if !TRANSITION_CLASSES.contains(&transition.storage_class.as_str()) {
        return Err(S3Error::new(Code::MalformedXML));
    }
    if let Some(date) = &transition.date {
        midnight(date)?;
    }
    let days = [transition.days, transition.noncurrent_days];
    let given = days.iter().flatten().count() + usize::from(transition.date.is_some());
    if given != 1 {
        return Err(S3Error::new(Code::MalformedXML));
    }
    if days.into_iter().flatten().any(|days| days < 0) {
        let why = "'Days' in Transition action must be nonnegative";
        return Err(S3Error::with(Code::InvalidArgument, why));
    }
    Ok(())
}

fn rule_of(ctx: &Ctx, element: RuleElement) -> Result<Rule, S3Error> {
    let enabled = match element.status.as_str() {
        "Enabled" => true,
        "Disabled" => false,
        _ => return Err(S3Error::new(Code::MalformedXML)),
    };
    let scope = match (element.prefix, element.filter) {
        (Some(prefix), None) => {
            Scope { form: Form::Prefix, prefix: Some(prefix), ..Scope::default() }
        }
        (None, Some(filter)) => scope_of(filter)?,
        (Some(_), Some(_)) | (None, None) => return Err(S3Error::new(Code::MalformedXML)),
    };
    let id = element.id.filter(|id| !id.is_empty());
    Ok(Rule {
        id: id.unwrap_or_else(|| hex::encode(ctx.env.random::<16>())),
        enabled,
        scope,
        expiration: element.expiration.map(expiration_of).transpose()?,
        noncurrent: element.noncurrent_version_expiration.map(noncurrent_of).transpose()?,
        abort_days: element
            .abort_incomplete_multipart_upload
            .map(|abort| {
                let action = "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action";
                positive(abort.days_after_initiation, action)
            })
            .transpose()?,
    })
}

fn scope_of(filter: FilterElement) -> Result<Scope, S3Error> {
    let FilterElement { prefix, tag, object_size_greater_than, object_size_less_than, and } =
        filter;
    let pair = |tag: Tag| (tag.key, tag.value);
    let plain = Scope {
        form: Form::Filter,
        prefix,
        tags: tag.map(pair).into_iter().collect(),
        larger: object_size_greater_than,
        smaller: object_size_less_than,
    };
    match and {
        None => Ok(plain),
        Some(and) if plain == Scope::default() => Ok(Scope {
            form: Form::And,
            prefix: and.prefix,
            tags: and.tag.into_iter().map(pair).collect(),
            larger: and.object_size_greater_than,
            smaller: and.object_size_less_than,
        }),
        Some(_) => Err(S3Error::new(Code::MalformedXML)),
    }
}

fn expiration_of(element: ExpirationElement) -> Result<Expiration, S3Error> {
    match (element.days, element.date.as_deref(), element.expired_object_delete_marker) {
        (Some(days), None, None) => {
            Ok(Expiration::Days(positive(days, "'Days' for Expiration action")?))
        }
        (None, Some(date), None) => Ok(Expiration::Date(midnight(date)?)),
        (None, None, Some(markers)) => Ok(Expiration::Markers(markers)),
        _ => Err(S3Error::new(Code::MalformedXML)),
    }
}

fn noncurrent_of(element: NoncurrentElement) -> Result<Noncurrent, S3Error> {
    const ACTION: &str = "'NoncurrentDays' for NoncurrentVersionExpiration action";
    let keep = element.newer_noncurrent_versions;
    Ok(Noncurrent {
        days: positive(element.noncurrent_days, ACTION)?,
        keep: keep.map(|keep| positive(keep, "'NewerNoncurrentVersions'")).transpose()?,
    })
}

fn positive(number: i64, what: &str) -> Result<u32, S3Error> {
    let number = u32::try_from(number).ok().filter(|n| (1..=i32::MAX.unsigned_abs()).contains(n));
    number.ok_or_else(|| {
        S3Error::with(Code::InvalidArgument, format!("{what} must be a positive integer"))
    })
}

/// Milliseconds since 1970 of a date, which must be a midnight of UTC.
fn midnight(text: &str) -> Result<u64, S3Error> {
    let text = text.trim();
    let time = OffsetDateTime::parse(text, &Rfc3339).or_else(|_| {
        let day = Date::parse(text, format_description!("[year]-[month]-[day]"));
        day.map(|day| day.midnight().assume_utc())
    });
    let time = time.map_err(|_| S3Error::new(Code::MalformedXML))?;
    let ms = u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok();
    ms.filter(|ms| ms.is_multiple_of(DAY_MS))
        .ok_or_else(|| S3Error::with(Code::InvalidArgument, "'Date' must be at midnight GMT"))
}

async fn get(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let bucket = req.bucket()?;
    let found: Option<Lifecycle> = ctx.engine().document(bucket, SettingKind::Lifecycle).await?;
    let found = found.ok_or_else(|| {
        S3Error::new(Code::NoSuchLifecycleConfiguration).extra("BucketName", bucket.as_str())
    })?;
    let mut out = Writer::new("LifecycleConfiguration");
    for rule in &found.rules {
        out.open("Rule");
        rule_elements(&mut out, rule);
        out.close();
    }
    Reply::xml(out).text(SMALLEST, smallest_name(found.smallest))
}

fn rule_elements(out: &mut Writer, rule: &Rule) {
    out.text("ID", &rule.id);
    scope_elements(out, &rule.scope);
    out.text("Status", if rule.enabled { "Enabled" } else { "Disabled" });
    if let Some(expiration) = rule.expiration {
        out.open("Expiration");
        match expiration {
            Expiration::Days(days) => out.value("Days", days),
            Expiration::Date(ms) => out.date("Date", ms),
            Expiration::Markers(markers) => out.value("ExpiredObjectDeleteMarker", markers),
        };
        out.close();
    }
    if let Some(Noncurrent { days, keep }) = rule.noncurrent {
        out.open("NoncurrentVersionExpiration").value("NoncurrentDays", days);
        if let Some(keep) = keep {
            out.value("NewerNoncurrentVersions", keep);
        }
        out.close();
    }
    if let Some(days) = rule.abort_days {
        out.open("AbortIncompleteMultipartUpload").value("DaysAfterInitiation", days).close();
    }
}

fn scope_elements(out: &mut Writer, scope: &Scope) {
    let conditions = |out: &mut Writer| {
        out.text_some("Prefix", scope.prefix.as_deref());
        for (key, value) in &scope.tags {
            out.open("Tag").text("Key", key).text("Value", value).close();
        }
        if let Some(bytes) = scope.larger {
            out.value("ObjectSizeGreaterThan", bytes);
        }
        if let Some(bytes) = scope.smaller {
            out.value("ObjectSizeLessThan", bytes);
        }
    };
    match scope.form {
        Form::Prefix => conditions(out),
        Form::Filter => {
            conditions(out.open("Filter"));
            out.close();
        }
        Form::And => {
            conditions(out.open("Filter").open("And"));
            out.close().close();
        }
    }
}

fn smallest_name(smallest: SmallestTransition) -> &'static str {
    match smallest {
        SmallestTransition::AllClasses128K => "all_storage_classes_128K",
        SmallestTransition::ByClass => "varies_by_storage_class",
    }
}

/// When an object that was just stored expires, where rules say so.
pub(super) async fn with_expiry_of(
    ctx: &Ctx,
    req: &Req,
    stored: &Stored,
    reply: Reply,
) -> Result<Reply, S3Error> {
    let due = ctx.engine().expiry_of_stored(req.bucket()?, req.key()?, stored).await?;
    with_due(reply, due)
}

/// When an object that is read expires. A request that names a version is not told: rules that
/// expire objects are about current ones.
pub(super) fn with_expiry(
    ctx: &Ctx,
    req: &Req,
    info: &ObjectInfo,
    reply: Reply,
) -> Result<Reply, S3Error> {
    if req.query("versionId").is_some() {
        return Ok(reply);
    }
    with_due(reply, ctx.engine().expiry(req.bucket()?, req.key()?, info)?)
}

fn with_due(reply: Reply, due: Option<Due>) -> Result<Reply, S3Error> {
    let Some(Due { at_ms, rule }) = due else { return Ok(reply) };
    let (date, rule) = (xml::http_date(at_ms), Encoding::Url.encode(&rule));
    reply.text("x-amz-expiration", &format!("expiry-date=\"{date}\", rule-id=\"{rule}\""))
}

/// When an upload that began then is aborted, where rules say so.
pub(super) fn with_abortion(
    ctx: &Ctx,
    req: &Req,
    started_ms: u64,
    reply: Reply,
) -> Result<Reply, S3Error> {
    let due = ctx.engine().abortion(req.bucket()?, req.key()?, started_ms)?;
    let Some(Due { at_ms, rule }) = due else { return Ok(reply) };
    reply
        .text("x-amz-abort-date", &xml::http_date(at_ms))?
        .text("x-amz-abort-rule-id", &Encoding::Url.encode(&rule))
}

async fn delete(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    ctx.engine().put_setting(req.bucket()?, SettingKind::Lifecycle, None).await?;
    Ok(Reply::no_content())
}
