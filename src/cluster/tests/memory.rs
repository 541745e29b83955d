//! What may not be forgotten, skipped or given up too early; each of these was once taken out of the
//! program on purpose, and no other test noticed.

use std::time::Duration;

use super::world::*;
use super::writes::pending;
use crate::types::bucket::Ack;
use crate::types::position::Positions;

#[tokio::test(start_paused = true)]
async fn a_stretch_of_a_log_that_does_not_follow_what_is_here_is_not_applied() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Default);
    world.kill_links("nrt", &["fra", "iad"]);
    for n in 1..=3 {
        put(&world.at("fra"), &config, &format!("k{n}"), b"x").await.unwrap();
    }
    let (fra, nrt) = (world.at("fra"), world.at("nrt"));
    let log = (fra.region(), fra.store().incarnation());
    let batch = fra.stretch_for(log.0, log.1, 1).await.unwrap().unwrap();
    assert_eq!((batch.after, batch.last), (1, 3));
    let applied = nrt.apply(batch, Positions::new()).await.unwrap();
    assert_eq!(applied.applied, 0, "the first position is missing");
    assert!(world.row("nrt", &config, "k2").is_none());
    world.net.heal();
    world.until("all is there", |w| w.row("nrt", &config, "k1").is_some()).await;
    world.until("in order", |w| w.row("nrt", &config, "k3").is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_is_not_given_up_while_its_follower_cannot_be_asked() {
    let mut world = World::new(&["fra", "iad"]).await;
    let config = bucket(Ack::Default);
    let cluster = world.at("fra");
    let writing = {
        let (cluster, config) = (cluster.clone(), config.clone());
        tokio::task::spawn(async move { put(&cluster, &config, "k", &vec![7; 1 << 20]).await })
    };
    world.until("the follower holds it", |w| pending(w, "iad") == 1).await;
    writing.abort();
    drop(cluster);
    world.kill("fra");
    world.kill("iad");
    world.boot("fra").await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(pending(&world, "fra"), 1, "nobody said that it does not have it");
    world.boot("iad").await;
    world.until("it is published", |w| w.row("fra", &config, "k").is_some()).await;
    world.until("nothing is pending", |w| pending(w, "fra") + pending(w, "iad") == 0).await;
    assert_eq!(get(&world.at("fra"), &config, "k").await.unwrap().0.len(), 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_went_back_while_its_node_was_down_makes_no_stamp_below_its_old_ones() {
    let mut world = World::new(&["fra"]).await;
    let config = bucket(Ack::Count(1));
    world.skew("fra", 10_000);
    let before = put(&world.at("fra"), &config, "one", b"x").await.unwrap().stamp;
    world.kill("fra");
    world.skew("fra", 0);
    world.boot("fra").await;
    let after = put(&world.at("fra"), &config, "another", b"x").await.unwrap().stamp;
    assert!(after > before, "{after} after {before}");
}
