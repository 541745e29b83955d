//! The operations, one file a group. A new group is one file and one line in [`GROUPS`].

use super::op::Op;

/// Every group's rows.
pub(super) static GROUPS: &[&[Op]] = &[];
