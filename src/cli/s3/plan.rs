//! What a copy of many objects is made of: what is at a place, and what of it has to be copied.

use std::path::Path;

use futures_util::{Stream, StreamExt as _, stream};
use md5::{Digest as _, Md5};

use super::ends;
use super::local::{self, Found, Source};
use super::place::{Place, Remote, file_below};
use super::transfer::{Job, part_bytes};
use super::{S3, Stored};
use crate::cli::error::{CliError, Exit};

/// One thing at a place, by its name below that place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Entry {
    pub(in crate::cli) relative: String,
    pub(in crate::cli) size: u64,
    pub(in crate::cli) modified_ms: u64,
    pub(in crate::cli) etag: Option<String>,
}

impl From<Found> for Entry {
    fn from(found: Found) -> Self {
        let Found { relative, size, modified_ms } = found;
        Self { relative, size, modified_ms, etag: None }
    }
}

/// All objects below a prefix, in the order of their keys.
pub(in crate::cli) fn objects(
    s3: &S3,
    at: &Remote,
) -> impl Stream<Item = Result<Stored, CliError>> + use<> {
    let (s3, at) = (s3.clone(), at.clone());
    let pages = stream::try_unfold(Some(None::<String>), move |state| {
        let (s3, at) = (s3.clone(), at.clone());
        async move {
            let Some(token) = state else { return Ok::<_, CliError>(None) };
            let page = s3.list(&at.bucket, &at.key, false, token.as_deref()).await?;
            let next = page.next.map(Some);
            Ok(Some((page.objects, next)))
        }
    });
    pages.flat_map(|page| {
        let items: Vec<Result<Stored, CliError>> = match page {
            Ok(objects) => objects.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(items)
    })
}

/// Everything below a folder, here or there, in the order of the names; read as it is asked for.
pub(in crate::cli) fn entries(
    s3: &S3,
    place: &Place,
) -> Result<stream::BoxStream<'static, Result<Entry, CliError>>, CliError> {
    match place {
        Place::Local(path) => {
            let all = local::walk(path)?;
            Ok(stream::iter(all.map(|found| found.map(Entry::from))).boxed())
        }
        Place::Remote(at) => {
            let folder = at.folder();
            let skip = folder.key.len();
            let all = objects(s3, &folder).filter_map(move |stored| async move {
                let stored = match stored {
                    Ok(stored) => stored,
                    Err(error) => return Some(Err(error)),
                };
                // The marker of the folder itself has no name below it.
                let relative = stored.key.get(skip..).filter(|name| !name.is_empty())?.to_owned();
                let Stored { size, modified_ms, etag, .. } = stored;
                Some(Ok(Entry { relative, size, modified_ms, etag: Some(etag) }))
            });
            Ok(all.boxed())
        }
        Place::Stdio => Err(CliError::new(Exit::Usage, "Usage", "`-` is no folder")),
    }
}

/// The copy of one entry from below `from` to below `to`.
pub(in crate::cli) fn job(from: &Place, to: &Place, entry: &Entry) -> Result<Job, CliError> {
    let (relative, size) = (entry.relative.as_str(), entry.size);
    match (from, to) {
        (Place::Local(from), Place::Remote(to)) => {
            Ok(Job::Up { from: from.join(relative), to: to.folder().below(relative), size })
        }
        (Place::Remote(from), Place::Local(to)) => {
            let from = from.folder().below(relative);
            let to = file_below(to, relative).ok_or_else(|| no_file(&from))?;
            Ok(Job::Down { from, to, size })
        }
        (Place::Remote(from), Place::Remote(to)) => {
            let (from, to) = ends::pair((&from.folder(), &to.folder()), relative)?;
            Ok(Job::Copy { from, to, size })
        }
        (Place::Local(_) | Place::Stdio, _) | (_, Place::Stdio) => Err(two_ends()),
    }
}

pub(in crate::cli) fn two_ends() -> CliError {
    CliError::new(Exit::Usage, "Usage", "one end of a copy is s3://BUCKET/KEY")
}

fn no_file(from: &Remote) -> CliError {
    CliError::new(Exit::Failure, "Name", format!("{from}: the key is no name of a file"))
        .hint("copy it by itself: godwit cp s3://BUCKET/KEY FILE")
}

/// How it is told whether two things are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Compare {
    /// By size, and the source is not younger.
    Time,
    Size,
    /// By size, and by what ETags are made of.
    Content,
}

/// Whether `source` has to be copied over `target`. Contents are compared by the caller.
pub(in crate::cli) fn differs(source: &Entry, target: Option<&Entry>, how: Compare) -> bool {
    let Some(target) = target else { return true };
    // Times travel in HTTP headers, which have whole seconds.
    let younger = source.modified_ms / 1000 > target.modified_ms / 1000;
    source.size != target.size || (how == Compare::Time && younger)
}

/// Whether a file has the bytes that an ETag was made of. An ETag of parts is compared for parts of
/// the size that these commands use.
pub(in crate::cli) fn same_content(
    path: &Path,
    size: u64,
    etag: &str,
    usual_part: u64,
) -> Result<bool, CliError> {
    let source = Source::open(path)?;
    let parted = etag.contains('-');
    let part = if parted { part_bytes(size, usual_part) } else { 8 << 20 };
    let (mut all, mut parts) = (Md5::new(), Vec::new());
    let mut at = 0;
    while at < size {
        let len = usize::try_from(part.min(size - at)).unwrap_or(usize::MAX);
        let piece = source.piece(at, len)?;
        match parted {
            true => parts.extend_from_slice(&Md5::digest(&piece)),
            false => all.update(&piece),
        }
        at += len as u64;
    }
    let own = match parted {
        true => format!("{}-{}", hex::encode(Md5::digest(&parts)), size.div_ceil(part)),
        false => hex::encode(all.finalize()),
    };
    Ok(own == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(size: u64, modified_ms: u64) -> Entry {
        Entry { relative: "a".to_owned(), size, modified_ms, etag: None }
    }

    #[test]
    fn what_is_missing_of_another_size_or_younger_is_copied() {
        let now = entry(1, 5000);
        for (target, time, size) in [
            (None, true, true),
            (Some(entry(2, 9000)), true, true),
            (Some(entry(1, 3000)), true, false),
            (Some(entry(1, 5999)), false, false),
            (Some(entry(1, 5000)), false, false),
        ] {
            assert_eq!(differs(&now, target.as_ref(), Compare::Time), time, "{target:?}");
            assert_eq!(differs(&now, target.as_ref(), Compare::Size), size, "{target:?}");
        }
    }

    #[test]
    fn a_key_that_is_no_file_is_refused_and_not_written_elsewhere() {
        let (from, to) = ("s3://b/p".parse().unwrap(), "out".parse().unwrap());
        let mut bad = entry(1, 1);
        bad.relative = "../../etc/passwd".to_owned();
        assert!(job(&from, &to, &bad).is_err());
        assert!(job(&from, &to, &entry(1, 1)).is_ok());
    }
}
