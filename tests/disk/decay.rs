//! Bits of the index that flip, in every table: what is read is what was written, or, where an entry
//! stands once, an error.

use redb::TableDefinition;

use super::*;

const TABLES: [Table; 9] = [
    Table::Cursor,
    Table::Event,
    Table::Lane,
    Table::Local,
    Table::Member,
    Table::Meta,
    Table::Pending,
    Table::Quarantine,
    Table::Register,
];

const INDEX: &str = "/data/index.redb";

fn name(table: Table, n: u32) -> String {
    format!("{table:?}-key-{n:04}")
}

fn value(table: Table, n: u32) -> String {
    format!("{table:?}-value-{n:04}-{}", "x".repeat(20))
}

/// Every table with some entries, and rows.
fn history() -> SimDisk {
    let disk = SimDisk::new(71);
    doors::life(async {
        let (store, _) = open(&disk).await;
        for n in 1..=30_u64 {
            put(&store, &format!("row-{n:04}"), n, 0, 10).await.unwrap();
        }
        let write = |tx: &mut Tx<'_>| {
            TABLES.into_iter().try_for_each(|table| {
                (0..30).try_for_each(|n| tx.put(table, name(table, n).as_bytes(), &value(table, n)))
            })
        };
        store.write(write).await.unwrap();
        store.close().await.unwrap();
    });
    forget_copy(&disk);
    disk
}

fn all_of(table: Table, first: u32) -> Vec<(Vec<u8>, String)> {
    (first..30).map(|n| (name(table, n).into_bytes(), value(table, n))).collect()
}

/// Reads everything; how many reads were refused. A wrong answer fails the test.
fn read_all(store: &Store, what: &str) -> usize {
    let mut refused = 0;
    let snapshot = store.read().unwrap();
    for table in TABLES {
        let once = table == Table::Pending;
        for n in 0..30 {
            match snapshot.get::<String>(table, name(table, n).as_bytes()) {
                Ok(Some(found)) => assert_eq!(found, value(table, n), "{what}"),
                Ok(None) => assert!(once, "{what}: {table:?} {n} is gone"),
                Err(error) => {
                    assert!(once && matches!(error, Error::Corrupt(_)), "{what}: {error}");
                    refused += 1;
                }
            }
        }
        match snapshot.scan::<String>(table, b"", None, 100) {
            Ok(found) => assert!(found == all_of(table, 0), "{what}: {table:?}"),
            Err(error) => {
                assert!(once && matches!(error, Error::Corrupt(_)), "{what}: {error}");
                refused += 1;
            }
        }
        if !once {
            let after = snapshot.scan::<String>(table, b"", Some(name(table, 15).as_bytes()), 100);
            assert!(after.unwrap() == all_of(table, 16), "{what}: {table:?} from the middle on");
        }
    }
    let listed: Result<Vec<(ObjectKey, Row)>, Error> =
        snapshot.rows(BUCKET, Bound::Unbounded).unwrap().collect();
    match listed {
        Ok(rows) => {
            let stamps: Vec<Stamp> = rows.iter().map(|(_, row)| row.stamp()).collect();
            assert_eq!(stamps, (1..=30).map(stamp).collect::<Vec<_>>(), "{what}: the list");
        }
        Err(error) => {
            assert!(matches!(error, Error::Corrupt(_)), "{what}: {error}");
            refused += 1;
        }
    }
    refused
}

/// Of these tables, key and value of an entry in the middle.
fn patterns() -> Vec<(Table, String)> {
    let both = |table| [(table, name(table, 15)), (table, value(table, 15))];
    TABLES.into_iter().flat_map(both).collect()
}

#[test]
fn a_flipped_bit_of_any_entry_of_any_table_is_never_read_as_something_else() {
    let disk = history();
    let whole = disk.bytes(Path::new(INDEX));
    let (mut refused, mut mended) = (0, 0);
    let mut patterns: Vec<String> = patterns().into_iter().map(|(_, pattern)| pattern).collect();
    patterns.push("row-0015".to_owned());
    for pattern in patterns {
        disk.replace(Path::new(INDEX), &whole);
        let places = in_index(&disk, pattern.as_bytes());
        assert!(!places.is_empty(), "{pattern} is in the index");
        for (place, at) in places.into_iter().enumerate() {
            for byte in [0, pattern.len() / 2, pattern.len() - 1] {
                disk.replace(Path::new(INDEX), &whole);
                disk.flip(Path::new(INDEX), at + byte, 1);
                let what = format!("{pattern}, place {place}, byte {byte}");
                doors::life(async {
                    let (store, _) = open(&disk).await;
                    refused += read_all(&store, &what);
                    let twins = store.mend_twins().await.unwrap();
                    assert_eq!(twins.lost, 0, "{what}");
                    mended += twins.mended;
                    read_all(&store, &what);
                    assert_eq!(store.mend_twins().await.unwrap(), TwinsMended::default(), "{what}");
                });
            }
        }
    }
    assert!(refused > 5, "only {refused} reads were refused");
    assert!(mended > 40, "only {mended} entries were mended");
}

#[test]
fn an_entry_that_was_mended_is_in_both_of_its_places_again() {
    let disk = history();
    let whole = disk.bytes(Path::new(INDEX));
    let mut mended = 0;
    for (table, pattern) in patterns().into_iter().filter(|(table, _)| *table != Table::Pending) {
        disk.replace(Path::new(INDEX), &whole);
        for at in in_index(&disk, pattern.as_bytes()) {
            disk.replace(Path::new(INDEX), &whole);
            disk.flip(Path::new(INDEX), at + 3, 1);
            doors::life(async {
                let (store, _) = open(&disk).await;
                read_all(&store, &pattern);
                mended += store.mend_twins().await.unwrap().mended;
                store.close().await.unwrap();
            });
            let after = disk.bytes(Path::new(INDEX));
            for gone in ["twin", &format!("{table:?}").to_lowercase()] {
                let without = formats::changed(after.clone(), |write| {
                    let lost: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(gone);
                    assert!(write.delete_table(lost).unwrap());
                });
                disk.replace(Path::new(INDEX), &without);
                doors::life(async {
                    let (store, _) = open(&disk).await;
                    let snapshot = store.read().unwrap();
                    let found = snapshot.get::<String>(table, name(table, 15).as_bytes());
                    assert_eq!(found.unwrap(), Some(value(table, 15)), "{pattern} without {gone}");
                });
            }
        }
    }
    assert!(mended > 20, "only {mended} entries were mended");
}

#[test]
fn what_is_written_over_and_beside_a_key_that_decayed_is_read_and_mended_like_anything_else() {
    for (table, turn) in TABLES.into_iter().filter(|table| *table != Table::Pending).zip(0_usize..)
    {
        let old = name(table, 15);
        for (at, place) in in_index(&history(), old.as_bytes()).into_iter().zip(0_usize..) {
            let byte = [0, old.len() / 2, old.len() - 1][(turn + place) % 3];
            let disk = history();
            disk.flip(Path::new(INDEX), at + byte, 4);
            doors::life(async {
                let (store, _) = open(&disk).await;
                let mut expected: BTreeMap<Vec<u8>, String> =
                    all_of(table, 0).into_iter().collect();
                let beside = ["aaa".to_owned(), format!("{old}-"), "zzz".to_owned()];
                for key in [name(table, 14), old.clone()].into_iter().chain(beside) {
                    expected.insert(key.clone().into_bytes(), key.clone());
                    store.write(move |tx| tx.put(table, key.as_bytes(), &key)).await.unwrap();
                }
                let gone = name(table, if place % 2 == 0 { 15 } else { 16 });
                expected.remove(gone.as_bytes());
                store.write(move |tx| tx.delete(table, gone.as_bytes())).await.unwrap();
                let expected: Vec<(Vec<u8>, String)> = expected.into_iter().collect();
                for _ in 0..2 {
                    let snapshot = store.read().unwrap();
                    let found = snapshot.scan::<String>(table, b"", None, 100).unwrap();
                    assert!(found == expected, "{table:?}, place {place}, byte {byte}");
                    for (key, value) in &expected {
                        let found = snapshot.get::<String>(table, key).unwrap();
                        assert_eq!(found.as_ref(), Some(value), "{table:?}, place {place}");
                    }
                    drop(snapshot);
                    assert_eq!(
                        store.mend_twins().await.unwrap().lost,
                        0,
                        "{table:?}, place {place}"
                    );
                }
                assert_eq!(store.mend_twins().await.unwrap(), TwinsMended::default());
            });
        }
    }
}

#[test]
fn a_value_that_decayed_in_both_of_its_places_is_refused_and_nothing_else_is() {
    let disk = history();
    let whole = disk.bytes(Path::new(INDEX));
    for table in TABLES {
        disk.replace(Path::new(INDEX), &whole);
        for at in in_index(&disk, value(table, 15).as_bytes()) {
            disk.flip(Path::new(INDEX), at, 1);
        }
        doors::life(async {
            let (store, _) = open(&disk).await;
            for _ in 0..2 {
                let snapshot = store.read().unwrap();
                for n in 0..30 {
                    let found = snapshot.get::<String>(table, name(table, n).as_bytes());
                    match n {
                        15 => assert!(matches!(found, Err(Error::Corrupt(_))), "{table:?}"),
                        n => assert_eq!(found.unwrap(), Some(value(table, n))),
                    }
                }
                let listed = snapshot.scan::<String>(table, b"", None, 100);
                assert!(matches!(listed, Err(Error::Corrupt(_))), "{table:?}");
                drop(snapshot);
                let twins = store.mend_twins().await.unwrap();
                assert_eq!(twins.mended, 0);
                assert_eq!(twins.lost, u64::from(table != Table::Pending), "{table:?}");
            }
            // Written again it is whole.
            let (key, new) = (name(table, 15), value(table, 16));
            store.write(move |tx| tx.put(table, key.as_bytes(), &new)).await.unwrap();
            store.mend_twins().await.unwrap();
            let found = store.read().unwrap().get::<String>(table, name(table, 15).as_bytes());
            assert_eq!(found.unwrap(), Some(value(table, 16)));
        });
    }
}

#[test]
fn a_record_whose_key_decayed_stops_a_list_until_it_is_put_back() {
    let disk = history();
    let whole = disk.bytes(Path::new(INDEX));
    let mut put_back = 0;
    for at in in_index(&disk, b"row-0015") {
        disk.replace(Path::new(INDEX), &whole);
        disk.flip(Path::new(INDEX), at + 6, 1);
        doors::life(async {
            let (store, _) = open(&disk).await;
            if read_all(&store, "before") == 0 {
                return;
            }
            put_back += store.put_back_strays().await.unwrap();
            if store.bad_records().is_empty() {
                assert_eq!(read_all(&store, "after"), 0);
            }
        });
    }
    assert!(put_back > 0, "no key decayed");
}

/// Entries of each table, and rows, so many that there are pages above pages.
const MANY: u32 = 400;

/// Bits that flip in them, one at a time.
const FLIPS: usize = 240;

/// What reading everything came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    wrong: usize,
    /// Lists that are whole but for some entries.
    short: usize,
    /// Refused, or not there.
    missing: usize,
}

impl Found {
    fn note<T: PartialEq>(&mut self, found: Result<Option<T>, Error>, expected: &T) {
        match found {
            Ok(Some(found)) if found == *expected => {}
            Ok(Some(_)) => self.wrong += 1,
            Ok(None) | Err(Error::Corrupt(_)) => self.missing += 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn note_list<T: PartialEq>(&mut self, found: Result<Vec<T>, Error>, expected: &[T]) {
        match found {
            Ok(found) if found == expected => {}
            Ok(found) if found.iter().all(|entry| expected.contains(entry)) => self.short += 1,
            Ok(_) => self.wrong += 1,
            Err(Error::Corrupt(_)) => self.missing += 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn add(&mut self, other: &Self) {
        self.wrong += other.wrong;
        self.short += other.short;
        self.missing += other.missing;
    }
}

fn list_rows(store: &Store) -> Result<Vec<Stamp>, Error> {
    let snapshot = store.read().unwrap();
    snapshot.rows(BUCKET, Bound::Unbounded)?.map(|row| Ok(row?.1.stamp())).collect()
}

/// What stands twice, and what stands once.
fn read_many(store: &Store) -> (Found, Found) {
    let (mut twice, mut once) = (Found::default(), Found::default());
    let snapshot = store.read().unwrap();
    for table in TABLES {
        let found = if table == Table::Pending { &mut once } else { &mut twice };
        let mut all = Vec::new();
        for n in 0..MANY {
            let (name, value) = (name(table, n).into_bytes(), value(table, n));
            found.note(snapshot.get::<String>(table, &name), &value);
            all.push((name, value));
        }
        found.note_list(snapshot.scan::<String>(table, b"", None, 10_000), &all);
    }
    for n in 1..=u64::from(MANY) {
        let row = snapshot.row(BUCKET, &key(&format!("row-{n:04}")));
        once.note(row.map(|row| row.map(|row| row.stamp())), &stamp(n));
        let held = snapshot.holds(&blob_id(n)).map(|held| held.then_some(()));
        once.note(held, &());
    }
    let stamps: Vec<Stamp> = (1..=u64::from(MANY)).map(stamp).collect();
    once.note_list(list_rows(store), &stamps);
    (twice, once)
}

/// A directory with so many entries, and the places of the pages of its index that have any.
fn many() -> (SimDisk, Vec<usize>) {
    let disk = SimDisk::new(72);
    doors::life(async {
        let (store, _) = open(&disk).await;
        for n in 1..=u64::from(MANY) {
            put(&store, &format!("row-{n:04}"), n, 0, 10).await.unwrap();
        }
        let write = |tx: &mut Tx<'_>| {
            let keys = TABLES.into_iter().flat_map(|table| (0..MANY).map(move |n| (table, n)));
            keys.into_iter().try_for_each(|(table, n)| {
                tx.put(table, name(table, n).as_bytes(), &value(table, n))
            })
        };
        store.write(write).await.unwrap();
        store.close().await.unwrap();
    });
    let places = ["-key-0", "row-0"].map(|part| in_index(&disk, part.as_bytes()));
    let pages: BTreeSet<usize> = places.into_iter().flatten().map(|at| at - at % 4096).collect();
    (disk, pages.into_iter().collect())
}

#[test]
fn a_page_of_the_index_that_makes_no_sense_ends_no_program_and_is_never_read_as_something_else() {
    let (disk, pages) = many();
    let whole = disk.bytes(Path::new(INDEX));
    let (mut twice, mut once, mut told, mut unopened) = (Found::default(), Found::default(), 0, 0);
    for flip in 0..FLIPS {
        let page = pages[flip % pages.len()];
        let turn = flip / pages.len() * 5 + flip;
        // Kind, number of entries, their places, and of pages above others where those are.
        let at = page + [0, 1, 2, 3, 4 + turn * 7 % 90, 100 + turn * 13 % 700][turn % 6];
        disk.replace(Path::new(INDEX), &whole);
        disk.flip(Path::new(INDEX), at, u8::try_from(turn / 6 % 8).unwrap());
        doors::life(async {
            let opened = Store::open(doors::env(&disk, 1, Duration::ZERO), options()).await;
            let store = match opened {
                Ok((store, _)) => store,
                Err(Error::Corrupt(_)) => {
                    unopened += 1;
                    return;
                }
                Err(error) => panic!("{error}"),
            };
            let (of_two, of_one) = read_many(&store);
            twice.add(&of_two);
            once.add(&of_one);
            told += usize::from(store.damaged_pages().is_some());
            if of_one.short > 0 && list_rows(&store).is_ok_and(|rows| rows.len() < 400) {
                for leaf in 0..=u16::MAX {
                    store.check_records(leaf).await.unwrap();
                }
                let listed = list_rows(&store);
                println!(
                    "flip {flip} at {at} page+{} before {:?} listed {:?} bad {} of_one {of_one:?}",
                    at - page,
                    &whole[page..page + 8],
                    listed.as_ref().map(Vec::len),
                    store.bad_records().len()
                );
                assert!(
                    matches!(listed, Err(Error::Corrupt(_))),
                    "scrub finds what a list leaves out"
                );
            }
        });
    }
    println!("{FLIPS} flips: {told} told, {unopened} not opened, twice {twice:?}, once {once:?}");
    assert_eq!((&twice, once.wrong), (&Found::default(), 0));
    assert!(told > 0 && once.missing > 0 && unopened == 0);
}
