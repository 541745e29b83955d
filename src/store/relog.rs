//! Records of the index that decayed or are missing, looked for in the log: the frame that wrote one
//! says what it was, as long as its segment is there.
//!
//! Invariant: a record is found only in the state that its digest says. An older or a newer state of
//! it is never taken, and none is where the digest decayed too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::limits;
use crate::types::record::{Record, RecordId};

use super::codec::{self, Kind};
use super::digest::{self, Leaf};
use super::error::Error;
use super::schema::{self, Space};
use super::segment::{Found, Reader};
use super::shared::Shared;
use super::{Store, lock};

/// A walk over the log for damaged records, the newest segment first.
pub struct LogSearch {
    shared: Arc<Shared>,
    /// Keys of records that are not found yet, with their digests.
    wanted: BTreeMap<Vec<u8>, Leaf>,
    /// Nothing says what these were.
    unknown: Vec<RecordId>,
    /// Segments that are not read yet, and their ends; the newest is the last.
    segments: Vec<(u64, u64)>,
    /// Where to go on in the last one.
    position: u64,
}

/// One step of it.
struct Step {
    wanted: BTreeMap<Vec<u8>, Leaf>,
    found: Vec<(RecordId, Record)>,
    /// Of the values found.
    bytes: usize,
    position: u64,
}

impl Store {
    /// Begins to look for damaged records in the log. Left out are those that nothing can be said of
    /// yet: their digest is to be mended first, or they are on a page that makes no sense.
    pub async fn search_log(&self, ids: BTreeSet<RecordId>) -> Result<LogSearch, Error> {
        let shared = Arc::clone(&self.shared);
        self.shared.env.blocking(move || LogSearch::begin(shared, ids)).await
    }
}

impl LogSearch {
    fn begin(shared: Arc<Shared>, ids: BTreeSet<RecordId>) -> Result<Self, Error> {
        let (mut wanted, mut unknown) = (BTreeMap::new(), Vec::new());
        let view = shared.index.view()?;
        for id in ids {
            let key = schema::record_key(&id);
            let leaf_key = schema::leaf_key(digest::leaf_of(&key), &key);
            let there = view.get_raw(Space::Records, &key, |_| ());
            let said = there.and_then(|_| {
                view.get(Space::Leaves, &leaf_key, |bytes| Leaf::try_from(bytes).ok())
            });
            match said {
                Ok(Some(Some(digest))) => {
                    wanted.insert(key, digest);
                }
                // What is whole itself gets its digest again.
                Ok(None | Some(None)) => match view.get(Space::Records, &key, |_| ()) {
                    Ok(Some(())) => {}
                    Ok(None) | Err(Error::Corrupt(_)) => unknown.push(id),
                    Err(error) => return Err(error),
                },
                Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        drop(view);
        let segments: Vec<(u64, u64)> =
            lock(&shared.segments).infos.iter().map(|(at, info)| (*at, info.len)).collect();
        Ok(Self { shared, wanted, unknown, segments, position: 0 })
    }

    /// Reads on, and answers what was found on the way; `None` when everything is found, or at the
    /// end. A segment that cannot be read is told, and passed over.
    pub async fn next(&mut self) -> Option<Vec<(RecordId, Record)>> {
        if self.wanted.is_empty() {
            return None;
        }
        let (segment, end) = *self.segments.last()?;
        let (shared, wanted) = (Arc::clone(&self.shared), std::mem::take(&mut self.wanted));
        let mut step = Step { wanted, found: Vec::new(), bytes: 0, position: self.position };
        let look = move || {
            if let Err(error) = shared.look_in(segment, end, &mut step) {
                step.position = end;
                // One that was freed meanwhile had nothing more to say.
                if lock(&shared.segments).infos.contains_key(&segment) {
                    tracing::error!(segment, %error, "a segment could not be looked through");
                }
            }
            step
        };
        let step = self.shared.env.blocking(look).await;
        (self.wanted, self.position) = (step.wanted, step.position);
        if self.position >= end {
            self.segments.pop();
            self.position = 0;
        }
        Some(step.found)
    }

    /// What was looked for and is not in the log.
    pub fn missing(&self) -> Result<Vec<RecordId>, Error> {
        let wanted = self.wanted.keys().map(|key| schema::record_id(key));
        wanted.chain(self.unknown.iter().cloned().map(Ok)).collect()
    }
}

impl Shared {
    /// Goes from frame to frame until enough is found.
    fn look_in(&self, segment: u64, end: u64, step: &mut Step) -> Result<(), Error> {
        let mut reader = Reader::new(self.files.open_segment(segment)?, segment)?;
        while step.position < end && step.bytes < limits::FOUND_RECORDS_BYTES {
            let frame = match reader.at(step.position)? {
                Found::Frame(frame) => Some(frame),
                Found::Bad => reader.seek(step.position)?,
                Found::End => None,
            };
            let Some(frame) = frame.filter(|frame| frame.kind != Kind::Seal) else {
                step.position = end;
                return Ok(());
            };
            if frame.kind == Kind::Change {
                step.take(&frame.payload)?;
            }
            step.position = if step.wanted.is_empty() { end } else { frame.next };
        }
        Ok(())
    }
}

impl Step {
    /// Takes the records of a change that are what their digests say.
    fn take(&mut self, payload: &[u8]) -> Result<(), Error> {
        let (_, start) = codec::bodies(payload)?;
        let mut mutations = &payload[start..];
        while let Some(mutation) = codec::take_mutation(&mut mutations)? {
            let value = mutation.value.filter(|_| mutation.space == Space::Records);
            let (Some(value), Some(digest)) = (value, self.wanted.get(mutation.key)) else {
                continue;
            };
            // An older program may have written it in other bytes than the digest is made of.
            let record: Record = schema::decode(value)?;
            if digest::digest_of(mutation.key, &record) == *digest {
                self.found.push((schema::record_id(mutation.key)?, record));
                self.wanted.remove(mutation.key);
                self.bytes += value.len();
            }
        }
        Ok(())
    }
}
