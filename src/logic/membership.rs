//! Who seems to be alive, and hints that travel with it: SWIM by the `foca` package, as a value.
//!
//! Driving contract: give every datagram to [`Membership::handle_datagram`] and call
//! [`Membership::handle_timeout`] when [`Membership::next_timeout`] has come; after each call, send
//! and act on what [`Membership::take_output`] returns. Times are monotonic and never go back.
//!
//! Invariant: one seed, one sequence of calls, one output. What this says is a hint for routing and
//! for the timing of repair; no promise rests on it (the members register says who is a member).

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU8, NonZeroUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use foca::{
    AccumulatingRuntime, BroadcastHandler, Config, Foca, Identity, Invalidates, PeriodicParams,
    PostcardCodec, State, Timer,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::types::id::{BucketId, Incarnation};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

/// Regions that are not alive are called this often.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(2);

/// Log heads and bucket hints remembered, so that old ones are not passed on again.
const NEWS_MAX: usize = 4096;

/// A region's node in one of its lives. Address-free: peers are reached by their region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub region: RegionId,
    pub incarnation: Incarnation,
    /// Starts of this data directory.
    pub boot: u64,
    /// Times that this start was declared down and came back.
    pub renewal: u32,
}

impl Identity for Node {
    type Addr = RegionId;

    fn renew(&self) -> Option<Self> {
        Some(Self { renewal: self.renewal.wrapping_add(1), ..self.clone() })
    }

    fn addr(&self) -> RegionId {
        self.region
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        let rank = |n: &Self| (n.incarnation, n.boot, n.renewal);
        rank(self) > rank(other)
    }
}

/// What others say of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    Alive,
    /// Did not answer; has some seconds to object.
    Suspect,
    /// Does not answer, or was never heard.
    Down,
}

/// News that spread by gossip, best effort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// Somewhere, this log reaches to `seq`.
    Head { origin: RegionId, incarnation: Incarnation, seq: u64 },
    /// The bucket's settings changed at `stamp`.
    Bucket { id: BucketId, stamp: Stamp },
}

/// What news are about: later news of one subject replace earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Bucket(BucketId),
    Head(RegionId, Incarnation),
}

impl News {
    pub fn subject(&self) -> Subject {
        match self {
            Self::Bucket { id, .. } => Subject::Bucket(*id),
            Self::Head { origin, incarnation, .. } => Subject::Head(*origin, *incarnation),
        }
    }

    /// Larger is newer.
    fn rank(&self) -> (u64, u16) {
        match self {
            Self::Bucket { stamp, .. } => (stamp.hlc.0, stamp.region.to_u16()),
            Self::Head { seq, .. } => (*seq, 0),
        }
    }
}

impl Invalidates for News {
    fn invalidates(&self, other: &Self) -> bool {
        self.subject() == other.subject() && self.rank() >= other.rank()
    }
}

/// Something that the node should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Liveness { region: RegionId, is: Liveness },
    News(News),
}

/// What to do after a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub datagrams: Vec<(RegionId, Bytes)>,
    pub events: Vec<Event>,
}

/// A datagram that could not be taken in. Can happen in normal running (a peer of another version);
/// state is not affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected(pub String);

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Rejected {}

/// Remembers news, so that only fresh ones go on.
#[derive(Default)]
struct Board {
    known: BTreeMap<Subject, (u64, u16)>,
    fresh: Vec<News>,
}

/// foca owns the handler, so the board is shared with it; calls never overlap.
#[derive(Clone, Default)]
struct Handler(Arc<Mutex<Board>>);

impl BroadcastHandler<Node> for Handler {
    type Key = News;
    type Error = postcard::Error;

    fn receive_item(
        &mut self,
        data: &[u8],
        sender: Option<&Node>,
    ) -> Result<Option<News>, postcard::Error> {
        let news: News = postcard::from_bytes(data)?;
        let mut board = self.0.lock().expect("no holder of this lock panics");
        let (subject, rank) = (news.subject(), news.rank());
        if board.known.get(&subject).is_some_and(|known| *known >= rank) {
            return Ok(None);
        }
        if board.known.len() >= NEWS_MAX && !board.known.contains_key(&subject) {
            // Forgetting only means that an old hint may be passed on once more.
            board.known.pop_first();
        }
        board.known.insert(subject, rank);
        if sender.is_some() {
            board.fresh.push(news);
        }
        Ok(Some(news))
    }
}

/// One node's view of who is alive.
pub struct Membership {
    foca: Foca<Node, PostcardCodec, StdRng, Handler>,
    runtime: AccumulatingRuntime<Node>,
    board: Handler,
    /// Not cancelled: foca recognises stale ones. Due together, they run in foca's order.
    timers: Vec<(Duration, Timer<Node>)>,
    others: Vec<RegionId>,
    announce_at: Duration,
    liveness: BTreeMap<RegionId, Liveness>,
    output: Output,
}

fn config() -> Config {
    let count = |n| NonZeroUsize::new(n).expect("a positive constant");
    let every = |frequency, n| Some(PeriodicParams { frequency, num_members: count(n) });
    Config {
        probe_period: Duration::from_secs(1),
        // Above the longest round trip on Earth, some 350 ms.
        probe_rtt: Duration::from_millis(500),
        num_indirect_probes: count(3),
        max_transmissions: NonZeroU8::new(8).expect("a positive constant"),
        suspect_to_down_after: Duration::from_secs(8),
        remove_down_after: Some(Duration::from_secs(48 * 3600)),
        max_packet_size: count(limits::DATAGRAM_BYTES_MAX),
        notify_down_members: true,
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: every(Duration::from_millis(500), 3),
    }
}

impl Membership {
    /// `others` are the members to look for; `seed` decides every random choice.
    pub fn new(node: Node, others: Vec<RegionId>, seed: [u8; 32], now: Duration) -> Self {
        assert!(!others.contains(&node.region), "others are other regions");
        let board = Handler::default();
        let rng = StdRng::from_seed(seed);
        let foca = Foca::with_custom_broadcast(node, config(), rng, PostcardCodec, board.clone());
        Self {
            foca,
            runtime: AccumulatingRuntime::new(),
            board,
            timers: Vec::new(),
            liveness: others.iter().map(|r| (*r, Liveness::Down)).collect(),
            others,
            announce_at: now,
            output: Output::default(),
        }
    }

    /// Other members to look for, in place of those before.
    pub fn set_others(&mut self, others: Vec<RegionId>) {
        self.liveness.retain(|region, _| others.contains(region));
        for region in &others {
            self.liveness.entry(*region).or_insert(Liveness::Down);
        }
        self.others = others;
    }

    pub fn liveness(&self, region: RegionId) -> Liveness {
        self.liveness.get(&region).copied().unwrap_or(Liveness::Down)
    }

    /// Takes in one datagram.
    pub fn handle_datagram(&mut self, now: Duration, data: &[u8]) -> Result<(), Rejected> {
        let result = self.foca.handle_data(data, &mut self.runtime);
        self.collect(now);
        result.map_err(|e| Rejected(e.to_string()))
    }

    /// When to call [`Membership::handle_timeout`].
    pub fn next_timeout(&self) -> Duration {
        self.timers
            .iter()
            .map(|(due, _)| *due)
            .min()
            .map_or(self.announce_at, |due| due.min(self.announce_at))
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Duration) -> Result<(), Rejected> {
        let mut due: Vec<_> = self.timers.extract_if(.., |(due, _)| *due <= now).collect();
        due.sort();
        let mut result = Ok(());
        for (_, timer) in due {
            if let Err(e) = self.foca.handle_timer(timer, &mut self.runtime) {
                result = Err(Rejected(e.to_string()));
            }
        }
        if self.announce_at <= now {
            self.announce_at = now + ANNOUNCE_EVERY;
            self.announce();
        }
        self.collect(now);
        result
    }

    /// Tells everyone, when it is news.
    pub fn spread(&mut self, now: Duration, news: News) {
        let bytes = postcard::to_stdvec(&news).expect("news are plain data");
        // It is small and decodes, so only old news is left to be refused.
        let added = self.foca.add_broadcast(&bytes);
        assert!(added.is_ok(), "own news decodes and fits");
        self.collect(now);
    }

    /// What the calls so far ask for.
    pub fn take_output(&mut self) -> Output {
        std::mem::take(&mut self.output)
    }

    fn announce(&mut self) {
        for region in self.others.clone() {
            if self.liveness(region) == Liveness::Alive {
                continue;
            }
            // Its lives are unknown; an announcement is for any of them.
            let any = Node { region, incarnation: Incarnation(0), boot: 0, renewal: 0 };
            let sent = self.foca.announce(any, &mut self.runtime);
            assert!(sent.is_ok(), "an announcement fits into a datagram");
        }
    }

    fn collect(&mut self, now: Duration) {
        while let Some((to, data)) = self.runtime.to_send() {
            assert!(data.len() <= limits::DATAGRAM_BYTES_MAX, "foca keeps to the packet size");
            self.output.datagrams.push((to.region, data));
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.timers.push((now + after, timer));
        }
        // Liveness is compared below; it also shows suspicion, which is not notified.
        while self.runtime.to_notify().is_some() {}
        self.compare();
        let mut board = self.board.0.lock().expect("no holder of this lock panics");
        self.output.events.extend(board.fresh.drain(..).map(Event::News));
    }

    fn compare(&mut self) {
        let mut now: BTreeMap<RegionId, Liveness> =
            self.others.iter().map(|r| (*r, Liveness::Down)).collect();
        for member in self.foca.iter_membership_state() {
            let is = match member.state() {
                State::Alive => Liveness::Alive,
                State::Suspect => Liveness::Suspect,
                State::Down => Liveness::Down,
            };
            if self.others.contains(&member.id().region) {
                now.insert(member.id().region, is);
            }
        }
        for (region, is) in &now {
            if self.liveness.get(region) != Some(is) {
                self.output.events.push(Event::Liveness { region: *region, is: *is });
            }
        }
        self.liveness = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: [&str; 5] = ["ams", "fra", "iad", "nrt", "syd"];

    struct World {
        now: Duration,
        nodes: Vec<Membership>,
        /// (arrives at, from, to, data), 80 ms one way.
        wire: Vec<(Duration, usize, usize, Bytes)>,
        cut: Vec<usize>,
        heard: Vec<Vec<Event>>,
        trace: Vec<(Duration, usize, usize, usize)>,
    }

    fn region(at: usize) -> RegionId {
        CODES[at].parse().unwrap()
    }

    fn membership(at: usize, count: usize, boot: u64, now: Duration) -> Membership {
        let node = Node { region: region(at), incarnation: Incarnation(1), boot, renewal: 0 };
        let others = (0..count).filter(|o| *o != at).map(region).collect();
        Membership::new(node, others, [u8::try_from(at).unwrap(); 32], now)
    }

    impl World {
        fn new(count: usize) -> Self {
            Self {
                now: Duration::ZERO,
                nodes: (0..count).map(|at| membership(at, count, 1, Duration::ZERO)).collect(),
                wire: Vec::new(),
                cut: Vec::new(),
                heard: vec![Vec::new(); count],
                trace: Vec::new(),
            }
        }

        fn run(&mut self, span: Duration) {
            let end = self.now + span;
            while self.now < end {
                self.now += Duration::from_millis(10);
                let now = self.now;
                let arrived: Vec<_> = self.wire.extract_if(.., |(at, ..)| *at <= now).collect();
                for (_, from, to, data) in arrived {
                    if !self.cut.contains(&from) && !self.cut.contains(&to) {
                        self.nodes[to].handle_datagram(now, &data).unwrap();
                    }
                }
                for at in 0..self.nodes.len() {
                    if self.nodes[at].next_timeout() <= now {
                        self.nodes[at].handle_timeout(now).unwrap();
                    }
                    self.drain(at);
                }
            }
        }

        fn drain(&mut self, at: usize) {
            let output = self.nodes[at].take_output();
            self.heard[at].extend(output.events);
            for (to, data) in output.datagrams {
                let to = CODES.iter().position(|c| *c == to.to_string()).unwrap();
                self.trace.push((self.now, at, to, data.len()));
                self.wire.push((self.now + Duration::from_millis(80), at, to, data));
            }
        }

        fn sees(&self, at: usize, of: usize) -> Liveness {
            self.nodes[at].liveness(region(of))
        }
    }

    #[test]
    fn nodes_find_each_other_and_notice_one_that_is_cut_off_and_comes_back() {
        let mut world = World::new(5);
        world.run(Duration::from_secs(10));
        for (a, b) in (0..5).flat_map(|a| (0..5).map(move |b| (a, b))).filter(|(a, b)| a != b) {
            assert_eq!(world.sees(a, b), Liveness::Alive, "{a} of {b}");
        }
        world.cut = vec![4];
        world.run(Duration::from_secs(25));
        assert!((0..4).all(|a| world.sees(a, 4) == Liveness::Down));
        assert!(
            world.heard[0].contains(&Event::Liveness { region: region(4), is: Liveness::Suspect })
        );
        world.cut.clear();
        world.run(Duration::from_secs(15));
        assert!((0..4).all(|a| world.sees(a, 4) == Liveness::Alive));
        assert!((0..4).all(|b| world.sees(4, b) == Liveness::Alive));
    }

    #[test]
    fn a_restarted_node_is_alive_again_at_once() {
        let mut world = World::new(3);
        world.run(Duration::from_secs(10));
        world.nodes[1] = membership(1, 3, 2, world.now);
        world.run(Duration::from_secs(5));
        for (a, b) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            assert_eq!(world.sees(a, b), Liveness::Alive, "{a} of {b}");
        }
    }

    #[test]
    fn news_reach_everyone_once_and_old_ones_go_nowhere() {
        let mut world = World::new(5);
        world.run(Duration::from_secs(5));
        let head = |seq| News::Head { origin: region(0), incarnation: Incarnation(1), seq };
        let now = world.now;
        world.nodes[0].spread(now, head(7));
        world.run(Duration::from_secs(10));
        let now = world.now;
        world.nodes[1].spread(now, head(6));
        world.run(Duration::from_secs(10));
        for at in 1..5 {
            let news: Vec<_> =
                world.heard[at].iter().filter(|e| matches!(e, Event::News(_))).collect();
            assert_eq!(news, [&Event::News(head(7))], "{at}");
        }
    }

    #[test]
    fn one_seed_gives_one_trace_and_garbage_is_refused() {
        let trace = || {
            let mut world = World::new(4);
            world.run(Duration::from_secs(20));
            world.trace
        };
        assert_eq!(trace(), trace());
        let mut node = membership(0, 3, 1, Duration::ZERO);
        assert!(node.handle_datagram(Duration::ZERO, &[0xff; 40]).is_err());
    }
}
