//! A bucket as one JSON document, and URLs signed on request: what the SDKs of Tigris ask.
//! Source: `@tigrisdata/storage`, `getBucketInfo`, `updateBucket`, `getPresignedUrl`.
//!
//! Invariant: these are other spellings of S3's settings, checked by the same functions; what this
//! program does not have is refused where it is asked for, never taken and forgotten.

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::engine::{DeletedBucket, ListBuckets, Promises};
use crate::limits;
use crate::logic::acl;
use crate::logic::cors::Rule as CorsRule;
use crate::logic::notify;
use crate::s3::Ctx;
use crate::s3::auth::Promise;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When, run};
use crate::s3::reply::{Reply, ReplyBody};
use crate::s3::request::Req;
use crate::s3::xml::iso_date;
use crate::types::acl::{Acl, Grant, Grantee, Ownership, Permission};
use crate::types::action::Action;
use crate::types::bucket::{Location, SettingKind};
use crate::types::caller::Caller;
use crate::types::lifecycle::{Expiration, Lifecycle, Rule};
use crate::types::name::{AccessKeyId, AccountId, BucketName, ObjectKey};
use crate::types::record::{AccessKeyRecord, KeyScope};
use crate::types::usage::{Quota, Usage};

use super::acl::{of_bucket, refuse_lists};
use super::bucket::region_of;
use super::params::{account, non_empty};
use super::policy::is_public;
use super::{cors, lifecycle, notification, ownership, promises, quota, undelete};

/// Whether anyone may list the bucket.
const LISTING: &str = "x-amz-acl-public-list-objects-enabled";

pub(super) static OPS: &[Op] = &[
    Op {
        name: "GetBucket as JSON",
        on: On::Bucket,
        verb: Verb::Get,
        when: &[When::Query("metadata")],
        action: Action::GetBucketAcl,
        body: BodyKind::None,
        auth: Auth::PerKey,
        run: run!(show),
    },
    Op {
        name: "ListBuckets as JSON",
        on: On::Service,
        verb: Verb::Get,
        when: &[When::HeaderStarts("accept", "application/json")],
        action: Action::ListAllMyBuckets,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(list),
    },
    Op {
        name: "PatchBucket with JSON",
        on: On::Bucket,
        verb: Verb::Patch,
        when: &[],
        action: Action::PutBucketAcl,
        body: BodyKind::Xml(limits::XML_BYTES_MAX),
        auth: Auth::PerKey,
        run: run!(patch),
    },
    Op {
        name: "Presign a URL",
        on: On::Service,
        verb: Verb::Post,
        when: &[When::QueryIs("func", "presign")],
        action: Action::GetObject,
        body: BodyKind::Xml(limits::XML_BYTES_MAX),
        auth: Auth::Signed,
        run: run!(presign),
    },
];

/// Whose errors are JSON as well.
pub(in crate::s3) fn speaks_json(op: &str) -> bool {
    OPS.iter().any(|row| row.name == op)
}

fn answer(document: &Value) -> Reply {
    let json = HeaderValue::from_static("application/json");
    let body = ReplyBody::Bytes(Bytes::from(document.to_string()));
    Reply::ok().with(CONTENT_TYPE, json).with_body(body)
}

async fn allowed(ctx: &Ctx, req: &Req, actions: &[Action]) -> Result<(), S3Error> {
    for action in actions {
        ctx.engine().authorize(&req.caller, *action, &req.target, &req.around).await?;
    }
    Ok(())
}

async fn show(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    const NEEDED: [Action; 6] = [
        Action::GetBucketLocation,
        Action::GetBucketAcl,
        Action::GetBucketOwnershipControls,
        Action::GetBucketCORS,
        Action::GetLifecycleConfiguration,
        Action::GetBucketNotification,
    ];
    allowed(ctx, &req, &NEEDED).await?;
    let (engine, bucket) = (ctx.engine(), req.bucket()?);
    let config = engine.bucket_config(bucket).await?;
    let rules = engine.bucket_rules(bucket).await?;
    let listed = !rules.enforced() && !rules.block.ignore_public_acls && acl::is_public(&rules.acl);
    let mut out = json!({
        "name": bucket.as_str(),
        "storage_class": "STANDARD",
        "type": 0,
        "acl_settings": {"allow_object_acl": !rules.enforced()},
        "acl_list_objects": listed.to_string(),
        "object_regions": regions(&config.location),
        "tier_sizes": {},
    });
    promises::show(&config, &mut out);
    if req.query("with-size") == Some("true") {
        let usage = engine.usage(bucket).await?;
        out["estimated_size"] = usage.bytes.into();
        out["estimated_unique_rows"] = usage.objects.into();
        out["estimated_rows"] = usage.versions.into();
    }
    let cors: Option<Vec<CorsRule>> = engine.document(bucket, SettingKind::Cors).await?;
    if let Some(cors) = cors {
        let rules: Vec<Value> = cors.iter().map(shown_cors).collect();
        out["cors"] = json!({ "rules": rules });
    }
    let found: Option<Lifecycle> = engine.document(bucket, SettingKind::Lifecycle).await?;
    if let Some(found) = found {
        out["lifecycle_rules"] = found.rules.iter().map(shown_rule).collect();
    }
    quota::show(engine.quota(bucket).await?, &mut out);
    let keeping = engine.keeping(bucket).await?;
    out["soft_delete"] = json!({
        "enabled": keeping.soft_delete_days.is_some(),
        "retention_days": keeping.soft_delete_days.unwrap_or(limits::SOFT_DELETE_DAYS_DEFAULT),
    });
    if let Some(found) = notification::as_json(ctx, bucket).await? {
        out["object_notifications"] = found;
    }
    Ok(answer(&out))
}

/// The account's buckets, or those that it deleted and can have back: these on one page.
async fn list(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let asked = |name: &str| req.query(name) == Some("true");
    for header in ["x-tigris-fork", "x-tigris-snapshot"] {
        if req.headers.contains_key(header) {
            return Err(absent(header));
        }
    }
    let max = match req.query_as::<usize>("max-buckets")?.or(req.query_as("MaxBuckets")?) {
        Some(max) => max.clamp(1, limits::LIST_KEYS_MAX),
        None => limits::LIST_KEYS_MAX,
    };
    let owner = account(&req);
    let after = non_empty(&req, "continuation-token");
    let after = after.or_else(|| non_empty(&req, "ContinuationToken"));
    if asked("OnlyDeleted") {
        return deleted(ctx, &owner).await;
    }
    let list = ListBuckets { owner: owner.clone(), prefix: String::new(), after, max };
    let page = ctx.engine().list_buckets(list).await?;
    let mut buckets = Vec::new();
    for bucket in &page.buckets {
        let mut entry = json!({
            "Name": bucket.name.as_str(),
            "CreationDate": iso_date(bucket.created_ms),
            "Regions": regions(&bucket.location),
            "Type": "Regular",
        });
        if asked("IncludeVisibility") {
            entry["Visibility"] = json!({"IsPublic": is_public(ctx, &bucket.name).await?});
        }
        buckets.push(entry);
    }
    let mut out = json!({
        "Owner": {"ID": &*owner.0, "DisplayName": &*owner.0},
        "Buckets": {"Bucket": buckets},
        "IsTruncated": page.next.is_some(),
    });
    if let Some(next) = page.next {
        out["NextContinuationToken"] = next.into();
    }
    if asked("IncludeStats") {
        out["Stats"] = stats(ctx, owner).await?;
    }
    Ok(answer(&out))
}

async fn deleted(ctx: &Ctx, owner: &AccountId) -> Result<Reply, S3Error> {
    let found = ctx.engine().deleted_buckets(owner).await?;
    let shown = |kept: DeletedBucket| {
        json!({
            "Name": kept.bucket.name.as_str(),
            "CreationDate": iso_date(kept.bucket.created_ms),
            "DeletionDate": iso_date(kept.deleted_ms),
            "RetainUntilDate": iso_date(kept.until_ms),
            "Regions": regions(&kept.bucket.location),
            "Type": "Regular",
        })
    };
    let buckets: Vec<Value> = found.into_iter().map(shown).collect();
    Ok(answer(&json!({
        "Owner": {"ID": &*owner.0, "DisplayName": &*owner.0},
        "Buckets": {"Bucket": buckets},
        "IsTruncated": false,
    })))
}

/// How much is in all buckets of an account, as far as this region knows.
async fn stats(ctx: &Ctx, owner: AccountId) -> Result<Value, S3Error> {
    let (max, prefix) = (limits::LIST_KEYS_MAX, String::new());
    let mut list = ListBuckets { owner, prefix, after: None, max };
    let (mut buckets, mut total) = (0_usize, Usage::default());
    loop {
        let page = ctx.engine().list_buckets(list.clone()).await?;
        buckets += page.buckets.len();
        for bucket in &page.buckets {
            total = total.plus(ctx.engine().usage(&bucket.name).await?);
        }
        list.after = page.next;
        if list.after.is_none() {
            break;
        }
    }
    Ok(json!({
        "ActiveBuckets": buckets,
        "TotalObjects": total.versions,
        "TotalUniqueObjects": total.objects,
        "TotalStorageBytes": total.bytes,
    }))
}

/// Regions with commas; none where every region is.
fn regions(location: &Location) -> String {
    match location {
        Location::Everywhere => String::new(),
        Location::Only(_) => region_of(location),
    }
}

fn shown_cors(rule: &CorsRule) -> Value {
    let mut out = json!({
        "allowedOrigin": rule.origins,
        "allowedMethods": rule.methods,
        "allowedHeaders": rule.headers,
        "exposeHeaders": rule.expose,
    });
    if let Some(seconds) = rule.max_age_seconds {
        out["maxAge"] = seconds.into();
    }
    out
}

fn shown_rule(rule: &Rule) -> Value {
    let mut out = json!({"id": rule.id, "status": if rule.enabled { 1 } else { 2 }});
    match rule.expiration {
        Some(Expiration::Days(days)) => out["expiration"] = json!({"days": days, "enabled": true}),
        Some(Expiration::Date(ms)) => {
            out["expiration"] = json!({"date": iso_date(ms), "enabled": true});
        }
        Some(Expiration::Markers(_)) | None => {}
    }
    if let Some(prefix) = &rule.scope.prefix {
        out["filter"] = json!({ "prefix": prefix });
    }
    out
}

/// One setting of a bucket that shall change.
enum Change {
    Acl(Acl),
    Ownership(Ownership),
    Cors(Option<Vec<CorsRule>>),
    Lifecycle(Option<Lifecycle>),
    Notifications(Vec<notify::Rule>),
    /// Days; `None`: off.
    SoftDelete(Option<u16>),
    Promises(Promises),
    Quota(Quota),
    /// Codes and geographies; none: everywhere.
    Regions(Vec<String>),
}

impl Change {
    fn action(&self) -> Action {
        match self {
            Self::Acl(_) => Action::PutBucketAcl,
            Self::Ownership(_) => Action::PutBucketOwnershipControls,
            Self::Cors(_) => Action::PutBucketCORS,
            Self::Lifecycle(_) => Action::PutLifecycleConfiguration,
            Self::Notifications(_) => Action::PutBucketNotification,
            // Whoever may let it go may say how long it is kept.
            Self::SoftDelete(_) => Action::PutLifecycleConfiguration,
            // How much of it there may be, and how often: S3 has no other word for that.
            Self::Promises(_) | Self::Quota(_) | Self::Regions(_) => {
                Action::PutReplicationConfiguration
            }
        }
    }

    async fn apply(self, ctx: &Ctx, bucket: &BucketName) -> Result<(), S3Error> {
        let engine = ctx.engine();
        match self {
            Self::Acl(acl) => engine.put_bucket_acl(bucket, &acl).await?,
            Self::Ownership(ownership) => engine.put_ownership(bucket, Some(ownership)).await?,
            Self::Cors(Some(rules)) => {
                engine.put_document(bucket, SettingKind::Cors, &rules).await?;
            }
            Self::Cors(None) => engine.put_setting(bucket, SettingKind::Cors, None).await?,
            Self::Lifecycle(Some(rules)) => {
                engine.put_document(bucket, SettingKind::Lifecycle, &rules).await?;
            }
            Self::Lifecycle(None) => {
                engine.put_setting(bucket, SettingKind::Lifecycle, None).await?;
            }
            Self::Notifications(rules) => engine.put_notifications(bucket, rules).await?,
            Self::SoftDelete(days) => undelete::keep(ctx, bucket, days).await?,
            Self::Promises(promises) => engine.promise(bucket, promises).await?,
            Self::Quota(quota) => engine.put_quota(bucket, quota).await?,
            Self::Regions(regions) => {
                engine.relocate(bucket, &regions, false).await?;
            }
        }
        Ok(())
    }
}

/// Everything is checked before anything is changed.
async fn patch(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let bucket = req.bucket()?;
    // Who may change nothing learns nothing of the bucket.
    allowed(ctx, &req, &[Action::GetBucketLocation]).await?;
    let asked: Map<String, Value> = match req.document.is_empty() {
        true => Map::new(),
        false => parsed(&req.document)?,
    };
    let rules = ctx.engine().bucket_rules(bucket).await?;
    let acl = with_listing(&req, of_bucket(ctx, &req, &rules).await?, &rules.acl)?;
    if acl.is_some() {
        refuse_lists(&rules)?;
    }
    let mut changes: Vec<Change> = acl.clone().map(Change::Acl).into_iter().collect();
    let before = ctx.engine().quota(bucket).await?;
    let (mut promised, mut quota) = (Promises::default(), before);
    for (name, value) in asked {
        if promises::of_json(&mut promised, &name, &value)?
            || quota::of_json(&mut quota, &name, &value)?
        {
            continue;
        }
        let change = match name.as_str() {
            "acl_settings" => {
                let ownership = ownership_of(value)?;
                ownership::check(ownership, acl.as_ref().unwrap_or(&rules.acl))?;
                Some(Change::Ownership(ownership))
            }
            "cors" => Some(Change::Cors(cors_of(value)?)),
            "lifecycle_rules" => Some(Change::Lifecycle(lifecycle_of(ctx, value)?)),
            "object_notifications" => {
                Some(Change::Notifications(notification::of_json(ctx, bucket, value).await?))
            }
            "soft_delete" => Some(Change::SoftDelete(undelete::of_json(value_of(value)?)?)),
            "object_regions" => {
                let config = ctx.engine().bucket_config(bucket).await?;
                let regions = other_regions(&value, &config.location)?;
                if let Some(regions) = &regions {
                    ctx.engine().may_relocate(bucket, regions, false).await?;
                }
                regions.map(Change::Regions)
            }
            _ => {
                is_off(&name, &value)?;
                None
            }
        };
        changes.extend(change);
    }
    changes.extend((!promised.is_empty()).then_some(Change::Promises(promised)));
    changes.extend((quota != before).then_some(Change::Quota(quota)));
    let actions: Vec<Action> = changes.iter().map(Change::action).collect();
    allowed(ctx, &req, &actions).await?;
    for change in changes {
        change.apply(ctx, bucket).await?;
    }
    Ok(answer(&json!({"status": "success"})))
}

fn parsed<T: DeserializeOwned>(document: &[u8]) -> Result<T, S3Error> {
    serde_json::from_slice(document).map_err(|why| malformed(&why))
}

fn value_of<T: DeserializeOwned>(value: Value) -> Result<T, S3Error> {
    serde_json::from_value(value).map_err(|why| malformed(&why))
}

fn malformed(why: &serde_json::Error) -> S3Error {
    S3Error::with(Code::InvalidRequest, format!("The document is not the expected JSON: {why}."))
}

/// The list with everyone's permission to list the bucket, or without it.
fn with_listing(req: &Req, asked: Option<Acl>, now: &Acl) -> Result<Option<Acl>, S3Error> {
    let open = match req.header(LISTING)? {
        None => return Ok(asked),
        Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(S3Error::argument(LISTING, other, "It is true or false.")),
    };
    let mut acl = asked.unwrap_or_else(|| now.clone());
    let grant = Grant { grantee: Grantee::AllUsers, permission: Permission::Read };
    acl.grants.retain(|other| *other != grant);
    if open {
        acl.grants.push(grant);
    }
    Ok(Some(acl))
}

fn ownership_of(value: Value) -> Result<Ownership, S3Error> {
    #[derive(Deserialize)]
    struct Settings {
        allow_object_acl: bool,
    }
    let Settings { allow_object_acl } = value_of(value)?;
    let (yes, no) = (Ownership::ObjectWriter, Ownership::BucketOwnerEnforced);
    Ok(if allow_object_acl { yes } else { no })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CorsElement {
    allowed_origin: Vec<String>,
    #[serde(default)]
    allowed_methods: Vec<String>,
    #[serde(default)]
    allowed_headers: Vec<String>,
    #[serde(default)]
    expose_headers: Vec<String>,
    max_age: Option<u32>,
}

fn cors_of(value: Value) -> Result<Option<Vec<CorsRule>>, S3Error> {
    #[derive(Deserialize)]
    struct Rules {
        rules: Vec<CorsElement>,
    }
    let Some(Rules { rules }) = value_of(value)? else { return Ok(None) };
    let rule = |element: CorsElement| CorsRule {
        id: None,
        headers: element.allowed_headers,
        methods: element.allowed_methods,
        origins: element.allowed_origin,
        expose: element.expose_headers,
        max_age_seconds: element.max_age,
    };
    let rules: Vec<CorsRule> = rules.into_iter().map(rule).collect();
    cors::check(&rules)?;
    Ok(Some(rules))
}

#[derive(Deserialize)]
struct RuleElement {
    id: Option<String>,
    status: u8,
    expiration: Option<ExpirationElement>,
    #[serde(default)]
    transitions: Vec<TransitionElement>,
    filter: Option<FilterElement>,
}

#[derive(Deserialize)]
struct ExpirationElement {
    days: Option<i64>,
    date: Option<String>,
    enabled: Option<bool>,
}

#[derive(Deserialize)]
struct TransitionElement {
    storage_class: String,
    days: Option<i64>,
    date: Option<String>,
}

#[derive(Deserialize)]
struct FilterElement {
    prefix: Option<String>,
}

/// The rules as S3's document says them, so that they are checked as that is.
fn lifecycle_of(ctx: &Ctx, value: Value) -> Result<Option<Lifecycle>, S3Error> {
    let rules: Vec<RuleElement> = value_of::<Option<_>>(value)?.unwrap_or_default();
    if rules.is_empty() {
        return Ok(None);
    }
    let rules: Vec<Value> = rules.into_iter().map(as_s3).collect();
    let rules = lifecycle::checked(ctx, value_of(json!({ "Rule": rules }))?)?;
    Ok(Some(Lifecycle { rules, ..Lifecycle::default() }))
}

fn as_s3(rule: RuleElement) -> Value {
    let expires = rule.expiration.filter(|expiration| expiration.enabled != Some(false));
    let transitions: Vec<Value> = rule
        .transitions
        .into_iter()
        .map(|t| json!({"StorageClass": t.storage_class, "Days": t.days, "Date": t.date}))
        .collect();
    json!({
        "ID": rule.id,
        "Status": if rule.status == 1 { "Enabled" } else { "Disabled" },
        "Filter": {"Prefix": rule.filter.and_then(|filter| filter.prefix).unwrap_or_default()},
        "Expiration": expires.map(|e| json!({"Days": e.days, "Date": e.date})),
        "Transition": transitions,
    })
}

/// Other regions than the bucket has.
fn other_regions(asked: &Value, location: &Location) -> Result<Option<Vec<String>>, S3Error> {
    let sorted = |text: &str| {
        let codes = text.split(',').map(|code| code.trim().to_owned());
        let mut all: Vec<String> = codes.filter(|code| !code.is_empty()).collect();
        all.sort_unstable();
        all
    };
    let Some(text) = asked.as_str() else {
        let why = "It is text: regions with commas.";
        return Err(S3Error::argument("object_regions", &asked.to_string(), why));
    };
    let asked = sorted(text);
    Ok((asked != sorted(&regions(location))).then_some(asked))
}

/// A setting that there is not can only be switched off.
fn is_off(name: &str, value: &Value) -> Result<(), S3Error> {
    let switched_off = ["enabled", "protected"].iter().any(|key| value[*key] == Value::Bool(false));
    if value.is_null() || switched_off { Ok(()) } else { Err(absent(name)) }
}

fn absent(name: &str) -> S3Error {
    let why = format!("The setting {name} cannot be changed: it is not implemented.");
    S3Error::with(Code::NotImplemented, why).extra("Setting", name)
}

#[derive(Deserialize)]
struct Presign {
    bucket: String,
    key: String,
    key_id: String,
    #[serde(rename = "type")]
    kind: String,
    expires_in: u64,
    version_id: Option<String>,
}

/// A URL that its holder may use as if he had the key.
async fn presign(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let asked: Presign = parsed(&req.document)?;
    let bad = |name: &str, value: &str, why: &'static str| S3Error::argument(name, value, why);
    let bucket = BucketName::parse(&asked.bucket)
        .map_err(|_| bad("bucket", &asked.bucket, "It is no name of a bucket."))?;
    let key = ObjectKey::parse(&asked.key).map_err(|_| bad("key", &asked.key, "It is no key."))?;
    let method = match asked.kind.as_str() {
        "get" => "GET",
        "put" => "PUT",
        other => return Err(bad("type", other, "It is get or put.")),
    };
    if !(1..=limits::PRESIGN_MAX.as_secs()).contains(&asked.expires_in) {
        let why = "It is a number of seconds between 1 and 604800 (a week).";
        return Err(bad("expires_in", &asked.expires_in.to_string(), why));
    }
    let (id, record) = signer(ctx, &req.caller, &asked.key_id).await?;
    let promise = Promise {
        method,
        scheme: if req.around.secure { "https" } else { "http" },
        host: &req.host,
        path: &format!("/{bucket}/{key}"),
        version: asked.version_id.as_deref(),
        seconds: asked.expires_in,
    };
    let url = promise.url(&id, &record.secret, &ctx.keys, ctx.env.now_ms());
    Ok(answer(&json!({
        "bucket": asked.bucket,
        "key": asked.key,
        "key_id": asked.key_id,
        "type": asked.kind,
        "url": url,
    })))
}

/// The caller's own key; whoever may do everything in an account may also use its other keys.
async fn signer(
    ctx: &Ctx,
    caller: &Caller,
    id: &str,
) -> Result<(AccessKeyId, AccessKeyRecord), S3Error> {
    let denied = || S3Error::with(Code::AccessDenied, "This key cannot sign for the caller.");
    let Caller::Key { access_key, account, scope } = caller else { return Err(denied()) };
    let id = AccessKeyId::parse(id).ok_or_else(denied)?;
    if id != *access_key && *scope != KeyScope::Admin {
        return Err(denied());
    }
    let record = ctx.engine().access_key(&id).await?;
    let record = record.filter(|record| record.account == *account).ok_or_else(denied)?;
    Ok((id, record))
}
