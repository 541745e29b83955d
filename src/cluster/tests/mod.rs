//! The drivers against each other: several clusters in one process, on virtual time.

mod gossip;
mod names;
mod reads;
mod replication;
mod world;
mod writes;
