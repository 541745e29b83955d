//! The rules of object lock: what keeps a version, and what may be changed of that.
//! Source: S3 user guide, "How S3 Object Lock works".
//!
//! Invariant: before its end nobody shortens or ends a compliance retention; a governance retention
//! only those who may bypass it, and who say so.

use crate::types::lock::{DefaultRetention, LockMode, LockPeriod, Retention};
use crate::types::object::Marks;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Source: S3 API reference, DefaultRetention: a year is 365 days.
const YEAR_MS: u64 = 365 * DAY_MS;

/// A change or a deletion that a lock does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locked;

/// The retention that counts: a compliance one that was set anywhere, else the last one set.
pub fn retention(marks: &Marks) -> Option<Retention> {
    let set = marks.retention.val;
    let until_ms = marks.compliance_until_ms;
    let compliance = Retention { mode: LockMode::Compliance, until_ms };
    match set {
        _ if until_ms == 0 => set,
        Some(set) if set.until_ms > until_ms => Some(set),
        Some(_) | None => Some(compliance),
    }
}

/// Whether a version may be deleted for good.
pub fn may_erase(marks: &Marks, now_ms: u64, bypass: bool) -> Result<(), Locked> {
    // Whatever was set since: two regions may have set different modes at the same time.
    if marks.legal_hold.val || marks.compliance_until_ms > now_ms {
        return Err(Locked);
    }
    match retention(marks).filter(|retention| retention.until_ms > now_ms) {
        Some(Retention { mode: LockMode::Compliance, .. }) => Err(Locked),
        Some(Retention { mode: LockMode::Governance, .. }) if !bypass => Err(Locked),
        Some(_) | None => Ok(()),
    }
}

/// Whether a retention may take the place of the present one.
pub fn may_change(
    marks: &Marks,
    new: Option<Retention>,
    now_ms: u64,
    bypass: bool,
) -> Result<(), Locked> {
    let kept = Retention { mode: LockMode::Compliance, until_ms: marks.compliance_until_ms };
    if kept.until_ms > now_ms {
        let stays = new.is_some_and(|new| new.mode == kept.mode && new.until_ms >= kept.until_ms);
        return if stays { Ok(()) } else { Err(Locked) };
    }
    let Some(old) = retention(marks).filter(|old| old.until_ms > now_ms) else { return Ok(()) };
    let longer = new.is_some_and(|new| new.until_ms >= old.until_ms);
    let same = new.is_some_and(|new| new.mode == old.mode);
    match old.mode {
        _ if longer && same => Ok(()),
        LockMode::Governance if bypass => Ok(()),
        LockMode::Governance | LockMode::Compliance => Err(Locked),
    }
}

/// What a bucket's default gives to a version that is made now.
pub fn by_default(rule: DefaultRetention, now_ms: u64) -> Retention {
    let lasts_ms = match rule.period {
        LockPeriod::Days(days) => u64::from(days) * DAY_MS,
        LockPeriod::Years(years) => u64::from(years) * YEAR_MS,
    };
    Retention { mode: rule.mode, until_ms: now_ms.saturating_add(lasts_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::object::Mark;
    use crate::types::stamp::{Hlc, Stamp};

    fn marks(retention: Option<Retention>, at: u64) -> Marks {
        let compliance = retention.filter(|r| r.mode == LockMode::Compliance);
        Marks {
            retention: Mark { val: retention, marker: Stamp { hlc: Hlc(at), ..Stamp::ZERO } },
            compliance_until_ms: compliance.map_or(0, |r| r.until_ms),
            ..Marks::default()
        }
    }

    fn until(mode: LockMode, until_ms: u64) -> Option<Retention> {
        Some(Retention { mode, until_ms })
    }

    #[test]
    fn compliance_is_kept_to_its_end_and_governance_yields_to_those_who_may() {
        use LockMode::{Compliance, Governance};
        let strict = marks(until(Compliance, 100), 1);
        assert_eq!(may_erase(&strict, 99, true), Err(Locked));
        assert_eq!(may_erase(&strict, 100, false), Ok(()));
        assert_eq!(may_change(&strict, until(Compliance, 99), 50, true), Err(Locked));
        assert_eq!(may_change(&strict, until(Governance, 200), 50, true), Err(Locked));
        assert_eq!(may_change(&strict, None, 50, true), Err(Locked));
        assert_eq!(may_change(&strict, until(Compliance, 200), 50, false), Ok(()));
        let mild = marks(until(Governance, 100), 1);
        assert_eq!(may_erase(&mild, 50, false), Err(Locked));
        assert_eq!(may_erase(&mild, 50, true), Ok(()));
        assert_eq!(may_change(&mild, until(Governance, 99), 50, false), Err(Locked));
        assert_eq!(may_change(&mild, until(Governance, 99), 50, true), Ok(()));
        assert_eq!(may_change(&mild, until(Governance, 101), 50, false), Ok(()));
        assert_eq!(may_change(&mild, until(Compliance, 100), 50, false), Err(Locked));
        assert_eq!(may_change(&mild, until(Compliance, 100), 50, true), Ok(()));
        let held = Marks { legal_hold: Mark { val: true, marker: Stamp::ZERO }, ..mild };
        assert_eq!(may_erase(&held, 500, true), Err(Locked));
    }

    #[test]
    fn a_longer_governance_set_elsewhere_does_not_loosen_a_compliance_retention() {
        let mut one = marks(until(LockMode::Compliance, 100), 1);
        one.merge(marks(until(LockMode::Governance, 200), 2));
        assert_eq!(may_erase(&one, 50, true), Err(Locked));
        assert_eq!(may_change(&one, until(LockMode::Governance, 60), 50, true), Err(Locked));
        assert_eq!(may_change(&one, None, 50, true), Err(Locked));
        assert_eq!(may_change(&one, until(LockMode::Compliance, 150), 50, false), Ok(()));
        assert_eq!(may_erase(&one, 150, false), Err(Locked), "then the governance counts");
        assert_eq!(may_erase(&one, 150, true), Ok(()));
    }

    #[test]
    fn a_later_change_elsewhere_does_not_end_a_compliance_retention() {
        let mut one = marks(until(LockMode::Compliance, 100), 1);
        let other = marks(until(LockMode::Governance, 10), 2);
        let mut back = other.clone();
        back.merge(one.clone());
        one.merge(other);
        assert_eq!(one, back);
        assert_eq!(retention(&one), until(LockMode::Compliance, 100));
        assert_eq!(may_erase(&one, 50, true), Err(Locked));
    }
}
