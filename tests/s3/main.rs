//! The S3 port over real HTTP with real signatures: one node, its engine, its disk.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "modules of a test program")]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod attributes;
mod bad_input;
mod bucket;
mod copy;
mod cors;
mod encryption;
mod form;
mod keys;
mod lifecycle;
mod listing;
mod lock;
mod logging;
mod manage;
mod multipart;
mod notification;
mod object;
mod payment;
mod policy;
mod probe;
mod quota;
mod regions;
mod replication;
mod table;
mod tagging;
mod undelete;
mod unsent;
mod versioning;
mod website;
