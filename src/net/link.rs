//! The emulated wide area: how long a packet takes between two regions, and whether it arrives.
//!
//! Invariant: packets of one direction of a pair never overtake each other, so what QUIC above it
//! takes for loss is loss. A cut and every other quality can be changed while packets are on their
//! way; what was sent before arrives as it would have. `wire` carries packets by what this says. It
//! is for nodes on one machine; without a [`Link`] nothing here runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::types::region::Coordinates;

/// What every path has besides its length, one way: the last miles, routers.
const FIXED: Duration = Duration::from_millis(1);

/// Fibres are longer than the great circle by this factor.
const DETOUR: f64 = 1.5;

/// Light in glass: two thirds of its speed in vacuum, km/s.
const KM_PER_SECOND: f64 = 299_792.458 * 2.0 / 3.0;

/// Packets wait at most this long for bandwidth; then the queue is full and they are lost.
const QUEUE_MAX: Duration = Duration::from_millis(500);

/// One way between two places, without load.
pub fn delay(from: Coordinates, to: Coordinates) -> Duration {
    FIXED + Duration::from_secs_f64(from.distance_km(to) * DETOUR / KM_PER_SECOND)
}

/// How one direction between two nodes behaves. The default is a wire without length.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Path {
    /// One way.
    pub delay: Duration,
    /// Up to this much more, at random.
    pub jitter: Duration,
    /// Packets in a million that are lost.
    pub lost_per_million: u32,
    /// Bytes a second; `None`: no bound.
    pub bandwidth: Option<u64>,
    /// Nothing passes.
    pub cut: bool,
}

/// What leaves one node. Cheap to clone; changes act at once, so that a test can cut a link.
#[derive(Clone, Debug, Default)]
pub struct Link(Arc<Mutex<BTreeMap<SocketAddr, Path>>>);

impl Link {
    fn paths(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Path>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how packets to `to` behave; without a path they pass at once.
    pub fn set(&self, to: SocketAddr, path: Path) {
        self.paths().insert(canonical(to), path);
    }

    /// Changes how packets to `to` behave.
    pub fn change(&self, to: SocketAddr, change: impl FnOnce(&mut Path)) {
        change(self.paths().entry(canonical(to)).or_default());
    }

    /// `None`: nothing was said of this address.
    pub(super) fn path(&self, to: SocketAddr) -> Option<Path> {
        self.paths().get(&canonical(to)).copied()
    }
}

/// An address as it was written, whatever family the socket that uses it has.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What one direction has under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// When the last byte has left.
    free_at: Duration,
    /// When the last packet arrives.
    last_at: Duration,
}

impl Flow {
    /// When a packet of `bytes` that is sent at `now` arrives; `None`: never.
    pub fn arrival(
        &mut self,
        path: &Path,
        bytes: usize,
        now: Duration,
        random: u64,
    ) -> Option<Duration> {
        let (loss_dice, jitter_dice) = (random & 0xffff_ffff, random >> 32);
        if path.cut || loss_dice % 1_000_000 < u64::from(path.lost_per_million) {
            return None;
        }
        let left_at = match path.bandwidth {
            None => now,
            Some(bandwidth) => {
                let begin = self.free_at.max(now);
                if begin - now > QUEUE_MAX {
                    return None;
                }
                let nanos = u64::try_from(bytes).ok()?.saturating_mul(1_000_000_000);
                begin + Duration::from_nanos(nanos / bandwidth.max(1))
            }
        };
        self.free_at = left_at;
        let jitter_part = u32::try_from(jitter_dice % 1000).expect("below 1000");
        let arrival = left_at + path.delay + path.jitter * jitter_part / 1000;
        self.last_at = self.last_at.max(arrival);
        Some(self.last_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRA: Coordinates = Coordinates { lat: 50.03, lon: 8.56 };
    const IAD: Coordinates = Coordinates { lat: 38.95, lon: -77.45 };
    const NRT: Coordinates = Coordinates { lat: 35.77, lon: 140.39 };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn round_trips_are_like_those_of_the_internet() {
        let rtt = |a, b| (delay(a, b) + delay(b, a)).as_millis();
        assert!((90..105).contains(&rtt(IAD, FRA)), "{}", rtt(IAD, FRA));
        assert!((135..220).contains(&rtt(FRA, NRT)), "{}", rtt(FRA, NRT));
        assert_eq!(rtt(FRA, FRA), 2);
    }

    #[test]
    fn what_is_set_for_an_address_holds_for_it_however_it_is_written() {
        let link = Link::default();
        let to: SocketAddr = "127.0.0.1:7946".parse().unwrap();
        link.set(to, Path { delay: ms(5), ..Path::default() });
        link.clone().change(to, |path| path.cut = true);
        let mapped = "[::ffff:127.0.0.1]:7946".parse().unwrap();
        let wanted = Path { delay: ms(5), cut: true, ..Path::default() };
        assert_eq!(link.path(mapped), Some(wanted));
        assert_eq!(link.path("127.0.0.1:7947".parse().unwrap()), None);
        assert_eq!(Flow::default().arrival(&wanted, 1, ms(0), 0), None);
    }

    #[test]
    fn jitter_never_lets_a_packet_overtake() {
        let path = Path { delay: ms(70), jitter: ms(40), ..Path::default() };
        let mut flow = Flow::default();
        let late = flow.arrival(&path, 1200, ms(0), 999 << 32).unwrap();
        assert!(late > path.delay + ms(39));
        let next = flow.arrival(&path, 1200, ms(1), 0).unwrap();
        assert_eq!(next, late);
        assert_eq!(flow.arrival(&path, 1200, ms(100), 0), Some(ms(100) + path.delay));
    }

    #[test]
    fn bandwidth_spaces_packets_and_a_full_queue_loses_them() {
        let path = Path { delay: ms(10), bandwidth: Some(100_000), ..Path::default() };
        let mut flow = Flow::default();
        assert_eq!(flow.arrival(&path, 1000, ms(0), 0), Some(ms(20)));
        assert_eq!(flow.arrival(&path, 1000, ms(0), 0), Some(ms(30)));
        let arrived = (0..100).filter_map(|_| flow.arrival(&path, 1000, ms(0), 0)).count();
        assert!((40..60).contains(&arrived), "{arrived}");
    }

    #[test]
    fn about_the_stated_share_of_packets_is_lost() {
        let path = Path { lost_per_million: 100_000, ..Path::default() };
        let mut flow = Flow::default();
        let spread = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        let lost = (0..10_000).filter(|i| flow.arrival(&path, 1, ms(0), spread(*i)).is_none());
        assert!((800..1200).contains(&lost.count()));
    }
}
