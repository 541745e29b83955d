//! Access keys between whole nodes, on virtual time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::world::World;
use crate::cluster::{Cluster, Unavailable};
use crate::limits;
use crate::types::name::{AccessKeyId, AccountId, SecretKey};
use crate::types::record::{AccessKeyRecord, KeyScope};
use crate::types::stamp::Stamp;

const FIVE: [&str; 5] = ["fra", "iad", "nrt", "syd", "gru"];

fn id() -> AccessKeyId {
    AccessKeyId("GWKEY".into())
}

pub async fn make(cluster: &Cluster, secret: &str) -> Result<bool, Unavailable> {
    let record = AccessKeyRecord {
        stamp: Stamp::ZERO,
        account: AccountId("alice".into()),
        secret: SecretKey(secret.into()),
        scope: KeyScope::Admin,
        revoked: false,
        created_ms: 1,
    };
    let make = move |current: Option<&AccessKeyRecord>| match current {
        None => Some(record.clone()),
        Some(_) => None,
    };
    Ok(cluster.change_access_key(&id(), Arc::new(make)).await?.is_some())
}

pub async fn revoke(cluster: &Cluster) -> Result<bool, Unavailable> {
    let revoke = |current: Option<&AccessKeyRecord>| {
        let record = current.filter(|record| !record.revoked)?.clone();
        Some(AccessKeyRecord { revoked: true, ..record })
    };
    Ok(cluster.change_access_key(&id(), Arc::new(revoke)).await?.is_some())
}

/// Whether a region takes the key.
pub async fn works(cluster: &Cluster) -> bool {
    cluster.access_key(&id()).await.unwrap().is_some_and(|record| !record.revoked)
}

#[tokio::test(start_paused = true)]
async fn a_key_works_in_every_region_as_soon_as_it_is_answered() {
    let world = World::new(&FIVE).await;
    // The log of its maker reaches nobody but the two who make a majority with it.
    world.net.cut("fra", "syd");
    world.net.cut("fra", "gru");
    assert!(make(&world.at("fra"), "secret").await.unwrap());
    for code in FIVE {
        let began = Instant::now();
        assert!(works(&world.at(code)).await, "{code} does not know the key");
        assert!(began.elapsed() < Duration::from_millis(250), "{code}: {:?}", began.elapsed());
    }
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn of_two_who_make_one_key_one_succeeds() {
    let world = World::new(&FIVE).await;
    let (fra, syd) = (world.at("fra"), world.at("syd"));
    let (first, second) = tokio::join!(make(&fra, "one"), make(&syd, "two"));
    assert_eq!([first.unwrap(), second.unwrap()].iter().filter(|made| **made).count(), 1);
    let secret = async |code| world.at(code).access_key(&id()).await.unwrap().unwrap().secret;
    let everyone = secret("fra").await;
    for code in FIVE {
        assert_eq!(secret(code).await, everyone);
    }
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_works_nowhere_five_seconds_later_though_its_revoker_is_gone() {
    let mut world = World::new(&FIVE).await;
    assert!(make(&world.at("fra"), "secret").await.unwrap());
    sleep(Duration::from_secs(3)).await;
    // Nobody but two hears of it from fra itself.
    world.net.cut("fra", "syd");
    world.net.cut("fra", "gru");
    assert!(revoke(&world.at("fra")).await.unwrap());
    world.kill("fra");
    sleep(limits::KEYS_HEARD_MAX).await;
    for code in &FIVE[1..] {
        let record = world.at(code).access_key(&id()).await.unwrap().unwrap();
        assert!(record.revoked, "{code} still takes the key");
        assert!(world.at(code).keys_heard().unwrap() < limits::KEYS_HEARD_MAX);
    }
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_cut_off_knows_that_it_does_not_know() {
    let world = World::new(&FIVE).await;
    assert!(make(&world.at("fra"), "secret").await.unwrap());
    sleep(Duration::from_secs(3)).await;
    world.kill_links("syd", &["fra", "iad", "nrt", "gru"]);
    assert!(revoke(&world.at("fra")).await.unwrap());
    let revoked = Instant::now();
    while world.at("syd").keys_heard().unwrap() < limits::KEYS_HEARD_MAX {
        assert!(revoked.elapsed() <= limits::KEYS_HEARD_MAX, "syd believes what it knows");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(works(&world.at("syd")).await, "it goes on with what it knows unless told not to");
    world.net.heal();
    sleep(Duration::from_secs(5)).await;
    assert!(!works(&world.at("syd")).await);
    assert!(world.at("syd").keys_heard().unwrap() < limits::KEYS_HEARD_MAX);
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_starts_again_tells_what_it_accepted_before() {
    let mut world = World::new(&FIVE).await;
    assert!(make(&world.at("fra"), "secret").await.unwrap());
    sleep(Duration::from_secs(3)).await;
    world.kill_links("syd", &["fra", "iad", "nrt", "gru"]);
    assert!(revoke(&world.at("fra")).await.unwrap());
    for code in ["fra", "iad", "nrt", "gru"] {
        world.kill(code);
    }
    world.net.heal();
    // syd hears from voters alone that know of no log but their own registers.
    for code in ["iad", "nrt", "gru"] {
        world.boot(code).await;
    }
    sleep(Duration::from_secs(8)).await;
    assert!(world.at("syd").keys_heard().unwrap() < limits::KEYS_HEARD_MAX);
    assert!(!works(&world.at("syd")).await);
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn the_only_voter_makes_and_revokes_keys_alone() {
    let world = World::new(&["fra"]).await;
    assert!(make(&world.at("fra"), "secret").await.unwrap());
    assert!(works(&world.at("fra")).await);
    assert!(revoke(&world.at("fra")).await.unwrap());
    assert!(!revoke(&world.at("fra")).await.unwrap());
    assert!(!works(&world.at("fra")).await);
    assert_eq!(world.at("fra").keys_heard(), Some(Duration::ZERO));
    world.assert_sound();
}
