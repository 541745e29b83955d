//! Bucket names: accounts in all regions make the same one at once; it is deleted, and made again. At
//! most one is told that it made it, and every region knows whose it is.

use std::sync::Arc;
use std::time::Duration;

use super::client::{Answer, Client};
use super::progress::Progress;
use super::random::Random;
use super::site::{REGIONS, ask, eventually};

/// What one wish was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Done,
    No,
    Open,
}

fn told(what: &str, answer: Option<&Answer>) -> Told {
    match answer.map(Answer::code) {
        Some((200 | 204, _)) => Told::Done,
        Some((409, "BucketAlreadyExists")) => Told::No,
        Some((503, _)) | None => Told::Open,
        Some(other) => panic!("{what} was answered {other:?}"),
    }
}

/// A name and whose it is: the account of this region; `None`: that is open.
pub type Names = Vec<(String, Option<usize>)>;

/// Each region's client is another account. All make this bucket at the same time.
async fn race(clients: &[Client], name: &str, progress: &Progress) -> Vec<Told> {
    let path = format!("/{name}");
    let call = |client: &Client| tokio::spawn(ask(client.call("PUT", &path)));
    let calls: Vec<_> = clients.iter().map(call).collect();
    let mut all = Vec::new();
    for (region, call) in calls.into_iter().enumerate() {
        let told = told(&format!("creation of {name}"), call.await.unwrap().as_ref());
        if told == Told::Done {
            progress.answered(region);
        }
        all.push(told);
    }
    let made = all.iter().filter(|told| **told == Told::Done).count();
    assert!(made <= 1, "{name} was made {made} times: {all:?}");
    progress.count("races for a name");
    all
}

/// Race after race until the end is called.
pub async fn run(
    clients: Vec<Client>,
    seed: u64,
    every: Duration,
    progress: Arc<Progress>,
) -> Names {
    let (mut random, mut names) = (Random::new(seed), Names::new());
    while !progress.ended() {
        let name = format!("name-{}", names.len());
        let owner = one(&clients, &name, &mut random, &progress).await;
        names.push((name, owner));
        // Leaves the machine to the others; nothing is waited for.
        tokio::time::sleep(every).await;
    }
    names
}

/// One name: made, deleted in some region, made again, as long as nothing of it is open.
async fn one(
    clients: &[Client],
    name: &str,
    random: &mut Random,
    progress: &Progress,
) -> Option<usize> {
    let mut owner = None;
    for turn in 0..2 {
        let all = race(clients, name, progress).await;
        owner = all.iter().position(|told| *told == Told::Done);
        if all.contains(&Told::Open) {
            return owner;
        }
        let Some(winner) = owner else { panic!("{name} was free and nobody made it: {all:?}") };
        if turn == 0 {
            let elsewhere = clients[random.below(clients.len())].address;
            let client = Client { address: elsewhere, ..clients[winner].clone() };
            let answer = ask(client.call("DELETE", &format!("/{name}"))).await;
            if answer.as_ref().is_some_and(|answer| answer.status == 404) {
                // This region has not heard of the bucket yet.
                return owner;
            }
            match told(&format!("deletion of {name}"), answer.as_ref()) {
                Told::Done => progress.count("names deleted"),
                Told::Open | Told::No => return None,
            }
        }
    }
    owner
}

/// After healing every region knows the same names, and whose they are.
pub async fn agree(clients: &[Client], names: &Names, seconds: u64) {
    let asked = |region: usize, account: usize, name: &str| {
        let address = clients[region].address;
        let client = Client { address, ..clients[account].clone() };
        ask(client.call("HEAD", &format!("/{name}")))
    };
    for (name, owner) in names {
        eventually(&format!("all regions agree on {name}, of {owner:?}"), seconds, async || {
            let mut owners = Vec::new();
            for region in 0..REGIONS.len() {
                let mut here = None;
                let accounts = owner.map_or(0..REGIONS.len(), |owner| owner..owner + 1);
                for account in accounts {
                    if asked(region, account, name).await?.status == 200 {
                        here = Some(account);
                    }
                }
                owners.push(here);
            }
            let same = owners.iter().all(|here| *here == owners[0]);
            (same && (owner.is_none() || owners[0] == *owner)).then_some(())
        })
        .await;
    }
}
