//! Notifications of a bucket: which events are told to which of the node's webhooks.
//! Source: S3 API reference, PutBucketNotificationConfiguration.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::limits;
use crate::logic::notify::{Receiver, Refusal, Rule};
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::name::BucketName;

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "GetBucketNotificationConfiguration",
        Get,
        Bucket,
        "notification",
        GetBucketNotification,
        BodyKind::None,
        get
    ),
    sub_resource!(
        "PutBucketNotificationConfiguration",
        Put,
        Bucket,
        "notification",
        PutBucketNotification,
        BodyKind::Xml(limits::XML_BYTES_MAX),
        put
    ),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NotificationConfiguration {
    #[serde(default)]
    topic_configuration: Vec<Configuration>,
    #[serde(default)]
    queue_configuration: Vec<Configuration>,
    #[serde(default)]
    cloud_function_configuration: Vec<IgnoredAny>,
    #[serde(default)]
    event_bridge_configuration: Vec<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    id: Option<String>,
    topic: Option<String>,
    queue: Option<String>,
    #[serde(default)]
    event: Vec<String>,
    filter: Option<Filter>,
}

#[derive(Debug, Deserialize)]
struct Filter {
    #[serde(rename = "S3Key")]
    key: Option<KeyFilter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyFilter {
    #[serde(default)]
    filter_rule: Vec<FilterRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilterRule {
    name: String,
    #[serde(default)]
    value: String,
}

async fn put(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let document: NotificationConfiguration = req.xml("NotificationConfiguration")?;
    let others = [&document.cloud_function_configuration, &document.event_bridge_configuration];
    if others.iter().any(|others| !others.is_empty()) {
        let why = "There are no functions and no event bus here; events are sent to webhooks, by \
                   queue and topic configurations.";
        return Err(S3Error::with(Code::NotImplemented, why));
    }
    let topics = document.topic_configuration.into_iter().map(|c| (Receiver::Topic, c));
    let queues = document.queue_configuration.into_iter().map(|c| (Receiver::Queue, c));
    let rules: Vec<Rule> =
        topics.chain(queues).map(|(kind, c)| rule(ctx, kind, c)).collect::<Result<_, _>>()?;
    check(ctx, req.bucket()?, &rules).await?;
    ctx.engine().put_notifications(req.bucket()?, rules).await?;
    Ok(Reply::ok())
}

async fn check(ctx: &Ctx, bucket: &BucketName, rules: &[Rule]) -> Result<(), S3Error> {
    let owner = ctx.engine().bucket_config(bucket).await?.owner.clone();
    ctx.engine().check_notifications(rules, &owner).map_err(|refusal| match refusal {
        Refusal::Shape => S3Error::new(Code::MalformedXML),
        Refusal::Invalid { name, value, why } => S3Error::argument(name, &value, why),
    })
}

fn rule(ctx: &Ctx, receiver: Receiver, element: Configuration) -> Result<Rule, S3Error> {
    let arn = match receiver {
        Receiver::Queue => element.queue,
        Receiver::Topic => element.topic,
    };
    let mut rule = Rule {
        id: element.id.filter(|id| !id.is_empty()).unwrap_or_else(|| new_id(ctx)),
        receiver,
        arn: arn.ok_or_else(|| S3Error::new(Code::MalformedXML))?,
        events: element.event,
        prefix: None,
        suffix: None,
        enabled: true,
    };
    let filters = element.filter.and_then(|f| f.key).map(|k| k.filter_rule).unwrap_or_default();
    for FilterRule { name, value } in filters {
        let wrong = |why: String| S3Error::argument("FilterRule.Name", &name, why);
        let slot = match name.to_ascii_lowercase().as_str() {
            "prefix" => &mut rule.prefix,
            "suffix" => &mut rule.suffix,
            _ => return Err(wrong("filter rule name must be either prefix or suffix".to_owned())),
        };
        if slot.replace(value).is_some() {
            let name = name.to_ascii_lowercase();
            return Err(wrong(format!("Cannot specify more than one {name} rule in a filter.")));
        }
    }
    Ok(rule)
}

fn new_id(ctx: &Ctx) -> String {
    hex::encode(ctx.env.random::<16>())
}

async fn get(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let rules = ctx.engine().notifications(req.bucket()?).await?;
    let mut out = Writer::new("NotificationConfiguration");
    for (receiver, element) in
        [(Receiver::Topic, "TopicConfiguration"), (Receiver::Queue, "QueueConfiguration")]
    {
        for rule in rules.iter().filter(|rule| rule.enabled && rule.receiver == receiver) {
            out.open(element);
            shown(&mut out, rule);
            out.close();
        }
    }
    Ok(Reply::xml(out))
}

fn shown(out: &mut Writer, rule: &Rule) {
    out.text("Id", &rule.id).text(rule.receiver.element(), &rule.arn);
    for event in &rule.events {
        out.text("Event", event);
    }
    if rule.prefix.is_none() && rule.suffix.is_none() {
        return;
    }
    out.open("Filter").open("S3Key");
    for (name, value) in [("Prefix", &rule.prefix), ("Suffix", &rule.suffix)] {
        if let Some(value) = value {
            out.open("FilterRule").text("Name", name).text("Value", value).close();
        }
    }
    out.close().close();
}

/// The configuration that a bucket's JSON speaks of, beside those of S3's document.
const JSON_RULE: &str = "object_notifications";

/// What Tigris tells of.
const JSON_EVENTS: [&str; 3] =
    ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"];

#[derive(Debug, Deserialize)]
struct ObjectNotifications {
    enabled: bool,
    web_hook: String,
    #[serde(default)]
    filter: String,
    auth: Option<Value>,
}

/// `object_notifications` of a bucket's JSON.
pub(super) async fn as_json(ctx: &Ctx, bucket: &BucketName) -> Result<Option<Value>, S3Error> {
    let rules = ctx.engine().notifications(bucket).await?;
    let Some(rule) = rules.iter().find(|rule| rule.id == JSON_RULE) else { return Ok(None) };
    let url = ctx.engine().courier().zip(rule.destination()).and_then(|(c, name)| c.url(name));
    Ok(Some(json!({"enabled": rule.enabled, "web_hook": url.unwrap_or_default(), "filter": ""})))
}

/// The bucket's configurations with what its JSON asks for, checked.
pub(super) async fn of_json(
    ctx: &Ctx,
    bucket: &BucketName,
    asked: Value,
) -> Result<Vec<Rule>, S3Error> {
    let mut rules = ctx.engine().notifications(bucket).await?;
    rules.retain(|rule| rule.id != JSON_RULE);
    if asked.is_null() || asked.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(rules);
    }
    let asked: ObjectNotifications = serde_json::from_value(asked).map_err(|why| {
        S3Error::with(
            Code::InvalidRequest,
            format!("The document is not the expected JSON: {why}."),
        )
    })?;
    if !asked.filter.trim().is_empty() {
        let why = "Filters of this form are not implemented; PutBucketNotificationConfiguration \
                   has prefixes and suffixes.";
        return Err(S3Error::with(Code::NotImplemented, why).extra("Setting", JSON_RULE));
    }
    if asked.auth.is_some() {
        let why = "The credentials of a webhook stand in the node's settings: leave `auth` out.";
        return Err(S3Error::argument("auth", "", why));
    }
    let name = ctx.engine().courier().and_then(|courier| courier.at(&asked.web_hook));
    let name = name.ok_or_else(|| {
        let why = "No webhook of the node's settings has this URL and `format=tigris`.";
        S3Error::argument("web_hook", &asked.web_hook, why)
    })?;
    rules.push(Rule {
        id: JSON_RULE.to_owned(),
        receiver: Receiver::Queue,
        arn: format!("arn:godwit:sqs::{name}:webhook"),
        events: JSON_EVENTS.map(str::to_owned).to_vec(),
        prefix: None,
        suffix: None,
        enabled: asked.enabled,
    });
    check(ctx, bucket, &rules).await?;
    Ok(rules)
}
