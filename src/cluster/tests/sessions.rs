//! Clients that go from region to region with what they know: they read what they wrote, and what
//! they have read does not go back.
//!
//! `GODWIT_SEED=7 cargo test --lib sessions::` repeats one; `GODWIT_SEEDS=100` tries more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use super::world::*;
use crate::cluster::Cluster;
use crate::limits;
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::position::{Positions, raise};
use crate::types::stamp::Stamp;

const CODES: [&str; 4] = ["fra", "iad", "nrt", "syd"];
const KEYS: usize = 5;

/// The stamp that this region's index has of a key.
fn stamp_here(cluster: &Cluster, config: &BucketConfig, name: &str) -> Stamp {
    let row = cluster.store().read().unwrap().row(config.id, &key(name)).unwrap();
    row.map_or(Stamp::ZERO, |row| row.stamp())
}

#[tokio::test(start_paused = true)]
async fn a_region_waits_for_what_a_client_knows_and_no_longer() {
    let world = World::new(&CODES).await;
    for other in ["fra", "iad"] {
        world.net.set_delay_ms("nrt", other, 100);
    }
    let config = bucket(Ack::Default);
    put(&world.at("fra"), &config, "k", b"x").await.unwrap();
    let (known, nrt) = (world.at("fra").known_positions().unwrap(), world.at("nrt"));
    assert_eq!(stamp_here(&nrt, &config, "k"), Stamp::ZERO);
    let start = Instant::now();
    nrt.reach(&known, limits::TOKEN_WAIT).await.unwrap();
    assert!(stamp_here(&nrt, &config, "k") > Stamp::ZERO);
    let ms = start.elapsed().as_millis();
    assert!(ms <= 100, "one way takes 100 ms, and it was written before: {ms} ms");
    // Known to all: no wait.
    let start = Instant::now();
    nrt.reach(&known, limits::TOKEN_WAIT).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_come_by_itself_is_fetched_from_a_third_region() {
    let world = World::new(&CODES).await;
    world.net.cut("fra", "nrt");
    let config = bucket(Ack::Default);
    put(&world.at("fra"), &config, "k", b"x").await.unwrap();
    let known = world.at("fra").known_positions().unwrap();
    sleep(Duration::from_millis(100)).await;
    world.at("nrt").reach(&known, limits::TOKEN_WAIT).await.unwrap();
    assert!(stamp_here(&world.at("nrt"), &config, "k") > Stamp::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_known_in_time_is_refused() {
    let world = World::new(&CODES).await;
    let config = bucket(Ack::Default);
    world.kill_links("nrt", &["fra", "iad", "syd"]);
    put(&world.at("fra"), &config, "k", b"x").await.unwrap();
    let known = world.at("fra").known_positions().unwrap();
    let start = Instant::now();
    let why = world.at("nrt").reach(&known, limits::TOKEN_WAIT).await.unwrap_err();
    assert!(why.reason.contains("fra"), "{why}");
    assert_eq!(start.elapsed(), limits::TOKEN_WAIT);
}

#[derive(Default)]
struct Counts {
    writes: AtomicUsize,
    reads: AtomicUsize,
    refused: AtomicUsize,
}

/// One client: each step in a random region, with its token.
async fn session(
    world: Arc<Mutex<World>>,
    config: Arc<BucketConfig>,
    mut rng: StdRng,
    counts: Arc<Counts>,
) {
    let (mut token, mut seen) = (Positions::new(), BTreeMap::<String, Stamp>::new());
    for _ in 0..60 {
        let code = CODES[rng.random_range(0..CODES.len())];
        let cluster = world.lock().unwrap().at(code);
        let name = format!("k{}", rng.random_range(0..KEYS));
        let write = rng.random_bool(0.4);
        sleep(Duration::from_millis(rng.random_range(0..120))).await;
        // The token as a client sends it, through its text.
        let text = crate::logic::token::encode(&token);
        let handed = crate::logic::token::parse(&text).unwrap();
        if cluster.reach(&handed, limits::TOKEN_WAIT).await.is_err() {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if write {
            let body = [rng.random::<u8>(); 64];
            let Ok(written) = put(&cluster, &config, &name, &body).await else { continue };
            assert!(Some(&written.stamp) > seen.get(&name), "{code}, {name}: below what was seen");
            seen.insert(name, written.stamp);
            counts.writes.fetch_add(1, Ordering::Relaxed);
        } else {
            // A read of one key asks others where it knows nothing; a list does not.
            if rng.random_bool(0.5) && cluster.row(&config, &key(&name)).await.is_err() {
                continue;
            }
            for index in 0..KEYS {
                let name = format!("k{index}");
                let stamp = stamp_here(&cluster, &config, &name);
                let before = seen.get(&name).copied().unwrap_or(Stamp::ZERO);
                assert!(stamp >= before, "{code}, {name}: {stamp} after {before}");
                seen.insert(name, stamp);
            }
            counts.reads.fetch_add(1, Ordering::Relaxed);
        }
        raise(&mut token, &cluster.known_positions().unwrap());
    }
}

async fn run(seed: u64, counts: &Arc<Counts>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new(&CODES).await;
    world.net.lose(2, seed);
    for (at, one) in CODES.iter().enumerate() {
        for other in &CODES[at + 1..] {
            world.net.set_delay_ms(one, other, rng.random_range(1..150));
        }
    }
    let config = bucket(Ack::Default);
    let net = world.net.clone();
    let world = Arc::new(Mutex::new(world));
    let clients = (0..6).map(|_| {
        let rng = StdRng::seed_from_u64(rng.random());
        session(world.clone(), config.clone(), rng, counts.clone())
    });
    let mut breaker = StdRng::seed_from_u64(seed ^ 0x5eed);
    let breaking = async {
        loop {
            sleep(Duration::from_millis(breaker.random_range(0..1500))).await;
            let two = [breaker.random_range(0..CODES.len()), breaker.random_range(0..CODES.len())];
            match breaker.random_bool(0.5) {
                true => net.cut(CODES[two[0]], CODES[two[1]]),
                false => net.heal(),
            }
        }
    };
    tokio::select! {
        _ = futures_util::future::join_all(clients) => {}
        () = breaking => {}
    }
    world.lock().unwrap().assert_sound();
}

#[tokio::test(start_paused = true)]
async fn clients_with_tokens_read_what_they_wrote_and_never_go_back() {
    let number = |variable: &str| std::env::var(variable).ok()?.parse::<u64>().ok();
    let seeds = match number("GODWIT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GODWIT_SEEDS").unwrap_or(8),
    };
    let counts = Arc::new(Counts::default());
    for seed in seeds.clone() {
        Box::pin(run(seed, &counts)).await;
    }
    let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    let (writes, reads, refused) = (of(&counts.writes), of(&counts.reads), of(&counts.refused));
    println!("{writes} writes, {reads} reads, {refused} refused");
    assert!(writes > 30 * seeds.clone().count() && reads > 60 * seeds.count());
}
