//! Rules of registers that the drivers keep, by name: tests leave each out once, to see that it is
//! missed (`cluster::tests::rules`). Those of the cores are in `logic::register` and `logic::lease`.
//!
//! Invariant: outside of tests every rule is kept, and asking costs nothing.

use super::{Cluster, ClusterOptions};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A voter that hears no outcome of what it accepted finds it out.
    FindsOutcomes,
    /// Most other members confirm a start before a voter answers again.
    MostConfirm,
    /// A bucket's name is free only when every region has closed the bucket.
    AllClose,
    /// Every region asks the voters which access keys were changed.
    KeysAreAsked,
    /// The members' register begins anew with each epoch.
    MembersBeginAnew,
    /// What a region that was removed had offered, or was offered, is not waited for.
    RemovedHaveNoSay,
}

impl ClusterOptions {
    #[cfg(test)]
    pub(crate) fn without(rule: Rule) -> Self {
        Self { left_out: Some(rule), ..Self::default() }
    }
}

#[cfg(test)]
impl Cluster {
    pub(super) fn keeps(&self, rule: Rule) -> bool {
        self.inner.options.left_out != Some(rule)
    }
}

#[cfg(not(test))]
#[expect(clippy::unused_self, reason = "the test build looks at a field")]
impl Cluster {
    pub(super) const fn keeps(&self, _: Rule) -> bool {
        true
    }
}
