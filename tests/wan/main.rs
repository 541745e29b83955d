//! Five real processes, each in a network namespace of its own, joined by a relay in this process that
//! delays, loses and cuts. It needs `unshare`, `nsenter` and `ip`, and root or user namespaces; where
//! there are none the tests say so and do not run (in CI they fail).
//!
//! `GODWIT_SEED=42 cargo test --test wan` chooses other faults and other requests.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests and their helpers")]
#![allow(dead_code, unreachable_pub, reason = "modules of a test program")]

#[path = "../common/client.rs"]
mod client;
mod names;
mod nemesis;
mod objects;
mod progress;
mod random;
mod relay;
mod site;
mod space;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use progress::Progress;
use site::{REGIONS, Site, ask, eventually};

/// What clients do, and for how long.
struct Plan {
    time: Duration,
    /// Clients of objects in each region.
    writers: usize,
    lens: &'static [usize],
    /// One in so many writes of the kind that can be one is an upload of parts.
    parts_every: usize,
    /// Between two races for a name.
    names_every: Duration,
}

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

async fn make(site: &Site, bucket: &str) {
    eventually("a bucket is made", 60, async || {
        let made = ask(site.clients[0].call("PUT", bucket)).await?;
        matches!(made.code(), (200, _) | (409, "BucketAlreadyOwnedByYou")).then_some(())
    })
    .await;
    for client in &site.clients {
        eventually("the bucket is known everywhere", 60, async || {
            (ask(client.call("HEAD", bucket)).await?.status == 200).then_some(())
        })
        .await;
    }
}

/// Clients of all regions at once, faults meanwhile, then healing and the checks of everything.
async fn storm(folder: &Path, seed: u64, plan: Plan) -> Progress {
    let mut site = Site::start(folder, seed).await;
    make(&site, objects::BUCKET).await;
    let accounts = site.accounts().await;
    let progress = Arc::new(Progress::new());
    let mut writers = Vec::new();
    for (region, client) in site.clients.iter().enumerate() {
        for number in 0..plan.writers {
            let sizes = (plan.lens, plan.parts_every);
            let place = (region, number);
            let writer = objects::Writer::new(place, client.clone(), seed, sizes, progress.clone());
            writers.push(tokio::spawn(writer.run()));
        }
    }
    let names =
        tokio::spawn(names::run(accounts.clone(), seed, plan.names_every, progress.clone()));
    nemesis::run(&mut site, &progress, seed, plan.time).await;
    progress.end();
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap().objects);
    }
    let names = names.await.unwrap();
    let healed = Instant::now();
    names::agree(&accounts, &names, 120).await;
    let shown = objects::agree(&site.clients, &written, 180).await;
    eprintln!("all regions agree {:.1} s after the last answer", healed.elapsed().as_secs_f64());
    let (keys, listed) = (written.len(), shown.len());
    let read = objects::read_all(&site.clients, &written, &shown).await;
    site.stop();
    eprintln!("{}", progress.told());
    eprintln!(
        "{keys} keys, {listed} objects in every list, {read} reads back, {} names, lost 0",
        names.len()
    );
    Arc::into_inner(progress).expect("the clients have ended")
}

#[test]
fn five_regions_lose_nothing_and_name_each_bucket_once() {
    test("five_regions_lose_nothing_and_name_each_bucket_once", async |folder, seed| {
        let lens = &[100, 100, 3_000, 20_000, 100_000, 700_000];
        let time = Duration::from_secs(30);
        let names_every = Duration::from_millis(500);
        let plan = Plan { time, writers: 2, lens, parts_every: 8, names_every };
        let done = storm(folder, seed, plan).await;
        for fault in ["kills", "one-way cuts", "isolations", "pauses"] {
            assert!(done.counted(fault) > 0, "no {fault} in {}", done.told());
        }
    });
}

#[test]
fn the_relay_delays_and_cuts_what_the_nodes_say() {
    test("the_relay_delays_and_cuts_what_the_nodes_say", async |folder, seed| {
        let site = Site::start(folder, seed).await;
        make(&site, "/first").await;
        let client = &site.clients[0];
        let began = Instant::now();
        client.put("/first/key", "hello").await.expect(200);
        let nearest = (1..REGIONS.len()).map(|b| site.relay.round_trip(0, b)).min().unwrap();
        let took = began.elapsed();
        assert!(took >= nearest, "{took:?}, but a second region's word takes {nearest:?}");
        site.relay.isolate(0);
        let alone = client.put("/first/alone", "hello").await;
        assert_eq!(alone.code(), (503, "ServiceUnavailable"));
        site.relay.heal();
        eventually("a write is answered again", 60, async || {
            (ask(client.call("PUT", "/first/again")).await?.status == 200).then_some(())
        })
        .await;
        site.stop();
    });
}
