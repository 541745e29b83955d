//! The drivers against each other: several clusters in one process, on virtual time.
#![allow(unreachable_pub, reason = "modules of one test")]
#![allow(
    clippy::disallowed_methods,
    reason = "the doors of these tests are tokio's paused clock and its one thread"
)]

mod chaos;
mod conditional;
mod cost;
mod decay;
mod epochs;
mod event_chaos;
mod events;
mod gossip;
mod health;
mod keys;
mod leases;
mod lists;
mod memory;
mod name_chaos;
mod names;
mod offers;
mod place;
mod placement;
mod reads;
mod recover;
mod replication;
mod rules;
mod scrub;
mod sessions;
mod voters;
mod world;
mod writes;
