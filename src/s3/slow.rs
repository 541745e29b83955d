//! The slow-request log: where the time of a request went that took too long.

use std::time::Duration;

use tracing::warn;

use crate::obs::flow::{Flow, Stage};

/// One request that is over.
pub(super) struct Took<'a> {
    pub(super) op: &'static str,
    pub(super) target: &'a str,
    pub(super) caller: &'a str,
    pub(super) status: u16,
    pub(super) id: &'a str,
    pub(super) trace: Option<&'a str>,
    pub(super) bytes: u64,
    pub(super) first_byte: Duration,
    pub(super) total: Duration,
}

/// Writes its line. What was waited for is until the last byte; regions that were asked at the same
/// time count each, so parts may be more than the whole.
pub(super) fn tell(took: &Took<'_>, flow: &Flow) {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let Took { op, target, caller, status, id, trace, bytes, .. } = took;
    let sending = took.total.saturating_sub(took.first_byte);
    warn!(
        target: "godwit::slow",
        op, target, caller, status, bytes, id, trace,
        ms = ms(took.total),
        first_byte_ms = ms(took.first_byte),
        send_ms = ms(sending),
        access_ms = ms(flow.waited(Stage::Access)),
        receive_ms = ms(flow.waited(Stage::Receive)),
        disk_ms = ms(flow.waited(Stage::Disk)),
        regions_ms = ms(flow.waited(Stage::Regions)),
        "slow request"
    );
}
