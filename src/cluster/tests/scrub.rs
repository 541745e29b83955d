//! Decay of disks: found, never served, mended from another region.

use std::sync::Arc;
use std::time::Duration;

use super::decay::flip;
use super::world::*;
use crate::cluster::{ClusterOptions, ReadError, ScrubPhase, Source};
use crate::limits;
use crate::store;
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::name::BucketName;
use crate::types::record::RecordId;

/// Bytes that are nowhere twice.
fn body(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut out);
    out
}

/// Riding, in the change's frame, in a frame of its own, a file, a file of several chunks.
const SIZES: [usize; 5] = [2_000, 40_000, 200_000, 700_000, 2_500_000];

const BUCKET_NAME: &str = "birds";

/// The bucket by its name, so that damage can be told by it.
async fn create(world: &World, config: &Arc<BucketConfig>) {
    let name = BucketName::parse(BUCKET_NAME).unwrap();
    world.at("fra").create_bucket(&name, (**config).clone()).await.unwrap();
}

fn holds(world: &World, code: &str, config: &BucketConfig, name: &str) -> bool {
    let row = world.row(code, config, name).unwrap();
    let parts = &row.object().unwrap().1.parts;
    let snapshot = world.at(code).store().read().unwrap();
    parts.iter().all(|part| snapshot.holds(&part.blob.id).unwrap())
}

/// Objects of every size, which fra and another region hold, and that decay in fra.
async fn decayed(world: &World, config: &Arc<BucketConfig>) -> Vec<(String, Vec<u8>)> {
    let mut objects = Vec::new();
    for (n, len) in (0_u64..).zip(SIZES) {
        let (name, bytes) = (format!("k{n}"), body(n, len));
        put(&world.at("fra"), config, &name, &bytes).await.unwrap();
        objects.push((name, bytes));
    }
    for code in ["iad", "nrt"] {
        world.until("the rows are there", |w| w.row(code, config, "k4").is_some()).await;
    }
    for (_, bytes) in &objects {
        assert!(world.decay("fra", &bytes[bytes.len() - 64..]) > 0, "nothing decayed");
    }
    objects
}

#[tokio::test(start_paused = true)]
async fn scrub_finds_decay_and_mends_it_from_another_region() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    let objects = decayed(&world, &config).await;
    world.at("fra").start_scrub().await.unwrap();
    let mended = |w: &World| w.at("fra").metrics().damage_mended.get();
    world.until("all is mended", |w| mended(w) == SIZES.len() as u64).await;
    let resting = |w: &World| w.at("fra").scrub_status().phase == ScrubPhase::Resting;
    world.until("the pass ends", resting).await;
    let status = world.at("fra").scrub_status();
    // The frames that have them are found as well.
    assert!(status.progress.found >= SIZES.len() as u64, "{status:?}");
    assert_eq!(status.progress.blobs, SIZES.len() as u64);
    assert!(status.finished_ms.is_some() && !status.hurried);
    assert_eq!(world.at("fra").damaged().unwrap(), (Vec::new(), 0));
    world.kill_links("fra", &["iad", "nrt"]);
    for (name, bytes) in &objects {
        assert!(holds(&world, "fra", &config, name), "{name}");
        assert_eq!(get(&world.at("fra"), &config, name).await.unwrap().0, *bytes, "{name}");
    }
    world.at("fra").start_scrub().await.unwrap();
    world.until("a second pass begins", |w| !resting(w)).await;
    world.until("and ends", resting).await;
    let again = world.at("fra").scrub_status().progress;
    assert_eq!((again.blobs, again.errors), (SIZES.len() as u64, 0));
}

#[tokio::test(start_paused = true)]
async fn decay_is_never_served_and_a_read_gets_the_bytes_elsewhere() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    let objects = decayed(&world, &config).await;
    for (name, bytes) in &objects {
        assert_eq!(get(&world.at("fra"), &config, name).await.unwrap().0, *bytes, "{name}");
    }
    // What a reader found is mended without a scrub.
    let whole = |w: &World| objects.iter().all(|(name, _)| holds(w, "fra", &config, name));
    world.until("it is mended", whole).await;
}

#[tokio::test(start_paused = true)]
async fn what_no_region_has_is_told_by_name_and_comes_back_with_the_region_that_has_it() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    create(&world, &config).await;
    let objects = decayed(&world, &config).await;
    world.kill_links("fra", &["iad", "nrt"]);
    world.at("fra").start_scrub().await.unwrap();
    for (name, bytes) in &objects {
        match get(&world.at("fra"), &config, name).await {
            // From memory, where it had been checked.
            Ok((read, source)) => assert_eq!((read, source), (bytes.clone(), Source::Memory)),
            Err(refused) => assert!(matches!(refused, ReadError::Unavailable(_)), "{refused}"),
        }
    }
    let told = |w: &World| {
        let (named, count) = w.at("fra").damaged().unwrap();
        count == SIZES.len() - 1 && named.iter().all(|damaged| damaged.why.contains("away"))
    };
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(told(&world), "{:?}", world.at("fra").damaged());
    // The smallest one is still in memory, and was mended from there.
    let (named, _) = world.at("fra").damaged().unwrap();
    for (name, bytes) in &objects[1..] {
        let damaged = named.iter().find(|d| d.key == Some(key(name))).expect("told by its key");
        assert_eq!(damaged.bucket.as_ref().unwrap().as_str(), BUCKET_NAME);
        assert_eq!(damaged.bytes, bytes.len() as u64);
        assert!(!damaged.lost, "another region may have it");
        assert!(world.row("fra", &config, name).is_some(), "the row stays");
    }
    world.net.heal();
    tokio::time::sleep(limits::MEND_RETRY).await;
    let whole = |w: &World| objects.iter().all(|(name, _)| holds(w, "fra", &config, name));
    world.until("it is mended", whole).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_everywhere_is_told_as_lost_and_its_row_stays() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    create(&world, &config).await;
    let bytes = body(9, 700_000);
    put(&world.at("fra"), &config, "k", &bytes).await.unwrap();
    for code in ["iad", "nrt"] {
        world.until("the row is there", |w| w.row(code, &config, "k").is_some()).await;
    }
    let places: usize =
        ["fra", "iad", "nrt"].into_iter().map(|code| world.decay(code, &bytes[..64])).sum();
    assert!(places >= 2, "{places}");
    world.at("fra").start_scrub().await.unwrap();
    let lost = |w: &World| w.at("fra").damaged().unwrap().0.iter().any(|damaged| damaged.lost);
    world.until("it is told", lost).await;
    let refused = get(&world.at("nrt"), &config, "k").await.unwrap_err();
    assert!(matches!(refused, ReadError::Gone | ReadError::Unavailable(_)), "{refused}");
    assert!(world.row("fra", &config, "k").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_pass_keeps_to_its_budget_stops_and_goes_on_after_a_restart() {
    let options = ClusterOptions { scrub_rate: 1 << 20, ..ClusterOptions::default() };
    let mut world = World::with(&["fra", "iad"], options).await;
    let config = bucket(Ack::Count(1));
    for n in 0..20_u64 {
        put(&world.at("fra"), &config, &format!("k{n}"), &body(n, 1 << 20)).await.unwrap();
    }
    let began = world.now();
    world.at("fra").start_scrub().await.unwrap();
    let blobs = |w: &World| w.at("fra").scrub_status().progress.blobs;
    world.until("half is read", |w| blobs(w) == 10).await;
    let took = world.now() - began;
    assert!(took >= Duration::from_secs(8) && took < Duration::from_secs(13), "{took:?}");
    world.at("fra").stop_scrub().await.unwrap();
    let before = blobs(&world);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(blobs(&world) <= before + 1 && world.at("fra").scrub_status().stopped);
    world.kill("fra");
    world.boot("fra").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.at("fra").scrub_status().stopped, "over a restart too");
    world.at("fra").start_scrub().await.unwrap();
    world.until("the pass ends", |w| w.at("fra").scrub_status().finished_ms.is_some()).await;
    let progress = world.at("fra").scrub_status().progress;
    assert!((20..=21).contains(&progress.blobs), "what was read is not read again: {progress:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pass_begins_by_itself_when_it_is_due_and_spreads_over_its_interval() {
    // As 20 days, in an hour; what the limits say of it is asserted where they stand.
    let every = Duration::from_secs(3600);
    let options = ClusterOptions { scrub_every: every, ..ClusterOptions::default() };
    let world = World::with(&["fra", "iad"], options).await;
    let config = bucket(Ack::Count(1));
    for n in 0..4_u64 {
        put(&world.at("fra"), &config, &format!("k{n}"), &body(n, 3 << 20)).await.unwrap();
    }
    tokio::time::sleep(every / 2).await;
    assert_eq!(world.at("fra").scrub_status().progress.blobs, 0, "not yet");
    tokio::time::sleep(every / 2 + limits::SCRUB_LOOK_INTERVAL * 2).await;
    let part = world.at("fra").scrub_status().progress.blobs;
    assert!((1..4).contains(&part), "{part} of 4 after a little of its time");
    tokio::time::sleep(every / 4).await;
    let status = world.at("fra").scrub_status();
    assert!(status.finished_ms.is_some() && status.progress.blobs == 4, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_decays_in_the_index_is_refused_and_replaced_by_another_regions() {
    for place in 0..4 {
        let mut world = World::new(&["fra", "iad", "nrt"]).await;
        let config = bucket(Ack::Default);
        for n in 0..30_u64 {
            put(&world.at("fra"), &config, &format!("k{n}"), &body(n, 300)).await.unwrap();
        }
        let name = "a-key-to-find";
        put(&world.at("fra"), &config, name, &body(99, 300)).await.unwrap();
        world.until("iad has it", |w| w.row("iad", &config, name).is_some()).await;
        world.at("fra").store().close().await.unwrap();
        let sound = world.row("iad", &config, name).unwrap();
        world.kill("fra");
        let found = flip(&world, "fra", name.as_bytes(), Some(place));
        world.boot("fra").await;
        match world.at("fra").store().read().unwrap().row(config.id, &key(name)) {
            Ok(row) => assert_eq!(row, Some(sound.clone()), "place {place} of {found}"),
            Err(why) => assert!(why.to_string().contains("damaged"), "{why}"),
        }
        world.at("fra").start_scrub().await.unwrap();
        let rested = |w: &World| w.at("fra").scrub_status().finished_ms.is_some();
        world.until("the pass ends", rested).await;
        let whole = |w: &World| {
            let row = w.at("fra").store().read().unwrap().row(config.id, &key(name));
            row.is_ok_and(|row| row == Some(sound.clone()))
        };
        world.until("it is whole again", whole).await;
        assert_eq!(world.at("fra").damaged().unwrap(), (Vec::new(), 0), "place {place}");
    }
}

#[tokio::test(start_paused = true)]
async fn entries_of_the_index_that_decay_are_mended_of_what_else_is_known() {
    let mut world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    let objects: Vec<(String, Vec<u8>)> = (0_u64..)
        .zip(SIZES.into_iter().chain([2_001, 2_002]))
        .map(|(n, len)| (format!("k{n}"), body(n, len)))
        .collect();
    for (name, bytes) in &objects {
        put(&world.at("fra"), &config, name, bytes).await.unwrap();
    }
    world.until("iad has the rows", |w| w.row("iad", &config, "k6").is_some()).await;
    world.at("fra").store().close().await.unwrap();
    let blob =
        |name: &str| world.row("iad", &config, name).unwrap().object().unwrap().1.parts[0].blob;
    let row_key = |name: &str| store::record_key(&RecordId::Row(config.id, key(name)));
    // Where the bytes are, in two places: no flipped bit explains it.
    let mut patterns = Vec::new();
    for name in ["k0", "k1", "k2", "k3", "k4", "k6"] {
        let blob = blob(name);
        patterns.push([&blob.len.to_be_bytes(), &blob.root.0[..16]].concat());
    }
    // Who names them, and the digest of a record.
    patterns.push([&blob("k5").id.0.to_bytes(), &[1][..], &row_key("k5")].concat());
    let hash = blake3::hash(&row_key("k5"));
    patterns.push([&hash.as_bytes()[..2], &row_key("k5")].concat());
    let roots: Vec<[u8; 32]> =
        ["k0", "k1", "k2", "k3", "k4", "k6"].iter().map(|name| blob(name).root.0).collect();
    world.kill("fra");
    for pattern in &patterns {
        flip(&world, "fra", pattern, None);
    }
    for (n, root) in roots.into_iter().enumerate() {
        // A file, or a place in the log.
        let kind = if matches!(n, 3 | 4) { 1 } else { 2 };
        flip(&world, "fra", &[&root[16..], &[kind]].concat(), None);
    }
    // Of one that rides, the bytes too: they must come from another region.
    assert!(world.decay("fra", &objects[6].1[..64]) > 0);
    world.boot("fra").await;
    world.at("fra").start_scrub().await.unwrap();
    let rested = |w: &World| w.at("fra").scrub_status().finished_ms.is_some();
    world.until("the pass ends", rested).await;
    let whole = |w: &World| objects.iter().all(|(name, _)| holds(w, "fra", &config, name));
    world.until("all is held again", whole).await;
    assert_eq!(world.at("fra").damaged().unwrap(), (Vec::new(), 0));
    assert!(world.at("fra").metrics().damage_mended.get() >= 8);
    world.kill_links("fra", &["iad", "nrt"]);
    for (name, bytes) in &objects {
        assert_eq!(get(&world.at("fra"), &config, name).await.unwrap().0, *bytes, "{name}");
    }
    world.net.heal();
    let same =
        |w: &World| w.at("fra").store().digest().groups() == w.at("iad").store().digest().groups();
    world.until("the digests are the same", same).await;
}
