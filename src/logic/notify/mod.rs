//! Notifications of a bucket: which configurations there can be, and which one an event is for.
//! Source: S3 user guide, "Configuring event notifications using object key name filtering".
//!
//! Invariant: rules that are stored passed [`check`]; of such rules at most one is for an event.

pub mod events;
pub mod lanes;
pub mod message;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::types::event::{EventKind, is_destination};
use crate::types::name::BucketName;

/// Configurations of one bucket. Source: S3 API reference, PutBucketNotificationConfiguration.
pub const RULES_MAX: usize = 100;

const ID_CHARS_MAX: usize = 255;
const ARN_CHARS_MAX: usize = 512;
const FILTER_BYTES_MAX: usize = 1024;

/// Events of S3 that never happen here: one storage tier, no archive, no lost copies.
const NEVER: [&str; 7] = [
    "IntelligentTiering",
    "LifecycleTransition",
    "ObjectRestore:*",
    "ObjectRestore:Completed",
    "ObjectRestore:Post",
    "ReducedRedundancyLostObject",
    "Replication:*",
];

/// A bucket's notification setting as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The bucket's name, for messages.
    pub bucket: BucketName,
    pub rules: Vec<Rule>,
}

/// One configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub id: String,
    pub receiver: Receiver,
    /// As the client gave it.
    pub arn: String,
    /// With the prefix `s3:` and perhaps a `*` at the end, as the client gave them.
    pub events: Vec<String>,
    pub prefix: Option<String>,
    pub suffix: Option<String>,
    /// Off, it is kept for being switched on again. S3 has no such thing and does not show it.
    pub enabled: bool,
}

/// Which element of the document a configuration stands in. What is sent is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receiver {
    Queue,
    Topic,
}

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not have S3's form.
    Shape,
    /// The name and the value of what is wrong, and a sentence for the client.
    Invalid { name: &'static str, value: String, why: String },
}

impl Rule {
    /// Whether this configuration is for an event of a key.
    pub fn takes(&self, kind: EventKind, key: &str) -> bool {
        self.enabled
            && self.events.iter().any(|selector| selects(selector, kind))
            && key.starts_with(self.prefix.as_deref().unwrap_or_default())
            && key.ends_with(self.suffix.as_deref().unwrap_or_default())
    }

    /// The node's name for the destination; `None` for an ARN that has none.
    pub fn destination(&self) -> Option<&str> {
        destination(&self.arn)
    }
}

/// The configuration that an event of a key is for.
pub fn find<'a>(rules: &'a [Rule], kind: EventKind, key: &str) -> Option<&'a Rule> {
    rules.iter().find(|rule| rule.takes(kind, key))
}

/// The name inside an ARN: `arn:godwit:sqs::NAME:webhook`, as other servers have it too, or
/// `arn:aws:sqs:REGION:ACCOUNT:NAME` (`sns` as well) for tools that take no other ones.
pub fn destination(arn: &str) -> Option<&str> {
    let parts: Vec<&str> = arn.split(':').collect();
    let [start, partition, service, _, account, last] = parts[..] else { return None };
    if start != "arn" || !["sns", "sqs"].contains(&service) {
        return None;
    }
    let name = if partition.starts_with("aws") {
        last
    } else if last == "webhook" {
        account
    } else {
        return None;
    };
    is_destination(name).then_some(name)
}

/// Checks a whole setting. `knows` says whether this node has a destination of that name for the
/// bucket's owner.
pub fn check(rules: &[Rule], knows: &dyn Fn(&str) -> bool) -> Result<(), Refusal> {
    if rules.len() > RULES_MAX {
        let why = format!("A bucket has at most {RULES_MAX} notification configurations.");
        return Err(invalid("NotificationConfiguration", "", why));
    }
    let mut ids = BTreeSet::new();
    for rule in rules {
        check_rule(rule, knows)?;
        if !ids.insert(&rule.id) {
            let why = "Same ID used for multiple configurations. IDs must be unique";
            return Err(invalid("Id", &rule.id, why));
        }
    }
    for (i, rule) in rules.iter().enumerate() {
        let mut others = rules[i + 1..].iter();
        if let Some(other) = others.find(|other| rule.enabled && overlap(rule, other)) {
            let why = "Configuration is ambiguously defined. Cannot have overlapping suffixes in \
                       two rules if the prefixes are overlapping for the same event type.";
            return Err(invalid("Id", &other.id, why));
        }
    }
    Ok(())
}

fn check_rule(rule: &Rule, knows: &dyn Fn(&str) -> bool) -> Result<(), Refusal> {
    if rule.events.is_empty() {
        return Err(Refusal::Shape);
    }
    if rule.id.chars().count() > ID_CHARS_MAX {
        let why = format!("An ID has at most {ID_CHARS_MAX} characters.");
        return Err(invalid("Id", &rule.id, why));
    }
    for selector in &rule.events {
        check_event(selector)?;
    }
    let filters = [&rule.prefix, &rule.suffix].map(|text| text.as_ref().map_or(0, String::len));
    if filters.iter().sum::<usize>() > FILTER_BYTES_MAX {
        let why = format!("Prefix and suffix have at most {FILTER_BYTES_MAX} bytes.");
        return Err(invalid("FilterRule", "", why));
    }
    let known = rule.destination().is_some_and(knows) && rule.arn.len() <= ARN_CHARS_MAX;
    if !known {
        let why = "Unable to validate the following destination configurations: this node has no \
                   webhook of that name for this bucket's owner.";
        return Err(invalid(rule.receiver.element(), &rule.arn, why));
    }
    Ok(())
}

fn check_event(selector: &str) -> Result<(), Refusal> {
    if EventKind::ALL.iter().any(|kind| selects(selector, *kind)) {
        return Ok(());
    }
    let name = selector.strip_prefix("s3:").unwrap_or_default();
    let never = NEVER.contains(&name) || name.starts_with("Replication:Operation");
    let why = if never {
        "The event does not happen here: there is one storage tier, and copies are kept by \
         themselves."
    } else {
        "The event is not supported for notifications"
    };
    Err(invalid("Event", selector, why))
}

impl Receiver {
    /// The element that holds the ARN.
    pub fn element(self) -> &'static str {
        match self {
            Self::Queue => "Queue",
            Self::Topic => "Topic",
        }
    }
}

/// Whether `s3:ObjectCreated:Put` or `s3:ObjectCreated:*` means this kind.
fn selects(selector: &str, kind: EventKind) -> bool {
    let Some(name) = selector.strip_prefix("s3:") else { return false };
    match name.strip_suffix(":*") {
        Some(family) => kind.name().split_once(':').is_some_and(|(f, _)| f == family),
        None => name == kind.name(),
    }
}

/// Whether some event of some key is for both.
fn overlap(a: &Rule, b: &Rule) -> bool {
    let (prefix_a, prefix_b) = (a.prefix.as_deref(), b.prefix.as_deref());
    let (prefix_a, prefix_b) = (prefix_a.unwrap_or_default(), prefix_b.unwrap_or_default());
    let (suffix_a, suffix_b) = (a.suffix.as_deref(), b.suffix.as_deref());
    let (suffix_a, suffix_b) = (suffix_a.unwrap_or_default(), suffix_b.unwrap_or_default());
    let both = |kind: &&EventKind| {
        let takes = |rule: &Rule| rule.events.iter().any(|selector| selects(selector, **kind));
        takes(a) && takes(b)
    };
    b.enabled
        && (prefix_a.starts_with(prefix_b) || prefix_b.starts_with(prefix_a))
        && (suffix_a.ends_with(suffix_b) || suffix_b.ends_with(suffix_a))
        && EventKind::ALL.iter().find(both).is_some()
}

fn invalid(name: &'static str, value: &str, why: impl Into<String>) -> Refusal {
    Refusal::Invalid { name, value: value.to_owned(), why: why.into() }
}
