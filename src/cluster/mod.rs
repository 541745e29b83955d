//! Drivers between regions: how changes get to `ack` regions and then everywhere, how bytes are
//! found and read, and how everything that was missed is made good.
//!
//! Invariants: a change is answered only when `ack` regions have it on stable storage; every change
//! goes through the store's merge, whatever way it came; bytes are verified before they are served.
//! What this does not do: decide what a request means (`engine`), or touch disk and network itself
//! (`store`, `net`).

mod acceptor;
mod body;
mod error;
mod members;
mod names;
mod register;
mod stream;
mod write;

pub use body::Body;
pub use error::{ReadError, Unavailable};
pub use members::{BadMembers, Members};
pub use names::{CreateOutcome, DeleteOutcome};
pub use stream::{Source, Whereabouts};
pub use write::{Decide, View, Write, Written};
