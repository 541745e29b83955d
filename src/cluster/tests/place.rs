//! What a person asks of places, on virtual time: moves, other regions for a bucket, cached copies
//! that go.

use std::sync::Arc;
use std::time::Duration;

use super::world::*;
use crate::cluster::{ClusterOptions, Moving};
use crate::types::bucket::{Ack, BucketConfig, Location};
use crate::types::name::BucketName;
use crate::types::object::BlobRef;
use crate::types::region::RegionId;

const FOUR: [&str; 4] = ["fra", "iad", "nrt", "syd"];

fn name() -> BucketName {
    BucketName::parse("placed").unwrap()
}

async fn four(copies: u8) -> (World, Arc<BucketConfig>) {
    let options = ClusterOptions {
        placement_interval: Duration::from_secs(1),
        primary_gone_after: Duration::from_secs(60),
        ..ClusterOptions::default()
    };
    let world = World::with(&FOUR, options).await;
    let config = BucketConfig { copies, ..(*bucket(Ack::Default)).clone() };
    world.at("fra").create_bucket(&name(), config.clone()).await.unwrap();
    (world, Arc::new(config))
}

fn primary(world: &World, config: &BucketConfig) -> Option<RegionId> {
    let row = world.row("fra", config, "k")?;
    row.current()?.placement.primary.map(|primary| primary.region)
}

fn blob(world: &World, config: &BucketConfig) -> BlobRef {
    let row = world.row("fra", config, "k").unwrap();
    let (_, meta) = row.object().unwrap();
    meta.parts[0].blob
}

/// Who has the bytes, held.
fn having(world: &World, config: &BucketConfig) -> Vec<&'static str> {
    let blob = blob(world, config).id;
    FOUR.into_iter().filter(|code| world.at(code).store().holds(&blob).unwrap()).collect()
}

async fn relocate(world: &World, config: &BucketConfig, codes: &[&str]) -> Arc<BucketConfig> {
    let to = Location::Only(codes.iter().map(|code| region(code)).collect());
    let change = Arc::new(move |config: &mut BucketConfig| config.location = to.clone());
    let changed = world.at("fra").change_bucket(&name(), config.id, change).await.unwrap();
    Arc::new(changed.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_primary_moves_where_it_is_asked_to_and_not_where_it_may_not() {
    let (world, config) = four(2).await;
    let bytes = vec![9; 300_000];
    put(&world.at("fra"), &config, "k", &bytes).await.unwrap();
    world.until("spread", |w| FOUR.iter().all(|c| w.row(c, &config, "k").is_some())).await;
    world.until("two have it", |w| having(w, &config).len() == 2).await;
    let to = FOUR.into_iter().rfind(|code| !having(&world, &config).contains(code)).unwrap();
    let ask = async |at: &str, to: &str| {
        world.at(at).move_primary(&config, &key("k"), region(to)).await.unwrap()
    };
    assert_eq!(ask("iad", to).await, Some(Moving::Ask(region("fra"))));
    assert!(
        matches!(ask("fra", "lhr").await, Some(Moving::Refused(why)) if why.contains("member"))
    );
    assert_eq!(ask("fra", to).await, Some(Moving::Begun));
    world.until("it is there", |w| primary(w, &config) == Some(region(to))).await;
    assert_eq!(ask("fra", to).await, Some(Moving::There));
    world.until("one copy too many goes", |w| having(w, &config).len() == 2).await;
    for code in FOUR {
        assert_eq!(get(&world.at(code), &config, "k").await.unwrap().0, bytes);
    }
    let none = world.at("fra").move_primary(&config, &key("other"), region(to)).await.unwrap();
    assert_eq!(none, None);
    world.assert_sound();
}

/// Its first try to make a copy is in vain: what is to be copied has yet to be heard of.
#[tokio::test(start_paused = true)]
async fn a_primary_moves_to_a_region_that_had_not_heard_of_the_object_when_it_was_asked() {
    let (world, config) = four(2).await;
    let known = |w: &World, code: &str| w.row(code, &config, "k").is_some();
    let to = "syd";
    for other in ["fra", "iad", "nrt"] {
        world.net.cut(other, to);
    }
    put(&world.at("fra"), &config, "k", &[9; 300_000]).await.unwrap();
    world.net.heal();
    let begun = world.at("fra").move_primary(&config, &key("k"), region(to)).await.unwrap();
    assert_eq!(begun, Some(Moving::Begun));
    assert!(!known(&world, to), "it was asked before it heard of it");
    let began = world.now();
    world.until("it is there", |w| primary(w, &config) == Some(region(to))).await;
    assert!(world.now() - began < Duration::from_secs(10), "{:?}", world.now() - began);
}

#[tokio::test(start_paused = true)]
async fn copies_follow_a_bucket_and_the_regions_that_it_left_keep_nothing() {
    let (world, config) = four(2).await;
    let bytes = vec![9; 2_500_000];
    put(&world.at("fra"), &config, "k", &bytes).await.unwrap();
    world.until("spread", |w| FOUR.iter().all(|c| w.row(c, &config, "k").is_some())).await;
    for code in FOUR {
        assert_eq!(get(&world.at(code), &config, "k").await.unwrap().0, bytes);
    }
    for codes in [["nrt", "syd"], ["fra", "syd"], ["iad", "nrt"]] {
        let config = relocate(&world, &config, &codes).await;
        world.until("the copies are where they shall be", |w| having(w, &config) == codes).await;
        let led = |w: &World| primary(w, &config).is_some_and(|p| codes.contains(&&*p.to_string()));
        world.until("and its primary", led).await;
        let traces = |w: &World| {
            let left = FOUR.into_iter().filter(|code| !codes.contains(code));
            left.filter(|c| w.at(c).store().cached(&blob(w, &config)).chunks > 0).count()
        };
        world.until("no cached copy is left elsewhere", |w| traces(w) == 0).await;
        for code in FOUR {
            assert_eq!(get(&world.at(code), &config, "k").await.unwrap().0, bytes);
        }
        assert_eq!(traces(&world), 0, "and reading leaves none");
    }
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_copy_leaves_a_region_only_when_enough_others_have_theirs() {
    let (mut world, config) = four(2).await;
    let bytes = vec![9; 300_000];
    put(&world.at("fra"), &config, "k", &bytes).await.unwrap();
    world.until("two have it", |w| having(w, &config).len() == 2).await;
    world.kill("syd");
    let config = relocate(&world, &config, &["nrt", "syd"]).await;
    world
        .until("the one that is there has it", |w| {
            let blob = blob(w, &config).id;
            w.at("nrt").store().holds(&blob).unwrap()
        })
        .await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let blob = blob(&world, &config).id;
    let have = |world: &World, codes: &[&str]| {
        codes.iter().filter(|code| world.at(code).store().holds(&blob).unwrap()).count()
    };
    assert!(have(&world, &["fra", "iad", "nrt"]) >= 2, "one copy alone is no promise kept");
    world.boot("syd").await;
    world.until("both have it", |w| having(w, &config) == ["nrt", "syd"]).await;
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn cached_copies_go_and_held_ones_stay() {
    let (world, config) = four(2).await;
    let bytes = vec![9; 300_000];
    for name in ["k", "kept"] {
        put(&world.at("fra"), &config, name, &bytes).await.unwrap();
    }
    world.until("spread", |w| FOUR.iter().all(|c| w.row(c, &config, "kept").is_some())).await;
    world.until("two have it", |w| having(w, &config).len() == 2).await;
    let reader = FOUR.into_iter().find(|code| !having(&world, &config).contains(code)).unwrap();
    get(&world.at(reader), &config, "k").await.unwrap();
    let cluster = world.at(reader);
    assert!(cluster.store().cached(&blob(&world, &config)).whole);
    let purge = async |prefix: &str| {
        let (gone, next) = cluster.drop_cached(config.id, prefix, None).await.unwrap();
        assert_eq!(next, None);
        gone
    };
    assert_eq!(purge("kept").await.copies, 0);
    let gone = purge("k").await;
    assert_eq!(gone.copies, 1);
    assert!(gone.bytes >= 300_000, "{gone:?}");
    assert!(cluster.store().chunk(&blob(&world, &config), 0).await.unwrap().is_none());
    assert_eq!(purge("").await.copies, 0);
    let holder = world.at(having(&world, &config)[0]);
    assert_eq!(holder.drop_cached(config.id, "", None).await.unwrap().0.copies, 0);
    assert_eq!(having(&world, &config).len(), 2);
    assert_eq!(get(&cluster, &config, "k").await.unwrap().0, bytes);
}
