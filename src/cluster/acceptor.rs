//! This node as a voter: answers questions about registers, and looks after what it accepted.
//!
//! Invariant: an answer leaves after what it promises is on stable storage; no answer leaves before
//! peers have confirmed that this disk did not go back in time (a voter that forgot a promise
//! breaks uniqueness). A value that was accepted and of which nothing more is heard is brought to
//! its end.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use crate::limits;
use crate::logic::register::Answer;
use crate::logic::register::Ask;
use crate::logic::register::acceptor::Cell;
use crate::net::registers::{Counters, RegisterRequest, RegisterResponse};
use crate::store::{self, Table};
use crate::types::bucket::NameState;
use crate::types::name::BucketName;
use crate::types::record::RecordId;
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::names::{NameAge, name_age};
use super::register::{Registers, name_row, register_key};

/// Registers in one page of the first walk.
const PAGE: usize = 256;

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

/// The voter's own memory; registers are in the store.
pub(super) struct Acceptor {
    counters: Counters,
    standing: watch::Sender<Standing>,
    /// Names whose accepted value is not known to be chosen, or that are being deleted, since when.
    open: Mutex<BTreeMap<BucketName, Duration>>,
}

impl Acceptor {
    pub(super) fn new(counters: Counters) -> Self {
        let standing = Standing::Waiting { confirmed: 0, needed: 0 };
        Self { counters, standing: watch::Sender::new(standing), open: Mutex::default() }
    }

    /// Starts of this data directory.
    pub(super) fn boot(&self) -> u64 {
        self.counters.boot
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<BucketName, Duration>> {
        self.open.lock().expect("no holder of this lock panics")
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

impl Standing {
    fn why_not(&self) -> Option<String> {
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

impl Registers {
    /// Answers a peer's question, or this node's own.
    pub(super) async fn answer(
        &self,
        from: RegionId,
        request: RegisterRequest,
    ) -> Result<RegisterResponse, store::Error> {
        match request {
            RegisterRequest::Name { epoch, voters, name, ask } => {
                match self.may_answer(epoch, &voters, &ask) {
                    Ok(()) => self.answer_name(name, ask).await,
                    Err(why) => Ok(RegisterResponse::Declined(why)),
                }
            }
            RegisterRequest::Confirm(counters) => self.confirm_for(from, counters).await,
            RegisterRequest::Close { name, bucket, stamp } => {
                let live = self.close(name, bucket, stamp).await?;
                Ok(RegisterResponse::Closed { live })
            }
        }
    }

    async fn answer_name(
        &self,
        name: BucketName,
        ask: Ask<NameState>,
    ) -> Result<RegisterResponse, store::Error> {
        let (key, id) = (register_key(&name), RecordId::Name(name.clone()));
        if let Ask::Query = ask {
            let view = self.host().store().read()?;
            let mut cell: Cell<NameState> = view.get(Table::Register, &key)?.unwrap_or_default();
            let row = name_row(view.record(&id)?);
            return Ok(RegisterResponse::Name(Box::new(cell.handle(&ask, row).answer)));
        }
        let accepts = matches!(ask, Ask::Accept { .. });
        let answer = self
            .host()
            .store()
            .write(move |tx| {
                let mut cell: Cell<NameState> = tx.get(Table::Register, &key)?.unwrap_or_default();
                let row = name_row(tx.record(&id)?);
                let handled = cell.handle(&ask, row);
                if handled.changed {
                    tx.put(Table::Register, &key, &cell)?;
                }
                Ok::<_, store::Error>(handled.answer)
            })
            .await?;
        if accepts && matches!(answer, Answer::Accepted { .. }) {
            let now = self.host().env().monotonic();
            self.state().acceptor.open().entry(name).or_insert(now);
        }
        Ok(RegisterResponse::Name(Box::new(answer)))
    }

    fn may_answer(
        &self,
        epoch: u64,
        voters: &[RegionId],
        ask: &Ask<NameState>,
    ) -> Result<(), String> {
        let host = self.host();
        let members = host.members();
        if epoch != members.epoch() || voters != members.voters() {
            let (ours, epoch) = (members.voters(), members.epoch());
            return Err(format!("its voters are {ours:?} of epoch {epoch}, not {voters:?}"));
        }
        if !members.is_voter(host.region()) {
            return Err("not a voter".to_owned());
        }
        if let Some(why) = self.state().acceptor.standing().why_not() {
            return Err(why);
        }
        let ahead_max = u64::try_from(limits::CLOCK_AHEAD_MAX.as_millis()).unwrap_or(u64::MAX);
        match ask {
            Ask::Accept { .. }
                if self.state().acceptor.open().len() >= limits::REGISTERS_OPEN_MAX =>
            {
                Err("too many registers wait for their outcome".to_owned())
            }
            Ask::Accept { value, .. } if value.stamp.hlc.ms() > host.env().now_ms() + ahead_max => {
                Err("the stamp is too far in the future".to_owned())
            }
            Ask::Accept { .. } | Ask::Prepare { .. } | Ask::Query => Ok(()),
        }
    }

    /// Remembers a peer's counters, durably, unless it knew larger ones.
    async fn confirm_for(
        &self,
        peer: RegionId,
        counters: Counters,
    ) -> Result<RegisterResponse, store::Error> {
        let key = [b"counters/", peer.to_string().as_bytes()].concat();
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

    /// Runs until `stop`: gets this voter confirmed, then sweeps.
    pub(super) async fn keep(self, mut stop: watch::Receiver<bool>) {
        let work = std::pin::pin!(self.keep_on());
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = work => {}
        }
    }

    async fn keep_on(&self) {
        let host = self.host();
        if !host.members().is_voter(host.region()) {
            return;
        }
        self.get_confirmed().await;
        if self.state().acceptor.standing() != Standing::Serving {
            return;
        }
        if let Err(why) = self.find_open() {
            tracing::error!(%why, "registers cannot be read");
        }
        loop {
            host.env().sleep(limits::REGISTER_SILENCE).await;
            self.sweep().await;
        }
    }

    async fn get_confirmed(&self) {
        let host = self.host();
        let needed = host.members().confirmations();
        let mut confirmed: Vec<RegionId> = Vec::new();
        let mut waited = limits::REGISTER_PAUSE_MIN;
        loop {
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

    /// Finds registers left open by an earlier start.
    fn find_open(&self) -> Result<(), store::Error> {
        let host = self.host();
        let now = host.env().monotonic();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let view = host.store().read()?;
            let page: Vec<(Vec<u8>, Cell<NameState>)> =
                view.scan(Table::Register, b"name/", after.as_deref(), PAGE)?;
            for (key, cell) in &page {
                let name = key.strip_prefix(b"name/").and_then(|n| std::str::from_utf8(n).ok());
                let Some(name) = name.and_then(|n| BucketName::parse(n).ok()) else {
                    return Err(store::Error::Corrupt("a register without a name".into()));
                };
                if self.is_open(&name, cell, &view)? {
                    self.state().acceptor.open().entry(name).or_insert(now);
                }
            }
            match page.into_iter().last() {
                Some((key, _)) => after = Some(key),
                None => return Ok(()),
            }
        }
    }

    fn is_open(
        &self,
        name: &BucketName,
        cell: &Cell<NameState>,
        view: &store::Snapshot,
    ) -> Result<bool, store::Error> {
        let Some(accepted) = &cell.accepted else { return Ok(false) };
        let row = name_row(view.record(&RecordId::Name(name.clone()))?);
        let learnt = row.map_or(Stamp::ZERO, |r| r.stamp) >= accepted.value.stamp;
        Ok(!learnt || matches!(accepted.value.state, NameState::Deleting(_)))
    }

    /// Brings to an end what was accepted at least a sweep ago and of which nothing more was heard.
    async fn sweep(&self) {
        let now = self.host().env().monotonic();
        let due: Vec<BucketName> = {
            let open = self.state().acceptor.open();
            let old = |since: Duration| since + limits::REGISTER_SILENCE <= now;
            open.iter().filter(|(_, at)| old(**at)).map(|(n, _)| n.clone()).take(PAGE).collect()
        };
        for name in due {
            match self.finish(&name).await {
                Ok(true) => {
                    self.state().acceptor.open().remove(&name);
                }
                Ok(false) => {}
                Err(why) => tracing::debug!(%name, %why, "register left open for now"),
            }
        }
    }

    /// True when nothing is left to do for this name.
    async fn finish(&self, name: &BucketName) -> Result<bool, super::Unavailable> {
        let open = {
            let view = self.host().store().read()?;
            let cell: Option<Cell<NameState>> = view.get(Table::Register, &register_key(name))?;
            match cell {
                Some(cell) => self.is_open(name, &cell, &view)?,
                None => false,
            }
        };
        if !open {
            return Ok(true);
        }
        let current = self.look(name, limits::REGISTER_TIMEOUT).await?;
        match name_age(current.as_ref(), self.host().env().now_ms()) {
            NameAge::Settled => Ok(true),
            NameAge::Deleting => Ok(false),
            NameAge::Stuck => {
                self.set_back(name).await?;
                Ok(true)
            }
        }
    }
}
