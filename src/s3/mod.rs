//! The S3 front: HTTP in, typed engine calls, HTTP out.
//!
//! Invariant: every request takes the same path; no operation skips or reorders a step, and special
//! cases are flags of its row in the table.

pub mod auth;
pub mod body;
mod chunked;
pub mod digest;
pub mod error;
pub mod op;
pub mod ops;
pub mod reply;
pub mod request;
pub mod target;
pub mod xml;

use crate::env::Env;

/// What operations work with.
pub struct Ctx {
    pub env: Env,
}
