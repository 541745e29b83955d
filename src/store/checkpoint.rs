//! Checkpoints: durable commits of the index, with the log position that it has reached.
//!
//! Invariant: everything before the position is in that commit. Segments without live bytes in it
//! are named by no durable state, so their files may go.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::id::Incarnation;

use super::digest;
use super::error::Error;
use super::index::{Index, View};
use super::layer::Overlay;
use super::roots;
use super::schema::{self, BlobEntry, FORMAT, FORMAT_OLDEST, Place, SegmentInfo, Space};
use super::seal::{FORMAT_COPY_KEY, FORMAT_KEY, SEALED_KEY};
use super::segment::Position;
use super::shared::{Segments, Shared};
use super::{lock, write_lock};

const STATE_KEY: &[u8] = b"state";

/// What a data directory knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub incarnation: Incarnation,
    /// How often it was opened.
    pub boot: u64,
    /// The log is applied up to here.
    pub segment: u64,
    pub offset: u64,
}

impl State {
    pub(crate) fn position(&self) -> Position {
        Position { segment: self.segment, offset: self.offset }
    }

    fn put(&self, overlay: &mut Overlay) {
        for key in [FORMAT_KEY, FORMAT_COPY_KEY] {
            overlay.put(Space::Own, key.to_vec(), Some(FORMAT.to_be_bytes().to_vec()));
        }
        overlay.put(Space::Own, STATE_KEY.to_vec(), Some(schema::encode(self)));
    }
}

/// The first commit of a new index.
pub(crate) fn found(index: &Index, state: &State) -> Result<(), Error> {
    let mut overlay = Overlay::default();
    state.put(&mut overlay);
    overlay.put(Space::Own, SEALED_KEY.to_vec(), Some(Vec::new()));
    index.apply(&overlay, true)?;
    caught_up(index)
}

/// Where nothing can wait for room.
pub(crate) fn caught_up(index: &Index) -> Result<(), Error> {
    if index.catch_up()? { Ok(()) } else { Err(Error::DiskFull) }
}

/// The format that an index says it has; `None`: it has nothing yet.
pub(super) fn said_format(view: &View) -> Result<Option<u32>, Error> {
    let said = |key| {
        let number = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes);
        let said = view.get(Space::Own, key, number)?.transpose();
        said.map_err(|_| Error::corrupt("the format of the index"))
    };
    match said(FORMAT_COPY_KEY)? {
        None => said(FORMAT_KEY),
        copy => Ok(copy),
    }
}

/// The format of a directory, which this program reads.
pub(crate) fn format(view: &View) -> Result<u32, Error> {
    match said_format(view)? {
        Some(found @ FORMAT_OLDEST..=FORMAT) => Ok(found),
        Some(found) => Err(Error::Newer { found, known: FORMAT }),
        None => Err(Error::corrupt("the index has no format")),
    }
}

/// The state of the last durable commit.
pub(crate) fn read(view: &View) -> Result<State, Error> {
    format(view)?;
    let state = view.get(Space::Own, STATE_KEY, schema::decode)?.transpose()?;
    state.ok_or_else(|| Error::corrupt("the index has no state"))
}

/// Loads what lives in memory between checkpoints: digest sums and segments. Sums that decayed are
/// made anew of what they are the sums of.
pub(crate) fn load(shared: &Shared, view: &View) -> Result<(), Error> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    {
        let mut sums = write_lock(&shared.sums);
        let mut decayed = false;
        for row in view.range(Space::Sums, all.0, all.1)?.into_iter().flatten() {
            match row {
                Ok(row) => match row.key() {
                    [group] => sums.load(*group, row.value())?,
                    _ => return Err(Error::corrupt("stored digest sums")),
                },
                Err(Error::Corrupt(_)) => decayed = true,
                Err(error) => return Err(error),
            }
        }
        if decayed {
            *sums = digest::summed_up(view)?;
        }
    }
    let mut segments = lock(&shared.segments);
    for row in view.range(Space::Segments, all.0, all.1)?.into_iter().flatten() {
        match row {
            Ok(row) => {
                let info = SegmentInfo::decode(row.value())?;
                segments.infos.insert(schema::number(row.key())?, info);
            }
            Err(Error::Corrupt(_)) => {
                segments.infos = counted(shared, view)?;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What lives in each segment, counted. Walks over all held blobs: for damage only. An entry that
/// decayed may say of any segment that its bytes are there: each is counted as if it had one body
/// more, so that none goes before mending counts anew.
pub(crate) fn counted(shared: &Shared, view: &View) -> Result<BTreeMap<u64, SegmentInfo>, Error> {
    let mut doubted = false;
    let mut infos: BTreeMap<u64, SegmentInfo> = BTreeMap::new();
    let (generations, _) =
        shared.files.list_log().map_err(|e| Error::io("looking at the log", e))?;
    for generation in generations {
        let file = shared.files.open_segment(generation)?;
        let len = file.size().map_err(|e| Error::io("looking at the log", e))?;
        infos.insert(generation, SegmentInfo { len, ..SegmentInfo::default() });
    }
    let all = (Bound::Unbounded, Bound::Unbounded);
    for row in view.range(Space::Blobs, all.0, all.1)?.into_iter().flatten() {
        let row = match row {
            Err(error) if view.goes_on_past(&error) => {
                doubted = true;
                continue;
            }
            row => row?,
        };
        let entry = BlobEntry::decode(row.value())?;
        if let Place::Segment { segment, .. } = entry.place
            && entry.len > 0
        {
            let info = infos.entry(segment).or_default();
            info.live += entry.len;
            info.bodies += 1;
        }
    }
    if doubted {
        for info in infos.values_mut() {
            info.live += 1;
            info.bodies += 1;
        }
    }
    Ok(infos)
}

/// A checkpoint that the index has, and that counts when the index has caught up.
pub(crate) struct Written {
    position: Position,
    /// Segments whose files may go then.
    retired: Vec<u64>,
}

/// Gives the index a checkpoint.
pub(crate) fn write(shared: &Shared, position: Position, boot: u64) -> Result<Written, Error> {
    let mut overlay = Overlay::default();
    let incarnation = shared.own.incarnation;
    State { incarnation, boot, segment: position.segment, offset: position.offset }
        .put(&mut overlay);
    let dirty = write_lock(&shared.sums).take_dirty();
    for (group, leaves) in dirty {
        overlay.put(Space::Sums, vec![group], Some(leaves));
    }
    let retired = put_segments(&mut lock(&shared.segments), position.segment, &mut overlay);
    shared.index.apply(&overlay, true)?;
    Ok(Written { position, retired })
}

/// The checkpoint is durable; answers the segments whose files may go.
pub(crate) fn settle(shared: &Shared, written: Written) -> Vec<u64> {
    if let Some(index) = shared.index.disk_file()
        && let Err(error) = roots::keep(&shared.files, &index, &shared.index.shared_decay())
    {
        tracing::error!(%error, "where the index begins has decayed");
        roots::forget(&shared.files);
    }
    lock(&shared.segments).settled = written.position.segment;
    lock(&shared.doomed).release();
    written.retired
}

/// Entries of changed segments; those without live bytes before the current one are forgotten.
fn put_segments(segments: &mut Segments, current: u64, overlay: &mut Overlay) -> Vec<u64> {
    let retired: Vec<u64> =
        segments.infos.range(..current).filter(|(_, i)| i.live == 0).map(|(g, _)| *g).collect();
    for generation in &retired {
        segments.infos.remove(generation);
        overlay.put(Space::Segments, generation.to_be_bytes().to_vec(), None);
    }
    for generation in std::mem::take(&mut segments.dirty) {
        if let Some(info) = segments.infos.get(&generation) {
            let key = generation.to_be_bytes().to_vec();
            overlay.put(Space::Segments, key, Some(info.encode().to_vec()));
        }
    }
    retired
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
