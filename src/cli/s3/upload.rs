//! An object that goes in parts: sent, copied within the cluster, or taken up where an earlier upload
//! of it ended.
//!
//! Invariant: a part that was there before is taken only where its size and its checksum are those of
//! the bytes that are to be sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use md5::{Digest as _, Md5};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::multipart::Part;
use super::place::Remote;
use super::transfer::{Mover, PARTS_AT_ONCE};
use super::work::spawned;
use super::{Head, S3};
use crate::cli::error::{CliError, Exit};

/// How an object is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) size: u64,
    pub(super) part_bytes: u64,
}

impl Cut {
    /// Where each part begins, and its length.
    pub(super) fn pieces(self) -> impl Iterator<Item = (u64, u64)> + Send {
        let count = self.size.div_ceil(self.part_bytes);
        (0..count).map(move |index| {
            let at = index * self.part_bytes;
            (at, self.part_bytes.min(self.size - at))
        })
    }

    /// Whether parts of an upload are pieces of this cut, by their sizes.
    fn fits(self, parts: &BTreeMap<usize, Part>) -> bool {
        let sizes: BTreeMap<usize, u64> = (1..).zip(self.pieces().map(|(_, len)| len)).collect();
        let fits = |(number, part): (&usize, &Part)| sizes.get(number) == Some(&part.size);
        !parts.is_empty() && parts.iter().all(fits)
    }
}

/// Uploads of one key whose parts are looked at.
const UPLOADS_TRIED: usize = 4;

/// A multipart upload that was begun.
pub(super) struct Upload<'a> {
    mover: &'a Mover,
    to: &'a Remote,
    id: String,
    /// Parts that are there already, by number.
    there: Arc<BTreeMap<usize, Part>>,
}

impl<'a> Upload<'a> {
    /// `headers` are those of the object.
    pub(super) async fn begin(
        mover: &'a Mover,
        to: &'a Remote,
        headers: Vec<(String, String)>,
    ) -> Result<Self, CliError> {
        let id = mover.s3.begin(&to.bucket, &to.key, headers).await?;
        Ok(Self { mover, to, id, there: Arc::default() })
    }

    /// One that was begun before and has parts cut alike. Who may not list uploads begins anew.
    pub(super) async fn unfinished(
        mover: &'a Mover,
        to: &'a Remote,
        cut: Cut,
    ) -> Result<Option<Self>, CliError> {
        let ids = match mover.s3.uploads_of(&to.bucket, &to.key).await {
            Err(error) if error.exit == Exit::Denied || error.is("NotImplemented") => {
                return Ok(None);
            }
            ids => ids?,
        };
        for id in ids.into_iter().take(UPLOADS_TRIED) {
            let parts = match mover.s3.parts((&to.bucket, &to.key, &id)).await {
                Err(error) if error.exit == Exit::Denied || error.is("NoSuchUpload") => continue,
                parts => parts?,
            };
            if cut.fits(&parts) {
                return Ok(Some(Self { mover, to, id, there: Arc::new(parts) }));
            }
        }
        Ok(None)
    }

    /// Sends all pieces and completes it.
    pub(super) async fn finish<P>(
        self,
        pieces: impl Stream<Item = Result<P, CliError>>,
    ) -> Result<(), CliError>
    where
        P: FnOnce() -> Result<Bytes, CliError> + Send + 'static,
    {
        let sent = self.send(pieces).await;
        self.end(sent).await
    }

    /// Makes all parts of another object's version, and completes it.
    pub(super) async fn copy_from(
        self,
        (from, etag): (&Remote, &str),
        cut: Cut,
    ) -> Result<(), CliError> {
        let parts = (1..).zip(cut.pieces()).map(|(number, (at, len))| {
            let upload = &self;
            async move {
                let _permit = upload.mover.permit().await;
                let source = ((from.bucket.as_str(), from.key.as_str()), etag);
                let range = (at, at + len - 1);
                let etag = upload.mover.s3.copy_part(upload.place(), number, source, range).await?;
                upload.mover.progress.advance(len);
                Ok::<_, CliError>(etag)
            }
        });
        let copied = stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await;
        self.end(copied).await
    }

    /// Completes it. What failed is taken back, unless it is to go on another time.
    async fn end(self, sent: Result<Vec<String>, CliError>) -> Result<(), CliError> {
        let done = match sent {
            Ok(etags) => self.mover.s3.complete(self.place(), &etags).await,
            Err(error) => Err(error),
        };
        if done.is_err() && !self.mover.resumes() {
            // The first error is the one that is told.
            let _ = self.mover.s3.abort(self.place()).await;
        }
        done
    }

    fn place(&self) -> (&str, &str, &str) {
        (&self.to.bucket, &self.to.key, &self.id)
    }

    async fn send<P>(
        &self,
        pieces: impl Stream<Item = Result<P, CliError>>,
    ) -> Result<Vec<String>, CliError>
    where
        P: FnOnce() -> Result<Bytes, CliError> + Send + 'static,
    {
        let parts = pieces.enumerate().map(|(index, piece)| {
            let (mover, to, id) = (self.mover.clone(), self.to.clone(), self.id.clone());
            let there = self.there.clone();
            async move {
                let piece = piece?;
                let env = mover.s3.link.env.clone();
                spawned(&env, async move {
                    let _permit = mover.permit().await;
                    let (body, number) = (piece()?, index + 1);
                    let len = body.len() as u64;
                    if let Some(part) = there.get(&number).filter(|part| is(part, &body)) {
                        mover.progress.advance(len);
                        return Ok(part.etag.clone());
                    }
                    let place = (to.bucket.as_str(), to.key.as_str(), id.as_str());
                    let etag = mover.s3.part(place, number, body).await?;
                    mover.progress.advance(len);
                    Ok(etag)
                })
                .await
            }
        });
        parts.buffered(PARTS_AT_ONCE).try_collect().await
    }
}

/// Whether a part has these bytes. Where ETags are something else than MD5 it is sent again.
fn is(part: &Part, bytes: &Bytes) -> bool {
    part.size == bytes.len() as u64 && part.etag == hex::encode(Md5::digest(bytes))
}

/// Headers that describe an object, and are its own wherever it is.
const DESCRIBE: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
];

/// The headers of a copy in parts, which copies no metadata and no tags by itself.
pub(super) async fn copied_headers(
    s3: &S3,
    from: &Remote,
    head: &Head,
) -> Result<Vec<(String, String)>, CliError> {
    let copied = |name: &str| DESCRIBE.contains(&name) || name.starts_with("x-amz-meta-");
    let headers = head.headers.iter().filter(|(name, _)| copied(name));
    let mut headers: Vec<_> = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
    if head.headers.contains_key("x-amz-tagging-count") {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let tags = s3.tags(&from.bucket, &from.key).await?;
        let tags = tags.iter().map(|(key, value)| format!("{}={}", encoded(key), encoded(value)));
        headers.push(("x-amz-tagging".to_owned(), tags.collect::<Vec<_>>().join("&")));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(sizes: &[(usize, u64)]) -> BTreeMap<usize, Part> {
        let part = |size| Part { size, etag: String::new() };
        sizes.iter().map(|&(number, size)| (number, part(size))).collect()
    }

    #[test]
    fn an_upload_is_taken_up_where_all_its_parts_are_pieces_of_the_same_cut() {
        let cut = Cut { size: 20, part_bytes: 8 };
        assert_eq!(cut.pieces().collect::<Vec<_>>(), [(0, 8), (8, 8), (16, 4)]);
        for fits in [&[(1, 8)][..], &[(2, 8), (3, 4)], &[(1, 8), (2, 8), (3, 4)]] {
            assert!(cut.fits(&parts(fits)), "{fits:?}");
        }
        for other in [&[][..], &[(1, 5)], &[(1, 8), (3, 8)], &[(4, 8)], &[(0, 8)]] {
            assert!(!cut.fits(&parts(other)), "{other:?}");
        }
    }

    #[test]
    fn a_part_is_the_same_by_its_size_and_its_checksum() {
        let etag = "900150983cd24fb0d6963f7d28e17f72".to_owned();
        let part = Part { size: 3, etag };
        assert!(is(&part, &Bytes::from_static(b"abc")));
        assert!(!is(&part, &Bytes::from_static(b"abd")));
        assert!(!is(&Part { size: 4, ..part.clone() }, &Bytes::from_static(b"abc")));
        assert!(!is(&Part { etag: "abc-1".to_owned(), ..part }, &Bytes::from_static(b"abc")));
    }
}
