//! Lifecycle rules: which configurations are accepted, and what they say of an object and when.
//! Source: S3 user guide, "Managing the lifecycle of objects"; S3's own messages.
//!
//! Invariant: a configuration that is stored passed [`check`].

mod check;

pub use check::{Refusal, check};
