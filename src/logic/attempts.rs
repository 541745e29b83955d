//! Guessing of secrets made slow: who failed often waits before the next attempt.
//!
//! Invariant: an attempt is counted before it is judged, so that attempts side by side are counted
//! too; what is kept has a bound, and what is let go first is what failed longest ago.

use std::collections::HashMap;
use std::time::Duration;

/// How attempts of one kind of source are slowed down.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Attempts without a wait.
    pub free: u32,
    /// After the first attempt that is not free; it doubles with each further one.
    pub wait_min: Duration,
    pub wait_max: Duration,
    /// Attempts are forgotten after this long without one.
    pub forget: Duration,
    /// Sources that are remembered.
    pub sources_max: usize,
}

/// What is known of one source.
#[derive(Clone, Copy, Debug)]
struct Past {
    count: u32,
    last: Duration,
    /// No attempt before this.
    until: Duration,
}

/// Attempts by source, on one clock.
#[derive(Debug)]
pub struct Attempts<S> {
    rule: Rule,
    sources: HashMap<S, Past>,
}

impl<S: std::hash::Hash + Eq + Clone> Attempts<S> {
    pub fn new(rule: Rule) -> Self {
        Self { rule, sources: HashMap::new() }
    }

    /// How long the source has to wait before its next attempt; zero where it may make it now.
    pub fn wait(&self, source: &S, now: Duration) -> Duration {
        self.sources.get(source).map_or(Duration::ZERO, |past| past.until.saturating_sub(now))
    }

    /// Counts an attempt that begins.
    pub fn begin(&mut self, source: S, now: Duration) {
        let rule = self.rule;
        let old = |past: &Past| past.last + rule.forget <= now;
        if self.sources.get(&source).is_some_and(old) {
            self.sources.remove(&source);
        }
        if self.sources.len() >= rule.sources_max && !self.sources.contains_key(&source) {
            self.make_room(now);
        }
        let past = self.sources.entry(source).or_insert(Past { count: 0, last: now, until: now });
        past.count = past.count.saturating_add(1);
        past.last = now;
        if let Some(above) = past.count.checked_sub(rule.free).filter(|above| *above > 0) {
            let doubled = rule.wait_min.saturating_mul(2_u32.saturating_pow(above - 1));
            past.until = now + doubled.min(rule.wait_max);
        }
    }

    /// An attempt of the source was right: nothing is held against it.
    pub fn succeeded(&mut self, source: &S) {
        self.sources.remove(source);
    }

    /// Forgets who was quiet for long, and where that is nobody, who was quiet longest.
    fn make_room(&mut self, now: Duration) {
        let forget = self.rule.forget;
        self.sources.retain(|_, past| past.last + forget > now);
        if self.sources.len() < self.rule.sources_max {
            return;
        }
        let oldest = self.sources.iter().min_by_key(|(_, past)| past.last);
        if let Some(source) = oldest.map(|(source, _)| source.clone()) {
            self.sources.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        free: 3,
        wait_min: Duration::from_secs(1),
        wait_max: Duration::from_secs(60),
        forget: Duration::from_secs(900),
        sources_max: 4,
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_only_for_who_failed() {
        let mut attempts = Attempts::new(RULE);
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..12 {
            attempts.begin("a", now);
            let wait = attempts.wait(&"a", now);
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(attempts.wait(&"a", now), Duration::ZERO);
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(attempts.wait(&"b", now), Duration::ZERO);
    }

    #[test]
    fn success_and_long_silence_are_a_new_beginning() {
        let mut attempts = Attempts::new(RULE);
        for _ in 0..5 {
            attempts.begin("a", at(0));
            attempts.begin("b", at(0));
        }
        assert_eq!(attempts.wait(&"a", at(0)), at(2));
        attempts.succeeded(&"a");
        assert_eq!(attempts.wait(&"a", at(0)), at(0));
        attempts.begin("b", at(1000));
        assert_eq!(attempts.wait(&"b", at(1000)), at(0));
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let mut attempts = Attempts::new(RULE);
        for source in 0..100_u64 {
            attempts.begin(source, at(source));
        }
        assert_eq!(attempts.sources.len(), RULE.sources_max);
        assert!(attempts.sources.contains_key(&99), "the newest is kept");
        assert!(!attempts.sources.contains_key(&0), "the oldest is not");
    }
}
