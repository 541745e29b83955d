//! What several operations say in their answers, each in one place.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, LAST_MODIFIED};
use http::{HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::engine::{ObjectInfo, Source};
use crate::logic::parts;
use crate::obs::flow::{self, Stage};
use crate::s3::digest;
use crate::s3::error::{Code, S3Error};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::{self, Writer};
use crate::types::bucket::Location;
use crate::types::caller::Caller;
use crate::types::name::AccountId;
use crate::types::object::{Checksum, ChecksumAlgorithm, ChecksumKind, ObjectMeta};

use super::bucket::region_of;
use super::encryption::with_sse;
use super::lock::with_lock;
use super::params::REGIONS;

const SOURCE: HeaderName = HeaderName::from_static("x-godwit-source");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const CHECKSUM_TYPE: &str = "x-amz-checksum-type";

/// What `encoding-type=url` leaves as it is.
const KEPT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b'*');

/// Query parameters that replace a header of a GET, for signed requests.
const OVERRIDES: [(&str, &str); 6] = [
    ("response-cache-control", "cache-control"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
    ("response-content-language", "content-language"),
    ("response-content-type", "content-type"),
    ("response-expires", "expires"),
];

/// How names are written in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    pub(super) fn of(req: &Req) -> Result<Self, S3Error> {
        match req.query("encoding-type") {
            None | Some("") => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(other) => {
                let why = "Invalid Encoding Method specified in Request";
                Err(S3Error::argument("encoding-type", other, why))
            }
        }
    }

    pub(super) fn encode(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Plain => Cow::Borrowed(text),
            Self::Url => Cow::from(utf8_percent_encode(text, KEPT)),
        }
    }

    pub(super) fn element(self, out: &mut Writer) {
        if self == Self::Url {
            out.text("EncodingType", "url");
        }
    }
}

/// An entity tag in quotes.
pub(super) fn with_etag(reply: Reply, etag: &str) -> Result<Reply, S3Error> {
    reply.text(ETAG.as_str(), &format!("\"{etag}\""))
}

/// The version's id, where the bucket has or had versions.
pub(super) fn with_version(reply: Reply, id: Option<&str>) -> Result<Reply, S3Error> {
    match id {
        Some(id) => reply.text("x-amz-version-id", id),
        None => Ok(reply),
    }
}

/// The address of the object that a request made, as the client reaches this endpoint.
pub(super) fn location(req: &Req) -> Result<String, S3Error> {
    let scheme = if req.around.secure { "https" } else { "http" };
    let host = &req.host;
    let path = Encoding::Url.encode(req.key()?.as_str());
    Ok(match req.virtual_host {
        true => format!("{scheme}://{host}/{path}"),
        false => format!("{scheme}://{host}/{}/{path}", req.bucket()?),
    })
}

/// Everything that GET and HEAD say of an object.
pub(super) fn object_head(req: &Req, info: &ObjectInfo) -> Result<Reply, S3Error> {
    let meta = &info.meta;
    let status = if info.partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut reply = with_etag(Reply::empty(status), &meta.etag.0)?
        .text(LAST_MODIFIED.as_str(), &xml::http_date(meta.modified_ms))?
        .with(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    reply = with_version(reply, info.version_id.as_deref())?;
    if info.partial && !info.range.is_empty() {
        let (first, last) = (info.range.start, info.range.end - 1);
        let range = format!("bytes {first}-{last}/{}", meta.size);
        reply = reply.text(CONTENT_RANGE.as_str(), &range)?;
    }
    if let Some(count) = info.parts_count {
        reply = reply.text("x-amz-mp-parts-count", &count.to_string())?;
    }
    reply = stored_headers(req, meta, reply)?;
    for (name, value) in &meta.user_meta {
        reply = reply.text(&format!("x-amz-meta-{name}"), value)?;
    }
    reply = with_lock(reply, info)?;
    reply = with_sse(reply, req, meta.encryption.as_ref().map(|e| &e.sse))?;
    if !info.marks.tags.val.is_empty() {
        reply = reply.text("x-amz-tagging-count", &info.marks.tags.val.len().to_string())?;
    }
    if req.header("x-amz-checksum-mode")?.is_some_and(|m| m.eq_ignore_ascii_case("enabled")) {
        reply = with_object_checksum(req, info, reply)?;
    }
    Ok(reply)
}

fn stored_headers(req: &Req, meta: &ObjectMeta, mut reply: Reply) -> Result<Reply, S3Error> {
    let stored = &meta.headers;
    let content_type = stored.content_type.as_deref().unwrap_or("binary/octet-stream");
    let headers = [
        ("cache-control", stored.cache_control.as_deref()),
        ("content-disposition", stored.content_disposition.as_deref()),
        ("content-encoding", stored.content_encoding.as_deref()),
        ("content-language", stored.content_language.as_deref()),
        ("content-type", Some(content_type)),
        ("expires", stored.expires.as_deref()),
    ];
    for (name, value) in headers {
        let parameter =
            OVERRIDES.iter().find(|(_, header)| *header == name).map(|(query, _)| query);
        let instead = parameter.and_then(|query| req.query(query));
        if instead.is_some() && req.caller == Caller::Anonymous {
            let why =
                "Request specific response headers cannot be used for anonymous GET requests.";
            return Err(S3Error::with(Code::InvalidRequest, why));
        }
        if let Some(value) = instead.or(value) {
            reply = user_header(reply, name, value)?;
        }
    }
    if let Some(class) = &stored.storage_class {
        reply = reply.text("x-amz-storage-class", class)?;
    }
    if let Location::Only(_) = stored.location {
        for name in REGIONS {
            reply = reply.text(name, &region_of(&stored.location))?;
        }
    }
    if let Some(location) = &stored.website_redirect {
        reply = reply.text("x-amz-website-redirect-location", location)?;
    }
    Ok(reply)
}

/// A header from a query parameter may hold what no header can carry.
fn user_header(reply: Reply, name: &'static str, value: &str) -> Result<Reply, S3Error> {
    let bad = |_| S3Error::argument(name, value, "the value cannot be a header");
    let value = HeaderValue::from_bytes(value.as_bytes()).map_err(bad)?;
    Ok(reply.with(HeaderName::from_static(name), value))
}

/// The checksum of the bytes that are sent. Its type is the object's, also where it is of one part,
/// whose own has no number behind it.
fn with_object_checksum(req: &Req, info: &ObjectInfo, reply: Reply) -> Result<Reply, S3Error> {
    let Some(checksum) = checksum_of(req, info)? else { return Ok(reply) };
    let whole = info.meta.checksum.as_ref();
    let parts = parts::parts_count(&info.meta);
    let kind = whole.map_or(checksum.kind, |whole| whole.kind);
    reply
        .text(digest::algorithm_header(checksum.algorithm), &encoded(checksum, parts))?
        .text(CHECKSUM_TYPE, kind_name(kind))
}

/// The checksum of exactly the bytes that are sent; a client checks it against them.
fn checksum_of<'a>(req: &Req, info: &'a ObjectInfo) -> Result<Option<&'a Checksum>, S3Error> {
    if !info.partial {
        return Ok(info.meta.checksum.as_ref());
    }
    let Some(number) = req.query_as::<u16>("partNumber")? else { return Ok(None) };
    if parts::parts_count(&info.meta).is_none() {
        return Ok(info.meta.checksum.as_ref());
    }
    let part = info.meta.parts.get(usize::from(number) - 1);
    Ok(part.and_then(|part| part.checksum.as_ref()))
}

/// A checksum as headers; `parts` is how many parts a composite one is over. Without that number
/// behind it a client takes a composite checksum for one of the bytes, and the bytes for damaged.
pub(super) fn with_checksum(
    reply: Reply,
    checksum: Option<&Checksum>,
    parts: Option<usize>,
) -> Result<Reply, S3Error> {
    let Some(checksum) = checksum else { return Ok(reply) };
    reply
        .text(digest::algorithm_header(checksum.algorithm), &encoded(checksum, parts))?
        .text(CHECKSUM_TYPE, kind_name(checksum.kind))
}

/// A checksum as elements; `parts` is how many parts a composite one is over.
pub(super) fn checksum_elements(
    out: &mut Writer,
    checksum: Option<&Checksum>,
    parts: Option<usize>,
) {
    let Some(checksum) = checksum else { return };
    out.text(element_of(checksum.algorithm), &encoded(checksum, parts));
}

fn element_of(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
        ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
        ChecksumAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
        ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
        ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
    }
}

fn encoded(checksum: &Checksum, parts: Option<usize>) -> String {
    let value = STANDARD.encode(&checksum.value);
    match (checksum.kind, parts) {
        (ChecksumKind::Composite, Some(parts)) => format!("{value}-{parts}"),
        (ChecksumKind::Composite | ChecksumKind::FullObject, _) => value,
    }
}

pub(super) fn kind_name(kind: ChecksumKind) -> &'static str {
    match kind {
        ChecksumKind::Composite => "COMPOSITE",
        ChecksumKind::FullObject => "FULL_OBJECT",
    }
}

/// Where the bytes came from, and how long it took until the first.
pub(super) fn with_source(
    reply: Reply,
    source: Option<Source>,
    took: Duration,
) -> Result<Reply, S3Error> {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let mut timing = format!("total;dur={:.2}", ms(took));
    let flow = flow::current();
    for (stage, waited) in flow.iter().flat_map(|f| Stage::ALL.map(|s| (s, f.waited(s)))) {
        if !waited.is_zero() {
            timing += &format!(", {};dur={:.2}", stage.as_str(), ms(waited));
        }
    }
    let reply = reply.text(SERVER_TIMING.as_str(), &timing)?;
    match source {
        None => Ok(reply),
        Some(Source::Memory) => reply.text(SOURCE.as_str(), "memory"),
        Some(Source::Disk) => reply.text(SOURCE.as_str(), "disk"),
        Some(Source::Region(region)) => reply.text(SOURCE.as_str(), &region.to_string()),
    }
}

/// `Owner` or `Initiator`. There are no display names: the id stands for both.
pub(super) fn account_element(out: &mut Writer, name: &'static str, account: &AccountId) {
    out.open(name).text("ID", &account.0).text("DisplayName", &account.0).close();
}

/// What `StorageClass` says of an object.
pub(super) fn class_of(class: Option<&String>) -> &str {
    class.map_or("STANDARD", String::as_str)
}
