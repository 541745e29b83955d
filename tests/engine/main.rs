//! What S3 means, asked of the engine itself: one node, and three nodes with messages in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "modules of a test program")]

#[path = "../common/mod.rs"]
mod common;

mod backup;
mod encryption;
mod lifecycle;
mod meaning;
mod object_regions;
mod place;
mod regions;
mod strong;
mod undo;
mod user;
mod versions;
