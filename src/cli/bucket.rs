//! `godwit bucket`: create, ls, show, get, set, unset, rm. Settings are S3's own documents.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use http::Method;
use md5::{Digest as _, Md5};
use quick_xml::escape::escape;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::link::{Answer, Ask};
use super::s3::S3;
use super::s3::transfer::{Mover, PART_BYTES};
use super::s3::work::Progress;
use super::settings::{Format, Given, SETTINGS, Setting};
use super::{Common, files, output};

#[derive(Subcommand)]
pub(super) enum Bucket {
    /// Make a bucket
    #[command(after_help = "Examples:\n  \
        godwit bucket create photos\n  \
        godwit bucket create archive --lock --versioning\n  \
        godwit bucket create ledger --ack majority --consistency strong")]
    Create(Create),
    /// List the buckets
    #[command(after_help = "Examples:\n  godwit bucket ls\n  godwit bucket ls --deleted")]
    Ls {
        /// Those that were deleted with soft delete and can be brought back
        #[arg(long)]
        deleted: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Show a bucket and which of its settings are set
    #[command(after_help = "Examples:\n  godwit bucket show photos\n  \
        godwit bucket show --json photos")]
    Show {
        bucket: String,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Print a setting as S3's document
    #[command(after_help = "Examples:\n  godwit bucket get photos versioning")]
    Get {
        bucket: String,
        /// Which setting
        #[arg(value_parser = setting)]
        setting: &'static Setting,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Change a setting: to a short value where it has one, or to S3's document in a file
    #[command(after_help = set_help())]
    Set {
        bucket: String,
        /// Which setting
        #[arg(value_parser = setting)]
        setting: &'static Setting,
        /// A short value
        #[arg(required_unless_present = "file", conflicts_with = "file")]
        value: Option<String>,
        /// A file with the whole document: XML, for policies JSON; - is standard input
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Take a setting away
    #[command(after_help = "Examples:\n  godwit bucket unset photos versioning")]
    Unset {
        bucket: String,
        /// Which setting
        #[arg(value_parser = setting)]
        setting: &'static Setting,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Delete a bucket; with --force, everything in it as well
    #[command(
        after_help = "Examples:\n  godwit bucket rm -y photos\n  godwit bucket rm -y --force demo"
    )]
    Rm {
        bucket: String,
        /// Delete all objects, versions and uploads first
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

#[derive(Args)]
pub(super) struct Create {
    bucket: String,
    /// Regions that may hold its bytes: ams,fra; without it all
    #[arg(long, value_name = "CODES")]
    location: Option<String>,
    /// Regions that have a write before it is answered: a number, majority or default
    #[arg(long, value_name = "REGIONS")]
    ack: Option<String>,
    /// Regions that have an object soon after
    #[arg(long, value_name = "REGIONS")]
    copies: Option<String>,
    /// strong: everything in it is in one order for all regions; or eventual
    #[arg(long, value_name = "ORDER")]
    consistency: Option<String>,
    /// Objects can be locked; versioning is on then
    #[arg(long)]
    lock: bool,
    /// Keep what is overwritten or deleted as versions
    #[arg(long)]
    versioning: bool,
    /// Everybody may read the objects
    #[arg(long)]
    public: bool,
    #[command(flatten)]
    endpoint: Endpoint,
}

fn setting(name: &str) -> Result<&'static Setting, String> {
    SETTINGS.iter().find(|setting| setting.name == name).ok_or_else(|| {
        let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        format!("there are {}", names.join(", "))
    })
}

fn set_help() -> String {
    let rows = SETTINGS.iter().map(|s| format!("  {:<20} {}\n", s.name, s.what));
    format!(
        "Settings:\n{}\nExamples:\n  godwit bucket set photos versioning on\n  \
         godwit bucket set photos tags team=birds,stage=test\n  \
         godwit bucket set photos policy --file policy.json",
        rows.collect::<String>()
    )
}

fn ask(method: Method, bucket: &str) -> Ask {
    Ask::new(method, format!("/{bucket}")).tries(6)
}

pub(super) fn run(common: &Common, command: &Bucket) -> Result<Exit, CliError> {
    let (Bucket::Ls { endpoint, .. }
    | Bucket::Show { endpoint, .. }
    | Bucket::Get { endpoint, .. }
    | Bucket::Set { endpoint, .. }
    | Bucket::Unset { endpoint, .. }
    | Bucket::Rm { endpoint, .. }
    | Bucket::Create(Create { endpoint, .. })) = command;
    let client = Client::signed(endpoint)?;
    let s3 = S3::new(client.link.clone());
    client.run(async {
        match command {
            Bucket::Create(create) => make(common, &s3, create).await,
            Bucket::Ls { deleted: true, .. } => list_deleted(common, &s3).await,
            Bucket::Ls { deleted: false, .. } => list(common, &s3).await,
            Bucket::Show { bucket, .. } => show(common, &s3, bucket).await,
            Bucket::Get { bucket, setting, .. } => get(&s3, bucket, setting).await,
            Bucket::Set { bucket, setting, value, file, .. } => {
                let given = match (value, file) {
                    (Some(value), _) => setting.given(value)?,
                    (None, Some(file)) => files::text_or_input(file)?.into(),
                    (None, None) => Given::default(),
                };
                put(&s3, bucket, setting, given).await?;
                told(common, "set", bucket, setting.name);
                Ok(())
            }
            Bucket::Unset { bucket, setting, .. } => {
                unset(&s3, bucket, setting).await?;
                told(common, "unset", bucket, setting.name);
                Ok(())
            }
            Bucket::Rm { bucket, force, .. } => remove(common, &s3, bucket, *force).await,
        }
    })?;
    Ok(Exit::Ok)
}

/// What was done, as a line or an object.
fn told(common: &Common, what: &str, bucket: &str, setting: &str) {
    match common.json {
        true => output::json(&json!({ "operation": what, "bucket": bucket, "setting": setting })),
        false if common.quiet => {}
        false => output::line(&format!("{what} {setting} of {bucket}")),
    }
}

async fn make(common: &Common, s3: &S3, create: &Create) -> Result<(), CliError> {
    let mut request = ask(Method::PUT, &create.bucket);
    if create.lock {
        request = request.header("x-amz-bucket-object-lock-enabled", "true");
    }
    for (name, value) in [
        ("x-godwit-ack", &create.ack),
        ("x-godwit-consistency", &create.consistency),
        ("x-godwit-copies", &create.copies),
    ] {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    if let Some(location) = &create.location {
        let location = escape(location.as_str());
        let body = format!(
            "<CreateBucketConfiguration><LocationConstraint>{location}</LocationConstraint>\
             </CreateBucketConfiguration>"
        );
        request = request.body(body.into());
    }
    s3.done(&request).await.map_err(|error| error.about(&create.bucket))?;
    if create.versioning && !create.lock {
        let versioning = named("versioning");
        put(s3, &create.bucket, versioning, versioning.given("on")?).await?;
    }
    if create.public {
        let policy = named("policy");
        let document = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
                "Resource": format!("arn:aws:s3:::{}/*", create.bucket),
            }],
        });
        put(s3, &create.bucket, policy, document.to_string().into()).await?;
    }
    match common.json {
        true => output::json(&json!({ "operation": "create", "bucket": create.bucket })),
        false if common.quiet => {}
        false => output::line(&format!("created s3://{}", create.bucket)),
    }
    Ok(())
}

fn named(name: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.name == name).expect("the table has it")
}

async fn list(common: &Common, s3: &S3) -> Result<(), CliError> {
    let buckets = s3.buckets().await?;
    if common.json {
        let all: Vec<Value> = buckets
            .into_iter()
            .map(|(name, created_ms)| json!({ "bucket": name, "created_ms": created_ms }))
            .collect();
        output::json(&json!({ "buckets": all }));
        return Ok(());
    }
    for (name, created_ms) in buckets {
        output::line(&format!("{}  {name}", output::when(created_ms)));
    }
    Ok(())
}

/// What of the JSON list of deleted buckets is shown.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Deleted {
    name: String,
    deletion_date: String,
    retain_until_date: String,
}

async fn list_deleted(common: &Common, s3: &S3) -> Result<(), CliError> {
    let request = Ask::new(Method::GET, "/").query("OnlyDeleted", "true").tries(6);
    let answer = s3.done(&request.header("accept", "application/json")).await?;
    let unread = |why: serde_json::Error| {
        CliError::new(Exit::Failure, "Unreadable", format!("the list of deleted buckets: {why}"))
    };
    let mut document: Value = serde_json::from_slice(&answer.body).map_err(unread)?;
    let buckets = document["Buckets"]["Bucket"].take();
    let buckets: Vec<Deleted> = serde_json::from_value(buckets).map_err(unread)?;
    if common.json {
        let shown = |b: &Deleted| {
            json!({ "bucket": b.name, "deleted": b.deletion_date,
                "until": b.retain_until_date })
        };
        let all: Vec<Value> = buckets.iter().map(shown).collect();
        output::json(&json!({ "buckets": all }));
        return Ok(());
    }
    if buckets.is_empty() {
        output::note("no deleted bucket is kept");
        return Ok(());
    }
    let mut rows = vec![["bucket", "deleted", "until"].map(str::to_owned).to_vec()];
    rows.extend(buckets.into_iter().map(|b| vec![b.name, b.deletion_date, b.retain_until_date]));
    output::table(&rows);
    output::note("godwit undelete s3://BUCKET brings one back");
    Ok(())
}

/// Brings a deleted bucket back, or ends it for good.
pub(super) fn undelete(
    common: &Common,
    endpoint: &Endpoint,
    bucket: &str,
    purge: bool,
) -> Result<(), CliError> {
    if purge {
        output::confirm(common, &format!("end the deleted bucket {bucket} for good"))?;
    }
    let client = Client::signed(endpoint)?;
    let s3 = S3::new(client.link.clone());
    let request = match purge {
        true => ask(Method::DELETE, bucket).header("x-tigris-soft-delete", "true"),
        false => ask(Method::POST, bucket).query("restore", ""),
    };
    client.run(async { s3.done(&request).await }).map_err(|error| {
        error.about(bucket).or_hint("godwit bucket ls --deleted shows what can be brought back")
    })?;
    match common.json {
        true => {
            let operation = if purge { "purge" } else { "undelete" };
            output::json(&json!({ "operation": operation, "bucket": bucket }));
        }
        false if purge => output::note(&format!("s3://{bucket} is gone for good.")),
        false => output::line(&format!("s3://{bucket} is back")),
    }
    Ok(())
}

/// The bucket's own JSON document.
async fn about(s3: &S3, bucket: &str) -> Result<Value, CliError> {
    let request = ask(Method::GET, bucket).query("metadata", "").query("with-size", "true");
    let answer = s3.done(&request).await.map_err(|error| error.about(bucket))?;
    Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// A field of it as text.
fn field(about: &Value, setting: &Setting) -> Option<String> {
    match &about[setting.name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The document of a setting; `None` where it is not set.
async fn document(s3: &S3, bucket: &str, setting: &Setting) -> Result<Option<Answer>, CliError> {
    let answer = s3.link.ask(&ask(Method::GET, bucket).query(setting.query, "")).await?;
    match answer.status {
        200 => Ok(Some(answer)),
        404 if !String::from_utf8_lossy(&answer.body).contains("<Code>NoSuchBucket<") => Ok(None),
        _ => Err(super::s3::refusal(&answer).about(bucket)),
    }
}

async fn show(common: &Common, s3: &S3, bucket: &str) -> Result<(), CliError> {
    let about = about(s3, bucket).await?;
    let mut settings = Map::new();
    for setting in SETTINGS {
        if setting.format == Format::Field {
            let value = field(&about, setting).map(|text| (setting.name.to_owned(), text.into()));
            settings.extend(value);
        } else if let Some(answer) = document(s3, bucket, setting).await? {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let value = match setting.format {
                Format::Json => serde_json::from_str(&text).unwrap_or(Value::String(text)),
                Format::Xml | Format::Field => Value::String(text),
            };
            settings.insert(setting.name.to_owned(), value);
        }
    }
    if common.json {
        output::json(&json!({ "bucket": bucket, "about": about, "settings": settings }));
        return Ok(());
    }
    output::line(&format!("s3://{bucket}"));
    let mut rows = Vec::new();
    let regions = about["object_regions"].as_str().filter(|regions| !regions.is_empty());
    rows.push(vec!["regions".to_owned(), regions.unwrap_or("all").to_owned()]);
    let number = |name: &str| about[name].as_u64().unwrap_or(0);
    rows.push(vec!["objects".to_owned(), number("estimated_unique_rows").to_string()]);
    rows.push(vec!["versions".to_owned(), number("estimated_rows").to_string()]);
    rows.push(vec!["size".to_owned(), output::size(number("estimated_size"))]);
    for setting in SETTINGS {
        let value = match settings.get(setting.name) {
            Some(Value::String(xml)) => setting.shown(xml),
            Some(_) => "set".to_owned(),
            None => "-".to_owned(),
        };
        rows.push(vec![setting.name.to_owned(), value]);
    }
    output::table(&rows);
    Ok(())
}

async fn get(s3: &S3, bucket: &str, setting: &Setting) -> Result<(), CliError> {
    let found = match setting.format {
        Format::Field => field(&about(s3, bucket).await?, setting),
        Format::Json | Format::Xml => document(s3, bucket, setting)
            .await?
            .map(|answer| String::from_utf8_lossy(&answer.body).into_owned()),
    };
    match found {
        Some(text) => output::line(text.trim_end()),
        None => {
            let message = format!("{bucket} has no {}", setting.name);
            let error = CliError::new(Exit::NotFound, "NotSet", message);
            return Err(error.hint(format!("godwit bucket set {bucket} {}", setting.name)));
        }
    }
    Ok(())
}

async fn put(s3: &S3, bucket: &str, setting: &Setting, given: Given) -> Result<(), CliError> {
    if setting.format == Format::Field {
        let document =
            Value::Object(Map::from_iter([(setting.name.to_owned(), given.body.into())]));
        let request = ask(Method::PATCH, bucket).body(document.to_string().into());
        s3.done(&request).await.map_err(|error| error.about(bucket))?;
        return Ok(());
    }
    let mut request = ask(Method::PUT, bucket)
        .query(setting.query, "")
        .header("content-md5", STANDARD.encode(Md5::digest(&given.body)));
    if let Some((name, value)) = given.header {
        request = request.header(name, value);
    }
    let request = request.body(given.body.into());
    s3.done(&request).await.map_err(|error| error.about(bucket))?;
    Ok(())
}

async fn unset(s3: &S3, bucket: &str, setting: &Setting) -> Result<(), CliError> {
    if let Some(value) = setting.unset {
        return put(s3, bucket, setting, setting.given(value)?).await;
    }
    let request = ask(Method::DELETE, bucket).query(setting.query, "");
    s3.done(&request).await.map_err(|error| error.about(bucket))?;
    Ok(())
}

async fn remove(common: &Common, s3: &S3, bucket: &str, force: bool) -> Result<(), CliError> {
    let what = if force { " and everything in it" } else { "" };
    output::confirm(common, &format!("delete the bucket {bucket}{what}"))?;
    if force {
        let progress = Progress::new(common);
        super::objects::empty(&Mover::new(s3.clone(), progress, 8, PART_BYTES), bucket).await?;
    }
    s3.done(&ask(Method::DELETE, bucket)).await.map_err(|error| error.about(bucket))?;
    match common.json {
        true => output::json(&json!({ "operation": "rm", "bucket": bucket })),
        false if common.quiet => {}
        false => output::line(&format!("deleted s3://{bucket}")),
    }
    Ok(())
}
