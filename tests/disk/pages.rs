//! Pages of the index that make no sense: the index is written anew of what can be read of it, and
//! what that misses is made again.

use super::entries::{DAMAGED, GONE, INDEX, State, Whole, delete_some, history, or_refused, state};
use super::memory::Pages;
use super::*;

use godwit::store::EntriesMark;

/// Bytes of a page.
const PAGE: usize = 4096;

/// Kind, number of entries, where they end, and of pages above others where those are.
fn places(turn: usize) -> (usize, u8) {
    let at = [0, 2, 3, 4 + turn * 7 % 90, 1, 100 + turn * 13 % 700][turn % 6];
    (at, u8::try_from(turn / 6 % 8).unwrap())
}

/// Looks at everything, as scrub does.
async fn look_at_all(store: &Store) {
    let mut next = Some(EntriesMark::default());
    while let Some(mark) = next {
        match store.check_entries(mark).await {
            Ok(checked) => next = checked.next,
            Err(Error::Corrupt(_)) => return,
            Err(error) => panic!("{error}"),
        }
    }
    for leaf in 0..=u16::MAX {
        if or_refused(store.check_records(leaf).await.map(Some), "scrub").is_none() {
            return;
        }
    }
}

/// Mends as a node does; records come from another region.
async fn mend(store: &Store, whole: &State) -> Result<(), Error> {
    store.mend_twins().await?;
    store.mend_entries().await?;
    store.put_back_strays().await?;
    for id in store.bad_records() {
        let RecordId::Row(_, key) = &id else { panic!("{id:?}") };
        let new = key.to_string().split_once('+').and_then(|(_, n)| n.parse().ok());
        let record = match new {
            Some(n) => {
                let root = Manifest::of(&body(n, 10)).root();
                object(n, 0, &[BlobRef { id: blob_id(n), len: 10, root }])
            }
            None => Record::Row(whole.rows[key].clone()),
        };
        store.replace_record(id, record).await?;
    }
    store.mend_entries().await?;
    Ok(())
}

/// Rounds of scrub and mending after which everything is whole.
const ROUNDS: usize = 6;

fn is_whole(store: &Store) -> bool {
    store.damaged_pages().is_none()
        && store.decayed_tables().is_empty()
        && store.bad_records().is_empty()
}

/// Whether there was anything to mend.
async fn mend_all(store: &Store, whole: &State, what: &str) -> bool {
    for round in 0..ROUNDS {
        look_at_all(store).await;
        if is_whole(store) {
            return round > 0;
        }
        // The writer looks after the index after each of them.
        for _ in 0..2 {
            or_later(store.checkpoint().await, what);
        }
        store.env().sleep(limits::INDEX_AGAIN_EVERY).await;
        or_later(mend(store, whole).await, what);
    }
    true
}

/// What meets a page for the first time is refused.
fn or_later(result: Result<(), Error>, what: &str) {
    match result {
        Ok(()) | Err(Error::Corrupt(_) | Error::Stalled) => {}
        Err(error) => panic!("{what}: {error}"),
    }
}

/// What came of one damaged page.
#[derive(Debug, Default)]
struct Seen {
    unharmed: usize,
    mended: usize,
    unopened: Vec<String>,
    /// Pages that are refused for good.
    refused: Vec<String>,
}

async fn damage_and_mend(whole: &Whole, what: &str, seen: &mut Seen) {
    let opened = Store::open(doors::env(&whole.disk, 1, Duration::ZERO), options()).await;
    let store = match opened {
        Ok((store, _)) => store,
        Err(Error::Corrupt(why)) => {
            seen.unopened.push(format!("{what}: {why}"));
            return;
        }
        Err(error) => panic!("{what}: {error}"),
    };
    state(&store, what).await;
    let harmed = mend_all(&store, &whole.state, what).await;
    if let Some(why) = store.damaged_pages() {
        seen.refused.push(format!("{what}: {why}"));
        return;
    }
    assert_eq!(store.decayed_tables(), Vec::<&str>::new(), "{what}");
    check(&state(&store, what).await, &whole.state, what);
    store.close().await.unwrap();
    drop(store);
    let (store, _) = open(&whole.disk).await;
    look_at_all(&store).await;
    assert_eq!((store.damaged_pages(), store.bad_records()), (None, vec![]), "{what}, later");
    check(&state(&store, what).await, &whole.state, what);
    if harmed {
        seen.mended += 1;
    } else {
        seen.unharmed += 1;
    }
}

/// Everything is as it was, but what a log has, and what waits, may have been dropped.
fn check(now: &State, then: &State, what: &str) {
    let differs = |(key, row): &(&ObjectKey, &Row)| now.rows.get(*key) != Some(*row);
    let missing: Vec<&ObjectKey> = then.rows.iter().filter(differs).map(|(key, _)| key).collect();
    assert!(now.rows == then.rows, "{what}: rows, not {missing:?}");
    assert_eq!((&now.kept, &now.unread), (&then.kept, &then.unread), "{what}");
    assert!(now.digest == then.digest, "{what}: the digest");
    // What is garbage need not be found again, and what is damaged has no bytes anywhere.
    let gone = then.held.0 - now.held.0;
    assert!(gone <= GONE.len() as u64, "{what}: {gone} bodies are not held");
    assert_eq!(then.held.1 - now.held.1, 10 * gone, "{what}");
    let dead = then.held.2 - now.held.2;
    assert!(dead <= 10 * (gone + DAMAGED.len() as u64), "{what}: {dead} bytes do not count");
    assert!(now.log.iter().all(|(seq, id)| then.log.get(seq) == Some(id)), "{what}: the log");
    let waits = |(key, value): (&String, &String)| then.waiting.get(key) == Some(value);
    assert!(now.waiting.iter().all(waits), "{what}: what waits");
}

fn has_rows(whole: &Whole, page: usize) -> bool {
    let page = &whole.index[page..page + PAGE];
    page[0] == 1 && page.windows(4).filter(|part| part == b"key-").count() > 8
}

#[test]
fn a_page_that_is_in_two_places_is_listed_once_or_refused_and_mended() {
    let whole = history();
    let before = whole.disk.copy();
    let mut seen = Seen::default();
    let leaves = Pages::of(&whole.index).tables.into_iter();
    let leaves: Vec<usize> = leaves.filter(|page| has_rows(&whole, *page)).collect();
    for pair in leaves.windows(2).step_by(leaves.len() / 12) {
        let what = format!("page {} in the place of {}", pair[0] / PAGE, pair[1] / PAGE);
        whole.disk.become_copy_of(&before);
        let mut index = whole.index.clone();
        index.copy_within(pair[0]..pair[0] + PAGE, pair[1]);
        whole.disk.replace(Path::new(INDEX), &index);
        doors::life(async {
            let (store, _) = open(&whole.disk).await;
            let snapshot = store.read().unwrap();
            let listed: Vec<_> = snapshot.rows(BUCKET, Bound::Unbounded).unwrap().collect();
            let keys = listed.iter().map_while(|row| row.as_ref().ok().map(|(key, _)| key));
            assert!(keys.is_sorted_by(|a, b| a < b), "{what}: a list out of its order");
        });
        doors::life(damage_and_mend(&whole, &what, &mut seen));
    }
    println!("{} leaves: {seen:?}", leaves.len());
    assert!(seen.mended > 8, "{seen:?}");
    assert!(seen.unopened.is_empty() && seen.refused.is_empty(), "{seen:?}");
}

async fn held_blobs(disk: &SimDisk) -> Option<u64> {
    let opened = Store::open(doors::env(disk, 1, Duration::ZERO), options()).await;
    Some(opened.ok()?.0.held().await.unwrap().blobs)
}

#[test]
fn a_page_that_makes_no_sense_is_mended() {
    let whole = history();
    let before = whole.disk.copy();
    let mut seen = Seen::default();
    let flips: usize = std::env::var("GODWIT_PAGE_FLIPS").map_or(40, |n| n.parse().unwrap());
    let pages = Pages::of(&whole.index).tables;
    for turn in 0..flips {
        let (at, bit) = places(turn);
        let page = pages[turn * 7 % pages.len()];
        let what = format!("page {} at +{at}, bit {bit}", page / PAGE);
        whole.disk.become_copy_of(&before);
        whole.disk.flip(Path::new(INDEX), page + at, bit);
        doors::life(damage_and_mend(&whole, &what, &mut seen));
        let all_held = Some(whole.state.held.0);
        if turn % 5 == 0 && doors::life(held_blobs(&whole.disk)) == all_held {
            doors::life(delete_some(&whole, &what));
        }
    }
    println!("{} pages: {seen:?}", pages.len());
    assert!(seen.mended > flips / 2, "{seen:?}");
    assert!(seen.unopened.is_empty() && seen.refused.is_empty(), "{seen:?}");
}

#[test]
fn an_index_is_written_anew_as_soon_as_there_is_room() {
    let whole = history();
    let page = Pages::of(&whole.index).tables.into_iter().filter(|at| has_rows(&whole, *at)).nth(5);
    let page = page.expect("there are more");
    whole.disk.flip(Path::new(INDEX), page, 3);
    whole.disk.set_capacity(whole.disk.used() * 4);
    doors::life(async {
        let (store, _) = open(&whole.disk).await;
        whole.disk.set_foreign(whole.disk.used() * 3 - 10_000);
        look_at_all(&store).await;
        assert!(store.damaged_pages().is_some());
        for _ in 0..3 {
            store.env().sleep(limits::INDEX_ANEW_EVERY).await;
            // What is not in the page is read on.
            let snapshot = store.read().unwrap();
            let read = (1..200).filter(|n| {
                matches!(snapshot.row(BUCKET, &key(&format!("key-{n:04}"))), Ok(Some(_)))
            });
            assert!(read.count() > 100);
            assert!(store.damaged_pages().is_some());
        }
        whole.disk.set_foreign(0);
        store.env().sleep(limits::INDEX_ANEW_EVERY).await;
        store.checkpoint().await.unwrap();
        assert_eq!(store.damaged_pages(), None);
        assert!(mend_all(&store, &whole.state, "room").await);
        check(&state(&store, "room").await, &whole.state, "room");
    });
}

/// Beside any of the others.
fn new_name(n: u64) -> String {
    format!("key-{:04}+{n}", n * 37 % 300)
}

/// Puts what is not answered may be there or not.
async fn put_some(store: &Store, from: u64) -> Vec<u64> {
    let mut answered = Vec::new();
    for n in from..from + 12 {
        match put(store, &new_name(n), n, 0, 10).await {
            Ok(_) => answered.push(n),
            Err(Error::Corrupt(_) | Error::Stalled | Error::DiskFull) => {}
            Err(error) => panic!("{error}"),
        }
    }
    answered
}

#[test]
fn what_is_answered_while_there_is_no_room_for_a_new_index_is_there_afterwards() {
    let whole = history();
    let before = whole.disk.copy();
    let pages = Pages::of(&whole.index).tables;
    let (mut answered, mut refused) = (0, 0);
    for turn in 0..36 {
        let page = pages[turn * 17 % pages.len()];
        let what = format!("page {}", page / PAGE);
        whole.disk.become_copy_of(&before);
        whole.disk.flip(Path::new(INDEX), page + [0, 2][turn % 2], 3);
        let new = doors::life_and_crash(&whole.disk, async {
            let env = doors::env(&whole.disk, 1, Duration::ZERO);
            let Ok((store, _)) = Store::open(env, options()).await else { return Vec::new() };
            whole.disk.set_capacity(whole.disk.used() * 8);
            whole.disk.set_foreign(whole.disk.used() * 7 - 400_000);
            let mut new = put_some(&store, 8000).await;
            look_at_all(&store).await;
            for from in [8020, 8040] {
                or_later(store.checkpoint().await, &what);
                new.extend(put_some(&store, from).await);
                store.env().sleep(limits::INDEX_ANEW_EVERY).await;
            }
            new
        });
        answered += new.len();
        refused += usize::from(new.len() < 36);
        whole.disk.set_foreign(0);
        doors::life(async {
            let (store, _) = open(&whole.disk).await;
            mend_all(&store, &whole.state, &what).await;
            assert!(is_whole(&store), "{what}");
            for n in new {
                let row = store.read().unwrap().row(BUCKET, &key(&new_name(n))).unwrap();
                assert_eq!(row.map(|row| row.stamp()), Some(stamp(n)), "{what}: {n}");
            }
        });
    }
    println!("{answered} answered, {refused} times not all");
    assert!(answered > 100 && refused > 2);
}
