//! What goes wrong, one thing after the other, while the clients work: each is held until the regions
//! that it leaves alone have answered more writes, and ends before the next begins.

use std::time::{Duration, Instant};

use super::progress::Progress;
use super::random::Random;
use super::site::{REGIONS, Site};

/// Answers that a fault is held for, and after it.
const ANSWERS: u64 = 45;
/// Regions that nothing is wrong with go on within this time.
const GOES_ON: u64 = 60;
/// A fault is held this long where answers come fast, so that timers of the nodes run out as well.
const HELD_MIN: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, Debug)]
enum Fault {
    OneWay(usize, usize),
    Cut(usize, usize),
    Isolated(usize),
    Killed(usize),
    Paused(usize),
    Loss,
}

impl Fault {
    fn number(number: usize, random: &mut Random) -> Self {
        let a = random.below(REGIONS.len());
        let b = random.other(a, REGIONS.len());
        match number % 6 {
            0 => Self::Killed(a),
            1 => Self::OneWay(a, b),
            2 => Self::Isolated(a),
            3 => Self::Paused(a),
            4 => Self::Cut(a, b),
            _ => Self::Loss,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::OneWay(..) => "one-way cuts",
            Self::Cut(..) => "cuts",
            Self::Isolated(_) => "isolations",
            Self::Killed(_) => "kills",
            Self::Paused(_) => "pauses",
            Self::Loss => "losses",
        }
    }

    fn begin(self, site: &mut Site) {
        match self {
            Self::OneWay(from, to) => site.relay.cut_one_way(from, to),
            Self::Cut(a, b) => site.relay.cut(a, b),
            Self::Isolated(region) => site.relay.isolate(region),
            Self::Killed(region) => site.kill(region),
            Self::Paused(region) => site.pause(region),
            // 5 %
            Self::Loss => site.relay.lose(50_000),
        }
    }

    fn end(self, site: &mut Site) {
        match self {
            Self::OneWay(..) | Self::Cut(..) | Self::Isolated(_) | Self::Loss => site.relay.heal(),
            Self::Killed(region) => site.restart(region),
            Self::Paused(region) => site.go_on(region),
        }
    }

    /// Regions that must go on: each reaches all others but one.
    fn others(self) -> Vec<usize> {
        let alone = match self {
            Self::Isolated(region) | Self::Killed(region) | Self::Paused(region) => Some(region),
            Self::OneWay(..) | Self::Cut(..) | Self::Loss => None,
        };
        (0..REGIONS.len()).filter(|region| Some(*region) != alone).collect()
    }
}

/// Fault after fault until the time is over; all is well again at the end.
pub async fn run(site: &mut Site, progress: &Progress, seed: u64, time: Duration) {
    let (mut random, began) = (Random::new(seed), Instant::now());
    let all: Vec<usize> = (0..REGIONS.len()).collect();
    assert!(progress.more(&all, ANSWERS, GOES_ON).await, "clients are not answered");
    for number in 0.. {
        let fault = Fault::number(number, &mut random);
        eprintln!("{:>7.1} s {fault:?}: {}", began.elapsed().as_secs_f64(), progress.told());
        fault.begin(site);
        let held = Instant::now();
        let others = fault.others();
        assert!(progress.more(&others, ANSWERS, GOES_ON).await, "{others:?} stop with {fault:?}");
        // Nothing to wait for: timers of the nodes run meanwhile.
        tokio::time::sleep(HELD_MIN.saturating_sub(held.elapsed())).await;
        fault.end(site);
        site.ready().await;
        progress.count(fault.name());
        assert!(progress.more(&all, ANSWERS, GOES_ON).await, "no answers after {fault:?}");
        if began.elapsed() > time {
            break;
        }
    }
}
