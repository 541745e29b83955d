//! S3 as the commands use it: typed requests over a [`Link`], and what moves objects about.

mod api;
mod documents;
pub(super) mod ends;
pub(super) mod glob;
pub(super) mod local;
pub(super) mod merge;
mod multipart;
pub(super) mod place;
pub(super) mod plan;
pub(super) mod transfer;
mod upload;
pub(super) mod work;

pub(super) use api::{Head, S3, Stored, refusal};
pub(super) use documents::Named;
