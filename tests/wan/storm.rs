//! Clients of all regions at once, faults meanwhile, then healing and the checks of everything.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::client::Client;
use super::nemesis;
use super::objects::{self, Object, Writer};
use super::progress::Progress;
use super::random::Random;
use super::registers::{self, Registers};
use super::site::{REGIONS, Site, ask, eventually};
use super::{names, names::Names};

/// No conditional write waits until a lost voter is known to be lost: that takes ten seconds.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Clients of registers in each region.
const CALLERS: u64 = 2;

/// What clients do, and for how long.
#[derive(Clone, Copy)]
pub struct Plan {
    pub time: Duration,
    /// Clients of objects in each region.
    pub writers: usize,
    pub work: objects::Work,
    /// Between two races for a name.
    pub names_every: Duration,
    /// Whether a region is lost for good after all that.
    pub lose: bool,
}

/// Everything that ran, ended.
struct Done {
    objects: Vec<Object>,
    names: Names,
}

pub async fn make(site: &Site, bucket: &str) {
    eventually("a bucket is made", 60, async || {
        let made = ask(site.clients[0].call("PUT", bucket)).await?;
        matches!(made.code(), (200, _) | (409, "BucketAlreadyOwnedByYou")).then_some(())
    })
    .await;
    for client in &site.clients {
        eventually("the bucket is known everywhere", 60, async || {
            (ask(client.call("HEAD", bucket)).await?.status == 200).then_some(())
        })
        .await;
    }
}

/// Runs the plan in a cluster of its own; whatever does not hold is a panic.
pub async fn storm(folder: &Path, seed: u64, plan: Plan) -> Progress {
    let mut site = Site::start(folder, &REGIONS, seed).await;
    make(&site, objects::BUCKET).await;
    make(&site, registers::BUCKET).await;
    let accounts = site.accounts().await;
    let progress = Arc::new(Progress::new());
    let mut done = work(&mut site, &accounts, seed, plan, &progress).await;
    let healed = Instant::now();
    names::agree(&accounts, &done.names, 120).await;
    let places = site.places();
    let shown = objects::agree(&places, &done.objects, 180).await;
    let agreed = healed.elapsed().as_secs_f64();
    let read = objects::read_all(&places, &done.objects, &shown).await;
    let (keys, listed, names) = (done.objects.len(), shown.len(), done.names.len());
    eprintln!("{}", progress.told());
    eprintln!(
        "all regions agree {agreed:.1} s after the last fault; {names} names each of one owner"
    );
    eprintln!("{keys} keys, {listed} objects in every list, {read} reads back; lost: 0");
    if plan.lose {
        lose(&mut site, &mut done.objects, seed, plan.work).await;
    }
    site.stop();
    Arc::into_inner(progress).expect("the clients have ended")
}

/// A conditional write, right after a region was lost; how long until it is answered.
async fn goes_on(client: &Client, region: usize) -> Duration {
    let began = Instant::now();
    let path = format!("{}/after-{region}", registers::BUCKET);
    client.call("PUT", &path).header("if-none-match", "*").send().await.expect(200);
    began.elapsed()
}

/// A region is lost for good, with its disk, while clients write everywhere: all that it answered is
/// in the others.
async fn lose(site: &mut Site, objects: &mut Vec<Object>, seed: u64, work: objects::Work) {
    let progress = Arc::new(Progress::new());
    // The first region keeps the authority that makes tokens.
    let lost = 1 + Random::new(seed).below(REGIONS.len() - 1);
    let others: Vec<usize> = (0..REGIONS.len()).filter(|region| *region != lost).collect();
    let mut writers = Vec::new();
    for (region, client) in site.clients.iter().enumerate() {
        // Keys of their own.
        let place = (region, 100);
        let writer = Writer::new(place, client.clone(), seed, work, progress.clone());
        writers.push(tokio::spawn(writer.run()));
    }
    assert!(progress.more(&[lost], 20, 60).await, "no answers in {}", REGIONS[lost]);
    site.lose(lost);
    let slowest = join_all(others.iter().map(|region| goes_on(&site.clients[*region], *region)));
    let slowest = slowest.await.into_iter().max().unwrap();
    eprintln!("conditional writes without {}: {slowest:?} at most", REGIONS[lost]);
    assert!(slowest < PAUSE_MAX, "{slowest:?} until a conditional write was answered");
    assert!(progress.more(&others, 60, 60).await, "the others stop with {}", REGIONS[lost]);
    progress.end();
    let before = objects.len();
    for writer in writers {
        objects.extend(writer.await.unwrap().objects);
    }
    let mut places = site.places();
    places.remove(lost);
    let shown = objects::agree(&places, objects, 180).await;
    // Bytes of the objects before, too: those of which the lost region was a holder.
    let read = objects::read_all(&places, objects, &shown).await;
    site.rejoin(lost);
    site.ready().await;
    let again = objects::agree(&site.places(), objects, 180).await;
    assert_eq!(again, shown, "what the region shows that came back empty");
    let read_again = objects::read_all(&site.places()[lost..=lost], objects, &shown).await;
    eprintln!("{} came back empty: {read_again} reads there", REGIONS[lost]);
    let since = objects.len() - before;
    eprintln!("{} and its disk lost: {since} new keys, {read} reads back; lost: 0", REGIONS[lost]);
}

/// Clients and faults until the time is over.
async fn work(
    site: &mut Site,
    accounts: &[Client],
    seed: u64,
    plan: Plan,
    progress: &Arc<Progress>,
) -> Done {
    let (mut writers, mut callers) = (Vec::new(), Vec::new());
    let registers = Arc::new(Registers::default());
    for (region, client) in site.clients.iter().enumerate() {
        for number in 0..plan.writers {
            let place = (region, number);
            let writer = Writer::new(place, client.clone(), seed, plan.work, progress.clone());
            writers.push(tokio::spawn(writer.run()));
        }
        for number in 0..CALLERS {
            let (place, seed) = ((region, client.clone()), seed + number);
            let caller = registers::run(registers.clone(), place, seed, progress.clone());
            callers.push(tokio::spawn(caller));
        }
    }
    let names = names::run(accounts.to_vec(), seed, plan.names_every, progress.clone());
    let names = tokio::spawn(names);
    nemesis::run(site, progress, seed, plan.time).await;
    progress.end();
    let mut objects = Vec::new();
    for writer in writers {
        objects.extend(writer.await.unwrap().objects);
    }
    for caller in callers {
        caller.await.unwrap();
    }
    eprintln!("{} operations on registers have an order", registers.check());
    Done { objects, names: names.await.unwrap() }
}
