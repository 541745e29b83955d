//! When the primary copy of an object moves, and where to: the decayed regret of not being
//! elsewhere.
//!
//! For each access from x the regret of every other place r grows by what the access would have
//! saved there: `G_r = max(0, G_r * g + w * (c(x, p) - c(x, r)))`. The primary moves to the best r
//! once `G_r >= D * c(p, r)`, D being the cost of moving in units of one access. This is what keeps
//! the total cost within a small factor of a planner who knows the future (see the simulator in the
//! tests). Pure: time, distances and accesses are handed in; nothing here moves anything.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::region::RegionId;

/// The waits and weights of the rule.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacementConfig {
    /// Multiplies the threshold; 1 is the rule as it was measured.
    pub threshold_factor: f64,
    /// No second move within this time.
    pub stay_min: Duration,
    /// Going back to a place that was home within this time needs twice the regret.
    pub return_window: Duration,
    /// Weight of a read that was answered from a cached or held copy where it came in.
    pub hit_weight: f64,
    /// What a megabyte that has to cross the wide area counts, in milliseconds.
    pub wan_ms_per_mb: f64,
}

impl Default for PlacementConfig {
    fn default() -> Self {
        Self {
            threshold_factor: 1.0,
            stay_min: Duration::from_secs(600),
            return_window: Duration::from_secs(24 * 3600),
            hit_weight: 0.1,
            wan_ms_per_mb: 80.0,
        }
    }
}

/// Accesses of one region to one object since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accesses {
    /// Reads that were answered from a copy in that region.
    pub hits: u32,
    /// Reads that had to go elsewhere.
    pub misses: u32,
    /// Bytes that were read, and those of them that had to cross the wide area.
    pub bytes: u64,
    pub missed_bytes: u64,
    /// The region has a whole cached copy: moving there moves no bytes.
    pub cached_whole: bool,
}

/// A region as the rule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub region: RegionId,
    /// May be primary: location, role, not draining, reachable.
    pub allowed: bool,
}

/// What the rule says now, and why, in words for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub move_to: Option<RegionId>,
    pub reason: String,
}

/// What is remembered of one object at its primary.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Regret {
    regret: BTreeMap<RegionId, f64>,
    /// Decayed accesses by region: what people are shown.
    heat: BTreeMap<RegionId, f64>,
    cached_whole: BTreeMap<RegionId, bool>,
    accesses: f64,
    bytes: f64,
    /// When the primary came here, if it moved: milliseconds since 1970.
    pub moved_ms: Option<u64>,
    /// Former homes and when each was left.
    pub homes: BTreeMap<RegionId, u64>,
}

impl Regret {
    /// Accesses of `from` while the primary is at `primary`. `rtt_ms` is the distance of two
    /// regions.
    #[allow(clippy::too_many_arguments, reason = "one access, all that is known of it")]
    pub fn note(
        &mut self,
        config: &PlacementConfig,
        (from, primary): (RegionId, RegionId),
        accesses: Accesses,
        regions: &[RegionId],
        rtt_ms: &dyn Fn(RegionId, RegionId) -> f64,
        size: u64,
    ) {
        let count = f64::from(accesses.hits) + f64::from(accesses.misses);
        if count == 0.0 {
            return;
        }
        self.accesses += count;
        self.bytes += bytes_f64(accesses.bytes);
        self.cached_whole.insert(from, accesses.cached_whole);
        let decay = (-count / (20.0 * self.move_cost(size, false))).exp2();
        self.heat.values_mut().for_each(|heat| *heat *= decay);
        *self.heat.entry(from).or_default() += count;

        let wan_ms = config.wan_ms_per_mb * bytes_f64(accesses.missed_bytes) / 1e6;
        let weight = f64::from(accesses.misses) + config.hit_weight * f64::from(accesses.hits);
        let cost = |to: RegionId| {
            if to == from { 0.0 } else { weight * rtt_ms(from, to) + wan_ms }
        };
        for region in regions.iter().copied().filter(|region| *region != primary) {
            let regret = self.regret.entry(region).or_default();
            *regret = (*regret * decay + cost(primary) - cost(region)).max(0.0);
        }
    }

    /// What moving costs, in accesses: D of the rule.
    fn move_cost(&self, size: u64, cached_whole: bool) -> f64 {
        let mean = if self.accesses > 0.0 { self.bytes / self.accesses } else { 0.0 };
        let to_move = if cached_whole { 0.0 } else { bytes_f64(size) };
        let transfers = if mean > 0.0 { to_move / mean } else { 0.0 };
        (transfers + 3.0).max(2.0)
    }

    /// Decayed accesses by region.
    pub fn heat(&self) -> &BTreeMap<RegionId, f64> {
        &self.heat
    }

    /// Whether to move now. `frozen` says why nothing moves at all, if so.
    pub fn judge(
        &self,
        config: &PlacementConfig,
        (primary, size, now_ms): (RegionId, u64, u64),
        candidates: &[Candidate],
        rtt_ms: &dyn Fn(RegionId, RegionId) -> f64,
        frozen: Option<&str>,
    ) -> Verdict {
        let stay = |reason: String| Verdict { move_to: None, reason };
        let best = candidates
            .iter()
            .filter(|c| c.allowed && c.region != primary)
            .map(|c| (self.regret.get(&c.region).copied().unwrap_or(0.0), c.region))
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        let Some((regret, to)) = best else {
            return stay("no other region may be its primary".to_owned());
        };
        if regret == 0.0 {
            return stay("nobody would be nearer to it elsewhere".to_owned());
        }
        let cached = self.cached_whole.get(&to).copied().unwrap_or(false);
        let back = self
            .homes
            .get(&to)
            .is_some_and(|left_ms| within(now_ms, *left_ms, config.return_window));
        let factor = config.threshold_factor * if back { 2.0 } else { 1.0 };
        let threshold = factor * self.move_cost(size, cached) * rtt_ms(primary, to);
        let share = self.share(to);
        let balance = format!(
            "{to} reads {share:.0} % of it; regret {regret:.0} ms of {threshold:.0} ms{}",
            if back { " (doubled: it was home lately)" } else { "" }
        );
        if regret < threshold {
            return stay(balance);
        }
        if let Some(why) = frozen {
            return stay(format!("{balance}; moves are frozen: {why}"));
        }
        if self.moved_ms.is_some_and(|at| within(now_ms, at, config.stay_min)) {
            return stay(format!("{balance}; it came here less than {:?} ago", config.stay_min));
        }
        let saved_ms = rtt_ms(to, primary);
        Verdict {
            move_to: Some(to),
            reason: format!("{balance}; {saved_ms:.0} ms nearer to its readers"),
        }
    }

    /// Percent of the decayed accesses that come from a region.
    fn share(&self, region: RegionId) -> f64 {
        let all: f64 = self.heat.values().sum();
        if all > 0.0 { 100.0 * self.heat.get(&region).copied().unwrap_or(0.0) / all } else { 0.0 }
    }
}

fn within(now_ms: u64, at_ms: u64, window: Duration) -> bool {
    u128::from(now_ms.saturating_sub(at_ms)) < window.as_millis()
}

#[expect(clippy::cast_precision_loss, reason = "weights; 52 bits are plenty")]
fn bytes_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
