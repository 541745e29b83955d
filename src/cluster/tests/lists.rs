//! Lists in the one order that all regions see, and positions of logs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use super::world::*;
use crate::cluster::{Cluster, KeyRange};
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::record::RecordId;

const THREE: [&str; 3] = ["fra", "iad", "nrt"];

/// Keys with their entity tags, where readers see one.
type Shown = BTreeMap<String, String>;

fn range(config: &BucketConfig) -> KeyRange {
    KeyRange { bucket: config.id, prefix: String::new(), after: None, until: None }
}

/// What this region's index shows.
fn shown(cluster: &Cluster, config: &BucketConfig) -> Shown {
    let snapshot = cluster.store().read().unwrap();
    let rows = snapshot.rows(config.id, std::ops::Bound::Unbounded).unwrap();
    rows.filter_map(|row| {
        let (key, row) = row.unwrap();
        Some((key.to_string(), tag(Some(&row))?))
    })
    .collect()
}

async fn list(cluster: &Cluster, config: &BucketConfig) -> Result<Shown, String> {
    cluster.freshen(range(config)).await.map_err(|why| why.reason)?;
    Ok(shown(cluster, config))
}

/// fra - iad 40 ms, fra - nrt 100 ms, iad - nrt 80 ms one way.
async fn three() -> World {
    let world = World::new(&THREE).await;
    world.net.set_delay_ms("fra", "iad", 40);
    world.net.set_delay_ms("fra", "nrt", 100);
    world.net.set_delay_ms("iad", "nrt", 80);
    world
}

#[tokio::test(start_paused = true)]
async fn a_list_shows_what_was_answered_elsewhere_a_moment_ago_and_costs_one_round_trip() {
    let world = three().await;
    let config = bucket(Ack::Default);
    let (fra, iad, nrt) = (world.at("fra"), world.at("iad"), world.at("nrt"));
    put_if(&iad, &config, "a", None, ("1", b"x")).await.unwrap();
    assert_eq!(shown(&fra, &config), Shown::new(), "its log is on its way");
    assert_eq!(list(&fra, &config).await.unwrap()["a"], "1");
    put_if(&nrt, &config, "b", None, ("1", b"x")).await.unwrap();
    put_if(&nrt, &config, "b", Some("1"), ("2", b"y")).await.unwrap();
    let listed = list(&fra, &config).await.unwrap();
    assert_eq!(listed, [("a", "1"), ("b", "2")].map(|(k, t)| (k.to_owned(), t.to_owned())).into());
    delete_if(&iad, &config, "a", "1").await.unwrap();
    assert!(!list(&fra, &config).await.unwrap().contains_key("a"));
    sleep(Duration::from_secs(10)).await;
    let start = Instant::now();
    list(&fra, &config).await.unwrap();
    let ms = start.elapsed().as_millis();
    assert!((80..90).contains(&ms), "{ms} ms");
}

#[tokio::test(start_paused = true)]
async fn a_list_without_a_majority_of_the_voters_is_refused() {
    let mut world = three().await;
    let config = bucket(Ack::Default);
    put_if(&world.at("fra"), &config, "a", None, ("1", b"x")).await.unwrap();
    world.kill("nrt");
    assert_eq!(list(&world.at("fra"), &config).await.unwrap().len(), 1);
    world.kill("iad");
    let why = list(&world.at("fra"), &config).await.unwrap_err();
    assert!(why.contains("majority"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_value_whose_proposer_died_is_listed_although_no_log_has_it() {
    let mut world = three().await;
    let config = bucket(Ack::Default);
    let (nrt, of) = (world.at("nrt"), config.clone());
    world.run_on("nrt", async move {
        let _ = put_if(&nrt, &of, "k", None, ("1", b"body")).await;
    });
    // Two round trips to iad less its last way back: the offer is there, its answer is not.
    sleep(Duration::from_millis(3 * 80 + 20)).await;
    world.kill("nrt");
    let listed = list(&world.at("fra"), &config).await.unwrap();
    assert_eq!(listed.get("k").map(String::as_str), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_list_asks_no_farther_than_its_page_ends() {
    let world = three().await;
    let config = bucket(Ack::Default);
    let nrt = world.at("nrt");
    for name in ["a", "b/1", "b/2", "c"] {
        put_if(&nrt, &config, name, None, ("1", b"x")).await.unwrap();
    }
    let open = |prefix: &str, after: Option<&str>, until: Option<&str>| {
        let range = KeyRange {
            bucket: config.id,
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            until: until.map(str::to_owned),
        };
        let snapshot = world.at("iad").store().read().unwrap();
        let (open, more) = crate::cluster::cells::open_in(&snapshot, &range).unwrap();
        assert!(!more);
        open.into_iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>()
    };
    world.until("all rows are there", |_| open("", None, None).is_empty()).await;
    let writes = ["a", "b/1", "b/2", "c"].map(|name| {
        let (nrt, config) = (nrt.clone(), config.clone());
        async move { put_if(&nrt, &config, name, Some("1"), ("2", b"y")).await }
    });
    let all = futures_util::future::join_all(writes);
    // What iad accepted shows in no row of it before nrt's log comes.
    let offered = async {
        world.until("all are offered", |_| open("", None, None).len() == 4).await;
        assert_eq!(open("", Some("a"), None), ["b/1", "b/2", "c"]);
        assert_eq!(open("b/", None, None), ["b/1", "b/2"]);
        assert_eq!(open("b/", Some("b/1"), None), ["b/2"]);
        assert_eq!(open("", None, Some("b/")), ["a", "b/1", "b/2"]);
        assert_eq!(open("", Some("a"), Some("b/1")), ["b/1"]);
    };
    let (changed, ()) = tokio::join!(all, offered);
    assert!(changed.iter().all(Result::is_ok), "{changed:?}");
    world.until("their rows are there", |_| open("", None, None).is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn positions_cover_what_came_apart_from_the_logs() {
    let world = World::new(&["fra", "iad", "nrt", "syd"]).await;
    let config = bucket(Ack::Count(2));
    for other in ["fra", "syd"] {
        world.net.cut("nrt", other);
    }
    put(&world.at("nrt"), &config, "k", b"x").await.unwrap();
    let (fra, syd) = (world.at("fra"), world.at("syd"));
    let before = fra.known_positions().unwrap();
    // By the miss check from iad, before anybody relays the log of nrt.
    assert!(fra.row(&config, &key("k")).await.unwrap().is_some());
    let known = fra.known_positions().unwrap();
    assert!(world.row("syd", &config, "k").is_none());
    let log = known.keys().find(|(origin, _)| *origin == region("nrt")).copied().unwrap();
    assert!(known[&log] > before.get(&log).copied().unwrap_or(0), "{known:?}");
    syd.reach(&known, Duration::from_secs(2)).await.unwrap();
    assert!(world.row("syd", &config, "k").is_some());
    world.net.heal();
    // Positions that nobody has are not waited for for ever.
    let beyond = [(log, known[&log] + 100)].into();
    assert!(syd.reach(&beyond, Duration::from_secs(2)).await.is_err());
    fra.reach(&known, Duration::from_secs(10)).await.unwrap();
}

/// What is known of one key, all times by the world's clock.
#[derive(Default)]
struct Story {
    /// Number, and when its write began.
    tried: Vec<(u64, Duration)>,
    /// Number, and when its write was answered.
    made: Vec<(u64, Duration)>,
    delete_tried: Option<Duration>,
    deleted: Option<Duration>,
}

impl Story {
    /// Whether a write of this number was not answered by then.
    fn under_way(&self, number: u64, then: Duration) -> bool {
        let tried = self.tried.iter().filter(|(n, _)| *n == number).count();
        let made = self.made.iter().filter(|(n, at)| *n == number && *at < then).count();
        tried > made
    }
}

/// What one list showed of all keys; a deleted key and one that was not made yet are both absent.
struct Look {
    from: Duration,
    to: Duration,
    shown: Shown,
}

#[derive(Default)]
struct Ledger {
    keys: BTreeMap<String, Story>,
    looks: Vec<Look>,
}

type Shared = Arc<Mutex<Ledger>>;

/// Writes the next number to a key, or deletes it for good.
async fn change(
    cluster: Cluster,
    config: Arc<BucketConfig>,
    ledger: Shared,
    name: String,
    delete: bool,
) {
    let now = || cluster.env().monotonic();
    let id = RecordId::Row(config.id, key(&name));
    let Ok(row) = cluster.row_linearizable(&id).await else { return };
    let current = tag(row.as_ref());
    let note = |note: &dyn Fn(&mut Story)| {
        note(ledger.lock().unwrap().keys.entry(name.clone()).or_default());
    };
    match current {
        Some(current) if delete => {
            let began = now();
            note(&|story| story.delete_tried = Some(story.delete_tried.unwrap_or(began)));
            if delete_if(&cluster, &config, &name, &current).await.is_ok() {
                note(&|story| story.deleted = Some(now()));
            }
        }
        // A deleted key is not made again.
        None if row.is_some() => {}
        current => {
            let next = current.as_ref().map_or(0, |n| n.parse::<u64>().unwrap()) + 1;
            let began = now();
            note(&|story| story.tried.push((next, began)));
            let made = next.to_string();
            let change = (made.as_str(), made.as_bytes());
            if put_if(&cluster, &config, &name, current.as_deref(), change).await.is_ok() {
                note(&|story| story.made.push((next, now())));
            }
        }
    }
}

async fn look(cluster: Cluster, config: Arc<BucketConfig>, ledger: Shared) {
    let from = cluster.env().monotonic();
    if let Ok(shown) = list(&cluster, &config).await {
        let to = cluster.env().monotonic();
        ledger.lock().unwrap().looks.push(Look { from, to, shown });
    }
}

fn check(ledger: &Ledger, seed: u64) -> usize {
    for (name, story) in &ledger.keys {
        for look in &ledger.looks {
            let what = format!("seed {seed}, {name}, list of {:?} to {:?}", look.from, look.to);
            let answered =
                story.made.iter().filter(|(_, at)| *at < look.from).map(|(n, _)| *n).max();
            match look.shown.get(name) {
                None => assert!(
                    answered.is_none() || story.delete_tried.is_some_and(|at| at < look.to),
                    "{what}: it was answered and is not listed"
                ),
                Some(number) => {
                    let number: u64 = number.parse().unwrap();
                    let begun = story.tried.iter().any(|(n, at)| *n == number && *at < look.to);
                    assert!(begun, "{what}: {number} was not written yet");
                    // One that was under way when the key was deleted may make it again.
                    let again = story.delete_tried.is_some_and(|at| story.under_way(number, at));
                    assert!(
                        answered <= Some(number) || again,
                        "{what}: {number} after {answered:?}"
                    );
                    assert!(
                        story.deleted.is_none_or(|at| at > look.from) || again,
                        "{what}: it was deleted and is listed"
                    );
                }
            }
            for later in ledger.looks.iter().filter(|later| later.from > look.to) {
                let number = |shown: &Shown| shown.get(name).map(|n| n.parse::<u64>().unwrap());
                match (number(&look.shown), number(&later.shown)) {
                    (Some(first), Some(second)) => assert!(
                        first <= second
                            || story.delete_tried.is_some_and(|at| story.under_way(second, at)),
                        "{what}: went back"
                    ),
                    (Some(_), None) => assert!(story.delete_tried.is_some(), "{what}: was lost"),
                    (None, _) => {}
                }
            }
        }
    }
    ledger.looks.len()
}

async fn step(
    world: &mut World,
    rng: &mut StdRng,
    (config, ledger): (&Arc<BucketConfig>, &Shared),
    codes: &[&'static str],
    dead: &mut Option<&'static str>,
    at: u64,
) {
    let code = codes[rng.random_range(0..codes.len())];
    let action = rng.random_range(0..40);
    if action < 34 && *dead != Some(code) {
        let (cluster, ledger) = (world.at(code), ledger.clone());
        let config = config.clone();
        // Some keys are changed again and again, and new ones come.
        let name = format!("k{}", at / 12 + rng.random_range(0..4));
        match action {
            0..20 => world.run_on(code, change(cluster, config, ledger, name, false)),
            20..23 => world.run_on(code, change(cluster, config, ledger, name, true)),
            _ => world.run_on(code, look(cluster, config, ledger)),
        }
    }
    let other = codes[rng.random_range(0..codes.len())];
    match action {
        34 => world.net.cut(code, other),
        35 | 36 => world.net.heal(),
        37 => world.net.set_delay_ms(code, other, rng.random_range(1..150)),
        38 if dead.is_none() => {
            world.kill(code);
            *dead = Some(code);
        }
        39 => {
            if let Some(code) = dead.take() {
                world.boot(code).await;
            }
        }
        _ => {}
    }
    sleep(Duration::from_millis(rng.random_range(0..250))).await;
}

async fn run(seed: u64) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    // The fifth has no vote.
    let codes = ["fra", "iad", "nrt", "syd"];
    let mut world = World::new(&codes).await;
    world.net.lose(2, seed);
    let (config, ledger) = (bucket(Ack::Default), Shared::default());
    let mut dead = None;
    for at in 0..250 {
        step(&mut world, &mut rng, (&config, &ledger), &codes, &mut dead, at).await;
    }
    sleep(Duration::from_secs(20)).await;
    world.assert_sound();
    let ledger = ledger.lock().unwrap();
    check(&ledger, seed)
}

#[tokio::test(start_paused = true)]
async fn lists_show_all_that_was_answered_before_and_nothing_that_was_deleted_whatever_breaks() {
    let number = |variable: &str| std::env::var(variable).ok()?.parse::<u64>().ok();
    let seeds = match number("GODWIT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GODWIT_SEEDS").unwrap_or(10),
    };
    let mut lists = 0;
    for seed in seeds.clone() {
        lists += Box::pin(run(seed)).await;
    }
    println!("{lists} lists were answered");
    assert!(lists >= 10 * seeds.count(), "{lists} lists");
}
