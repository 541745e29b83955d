//! The clock of a new disk: what its region had stamped before is known to its peers alone.
//!
//! A region that comes back empty, on a machine whose clock may be behind, would give out stamps a
//! second time, and its writes would lose to its own old ones. So a new disk asks every member for
//! the last stamp that it knows of this region, and goes on above it.

use std::collections::BTreeSet;

use crate::env::Class;
use crate::limits;
use crate::net::message::{Request, Response};
use crate::store;
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::Cluster;
use super::batch::stamps;

impl Cluster {
    /// Asks every member once, as soon as it can be reached.
    pub(super) async fn raise_clock(self) {
        let mut asked: BTreeSet<RegionId> = BTreeSet::new();
        loop {
            let mut left = false;
            for info in self.others() {
                if asked.contains(&info.id) {
                    continue;
                }
                left = true;
                let request = Request::LastStamp;
                let answer = self.call(info.id, Class::Log, &request, limits::HEADS_TIMEOUT).await;
                let Ok(Response::LastStamp(last)) = answer else { continue };
                asked.insert(info.id);
                let raised = self.clock().stamp(0, last);
                if last > Stamp::ZERO {
                    tracing::info!(peer = %info.id, %raised, "the clock goes on above old stamps");
                }
            }
            if !left {
                return;
            }
            self.env().sleep(limits::RECONNECT_WAIT).await;
        }
    }

    /// The last stamp that this node knows of a region: of the last changes of each of its logs.
    pub(super) fn last_stamp_of(&self, region: RegionId) -> Result<Stamp, store::Error> {
        let snapshot = self.store().read()?;
        let mut last = Stamp::ZERO;
        for ((origin, incarnation), head) in snapshot.heads()? {
            if origin != region {
                continue;
            }
            let after = head.saturating_sub(limits::LAST_STAMP_CHANGES);
            for (_, id) in snapshot.log(origin, incarnation, after, usize::MAX)? {
                let record = snapshot.record(&id)?;
                let made = record.iter().flat_map(stamps).filter(|stamp| stamp.region == region);
                last = last.max(made.max().unwrap_or(Stamp::ZERO));
            }
        }
        Ok(last)
    }
}
