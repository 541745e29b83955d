//! Whether promises can be kept, and whether they could without a node.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::world::*;
use crate::cluster::ClusterOptions;
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::name::BucketName;

const THREE: [&str; 3] = ["fra", "iad", "nrt"];

async fn three() -> World {
    let options =
        ClusterOptions { placement_interval: Duration::from_secs(1), ..ClusterOptions::default() };
    World::with(&THREE, options).await
}

async fn made(world: &World, name: &str, copies: u8, ack: Ack) -> Arc<BucketConfig> {
    let config = (*bucket(ack)).clone();
    let mut id = config.id;
    id.0[0] = name.as_bytes()[0];
    let config = BucketConfig { id, copies, ..config };
    let name = BucketName::parse(name).unwrap();
    world.at("fra").create_bucket(&name, config.clone()).await.unwrap();
    Arc::new(config)
}

async fn needed(world: &World) -> String {
    // What was counted before is told for a while.
    sleep(Duration::from_secs(15)).await;
    world.at("fra").needed_for().await.unwrap().join("; ")
}

#[tokio::test(start_paused = true)]
async fn a_node_may_go_while_all_others_are_there_and_not_when_one_is_away() {
    let mut world = three().await;
    let config = made(&world, "two-copies", 2, Ack::Default).await;
    put(&world.at("fra"), &config, "k", &vec![9; 300_000]).await.unwrap();
    assert_eq!(needed(&world).await, "");
    world.kill("nrt");
    let why = needed(&world).await;
    assert_eq!(world.at("fra").trouble(), Vec::<String>::new(), "two of three go on");
    for part in ["nrt is away", "1 of 3 voters would be left", "1 buckets could not be written"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    world.kill("iad");
    sleep(Duration::from_secs(15)).await;
    let trouble = world.at("fra").trouble().join("; ");
    for part in ["1 of 3 voters can be reached", "a write here needs 2"] {
        assert!(trouble.contains(part), "{part}: {trouble}");
    }
    world.boot("iad").await;
    world.boot("nrt").await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(needed(&world).await, "");
}

#[tokio::test(start_paused = true)]
async fn what_only_one_region_holds_keeps_its_node_there() {
    let world = three().await;
    let config = made(&world, "one-copy", 1, Ack::Count(1)).await;
    put(&world.at("fra"), &config, "k", &vec![9; 300_000]).await.unwrap();
    let why = needed(&world).await;
    assert_eq!(why, "1 versions are held by this region alone");
    assert_eq!(world.at("iad").needed_for().await.unwrap(), Vec::<String>::new());
}
