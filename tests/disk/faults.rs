//! Faults of the disk, one by one: what the store says, what it still does, and that nothing that was
//! answered is lost and nothing that was refused is promised.

use godwit::store::Trouble;

use super::*;

/// Objects that were answered before a fault, one of each way into the store.
async fn before(store: &Store) -> Vec<(u64, usize, BlobRef)> {
    let mut out = Vec::new();
    for (n, len) in (1_u64..).zip(SIZES) {
        out.push((n, len, put(store, &format!("before{n}"), n, 0, len).await.unwrap()));
    }
    out
}

async fn still_there(store: &Store, before: &[(u64, usize, BlobRef)]) {
    let rows = rows(store);
    for (n, len, blob) in before {
        assert!(rows.contains_key(&key(&format!("before{n}"))), "{n} is lost");
        assert_eq!(content(store, blob).await.unwrap().unwrap(), body(*n, *len));
    }
}

/// Where a sync can fail, and the size of a body that comes by there.
const SYNCS: [(&str, usize); 3] =
    [("/data/log/", 100), ("/data/blobs/", 300_000), ("/data/blobs/", 3 << 20)];

#[test]
fn a_failed_sync_of_segment_blob_or_directory_ends_all_writing_until_a_restart() {
    for (place, len) in SYNCS {
        // The first sync under `blobs` is the file's, the second its directory's.
        for calls in 0..if place.contains("blobs") { 2 } else { 1 } {
            failed_sync(place, calls, len);
        }
    }
}

fn failed_sync(place: &'static str, calls: u64, len: usize) {
    let disk = SimDisk::new(40 + calls);
    let known = doors::life_and_crash(&disk, async {
        let (store, _) = open(&disk).await;
        let known = before(&store).await;
        disk.fail_in(Fault::Sync, place, calls);
        let failed = put(&store, "during", 90, 0, len).await.unwrap_err();
        assert!(matches!(failed, Error::Poisoned(_)), "{place}, call {calls}: {failed}");
        disk.heal();
        // A second sync would succeed; nobody may ask for it.
        let syncs = disk.syncs("");
        for len in [0, 100, 300_000] {
            let refused = put(&store, "after", 91, 0, len).await.unwrap_err();
            assert!(matches!(refused, Error::Poisoned(_)), "{refused}");
        }
        let refused = merge(&store, "before1", tombstone(92, 1)).await.unwrap_err();
        assert!(matches!(refused, Error::Poisoned(_)), "{refused}");
        assert!(matches!(store.checkpoint().await, Err(Error::Poisoned(_))));
        store.maintain().await.unwrap();
        assert_eq!(disk.syncs(""), syncs, "{place}: something was synced after the failure");
        let Some(Trouble::Failed(why)) = store.trouble() else { panic!("no trouble") };
        assert!(why.contains("injected failure"), "{why}");
        still_there(&store, &known).await;
        known
    });
    doors::life(async {
        let (store, report) = open(&disk).await;
        assert_eq!((report.damage.clone(), store.trouble()), (Vec::new(), None));
        still_there(&store, &known).await;
        assert!(!rows(&store).contains_key(&key("after")));
        // What failed may be there, but then it is whole.
        if let Some(row) = rows(&store).get(&key("during")) {
            let blob = blobs_of(row)[0];
            assert_eq!(content(&store, &blob).await.unwrap().unwrap(), body(90, len));
        }
        put(&store, "again", 93, 0, len).await.unwrap();
    });
}

#[test]
fn a_failed_sync_of_the_index_ends_all_writing_and_the_log_brings_everything_back() {
    for fault in [Fault::Sync, Fault::Io] {
        let disk = SimDisk::new(44);
        let known = doors::life_and_crash(&disk, async {
            let (store, _) = open(&disk).await;
            let known = before(&store).await;
            disk.fail_in(fault, "index.redb", 0);
            let failed = store.checkpoint().await.unwrap_err();
            assert!(matches!(failed, Error::Poisoned(_)), "{failed}");
            disk.heal();
            let refused = put(&store, "after", 91, 0, 100).await.unwrap_err();
            assert!(matches!(refused, Error::Poisoned(_)), "{refused}");
            known
        });
        doors::life(async {
            let (store, _) = open(&disk).await;
            still_there(&store, &known).await;
            assert!(!rows(&store).contains_key(&key("after")));
            put(&store, "again", 93, 0, 100).await.unwrap();
        });
    }
}

#[test]
fn a_full_disk_at_segment_and_blob_file_refuses_and_goes_on_when_there_is_room() {
    for (place, len) in [("/data/log/", 100), ("/data/blobs/", 300_000), ("/data/blobs/", 3 << 20)]
    {
        // Nothing of it may be written, or only its beginning.
        for calls in 0..2 {
            let disk = SimDisk::new(45);
            let known = doors::life_and_crash(&disk, async {
                let (store, _) = open(&disk).await;
                let known = before(&store).await;
                disk.fail_in(Fault::Full, place, calls);
                let mut outcomes = Vec::new();
                for n in 80..83 {
                    outcomes.push(put(&store, "during", n, 0, len).await.map(|_| ()));
                }
                let last = outcomes.pop().unwrap().unwrap_err();
                assert!(matches!(last, Error::DiskFull), "{place}: {last}");
                still_there(&store, &known).await;
                disk.heal();
                put(&store, "room again", 84, 0, len).await.unwrap();
                maintain_all(&store).await;
                known
            });
            doors::life(async {
                let (store, report) = open(&disk).await;
                assert_eq!(report.damage, Vec::new());
                still_there(&store, &known).await;
                assert!(rows(&store).contains_key(&key("room again")));
            });
        }
    }
}

/// Objects that were answered, until the index finds no room.
async fn until_no_room(store: &Store) -> Vec<(u64, BlobRef)> {
    let mut answered = Vec::new();
    for n in 1..20_000 {
        match put(store, &format!("k{n}"), n, 0, 10).await {
            Ok(blob) => answered.push((n, blob)),
            Err(Error::DiskFull) => break,
            Err(error) => panic!("{error}"),
        }
        if n % 60 == 0
            && let Err(error) = store.checkpoint().await
        {
            assert!(matches!(error, Error::DiskFull), "{error}");
            break;
        }
    }
    assert_eq!(store.trouble(), Some(Trouble::NoRoom), "the index never grew");
    answered
}

async fn all_there(store: &Store, answered: &[(u64, BlobRef)]) {
    let rows = rows(store);
    for (n, blob) in answered {
        assert!(rows.contains_key(&key(&format!("k{n}"))), "{n} is lost");
        assert_eq!(content(store, blob).await.unwrap().unwrap(), body(*n, 10));
    }
}

/// After a restart nothing is damaged, all that was answered is there, and writes go on.
fn opens_whole(disk: &SimDisk, answered: &[(u64, BlobRef)], run: u64) {
    doors::life(async {
        let (store, report) = open(disk).await;
        assert_eq!(report.damage, Vec::new(), "run {run}");
        all_there(&store, answered).await;
        put(&store, "again", 1 << 30, 0, 10).await.unwrap();
        store.checkpoint().await.unwrap();
    });
}

fn small_index(cache_bytes: usize) -> Options {
    Options { index_cache_bytes: cache_bytes, ..options() }
}

#[test]
fn an_index_without_room_refuses_writes_and_serves_reads_and_goes_on_when_there_is_room() {
    // The room ends at any call of a commit, of one that is durable or of one that is not.
    let durable = [0, 1, 2, 3, 5, 8, 13, 21, 34].map(|calls| (1 << 20, calls));
    for (cache, calls) in durable.into_iter().chain([(0, 0), (0, 7)]) {
        let disk = SimDisk::new(46);
        let answered = doors::life_and_crash(&disk, async {
            let env = doors::env(&disk, 1, Duration::ZERO);
            let (store, _) = open_with(env.clone(), small_index(cache)).await;
            disk.fail_in(Fault::Full, "index.redb", calls);
            let mut answered = until_no_room(&store).await;
            let refused = put(&store, "refused", 1 << 30, 0, 10).await.unwrap_err();
            assert!(matches!(refused, Error::DiskFull), "{refused}");
            assert!(matches!(store.checkpoint().await, Err(Error::DiskFull)));
            store.maintain().await.unwrap();
            env.sleep(limits::INDEX_ROOM_EVERY * 5).await;
            assert_eq!(store.trouble(), Some(Trouble::NoRoom));
            all_there(&store, &answered).await;
            disk.heal();
            env.sleep(limits::INDEX_ROOM_EVERY * 2).await;
            assert_eq!(store.trouble(), None, "cache {cache}, call {calls}");
            assert!(!rows(&store).contains_key(&key("refused")));
            for n in 30_000..30_060 {
                answered.push((n, put(&store, &format!("k{n}"), n, 0, 10).await.unwrap()));
            }
            let checkpoints = store.stats().checkpoints;
            store.checkpoint().await.unwrap();
            assert_eq!(store.stats().checkpoints, checkpoints + 1);
            maintain_all(&store).await;
            all_there(&store, &answered).await;
            answered
        });
        doors::life(async {
            let (store, report) = open(&disk).await;
            assert_eq!((report.replayed, report.damage), (0, Vec::new()));
            all_there(&store, &answered).await;
            assert!(!rows(&store).contains_key(&key("refused")));
        });
    }
}

#[test]
fn power_that_fails_while_the_index_has_no_room_or_writes_what_waited_loses_nothing() {
    let mut whole = 0;
    for change in (0_u64..).step_by(3) {
        let disk = SimDisk::new(100 + change);
        let (answered, went_dark) = doors::life_and_crash(&disk, async {
            let env = doors::env(&disk, 1, Duration::ZERO);
            let (store, _) = open_with(env.clone(), small_index(1 << 20)).await;
            disk.fail_in(Fault::Full, "index.redb", change % 11);
            let answered = until_no_room(&store).await;
            disk.heal();
            // At first power fails before anything is written of what waits.
            disk.power_off_after(change);
            env.sleep(limits::INDEX_ROOM_EVERY * 2).await;
            (answered, disk.is_dark())
        });
        opens_whole(&disk, &answered, change);
        whole += u64::from(!went_dark);
        if whole > 1 {
            assert!(change > 20, "power hardly ever failed");
            break;
        }
    }
}

#[test]
fn a_sync_that_fails_while_the_index_writes_what_waited_ends_all_writing() {
    let disk = SimDisk::new(47);
    let answered = doors::life_and_crash(&disk, async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let (store, _) = open_with(env.clone(), small_index(1 << 20)).await;
        disk.fail_in(Fault::Full, "index.redb", 0);
        let answered = until_no_room(&store).await;
        disk.fail_in(Fault::Sync, "index.redb", 0);
        env.sleep(limits::INDEX_ROOM_EVERY * 2).await;
        assert!(matches!(store.trouble(), Some(Trouble::Failed(_))), "{:?}", store.trouble());
        disk.heal();
        env.sleep(limits::INDEX_ROOM_EVERY * 2).await;
        let refused = put(&store, "refused", 1 << 30, 0, 10).await.unwrap_err();
        assert!(matches!(refused, Error::Poisoned(_)), "{refused}");
        all_there(&store, &answered).await;
        answered
    });
    opens_whole(&disk, &answered, 0);
}

#[test]
fn a_store_is_not_opened_without_room_for_its_index_and_loses_nothing_by_the_attempt() {
    let disk = SimDisk::new(48);
    let answered = doors::life_and_crash(&disk, async {
        let (store, _) =
            open_with(doors::env(&disk, 1, Duration::ZERO), small_index(1 << 20)).await;
        let mut answered = Vec::new();
        for n in 1..2_000 {
            answered.push((n, put(&store, &format!("k{n}"), n, 0, 10).await.unwrap()));
        }
        answered
    });
    doors::life(async {
        for calls in [0, 1, 5, 20] {
            disk.fail_in(Fault::Full, "index.redb", calls);
            let env = doors::env(&disk, 1, Duration::ZERO);
            let refused = Store::open(env, small_index(1 << 20)).await.err().expect("no room");
            assert!(matches!(refused, Error::DiskFull), "{refused}");
        }
        disk.heal();
        let (store, _) = open(&disk).await;
        all_there(&store, &answered).await;
    });
}

#[test]
fn a_disk_that_does_not_answer_is_told_in_bounded_time_and_reads_go_on() {
    let disk = SimDisk::new(47);
    let stuck = Duration::from_secs(100);
    doors::life_and_crash(&disk, async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let (store, _) = open_with(env.clone(), options()).await;
        let known = before(&store).await;
        disk.fail_in(Fault::Stuck(stuck.as_secs()), "/data/log/", 0);
        let began = env.monotonic();
        let first = put(&store, "first", 80, 0, 100).await.unwrap_err();
        assert!(matches!(first, Error::Stalled), "{first}");
        assert_eq!(env.monotonic() - began, limits::DISK_PATIENCE);
        disk.heal();
        // Those who come now need not wait.
        for len in [100, 3 << 20] {
            let next = put(&store, "next", 81, 0, len).await.unwrap_err();
            assert!(matches!(next, Error::Stalled), "{next}");
        }
        assert!(env.monotonic() - began < limits::DISK_PATIENCE + Duration::from_secs(1));
        let Some(Trouble::Stalled { doing, since }) = store.trouble() else { panic!("no trouble") };
        assert_eq!((doing, since), ("writing the log", limits::DISK_PATIENCE));
        still_there(&store, &known).await;
        store.maintain().await.unwrap();
        // It answers at last: what had waited is made, and writes go on.
        env.sleep(stuck).await;
        assert_eq!(store.trouble(), None);
        assert!(rows(&store).contains_key(&key("first")));
        put(&store, "well again", 82, 0, 100).await.unwrap();
    });
}

#[test]
fn a_body_whose_sync_does_not_end_is_given_up_and_leaves_no_file() {
    let disk = SimDisk::new(48);
    doors::life_and_crash(&disk, async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let (store, _) = open_with(env.clone(), options()).await;
        disk.fail_in(Fault::Stuck(1000), "/data/blobs/", 0);
        let began = env.monotonic();
        let failed = put(&store, "k", 1, 0, 3 << 20).await.unwrap_err();
        assert!(matches!(failed, Error::Stalled), "{failed}");
        let took = env.monotonic() - began;
        assert!(took < limits::BODY_SYNC_PATIENCE + Duration::from_secs(1), "{took:?}");
        disk.heal();
        env.sleep(Duration::from_secs(2000)).await;
        assert_eq!(disk.tree(Path::new("/data/blobs")), []);
        put(&store, "k", 2, 0, 3 << 20).await.unwrap();
    });
}

#[test]
fn what_cannot_be_read_is_no_answer_and_is_noted_and_comes_back_with_the_disk() {
    for (place, len) in [("/data/log/", 3_000), ("/data/blobs/", 3 << 20)] {
        let disk = SimDisk::new(49);
        doors::life_and_crash(&disk, async {
            let (store, _) = open(&disk).await;
            let blob = put(&store, "k", 1, 0, len).await.unwrap();
            disk.fail_in(Fault::Read, place, 0);
            let failed = content(&store, &blob).await.unwrap_err();
            assert!(matches!(failed, Error::Corrupt(_)), "{place}: {failed}");
            // It does not count as held, so that another region's bytes take its place.
            assert!(!store.holds(&blob.id).unwrap());
            assert_eq!(store.read().unwrap().damaged(9).unwrap(), [blob]);
            assert!(!store.recheck(&blob).await.unwrap());
            disk.heal();
            assert!(store.recheck(&blob).await.unwrap(), "the bytes are there after all");
            assert_eq!(content(&store, &blob).await.unwrap().unwrap(), body(1, len));
        });
    }
}

/// A store whose index is not in memory, and what it has: the last of it not durable in the index.
async fn on_disk_alone(env: &Env) -> (Store, Vec<(u64, BlobRef)>) {
    let (store, _) = open_with(env.clone(), small_index(0)).await;
    let mut answered = Vec::new();
    for n in 1..300 {
        answered.push((n, put(&store, &format!("k{n}"), n, 0, 10).await.unwrap()));
        if n == 250 {
            store.checkpoint().await.unwrap();
        }
    }
    (store, answered)
}

/// Until a read of the index has failed, in a read or in a write.
async fn until_unread(store: &Store, answered: &mut Vec<(u64, BlobRef)>) {
    for n in 1000.. {
        match put(store, &format!("k{n}"), n, 0, 10).await {
            Ok(blob) => answered.push((n, blob)),
            Err(Error::Io { .. } | Error::Index(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(matches!(store.trouble(), Some(Trouble::Unread(_))), "{:?}", store.trouble());
}

async fn comes_back(store: &Store, answered: &mut Vec<(u64, BlobRef)>) {
    store.env().sleep(limits::INDEX_AGAIN_EVERY * 3).await;
    assert_eq!(store.trouble(), None);
    all_there(store, answered).await;
    for n in 30_000..30_060 {
        answered.push((n, put(store, &format!("k{n}"), n, 0, 10).await.unwrap()));
    }
    let sums = store.digest().groups();
    store.checkpoint().await.unwrap();
    maintain_all(store).await;
    all_there(store, answered).await;
    assert_eq!(store.digest().groups(), sums);
}

#[test]
fn an_index_that_cannot_be_read_gives_errors_and_no_absence_and_comes_back_with_the_disk() {
    let disk = SimDisk::new(50);
    let answered = doors::life_and_crash(&disk, async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let (store, mut answered) = on_disk_alone(&env).await;
        disk.fail_in(Fault::Read, "index.redb", 0);
        for n in 1..300 {
            let read = store.read().and_then(|view| view.row(BUCKET, &key(&format!("k{n}"))));
            assert!(read.is_err(), "a failed read is taken for {read:?}");
        }
        let refused = put(&store, "refused", 900, 0, 10).await.unwrap_err();
        assert!(matches!(refused, Error::Io { .. }), "{refused}");
        assert!(refused.to_string().contains("injected failure"), "{refused}");
        env.sleep(limits::INDEX_AGAIN_EVERY * 5).await;
        let Some(Trouble::Unread(why)) = store.trouble() else { panic!("{:?}", store.trouble()) };
        assert!(why.contains("injected failure"), "{why}");
        assert!(!store.has_room());
        disk.heal();
        comes_back(&store, &mut answered).await;
        assert!(!rows(&store).contains_key(&key("refused")));
        answered
    });
    opens_whole(&disk, &answered, 0);
}

#[test]
fn a_read_of_the_index_that_fails_within_any_write_loses_nothing_and_ends_with_the_fault() {
    for calls in [0, 1, 2, 3, 5, 8, 13, 21, 34, 89] {
        let disk = SimDisk::new(150 + calls);
        let answered = doors::life_and_crash(&disk, async {
            let env = doors::env(&disk, 1, Duration::ZERO);
            let (store, mut answered) = on_disk_alone(&env).await;
            for _ in 0..2 {
                disk.fail_in(Fault::Read, "index.redb", calls);
                until_unread(&store, &mut answered).await;
                disk.heal();
                comes_back(&store, &mut answered).await;
                answered.sort_by_key(|(n, _)| *n);
                answered.dedup_by_key(|(n, _)| *n);
            }
            answered
        });
        opens_whole(&disk, &answered, calls);
    }
}

#[test]
fn reads_that_fail_again_while_the_index_is_brought_back_only_put_it_off() {
    let disk = SimDisk::new(53);
    doors::life_and_crash(&disk, async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let (store, mut answered) = on_disk_alone(&env).await;
        for (place, calls) in
            [("index.redb", 1), ("index.redb", 4), ("index.redb", 20), ("/data/log/", 0)]
        {
            // There is something to be replayed.
            let n = 900 + calls;
            answered.push((n, put(&store, &format!("k{n}"), n, 0, 10).await.unwrap()));
            disk.fail_in(Fault::Read, "index.redb", 0);
            until_unread(&store, &mut answered).await;
            disk.fail_in(Fault::Read, place, calls);
            env.sleep(limits::INDEX_AGAIN_EVERY * 3).await;
            let trouble = store.trouble();
            assert!(matches!(trouble, Some(Trouble::Unread(_))), "{place} {calls}: {trouble:?}");
            assert!(store.read().is_err(), "{place} {calls}: what is not all there is not shown");
            disk.heal();
            comes_back(&store, &mut answered).await;
            answered.truncate(299);
        }
    });
}

#[test]
fn a_sync_that_fails_while_the_index_is_brought_back_ends_all_writing() {
    let disk = SimDisk::new(54);
    let answered = doors::life_and_crash(&disk, async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let (store, mut answered) = on_disk_alone(&env).await;
        disk.fail_in(Fault::Read, "index.redb", 0);
        until_unread(&store, &mut answered).await;
        disk.fail_in(Fault::Sync, "index.redb", 0);
        env.sleep(limits::INDEX_AGAIN_EVERY * 3).await;
        disk.heal();
        env.sleep(limits::INDEX_AGAIN_EVERY * 3).await;
        assert!(matches!(store.trouble(), Some(Trouble::Failed(_))), "{:?}", store.trouble());
        let refused = put(&store, "refused", 1 << 30, 0, 10).await.unwrap_err();
        assert!(matches!(refused, Error::Poisoned(_)), "{refused}");
        answered
    });
    opens_whole(&disk, &answered, 0);
}

#[test]
fn power_that_fails_while_the_index_is_brought_back_loses_nothing() {
    let mut whole = 0;
    for change in (0_u64..).step_by(9) {
        let disk = SimDisk::new(200 + change);
        let (answered, went_dark) = doors::life_and_crash(&disk, async {
            let env = doors::env(&disk, 1, Duration::ZERO);
            let (store, mut answered) = on_disk_alone(&env).await;
            disk.fail_in(Fault::Read, "index.redb", 0);
            until_unread(&store, &mut answered).await;
            disk.heal();
            disk.power_off_after(change);
            env.sleep(limits::INDEX_AGAIN_EVERY * 3).await;
            (answered, disk.is_dark())
        });
        opens_whole(&disk, &answered, change);
        whole += u64::from(!went_dark);
        if whole > 1 {
            assert!(change > 20, "power hardly ever failed");
            break;
        }
    }
}

#[test]
fn the_last_part_of_a_full_disk_is_for_deletions_and_reclaiming() {
    let disk = SimDisk::new(51);
    doors::life(async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let (store, _) = open_with(env.clone(), options()).await;
        for n in 1..=320 {
            put(&store, &format!("k{n}"), n, 0, 200_000).await.unwrap();
        }
        cache_whole(&store, 900, 600_000).await;
        store.checkpoint().await.unwrap();
        disk.set_foreign(1 << 30);
        disk.set_capacity(disk.used() * 100 / 99);
        store.maintain().await.unwrap();
        assert_eq!(store.stats().cache_bytes, 0, "copies of what others hold go first");
        disk.set_capacity(disk.used() * 100 / 99);
        store.maintain().await.unwrap();
        assert_eq!(store.trouble(), Some(Trouble::Full));
        let refused = put(&store, "new", 1000, 0, 10).await.unwrap_err();
        assert!(matches!(refused, Error::DiskFull), "{refused}");
        // Nor do bodies that ride in the rows of others, but their rows do.
        let riding = store.seal_riding(blob_id(1001), body(1001, 10));
        assert!(matches!(riding, Err(Error::DiskFull)));
        merge(&store, "of others", object(1001, 0, &[])).await.unwrap();
        for n in 1..=310 {
            merge(&store, &format!("k{n}"), tombstone(2000 + n, n)).await.unwrap();
        }
        env.sleep(limits::BLOB_GRACE * 2).await;
        for _ in 0..4 {
            maintain_all(&store).await;
        }
        assert_eq!(store.trouble(), None, "the deletions gave no room: {:?}", store.stats());
        put(&store, "new", 1002, 0, 10).await.unwrap();
        for n in 311..=320 {
            let blob = blobs_of(&rows(&store)[&key(&format!("k{n}"))])[0];
            assert_eq!(content(&store, &blob).await.unwrap().unwrap(), body(n, 200_000));
        }
    });
}

#[test]
fn what_is_written_between_two_looks_at_the_disk_counts() {
    let disk = SimDisk::new(52);
    doors::life(async {
        let (store, _) = open(&disk).await;
        disk.set_capacity(disk.used() * 2 + (20 << 20));
        store.maintain().await.unwrap();
        let mut n = 0;
        let refused = loop {
            n += 1;
            match put(&store, &format!("k{n}"), n, 0, 700_000).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::DiskFull), "{refused}");
        let (total, free) = godwit::env::Disk::space(&disk).unwrap();
        assert!(free * 100 > total * 3, "{free} of {total} left: refused only by the disk itself");
    });
}

#[test]
fn a_read_that_hangs_is_told_and_given_up_in_bounded_time() {
    for (place, len) in [("/data/log/", 30_000), ("/data/blobs/", 1 << 20)] {
        let disk = SimDisk::new(52);
        doors::life(async {
            let (store, _) = open(&disk).await;
            let env = store.env().clone();
            let blob = put(&store, "k", 1, 0, len).await.unwrap();
            disk.fail_in(Fault::StuckRead(300), place, 0);
            let began = env.monotonic();
            let (reader, told) = (store.clone(), Arc::new(Mutex::new(None)));
            let heard = Arc::clone(&told);
            env.spawn("reader", async move {
                let read = reader.chunk(&blob, 0).await;
                *heard.lock().unwrap() = Some((read, reader.env().monotonic()));
            });
            env.sleep(limits::DISK_PATIENCE + Duration::from_secs(1)).await;
            let trouble = store.trouble();
            assert!(
                matches!(trouble, Some(Trouble::Stalled { doing: "reading a body", .. })),
                "{place}: {trouble:?}"
            );
            env.sleep(limits::READ_PATIENCE).await;
            let (read, at) = told.lock().unwrap().take().expect("the reader was answered");
            assert!(matches!(read, Err(Error::Stalled)), "{place}: {read:?}");
            assert!(at - began <= limits::READ_PATIENCE + Duration::from_secs(1));
            disk.heal();
            env.sleep(Duration::from_secs(600)).await;
            assert_eq!(store.trouble(), None);
            assert!(store.chunk(&blob, 0).await.unwrap().is_some(), "{place}: it is no damage");
        });
    }
}
