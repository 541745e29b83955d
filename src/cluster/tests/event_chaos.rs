//! Random writes, cuts and kills: afterwards there is an event for every object, and no event
//! without one. One seed, one run.
//!
//! `GODWIT_SEED=7 cargo test --lib event_chaos` repeats one; `GODWIT_SEEDS=100` tries more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::events::watched;
use super::world::*;
use super::writes::pending;
use crate::types::bucket::BucketConfig;
use crate::types::stamp::Stamp;

const CODES: [&str; 3] = ["fra", "iad", "nrt"];

type Ledger = Arc<Mutex<BTreeMap<String, Stamp>>>;

async fn step(world: &mut World, rng: &mut StdRng, n: usize, to: (&Arc<BucketConfig>, &Ledger)) {
    let code = CODES[rng.random_range(0..CODES.len())];
    let other = CODES[rng.random_range(0..CODES.len())];
    match rng.random_range(0..12) {
        0 if world.is_up(code) => world.kill(code),
        1 | 2 if !world.is_up(code) => world.boot(code).await,
        3 if code != other => world.net.cut(code, other),
        4 => world.net.heal(),
        _ if world.is_up(code) => {
            let len = [100, 5000, 100_000, 1 << 20][rng.random_range(0..4)];
            let (cluster, config, ledger) = (world.at(code), to.0.clone(), to.1.clone());
            // A key is written once, so that its event has one stamp.
            world.run_on(code, async move {
                let name = format!("a{n}");
                if let Ok(written) = put(&cluster, &config, &name, &vec![7; len]).await {
                    ledger.lock().unwrap().insert(name, written.stamp);
                }
            });
        }
        _ => {}
    }
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..400))).await;
}

/// Key and stamp of every event that waits anywhere.
fn events(world: &World) -> BTreeSet<(String, Stamp)> {
    let mut found = BTreeSet::new();
    for code in CODES {
        let cluster = world.at(code);
        for (lane, _) in cluster.lanes().unwrap().1 {
            let waiting = cluster.oldest_events(&lane, 1000).unwrap();
            found.extend(
                waiting.into_iter().map(|one| (one.event.key.to_string(), one.event.stamp)),
            );
        }
    }
    found
}

fn objects(world: &World, config: &BucketConfig, steps: usize) -> BTreeSet<(String, Stamp)> {
    let object = |n: usize| {
        let name = format!("a{n}");
        let row = world.row("fra", config, &name)?;
        Some((name, row.current()?.stamp))
    };
    (0..steps).filter_map(object).collect()
}

/// How many events there were.
async fn run(seed: u64) -> usize {
    const STEPS: usize = 60;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(&CODES).await;
    let config = watched(&world, &CODES).await;
    let ledger = Ledger::default();
    for n in 0..STEPS {
        step(&mut world, &mut rng, n, (&config, &ledger)).await;
    }
    world.net.heal();
    for code in CODES {
        if !world.is_up(code) {
            world.boot(code).await;
        }
    }
    // Longer than a write may take, and than a change stays undecided.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let settled = |w: &World| CODES.iter().all(|code| pending(w, code) == 0);
    world.until("nothing is pending", settled).await;
    let same = |w: &World| {
        let here = |n| w.row("fra", &config, &format!("a{n}"));
        let equal = |code, n| w.row(code, &config, &format!("a{n}")) == here(n);
        (0..STEPS).all(|n| equal("iad", n) && equal("nrt", n))
    };
    world.until("it is the same everywhere", same).await;
    let (objects, events) = (objects(&world, &config, STEPS), events(&world));
    assert_eq!(events, objects, "seed {seed}");
    for answered in ledger.lock().unwrap().iter() {
        let told = (answered.0.clone(), *answered.1);
        assert!(events.contains(&told), "seed {seed}: {told:?} was answered");
    }
    events.len()
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(start_paused = true)]
async fn every_object_has_its_event_and_every_event_its_object_whatever_breaks() {
    let seeds = match number_of("GODWIT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_of("GODWIT_SEEDS").unwrap_or(8),
    };
    let mut events = 0;
    for seed in seeds.clone() {
        events += run(seed).await;
    }
    assert!(seeds.count() < 5 || events > 50, "only {events} events");
}
