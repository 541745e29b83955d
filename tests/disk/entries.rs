//! Entries of the index that decay, table by table: found, never read as something else, and mended
//! by what else the store knows.

use super::*;

use godwit::store::{EntriesMark, digest_of};

pub(super) const INDEX: &str = "/data/index.redb";

/// Numbers of tables in keys of references and of what is held.
const RECORDS: &[u8] = &[1];
const HOLDING: &[u8] = &[6];
const PENDING: &[u8] = &[24];

/// Many small objects, so that tables have several pages.
const MANY: u64 = 300;
/// In a frame of the log, in one of its own, in a file.
const LARGER: [(u64, usize); 3] = [(1001, 30_000), (1002, 100_000), (1150, 400_000)];
/// Of these keys two versions are kept.
const KEPT: [u64; 2] = [105, 211];
pub(super) const GONE: [u64; 2] = [20, 221];
pub(super) const DAMAGED: [u64; 2] = [1101, 1201];
pub(super) const WAITING: u64 = 5;
const LATE: u64 = 1300;

fn name(n: u64) -> String {
    format!("key-{n:04}")
}

fn waiting(n: u64) -> String {
    format!("waiting-{n:02}")
}

fn len_of(n: u64) -> usize {
    LARGER.into_iter().find(|(larger, _)| *larger == n).map_or(10, |(_, len)| len)
}

fn record_key(name: &str) -> Vec<u8> {
    [&[1], BUCKET.0.as_slice(), name.as_bytes()].concat()
}

fn leaf_key(name: &str) -> Vec<u8> {
    let key = record_key(name);
    [&blake3::hash(&key).as_bytes()[..2], key.as_slice()].concat()
}

fn blob_key(n: u64) -> Vec<u8> {
    blob_id(n).0.to_bytes().to_vec()
}

/// What a store is that has everything.
pub(super) struct Whole {
    pub(super) disk: SimDisk,
    pub(super) index: Vec<u8>,
    pub(super) incarnation: Incarnation,
    pub(super) state: State,
}

/// What a store says.
#[derive(Debug, PartialEq)]
pub(super) struct State {
    pub(super) rows: BTreeMap<ObjectKey, Row>,
    pub(super) log: BTreeMap<u64, RecordId>,
    pub(super) waiting: BTreeMap<String, String>,
    pub(super) kept: Vec<RecordId>,
    pub(super) digest: Vec<[u8; 32]>,
    /// Blobs, their bytes, and those that are in segments.
    pub(super) held: (u64, u64, u64),
    pub(super) unread: BTreeSet<BlobId>,
}

pub(super) fn or_refused<T: Default>(result: Result<T, Error>, what: &str) -> T {
    match result {
        Err(error) if !matches!(error, Error::Corrupt(_)) => panic!("{what}: {error}"),
        result => result.unwrap_or_default(),
    }
}

/// Reads everything. What is read as something else than was written fails the test.
pub(super) async fn state(store: &Store, what: &str) -> State {
    let snapshot = store.read().unwrap();
    let rows = snapshot.rows(BUCKET, Bound::Unbounded).unwrap().collect();
    let rows: BTreeMap<ObjectKey, Row> = or_refused(rows, what);
    let log = or_refused(snapshot.log(fra(), store.incarnation(), 0, usize::MAX), what);
    let waiting: Vec<(Vec<u8>, String)> =
        or_refused(snapshot.scan(Table::Pending, b"", None, 100), what);
    let kept = or_refused(snapshot.kept(None, None, 100), what);
    drop(snapshot);
    let mut unread = BTreeSet::new();
    for blob in rows.values().flat_map(blobs_of) {
        let n = blob.id.0.hlc.0;
        match or_refused(content(store, &blob).await, what) {
            Some(bytes) => assert_eq!(bytes, body(n, len_of(n)), "{what}: {n}"),
            None => drop(unread.insert(blob.id)),
        }
    }
    let held = or_refused(store.held().await, what);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    State {
        rows,
        log: log.into_iter().collect(),
        waiting: waiting.into_iter().map(|(key, value)| (text(key), value)).collect(),
        kept: kept.into_iter().map(|(id, _)| id).collect(),
        digest: store.digest().groups().to_vec(),
        held: (held.blobs, held.bytes, store.stats().segment_live_bytes),
        unread,
    }
}

async fn fill(store: &Store) {
    let mut sealed = Vec::new();
    for n in (1..=MANY).chain(KEPT.map(|n| n + 5000)) {
        sealed.push((n, seal(store, n, 10).await.unwrap()));
    }
    let write = move |tx: &mut Tx<'_>| {
        for (n, sealed) in sealed {
            let record = object(n, 0, &[sealed.blob()]);
            tx.attach(sealed)?;
            tx.merge(row_id(&name(n % 5000)), record, Source::Local)?;
        }
        Ok::<_, Error>(())
    };
    store.write(write).await.unwrap();
    for (n, len) in LARGER.into_iter().chain(DAMAGED.map(|n| (n, 10))) {
        put(store, &name(n), n, 0, len).await.unwrap();
    }
    // Noted as garbage before anything names it.
    let sealed = seal(store, LATE, 10).await.unwrap();
    let record = object(LATE, 0, &[sealed.blob()]);
    store.write(move |tx| tx.attach(sealed)).await.unwrap();
    merge(store, &name(LATE), record).await.unwrap();
    for n in 1..=WAITING {
        let sealed = seal(store, 2000 + n, 500).await.unwrap();
        let (key, id) = (waiting(n), sealed.blob().id);
        let write = move |tx: &mut Tx<'_>| {
            tx.attach(sealed)?;
            tx.put_holding(Table::Pending, key.as_bytes(), &format!("value of {key}"), &[id])
        };
        store.write(write).await.unwrap();
    }
    let gone = |tx: &mut Tx<'_>| {
        GONE.into_iter().try_for_each(|n| {
            tx.merge(row_id(&name(n)), tombstone(n + 3000, n), Source::Local).map(|_| ())
        })
    };
    store.write(gone).await.unwrap();
}

pub(super) fn history() -> Whole {
    let whole = history_with_copy();
    forget_copy(&whole.disk);
    whole
}

pub(super) fn history_with_copy() -> Whole {
    let disk = SimDisk::new(81);
    let (state, incarnation) = doors::life(async {
        let (store, _) = open(&disk).await;
        fill(&store).await;
        for n in DAMAGED {
            let (path, at) = find(&disk, &body(n, 10));
            disk.flip(&path, at, 3);
            let blob = blob_of(&store, n);
            assert!(!store.verify(&blob).await.unwrap());
        }
        maintain_all(&store).await;
        let whole = state(&store, "whole").await;
        assert_eq!(whole.unread.len(), DAMAGED.len());
        assert_eq!((whole.kept.len(), whole.waiting.len()), (KEPT.len(), 5));
        store.close().await.unwrap();
        (whole, store.incarnation())
    });
    let index = disk.bytes(Path::new(INDEX));
    Whole { disk, index, incarnation, state }
}

fn blob_of(store: &Store, n: u64) -> BlobRef {
    let rows = rows(store);
    let all = rows.values().flat_map(blobs_of);
    all.into_iter().find(|blob| blob.id == blob_id(n)).unwrap()
}

/// What an entry consists of in the file of the index, with a byte of it that is flipped.
struct Pattern {
    table: &'static str,
    /// With what stands beside it, so that it is that of this table.
    pieces: Vec<Vec<u8>>,
    at: usize,
}

/// Keys and values of one entry of each table.
fn patterns(whole: &Whole) -> Vec<Pattern> {
    let (n, one, next) = (150, name(150), name(151));
    let region = &blob_key(1)[8..];
    let log_key =
        |seq: u64| [region, &whole.incarnation.0.to_be_bytes(), &seq.to_be_bytes()].concat();
    let holding = |n: u64| [PENDING, waiting(n).as_bytes()].concat();
    let held = |n: u64| {
        let set = BTreeSet::from([blob_id(2000 + n)]);
        postcard::to_extend(&set, vec![1]).unwrap()
    };
    let root = Manifest::of(&body(n, 10)).root().0;
    let row = &whole.state.rows[&key(&one)];
    let digest = digest_of(&row_id(&one), &Record::Row(row.clone())).to_vec();
    let pattern = |table, at, pieces: &[&[u8]]| Pattern {
        table,
        pieces: pieces.iter().map(|piece| piece.to_vec()).collect(),
        at,
    };
    let both = |a: Vec<u8>, b: Vec<u8>| [a, b].concat();
    vec![
        pattern("blobs", 7, &[&both(blob_key(n), blob_key(n + 1))]),
        pattern("blobs", 5, &[&both(blob_key(n), blob_key(n + 1))]),
        pattern("blobs", 20, &[&[&10_u64.to_be_bytes()[..], &root].concat()]),
        pattern("blobs", 6, &[&both(blob_key(1150), blob_key(DAMAGED[1]))]),
        pattern("blobs", 55, &[&[&10_u64.to_be_bytes()[..], &root].concat()]),
        pattern("refs", 7, &[&[&blob_key(n), RECORDS, &record_key(&one)].concat()]),
        pattern("refs", 6, &[&[&blob_key(LATE), RECORDS, &record_key(&name(LATE))].concat()]),
        pattern("refs", 15, &[&[&blob_key(n), RECORDS, &record_key(&one)].concat()]),
        pattern("refs", 5, &[&[&blob_key(2003), HOLDING, &holding(3)].concat()]),
        pattern("leaves", 1, &[&leaf_key(&one)]),
        pattern("leaves", 24, &[&leaf_key(&one)]),
        pattern("leaves", 9, &[&digest]),
        pattern("kept", 20, &[&both(record_key(&name(KEPT[0])), record_key(&name(KEPT[1])))]),
        pattern("log", 16, &[&both(log_key(n), log_key(n + 1))]),
        pattern("log", 20, &[&record_key(&one), &record_key(&next)]),
        pattern("damaged", 6, &[&both(blob_key(DAMAGED[0]), blob_key(DAMAGED[1]))]),
        pattern("holding", 5, &[&both(holding(3), holding(4))]),
        pattern("holding", 2, &[&held(3), &held(4)]),
        pattern("pending", 5, &[&both(waiting(3).into_bytes(), waiting(4).into_bytes())]),
        pattern("pending", 12, &[format!("value of {}", waiting(3)).as_bytes()]),
    ]
}

/// Where pieces stand with a checksum between them.
fn places(index: &[u8], pieces: &[Vec<u8>]) -> Vec<usize> {
    let (first, rest) = pieces.split_first().unwrap();
    let follows = |at: usize| {
        let mut end = at + first.len();
        rest.iter().all(|piece| {
            end += 4 + piece.len();
            index.get(end - piece.len()..end) == Some(piece)
        })
    };
    let windows = index.windows(first.len()).enumerate();
    windows.filter(|(at, window)| window == first && follows(*at)).map(|(at, _)| at).collect()
}

/// Of garbage the time is not known, but about.
fn garbage_places(index: &[u8]) -> Vec<usize> {
    let soon = |at: usize| {
        let due = index.get(at - 8..at).map(|due| u64::from_be_bytes(due.try_into().unwrap()));
        due.is_some_and(|due| (1_780_000_000_000..1_780_010_000_000).contains(&due))
    };
    let all = places(index, &[blob_key(GONE[0])]);
    all.into_iter().filter(|at| soon(*at)).collect()
}

async fn check_all(store: &Store) -> u64 {
    let (mut next, mut found) = (Some(EntriesMark::default()), 0);
    while let Some(mark) = next {
        let checked = store.check_entries(mark).await.unwrap();
        next = checked.next;
        found += checked.found;
    }
    found
}

/// What decayed is mended; whether anything had.
async fn mend(whole: &Whole, what: &str, table: &'static str, bits: usize) -> bool {
    let (store, _) = open(&whole.disk).await;
    state(&store, what).await;
    let found = check_all(&store).await;
    let mended = store.mend_entries().await.unwrap();
    if found == 0 {
        check_same(&state(&store, what).await, &whole.state, what);
        return false;
    }
    let taken_out = mended.tables.get(table).map_or(0, |tally| tally.taken_out);
    assert!(taken_out > 0, "{what}: {found}, {mended:?}");
    assert_eq!(check_all(&store).await, 0, "{what}");
    assert_eq!(store.mend_entries().await.unwrap().tables, BTreeMap::new(), "{what}");
    assert_eq!(store.bad_records(), [], "{what}");
    compare(&whole.state, state(&store, what).await, what, table, bits);
    store.close().await.unwrap();
    true
}

/// Housekeeping that does not know of the decay yet frees nothing that is needed.
async fn keep_house_and_mend(whole: &Whole, later: &State, what: &str, table: &str, bits: usize) {
    let env = doors::env(&whole.disk, 1, Duration::from_secs(3600));
    let (store, _) = open_with(env, options()).await;
    for _ in 0..300 {
        or_refused(store.maintain().await, what);
    }
    check_all(&store).await;
    store.mend_entries().await.unwrap();
    maintain_all(&store).await;
    assert_eq!(check_all(&store).await, 0, "{what}");
    compare(later, state(&store, what).await, what, table, bits);
}

/// Everything is there, but what says of itself that it may go.
fn compare(then: &State, mut now: State, what: &str, table: &str, bits: usize) {
    let State { log, waiting, .. } = then;
    if bits > 1 && table == "log" {
        assert!(now.log.len() + 1 >= log.len(), "{what}");
        now.log.extend(log.clone());
    }
    if bits > 1 && table == "pending" {
        assert!(now.waiting.len() + 1 >= waiting.len(), "{what}");
        now.waiting.extend(waiting.clone());
    }
    check_same(&now, then, what);
}

fn check_same(now: &State, then: &State, what: &str) {
    let State { rows, log, waiting, kept, digest, held, unread } = now;
    assert_eq!((held, unread), (&then.held, &then.unread), "{what}");
    assert_eq!((waiting, kept), (&then.waiting, &then.kept), "{what}");
    assert_eq!((rows, log), (&then.rows, &then.log), "{what}");
    assert_eq!(digest, &then.digest, "{what}: the digest");
}

/// The space of what is deleted comes back, and of nothing else.
pub(super) async fn delete_some(whole: &Whole, what: &str) {
    let gone = [149, 150, 151, 1001, 1002, 1150];
    let env = |hours: u64| doors::env(&whole.disk, 1, Duration::from_secs(hours * 3600));
    let (store, _) = open_with(env(1), options()).await;
    for n in gone {
        merge(&store, &name(n), tombstone(n + 3000, n)).await.unwrap();
    }
    for n in 1..=WAITING {
        store.write(move |tx| tx.delete(Table::Pending, waiting(n).as_bytes())).await.unwrap();
    }
    put(&store, "another", 4000, 0, 300_000).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let (store, _) = open_with(env(2), options()).await;
    maintain_all(&store).await;
    let freed = gone.len() as u64 + GONE.len() as u64 + WAITING;
    let held = store.held().await.unwrap();
    assert_eq!(held.blobs, whole.state.held.0 - freed + 1, "{what}");
    for blob in rows(&store).values().flat_map(blobs_of) {
        let damaged = DAMAGED.contains(&blob.id.0.hlc.0);
        assert_eq!(store.verify(&blob).await.unwrap(), !damaged, "{what}: {blob:?}");
    }
    store.checkpoint().await.unwrap();
    maintain_all(&store).await;
    let files = whole.disk.tree(Path::new("/data/blobs"));
    assert_eq!(files.len(), 1, "{what}: {files:?}");
}

/// Where each table's entries are, and the bytes that are flipped.
fn cases(whole: &Whole) -> Vec<(&'static str, usize)> {
    let mut cases = Vec::new();
    for Pattern { table, pieces, at } in patterns(whole) {
        let found = places(&whole.index, &pieces);
        assert!(!found.is_empty(), "{table} is in the index: {pieces:?}");
        cases.extend(found.into_iter().map(|place| (table, place + at)));
    }
    cases.extend(garbage_places(&whole.index).into_iter().map(|place| ("garbage", place + 3)));
    cases
}

#[test]
fn every_entry_that_decays_in_the_tables_of_objects_is_mended() {
    let whole = history();
    let before = whole.disk.copy();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (table, at) in cases(&whole) {
        for bits in [1, 2] {
            let what = format!("{table} at {at}, {bits} bits");
            whole.disk.become_copy_of(&before);
            (0..bits).for_each(|bit| whole.disk.flip(Path::new(INDEX), at + bit, 2));
            if doors::life(mend(&whole, &what, table, bits)) {
                *seen.entry(table).or_default() += 1;
                if bits > 1 {
                    doors::life(delete_some(&whole, &what));
                }
            }
        }
    }
    assert_eq!(seen.len(), 9, "{seen:?}");
    assert!(seen.values().all(|seen| *seen >= 2), "{seen:?}");
}

#[test]
fn housekeeping_frees_nothing_because_of_an_entry_that_decayed() {
    let whole = history();
    let before = whole.disk.copy();
    let later = doors::life(async {
        let env = doors::env(&whole.disk, 1, Duration::from_secs(3600));
        let (store, _) = open_with(env, options()).await;
        maintain_all(&store).await;
        state(&store, "later").await
    });
    assert_eq!(later.held.0, whole.state.held.0 - 2, "what was deleted is gone");
    let kept = |table: &str| matches!(table, "blobs" | "holding" | "refs");
    for (table, at) in cases(&whole).into_iter().filter(|(table, _)| kept(table)) {
        let what = format!("{table} at {at}, later");
        whole.disk.become_copy_of(&before);
        (0..2).for_each(|bit| whole.disk.flip(Path::new(INDEX), at + bit, 2));
        doors::life(keep_house_and_mend(&whole, &later, &what, table, 2));
    }
}

#[test]
fn the_manifest_of_a_large_body_is_made_again_of_its_bytes() {
    let disk = SimDisk::new(82);
    let len = (9 << 20) + 5;
    let blob = doors::life(async {
        let (store, _) = open(&disk).await;
        let blob = put(&store, "large", 7, 0, len).await.unwrap();
        store.close().await.unwrap();
        blob
    });
    let bytes = body(7, len);
    let hashes: Vec<[u8; 32]> = bytes.chunks(1 << 20).map(|chunk| Hash::of(chunk).0).collect();
    forget_copy(&disk);
    let before = disk.copy();
    let mut mended = 0;
    for at in places(&before.bytes(Path::new(INDEX)), &[hashes[8..].concat()]) {
        for bits in [1, 2] {
            disk.become_copy_of(&before);
            (0..bits).for_each(|bit| disk.flip(Path::new(INDEX), at + 30 + bit, 5));
            doors::life(async {
                let (store, _) = open(&disk).await;
                // Whoever reads it takes it for damaged.
                let refused = store.chunk(&blob, 0).await;
                assert!(matches!(refused, Err(Error::Corrupt(_)) | Ok(Some(_))), "{refused:?}");
                if check_all(&store).await == 0 {
                    return;
                }
                let tables = store.mend_entries().await.unwrap().tables;
                assert_eq!(tables["manifests"].made_again, 1, "{tables:?}");
                assert!(store.recheck(&blob).await.unwrap());
                assert_eq!(content(&store, &blob).await.unwrap().unwrap(), bytes);
                assert!(store.verify(&blob).await.unwrap());
                mended += 1;
            });
        }
    }
    assert_eq!(mended, 2);
}
