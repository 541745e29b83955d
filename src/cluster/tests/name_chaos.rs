//! Names made and given up at random while links break, messages get lost and nodes are killed; and
//! what must hold afterwards. One seed, one run.
//!
//! `GODWIT_SEED=7 cargo test --lib name_chaos` repeats one; `GODWIT_SEEDS=100` tries more.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::sleep;

use super::world::{self, World};
use crate::cluster::{Cluster, CreateOutcome, DeleteOutcome};
use crate::limits;
use crate::types::bucket::{Ack, BucketConfig, Consistency, Location, Versioning};
use crate::types::id::BucketId;
use crate::types::name::{AccountId, BucketName};

const CODES: [&str; 3] = ["fra", "iad", "nrt"];
const NAMES: [&str; 2] = ["photos", "music"];

/// What clients were told.
#[derive(Default)]
struct Ledger {
    made: BTreeSet<(&'static str, BucketId)>,
    /// Somebody tried to delete it; it may be gone.
    doubtful: BTreeSet<BucketId>,
    deleted: BTreeSet<BucketId>,
    /// Has a key that was answered and is never deleted.
    filled: BTreeSet<BucketId>,
}

type Shared = Arc<Mutex<Ledger>>;

fn config(number: u64) -> BucketConfig {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    BucketConfig {
        id: BucketId(id),
        owner: AccountId("owner".into()),
        created_ms: 1,
        location: Location::Everywhere,
        ack: Ack::Default,
        copies: 2,
        riding_bytes_max: 4096,
        versioning: Versioning::Off,
        lock: None,
        policy: None,
        access_block: None,
        consistency: Consistency::Eventual,
    }
}

fn parsed(name: &str) -> BucketName {
    BucketName::parse(name).unwrap()
}

async fn create(cluster: Cluster, ledger: Shared, name: &'static str, number: u64) {
    let config = config(number);
    let id = config.id;
    if let Ok(CreateOutcome::Created) = cluster.create_bucket(&parsed(name), config).await {
        ledger.lock().unwrap().made.insert((name, id));
    }
}

async fn delete(cluster: Cluster, ledger: Shared, name: &'static str) {
    let Ok(Some(config)) = cluster.bucket(&parsed(name)).await else { return };
    ledger.lock().unwrap().doubtful.insert(config.id);
    if let Ok(DeleteOutcome::Deleted) = cluster.delete_bucket(&parsed(name), config.id, None).await
    {
        ledger.lock().unwrap().deleted.insert(config.id);
    }
}

async fn fill(cluster: Cluster, ledger: Shared, name: &'static str) {
    let Ok(Some(config)) = cluster.bucket(&parsed(name)).await else { return };
    if world::put(&cluster, &config, "k", b"x").await.is_ok() {
        ledger.lock().unwrap().filled.insert(config.id);
    }
}

/// One step of the run; `dead` is the node that was killed, if one is.
async fn step(
    world: &mut World,
    rng: &mut StdRng,
    ledger: &Shared,
    dead: &mut Option<&'static str>,
    number: u64,
) {
    let code = CODES[rng.random_range(0..CODES.len())];
    let name = NAMES[rng.random_range(0..NAMES.len())];
    let action = rng.random_range(0..20);
    if action < 15 && *dead != Some(code) {
        let (cluster, ledger) = (world.at(code), ledger.clone());
        let env = cluster.env().clone();
        match action {
            0..8 => env.spawn("create", create(cluster, ledger, name, number)),
            8..13 => env.spawn("delete", delete(cluster, ledger, name)),
            _ => env.spawn("fill", fill(cluster, ledger, name)),
        }
    }
    match action {
        15 => {
            let other = CODES[rng.random_range(0..CODES.len())];
            world.net.cut(code, other);
        }
        16 | 17 => world.net.heal(),
        18 if dead.is_none() => {
            world.kill(code);
            *dead = Some(code);
        }
        19 => {
            if let Some(code) = dead.take() {
                world.boot(code).await;
            }
        }
        _ => {}
    }
    sleep(Duration::from_millis(rng.random_range(0..1500))).await;
}

async fn run(seed: u64) -> (usize, usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(&CODES).await;
    world.net.lose(5, seed);
    let ledger = Shared::default();
    let mut dead = None;
    for number in 0..60 {
        step(&mut world, &mut rng, &ledger, &mut dead, number).await;
    }
    world.net.heal();
    world.net.lose(0, seed);
    if let Some(code) = dead {
        world.boot(code).await;
    }
    sleep(limits::DELETING_MAX * 2 + limits::REGISTER_TIMEOUT * 2).await;
    check(&world, &ledger, seed).await
}

async fn check(world: &World, ledger: &Shared, seed: u64) -> (usize, usize) {
    let mut at_end = Vec::new();
    for name in NAMES {
        let mut seen = Vec::new();
        for code in CODES {
            let config = world.at(code).bucket(&parsed(name)).await.unwrap();
            seen.push(config.map(|config| config.id));
        }
        assert!(seen.iter().all(|id| *id == seen[0]), "seed {seed}, {name}: {seen:?}");
        at_end.push((name, seen[0]));
    }
    let ledger = ledger.lock().unwrap();
    for (name, id) in at_end {
        assert!(id.is_none_or(|id| !ledger.deleted.contains(&id)), "seed {seed}: {name} is back");
        let kept = |of: &str, id: &BucketId| of == name && !ledger.doubtful.contains(id);
        let kept: Vec<BucketId> =
            ledger.made.iter().filter(|(of, id)| kept(of, id)).map(|(_, id)| *id).collect();
        assert!(kept.len() <= 1, "seed {seed}: {name} was given twice: {kept:?}");
        assert!(kept.is_empty() || id == Some(kept[0]), "seed {seed}: {name} was lost");
    }
    let lost: Vec<_> = ledger.filled.intersection(&ledger.deleted).collect();
    assert!(lost.is_empty(), "seed {seed}: deleted with a key in it: {lost:?}");
    (ledger.made.len(), ledger.deleted.len())
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(start_paused = true)]
async fn names_are_unique_and_no_full_bucket_is_deleted_whatever_breaks() {
    let seeds = match number_of("GODWIT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_of("GODWIT_SEEDS").unwrap_or(12),
    };
    let (mut made, mut deleted) = (0, 0);
    for seed in seeds.clone() {
        let (some, gone) = run(seed).await;
        (made, deleted) = (made + some, deleted + gone);
    }
    println!("{made} buckets made, {deleted} deleted");
    assert!(seeds.count() < 5 || (made > 20 && deleted > 5), "{made} made, {deleted} deleted");
}
