//! Logs, digests, tombstones and quarantine between nodes.

use std::sync::Arc;
use std::time::Duration;

use super::world::*;
use crate::cluster::{Cluster, ClusterOptions, Decide, Unavailable, Write};
use crate::store::Table;
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::object::{Content, Erased, Marks, Placement, Row, Version};
use crate::types::record::{Record, RecordId};
use crate::types::stamp::Stamp;

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_partition_go_on_alone_and_converge_when_it_heals() {
    let world = World::new(&["fra", "iad"]).await;
    let config = bucket(Ack::Count(1));
    put(&world.at("fra"), &config, "k", b"before").await.unwrap();
    world.until("both have it", |w| w.row("iad", &config, "k").is_some()).await;
    world.net.cut("fra", "iad");
    put(&world.at("fra"), &config, "k", b"from fra").await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    put(&world.at("iad"), &config, "k", b"from iad").await.unwrap();
    put(&world.at("iad"), &config, "other", b"x").await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_ne!(world.row("fra", &config, "k"), world.row("iad", &config, "k"));
    world.net.heal();
    world
        .until("they agree", |w| {
            w.row("fra", &config, "k") == w.row("iad", &config, "k")
                && w.row("fra", &config, "other").is_some()
        })
        .await;
    let row = world.row("fra", &config, "k").unwrap();
    assert_eq!(row.versions.len(), 2, "the loser of a conflict is kept");
    for code in ["fra", "iad"] {
        assert_eq!(get(&world.at(code), &config, "k").await.unwrap().0, b"from iad");
    }
}

#[tokio::test(start_paused = true)]
async fn changes_travel_by_a_third_region_when_a_link_is_cut() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    world.net.cut("fra", "nrt");
    for n in 0..20 {
        put(&world.at("fra"), &config, &format!("k{n}"), b"x").await.unwrap();
    }
    world.until("nrt has all", |w| w.row("nrt", &config, "k19").is_some()).await;
    for n in 0..20 {
        assert!(world.row("nrt", &config, &format!("k{n}")).is_some(), "k{n}");
    }
    let heads = world.at("nrt").heads().unwrap();
    let fra = heads.iter().find(|head| head.origin == region("fra")).unwrap();
    assert_eq!(fra.applied, 20);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_away_gets_what_it_missed() {
    let mut world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    put(&world.at("fra"), &config, "k", b"1").await.unwrap();
    world.until("nrt has it", |w| w.row("nrt", &config, "k").is_some()).await;
    world.kill("nrt");
    for n in 0..5 {
        put(&world.at("fra"), &config, "k", format!("v{n}").as_bytes()).await.unwrap();
        delete(&world.at("iad"), &config, "gone").await.unwrap();
    }
    world.boot("nrt").await;
    let row = world.row("fra", &config, "k");
    world.until("nrt has the last", |w| w.row("nrt", &config, "k") == row).await;
    world.until("nrt has the deletion", |w| w.row("nrt", &config, "gone").is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn anti_entropy_makes_a_lost_record_good_with_its_body() {
    let world = World::new(&["fra", "iad"]).await;
    let config = bucket(Ack::Default);
    for name in ["a", "b", "c"] {
        put(&world.at("fra"), &config, name, b"bytes").await.unwrap();
    }
    let id = RecordId::Row(config.id, key("b"));
    let store = world.at("iad").store().clone();
    store.write(move |tx| tx.forget(&id)).await.unwrap();
    assert!(world.row("iad", &config, "b").is_none());
    world.until("it is back", |w| w.row("iad", &config, "b").is_some()).await;
    assert_eq!(world.row("iad", &config, "b"), world.row("fra", &config, "b"));
    assert_eq!(get(&world.at("iad"), &config, "b").await.unwrap().0, b"bytes");
}

#[tokio::test(start_paused = true)]
async fn a_node_behind_the_horizon_of_a_log_compares_digests_and_goes_on() {
    let mut world = World::new(&["fra", "iad"]).await;
    let config = bucket(Ack::Count(1));
    world.kill("iad");
    for n in 0..10 {
        put(&world.at("fra"), &config, &format!("k{n}"), b"x").await.unwrap();
    }
    let fra = world.at("fra");
    let (origin, incarnation) = (fra.region(), fra.store().incarnation());
    fra.store().write(move |tx| tx.trim_log(origin, incarnation, 8)).await.unwrap();
    world.boot("iad").await;
    world
        .until("all is there", |w| {
            (0..10).all(|n| w.row("iad", &config, &format!("k{n}")).is_some())
        })
        .await;
    put(&world.at("fra"), &config, "after", b"x").await.unwrap();
    world.until("the log goes on", |w| w.row("iad", &config, "after").is_some()).await;
    world
        .until("the cursor passed the gap", |w| {
            w.at("iad").heads().unwrap().iter().any(|h| h.origin == origin && h.applied == 11)
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_change_from_a_wrong_clock_is_quarantined_and_not_acknowledged() {
    let world = World::new(&["fra", "iad"]).await;
    world.skew("fra", 10_000);
    let refused = put(&world.at("fra"), &bucket(Ack::Default), "k", b"x").await;
    assert!(refused.is_err(), "{refused:?}");
    let config = bucket(Ack::Count(1));
    assert!(world.row("iad", &config, "k").is_none());
    // Time passes and the stamp is no longer ahead: nothing was lost.
    world.until("it is merged later", |w| w.row("iad", &config, "k").is_some()).await;
    let store = world.at("iad").store().clone();
    let left: Vec<(Vec<u8>, crate::cluster::receive::Quarantined)> =
        store.read().unwrap().scan(Table::Quarantine, &[], None, 10).unwrap();
    assert!(left.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_goes_when_everybody_has_it_and_not_before() {
    let mut world = World::new(&["fra", "iad", "nrt"]).await;
    world.options =
        ClusterOptions { tombstone_age: Duration::from_secs(120), ..ClusterOptions::default() };
    for code in ["fra", "iad", "nrt"] {
        world.kill(code);
        world.boot(code).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let config = bucket(Ack::Default);
    put(&world.at("fra"), &config, "k", b"x").await.unwrap();
    world.until("spread", |w| w.row("nrt", &config, "k").is_some()).await;
    world.kill("nrt");
    delete(&world.at("fra"), &config, "k").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(world.row("fra", &config, "k").is_some(), "nrt has not applied it");
    world.boot("nrt").await;
    world
        .until("dropped everywhere", |w| {
            ["fra", "iad", "nrt"].iter().all(|code| w.row(code, &config, "k").is_none())
        })
        .await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    for code in ["fra", "iad", "nrt"] {
        assert!(world.row(code, &config, "k").is_none(), "{code}: it must not come back");
    }
}

#[tokio::test(start_paused = true)]
async fn notes_of_erased_versions_go_from_a_living_row_when_everybody_has_them() {
    const CODES: [&str; 3] = ["fra", "iad", "nrt"];
    let mut world = World::new(&CODES).await;
    world.options =
        ClusterOptions { tombstone_age: Duration::from_secs(120), ..ClusterOptions::default() };
    for code in CODES {
        world.kill(code);
        world.boot(code).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let config = bucket(Ack::Default);
    let fra = world.at("fra");
    let old = put_version(&fra, &config, "k").await;
    let kept = put_version(&fra, &config, "k").await;
    let stamps = |world: &World, code: &str| -> Vec<Stamp> {
        let row = world.row(code, &config, "k").unwrap_or_default();
        row.versions.iter().map(|version| version.stamp).collect()
    };
    world.until("spread", |w| stamps(w, "nrt") == [kept, old]).await;
    world.kill("nrt");
    erase_version(&fra, &config, "k", old).await;
    let newest = put_version(&fra, &config, "k").await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    let notes = |world: &World, code: &str| world.row(code, &config, "k").unwrap().erased.len();
    assert_eq!((notes(&world, "fra"), notes(&world, "iad")), (1, 1), "nrt has not applied it");
    world.boot("nrt").await;
    let everywhere = |w: &World| CODES.iter().all(|code| notes(w, code) == 0);
    world.until("dropped everywhere", everywhere).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    for code in CODES {
        assert_eq!(stamps(&world, code), [newest, kept], "{code}");
        assert_eq!(notes(&world, code), 0, "{code}: it must not come back");
    }
}

/// A version as a bucket with versions makes it.
async fn put_version(cluster: &Cluster, config: &Arc<BucketConfig>, name: &str) -> Stamp {
    let id = RecordId::Row(config.id, key(name));
    let subject = id.clone();
    let decide: Decide<Unavailable> = Box::new(move |_, stamp| {
        let (replaces, content) = (Stamp::ZERO, Content::Marker);
        let (marks, placement) = (Marks::default(), Placement::default());
        let version = Version { stamp, replaces, null: false, content, marks, placement };
        Ok(vec![(id.clone(), Record::Row(Row::of(version)))])
    });
    cluster.write(config, Write { subject, bodies: Vec::new(), decide }).await.unwrap().stamp
}

async fn erase_version(cluster: &Cluster, config: &Arc<BucketConfig>, name: &str, gone: Stamp) {
    let id = RecordId::Row(config.id, key(name));
    let subject = id.clone();
    let decide: Decide<Unavailable> = Box::new(move |_, stamp| {
        let erased = [(gone, Erased { at: stamp, replaces: Stamp::ZERO })].into();
        Ok(vec![(id.clone(), Record::Row(Row { erased, ..Row::default() }))])
    });
    cluster.write(config, Write { subject, bodies: Vec::new(), decide }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_region_that_comes_back_empty_with_a_slow_clock_goes_on_above_its_old_stamps() {
    let mut world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    for n in 0..5 {
        put(&world.at("fra"), &config, &format!("k{n}"), b"old").await.unwrap();
    }
    let old = world.row("fra", &config, "k4").unwrap().stamp();
    assert_eq!(old.region, region("fra"));
    world.until("nrt has it", |w| w.row("nrt", &config, "k4").is_some()).await;
    world.kill("fra");
    world.replace_disk("fra", Arc::default());
    // Less than what is tolerated.
    world.skew("fra", -240);
    world.boot("fra").await;
    world.until("fra is above it", |w| w.at("fra").stamp(Stamp::ZERO) > old).await;
    world.until("fra has its rows again", |w| w.row("fra", &config, "k4").is_some()).await;
    put(&world.at("fra"), &config, "k4", b"new").await.unwrap();
    for code in ["fra", "iad", "nrt"] {
        let new = |w: &World| w.row(code, &config, "k4").is_some_and(|row| row.stamp() > old);
        world.until("the new write wins", new).await;
        assert_eq!(get(&world.at(code), &config, "k4").await.unwrap().0, b"new");
    }
}

#[tokio::test(start_paused = true)]
async fn a_region_lost_under_load_comes_back_empty_and_nothing_answered_is_lost() {
    let options = ClusterOptions {
        placement_interval: Duration::from_secs(1),
        primary_gone_after: Duration::from_secs(30),
        ..ClusterOptions::default()
    };
    let mut world = World::with(&["fra", "iad", "nrt"], options).await;
    let config = bucket(Ack::Default);
    let name = crate::types::name::BucketName::parse("loaded").unwrap();
    world.at("fra").create_bucket(&name, (*config).clone()).await.unwrap();
    let answered = Arc::new(std::sync::Mutex::new(Vec::<(String, usize)>::new()));
    for (writer, code) in ["fra", "iad", "nrt"].into_iter().enumerate() {
        let (cluster, config, answered) = (world.at(code), config.clone(), answered.clone());
        world.run_on(code, async move {
            for n in 0..40_usize {
                let (name, len) = (format!("w{writer}-{n}"), [900, 30_000, 400_000][n % 3]);
                if put(&cluster, &config, &name, &vec![7; len]).await.is_ok() {
                    answered.lock().unwrap().push((name, len));
                }
                cluster.env().sleep(Duration::from_millis(50)).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    world.kill("fra");
    tokio::time::sleep(Duration::from_secs(40)).await;
    let answered = answered.lock().unwrap().clone();
    assert!(answered.len() > 80, "{} writes", answered.len());
    for (name, len) in &answered {
        for code in ["iad", "nrt"] {
            let read = get(&world.at(code), &config, name).await.unwrap();
            assert_eq!(read.0.len(), *len, "{name} at {code}");
        }
    }
    world.replace_disk("fra", Arc::default());
    world.boot("fra").await;
    let has_all = |w: &World| {
        let mut all = answered.iter().filter(|(_, len)| *len > 4096);
        all.all(|(name, _)| {
            let row = w.row("fra", &config, name);
            let version = row.as_ref().and_then(|row| row.object());
            version.is_some_and(|(version, _)| version.placement.held().count() == 3)
        })
    };
    world.until("three copies of everything, without being asked", has_all).await;
    world.kill_links("fra", &["iad", "nrt"]);
    for (name, len) in &answered {
        let read = get(&world.at("fra"), &config, name).await.unwrap();
        assert_eq!(read.0.len(), *len, "{name} in the new fra");
    }
}
