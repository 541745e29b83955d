//! Vocabulary: the words of the domain as types. Nothing here does anything.

pub mod access;
pub mod acl;
pub mod action;
pub mod bucket;
pub mod caller;
pub mod encryption;
pub mod event;
pub mod headers;
pub mod id;
pub mod kept;
pub mod lifecycle;
pub mod lock;
pub mod members;
pub mod name;
pub mod object;
pub mod position;
pub mod range;
pub mod record;
pub mod region;
pub mod stamp;
pub mod usage;
