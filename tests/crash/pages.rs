//! Pages of the index that redb keeps for itself, damaged: whatever it does about them, a node that
//! is started again comes back by itself with everything.
//!
//! `GODWIT_PAGE_FLIPS=60 cargo test --test crash pages -- --ignored` tries more than the usual number.

use std::fs;
use std::path::{Path, PathBuf};

use super::memory::Pages;
use super::*;

const OBJECTS: usize = 120;
const FLIPS: usize = 10;
/// Starts after which a node is up.
const STARTS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the one region keeps its index.
fn index_of(data: &Path) -> PathBuf {
    let mut below = vec![data.to_owned()];
    while let Some(folder) = below.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() == "index.redb" {
                return path;
            }
            below.extend(path.is_dir().then_some(path));
        }
    }
    panic!("no index below {}", data.display())
}

fn body(n: usize) -> Bytes {
    Bytes::from(format!("object {n} ").repeat(20 + n))
}

/// Reads everything until all of it is there; what is read is never something else. `None`: the node
/// has ended.
async fn read_all(dev: &Dev, what: &str) -> Option<()> {
    let (client, deadline) = (client_of(dev), Instant::now() + PATIENCE);
    let mut pause = tokio::time::interval(Duration::from_millis(200));
    loop {
        let mut missing = Vec::new();
        for n in 0..OBJECTS {
            let answer = client.call("GET", &format!("/pages/{n}")).try_send().await?;
            match answer.status.as_u16() {
                200 => assert_eq!(answer.body, body(n), "{what}: {n}"),
                500 | 503 => missing.push(n),
                status => panic!("{what}: {n} is answered {status}: {answer:?}"),
            }
        }
        let put = client.call("PUT", "/pages/late").body("late").try_send().await?;
        let listed = client.call("GET", "/pages?list-type=2").try_send().await?;
        let keys = String::from_utf8_lossy(&listed.body).matches("<Key>").count();
        if missing.is_empty() && put.status == 200 && keys == OBJECTS + 1 {
            return Some(());
        }
        assert!(Instant::now() < deadline, "{what}: not there: {missing:?}, {put:?}, {listed:?}");
        pause.tick().await;
    }
}

#[test]
#[ignore = "long: just long crash"]
fn a_node_with_damaged_bookkeeping_comes_back_by_itself() {
    let flips = std::env::var("GODWIT_PAGE_FLIPS").map_or(FLIPS, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("data"), folder.path().join("godwit.log"));
    let arguments = ["--data", data.to_str().unwrap()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dev = Dev::start(&[&["--regions", "1", "--no-wan"], &arguments[..]].concat(), &log);
    runtime.block_on(async {
        let client = client_of(&dev);
        client.put("/pages", "").await.expect(200);
        for n in 0..OBJECTS {
            client.put(&format!("/pages/{n}"), body(n)).await.expect(200);
        }
    });
    dev.stop();
    let index = index_of(&data);
    let whole = fs::read(&index).unwrap();
    let Pages { own, tables } = Pages::of(&whole);
    let (mut starts, mut refused) = (0, 0);
    for turn in 0..flips {
        // One of three is a table's.
        let of = if turn % 3 == 2 { &tables } else { &own };
        let page = of[turn * 5 % of.len()];
        let at = [0, 2, 4 + turn * 7 % 60, 64 + turn * 13 % 900][turn / 2 % 4];
        let what = format!("page {} at +{at}", page / 4096);
        let mut bytes = fs::read(&index).unwrap();
        let before = bytes.clone();
        bytes[page + at] ^= 1 << (turn % 8);
        fs::write(&index, &bytes).unwrap();
        let up = (0..STARTS).any(|_| {
            starts += 1;
            let Some(dev) = Dev::try_resume(&arguments, &log) else { return false };
            runtime.block_on(read_all(&dev, &what)).is_some()
        });
        if !up {
            let told = fs::read_to_string(&log).unwrap_or_default();
            println!("{what}: {}", told.lines().last().unwrap_or_default());
            refused += 1;
            fs::write(&index, before).unwrap();
        }
    }
    println!(
        "{flips} flips in {} and {} pages: {starts} starts, {refused} refused",
        own.len(),
        tables.len()
    );
    assert_eq!(refused, 0);
}
