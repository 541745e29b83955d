//! An operator who changes the cluster in the storm: regions are added until there are five voters,
//! and drained until there are three; or one loses its disk, or comes back with an old copy of it, and
//! is replaced. What was promised of writes, reads and orders is looked at as always.

use std::collections::VecDeque;

use godwit::cluster::{Members, NotChanged};
use godwit::types::members::MemberState;

use super::disk::SimDisk;
use super::*;

/// An answer that does not come in this time came from a node that died.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Everything is told to peers in this time, when nothing is in the way.
const TOLD_WITHIN: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Storm without a change.
    Wait(u64),
    Add(RegionId),
    UntilActive(RegionId),
    UntilVoters(usize),
    Drain(RegionId),
    Remove(RegionId),
    Copy(RegionId),
    PutBack(RegionId),
    UntilOutdated(RegionId),
    Lose(RegionId),
    RemoveLost(RegionId),
}

type Answer = Arc<Mutex<Option<Result<Members, NotChanged>>>>;

/// What is left to be done, one thing after the other.
pub(crate) struct Operator {
    plan: VecDeque<Step>,
    asked: Option<(Answer, Instant)>,
    /// And how far the log was in it.
    copy: Option<(SimDisk, (u64, u64))>,
    /// What was refused last, for people.
    why: Option<NotChanged>,
    /// A disk was lost: for a while fewer have what was promised.
    pub(crate) is_lossy: bool,
    /// Steps of the plan, for the report.
    pub(crate) changes: u64,
}

impl Operator {
    /// One run of 32 grows and shrinks, one loses a disk: they take three times as long as others.
    /// `GODWIT_MEMBERS=1` has every second one do each.
    pub(crate) fn of(world: &World, seed: u64) -> Self {
        let (ams, syd) = (at("ams"), at("syd"));
        let waiting = |plan: &mut VecDeque<Step>| {
            plan.push_back(Step::Wait(1 + world.rng.below(20)));
        };
        let mut plan = VecDeque::new();
        let every = if std::env::var_os("GODWIT_MEMBERS").is_some() { 2 } else { 32 };
        if seed.is_multiple_of(every) {
            plan.extend([Step::Add(ams), Step::UntilActive(ams)]);
            plan.extend([Step::Add(syd), Step::UntilVoters(5)]);
            waiting(&mut plan);
            let mut left = world.regions();
            left.extend([ams, syd]);
            for _ in 0..2 {
                let at = world.rng.below(left.len() as u64);
                let leaver = left.remove(usize::try_from(at).unwrap());
                plan.extend([Step::Drain(leaver), Step::Remove(leaver)]);
            }
            plan.push_back(Step::UntilVoters(3));
        }
        if seed % every == 1 {
            let lost = world.pick();
            // Of three regions with one lost, one that is started again has nobody to confirm it.
            plan.extend([Step::Add(ams), Step::UntilActive(ams)]);
            waiting(&mut plan);
            if world.rng.one_in(3) {
                plan.push_back(Step::Lose(lost));
            } else {
                plan.push_back(Step::Copy(lost));
                waiting(&mut plan);
                plan.extend([Step::PutBack(lost), Step::UntilOutdated(lost), Step::Lose(lost)]);
            }
            waiting(&mut plan);
            plan.extend([Step::RemoveLost(lost), Step::UntilVoters(3), Step::Add(lost)]);
            plan.push_back(Step::UntilActive(lost));
        }
        let (asked, copy, why, changes) = (None, None, None, plan.len() as u64);
        Self { plan, asked, copy, why, is_lossy: false, changes }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.plan.is_empty()
    }

    /// Goes on with the plan as far as it goes now.
    pub(crate) async fn go_on(&mut self, world: &mut World, ledger: &Shared) {
        let Some(step) = self.plan.front().copied() else { return };
        if self.try_step(world, ledger, step).await {
            self.plan.pop_front();
            self.asked = None;
        }
    }

    /// Nothing is in the way any more: the rest of the plan.
    pub(crate) async fn finish(&mut self, world: &mut World, ledger: &Shared) {
        let deadline = Instant::now() + Duration::from_secs(1200);
        while !self.is_done() {
            start_all(world).await;
            self.go_on(world, ledger).await;
            let why = (&self.plan, &self.why);
            assert!(Instant::now() < deadline, "the members cannot be changed: {why:?}");
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn try_step(&mut self, world: &mut World, ledger: &Shared, step: Step) -> bool {
        match step {
            Step::Wait(0) => true,
            Step::Wait(steps) => {
                self.plan[0] = Step::Wait(steps - 1);
                false
            }
            Step::Add(region) => {
                let Some(members) = self.ask(world, step, region) else { return false };
                world.join(region, members).await;
                true
            }
            Step::UntilActive(region) => knows(world, region, |members, is_there| {
                let state = members.member(region).map(|member| member.state);
                is_there && state == Some(MemberState::Active)
            }),
            Step::UntilVoters(count) => world.regions().into_iter().all(|region| {
                world.is_held(region)
                    || world.is_up(region) && {
                        let members = world.cluster(region).members();
                        members.voters().len() == count && !members.electorate().is_joint()
                    }
            }),
            Step::Drain(region) => self.ask(world, step, region).is_some(),
            Step::Remove(region) => {
                let removed = self.ask(world, step, region).is_some();
                if removed {
                    world.retire(region);
                }
                removed
            }
            Step::Copy(region) => {
                if world.is_up(region) {
                    let end = world.cluster(region).store().log_end();
                    self.copy = Some((world.disk(region).copy(), end));
                }
                self.copy.is_some()
            }
            Step::PutBack(region) => self.put_back(world, ledger, region).await,
            Step::UntilOutdated(region) => {
                world.is_up(region) && world.cluster(region).outdated().is_some()
            }
            Step::Lose(region) => {
                world.crash(region);
                world.hold(region, true);
                ledger.lock().unwrap().forget(region);
                self.is_lossy = true;
                true
            }
            Step::RemoveLost(region) => self.ask(world, step, region).is_some(),
        }
    }

    /// The disk becomes what it was, after all of its life since was told to peers.
    async fn put_back(&mut self, world: &mut World, ledger: &Shared, region: RegionId) -> bool {
        world.net.heal();
        for region in world.regions() {
            world.pause(region, Duration::ZERO);
            world.slow_disk(region, 1);
            world.mend_disk(region);
        }
        start_all(world).await;
        let (copy, end) = self.copy.clone().expect("a copy was made");
        // A copy in which nothing is missing is no old one.
        put(world.engine(region), ledger.clone(), KEYS[0], 100).await;
        sleep(TOLD_WITHIN).await;
        let cluster = world.cluster(region);
        if cluster.registers_waiting().is_some() || cluster.store().log_end() <= end {
            return false;
        }
        sleep(TOLD_WITHIN).await;
        world.crash(region);
        ledger.lock().unwrap().forget(region);
        self.is_lossy = true;
        world.disk(region).become_copy_of(&copy);
        world.boot(region).await;
        true
    }

    /// Asks any node but the subject's; what was decided, when there is an answer.
    fn ask(&mut self, world: &World, step: Step, subject: RegionId) -> Option<Members> {
        if let Some((answer, since)) = &self.asked {
            let answered = answer.lock().unwrap().take();
            match answered {
                Some(Ok(members)) => return Some(members),
                Some(Err(why)) => self.why = Some(why),
                None if since.elapsed() < ANSWER_WITHIN => return None,
                None => {}
            }
            self.asked = None;
        }
        let regions = world.regions();
        let asked = regions.into_iter().filter(|region| *region != subject && world.is_up(*region));
        let asked: Vec<RegionId> = asked.collect();
        let pick = usize::try_from(world.rng.below(asked.len().max(1) as u64)).unwrap();
        let region = *asked.get(pick)?;
        let (cluster, answer) = (world.cluster(region), Answer::default());
        self.asked = Some((answer.clone(), Instant::now()));
        world.run_on(region, async move {
            let known = cluster.members();
            let changed = match step {
                Step::Add(region) => cluster.add_region(world::info(region), None).await,
                Step::Drain(region) => cluster.drain_region(region).await,
                Step::Remove(_) | Step::RemoveLost(_) if !known.contains(subject) => {
                    Ok((*known).clone())
                }
                Step::Remove(region) => cluster.remove_region(region, false).await,
                Step::RemoveLost(region) => cluster.remove_region(region, true).await,
                other => panic!("{other:?} is asked of nobody"),
            };
            *answer.lock().unwrap() = Some(changed);
        });
        None
    }
}

fn at(code: &str) -> RegionId {
    code.parse().unwrap()
}

/// Whether it holds of the members that some other node knows, and the region's node is up.
fn knows(world: &World, region: RegionId, holds: impl Fn(&Members, bool) -> bool) -> bool {
    let regions = world.regions();
    let is_up = regions.contains(&region) && world.is_up(region);
    let mut others = regions.into_iter().filter(|other| *other != region && world.is_up(*other));
    others.any(|other| holds(&world.cluster(other).members(), is_up))
}
