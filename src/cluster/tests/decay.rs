//! Bits that flip in the index. In what stands twice: the region goes on as if nothing had happened. In
//! records: they are mended by peers, and of the log.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::world::*;
use crate::cluster::cells::cell_key;
use crate::cluster::receive::log_key;
use crate::limits;
use crate::store::{EntriesMark, Error};
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::object::Row;
use crate::types::record::RecordId;

/// Every entry is looked at, as scrub does, and mended.
async fn mended(world: &World, code: &str) {
    let cluster = world.at(code);
    let mut next = Some(EntriesMark::default());
    while let Some(mark) = next {
        next = cluster.store().check_entries(mark).await.unwrap().next;
    }
    assert_eq!(cluster.store().mend_twins().await.unwrap().lost, 0);
    cluster.store().mend_entries().await.unwrap();
    assert_eq!(cluster.damaged().unwrap(), (Vec::new(), 0));
}

/// Where these bytes are in an index.
fn places(data: &[u8], bytes: &[u8]) -> Vec<usize> {
    let windows = data.windows(bytes.len()).enumerate();
    windows.filter(|(_, window)| *window == bytes).map(|(at, _)| at).collect()
}

/// Flips a bit of the nth place of these bytes in the index of a node that is stopped, or of all; how
/// many there are.
pub(super) fn flip(world: &World, code: &str, bytes: &[u8], nth: Option<usize>) -> usize {
    world.change_index(code, |data| {
        let places = places(data, bytes);
        for (n, at) in places.iter().enumerate() {
            let hit = nth.is_none_or(|nth| nth % places.len() == n);
            data[at + bytes.len() / 2] ^= if hit { 4 } else { 0 };
        }
        places.len()
    })
}

/// The places of these bytes in the index of a node that is stopped; in each of them a bit flips once,
/// and the node is started.
async fn decayed(world: &mut World, code: &str, bytes: &[u8], nth: usize) -> usize {
    world.at(code).store().close().await.unwrap();
    world.kill(code);
    let places = flip(world, code, bytes, Some(nth));
    world.boot(code).await;
    places
}

#[tokio::test(start_paused = true)]
async fn a_voter_whose_register_decays_keeps_its_promise_and_votes_on() {
    let mut world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Count(1));
    let id = RecordId::Row(config.id, key("k"));
    put_if(&world.at("iad"), &config, "k", None, ("0", b"0")).await.unwrap();
    let (mut nth, mut places, mut round) = (0, 1, 0);
    while nth < places {
        places = decayed(&mut world, "fra", &cell_key(&id), nth).await;
        world.until("fra votes", |w| w.at("fra").registers_waiting().is_none()).await;
        // With nrt cut off nothing is decided without fra.
        world.kill_links("nrt", &["fra", "iad"]);
        let (old, new) = (round.to_string(), (round + 1).to_string());
        round += 1;
        let change = (new.as_str(), new.as_bytes());
        let stale = put_if(&world.at("iad"), &config, "k", Some("no"), change).await;
        assert!(stale.is_err(), "place {nth} of {places}");
        put_if(&world.at("iad"), &config, "k", Some(&old), change).await.unwrap();
        let read = world.at("fra").row_linearizable(&id).await.unwrap();
        assert_eq!(tag(read.as_ref()), Some(new), "place {nth} of {places}");
        world.net.heal();
        mended(&world, "fra").await;
        nth += (places / 8).max(1);
    }
    assert!(places > 1, "it stands in {places} places");
}

#[tokio::test(start_paused = true)]
async fn a_region_whose_cursor_decays_goes_on_with_the_logs_where_it_was() {
    let mut world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Count(1));
    put(&world.at("iad"), &config, "before", b"1").await.unwrap();
    world.until("fra has it", |w| w.row("fra", &config, "before").is_some()).await;
    let iad = world.at("iad");
    let log = log_key(iad.region(), iad.store().incarnation());
    let (mut nth, mut places) = (0, 1);
    while nth < places {
        places = decayed(&mut world, "fra", &log, nth).await;
        let name = format!("after{nth}");
        put(&world.at("iad"), &config, &name, b"2").await.unwrap();
        world.until("fra has it", |w| w.row("fra", &config, &name).is_some()).await;
        let known = world.at("fra").known_positions().unwrap();
        let its = world.at("iad").known_positions().unwrap();
        let log = (iad.region(), iad.store().incarnation());
        assert_eq!(known.get(&log), its.get(&log), "place {nth} of {places}");
        mended(&world, "fra").await;
        nth += (places / 8).max(1);
    }
    assert!(places > 1, "it stands in {places} places");
}

/// Of these bytes a bit flips wherever they are in the index of a node, which is stopped for that.
async fn decayed_everywhere(world: &mut World, code: &str, bytes: &[u8]) {
    world.at(code).store().close().await.unwrap();
    world.kill(code);
    assert!(flip(world, code, bytes, None) > 0, "it is not in the index");
    world.boot(code).await;
}

/// Bytes of every row that `put` makes.
const IN_EVERY_ROW: &[u8] = b"owner";

fn row_at(world: &World, code: &str, config: &BucketConfig, name: &str) -> Result<Row, Error> {
    let row = world.at(code).store().read().unwrap().row(config.id, &key(name));
    row.map(|row| row.expect("it was written"))
}

/// The names in a bucket, as a list says them.
fn listed(world: &World, code: &str, config: &BucketConfig) -> Result<Vec<String>, Error> {
    let snapshot = world.at(code).store().read().unwrap();
    let rows = snapshot.rows(config.id, Bound::Unbounded)?;
    rows.map(|row| row.map(|(key, _)| key.to_string())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_alone_mends_its_records_of_its_log_and_lists_again() {
    let mut world = World::new(&["fra"]).await;
    let config = bucket(Ack::Count(1));
    let names: Vec<String> = (0..20).map(|n| format!("k{n:02}")).collect();
    for name in names.iter().chain(&names) {
        put(&world.at("fra"), &config, name, name.as_bytes()).await.unwrap();
    }
    let sound: Vec<Row> =
        names.iter().map(|name| world.row("fra", &config, name).unwrap()).collect();
    decayed_everywhere(&mut world, "fra", IN_EVERY_ROW).await;
    for name in &names {
        assert!(row_at(&world, "fra", &config, name).is_err(), "{name}");
    }
    assert!(listed(&world, "fra", &config).is_err());
    world.until("they are whole", |w| w.at("fra").damaged().unwrap().1 == 0).await;
    assert_eq!(listed(&world, "fra", &config).unwrap(), names);
    for (name, sound) in names.iter().zip(sound) {
        assert_eq!(row_at(&world, "fra", &config, name).unwrap(), sound, "{name}");
        assert_eq!(get(&world.at("fra"), &config, name).await.unwrap().0, name.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_only_this_region_had_is_mended_of_its_log_and_not_by_what_peers_had_before()
{
    for heals in [false, true] {
        let mut world = World::new(&["fra", "iad", "nrt"]).await;
        let config = bucket(Ack::Count(1));
        put(&world.at("fra"), &config, "k", b"before").await.unwrap();
        for code in ["iad", "nrt"] {
            world.until("it is there", |w| w.row(code, &config, "k").is_some()).await;
        }
        world.kill_links("fra", &["iad", "nrt"]);
        put(&world.at("fra"), &config, "k", b"after").await.unwrap();
        let sound = world.row("fra", &config, "k").unwrap();
        decayed_everywhere(&mut world, "fra", IN_EVERY_ROW).await;
        assert!(row_at(&world, "fra", &config, "k").is_err());
        if heals {
            world.net.heal();
        }
        let whole = |w: &World| row_at(w, "fra", &config, "k").is_ok();
        world.until("it is whole", whole).await;
        assert_eq!(get(&world.at("fra"), &config, "k").await.unwrap().0, b"after");
        let version = |row: &Row| row.versions.last().unwrap().stamp;
        let mended = row_at(&world, "fra", &config, "k").unwrap();
        assert_eq!(version(&mended), version(&sound));
        world.net.heal();
        let same = |w: &World| w.row("iad", &config, "k") == w.row("fra", &config, "k");
        world.until("iad has it", same).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_is_looked_through_once_and_again_when_tries_are_forgotten() {
    let mut world = World::new(&["fra"]).await;
    let config = bucket(Ack::Count(1));
    put(&world.at("fra"), &config, "k", b"some bytes of it").await.unwrap();
    let sound = world.row("fra", &config, "k").unwrap();
    decayed_everywhere(&mut world, "fra", IN_EVERY_ROW).await;
    // The same frame has the bytes.
    assert_eq!(world.decay("fra", b"some bytes of it"), 1);
    assert!(row_at(&world, "fra", &config, "k").is_err());
    tokio::time::sleep(limits::MEND_INTERVAL * 2).await;
    assert!(row_at(&world, "fra", &config, "k").is_err(), "the frame is no frame");
    let mut flipped = b"some bytes of it".to_vec();
    flipped[8] ^= 4;
    assert_eq!(world.decay("fra", &flipped), 1);
    tokio::time::sleep(limits::MEND_INTERVAL * 5).await;
    assert!(row_at(&world, "fra", &config, "k").is_err(), "it was looked for again");
    world.at("fra").inner.mending.forget_tries();
    world.until("it is whole", |w| row_at(w, "fra", &config, "k").is_ok()).await;
    assert_eq!(row_at(&world, "fra", &config, "k").unwrap(), sound);
}

#[tokio::test(start_paused = true)]
async fn pages_of_damaged_records_are_mended_one_after_the_other_without_a_pause() {
    let mut world = World::new(&["fra", "iad"]).await;
    world.net.set_delay_ms("fra", "iad", 1);
    let config = bucket(Ack::Count(1));
    let count = limits::DAMAGED_PAGE * 2 + 50;
    let names: Vec<String> = (0..count).map(|n| format!("k{n:04}")).collect();
    for name in &names {
        put(&world.at("fra"), &config, name, b"").await.unwrap();
    }
    world.until("iad has them", |w| w.row("iad", &config, &names[count - 1]).is_some()).await;
    decayed_everywhere(&mut world, "fra", IN_EVERY_ROW).await;
    let bad = names.iter().filter(|name| row_at(&world, "fra", &config, name).is_err()).count();
    assert_eq!(bad, count);
    world.at("fra").inner.mending.wake();
    let began = world.now();
    world.until("they are whole", |w| w.at("fra").damaged().unwrap().1 == 0).await;
    let took = world.now() - began;
    assert!(took < limits::MEND_INTERVAL, "{took:?}");
    assert_eq!(listed(&world, "fra", &config).unwrap(), names);
}

#[tokio::test(start_paused = true)]
async fn pages_that_make_no_sense_are_mended_while_the_node_runs() {
    let mut world = World::new(&["fra", "iad", "nrt"]).await;
    let config = bucket(Ack::Count(2));
    let names: Vec<String> = (0..150).map(|n| format!("object-{n:03}")).collect();
    for name in &names {
        put(&world.at("fra"), &config, name, name.as_bytes()).await.unwrap();
    }
    world.until("nrt has the last", |w| w.row("nrt", &config, "object-149").is_some()).await;
    for part in ["object-075", "object-010"] {
        world.at("fra").store().close().await.unwrap();
        world.kill("fra");
        // In all places at once: of its record, its digest, its reference and its number in the log.
        let pages = world.change_index("fra", |data| {
            let pages: BTreeSet<usize> =
                places(data, part.as_bytes()).into_iter().map(|at| at - at % 4096).collect();
            pages.iter().for_each(|page| data[*page] ^= 8);
            pages.len()
        });
        assert!(pages > 2, "{part} is in {pages} pages");
        world.boot("fra").await;
        let listed = |w: &World| {
            let store = w.at("fra").store().clone();
            let rows = store.read()?.rows(config.id, Bound::Unbounded)?;
            rows.map(|row| Ok(row?.0.to_string())).collect::<Result<Vec<_>, Error>>()
        };
        let whole = |w: &World| {
            w.at("fra").damaged().is_ok_and(|damaged| damaged == (Vec::new(), 0))
                && listed(w).is_ok_and(|listed| listed == names)
        };
        // Whoever reads meets the pages.
        let store = world.at("fra").store().clone();
        for name in &names {
            match store.read().unwrap().row(config.id, &key(name)) {
                Ok(Some(_)) | Err(Error::Corrupt(_)) => {}
                other => panic!("{name}: {other:?}"),
            }
        }
        world.until("fra is whole", whole).await;
        for name in &names {
            let (read, _) = get(&world.at("fra"), &config, name).await.unwrap();
            assert_eq!(read, name.as_bytes(), "{name}");
        }
        put(&world.at("fra"), &config, "object-000", b"object-000").await.unwrap();
    }
}
