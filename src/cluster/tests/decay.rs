//! Bits that flip in what stands twice in the index: the region goes on as if nothing had happened.

use super::world::*;
use crate::cluster::cells::cell_key;
use crate::cluster::receive::log_key;
use crate::store::EntriesMark;
use crate::types::bucket::Ack;
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

/// The places of these bytes in the index of a node that is stopped; in each of them a bit flips once,
/// and the node is started.
async fn decayed(world: &mut World, code: &str, bytes: &[u8], nth: usize) -> usize {
    world.at(code).store().close().await.unwrap();
    world.kill(code);
    let places = world.decay_index(code, bytes, nth);
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
