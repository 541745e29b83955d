//! The audit log: who changed what, one JSON object a line.
//!
//! Invariant: a line is made of the fields of [`Entry`] and of nothing else: no header, no query
//! string, no body. None of these fields ever has a secret, a token or a signature. Telling never
//! waits: what finds no room is counted, and the next line says how many were lost before it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::mpsc;

use super::{Counter, Entries, Group, table};
use crate::limits;
use crate::types::region::RegionId;

/// Where a change was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    Admin,
    Console,
    S3,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct Entry<'a> {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The region that answered.
    pub region: RegionId,
    pub door: Door,
    /// The request id that the client was told.
    pub id: &'a str,
    /// An operation of S3, a method and path of the admin API, `SignIn` or `SignOut`.
    pub op: &'a str,
    /// The access key that proved itself, or `anonymous`.
    pub caller: &'a str,
    pub account: Option<&'a str>,
    /// The address of the other end of the connection.
    pub source: Option<IpAddr>,
    pub bucket: Option<&'a str>,
    pub key: Option<&'a str>,
    /// The access key that was made, changed or ended.
    pub access_key: Option<&'a str>,
    pub status: u16,
    /// The error code, where it was refused.
    pub error: Option<&'a str>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    entry: &'a Entry<'a>,
    /// Lines that were lost before this one.
    missed: u64,
}

/// Counters of the audit log. Cheap handles.
#[derive(Clone, Debug, Default)]
pub struct AuditMetrics {
    pub written: Counter,
    pub dropped: Counter,
}

impl Group for AuditMetrics {
    fn register(&self, entries: &mut Entries) {
        entries.add(&table::AUDIT_LINES, self.written.clone());
        entries.add(&table::AUDIT_DROPPED, self.dropped.clone());
    }
}

/// Where changes are told. Cheap to clone; by default nobody hears.
#[derive(Clone, Debug, Default)]
pub struct Audit(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    lines: mpsc::Sender<String>,
    objects: bool,
    missed: AtomicU64,
    metrics: AuditMetrics,
}

impl Audit {
    /// The log, and its lines for whoever writes them. With `objects` what changes objects is told
    /// too, not only what changes buckets and keys.
    pub fn new(objects: bool, metrics: AuditMetrics) -> (Self, mpsc::Receiver<String>) {
        let (lines, heard) = mpsc::channel(limits::AUDIT_WAITING_MAX);
        let missed = AtomicU64::new(0);
        (Self(Some(Arc::new(Inner { lines, objects, missed, metrics }))), heard)
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether changes of objects are told.
    pub fn hears_objects(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.objects)
    }

    /// Adds a line.
    pub fn tell(&self, entry: &Entry<'_>) {
        let Some(inner) = &self.0 else { return };
        let missed = inner.missed.swap(0, Ordering::Relaxed);
        let line = serde_json::to_string(&Line { entry, missed });
        let line = line.expect("plain fields become JSON");
        if inner.lines.try_send(line).is_err() {
            inner.missed.fetch_add(missed + 1, Ordering::Relaxed);
            inner.metrics.dropped.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str) -> Entry<'_> {
        Entry {
            at_ms: 1,
            region: "fra".parse().unwrap(),
            door: Door::S3,
            id,
            op: "CreateBucket",
            caller: "GWKEY",
            account: None,
            source: None,
            bucket: Some("a\n\"b"),
            key: None,
            access_key: None,
            status: 200,
            error: None,
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told_by_the_next_line() {
        let metrics = AuditMetrics::default();
        let (audit, mut lines) = Audit::new(false, metrics.clone());
        for _ in 0..limits::AUDIT_WAITING_MAX + 3 {
            audit.tell(&entry("1"));
        }
        assert_eq!(metrics.dropped.get(), 3);
        let first = lines.try_recv().unwrap();
        assert!(!first.contains('\n'), "one line whatever the names are: {first}");
        audit.tell(&entry("2"));
        let mut last = String::new();
        while let Ok(line) = lines.try_recv() {
            last = line;
        }
        let last: serde_json::Value = serde_json::from_str(&last).unwrap();
        assert_eq!((&last["id"], &last["missed"]), (&"2".into(), &3.into()));
        Audit::default().tell(&entry("nobody hears"));
    }
}
