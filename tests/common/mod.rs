//! One node in this process, and a client that signs: what the tests of the S3 front stand on.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "a module of test programs")]

pub mod client;
pub mod node;
pub mod receiver;
pub mod server;
