//! The requests of S3 for uploads in parts.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use bytes::Bytes;
use http::Method;

use super::api::{S3, ask, copy_source, decoded, etag_of, millis, refusal};
use super::documents::{
    CopiedPart, ListedPart, PartsResult, UploadResult, UploadsResult, complete, error_in, read,
};
use crate::cli::error::CliError;

/// A part that an upload has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Part {
    pub(in crate::cli) size: u64,
    pub(in crate::cli) etag: String,
}

impl S3 {
    /// Begins an upload; `headers` are those of the object.
    pub(in crate::cli) async fn begin(
        &self,
        bucket: &str,
        key: &str,
        headers: Vec<(String, String)>,
    ) -> Result<String, CliError> {
        let ask = ask(Method::POST, bucket, key).query("uploads", "");
        let ask = headers.into_iter().fold(ask, |ask, (name, value)| ask.header(name, value));
        let begun: UploadResult = read(&self.done(&ask).await?.body)?;
        let place = (bucket.to_owned(), key.to_owned());
        self.open_uploads().insert(begun.upload_id.clone(), place);
        Ok(begun.upload_id)
    }

    pub(in crate::cli) async fn part(
        &self,
        (bucket, key, upload): (&str, &str, &str),
        number: usize,
        body: Bytes,
    ) -> Result<String, CliError> {
        let ask = ask(Method::PUT, bucket, key)
            .query("partNumber", number.to_string())
            .query("uploadId", upload)
            .body(body);
        etag_of(&self.done(&ask).await?)
    }

    /// A part that is a piece of another object, of its version `etag`: bytes `first` to `last`.
    pub(in crate::cli) async fn copy_part(
        &self,
        (bucket, key, upload): (&str, &str, &str),
        number: usize,
        (from, etag): ((&str, &str), &str),
        (first, last): (u64, u64),
    ) -> Result<String, CliError> {
        let ask = ask(Method::PUT, bucket, key)
            .query("partNumber", number.to_string())
            .query("uploadId", upload)
            .header("x-amz-copy-source", copy_source(from))
            .header("x-amz-copy-source-if-match", format!("\"{etag}\""))
            .header("x-amz-copy-source-range", format!("bytes={first}-{last}"));
        let answer = self.done(&ask).await?;
        if error_in(&answer.body).is_some() {
            return Err(refusal(&answer));
        }
        let copied: CopiedPart = read(&answer.body)?;
        Ok(copied.etag.trim_matches('"').to_owned())
    }

    /// Uploads of exactly this key that are under way, those that began last first.
    pub(in crate::cli) async fn uploads_of(
        &self,
        bucket: &str,
        key: &str,
    ) -> Result<Vec<String>, CliError> {
        let ask = ask(Method::GET, bucket, "")
            .query("uploads", "")
            .query("encoding-type", "url")
            .query("prefix", key);
        // Those of the key itself come before those of longer keys.
        let found: UploadsResult = read(&self.done(&ask).await?.body)?;
        let own = found.upload.into_iter().filter(|upload| decoded(&upload.key) == key);
        let mut own: Vec<_> = own.collect();
        own.sort_by_key(|upload| std::cmp::Reverse(millis(&upload.initiated)));
        Ok(own.into_iter().map(|upload| upload.upload_id).collect())
    }

    /// The parts that an upload has, by number.
    pub(in crate::cli) async fn parts(
        &self,
        (bucket, key, upload): (&str, &str, &str),
    ) -> Result<BTreeMap<usize, Part>, CliError> {
        let (mut parts, mut after) = (BTreeMap::new(), None::<String>);
        loop {
            let mut ask = ask(Method::GET, bucket, key).query("uploadId", upload);
            if let Some(after) = after {
                ask = ask.query("part-number-marker", after);
            }
            let found: PartsResult = read(&self.done(&ask).await?.body)?;
            let part = |part: ListedPart| {
                let etag = part.etag.trim_matches('"').to_owned();
                (part.number, Part { size: part.size, etag })
            };
            let (empty, more) = (found.part.is_empty(), found.is_truncated);
            parts.extend(found.part.into_iter().map(part));
            after = found.next_part_number_marker;
            if !more || empty || after.is_none() {
                return Ok(parts);
            }
        }
    }

    pub(in crate::cli) async fn complete(
        &self,
        (bucket, key, upload): (&str, &str, &str),
        etags: &[String],
    ) -> Result<(), CliError> {
        let body = complete(etags).into_bytes();
        let ask = ask(Method::POST, bucket, key).query("uploadId", upload).body(body.into());
        let answer = self.done(&ask).await?;
        if error_in(&answer.body).is_some() {
            return Err(refusal(&answer));
        }
        self.open_uploads().remove(upload);
        Ok(())
    }

    pub(in crate::cli) async fn abort(
        &self,
        (bucket, key, upload): (&str, &str, &str),
    ) -> Result<(), CliError> {
        self.open_uploads().remove(upload);
        self.done(&ask(Method::DELETE, bucket, key).query("uploadId", upload)).await?;
        Ok(())
    }

    /// Ends what was begun and not completed, so that an interrupted command leaves no parts.
    pub(in crate::cli) async fn abort_all(&self) {
        let open = std::mem::take(&mut *self.open_uploads());
        for (upload, (bucket, key)) in open {
            // What cannot be ended now is ended by a lifecycle rule, or by hand.
            let _ = self.abort((&bucket, &key, &upload)).await;
        }
    }

    fn open_uploads(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (String, String)>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
