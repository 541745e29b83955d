//! Notifications of a bucket: which events are told to which of the node's webhooks.
//! Source: S3 API reference, PutBucketNotificationConfiguration.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::limits;
use crate::logic::notify::{Receiver, Refusal, Rule};
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;

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
    let checked = ctx.engine().put_notifications(req.bucket()?, rules).await?;
    checked.map_err(|refusal| match refusal {
        Refusal::Shape => S3Error::new(Code::MalformedXML),
        Refusal::Invalid { name, value, why } => S3Error::argument(name, &value, why),
    })?;
    Ok(Reply::ok())
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
        for rule in rules.iter().filter(|rule| rule.receiver == receiver) {
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
