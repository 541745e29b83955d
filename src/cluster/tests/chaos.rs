//! Random writes, reads, cuts and kills, and what must hold afterwards. One seed, one run.
//!
//! `GODWIT_SEED=7 cargo test --lib chaos` repeats one; `GODWIT_SEEDS=100` tries more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::world::*;
use super::writes::pending;
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::object::{Content, Row};
use crate::types::stamp::Stamp;

const CODES: [&str; 3] = ["fra", "iad", "nrt"];
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A write that was answered.
#[derive(Clone, Debug)]
struct Answered {
    key: &'static str,
    stamp: Stamp,
    /// `None`: a deletion.
    body: Option<Vec<u8>>,
}

type Ledger = Arc<Mutex<Vec<Answered>>>;

fn random_body(rng: &mut StdRng) -> Vec<u8> {
    let len = match rng.random_range(0..4) {
        0 => rng.random_range(1..4096),
        1 => rng.random_range(4097..65_536),
        2 => rng.random_range(65_537..400_000),
        _ => rng.random_range(1_000_000..2_500_000),
    };
    let first: u8 = rng.random();
    (0..len).map(|i: usize| u8::try_from(i % 241).unwrap() ^ first).collect()
}

/// One client at one node: what it is told goes into the ledger.
fn client(
    world: &World,
    code: &'static str,
    config: &Arc<BucketConfig>,
    ledger: &Ledger,
    seed: u64,
) {
    let (cluster, config, ledger) = (world.at(code), config.clone(), ledger.clone());
    let mut rng = StdRng::seed_from_u64(seed);
    let work = async move {
        let name = KEYS[rng.random_range(0..KEYS.len())];
        match rng.random_range(0..10) {
            0..6 => {
                let body = random_body(&mut rng);
                if let Ok(written) = put(&cluster, &config, name, &body).await {
                    seen_here(&cluster, &config, name, written.stamp);
                    let body = Some(body);
                    ledger.lock().unwrap().push(Answered { key: name, stamp: written.stamp, body });
                }
            }
            6 => {
                if let Ok(written) = delete(&cluster, &config, name).await {
                    seen_here(&cluster, &config, name, written.stamp);
                    let stamp = written.stamp;
                    ledger.lock().unwrap().push(Answered { key: name, stamp, body: None });
                }
            }
            _ => {
                if let Ok((bytes, _)) = get(&cluster, &config, name).await {
                    let whole = |at: usize| u8::try_from(at % 241).unwrap() ^ bytes[0];
                    assert!(bytes.iter().enumerate().all(|(at, b)| *b == whole(at)), "mixed bytes");
                }
            }
        }
    };
    world.run_on(code, work);
}

/// The region that took a write sees it at once.
fn seen_here(cluster: &crate::cluster::Cluster, config: &BucketConfig, name: &str, stamp: Stamp) {
    let row = cluster.store().read().unwrap().row(config.id, &key(name)).unwrap();
    assert!(
        row.is_some_and(|row| knows(&row, stamp)),
        "{name} {stamp:?} is not where it was taken"
    );
}

/// The version is there, or something that replaced it.
fn knows(row: &Row, stamp: Stamp) -> bool {
    row.versions.iter().any(|v| v.stamp == stamp || (v.stamp > stamp && v.replaces >= stamp))
}

async fn nemesis_step(world: &mut World, rng: &mut StdRng) {
    match rng.random_range(0..8) {
        0 | 1 => {
            let a = rng.random_range(0..CODES.len());
            let b = (a + rng.random_range(1..CODES.len())) % CODES.len();
            world.net.cut(CODES[a], CODES[b]);
        }
        2 | 3 => world.net.heal(),
        4 => {
            let code = CODES[rng.random_range(0..CODES.len())];
            if world.is_up(code) {
                world.kill(code);
            }
        }
        5 => {
            let a = rng.random_range(0..CODES.len());
            let b = (a + 1) % CODES.len();
            world.net.set_delay_ms(CODES[a], CODES[b], rng.random_range(1..300));
        }
        _ => {
            for code in CODES {
                if !world.is_up(code) {
                    world.boot(code).await;
                }
            }
        }
    }
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(&CODES).await;
    let config = bucket(Ack::Default);
    let ledger = Ledger::default();
    for _ in 0..rng.random_range(20..120) {
        for _ in 0..rng.random_range(0..4) {
            let code = CODES[rng.random_range(0..CODES.len())];
            if world.is_up(code) {
                client(&world, code, &config, &ledger, rng.random());
            }
        }
        if rng.random_range(0..4) == 0 {
            nemesis_step(&mut world, &mut rng).await;
        }
        let pause: u64 = rng.random_range(0..3000);
        tokio::time::sleep(Duration::from_millis(if pause < 2000 { pause / 20 } else { pause }))
            .await;
    }
    // One region may be lost for good: what was answered is elsewhere too.
    let lost = (rng.random_range(0..3) == 0).then(|| CODES[rng.random_range(0..CODES.len())]);
    world.net.heal();
    for code in CODES {
        if Some(code) == lost && world.is_up(code) {
            world.kill(code);
        }
        if Some(code) != lost && !world.is_up(code) {
            world.boot(code).await;
        }
    }
    let alive: Vec<&str> = CODES.into_iter().filter(|code| Some(*code) != lost).collect();
    check(&world, &alive, &config, &ledger, lost.is_some()).await;
}

async fn check(
    world: &World,
    alive: &[&str],
    config: &Arc<BucketConfig>,
    ledger: &Ledger,
    one_lost: bool,
) {
    tokio::time::sleep(Duration::from_secs(60)).await;
    let rows = |code: &str| KEYS.map(|name| world.row(code, config, name));
    world
        .until("all regions agree", |_| alive.windows(2).all(|two| rows(two[0]) == rows(two[1])))
        .await;
    if !one_lost {
        world.until("nothing is pending", |w| alive.iter().all(|code| pending(w, code) == 0)).await;
    }
    world.assert_sound();
    let answered = ledger.lock().unwrap().clone();
    let by_stamp: BTreeMap<Stamp, Answered> =
        answered.iter().map(|answered| (answered.stamp, answered.clone())).collect();
    assert_eq!(by_stamp.len(), answered.len(), "a stamp was made twice");
    for one in &answered {
        let row = world.row(alive[0], config, one.key);
        let known = row.as_ref().is_some_and(|row| knows(row, one.stamp));
        assert!(known, "answered and lost: {} {:?}, row {row:#?}", one.key, one.stamp);
    }
    for code in alive {
        for (name, row) in KEYS.into_iter().zip(rows(code)) {
            let Some(version) = row.as_ref().and_then(Row::current) else { continue };
            let told = by_stamp.get(&version.stamp);
            match &version.content {
                Content::Object(_) if told.is_some() || !one_lost => {
                    let read = get(&world.at(code), config, name).await;
                    let (bytes, _) = read.unwrap_or_else(|why| panic!("{code} {name}: {why}"));
                    if let Some(told) = told {
                        assert!(told.body.as_ref() == Some(&bytes), "{code} {name}: other bytes");
                    }
                }
                Content::Object(_) => {}
                Content::Marker | Content::Tombstone => {
                    assert!(told.is_none_or(|told| told.body.is_none()));
                }
            }
        }
    }
}

#[test]
fn whatever_fails_what_was_answered_is_kept_and_all_regions_agree() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("GODWIT_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("GODWIT_SEEDS").unwrap_or(5)).collect(),
    };
    for seed in seeds {
        println!("repeat with GODWIT_SEED={seed}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(seed));
    }
}
