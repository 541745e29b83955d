//! Read leases: what they promise, what they cost, and what a dead holder costs.
//!
//! `GODWIT_SEED=7 cargo test --lib leases_under` repeats one run; `GODWIT_SEEDS=100` tries more.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep, timeout};

use super::world::*;
use crate::cluster::Cluster;
use crate::limits;
use crate::logic::register::tests::linear::{Answer, History, Op};
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::record::RecordId;

const THREE: [&str; 3] = ["fra", "iad", "nrt"];

/// Round trips of three regions, milliseconds.
const FRA_IAD: u128 = 80;
const FRA_NRT: u128 = 200;
const IAD_NRT: u128 = 160;

/// fra - iad 40 ms, fra - nrt 100 ms, iad - nrt 80 ms one way.
async fn three() -> World {
    let world = World::new(&THREE).await;
    world.net.set_delay_ms("fra", "iad", 40);
    world.net.set_delay_ms("fra", "nrt", 100);
    world.net.set_delay_ms("iad", "nrt", 80);
    world
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, u128) {
    let start = Instant::now();
    let outcome = Box::pin(work).await;
    (outcome, start.elapsed().as_millis())
}

fn id(config: &BucketConfig, name: &str) -> RecordId {
    RecordId::Row(config.id, key(name))
}

async fn read(cluster: &Cluster, config: &BucketConfig, name: &str) -> Option<String> {
    tag(cluster.row_leased(&id(config, name)).await.unwrap().as_ref())
}

/// Reads until this region holds a lease.
async fn lease(cluster: &Cluster, config: &BucketConfig, name: &str) {
    for _ in 0..2 * limits::LEASE_READS_MAX {
        if cluster.lease_left(&id(config, name)).is_some() {
            return;
        }
        read(cluster, config, name).await;
    }
    panic!("no lease");
}

/// A change of a key, from the version before to the next.
async fn swap(cluster: &Cluster, config: &Arc<BucketConfig>, name: &str, from: u32) {
    let (from, to) = (from.to_string(), (from + 1).to_string());
    let from = Some(from.as_str()).filter(|from| *from != "0");
    put_if(cluster, config, name, from, (&to, b"x")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_region_that_reads_a_key_often_reads_it_without_a_message() {
    let world = three().await;
    let config = bucket(Ack::Default);
    let (fra, nrt) = (world.at("fra"), world.at("nrt"));
    swap(&fra, &config, "k", 0).await;
    sleep(Duration::from_secs(1)).await;
    let first = timed(read(&nrt, &config, "k")).await;
    assert_eq!(first.0.as_deref(), Some("1"));
    assert!((IAD_NRT..IAD_NRT + 10).contains(&first.1), "{} ms", first.1);
    let second = timed(read(&nrt, &config, "k")).await;
    assert!(second.1 < IAD_NRT + 10, "a lease is asked for in the same round: {} ms", second.1);
    let calls = nrt.metrics().register_operations.get();
    for _ in 0..20 {
        let (seen, ms) = timed(read(&nrt, &config, "k")).await;
        assert_eq!((seen.as_deref(), ms), (Some("1"), 0));
    }
    assert_eq!(nrt.metrics().register_operations.get(), calls, "nobody was asked");
    // Read on, it is renewed in time; left alone, it ends.
    for _ in 0..200 {
        sleep(Duration::from_millis(100)).await;
        let (seen, ms) = timed(read(&nrt, &config, "k")).await;
        assert_eq!((seen.as_deref(), ms), (Some("1"), 0));
    }
    sleep(limits::LEASE_TERM).await;
    assert_eq!(nrt.lease_left(&id(&config, "k")), None);
    let before = nrt.metrics().register_operations.get();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(nrt.metrics().register_operations.get(), before, "no traffic without readers");
}

#[tokio::test(start_paused = true)]
async fn a_change_costs_the_way_to_the_holders_and_back() {
    let world = three().await;
    let config = bucket(Ack::Default);
    let (fra, iad, nrt) = (world.at("fra"), world.at("iad"), world.at("nrt"));
    swap(&fra, &config, "k", 0).await;
    let mut took = Vec::new();
    let holders: [&[&Cluster]; 5] = [&[], &[&nrt], &[&fra], &[&iad], &[&fra, &iad, &nrt]];
    for (version, holders) in (1..).zip(holders) {
        // The last voter has it, too.
        sleep(Duration::from_secs(1)).await;
        for cluster in holders {
            lease(cluster, &config, "k").await;
        }
        let retries = fra.metrics().register_retries.get();
        let (_, ms) = timed(swap(&fra, &config, "k", version)).await;
        took.push((ms, fra.metrics().register_retries.get() - retries));
        sleep(Duration::from_secs(1)).await;
        for cluster in [&fra, &iad, &nrt] {
            assert_eq!(read(cluster, &config, "k").await, Some((version + 1).to_string()));
        }
    }
    println!("(ms, rounds again) without a holder, nrt, fra, iad, all of them: {took:?}");
    // Where all of them hold one, the second voter hears by nrt, 20 ms later than fra.
    let expected = [FRA_IAD, FRA_NRT, FRA_IAD, FRA_IAD, FRA_NRT + 20];
    for ((ms, again), expected) in took.iter().zip(expected) {
        assert_eq!(*again, 0, "{took:?}");
        assert!((expected..expected + 10).contains(ms), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_died_delays_a_change_until_its_lease_ends_at_most() {
    let mut world = three().await;
    let config = bucket(Ack::Default);
    swap(&world.at("fra"), &config, "k", 0).await;
    lease(&world.at("nrt"), &config, "k").await;
    world.kill("nrt");
    let (_, ms) = timed(swap(&world.at("fra"), &config, "k", 1)).await;
    let term = limits::LEASE_TERM.as_millis();
    println!("a change beside a dead holder: {ms} ms");
    assert!(ms > FRA_IAD + 10, "nobody waited: {ms} ms");
    assert!(ms <= term + 2 * FRA_IAD, "{ms} ms");
    let (_, ms) = timed(swap(&world.at("fra"), &config, "k", 2)).await;
    assert!(ms < FRA_IAD + 10, "{ms} ms");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_was_cut_off_reads_nothing_old_when_a_change_was_answered() {
    let world = three().await;
    let config = bucket(Ack::Default);
    let (fra, nrt) = (world.at("fra"), world.at("nrt"));
    swap(&fra, &config, "k", 0).await;
    lease(&nrt, &config, "k").await;
    world.kill_links("nrt", &["fra", "iad"]);
    assert_eq!(read(&nrt, &config, "k").await.as_deref(), Some("1"), "nobody can change it yet");
    swap(&fra, &config, "k", 1).await;
    assert_eq!(nrt.lease_left(&id(&config, "k")), None);
    let seen = timeout(Duration::from_secs(30), nrt.row_leased(&id(&config, "k"))).await.unwrap();
    assert!(seen.is_err(), "{seen:?}");
    world.net.heal();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(read(&nrt, &config, "k").await.as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn voters_that_start_anew_wait_out_what_they_may_have_granted() {
    let mut world = three().await;
    let config = bucket(Ack::Default);
    swap(&world.at("fra"), &config, "k", 0).await;
    lease(&world.at("nrt"), &config, "k").await;
    let nrt = world.at("nrt");
    let left = nrt.lease_left(&id(&config, "k")).unwrap();
    // Both that can accept it without nrt have forgotten what they granted.
    for code in ["fra", "iad"] {
        world.kill(code);
    }
    for code in ["fra", "iad"] {
        world.boot(code).await;
    }
    let ends = Instant::now() + left;
    while world.at("fra").registers_waiting().is_some() {
        sleep(Duration::from_millis(1)).await;
    }
    world.kill_links("nrt", &["fra", "iad"]);
    swap(&world.at("fra"), &config, "k", 1).await;
    assert!(Instant::now() > ends, "the lease lasted still");
    // With no grant for a while a start costs nothing.
    world.net.heal();
    sleep(3 * limits::REGISTER_SILENCE).await;
    for code in ["fra", "iad"] {
        world.kill(code);
    }
    for code in ["fra", "iad"] {
        world.boot(code).await;
    }
    sleep(Duration::from_millis(500)).await;
    let (_, ms) = timed(swap(&world.at("fra"), &config, "k", 2)).await;
    // Its ballot is below what the voters promised before, so there is a round more.
    assert!(ms < 600, "{ms} ms");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_lost_voters_goes_on_when_leases_that_those_granted_are_over() {
    let mut world = World::new(&["ams", "fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    let (fra, nrt) = (world.at("fra"), world.at("nrt"));
    assert!(!nrt.members().is_voter(region("nrt")), "it can lose its voters");
    swap(&fra, &config, "k", 0).await;
    // The one that is left has granted nothing.
    world.net.cut("fra", "nrt");
    lease(&nrt, &config, "k").await;
    let ends = Instant::now() + nrt.lease_left(&id(&config, "k")).unwrap();
    for lost in ["ams", "iad"] {
        world.kill(lost);
    }
    world.net.heal();
    fra.recover(&["ams", "iad"].map(region)).await.unwrap();
    assert_eq!(fra.members().voters(), [region("fra")]);
    assert!(Instant::now() > ends, "the lease lasted still");
    swap(&fra, &config, "k", 1).await;
    assert_eq!(read(&nrt, &config, "k").await.as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_wall_clock_jumped_asks_the_voters() {
    let world = three().await;
    let config = bucket(Ack::Default);
    let nrt = world.at("nrt");
    swap(&world.at("fra"), &config, "k", 0).await;
    lease(&nrt, &config, "k").await;
    // As after a machine's sleep, in which its count of time stood still.
    world.skew("nrt", 60_000);
    assert_eq!(nrt.lease_left(&id(&config, "k")), None);
    let (seen, ms) = timed(read(&nrt, &config, "k")).await;
    assert_eq!(seen.as_deref(), Some("1"));
    assert!(ms >= IAD_NRT, "{ms} ms");
}

/// Keys of the storm, each with its history.
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

type Histories = Arc<[Mutex<History<u64>>; 4]>;

/// Clients in all regions read under leases and change keys, while links are cut, messages lost
/// and nodes killed; returns what they saw.
async fn storm(seed: u64) -> (usize, u64) {
    let mut world = three().await;
    world.net.lose(2, seed);
    let config = bucket(Ack::Default);
    let histories = Histories::default();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut numbers = 0_u64;
    let served = |world: &World| -> u64 {
        let up = THREE.iter().filter(|code| world.is_up(code));
        up.map(|code| world.at(code).metrics().lease_reads.get()).sum()
    };
    let (mut reads, mut down) = (0, None);
    for step in 0..300 {
        sleep(Duration::from_millis(rng.random_range(5..60))).await;
        match rng.random_range(0..60) {
            0 => {
                let one = THREE[rng.random_range(0..3)];
                let other = THREE[rng.random_range(0..3)];
                world.net.cut(one, other);
            }
            1..4 => world.net.heal(),
            4 if down.is_none() => {
                reads += served(&world);
                let code = THREE[rng.random_range(0..3)];
                world.kill(code);
                reads -= served(&world);
                down = Some((code, step + rng.random_range(1..40)));
            }
            5 => world.skew(THREE[rng.random_range(0..3)], rng.random_range(-200..200)),
            _ => {}
        }
        if let Some((code, at)) = down
            && step >= at
        {
            world.boot(code).await;
            down = None;
        }
        let code = THREE[rng.random_range(0..3)];
        if !world.is_up(code) {
            continue;
        }
        numbers += 1;
        let (cluster, histories, config) = (world.at(code), histories.clone(), config.clone());
        let (number, writes) = (numbers, rng.random_range(0..8) == 0);
        let at = rng.random_range(0..KEYS.len());
        world.run_on(code, async move {
            if writes {
                return change(&cluster, &histories[at], &config, (KEYS[at], number)).await;
            }
            for _ in 0..5 {
                look(&cluster, &histories[at], &config, KEYS[at]).await;
                sleep(Duration::from_millis(40)).await;
            }
        });
    }
    sleep(Duration::from_secs(15)).await;
    world.assert_sound();
    let mut definite = 0;
    for (key, history) in KEYS.iter().zip(&*histories) {
        let history = history.lock().unwrap();
        if let Err(fault) = history.check() {
            panic!("seed {seed}, key {key}: {fault:?}");
        }
        definite += history.definite();
    }
    (definite, reads + served(&world))
}

async fn look(
    cluster: &Cluster,
    history: &Mutex<History<u64>>,
    config: &Arc<BucketConfig>,
    name: &str,
) {
    let operation = history.lock().unwrap().begin(Op::Read);
    let told = match cluster.row_leased(&id(config, name)).await {
        Ok(row) => Answer::Saw(tag(row.as_ref()).map(|tag| tag.parse().unwrap())),
        Err(_) => Answer::Unknown,
    };
    history.lock().unwrap().end(operation, told);
}

/// From what this region has of it.
async fn change(
    cluster: &Cluster,
    history: &Mutex<History<u64>>,
    config: &Arc<BucketConfig>,
    (name, number): (&str, u64),
) {
    let row = cluster.store().read().unwrap().row(config.id, &key(name)).unwrap();
    let expected = tag(row.as_ref());
    let op = match &expected {
        Some(tag) => Op::PutIfMatch { expected: tag.parse().unwrap(), new: number },
        None => Op::PutIfAbsent(number),
    };
    let operation = history.lock().unwrap().begin(op);
    let new = number.to_string();
    let told = match put_if(cluster, config, name, expected.as_deref(), (&new, b"x")).await {
        Ok(_) => Answer::Done,
        Err(NotChanged::Refused) => Answer::Refused,
        Err(NotChanged::Contested | NotChanged::Unavailable(_)) => Answer::Unknown,
    };
    history.lock().unwrap().end(operation, told);
}

#[tokio::test(start_paused = true)]
async fn reads_of_leases_under_cuts_losses_and_kills_are_linearizable() {
    let env = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match env("GODWIT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..env("GODWIT_SEEDS").unwrap_or(10),
    };
    let (mut operations, mut under_lease) = (0, 0);
    for seed in seeds {
        let (definite, reads) = Box::pin(storm(seed)).await;
        operations += definite;
        under_lease += reads;
    }
    println!("{operations} operations answered, {under_lease} reads by leases");
    assert!(under_lease > 50, "hardly any lease: {under_lease}");
}
