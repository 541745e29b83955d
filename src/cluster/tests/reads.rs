//! Reads in one region of what others hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::world::*;
use crate::cluster::{ReadError, Source};
use crate::net::message::Response;
use crate::types::bucket::Ack;

fn body(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i % 249).unwrap() ^ seed).collect()
}

#[tokio::test(start_paused = true)]
async fn a_remote_read_comes_from_the_nearest_holder_and_is_cached() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    world.net.set_delay_ms("fra", "nrt", 100);
    let config = bucket(Ack::Default);
    let bytes = body(0, 3_500_000);
    put(&world.at("fra"), &config, "k", &bytes).await.unwrap();
    world.until("the row is there", |w| w.row("nrt", &config, "k").is_some()).await;
    let nrt = world.at("nrt");
    let (read, source) = get(&nrt, &config, "k").await.unwrap();
    assert_eq!(read, bytes);
    assert_eq!(source, Source::Region(region("iad")));
    let whereabouts = nrt.whereabouts(&config, &key("k")).await.unwrap().unwrap();
    assert_eq!(whereabouts.cached, [region("nrt")]);
    world.kill_links("nrt", &["fra", "iad"]);
    let (read, source) = get(&nrt, &config, "k").await.unwrap();
    assert_eq!(read, bytes);
    assert!(matches!(source, Source::Memory | Source::Disk));
}

#[tokio::test(start_paused = true)]
async fn a_range_fetches_only_its_chunks() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    let bytes = body(0, 5 << 20);
    put(&world.at("fra"), &config, "k", &bytes).await.unwrap();
    world.until("the row is there", |w| w.row("nrt", &config, "k").is_some()).await;
    let nrt = world.at("nrt");
    let row = world.row("nrt", &config, "k").unwrap();
    let range = (1 << 20) + 5..(1 << 20) + 10_u64;
    let version = row.current().unwrap();
    let mut stream = nrt.read(&config, &key("k"), version, range).await.unwrap();
    let got = stream.next().await.unwrap().unwrap();
    assert_eq!(got[..], bytes[(1 << 20) + 5..(1 << 20) + 10]);
    assert!(stream.next().await.is_none());
    assert_eq!(nrt.metrics().fetched_chunks.get(), 1);
    let mut empty = nrt.read(&config, &key("k"), version, 7..7).await.unwrap();
    assert!(empty.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn bytes_that_fail_their_checksum_are_never_served() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    world.net.set_delay_ms("fra", "nrt", 100);
    let config = bucket(Ack::Default);
    let bytes = body(0, 1_500_000);
    put(&world.at("fra"), &config, "k", &bytes).await.unwrap();
    world.until("the row is there", |w| w.row("nrt", &config, "k").is_some()).await;
    let both = Arc::new(AtomicBool::new(false));
    let also_fra = both.clone();
    world.net.tamper(move |from, _, answer| {
        let bad = from == region("iad") || also_fra.load(Ordering::Relaxed);
        match Response::decode(&answer) {
            Ok(Response::Chunk(chunk)) if bad => {
                let mut chunk = chunk.to_vec();
                chunk[1000] ^= 1;
                Response::Chunk(chunk.into()).encode()
            }
            _ => answer,
        }
    });
    let (read, source) = get(&world.at("nrt"), &config, "k").await.unwrap();
    assert_eq!(read, bytes);
    assert_eq!(source, Source::Region(region("fra")));
    assert_eq!(world.at("nrt").metrics().bad_chunks.get(), 2);
    both.store(true, Ordering::Relaxed);
    put(&world.at("fra"), &config, "bad", &bytes).await.unwrap();
    world.until("the row is there", |w| w.row("nrt", &config, "bad").is_some()).await;
    let refused = get(&world.at("nrt"), &config, "bad").await.unwrap_err();
    assert!(matches!(refused, ReadError::Unavailable(_)), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn many_readers_of_a_cold_object_fetch_it_once() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    let bytes = body(0, 2_500_000);
    put(&world.at("fra"), &config, "k", &bytes).await.unwrap();
    world.until("the row is there", |w| w.row("nrt", &config, "k").is_some()).await;
    let nrt = world.at("nrt");
    let readers = (0..10).map(|_| get(&nrt, &config, "k"));
    for read in futures_util::future::join_all(readers).await {
        assert_eq!(read.unwrap().0, bytes);
    }
    assert_eq!(nrt.metrics().fetched_chunks.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_an_old_row_learns_the_new_one_instead_of_failing() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    put(&world.at("fra"), &config, "k", &body(1, 1_200_000)).await.unwrap();
    world.until("the row is there", |w| w.row("nrt", &config, "k").is_some()).await;
    let old = world.row("nrt", &config, "k").unwrap();
    let blob = old.object().unwrap().1.parts[0].blob.id;
    world.kill_links("nrt", &["fra", "iad"]);
    put(&world.at("fra"), &config, "k", &body(2, 1_300_000)).await.unwrap();
    world.until("iad knows", |w| w.row("iad", &config, "k") != Some(old.clone())).await;
    for code in ["fra", "iad"] {
        world.at(code).store().drop_blob(blob).await.unwrap();
    }
    world.net.heal();
    let nrt = world.at("nrt");
    let read = nrt.read(&config, &key("k"), old.current().unwrap(), 0..1_200_000).await;
    let Err(ReadError::Moved(row)) = read else { panic!("{read:?}") };
    assert_eq!(row.object().unwrap().1.size, 1_300_000);
    assert_eq!(get(&nrt, &config, "k").await.unwrap().0, body(2, 1_300_000));
}

#[tokio::test(start_paused = true)]
async fn a_read_during_overwrites_is_of_one_version() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    put(&world.at("fra"), &config, "k", &body(0, 3_000_000)).await.unwrap();
    world.until("the row is there", |w| w.row("nrt", &config, "k").is_some()).await;
    let (fra, cfg) = (world.at("fra"), config.clone());
    let writing = tokio::task::spawn(async move {
        for seed in 1..20 {
            put(&fra, &cfg, "k", &body(seed, 3_000_000)).await.unwrap();
        }
    });
    let mut seen = 0;
    while !writing.is_finished() {
        let (read, _) = get(&world.at("nrt"), &config, "k").await.unwrap();
        assert_eq!(read, body(read[0], 3_000_000), "one version");
        seen = seen.max(read[0]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(seen > 3, "versions went by: {seen}");
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_at_once_by_the_miss_check() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Count(1));
    world.net.set_delay_ms("fra", "nrt", 100);
    put(&world.at("fra"), &config, "k", b"new").await.unwrap();
    assert!(world.row("nrt", &config, "k").is_none());
    assert_eq!(get(&world.at("nrt"), &config, "k").await.unwrap().0, b"new");
    assert!(world.at("nrt").row(&config, &key("none")).await.unwrap().is_none());
}
