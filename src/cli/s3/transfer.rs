//! One object from here to there: in one request, or in parts at once.
//!
//! Invariant: at most `width` pieces of at most `part_bytes` are in memory; a file has its name only
//! when it is whole; all pieces of a download are of one version.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::S3;
use super::local::{self, Source, Target};
use super::place::Remote;
use super::upload::{self, Cut, Upload};
use super::work::{Done, Progress, spawned};
use crate::cli::error::{CliError, Exit};
use crate::cli::output;
use crate::limits;

/// A file up to this size goes in one request.
const WHOLE_BYTES_MAX: u64 = 16 << 20;

/// The usual size of a part.
pub(in crate::cli) const PART_BYTES: u64 = 8 << 20;

/// Parts of one object under way.
pub(super) const PARTS_AT_ONCE: usize = 8;

/// The usual size of a part of a copy within the cluster.
const COPY_PART_BYTES: u64 = 256 << 20;

/// Moves objects. Cheap to clone.
#[derive(Clone)]
pub(in crate::cli) struct Mover {
    pub(in crate::cli) s3: S3,
    pub(in crate::cli) progress: Progress,
    room: Arc<Semaphore>,
    part_bytes: u64,
    /// Large objects go on where an earlier upload of them ended, and what fails is kept for the next
    /// time.
    resumes: bool,
    /// Larger objects are copied in parts.
    copied_whole: u64,
}

/// What is moved.
#[derive(Clone, Debug)]
pub(in crate::cli) enum Job {
    Up { from: PathBuf, to: Remote, size: u64 },
    Down { from: Remote, to: PathBuf, size: u64 },
    Copy { from: Remote, to: Remote, size: u64 },
}

impl Job {
    pub(in crate::cli) fn size(&self) -> u64 {
        match self {
            Self::Up { size, .. } | Self::Down { size, .. } | Self::Copy { size, .. } => *size,
        }
    }

    pub(in crate::cli) fn done(&self, operation: &'static str, dry_run: bool) -> Done {
        let (source, target) = match self {
            Self::Up { from, to, .. } => (from.display().to_string(), to.to_string()),
            Self::Down { from, to, .. } => (from.to_string(), to.display().to_string()),
            Self::Copy { from, to, .. } => (from.to_string(), to.to_string()),
        };
        Done { operation, source, target: Some(target), bytes: Some(self.size()), dry_run }
    }
}

impl Mover {
    pub(in crate::cli) fn new(s3: S3, progress: Progress, width: usize, part_bytes: u64) -> Self {
        let (room, copied_whole) = (Arc::new(Semaphore::new(width)), limits::BODY_BYTES_MAX);
        Self { s3, progress, room, part_bytes, resumes: false, copied_whole }
    }

    pub(in crate::cli) fn resuming(self) -> Self {
        Self { resumes: true, ..self }
    }

    pub(in crate::cli) fn resumes(&self) -> bool {
        self.resumes
    }

    pub(in crate::cli) fn copying_whole(self, at_most: u64) -> Self {
        Self { copied_whole: at_most, ..self }
    }

    pub(super) async fn permit(&self) -> OwnedSemaphorePermit {
        self.room.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    pub(in crate::cli) async fn run(&self, job: &Job) -> Result<(), CliError> {
        let result = match job {
            Job::Up { from, to, size } => self.upload(from, to, *size).await,
            Job::Down { from, to, .. } => self.download(from, to).await,
            Job::Copy { from, to, size } => self.copy(from, to, *size).await,
        };
        result.map_err(|error| error.about(&job.done("", false).source))
    }

    async fn upload(&self, from: &Path, to: &Remote, size: u64) -> Result<(), CliError> {
        let source = Arc::new(Source::open(from)?);
        let kind = local::kind_of(&to.key);
        if size <= WHOLE_BYTES_MAX.max(self.part_bytes) {
            let _permit = self.permit().await;
            let body = source.piece(0, length(size)?)?;
            self.s3.put(&to.bucket, &to.key, body, kind).await?;
            self.progress.advance(size);
            return Ok(());
        }
        let cut = Cut { size, part_bytes: part_bytes(size, self.part_bytes) };
        let pieces = || {
            let source = source.clone();
            stream::iter(cut.pieces().map(move |(at, len)| {
                let source = source.clone();
                Ok(move || source.piece(at, length(len)?))
            }))
        };
        if self.resumes
            && let Some(upload) = Upload::unfinished(self, to, cut).await?
        {
            match upload.finish(pieces()).await {
                // Somebody ended it meanwhile.
                Err(error) if error.is("NoSuchUpload") => {}
                done => return done,
            }
        }
        Upload::begin(self, to, described(kind)).await?.finish(pieces()).await
    }

    /// Within the cluster; what is too large for one copy is copied in parts, all of one version.
    async fn copy(&self, from: &Remote, to: &Remote, size: u64) -> Result<(), CliError> {
        if size <= self.copied_whole {
            let _permit = self.permit().await;
            let to = (to.bucket.as_str(), to.key.as_str());
            let copied = self.s3.copy((&from.bucket, &from.key), to).await;
            self.progress.advance(size);
            return copied;
        }
        let head = self.s3.head(&from.bucket, &from.key).await?;
        let headers = upload::copied_headers(&self.s3, from, &head).await?;
        let usual = COPY_PART_BYTES.min(self.copied_whole);
        let cut = Cut { size: head.size, part_bytes: part_bytes(head.size, usual) };
        let upload = Upload::begin(self, to, headers).await?;
        upload.copy_from((from, &head.etag), cut).await
    }

    /// From standard input, whose size is not known before its end.
    pub(in crate::cli) async fn upload_input(&self, to: &Remote) -> Result<u64, CliError> {
        let (kind, part) = (local::kind_of(&to.key), length(self.part_bytes)?);
        let first = self.input(part).await?;
        if first.len() < part {
            let size = first.len() as u64;
            self.s3.put(&to.bucket, &to.key, first, kind).await?;
            return Ok(size);
        }
        let upload = Upload::begin(self, to, described(kind)).await?;
        let mut sent = 0;
        let pieces = stream::try_unfold(Some(first), |piece| async move {
            let Some(piece) = piece.filter(|piece: &Bytes| !piece.is_empty()) else {
                return Ok(None);
            };
            let next = if piece.len() < part { None } else { Some(self.input(part).await?) };
            Ok(Some((piece, next)))
        });
        let pieces = pieces.map_ok(|piece| {
            sent += piece.len() as u64;
            move || Ok(piece)
        });
        upload.finish(pieces).await?;
        Ok(sent)
    }

    async fn input(&self, len: usize) -> Result<Bytes, CliError> {
        self.s3.link.env.blocking(move || local::from_input(len)).await
    }

    /// The first piece tells the size and the version; the others are fetched at once.
    async fn download(&self, from: &Remote, to: &Path) -> Result<(), CliError> {
        let permit = self.permit().await;
        let (place, mut made) = ((from.bucket.as_str(), from.key.as_str()), None);
        let mut write = |at: u64, bytes: &[u8]| match &made {
            None => made.insert(Target::create(to)?).write(at, bytes),
            Some(target) => target.write(at, bytes),
        };
        let first = (0, self.part_bytes);
        let (head, got) = self.s3.get_into(place, first, None, &mut write).await?;
        let target = match made {
            Some(target) => target,
            None => Target::create(to)?,
        };
        let target = Arc::new(target);
        whole((0, self.part_bytes.min(head.size)), got)?;
        self.progress.advance(got);
        drop(permit);
        let pieces = self.ranges(got, head.size).map(|range| {
            let (mover, from, target) = (self.clone(), from.clone(), target.clone());
            let etag = head.etag.clone();
            spawned(&self.s3.link.env, async move {
                let _permit = mover.permit().await;
                let place = (from.bucket.as_str(), from.key.as_str());
                let mut write = |at: u64, bytes: &[u8]| target.write(range.0 + at, bytes);
                let (_, got) = mover.s3.get_into(place, range, Some(&etag), &mut write).await?;
                mover.progress.advance(got);
                whole(range, got)
            })
        });
        stream::iter(pieces).buffer_unordered(PARTS_AT_ONCE).try_collect::<Vec<()>>().await?;
        let target = Arc::into_inner(target).ok_or_else(|| {
            CliError::new(Exit::Failure, "Failure", "a piece is still being written")
        })?;
        target.finish(head.modified_ms)
    }

    /// What is left from `first` on, piece by piece.
    fn ranges(&self, first: u64, size: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
        let part = self.part_bytes;
        let count = size.saturating_sub(first).div_ceil(part);
        (0..count).map(move |index| {
            let at = first + index * part;
            (at, part.min(size - at))
        })
    }

    /// To standard output, in order, with the next pieces fetched ahead.
    pub(in crate::cli) async fn print(&self, from: &Remote) -> Result<u64, CliError> {
        let first = (0, self.part_bytes);
        let (head, bytes) = self.s3.get(&from.bucket, &from.key, first, None).await?;
        output::bytes(&bytes)?;
        let ranges = self.ranges(bytes.len() as u64, head.size);
        let pieces = stream::iter(ranges.map(|range| {
            let etag = head.etag.as_str();
            async move {
                let got = self.s3.get(&from.bucket, &from.key, range, Some(etag)).await?;
                whole(range, got.1.len() as u64)?;
                Ok::<_, CliError>(got.1)
            }
        }));
        let mut pieces = std::pin::pin!(pieces.buffered(PARTS_AT_ONCE));
        while let Some(piece) = pieces.next().await {
            output::bytes(&piece?)?;
        }
        Ok(head.size)
    }
}

/// Larger where the most parts that there may be would not be enough.
pub(in crate::cli) fn part_bytes(size: u64, usual: u64) -> u64 {
    let least = size.div_ceil(u64::from(limits::PARTS_MAX));
    usual.max(least.next_multiple_of(1 << 20))
}

/// The headers of an object that is of this kind.
fn described(kind: &str) -> Vec<(String, String)> {
    vec![("content-type".to_owned(), kind.to_owned())]
}

fn length(bytes: u64) -> Result<usize, CliError> {
    usize::try_from(bytes).map_err(|error| CliError::new(Exit::Failure, "Failure", error))
}

fn whole((_, len): (u64, u64), got: u64) -> Result<(), CliError> {
    if got == len {
        return Ok(());
    }
    let message = format!("{got} bytes came of {len}");
    Err(CliError::new(Exit::Failure, "BadAnswer", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_there_are_never_too_many() {
        assert_eq!(part_bytes(100 << 20, PART_BYTES), PART_BYTES);
        let size = 5_u64 << 40;
        let part = part_bytes(size, PART_BYTES);
        assert!(size.div_ceil(part) <= u64::from(limits::PARTS_MAX));
    }
}
