//! Records of the index that decayed, looked for in the log: found as they were, or not at all.

use redb::TableDefinition;

use super::*;

const INDEX: &str = "/data/index.redb";
const FIRST: &str = "/data/log/0000000000000001.seg";
const NAME: &str = "row-15";

/// Rows of which each was written twice; where the body of the last state of one is.
fn history() -> (SimDisk, BlobRef) {
    let disk = SimDisk::new(73);
    let last = doors::life(async {
        let (store, _) = open(&disk).await;
        let mut last = None;
        for (round, replaces) in [(100, 0), (200, 100)] {
            for n in 1..=30 {
                let replaces = if replaces == 0 { 0 } else { replaces + n };
                let put = put(&store, &format!("row-{n:02}"), round + n, replaces, 10).await;
                last = if n == 15 { Some(put.unwrap()) } else { last };
            }
        }
        store.close().await.unwrap();
        last
    });
    (disk, last.unwrap())
}

/// Takes records out of the index, but not their digests.
fn lose_records(disk: &SimDisk, lost: impl Fn(&[u8]) -> bool) {
    lose_of("records", disk, lost);
}

fn lose_of(table: &str, disk: &SimDisk, lost: impl Fn(&[u8]) -> bool) {
    let without = formats::changed(disk.bytes(Path::new(INDEX)), |write| {
        let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
        write.open_table(table).unwrap().retain(|key, _| !lost(key)).unwrap();
    });
    disk.replace(Path::new(INDEX), &without);
}

fn row_of(store: &Store, name: &str) -> Result<Option<Row>, Error> {
    store.read().unwrap().row(BUCKET, &key(name))
}

/// Looks for everything that is known to be damaged: what was found, and what is not in the log.
async fn search(store: &Store) -> (Vec<(RecordId, Record)>, Vec<RecordId>) {
    let bad = store.bad_records().into_iter().collect();
    let mut search = store.search_log(bad).await.unwrap();
    let mut found = Vec::new();
    while let Some(some) = search.next().await {
        found.extend(some);
    }
    (found, search.missing().unwrap())
}

/// The row, the sums of the digests and what is counted.
fn all_of(store: &Store) -> (Option<Row>, [[u8; 32]; 256], Usage) {
    (row_of(store, NAME).unwrap(), store.digest().groups(), usage(store))
}

/// A record of this disk is damaged; it is found, and everything is as it was.
fn put_back(disk: &SimDisk, expected: &(Option<Row>, [[u8; 32]; 256], Usage)) {
    doors::life(async {
        let (store, _) = open(disk).await;
        assert!(matches!(row_of(&store, NAME), Err(Error::Corrupt(_))));
        let (found, missing) = search(&store).await;
        assert_eq!((found.len(), missing), (1, Vec::new()));
        for (id, record) in found {
            assert!(store.replace_record(id, record).await.unwrap());
        }
        assert!(all_of(&store) == *expected);
        assert_eq!((store.bad_records(), rows(&store).len()), (Vec::new(), 30));
        store.close().await.unwrap();
    });
    doors::life(async {
        let (store, _) = open(disk).await;
        assert!(all_of(&store) == *expected, "after a restart");
        assert_eq!((store.bad_records(), rows(&store).len()), (Vec::new(), 30));
    });
}

#[test]
fn a_record_that_decayed_or_is_missing_is_found_in_the_log_as_it_was() {
    let (disk, blob) = history();
    let expected = doors::life(async { all_of(&open(&disk.copy()).await.0) });
    let mut decayed = 0;
    for at in in_index(&disk, &blob.root.0) {
        disk.flip(Path::new(INDEX), at + 7, 1);
        if doors::life(async { row_of(&open(&disk.copy()).await.0, NAME).is_err() }) {
            put_back(&disk.copy(), &expected);
            decayed += 1;
        }
        disk.flip(Path::new(INDEX), at + 7, 1);
    }
    assert!(decayed > 0, "no record decayed");
    lose_records(&disk, |key| key.ends_with(NAME.as_bytes()));
    put_back(&disk, &expected);
}

#[test]
fn another_state_of_a_record_than_its_digest_says_is_not_taken() {
    let (disk, blob) = history();
    lose_records(&disk, |key| key.ends_with(NAME.as_bytes()));
    // The frame of the last state goes; that of the one before is whole.
    let log = disk.bytes(Path::new(FIRST));
    let at = log.windows(32).rposition(|window| window == blob.root.0).unwrap();
    let older = log.windows(NAME.len()).filter(|window| *window == NAME.as_bytes()).count();
    assert!(older > 1, "both are in the log");
    for whole in [true, false] {
        if !whole {
            disk.flip(Path::new(FIRST), at, 1);
        }
        doors::life(async {
            let (store, _) = open(&disk.copy()).await;
            assert!(row_of(&store, NAME).is_err());
            let (found, missing) = search(&store).await;
            assert_eq!((found.len(), missing.len()), if whole { (1, 0) } else { (0, 1) });
            assert!(row_of(&store, NAME).is_err(), "nothing was put in its place");
        });
    }
}

#[test]
fn a_record_whose_digest_decayed_too_is_not_looked_for() {
    let (disk, _) = history();
    let row = doors::life(async { row_of(&open(&disk.copy()).await.0, NAME).unwrap().unwrap() });
    let digest = godwit::store::digest_of(&row_id(NAME), &Record::Row(row));
    let places = in_index(&disk, &digest);
    assert!(!places.is_empty());
    for at in places {
        disk.flip(Path::new(INDEX), at + 3, 1);
    }
    lose_records(&disk, |key| key.ends_with(NAME.as_bytes()));
    doors::life(async {
        let (store, _) = open(&disk).await;
        assert!(row_of(&store, NAME).is_err());
        assert_eq!(search(&store).await, (Vec::new(), Vec::new()));
        assert!(store.decayed_tables().contains(&"leaves"), "{:?}", store.decayed_tables());
    });
}

#[test]
fn nothing_is_said_of_a_record_that_lost_its_digest_alone() {
    let (disk, blob) = history();
    lose_of("leaves", &disk, |key| key.ends_with(NAME.as_bytes()));
    let mut damaged = 0;
    for at in [None].into_iter().chain(in_index(&disk, &blob.root.0).into_iter().map(Some)) {
        let disk = disk.copy();
        at.inspect(|at| disk.flip(Path::new(INDEX), at + 7, 1));
        doors::life(async {
            let (store, _) = open(&disk).await;
            assert!(row_of(&store, NAME).is_err());
            let (found, missing) = search(&store).await;
            assert_eq!(found, Vec::new());
            assert!(at.is_some() || missing.is_empty(), "it is whole");
            damaged += missing.len();
        });
    }
    assert!(damaged > 0, "of one that decayed nothing is in the log");
}

#[test]
fn nothing_is_found_when_the_segment_is_gone_and_one_that_cannot_be_read_is_passed_over() {
    let disk = SimDisk::new(74);
    doors::life(async {
        let (store, _) = open(&disk).await;
        put(&store, "old", 1, 0, 0).await.unwrap();
        for n in 2..40 {
            put(&store, "filler", n, n - 1, 60_000).await.unwrap();
        }
        put(&store, NAME, 40, 0, 10).await.unwrap();
        for n in 41..80 {
            put(&store, "filler", n, n - 1, 60_000).await.unwrap();
        }
        store.close().await.unwrap();
    });
    lose_records(&disk, |key| key.ends_with(NAME.as_bytes()) || key.ends_with(b"old"));
    doors::life(async {
        let (store, _) = open(&disk).await;
        assert!(row_of(&store, NAME).is_err() && row_of(&store, "old").is_err());
        assert!(store.stats().segments > 3);
        let (found, missing) = search(&store).await;
        assert_eq!((found.len(), missing.len()), (2, 0));
        let newest = format!("{:016}.seg", store.log_end().0);
        assert!(disk.tree(Path::new("/data/log")).iter().any(|(path, _)| path.ends_with(&newest)));
        disk.fail_in(Fault::Read, newest.leak(), 0);
        let (found, missing) = search(&store).await;
        disk.heal();
        assert_eq!((found.len(), missing.len()), (2, 0));
        store.env().sleep(limits::BLOB_GRACE * 2).await;
        for _ in 0..3 {
            maintain_all(&store).await;
            store.checkpoint().await.unwrap();
        }
        assert!(!disk.tree(Path::new("/data/log")).iter().any(|(p, _)| p == Path::new(FIRST)));
        let (found, missing) = search(&store).await;
        assert_eq!((found.len(), missing.len()), (0, 2));
    });
}

#[test]
fn what_a_walk_keeps_of_many_records_is_bounded_and_all_are_found() {
    let disk = SimDisk::new(75);
    let options = || Options { segment_bytes: 64 << 20, ..options() };
    let long = |n: u64| {
        let Record::Row(mut row) = object(n, 0, &[]) else { panic!("a row") };
        let Content::Object(meta) = &mut row.versions[0].content else { panic!("an object") };
        let mut named = ObjectMeta::clone(meta);
        named.user_meta = vec![("x".into(), "y".repeat(1 << 20))];
        *meta = Arc::new(named);
        Record::Row(row)
    };
    doors::life(async {
        let (store, _) = open_with(doors::env(&disk, 1, Duration::ZERO), options()).await;
        for n in 1..=20 {
            merge(&store, &format!("row-{n:02}"), long(n)).await.unwrap();
        }
        store.close().await.unwrap();
    });
    lose_records(&disk, |key| key.starts_with(&[1]));
    doors::life(async {
        let (store, _) = open_with(doors::env(&disk, 1, Duration::ZERO), options()).await;
        for n in 1..=20 {
            assert!(row_of(&store, &format!("row-{n:02}")).is_err());
        }
        let bad = store.bad_records().into_iter().collect();
        let mut search = store.search_log(bad).await.unwrap();
        let mut found = BTreeMap::new();
        while let Some(some) = search.next().await {
            assert!(some.len() << 20 <= limits::FOUND_RECORDS_BYTES, "{} at once", some.len());
            found.extend(some);
        }
        assert_eq!(store.stats().segments, 1);
        assert_eq!(search.missing().unwrap(), Vec::new());
        for n in 1..=20 {
            assert!(found[&row_id(&format!("row-{n:02}"))] == long(n));
        }
    });
}
