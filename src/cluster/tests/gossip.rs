//! Gossip between whole nodes, on virtual time.

use std::time::Duration;

use super::world::*;
use crate::logic::membership::Liveness;

#[tokio::test(start_paused = true)]
async fn nodes_hear_of_each_other_and_notice_who_is_cut_off() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    let sees = |world: &World, at: &str, of: &str| world.at(at).liveness(region(of));
    world
        .until("all are alive", |w| {
            let codes = ["fra", "iad", "nrt"];
            let pairs = codes.iter().flat_map(|a| codes.iter().map(move |b| (*a, *b)));
            pairs.filter(|(a, b)| a != b).all(|(a, b)| sees(w, a, b) == Liveness::Alive)
        })
        .await;
    world.kill_links("nrt", &["fra", "iad"]);
    world.until("nrt is down", |w| sees(w, "fra", "nrt") == Liveness::Down).await;
    assert_eq!(sees(&world, "fra", "iad"), Liveness::Alive);
    world.net.heal();
    world.until("nrt is back", |w| sees(w, "fra", "nrt") == Liveness::Alive).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_without_a_path_is_learnt_from_a_third_region() {
    let world = World::new(&["fra", "iad", "nrt"]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.net.cut("fra", "nrt");
    let config = bucket(crate::types::bucket::Ack::Default);
    put(&world.at("fra"), &config, "k", b"hello").await.unwrap();
    world.until("nrt has it", |w| w.row("nrt", &config, "k").is_some()).await;
}
