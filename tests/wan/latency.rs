//! What an operation costs on the wide area, in round trips between regions, as a table.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::client::{Call, Client};
use super::site::{Site, ask, eventually};
use super::storm;

/// The middle of so many.
const TRIES: usize = 11;

/// The middle time of calls that must be answered so.
async fn middle(status: u16, mut call: impl FnMut(usize) -> Call) -> Duration {
    let mut times = Vec::new();
    for number in 0..TRIES {
        let call = call(number);
        let began = Instant::now();
        call.send().await.expect(status);
        times.push(began.elapsed());
    }
    times.sort();
    times[TRIES / 2]
}

/// Again and again the same key, each time on condition of what was written before.
async fn swaps(client: &Client, path: &str) -> Duration {
    let mut etag = client.put(path, "first").await.expect(200).header("etag").unwrap().to_owned();
    let mut times = Vec::new();
    for number in 0..TRIES {
        let call = client.call("PUT", path).body(number.to_string()).header("if-match", &etag);
        let began = Instant::now();
        let answer = call.send().await.expect(200);
        times.push(began.elapsed());
        answer.header("etag").unwrap().clone_into(&mut etag);
    }
    times.sort();
    times[TRIES / 2]
}

/// One region's row: milliseconds by operation.
async fn row(client: &Client, code: &str) -> Vec<(&'static str, Duration)> {
    let path = |kind: &str, number: usize| format!("/latency/{code}-{kind}-{number}");
    let put = |kind: &'static str, len: usize| {
        move |number| client.call("PUT", &path(kind, number)).body("x".repeat(len))
    };
    let cold = put("cold", 40);
    let mut row = vec![
        ("PUT", middle(200, put("plain", 40)).await),
        ("PUT 20 KB", middle(200, put("large", 20_000)).await),
    ];
    let cold = middle(200, |number| cold(number).header("if-none-match", "*")).await;
    row.push(("If-None-Match, cold", cold));
    row.push(("If-Match, warm", swaps(client, &path("warm", 0)).await));
    let get = |number| client.call("GET", &path("plain", number));
    row.push(("GET", middle(200, get).await));
    let fresh = |number| get(number).header("x-godwit-consistent", "true");
    row.push(("strong GET", middle(200, fresh).await));
    // Of a key that its register knows.
    let known = |_| client.call("GET", &path("warm", 0)).header("x-godwit-consistent", "true");
    row.push(("strong GET, register", middle(200, known).await));
    let missing = |number| client.call("GET", &path("missing", number));
    row.push(("GET of no key", middle(404, missing).await));
    row
}

/// A table for a cluster of these regions, all of them voters; in round trips to the nearest other
/// region (a plain write's second copy) and, in brackets, to the nearest majority.
pub async fn table(folder: &Path, regions: &'static [&'static str]) {
    let site = Site::start(folder, regions, 1).await;
    site.relay.calm();
    storm::make(&site, "/latency").await;
    eprintln!("{} voters: {}", regions.len(), regions.join(", "));
    for (region, code) in regions.iter().enumerate() {
        let others = (0..regions.len()).filter(|other| *other != region);
        let mut trips: Vec<Duration> =
            others.map(|other| site.relay.round_trip(region, other)).collect();
        trips.sort();
        let (nearest, majority) = (trips[0], trips[regions.len() / 2 - 1]);
        let row = row(&site.clients[region], code).await;
        if region == 0 {
            let names: Vec<&str> = row.iter().map(|(name, _)| *name).collect();
            eprintln!("| Region | nearest / majority, ms | {} |", names.join(" | "));
            eprintln!("|{}", "---|".repeat(row.len() + 2));
        }
        let cells: Vec<String> = row
            .into_iter()
            .map(|(_, time)| {
                let in_trips = |trip: Duration| time.as_secs_f64() / trip.as_secs_f64();
                format!("{:.2} ({:.2})", in_trips(nearest), in_trips(majority))
            })
            .collect();
        let (near, far) = (nearest.as_millis(), majority.as_millis());
        eprintln!("| {code} | {near} / {far} | {} |", cells.join(" | "));
    }
    site.stop();
}

/// A key that was written in one region is asked for in another one as soon as the answer is there:
/// how often it is found, by the region that asks. Its log entry is on the way, so it is the two
/// nearest voters that know it, or do not yet.
pub async fn found_at_once(folder: &Path, regions: &'static [&'static str]) {
    let site = Site::start(folder, regions, 1).await;
    site.relay.calm();
    storm::make(&site, "/latency").await;
    let mut all = 0;
    for (reader, code) in regions.iter().enumerate() {
        let mut found = 0;
        for number in 0..TRIES {
            for writer in (0..regions.len()).filter(|writer| *writer != reader) {
                let path = format!("/latency/{code}-{writer}-{number}");
                site.clients[writer].put(&path, "new").await.expect(200);
                found += usize::from(site.clients[reader].get(&path).await.status == 200);
            }
        }
        eprintln!("{code}: {found} of {} new keys found at once", TRIES * (regions.len() - 1));
        all += found;
    }
    let tries = TRIES * (regions.len() - 1) * regions.len();
    eprintln!("all: {:.0} %", all as f64 / tries as f64 * 100.0);
    site.stop();
}

/// One number that clients of all regions increase, each after a strong read: no increase is lost,
/// and how often each region has its turn is told.
pub async fn counter(folder: &Path, regions: &'static [&'static str], time: Duration) {
    let site = Site::start(folder, regions, 1).await;
    storm::make(&site, "/latency").await;
    site.clients[0].put("/latency/counter", "0").await.expect(200);
    let deadline = Instant::now() + time;
    let told = join_all(site.clients.iter().map(|client| count(client, deadline))).await;
    let (mut sum, mut open) = (0, 0);
    for (code, (done, refused, unknown)) in regions.iter().zip(told) {
        eprintln!("{code}: {done} increases, {refused} refused, {unknown} open");
        (sum, open) = (sum + done, open + unknown);
    }
    assert!(sum > 0, "nobody had a turn");
    let end = value(&site.clients[0]).await.0;
    assert!((sum..=sum + open).contains(&end), "{sum} increases and {open} open ones made {end}");
    eprintln!("{:.1} increases a second", sum as f64 / time.as_secs_f64());
    site.stop();
}

async fn value(client: &Client) -> (u64, String) {
    let call = client.call("GET", "/latency/counter").header("x-godwit-consistent", "true");
    let got = eventually("a strong read", 60, async || {
        ask(call.clone()).await.filter(|got| got.status == 200)
    });
    let got = got.await;
    (got.text().parse().unwrap(), got.header("etag").unwrap().to_owned())
}

/// Increases by one region: done, refused, open.
async fn count(client: &Client, deadline: Instant) -> (u64, u64, u64) {
    let (mut done, mut refused, mut open) = (0, 0, 0);
    while Instant::now() < deadline {
        let (value, etag) = value(client).await;
        let call = client.call("PUT", "/latency/counter").header("if-match", &etag);
        match ask(call.body((value + 1).to_string())).await.map(|told| told.status.as_u16()) {
            Some(200) => done += 1,
            Some(412) => refused += 1,
            Some(409 | 503) | None => open += 1,
            Some(other) => panic!("an increase was answered {other}"),
        }
    }
    (done, refused, open)
}
