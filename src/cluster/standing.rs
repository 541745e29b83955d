//! Whether this node may answer as a voter: peers confirm that its disk did not go back in time.
//!
//! Invariant: a node that starts is no voter until as many peers as it takes have remembered,
//! durably, that its data directory was started again with no fewer counters than they knew. A
//! voter that forgot a promise breaks uniqueness.

use crate::limits;
use crate::net::registers::{Counters, RegisterRequest, RegisterResponse};
use crate::store::{self, Table, Tx};
use crate::types::region::RegionId;

use super::Cluster;
use super::register::Registers;

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
            Self::Outdated(_) => {
                Some("its disk went back in time: it must rejoin as a new node".to_owned())
            }
        }
    }
}

impl Cluster {
    /// Why this node keeps no registers although it is a voter; for people.
    pub fn registers_waiting(&self) -> Option<String> {
        if !self.members().is_voter(self.region()) {
            return None;
        }
        self.inner.registers.acceptor.standing().why_not()
    }
}

impl Registers {
    /// Remembers a peer's counters, durably, unless it knew larger ones.
    pub(super) async fn confirm_for(
        &self,
        peer: RegionId,
        counters: Counters,
    ) -> Result<RegisterResponse, store::Error> {
        let key = counters_key(peer);
        self.host()
            .store()
            .write(move |tx| {
                let known: Option<Counters> = tx.get(Table::Meta, &key)?;
                match known {
                    Some(known) if !counters.follows(&known) => {
                        return Ok(RegisterResponse::Outdated(known));
                    }
                    Some(known) if known == counters => {}
                    Some(_) | None => tx.put(Table::Meta, &key, &counters)?,
                }
                Ok(RegisterResponse::Confirmed)
            })
            .await
    }

    pub(super) async fn get_confirmed(&self) {
        let host = self.host();
        let mut confirmed: Vec<RegionId> = Vec::new();
        let mut waited = limits::REGISTER_PAUSE_MIN;
        loop {
            // Anew each time: a region that is removed is not waited for.
            let needed = host.members().confirmations();
            for peer in host.members().by_distance(host.region(), &**host.peers()) {
                if confirmed.len() >= needed {
                    break;
                }
                if confirmed.contains(&peer) {
                    continue;
                }
                let request = RegisterRequest::Confirm(self.state().acceptor.counters);
                match self.call(peer, request).await {
                    Ok(RegisterResponse::Confirmed) => confirmed.push(peer),
                    Ok(RegisterResponse::Outdated(known)) => {
                        tracing::error!(
                            %peer, ?known, mine = ?self.state().acceptor.counters,
                            "this disk went back in time; this node keeps no registers"
                        );
                        self.state().acceptor.standing.send_replace(Standing::Outdated(known));
                        return;
                    }
                    Ok(other) => tracing::warn!(%peer, ?other, "unexpected answer to counters"),
                    Err(why) => tracing::debug!(%peer, %why, "counters not confirmed"),
                }
            }
            if confirmed.len() >= needed {
                self.state().acceptor.standing.send_replace(Standing::Serving);
                return;
            }
            let confirmed = confirmed.len();
            self.state().acceptor.standing.send_replace(Standing::Waiting { confirmed, needed });
            host.env().sleep(waited).await;
            waited = (waited * 2).min(limits::REGISTER_PAUSE_MAX);
        }
    }
}

fn counters_key(peer: RegionId) -> Vec<u8> {
    [b"counters/", peer.to_string().as_bytes()].concat()
}

/// A region of this code that comes is another one.
pub(super) fn forget_counters(tx: &mut Tx<'_>, peer: RegionId) -> Result<(), store::Error> {
    tx.delete(Table::Meta, &counters_key(peer))
}
