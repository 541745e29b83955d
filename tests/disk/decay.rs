//! Bits of the index that flip, in every table: what is read is what was written, or an error.

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

/// In these a key that is not found is looked after.
const CAREFUL: [Table; 5] =
    [Table::Cursor, Table::Local, Table::Member, Table::Meta, Table::Register];

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

/// Reads everything; how many reads were refused. A wrong answer fails the test.
fn read_all(store: &Store, what: &str) -> usize {
    let mut refused = 0;
    let snapshot = store.read().unwrap();
    for table in TABLES {
        for n in 0..30 {
            match snapshot.get::<String>(table, name(table, n).as_bytes()) {
                Ok(Some(found)) => assert_eq!(found, value(table, n), "{what}"),
                Ok(None) => assert!(!CAREFUL.contains(&table), "{what}: {table:?} {n} is gone"),
                Err(error) => {
                    assert!(matches!(error, Error::Corrupt(_)), "{what}: {error}");
                    refused += 1;
                }
            }
        }
        match snapshot.scan::<String>(table, b"", None, 100) {
            Ok(found) => {
                let expected: Vec<(Vec<u8>, String)> =
                    (0..30).map(|n| (name(table, n).into_bytes(), value(table, n))).collect();
                assert_eq!(found, expected, "{what}: {table:?}");
            }
            Err(error) => {
                assert!(matches!(error, Error::Corrupt(_)), "{what}: {error}");
                refused += 1;
            }
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

#[test]
fn a_flipped_bit_of_any_entry_of_any_table_is_never_read_as_something_else() {
    let mut refused = 0;
    let mut patterns: Vec<String> =
        TABLES.iter().flat_map(|table| [name(*table, 15), value(*table, 15)]).collect();
    patterns.push("row-0015".to_owned());
    let disk = history();
    let whole = disk.bytes(Path::new(INDEX));
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
                });
            }
        }
    }
    assert!(refused > 40, "only {refused} reads were refused");
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
