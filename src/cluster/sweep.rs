//! Looks after what this voter accepted: a value of which nothing more is heard is brought to its
//! end, a name that is being deleted for too long is set back, and registers of a bucket that is
//! gone are dropped.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::limits;
use crate::store::{self, Table};
use crate::types::id::BucketId;
use crate::types::record::RecordId;

use super::cells::{OPEN, Open, PAGE, drop_some, has_some, reduce};
use super::names::{self, NameAge, name_age, name_value};
use super::register::Registers;
use super::rules::Rule;
use super::standing::{Standing, Told};

impl Registers {
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
        self.get_confirmed().await;
        if self.state().acceptor.standing() != Standing::Serving {
            return;
        }
        let mut after = None;
        let mut told = Told::new();
        loop {
            if let Err(why) = self.tell_reached(&mut told).await {
                tracing::error!(%why, "peers do not hear how far this disk is");
            }
            host.env().sleep(limits::REGISTER_SILENCE).await;
            if let Err(why) = self.drop_gone(&mut after).await {
                tracing::error!(%why, "registers of deleted buckets cannot be dropped");
            }
            if let Err(why) = self.sweep().await {
                tracing::error!(%why, "registers cannot be looked after");
            }
            if let Err(why) = self.forget_leases().await {
                tracing::error!(%why, "leases cannot be looked after");
            }
        }
    }

    /// Brings to an end what was accepted at least a while ago and of which nothing more was heard;
    /// of what the rows know by now only ballot and stamp are kept.
    async fn sweep(&self) -> Result<(), store::Error> {
        let due_ms = u64::try_from(limits::REGISTER_SILENCE.as_millis()).unwrap_or(u64::MAX);
        let (mut after, mut open): (Option<Vec<u8>>, usize) = (None, 0);
        loop {
            let page: Vec<(Vec<u8>, Open)> =
                self.host().store().read()?.scan(Table::Register, OPEN, after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            open += page.len();
            let now_ms = self.host().env().now_ms();
            let old = |note: &Open| now_ms.saturating_sub(note.since_ms) >= due_ms;
            let due: Vec<RecordId> =
                page.into_iter().map(|(_, note)| note).filter(old).map(|note| note.id).collect();
            if due.is_empty() {
                continue;
            }
            let (ended, left) = self.reduce_known(due).await?;
            open -= ended;
            if !self.host().keeps(Rule::FindsOutcomes) {
                continue;
            }
            join_all(left.iter().map(|id| async move {
                if let Err(why) = self.finish(id).await {
                    tracing::debug!(?id, %why, "register left open for now");
                }
            }))
            .await;
        }
        self.state().acceptor.open.store(open, Ordering::Relaxed);
        Ok(())
    }

    /// Lets registers of buckets go that are gone: of each a page at a time.
    async fn drop_gone(&self, after: &mut Option<BucketId>) -> Result<(), store::Error> {
        let gone: Vec<BucketId> = {
            let view = self.host().store().read()?;
            let mut gone = names::next_gone(&view, after)?;
            let has_some = gone.iter().map(|bucket| has_some(&view, *bucket));
            let has_some = has_some.collect::<Result<Vec<bool>, _>>()?;
            let mut has_some = has_some.into_iter();
            gone.retain(|_| has_some.next() == Some(true));
            gone
        };
        for bucket in gone {
            while self.host().store().write(move |tx| drop_some(tx, bucket)).await? > 0 {}
        }
        Ok(())
    }

    /// Ends what the rows here know; how many those were, and the others.
    async fn reduce_known(
        &self,
        ids: Vec<RecordId>,
    ) -> Result<(usize, Vec<RecordId>), store::Error> {
        self.host()
            .store()
            .write(move |tx| {
                let (mut ended, mut left) = (0, Vec::new());
                for id in ids {
                    if reduce(tx, &id)? {
                        ended += 1;
                    } else {
                        left.push(id);
                    }
                }
                Ok((ended, left))
            })
            .await
    }

    /// Finds out what became of a value; the next sweep ends what is known then.
    async fn finish(&self, id: &RecordId) -> Result<(), super::Unavailable> {
        let current = self.look(id, limits::REGISTER_TIMEOUT).await?;
        let name = match id {
            RecordId::Name(name) => name,
            RecordId::AccessKey(_)
            | RecordId::Members
            | RecordId::Bucket(_)
            | RecordId::Part(..)
            | RecordId::Row(..)
            | RecordId::Upload(_) => return Ok(()),
        };
        let current = current.and_then(|value| name_value(&value));
        match name_age(current.as_ref(), self.host().env().now_ms()) {
            NameAge::Settled | NameAge::Deleting => Ok(()),
            NameAge::Stuck => self.set_back(name).await,
        }
    }
}
