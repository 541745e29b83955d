//! What an operation costs on the wide area, in round trips between regions, as a table.

use std::path::Path;
use std::time::{Duration, Instant};

use super::client::{Call, Client};
use super::site::Site;
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
async fn row(client: &Client, code: &str, strong: bool) -> Vec<(&'static str, Option<Duration>)> {
    let path = |kind: &str, number: usize| format!("/latency/{code}-{kind}-{number}");
    let put = |kind: &'static str, len: usize| {
        move |number| client.call("PUT", &path(kind, number)).body("x".repeat(len))
    };
    let cold = put("cold", 40);
    let mut row = vec![
        ("PUT", Some(middle(200, put("plain", 40)).await)),
        ("PUT 20 KB", Some(middle(200, put("large", 20_000)).await)),
    ];
    let cold = middle(200, |number| cold(number).header("if-none-match", "*")).await;
    row.push(("If-None-Match, cold", Some(cold)));
    row.push(("If-Match, warm", Some(swaps(client, &path("warm", 0)).await)));
    let get = |number| client.call("GET", &path("plain", number));
    row.push(("GET", Some(middle(200, get).await)));
    let fresh = |number| get(number).header("x-godwit-consistent", "true");
    let fresh = if strong { Some(middle(200, fresh).await) } else { None };
    row.push(("strong GET", fresh));
    let missing = |number| client.call("GET", &path("missing", number));
    row.push(("GET of no key", Some(middle(404, missing).await)));
    row
}

/// A table for a cluster of these regions, all of them voters; in round trips to the nearest other
/// region (a plain write's second copy) and, in brackets, to the nearest majority.
pub async fn table(folder: &Path, regions: &'static [&'static str], strong: bool) {
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
        let row = row(&site.clients[region], code, strong).await;
        if region == 0 {
            let names: Vec<&str> = row.iter().map(|(name, _)| *name).collect();
            eprintln!("| Region | nearest / majority, ms | {} |", names.join(" | "));
            eprintln!("|{}", "---|".repeat(row.len() + 2));
        }
        let cells: Vec<String> = row
            .into_iter()
            .map(|(_, time)| match time {
                None => "-".to_owned(),
                Some(time) => {
                    let in_trips = |trip: Duration| time.as_secs_f64() / trip.as_secs_f64();
                    format!("{:.2} ({:.2})", in_trips(nearest), in_trips(majority))
                }
            })
            .collect();
        let (near, far) = (nearest.as_millis(), majority.as_millis());
        eprintln!("| {code} | {near} / {far} | {} |", cells.join(" | "));
    }
    site.stop();
}
