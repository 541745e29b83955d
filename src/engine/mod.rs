//! What S3 means, for a caller who is not HTTP: typed requests in, typed results out.
//!
//! Invariant: no HTTP type and no XML occurs here. Nothing of a failed operation is visible.

pub mod body;
pub mod error;

pub use error::Error;
