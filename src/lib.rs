//! godwit: a geo-distributed, S3-compatible edge cache and object store with one global namespace.
//! ARCHITECTURE.md is the map of this crate.

#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod console;
pub mod engine;
pub mod env;
pub mod limits;
pub mod logic;
pub mod net;
pub mod node;
pub mod obs;
pub mod s3;
pub mod store;
pub mod types;
