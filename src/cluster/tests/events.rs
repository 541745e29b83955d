//! Events of changes: where and how often they are noted, and how they leave the queue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::world::*;
use super::writes::pending;
use crate::cluster::{Decide, Lane, Lost, Tally, Unavailable, Write};
use crate::engine::{Courier, Engine, Options, Undelivered};
use crate::env::BoxFuture;
use crate::limits;
use crate::logic::notify::message::Form;
use crate::logic::notify::{Receiver, Rule, Watch};
use crate::store::{self, Table};
use crate::types::bucket::{Ack, BucketConfig, BucketRecord, SettingKind};
use crate::types::event::EventKind;
use crate::types::name::{AccountId, BucketName};
use crate::types::record::{Record, RecordId};

fn rule(destination: &str, prefix: &str) -> Rule {
    Rule {
        id: destination.to_owned(),
        receiver: Receiver::Queue,
        arn: format!("arn:godwit:sqs::{destination}:webhook"),
        events: vec!["s3:ObjectCreated:*".to_owned(), "s3:ObjectRemoved:*".to_owned()],
        prefix: Some(prefix.to_owned()),
        suffix: None,
        enabled: true,
    }
}

/// A bucket that tells of keys by their first letter: `a` to one destination, `b` to another.
pub async fn watched(world: &World, codes: &[&str]) -> Arc<BucketConfig> {
    let config = bucket(Ack::Default);
    let id = RecordId::Bucket(config.id);
    let rules = vec![rule("one", "a"), rule("two", "b")];
    let watch = Watch { bucket: BucketName::parse("bucket").unwrap(), rules };
    let subject = id.clone();
    let decide: Decide<Unavailable> = Box::new(move |_, stamp| {
        let mut record = BucketRecord::default();
        let bytes = postcard::to_allocvec(&watch).unwrap();
        record.set(SettingKind::Notification, Some(bytes), stamp);
        Ok(vec![(id.clone(), Record::Bucket(Box::new(record)))])
    });
    let cluster = world.at(codes[0]);
    cluster.write(&config, Write { subject, bodies: Vec::new(), decide }).await.unwrap();
    let known = |world: &World, code: &str| {
        let snapshot = world.at(code).store().read().unwrap();
        snapshot.record(&RecordId::Bucket(config.id)).unwrap().is_some()
    };
    world.until("it is known", |w| codes.iter().all(|code| known(w, code))).await;
    config
}

fn waiting(world: &World, code: &str) -> Vec<(String, EventKind, String)> {
    let cluster = world.at(code);
    let (all, lanes) = cluster.lanes().unwrap();
    let mut found = Vec::new();
    for (lane, tally) in &lanes {
        let events = cluster.oldest_events(lane, 1000).unwrap();
        assert_eq!(tally.events, events.len() as u64);
        let told = |event: crate::types::event::Event| (event.kind, event.key.to_string());
        found.extend(events.into_iter().map(|one| {
            let (kind, key) = told(one.event);
            (lane.destination.clone(), kind, key)
        }));
    }
    assert_eq!(all.events, found.len() as u64);
    found
}

fn told(destination: &str, kind: EventKind, key: &str) -> (String, EventKind, String) {
    (destination.to_owned(), kind, key.to_owned())
}

const BIG: usize = 1 << 20;

#[tokio::test(start_paused = true)]
async fn an_answered_change_has_its_event_in_the_region_that_made_it_and_nowhere_else() {
    let world = World::new(&["fra", "iad"]).await;
    let config = watched(&world, &["fra", "iad"]).await;
    put(&world.at("fra"), &config, "a-small", b"x").await.unwrap();
    put(&world.at("fra"), &config, "a-big", &[1; BIG]).await.unwrap();
    put(&world.at("iad"), &config, "b", b"x").await.unwrap();
    put(&world.at("fra"), &config, "other", b"x").await.unwrap();
    world.until("b is known", |w| w.row("fra", &config, "b").is_some()).await;
    delete(&world.at("fra"), &config, "b").await.unwrap();
    delete(&world.at("fra"), &config, "b-never-there").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        waiting(&world, "fra"),
        [
            told("one", EventKind::Put, "a-small"),
            told("one", EventKind::Put, "a-big"),
            told("two", EventKind::Deleted, "b"),
        ]
    );
    assert_eq!(waiting(&world, "iad"), [told("two", EventKind::Put, "b")]);
}

#[tokio::test(start_paused = true)]
async fn events_survive_a_crash() {
    let mut world = World::new(&["fra", "iad"]).await;
    let config = watched(&world, &["fra", "iad"]).await;
    put(&world.at("fra"), &config, "a", b"x").await.unwrap();
    world.kill("fra");
    world.boot("fra").await;
    assert_eq!(waiting(&world, "fra"), [told("one", EventKind::Put, "a")]);
}

/// Begins a write of `a` and ends its origin when the follower holds it.
async fn cut_short(world: &mut World, config: &Arc<BucketConfig>) {
    let cluster = world.at("fra");
    let writing = {
        let (cluster, config) = (cluster.clone(), config.clone());
        tokio::task::spawn(async move { put(&cluster, &config, "a", &[1; BIG]).await })
    };
    world.until("the follower holds it", |w| pending(w, "iad") == 1).await;
    writing.abort();
    drop(cluster);
    world.kill("fra");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_published_after_a_restart_has_its_event_then() {
    let mut world = World::new(&["fra", "iad"]).await;
    let config = watched(&world, &["fra", "iad"]).await;
    cut_short(&mut world, &config).await;
    world.boot("fra").await;
    world.until("it is published", |w| w.row("fra", &config, "a").is_some()).await;
    world.until("nothing is pending", |w| pending(w, "fra") + pending(w, "iad") == 0).await;
    assert_eq!(waiting(&world, "fra"), [told("one", EventKind::Put, "a")]);
    assert_eq!(waiting(&world, "iad"), []);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_follower_publishes_has_its_event_there() {
    let mut world = World::new(&["fra", "iad", "nrt"]).await;
    let config = watched(&world, &["fra", "iad", "nrt"]).await;
    world.net.set_delay_ms("fra", "nrt", 100);
    cut_short(&mut world, &config).await;
    world.until("the follower publishes", |w| w.row("iad", &config, "a").is_some()).await;
    assert_eq!(waiting(&world, "iad"), [told("one", EventKind::Put, "a")]);
    assert_eq!(waiting(&world, "nrt"), []);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_never_was_has_no_event() {
    let mut world = World::new(&["fra", "iad"]).await;
    let config = watched(&world, &["fra", "iad"]).await;
    let cluster = world.at("fra");
    let writing = {
        let (cluster, config) = (cluster.clone(), config.clone());
        tokio::task::spawn(async move { put(&cluster, &config, "a", &[1; BIG]).await })
    };
    world.until("it is noted", |w| pending(w, "fra") == 1).await;
    world.net.cut("fra", "iad");
    assert!(writing.await.unwrap().is_err());
    drop(cluster);
    world.kill("fra");
    world.net.heal();
    world.boot("fra").await;
    world.until("it is discarded", |w| pending(w, "fra") == 0).await;
    assert!(waiting(&world, "fra").is_empty() && waiting(&world, "iad").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_what_comes_and_holds_up_nothing() {
    let world = World::new(&["fra"]).await;
    let config = watched(&world, &["fra"]).await;
    let cluster = world.at("fra");
    let lane = Lane { bucket: config.id, destination: "one".to_owned() };
    let key = lane.key();
    let full = Tally { events: limits::NOTIFY_LANE_EVENTS_MAX, ..Tally::default() };
    let set = cluster.store().write(move |tx| tx.put(Table::Lane, &key, &full));
    let set: Result<(), store::Error> = set.await;
    set.unwrap();
    for name in ["a", "a2", "b"] {
        put(&cluster, &config, name, b"x").await.unwrap();
        assert!(world.row("fra", &config, name).is_some());
    }
    assert!(cluster.oldest_events(&lane, 10).unwrap().is_empty());
    let lost = cluster.notify_metrics().lost.get_or_create(&Lost { why: "full" }).get();
    assert_eq!(lost, 2);
    let (_, lanes) = cluster.lanes().unwrap();
    let other = lanes.iter().find(|(lane, _)| lane.destination == "two").unwrap();
    assert_eq!(other.1.events, 1, "another lane has room");
}

/// Destinations that answer as they are told.
#[derive(Default)]
struct Desk {
    answers: Mutex<BTreeMap<String, Undelivered>>,
    /// Destination and keys of each message that was taken.
    taken: Mutex<Vec<(String, Vec<String>)>>,
    attempts: Mutex<BTreeMap<String, usize>>,
}

impl Desk {
    fn answer(&self, destination: &str, why: Option<Undelivered>) {
        let mut answers = self.answers.lock().unwrap();
        match why {
            Some(why) => answers.insert(destination.to_owned(), why),
            None => answers.remove(destination),
        };
    }

    fn taken(&self) -> Vec<(String, Vec<String>)> {
        self.taken.lock().unwrap().clone()
    }

    fn attempts(&self, destination: &str) -> usize {
        self.attempts.lock().unwrap().get(destination).copied().unwrap_or(0)
    }
}

impl Courier for Desk {
    fn form(&self, _destination: &str) -> Option<Form> {
        Some(Form::S3)
    }

    fn serves(&self, _destination: &str, _account: &AccountId) -> bool {
        true
    }

    fn url(&self, _destination: &str) -> Option<String> {
        None
    }

    fn at(&self, _url: &str) -> Option<String> {
        None
    }

    fn post(
        &self,
        destination: &str,
        message: Bytes,
    ) -> BoxFuture<'static, Result<(), Undelivered>> {
        *self.attempts.lock().unwrap().entry(destination.to_owned()).or_default() += 1;
        let answer = self.answers.lock().unwrap().get(destination).cloned();
        let answer = answer.map_or(Ok(()), Err);
        if answer.is_ok() {
            let message: Value = serde_json::from_slice(&message).unwrap();
            let key = |record: &Value| record["s3"]["object"]["key"].as_str().unwrap().to_owned();
            let keys = message["Records"].as_array().unwrap().iter().map(key).collect();
            self.taken.lock().unwrap().push((destination.to_owned(), keys));
        }
        Box::pin(std::future::ready(answer))
    }
}

fn deliver(world: &World) -> Arc<Desk> {
    let desk = Arc::new(Desk::default());
    let engine = Engine::new(world.at("fra"), Options::default()).with_courier(desk.clone());
    world.run_on("fra", async move { engine.deliver_events(std::future::pending()).await });
    desk
}

fn failed() -> Option<Undelivered> {
    Some(Undelivered::Failed("down".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_down_keeps_only_its_own_events_waiting() {
    let world = World::new(&["fra"]).await;
    let config = watched(&world, &["fra"]).await;
    let desk = deliver(&world);
    desk.answer("one", failed());
    for name in ["a1", "b1", "a2", "b2"] {
        put(&world.at("fra"), &config, name, b"x").await.unwrap();
    }
    world.until("two is done", |w| waiting(w, "fra").len() == 2).await;
    assert!(desk.taken().iter().all(|(destination, _)| destination == "two"));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let attempts = desk.attempts("one");
    assert!((12..60).contains(&attempts), "{attempts} in an hour");
    desk.answer("one", None);
    world.until("one is done", |w| waiting(w, "fra").is_empty()).await;
    let keys: Vec<String> = desk.taken().into_iter().flat_map(|(_, keys)| keys).collect();
    assert_eq!(keys.iter().filter(|key| key.starts_with('a')).count(), 2);
    assert_eq!(world.at("fra").notify_metrics().queued.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_in_few_messages_oldest_first() {
    let world = World::new(&["fra"]).await;
    let config = watched(&world, &["fra"]).await;
    for n in 0..250 {
        put(&world.at("fra"), &config, &format!("a{n:03}"), b"x").await.unwrap();
    }
    let desk = deliver(&world);
    world.until("all are taken", |w| waiting(w, "fra").is_empty()).await;
    let taken = desk.taken();
    let sizes: Vec<usize> = taken.iter().map(|(_, keys)| keys.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    let keys: Vec<String> = taken.into_iter().flat_map(|(_, keys)| keys).collect();
    assert_eq!(keys, (0..250).map(|n| format!("a{n:03}")).collect::<Vec<_>>());
    assert_eq!(world.at("fra").notify_metrics().delivered.get(), 250);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_given_up_one_by_one_and_counted() {
    let world = World::new(&["fra"]).await;
    let config = watched(&world, &["fra"]).await;
    let desk = deliver(&world);
    desk.answer("one", Some(Undelivered::Refused("status 400".to_owned())));
    put(&world.at("fra"), &config, "a1", b"x").await.unwrap();
    put(&world.at("fra"), &config, "a2", b"x").await.unwrap();
    let started = tokio::time::Instant::now();
    while waiting(&world, "fra").len() > 1 {
        assert!(started.elapsed() < Duration::from_secs(3600), "nothing was given up");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(waiting(&world, "fra"), [told("one", EventKind::Put, "a2")]);
    desk.answer("one", None);
    world.until("the rest is taken", |w| waiting(w, "fra").is_empty()).await;
    assert_eq!(desk.taken(), [("one".to_owned(), vec!["a2".to_owned()])]);
    let metrics = world.at("fra").notify_metrics().clone();
    assert_eq!(metrics.lost.get_or_create(&Lost { why: "refused" }).get(), 1);
    assert_eq!((metrics.events.get(), metrics.delivered.get()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_waited_for_a_day_is_given_up() {
    let world = World::new(&["fra"]).await;
    let config = watched(&world, &["fra"]).await;
    let desk = deliver(&world);
    desk.answer("one", failed());
    put(&world.at("fra"), &config, "a", b"x").await.unwrap();
    tokio::time::sleep(limits::NOTIFY_AGE_MAX - Duration::from_secs(60)).await;
    assert_eq!(waiting(&world, "fra").len(), 1);
    let metrics = world.at("fra").notify_metrics().clone();
    assert!(metrics.oldest_seconds.get() > 86_000, "{}", metrics.oldest_seconds.get());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(waiting(&world, "fra").is_empty());
    assert_eq!(metrics.lost.get_or_create(&Lost { why: "old" }).get(), 1);
    assert_eq!((metrics.queued.get(), metrics.oldest_seconds.get()), (0, 0));
}
