//! Where a peer may be: addresses and host names, looked up again and again.
//!
//! Invariant: an address is a candidate and nothing more; who answers there is proven by its
//! certificate.

use std::net::SocketAddr;
use std::time::Duration;

use crate::env::Env;
use crate::limits;

/// The candidates of one peer.
pub(super) struct Addresses {
    /// `HOST:PORT`, in the order in which they are tried.
    stated: Vec<String>,
    found: Vec<SocketAddr>,
    fresh_until: Duration,
}

impl Addresses {
    /// `HOST:PORT`, or several with commas between them.
    pub(super) fn new(stated: &str) -> Self {
        let stated = stated.split(',').map(str::trim).filter(|one| !one.is_empty());
        let stated = stated.map(str::to_owned).collect();
        Self { stated, found: Vec::new(), fresh_until: Duration::ZERO }
    }

    /// All candidates, the best first; host names are looked up when the last look is old.
    pub(super) async fn find(&mut self, env: &Env) -> Result<Vec<SocketAddr>, String> {
        let now = env.monotonic();
        if !self.found.is_empty() && now < self.fresh_until {
            return Ok(self.found.clone());
        }
        let mut found: Vec<SocketAddr> = Vec::new();
        let mut error = "no address is known".to_owned();
        for stated in &self.stated {
            match look_up(env, stated).await {
                Ok(addresses) => found.extend(addresses),
                Err(why) => error = format!("{stated}: {why}"),
            }
        }
        if found.is_empty() {
            return Err(error);
        }
        let mut seen = Vec::with_capacity(found.len());
        found.retain(|address| {
            let new = !seen.contains(address);
            seen.push(*address);
            new
        });
        found.truncate(limits::MESH_ADDRESSES_MAX);
        if let Some(best) = self.found.first() {
            // Stable: the one that worked goes before the others.
            found.sort_by_key(|address| address != best);
        }
        self.found = found;
        self.fresh_until = now + jittered(limits::MESH_LOOKUP_INTERVAL, env.random_u64());
        Ok(self.found.clone())
    }

    /// This one worked.
    pub(super) fn prefer(&mut self, best: SocketAddr) {
        self.found.sort_by_key(|address| *address != best);
    }

    /// None worked: look again before long.
    pub(super) fn doubt(&mut self, env: &Env) {
        let soon = env.monotonic() + limits::MESH_LOOKUP_INTERVAL_FAILED;
        self.fresh_until = self.fresh_until.min(soon);
    }
}

async fn look_up(env: &Env, stated: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = stated.parse() {
        return Ok(vec![address]);
    }
    let answer = env.timeout(limits::MESH_LOOKUP_TIMEOUT, tokio::net::lookup_host(stated)).await;
    match answer {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("name service did not answer".to_owned()),
    }
}

/// Between nine and eleven tenths.
fn jittered(every: Duration, random: u64) -> Duration {
    let part = u32::try_from(random % 201).expect("below 201");
    every - every / 10 + every * part / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::env::real;

    #[tokio::test]
    async fn the_address_that_worked_is_tried_first_and_none_twice() {
        let env = real(&tokio::runtime::Handle::current(), "/".as_ref());
        let mut addresses = Addresses::new("127.0.0.1:1, 127.0.0.2:2,127.0.0.1:1,nowhere");
        let found = addresses.find(&env).await.unwrap();
        let text: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["127.0.0.1:1", "127.0.0.2:2"]);
        addresses.prefer(found[1]);
        assert_eq!(addresses.find(&env).await.unwrap()[0], found[1]);
        addresses.fresh_until = Duration::ZERO;
        assert_eq!(addresses.find(&env).await.unwrap()[0], found[1]);
    }

    #[tokio::test]
    async fn a_peer_without_an_address_says_so() {
        let env = real(&tokio::runtime::Handle::current(), "/".as_ref());
        let error = Addresses::new("").find(&env).await.unwrap_err();
        assert!(error.contains("no address"), "{error}");
    }
}
