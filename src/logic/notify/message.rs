//! What a destination is sent.
//! Source: S3 user guide, "Event message structure"; Tigris, "Object notifications".

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::types::event::Event;
use crate::types::region::RegionId;

/// The two forms of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `{"Records": [...]}`
    #[default]
    S3,
    /// `{"events": [...]}`
    Tigris,
}

/// What stays as it is in a key; a blank becomes `+`.
const KEY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*').remove(b'/');

/// The message about these events, which all are in one bucket; `region` is where they are sent
/// from. Events that the form has no name for are left out: `None` when none is left.
pub fn render(form: Form, region: RegionId, events: &[Event]) -> Option<String> {
    let (name, list): (&str, Vec<Value>) = match form {
        Form::S3 => ("Records", events.iter().map(|event| record(region, event)).collect()),
        Form::Tigris => ("events", events.iter().filter_map(tigris).collect()),
    };
    (!list.is_empty()).then(|| json!({ name: list }).to_string())
}

fn record(region: RegionId, event: &Event) -> Value {
    let by = event.by.as_deref();
    let mut object = json!({
        "key": encoded(event.key.as_str()),
        "sequencer": event.stamp.to_string().to_uppercase(),
    });
    let optional = [
        ("size", event.size.map(Value::from)),
        ("eTag", event.etag.as_ref().map(|etag| Value::from(&*etag.0))),
        ("versionId", event.version_id.clone().map(Value::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            object[name] = value;
        }
    }
    json!({
        "eventVersion": event.kind.version(),
        "eventSource": "aws:s3",
        "awsRegion": region.to_string(),
        "eventTime": time(event.stamp.hlc.ms()),
        "eventName": event.kind.name(),
        "userIdentity": { "principalId": by.map_or("godwit", |by| by.principal.as_str()) },
        "requestParameters": {
            "sourceIPAddress": by.and_then(|by| by.address.as_deref()).unwrap_or_default(),
        },
        "responseElements": {
            "x-amz-request-id": by.map_or("", |by| by.request.as_str()),
            "x-amz-id-2": region.to_string(),
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": event.rule,
            "bucket": {
                "name": event.bucket.as_str(),
                "ownerIdentity": { "principalId": &*event.owner.0 },
                "arn": format!("arn:aws:s3:::{}", event.bucket),
            },
            "object": object,
        },
    })
}

fn tigris(event: &Event) -> Option<Value> {
    let mut object = json!({ "key": event.key.as_str() });
    if let Some(size) = event.size {
        object["size"] = size.into();
    }
    if let Some(etag) = &event.etag {
        object["eTag"] = Value::from(&*etag.0);
    }
    Some(json!({
        "eventVersion": "1",
        "eventSource": "tigris",
        "eventName": event.kind.tigris()?,
        "eventTime": time(event.stamp.hlc.ms()),
        "bucket": event.bucket.as_str(),
        "object": object,
    }))
}

/// As HTML forms encode a value, but for the slash: what S3 says of keys in messages.
fn encoded(key: &str) -> String {
    utf8_percent_encode(key, KEY).to_string().replace("%20", "+")
}

/// RFC 3339 with milliseconds.
fn time(ms: u64) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let text = moment.ok().and_then(|moment| moment.format(format).ok());
    text.unwrap_or_else(|| "9999-12-31T23:59:59.999Z".to_owned())
}
