//! The admin API: what a person or a tool asks of a node beyond S3, as JSON under one prefix.

pub mod model;
