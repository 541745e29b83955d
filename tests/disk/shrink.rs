//! The index of a stopped node is written anew: short, with everything, whenever it is cut short.

use godwit::store::{NotShrunk, Shrunk, shrink};

use super::*;

const DATA: &str = "/data";
const INDEX: &str = "/data/index.redb";
const NEW_INDEX: &str = "/data/index.new";

/// What a store has: all of it is the same before and after.
#[derive(Debug, PartialEq)]
struct Seen {
    rows: BTreeMap<ObjectKey, Row>,
    digest: [[u8; 32]; 256],
    log: usize,
    replayed: u64,
}

fn shrunk(disk: &SimDisk) -> Result<Shrunk, NotShrunk> {
    doors::life(async {
        let env = doors::env(disk, 9, DAY);
        let (mut last, mut calls) = (None, 0);
        let shrunk = shrink(&env, Path::new(DATA), &mut |step, done, total| {
            assert!(done <= total);
            (last, calls) = (Some((step, done)), calls + 1);
        });
        if let Ok(Shrunk { entries, .. }) = &shrunk {
            assert_eq!(last, Some((godwit::store::Step::Checking, *entries)));
            assert!(calls > 3);
        }
        shrunk
    })
}

fn index_bytes(disk: &SimDisk) -> u64 {
    disk.bytes(Path::new(INDEX)).len() as u64
}

fn has_new_index(disk: &SimDisk) -> bool {
    disk.tree(Path::new(DATA)).iter().any(|(path, _)| path == Path::new(NEW_INDEX))
}

/// Starts a store; all that it has.
async fn seen(disk: &SimDisk) -> (Store, Seen) {
    let (store, report) = open(disk).await;
    assert_eq!(report.damage, Vec::new());
    assert!(!has_new_index(disk), "what a shrinking left is there after a start");
    let log = store.read().unwrap().log(fra(), store.incarnation(), 0, usize::MAX).unwrap().len();
    let (rows, digest) = (rows(&store), store.digest().groups());
    (store, Seen { rows, digest, log, replayed: report.replayed })
}

fn name(n: u64) -> String {
    format!("photos/2026/{:04}/{n:06}.jpg", n % 7)
}

async fn write_rows(store: &Store, numbers: impl Iterator<Item = u64>) {
    let all: Vec<u64> = numbers.collect();
    for some in all.chunks(500) {
        let some = some.to_vec();
        let write = move |tx: &mut Tx<'_>| {
            some.iter().try_for_each(|n| {
                tx.merge(row_id(&name(*n)), object(*n, 0, &[]), Source::Digest).map(|_| ())
            })
        };
        store.write(write).await.unwrap();
    }
}

async fn forget_rows(store: &Store, numbers: impl Iterator<Item = u64>) {
    let all: Vec<u64> = numbers.collect();
    for some in all.chunks(500) {
        let some = some.to_vec();
        let forget =
            move |tx: &mut Tx<'_>| some.iter().try_for_each(|n| tx.forget(&row_id(&name(*n))));
        store.write(forget).await.unwrap();
    }
}

const ROWS: u64 = 20_000;

/// One of these stays.
const OF: u64 = 20;

#[test]
fn the_index_is_as_short_as_that_of_a_new_store_and_has_everything() {
    let (disk, fresh) = (SimDisk::new(51), SimDisk::new(51));
    let blob = doors::life(async {
        let (store, _) = open(&disk).await;
        write_rows(&store, 1..=ROWS).await;
        forget_rows(&store, (1..=ROWS).filter(|n| n % OF != 0)).await;
        let blob = put(&store, "body", ROWS + 1, 0, 300_000).await.unwrap();
        store.close().await.unwrap();
        blob
    });
    let before = doors::life(async {
        let (store, before) = seen(&disk).await;
        store.close().await.unwrap();
        before
    });
    doors::life(async {
        let (store, _) = open(&fresh).await;
        write_rows(&store, (1..=ROWS).filter(|n| n % OF == 0)).await;
        put(&store, "body", ROWS + 1, 0, 300_000).await.unwrap();
        store.close().await.unwrap();
    });
    let (long, enough) = (index_bytes(&disk), index_bytes(&fresh));
    let Shrunk { before: was, after, entries, damaged } = shrunk(&disk).unwrap();
    assert_eq!((was, after, damaged), (long, index_bytes(&disk), 0));
    assert!(after * 10 <= enough * 13, "{after} bytes of {long}, a new store has {enough}");
    assert!(entries > 2 * ROWS / OF);
    doors::life(async {
        let (store, after) = seen(&disk).await;
        assert_eq!(after, before);
        assert_eq!((after.rows.len() as u64, after.replayed), (ROWS / OF + 1, 0));
        assert_eq!(content(&store, &blob).await.unwrap().unwrap(), body(ROWS + 1, 300_000));
        // It is an index as any other.
        write_rows(&store, ROWS + 10..ROWS + 600).await;
        store.close().await.unwrap();
    });
    doors::life(async { assert_eq!(seen(&disk).await.1.rows.len() as u64, ROWS / OF + 591) });
}

/// A store that power took: the index is behind its log.
fn cut_short(seed: u64) -> (SimDisk, Seen) {
    let disk = SimDisk::new(seed);
    doors::life(async {
        let (store, _) = open(&disk).await;
        write_rows(&store, 1..=400).await;
        forget_rows(&store, (1..=400).filter(|n| n % OF != 0)).await;
        store.close().await.unwrap();
    });
    doors::life_and_crash(&disk, async {
        let (store, _) = open(&disk).await;
        for n in 2001..=2010 {
            put(&store, &name(n), n, 0, 2000).await.unwrap();
        }
    });
    let copy = disk.copy();
    let seen = doors::life(async { seen(&copy).await.1 });
    assert!(seen.replayed > 0, "nothing to replay");
    (disk, seen)
}

#[test]
fn what_the_index_is_behind_its_log_is_replayed_on_the_new_one() {
    let (disk, expected) = cut_short(52);
    let Shrunk { before, after, .. } = shrunk(&disk).unwrap();
    assert!(after < before);
    doors::life(async { assert_eq!(seen(&disk).await.1, expected) });
}

/// Power fails in the call after `calls` others that change something; `None` when it is done by then,
/// otherwise whether the new index is in its place.
fn power_fails(disk: &SimDisk, calls: u64, expected: &Seen) -> Option<bool> {
    let bytes = disk.bytes(Path::new(INDEX));
    disk.power_off_after(calls);
    let done = shrunk(disk);
    if !disk.is_dark() {
        done.unwrap();
        return None;
    }
    disk.crash();
    let new = disk.bytes(Path::new(INDEX)) != bytes;
    // Where the old one is there byte for byte, some are enough.
    if new || calls.is_multiple_of(4) {
        if calls.is_multiple_of(8) {
            // It begins anew.
            shrunk(disk).unwrap();
        }
        doors::life(async { assert_eq!(seen(disk).await.1, *expected, "after {calls} calls") });
    }
    Some(new)
}

#[test]
fn power_that_fails_in_any_call_leaves_the_old_index_or_the_new_one_whole() {
    let (disk, expected) = cut_short(53);
    // Each copy has another future.
    let mut before = disk;
    let mut fails = |calls| {
        before = before.copy();
        power_fails(&before.copy(), calls, &expected)
    };
    // Until the last few calls the old index is only read.
    let most = (0..).step_by(7).take_while(|calls| fails(*calls).is_some()).last().unwrap();
    let all = (most..).find(|calls| fails(*calls).is_none()).unwrap();
    let new = (0..8).flat_map(|_| all - 3..all).filter(|calls| fails(*calls) == Some(true)).count();
    assert!(all > 20 && (1..24).contains(&new), "{all} calls, {new} of 24 with the new index");
}

#[test]
fn a_disk_that_fails_or_fills_up_meanwhile_changes_nothing() {
    let (disk, expected) = cut_short(54);
    for fault in [Fault::Io, Fault::Sync, Fault::Full, Fault::Read] {
        for calls in [0, 1, 5, 20, 60] {
            let run = disk.copy();
            let bytes = run.bytes(Path::new(INDEX));
            run.fail_in(fault, "index.new", calls);
            let failed = shrunk(&run);
            run.heal();
            match (fault, failed) {
                (_, Ok(_)) => assert!(calls > 5, "{fault:?} after {calls} was not met"),
                (
                    Fault::Full,
                    Err(NotShrunk::NoRoom { .. } | NotShrunk::Store(Error::DiskFull)),
                )
                | (Fault::Io | Fault::Sync | Fault::Read, Err(NotShrunk::Store(_))) => {
                    assert!(run.bytes(Path::new(INDEX)) == bytes && !has_new_index(&run));
                }
                (_, Err(other)) => panic!("{fault:?} after {calls}: {other}"),
            }
            doors::life(async { assert_eq!(seen(&run).await.1, expected) });
        }
    }
}

#[test]
fn it_is_refused_while_a_store_is_open_where_there_is_none_and_without_room() {
    let disk = SimDisk::new(55);
    let missing = shrunk(&disk).unwrap_err();
    assert!(matches!(missing, NotShrunk::Missing), "{missing}");
    doors::life(async {
        let (store, _) = open(&disk).await;
        write_rows(&store, 1..=100).await;
        let used = shrink(&doors::env(&disk, 9, DAY), Path::new(DATA), &mut |_, _, _| {});
        assert!(matches!(used, Err(NotShrunk::InUse)), "{used:?}");
        store.close().await.unwrap();
    });
    disk.set_capacity(disk.used() + 10_000);
    let bytes = disk.bytes(Path::new(INDEX));
    match shrunk(&disk).unwrap_err() {
        NotShrunk::NoRoom { needed, free } => assert!(needed > free && free <= 10_000),
        other => panic!("{other}"),
    }
    assert!(bytes == disk.bytes(Path::new(INDEX)) && !has_new_index(&disk));
    disk.set_capacity(u64::MAX);
    shrunk(&disk).unwrap();
}

#[test]
fn a_damaged_entry_stays_as_it_lies_and_one_that_is_out_of_order_stops_it() {
    let disk = SimDisk::new(56);
    doors::life(async {
        let (store, _) = open(&disk).await;
        write_rows(&store, 1..=1000).await;
        let put = |tx: &mut Tx<'_>| {
            tx.put(Table::Local, b"one", &"a-value-to-find")?;
            tx.put(Table::Local, b"two-two-two", &"another")
        };
        store.write(put).await.unwrap();
        forget_rows(&store, 100..=1000).await;
        store.close().await.unwrap();
    });
    let flipped = |bytes: &[u8], bit| {
        let run = disk.copy();
        for at in in_index(&run, bytes) {
            run.flip(Path::new(INDEX), at, bit);
        }
        run
    };
    let run = flipped(b"a-value-to-find", 3);
    // In both places where it stands.
    assert_eq!(shrunk(&run).unwrap().damaged, 2);
    assert!(!in_index(&run, b"i-value-to-find").is_empty());
    doors::life(async {
        let (store, _) = open(&run).await;
        let read = store.read().unwrap().get::<String>(Table::Local, b"one");
        assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
        store.write(|tx| tx.put(Table::Local, b"one", &"mended")).await.unwrap();
        let mended = store.read().unwrap().get::<String>(Table::Local, b"one").unwrap();
        assert_eq!(mended.as_deref(), Some("mended"));
    });
    // Before the key before it.
    let run = flipped(b"two-two-two", 5);
    let bytes = run.bytes(Path::new(INDEX));
    let stopped = shrunk(&run).unwrap_err();
    assert!(matches!(stopped, NotShrunk::Damaged(_)), "{stopped}");
    assert!(bytes == run.bytes(Path::new(INDEX)) && !has_new_index(&run));
}

#[test]
fn a_page_that_makes_no_sense_stops_it_or_is_read_as_it_was() {
    let disk = SimDisk::new(57);
    let expected = doors::life(async {
        let (store, _) = open(&disk).await;
        write_rows(&store, 1..=40).await;
        store.close().await.unwrap();
        rows(&store)
    });
    let places = in_index(&disk, name(33).as_bytes());
    let (mut stopped, mut read) = (0, 0);
    for bit in 0..128 {
        let run = disk.copy();
        let bytes = run.bytes(Path::new(INDEX));
        for page in places.iter().map(|at| at & !4095).collect::<BTreeSet<_>>() {
            run.flip(Path::new(INDEX), page + bit / 8, u8::try_from(bit % 8).unwrap());
        }
        let spoilt = run.bytes(Path::new(INDEX));
        assert!(spoilt != bytes);
        match shrunk(&run) {
            Ok(_) => {
                read += 1;
                doors::life(async { assert_eq!(seen(&run).await.1.rows, expected, "bit {bit}") });
            }
            Err(NotShrunk::Damaged(_) | NotShrunk::Store(Error::Corrupt(_) | Error::Index(_))) => {
                stopped += 1;
                assert!(run.bytes(Path::new(INDEX)) == spoilt && !has_new_index(&run));
            }
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
    assert!(stopped > 20, "{stopped} stopped it, {read} did not");
}
