//! What a node's program says, reads and writes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::region::RegionId;

/// `GET program`: what the node that answers runs, to be compared before an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeProgram {
    #[schemars(with = "String")]
    pub region: RegionId,
    pub program: Program,
}

/// What a program says to other nodes, and what it reads and writes on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Program {
    pub version: String,
    /// Version of the frames between nodes. Nodes with different ones do not understand each other.
    pub frames: u8,
    /// Version of the messages in them. The same is true of it.
    pub messages: u8,
    /// The kinds of each part of a message that it knows.
    pub kinds: Vec<Kinds>,
    /// Version of the data directory that it writes, and the oldest that it reads.
    pub format: u32,
    pub format_oldest: u32,
    /// Version of the frames of its log.
    pub log: u8,
}

/// The kinds of one part of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kinds {
    pub of: String,
    /// In the order of their numbers, which never change.
    pub names: Vec<String>,
}
