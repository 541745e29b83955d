//! Runs one client, by its name, against the endpoint that the variables name.

mod aws_sdk;
mod object_store_suite;
mod opendal_operator;

use std::env;

/// Keys that are easy to get wrong.
const KEYS: [&str; 16] = [
    "a//b",
    "/lead",
    "trail/",
    "%41",
    "%zz",
    "+",
    "a b+c&d=e",
    "?q#f",
    "tab\tnl\ncr\r",
    "\u{1}\u{1f}",
    "\u{7f}",
    "&<>\"'",
    "ünïcode/é/日本語/😀",
    "a/../b",
    "./x",
    "\\",
];

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

#[tokio::main]
async fn main() {
    match env::args().nth(1).as_deref() {
        Some("aws-sdk-s3") => aws_sdk::run().await,
        Some("object_store") => object_store_suite::run().await,
        Some("opendal") => opendal_operator::run().await,
        other => panic!("no client has the name {other:?}"),
    }
}
