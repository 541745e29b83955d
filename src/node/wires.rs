//! The wires between the regions of `godwit dev`: how long they are, and which are cut.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use crate::admin::dev::Wiring;
use crate::cluster::Members;
use crate::net::link::{self, Link};
use crate::types::region::RegionId;

/// One region's end.
struct End {
    region: RegionId,
    mesh: SocketAddr,
    /// What leaves it.
    link: Link,
}

/// All ends, and the regions that are cut off.
pub(super) struct Wires {
    ends: Vec<End>,
    cut: Mutex<BTreeSet<RegionId>>,
}

impl Wires {
    /// As long as the ways between the places of the regions.
    pub(super) fn new(meshes: &[(RegionId, SocketAddr)], members: &Members) -> Self {
        let place = |region: RegionId| members.get(region).map(|info| info.coordinates);
        let end = |(region, mesh): &(RegionId, SocketAddr)| {
            let link = Link::default();
            for (other, to) in meshes {
                if let (Some(from), Some(place)) = (place(*region), place(*other)) {
                    let delay = link::delay(from, place);
                    let path = link::Path { delay, jitter: delay / 20, ..link::Path::default() };
                    link.set(*to, path);
                }
            }
            End { region: *region, mesh: *mesh, link }
        };
        Self { ends: meshes.iter().map(end).collect(), cut: Mutex::default() }
    }

    /// What leaves a region.
    pub(super) fn link(&self, region: RegionId) -> Option<Link> {
        self.ends.iter().find(|end| end.region == region).map(|end| end.link.clone())
    }
}

impl Wiring for Wires {
    fn cut(&self, region: RegionId, cut: bool) -> bool {
        if !self.ends.iter().any(|end| end.region == region) {
            return false;
        }
        let mut all = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        if cut {
            all.insert(region);
        } else {
            all.remove(&region);
        }
        for from in &self.ends {
            for to in self.ends.iter().filter(|to| to.region != from.region) {
                let apart = all.contains(&from.region) || all.contains(&to.region);
                from.link.change(to.mesh, |path| path.cut = apart);
            }
        }
        true
    }

    fn which(&self) -> BTreeSet<RegionId> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
