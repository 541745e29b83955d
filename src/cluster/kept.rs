//! Changes of what rows keep: of what is over already, so that nobody waits for them.
//!
//! Invariant: only covers are changed here; a cover only grows, so that it does no harm when several
//! regions do it.

use crate::store::{self, Source};
use crate::types::kept::Cover;
use crate::types::object::Row;
use crate::types::record::{Record, RecordId};

use super::Cluster;

impl Cluster {
    /// Adds to the covers of rows what `judge` says of them as they are now; how many changed.
    pub async fn cover_rows(
        &self,
        rows: Vec<RecordId>,
        judge: impl Fn(&RecordId, &Row) -> Option<Cover> + Send + 'static,
    ) -> Result<u64, store::Error> {
        let (changed, last) = self
            .store()
            .write(move |tx| {
                let (mut changed, mut last) = (0, None);
                for id in rows {
                    let Some(Record::Row(row)) = tx.record(&id)? else { continue };
                    let Some(cover) = judge(&id, &row) else { continue };
                    let record = Record::Row(Row { cover, ..Row::default() });
                    let merged = tx.merge(id, record, Source::Local)?;
                    changed += u64::from(merged.changed);
                    last = merged.seq.or(last);
                }
                Ok::<_, store::Error>((changed, last))
            })
            .await?;
        if let Some(seq) = last {
            self.log_grew(seq);
        }
        Ok(changed)
    }
}
