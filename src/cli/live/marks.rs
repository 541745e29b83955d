//! What moved: values that are not what they were, and what they were before.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long a change is shown.
const SHOWN: Duration = Duration::from_secs(60);

/// How long it catches the eye.
const FRESH: Duration = Duration::from_secs(10);

/// A value that changed of late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Change {
    pub(in crate::cli) was: String,
    pub(in crate::cli) ago: Duration,
}

impl Change {
    pub(in crate::cli) fn is_fresh(&self) -> bool {
        self.ago < FRESH
    }

    pub(in crate::cli) fn told(&self) -> String {
        format!("was {}, {} s ago", self.was, self.ago.as_secs())
    }
}

struct Seen {
    value: String,
    was: Option<(String, Duration)>,
}

/// The last value of each name.
#[derive(Default)]
pub(in crate::cli) struct Marks(BTreeMap<String, Seen>);

impl Marks {
    /// Takes the value that `name` has at `now`; tells what it was where that changed of late. The
    /// first value of a name is no change.
    pub(in crate::cli) fn see(&mut self, name: &str, value: &str, now: Duration) -> Option<Change> {
        let Some(seen) = self.0.get_mut(name) else {
            let value = value.to_owned();
            self.0.insert(name.to_owned(), Seen { value, was: None });
            return None;
        };
        if seen.value != value {
            let was = std::mem::replace(&mut seen.value, value.to_owned());
            seen.was = Some((was, now));
        }
        let (was, at) = seen.was.as_ref()?;
        let ago = now.saturating_sub(*at);
        (ago < SHOWN).then(|| Change { was: was.clone(), ago })
    }

    /// Forgets names that are not there any more.
    pub(in crate::cli) fn keep(&mut self, there: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| there(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_for_a_minute_with_what_was_before() {
        let (mut marks, at) = (Marks::default(), Duration::from_secs);
        assert_eq!(marks.see("fra", "here", at(0)), None);
        assert_eq!(marks.see("fra", "here", at(2)), None);
        let change = marks.see("fra", "away", at(4)).unwrap();
        assert_eq!((change.was.as_str(), change.is_fresh()), ("here", true));
        let later = marks.see("fra", "away", at(30)).unwrap();
        assert_eq!((later.ago, later.is_fresh()), (at(26), false));
        assert_eq!(marks.see("fra", "away", at(70)), None);
        marks.keep(|name| name != "fra");
        assert_eq!(marks.see("fra", "here", at(71)), None, "it is new again");
    }
}
