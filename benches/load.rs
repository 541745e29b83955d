//! The load tool behind the README's figures: one real node on loopback, durable writes, real
//! signatures, keep-alive connections; beside it, in the same run, the machine's own limits.
//!
//! `cargo bench --bench load` runs everything; `cargo bench --bench load -- get-4k` what matches.
//! `LOAD_SECONDS` (default 5) is how long one row is measured. `LOAD_ENDPOINT`, with
//! `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, measures a server that runs already.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a measuring program: it reads real clocks, runs threads and ends on the first error"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Keys that small reads spread over.
const SMALL_KEYS: u64 = 1000;
/// Keys of the listed bucket.
const LISTED_KEYS: u64 = 100_000;

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(run(&filter));
}

/// Where requests go, and as whom.
struct Target {
    address: String,
    access_key: String,
    /// The derived key of one day, `auto`, `s3`.
    signing_key: Vec<u8>,
    /// `20261121T000000Z`; one for the run, which is shorter than the allowed skew.
    amz_date: String,
    /// The server's process, where it is ours.
    pid: Option<u32>,
}

impl Target {
    fn new(address: String, access_key: String, secret_key: &str, pid: Option<u32>) -> Self {
        let now = SystemTime::now();
        let amz_date = time::OffsetDateTime::from(now)
            .format(time::macros::format_description!("[year][month][day]T[hour][minute][second]Z"))
            .unwrap();
        let signing_key = generate_signing_key(secret_key, now, "auto", "s3").as_ref().to_vec();
        Self { address, access_key, signing_key, amz_date, pid }
    }

    /// A request signed in its headers, the payload unsigned.
    fn request(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";
        let (host, date) = (&self.address, &self.amz_date);
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n\
             x-amz-date:{date}\n\n{SIGNED}\nUNSIGNED-PAYLOAD"
        );
        let scope = format!("{}/auto/s3/aws4_request", &date[..8]);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex::encode(hash));
        let signature = calculate_signature(&self.signing_key, text.as_bytes());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={SIGNED}, Signature={signature}",
            self.access_key
        );
        let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let length = body.len();
        Request::builder()
            .method(method)
            .uri(uri)
            .header(HOST, host)
            .header(CONTENT_LENGTH, length)
            .header("x-amz-date", date)
            .header("x-amz-content-sha256", HeaderValue::from_static("UNSIGNED-PAYLOAD"))
            .header("authorization", authorization)
            .body(Full::new(body))
            .unwrap()
    }
}

/// One keep-alive connection.
struct Client {
    target: Arc<Target>,
    connection: http1::SendRequest<Full<Bytes>>,
}

impl Client {
    async fn connect(target: &Arc<Target>) -> Self {
        let stream = TcpStream::connect(&target.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver);
        Self { target: Arc::clone(target), connection }
    }

    /// Sends, reads the whole answer, gives its length and ETag.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        query: &str,
        body: Bytes,
    ) -> (Vec<Bytes>, Option<String>) {
        let request = self.target.request(method, path, query, body);
        self.connection.ready().await.unwrap();
        let response = self.connection.send_request(request).await.unwrap();
        let status = response.status();
        let etag = response.headers().get("etag").map(|v| v.to_str().unwrap().to_owned());
        let mut body = response.into_body();
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.unwrap().into_data() {
                pieces.push(data);
            }
        }
        if status != StatusCode::OK && status != StatusCode::NO_CONTENT {
            panic!("{path}?{query}: {status} {}", String::from_utf8_lossy(&pieces.concat()));
        }
        (pieces, etag)
    }

    async fn put(&mut self, path: &str, body: &Bytes) {
        self.send(Method::PUT, path, "", body.clone()).await;
    }

    async fn get(&mut self, path: &str, length: usize) {
        let (pieces, _) = self.send(Method::GET, path, "", Bytes::new()).await;
        assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), length, "{path}");
    }
}

/// What one client does again and again.
#[derive(Clone, Copy)]
enum Work {
    Get { bytes: usize, keys: u64 },
    Put { bytes: usize },
    Multipart { parts: u64, part_bytes: usize },
    List,
}

/// The rows, in the order they are measured and printed.
const ROWS: &[(&str, Work, usize)] = &[
    ("put-4k", Work::Put { bytes: 4 << 10 }, 1),
    ("put-4k", Work::Put { bytes: 4 << 10 }, 32),
    ("get-4k", Work::Get { bytes: 4 << 10, keys: SMALL_KEYS }, 1),
    ("get-4k", Work::Get { bytes: 4 << 10, keys: SMALL_KEYS }, 32),
    ("put-1m", Work::Put { bytes: 1 << 20 }, 1),
    ("put-1m", Work::Put { bytes: 1 << 20 }, 32),
    ("get-1m", Work::Get { bytes: 1 << 20, keys: 32 }, 1),
    ("get-1m", Work::Get { bytes: 1 << 20, keys: 32 }, 32),
    ("put-64m", Work::Put { bytes: 64 << 20 }, 1),
    ("get-64m", Work::Get { bytes: 64 << 20, keys: 2 }, 1),
    ("multipart-256m", Work::Multipart { parts: 16, part_bytes: 16 << 20 }, 1),
    ("list-1000-of-100k", Work::List, 1),
    ("list-1000-of-100k", Work::List, 32),
];

async fn run(filter: &[String]) {
    let seconds = std::env::var("LOAD_SECONDS").map_or(5.0, |s| s.parse::<f64>().unwrap());
    let data = tempfile::Builder::new()
        .prefix("godwit-load")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap();
    let (target, mut server) = start(data.path());
    let mut client = Client::connect(&target).await;
    client.send(Method::PUT, "/load", "", Bytes::new()).await;
    client.send(Method::PUT, "/listed", "", Bytes::new()).await;

    println!("append 4 KiB + fdatasync, one thread: {:.0}/s", sync_rate(data.path()));
    println!("new 1 MiB file + fdatasync, one thread: {:.0} MB/s", file_rate(data.path()));
    let plain = plain_server().await;
    for clients in [1, 32] {
        let figures =
            measure(&plain, Work::Get { bytes: 4 << 10, keys: 1 }, clients, seconds).await;
        figures.print("plain hyper 4k", clients);
    }
    println!(
        "{:<20} {:>7} {:>10} {:>9} {:>8} {:>8} {:>12}",
        "what", "clients", "ops/s", "MB/s", "p50 us", "p99 us", "cpu us/op"
    );
    for (name, work, clients) in ROWS {
        if !filter.is_empty() && !filter.iter().any(|f| name.contains(f.as_str())) {
            continue;
        }
        prepare(&target, *work).await;
        measure(&target, *work, *clients, seconds).await.print(name, *clients);
    }
    if let Some(pid) = target.pid {
        println!("server memory at most: {} MB", peak_memory_mb(pid));
    }
    if let Some(server) = &mut server {
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

/// Starts one node of the release build, or takes the server that the environment names.
fn start(data: &std::path::Path) -> (Arc<Target>, Option<Child>) {
    if let Ok(endpoint) = std::env::var("LOAD_ENDPOINT") {
        let address = endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let access_key = std::env::var("AWS_ACCESS_KEY_ID").unwrap();
        let secret_key = std::env::var("AWS_SECRET_ACCESS_KEY").unwrap();
        return (Arc::new(Target::new(address, access_key, &secret_key, None)), None);
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new(env!("CARGO_BIN_EXE_godwit"))
        .args(["dev", "--regions", "1", "--no-wan", "--json", "--port", &port.to_string()])
        .arg("--data")
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
    let endpoint = text(&ready["regions"][0]["s3"]);
    let address = endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let target = Target::new(
        address,
        text(&ready["access_key"]),
        &text(&ready["secret_key"]),
        Some(server.id()),
    );
    (Arc::new(target), Some(server))
}

/// Makes what a row reads.
async fn prepare(target: &Arc<Target>, work: Work) {
    let mut client = Client::connect(target).await;
    match work {
        Work::Get { bytes, keys } => {
            let body = Bytes::from(vec![7; bytes]);
            for key in 0..keys {
                client.put(&format!("/load/get-{bytes}-{key}"), &body).await;
            }
        }
        Work::List => {
            let (pieces, _) = client
                .send(
                    Method::GET,
                    "/listed",
                    "list-type=2&max-keys=1&prefix=key-099999",
                    Bytes::new(),
                )
                .await;
            if String::from_utf8_lossy(&pieces.concat()).contains("<Key>") {
                return;
            }
            let next = Arc::new(AtomicU64::new(0));
            let writers: Vec<_> = (0..32)
                .map(|_| {
                    let (target, next) = (Arc::clone(target), Arc::clone(&next));
                    tokio::spawn(async move {
                        let mut client = Client::connect(&target).await;
                        loop {
                            let n = next.fetch_add(1, Ordering::Relaxed);
                            if n >= LISTED_KEYS {
                                return;
                            }
                            client.put(&format!("/listed/key-{n:06}"), &Bytes::new()).await;
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.await.unwrap();
            }
        }
        Work::Multipart { .. } | Work::Put { .. } => {}
    }
}

/// Does one piece of work; gives the bytes it moved.
async fn step(client: &mut Client, work: Work, body: &Bytes, turn: u64) -> u64 {
    match work {
        Work::Get { bytes, keys } => {
            client.get(&format!("/load/get-{bytes}-{}", turn % keys), bytes).await;
            bytes as u64
        }
        Work::Put { bytes } => {
            let path = format!("/load/put-{bytes}-{}", turn % (1 + (256 << 20) / bytes as u64));
            client.put(&path, body).await;
            bytes as u64
        }
        Work::Multipart { parts, part_bytes } => {
            let path = format!("/load/multipart-{}", turn % 2);
            multipart(client, &path, parts, body).await;
            parts * part_bytes as u64
        }
        Work::List => {
            let after = (turn * 7919) % (LISTED_KEYS - 1000);
            let query = format!("list-type=2&start-after=key-{after:06}");
            let (pieces, _) = client.send(Method::GET, "/listed", &query, Bytes::new()).await;
            pieces.iter().map(Bytes::len).sum::<usize>() as u64
        }
    }
}

async fn multipart(client: &mut Client, path: &str, parts: u64, body: &Bytes) {
    let (answer, _) = client.send(Method::POST, path, "uploads=", Bytes::new()).await;
    let answer = String::from_utf8(answer.concat()).unwrap();
    let id = answer.split("<UploadId>").nth(1).unwrap().split('<').next().unwrap();
    let mut complete = String::from("<CompleteMultipartUpload>");
    for number in 1..=parts {
        let query = format!("partNumber={number}&uploadId={id}");
        let (_, etag) = client.send(Method::PUT, path, &query, body.clone()).await;
        let etag = etag.unwrap();
        complete += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    complete += "</CompleteMultipartUpload>";
    let query = format!("uploadId={id}");
    let (answer, _) = client.send(Method::POST, path, &query, Bytes::from(complete)).await;
    assert!(String::from_utf8(answer.concat()).unwrap().contains("<ETag>"));
}

/// What a row measured.
struct Figures {
    operations: u64,
    bytes: u64,
    wall: Duration,
    latencies_us: Vec<u64>,
    cpu_us: Option<u64>,
}

impl Figures {
    fn print(&self, name: &str, clients: usize) {
        let seconds = self.wall.as_secs_f64();
        let at = |share: f64| {
            let last = self.latencies_us.len() - 1;
            self.latencies_us[(last as f64 * share) as usize]
        };
        let cpu =
            self.cpu_us.map_or_else(|| "-".to_owned(), |us| (us / self.operations).to_string());
        println!(
            "{name:<20} {clients:>7} {:>10.1} {:>9.1} {:>8} {:>8} {cpu:>12}",
            self.operations as f64 / seconds,
            self.bytes as f64 / 1e6 / seconds,
            at(0.5),
            at(0.99),
        );
        std::io::stdout().flush().unwrap();
    }
}

async fn measure(target: &Arc<Target>, work: Work, clients: usize, seconds: f64) -> Figures {
    let body = Bytes::from(vec![
        7;
        match work {
            Work::Put { bytes } => bytes,
            Work::Multipart { part_bytes, .. } => part_bytes,
            Work::Get { .. } | Work::List => 0,
        }
    ]);
    let turn = Arc::new(AtomicU64::new(0));
    let cpu_before = target.pid.map(cpu_us);
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(seconds);
    let running: Vec<_> = (0..clients)
        .map(|_| {
            let (target, body, turn) = (Arc::clone(target), body.clone(), Arc::clone(&turn));
            tokio::spawn(async move {
                let mut client = Client::connect(&target).await;
                let (mut latencies_us, mut bytes) = (Vec::new(), 0);
                while Instant::now() < end {
                    let started = Instant::now();
                    let turn = turn.fetch_add(1, Ordering::Relaxed);
                    bytes += step(&mut client, work, &body, turn).await;
                    latencies_us.push(started.elapsed().as_micros() as u64);
                }
                (latencies_us, bytes)
            })
        })
        .collect();
    let (mut latencies_us, mut bytes) = (Vec::new(), 0);
    for client in running {
        let (one, moved) = client.await.unwrap();
        latencies_us.extend(one);
        bytes += moved;
    }
    let wall = started.elapsed();
    let cpu_us = cpu_before.map(|before| cpu_us(target.pid.unwrap()) - before);
    latencies_us.sort_unstable();
    Figures { operations: latencies_us.len() as u64, bytes, wall, latencies_us, cpu_us }
}

/// User and system time of a process so far; the kernel counts in hundredths of a second.
fn cpu_us(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |n: usize| fields[n].parse::<u64>().unwrap();
    (ticks(11) + ticks(12)) * 10_000
}

fn peak_memory_mb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Appends of 4 KiB, each synced: the most that one writer without group commit can answer.
fn sync_rate(dir: &std::path::Path) -> f64 {
    let file = fs::File::create(dir.join("sync-rate")).unwrap();
    let block = [7; 4096];
    let started = Instant::now();
    let mut appends = 0;
    while started.elapsed() < Duration::from_secs(2) {
        file.write_all_at(&block, appends * 4096).unwrap();
        file.sync_data().unwrap();
        appends += 1;
    }
    let rate = appends as f64 / started.elapsed().as_secs_f64();
    fs::remove_file(dir.join("sync-rate")).unwrap();
    rate
}

/// New files of 1 MiB, each synced: the most that one writer of large bodies can store.
fn file_rate(dir: &std::path::Path) -> f64 {
    let block = vec![7; 1 << 20];
    let started = Instant::now();
    let mut files = 0_u32;
    while started.elapsed() < Duration::from_secs(2) {
        let path = dir.join(format!("file-rate-{files}"));
        let file = fs::File::create(&path).unwrap();
        file.write_all_at(&block, 0).unwrap();
        file.sync_data().unwrap();
        files += 1;
    }
    let rate = f64::from(files) * 1.048_576 / started.elapsed().as_secs_f64();
    for file in 0..files {
        fs::remove_file(dir.join(format!("file-rate-{file}"))).unwrap();
    }
    rate
}

/// A server that answers 4 KiB to everything: what HTTP itself costs here.
async fn plain_server() -> Arc<Target> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = listener.into_std().unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let service = hyper::service::service_fn(|_| async {
                    Ok::<_, std::convert::Infallible>(hyper::Response::new(Full::new(
                        Bytes::from_static(&[7; 4096]),
                    )))
                });
                let io = TokioIo::new(stream);
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service),
                );
            }
        });
    });
    Arc::new(Target::new(address, "none".to_owned(), "none", None))
}
