//! The whole system on virtual time: clients write and read in several regions while links break,
//! regions are cut off or slow, disks are slow, nodes lose power with torn and unsynced writes or stand
//! still, and clocks drift and jump. Whatever happens: an answered
//! write is never lost, no read ever shows bytes of two versions, and in the end all regions agree.
//!
//! One seed, one run. `GODWIT_SEED=42 cargo test --test sim` repeats one; `GODWIT_SEEDS=5000` tries
//! more than the usual number.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::type_complexity,
    reason = "the doors of the simulation are tokio's paused clock and its one thread"
)]
#![allow(unreachable_pub, reason = "modules of a test program")]

mod clocks;
mod completions;
mod conditional;
mod copies;
#[allow(dead_code, reason = "faults that the store's own tests inject")]
mod disk;
mod env;
mod faults;
mod holders;
mod keys;
mod ledger;
#[allow(dead_code, reason = "each test program uses a part of this")]
#[path = "../common/linear.rs"]
mod linear;
mod linear_tests;
mod members;
mod net;
mod versions;
mod world;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use bytes::Bytes;
use godwit::cluster::Cluster;
use godwit::engine::body::WholeBody;
use godwit::engine::{
    Attributes, CreateBucket, Engine, Error, GetObject, ListObjects, PutObject, VersionRef,
};
use godwit::logic::listing::{Entry, Query};
use godwit::logic::precondition::Conditions;
use godwit::types::bucket::BucketConfig;
use godwit::types::name::{AccountId, BucketName, ObjectKey};
use godwit::types::object::{Content, Version};
use godwit::types::region::RegionId;
use godwit::types::stamp::Stamp;
use tokio::time::{Instant, sleep};

use conditional::Conditional;
use disk::Fault;
use env::SimRng;
use ledger::{Ledger, Outcome, pattern};
use members::Operator;
use versions::Versions;
use world::World;

/// Seeds of an ordinary run.
const SEEDS: u64 = 500;
const REGIONS: [&str; 3] = ["fra", "iad", "nrt"];
const KEYS: [&str; 6] = ["a", "b", "c", "d/1", "d/2", "e"];

type Shared = Arc<Mutex<Ledger>>;

/// What runs were made of.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    steps: u64,
    faults: u64,
    /// Steps of plans that change the members or lose disks.
    changes: u64,
    /// Writes, versions and operations in an order, with their answers checked; and reads.
    operations: u64,
    reads: u64,
    virtual_s: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.faults += other.faults;
        self.changes += other.changes;
        self.operations += other.operations;
        self.reads += other.reads;
        self.virtual_s += other.virtual_s;
    }
}

fn bucket() -> BucketName {
    BucketName::parse("simulated").unwrap()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::parse(name).unwrap()
}

fn owner() -> AccountId {
    AccountId("someone".into())
}

fn body_len(rng: &SimRng) -> usize {
    let span = |from: u64, to: u64| usize::try_from(from + rng.below(to - from)).unwrap();
    match rng.below(8) {
        0..=2 => span(8, 4096),
        3 | 4 => span(4097, 60_000),
        5 => span(60_000, 250_000),
        6 => span(250_000, 700_000),
        _ => span(1 << 20, 3 << 20),
    }
}

/// The outcome of a refusal: only an unavailable service leaves a write open.
fn outcome_of(error: &Error) -> Outcome {
    match error {
        Error::Unavailable { .. } | Error::Internal(_) | Error::StorageFull => Outcome::Open,
        Error::PreconditionFailed(_) | Error::Conflict(_) | Error::NoSuchKey => Outcome::Refused,
        other => panic!("a good write was answered {other}"),
    }
}

async fn put(engine: Engine, ledger: Shared, name: &'static str, len: usize) {
    let attempt = ledger.lock().unwrap().begin(name, engine.region(), Some(len));
    let put = PutObject {
        bucket: bucket(),
        key: key(name),
        owner: owner(),
        attributes: Attributes::default(),
        conditions: Conditions::default(),
    };
    let mut body = WholeBody::new(Bytes::from(pattern(attempt, len)));
    let outcome = match engine.put_object(put, &mut body).await {
        Ok(stored) => Outcome::Answered(stored.version),
        Err(error) => outcome_of(&error),
    };
    ledger.lock().unwrap().end(attempt, outcome);
}

async fn delete(engine: Engine, cluster: Cluster, ledger: Shared, name: &'static str) {
    let attempt = ledger.lock().unwrap().begin(name, engine.region(), None);
    let config = match cluster.bucket(&bucket()).await {
        Ok(Some(config)) => config,
        Ok(None) => panic!("the bucket is gone"),
        Err(_) => return,
    };
    let (version, conditions) = (VersionRef::Current, Conditions::default());
    let outcome =
        match engine.delete_object(&bucket(), &key(name), version, conditions, false).await {
            // The stamp of a deletion is not told: a tombstone that is seen now is it or a later one.
            Ok(_) => match current(&cluster, &config, name) {
                Some((stamp, true)) => Outcome::Answered(stamp),
                Some((_, false)) | None => Outcome::Open,
            },
            Err(error) => outcome_of(&error),
        };
    ledger.lock().unwrap().end(attempt, outcome);
}

/// The stamp of a key's current version here, and whether it is a deletion.
fn current(cluster: &Cluster, config: &BucketConfig, name: &str) -> Option<(Stamp, bool)> {
    let row = cluster.store().read().unwrap().row(config.id, &key(name)).unwrap()?;
    let version = row.current()?;
    Some((version.stamp, matches!(version.content, Content::Tombstone)))
}

/// Reads a whole object. `None`: it is not there, or cannot be had now.
async fn read(engine: &Engine, name: &str) -> Result<Option<(Stamp, Vec<u8>)>, Error> {
    match read_version(engine, bucket(), name, VersionRef::Current).await {
        Err(Error::NoSuchKey) => Ok(None),
        read => read.map(Some),
    }
}

/// Reads a whole version.
async fn read_version(
    engine: &Engine,
    bucket: BucketName,
    name: &str,
    version: VersionRef,
) -> Result<(Stamp, Vec<u8>), Error> {
    let get = GetObject {
        bucket,
        key: key(name),
        conditions: Conditions::default(),
        range: None,
        if_range: Conditions::default(),
        part: None,
        version,
        customer_key: None,
        seen: None,
    };
    let mut read = engine.get_object(&get).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = read.body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok((read.info.version, bytes))
}

async fn check_read(engine: Engine, ledger: Shared, name: &'static str) {
    let floor = ledger.lock().unwrap().floor(engine.region(), name);
    match read(&engine, name).await {
        Ok(Some((stamp, bytes))) => {
            ledger.lock().unwrap().check_read(name, floor, stamp, &bytes);
        }
        Ok(None) | Err(Error::Unavailable { .. }) => {}
        Err(error) => panic!("a read of {name} at {} was answered {error}", engine.region()),
    }
}

/// One request of one client at a random region.
fn client(world: &World, clients: &Clients) {
    let Clients { ledger, versions, ordered } = clients;
    let region = world.pick();
    if !world.is_up(region) {
        return;
    }
    if world.rng.one_in(5) {
        return versions.client(world, region);
    }
    if conditional::is_on() && world.rng.one_in(3) {
        // Both, so that leases are held in the same storm.
        ordered.iter().for_each(|conditional| conditional.client(world, region));
        return;
    }
    let name = KEYS[usize::try_from(world.rng.below(KEYS.len() as u64)).unwrap()];
    let (engine, ledger) = (world.engine(region), ledger.clone());
    match world.rng.below(10) {
        0..=4 => world.run_on(region, put(engine, ledger, name, body_len(&world.rng))),
        5 => world.run_on(region, delete(engine, world.cluster(region), ledger, name)),
        _ => world.run_on(region, check_read(engine, ledger, name)),
    }
}

async fn harm(world: &mut World) {
    let (a, b) = (world.pick(), world.pick());
    let below = |end: u64| i64::try_from(world.rng.below(end)).unwrap();
    match world.rng.below(20) {
        0 | 1 if a != b => {
            world.net.cut(a, b);
            world.net.cut(b, a);
        }
        2 if a != b => world.net.cut(a, b),
        3 | 4 => {
            world.net.heal();
            world.slow_disk(a, 1);
            world.mend_disk(a);
        }
        5 | 6 => world.crash(a),
        7 => world.net.set_faults(10 + world.rng.below(50), 5),
        8 => world.skew(a, below(400) - 200, below(2000) - 1000),
        9 => world.skew(a, below(20_000) - 10_000, 0),
        10 => world.pause(a, Duration::from_millis(100 + world.rng.below(12_000))),
        11 => world.slow_disk(a, 50),
        12 => world.net.slow_down(a, Duration::from_millis(50 + world.rng.below(500))),
        13 => {
            for other in world.regions().into_iter().filter(|other| *other != a) {
                world.net.cut(a, other);
                world.net.cut(other, a);
            }
        }
        14 => world.fill_disk(a),
        15 => world.fail_disk(a, Fault::Sync, ["/log/", "/blobs/", "index.redb"]),
        16 => world.fail_disk(a, Fault::Read, ["/log/", "/blobs/", "/blobs/"]),
        17 => {
            let seconds = 10 + world.rng.below(50);
            world.fail_disk(a, Fault::Stuck(seconds), ["/log/", "/blobs/", "index.redb"]);
        }
        _ => start_all(world).await,
    }
}

async fn start_all(world: &mut World) {
    for region in world.regions() {
        if !world.is_up(region) && !world.is_held(region) {
            world.boot(region).await;
        }
    }
}

async fn create_leased(world: &World) {
    let engine = world.engine(world.pick());
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = Conditional::create_leased(&engine).await {
        assert!(Instant::now() < deadline, "no bucket: {error}");
        sleep(Duration::from_millis(200)).await;
    }
}

async fn create_bucket(world: &World) {
    let engine = world.engine(world.pick());
    let create = CreateBucket { name: bucket(), owner: owner(), location: Vec::new(), lock: false };
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = engine.create_bucket(create.clone()).await {
        if error == Error::BucketAlreadyOwnedByYou {
            return;
        }
        assert!(Instant::now() < deadline, "no bucket: {error}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// What clients ask and are told.
struct Clients {
    ledger: Shared,
    versions: Versions,
    ordered: [Conditional; 2],
}

async fn storm(world: &mut World, clients: &Clients, operator: &mut Operator, counts: &mut Counts) {
    let mut steps = 30 + world.rng.below(80);
    // A plan takes longer, and is brought to its end in calm when it takes too long.
    let steps_max = steps + 150;
    while steps > 0 && counts.steps < steps_max {
        counts.steps += 1;
        if operator.is_done() {
            steps -= 1;
        }
        operator.go_on(world, &clients.ledger).await;
        for _ in 0..world.rng.below(5) {
            client(world, clients);
        }
        if world.rng.one_in(4) {
            counts.faults += 1;
            harm(world).await;
        }
        if world.rng.one_in(8) && !operator.is_lossy {
            holders::check_now(world).await;
        }
        let pause_ms =
            if world.rng.one_in(5) { world.rng.below(4000) } else { world.rng.below(80) };
        sleep(Duration::from_millis(pause_ms)).await;
    }
}

async fn found(world: &World, name: &BucketName, deadline: Instant) -> Arc<BucketConfig> {
    loop {
        match world.cluster(world.pick()).bucket(name).await {
            Ok(Some(config)) => return config,
            other => assert!(Instant::now() < deadline, "the bucket: {other:?}"),
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Everything works again.
async fn heal(world: &mut World) {
    world.net.heal();
    for region in world.regions() {
        world.skew(region, 0, 0);
        world.slow_disk(region, 1);
        world.mend_disk(region);
        world.pause(region, Duration::ZERO);
    }
    start_all(world).await;
}

/// Waits until all regions agree.
async fn calm(world: &mut World) -> (Arc<BucketConfig>, Arc<BucketConfig>) {
    heal(world).await;
    let deadline = Instant::now() + Duration::from_secs(900);
    let config = found(world, &bucket(), deadline).await;
    let kept = found(world, &versions::bucket(), deadline).await;
    sleep(Duration::from_secs(60)).await;
    loop {
        let state = |r| (rows(world, &config, r), versions::shown(world, &kept, r));
        let states: Vec<_> = world.regions().into_iter().map(state).collect();
        if states.windows(2).all(|two| two[0] == two[1]) {
            return (config, kept);
        }
        assert!(Instant::now() < deadline, "the regions never agree: {states:#?}");
        sleep(Duration::from_secs(1)).await;
    }
}

fn rows(world: &World, config: &BucketConfig, region: RegionId) -> Vec<Option<(Stamp, bool)>> {
    let cluster = world.cluster(region);
    KEYS.iter().map(|name| current(&cluster, config, name)).collect()
}

/// What every region shows at the end: the same to all, and what the ledger allows.
async fn check(world: &World, config: &BucketConfig, ledger: &Shared) -> String {
    let mut first: Option<BTreeMap<String, (Stamp, Option<Vec<u8>>)>> = None;
    for region in world.regions() {
        let (engine, cluster) = (world.engine(region), world.cluster(region));
        let mut state = BTreeMap::new();
        let mut present = Vec::new();
        for name in KEYS {
            let Some((stamp, _)) = current(&cluster, config, name) else { continue };
            let shown = read(&engine, name).await;
            let shown = shown.unwrap_or_else(|error| panic!("{name} at {region}: {error}"));
            if let Some((read, _)) = &shown {
                assert_eq!(*read, stamp, "{name} at {region}");
                present.push(name.to_owned());
            }
            state.insert(name.to_owned(), (stamp, shown.map(|(_, bytes)| bytes)));
        }
        let mut listed = listed(&engine).await;
        listed.retain(|name| KEYS.contains(&name.as_str()));
        assert_eq!(listed, present, "the list at {region}");
        ledger.lock().unwrap().check_end(&state);
        match &first {
            Some(first) => assert!(*first == state, "{region} shows something else"),
            None => first = Some(state),
        }
    }
    let ledger = ledger.lock().unwrap();
    let stamps: Vec<Stamp> = first.unwrap().values().map(|(stamp, _)| *stamp).collect();
    format!("{} attempts, {} reads, {stamps:?}", ledger.attempts.len(), ledger.reads)
}

async fn listed(engine: &Engine) -> Vec<String> {
    let query = Query { prefix: String::new(), delimiter: None, after: None, max: 1000 };
    let page = engine.list_objects(ListObjects { bucket: bucket(), query }).await.unwrap();
    let name = |entry: Entry<_>| match entry {
        Entry::Key(key, _) => key.to_string(),
        Entry::Prefix(prefix) => prefix,
    };
    page.entries.into_iter().map(name).collect()
}

/// Some task panicked: a runtime keeps that to itself.
static PANICKED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// What this thread runs.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

fn watch_for_panics() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.store(true, Ordering::Relaxed);
            report(panic);
            if let Some(seed) = SEED.get() {
                eprintln!("repeat with: GODWIT_SEED={seed} cargo test --test sim");
            }
        }));
    });
}

/// Runs one seed; what came of it.
fn run(seed: u64) -> String {
    run_counted(seed).0
}

fn run_counted(seed: u64) -> (String, Counts) {
    watch_for_panics();
    SEED.set(Some(seed));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let began = Instant::now();
        let mut world = World::start(seed, &REGIONS).await;
        let (ledger, versions) = (Shared::default(), Versions::default());
        let (mut operator, mut counts) = (Operator::of(&world, seed), Counts::default());
        create_bucket(&world).await;
        versions::create(&world).await;
        create_leased(&world).await;
        let ordered = [Conditional::new(), Conditional::leased()];
        let clients = Clients {
            ledger: ledger.clone(),
            versions: versions.clone(),
            ordered: ordered.clone(),
        };
        storm(&mut world, &clients, &mut operator, &mut counts).await;
        heal(&mut world).await;
        operator.finish(&mut world, &ledger).await;
        let (config, kept) = calm(&mut world).await;
        let end = check(&world, &config, &ledger).await;
        holders::check_end(&world, &config).await;
        for region in world.regions() {
            let shown = versions::shown(&world, &kept, region);
            versions.check(&world.engine(region), &shown).await;
            for conditional in &ordered {
                conditional.read_all(&world.engine(region)).await;
            }
        }
        {
            let ledger = ledger.lock().unwrap();
            counts.operations += ledger.attempts.len() as u64 + versions.asked();
            counts.operations += ordered.iter().map(Conditional::asked).sum::<u64>();
            counts.reads += ledger.reads as u64;
        }
        (counts.changes, counts.virtual_s) = (operator.changes, began.elapsed().as_secs());
        let served: u64 = world.regions().iter().map(|r| world.cluster(*r).lease_reads()).sum();
        let conditional = ordered.map(|conditional| conditional.check()).join(", leased: ");
        let conditional = format!("{conditional}, {served} reads by leases at the end's nodes");
        assert!(!PANICKED.load(Ordering::Relaxed), "a task panicked, here or in the run beside it");
        (format!("{end}, {conditional} after {:?}", began.elapsed()), counts)
    })
}

#[test]
fn answered_writes_survive_and_all_regions_agree() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("GODWIT_SEED") {
        return println!("{}", run(seed));
    }
    let (seeds, next) = (number("GODWIT_SEEDS").unwrap_or(SEEDS), AtomicU64::new(0));
    let total = Mutex::new(Counts::default());
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(seed) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|s| *s < seeds)
                {
                    let (_, counts) = run_counted(seed);
                    total.lock().unwrap().add(counts);
                }
            });
        }
    });
    let Counts { steps, faults, changes, operations, reads, virtual_s } = *total.lock().unwrap();
    writeln!(
        std::io::stderr(),
        "simulation: {seeds} schedules of {steps} steps in {virtual_s} s of virtual time: {faults} \
         faults, {changes} steps of changes of members; {operations} operations and {reads} reads \
         checked"
    )
    .unwrap();
}

#[test]
fn one_seed_run_twice_gives_the_same_run() {
    for seed in [1_000_001, 1_000_002] {
        assert_eq!(run(seed), run(seed));
    }
}
