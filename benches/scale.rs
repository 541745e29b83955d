//! What the number of records costs: memory, opening after kill -9 and listing of a node with many
//! small objects, what `godwit compact` gives back of them, how long an index with a damaged page
//! takes to be written anew, and the bytes that two regions exchange
//! to find what few of them differ; what a write costs of a key that keeps as many losers as it may.
//!
//! `cargo bench --bench scale -- records 10000000` (13 GB on disk, `SCALE_DIR` says where),
//! `cargo bench --bench scale -- compact 200000`, `... -- salvage 1000000`,
//! `cargo bench --bench scale -- digest 1000000 100`, `cargo bench --bench scale -- losers 200`;
//! docs/reliability.md has the figures.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a measuring program: it reads real clocks, starts processes and ends on the first error"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use godwit::cluster::{Cluster, ClusterOptions, Handler, Members};
use godwit::engine::body::WholeBody;
use godwit::engine::{self, Attributes, CreateBucket, Engine, ListObjects, PutObject};
use godwit::env::{BoxFuture, Class, PeerError, PeerHandler, Peers};
use godwit::logic::listing::Query;
use godwit::logic::precondition::Conditions;
use godwit::node::env::{real, runtime};
use godwit::store::{self, Source, Store, Tx};
use godwit::types::id::{BucketId, ClusterId};
use godwit::types::name::{AccountId, BucketName, ObjectKey};
use godwit::types::object::{Content, Marks, Placement, Row, Version};
use godwit::types::record::{Record, RecordId};
use godwit::types::region::{Coordinates, RegionId, RegionInfo, Role};
use godwit::types::stamp::{Hlc, Stamp};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of a small object, and puts under way at a time.
const BODY_BYTES: usize = 200;
const WRITERS: u64 = 64;
/// Puts after the last counted one, before the kill.
const AFTERWARDS: u64 = 20_000;
/// What an open node is left alone for before its memory is read.
const IDLE: Duration = Duration::from_secs(30);
/// Pages of a list that are timed, of 1000 keys each.
const PAGES: u64 = 100;
/// Which pages: one after the other, or each somewhere else.
const IN_A_ROW: &str = "in a row";
const FROM_ANYWHERE: &str = "from anywhere";

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().unwrap();
    match words.as_slice() {
        ["fill", dir, n] => runtime().unwrap().block_on(fill(Path::new(dir), number(n))),
        ["open", dir] => runtime().unwrap().block_on(open(Path::new(dir))),
        ["list", dir, n, order] => {
            runtime().unwrap().block_on(lists(Path::new(dir), number(n), order));
        }
        ["forget", dir] => runtime().unwrap().block_on(forget_most(Path::new(dir))),
        ["records", n] => records(number(n)),
        ["compact", n] => compact(number(n)),
        ["salvage", n] => salvage(number(n)),
        ["losers", n] => runtime().unwrap().block_on(losers(number(n))),
        ["digest", n, different] => {
            runtime().unwrap().block_on(digest(number(n), number(different)));
        }
        [] => records(100_000),
        other => panic!(
            "records N, compact N, salvage N, losers N, or digest N DIFFERENT; not {other:?}"
        ),
    }
}

fn folder() -> tempfile::TempDir {
    match std::env::var_os("SCALE_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .unwrap()
}

/// Fills a node, kills it under load, opens it again; at 100,000 objects and at `n`.
fn records(n: u64) {
    for n in [100_000, n] {
        let folder = folder();
        let dir = folder.path().to_str().unwrap().to_owned();
        fill_and_kill(&dir, n);
        run(&["open", &dir]);
        // Each begins with nothing of the index in memory, however large that is.
        for order in [IN_A_ROW, FROM_ANYWHERE] {
            run(&["list", &dir, &n.to_string(), order]);
        }
    }
}

fn run(arguments: &[&str]) {
    let mut program = Command::new(std::env::current_exe().unwrap());
    assert!(program.args(arguments).status().unwrap().success());
}

fn fill_and_kill(dir: &str, n: u64) {
    let began = Instant::now();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["fill", dir, &n.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "filled");
    let filled = began.elapsed();
    assert_eq!(lines.next().unwrap().unwrap(), "on");
    child.kill().unwrap();
    child.wait().unwrap();
    let rate = n as f64 / filled.as_secs_f64();
    println!("{n} objects of {BODY_BYTES} bytes: {rate:.0} puts/s, {} on disk", size(dir));
}

/// Fills a node, stops it, forgets all but one of twenty records, and writes the index anew.
fn compact(n: u64) {
    let folder = folder();
    let dir = folder.path();
    let name = dir.to_str().unwrap();
    fill_and_kill(name, n);
    let mut program = Command::new(std::env::current_exe().unwrap());
    assert!(program.args(["forget", name]).status().unwrap().success());
    let runtime = runtime().unwrap();
    let began = Instant::now();
    let env = real(runtime.handle(), dir);
    let made = store::shrink(&env, dir, &mut |_, _, _| {}).unwrap();
    println!("  compacted in {:.2?}: {made:?}, {} MiB", began.elapsed(), memory("VmHWM") >> 10);
    let began = Instant::now();
    let options = store::Options::new(dir.to_owned(), region("fra"));
    let (store, report) = runtime.block_on(Store::open(env, options)).unwrap();
    assert_eq!(report.replayed, 0);
    let kept = store.read().unwrap().record_count().unwrap();
    println!("  opened again in {:.2?}, {kept} records", began.elapsed());
}

/// Fills a node, kills it, damages a page of its index, and opens it: the index is written anew.
fn salvage(n: u64) {
    let folder = folder();
    let dir = folder.path();
    fill_and_kill(dir.to_str().unwrap(), n);
    let before = damage(&dir.join("index.redb"));
    let runtime = runtime().unwrap();
    let began = Instant::now();
    let options = store::Options::new(dir.to_owned(), region("fra"));
    let env = real(runtime.handle(), dir);
    let (store, report) = runtime.block_on(Store::open(env, options)).unwrap();
    let opened = began.elapsed();
    let found = runtime.block_on(async {
        let mut mark = Some(store::EntriesMark::default());
        while let Some(from) = mark.take_if(|_| store.damaged_pages().is_none()) {
            mark = store.check_entries(from).await.map_or(None, |checked| checked.next);
        }
        began.elapsed()
    });
    println!(
        "  {} MiB of index, opened in {opened:.2?}, {} replayed, page found after {found:.2?}",
        before >> 20,
        report.replayed
    );
    while runtime.block_on(store.checkpoint()).is_err() || store.damaged_pages().is_some() {}
    let (bad, tables) = (store.bad_records().len(), store.decayed_tables());
    let anew = began.elapsed() - found;
    println!(
        "  written anew in {anew:.2?}: {bad} records and of {tables:?} to be mended, {} MiB",
        memory("VmHWM") >> 10
    );
}

/// Makes no sense of the first page after the middle with many keys of objects; the file's length.
fn damage(path: &Path) -> u64 {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (len, mut page) = (file.metadata().unwrap().len(), [0; 4096]);
    let has_many = |page: &[u8]| page.windows(12).filter(|w| *w == b"some/folder/").count() > 5;
    for at in (len / 2 / 4096..len / 4096).map(|number| number * 4096) {
        file.read_exact_at(&mut page, at).unwrap();
        if page[0] == 1 && has_many(&page) {
            file.write_all_at(&[9], at).unwrap();
            return len;
        }
    }
    panic!("no page has keys of objects");
}

/// As if all had been deleted and every region knew.
async fn forget_most(dir: &Path) {
    let env = real(&tokio::runtime::Handle::current(), dir);
    let mut options = store::Options::new(dir.to_owned(), region("fra"));
    options.blob_grace = Duration::ZERO;
    let (store, _) = Store::open(env, options).await.unwrap();
    let mut after = None;
    loop {
        let page = store.read().unwrap().records(after.as_ref(), 1000).unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        let gone: Vec<RecordId> = page
            .into_iter()
            .map(|(id, _)| id)
            .filter(|id| matches!(id, RecordId::Row(..)))
            .enumerate()
            .filter_map(|(i, id)| (i % 20 != 0).then_some(id))
            .collect();
        let forget = move |tx: &mut Tx<'_>| gone.iter().try_for_each(|id| tx.forget(id));
        store.write(forget).await.unwrap();
    }
    let (own, incarnation) = (region("fra"), store.incarnation());
    let trim = move |tx: &mut Tx<'_>| {
        let head = tx.head(own, incarnation)?;
        Ok::<_, store::Error>(tx.trim_log(own, incarnation, head)? < head)
    };
    while store.write(trim).await.unwrap() {}
    for _ in 0..3 {
        while store.maintain().await.unwrap() {}
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let kept = store.read().unwrap().record_count().unwrap();
    store.close().await.unwrap();
    println!("  {kept} records are left, {} on disk", size(dir.to_str().unwrap()));
}

fn size(dir: &str) -> String {
    let told = Command::new("du").args(["-sh", dir]).output().unwrap().stdout;
    String::from_utf8(told).unwrap().split_whitespace().next().unwrap().to_owned()
}

/// Nobody else is there.
struct Alone;

impl Peers for Alone {
    fn call(
        &self,
        _: RegionId,
        _: Class,
        _: Bytes,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        Box::pin(async { Err(PeerError::Unreachable) })
    }

    fn datagram(&self, _: RegionId, _: Bytes) {}

    fn rtt(&self, _: RegionId) -> Option<Duration> {
        None
    }

    fn is_connected(&self, _: RegionId) -> bool {
        false
    }

    fn set_members(&self, _: Vec<(RegionId, Option<String>)>, _: Vec<RegionId>) {}
}

fn region(code: &str) -> RegionId {
    code.parse().unwrap()
}

fn members(codes: &[&str]) -> Members {
    let info = |code: &&str| RegionInfo {
        id: region(code),
        city: (*code).to_owned(),
        coordinates: Coordinates { lat: 0.0, lon: 0.0 },
        geography: "eu".to_owned(),
        failure_domain: (*code).to_owned(),
        role: Role::Full,
        voter: true,
    };
    Members::new(ClusterId([7; 16]), codes.iter().map(info).collect()).unwrap()
}

async fn start(dir: &Path, code: &str, codes: &[&str], peers: Arc<dyn Peers>) -> Opened {
    let env = real(&tokio::runtime::Handle::current(), dir);
    let options = store::Options::new(dir.to_owned(), region(code));
    let (store, report) = Store::open(env.clone(), options).await.unwrap();
    let handler = Handler::new();
    let cluster = Cluster::start(
        env,
        store.clone(),
        peers,
        &handler,
        members(codes),
        ClusterOptions::default(),
    );
    let cluster = cluster.await.unwrap();
    Opened { store, cluster, handler, replayed: report.replayed }
}

struct Opened {
    store: Store,
    cluster: Cluster,
    handler: Arc<Handler>,
    replayed: u64,
}

fn bucket() -> BucketName {
    BucketName::parse("scale").unwrap()
}

fn key(n: u64) -> ObjectKey {
    ObjectKey::parse(&format!("some/folder/{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .unwrap()
}

fn owner() -> AccountId {
    AccountId("someone".into())
}

async fn with_bucket(opened: &Opened) -> Engine {
    let engine = Engine::new(opened.cluster.clone(), engine::Options::default());
    let create = CreateBucket { name: bucket(), owner: owner(), location: Vec::new(), lock: false };
    while let Err(error) = engine.create_bucket(create.clone()).await {
        eprintln!("{error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    engine
}

async fn put(engine: &Engine, number: u64) {
    let put = PutObject {
        bucket: bucket(),
        key: key(number),
        owner: owner(),
        attributes: Attributes::default(),
        conditions: Conditions::default(),
    };
    let body = vec![number.to_le_bytes()[0]; BODY_BYTES];
    engine.put_object(put, &mut WholeBody::new(body.into())).await.unwrap();
}

/// Rounds over all keys, and objects that lost against each key of one kind.
const ROUNDS: u64 = 20;
const LOSERS: u64 = 16;

/// Puts to `n` keys that keep losers and to as many that keep none, by turns.
async fn losers(n: u64) {
    let folder = folder();
    let opened = start(folder.path(), "fra", &["fra"], Arc::new(Alone)).await;
    let engine = with_bucket(&opened).await;
    for number in 0..2 * n {
        put(&engine, number).await;
    }
    let page = opened.store.read().unwrap().records(None, usize::MAX).unwrap();
    let kept: Vec<ObjectKey> = (n..2 * n).map(key).collect();
    for (id, record) in page {
        let (RecordId::Row(_, key), Record::Row(row)) = (&id, record) else { continue };
        if !kept.contains(key) {
            continue;
        }
        let won = row.versions[0].clone();
        let lost = move |tx: &mut Tx<'_>| {
            (1..=LOSERS).try_for_each(|i| {
                let hlc = Hlc(won.stamp.hlc.0 - i);
                let stamp = Stamp { hlc, region: region("iad") };
                let version = Version { stamp, replaces: Stamp::ZERO, ..won.clone() };
                tx.merge(id.clone(), Record::Row(Row::of(version)), Source::Digest).map(|_| ())
            })
        };
        opened.store.write(lost).await.unwrap();
    }
    let mut cost = [(Duration::ZERO, 0, 0); 2];
    for _ in 0..ROUNDS {
        for (kind, (wall, processor, log)) in cost.iter_mut().enumerate() {
            let (began, before, from) = (Instant::now(), busy(), opened.store.log_end());
            let numbers = kind as u64 * n..(kind as u64 + 1) * n;
            let mut puts = stream::iter(numbers.map(|number| put(&engine, number)))
                .buffer_unordered(WRITERS as usize);
            while puts.next().await.is_some() {}
            *wall += began.elapsed();
            *processor += busy() - before;
            let to = opened.store.log_end();
            *log += if to.0 == from.0 { to.1 - from.1 } else { 0 };
        }
    }
    let rows = opened.store.read().unwrap().records(None, usize::MAX).unwrap();
    let keeping = rows.iter().filter(
        |(_, record)| matches!(record, Record::Row(row) if row.cover.spared.len() as u64 == LOSERS),
    );
    assert_eq!(keeping.count() as u64, n);
    for (kind, (wall, processor, log)) in ["none", "as many as it may"].iter().zip(cost) {
        let puts = ROUNDS * n;
        println!(
            "a key keeps {kind}: {:.0} µs a put, {:.0} µs of processor, {} bytes of log",
            wall.as_secs_f64() * 1e6 / puts as f64,
            processor as f64 * 1e4 / puts as f64,
            log / puts
        );
    }
}

/// Hundredths of a second that this process had a processor. Source: proc(5), `utime` and `stime`.
fn busy() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit_once(')').unwrap().1;
    after.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// Puts `n` objects, says so, and goes on until it is killed.
async fn fill(dir: &Path, n: u64) {
    let opened = start(dir, "fra", &["fra"], Arc::new(Alone)).await;
    let engine = with_bucket(&opened).await;
    let maintained = opened.store.clone();
    tokio::spawn(async move {
        loop {
            if !maintained.maintain().await.unwrap() {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
    });
    let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for _ in 0..WRITERS {
        let (engine, next, done) = (engine.clone(), next.clone(), done.clone());
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                put(&engine, number).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut told = Instant::now();
    for (until, word) in [(n, "filled"), (n + AFTERWARDS, "on")] {
        while done.load(Ordering::Relaxed) < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if told.elapsed() > Duration::from_secs(60) {
                told = Instant::now();
                eprintln!("{} puts, {} KiB", done.load(Ordering::Relaxed), memory("VmRSS"));
            }
        }
        println!("{word}");
        std::io::stdout().flush().unwrap();
    }
    std::future::pending().await
}

/// A line of this process' memory, KiB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn open(dir: &Path) {
    let began = Instant::now();
    let opened = start(dir, "fra", &["fra"], Arc::new(Alone)).await;
    let took = began.elapsed();
    println!("  opened after kill -9 in {took:.2?}, {} changes replayed", opened.replayed);
    println!("  just opened: {} MiB", memory("RssAnon") >> 10);
    let idle = Instant::now();
    while idle.elapsed() < IDLE {
        opened.store.maintain().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!(
        "  idle: {} MiB of its own, {} MiB resident",
        memory("RssAnon") >> 10,
        memory("VmRSS") >> 10
    );
}

/// Lists pages in one order, read from the disk, and again.
async fn lists(dir: &Path, n: u64, order: &str) {
    let opened = start(dir, "fra", &["fra"], Arc::new(Alone)).await;
    let engine = Engine::new(opened.cluster.clone(), engine::Options::default());
    drop_cached(&dir.join("index.redb"));
    let first = list(&engine, order == FROM_ANYWHERE, n).await;
    let again = list(&engine, order == FROM_ANYWHERE, n).await;
    let used = memory("RssAnon") >> 10;
    println!("  list {order}: {first:.0} keys/s from the disk, {again:.0} again, {used} MiB");
}

/// The system keeps nothing of the file in memory: what it kept of it depends on what else it did.
fn drop_cached(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

/// Keys per second.
async fn list(engine: &Engine, scattered: bool, n: u64) -> f64 {
    let began = Instant::now();
    let mut after = None;
    let mut keys = 0;
    for page in 0..PAGES.min(n / 1000) {
        if scattered {
            after = Some(key(page.wrapping_mul(0x2545_f491_4f6c_dd1d)).to_string());
        }
        let query = Query { prefix: String::new(), delimiter: None, after, max: 1000 };
        let page = engine.list_objects(ListObjects { bucket: bucket(), query }).await.unwrap();
        keys += page.entries.len();
        after = page.entries.last().map(|entry| entry.name().to_owned());
    }
    keys as f64 / began.elapsed().as_secs_f64()
}

/// Two regions in one process: every message is counted on its way.
#[derive(Default)]
struct Wire {
    handlers: Mutex<Vec<(RegionId, Arc<Handler>)>>,
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Only the comparison that is measured gets through.
    open: AtomicBool,
}

struct End {
    wire: Arc<Wire>,
    own: RegionId,
}

impl Peers for End {
    fn call(
        &self,
        to: RegionId,
        class: Class,
        request: Bytes,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let (wire, own) = (self.wire.clone(), self.own);
        Box::pin(async move {
            if class != Class::Repair || !wire.open.load(Ordering::Relaxed) {
                return Err(PeerError::Unreachable);
            }
            let handler = {
                let handlers = wire.handlers.lock().unwrap();
                handlers.iter().find(|(region, _)| *region == to).unwrap().1.clone()
            };
            let sent = request.len();
            let answer = handler.handle(own, request).await.map_err(PeerError::Refused)?;
            wire.messages.fetch_add(1, Ordering::Relaxed);
            wire.bytes.fetch_add((sent + answer.len()) as u64, Ordering::Relaxed);
            Ok(answer)
        })
    }

    fn datagram(&self, _: RegionId, _: Bytes) {}

    fn rtt(&self, _: RegionId) -> Option<Duration> {
        None
    }

    fn is_connected(&self, _: RegionId) -> bool {
        false
    }

    fn set_members(&self, _: Vec<(RegionId, Option<String>)>, _: Vec<RegionId>) {}
}

fn tombstone(n: u64, made: u64) -> (RecordId, Record) {
    // Deletions of now: old ones are dropped, and nothing else of a record matters here.
    let stamp = Stamp { hlc: Hlc::from_ms(made), region: region("fra") };
    let version = Version {
        stamp,
        replaces: Stamp::ZERO,
        null: true,
        content: Content::Tombstone,
        marks: Marks::default(),
        placement: Placement::default(),
    };
    (RecordId::Row(BucketId([7; 16]), key(n)), Record::Row(Row::of(version)))
}

/// Two regions with `n` records, of which `different` differ, find and exchange those.
async fn digest(n: u64, different: u64) {
    let folder = folder();
    let wire: Arc<Wire> = Arc::default();
    let mut nodes = Vec::new();
    for code in ["fra", "iad"] {
        let dir = folder.path().join(code);
        std::fs::create_dir(&dir).unwrap();
        let peers = Arc::new(End { wire: wire.clone(), own: region(code) });
        let node = start(&dir, code, &["fra", "iad"], peers).await;
        wire.handlers.lock().unwrap().push((region(code), node.handler.clone()));
        nodes.push(node);
    }
    let made = nodes[0].store.env().now_ms();
    for node in &nodes {
        for from in (0..n).step_by(1000) {
            let merged = node.store.write(move |tx| {
                (from..n.min(from + 1000)).try_for_each(|number| {
                    let (id, record) = tombstone(number, made);
                    tx.merge(id, record, Source::Digest).map(|_| ())
                })
            });
            merged.await.unwrap();
        }
    }
    for different in [0, different, different * 10] {
        for i in 0..different {
            let (id, record) = tombstone(i * (n / different), made + different);
            let write = move |tx: &mut Tx<'_>| tx.merge(id, record, Source::Digest).map(|_| ());
            nodes[0].store.write(write).await.unwrap();
        }
        wire.messages.store(0, Ordering::Relaxed);
        wire.bytes.store(0, Ordering::Relaxed);
        wire.open.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let changed = nodes[1].cluster.compare_with(region("fra")).await.unwrap();
        let took = began.elapsed();
        wire.open.store(false, Ordering::Relaxed);
        assert_eq!(changed as u64, different);
        assert!(nodes[0].store.digest().groups() == nodes[1].store.digest().groups());
        let (messages, bytes) =
            (wire.messages.load(Ordering::Relaxed), wire.bytes.load(Ordering::Relaxed));
        println!(
            "{n} records, {different} different: {bytes} bytes, {messages} round trips, {took:.2?}"
        );
    }
}
