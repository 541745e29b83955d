//! Read leases: while a region holds one of a key, what it has of that key is what a read of the
//! key's register would show, and needs no message. After quorum leases (Moraru, Andersen, Kaminsky:
//! "Paxos Quorum Leases", SoCC 2014), but voters wait instead of proposers: a voter that has granted
//! a lease of a key accepts no other value of it before the holder let go or the grant ended.
//!
//! Why that is enough. A holder counts its lease only where a quorum granted it, each in the step in
//! which it said what it has accepted, and all of them had accepted the same. Whatever is chosen
//! later is accepted by one of these first, and that one waits. So nothing newer is chosen, shown by
//! a read or a list, or answered anywhere, while the holder reads locally. What is written needs no
//! clock: a lease only delays it.
//!
//! What rests on clocks. Each side measures by its machine's own count of time: a voter from when it
//! grants, the holder from before it asked, and the holder so much less ([`Term`]) that it ends first
//! as long as both counts run within [`limits::LEASE_RATE_PPM`] of true time. A count that stands
//! still while its machine sleeps is outside of that; where the clock on the wall went on, the holder
//! notices ([`Moment`]).
//!
//! What drivers must keep. Granting and reading what was accepted are one step of the voter, and so
//! are looking for grants and accepting. A voter that started and may have granted before accepts
//! nothing until a whole term has passed ([`Grants::restarted`]). Before voters leave, a whole term
//! passes after a quorum has taken the epoch that says so: leases of the epoch before are over then,
//! and those of the joint one have a quorum of both.

pub mod grants;
pub mod held;
#[cfg(test)]
mod model;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits;

pub use grants::{Grants, Hold};
pub use held::{Found, Held};

/// The time of a node: what lasts is measured by the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Moment {
    /// The machine's own count.
    pub counted: Duration,
    /// The clock on the wall, milliseconds since 1970. It may jump, which ends leases.
    pub wall_ms: u64,
}

/// How long a lease lasts on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// At the voter, from when it grants.
    pub granted: Duration,
    /// At the holder, from before it asked.
    pub used: Duration,
}

impl Term {
    /// Of every lease.
    pub const DEFAULT: Self =
        Self::bounded(limits::LEASE_TERM, limits::LEASE_RATE_PPM, limits::LEASE_MARGIN);

    /// Counts of time may each be `rate_ppm` millionths off. A voter's term lasts at least
    /// `granted / (1 + rate)`, the holder's at most `used / (1 - rate)`; and
    /// `1 - 2 rate <= (1 - rate) / (1 + rate)`.
    pub const fn bounded(granted: Duration, rate_ppm: u32, margin: Duration) -> Self {
        let off = granted.saturating_mul(2 * rate_ppm).checked_div(1_000_000);
        let used = granted.saturating_sub(match off {
            Some(off) => off,
            None => granted,
        });
        Self { granted, used: used.saturating_sub(margin) }
    }
}

/// Names what a holder asked for, so that it can give back what it asked for up to then and nothing
/// later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseNo {
    /// Of the holder's process, random.
    pub start: u64,
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// In true time the holder's end comes before the voter's, however their counts run.
        #[test]
        fn a_holder_ends_before_a_voter_within_the_bound(
            voter in 0_u32..=20_000,
            holder in 0_u32..=20_000,
            way_ms in 0_u32..3000,
        ) {
            let rate = |n: u32| 1.0 + (f64::from(n) - 10_000.0) / 1e6;
            let term = Term::DEFAULT;
            let voter_ends = f64::from(way_ms) / 1000.0 + term.granted.as_secs_f64() / rate(voter);
            let holder_ends = term.used.as_secs_f64() / rate(holder);
            prop_assert!(holder_ends < voter_ends, "{holder_ends} {voter_ends}");
        }
    }

    #[test]
    fn counts_outside_of_the_bound_break_it() {
        let term = Term::DEFAULT;
        assert!(term.used.as_secs_f64() / 0.96 > term.granted.as_secs_f64() / 1.0);
        assert_eq!(term.used, Duration::from_millis(1450));
    }
}
