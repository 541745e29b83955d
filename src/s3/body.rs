//! The body of a request, verified while it comes in.

/// A request's body.
#[derive(Default)]
pub struct Body;
