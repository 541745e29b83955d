//! What anycast does for a client, for nodes in one process: each request goes to the nearest live
//! region.
//!
//! Where the client is: the header `X-Godwit-Client-Region: fra` names any region that the program
//! knows, with a node or without; a request without it comes from the first region. Real anycast
//! needs no header: it is for demonstrations and tests.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::config::Regions;
use crate::env::BoxFuture;
use crate::s3::Outgoing;
use crate::types::region::{Coordinates, RegionId};

use super::http::Handler;

/// Says where a client is.
pub(crate) const CLIENT_REGION: &str = "x-godwit-client-region";

/// One place that requests can go to.
pub(crate) struct Site {
    pub(crate) region: RegionId,
    pub(crate) coordinates: Coordinates,
    pub(crate) ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// `None` while it does not run.
    pub(crate) handler: Box<dyn Fn() -> Option<Handler> + Send + Sync>,
}

/// The sites, and the places that clients may say they are at.
pub(crate) struct Anycast {
    /// Never empty.
    sites: Vec<Site>,
    places: Regions,
}

impl Anycast {
    pub(crate) fn new(sites: Vec<Site>, places: Regions) -> Self {
        assert!(!sites.is_empty(), "there is a site to route to");
        Self { sites, places }
    }

    /// As a handler of a listener.
    pub(crate) fn handler(self) -> Handler {
        let own = Arc::new(self);
        Arc::new(move |request, client| own.route(request, client))
    }

    fn route(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> BoxFuture<'static, Response<Outgoing>> {
        let stated = request.headers().get(CLIENT_REGION).and_then(|value| value.to_str().ok());
        let from = stated.and_then(|code| self.place(code)).unwrap_or(self.sites[0].coordinates);
        match (self.nearest(from).handler)() {
            Some(handler) => handler(request, client),
            None => Box::pin(std::future::ready(nobody())),
        }
    }

    /// Where a code is: one of the sites, or a place without a node.
    fn place(&self, code: &str) -> Option<Coordinates> {
        let code: RegionId = code.trim().parse().ok()?;
        let site = self.sites.iter().find(|site| site.region == code);
        match site {
            Some(site) => Some(site.coordinates),
            None => Some(self.places.find(code).ok()?.location),
        }
    }

    /// The nearest site that is ready; the nearest of all when none is, because it can say why.
    fn nearest(&self, from: Coordinates) -> &Site {
        let distance = |site: &Site| site.coordinates.distance_km(from);
        let ready = self.sites.iter().filter(|site| (site.ready)());
        ready
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .or_else(|| self.sites.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))))
            .expect("there is a site to route to")
    }
}

/// The region went between two looks.
fn nobody() -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn site(code: &str, alive: &Arc<AtomicBool>) -> Site {
        let region = RegionId::parse(code).unwrap();
        let coordinates = Regions::built_in().find(region).unwrap().location;
        let alive = alive.clone();
        Site {
            region,
            coordinates,
            ready: Box::new(move || alive.load(Ordering::Relaxed)),
            handler: Box::new(|| None),
        }
    }

    #[test]
    fn a_client_goes_to_the_nearest_region_that_is_ready() {
        let alive: Vec<_> = (0..3).map(|_| Arc::new(AtomicBool::new(true))).collect();
        let sites = ["iad", "fra", "nrt"].iter().zip(&alive);
        let anycast = Anycast::new(
            sites.map(|(code, alive)| site(code, alive)).collect(),
            Regions::built_in(),
        );
        let nearest = |code: &str| anycast.nearest(anycast.place(code).unwrap()).region.to_string();
        assert_eq!(nearest("fra"), "fra");
        assert_eq!(nearest("arn"), "fra");
        assert_eq!(nearest("syd"), "nrt");
        assert_eq!(nearest("lax"), "iad");
        alive[1].store(false, Ordering::Relaxed);
        assert_eq!(nearest("fra"), "iad");
        for alive in &alive {
            alive.store(false, Ordering::Relaxed);
        }
        assert_eq!(nearest("fra"), "fra");
        assert_eq!(anycast.place("nowhere"), None);
    }
}
