//! Every schedule of a small world for the drop rule, walked by `stateright`; the order of places.
#![allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]

use std::io::Write as _;

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::*;

fn region(code: &str) -> RegionId {
    RegionId::parse(code).unwrap()
}

/// Which rule is left out, to see that the walk finds the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    DeclaredStaysSilent,
    FreshRounds,
    /// Whether the copy is held is judged before its bytes are checked, and not again after it.
    LastLook,
}

const NODES: usize = 3;
const ROUNDS: u64 = 2;

/// Holders that must stay, and what is left out.
struct Drops {
    copies: usize,
    without: Without,
}

/// A step is the world after it: any may be next.
impl Model for Drops {
    type State = World;
    type Action = World;

    fn init_states(&self) -> Vec<World> {
        let fresh = Node { held: true, round: 0, confirmed: 0, begun: 0 };
        vec![World { nodes: [fresh; NODES], asks: 0, yeses: 0, crashes_left: 1 }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<World>) {
        actions.extend(steps(world, self.copies, self.without));
    }

    fn next_state(&self, _: &World, mut next: World) -> Option<World> {
        // A round that is over leaves nothing behind.
        next.nodes.iter_mut().filter(|n| n.round == 0).for_each(|n| n.confirmed = 0);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("as many copies as promised", |model: &Self, world: &World| {
                world.held() >= model.copies
            }),
            Property::sometimes("a copy is dropped", |_, world: &World| world.held() < NODES),
        ]
    }
}

impl World {
    fn held(&self) -> usize {
        self.nodes.iter().filter(|node| node.held).count()
    }
}

/// A node, small enough that millions of worlds fit in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Node {
    held: bool,
    /// Number of the open round, 0 for none, and who confirmed it, a bit a node.
    round: u8,
    confirmed: u8,
    /// Rounds that were ever begun; never reused.
    begun: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    nodes: [Node; NODES],
    /// A bit a message. A message stays: it may be lost (never delivered), repeated, overtaken.
    asks: u32,
    yeses: u32,
    crashes_left: u8,
}

fn id(node: usize) -> RegionId {
    region(["fra", "iad", "nrt"][node])
}

/// The bit of the message of `round` from one node to another.
fn bit(from: usize, to: usize, round: u8) -> u32 {
    1 << ((from * NODES + to) * (ROUNDS as usize + 1) + usize::from(round))
}

fn rounds_of(node: Node, copies: usize) -> Rounds<()> {
    let confirmed = (0..NODES).filter(|n| node.confirmed & (1 << n) != 0).map(id).collect();
    let round = Round { number: u64::from(node.round), needed: copies, confirmed };
    let open = (node.round != 0).then_some(((), round));
    Rounds { open: open.into_iter().collect(), last: u64::from(node.begun) }
}

/// The states after every possible next step. [`Rounds`] makes every decision.
fn steps(world: &World, copies: usize, without: Without) -> Vec<World> {
    let mut next = Vec::new();
    for n in 0..NODES {
        let node = world.nodes[n];
        if node.held && node.round == 0 && u64::from(node.begun) < ROUNDS {
            let number = rounds_of(node, copies).declare((), copies) as u8;
            let mut world = *world;
            world.nodes[n] = Node { round: number, confirmed: 0, begun: number, ..node };
            (0..NODES).filter(|to| *to != n).for_each(|to| world.asks |= bit(n, to, number));
            next.push(world);
        }
        if node.round != 0 {
            let mut given_up = *world;
            given_up.nodes[n].round = 0;
            next.push(given_up);
        }
        if world.crashes_left > 0 {
            let mut crashed = *world;
            crashed.crashes_left -= 1;
            crashed.nodes[n].round = 0;
            next.push(crashed);
        }
    }
    for (from, to, round) in messages() {
        if world.asks & bit(from, to, round) != 0 {
            next.extend(asked(world, (from, to, round), copies, without));
        }
        if world.yeses & bit(from, to, round) != 0 {
            next.push(answered(world, (from, to, round), copies, without));
        }
        if world.asks & bit(from, to, LOOKED) != 0 {
            next.extend(looked(world, (from, to), copies));
        }
    }
    next
}

/// In place of a round's number: the asked node has looked, for the first round, and not answered.
const LOOKED: u8 = 0;

/// A node answers by what it saw when it looked.
fn looked(world: &World, (from, to): (usize, usize), copies: usize) -> Option<World> {
    let yes = rounds_of(world.nodes[to], copies).confirms(&(), true);
    let mut world = *world;
    world.yeses |= bit(to, from, 1);
    yes.then_some(world)
}

fn messages() -> impl Iterator<Item = (usize, usize, u8)> {
    let pairs = (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to)));
    pairs.flat_map(|(from, to)| (1..=ROUNDS as u8).map(move |round| (from, to, round)))
}

fn asked(
    world: &World,
    (from, to, round): (usize, usize, u8),
    copies: usize,
    without: Without,
) -> Option<World> {
    let node = world.nodes[to];
    let mut world = *world;
    let yes = match without {
        Without::DeclaredStaysSilent => node.held,
        Without::Nothing | Without::FreshRounds => rounds_of(node, copies).confirms(&(), node.held),
        Without::LastLook => {
            world.asks |= bit(from, to, LOOKED);
            return (node.held && round == 1).then_some(world);
        }
    };
    world.yeses |= bit(to, from, round);
    yes.then_some(world)
}

fn answered(
    world: &World,
    (from, to, round): (usize, usize, u8),
    copies: usize,
    without: Without,
) -> World {
    let mut world = *world;
    let node = world.nodes[to];
    let mut rounds = rounds_of(node, copies);
    let counted = if without == Without::FreshRounds { node.round } else { round };
    if node.round != 0 && rounds.confirmed(&(), u64::from(counted), id(from)) {
        world.nodes[to] = Node { held: false, round: 0, ..node };
    } else if let Some(round) = rounds.open.get(&()) {
        let bits = (0..NODES).filter(|n| round.confirmed.contains(&id(*n)));
        world.nodes[to].confirmed = bits.fold(0, |all, n| all | (1 << n));
    }
    world
}

/// Walks all states, or to the first with too few copies: how many states, and whether all hold.
fn walk(copies: usize, without: Without) -> (usize, bool) {
    let checker = Drops { copies, without }.checker().finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_dfs().join();
    let states = checker.unique_state_count();
    let what = format!("{NODES} holders, {copies} copies, one crash, without {without:?}");
    writeln!(std::io::stderr(), "model: {what}: {states} states").unwrap();
    assert!(checker.discovery("a copy is dropped").is_some(), "nothing is ever dropped");
    (states, checker.discovery("as many copies as promised").is_none())
}

#[test]
fn no_schedule_of_three_holders_goes_below_the_promised_copies() {
    for copies in [1, 2] {
        let (states, holds) = walk(copies, Without::Nothing);
        assert!(holds, "fewer than {copies} copies");
        assert!(states > 10_000, "only {states} states were walked");
    }
}

#[test]
fn a_declared_holder_that_confirms_would_lose_copies() {
    assert!(!walk(1, Without::DeclaredStaysSilent).1);
}

#[test]
fn confirmations_of_an_earlier_round_would_lose_copies() {
    assert!(!walk(1, Without::FreshRounds).1);
}

#[test]
fn confirmations_that_were_true_before_the_bytes_were_checked_would_lose_copies() {
    assert!(!walk(1, Without::LastLook).1);
}

fn places() -> Vec<Place> {
    [("ams", "a"), ("fra", "a"), ("iad", "b"), ("nrt", "c")]
        .map(|(code, domain)| Place {
            region: region(code),
            failure_domain: domain.to_owned(),
            reachable: true,
        })
        .into()
}

#[test]
fn copies_go_to_other_failure_domains_first_and_leave_shared_ones_first() {
    for n in 0..50_u8 {
        let object = [n];
        let one = BTreeSet::from([region("fra")]);
        let next = next_holder(&object, &one, 3, &places()).unwrap();
        assert_ne!(next, region("ams"));
        let all: BTreeSet<RegionId> = places().iter().map(|p| p.region).collect();
        assert_eq!(next_holder(&object, &all, 3, &places()), None);
        let gone = surplus_holder(&object, &all, 3, region("fra"), &places());
        assert_eq!(gone, Some(region("ams")));
        assert_eq!(surplus_holder(&object, &one, 1, region("fra"), &places()), None);
        let heir = successor(&object, &all, region("fra"), &|r| r != region("iad")).unwrap();
        assert!(heir != region("fra") && heir != region("iad"));
    }
}

#[test]
fn who_cannot_be_reached_is_not_asked() {
    let mut places = places();
    for place in &mut places {
        place.reachable = place.region == region("ams");
    }
    let one = BTreeSet::from([region("fra")]);
    assert_eq!(next_holder(b"k", &one, 3, &places), Some(region("ams")));
}

#[test]
fn rendezvous_spreads_objects_evenly() {
    let mut first: BTreeMap<RegionId, u32> = BTreeMap::new();
    for n in 0..4000_u32 {
        let order = rendezvous(&n.to_be_bytes(), places().iter().map(|p| p.region));
        *first.entry(order[0]).or_default() += 1;
    }
    assert!(first.values().all(|count| (800..1200).contains(count)), "{first:?}");
}
