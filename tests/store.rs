//! The local store on a simulated disk: what crashes, failures and decay may do to it, and what
//! they may not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use godwit::env::Env;
use godwit::limits;
use godwit::store::{
    CachedShare, Error, Manifest, OpenReport, Options, SealedBlob, Source, Store, Table, Tier,
    TwinsMended, Tx,
};
use godwit::types::bucket::{BucketRecord, SettingKind};
use godwit::types::id::{BlobId, BucketId, Hash, Incarnation};
use godwit::types::name::{AccountId, ObjectKey};
use godwit::types::object::{
    BlobRef, Content, ETag, Marks, ObjectMeta, PartRef, Placement, Row, StoredHeaders, Version,
};
use godwit::types::record::{Record, RecordId};
use godwit::types::region::RegionId;
use godwit::types::stamp::{Hlc, Stamp};
use godwit::types::usage::Usage;

use sim::disk::{Fault, SimDisk};
use sim::doors;

#[path = "disk/decay.rs"]
mod decay;
#[path = "disk/entries.rs"]
mod entries;
#[path = "disk/faults.rs"]
mod faults;
#[path = "disk/formats.rs"]
mod formats;
#[path = "common/memory.rs"]
#[allow(dead_code, reason = "what the test of crashes asks for")]
mod memory;
#[path = "disk/pages.rs"]
mod pages;
#[path = "disk/power.rs"]
mod power;
#[path = "disk/relog.rs"]
mod relog;
#[path = "disk/roots.rs"]
mod roots;
#[path = "disk/shrink.rs"]
mod shrink;
#[path = "disk/space.rs"]
mod space;

mod sim {
    #[allow(dead_code, reason = "what the simulation of whole nodes does to disks")]
    pub(crate) mod disk;
    pub(crate) mod doors;
}

const BUCKET: BucketId = BucketId([7; 16]);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn fra() -> RegionId {
    RegionId::parse("fra").unwrap()
}

fn stamp(n: u64) -> Stamp {
    Stamp { hlc: Hlc(n), region: fra() }
}

fn blob_id(n: u64) -> BlobId {
    BlobId(stamp(n))
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn row_id(text: &str) -> RecordId {
    RecordId::Row(BUCKET, key(text))
}

/// Bytes that tell which write they are of.
fn body(n: u64, len: usize) -> Bytes {
    // A short pattern, repeated: the tests write far more than they compute.
    let mut pattern = Vec::with_capacity(1 << 12);
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while pattern.len() < len.min(1 << 12) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        pattern.extend_from_slice(&state.to_be_bytes());
    }
    let mut out = pattern.repeat(len.div_ceil(pattern.len().max(1)));
    out.truncate(len);
    out.into()
}

fn object(n: u64, replaces: u64, blobs: &[BlobRef]) -> Record {
    let part = |(number, blob): (u16, &BlobRef)| PartRef {
        number,
        blob: *blob,
        checksum: None,
        held_by: vec![fra()],
        seal: None,
    };
    let meta = ObjectMeta {
        size: blobs.iter().map(|blob| blob.len).sum(),
        etag: ETag("0123456789abcdef0123456789abcdef".into()),
        modified_ms: 1,
        headers: StoredHeaders::default(),
        user_meta: Vec::new(),
        checksum: None,
        parts: (1_u16..).zip(blobs).map(part).collect(),
        rides: false,
        owner: AccountId("owner".into()),
        encryption: None,
    };
    version(n, replaces, Content::Object(Arc::new(meta)))
}

fn tombstone(n: u64, replaces: u64) -> Record {
    version(n, replaces, Content::Tombstone)
}

fn version(n: u64, replaces: u64, content: Content) -> Record {
    let replaces = if replaces == 0 { Stamp::ZERO } else { stamp(replaces) };
    let placement = Placement::default();
    let (null, marks) = (true, Marks::default());
    Record::Row(Row::of(Version { stamp: stamp(n), replaces, null, content, marks, placement }))
}

fn options() -> Options {
    let mut options = Options::new(PathBuf::from("/data"), fra());
    options.segment_bytes = 1 << 20;
    options.index_cache_bytes = 4 << 20;
    options.memory_cache_bytes = 0;
    options.disk_cache_bytes = 4 << 20;
    options
}

/// What is read of the index to open it, a second time.
const ROOTS: &str = "/data/index.roots";

/// What decays in the pages with which an index begins is not put back from their copy then.
fn forget_copy(disk: &SimDisk) {
    disk.replace(Path::new(ROOTS), b"");
}

async fn open(disk: &SimDisk) -> (Store, OpenReport) {
    open_with(doors::env(disk, 1, Duration::ZERO), options()).await
}

async fn open_with(env: Env, options: Options) -> (Store, OpenReport) {
    Store::open(env, options).await.unwrap()
}

async fn seal(store: &Store, n: u64, len: usize) -> Result<SealedBlob, Error> {
    let mut writer = store.blob_writer(blob_id(n));
    for piece in body(n, len).chunks(100_000) {
        writer.write(Bytes::copy_from_slice(piece)).await?;
    }
    writer.finish().await
}

/// Writes an object of one blob under a key; `replaces` is the stamp that it covers.
async fn put(
    store: &Store,
    name: &str,
    n: u64,
    replaces: u64,
    len: usize,
) -> Result<BlobRef, Error> {
    let sealed = seal(store, n, len).await?;
    let blob = sealed.blob();
    let (id, record) = (row_id(name), object(n, replaces, &[blob]));
    store
        .write(move |tx| {
            tx.attach(sealed)?;
            tx.merge(id, record, Source::Local)?;
            Ok::<_, Error>(())
        })
        .await?;
    Ok(blob)
}

async fn merge(store: &Store, name: &str, record: Record) -> Result<(), Error> {
    let id = row_id(name);
    store.write(move |tx| tx.merge(id, record, Source::Local).map(|_| ())).await
}

async fn content(store: &Store, blob: &BlobRef) -> Result<Option<Vec<u8>>, Error> {
    let mut out = Vec::new();
    let mut index = 0;
    while (out.len() as u64) < blob.len {
        match store.chunk(blob, index).await? {
            Some((bytes, _)) => out.extend_from_slice(&bytes),
            None => return Ok(None),
        }
        index += 1;
    }
    Ok(Some(out))
}

async fn maintain_all(store: &Store) {
    for _ in 0..10_000 {
        if !store.maintain().await.unwrap() {
            return;
        }
    }
    panic!("housekeeping does not end");
}

fn rows(store: &Store) -> BTreeMap<ObjectKey, Row> {
    let snapshot = store.read().unwrap();
    let rows = snapshot.rows(BUCKET, Bound::Unbounded).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The versions of every key.
fn stamps(store: &Store) -> BTreeMap<ObjectKey, BTreeSet<Stamp>> {
    let set = |row: Row| row.versions.iter().map(|version| version.stamp).collect();
    rows(store).into_iter().map(|(key, row)| (key, set(row))).collect()
}

fn blobs_of(row: &Row) -> Vec<BlobRef> {
    let objects = row.versions.iter().filter_map(|version| match &version.content {
        Content::Object(meta) => Some(meta.parts.iter().map(|part| part.blob)),
        Content::Marker | Content::Tombstone => None,
    });
    objects.flatten().collect()
}

/// Sizes on each side of every border: nothing, in the frame, a chunk frame, a file, two chunks.
const SIZES: [usize; 7] = [0, 1, 4_000, 64 << 10, (64 << 10) + 1, 300_000, (1 << 20) + 5];

/// The digest sums of a store that got the same records by another way.
async fn digest_of_copy(records: Vec<(RecordId, Record)>) -> [[u8; 32]; 256] {
    let disk = SimDisk::new(0);
    let (copy, _) = open(&disk).await;
    copy.write(move |tx| {
        records
            .into_iter()
            .try_for_each(|(id, record)| tx.merge(id, record, Source::Digest).map(|_| ()))
    })
    .await
    .unwrap();
    copy.digest().groups()
}

#[test]
fn what_was_written_is_read_back_at_every_size_before_and_after_a_restart() {
    let disk = SimDisk::new(1);
    let written = doors::life(async {
        let (store, report) = open(&disk).await;
        assert!(report.created);
        let mut written = Vec::new();
        for (n, len) in (1_u64..).zip(SIZES) {
            written.push((n, put(&store, &format!("k{n}"), n, 0, len).await.unwrap()));
        }
        store.close().await.unwrap();
        written
    });
    doors::life(async {
        let (store, report) = open(&disk).await;
        assert_eq!((report.created, report.boot, report.replayed), (false, 2, 0));
        assert_eq!(rows(&store).len(), SIZES.len());
        for (n, blob) in written {
            let len = SIZES[usize::try_from(n).unwrap() - 1];
            assert_eq!(content(&store, &blob).await.unwrap().unwrap(), body(n, len));
            assert!(store.holds(&blob.id).unwrap());
            assert!(store.verify(&blob).await.unwrap());
            assert_eq!(store.manifest(&blob).unwrap().unwrap().root(), blob.root);
        }
    });
}

/// What the crash test knows of its writes.
#[derive(Default)]
struct Ledger {
    next: u64,
    /// Answered with success: must be there for ever.
    kept: BTreeMap<u64, Write>,
    /// Begun, not answered: there as a whole, or not at all.
    open: BTreeMap<u64, Write>,
    /// Answered with an error of the closure: never there.
    refused: BTreeMap<u64, Write>,
}

#[derive(Clone)]
struct Write {
    names: [String; 2],
    len: usize,
}

/// One writer: puts a blob and names it under two keys and in a table, in one change.
async fn write_some(store: Store, ledger: Arc<Mutex<Ledger>>, seed: u64) {
    let mut random = seed | 1;
    loop {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let pick = usize::try_from(random >> 33).unwrap();
        let names = [format!("a{}", pick % 5), format!("b{}", pick % 7)];
        let write = Write { names, len: SIZES[pick % SIZES.len()] };
        let refuse = pick % 11 == 0;
        let n = {
            let mut ledger = ledger.lock().unwrap();
            ledger.next += 1;
            let n = ledger.next;
            ledger.open.insert(n, write.clone());
            n
        };
        let Ok(sealed) = seal(&store, n, write.len).await else { return };
        let blob = sealed.blob();
        let names = write.names.clone();
        let made = store.write(move |tx| {
            tx.attach(sealed)?;
            for name in &names {
                tx.merge(row_id(name), object(n, 0, &[blob]), Source::Local)?;
            }
            tx.put(Table::Local, &n.to_be_bytes(), &n)?;
            if refuse { Err(Error::TooLarge { bytes: 0 }) } else { Ok(()) }
        });
        let made = made.await;
        let mut ledger = ledger.lock().unwrap();
        match made {
            Ok(()) => {
                assert!(!refuse);
                ledger.open.remove(&n);
                ledger.kept.insert(n, write);
            }
            Err(Error::TooLarge { .. }) => {
                assert!(refuse);
                ledger.open.remove(&n);
                ledger.refused.insert(n, write);
            }
            Err(_) => return,
        }
    }
}

/// After a crash: everything kept is there, everything open is whole or absent, nothing else is.
async fn check_ledger(store: &Store, ledger: &mut Ledger) {
    let found = stamps(store);
    let has = |name: &str, n: u64| found.get(&key(name)).is_some_and(|s| s.contains(&stamp(n)));
    let marked = |n: u64| {
        let view = store.read().unwrap();
        view.get::<u64>(Table::Local, &n.to_be_bytes()).unwrap() == Some(n)
    };
    for (n, write) in &ledger.kept {
        assert!(write.names.iter().all(|name| has(name, *n)) && marked(*n), "lost write {n}");
    }
    for (n, write) in &ledger.refused {
        assert!(!write.names.iter().any(|name| has(name, *n)) && !marked(*n), "kept refused {n}");
    }
    for (n, write) in std::mem::take(&mut ledger.open) {
        let there = marked(n);
        assert!(write.names.iter().all(|name| has(name, n) == there), "half of write {n}");
        if there {
            ledger.kept.insert(n, write);
        }
    }
    for row in rows(store).values() {
        for blob in blobs_of(row) {
            let n = blob.id.0.hlc.0;
            let read = content(store, &blob).await.unwrap();
            assert_eq!(read.unwrap(), body(n, ledger.kept[&n].len), "bytes of write {n}");
        }
    }
    let snapshot = store.read().unwrap();
    assert_eq!(usage(store), sum_of_rows(store));
    let log = snapshot.log(fra(), store.incarnation(), 0, usize::MAX).unwrap();
    let seqs: Vec<u64> = log.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let expected = vec![((fra(), store.incarnation()), seqs.len() as u64)];
    assert!(snapshot.heads().unwrap() == expected || seqs.is_empty());
    let records = snapshot.records(None, usize::MAX).unwrap();
    assert_eq!(store.digest().groups(), digest_of_copy(records).await);
}

/// Many writers, a crash at some moment, and again; sometimes with failing syncs or a full disk.
fn crash_and_check(seed: u64) {
    let disk = SimDisk::new(seed);
    let ledger = Arc::new(Mutex::new(Ledger { next: 1 << 20, ..Ledger::default() }));
    for life in 0..5_u64 {
        doors::life_and_crash(&disk, async {
            let mut options = options();
            options.checkpoint_changes = 40;
            options.checkpoint_log_bytes = 3 << 20;
            let env = doors::env(&disk, seed * 100 + life, DAY * u32::try_from(life).unwrap());
            let (store, report) = open_with(env.clone(), options).await;
            assert_eq!((report.created, report.boot), (life == 0, life + 1));
            assert_eq!(report.damage, Vec::new(), "seed {seed}");
            let mut checked = std::mem::take(&mut *ledger.lock().unwrap());
            check_ledger(&store, &mut checked).await;
            *ledger.lock().unwrap() = checked;
            for writer in 0..6 {
                let seed = seed.wrapping_mul(31) + life * 7 + writer;
                env.spawn("writer", write_some(store.clone(), Arc::clone(&ledger), seed));
            }
            let moment = Duration::from_micros(500 + (seed * 7919 + life * 104_729) % 60_000);
            env.sleep(moment / 2).await;
            if (seed + life) % 5 == 3 {
                disk.fail_after(Fault::Sync, seed % 3);
            }
            if (seed + life).is_multiple_of(2) {
                let _ = store.maintain().await;
            }
            env.sleep(moment / 2).await;
        });
    }
    assert!(!ledger.lock().unwrap().kept.is_empty(), "seed {seed} wrote nothing");
}

#[test]
fn answered_writes_survive_crashes_and_others_are_whole_or_absent() {
    let seeds = std::env::var("GODWIT_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    for seed in 0..seeds {
        crash_and_check(seed);
    }
}

#[test]
fn a_failed_sync_stops_writes_until_a_restart_and_loses_nothing_answered() {
    let disk = SimDisk::new(5);
    doors::life_and_crash(&disk, async {
        let (store, _) = open(&disk).await;
        put(&store, "before", 1, 0, 100).await.unwrap();
        disk.fail_after(Fault::Sync, 0);
        let failed = put(&store, "during", 2, 0, 100).await.unwrap_err();
        assert!(matches!(failed, Error::Poisoned(_)), "{failed}");
        disk.heal();
        let failed = put(&store, "after", 3, 0, 100).await.unwrap_err();
        assert!(matches!(failed, Error::Poisoned(_)), "{failed}");
        assert!(matches!(store.checkpoint().await, Err(Error::Poisoned(_))));
        assert!(store.stats().poisoned);
        assert_eq!(rows(&store).keys().cloned().collect::<Vec<_>>(), [key("before")]);
    });
    doors::life(async {
        let (store, _) = open(&disk).await;
        let found = rows(&store);
        assert!(found.contains_key(&key("before")) && !found.contains_key(&key("after")));
        put(&store, "again", 4, 0, 100).await.unwrap();
    });
}

#[test]
fn a_full_disk_refuses_a_write_cleanly_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new(6);
    doors::life_and_crash(&disk, async {
        let (store, _) = open(&disk).await;
        put(&store, "first", 1, 0, 50_000).await.unwrap();
        disk.set_capacity(disk.used() + 20_000);
        let failed = put(&store, "second", 2, 0, 60_000).await.unwrap_err();
        assert!(matches!(failed, Error::DiskFull), "{failed}");
        merge(&store, "first", tombstone(3, 1)).await.unwrap();
        disk.set_capacity(u64::MAX);
        put(&store, "third", 4, 0, 60_000).await.unwrap();
    });
    doors::life(async {
        let (store, report) = open(&disk).await;
        assert_eq!(report.damage, Vec::new());
        let found = stamps(&store);
        assert_eq!(found.len(), 2);
        assert_eq!(found[&key("first")], BTreeSet::from([stamp(3)]));
        assert_eq!(found[&key("third")], BTreeSet::from([stamp(4)]));
    });
}

#[test]
fn new_bodies_are_refused_from_95_percent_on_and_deletes_are_not() {
    let disk = SimDisk::new(7);
    doors::life(async {
        let (store, _) = open(&disk).await;
        put(&store, "a", 1, 0, 1000).await.unwrap();
        disk.set_capacity(disk.used() * 100 / 96);
        store.maintain().await.unwrap();
        let failed = put(&store, "b", 2, 0, 1).await.unwrap_err();
        assert!(matches!(failed, Error::DiskFull), "{failed}");
        merge(&store, "a", tombstone(3, 1)).await.unwrap();
        disk.set_capacity(u64::MAX);
        store.maintain().await.unwrap();
        put(&store, "b", 4, 0, 1).await.unwrap();
    });
}

/// The file and the offset in it where these bytes lie.
fn find(disk: &SimDisk, bytes: &[u8]) -> (PathBuf, usize) {
    let tree = disk.tree(Path::new("/data"));
    let files = tree.into_iter().filter(|(path, _)| !path.ends_with("index.redb"));
    let mut found = files.filter_map(|(path, _)| {
        let data = disk.bytes(&path);
        let at = data.windows(bytes.len()).position(|window| window == bytes)?;
        Some((path, at))
    });
    found.next().expect("the bytes are on the disk")
}

#[test]
fn a_flipped_bit_is_found_never_served_and_healed_by_a_new_copy() {
    for len in [4_000, 100_000, 300_000] {
        let disk = SimDisk::new(8);
        doors::life(async {
            let (store, _) = open(&disk).await;
            let blob = put(&store, "k", 1, 0, len).await.unwrap();
            let (path, at) = find(&disk, &body(1, len)[len - 64..]);
            disk.flip(&path, at + 9, 3);
            let read = store.chunk(&blob, 0).await;
            assert!(matches!(read, Err(Error::Corrupt(_))), "{len}: {read:?}");
            assert!(!store.holds(&blob.id).unwrap());
            assert!(!store.verify(&blob).await.unwrap());
            assert_eq!(store.read().unwrap().damaged(9).unwrap(), [blob]);
            let sealed = seal(&store, 1, len).await.unwrap();
            store.write(move |tx| tx.attach(sealed)).await.unwrap();
            assert_eq!(content(&store, &blob).await.unwrap().unwrap(), body(1, len));
            assert!(store.holds(&blob.id).unwrap());
            assert_eq!(store.read().unwrap().damaged(9).unwrap(), []);
        });
    }
}

/// Where these bytes are in the index.
fn in_index(disk: &SimDisk, bytes: &[u8]) -> Vec<usize> {
    let data = disk.bytes(Path::new("/data/index.redb"));
    let windows = data.windows(bytes.len()).enumerate();
    windows.filter(|(_, window)| *window == bytes).map(|(at, _)| at).collect()
}

#[test]
fn a_flipped_bit_of_the_index_is_never_taken_for_a_record_and_is_replaced() {
    let patterns: [&[u8]; 2] = [b"a-key-to-find", b"0123456789abcdef0123456789abcdef"];
    let history = || {
        let disk = SimDisk::new(41);
        doors::life(async {
            let (store, _) = open(&disk).await;
            for n in 1..=40_u64 {
                put(&store, &format!("k{n:02}"), n, 0, 10).await.unwrap();
            }
            put(&store, "a-key-to-find", 50, 0, 10).await.unwrap();
            store.close().await.unwrap();
        });
        disk
    };
    let (mut refused, mut places) = (0, 0);
    for pattern in patterns {
        let count = in_index(&history(), pattern).len();
        assert!(count > 0, "the index has it");
        for place in 0..count {
            let disk = history();
            let at = in_index(&disk, pattern)[place];
            disk.flip(Path::new("/data/index.redb"), at + 5, 1);
            places += 1;
            doors::life(async {
                let (store, _) = open(&disk).await;
                let names = (1..=40).map(|n| (format!("k{n:02}"), n));
                for (name, n) in names.chain([("a-key-to-find".to_owned(), 50)]) {
                    let read = store.read().unwrap().row(BUCKET, &key(&name));
                    match read {
                        Ok(row) => assert_eq!(row.unwrap().stamp(), stamp(n), "{name}"),
                        Err(error) => {
                            assert!(matches!(error, Error::Corrupt(_)), "{error}");
                            refused += 1;
                            let blob = put_bytes(n);
                            heal(&store, &name, object(n, 0, &[blob])).await;
                        }
                    }
                    assert_eq!(usage(&store).objects, 41, "counted once");
                }
                // Going over all leaves takes its time here.
                for leaf in (0..=u16::MAX).take(if place == 0 { usize::MAX } else { 0 }) {
                    store.check_records(leaf).await.unwrap();
                }
                assert_eq!(store.bad_records(), []);
                store.close().await.unwrap();
            });
            doors::life(async {
                let (store, _) = open(&disk).await;
                let row = store.read().unwrap().row(BUCKET, &key("a-key-to-find")).unwrap();
                assert_eq!(row.unwrap().stamp(), stamp(50));
            });
        }
    }
    assert!(refused >= 3 && places > refused, "{refused} of {places}");
}

/// The blob that `put` makes of ten bytes.
fn put_bytes(n: u64) -> BlobRef {
    let manifest = Manifest::of(&body(n, 10));
    BlobRef { id: blob_id(n), len: 10, root: manifest.root() }
}

/// What repair does with a record that another region has.
async fn heal(store: &Store, name: &str, record: Record) {
    assert!(store.bad_records().contains(&row_id(name)), "{name} is noted");
    let sound = store.digests_of(&row_id(name)).unwrap();
    assert!(sound.contains(&godwit::store::digest_of(&row_id(name), &record)), "{name}");
    // Nothing is changed on top of it before.
    let write = merge(store, name, tombstone(1000, 999)).await;
    assert!(matches!(write, Err(Error::Corrupt(_))), "{name}: {write:?}");
    assert!(store.replace_record(row_id(name), record).await.unwrap());
    assert!(store.read().unwrap().row(BUCKET, &key(name)).unwrap().is_some());
}

#[test]
fn damage_inside_the_synced_log_is_reported_and_what_follows_is_applied() {
    let disk = SimDisk::new(9);
    doors::life_and_crash(&disk, async {
        let (store, _) = open(&disk).await;
        for n in 1..=3 {
            put(&store, &format!("k{n}"), n, 0, 4_000).await.unwrap();
        }
        let (path, at) = find(&disk, &body(2, 4_000)[..64]);
        disk.flip(&path, at, 0);
    });
    doors::life_and_crash(&disk, async {
        let (store, report) = open(&disk).await;
        assert_eq!(report.damage.len(), 1);
        assert_eq!((report.replayed, report.torn_bytes), (2, 0));
        assert_eq!(rows(&store).keys().cloned().collect::<Vec<_>>(), [key("k1"), key("k3")]);
        put(&store, "k4", 4, 0, 4_000).await.unwrap();
    });
    doors::life(async {
        let (store, report) = open(&disk).await;
        assert_eq!(report.damage, Vec::new());
        assert_eq!(rows(&store).len(), 3);
    });
}

#[test]
fn a_torn_tail_is_cut_and_the_log_goes_on_there() {
    let disk = SimDisk::new(10);
    doors::life_and_crash(&disk, async {
        let (store, _) = open(&disk).await;
        put(&store, "whole", 1, 0, 4_000).await.unwrap();
        put(&store, "torn", 2, 0, 4_000).await.unwrap();
        // Nothing later says that this frame was synced: on a real disk it was not.
        let (path, at) = find(&disk, &body(2, 4_000)[..64]);
        disk.flip(&path, at, 0);
    });
    doors::life_and_crash(&disk, async {
        let (store, report) = open(&disk).await;
        assert_eq!(report.damage, Vec::new());
        assert!(report.torn_bytes > 4_000);
        put(&store, "next", 3, 0, 4_000).await.unwrap();
    });
    doors::life(async {
        let (store, report) = open(&disk).await;
        assert_eq!((report.torn_bytes, report.damage.len()), (0, 0));
        assert_eq!(rows(&store).keys().cloned().collect::<Vec<_>>(), [key("next"), key("whole")]);
    });
}

#[test]
fn whole_frames_behind_a_tear_never_come_back() {
    let disk = SimDisk::new(27);
    doors::life_and_crash(&disk, async {
        let (store, _) = open(&disk).await;
        put(&store, "first", 1, 0, 4_000).await.unwrap();
        let together = (2..=4).map(|n| {
            let store = store.clone();
            async move { put(&store, &format!("k{n}"), n, 0, 4_000).await.unwrap() }
        });
        let before = store.stats().commits;
        futures_util::future::join_all(together).await;
        if store.stats().commits == before + 1 {
            // One vectored write: as if its first part had not reached the disk.
            let (path, at) = find(&disk, &body(2, 4_000)[..64]);
            disk.flip(&path, at, 0);
        } else {
            panic!("the writes were to share a commit");
        }
    });
    doors::life_and_crash(&disk, async {
        let (store, report) = open(&disk).await;
        assert!(report.torn_bytes > 12_000 && report.damage.is_empty(), "{report:?}");
        // As long as the torn one, so that it ends where the next old frame begins.
        put(&store, "k5", 5, 0, 4_000).await.unwrap();
    });
    doors::life(async {
        let (store, report) = open(&disk).await;
        assert!(report.damage.is_empty());
        assert_eq!(rows(&store).keys().cloned().collect::<Vec<_>>(), [key("first"), key("k5")]);
    });
}

#[test]
fn an_open_that_fails_or_crashes_midway_changes_nothing() {
    let disk = SimDisk::new(11);
    let written = doors::life_and_crash(&disk, async {
        let (store, _) = open(&disk).await;
        for n in 1..=40 {
            put(&store, &format!("k{}", n % 9), n, 0, 3_000).await.unwrap();
        }
        stamps(&store)
    });
    let mut boots = 1;
    for calls in (0..60).step_by(3) {
        doors::life_and_crash(&disk, async {
            let fault = if calls % 2 == 0 { Fault::Io } else { Fault::Sync };
            disk.fail_after(fault, calls);
            let env = doors::env(&disk, 1, Duration::ZERO);
            if let Ok((store, report)) = Store::open(env, options()).await {
                boots = report.boot;
                assert_eq!(stamps(&store), written);
            }
        });
        doors::life_and_crash(&disk, async {
            let (store, report) = open(&disk).await;
            assert!(report.boot > boots && report.damage.is_empty());
            boots = report.boot;
            assert_eq!(stamps(&store), written, "after {calls} calls");
        });
    }
}

#[test]
fn many_writers_share_few_syncs() {
    let disk = SimDisk::new(12);
    doors::life(async {
        let (store, _) = open(&disk).await;
        let before = disk.syncs(".seg");
        let writes = (1..=64_u64).map(|n| {
            let store = store.clone();
            async move { put(&store, &format!("k{n}"), n, 0, 1000).await.unwrap() }
        });
        futures_util::future::join_all(writes).await;
        let syncs = disk.syncs(".seg") - before;
        assert!((1..=3).contains(&syncs), "{syncs} syncs for 64 writers");
        assert_eq!(rows(&store).len(), 64);
        assert_eq!(store.stats().changes, 64);
        assert_eq!(store.stats().commits, syncs);
    });
}

#[test]
fn a_change_that_fails_leaves_nothing_for_those_after_it_in_the_same_commit() {
    let disk = SimDisk::new(13);
    doors::life(async {
        let (store, _) = open(&disk).await;
        let failed = store.write(|tx| {
            tx.put(Table::Meta, b"k", &1_u32)?;
            Err::<(), _>(Error::Closed)
        });
        let next = store.write(|tx| {
            let seen: Option<u32> = tx.get(Table::Meta, b"k")?;
            tx.put(Table::Meta, b"k", &2_u32)?;
            Ok::<_, Error>(seen)
        });
        let last = store.write(|tx| tx.scan::<u32>(Table::Meta, b"k", None, 10));
        let (failed, next, last) = futures_util::future::join3(failed, next, last).await;
        assert!(matches!(failed, Err(Error::Closed)));
        assert_eq!(next.unwrap(), None);
        assert_eq!(last.unwrap(), [(b"k".to_vec(), 2)]);
        assert_eq!(store.stats().changes, 1);
    });
}

#[test]
fn scans_see_the_change_over_the_batch_over_the_index() {
    let disk = SimDisk::new(14);
    doors::life(async {
        let (store, _) = open(&disk).await;
        let put = |names: &'static [&'static str], value: u32| {
            store.write(move |tx| {
                names.iter().try_for_each(|n| tx.put(Table::Pending, n.as_bytes(), &value))
            })
        };
        put(&["a1", "a3", "a5", "b1"], 1).await.unwrap();
        let first = put(&["a2", "a3"], 2);
        let second = store.write(|tx| {
            tx.delete(Table::Pending, b"a5")?;
            tx.delete(Table::Pending, b"a2")?;
            tx.put(Table::Pending, b"a4", &3_u32)?;
            let all = tx.scan::<u32>(Table::Pending, b"a", None, 9)?;
            let some = tx.scan::<u32>(Table::Pending, b"a", Some(b"a1"), 1)?;
            Ok::<_, Error>((all, some))
        });
        let (first, second) = futures_util::future::join(first, second).await;
        first.unwrap();
        let (all, some) = second.unwrap();
        let expected = [(b"a1".to_vec(), 1), (b"a3".to_vec(), 2), (b"a4".to_vec(), 3)];
        assert_eq!(all, expected);
        assert_eq!(some, expected[1..2]);
        let snapshot = store.read().unwrap();
        assert_eq!(snapshot.scan::<u32>(Table::Pending, b"a", None, 9).unwrap(), expected);
        assert_eq!(snapshot.scan::<u32>(Table::Pending, b"b", None, 9).unwrap().len(), 1);
    });
}

/// Rows of a few keys as several regions make them at the same time: versions, null ones that cover
/// others or do not know them, markers, deletions.
fn concurrent_rows(seed: u64) -> Vec<(String, Record)> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |max: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % max
    };
    let rows = (1..60).map(|n| {
        let blob = BlobRef { id: blob_id(n), len: below(1000), root: Hash([0; 32]) };
        let replaces = below(n);
        let mut record = match below(5) {
            0 => tombstone(n, replaces),
            1 => version(n, 0, Content::Marker),
            _ => object(n, replaces, &[blob]),
        };
        let Record::Row(row) = &mut record else { unreachable!("these are rows") };
        let version = &mut row.versions[0];
        if !matches!(version.content, Content::Tombstone) && below(2) == 0 {
            (version.null, version.replaces) = (false, Stamp::ZERO);
        }
        (format!("k{}", below(6)), record)
    });
    rows.collect()
}

/// Rows whose names are spread unevenly.
fn tombstones(tx: &mut Tx<'_>, numbers: std::ops::Range<u64>) -> Result<(), Error> {
    for n in numbers {
        let name = format!("{:x}/{n}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (n % 60));
        tx.merge(row_id(&name), tombstone(n + 1, 0), Source::Local)?;
    }
    Ok(())
}

#[test]
fn a_walk_that_reads_ahead_shows_what_one_that_does_not_shows() {
    let disk = SimDisk::new(61);
    let mut shown = Vec::new();
    for read_ahead_after in [limits::DISK_PATIENCE, Duration::ZERO] {
        doors::life(async {
            let env = doors::env(&disk, 1, Duration::ZERO);
            let (store, report) = open_with(env, Options { read_ahead_after, ..options() }).await;
            if report.created {
                for batch in 0..30_u64 {
                    store
                        .write(move |tx| tombstones(tx, batch * 100..batch * 100 + 100))
                        .await
                        .unwrap();
                }
            }
            assert_eq!(rows(&store).len(), 3000);
            shown.push(rows(&store));
            store.close().await.unwrap();
        });
    }
    assert!(shown[0] == shown[1]);
}

#[test]
fn usage_is_the_sum_over_the_rows_in_whatever_order_they_were_merged() {
    for seed in 0..20 {
        let all = concurrent_rows(seed);
        let mut other = all.clone();
        other.rotate_left(usize::try_from(seed).unwrap());
        other.reverse();
        // What comes twice counts once.
        other.extend(all.iter().take(20).cloned());
        let usage_after = |rows: Vec<(String, Record)>| {
            let disk = SimDisk::new(seed);
            doors::life(async {
                let (store, _) = open(&disk).await;
                for (name, record) in rows {
                    let id = row_id(&name);
                    let write = move |tx: &mut Tx<'_>| tx.merge(id, record, Source::Digest);
                    store.write(write).await.unwrap();
                    assert_eq!(usage(&store), sum_of_rows(&store), "seed {seed}");
                }
                let end = usage(&store);
                store.write(|tx| tx.forget(&row_id("k0"))).await.unwrap();
                assert_eq!(usage(&store), sum_of_rows(&store), "seed {seed}");
                end
            })
        };
        let (one, another) = (usage_after(all), usage_after(other));
        assert_eq!(one, another, "seed {seed}");
        assert!(one.objects > 0 && one.versions >= one.objects && one.bytes > 0, "{one:?}");
    }
}

fn usage(store: &Store) -> Usage {
    store.read().unwrap().usage(BUCKET).unwrap()
}

fn sum_of_rows(store: &Store) -> Usage {
    rows(store).values().map(Usage::of).fold(Usage::default(), Usage::plus)
}

#[test]
fn checkpoints_come_by_time_and_by_changes_and_shorten_the_replay() {
    let disk = SimDisk::new(15);
    doors::life_and_crash(&disk, async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let mut options = options();
        options.checkpoint_changes = 10;
        let (store, _) = open_with(env.clone(), options).await;
        for n in 1..=25 {
            put(&store, &format!("k{n}"), n, 0, 10).await.unwrap();
        }
        assert_eq!(store.stats().checkpoints, 2);
        env.sleep(limits::CHECKPOINT_INTERVAL * 2).await;
        assert_eq!(store.stats().checkpoints, 3);
        env.sleep(limits::CHECKPOINT_INTERVAL * 4).await;
        assert_eq!(store.stats().checkpoints, 3, "an idle store makes none");
        put(&store, "last", 99, 0, 10).await.unwrap();
    });
    doors::life(async {
        let (store, report) = open(&disk).await;
        assert_eq!(report.replayed, 1);
        assert_eq!(rows(&store).len(), 26);
    });
}

#[test]
fn the_log_carries_local_changes_relays_others_and_forgets_up_to_its_horizon() {
    let disk = SimDisk::new(16);
    doors::life_and_crash(&disk, async {
        let (store, _) = open(&disk).await;
        let own = (fra(), store.incarnation());
        let iad = (RegionId::parse("iad").unwrap(), Incarnation(5));
        let seqs = store.write(move |tx| {
            let one = tx.merge(row_id("a"), object(1, 0, &[]), Source::Local)?;
            let same = tx.merge(row_id("a"), object(1, 0, &[]), Source::Local)?;
            let two = tx.merge(row_id("b"), object(2, 0, &[]), Source::Local)?;
            let source = Source::Log { origin: iad.0, incarnation: iad.1, seq: 9 };
            let relayed = tx.merge(row_id("a"), object(1, 0, &[]), source)?;
            assert!(!same.changed && !relayed.changed && relayed.seq.is_none());
            tx.merge(row_id("c"), object(3, 0, &[]), Source::Digest)?;
            Ok::<_, Error>([one.seq, same.seq, two.seq])
        });
        assert_eq!(seqs.await.unwrap(), [Some(1), None, Some(2)]);
        let log = |of: (RegionId, Incarnation), after| {
            store.read().unwrap().log(of.0, of.1, after, 10).unwrap()
        };
        assert_eq!(log(own, 0), [(1, row_id("a")), (2, row_id("b"))]);
        assert_eq!(log(own, 1), [(2, row_id("b"))]);
        assert_eq!(log(iad, 0), [(9, row_id("a"))]);
        assert_eq!(store.read().unwrap().heads().unwrap(), [(own, 2), (iad, 9)]);
        store.write(move |tx| tx.trim_log(own.0, own.1, 1)).await.unwrap();
        assert_eq!(log(own, 0), [(2, row_id("b"))]);
        assert_eq!(store.read().unwrap().log_horizon(own.0, own.1).unwrap(), 1);
        store.write(move |tx| tx.trim_log(own.0, own.1, 2)).await.unwrap();
        assert_eq!(log(own, 0), []);
        let next = store.write(|tx| tx.merge(row_id("d"), object(4, 0, &[]), Source::Local));
        assert_eq!(next.await.unwrap().seq, Some(3), "numbers are never used twice");
    });
    doors::life(async {
        let (store, _) = open(&disk).await;
        let log = store.read().unwrap().log(fra(), store.incarnation(), 0, 9).unwrap();
        assert_eq!(log, [(3, row_id("d"))]);
    });
}

#[test]
fn a_blob_that_nothing_names_is_freed_after_the_grace_and_not_before() {
    let disk = SimDisk::new(17);
    doors::life(async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let (store, _) = open_with(env.clone(), options()).await;
        let large = put(&store, "large", 1, 0, 300_000).await.unwrap();
        let small = put(&store, "small", 2, 0, 3_000).await.unwrap();
        let shared = put(&store, "one", 3, 0, 3_000).await.unwrap();
        merge(&store, "two", object(4, 0, &[shared])).await.unwrap();
        assert_eq!(
            store.read().unwrap().named_by(&shared.id, 9).unwrap(),
            [row_id("one"), row_id("two")]
        );
        for (n, name) in [(1, "large"), (2, "small"), (3, "one")] {
            merge(&store, name, tombstone(n + 10, n)).await.unwrap();
        }
        env.sleep(limits::BLOB_GRACE / 2).await;
        maintain_all(&store).await;
        assert!(store.holds(&large.id).unwrap() && store.holds(&small.id).unwrap());
        env.sleep(limits::BLOB_GRACE).await;
        maintain_all(&store).await;
        assert!(!store.holds(&large.id).unwrap() && !store.holds(&small.id).unwrap());
        assert_eq!(content(&store, &large).await.unwrap(), None);
        assert_eq!(content(&store, &shared).await.unwrap().unwrap(), body(3, 3_000));
        store.checkpoint().await.unwrap();
        maintain_all(&store).await;
        let blobs: Vec<_> = disk.tree(Path::new("/data/blobs"));
        assert_eq!(blobs, [], "the file is gone after the checkpoint");
    });
}

#[test]
fn a_pending_entry_keeps_its_blobs_until_it_is_deleted() {
    let disk = SimDisk::new(18);
    doors::life(async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let (store, _) = open_with(env.clone(), options()).await;
        let sealed = seal(&store, 1, 5_000).await.unwrap();
        let blob = sealed.blob();
        store
            .write(move |tx| {
                tx.attach(sealed)?;
                tx.put_holding(Table::Pending, b"p", &7_u8, &[blob.id])
            })
            .await
            .unwrap();
        env.sleep(limits::BLOB_GRACE * 3).await;
        maintain_all(&store).await;
        assert!(store.holds(&blob.id).unwrap());
        store.write(|tx| tx.delete(Table::Pending, b"p")).await.unwrap();
        env.sleep(limits::BLOB_GRACE * 3).await;
        maintain_all(&store).await;
        assert!(!store.holds(&blob.id).unwrap());
    });
}

#[test]
fn an_abandoned_blob_leaves_no_file() {
    let disk = SimDisk::new(19);
    doors::life_and_crash(&disk, async {
        let (store, _) = open(&disk).await;
        drop(seal(&store, 1, 2 << 20).await.unwrap());
        let mut half = store.blob_writer(blob_id(2));
        half.write(body(2, 3 << 20)).await.unwrap();
        drop(half);
        let sealed = seal(&store, 3, 300_000).await.unwrap();
        let refused = store.write(move |tx| {
            tx.attach(sealed)?;
            Err::<(), _>(Error::Closed)
        });
        refused.await.unwrap_err();
        assert_eq!(disk.tree(Path::new("/data/blobs")), []);
        // A crash leaves one that the next run sweeps.
        let sealed = seal(&store, 4, 300_000).await.unwrap();
        assert_eq!(disk.tree(Path::new("/data/blobs")).len(), 1);
        std::mem::forget(sealed);
    });
    doors::life(async {
        let (store, _) = open(&disk).await;
        maintain_all(&store).await;
        assert_eq!(disk.tree(Path::new("/data/blobs")), []);
    });
}

#[test]
fn small_bodies_are_not_moved_again_and_again() {
    let disk = SimDisk::new(27);
    doors::life(async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let mut options = options();
        options.segment_bytes = 64 << 10;
        let (store, _) = open_with(env.clone(), options).await;
        for n in 1..=2_000_u64 {
            put(&store, &format!("k{n}"), n, 0, 20).await.unwrap();
        }
        env.sleep(limits::BLOB_GRACE * 2).await;
        let mut moved = Vec::new();
        for _ in 0..8 {
            space::rest(&store).await;
            store.checkpoint().await.unwrap();
            moved.push(store.stats().compacted_bytes);
        }
        assert_eq!(moved[7], moved[1], "moved on and on: {moved:?}");
        // What dies in a segment that bodies were moved to is reclaimed nevertheless.
        let before = store.stats().segments;
        for n in 1..=1_900_u64 {
            merge(&store, &format!("k{n}"), tombstone(10_000 + n, n)).await.unwrap();
        }
        env.sleep(limits::BLOB_GRACE * 2).await;
        for _ in 0..8 {
            maintain_all(&store).await;
            store.checkpoint().await.unwrap();
        }
        let after = store.stats().segments;
        assert!(after < before, "{before} segments before, {after} after");
        for n in 1_901..=2_000 {
            let blob = blobs_of(&rows(&store)[&key(&format!("k{n}"))])[0];
            assert_eq!(content(&store, &blob).await.unwrap().unwrap(), body(n, 20));
        }
    });
}

#[test]
fn compaction_moves_what_is_sound_and_ends_where_a_body_is_not() {
    let disk = SimDisk::new(26);
    doors::life_and_crash(&disk, async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let (store, _) = open_with(env.clone(), options()).await;
        let mut kept = Vec::new();
        for n in 1..=60_u64 {
            let blob = put(&store, &format!("k{n}"), n, 0, 60_000).await.unwrap();
            if n % 6 == 0 {
                kept.push((n, blob));
            } else {
                merge(&store, &format!("k{n}"), tombstone(1000 + n, n)).await.unwrap();
            }
        }
        let (path, at) = find(&disk, &body(12, 60_000)[100..164]);
        disk.flip(&path, at, 1);
        env.sleep(limits::BLOB_GRACE * 2).await;
        for _ in 0..3 {
            maintain_all(&store).await;
            store.checkpoint().await.unwrap();
        }
        let stats = store.stats();
        assert!(stats.compacted_bytes > 60_000 && stats.corrupt_reads > 0, "{stats:?}");
        assert!(!disk.tree(Path::new("/data/log")).iter().any(|(p, _)| p.ends_with("1.seg")));
        for (n, blob) in kept {
            match store.chunk(&blob, 0).await {
                Ok(Some((bytes, _))) => assert_eq!(bytes, body(n, 60_000)),
                other => assert!(n == 12 && matches!(other, Err(Error::Corrupt(_))), "{other:?}"),
            }
        }
        assert_eq!(store.read().unwrap().damaged(9).unwrap().len(), 1);
    });
    doors::life(async {
        let (store, report) = open(&disk).await;
        assert_eq!(report.damage, Vec::new());
        maintain_all(&store).await;
        assert!(!store.holds(&blob_id(12)).unwrap() && store.holds(&blob_id(6)).unwrap());
    });
}

async fn cache_whole(store: &Store, n: u64, len: usize) -> BlobRef {
    let bytes = body(n, len);
    let manifest = Arc::new(Manifest::of(&bytes));
    let blob = BlobRef { id: blob_id(n), len: len as u64, root: manifest.root() };
    for (index, chunk) in (0_u32..).zip(bytes.chunks(limits::CHUNK_BYTES)) {
        store.cache_chunk(&blob, &manifest, index, Bytes::copy_from_slice(chunk)).await;
    }
    blob
}

#[test]
fn cached_copies_keep_to_their_budget_and_survive_a_clean_restart() {
    let disk = SimDisk::new(21);
    let last = doors::life(async {
        let (store, _) = open(&disk).await;
        let often = cache_whole(&store, 1, 600_000).await;
        for n in 2..40 {
            cache_whole(&store, n, 300_000).await;
            assert!(store.chunk(&often, 0).await.unwrap().is_some(), "what is read often stays");
            assert!(store.stats().cache_bytes <= 4 << 20);
        }
        let in_cache: u64 = disk.tree(Path::new("/data/cache")).iter().map(|(_, len)| len).sum();
        assert!(in_cache <= 4 << 20);
        let last = cache_whole(&store, 50, (2 << 20) + 7).await;
        assert_eq!(store.cached(&last), CachedShare { whole: true, chunks: 3 });
        store.close().await.unwrap();
        last
    });
    doors::life(async {
        let (store, _) = open(&disk).await;
        maintain_all(&store).await;
        assert_eq!(store.cached(&last), CachedShare { whole: true, chunks: 3 });
        let (bytes, tier) = store.chunk(&last, 2).await.unwrap().unwrap();
        assert_eq!((bytes.len(), tier), (7, Tier::Cache));
        assert!(!store.holds(&last.id).unwrap());
    });
}

#[test]
fn a_damaged_cached_copy_is_thrown_away_and_never_served_or_promoted() {
    let disk = SimDisk::new(22);
    doors::life(async {
        let (store, _) = open(&disk).await;
        let blob = cache_whole(&store, 1, 700_000).await;
        let (path, at) = find(&disk, &body(1, 700_000)[..64]);
        disk.flip(&path, at, 7);
        assert!(store.chunk(&blob, 0).await.unwrap().is_none());
        assert_eq!(store.cached(&blob), CachedShare::default());
        let blob = cache_whole(&store, 2, 700_000).await;
        let (path, at) = find(&disk, &body(2, 700_000)[..64]);
        disk.flip(&path, at, 7);
        assert!(!store.promote(&blob).await.unwrap());
        assert!(!store.holds(&blob.id).unwrap());
    });
}

#[test]
fn a_promoted_copy_is_held_durably_and_a_dropped_one_is_not() {
    for len in [3_000, 1_500_000] {
        let disk = SimDisk::new(23);
        let blob = doors::life_and_crash(&disk, async {
            let (store, _) = open(&disk).await;
            let blob = cache_whole(&store, 1, len).await;
            merge(&store, "k", object(9, 0, &[blob])).await.unwrap();
            assert!(store.promote(&blob).await.unwrap());
            assert_eq!(store.cached(&blob), CachedShare::default());
            blob
        });
        doors::life(async {
            let (store, _) = open(&disk).await;
            maintain_all(&store).await;
            assert!(store.holds(&blob.id).unwrap());
            assert_eq!(content(&store, &blob).await.unwrap().unwrap(), body(1, len));
            store.drop_blob(blob.id).await.unwrap();
            assert!(!store.holds(&blob.id).unwrap());
            assert_eq!(content(&store, &blob).await.unwrap(), None);
            assert!(!store.promote(&blob).await.unwrap());
        });
    }
}

#[test]
fn a_second_process_cannot_open_the_same_directory() {
    let disk = SimDisk::new(24);
    doors::life(async {
        let (_store, _) = open(&disk).await;
        let second = Store::open(doors::env(&disk, 2, Duration::ZERO), options()).await;
        assert!(matches!(second, Err(Error::Io { .. })));
    });
}

#[test]
fn one_seed_gives_one_history() {
    let run = || {
        let disk = SimDisk::new(25);
        doors::life_and_crash(&disk, async {
            let (store, _) = open(&disk).await;
            let writes = (1..=30_u64).map(|n| {
                let store = store.clone();
                async move { put(&store, &format!("k{}", n % 4), n, 0, 90_000).await.unwrap() }
            });
            futures_util::future::join_all(writes).await;
            maintain_all(&store).await;
        });
        let tree = disk.tree(Path::new("/data"));
        let bytes: Vec<Vec<u8>> = tree.iter().map(|(path, _)| disk.bytes(path)).collect();
        (tree, bytes)
    };
    assert!(run() == run(), "two runs of one seed differ");
}

#[test]
fn a_blob_goes_only_when_nothing_but_its_record_names_it() {
    let disk = SimDisk::new(31);
    doors::life(async {
        let (store, _) = open(&disk).await;
        let blob = put(&store, "k", 1, 0, 300_000).await.unwrap();
        merge(&store, "copy", object(2, 0, &[blob])).await.unwrap();
        let release = |name: &str| {
            let namer = row_id(name);
            store.write(move |tx| tx.release_of(&blob.id, &namer))
        };
        assert!(!release("k").await.unwrap(), "a copy names it");
        assert!(store.holds(&blob.id).unwrap());
        merge(&store, "copy", tombstone(3, 2)).await.unwrap();
        assert!(!release("other").await.unwrap(), "its own record names it");
        assert!(release("k").await.unwrap());
        assert!(!store.holds(&blob.id).unwrap());
    });
}

#[test]
fn the_revision_of_settings_grows_with_them_and_with_nothing_else() {
    let disk = SimDisk::new(15);
    doors::life(async {
        let (store, _) = open(&disk).await;
        let set = async |value: &'static [u8], n| {
            let mut bucket = BucketRecord::default();
            bucket.set(SettingKind::Tagging, Some(value.to_vec()), stamp(n));
            let record = Record::Bucket(Box::new(bucket));
            let id = RecordId::Bucket(BUCKET);
            store.write(move |tx| tx.merge(id, record, Source::Digest).map(|_| ())).await.unwrap();
        };
        let before = store.settings_revision();
        merge(&store, "key", object(1, 0, &[])).await.unwrap();
        assert_eq!(store.settings_revision(), before, "an object is no setting");
        set(b"one", 2).await;
        let after = store.settings_revision();
        assert!(after > before);
        set(b"older", 1).await;
        assert_eq!(store.settings_revision(), after, "nothing was changed");
        // What is asked for after the revision is at least as new.
        let revision = store.settings_revision();
        let record = store.read().unwrap().record(&RecordId::Bucket(BUCKET)).unwrap();
        let Some(Record::Bucket(bucket)) = record else { panic!("no settings") };
        assert_eq!(bucket.setting(SettingKind::Tagging), Some(&b"one"[..]));
        assert_eq!(store.settings_revision(), revision);
    });
}
