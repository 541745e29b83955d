//! What is seen, as tables: the same figures on the screen and in a pipe.

use super::rates::{OpRates, RegionRates, Seen};
use crate::admin::model::PeerState;
use crate::cli::live::{Cell, Column, Grid, Sort, Tone, column};
use crate::cli::output;

/// The tables, in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Regions,
    Operations,
    Storage,
    Lag,
}

/// Eighty characters show these but the last ones.
const REGIONS: &[Column] = &[
    column("region", 7, false),
    column("state", 9, false),
    column("behind", 7, true),
    column("req/s", 7, true),
    column("5xx/s", 6, true),
    column("p50", 8, true),
    column("p99", 8, true),
    column("out/s", 10, true),
    column("in/s", 10, true),
    column("cache", 6, true),
    column("way", 7, true),
    column("queued", 7, true),
];

const OPERATIONS: &[Column] = &[
    column("operation", 28, false),
    column("req/s", 8, true),
    column("5xx/s", 7, true),
    column("mean", 9, true),
    column("p50", 9, true),
    column("p99", 9, true),
];

const STORAGE: &[Column] = &[
    column("region", 7, false),
    column("disk", 6, true),
    column("free", 10, true),
    column("trouble", 24, false),
    column("bodies", 10, true),
    column("live", 6, true),
    column("cached", 10, true),
    column("memory", 10, true),
    column("copies", 7, true),
    column("too few", 8, true),
    column("moves/s", 8, true),
];

const LAG: &[Column] = &[
    column("bucket", 40, false),
    column("region", 7, false),
    column("changes", 9, true),
    column("behind", 9, true),
];

/// Of a hundred; from here on a disk wants a look, and is in danger.
const DISK_LOOK: f64 = 80.0;
const DISK_BAD: f64 = 95.0;

impl View {
    pub(super) const ALL: [Self; 4] = [Self::Regions, Self::Operations, Self::Storage, Self::Lag];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Regions => "regions",
            Self::Operations => "operations",
            Self::Storage => "storage",
            Self::Lag => "lag",
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Regions => REGIONS,
            Self::Operations => OPERATIONS,
            Self::Storage => STORAGE,
            Self::Lag => LAG,
        }
    }

    /// What is first unless something else is asked for.
    pub(super) fn sort(self) -> Sort {
        match self {
            Self::Regions | Self::Storage => Sort { column: 0, down: false },
            Self::Operations => Sort { column: 1, down: true },
            Self::Lag => Sort { column: 3, down: true },
        }
    }

    pub(super) fn grid(self, seen: &Seen) -> Grid {
        let rows = match self {
            Self::Regions => seen.regions.iter().map(region).collect(),
            Self::Operations => seen.all.ops.iter().map(operation).collect(),
            Self::Storage => seen.regions.iter().map(storage).collect(),
            Self::Lag => lag(seen),
        };
        let empty = match self {
            Self::Regions | Self::Storage => "no region",
            Self::Operations => "no requests since the last look",
            Self::Lag => "every region has applied what this node knows",
        };
        Grid { columns: self.columns(), rows, empty }
    }
}

fn ms(ms: Option<f64>) -> Cell {
    match ms {
        None => Cell::none(),
        Some(ms) if ms >= 10_000.0 => Cell::number(format!("{:.1} s", ms / 1000.0), ms),
        Some(ms) => Cell::number(format!("{ms:.1} ms"), ms),
    }
}

fn rate(per_s: f64) -> Cell {
    Cell::number(format!("{per_s:.1}"), per_s)
}

fn bytes(bytes: f64) -> Cell {
    Cell::number(output::size_of(bytes), bytes)
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn count(count: u64) -> Cell {
    Cell::number(count.to_string(), count as f64)
}

fn share(share: f64) -> Cell {
    Cell::number(format!("{:.0} %", share * 100.0), share)
}

fn region(region: &RegionRates) -> Vec<Cell> {
    let status = &region.status;
    let code = Cell::text(status.code.to_string());
    let state = match status.state {
        PeerState::Away => Cell::text("away").tone(Tone::Bad),
        PeerState::Connected => Cell::text("connected"),
        PeerState::Here => Cell::text("here"),
    };
    let behind = count(status.behind).tone_if(status.behind > 0, Tone::Look);
    let mut cells = vec![code, state, behind];
    match &region.rates {
        None => cells.extend(std::iter::repeat_n(Cell::none(), 7)),
        Some(rates) => cells.extend([
            rate(rates.per_s),
            rate(rates.errors_per_s).tone_if(rates.errors_per_s > 0.0, Tone::Bad),
            ms(rates.p50_ms),
            ms(rates.p99_ms),
            bytes(rates.sent_bytes_per_s),
            bytes(rates.received_bytes_per_s),
            rates.hits.map_or_else(Cell::none, share),
        ]),
    }
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    cells.push(ms(status.rtt_ms.map(|ms| ms as f64)));
    cells.push(count(status.queued).tone_if(status.queued > 0, Tone::Look));
    cells
}

fn operation(op: &OpRates) -> Vec<Cell> {
    vec![
        Cell::text(op.op.clone()),
        rate(op.per_s),
        rate(op.errors_per_s).tone_if(op.errors_per_s > 0.0, Tone::Bad),
        ms(Some(op.ms)),
        ms(op.p50_ms),
        ms(op.p99_ms),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn storage(region: &RegionRates) -> Vec<Cell> {
    let code = Cell::text(region.code.to_string());
    let Some(node) = &region.node else {
        let why = region.error.clone().unwrap_or_else(|| "it does not answer".to_owned());
        let mut cells = vec![code, Cell::none(), Cell::none(), Cell::text(why).tone(Tone::Bad)];
        cells.resize(STORAGE.len(), Cell::none());
        return cells;
    };
    let (total, free) = (node.disk_total_bytes as f64, node.disk_free_bytes as f64);
    let used = if total > 0.0 { 100.0 * (1.0 - free / total) } else { 0.0 };
    let disk = Cell::number(format!("{used:.0} %"), used);
    let disk = disk.tone_if(used >= DISK_LOOK, Tone::Look).tone_if(used >= DISK_BAD, Tone::Bad);
    let (segments, live) = (node.segment_bytes as f64, node.segment_live_bytes as f64);
    let rates = region.rates.as_ref();
    let trouble = match (&node.disk, node.clock_wrong_ms) {
        (Some(why), _) => why.clone(),
        (None, 0) => String::new(),
        (None, wrong) => format!("its clock is {wrong} ms ahead"),
    };
    vec![
        code,
        disk,
        bytes(free),
        Cell::text(trouble).tone(Tone::Bad),
        bytes(segments),
        if segments > 0.0 { share(live / segments) } else { Cell::none() },
        bytes(node.cache_bytes as f64),
        bytes(node.memory_cache_bytes as f64),
        rates.map_or_else(Cell::none, |rates| count(rates.copies_waiting)),
        rates.map_or_else(Cell::none, |rates| {
            count(rates.below_copies).tone_if(rates.below_copies > 0, Tone::Look)
        }),
        rates.map_or_else(Cell::none, |rates| rate(rates.moves_per_s)),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn lag(seen: &Seen) -> Vec<Vec<Cell>> {
    let lags = seen.status.replication.buckets.iter().map(|lag| {
        let seconds = lag.lag_ms as f64 / 1000.0;
        vec![
            Cell::text(lag.bucket.clone()),
            Cell::text(lag.region.to_string()),
            count(lag.changes),
            Cell::number(format!("{seconds:.1} s"), seconds).tone(Tone::Look),
        ]
    });
    lags.collect()
}
