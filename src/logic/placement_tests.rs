//! The rule on single objects, and against a planner who knows the future.
#![allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]

use super::*;

const CODES: [&str; 5] = ["fra", "iad", "nrt", "sin", "syd"];

fn regions() -> Vec<RegionId> {
    CODES.iter().map(|code| RegionId::parse(code).unwrap()).collect()
}

/// A made-up but metric distance: regions on a line, 50 ms apart.
fn rtt_ms(a: RegionId, b: RegionId) -> f64 {
    let place = |r: RegionId| regions().iter().position(|x| *x == r).unwrap() as f64;
    50.0 * (place(a) - place(b)).abs()
}

fn config() -> PlacementConfig {
    PlacementConfig {
        stay_min: Duration::ZERO,
        return_window: Duration::ZERO,
        ..Default::default()
    }
}

fn allowed() -> Vec<Candidate> {
    regions().into_iter().map(|region| Candidate { region, allowed: true }).collect()
}

fn miss(bytes: u64) -> Accesses {
    Accesses { misses: 1, bytes, missed_bytes: 0, ..Default::default() }
}

fn judge(regret: &Regret, config: &PlacementConfig, primary: RegionId, now_ms: u64) -> Verdict {
    regret.judge(config, (primary, 1000, now_ms), &allowed(), &rtt_ms, None)
}

#[test]
fn steady_remote_reads_move_the_primary_to_their_region() {
    let all = regions();
    let mut regret = Regret::default();
    let mut reads = 0;
    while judge(&regret, &config(), all[0], 0).move_to.is_none() {
        regret.note(&config(), (all[3], all[0]), miss(1000), &all, &rtt_ms, 1000);
        reads += 1;
        assert!(reads < 20, "never moves");
    }
    assert_eq!(judge(&regret, &config(), all[0], 0).move_to, Some(all[3]));
    assert!(reads >= 4, "a single read moves nothing, these took {reads}");
}

#[test]
fn readers_at_home_keep_it_at_home() {
    let all = regions();
    let mut regret = Regret::default();
    for turn in 0..1000 {
        let from = if turn % 3 == 0 { all[3] } else { all[0] };
        regret.note(&config(), (from, all[0]), miss(1000), &all, &rtt_ms, 1000);
        assert_eq!(judge(&regret, &config(), all[0], 0).move_to, None);
    }
}

#[test]
fn the_minimum_stay_the_way_back_location_and_a_freeze_hold_it() {
    let all = regions();
    let mut regret = Regret::default();
    for _ in 0..5 {
        regret.note(&config(), (all[3], all[0]), miss(1000), &all, &rtt_ms, 1000);
    }
    assert!(judge(&regret, &config(), all[0], 0).move_to.is_some());
    let waits = PlacementConfig::default();
    regret.moved_ms = Some(1000);
    assert_eq!(judge(&regret, &waits, all[0], 2000).move_to, None);
    assert!(judge(&regret, &waits, all[0], 1000 + 600_000).move_to.is_some());
    regret.homes.insert(all[3], 1000);
    let back = judge(&regret, &waits, all[0], 1000 + 600_000);
    assert!(back.move_to.is_none() && back.reason.contains("doubled"), "{}", back.reason);
    regret.homes.clear();
    let frozen =
        regret.judge(&config(), (all[0], 1000, 0), &allowed(), &rtt_ms, Some("repair is behind"));
    assert!(frozen.move_to.is_none() && frozen.reason.contains("repair is behind"));
    let only: Vec<Candidate> =
        all.iter().map(|r| Candidate { region: *r, allowed: *r == all[0] }).collect();
    assert_eq!(regret.judge(&config(), (all[0], 1000, 0), &only, &rtt_ms, None).move_to, None);
}

/// Cost of a run of the rule: distances of all accesses and of all moves.
fn online(trace: &[RegionId], moved_reads: f64) -> f64 {
    let all = regions();
    let size = (moved_reads.max(3.0) - 3.0) as u64 * 1000;
    let (mut regret, mut primary, mut cost) = (Regret::default(), all[0], 0.0);
    for from in trace {
        cost += rtt_ms(*from, primary);
        regret.note(&config(), (*from, primary), miss(1000), &all, &rtt_ms, size);
        let verdict = regret.judge(&config(), (primary, size, 0), &allowed(), &rtt_ms, None);
        if let Some(to) = verdict.move_to {
            cost += moved_reads * rtt_ms(primary, to);
            primary = to;
            regret = Regret::default();
        }
    }
    cost
}

/// The least possible cost of the same trace, by dynamic programming over places.
fn offline(trace: &[RegionId], moved_reads: f64) -> f64 {
    let all = regions();
    let mut best: Vec<f64> = all.iter().map(|r| moved_reads * rtt_ms(all[0], *r)).collect();
    for from in trace {
        let after: Vec<f64> =
            best.iter().zip(&all).map(|(cost, place)| cost + rtt_ms(*from, *place)).collect();
        best = all
            .iter()
            .map(|to| {
                let ways = all.iter().zip(&after);
                ways.map(|(at, cost)| cost + moved_reads * rtt_ms(*at, *to))
                    .fold(f64::INFINITY, f64::min)
            })
            .collect();
    }
    best.into_iter().fold(f64::INFINITY, f64::min)
}

/// Loads as they occur, and the ones that are worst for rules like this.
fn traces(moved_reads: usize) -> Vec<(&'static str, Vec<RegionId>)> {
    let all = regions();
    let mut seed = 7_u64;
    let mut random = move |end: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % end
    };
    let stable = (0..2000).map(|_| if random(10) < 8 { all[3] } else { all[random(5)] }).collect();
    let shift = (0..2000).map(|n| if n < 1000 { all[1] } else { all[4] }).collect();
    let sun = (0..4000).map(|n| all[n / 800 % 5]).collect();
    let uniform = (0..2000).map(|_| all[random(5)]).collect();
    let swings = (0..4000).map(|n| all[4 * (n / (2 * moved_reads) % 2)]).collect();
    vec![
        ("stable", stable),
        ("shift", shift),
        ("sun", sun),
        ("uniform", uniform),
        ("swings", swings),
    ]
}

#[test]
fn the_rule_stays_within_a_small_factor_of_the_offline_optimum() {
    let (mut sum, mut count) = (0.0, 0.0);
    for moved_reads in [3, 10, 100] {
        for (name, trace) in traces(moved_reads) {
            let ratio = online(&trace, moved_reads as f64) / offline(&trace, moved_reads as f64);
            assert!(ratio <= 3.0, "{name} with a move worth {moved_reads} reads: {ratio:.2}");
            if name != "swings" {
                sum += ratio;
                count += 1.0;
            }
        }
    }
    let mean = sum / count;
    assert!(mean <= 1.75, "mean ratio {mean:.2}");
}
