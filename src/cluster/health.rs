//! Whether the cluster keeps its promises as seen from here, and whether it would without this node.
//!
//! Nothing here is agreed on and nothing rests on it: it tells people and load balancers. No name of
//! a bucket or a key is in what it says, because health is asked for without a key.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits;
use crate::store;
use crate::types::bucket::{Ack, Location};
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

use super::heat::placed;
use super::{Cluster, pending};

/// What was found the last time that everything was walked over, and when.
type Found = (Duration, u64);

/// The copies that only this region has, counted now and then.
#[derive(Default)]
pub(super) struct Alone(tokio::sync::Mutex<Option<Found>>);

impl Cluster {
    /// Why writes that enter here cannot be made, or names, keys and conditional writes cannot be
    /// decided; empty where all can be.
    pub fn trouble(&self) -> Vec<String> {
        let mut why = Vec::new();
        if let Some(trouble) = self.store().trouble() {
            why.push(format!("the disk of {}: {trouble}", self.region()));
        }
        why.extend(self.judge_clock().err().map(|error| error.reason));
        let quorum = self.quorum_of(&Location::Everywhere, Ack::Default);
        why.extend(quorum.check().err().map(|error| error.reason));
        why.extend(self.voters_missing(None));
        why
    }

    /// Why this node should not be taken down now: what could not be done without it, or is not safe
    /// elsewhere yet. Empty: it may go.
    pub async fn needed_for(&self) -> Result<Vec<String>, store::Error> {
        let own = self.region();
        let mut why = self.trouble();
        why.extend(self.voters_missing(Some(own)));
        for peer in self.status().into_iter().filter(|peer| !peer.connected) {
            why.push(format!("{} is away: one region at a time", peer.region));
        }
        if self.members().electorate().is_joint() {
            why.push("the voters are being changed".to_owned());
        }
        let configs = self.bucket_configs()?;
        let stuck = configs.values().filter(|config| !self.quorum(config).holds_without_own());
        why.extend(said(
            stuck.count() as u64,
            "buckets could not be written to without this region",
        ));
        let late = limits::MAINTENANCE_LAG.as_millis();
        let lags = self.bucket_lag()?;
        let late = lags.iter().filter(|lag| u128::from(lag.lag_ms) > late).count() as u64;
        why.extend(said(late, "buckets have changes that other regions do not know yet"));
        let before_ms = self
            .env()
            .now_ms()
            .saturating_sub(u64::try_from(limits::MAINTENANCE_LAG.as_millis()).unwrap_or(u64::MAX));
        let waiting = pending::older_than(&self.store().read()?, before_ms)?;
        why.extend(said(waiting, "changes wait for their outcome"));
        why.extend(said(self.copies_alone().await?, "versions are held by this region alone"));
        Ok(why)
    }

    /// Too few voters can be reached, this region and, where it is left out, without `without`.
    fn voters_missing(&self, without: Option<RegionId>) -> Option<String> {
        let (own, members) = (self.region(), self.members());
        let is_in =
            |region| Some(region) != without && (region == own || self.is_connected(region));
        let electorate = members.electorate();
        if electorate.is_quorum(is_in) {
            return None;
        }
        let all = electorate.everyone();
        let there = all.iter().filter(|region| is_in(**region)).count();
        let what = if without.is_some() { "would be left" } else { "can be reached" };
        Some(format!("{there} of {} voters {what}, and a majority is needed", all.len()))
    }

    /// Versions that no other region that can be reached holds.
    async fn copies_alone(&self) -> Result<u64, store::Error> {
        let mut last = self.inner.people.alone.0.lock().await;
        let now = self.env().monotonic();
        if let Some((at, count)) = *last
            && now.saturating_sub(at) < limits::MAINTENANCE_FRESH
        {
            return Ok(count);
        }
        let cluster = self.clone();
        let count = self.env().blocking(move || cluster.count_alone()).await?;
        *last = Some((now, count));
        Ok(count)
    }

    fn count_alone(&self) -> Result<u64, store::Error> {
        let own = self.region();
        let near: BTreeMap<RegionId, bool> =
            self.others().iter().map(|info| (info.id, self.is_connected(info.id))).collect();
        let elsewhere = |region: RegionId| near.get(&region).copied().unwrap_or(false);
        let view = self.store().read()?;
        let (mut after, mut count): (Option<RecordId>, u64) = (None, 0);
        loop {
            let page = view.records(after.as_ref(), limits::REPAIR_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(count) };
            after = Some(last.clone());
            for (_, record) in &page {
                let Record::Row(row) = record else { continue };
                let alone = row.versions.iter().filter(|version| placed(version).is_some());
                let alone = alone.filter(|version| {
                    let place = &version.placement;
                    place.held().any(|region| region == own) && !place.held().any(elsewhere)
                });
                count += alone.count() as u64;
            }
        }
    }
}

fn said(count: u64, what: &str) -> Option<String> {
    (count > 0).then(|| format!("{count} {what}"))
}
