//! Those peers: what nodes say to each other, and how it gets there.

pub mod message;
pub mod registers;
pub mod tls;
