//! The way out of a cluster that has lost the majority of its voters for good: an operator says who is
//! lost, and the others go on without them.
//!
//! Nobody decides this together, so it is as right as the operator: regions that are named and live on
//! somewhere would be a second cluster. Members made so are so many versions later that they win over
//! whatever the lost ones decided; who meets them hears that it was removed, and stops.

use std::collections::BTreeSet;

use crate::limits;
use crate::logic::lease::Term;
use crate::store::Source;
use crate::types::members::Gone;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

use super::Cluster;
use super::members::Members;
use super::roster::NotChanged;

/// The members without the lost ones, or why not.
fn recovered(members: &Members, gone: &[Gone], own: RegionId) -> Result<Members, String> {
    let lost: BTreeSet<RegionId> = gone.iter().map(|gone| gone.region).collect();
    if let Some(unknown) = lost.iter().find(|region| !members.contains(**region)) {
        return Err(format!("region {unknown} is no member"));
    }
    if lost.is_empty() || lost.contains(&own) {
        return Err(format!(
            "name the regions that are lost; {own}, which is asked, is none of them"
        ));
    }
    if members.electorate().is_quorum(|region| !lost.contains(&region)) {
        return Err(
            "most of the voters are left: `godwit region remove CODE --lost` removes a lost \
                    region without giving anything else up"
                .to_owned(),
        );
    }
    let leap = limits::RECOVERY_LEAP + u64::from(own.to_u16());
    let mut next = members.clone();
    next.members.retain(|member| !lost.contains(&member.info.id));
    if next.holders().next().is_none() {
        return Err("no region that keeps bytes would be left".to_owned());
    }
    next.version = members.version + leap;
    next.electorate = members.electorate().recovered(|region| lost.contains(&region), own, leap);
    next.gone.extend(gone.iter().map(|gone| Gone { version: next.version, ..gone.clone() }));
    Ok(next)
}

impl Cluster {
    /// Goes on without regions that are lost for good, though a majority of the voters is among them.
    /// What only they had is lost: of writes with conditions, bucket names and access keys also what
    /// was answered by them and had not come to those that are left.
    pub async fn recover(&self, lost: &[RegionId]) -> Result<Members, NotChanged> {
        self.without(lost).map_err(NotChanged::Refused)?;
        // Read leases that lost voters granted are over by then.
        self.env().sleep(Term::DEFAULT.granted).await;
        // Whoever came back meanwhile is not lost.
        let mut next = self.without(lost).map_err(NotChanged::Refused)?;
        next.stamp = self.stamp(next.stamp);
        let version = next.version;
        tracing::error!(?lost, version, "members without a majority, by an operator");
        self.adopt(next.clone()).await?;
        let record = Record::Members(Box::new(next.clone()));
        let logged =
            self.store().write(move |tx| tx.merge(RecordId::Members, record, Source::Local));
        if let Some(seq) = logged.await?.seq {
            self.log_grew(seq);
        }
        let left: Vec<RegionId> = self.others().into_iter().map(|info| info.id).collect();
        let missing = self.tell_members(&left).await;
        if missing.is_empty() {
            return Ok(next);
        }
        Err(NotChanged::Unavailable(format!(
            "it is done here, and will be heard later by those that did not answer: {missing:?}"
        )))
    }

    /// The members without these, or why that would be wrong now.
    fn without(&self, lost: &[RegionId]) -> Result<Members, String> {
        // What this node has would be the truth.
        if let Some(why) = self.gone().or_else(|| self.outdated()).or_else(|| self.forgot()) {
            return Err(format!("ask another region: {why}"));
        }
        for info in self.others() {
            let (id, is_lost) = (info.id, lost.contains(&info.id));
            if is_lost && self.is_connected(id) {
                return Err(format!("{id} can be reached: it is not lost"));
            }
            if !is_lost && !self.is_connected(id) {
                return Err(format!(
                    "{id} is not named as lost and cannot be reached: it must hear of this; bring it \
                     back, or name it too"
                ));
            }
        }
        let (known, at_ms) = (self.known_heads(), self.right_ms());
        let gone = lost.iter().map(|region| {
            let of = known.keys().filter(|(origin, _)| origin == region);
            let incarnations = of.map(|(_, incarnation)| *incarnation).collect();
            Gone { region: *region, version: 0, at_ms, lost: true, incarnations }
        });
        recovered(&self.members(), &gone.collect::<Vec<Gone>>(), self.region())
    }
}
