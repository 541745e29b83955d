//! A body's way to one follower: pieces in a bounded window, taken in there by `stage`.
//!
//! Invariant: an outlet that failed or fell behind is given up and never fails the body; the
//! follower that replaces it gets the bytes from this disk.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use crate::env::Class;
use crate::limits;
use crate::net::message::{Request, Response};
use crate::types::id::BlobId;
use crate::types::object::BlobRef;
use crate::types::region::RegionId;

use super::Cluster;

struct Piece {
    offset: u64,
    bytes: Bytes,
}

/// Streams one blob to one region.
pub(super) struct Outlet {
    region: RegionId,
    patience: Duration,
    pieces: Option<mpsc::Sender<Piece>>,
    sent: oneshot::Receiver<()>,
    done: oneshot::Receiver<Result<(), String>>,
}

/// A body that was given whole to an outlet: when all of it is on its way, and whether it arrived.
#[derive(Debug)]
pub(super) struct Streamed {
    pub(super) region: RegionId,
    pub(super) sent: oneshot::Receiver<()>,
    pub(super) done: oneshot::Receiver<Result<(), String>>,
}

impl Outlet {
    pub(super) fn open(cluster: &Cluster, region: RegionId, blob: BlobId) -> Self {
        let (pieces, queue) = mpsc::channel(limits::STAGE_QUEUE_MAX);
        let (tell, done) = oneshot::channel();
        let (tell_sent, sent) = oneshot::channel();
        let sender = cluster.clone();
        cluster.spawn("body-outlet", async move {
            let outcome = sender.pump(region, blob, queue, tell_sent).await;
            // A body that was given up has nobody who listens.
            let _ = tell.send(outcome);
        });
        let patience = cluster.patience(region).max(limits::OUTLET_STALL_MAX);
        Self { region, patience, pieces: Some(pieces), sent, done }
    }

    pub(super) fn region(&self) -> RegionId {
        self.region
    }

    pub(super) fn is_open(&self) -> bool {
        self.pieces.is_some()
    }

    /// Sends a piece on its way; gives the outlet up when its window stays full.
    pub(super) async fn write(&mut self, cluster: &Cluster, offset: u64, bytes: Bytes) {
        let Some(pieces) = &self.pieces else { return };
        let sent = cluster.env().timeout(self.patience, pieces.send(Piece { offset, bytes })).await;
        if !matches!(sent, Ok(Ok(()))) {
            self.pieces = None;
        }
    }

    /// No more pieces; `None` when the outlet was given up before.
    pub(super) fn close(self) -> Option<Streamed> {
        self.pieces?;
        Some(Streamed { region: self.region, sent: self.sent, done: self.done })
    }
}

impl Cluster {
    /// How long a region may show no progress before another one is joined.
    pub(super) fn patience(&self, region: RegionId) -> Duration {
        let rtt = self.inner.peers.rtt(region).unwrap_or(limits::RTT_UNKNOWN);
        rtt * 3 + limits::STALL_MARGIN
    }

    async fn pump(
        &self,
        to: RegionId,
        blob: BlobId,
        mut queue: mpsc::Receiver<Piece>,
        all_sent: oneshot::Sender<()>,
    ) -> Result<(), String> {
        let mut flying = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(outcome) = flying.next() => outcome?,
                piece = queue.recv(), if flying.len() < limits::STAGE_WINDOW => match piece {
                    Some(piece) => flying.push(self.send_piece(to, blob, piece)),
                    None => break,
                },
            }
        }
        // Who does not listen waits for the arrival.
        let _ = all_sent.send(());
        while let Some(outcome) = flying.next().await {
            outcome?;
        }
        Ok(())
    }

    async fn send_piece(&self, to: RegionId, blob: BlobId, piece: Piece) -> Result<(), String> {
        let request = Request::Stage { blob, offset: piece.offset, bytes: piece.bytes };
        match self.call(to, Class::Read, &request, limits::ACK_TIMEOUT).await {
            Ok(Response::Done) => Ok(()),
            Ok(other) => Err(format!("{to} answered {} to a piece", other.name())),
            Err(why) => Err(format!("{to}: {why}")),
        }
    }

    /// Sends a blob that is on this disk whole to `to`.
    pub(super) async fn send_blob(&self, to: RegionId, blob: &BlobRef) -> Result<(), String> {
        let mut flying = FuturesUnordered::new();
        let mut offset = 0;
        for index in 0..chunks_of(blob.len) {
            let chunk = self.store().chunk(blob, index).await.map_err(|e| e.to_string())?;
            let (mut rest, _) = chunk.ok_or_else(|| format!("blob {} is not here", blob.id))?;
            while !rest.is_empty() {
                let bytes = rest.split_to(rest.len().min(limits::STAGE_PIECE_BYTES));
                let len = bytes.len() as u64;
                flying.push(self.send_piece(to, blob.id, Piece { offset, bytes }));
                offset += len;
                if flying.len() >= limits::STAGE_WINDOW
                    && let Some(outcome) = flying.next().await
                {
                    outcome?;
                }
            }
        }
        while let Some(outcome) = flying.next().await {
            outcome?;
        }
        Ok(())
    }
}

/// How many chunks a blob has.
pub(super) fn chunks_of(len: u64) -> u32 {
    let chunks = len.div_ceil(limits::CHUNK_BYTES as u64);
    u32::try_from(chunks).expect("BODY_BYTES_MAX is below 2^32 chunks")
}
