//! Primaries that follow their readers, and the number of copies, on virtual time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::world::*;
use crate::cluster::ClusterOptions;
use crate::logic::placement::PlacementConfig;
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::name::BucketName;
use crate::types::object::Placement;
use crate::types::region::RegionId;

const THREE: [&str; 3] = ["fra", "iad", "nrt"];

/// Three nodes that place quickly, and a bucket that keeps so many copies.
async fn three(copies: u8) -> (World, Arc<BucketConfig>) {
    let mut world = World::new(&THREE).await;
    world.options = ClusterOptions {
        placement_interval: Duration::from_secs(1),
        primary_gone_after: Duration::from_secs(60),
        placement: PlacementConfig {
            stay_min: Duration::from_secs(5),
            hit_weight: 1.0,
            ..PlacementConfig::default()
        },
        ..ClusterOptions::default()
    };
    for code in THREE {
        world.kill(code);
        world.boot(code).await;
    }
    sleep(Duration::from_secs(1)).await;
    let config = BucketConfig { copies, ..(*bucket(Ack::Default)).clone() };
    let name = BucketName::parse("placed").unwrap();
    world.at("fra").create_bucket(&name, config.clone()).await.unwrap();
    (world, Arc::new(config))
}

const FOUR: [&str; 4] = ["fra", "iad", "nrt", "syd"];

/// Four nodes that place quickly, and a bucket that keeps so many copies.
async fn four(copies: u8) -> (World, Arc<BucketConfig>) {
    let options = ClusterOptions {
        placement_interval: Duration::from_secs(1),
        primary_gone_after: Duration::from_secs(60),
        ..ClusterOptions::default()
    };
    let world = World::with(&FOUR, options).await;
    let config = BucketConfig { copies, ..(*bucket(Ack::Default)).clone() };
    let name = BucketName::parse("placed").unwrap();
    world.at("fra").create_bucket(&name, config.clone()).await.unwrap();
    (world, Arc::new(config))
}

/// What the order of the holders of `k` is computed from.
fn name_of(world: &World, config: &BucketConfig) -> Vec<u8> {
    let row = world.row("fra", config, "k").unwrap();
    let object = (config.id, key("k"));
    crate::cluster::migrate::copies_name(&object, row.current().unwrap())
}

fn placement(world: &World, code: &str, config: &BucketConfig) -> Placement {
    let row = world.row(code, config, "k").unwrap_or_default();
    row.current().map(|version| version.placement.clone()).unwrap_or_default()
}

fn primary(world: &World, code: &str, config: &BucketConfig) -> Option<RegionId> {
    placement(world, code, config).primary.map(|primary| primary.region)
}

fn holders(world: &World, code: &str, config: &BucketConfig) -> BTreeSet<RegionId> {
    placement(world, code, config).held().collect()
}

/// Who really has the bytes.
fn having(world: &World, config: &BucketConfig) -> usize {
    let blob = world.row("fra", config, "k").unwrap();
    let (_, meta) = blob.object().unwrap();
    let blob = meta.parts[0].blob;
    THREE.iter().filter(|code| world.at(code).store().holds(&blob.id).unwrap()).count()
}

async fn read_until_primary(world: &World, config: &Arc<BucketConfig>, code: &str, bytes: &[u8]) {
    for _ in 0..60 {
        let (read, _) = get(&world.at(code), config, "k").await.unwrap();
        assert!(read == bytes, "bytes of something else");
        if primary(world, "fra", config) == Some(region(code)) {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
    let where_ = world.at("fra").whereabouts(config, &key("k")).await.unwrap();
    panic!("the primary never came to {code}: {where_:?}");
}

#[tokio::test(start_paused = true)]
async fn a_primary_moves_to_its_readers_and_comes_back() {
    let (world, config) = three(2).await;
    let bytes = vec![9; 300_000];
    put(&world.at("fra"), &config, "k", &bytes).await.unwrap();
    world.until("spread", |w| w.row("nrt", &config, "k").is_some()).await;
    let first = holders(&world, "fra", &config);
    assert_eq!((first.len(), primary(&world, "fra", &config)), (2, Some(region("fra"))));
    let reader = THREE.into_iter().find(|code| !first.contains(&region(code))).unwrap();

    read_until_primary(&world, &config, reader, &bytes).await;
    world.until("one copy too many goes", |w| having(w, &config) == 2).await;
    world
        .until("all agree", |w| {
            THREE.iter().all(|code| placement(w, code, &config) == placement(w, "fra", &config))
        })
        .await;
    let found = world.at("iad").whereabouts(&config, &key("k")).await.unwrap().unwrap();
    assert_eq!(found.primary.unwrap().region, region(reader));
    assert_eq!(found.holders.len(), 2);
    assert_eq!(found.moves.len(), 1);
    assert!(found.moves[0].reason.contains("nearer to its readers"), "{:?}", found.moves);
    assert!(found.heat.iter().any(|(region, _)| region.to_string() == reader), "{found:?}");

    read_until_primary(&world, &config, "fra", &bytes).await;
    world.until("one copy too many goes", |w| having(w, &config) == 2).await;
    for code in THREE {
        assert_eq!(get(&world.at(code), &config, "k").await.unwrap().0, bytes);
    }
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn copies_reach_the_promise_soon_after_the_write() {
    let (world, config) = three(3).await;
    put(&world.at("fra"), &config, "k", &vec![9; 2_500_000]).await.unwrap();
    world.until("three copies", |w| having(w, &config) == 3).await;
    world.until("and the row says so", |w| holders(w, "iad", &config).len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_anywhere_in_a_move_leaves_the_promised_copies() {
    for step_ms in (0..6000).step_by(500) {
        for victim in THREE {
            let (mut world, config) = three(2).await;
            let bytes = vec![9; 300_000];
            put(&world.at("fra"), &config, "k", &bytes).await.unwrap();
            world.until("spread", |w| w.row("nrt", &config, "k").is_some()).await;
            let first = holders(&world, "fra", &config);
            let reader = THREE.into_iter().find(|c| !first.contains(&region(c))).unwrap();
            for _ in 0..8 {
                get(&world.at(reader), &config, "k").await.unwrap();
            }
            sleep(Duration::from_millis(step_ms)).await;
            world.kill(victim);
            sleep(Duration::from_secs(1)).await;
            world.boot(victim).await;
            assert!(having(&world, &config) >= 2, "{victim} at {step_ms} ms");
            sleep(Duration::from_secs(10)).await;
            assert!(having(&world, &config) >= 2, "{victim} at {step_ms} ms, later");
            for code in THREE {
                assert_eq!(get(&world.at(code), &config, "k").await.unwrap().0, bytes);
            }
            world.assert_sound();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_gone_for_long_is_replaced() {
    let (mut world, config) = three(3).await;
    put(&world.at("iad"), &config, "k", &vec![9; 100_000]).await.unwrap();
    world.until("three copies", |w| holders(w, "fra", &config).len() == 3).await;
    world.kill("iad");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(primary(&world, "fra", &config), Some(region("iad")));
    world
        .until("another takes over", |w| {
            primary(w, "fra", &config).is_some_and(|region_| region_ != region("iad"))
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_came_to_a_holder_stays_its_minimum_time() {
    let (world, config) = three(3).await;
    put(&world.at("fra"), &config, "k", &vec![9; 300_000]).await.unwrap();
    world.until("three copies", |w| holders(w, "fra", &config).len() == 3).await;
    read_until_primary(&world, &config, "nrt", &vec![9; 300_000]).await;
    world.until("nrt knows", |w| primary(w, "nrt", &config) == Some(region("nrt"))).await;
    for _ in 0..40 {
        get(&world.at("fra"), &config, "k").await.unwrap();
    }
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(primary(&world, "nrt", &config), Some(region("nrt")));
    let found = world.at("nrt").whereabouts(&config, &key("k")).await.unwrap().unwrap();
    let verdict = found.verdict.unwrap();
    assert!(verdict.contains("it came here less than"), "{verdict}");
    read_until_primary(&world, &config, "fra", &vec![9; 300_000]).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_moves_while_a_region_is_away_for_a_short_time() {
    let (mut world, config) = three(2).await;
    let bytes = vec![9; 300_000];
    put(&world.at("fra"), &config, "k", &bytes).await.unwrap();
    world.until("spread", |w| w.row("nrt", &config, "k").is_some()).await;
    let first = holders(&world, "fra", &config);
    let reader = THREE.into_iter().find(|code| !first.contains(&region(code))).unwrap();
    let other = THREE.into_iter().find(|code| *code != "fra" && *code != reader).unwrap();
    world.kill(other);
    for _ in 0..20 {
        get(&world.at(reader), &config, "k").await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(primary(&world, "fra", &config), Some(region("fra")));
    let found = world.at("fra").whereabouts(&config, &key("k")).await.unwrap().unwrap();
    let verdict = found.verdict.unwrap();
    assert!(verdict.contains("moves are frozen") && verdict.contains(other), "{verdict}");
    world.boot(other).await;
    read_until_primary(&world, &config, reader, &bytes).await;
}

#[tokio::test(start_paused = true)]
async fn copies_are_made_again_in_bulk_when_a_region_is_gone() {
    let (mut world, config) = four(3).await;
    let count = 60_u64;
    for n in 0..count {
        put(&world.at("fra"), &config, &format!("k{n}"), &[7; 9_000]).await.unwrap();
    }
    let held = |w: &World, n: u64, gone: Option<&str>| {
        let row = w.row("fra", &config, &format!("k{n}")).unwrap_or_default();
        let version = row.current().cloned().unwrap();
        version.placement.held().filter(|r| gone.map(region) != Some(*r)).count()
    };
    world.until("three copies each", |w| (0..count).all(|n| held(w, n, None) >= 3)).await;
    let follower = {
        let row = world.row("fra", &config, "k0").unwrap();
        let mut holders = row.current().unwrap().placement.held();
        holders.find(|r| *r != region("fra")).unwrap().to_string()
    };
    world.kill(&follower);
    let before = world.now();
    let below = |w: &World| w.at("fra").repair_status().below;
    world.until("it is counted", |w| below(w) > 0).await;
    world.until("restored", |w| (0..count).all(|n| held(w, n, Some(&follower)) >= 3)).await;
    let took = world.now() - before;
    assert!(took > Duration::from_secs(60) && took < Duration::from_secs(120), "{took:?}");
    world.until("and nothing is counted", |w| below(w) == 0).await;
    let status = world.at("fra").repair_status();
    assert!(status.why.contains(&follower) && status.finished_ms.is_some(), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_region_that_declines_is_left_out_and_the_next_one_makes_the_copy() {
    let (world, config) = four(3).await;
    let only_two = BucketConfig { copies: 2, ..(*config).clone() };
    put(&world.at("fra"), &Arc::new(only_two), "k", &[7; 9_000]).await.unwrap();
    let first: BTreeSet<RegionId> = holders(&world, "fra", &config);
    // The region that comes next has no room.
    let free: Vec<RegionId> = FOUR.map(region).into_iter().filter(|r| !first.contains(r)).collect();
    let next = crate::logic::copies::rendezvous(&name_of(&world, &config), free.clone())[0];
    world.fill_disk(&next.to_string()).await;
    let other = free.into_iter().find(|r| *r != next).unwrap();
    let holds = |w: &World| holders(w, "fra", &config).contains(&other);
    world.until("the other one holds it", holds).await;
    assert!(!holders(&world, "fra", &config).contains(&next));
}
