//! Ways out when voters are lost for good: a change of voters whose new voter dies is given up, and a
//! cluster that lost the majority of its voters goes on when its operator says so.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::world::*;
use crate::cluster::NotChanged as Unchanged;
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::members::MemberState;
use crate::types::region::RegionId;

fn voters(world: &World, at: &str) -> Vec<String> {
    world.at(at).members().voters().iter().map(RegionId::to_string).collect()
}

fn is_settled(world: &World, at: &str, wanted: &[&str]) -> bool {
    !world.at(at).electorate().is_joint() && voters(world, at) == wanted
}

async fn changes(world: &World, at: &str, config: &Arc<BucketConfig>, name: &str) -> bool {
    put_if(&world.at(at), config, name, None, ("1", b"body")).await.is_ok()
}

async fn until_it_changes(world: &World, at: &str, config: &Arc<BucketConfig>, name: &str) {
    for _ in 0..120 {
        if changes(world, at, config, name).await {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
    panic!("no conditional write at {at}");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_voters_whose_new_voter_dies_is_given_up_and_made_when_it_is_back() {
    let mut world = World::new(&["fra"]).await;
    let config = bucket(Ack::Count(1));
    assert!(changes(&world, "fra", &config, "before").await);
    world.members = world.at("fra").add_region(info("iad"), None).await.unwrap();
    world.boot("iad").await;
    world.until("a change begins", |w| w.at("fra").electorate().is_joint()).await;
    world.kill("iad");
    assert!(!changes(&world, "fra", &config, "meanwhile").await, "both are needed now");
    world.until("it is given up", |w| is_settled(w, "fra", &["fra"])).await;
    until_it_changes(&world, "fra", &config, "after").await;
    world.boot("iad").await;
    world.until("both vote", |w| is_settled(w, "iad", &["fra", "iad"])).await;
    until_it_changes(&world, "iad", &config, "both").await;
    for name in ["before", "after", "both"] {
        assert!(!changes(&world, "iad", &config, name).await, "{name} is there");
    }
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn one_of_two_regions_goes_on_alone_when_the_other_is_lost_for_good() {
    let mut world = World::new(&["fra", "iad"]).await;
    let config = bucket(Ack::Default);
    assert!(changes(&world, "iad", &config, "before").await);
    let there = world.at("fra").recover(&[region("iad")]).await;
    assert!(matches!(&there, Err(Unchanged::Refused(why)) if why.contains("can be reached")));
    sleep(Duration::from_secs(5)).await;
    world.kill("iad");
    sleep(Duration::from_secs(5)).await;
    assert!(!changes(&world, "fra", &config, "alone").await);
    let stuck = world.at("fra").remove_region(region("iad"), true).await;
    assert!(matches!(stuck, Err(Unchanged::Unavailable(_))), "{stuck:?}");
    world.at("fra").recover(&[region("iad")]).await.unwrap();
    assert_eq!(voters(&world, "fra"), ["fra"]);
    until_it_changes(&world, "fra", &config, "alone").await;
    assert!(!changes(&world, "fra", &config, "before").await, "what was decided is known");

    // The lost one lives after all, with its old disk: it has no say, takes nothing, and stops.
    world.boot("iad").await;
    world.until("it hears of it", |w| w.at("iad").gone().is_some()).await;
    assert!(!changes(&world, "iad", &config, "late").await);
    assert!(put(&world.at("iad"), &config, "plain", b"x").await.is_err());
    assert_eq!(voters(&world, "fra"), ["fra"]);
    // It comes back as a new one.
    world.kill("iad");
    world.replace_disk("iad", Arc::default());
    world.members = world.at("fra").add_region(info("iad"), None).await.unwrap();
    world.boot("iad").await;
    world.until("both vote", |w| is_settled(w, "iad", &["fra", "iad"])).await;
    assert!(!changes(&world, "iad", &config, "alone").await, "it knows what was decided");
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_five_regions_goes_on_though_its_nodes_were_started_again() {
    let mut world = World::new(&["ams", "fra", "iad", "nrt", "syd"]).await;
    let config = bucket(Ack::Default);
    assert!(changes(&world, "syd", &config, "before").await);
    let few = world.at("ams").recover(&[region("syd")]).await;
    assert!(matches!(few, Err(Unchanged::Refused(_))), "it is there: {few:?}");
    sleep(Duration::from_secs(10)).await;
    world.kill("syd");
    sleep(Duration::from_secs(1)).await;
    let few = world.at("ams").recover(&[region("syd")]).await;
    assert!(matches!(&few, Err(Unchanged::Refused(why)) if why.contains("most of the voters")));
    for code in ["iad", "nrt", "fra"] {
        world.kill(code);
    }
    world.boot("fra").await;
    sleep(Duration::from_secs(5)).await;
    let lost = ["iad", "nrt", "syd"].map(region);
    let unnamed = world.at("ams").recover(&lost[..2]).await;
    assert!(matches!(&unnamed, Err(Unchanged::Refused(why)) if why.contains("syd")), "{unnamed:?}");
    assert!(world.at("fra").registers_waiting().is_some(), "too few can confirm its start");
    assert!(!changes(&world, "fra", &config, "after").await);
    world.at("fra").recover(&lost).await.unwrap();
    world
        .until("both took it", |w| {
            ["ams", "fra"].iter().all(|code| is_settled(w, code, &["ams", "fra"]))
        })
        .await;
    until_it_changes(&world, "ams", &config, "after").await;
    assert!(!changes(&world, "fra", &config, "before").await);
    // A third one makes it three voters.
    world.members = world.at("ams").add_region(info("lhr"), None).await.unwrap();
    world.boot("lhr").await;
    world.until("three vote", |w| is_settled(w, "lhr", &["ams", "fra", "lhr"])).await;
    let state = world.at("ams").members().member(region("lhr")).map(|member| member.state);
    assert_eq!(state, Some(MemberState::Active));
    world.assert_sound();
}

const LEFT: [&str; 3] = ["ams", "fra", "iad"];
const LOST: [&str; 4] = ["gru", "lhr", "nrt", "syd"];

/// Seven regions of which four are lost when one of them has answered a creation that iad alone has
/// accepted of those that are left, and knows no outcome of. The operator says so at once.
async fn lost_four_of_seven() -> (World, Arc<BucketConfig>) {
    let codes = [&LEFT[..], &LOST[..]].concat();
    let mut world = World::new(&codes).await;
    let config = bucket(Ack::Default);
    for code in ["ams", "fra"] {
        world.kill_links(code, &LOST);
        world.net.set_delay_ms("iad", code, 100);
    }
    world.kill_links("lhr", &["gru", "nrt", "syd"]);
    sleep(Duration::from_secs(5)).await;
    assert!(changes(&world, "nrt", &config, "k").await);
    LOST.iter().for_each(|code| world.kill(code));
    world.at("ams").recover(&LOST.map(region)).await.unwrap();
    (world, config)
}

#[tokio::test(start_paused = true)]
async fn what_one_of_three_that_are_left_had_accepted_is_found_at_once_by_the_others() {
    let (mut world, config) = lost_four_of_seven().await;
    assert!(!changes(&world, "ams", &config, "k").await, "two creators succeeded");
    assert_eq!(get(&world.at("ams"), &config, "k").await.unwrap().0, b"body");
    let settled = |w: &World| LEFT.iter().all(|code| is_settled(w, code, &LEFT));
    world.until("every register was rewritten", settled).await;
    world.kill("iad");
    until_it_changes(&world, "fra", &config, "after").await;
    assert!(!changes(&world, "fra", &config, "k").await);
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn two_of_three_that_are_left_go_on_when_the_third_dies_before_it_was_asked() {
    let (mut world, config) = lost_four_of_seven().await;
    world.kill("iad");
    assert!(!changes(&world, "ams", &config, "meanwhile").await, "all are asked");
    world.until("it is given up", |w| is_settled(w, "ams", &LEFT)).await;
    until_it_changes(&world, "fra", &config, "after").await;
    world.boot("iad").await;
    sleep(Duration::from_secs(30)).await;
    assert!(!changes(&world, "iad", &config, "after").await);
    world.assert_sound();
}
