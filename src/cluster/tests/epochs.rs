//! What a voter takes of the members late, and what it forgets with an epoch.

use std::pin::pin;
use std::time::Duration;

use futures_util::poll;

use super::world::*;
use crate::cluster::ClusterOptions;
use crate::cluster::members::Members;
use crate::cluster::rules::Rule;
use crate::limits;
use crate::logic::register::change::Electorate;
use crate::logic::register::{Answer, Ask, Ballot, Value};
use crate::net::registers::{RegisterRequest, RegisterResponse};
use crate::types::bucket::Ack;
use crate::types::id::OpId;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::{Hlc, Stamp};

const THREE: [&str; 3] = ["fra", "iad", "nrt"];

/// The next version of the members, in the next epoch with these voters.
fn next(members: &Members, voters: &[&str]) -> Members {
    let voters = voters.iter().map(|code| region(code));
    let electorate = Electorate::first(members.electorate.epoch() + 1, voters);
    Members { version: members.version + 1, electorate, ..members.clone() }
}

/// Has one voter alone accept a value of the members' register.
async fn offer(world: &World, at: &str, members: Members) {
    let cluster = world.at(at);
    let known = cluster.members();
    let ballot = Ballot { round: 1, region: region("fra"), nonce: 7 };
    let (stamp, judged) = (members.stamp, Stamp::ZERO);
    let value = Value { stamp, ops: vec![OpId(7)], state: Record::Members(Box::new(members)) };
    for ask in [Ask::Prepare { ballot }, Ask::Accept { ballot, value, judged, next: None }] {
        let request = RegisterRequest::Record {
            epoch: known.electorate.epoch(),
            voters: known.voters(),
            id: RecordId::Members,
            ask,
            bodies: Vec::new(),
        };
        let answer = cluster.registers().answer(region("fra"), request).await.unwrap();
        let RegisterResponse::Record { answer, .. } = answer else { panic!("{answer:?}") };
        assert!(matches!(*answer, Answer::Promised { .. } | Answer::Accepted { .. }), "{answer:?}");
    }
}

fn version(world: &World, code: &str) -> u64 {
    world.at(code).members().version
}

/// Later members that iad has written down, and has not taken: nobody waited for its disk any more.
async fn written_late(world: &World) -> Members {
    let iad = world.at("iad");
    let decided = next(&iad.members(), &THREE);
    {
        let mut adopting = pin!(iad.adopt(decided.clone()));
        assert!(poll!(adopting.as_mut()).is_pending(), "nothing was left to wait for");
    }
    let written = |world: &World| {
        let view = world.at("iad").store().read().unwrap();
        Members::stored(&view).unwrap().unwrap().version
    };
    world.until("it is written down", |w| written(w) == decided.version).await;
    assert!(version(world, "iad") < decided.version, "it was taken at once");
    decided
}

/// Found by seed 17 of the simulation: a voter whose disk answered too late answered for the new
/// epoch and counted the voters of the old one until it was started again, and refused everyone.
#[tokio::test(start_paused = true)]
async fn members_that_a_slow_disk_writes_down_when_nobody_waits_any_more_are_taken() {
    let world = World::new(&THREE).await;
    let config = bucket(Ack::Default);
    let decided = written_late(&world).await;
    world.until("it is taken", |w| version(w, "iad") == decided.version).await;
    // Without nrt each change needs that voter.
    world.kill_links("nrt", &["fra", "iad"]);
    for code in ["fra", "iad"] {
        put_if(&world.at(code), &config, code, None, ("1", b"body")).await.unwrap();
    }
    world.assert_sound();
}

/// Found by seed 416 of the simulation: the node that drove the change of voters asked for its end
/// again and again, heard each time that it was decided, and had it written down already.
#[tokio::test(start_paused = true)]
async fn members_that_are_written_down_already_are_taken_when_they_are_heard_of_again() {
    let world = World::new(&THREE).await;
    let decided = written_late(&world).await;
    world.at("iad").adopt(decided.clone()).await.unwrap();
    assert_eq!(version(&world, "iad"), decided.version);
    world.assert_sound();
}

/// A value of the members that one voter accepted, later by its stamp than what was decided without
/// that voter; after both have taken what was decided.
async fn left_behind(options: ClusterOptions) -> (World, Members) {
    let world = World::with(&THREE, options).await;
    let fra = world.at("fra");
    let now = fra.members();
    world.kill_links("iad", &["fra", "nrt"]);
    // Offered, accepted by one, and never chosen; with the later stamp.
    let late = Stamp { hlc: Hlc::from_ms(fra.env().now_ms() + 400), region: region("nrt") };
    offer(&world, "iad", Members { stamp: late, ..next(&now, &["nrt"]) }).await;
    let decided = Members { stamp: fra.stamp(Stamp::ZERO), ..next(&now, &["iad"]) };
    assert!(decided.stamp < late);
    world.net.heal();
    for code in THREE {
        world.at(code).adopt(decided.clone()).await.unwrap();
    }
    (world, decided)
}

/// Who keeps the registers, as the voter that accepted something else reads it.
async fn found(world: &World) -> Electorate {
    let iad = world.at("iad");
    let seen = iad.registers().look(&RecordId::Members, limits::REGISTER_TIMEOUT).await.unwrap();
    iad.members_in(seen.as_ref()).electorate.clone()
}

/// The voters before a change decide alone about its end; those after it need not meet them.
#[tokio::test(start_paused = true)]
async fn what_one_voter_accepted_of_the_members_in_an_earlier_epoch_is_not_found_again() {
    let (world, decided) = left_behind(ClusterOptions::default()).await;
    assert_eq!(found(&world).await, decided.electorate);
    let drained = world.at("iad").drain_region(region("nrt")).await.unwrap();
    assert_eq!(drained.version, decided.version + 1);
    assert_eq!(drained.electorate.everyone(), [region("iad")].into());
    tokio::time::sleep(Duration::from_secs(120)).await;
    let voters: Vec<RegionId> = world.at("fra").members().voters();
    assert!(THREE.iter().all(|code| world.at(code).members().voters() == voters));
    world.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_members_register_that_outlives_its_epoch_names_voters_that_nobody_chose() {
    let (world, decided) = left_behind(ClusterOptions::without(Rule::MembersBeginAnew)).await;
    assert_ne!(found(&world).await, decided.electorate);
    assert_eq!(found(&world).await.everyone(), [region("nrt")].into());
}
