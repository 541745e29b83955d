//! kill -9 of a real node in the middle of 32 concurrent writers, again and again: whatever was
//! answered is there and whole after the restart.
//!
//! `GODWIT_CRASH_ROUNDS=1000 cargo test --test crash` tries more than the usual number.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test and its helpers")]
#![allow(dead_code, unreachable_pub, reason = "modules shared with other test programs")]

#[path = "../common/client.rs"]
mod client;
#[path = "../clients/dev.rs"]
mod dev;
#[path = "../common/memory.rs"]
#[allow(dead_code, reason = "what the tests of the store ask for")]
mod memory;
mod pages;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::Client;
use dev::Dev;
use tokio::sync::Notify;

const ROUNDS: u64 = 100;
const WRITERS: u64 = 32;
/// Keys of one writer; nobody else writes them.
const KEYS: u64 = 8;

/// What one writer knows of its keys: the last answered attempt, and the last one that was sent.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    answered: u64,
    sent: u64,
}

type Book = BTreeMap<u64, Known>;

/// From a few bytes to a file of its own, so that every way into the store is hit.
fn len_of(attempt: u64) -> usize {
    const LENS: [usize; 6] = [24, 3_000, 20_000, 100_000, 24, 700_000];
    LENS[usize::try_from(attempt % 6).unwrap()]
}

/// The attempt's number, over and over.
fn body_of(attempt: u64) -> Bytes {
    attempt.to_le_bytes().into_iter().cycle().take(len_of(attempt)).collect()
}

fn path_of(writer: u64, key: u64) -> String {
    format!("/crash/{writer}-{key}")
}

/// Writes until the node is gone.
async fn write(
    client: Client,
    writer: u64,
    mut book: Book,
    told: Arc<(AtomicU64, Notify)>,
) -> Book {
    for turn in 0.. {
        let key = turn % KEYS;
        let known = book.entry(key).or_default();
        known.sent += 1;
        let attempt = known.sent;
        let put = client.call("PUT", &path_of(writer, key)).body(body_of(attempt)).try_send().await;
        match put {
            Some(answer) if answer.status == 200 => {
                known.answered = attempt;
                told.0.fetch_add(1, Ordering::Relaxed);
                told.1.notify_one();
            }
            Some(answer) => panic!("a good write was answered {answer:?}"),
            None => return book,
        }
    }
    book
}

/// Reads every key of one writer: never older than what was answered, never of two writes.
async fn check(client: Client, writer: u64, book: Book) -> Book {
    for (key, known) in &book {
        let answer = client.get(&path_of(writer, *key)).await;
        if answer.status == 404 {
            assert_eq!(known.answered, 0, "lost: {writer}-{key}, {known:?}");
            continue;
        }
        assert_eq!(answer.status, 200, "{writer}-{key}: {answer:?}");
        let attempt = u64::from_le_bytes(answer.body[..8].try_into().unwrap());
        assert!(answer.body == body_of(attempt), "{writer}-{key} is not whole");
        let allowed = known.answered..=known.sent;
        assert!(allowed.contains(&attempt), "{writer}-{key} shows {attempt}, known is {known:?}");
    }
    book
}

fn client_of(dev: &Dev) -> Client {
    let announced = &dev.announced;
    Client {
        address: announced.regions[0].s3.trim_start_matches("http://").parse().unwrap(),
        access_key: announced.access_key.clone(),
        secret_key: announced.secret_key.clone(),
    }
}

/// Runs the writers until so many writes were answered, kills the node, gives what they know.
async fn round(dev: Dev, books: Vec<Book>, answers: u64) -> Vec<Book> {
    let told = Arc::new((AtomicU64::new(0), Notify::new()));
    let client = client_of(&dev);
    let writers: Vec<_> = (0..)
        .zip(books)
        .map(|(writer, book)| tokio::spawn(write(client.clone(), writer, book, told.clone())))
        .collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    while told.0.load(Ordering::Relaxed) < answers {
        assert!(Instant::now() < deadline, "writes are not answered");
        told.1.notified().await;
    }
    dev.kill();
    let mut books = Vec::new();
    for writer in writers {
        books.push(writer.await.unwrap());
    }
    books
}

#[test]
fn every_answered_write_survives_kill_9() {
    let rounds = std::env::var("GODWIT_CRASH_ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let log = folder.path().join("godwit.log");
    let arguments = ["--regions", "1", "--no-wan", "--data", data.to_str().unwrap()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut dev = Dev::start(&arguments, &log);
    runtime.block_on(async {
        client_of(&dev).put("/crash", "").await.expect(200);
        let mut books = vec![Book::new(); usize::try_from(WRITERS).unwrap()];
        let mut random = 7_u64;
        for _ in 0..rounds {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            books = round(dev, books, 1 + (random >> 33) % 100).await;
            dev = Dev::resume(&["--data", data.to_str().unwrap()], &log);
            let client = client_of(&dev);
            let checks: Vec<_> = (0..)
                .zip(books)
                .map(|(writer, book)| tokio::spawn(check(client.clone(), writer, book)))
                .collect();
            books = Vec::new();
            for check in checks {
                books.push(check.await.unwrap());
            }
        }
        dev.stop();
    });
}
