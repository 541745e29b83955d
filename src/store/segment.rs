//! The log: appending frames to the current segment, and reading frames back.
//!
//! Invariant: what [`Log::flush`] answered is on stable storage. After an error other than a full
//! disk nothing is appended any more, because nobody knows what is on the disk then. A segment
//! ends with a seal before the next one gets its first frame.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::env::{DiskFile, OpenMode};

use super::codec::{self, ALIGN, HEADER_BYTES, Header, Kind};
use super::error::Error;
use super::files::Files;

/// Position in the log: a segment's generation and a byte in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub segment: u64,
    pub offset: u64,
}

/// A piece of what the next flush writes.
pub(crate) enum Part {
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl Part {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// The end of the log, where frames are appended.
pub(crate) struct Log {
    files: Arc<Files>,
    file: Arc<dyn DiskFile>,
    generation: u64,
    /// End of what is on stable storage.
    synced: u64,
    /// End of what was appended.
    end: u64,
    parts: Vec<Part>,
    /// Freed segment files; writing over allocated blocks needs fewer flushes of metadata.
    spares: Vec<PathBuf>,
}

impl Log {
    /// Goes on at the end of an existing segment, or begins a new one at offset zero.
    pub(crate) fn at(
        files: Arc<Files>,
        position: Position,
        spares: Vec<PathBuf>,
    ) -> Result<Self, Error> {
        assert!(position.offset.is_multiple_of(ALIGN as u64), "frames are aligned");
        let file = begin(&files, position.segment, None)?;
        Ok(Self {
            files,
            file,
            generation: position.segment,
            synced: position.offset,
            end: position.offset,
            parts: Vec::new(),
            spares,
        })
    }

    /// Where the next frame will begin.
    pub(crate) fn position(&self) -> Position {
        Position { segment: self.generation, offset: self.end }
    }

    /// Bytes that wait for the flush.
    pub(crate) fn waiting(&self) -> u64 {
        self.end - self.synced
    }

    /// Appends a frame whose payload is `payload`; on disk only after [`Log::flush`].
    pub(crate) fn append(&mut self, kind: Kind, payload: Vec<Part>) {
        let slices: Vec<&[u8]> = payload.iter().map(Part::bytes).collect();
        let header = Header::seal(kind, (self.generation, self.end), self.synced, &slices);
        let len: usize = HEADER_BYTES + slices.iter().map(|part| part.len()).sum::<usize>();
        let padding = len.next_multiple_of(ALIGN) - len;
        self.parts.push(Part::Owned(header.to_vec()));
        self.parts.extend(payload);
        if padding > 0 {
            self.parts.push(Part::Shared(Bytes::from_static(&[0; ALIGN]).slice(..padding)));
        }
        self.end += u64::try_from(len + padding).expect("frames are bounded");
    }

    /// One vectored write and one sync for everything appended. A full disk leaves the log as it
    /// was before; any other error leaves it unusable.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let slices: Vec<&[u8]> = self.parts.iter().map(Part::bytes).collect();
        let written = self.file.write_all_at(self.synced, &slices);
        self.parts.clear();
        if let Err(error) = written {
            let error = Error::io("writing the log", error);
            self.end = self.synced;
            if matches!(error, Error::DiskFull) {
                self.cut()?;
            }
            return Err(error);
        }
        self.file
            .sync()
            .map_err(|source| Error::Io { doing: "syncing the log", source: Arc::new(source) })?;
        self.synced = self.end;
        Ok(())
    }

    /// Takes back what a failed write may have left, so that it is never replayed.
    fn cut(&self) -> Result<(), Error> {
        let failed = |source| Error::Io { doing: "cutting the log", source: Arc::new(source) };
        self.file.set_len(self.synced).map_err(failed)?;
        self.file.sync().map_err(failed)
    }

    /// Seals this segment and goes on in the next. Nothing may be waiting.
    pub(crate) fn rotate(&mut self) -> Result<(), Error> {
        assert!(self.parts.is_empty(), "a change never spans two segments");
        let next = begin(&self.files, self.generation + 1, self.spares.pop())?;
        self.append(Kind::Seal, Vec::new());
        self.flush()?;
        self.file = next;
        self.generation += 1;
        self.synced = 0;
        self.end = 0;
        Ok(())
    }

    /// Number of freed segment files that wait to be used again.
    pub(crate) fn spares(&self) -> usize {
        self.spares.len()
    }

    pub(crate) fn add_spare(&mut self, path: PathBuf) {
        self.spares.push(path);
    }

    /// Gives up what waits to be used again.
    pub(crate) fn take_spares(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.spares)
    }
}

/// Opens the segment, made anew or from a spare one, and makes its name durable.
fn begin(
    files: &Arc<Files>,
    generation: u64,
    spare: Option<PathBuf>,
) -> Result<Arc<dyn DiskFile>, Error> {
    let path = files.segment(generation);
    let failed = |e| Error::io("beginning a segment", e);
    if let Some(spare) = spare {
        files.disk.rename(&spare, &path).map_err(failed)?;
    }
    let file = files.disk.open(&path, OpenMode::ReadWrite).map_err(failed)?;
    files.disk.sync_dir(&files.log_dir()).map_err(|source| Error::Io {
        doing: "syncing the log directory",
        source: Arc::new(source),
    })?;
    files.note_segment(generation, Arc::clone(&file));
    Ok(file)
}

/// What stands at a position of a segment.
pub(crate) enum Found {
    Frame(Frame),
    /// No frame of this generation begins here.
    Bad,
    End,
}

/// A frame as read back, its checksum verified.
pub(crate) struct Frame {
    pub kind: Kind,
    pub position: u64,
    pub synced: u64,
    pub payload: Vec<u8>,
    pub next: u64,
}

/// Reads the frames of one segment one after the other.
pub(crate) struct Reader {
    file: Arc<dyn DiskFile>,
    generation: u64,
    size: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// Bytes read at once.
const WINDOW_BYTES: usize = 4 << 20;

impl Reader {
    pub(crate) fn new(file: Arc<dyn DiskFile>, generation: u64) -> Result<Self, Error> {
        let size = file.size().map_err(|e| Error::io("reading the log", e))?;
        Ok(Self { file, generation, size, window: Vec::new(), window_at: 0 })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The frame that begins at `position`.
    pub(crate) fn at(&mut self, position: u64) -> Result<Found, Error> {
        if position >= self.size {
            return Ok(Found::End);
        }
        let Some(head) = self.bytes(position, HEADER_BYTES)? else {
            return Ok(Found::Bad);
        };
        let head: [u8; HEADER_BYTES] = head.try_into().expect("as many were asked for");
        let ours = |h: &Header| h.generation == self.generation && h.position == position;
        let Some(header) = Header::parse(&head).filter(ours) else {
            return Ok(Found::Bad);
        };
        let Some(body) = self.bytes(position, HEADER_BYTES + header.payload_len)? else {
            return Ok(Found::Bad);
        };
        let payload = body[HEADER_BYTES..].to_vec();
        if !header.verifies(&head, &payload) {
            return Ok(Found::Bad);
        }
        if header.version > codec::VERSION {
            // Not damage: it must not be cut.
            let (found, known) = (u32::from(header.version), u32::from(codec::VERSION));
            return Err(Error::Newer { found, known });
        }
        Ok(Found::Frame(Frame {
            kind: header.kind,
            position,
            synced: header.synced,
            payload,
            next: position + header.frame_len(),
        }))
    }

    /// The next whole frame of this generation after a bad one.
    pub(crate) fn seek(&mut self, after: u64) -> Result<Option<Frame>, Error> {
        let mut position = after + ALIGN as u64;
        while position + HEADER_BYTES as u64 <= self.size {
            if let Found::Frame(frame) = self.at(position)? {
                return Ok(Some(frame));
            }
            position += ALIGN as u64;
        }
        Ok(None)
    }

    /// Whether anything was written at a position that has no frame of this generation: neither
    /// zeros nor what an earlier use of the file left.
    pub(crate) fn torn_at(&mut self, position: u64) -> Result<bool, Error> {
        let generation = self.generation;
        let Some(head) = self.bytes(position, HEADER_BYTES)? else {
            return Ok(self.size > position);
        };
        let head: [u8; HEADER_BYTES] = head.try_into().expect("as many were asked for");
        let older = Header::parse(&head).is_some_and(|h| h.generation < generation);
        Ok(!older && head != [0; HEADER_BYTES])
    }

    fn bytes(&mut self, position: u64, len: usize) -> Result<Option<&[u8]>, Error> {
        let end = position + u64::try_from(len).expect("frames are bounded");
        if end > self.size {
            return Ok(None);
        }
        let window_end = self.window_at + self.window.len() as u64;
        if position < self.window_at || end > window_end {
            let left = usize::try_from(self.size - position).unwrap_or(usize::MAX);
            self.window.resize(len.max(WINDOW_BYTES).min(left), 0);
            self.window_at = position;
            self.file
                .read_exact_at(position, &mut self.window)
                .map_err(|e| Error::io("reading the log", e))?;
        }
        let start = usize::try_from(position - self.window_at).expect("inside the window");
        Ok(Some(&self.window[start..start + len]))
    }
}
