//! Conditional changes whose bodies do not ride: bytes and value reach a voter in one message, and
//! no value is chosen whose bytes one region alone has, whoever dies when.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::world::*;
use crate::cluster::cells::cell_key;
use crate::cluster::pending::PendingEntry;
use crate::logic::register::acceptor::Cell;
use crate::store::Table;
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::record::{Record, RecordId};

const THREE: [&str; 3] = ["fra", "iad", "nrt"];
const FIVE: [&str; 5] = ["fra", "iad", "nrt", "syd", "gru"];
const BIG: &[u8] = &[7; 50_000];

/// fra - iad 40 ms, fra - nrt 100 ms, iad - nrt 80 ms one way; with five, syd and gru are farther.
async fn world(codes: &[&str]) -> World {
    let world = World::new(codes).await;
    for (a, b, ms) in [
        ("fra", "iad", 40),
        ("fra", "nrt", 100),
        ("iad", "nrt", 80),
        ("fra", "syd", 140),
        ("fra", "gru", 105),
        ("iad", "syd", 110),
        ("iad", "gru", 60),
        ("nrt", "syd", 55),
        ("nrt", "gru", 130),
        ("syd", "gru", 160),
    ] {
        world.net.set_delay_ms(a, b, ms);
    }
    world
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, u128) {
    let start = Instant::now();
    let outcome = work.await;
    (outcome, start.elapsed().as_millis())
}

#[tokio::test(start_paused = true)]
async fn with_three_voters_a_body_that_does_not_ride_costs_what_a_plain_put_of_it_costs() {
    let world = world(&THREE).await;
    let config = bucket(Ack::Default);
    for (code, round) in [("fra", 80), ("iad", 80), ("nrt", 160)] {
        let (at, name) = (world.at(code), format!("k-{code}"));
        let (plain, plain_ms) = timed(put(&at, &config, "plain", BIG)).await;
        plain.unwrap();
        let (cold, cold_ms) = timed(Box::pin(put_if(&at, &config, &name, None, ("1", BIG)))).await;
        cold.unwrap();
        let (warm, warm_ms) =
            timed(Box::pin(put_if(&at, &config, &name, Some("1"), ("2", BIG)))).await;
        assert_eq!(warm.unwrap().acked.len(), 2);
        println!("{code}: plain {plain_ms} ms, cold {cold_ms} ms, warm {warm_ms} ms");
        assert!(plain_ms >= round && warm_ms * 100 <= plain_ms * 115, "{plain_ms} {warm_ms}");
        assert!(cold_ms <= 2 * round + 10, "cold {cold_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn with_five_voters_a_body_that_does_not_ride_costs_its_follower_and_then_a_majority() {
    let world = world(&FIVE).await;
    let config = bucket(Ack::Default);
    let fra = world.at("fra");
    // iad is the nearest other voter, nrt or gru makes the majority.
    let (follower, majority) = (80, 200);
    put_if(&fra, &config, "k", None, ("1", BIG)).await.unwrap();
    let (rode, riding_ms) =
        timed(Box::pin(put_if(&fra, &config, "k", Some("1"), ("2", b"x")))).await;
    rode.unwrap();
    let (warm, warm_ms) = timed(Box::pin(put_if(&fra, &config, "k", Some("2"), ("3", BIG)))).await;
    warm.unwrap();
    assert!(riding_ms >= majority && riding_ms < majority + 10, "rides: {riding_ms} ms");
    let both = follower + majority;
    assert!(warm_ms >= both && warm_ms < both + 10, "does not ride: {warm_ms} ms");
}

fn cell(world: &World, code: &str, id: &RecordId) -> Cell<Record> {
    let view = world.at(code).store().read().unwrap();
    view.get(Table::Register, &cell_key(id)).unwrap().unwrap_or_default()
}

/// How many of these regions have the bytes that the register's accepted values name, the least of
/// all values; `None` where no value is accepted that names any.
fn copies(world: &World, codes: &[&str], id: &RecordId) -> Option<usize> {
    let mut least = None;
    for code in codes.iter().filter(|code| world.is_up(code)) {
        let accepted = cell(world, code, id).accepted;
        let Some(Record::Row(row)) = accepted.map(|a| a.value.state) else { continue };
        let Some((_, meta)) = row.object() else { continue };
        for part in meta.parts.iter().filter(|_| !meta.rides) {
            let holds = |code: &&&str| {
                world.is_up(code) && world.at(code).store().holds(&part.blob.id).unwrap()
            };
            let count = codes.iter().filter(holds).count();
            least = Some(least.map_or(count, |least: usize| least.min(count)));
        }
    }
    least
}

#[tokio::test(start_paused = true)]
async fn no_voter_accepts_a_value_before_two_regions_have_its_bytes() {
    for warm in [false, true] {
        let world = world(&THREE).await;
        let config = bucket(Ack::Default);
        let (fra, of) = (world.at("fra"), config.clone());
        if warm {
            put_if(&fra, &config, "k", None, ("1", b"x")).await.unwrap();
        }
        let before = warm.then_some("1");
        world.run_on("fra", async move {
            put_if(&fra, &of, "k", before, ("2", BIG)).await.unwrap();
        });
        let id = RecordId::Row(config.id, key("k"));
        let mut seen = 0;
        for _ in 0..500 {
            if let Some(copies) = copies(&world, &THREE, &id) {
                assert!(copies >= 2, "a value is accepted whose bytes {copies} regions have");
                seen += 1;
            }
            sleep(Duration::from_millis(1)).await;
        }
        assert!(seen > 0, "no value was seen before it was published");
    }
}

fn is_quiet(world: &World) -> bool {
    THREE.iter().all(|code| {
        let view = world.at(code).store().read().unwrap();
        let pending: Vec<(Vec<u8>, PendingEntry)> =
            view.scan(Table::Pending, &[], None, 9).unwrap();
        pending.iter().all(|(_, entry)| matches!(entry, PendingEntry::Refused { .. }))
    })
}

/// All regions show the same value, with its bytes; which one.
async fn agreed(world: &World, config: &Arc<BucketConfig>) -> String {
    let id = RecordId::Row(config.id, key("k"));
    let mut tags = Vec::new();
    for code in THREE {
        let at = world.at(code);
        let row = at.row_linearizable(&id).await.unwrap();
        let shown = tag(row.as_ref()).unwrap();
        let bytes = get(&at, config, "k").await.unwrap().0;
        let wanted: &[u8] = if shown == "1" { b"x" } else { BIG };
        assert!(bytes == wanted, "{code} shows {shown} with {} bytes", bytes.len());
        tags.push(shown);
    }
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
    tags.remove(0)
}

/// Kills `victim` some milliseconds after fra began a warm change with a large body: what became of
/// the change, as all see it in the end, and what its client was told.
async fn killed(victim: &str, after_ms: u64) -> (String, Option<bool>) {
    let mut world = world(&THREE).await;
    let config = bucket(Ack::Default);
    let (fra, of) = (world.at("fra"), config.clone());
    put_if(&fra, &config, "k", None, ("1", b"x")).await.unwrap();
    let (tell, mut told) = tokio::sync::oneshot::channel();
    world.run_on("fra", async move {
        let made = put_if(&fra, &of, "k", Some("1"), ("2", BIG)).await;
        let _ = tell.send(made.is_ok());
    });
    sleep(Duration::from_millis(after_ms)).await;
    world.kill(victim);
    sleep(Duration::from_secs(30)).await;
    let answered = told.try_recv().ok();
    if victim == "fra" {
        // The others find out alone what became of it.
        let id = RecordId::Row(config.id, key("k"));
        let iad = world.at("iad").row_linearizable(&id).await.unwrap();
        let nrt = world.at("nrt").row_linearizable(&id).await.unwrap();
        assert_eq!(tag(iad.as_ref()), tag(nrt.as_ref()), "killed after {after_ms} ms");
        if tag(nrt.as_ref()).as_deref() == Some("2") {
            assert_eq!(get(&world.at("nrt"), &config, "k").await.unwrap().0, BIG);
        }
    }
    world.boot(victim).await;
    world.until("nothing is pending", is_quiet).await;
    (agreed(&world, &config).await, answered)
}

#[tokio::test(start_paused = true)]
async fn a_proposer_that_dies_at_any_moment_leaves_the_old_value_or_the_new_one_whole() {
    let (mut old, mut new) = (0, 0);
    for after_ms in [1, 30, 41, 60, 79, 82, 100, 140, 183] {
        let (shown, _) = killed("fra", after_ms).await;
        // Until its message has reached the follower, nobody can know of it.
        assert!(after_ms > 40 || shown == "1", "killed after {after_ms} ms: {shown}");
        if shown == "1" { old += 1 } else { new += 1 }
    }
    assert!(old >= 2 && new >= 5, "{old} old, {new} new");
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_dies_at_any_moment_costs_time_and_no_answered_change() {
    for after_ms in [1, 39, 41, 79, 81, 120] {
        let (shown, answered) = killed("iad", after_ms).await;
        assert!(answered.is_some(), "no answer when iad dies after {after_ms} ms");
        if answered == Some(true) {
            assert_eq!(shown, "2", "killed after {after_ms} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_promised_another_one_meanwhile_refuses_and_the_bytes_are_let_go() {
    let world = world(&THREE).await;
    let config = bucket(Ack::Default);
    put_if(&world.at("fra"), &config, "k", None, ("1", b"x")).await.unwrap();
    // nrt changes the key: the ballot of fra is burnt, and fra does not know.
    put_if(&world.at("nrt"), &config, "k", Some("1"), ("2", b"y")).await.unwrap();
    let refused = put_if(&world.at("fra"), &config, "k", Some("1"), ("3", BIG)).await;
    assert!(matches!(refused, Err(NotChanged::Refused | NotChanged::Contested)), "{refused:?}");
    put_if(&world.at("fra"), &config, "k", Some("2"), ("4", BIG)).await.unwrap();
    world.until("the bytes of the refused one are let go", is_quiet).await;
    assert_eq!(get(&world.at("nrt"), &config, "k").await.unwrap().0, BIG);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_comes_after_its_offer_was_given_up_is_not_accepted() {
    let mut world = world(&THREE).await;
    let config = bucket(Ack::Default);
    let (fra, of) = (world.at("fra"), config.clone());
    put_if(&fra, &config, "k", None, ("1", b"x")).await.unwrap();
    // What fra sends to iad from now on comes after fra died, came back and cleaned up.
    world.net.slow_down("fra", "iad", 9_000);
    world.run_on("fra", async move {
        let _ = put_if(&fra, &of, "k", Some("1"), ("2", BIG)).await;
    });
    sleep(Duration::from_millis(100)).await;
    world.kill("fra");
    world.net.set_delay_ms("fra", "iad", 40);
    world.boot("fra").await;
    sleep(Duration::from_secs(60)).await;
    world.until("nothing is pending", is_quiet).await;
    assert_eq!(agreed(&world, &config).await, "1");
}
