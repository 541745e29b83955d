//! Lists in the one order that all regions see: what of a range of keys this node must learn before
//! a list of its own index shows every change that a register had chosen.
//!
//! A majority of the voters is asked for two things, both of one moment: what positions of logs
//! cover all that it knows, and the keys in range of which it has accepted a value that its rows do
//! not show. Whatever was chosen before was accepted by one of them, which then knows its row, or
//! names the key. So this node applies up to those positions, and reads the registers of those keys.
//!
//! Invariant: the answer of a voter is of one snapshot; a key is left out only where its row is at
//! least what was accepted.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream;

use crate::limits;
use crate::logic::register::change::Electorate;
use crate::net::registers::{RegisterRequest, RegisterResponse};
use crate::store;
use crate::types::name::ObjectKey;
use crate::types::position::{Positions, raise};
use crate::types::record::RecordId;
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::ask::{Missed, odd};
use super::cells;
use super::error::Unavailable;
use super::register::Registers;

pub use crate::net::registers::KeyRange;

/// What one voter says of a range.
#[derive(Default)]
struct Told {
    positions: Positions,
    /// Keys with the stamp of what was accepted.
    open: BTreeMap<ObjectKey, Stamp>,
}

impl Cluster {
    /// Learns every change of these keys that a register had chosen when this was called.
    pub async fn freshen(&self, range: KeyRange) -> Result<(), Unavailable> {
        if self.registers().is_alone() {
            return Ok(());
        }
        let limit = limits::LIST_FRESH_TIMEOUT;
        match self.env().timeout(limit, self.learn_range(range)).await {
            Ok(learnt) => learnt,
            Err(_) => Err(Unavailable::new("the voters' changes did not arrive here in time")),
        }
    }

    async fn learn_range(&self, range: KeyRange) -> Result<(), Unavailable> {
        let registers = self.registers();
        let bucket = range.bucket;
        let told = registers.ask_range(range).await?;
        self.reach(&told.positions, limits::LIST_FRESH_TIMEOUT).await?;
        let mut unknown = Vec::new();
        {
            let snapshot = self.inner.store.read()?;
            for (key, stamp) in told.open {
                let row = snapshot.row(bucket, &key)?;
                if row.map_or(Stamp::ZERO, |row| row.made_stamp()) < stamp {
                    unknown.push(RecordId::Row(bucket, key));
                }
            }
        }
        let look = |id: RecordId| {
            let registers = registers.clone();
            async move { registers.look(&id, limits::REGISTER_TIMEOUT).await.map(drop) }
        };
        let mut looks =
            stream::iter(unknown).map(look).buffer_unordered(limits::LIST_LOOKS_AT_ONCE);
        while let Some(looked) = looks.next().await {
            looked?;
        }
        Ok(())
    }
}

impl Registers {
    /// What a majority of the voters says of a range, together.
    async fn ask_range(&self, range: KeyRange) -> Result<Told, Unavailable> {
        let ask = |voter, electorate| self.ask_range_of(voter, electorate, range.clone());
        let mut told = Told::default();
        for (positions, open) in self.ask_quorum(ask).await?.into_values() {
            raise(&mut told.positions, &positions);
            for (key, stamp) in open {
                let known = told.open.entry(key).or_insert(stamp);
                *known = stamp.max(*known);
            }
        }
        Ok(told)
    }

    async fn ask_range_of(
        &self,
        voter: RegionId,
        electorate: Electorate,
        range: KeyRange,
    ) -> Result<(Positions, Vec<(ObjectKey, Stamp)>), Missed> {
        let (epoch, voters) = (electorate.epoch(), electorate.everyone().into_iter().collect());
        let request = RegisterRequest::Range { epoch, voters, range };
        match self.ask_of_epoch(voter, epoch, request).await? {
            RegisterResponse::Range { positions, open, more: false } => Ok((positions, open)),
            RegisterResponse::Range { more: true, .. } => {
                let most = limits::LIST_OPEN_MAX;
                Err(Missed::Failed(format!("more than {most} of these keys are being changed")))
            }
            other => Err(Missed::Failed(odd(other))),
        }
    }

    /// Answers a list's question as a voter.
    pub(super) async fn answer_range(
        &self,
        epoch: u64,
        range: KeyRange,
    ) -> Result<RegisterResponse, store::Error> {
        let cluster = self.host().clone();
        let answer = move || {
            let snapshot = cluster.store().read()?;
            // What is seen is of this epoch, as none has followed since.
            if let Some(turned) = cluster.registers().turned(epoch) {
                return Ok(turned);
            }
            let mut positions = cluster.positions_in(&snapshot)?;
            positions.retain(|_, position| *position > 0);
            let (open, more) = cells::open_in(&snapshot, &range)?;
            Ok(RegisterResponse::Range { positions, open, more })
        };
        self.host().env().blocking(answer).await
    }
}
