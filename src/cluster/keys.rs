//! Access keys: made and changed through registers, so that a key works in every region as soon as
//! it is answered, and two changes of one key are never both the last.
//!
//! A revocation must reach every region within [`limits::KEYS_HEARD_MAX`]. Replication alone cannot
//! promise that, because a region that hears nothing does not know that there is something to hear.
//! So every region asks the voters once a second which keys they accepted changes of, and reads the
//! registers of those. A revocation that was answered was accepted by a majority; every majority
//! that is asked afterwards knows of it.
//!
//! Invariant: [`Cluster::keys_heard`] is never later than the beginning of a round in which a
//! majority of the voters was asked and everything that they named was read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::limits;
use crate::logic::register::acceptor::Cell;
use crate::logic::register::change::Electorate;
use crate::logic::register::{Outcome, Value};
use crate::net::registers::{KeyNews, NewsCursor, RegisterRequest, RegisterResponse};
use crate::store::{self, Table};
use crate::types::name::AccessKeyId;
use crate::types::record::{AccessKeyRecord, Record, RecordId};
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::ask::{Missed, odd};
use super::cells::{CELL, cell_key};
use super::error::Unavailable;
use super::register::{Operation, Registers};
use super::rules::Rule;

/// Changes a key; it may run several times, each time on what the register has then. `None`: no
/// change. The stamp is set afterwards.
pub type KeyChange = Arc<dyn Fn(Option<&AccessKeyRecord>) -> Option<AccessKeyRecord> + Send + Sync>;

/// What a voter accepted of keys since it started, the latest [`limits::KEY_NEWS_MAX`].
#[derive(Default)]
pub(super) struct Accepted(Mutex<News>);

#[derive(Default)]
struct News {
    latest: VecDeque<(AccessKeyId, Stamp)>,
    /// How many there were in all.
    count: u64,
}

impl Accepted {
    /// To be called before the acceptance is answered.
    pub(super) fn note(&self, id: &RecordId, stamp: Stamp) {
        let RecordId::AccessKey(key) = id else { return };
        let mut news = self.0.lock().expect("no holder of this lock panics");
        if news.latest.len() >= limits::KEY_NEWS_MAX {
            news.latest.pop_front();
        }
        news.latest.push_back((key.clone(), stamp));
        news.count += 1;
    }

    fn count(&self) -> u64 {
        self.0.lock().expect("no holder of this lock panics").count
    }

    /// What came after so many; `None` where not all of that is remembered.
    fn since(&self, count: u64) -> Option<(u64, Vec<(AccessKeyId, Stamp)>)> {
        let news = self.0.lock().expect("no holder of this lock panics");
        let missed = usize::try_from(news.count.checked_sub(count)?).ok()?;
        let skip = news.latest.len().checked_sub(missed)?;
        Some((news.count, news.latest.iter().skip(skip).cloned().collect()))
    }
}

fn key_of(value: Option<Value<Record>>) -> Option<AccessKeyRecord> {
    match value?.state {
        Record::AccessKey(record) => Some(record),
        Record::Members(_)
        | Record::Bucket(_)
        | Record::Name(_)
        | Record::Part(_)
        | Record::Row(_)
        | Record::Upload(_) => None,
    }
}

impl Cluster {
    /// An access key, revoked or not: what is known here, or one read of its register.
    pub async fn access_key(
        &self,
        id: &AccessKeyId,
    ) -> Result<Option<AccessKeyRecord>, Unavailable> {
        let record = RecordId::AccessKey(id.clone());
        if let Some(Record::AccessKey(found)) = self.inner.store.read()?.record(&record)? {
            return Ok(Some(found));
        }
        let registers = self.registers();
        if registers.is_alone() || registers.known_absent(&record) {
            return Ok(None);
        }
        // Whoever has it can say so; that nobody has it, only a majority can.
        if let Some(Record::AccessKey(found)) =
            self.ask_voters(record.clone(), limits::VOTERS_MAX).await?
        {
            return Ok(Some(found));
        }
        let found = key_of(registers.look(&record, limits::NAME_LOOKUP_TIMEOUT).await?);
        if found.is_none() {
            registers.note_absent(record);
        }
        Ok(found)
    }

    /// Changes a key, or makes it. `None` where `change` refused, which it does only on what the
    /// register has. After an error it may have been changed all the same.
    pub async fn change_access_key(
        &self,
        id: &AccessKeyId,
        change: KeyChange,
    ) -> Result<Option<AccessKeyRecord>, Unavailable> {
        let registers = self.registers();
        let judge = move |current: Option<&Value<Record>>, stamp: Stamp| {
            let current = key_of(current.cloned());
            let changed = change(current.as_ref())?;
            Some(Record::AccessKey(AccessKeyRecord { stamp, ..changed }))
        };
        let operation = Operation {
            id: RecordId::AccessKey(id.clone()),
            op: registers.fresh_op(),
            judge: Some(Arc::new(judge)),
            bodies: Vec::new(),
        };
        match registers.run(operation, limits::REGISTER_TIMEOUT).await? {
            Outcome::Chosen { value, .. } => {
                registers.forget_absent(&RecordId::AccessKey(id.clone()));
                Ok(key_of(Some(value)))
            }
            Outcome::Refused { .. } | Outcome::Read { .. } => Ok(None),
            Outcome::Conflict { .. } => Err(Unavailable::new(format!(
                "the access key {} is changed by others at the same time; ask again",
                id.0
            ))),
        }
    }

    /// How long ago this region was last certain that it knows of every change of access keys;
    /// `None`: not since it started.
    pub fn keys_heard(&self) -> Option<Duration> {
        let now = self.env().monotonic();
        if self.registers().is_alone() {
            return Some(Duration::ZERO);
        }
        let heard = *self.inner.keys_heard.lock().expect("no holder of this lock panics");
        heard.map(|at| now.saturating_sub(at))
    }

    /// Asks the voters for changes of keys as long as the node runs.
    pub(super) async fn follow_keys(self) {
        let mut cursors = BTreeMap::new();
        loop {
            if !self.registers().is_alone() && self.keeps(Rule::KeysAreAsked) {
                let began = self.env().monotonic();
                match self.registers().hear_of_keys(&mut cursors).await {
                    Ok(()) => {
                        let mut heard =
                            self.inner.keys_heard.lock().expect("no holder of this lock panics");
                        *heard = Some(began);
                    }
                    Err(why) => tracing::debug!(%why, "changes of access keys are not known"),
                }
            }
            self.env().sleep(limits::KEYS_ASK_INTERVAL).await;
        }
    }
}

impl Registers {
    /// One round: what a majority of the voters accepted of keys since they were last asked.
    async fn hear_of_keys(
        &self,
        cursors: &mut BTreeMap<RegionId, NewsCursor>,
    ) -> Result<(), Unavailable> {
        let known = &*cursors;
        let ask = |voter, electorate| self.news_of(voter, electorate, known.get(&voter).copied());
        let (mut heard, mut named) = (BTreeMap::new(), BTreeMap::<AccessKeyId, Stamp>::new());
        for (voter, (cursor, changed)) in self.ask_quorum(ask).await? {
            heard.insert(voter, cursor);
            for (key, stamp) in changed {
                let known = named.entry(key).or_insert(stamp);
                *known = stamp.max(*known);
            }
        }
        for (key, stamp) in named {
            let id = RecordId::AccessKey(key);
            let local = self.host().store().read()?.record(&id)?;
            if local.is_none_or(|record| record.stamp() < stamp) {
                self.look(&id, limits::NAME_LOOKUP_TIMEOUT).await?;
            }
        }
        cursors.extend(heard);
        Ok(())
    }

    /// All that one voter has to say, in as many questions as it takes.
    async fn news_of(
        &self,
        voter: RegionId,
        electorate: Electorate,
        since: Option<NewsCursor>,
    ) -> Result<(NewsCursor, Vec<(AccessKeyId, Stamp)>), Missed> {
        let epoch = electorate.epoch();
        let (mut all, mut after) = (Vec::new(), None);
        let mut cursor: Option<NewsCursor> = None;
        loop {
            let voters = electorate.everyone().into_iter().collect();
            let request = RegisterRequest::KeyNews { epoch, voters, since, after };
            let news = match self.ask_of_epoch(voter, epoch, request).await? {
                RegisterResponse::KeyNews(news) => news,
                other => return Err(Missed::Failed(odd(other))),
            };
            // What is accepted while the pages are read comes after the first one's cursor.
            let first = *cursor.get_or_insert(news.cursor);
            if first.start != news.cursor.start {
                return Err(Missed::Failed("it started again meanwhile".to_owned()));
            }
            all.extend(news.changed);
            after = news.after;
            if after.is_none() {
                return Ok((first, all));
            }
        }
    }

    /// What this voter accepted of keys since then; of one who asks for the first time, or has
    /// missed too much, every key that it keeps a register of, page by page.
    pub(super) fn key_news(
        &self,
        since: Option<NewsCursor>,
        after: Option<&AccessKeyId>,
    ) -> Result<KeyNews, store::Error> {
        let accepted = &self.state().accepted_keys;
        let start = self.state().acceptor.nonce();
        if let (Some(since), None) = (since, after)
            && since.start == start
            && let Some((count, changed)) = accepted.since(since.count)
        {
            return Ok(KeyNews { cursor: NewsCursor { start, count }, changed, after: None });
        }
        let cursor = NewsCursor { start, count: accepted.count() };
        let key = |id: &str| cell_key(&RecordId::AccessKey(AccessKeyId(id.into())));
        let prefix = key("");
        let from = after.map(|id| key(&id.0));
        let view = self.host().store().read()?;
        let page: Vec<(Vec<u8>, Cell<Record>)> =
            view.scan(Table::Register, &prefix, from.as_deref(), limits::KEY_NEWS_MAX)?;
        let (full, mut changed, mut last) = (page.len() == limits::KEY_NEWS_MAX, Vec::new(), None);
        for (key, cell) in page {
            let id = key.get(CELL.len()..).and_then(|key| store::record_id(key).ok());
            let Some(RecordId::AccessKey(id)) = id else { continue };
            changed.extend(cell.accepted.map(|accepted| (id.clone(), accepted.value.stamp)));
            last = Some(id);
        }
        Ok(KeyNews { cursor, changed, after: last.filter(|_| full) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RecordId {
        RecordId::AccessKey(AccessKeyId(text.into()))
    }

    #[test]
    fn a_voter_remembers_what_it_accepted_up_to_its_bound() {
        let accepted = Accepted::default();
        assert_eq!(accepted.since(0), Some((0, Vec::new())));
        accepted.note(&id("A"), Stamp::ZERO);
        let (count, changed) = accepted.since(0).unwrap();
        assert_eq!((count, changed.len()), (1, 1));
        assert_eq!(accepted.since(1), Some((1, Vec::new())));
        assert_eq!(accepted.since(2), None, "of another life of this voter");
        for _ in 0..limits::KEY_NEWS_MAX {
            accepted.note(&id("B"), Stamp::ZERO);
        }
        assert_eq!(accepted.since(0), None, "the first is forgotten");
        assert!(accepted.since(1).is_some());
    }
}
