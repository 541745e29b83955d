//! Whether this node may answer as a voter: peers confirm that its disk did not go back in time.
//!
//! Invariant: a node that starts is no voter until as many peers as it takes have remembered,
//! durably, that its data directory was started again with no fewer counters than they knew. A
//! voter that forgot a promise breaks uniqueness. So many peers are asked that one of them remembers
//! the start before; and each hears from time to time how far this disk's log is, so that a copy of it
//! is told from a crash though nothing was started in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use crate::env::PeerError;
use crate::limits;
use crate::net::registers::{Counters, LogEnd, RegisterRequest, RegisterResponse};
use crate::store::{self, Table, Tx};
use crate::types::members::MemberState;
use crate::types::region::RegionId;

use super::Cluster;
use super::register::Registers;
use super::rules::Rule;

/// Whether this node may answer as a voter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Peers have not confirmed the counters yet.
    Waiting {
        confirmed: usize,
        needed: usize,
    },
    Serving,
    /// A peer knows larger counters: this disk lost promises.
    Outdated(Counters),
}

impl Standing {
    pub(super) fn why_not(&self) -> Option<String> {
        match self {
            Self::Serving => None,
            Self::Waiting { confirmed, needed } => Some(format!(
                "started, but {confirmed} of {needed} peers have confirmed its counters"
            )),
            Self::Outdated(_) => Some(
                "its data directory is not the one that promised: it must join as a new node"
                    .to_owned(),
            ),
        }
    }
}

impl Cluster {
    /// Why this node keeps no registers although it is a voter; for people.
    pub fn registers_waiting(&self) -> Option<String> {
        if !self.members().is_voter(self.region()) {
            return None;
        }
        self.outdated().or_else(|| self.inner.registers.acceptor.standing().why_not())
    }
}

/// What is to be done about a data directory that is an old copy.
pub(super) fn why_outdated(region: RegionId) -> String {
    format!(
        "the data directory of {region} is older than what its peers know, as an old copy is; it takes \
         no part any more. Stop this node; elsewhere run `godwit region remove {region} --lost` and \
         `godwit region add {region}`, then start it with that token and an empty data directory"
    )
}

impl Cluster {
    /// This data directory forgot what it promised. An old copy has what was deleted since as well; an
    /// empty one has nothing that it could give.
    pub(super) fn went_back(&self, peer: RegionId, known: Counters) {
        let acceptor = &self.inner.registers.acceptor;
        if known.incarnation != acceptor.counters.incarnation {
            tracing::error!(
                %peer, ?known, mine = ?acceptor.counters,
                "this data directory is a new one; this node keeps no registers"
            );
        } else if !self.inner.rolled_back.swap(true, Ordering::SeqCst) {
            let (mine, why) = (acceptor.counters, why_outdated(self.region()));
            tracing::error!(%peer, ?known, ?mine, "{why}");
        }
        acceptor.standing.send_replace(Standing::Outdated(known));
    }

    /// Why this voter's word counts no more: what it promised is not in its data directory.
    pub(super) fn forgot(&self) -> Option<String> {
        let standing = self.inner.registers.acceptor.standing();
        standing.why_not().filter(|_| matches!(standing, Standing::Outdated(_)))
    }

    /// Why this node takes no part: its data directory is an old copy.
    pub fn outdated(&self) -> Option<String> {
        self.inner.rolled_back.load(Ordering::SeqCst).then(|| why_outdated(self.region()))
    }
}

/// What a peer has heard of this node: changes of registers, and how far all logs were applied.
pub(super) type Told = BTreeMap<RegionId, (u64, u64)>;

impl Registers {
    /// Remembers a peer's counters and how far its disk was, durably, unless it knew more.
    pub(super) async fn confirm_for(
        &self,
        peer: RegionId,
        counters: Counters,
        reached: Option<(LogEnd, LogEnd)>,
    ) -> Result<RegisterResponse, store::Error> {
        self.host()
            .store()
            .write(move |tx| {
                let key = counters_key(peer);
                let known: Option<Counters> = tx.get(Table::Meta, &key)?;
                let end: Option<LogEnd> = tx.get(Table::Meta, &reached_key(peer))?;
                if let Some(known) = known {
                    // What was told in the same start may come late.
                    let goes_back = |(opened, _)| known != counters && Some(opened) < end;
                    if !counters.follows(&known) || reached.is_some_and(goes_back) {
                        return Ok(RegisterResponse::Outdated(known));
                    }
                }
                if known != Some(counters) {
                    tx.put(Table::Meta, &key, &counters)?;
                }
                if let Some((_, now)) = reached.filter(|(_, now)| Some(*now) > end) {
                    tx.put(Table::Meta, &reached_key(peer), &now)?;
                }
                Ok(RegisterResponse::Confirmed)
            })
            .await
    }

    /// Tells a peer how often this node was started and how far its disk is. True: it follows from
    /// what the peer knew, and the peer remembers it.
    async fn is_confirmed_by(&self, peer: RegionId) -> bool {
        let (host, acceptor) = (self.host(), &self.state().acceptor);
        let (end, counters) = (host.store().log_end(), acceptor.counters);
        let now = LogEnd(end.0, end.1);
        let request = RegisterRequest::Reached { counters, opened: acceptor.opened, now };
        let mut answer = self.call(peer, request).await;
        if let Err(PeerError::Refused(why)) = &answer {
            // A peer of an older version remembers starts alone.
            tracing::debug!(%peer, why, "does not hear how far this disk is");
            answer = self.call(peer, RegisterRequest::Confirm(counters)).await;
        }
        match answer {
            Ok(RegisterResponse::Confirmed) => return true,
            Ok(RegisterResponse::Outdated(known)) => host.went_back(peer, known),
            Ok(other) => tracing::warn!(%peer, ?other, "unexpected answer to counters"),
            Err(why) => tracing::debug!(%peer, %why, "counters not confirmed"),
        }
        false
    }

    pub(super) async fn get_confirmed(&self) {
        let host = self.host();
        let mut confirmed: BTreeSet<RegionId> = BTreeSet::new();
        let mut waited = limits::REGISTER_PAUSE_MIN;
        loop {
            // Anew each time: a region that is removed is not waited for, and one that joins does
            // not count.
            let members = host.members();
            let most = host.keeps(Rule::MostConfirm);
            let needed = if most { members.confirmations() } else { 1 };
            let settled = |peer: RegionId| {
                members.member(peer).is_some_and(|m| m.state != MemberState::Joining)
            };
            confirmed.retain(|peer| settled(*peer));
            for peer in members.by_distance(host.region(), &**host.peers()) {
                if confirmed.len() >= needed {
                    break;
                }
                if settled(peer) && !confirmed.contains(&peer) && self.is_confirmed_by(peer).await {
                    confirmed.insert(peer);
                }
                if matches!(self.state().acceptor.standing(), Standing::Outdated(_)) {
                    return;
                }
            }
            let confirmed = confirmed.len();
            if confirmed >= needed {
                self.stand(Standing::Serving);
                return;
            }
            self.stand(Standing::Waiting { confirmed, needed });
            host.env().sleep(waited).await;
            waited = (waited * 2).min(limits::REGISTER_PAUSE_MAX);
        }
    }

    /// What is found out meanwhile stays.
    fn stand(&self, standing: Standing) {
        self.state().acceptor.standing.send_if_modified(|now| {
            let changes = !matches!(now, Standing::Outdated(_));
            if changes {
                *now = standing;
            }
            changes
        });
    }

    /// Tells every member that has not heard it: who is asked at the next start may be anyone.
    pub(super) async fn tell_reached(&self, told: &mut Told) -> Result<(), store::Error> {
        let (host, acceptor) = (self.host(), &self.state().acceptor);
        let applied = host.heads()?.into_iter().map(|head| head.applied).sum();
        let now = (acceptor.changes.load(Ordering::Relaxed), applied);
        let others = host.others();
        let due = others.iter().map(|info| info.id).filter(|id| told.get(id) != Some(&now));
        let due: Vec<RegionId> = due.filter(|id| host.is_connected(*id)).collect();
        let asked =
            due.iter().map(|peer| async { self.is_confirmed_by(*peer).await.then_some(*peer) });
        let heard = join_all(asked).await;
        told.extend(heard.into_iter().flatten().map(|peer| (peer, now)));
        Ok(())
    }
}

/// How far a peer's disk was when it last told.
fn reached_key(peer: RegionId) -> Vec<u8> {
    [b"reached/", peer.to_string().as_bytes()].concat()
}

fn counters_key(peer: RegionId) -> Vec<u8> {
    [b"counters/", peer.to_string().as_bytes()].concat()
}

/// A region of this code that comes is another one.
pub(super) fn forget_counters(tx: &mut Tx<'_>, peer: RegionId) -> Result<(), store::Error> {
    tx.delete(Table::Meta, &reached_key(peer))?;
    tx.delete(Table::Meta, &counters_key(peer))
}
