//! Five real processes, each in a network namespace of its own, joined by a relay in this process that
//! delays, loses and cuts. It needs `unshare`, `nsenter` and `ip`, and root or user namespaces; where
//! there are none the tests say so and do not run (in CI they fail).
//!
//! `GODWIT_SEED=42 cargo test --test wan` chooses other faults and other requests. `just long soak` and
//! `just long latency` run the long ones.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests and their helpers")]
#![allow(dead_code, unreachable_pub, reason = "modules of a test program")]

#[path = "../common/client.rs"]
mod client;
mod latency;
#[path = "../common/linear.rs"]
mod linear;
mod names;
mod nemesis;
mod objects;
mod progress;
mod random;
mod registers;
mod relay;
mod site;
mod space;
mod storm;

use std::path::Path;
use std::time::{Duration, Instant};

use objects::Work;
use site::{REGIONS, Site, ask, eventually};
use storm::{Plan, make, storm};

fn number_of(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap())
}

/// Runs a test inside, on a runtime of its own; one at a time.
fn test(name: &str, body: impl AsyncFnOnce(&Path, u64)) {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let one = ONE.lock();
    let seed = number_of("GODWIT_SEED").unwrap_or(1);
    space::inside(name, |folder| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(body(folder, seed));
    });
    drop(one);
}

#[test]
fn five_regions_lose_nothing_and_name_each_bucket_once() {
    test("five_regions_lose_nothing_and_name_each_bucket_once", async |folder, seed| {
        let lens = &[100, 100, 3_000, 20_000, 100_000, 700_000];
        let pause = Duration::from_millis(20);
        let plan = Plan {
            time: Duration::from_secs(22),
            writers: 2,
            work: Work { lens, parts_every: 8, new_every: 4, pause },
            names_every: Duration::from_millis(500),
            lose: true,
        };
        let done = storm(folder, seed, plan).await;
        for fault in ["kills", "one-way cuts", "isolations", "pauses"] {
            assert!(done.counted(fault) > 0, "no {fault} in {}", done.told());
        }
    });
}

#[test]
#[ignore = "half an hour: just long soak"]
fn five_regions_lose_nothing_for_a_long_time() {
    test("five_regions_lose_nothing_for_a_long_time", async |folder, seed| {
        let minutes = number_of("GODWIT_SOAK_MINUTES").unwrap_or(21);
        // A twelfth of them large: what is written over is reclaimed, but not at once.
        let lens =
            &[100, 100, 100, 800, 3_000, 3_000, 5_000, 20_000, 20_000, 60_000, 100_000, 700_000];
        let pause = Duration::from_millis(120);
        let plan = Plan {
            time: Duration::from_secs(minutes * 60),
            writers: 2,
            work: Work { lens, parts_every: 6, new_every: 12, pause },
            names_every: Duration::from_secs(2),
            lose: false,
        };
        let done = storm(folder, seed, plan).await;
        assert!(done.now() > plan.time);
    });
}

#[test]
#[ignore = "prints a table: just long latency"]
fn what_operations_cost_in_round_trips_with_three_voters() {
    test("what_operations_cost_in_round_trips_with_three_voters", async |folder, _| {
        latency::table(folder, &REGIONS[..3]).await;
    });
}

#[test]
#[ignore = "prints a table: just long latency"]
fn what_operations_cost_in_round_trips_with_five_voters() {
    test("what_operations_cost_in_round_trips_with_five_voters", async |folder, _| {
        latency::table(folder, &REGIONS).await;
    });
}

#[test]
#[ignore = "prints figures: just long latency"]
fn new_keys_found_at_once_in_round_trips() {
    test("new_keys_found_at_once_in_round_trips", async |folder, _| {
        latency::found_at_once(folder, &REGIONS).await;
    });
}

#[test]
#[ignore = "prints figures: just long latency"]
fn a_counter_of_five_regions_makes_progress() {
    test("a_counter_of_five_regions_makes_progress", async |folder, _| {
        latency::counter(folder, &REGIONS, Duration::from_secs(60)).await;
    });
}

#[test]
fn the_relay_delays_and_cuts_what_the_nodes_say() {
    test("the_relay_delays_and_cuts_what_the_nodes_say", async |folder, seed| {
        let site = Site::start(folder, &REGIONS, seed).await;
        make(&site, "/first").await;
        let client = &site.clients[0];
        let began = Instant::now();
        client.put("/first/key", "hello").await.expect(200);
        let nearest = (1..REGIONS.len()).map(|b| site.relay.round_trip(0, b)).min().unwrap();
        let took = began.elapsed();
        assert!(took >= nearest, "{took:?}, but a second region's word takes {nearest:?}");
        site.relay.isolate(0);
        let alone = tokio::time::timeout(Duration::from_secs(3), client.put("/first/alone", ""));
        assert!(alone.await.is_err(), "no other region has heard of it");
        site.relay.heal();
        eventually("a write is answered again", 60, async || {
            (ask(client.call("PUT", "/first/again")).await?.status == 200).then_some(())
        })
        .await;
        site.stop();
    });
}
