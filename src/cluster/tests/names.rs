//! Bucket names between whole nodes over a bad network, on virtual time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::world::{self, World};
use crate::cluster::cells::CELL;
use crate::cluster::{Cluster, CreateOutcome, DeleteOutcome, RestoreOutcome, Unavailable};
use crate::limits;
use crate::logic::register::acceptor::Cell;
use crate::store::{self, Table};
use crate::types::bucket::{Ack, BucketConfig, Consistency, Location, Versioning};
use crate::types::id::BucketId;
use crate::types::name::{AccountId, BucketName};
use crate::types::record::Record;

const THREE: [&str; 3] = ["fra", "iad", "nrt"];

fn name(text: &str) -> BucketName {
    BucketName::parse(text).unwrap()
}

fn config(id: u8) -> BucketConfig {
    BucketConfig {
        id: BucketId([id; 16]),
        owner: AccountId("alice".into()),
        created_ms: 1,
        location: Location::Everywhere,
        ack: Ack::Default,
        copies: 2,
        riding_bytes_max: 4096,
        versioning: Versioning::Off,
        lock: None,
        policy: None,
        access_block: None,
        consistency: Consistency::Eventual,
    }
}

/// Puts an object that rides in its row.
async fn put(cluster: &Cluster, config: &BucketConfig, key: &str) -> Result<(), Unavailable> {
    world::put(cluster, &Arc::new(config.clone()), key, b"x").await.map(|_| ())
}

async fn delete(cluster: &Cluster, config: &BucketConfig, key: &str) {
    world::delete(cluster, &Arc::new(config.clone()), key).await.unwrap();
}

async fn id_at(cluster: &Cluster, bucket: &str) -> Option<BucketId> {
    cluster.bucket(&name(bucket)).await.unwrap().map(|config| config.id)
}

#[tokio::test(start_paused = true)]
async fn one_region_makes_finds_and_gives_up_names_alone() {
    let world = World::new(&["fra"]).await;
    let fra = &world.at("fra");
    assert_eq!(id_at(fra, "photos").await, None);
    let began = Instant::now();
    let created = fra.create_bucket(&name("photos"), config(1)).await.unwrap();
    assert_eq!(created, CreateOutcome::Created);
    let again = fra.create_bucket(&name("photos"), config(2)).await.unwrap();
    assert_eq!(again, CreateOutcome::Exists(config(1)));
    assert_eq!(id_at(fra, "photos").await, Some(config(1).id));
    put(fra, &config(1), "a").await.unwrap();
    let full = fra.delete_bucket(&name("photos"), config(1).id, None).await.unwrap();
    assert_eq!(full, DeleteOutcome::NotEmpty);
    delete(fra, &config(1), "a").await;
    let gone = fra.delete_bucket(&name("photos"), config(1).id, None).await.unwrap();
    assert_eq!(gone, DeleteOutcome::Deleted);
    assert!(put(fra, &config(1), "b").await.is_err());
    let twice = fra.delete_bucket(&name("photos"), config(1).id, None).await.unwrap();
    assert_eq!(twice, DeleteOutcome::NotFound);
    let other = fra.create_bucket(&name("photos"), config(3)).await.unwrap();
    assert_eq!(other, CreateOutcome::Created);
    put(fra, &config(3), "b").await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn of_two_creates_of_one_name_at_once_at_most_one_succeeds() {
    let (mut created, mut unknown) = (0, 0);
    for seed in 0..20 {
        let world = World::new(&THREE).await;
        world.net.lose(20, seed);
        let (fra, nrt) = (&world.at("fra"), world.at("nrt"));
        let bucket = name("photos");
        let (a, b) = tokio::join!(
            fra.create_bucket(&bucket, config(1)),
            nrt.create_bucket(&bucket, config(2)),
        );
        world.net.lose(0, 0);
        let successes = [&a, &b].iter().filter(|o| matches!(o, Ok(CreateOutcome::Created))).count();
        assert!(successes <= 1, "seed {seed}: {a:?} {b:?}");
        created += successes;
        unknown += [&a, &b].into_iter().filter(|outcome| outcome.is_err()).count();
        sleep(Duration::from_secs(15)).await;
        let seen = id_at(fra, "photos").await;
        for code in THREE {
            assert_eq!(id_at(&world.at(code), "photos").await, seen, "seed {seed} at {code}");
        }
        for (outcome, mine) in [(&a, 1), (&b, 2)] {
            match outcome {
                Ok(CreateOutcome::Created) => assert_eq!(seen, Some(config(mine).id)),
                Ok(CreateOutcome::Exists(config)) => assert_eq!(seen, Some(config.id)),
                Ok(CreateOutcome::SoftDeleted(kept)) => panic!("nobody deletes: {kept:?}"),
                Err(_) => {}
            }
        }
    }
    assert!(created > 10, "{created} created, {unknown} unknown");
}

#[tokio::test(start_paused = true)]
async fn regions_agree_when_the_maker_of_a_name_is_cut_off_at_any_moment() {
    let (mut made, mut answered) = (0, 0);
    for seed in 0..16 {
        let world = World::new(&THREE).await;
        let nrt = world.at("nrt");
        let bucket = name("photos");
        let create = nrt.create_bucket(&bucket, config(1));
        let cut_after = Duration::from_millis(10 * seed);
        answered += usize::from(timeout(cut_after, create).await.is_ok());
        world.kill_links("nrt", &["fra", "iad"]);
        sleep(limits::REGISTER_SILENCE * 4).await;
        let seen = id_at(&world.at("fra"), "photos").await;
        assert_eq!(id_at(&world.at("iad"), "photos").await, seen, "seed {seed}");
        made += usize::from(seen.is_some());
        world.net.heal();
        sleep(Duration::from_secs(30)).await;
        // What only the maker had accepted is brought to its end when it is back.
        let healed = id_at(&nrt, "photos").await;
        assert!(seen.is_none() || healed == seen, "seed {seed}");
        for code in THREE {
            assert_eq!(id_at(&world.at(code), "photos").await, healed, "seed {seed} at {code}");
        }
    }
    assert!((1..made).contains(&answered) && made < 16, "{answered} of {made} answered");
}

#[tokio::test(start_paused = true)]
async fn a_minority_makes_and_frees_no_names_and_says_so() {
    let world = World::new(&THREE).await;
    world.kill_links("nrt", &["fra", "iad"]);
    let refused = world.at("nrt").create_bucket(&name("photos"), config(1)).await.unwrap_err();
    assert!(refused.reason.contains("no majority"), "{}", refused.reason);
    let created = world.at("fra").create_bucket(&name("photos"), config(2)).await.unwrap();
    assert_eq!(created, CreateOutcome::Created);
    // A region that cannot be asked may take writes: the bucket stays.
    let refused =
        world.at("fra").delete_bucket(&name("photos"), config(2).id, None).await.unwrap_err();
    assert!(refused.reason.contains("nrt"), "{}", refused.reason);
    assert_eq!(id_at(&world.at("fra"), "photos").await, Some(config(2).id));
    put(&world.at("fra"), &config(2), "a").await.unwrap();
    world.net.heal();
    sleep(Duration::from_secs(10)).await;
    let full = world.at("iad").delete_bucket(&name("photos"), config(2).id, None).await.unwrap();
    assert_eq!(full, DeleteOutcome::NotEmpty);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_bucket_takes_no_more_writes_anywhere_and_its_name_is_free_at_once() {
    let world = World::new(&THREE).await;
    world.at("fra").create_bucket(&name("photos"), config(1)).await.unwrap();
    put(&world.at("iad"), &config(1), "a").await.unwrap();
    delete(&world.at("iad"), &config(1), "a").await;
    let gone = world.at("nrt").delete_bucket(&name("photos"), config(1).id, None).await.unwrap();
    assert_eq!(gone, DeleteOutcome::Deleted);
    for code in THREE {
        assert!(put(&world.at(code), &config(1), "b").await.is_err(), "{code}");
    }
    let created = world.at("fra").create_bucket(&name("photos"), config(2)).await.unwrap();
    assert_eq!(created, CreateOutcome::Created);
    sleep(Duration::from_secs(2)).await;
    for code in THREE {
        assert_eq!(id_at(&world.at(code), "photos").await, Some(config(2).id), "{code}");
        put(&world.at(code), &config(2), "b").await.unwrap();
    }
}

/// How long the bucket is kept in these tests.
const KEPT: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn a_soft_deleted_bucket_comes_back_or_its_name_goes_to_another_never_both() {
    let world = World::new(&THREE).await;
    let (fra, iad, nrt) = (&world.at("fra"), &world.at("iad"), &world.at("nrt"));
    let photos = name("photos");
    fra.create_bucket(&photos, config(1)).await.unwrap();
    let gone = nrt.delete_bucket(&photos, config(1).id, Some(KEPT)).await.unwrap();
    assert_eq!(gone, DeleteOutcome::Deleted);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(id_at(iad, "photos").await, None);
    assert!(put(iad, &config(1), "a").await.is_err());
    let taken = fra.create_bucket(&photos, config(2)).await.unwrap();
    assert!(matches!(taken, CreateOutcome::SoftDeleted(kept) if kept.config == config(1)));
    assert!(!iad.end_soft_deleted(&photos, config(1).id, false).await.unwrap());
    let back = iad.restore_bucket(&photos, config(1).id).await.unwrap();
    assert_eq!(back, RestoreOutcome::Restored(config(1)));
    sleep(Duration::from_secs(2)).await;
    for code in THREE {
        put(&world.at(code), &config(1), code).await.unwrap();
        delete(&world.at(code), &config(1), code).await;
    }
    fra.delete_bucket(&photos, config(1).id, Some(KEPT)).await.unwrap();
    assert!(fra.soft_deleted(&photos).await.unwrap().is_some());
    sleep(KEPT).await;
    assert_eq!(fra.soft_deleted(&photos).await.unwrap(), None);
    // At its end both are asked for at the same time, from both sides of the world.
    let (made, back) = tokio::join!(
        nrt.create_bucket(&photos, config(2)),
        fra.restore_bucket(&photos, config(1).id)
    );
    assert_eq!(made.unwrap(), CreateOutcome::Created);
    assert!(!matches!(back, Ok(RestoreOutcome::Restored(_))), "{back:?}");
    assert_eq!(id_at(fra, "photos").await, Some(config(2).id));
    assert!(!iad.end_soft_deleted(&photos, config(1).id, true).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn of_bringing_back_and_ending_early_at_the_same_time_one_is_done() {
    for seed in 0..8 {
        let world = World::new(&THREE).await;
        let (fra, nrt) = (&world.at("fra"), &world.at("nrt"));
        let photos = name("photos");
        fra.create_bucket(&photos, config(1)).await.unwrap();
        fra.delete_bucket(&photos, config(1).id, Some(KEPT)).await.unwrap();
        let later = Duration::from_millis(40 * seed);
        let end = async {
            sleep(later).await;
            nrt.end_soft_deleted(&photos, config(1).id, true).await
        };
        let (back, ended) = tokio::join!(fra.restore_bucket(&photos, config(1).id), end);
        let (back, ended) = (matches!(back, Ok(RestoreOutcome::Restored(_))), ended == Ok(true));
        assert!(back != ended, "seed {seed}: back {back}, ended {ended}");
        sleep(Duration::from_secs(5)).await;
        for code in THREE {
            assert_eq!(id_at(&world.at(code), "photos").await.is_some(), back, "seed {seed}");
        }
    }
}

/// Registers of keys that a region keeps, of one bucket.
fn registers(world: &World, code: &str, config: &BucketConfig) -> usize {
    let prefix = [CELL, store::row_prefix(config.id).as_slice()].concat();
    let view = world.at(code).store().read().unwrap();
    let cells: Vec<(Vec<u8>, Cell<Record>)> =
        view.scan(Table::Register, &prefix, None, 1000).unwrap();
    cells.len()
}

#[tokio::test(start_paused = true)]
async fn registers_go_with_their_bucket_and_stay_where_it_was_not_deleted() {
    let mut world = World::new(&THREE).await;
    let fra = world.at("fra");
    let (gone, kept) = (Arc::new(config(1)), Arc::new(config(2)));
    fra.create_bucket(&name("gone"), config(1)).await.unwrap();
    fra.create_bucket(&name("kept"), config(2)).await.unwrap();
    for n in 0..100 {
        let key = format!("k{n}");
        world::put_if(&fra, &gone, &key, None, ("1", b"x")).await.unwrap();
        world::delete_if(&fra, &gone, &key, "1").await.unwrap();
    }
    world::put_if(&fra, &kept, "k", None, ("1", b"x")).await.unwrap();
    let quiet = |w: &World| THREE.iter().all(|code| registers(w, code, &gone) >= 100);
    world.until("every voter keeps the registers", quiet).await;
    world
        .until("the deletions are everywhere", |w| {
            let rows = |code| w.row(code, &gone, "k99");
            THREE.iter().all(|code| rows(code).is_some_and(|row| row.object().is_none()))
        })
        .await;
    let kept_one = fra.delete_bucket(&name("kept"), kept.id, None).await.unwrap();
    assert_eq!(kept_one, DeleteOutcome::NotEmpty);
    assert_eq!(
        fra.delete_bucket(&name("gone"), gone.id, None).await.unwrap(),
        DeleteOutcome::Deleted
    );
    // One that is down meanwhile has closed the bucket before, and hears of it later.
    world.kill("nrt");
    sleep(Duration::from_secs(30)).await;
    assert_eq!([registers(&world, "fra", &gone), registers(&world, "iad", &gone)], [0, 0]);
    world.boot("nrt").await;
    world.until("it dropped them too", |w| registers(w, "nrt", &gone) == 0).await;
    let late = world::put_if(&fra, &gone, "k1", None, ("2", b"late")).await;
    assert!(late.is_err(), "a write of a bucket that is gone was answered {late:?}");
    for code in THREE {
        assert_eq!(registers(&world, code, &kept), 1);
    }
    // Its name is there for another one, whose keys begin anew.
    let again = config(3);
    fra.create_bucket(&name("gone"), again.clone()).await.unwrap();
    let again = Arc::new(again);
    world::put_if(&fra, &again, "k1", None, ("1", b"x")).await.unwrap();
    sleep(Duration::from_secs(30)).await;
    assert_eq!(registers(&world, "fra", &again), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_got_stuck_is_set_back_and_the_bucket_takes_writes_again() {
    let world = World::new(&THREE).await;
    world.at("fra").create_bucket(&name("photos"), config(1)).await.unwrap();
    let nrt = world.at("nrt");
    let bucket = name("photos");
    let delete = nrt.delete_bucket(&bucket, config(1).id, None);
    // Long enough to mark the bucket and to ask, too short to end.
    assert!(timeout(Duration::from_millis(130), delete).await.is_err());
    world.kill_links("nrt", &["fra", "iad"]);
    sleep(Duration::from_secs(2)).await;
    assert!(put(&world.at("fra"), &config(1), "a").await.is_err());
    sleep(limits::DELETING_MAX + limits::REGISTER_SILENCE * 4).await;
    assert_eq!(id_at(&world.at("fra"), "photos").await, Some(config(1).id));
    put(&world.at("fra"), &config(1), "a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_voter_serves_again_and_one_whose_disk_went_back_does_not() {
    let mut world = World::new(&THREE).await;
    let old = world.copy_disk("iad");
    world.kill("iad");
    world.boot("iad").await;
    sleep(Duration::from_secs(3)).await;
    world.kill_links("nrt", &["fra", "iad"]);
    let created = world.at("fra").create_bucket(&name("photos"), config(1)).await.unwrap();
    assert_eq!(created, CreateOutcome::Created);
    world.net.heal();
    world.kill("iad");
    world.replace_disk("iad", old);
    world.boot("iad").await;
    sleep(Duration::from_secs(3)).await;
    world.kill_links("nrt", &["fra", "iad"]);
    let refused = world.at("fra").create_bucket(&name("music"), config(2)).await.unwrap_err();
    assert!(refused.reason.contains("old copy"), "{}", refused.reason);
}
