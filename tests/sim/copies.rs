//! A data directory that is put back as it was: its node is told by its peers, takes no part from then
//! on, and comes back as a new one.

use super::faults::{at, story, until, write};
use super::*;

/// The copy is of the same start as the disk in its place: no count of starts tells them apart.
#[test]
fn an_old_copy_of_a_running_disk_is_told_from_a_crash_and_shows_nothing_that_was_deleted() {
    story(|mut world| async move {
        let (old, other) = (at("fra"), at("iad"));
        write(&world.engine(other), "gone", 10).await.unwrap();
        sleep(Duration::from_secs(20)).await;
        let copy = world.disk(old).copy();
        let (bucket, gone) = (bucket(), key("gone"));
        let (version, conditions) = (VersionRef::Current, Conditions::default());
        let engine = world.engine(other);
        engine.delete_object(&bucket, &gone, version, conditions, false).await.unwrap();
        sleep(Duration::from_secs(20)).await;
        // A crash is none.
        world.crash(old);
        world.boot(old).await;
        until("it is confirmed", async || world.cluster(old).registers_waiting().is_none()).await;
        assert_eq!(world.cluster(old).outdated(), None);

        world.crash(old);
        world.disk(old).become_copy_of(&copy);
        world.boot(old).await;
        until("it is told", async || world.cluster(old).outdated().is_some()).await;
        let why = world.cluster(old).registers_waiting().unwrap();
        assert!(why.contains("old copy"), "{why}");
        let Err(Error::Unavailable { reason, .. }) = write(&world.engine(old), "new", 10).await
        else {
            panic!("it takes writes")
        };
        assert!(reason.contains("godwit region remove fra --lost"), "{reason}");
        // Started again it is told again.
        world.crash(old);
        world.boot(old).await;
        until("it is told again", async || world.cluster(old).outdated().is_some()).await;
        let learnt = world.cluster(other).compare_with(old).await;
        assert!(learnt.is_err(), "others learn from it: {learnt:?}");

        world.crash(old);
        world.cluster(other).remove_region(old, true).await.unwrap();
        let info = world::info(old);
        let mut listed = Err("never asked".to_owned());
        until("it is listed", async || {
            let added = world.cluster(other).add_region(info.clone(), None).await;
            listed = added.map_err(|why| format!("{why:?}"));
            listed.is_ok()
        })
        .await;
        world.join(old, listed.unwrap()).await;
        until("it takes part", async || write(&world.engine(old), "new", 10).await.is_ok()).await;
        sleep(Duration::from_secs(60)).await;
        for region in world.regions() {
            assert_eq!(read(&world.engine(region), "gone").await.unwrap(), None, "{region}");
            assert!(read(&world.engine(region), "new").await.unwrap().is_some(), "{region}");
        }
    });
}
