//! Sans-IO cores and pure rules: no tokio, no clock, no disk, no randomness of their own.

pub mod access_log;
pub mod acl;
pub mod attempts;
pub mod checksum;
pub mod clock;
pub mod copies;
pub mod cors;
pub mod encryption;
pub mod heat;
pub mod keyring;
pub mod lifecycle;
pub mod listing;
pub mod lock;
pub mod membership;
pub mod merge;
pub mod notify;
pub mod parts;
pub mod placement;
pub mod policy;
pub mod post_policy;
pub mod precondition;
pub mod register;
pub mod roles;
pub mod tags;
pub mod versions;
pub mod website;
