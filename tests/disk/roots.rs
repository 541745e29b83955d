//! What is read of an index to open it decays: its copy is used.

use super::entries::{INDEX, Whole, history_with_copy as history, state};
use super::*;

/// What a copy has: of which commit, how long the index's file was, pages.
type Copy = ((u64, u64, u64, u64), u64, BTreeMap<u64, Vec<u8>>);

/// Where the pages are that have a copy, the header first.
pub(super) fn pages_with_copy(disk: &SimDisk) -> Vec<usize> {
    let Some(copy) = disk.bytes(Path::new(ROOTS)).get(5..).map(<[u8]>::to_vec) else {
        return Vec::new();
    };
    let (_, _, pages): Copy = postcard::from_bytes(&copy).unwrap();
    pages.into_keys().map(|number| usize::try_from(number).unwrap() * 4096).collect()
}

/// Bytes of the header: the mark at its start, which of two commits counts, sizes, and of each of the
/// two its version, where its tables begin and its checksum.
const IN_HEADER: [usize; 13] = [0, 8, 9, 12, 17, 20, 24, 64, 65, 72, 80, 192, 200];
/// Bytes of a page: kind, number of entries, where they end, entries.
const IN_PAGE: [usize; 6] = [0, 2, 3, 9, 40, 300];

/// Opens it and reads everything, today and after a restart.
async fn check(whole: &Whole, what: &str) {
    let opened = Store::open(doors::env(&whole.disk, 1, Duration::ZERO), options()).await;
    let (store, report) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!((report.created, report.damage), (false, vec![]), "{what}");
    for round in ["first", "again"] {
        assert!(state(&store, what).await == whole.state, "{what}, {round}");
        store.checkpoint().await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let (store, _) = open(&whole.disk).await;
    assert!(state(&store, what).await == whole.state, "{what}, later");
    assert_eq!((store.damaged_pages(), store.decayed_tables()), (None, vec![]), "{what}");
}

#[test]
fn where_the_index_begins_is_read_from_its_copy_where_it_decayed() {
    let whole = history();
    let before = whole.disk.copy();
    let own = pages_with_copy(&before);
    assert!(own.len() > 8 && own[0] == 0, "{own:?}");
    let mut flips = 0;
    for page in &own {
        let places: &[usize] = if *page == 0 { &IN_HEADER } else { &IN_PAGE };
        for (turn, at) in places.iter().enumerate() {
            // One bit of the ninth byte says which of two commits counts.
            let bits = if *at == 9 { (0..8).collect() } else { vec![turn % 8, (turn + 3) % 8] };
            for bit in bits {
                let what = format!("page {} at +{at}, bit {bit}", page / 4096);
                whole.disk.become_copy_of(&before);
                whole.disk.flip(Path::new(INDEX), page + at, u8::try_from(bit).unwrap());
                doors::life(check(&whole, &what));
                flips += 1;
            }
        }
    }
    println!("{flips} flips in {} pages", own.len());
}

/// It is written before power fails, and its first page decays before the next start.
#[test]
fn a_first_page_that_leads_to_the_commit_before_is_found() {
    for rows in [1, 40, 400] {
        let disk = SimDisk::new(84);
        doors::life_and_crash(&disk, async {
            let (store, _) = open(&disk).await;
            for n in 1..=rows {
                put(&store, &format!("key-{n:03}"), n, 0, 10).await.unwrap();
                if n.is_multiple_of(rows.div_ceil(4)) {
                    store.checkpoint().await.unwrap();
                }
            }
        });
        disk.flip(Path::new(INDEX), 9, 0);
        doors::life(async {
            let (store, report) = open(&disk).await;
            assert_eq!((report.damage.len(), store.damaged_pages()), (0, None));
            let listed = store.read().unwrap().rows(BUCKET, Bound::Unbounded).unwrap().count();
            assert_eq!(listed as u64, rows);
            for n in 1..=rows {
                let row = store.read().unwrap().row(BUCKET, &key(&format!("key-{n:03}"))).unwrap();
                assert_eq!(row.map(|row| row.stamp()), Some(stamp(n)), "{n} of {rows}");
            }
            store.close().await.unwrap();
        });
    }
}

/// Pages of it, one after the other, have nothing in them any more.
#[test]
fn pages_that_are_lost_altogether_are_read_from_their_copy() {
    let whole = history();
    let before = whole.disk.copy();
    for page in pages_with_copy(&before) {
        whole.disk.become_copy_of(&before);
        let mut index = whole.index.clone();
        index[page..page + 4096].fill(0);
        whole.disk.replace(Path::new(INDEX), &index);
        doors::life(check(&whole, &format!("page {} is empty", page / 4096)));
    }
}

#[test]
fn a_copy_that_decayed_or_is_gone_is_made_again() {
    let whole = history();
    let before = whole.disk.copy();
    let kept = before.bytes(Path::new(ROOTS));
    for at in [0, 3, 4, 5, 20, 100, kept.len() / 2, kept.len() - 1] {
        whole.disk.become_copy_of(&before);
        whole.disk.flip(Path::new(ROOTS), at, 2);
        doors::life(check(&whole, &format!("byte {at} of the copy")));
        whole.disk.flip(Path::new(INDEX), 0, 2);
        doors::life(check(&whole, &format!("byte {at} of the copy, then the header")));
    }
    whole.disk.become_copy_of(&before);
    forget_copy(&whole.disk);
    doors::life(check(&whole, "no copy"));
}

#[test]
fn without_a_copy_an_index_whose_header_decayed_is_refused_with_the_reason() {
    let whole = history();
    forget_copy(&whole.disk);
    for at in [0, 12] {
        whole.disk.flip(Path::new(INDEX), at, 2);
        let refused = doors::life(async {
            Store::open(doors::env(&whole.disk, 1, Duration::ZERO), options()).await.err().unwrap()
        });
        assert!(matches!(refused, Error::Corrupt(_)), "{refused}");
        assert!(refused.to_string().contains("join anew"), "{refused}");
        whole.disk.flip(Path::new(INDEX), at, 2);
    }
    doors::life(check(&whole, "it was nothing else"));
}

#[test]
fn an_earlier_index_in_its_place_is_brought_up_by_the_log_and_not_by_the_copy() {
    let disk = SimDisk::new(83);
    let mut earlier = Vec::new();
    doors::life(async {
        let (store, _) = open(&disk).await;
        for n in 1..=300 {
            put(&store, &format!("key-{n:03}"), n, 0, 10).await.unwrap();
            if n == 100 {
                store.checkpoint().await.unwrap();
                earlier = disk.bytes(Path::new(INDEX));
            }
        }
        store.close().await.unwrap();
    });
    disk.replace(Path::new(INDEX), &earlier);
    doors::life(async {
        let (store, report) = open(&disk).await;
        assert!((200..300).contains(&report.replayed), "{report:?}");
        assert_eq!((report.damage.len(), store.damaged_pages()), (0, None));
        let rows = store.read().unwrap().rows(BUCKET, Bound::Unbounded).unwrap().count();
        assert_eq!(rows, 300);
    });
}
