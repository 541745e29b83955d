//! What operations cost, exactly: round trips by region, messages when nothing happens, and how soon
//! others find a new key. Tables of these are in docs/consistency.md, and are compared with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::world::*;
use crate::cluster::{Cluster, KeyRange};
use crate::net::message::Request;
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::id::BucketId;
use crate::types::name::{AccessKeyId, AccountId, BucketName, SecretKey};
use crate::types::record::{AccessKeyRecord, KeyScope, RecordId};
use crate::types::stamp::Stamp;

const THREE: [&str; 3] = ["fra", "iad", "nrt"];
const FIVE: [&str; 5] = ["fra", "iad", "gru", "nrt", "syd"];
const BIG: &[u8] = &[7; 50_000];

/// Round trips between the regions, in milliseconds.
const TRIPS: [(&str, &str, u64); 10] = [
    ("fra", "iad", 90),
    ("fra", "gru", 204),
    ("fra", "nrt", 230),
    ("fra", "syd", 280),
    ("iad", "gru", 116),
    ("iad", "nrt", 150),
    ("iad", "syd", 200),
    ("gru", "nrt", 256),
    ("gru", "syd", 310),
    ("nrt", "syd", 104),
];

async fn world(codes: &[&str]) -> World {
    let world = World::new(codes).await;
    TRIPS.iter().for_each(|(a, b, ms)| world.net.set_delay_ms(a, b, ms / 2));
    world
}

fn trip(a: &str, b: &str) -> u64 {
    let between = |(x, y, _): &&(&str, &str, u64)| (*x, *y) == (a, b) || (*x, *y) == (b, a);
    TRIPS.iter().find(between).map_or(0, |(.., ms)| *ms)
}

/// The others, nearest first, with their round trips.
fn others<'a>(codes: &[&'a str], code: &str) -> Vec<(u64, &'a str)> {
    let others = codes.iter().filter(|other| **other != code);
    let mut others: Vec<_> = others.map(|other| (trip(code, other), *other)).collect();
    others.sort_unstable();
    others
}

async fn took<T, E: std::fmt::Debug>(work: impl Future<Output = Result<T, E>>) -> u64 {
    let start = Instant::now();
    work.await.unwrap();
    u64::try_from(start.elapsed().as_millis()).unwrap()
}

async fn make_key(cluster: &Cluster, code: &str) -> Result<(), String> {
    let record = AccessKeyRecord {
        stamp: Stamp::ZERO,
        account: AccountId("alice".into()),
        secret: SecretKey("secret".into()),
        scope: KeyScope::Admin,
        revoked: false,
        created_ms: 1,
    };
    let id = AccessKeyId(format!("GW{code}").into());
    let change = move |_: Option<&AccessKeyRecord>| Some(record.clone());
    let made = cluster.change_access_key(&id, Arc::new(change)).await.map_err(|why| why.reason)?;
    made.map(drop).ok_or_else(|| "refused".to_owned())
}

/// What each operation takes in one region, in milliseconds.
async fn costs(world: &World, code: &str) -> Vec<(&'static str, u64)> {
    let (at, config) = (world.at(code), bucket(Ack::Default));
    let name = |kind: &str| format!("{code}-{kind}");
    let put_if = |kind: &str, before: Option<&'static str>, tag: &'static str, body| {
        let (at, config, name) = (at.clone(), config.clone(), name(kind));
        async move { Box::pin(put_if(&at, &config, &name, before, (tag, body))).await }
    };
    let row = |kind: &str| RecordId::Row(config.id, key(&name(kind)));
    let mut costs = vec![
        ("PUT", took(put(&at, &config, &name("plain"), b"x")).await),
        ("PUT of 50 KB", took(put(&at, &config, &name("large"), BIG)).await),
        ("conditional PUT, first here", took(put_if("small", None, "1", b"x")).await),
        ("conditional PUT, changed here before", took(put_if("small", Some("1"), "2", b"y")).await),
        ("conditional PUT of 50 KB, first here", took(put_if("big", None, "1", BIG)).await),
        (
            "conditional PUT of 50 KB, changed here before",
            took(put_if("big", Some("1"), "2", BIG)).await,
        ),
        (
            "conditional DELETE, changed here before",
            took(Box::pin(delete_if(&at, &config, &name("big"), "2"))).await,
        ),
        ("strong read", took(at.row_linearizable(&row("small"))).await),
        (
            "strong read, the first after a plain PUT",
            took(at.row_linearizable(&row("plain"))).await,
        ),
    ];
    // What came before is applied everywhere.
    sleep(Duration::from_secs(5)).await;
    let range = KeyRange { bucket: config.id, prefix: String::new(), after: None, until: None };
    costs.push(("page of a strong list", took(at.freshen(range)).await));
    let id = BucketId([code.as_bytes()[0]; 16]);
    let made = BucketConfig { id, ..BucketConfig::clone(&config) };
    let name = BucketName::parse(&format!("bucket-{code}")).unwrap();
    costs.push(("making a bucket", took(at.create_bucket(&name, made)).await));
    costs.push(("making an access key", took(make_key(&at, code)).await));
    costs
}

/// Rows of operations, columns of regions; in round trips to the nearest majority of the voters.
async fn table(codes: &[&str]) -> (String, BTreeMap<(&'static str, String), f64>) {
    let world = world(codes).await;
    let (mut names, mut cells) = (Vec::new(), BTreeMap::new());
    let mut table = format!("| {} voters |", codes.len());
    for code in codes {
        let nearest = others(codes, code);
        let majority = nearest[codes.len() / 2 - 1].0;
        write!(table, " {code}: {} / {majority} ms |", nearest[0].0).unwrap();
        let costs = costs(&world, code).await;
        names = costs.iter().map(|(name, _)| *name).collect();
        for (name, ms) in costs {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
            cells.insert((name, (*code).to_owned()), ms as f64 / majority as f64);
        }
    }
    write!(table, "\n|---|{}\n", "---|".repeat(codes.len())).unwrap();
    for name in names {
        let cells = codes.iter().map(|code| format!("{:.2}", cells[&(name, (*code).to_owned())]));
        writeln!(table, "| {name} | {} |", cells.collect::<Vec<_>>().join(" | ")).unwrap();
    }
    (table, cells)
}

/// Compares what was measured with what docs/consistency.md says, or writes it there.
fn documented(what: &str, measured: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/consistency.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (begin, end) = (format!("<!-- measured: {what} -->\n"), "<!-- end -->");
    let at = page.find(&begin).expect("the page has a place for it") + begin.len();
    let len = page[at..].find(end).expect("the place has an end");
    if std::env::var_os("GODWIT_UPDATE").is_some() {
        let page = [&page[..at], "\n", measured.trim_end(), "\n\n", &page[at + len..]].concat();
        std::fs::write(path, page).unwrap();
        return;
    }
    let said = page[at..at + len].trim();
    assert_eq!(
        said,
        measured.trim(),
        "GODWIT_UPDATE=1 cargo test --lib tests::cost writes it anew"
    );
}

#[tokio::test(start_paused = true)]
async fn operations_cost_the_round_trips_that_the_page_says() {
    let (three, cells) = Box::pin(table(&THREE)).await;
    for code in THREE {
        let cost = |name| cells[&(name, code.to_owned())];
        for (conditional, plain) in [
            ("conditional PUT, changed here before", "PUT"),
            ("conditional PUT of 50 KB, changed here before", "PUT of 50 KB"),
        ] {
            assert!(cost(conditional) <= 1.15 * cost(plain), "{code}: {conditional}");
        }
    }
    let (five, cells) = Box::pin(table(&FIVE)).await;
    for code in FIVE {
        let cost = |name| cells[&(name, code.to_owned())];
        assert!(cost("conditional PUT, changed here before") <= 1.05, "{code}");
        assert!(cost("conditional PUT of 50 KB, changed here before") <= 2.05, "{code}");
        assert!(cost("strong read") <= 1.05, "{code}");
    }
    documented("round trips", &format!("{three}\n{five}"));
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_elsewhere_before_its_log_entry_whenever_an_asked_voter_has_it() {
    let world = world(&FIVE).await;
    let config = bucket(Ack::Default);
    let header = FIVE.map(|code| format!(" {code} |")).concat();
    let mut table = format!("| read in, written in |{header}\n|---|{}\n", "---|".repeat(5));
    let (mut at_once, mut when_told, mut pairs) = (0, 0, 0);
    for reader in FIVE {
        write!(table, "| {reader} |").unwrap();
        for writer in FIVE {
            if writer == reader {
                table.push_str(" |");
                continue;
            }
            let mut found = Vec::new();
            for wait_ms in [0, trip(reader, writer) / 2] {
                let name = format!("{reader}-{writer}-{wait_ms}");
                put(&world.at(writer), &config, &name, b"x").await.unwrap();
                sleep(Duration::from_millis(wait_ms)).await;
                let knows = |code: &str| world.row(code, &config, &name).is_some();
                let asked = others(&FIVE, reader);
                let any = knows(reader) || asked[..2].iter().any(|(_, code)| knows(code));
                let at = world.at(reader);
                let shown = at.row(&config, &key(&name)).await.unwrap().is_some();
                assert!(shown || !any, "{name}: an asked voter has it and it is not found");
                found.push(shown);
                sleep(Duration::from_secs(2)).await;
            }
            pairs += 1;
            at_once += usize::from(found[0]);
            when_told += usize::from(found[1]);
            let shown = if found[0] { "yes" } else { "no" };
            write!(table, " {shown} |").unwrap();
        }
        table.push('\n');
    }
    let share = |found: usize| found * 100 / pairs;
    let (now, told) = (share(at_once), share(when_told));
    assert!(told >= 95, "{told} % once the reader can have heard of the answer");
    writeln!(
        table,
        "\nFound at the moment of the answer: {now} %; when the reader can have heard of it, one \
         way of the network later: {told} %."
    )
    .unwrap();
    documented("new keys", &table);
}

/// Messages of five minutes, by kind, after this many keys were changed with conditions.
async fn background(keys: usize) -> BTreeMap<String, u64> {
    let world = world(&THREE).await;
    let config = bucket(Ack::Default);
    let names: Vec<usize> = (0..keys).collect();
    for some in names.chunks(64) {
        let puts = some.iter().map(|n| {
            let (at, config) = (world.at(THREE[n % 3]), config.clone());
            async move {
                let name = format!("k{n}");
                Box::pin(put_if(&at, &config, &name, None, ("1", b"x"))).await.unwrap();
            }
        });
        join_all(puts).await;
    }
    sleep(Duration::from_secs(60)).await;
    let from = Duration::from_secs(world.now().as_secs() / 60 * 60 + 60);
    sleep(from - world.now()).await;
    world.net.keep_asked(true);
    sleep(Duration::from_secs(300)).await;
    let mut counts = BTreeMap::new();
    for request in world.net.keep_asked(false) {
        *counts.entry(kind_of(&request)).or_default() += 1;
    }
    counts
}

fn kind_of(request: &[u8]) -> String {
    match Request::decode_with(request).unwrap().0 {
        Request::Register(asked) => {
            let asked = format!("{asked:?}");
            format!("Register {}", asked.split([' ', '(']).next().unwrap())
        }
        other => other.name().to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn registers_that_were_touched_cost_no_message_when_nothing_happens() {
    let keys = std::env::var("GODWIT_REGISTERS").map_or(600, |keys| keys.parse().unwrap());
    let (idle, touched) = (background(0).await, background(keys).await);
    println!("messages of five minutes after {keys} keys: {touched:?}; without: {idle:?}");
    let registers = |counts: &BTreeMap<String, u64>| {
        let counts = counts.iter().filter(|(kind, _)| kind.starts_with("Register"));
        counts.map(|(kind, count)| (kind.clone(), *count)).collect::<Vec<_>>()
    };
    assert_eq!(registers(&touched), registers(&idle));
    let (idle, touched): (u64, u64) = (idle.values().sum(), touched.values().sum());
    assert!(touched.abs_diff(idle) * 100 <= idle * 3, "{touched} messages, {idle} without");
}
