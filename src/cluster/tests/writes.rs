//! Writes: acknowledged, held, published, refused.

use std::time::Duration;

use super::world::*;
use crate::cluster::pending::PendingEntry;
use crate::limits;
use crate::store::Table;
use crate::types::bucket::{Ack, BucketConfig, Location};

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect()
}

pub fn pending(world: &World, code: &str) -> usize {
    let store = world.at(code).store().clone();
    let lines: Vec<(Vec<u8>, PendingEntry)> =
        store.read().unwrap().scan(Table::Pending, &[], None, 100).unwrap();
    lines.into_iter().filter(|(_, entry)| matches!(entry, PendingEntry::Held { .. })).count()
}

fn holds_body(world: &World, code: &str, config: &BucketConfig, name: &str) -> bool {
    let Some(row) = world.row(code, config, name) else { return false };
    let (_, meta) = row.object().unwrap();
    let store = world.at(code).store().clone();
    meta.parts.iter().all(|part| store.holds(&part.blob.id).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_small_put_with_two_acknowledgements_is_at_the_other_region_when_answered() {
    let world = World::new(&["fra", "iad"]).await;
    let config = bucket(Ack::Default);
    let written = put(&world.at("fra"), &config, "k", b"hello").await.unwrap();
    assert_eq!(written.acked, [region("fra"), region("iad")]);
    let row = world.row("iad", &config, "k").expect("acknowledged means applied");
    assert_eq!(row.stamp(), written.stamp);
    assert!(holds_body(&world, "iad", &config, "k"), "the body rides in the row");
    let (bytes, source) = get(&world.at("iad"), &config, "k").await.unwrap();
    assert_eq!(bytes, b"hello");
    assert!(!matches!(source, crate::cluster::Source::Region(_)));
}

#[tokio::test(start_paused = true)]
async fn a_write_with_one_acknowledgement_is_answered_before_the_others_have_it() {
    let world = World::new(&["fra", "iad"]).await;
    let config = bucket(Ack::Count(1));
    let big = body(300_000);
    put(&world.at("fra"), &config, "small", b"x").await.unwrap();
    put(&world.at("fra"), &config, "big", &big).await.unwrap();
    assert!(world.row("iad", &config, "small").is_none());
    world.until("both arrive", |w| w.row("iad", &config, "big").is_some()).await;
    assert!(world.row("iad", &config, "small").is_some());
    assert_eq!(get(&world.at("iad"), &config, "big").await.unwrap().0, big);
}

#[tokio::test(start_paused = true)]
async fn a_large_body_is_held_by_origin_and_nearest_follower_when_answered() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    world.net.set_delay_ms("fra", "nrt", 100);
    let config = bucket(Ack::Default);
    let big = body(3 << 20);
    let written = put(&world.at("fra"), &config, "k", &big).await.unwrap();
    assert_eq!(written.acked, [region("fra"), region("iad")]);
    assert!(holds_body(&world, "fra", &config, "k"));
    world.until("the row spreads", |w| w.row("nrt", &config, "k").is_some()).await;
    assert!(holds_body(&world, "iad", &config, "k"));
    assert!(!holds_body(&world, "nrt", &config, "k"));
    let row = world.row("nrt", &config, "k").unwrap();
    let placement = &row.current().unwrap().placement;
    assert_eq!(placement.held().collect::<Vec<_>>(), [region("fra"), region("iad")]);
    assert_eq!(placement.primary.unwrap().region, region("fra"));
    for code in ["fra", "iad", "nrt"] {
        assert_eq!(world.row(code, &config, "k").as_ref(), Some(&row), "{code}");
        assert_eq!(pending(&world, code), 0, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_stored_when_too_few_regions_are_reachable() {
    let world = World::new(&["fra", "iad"]).await;
    let config = bucket(Ack::Default);
    world.net.cut("fra", "iad");
    let refused = put(&world.at("fra"), &config, "k", &body(10_000)).await.unwrap_err();
    assert!(refused.reason.contains("iad"), "{refused}");
    assert!(put(&world.at("fra"), &config, "k", b"x").await.is_err());
    assert!(delete(&world.at("fra"), &config, "k").await.is_err());
    assert!(world.row("fra", &config, "k").is_none());
    assert_eq!(pending(&world, "fra"), 0);
    world.net.heal();
    tokio::time::sleep(Duration::from_secs(3)).await;
    put(&world.at("fra"), &config, "k", &body(10_000)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_cut_off_while_it_holds_is_replaced() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    world.net.set_delay_ms("fra", "nrt", 100);
    let config = bucket(Ack::Default);
    let cluster = world.at("fra");
    let mut sink = cluster.body(&config, Some(2 << 20)).await.unwrap();
    sink.write(body(2 << 20).into()).await.unwrap();
    let taken = sink.finish().await.unwrap();
    assert_eq!(taken.held_by, [region("fra"), region("iad")]);
    world.net.cut("fra", "iad");
    let written = write_body(&cluster, &config, "k", taken).await.unwrap();
    assert_eq!(written.acked, [region("fra"), region("nrt")]);
    assert!(holds_body(&world, "fra", &config, "k"));
    world.until("nrt has it", |w| holds_body(w, "nrt", &config, "k")).await;
    world.net.heal();
    world.until("iad has the row", |w| w.row("iad", &config, "k").is_some()).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let row = world.row("fra", &config, "k").unwrap();
    for code in ["iad", "nrt"] {
        assert_eq!(world.row(code, &config, "k").as_ref(), Some(&row), "{code}");
        assert_eq!(pending(&world, code), 0, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_follower_is_joined_by_the_next_one() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    let cluster = world.at("fra");
    let mut sink = cluster.body(&config, Some(2 << 20)).await.unwrap();
    sink.write(body(2 << 20).into()).await.unwrap();
    let taken = sink.finish().await.unwrap();
    world.net.slow_down("fra", "iad", 6000);
    let started = tokio::time::Instant::now();
    write_body(&cluster, &config, "k", taken).await.unwrap();
    assert!(started.elapsed() < limits::ACK_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn an_answered_write_survives_the_loss_of_its_origin() {
    let mut world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    world.net.set_delay_ms("fra", "nrt", 100);
    let big = body(1 << 20);
    put(&world.at("fra"), &config, "k", &big).await.unwrap();
    world.kill("fra");
    world.until("the follower publishes", |w| w.row("iad", &config, "k").is_some()).await;
    world.until("it spreads", |w| w.row("nrt", &config, "k").is_some()).await;
    assert_eq!(get(&world.at("nrt"), &config, "k").await.unwrap().0, big);
    assert_eq!(pending(&world, "iad"), 0);
    world.boot("fra").await;
    world.until("it all ends", |w| pending(w, "fra") == 0).await;
    let row = world.row("fra", &config, "k").unwrap();
    world.until("same everywhere", |w| w.row("nrt", &config, "k").as_ref() == Some(&row)).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_follower_never_held_it_is_discarded_after_a_restart() {
    let mut world = World::new(&["fra", "iad"]).await;
    let config = bucket(Ack::Default);
    let (cluster, big) = (world.at("fra"), body(1 << 20));
    let writing = {
        let (cluster, config) = (cluster.clone(), config.clone());
        tokio::task::spawn(async move { put(&cluster, &config, "k", &big).await })
    };
    world.until("it is noted", |w| pending(w, "fra") == 1).await;
    world.net.cut("fra", "iad");
    assert!(writing.await.unwrap().is_err());
    assert_eq!(pending(&world, "fra"), 1, "bytes and change are kept while it is undecided");
    drop(cluster);
    world.kill("fra");
    world.net.heal();
    world.boot("fra").await;
    world.until("it is discarded", |w| pending(w, "fra") == 0).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    for code in ["fra", "iad"] {
        assert!(world.row(code, &config, "k").is_none(), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_its_follower_holds_is_published_after_the_origin_restarts() {
    let mut world = World::new(&["fra", "iad"]).await;
    let config = bucket(Ack::Default);
    let (cluster, big) = (world.at("fra"), body(1 << 20));
    let writing = {
        let (cluster, config, big) = (cluster.clone(), config.clone(), big.clone());
        tokio::task::spawn(async move { put(&cluster, &config, "k", &big).await })
    };
    world.until("the follower holds it", |w| pending(w, "iad") == 1).await;
    writing.abort();
    drop(cluster);
    world.kill("fra");
    world.boot("fra").await;
    world.until("it is published", |w| w.row("fra", &config, "k").is_some()).await;
    assert_eq!(get(&world.at("fra"), &config, "k").await.unwrap().0, big);
    world.until("it spreads", |w| w.row("iad", &config, "k").is_some()).await;
    world.until("nothing is pending", |w| pending(w, "fra") + pending(w, "iad") == 0).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_restricted_bucket_lie_only_in_its_regions() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let mut config = (*bucket(Ack::Default)).clone();
    config.location = Location::Only(vec![region("iad"), region("nrt")]);
    let config = std::sync::Arc::new(config);
    for (name, len) in [("small", 10), ("big", 2 << 20)] {
        let bytes = body(len);
        let written = put(&world.at("fra"), &config, name, &bytes).await.unwrap();
        assert_eq!(written.acked, [region("iad"), region("nrt")], "{name}");
        assert!(world.row("fra", &config, name).is_some(), "seen where it was taken");
        assert!(!holds_body(&world, "fra", &config, name), "{name}");
        for _ in 0..2 {
            let (read, source) = get(&world.at("fra"), &config, name).await.unwrap();
            assert_eq!(read, bytes);
            assert!(matches!(source, crate::cluster::Source::Region(_)), "{name}: not kept");
        }
        world.until("held", |w| holds_body(w, "iad", &config, name)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_made_during_an_upload_comes_after_it() {
    let world = World::new(&["fra", "iad"]).await;
    let config = bucket(Ack::Default);
    let cluster = world.at("fra");
    let writing = {
        let (cluster, config) = (cluster.clone(), config.clone());
        tokio::task::spawn(async move { put(&cluster, &config, "k", &body(1 << 20)).await })
    };
    world.until("it is pending", |w| pending(w, "fra") == 1).await;
    let deleted = delete(&cluster, &config, "k").await.unwrap();
    let written = writing.await.unwrap().unwrap();
    assert!(written.stamp < deleted.stamp);
    let row = world.row("fra", &config, "k").unwrap();
    assert_eq!(row.versions.len(), 1, "the deletion covers what it came after");
    assert!(row.object().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_write_costs_one_round_trip_whether_its_body_rides_or_not() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    world.net.set_delay_ms("fra", "iad", 40);
    world.net.set_delay_ms("fra", "nrt", 100);
    let config = bucket(Ack::Default);
    for bytes in [100, 100_000, 3 << 20] {
        let start = tokio::time::Instant::now();
        put(&world.at("fra"), &config, "k", &vec![5; bytes]).await.unwrap();
        let ms = start.elapsed().as_millis();
        assert!((80..90).contains(&ms), "{bytes} bytes: {ms} ms");
    }
}
