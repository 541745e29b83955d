//! Lifecycle rules: which configurations are accepted, and what they say of an object and when.
//! Source: S3 user guide, "Managing the lifecycle of objects", "Lifecycle configuration elements".
//!
//! Invariant: a configuration that is stored passed [`check`]. What is due stays due until it is
//! done, unless the rules or the object change: judging twice does no harm.

mod check;
#[cfg(test)]
#[path = "../lifecycle_tests.rs"]
mod tests;

pub use check::{Refusal, check};

use crate::types::lifecycle::{Expiration, Lifecycle, Rule, Scope};
use crate::types::object::{Content, Row, Version};
use crate::types::stamp::Stamp;

/// How long a rule's day is: a day, but for tests. Days begin with 1970, at midnight UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    ms: u64,
}

impl Day {
    /// A day of no length is one of a millisecond.
    pub fn of_ms(ms: u64) -> Self {
        Self { ms: ms.max(1) }
    }

    /// So many days after a moment, rounded up to the next midnight.
    pub fn after(self, from_ms: u64, days: u32) -> u64 {
        let at = from_ms.saturating_add(u64::from(days).saturating_mul(self.ms));
        at.div_ceil(self.ms).saturating_mul(self.ms)
    }
}

/// What will happen to an object or an upload, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub rule: String,
}

/// What an object is to a rule.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    pub key: &'a str,
    pub tags: &'a [(String, String)],
    pub size: u64,
    pub made_ms: u64,
}

/// When the current version expires: the earliest of all rules.
pub fn expiry(lifecycle: &Lifecycle, day: Day, object: &Object<'_>) -> Option<Due> {
    let rules = enabled(lifecycle, object.key);
    let dues = rules.filter(|rule| is_chosen(&rule.scope, Some(object))).filter_map(|rule| {
        let at_ms = match rule.expiration? {
            Expiration::Days(days) => day.after(object.made_ms, days),
            Expiration::Date(ms) => ms,
            Expiration::Markers(_) => return None,
        };
        Some((at_ms, rule))
    });
    earliest(dues)
}

/// When an upload that is still open is aborted.
pub fn abortion(lifecycle: &Lifecycle, day: Day, key: &str, started_ms: u64) -> Option<Due> {
    let dues = enabled(lifecycle, key)
        .filter_map(|rule| Some((day.after(started_ms, rule.abort_days?), rule)));
    earliest(dues)
}

fn earliest<'a>(dues: impl Iterator<Item = (u64, &'a Rule)>) -> Option<Due> {
    let (at_ms, rule) = dues.min_by_key(|(at_ms, _)| *at_ms)?;
    Some(Due { at_ms, rule: rule.id.clone() })
}

/// What is to be done with one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// The current version, an object, is deleted as a client without a version id would do it.
    Expire(Stamp),
    /// A version that another one followed is deleted for good.
    Erase(Stamp),
    /// A delete marker, the only version of its key, is removed for good.
    Unmark(Stamp),
}

/// What is due of a key now, at most once for each version.
pub fn judge(lifecycle: &Lifecycle, day: Day, key: &str, row: &Row, now_ms: u64) -> Vec<Deed> {
    let rules: Vec<&Rule> = enabled(lifecycle, key).collect();
    if rules.is_empty() {
        return Vec::new();
    }
    let versions: Vec<&Version> = row.visible().collect();
    let Some((current, others)) = versions.split_first() else { return Vec::new() };
    let mut deeds = Vec::new();
    match object(key, current) {
        Some(object) => {
            if expiry(lifecycle, day, &object).is_some_and(|due| due.at_ms <= now_ms) {
                deeds.push(Deed::Expire(current.stamp));
            }
        }
        None => {
            if others.is_empty() && unmarks(&rules, day, current.made_ms(), now_ms) {
                deeds.push(Deed::Unmark(current.stamp));
            }
        }
    }
    // Of those that can be read again: a marker keeps nothing.
    let mut newer_objects = 0;
    for (next, version) in versions.iter().zip(others) {
        let object = object(key, version);
        let over = |rule: &&Rule| {
            let Some(noncurrent) = rule.noncurrent else { return false };
            is_chosen(&rule.scope, object.as_ref())
                && noncurrent.keep.is_none_or(|keep| newer_objects >= keep)
                && day.after(next.made_ms(), noncurrent.days) <= now_ms
        };
        if rules.iter().any(over) {
            deeds.push(Deed::Erase(version.stamp));
        }
        newer_objects += u32::from(object.is_some());
    }
    deeds
}

/// Whether a delete marker that hides nothing goes: at the midnight after it was made where a rule
/// asks for that, else as an object of its age would.
fn unmarks(rules: &[&Rule], day: Day, made_ms: u64, now_ms: u64) -> bool {
    rules.iter().filter(|rule| is_chosen(&rule.scope, None)).any(|rule| match rule.expiration {
        Some(Expiration::Days(days)) => day.after(made_ms, days) <= now_ms,
        Some(Expiration::Date(ms)) => ms <= now_ms,
        Some(Expiration::Markers(true)) => day.after(made_ms, 0) <= now_ms,
        Some(Expiration::Markers(false)) | None => false,
    })
}

fn object<'a>(key: &'a str, version: &'a Version) -> Option<Object<'a>> {
    match &version.content {
        Content::Object(meta) => Some(Object {
            key,
            tags: &version.marks.tags.val,
            size: meta.size,
            made_ms: version.made_ms(),
        }),
        Content::Marker | Content::Tombstone => None,
    }
}

fn enabled<'a>(lifecycle: &'a Lifecycle, key: &str) -> impl Iterator<Item = &'a Rule> {
    lifecycle.rules.iter().filter(move |rule| {
        let prefix = rule.scope.prefix.as_deref().unwrap_or_default();
        rule.enabled && key.starts_with(prefix)
    })
}

/// Whether tags and size are those of a rule whose prefix is right. A delete marker has neither.
fn is_chosen(scope: &Scope, object: Option<&Object<'_>>) -> bool {
    let Some(object) = object else {
        return scope.tags.is_empty() && scope.larger.is_none() && scope.smaller.is_none();
    };
    scope.tags.iter().all(|tag| object.tags.contains(tag))
        && scope.larger.is_none_or(|bytes| object.size > bytes)
        && scope.smaller.is_none_or(|bytes| object.size < bytes)
}

/// The prefixes of the keys that any rule is about, in order, none below another; nothing where no
/// rule is enabled.
pub fn prefixes(lifecycle: &Lifecycle) -> Vec<&str> {
    let enabled = lifecycle.rules.iter().filter(|rule| rule.enabled);
    let mut all: Vec<&str> =
        enabled.map(|rule| rule.scope.prefix.as_deref().unwrap_or_default()).collect();
    all.sort_unstable();
    all.dedup_by(|longer, shorter| longer.starts_with(&**shorter));
    all
}
