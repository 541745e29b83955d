//! What is read of an index to open it decays: its copy is used.

use super::entries::{INDEX, Whole, history, state};
use super::memory::Pages;
use super::*;

const ROOTS: &str = "/data/index.roots";

/// Bytes of the header: the mark at its start, which of two commits counts, sizes, and of each of the
/// two its version, where its tables begin and its checksum.
const IN_HEADER: [usize; 13] = [0, 8, 9, 12, 17, 20, 24, 64, 65, 72, 80, 192, 200];
/// The kind of a page. What else may flip in it can end the program: `tests/crash` tries that.
const IN_PAGE: [usize; 1] = [0];

/// Opens it and reads everything, today and after a restart; whether the index was written anew.
async fn check(whole: &Whole, what: &str) -> bool {
    let before = whole.disk.bytes(Path::new(INDEX));
    let opened = Store::open(doors::env(&whole.disk, 1, Duration::ZERO), options()).await;
    let (store, report) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!((report.created, report.damage), (false, vec![]), "{what}");
    let anew = whole.disk.bytes(Path::new(INDEX))[4096..] != before[4096..];
    for round in ["first", "again"] {
        assert!(state(&store, what).await == whole.state, "{what}, {round}");
        store.checkpoint().await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let (store, _) = open(&whole.disk).await;
    assert!(state(&store, what).await == whole.state, "{what}, later");
    assert_eq!((store.damaged_pages(), store.decayed_tables()), (None, vec![]), "{what}");
    anew
}

#[test]
fn where_the_index_begins_is_read_from_its_copy_where_it_decayed() {
    let whole = history();
    let before = whole.disk.copy();
    let own = Pages::of(&whole.index).own;
    assert!(own.len() > 3 && own[0] == 0, "{own:?}");
    let mut flips = 0;
    for page in &own {
        let places: &[usize] = if *page == 0 { &IN_HEADER } else { &IN_PAGE };
        for (turn, at) in places.iter().enumerate() {
            for bit in [turn % 8, (turn + 3) % 8] {
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

/// Pages of it, one after the other, have nothing in them any more.
#[test]
fn pages_that_are_lost_altogether_are_read_from_their_copy() {
    let whole = history();
    let before = whole.disk.copy();
    for page in Pages::of(&whole.index).own {
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
    whole.disk.replace(Path::new(ROOTS), b"");
    doors::life(check(&whole, "no copy"));
}

#[test]
fn without_a_copy_an_index_whose_header_decayed_is_refused_with_the_reason() {
    let whole = history();
    whole.disk.replace(Path::new(ROOTS), b"");
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
