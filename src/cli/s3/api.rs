//! The requests of S3 that the commands make.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use md5::{Digest as _, Md5};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::documents::{
    BucketsResult, DeleteResult, ListResult, Named, TaggingResult, UploadsResult, VersionsResult,
    delete, error_in, read,
};
use crate::cli::error::{CliError, Exit};
use crate::cli::link::{Answer, Ask, Link, Sink};

/// How often a request is sent until it is answered with something else than "busy".
const TRIES: u32 = 6;

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Stored {
    pub(in crate::cli) key: String,
    pub(in crate::cli) size: u64,
    pub(in crate::cli) modified_ms: u64,
    pub(in crate::cli) etag: String,
}

/// One page of a list.
#[derive(Default)]
pub(in crate::cli) struct Page {
    pub(in crate::cli) objects: Vec<Stored>,
    pub(in crate::cli) prefixes: Vec<String>,
    pub(in crate::cli) next: Option<String>,
}

/// What HEAD and GET tell of an object.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Head {
    pub(in crate::cli) size: u64,
    pub(in crate::cli) etag: String,
    pub(in crate::cli) modified_ms: u64,
    /// All headers that describe the object, by name.
    pub(in crate::cli) headers: BTreeMap<String, String>,
}

/// Uploads that were begun and are not complete: upload id, bucket, key.
pub(super) type Uploads = Mutex<BTreeMap<String, (String, String)>>;

/// S3 of one node. Cheap to clone.
#[derive(Clone)]
pub(in crate::cli) struct S3 {
    pub(in crate::cli) link: Arc<Link>,
    pub(super) uploads: Arc<Uploads>,
}

pub(super) fn ask(method: Method, bucket: &str, key: &str) -> Ask {
    let path = if key.is_empty() { format!("/{bucket}") } else { format!("/{bucket}/{key}") };
    Ask::new(method, path).tries(TRIES)
}

impl S3 {
    pub(in crate::cli) fn new(link: Arc<Link>) -> Self {
        Self { link, uploads: Arc::default() }
    }

    /// Sends and demands that it worked.
    pub(in crate::cli) async fn done(&self, ask: &Ask) -> Result<Answer, CliError> {
        let answer = self.link.ask(ask).await?;
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(refusal(&answer)) }
    }

    pub(in crate::cli) async fn buckets(&self) -> Result<Vec<(String, u64)>, CliError> {
        let answer = self.done(&Ask::new(Method::GET, "/").tries(TRIES)).await?;
        let found: BucketsResult = read(&answer.body)?;
        let shown = found.buckets.bucket.into_iter();
        Ok(shown.map(|bucket| (bucket.name, millis(&bucket.creation_date))).collect())
    }

    /// A page of keys; with `delimiter` those below a slash are one prefix.
    pub(in crate::cli) async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        delimiter: bool,
        token: Option<&str>,
    ) -> Result<Page, CliError> {
        let mut ask = ask(Method::GET, bucket, "")
            .query("list-type", "2")
            .query("encoding-type", "url")
            .query("prefix", prefix);
        if delimiter {
            ask = ask.query("delimiter", "/");
        }
        if let Some(token) = token {
            ask = ask.query("continuation-token", token);
        }
        let found: ListResult = read(&self.done(&ask).await?.body)?;
        let objects = found.contents.into_iter().map(|object| Stored {
            key: decoded(&object.key),
            size: object.size,
            modified_ms: millis(&object.last_modified),
            etag: object.etag.trim_matches('"').to_owned(),
        });
        let prefixes = found.common_prefixes.iter().map(|prefix| decoded(&prefix.prefix));
        Ok(Page {
            objects: objects.collect(),
            prefixes: prefixes.collect(),
            next: found.next_continuation_token.filter(|token| !token.is_empty()),
        })
    }

    pub(in crate::cli) async fn head(&self, bucket: &str, key: &str) -> Result<Head, CliError> {
        let answer = self.done(&ask(Method::HEAD, bucket, key)).await?;
        Ok(head_of(&answer, 0))
    }

    /// Bytes from `first` on, at most `len`. With `etag` of that version alone.
    pub(in crate::cli) async fn get(
        &self,
        bucket: &str,
        key: &str,
        (first, len): (u64, u64),
        etag: Option<&str>,
    ) -> Result<(Head, Bytes), CliError> {
        let answer = self.link.ask(&ranged(bucket, key, (first, len), etag)).await?;
        if answer.status == 416 && first == 0 {
            // Nothing is in an empty object's range.
            return Ok((self.head(bucket, key).await?, Bytes::new()));
        }
        if !(200..300).contains(&answer.status) {
            return Err(refusal(&answer));
        }
        let head = head_of(&answer, answer.body.len() as u64);
        Ok((head, answer.body))
    }

    /// The same, but the bytes go into `sink` as they come, each with its place in the range.
    pub(in crate::cli) async fn get_into(
        &self,
        (bucket, key): (&str, &str),
        range: (u64, u64),
        etag: Option<&str>,
        sink: &mut Sink<'_>,
    ) -> Result<(Head, u64), CliError> {
        let mut received = 0;
        let mut counted = |at: u64, bytes: &[u8]| {
            received = at + bytes.len() as u64;
            sink(at, bytes)
        };
        let answer = self.link.fetch(&ranged(bucket, key, range, etag), &mut counted).await?;
        if answer.status == 416 && range.0 == 0 {
            // Nothing is in an empty object's range.
            return Ok((self.head(bucket, key).await?, 0));
        }
        if !(200..300).contains(&answer.status) {
            return Err(refusal(&answer));
        }
        Ok((head_of(&answer, received), received))
    }

    pub(in crate::cli) async fn put(
        &self,
        bucket: &str,
        key: &str,
        body: Bytes,
        kind: &str,
    ) -> Result<String, CliError> {
        let ask = ask(Method::PUT, bucket, key).header("content-type", kind).body(body);
        etag_of(&self.done(&ask).await?)
    }

    /// Within the cluster; no byte comes here.
    pub(in crate::cli) async fn copy(
        &self,
        from: (&str, &str),
        (bucket, key): (&str, &str),
    ) -> Result<(), CliError> {
        let ask = ask(Method::PUT, bucket, key).header("x-amz-copy-source", copy_source(from));
        let answer = self.done(&ask).await?;
        if error_in(&answer.body).is_some() { Err(refusal(&answer)) } else { Ok(()) }
    }

    /// Names and values of an object's tags.
    pub(in crate::cli) async fn tags(
        &self,
        bucket: &str,
        key: &str,
    ) -> Result<Vec<(String, String)>, CliError> {
        let ask = ask(Method::GET, bucket, key).query("tagging", "");
        let found: TaggingResult = read(&self.done(&ask).await?.body)?;
        Ok(found.tag_set.tag.into_iter().map(|tag| (tag.key, tag.value)).collect())
    }

    pub(in crate::cli) async fn delete(&self, bucket: &str, key: &str) -> Result<(), CliError> {
        self.done(&ask(Method::DELETE, bucket, key)).await?;
        Ok(())
    }

    /// The first versions and delete markers of a bucket.
    pub(in crate::cli) async fn first_versions(
        &self,
        bucket: &str,
    ) -> Result<Vec<Named>, CliError> {
        let ask = ask(Method::GET, bucket, "").query("versions", "").query("encoding-type", "url");
        let found: VersionsResult = read(&self.done(&ask).await?.body)?;
        let all = found.version.into_iter().chain(found.delete_marker);
        let named = |v: super::documents::Version| Named {
            key: decoded(&v.key),
            version: Some(v.version_id),
        };
        Ok(all.map(named).collect())
    }

    /// The first uploads of a bucket that are under way: key and id.
    pub(in crate::cli) async fn first_uploads(
        &self,
        bucket: &str,
    ) -> Result<Vec<(String, String)>, CliError> {
        let ask = ask(Method::GET, bucket, "").query("uploads", "").query("encoding-type", "url");
        let found: UploadsResult = read(&self.done(&ask).await?.body)?;
        Ok(found.upload.into_iter().map(|u| (decoded(&u.key), u.upload_id)).collect())
    }

    /// Deletes at most 1000 keys at once; what was not deleted, and why.
    pub(in crate::cli) async fn delete_many(
        &self,
        bucket: &str,
        all: &[Named],
    ) -> Result<Vec<(String, String)>, CliError> {
        let body = delete(all).into_bytes();
        let ask = ask(Method::POST, bucket, "")
            .query("delete", "")
            .header("content-md5", STANDARD.encode(Md5::digest(&body)))
            .body(body.into());
        let result: DeleteResult = read(&self.done(&ask).await?.body)?;
        let failed = result.error.into_iter();
        Ok(failed.map(|e| (e.key, format!("{} [{}]", e.message, e.code))).collect())
    }
}

/// A request for bytes from `first` on, at most `len`.
fn ranged(bucket: &str, key: &str, (first, len): (u64, u64), etag: Option<&str>) -> Ask {
    let last = first + len.max(1) - 1;
    let ask = ask(Method::GET, bucket, key).header("range", format!("bytes={first}-{last}"));
    match etag {
        Some(etag) => ask.header("if-match", format!("\"{etag}\"")),
        None => ask,
    }
}

/// As the header of copies names an object.
pub(super) fn copy_source((bucket, key): (&str, &str)) -> String {
    format!("{bucket}/{}", utf8_percent_encode(key, NON_ALPHANUMERIC))
}

/// What a refusal of S3 says; HEAD has a status alone.
pub(in crate::cli) fn refusal(answer: &Answer) -> CliError {
    let exit = Exit::of_status(answer.status);
    let (code, message, id) = match error_in(&answer.body) {
        Some(error) => (error.code, error.message, error.request_id),
        None => {
            let (code, message) = match answer.status {
                404 => ("NotFound", "there is no such bucket or object".to_owned()),
                403 => ("AccessDenied", "the key may not do this".to_owned()),
                412 => ("PreconditionFailed", "it changed meanwhile".to_owned()),
                status => ("BadAnswer", format!("status {status}")),
            };
            let id = answer.header("x-amz-request-id").unwrap_or_default();
            (code.to_owned(), message, id.to_owned())
        }
    };
    let error = CliError::new(exit, code.clone(), message).request_id(id);
    match hint(&code) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// What to do about an error of S3.
fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "NoSuchBucket" => "godwit bucket ls",
        "NoSuchKey" => "godwit ls s3://BUCKET/PREFIX",
        "BucketNotEmpty" => "godwit rm -r s3://BUCKET, or godwit bucket rm --force BUCKET",
        "AccessDenied" => "godwit keys ls shows what a key may; godwit keys set changes it",
        "InvalidAccessKeyId" => "the key is unknown or revoked: AWS_ACCESS_KEY_ID",
        "SignatureDoesNotMatch" => "AWS_SECRET_ACCESS_KEY is not the secret of the access key",
        "RequestTimeTooSkewed" => "set the clock; godwit doctor shows by how much it is off",
        "ServiceUnavailable" | "SlowDown" => "try again soon; godwit status shows the regions",
        _ => return None,
    })
}

pub(super) fn etag_of(answer: &Answer) -> Result<String, CliError> {
    let etag = answer.header("etag").map(|etag| etag.trim_matches('"').to_owned());
    etag.ok_or_else(|| CliError::new(Exit::Failure, "BadAnswer", "the answer has no ETag"))
}

/// `received` is the size where no header tells it.
fn head_of(answer: &Answer, received: u64) -> Head {
    let range = answer.header("content-range").and_then(|range| range.rsplit_once('/'));
    let size = match range {
        Some((_, size)) => size.parse().ok(),
        None => answer.header("content-length").and_then(|size| size.parse().ok()),
    };
    let modified = answer.header("last-modified").and_then(|t| httpdate::parse_http_date(t).ok());
    let modified = modified.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    let plain = |name: &str| {
        !matches!(name, "date" | "server" | "connection" | "x-amz-id-2" | "accept-ranges")
    };
    let headers = answer.headers.iter().filter(|(name, _)| plain(name.as_str()));
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Head {
        size: size.unwrap_or(received),
        etag: etag_of(answer).unwrap_or_default(),
        modified_ms: modified.map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)),
        headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
    }
}

pub(super) fn decoded(text: &str) -> String {
    // S3 encodes a blank as a plus sign here.
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Milliseconds since 1970 of a time as S3 writes it; 0 where it cannot be read.
pub(super) fn millis(text: &str) -> u64 {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    time.map_or(0, |time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0))
}
