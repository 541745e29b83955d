//! Sums of two looks at the regions, and what happened in between.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::admin::model::{NodeFigures, OpSums, RegionStatus, Status, Traffic};
use crate::types::region::RegionId;

/// What all regions said at one moment; why one said nothing.
pub(super) struct Look {
    pub(super) status: Status,
    pub(super) regions: BTreeMap<RegionId, Result<Told, String>>,
    pub(super) at: Duration,
}

/// What one region said.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) traffic: Traffic,
    /// Its disk and caches; none where it did not say.
    pub(super) node: Option<NodeFigures>,
}

/// What happened in a region, or in all, between two looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    /// Requests and failures (5xx) a second, and milliseconds that one took.
    pub(super) per_s: f64,
    pub(super) errors_per_s: f64,
    pub(super) ms: f64,
    /// Half of the requests, and 99 of 100, took at most so many milliseconds; none without any.
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) sent_bytes_per_s: f64,
    pub(super) received_bytes_per_s: f64,
    /// The share of chunks that readers got without a question to another region.
    pub(super) hits: Option<f64>,
    pub(super) moves_per_s: f64,
    pub(super) open: f64,
    pub(super) copies_waiting: u64,
    pub(super) below_copies: u64,
    /// By operation, the most first.
    pub(super) ops: Vec<OpRates>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct OpRates {
    pub(super) op: String,
    pub(super) per_s: f64,
    pub(super) errors_per_s: f64,
    pub(super) ms: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// One region as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RegionRates {
    pub(super) code: RegionId,
    #[serde(skip)]
    pub(super) status: RegionStatus,
    pub(super) rates: Option<Rates>,
    pub(super) node: Option<NodeFigures>,
    /// Why there are none.
    pub(super) error: Option<String>,
}

/// What is shown of two looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Seen {
    #[serde(flatten)]
    pub(super) all: Rates,
    pub(super) regions: Vec<RegionRates>,
    pub(super) status: Status,
}

/// What happened between two looks; without one before, there are states and no rates.
pub(super) fn seen(before: Option<&Look>, now: &Look) -> Seen {
    let seconds = before.map_or(1.0, |before| now.at.saturating_sub(before.at).as_secs_f64());
    let seconds = seconds.max(0.001);
    let earlier = |code: &RegionId| before.and_then(|before| before.regions.get(code));
    let of = |region: &RegionStatus| {
        let told = now.regions.get(&region.code)?;
        let (rates, error) = match (earlier(&region.code), told) {
            (Some(Ok(before)), Ok(now)) => {
                (Some(rates(&before.traffic, &now.traffic, seconds)), None)
            }
            (_, Err(why)) => (None, Some(why.clone())),
            (_, Ok(_)) => (None, Some("looked at for the first time".to_owned())),
        };
        let node = told.as_ref().ok().and_then(|told| told.node.clone());
        Some(RegionRates { code: region.code, status: region.clone(), rates, node, error })
    };
    let regions: Vec<RegionRates> = now.status.regions.iter().filter_map(of).collect();
    let mut sums = (Traffic::default(), Traffic::default());
    for (region, found) in &now.regions {
        if let (Some(Ok(old)), Ok(new)) = (earlier(region), found) {
            add(&mut sums.0, &old.traffic);
            add(&mut sums.1, &new.traffic);
        }
    }
    Seen { all: rates(&sums.0, &sums.1, seconds), regions, status: now.status.clone() }
}

fn add(sum: &mut Traffic, one: &Traffic) {
    for (op, sums) in &one.ops {
        let all = sum.ops.entry(op.clone()).or_default();
        all.requests += sums.requests;
        all.errors += sums.errors;
        all.seconds += sums.seconds;
        for (bound, requests) in &sums.within {
            *all.within.entry(bound.clone()).or_default() += requests;
        }
    }
    for (source, chunks) in &one.chunks {
        *sum.chunks.entry(source.clone()).or_default() += chunks;
    }
    sum.open += one.open;
    sum.sent_bytes += one.sent_bytes;
    sum.received_bytes += one.received_bytes;
    sum.moves += one.moves;
    sum.copies_waiting += one.copies_waiting;
    sum.below_copies += one.below_copies;
}

/// What came to `old` to make `new`; nothing where a node was started again and counts from nothing.
fn grown(old: &OpSums, new: &OpSums) -> Option<OpSums> {
    let requests = new.requests - old.requests;
    let within = new.within.iter().map(|(bound, count)| {
        (bound.clone(), count - old.within.get(bound).copied().unwrap_or(0.0))
    });
    (requests > 0.0).then(|| OpSums {
        requests,
        errors: new.errors - old.errors,
        seconds: new.seconds - old.seconds,
        within: within.collect(),
    })
}

fn rates(before: &Traffic, now: &Traffic, seconds: f64) -> Rates {
    let (mut all, mut ops) = (OpSums::default(), Vec::new());
    let nothing = OpSums::default();
    for (op, sums) in &now.ops {
        let Some(one) = grown(before.ops.get(op).unwrap_or(&nothing), sums) else { continue };
        all.requests += one.requests;
        all.errors += one.errors;
        all.seconds += one.seconds;
        for (bound, requests) in &one.within {
            *all.within.entry(bound.clone()).or_default() += requests;
        }
        ops.push(OpRates {
            op: op.clone(),
            per_s: one.requests / seconds,
            errors_per_s: one.errors / seconds,
            ms: one.seconds / one.requests * 1000.0,
            p50_ms: quantile(&one, 0.5),
            p99_ms: quantile(&one, 0.99),
        });
    }
    ops.sort_by(|a, b| b.per_s.total_cmp(&a.per_s));
    let came = |source: &str| {
        let of = |traffic: &Traffic| traffic.chunks.get(source).copied().unwrap_or(0.0);
        (of(now) - of(before)).max(0.0)
    };
    let chunks: f64 = now.chunks.keys().map(|source| came(source)).sum();
    let a_second = |old: f64, new: f64| ((new - old) / seconds).max(0.0);
    Rates {
        per_s: all.requests / seconds,
        errors_per_s: all.errors / seconds,
        ms: if all.requests > 0.0 { all.seconds / all.requests * 1000.0 } else { 0.0 },
        p50_ms: quantile(&all, 0.5),
        p99_ms: quantile(&all, 0.99),
        sent_bytes_per_s: a_second(before.sent_bytes, now.sent_bytes),
        received_bytes_per_s: a_second(before.received_bytes, now.received_bytes),
        hits: (chunks > 0.0).then(|| 1.0 - came("region") / chunks),
        moves_per_s: a_second(before.moves, now.moves),
        open: now.open,
        copies_waiting: now.copies_waiting,
        below_copies: now.below_copies,
        ops,
    }
}

/// Milliseconds that a share of the requests took at most, taken to be even between two bounds of the
/// histogram, as `histogram_quantile` of Prometheus does; beyond the last bound it is that bound.
fn quantile(sums: &OpSums, share: f64) -> Option<f64> {
    let bounds = sums.within.iter().filter_map(|(bound, n)| Some((bound.parse::<f64>().ok()?, *n)));
    let mut bounds: Vec<(f64, f64)> = bounds.collect();
    bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted = sums.requests * share;
    let mut below = (0.0, 0.0);
    for (bound, count) in bounds {
        if count >= wanted && count > below.1 {
            let part = (wanted - below.1) / (count - below.1);
            return Some((below.0 + (bound - below.0) * part) * 1000.0);
        }
        below = (bound, count);
    }
    (sums.requests > 0.0 && below.0 > 0.0).then_some(below.0 * 1000.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::admin::model::{BucketLag, PeerState, Replication};

    fn traffic(gets: f64, seconds: f64, far: f64) -> Traffic {
        let within = [("0.01", gets / 2.0), ("0.1", gets)].map(|(b, n)| (b.to_owned(), n));
        let sums = OpSums { requests: gets, errors: 2.0, seconds, within: within.into() };
        Traffic {
            ops: BTreeMap::from([("GetObject".to_owned(), sums)]),
            chunks: BTreeMap::from([("memory".to_owned(), gets), ("region".to_owned(), far)]),
            sent_bytes: 1e5 * gets,
            open: 3.0,
            ..Traffic::default()
        }
    }

    fn node(code: RegionId) -> NodeFigures {
        NodeFigures {
            region: code,
            now_ms: 0,
            clock_wrong_ms: 0,
            disk_total_bytes: 100 << 30,
            disk_free_bytes: 25 << 30,
            segment_bytes: 40 << 30,
            segment_live_bytes: 30 << 30,
            cache_bytes: 3 << 30,
            memory_cache_bytes: 200 << 20,
            commits: 1,
            changes: 2,
            corrupt_reads: 0,
            poisoned: false,
            disk: None,
        }
    }

    fn status() -> Status {
        let region = |code: &str, state, rtt_ms, behind| RegionStatus {
            code: code.parse().unwrap(),
            city: String::new(),
            lat: 0.0,
            lon: 0.0,
            state,
            rtt_ms,
            behind,
            queued: 0,
            voter: true,
        };
        let lag = BucketLag {
            bucket: "photos".to_owned(),
            region: "nrt".parse().unwrap(),
            changes: 12,
            lag_ms: 3400,
        };
        Status {
            version: "1".to_owned(),
            region: "fra".parse().unwrap(),
            regions: vec![
                region("fra", PeerState::Here, Some(0), 0),
                region("iad", PeerState::Connected, Some(88), 7),
                region("nrt", PeerState::Away, None, 0),
            ],
            replication: Replication { below_copies: 4, damaged: 0, buckets: vec![lag] },
            disk: None,
            certificate: None,
        }
    }

    /// Two looks: one region works, one has just come, one is away.
    pub(in crate::cli::top) fn looks() -> (Look, Look) {
        let [fra, iad, nrt] = ["fra", "iad", "nrt"].map(|code| code.parse().unwrap());
        let told = |gets, seconds, far| {
            Ok(Told { traffic: traffic(gets, seconds, far), node: Some(node(fra)) })
        };
        let away = || Err("away".to_owned());
        let before = Look {
            status: status(),
            regions: BTreeMap::from([(fra, told(10.0, 1.0, 0.0)), (iad, away()), (nrt, away())]),
            at: Duration::ZERO,
        };
        let late = told(2.0, 0.1, 0.0);
        let now = Look {
            status: status(),
            regions: BTreeMap::from([(fra, told(30.0, 1.4, 20.0)), (iad, late), (nrt, away())]),
            at: Duration::from_secs(2),
        };
        (before, now)
    }

    #[test]
    fn rates_are_of_what_happened_between_two_looks() {
        let (before, now) = looks();
        let seen = seen(Some(&before), &now);
        let fra = seen.regions[0].rates.as_ref().unwrap();
        assert_eq!((fra.per_s, fra.errors_per_s, fra.open), (10.0, 0.0, 3.0));
        assert!((fra.ms - 20.0).abs() < 1e-6, "{fra:?}");
        assert_eq!((fra.hits, fra.sent_bytes_per_s), (Some(0.5), 1e6));
        assert_eq!(fra.p50_ms, Some(10.0));
        assert!((fra.p99_ms.unwrap() - 98.2).abs() < 1e-6, "{fra:?}");
        assert_eq!(seen.all, *fra, "the others said nothing, or nothing before");
        assert_eq!(seen.regions[1].error.as_deref(), Some("looked at for the first time"));
        assert_eq!(seen.regions[2].error.as_deref(), Some("away"));
    }

    #[test]
    fn a_first_look_has_states_and_no_rates() {
        let (before, _) = looks();
        let first = seen(None, &before);
        assert!(first.regions.iter().all(|region| region.rates.is_none()));
        assert_eq!((first.all.per_s, first.all.p50_ms), (0.0, None));
    }

    #[test]
    fn a_node_that_was_started_again_has_no_negative_rates() {
        let rates = rates(&traffic(30.0, 2.0, 9.0), &traffic(10.0, 1.0, 0.0), 1.0);
        assert_eq!((rates.per_s, rates.sent_bytes_per_s, rates.hits), (0.0, 0.0, None));
        assert_eq!((rates.p50_ms, rates.ops.len()), (None, 0));
    }

    #[test]
    fn what_takes_longer_than_the_last_bound_took_at_least_that() {
        let within = BTreeMap::from([("0.5".to_owned(), 1.0), ("10.0".to_owned(), 1.0)]);
        let sums = OpSums { requests: 100.0, errors: 0.0, seconds: 0.0, within };
        assert_eq!(quantile(&sums, 0.5), Some(10_000.0));
        assert_eq!(quantile(&OpSums::default(), 0.5), None);
    }
}
