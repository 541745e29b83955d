//! Regions come and go and voters change while clients write; and what must hold all the time: every
//! history of conditional operations is linearizable, and every answered write is readable.
//!
//! `GODWIT_SEED=7 cargo test --lib voters_change` repeats one run; `GODWIT_SEEDS=100` tries more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::world::*;
use crate::cluster::{Cluster, ClusterOptions, NotChanged as Unchanged};
use crate::logic::register::tests::linear::{Answer, History, Op};
use crate::types::bucket::{Ack, BucketConfig};
use crate::types::members::MemberState;
use crate::types::name::BucketName;
use crate::types::record::RecordId;
use crate::types::region::RegionId;

/// Keys that are changed with conditions, each with its history.
const KEYS: [&str; 3] = ["a", "b", "c"];

/// Nodes that clients can reach.
type Doors = Arc<Mutex<BTreeMap<&'static str, Cluster>>>;

/// What clients did.
#[derive(Default)]
struct Told {
    histories: BTreeMap<&'static str, History<u64>>,
    /// Names of plain writes that were answered.
    plain: BTreeSet<String>,
    changed: usize,
}

type Ledger = Arc<Mutex<Told>>;

fn codes(regions: &[RegionId]) -> Vec<String> {
    regions.iter().map(ToString::to_string).collect()
}

/// One client, which asks any door, one thing after the other, until its task is ended.
async fn client(number: u64, doors: Doors, ledger: Ledger, config: Arc<BucketConfig>) {
    let mut rng = StdRng::seed_from_u64(number);
    let mut seen: BTreeMap<&'static str, Option<u64>> = BTreeMap::new();
    for count in 1_u64.. {
        sleep(Duration::from_millis(rng.random_range(20..200))).await;
        let door = {
            let doors = doors.lock().unwrap();
            let at = rng.random_range(0..doors.len());
            doors.values().nth(at).cloned().unwrap()
        };
        let name = KEYS[rng.random_range(0..KEYS.len())];
        let value = number * 1_000_000 + count;
        match rng.random_range(0..10) {
            0..3 => plain(&door, &ledger, &config, value).await,
            3..6 => {
                let saw = read(&door, &ledger, &config, name).await;
                seen.extend(saw.map(|saw| (name, saw)));
            }
            _ => {
                let expected = seen.get(name).copied().flatten();
                change(&door, &ledger, &config, (name, expected, value)).await;
                seen.remove(name);
            }
        }
    }
}

async fn plain(door: &Cluster, ledger: &Ledger, config: &Arc<BucketConfig>, value: u64) {
    let name = format!("p{value}");
    // Some ride in their rows, some do not.
    let bytes = vec![7; if value.is_multiple_of(3) { 9000 } else { 100 }];
    let put = timeout(Duration::from_secs(20), put(door, config, &name, &bytes)).await;
    if let Ok(Ok(_)) = put {
        ledger.lock().unwrap().plain.insert(name);
    }
}

fn begin(ledger: &Ledger, name: &'static str, op: Op<u64>) -> usize {
    ledger.lock().unwrap().histories.entry(name).or_default().begin(op)
}

fn end(ledger: &Ledger, name: &'static str, operation: usize, answer: Answer<u64>) {
    let mut told = ledger.lock().unwrap();
    told.changed += usize::from(answer == Answer::Done);
    told.histories.get_mut(name).unwrap().end(operation, answer);
}

async fn read(
    door: &Cluster,
    ledger: &Ledger,
    config: &Arc<BucketConfig>,
    name: &'static str,
) -> Option<Option<u64>> {
    let operation = begin(ledger, name, Op::Read);
    let id = RecordId::Row(config.id, key(name));
    let row = timeout(Duration::from_secs(20), door.row_leased(&id)).await;
    let Ok(Ok(row)) = row else {
        end(ledger, name, operation, Answer::Unknown);
        return None;
    };
    let saw = tag(row.as_ref()).map(|tag| tag.parse().unwrap());
    end(ledger, name, operation, Answer::Saw(saw));
    Some(saw)
}

async fn change(
    door: &Cluster,
    ledger: &Ledger,
    config: &Arc<BucketConfig>,
    (name, expected, value): (&'static str, Option<u64>, u64),
) {
    let op = match expected {
        None => Op::PutIfAbsent(value),
        Some(expected) => Op::PutIfMatch { expected, new: value },
    };
    let operation = begin(ledger, name, op);
    let (expected, made) = (expected.map(|tag| tag.to_string()), value.to_string());
    let bytes = vec![3; if value.is_multiple_of(4) { 9000 } else { 50 }];
    let change = put_if(door, config, name, expected.as_deref(), (&made, &bytes));
    let answer = match timeout(Duration::from_secs(20), Box::pin(change)).await {
        Ok(Ok(_)) => Answer::Done,
        Ok(Err(NotChanged::Refused)) => Answer::Refused,
        Ok(Err(NotChanged::Contested | NotChanged::Unavailable(_))) | Err(_) => Answer::Unknown,
    };
    end(ledger, name, operation, answer);
}

/// A world with clients, whose regions come and go.
struct Run {
    world: World,
    doors: Doors,
    ledger: Ledger,
    config: Arc<BucketConfig>,
    clients: Vec<JoinHandle<()>>,
    seed: u64,
}

impl Run {
    async fn new(first: &[&'static str], seed: u64) -> Self {
        let options = ClusterOptions {
            placement_interval: Duration::from_secs(5),
            ..ClusterOptions::default()
        };
        let mut run = Self {
            world: World::with(first, options).await,
            doors: Doors::default(),
            ledger: Ledger::default(),
            config: bucket(Ack::Default),
            clients: Vec::new(),
            seed,
        };
        first.iter().for_each(|code| run.open(code));
        // Copies are looked after in buckets that have a name.
        let (name, config) = (BucketName::parse("some").unwrap(), (*run.config).clone());
        run.world.at(first[0]).create_bucket(&name, config).await.unwrap();
        for number in 1..=4 {
            let (doors, ledger) = (run.doors.clone(), run.ledger.clone());
            let client = client(seed * 10 + number, doors, ledger, run.config.clone());
            run.clients.push(tokio::task::spawn(client));
        }
        run
    }

    fn open(&self, code: &'static str) {
        self.doors.lock().unwrap().insert(code, self.world.at(code));
    }

    fn kill(&mut self, code: &'static str) {
        self.doors.lock().unwrap().remove(code);
        self.world.kill(code);
    }

    async fn boot(&mut self, code: &'static str) {
        self.world.boot(code).await;
        self.open(code);
    }

    /// Lists a region and starts its node.
    async fn join(&mut self, via: &str, code: &'static str) {
        self.world.members = self.world.at(via).add_region(info(code), None).await.unwrap();
        self.boot(code).await;
    }

    async fn until_voters(&self, wanted: &[&str]) {
        let is_so = |world: &World| {
            let nodes: Vec<Cluster> = self.doors.lock().unwrap().values().cloned().collect();
            nodes.iter().all(|node| {
                let electorate = node.electorate();
                !electorate.is_joint() && codes(&node.members().voters()) == wanted
            }) && nodes.len() <= world.members.members.len()
        };
        self.world.until(&format!("seed {}: voters {wanted:?}", self.seed), is_so).await;
    }

    async fn until_state(&self, at: &str, code: &str, state: MemberState) {
        let is_so = |world: &World| {
            let members = world.at(at).members();
            members.member(region(code)).is_some_and(|member| member.state == state)
        };
        self.world.until(&format!("seed {}: {code} is {state:?}", self.seed), is_so).await;
    }

    /// Ends the clients; then everything that was promised is looked at, in each region.
    async fn check(self) -> (usize, usize) {
        self.clients.iter().for_each(JoinHandle::abort);
        self.world.net.heal();
        let doors = self.doors.lock().unwrap().clone();
        let ledger = self.ledger.clone();
        for name in KEYS {
            let door = doors.values().next().unwrap();
            let saw = read(door, &ledger, &self.config, name).await;
            assert!(saw.is_some(), "seed {}: no answer at the end", self.seed);
        }
        let told = std::mem::take(&mut *ledger.lock().unwrap());
        for (name, history) in &told.histories {
            if let Err(fault) = history.check() {
                panic!("seed {}, key {name}: {fault:?}", self.seed);
            }
        }
        for (code, door) in &doors {
            for name in &told.plain {
                let what = format!("seed {}: {code} shows {name}", self.seed);
                self.world.until(&what, |w| w.row(code, &self.config, name).is_some()).await;
                let read = get(door, &self.config, name).await;
                assert!(read.is_ok(), "{what}: {read:?}");
            }
        }
        self.world.assert_sound();
        (told.changed, told.plain.len())
    }
}

#[tokio::test(start_paused = true)]
async fn voters_change_from_one_to_three_to_five_and_back_while_clients_write() {
    for seed in seeds(3) {
        let mut run = Run::new(&["fra"], seed).await;
        sleep(Duration::from_secs(5)).await;
        run.join("fra", "iad").await;
        run.until_state("fra", "iad", MemberState::Active).await;
        run.until_voters(&["fra", "iad"]).await;
        run.join("iad", "nrt").await;
        run.until_voters(&["fra", "iad", "nrt"]).await;
        sleep(Duration::from_secs(5)).await;
        // The fourth region has no vote: their number is odd.
        run.join("nrt", "syd").await;
        run.until_state("fra", "syd", MemberState::Active).await;
        run.join("fra", "ams").await;
        // Whoever drives the change dies in the middle of it.
        run.world.until("a change begins", |w| w.at("iad").electorate().is_joint()).await;
        let driver = if seed.is_multiple_of(2) { "ams" } else { "fra" };
        run.kill(driver);
        sleep(Duration::from_secs(15)).await;
        run.boot(driver).await;
        run.until_voters(&["ams", "fra", "iad", "nrt", "syd"]).await;
        sleep(Duration::from_secs(5)).await;
        // Two leave, and a link is cut meanwhile.
        run.world.at("fra").drain_region(region("iad")).await.unwrap();
        run.world.net.cut("ams", "nrt");
        run.world.at("syd").drain_region(region("fra")).await.unwrap();
        sleep(Duration::from_secs(10)).await;
        run.world.net.heal();
        run.until_voters(&["ams", "nrt", "syd"]).await;
        for code in ["iad", "fra"] {
            removed(&run, "syd", code).await;
            run.kill(code);
        }
        sleep(Duration::from_secs(5)).await;
        let (changed, plain) = run.check().await;
        println!("seed {seed}: {changed} conditional changes, {plain} plain writes");
        assert!(changed > 50 && plain > 50, "seed {seed}: {changed} {plain}");
    }
}

/// Removes a drained region as soon as nothing is lost with it.
async fn removed(run: &Run, via: &str, code: &str) {
    for _ in 0..600 {
        match run.world.at(via).remove_region(region(code), false).await {
            Ok(members) => {
                assert!(!members.contains(region(code)));
                return;
            }
            Err(Unchanged::Refused(why)) => tracing::debug!(why, "not yet"),
            Err(Unchanged::Unavailable(why)) => panic!("seed {}: {why}", run.seed),
        }
        sleep(Duration::from_secs(1)).await;
    }
    let remains = run.world.at(via).remains_of(region(code)).await;
    panic!("seed {}: {code} is never drained: {remains:?}", run.seed);
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |variable| std::env::var(variable).ok()?.parse::<u64>().ok();
    match number("GODWIT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GODWIT_SEEDS").unwrap_or(count),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_region_is_removed_while_clients_write_and_turned_away_when_it_returns() {
    for seed in seeds(2) {
        let mut run = Run::new(&["fra", "iad", "nrt"], seed).await;
        run.join("fra", "syd").await;
        run.until_state("fra", "syd", MemberState::Active).await;
        sleep(Duration::from_secs(10)).await;
        let lost = ["iad", "nrt"][usize::try_from(seed % 2).unwrap()];
        let refused = run.world.at("fra").remove_region(region(lost), true).await;
        assert!(matches!(refused, Err(Unchanged::Refused(_))), "it is there: {refused:?}");
        let refused = run.world.at("fra").remove_region(region(lost), false).await;
        assert!(matches!(refused, Err(Unchanged::Refused(_))), "not drained: {refused:?}");
        run.kill(lost);
        sleep(Duration::from_secs(5)).await;
        run.world.at("fra").remove_region(region(lost), true).await.unwrap();
        let voters: Vec<&str> =
            ["fra", "iad", "nrt", "syd"].into_iter().filter(|c| *c != lost).collect();
        run.until_voters(&voters).await;
        // What it held is made again at once, not after the grace of a region that is away.
        sleep(Duration::from_secs(20)).await;
        // Clients go on writing, so not all are at the end of their work at one moment.
        for code in &voters {
            let enough = |world: &World| world.at(code).repair_status().below == 0;
            run.world.until("all copies are there", enough).await;
        }
        run.world.boot(lost).await;
        let back = run.world.at(lost);
        run.world.until("it hears of it", |_| back.gone().is_some()).await;
        assert!(back.gone().unwrap().contains("godwit region add"), "{:?}", back.gone());
        let refused = put(&back, &run.config, "late", b"x").await;
        assert!(refused.is_err_and(|why| why.reason.contains("was removed")));
        let looked = back.row_linearizable(&RecordId::Row(run.config.id, key("a"))).await;
        assert!(looked.is_err(), "it has no say: {looked:?}");
        // Another life of the same region joins, with an empty disk.
        run.world.kill(lost);
        run.world.replace_disk(lost, Arc::default());
        run.join("fra", lost).await;
        run.until_state("fra", lost, MemberState::Active).await;
        sleep(Duration::from_secs(5)).await;
        let (changed, plain) = run.check().await;
        assert!(changed > 20 && plain > 20, "seed {seed}: {changed} {plain}");
    }
}

/// It runs on and has no vote, and nobody sends it a log any more: it has to ask.
#[tokio::test(start_paused = true)]
async fn a_region_that_was_cut_off_while_it_was_removed_hears_of_it_without_a_restart() {
    let mut run = Run::new(&["fra", "iad", "nrt"], 1).await;
    run.join("fra", "syd").await;
    run.until_state("fra", "syd", MemberState::Active).await;
    sleep(Duration::from_secs(10)).await;
    for code in ["fra", "iad", "nrt"] {
        run.world.net.cut(code, "syd");
    }
    sleep(Duration::from_secs(5)).await;
    run.world.at("fra").remove_region(region("syd"), true).await.unwrap();
    for code in ["fra", "iad", "nrt"] {
        let known = |world: &World| !world.at(code).members().contains(region("syd"));
        run.world.until("it is no member", known).await;
    }
    let cut_off = run.world.at("syd");
    assert_eq!(cut_off.gone(), None, "it cannot know");
    run.world.net.heal();
    run.world.until("it hears of it", |_| cut_off.gone().is_some()).await;
    let refused = put(&cut_off, &run.config, "late", b"x").await;
    assert!(refused.is_err_and(|why| why.reason.contains("was removed")));
    run.doors.lock().unwrap().remove("syd");
    run.check().await;
}
