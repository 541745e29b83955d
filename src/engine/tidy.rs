//! Clean-up after uploads.
//!
//! Invariant: a part that came after its upload was over names no bytes for long. Only the region
//! that began the upload judges, because it alone knows for sure how it ended.

use crate::limits;
use crate::types::id::UploadId;
use crate::types::record::{PartRecord, Record, RecordId, UploadState};
use crate::types::stamp::Stamp;

use super::index::store_error;
use super::{Engine, Error};

impl Engine {
    /// Ends parts whose upload is over; how many there were. One walk over all parts.
    pub async fn end_late_parts(&self) -> Result<usize, Error> {
        let mut after = RecordId::Part(UploadId(Stamp::ZERO), 0);
        let mut ended = 0;
        loop {
            let (late, next) = self.late_parts(after).await?;
            ended += late.len();
            if !late.is_empty() {
                self.cluster.write_records(1, late).await?;
            }
            let Some(next) = next else { return Ok(ended) };
            after = next;
        }
    }

    /// One page: the late parts as they shall be, and where the walk goes on.
    async fn late_parts(
        &self,
        after: RecordId,
    ) -> Result<(Vec<(RecordId, Record)>, Option<RecordId>), Error> {
        let (engine, now_ms) = (self.clone(), self.env().now_ms());
        self.look(move |snapshot| {
            let page = snapshot.records(Some(&after), limits::SWEEP_PAGE).map_err(store_error)?;
            let next = page.last().map(|(id, _)| id.clone());
            let mut late = Vec::new();
            for (id, record) in page {
                let (RecordId::Part(upload, _), Record::Part(part)) = (&id, record) else {
                    return Ok((late, None));
                };
                if part.ended || upload.0.region != engine.region() {
                    continue;
                }
                let over = match snapshot.record(&RecordId::Upload(*upload)).map_err(store_error)? {
                    Some(Record::Upload(upload)) => upload.state != UploadState::Open,
                    // Forgotten long after it was over.
                    Some(_) | None => is_old(part.stamp, now_ms),
                };
                if over {
                    let stamp = engine.cluster.stamp(part.stamp);
                    let ended = PartRecord { stamp, ended: true, ..*part };
                    late.push((id, Record::Part(Box::new(ended))));
                }
            }
            Ok((late, next))
        })
        .await
    }
}

fn is_old(stamp: Stamp, now_ms: u64) -> bool {
    u128::from(now_ms.saturating_sub(stamp.hlc.ms())) > limits::TOMBSTONE_AGE.as_millis()
}
