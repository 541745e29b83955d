//! Every schedule of a small world for the drop rule; the order of places.

use super::*;

fn region(code: &str) -> RegionId {
    RegionId::parse(code).unwrap()
}

/// A message of a round: asked by, of, round.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    Ask { from: RegionId, to: RegionId, number: u64 },
    Yes { from: RegionId, to: RegionId, number: u64 },
}

/// Which rule is left out, to see that the walk finds the loss.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    DeclaredStaysSilent,
    FreshRounds,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    held: bool,
    /// Number of the open round and who confirmed it.
    round: Option<(u64, BTreeSet<RegionId>)>,
    /// Rounds that were ever begun; survives nothing but is never reused (the boot counter is in it).
    begun: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    nodes: BTreeMap<RegionId, Node>,
    /// A set: messages may be lost (never delivered), repeated and overtaken.
    wire: BTreeSet<Message>,
    crashes_left: u8,
}

/// The states after every possible next step. Uses [`Rounds`] for every decision.
fn steps(world: &World, copies: usize, without: Without) -> Vec<World> {
    let mut next = Vec::new();
    for (id, node) in &world.nodes {
        if node.held && node.round.is_none() && node.begun < 2 {
            let mut world = world.clone();
            let others: Vec<RegionId> =
                world.nodes.keys().copied().filter(|other| other != id).collect();
            let mut rounds: Rounds<()> = Rounds { open: BTreeMap::new(), last: node.begun };
            let number = rounds.declare((), copies);
            let node = world.nodes.get_mut(id).unwrap();
            (node.begun, node.round) = (number, Some((number, BTreeSet::new())));
            for to in others {
                world.wire.insert(Message::Ask { from: *id, to, number });
            }
            next.push(world);
        }
        if node.round.is_some() {
            let mut given_up = world.clone();
            given_up.nodes.get_mut(id).unwrap().round = None;
            next.push(given_up);
        }
        if world.crashes_left > 0 {
            let mut crashed = world.clone();
            crashed.crashes_left -= 1;
            crashed.nodes.get_mut(id).unwrap().round = None;
            next.push(crashed);
        }
    }
    for message in &world.wire {
        next.extend(deliver(world, message, copies, without));
    }
    next
}

fn rounds_of(node: &Node, copies: usize) -> Rounds<()> {
    let open = node.round.clone().map(|(number, confirmed)| {
        ((), Round { number, needed: copies, confirmed })
    });
    Rounds { open: open.into_iter().collect(), last: node.begun }
}

fn deliver(world: &World, message: &Message, copies: usize, without: Without) -> Option<World> {
    let mut world = world.clone();
    match message {
        Message::Ask { from, to, number } => {
            let node = &world.nodes[to];
            let says_yes = if without == Without::DeclaredStaysSilent {
                node.held
            } else {
                rounds_of(node, copies).confirms(&(), node.held)
            };
            says_yes.then(|| {
                world.wire.insert(Message::Yes { from: *to, to: *from, number: *number });
                world
            })
        }
        Message::Yes { from, to, number } => {
            let node = &world.nodes[to];
            let mut rounds = rounds_of(node, copies);
            let counted = match (without, &node.round) {
                (Without::FreshRounds, Some((current, _))) => *current,
                (Without::Nothing | Without::DeclaredStaysSilent | Without::FreshRounds, _) => *number,
            };
            let drops = rounds.confirmed(&(), counted, *from);
            let node = world.nodes.get_mut(to).unwrap();
            node.round = rounds.open.remove(&()).map(|r| (r.number, r.confirmed));
            if drops {
                (node.held, node.round) = (false, None);
            }
            Some(world)
        }
    }
}

/// Walks all states; the fewest copies that any of them has, and how many there are.
fn fewest_copies(copies: usize, without: Without) -> (usize, usize) {
    let fresh = Node { held: true, round: None, begun: 0 };
    let nodes = ["fra", "iad", "nrt"].map(|code| (region(code), fresh.clone()));
    let start = World { nodes: nodes.into(), wire: BTreeSet::new(), crashes_left: 1 };
    let mut seen = BTreeSet::from([start.clone()]);
    let mut queue = vec![start];
    let mut fewest = usize::MAX;
    while let Some(world) = queue.pop() {
        fewest = fewest.min(world.nodes.values().filter(|node| node.held).count());
        if fewest < copies && without != Without::Nothing {
            break;
        }
        for next in steps(&world, copies, without) {
            if seen.insert(next.clone()) {
                queue.push(next);
            }
        }
    }
    (fewest, seen.len())
}

#[test]
fn no_schedule_of_three_holders_goes_below_the_promised_copies() {
    for copies in [1, 2] {
        let (fewest, states) = fewest_copies(copies, Without::Nothing);
        assert!(fewest >= copies, "{fewest} of {copies} copies left");
        assert!(states > 10_000, "only {states} states were walked");
    }
}

#[test]
fn a_declared_holder_that_confirms_would_lose_copies() {
    let (fewest, _) = fewest_copies(1, Without::DeclaredStaysSilent);
    assert!(fewest < 1);
}

#[test]
fn confirmations_of_an_earlier_round_would_lose_copies() {
    let (fewest, _) = fewest_copies(1, Without::FreshRounds);
    assert!(fewest < 1);
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
