//! Changes of a key that its register decides: what they promise, and what they cost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::world::*;
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::record::RecordId;

const FIVE: [&str; 5] = ["ams", "fra", "iad", "nrt", "syd"];
const THREE: [&str; 3] = ["fra", "iad", "nrt"];

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
    let outcome = work.await;
    (outcome, start.elapsed().as_millis())
}

async fn tag_at(
    world: &World,
    code: &str,
    config: &Arc<BucketConfig>,
    name: &str,
) -> Option<String> {
    let id = RecordId::Row(config.id, key(name));
    tag(world.at(code).row_linearizable(&id).await.unwrap().as_ref())
}

#[tokio::test(start_paused = true)]
async fn of_two_creators_anywhere_one_succeeds() {
    let world = three().await;
    let config = bucket(Ack::Default);
    for round in 0..20 {
        let name = format!("k{round}");
        let attempts = THREE.map(|code| {
            let (cluster, config, name) = (world.at(code), config.clone(), name.clone());
            async move { put_if(&cluster, &config, &name, None, (code, code.as_bytes())).await }
        });
        let outcomes = join_all(attempts).await;
        let made: Vec<&str> =
            THREE.into_iter().zip(&outcomes).filter(|(_, o)| o.is_ok()).map(|(c, _)| c).collect();
        assert!(made.len() <= 1, "{name}: {outcomes:?}");
        for code in THREE {
            let tag = tag_at(&world, code, &config, &name).await;
            assert!(made.is_empty() || tag.as_deref() == Some(made[0]), "{name}: {tag:?}");
        }
    }
}

/// Increments of one counter by all five regions in a minute: made, doubtful and unanswered ones.
async fn count_up(world: &World) -> Vec<(u64, u64, u64)> {
    let config = bucket(Ack::Default);
    let start = Instant::now();
    let clients = FIVE.map(|code| {
        let (cluster, config) = (world.at(code), config.clone());
        async move {
            let id = RecordId::Row(config.id, key("counter"));
            let (mut made, mut doubtful, mut starved) = (0_u64, 0_u64, 0_u64);
            while start.elapsed() < Duration::from_secs(60) {
                let Ok(row) = cluster.row_linearizable(&id).await else {
                    starved += 1;
                    continue;
                };
                let now = tag(row.as_ref());
                let next = now.as_ref().map_or(0, |n| n.parse::<u64>().unwrap()) + 1;
                let next = next.to_string();
                let change = (next.as_str(), next.as_bytes());
                match put_if(&cluster, &config, "counter", now.as_deref(), change).await {
                    Ok(_) => made += 1,
                    Err(NotChanged::Refused) => {}
                    Err(NotChanged::Contested) => doubtful += 1,
                    Err(NotChanged::Unavailable(_)) => starved += 1,
                }
            }
            (made, doubtful, starved)
        }
    });
    let clients = join_all(clients).await;
    let total: u64 = clients.iter().map(|(made, ..)| made).sum();
    let doubtful: u64 = clients.iter().map(|(_, doubtful, starved)| doubtful + starved).sum();
    let counted: u64 = tag_at(world, "fra", &config, "counter").await.unwrap().parse().unwrap();
    println!("(made, doubtful, starved) in 60 s: {clients:?}");
    assert!((total..=total + doubtful).contains(&counted), "{counted}: {clients:?}");
    assert!(total >= 60, "too slow: {clients:?}");
    clients
}

#[tokio::test(start_paused = true)]
async fn a_counter_from_five_regions_never_loses_an_increment_and_all_have_their_turns() {
    let world = World::new(&FIVE).await;
    let clients = count_up(&world).await;
    let total: u64 = clients.iter().map(|(made, ..)| made).sum();
    assert!(clients.iter().all(|(made, ..)| *made * 20 >= total), "one starves: {clients:?}");
}

#[tokio::test(start_paused = true)]
async fn a_counter_of_near_and_far_regions_never_loses_an_increment() {
    let world = World::new(&FIVE).await;
    for (a, b, ms) in [
        ("ams", "fra", 5),
        ("ams", "iad", 42),
        ("ams", "nrt", 115),
        ("ams", "syd", 130),
        ("fra", "iad", 45),
        ("fra", "nrt", 115),
        ("fra", "syd", 140),
        ("iad", "nrt", 75),
        ("iad", "syd", 100),
        ("nrt", "syd", 52),
    ] {
        world.net.set_delay_ms(a, b, ms);
    }
    count_up(&world).await;
}

#[tokio::test(start_paused = true)]
async fn conditional_puts_cost_two_round_trips_cold_and_one_warm() {
    let world = three().await;
    let config = bucket(Ack::Default);
    let (fra, iad) = (world.at("fra"), 80);
    for bytes in [&b"small"[..], &[7; 4096]] {
        let name = format!("k{}", bytes.len());
        let (plain, plain_ms) = timed(put(&fra, &config, "plain", bytes)).await;
        plain.unwrap();
        let (cold, cold_ms) =
            timed(Box::pin(put_if(&fra, &config, &name, None, ("1", bytes)))).await;
        cold.unwrap();
        let (warm, warm_ms) =
            timed(Box::pin(put_if(&fra, &config, &name, Some("1"), ("2", bytes)))).await;
        let written = warm.unwrap();
        assert_eq!(written.acked, ["fra", "iad"].map(region));
        assert!(plain_ms >= iad && plain_ms < iad + 10, "plain {plain_ms} ms");
        assert!(cold_ms >= 2 * iad && cold_ms < 2 * iad + 10, "cold {cold_ms} ms");
        assert!(warm_ms >= iad && warm_ms < iad + 10, "warm {warm_ms} ms");
    }
    // A plain write has no place in the order before a majority has accepted it.
    let (seen, first_ms) = timed(tag_at(&world, "fra", &config, "plain")).await;
    assert_eq!(seen.as_deref(), Some("0"));
    assert!(first_ms >= 3 * iad && first_ms < 3 * iad + 10, "after a plain write {first_ms} ms");
    let read = timed(tag_at(&world, "fra", &config, "k5")).await;
    assert_eq!(read.0.as_deref(), Some("2"));
    assert!(read.1 >= iad && read.1 < iad + 10, "read {} ms", read.1);
}

#[tokio::test(start_paused = true)]
async fn a_large_body_is_held_by_ack_regions_before_its_row_is_chosen() {
    let world = three().await;
    let config = bucket(Ack::Default);
    let bytes = vec![3; 3 << 20];
    let written = put_if(&world.at("iad"), &config, "big", None, ("1", &bytes)).await.unwrap();
    assert_eq!(written.acked.len(), 2);
    let row = world.row("iad", &config, "big").unwrap();
    let held: Vec<_> = row.current().unwrap().placement.held().collect();
    assert_eq!(held, written.acked);
    for code in THREE {
        world.until("the row is known", |w| w.row(code, &config, "big").is_some()).await;
        assert_eq!(get(&world.at(code), &config, "big").await.unwrap().0, bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_refused_change_are_let_go_everywhere() {
    let world = three().await;
    let config = bucket(Ack::Default);
    let fra = world.at("fra");
    put_if(&fra, &config, "k", None, ("1", b"small")).await.unwrap();
    let refused = put_if(&fra, &config, "k", Some("9"), ("2", &vec![5; 1 << 20])).await;
    assert_eq!(refused, Err(NotChanged::Refused));
    let quiet = |w: &World| {
        THREE.iter().all(|code| {
            let pending =
                w.at(code).store().read().unwrap().scan::<super::super::pending::PendingEntry>(
                    crate::store::Table::Pending,
                    &[],
                    None,
                    9,
                );
            pending.unwrap().is_empty()
        })
    };
    world.until("nothing is pending", quiet).await;
}

#[tokio::test(start_paused = true)]
async fn with_one_of_three_regions_gone_conditional_writes_go_on_at_once() {
    let mut world = three().await;
    let config = bucket(Ack::Default);
    put_if(&world.at("fra"), &config, "k", None, ("0", b"0")).await.unwrap();
    world.kill("iad");
    for n in 0..5 {
        let (before, made) = (n.to_string(), (n + 1).to_string());
        let fra = world.at("fra");
        let change = put_if(&fra, &config, "k", Some(&before), (&made, b"x"));
        let (changed, ms) = timed(Box::pin(change)).await;
        changed.unwrap();
        assert!(ms <= 2 * 200 + 20, "change {n}: {ms} ms");
    }
    world.kill("nrt");
    let alone = put_if(&world.at("fra"), &config, "k", Some("5"), ("6", b"x")).await;
    assert!(matches!(alone, Err(NotChanged::Unavailable(_))), "{alone:?}");
}

/// Its ballot is stale and was used; what came meanwhile says that nothing came of that.
#[tokio::test(start_paused = true)]
async fn who_changes_a_key_that_another_region_changed_meanwhile_is_refused_for_certain() {
    let world = three().await;
    let config = bucket(Ack::Default);
    let (fra, nrt) = (world.at("fra"), world.at("nrt"));
    let [small, large] = [&b"x"[..], &[7; 50_000]];
    for (name, bytes) in [("small", small), ("large", large)] {
        put_if(&fra, &config, name, None, ("1", bytes)).await.unwrap();
        put_if(&nrt, &config, name, Some("1"), ("2", bytes)).await.unwrap();
        let late = put_if(&fra, &config, name, Some("1"), ("3", bytes)).await;
        assert_eq!(late, Err(NotChanged::Refused), "{name}");
        assert_eq!(tag_at(&world, "iad", &config, name).await.as_deref(), Some("2"));
        let other = delete_if(&nrt, &config, name, "1").await;
        assert_eq!(other, Err(NotChanged::Refused), "{name}");
        put_if(&fra, &config, name, Some("2"), ("4", bytes)).await.unwrap();
    }
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_chosen_value_is_published_when_its_proposer_dies() {
    let mut world = three().await;
    let config = bucket(Ack::Default);
    let (fra, of) = (world.at("fra"), config.clone());
    world.run_on("fra", async move {
        let _ = put_if(&fra, &of, "k", None, ("1", b"body")).await;
    });
    // The offers have arrived, their answers have not.
    sleep(Duration::from_millis(80 + 60)).await;
    world.kill("fra");
    world
        .until("both know it", |w| {
            ["iad", "nrt"].iter().all(|code| tag(w.row(code, &config, "k").as_ref()).is_some())
        })
        .await;
    for code in ["iad", "nrt"] {
        assert_eq!(get(&world.at(code), &config, "k").await.unwrap().0, b"body");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_write_that_a_voter_knows_is_judged() {
    let world = three().await;
    let config = bucket(Ack::Default);
    put(&world.at("fra"), &config, "k", b"plain").await.unwrap();
    // The plain write is acknowledged by iad and on its way to nrt.
    let made = put_if(&world.at("nrt"), &config, "k", None, ("1", b"x")).await;
    assert_eq!(made, Err(NotChanged::Refused));
    assert_eq!(tag_at(&world, "nrt", &config, "k").await.as_deref(), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_still_judged_after_its_row_was_dropped() {
    let options = crate::cluster::ClusterOptions {
        tombstone_age: Duration::from_secs(60),
        sweep_interval: Duration::from_secs(5),
        ..Default::default()
    };
    let world = World::with(&THREE, options).await;
    let config = bucket(Ack::Default);
    put_if(&world.at("fra"), &config, "k", None, ("1", b"x")).await.unwrap();
    world.until("iad knows it", |w| w.row("iad", &config, "k").is_some()).await;
    delete(&world.at("iad"), &config, "k").await.unwrap();
    let gone = |w: &World| THREE.iter().all(|code| w.row(code, &config, "k").is_none());
    world.until("the tombstone is dropped", gone).await;
    // The ballot that fra was promised with its put is still good; its value is not.
    let changed = put_if(&world.at("fra"), &config, "k", Some("1"), ("2", b"y")).await;
    assert_eq!(changed, Err(NotChanged::Refused));
    assert_eq!(tag_at(&world, "nrt", &config, "k").await, None);
    put_if(&world.at("nrt"), &config, "k", None, ("3", b"z")).await.unwrap();
    assert_eq!(tag_at(&world, "fra", &config, "k").await.as_deref(), Some("3"));
    delete_if(&world.at("iad"), &config, "k", "3").await.unwrap();
    assert_eq!(tag_at(&world, "fra", &config, "k").await, None);
}
