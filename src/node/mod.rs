//! One node: everything below wired together, started and stopped in order.

pub mod env;
