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
