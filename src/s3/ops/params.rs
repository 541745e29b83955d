//! What several operations read from a request, each in one place.
//!
//! Invariant: a header that asks for something this program does not do is refused, never ignored.

use percent_encoding::percent_decode_str;

use crate::engine::{Attributes, CopySource, Error, VersionRef};
use crate::limits;
use crate::logic::acl::ANONYMOUS;
use crate::logic::precondition::{Conditions, ETagMatch};
use crate::logic::tags::{self, Refusal};
use crate::logic::website;
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::request::Req;
use crate::s3::xml;
use crate::types::acl::Acl;
use crate::types::bucket::Location;
use crate::types::lock::LockAsked;
use crate::types::name::{AccountId, BucketName, ObjectKey};
use crate::types::object::StoredHeaders;

use super::encryption::{source_customer_key, sse_asked};

/// Names the regions of a bucket or of an object.
pub(super) const REGIONS: [&str; 2] = ["x-godwit-regions", "x-tigris-regions"];

/// Classes that are kept and shown; all of them are stored alike.
const STORAGE_CLASSES: [&str; 6] = [
    "STANDARD",
    "GLACIER_IR",
    "INTELLIGENT_TIERING",
    "ONEZONE_IA",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
];

/// The account that asks; of callers without a key the one that owns what they write.
pub(super) fn account(req: &Req) -> AccountId {
    req.caller.account().unwrap_or(&ANONYMOUS).clone()
}

/// What the client says of the object: stored headers, user metadata, tags, encryption.
pub(super) fn attributes(
    ctx: &Ctx,
    req: &Req,
    acl: Option<Acl>,
    lock: LockAsked,
) -> Result<Attributes, S3Error> {
    Ok(Attributes {
        headers: stored_headers(ctx, req)?,
        user_meta: user_meta(req)?,
        tags: tags(req)?.unwrap_or_default(),
        acl,
        lock,
        encryption: sse_asked(req)?,
    })
}

pub(super) fn stored_headers(ctx: &Ctx, req: &Req) -> Result<StoredHeaders, S3Error> {
    let text =
        |name: &str| req.header(name).map(|v| v.filter(|v| !v.is_empty()).map(str::to_owned));
    Ok(StoredHeaders {
        content_type: text("content-type")?,
        cache_control: text("cache-control")?,
        content_disposition: text("content-disposition")?,
        content_encoding: text("content-encoding")?.and_then(|v| without_aws_chunked(&v)),
        content_language: text("content-language")?,
        expires: text("expires")?,
        website_redirect: website_redirect(req)?,
        storage_class: storage_class(req)?,
        location: object_location(ctx, req)?.unwrap_or_default(),
    })
}

/// The regions that a request names for bytes, and the header that does: ours or Tigris's.
pub(super) fn places(req: &Req) -> Result<Option<(&'static str, Vec<String>)>, S3Error> {
    for name in REGIONS {
        if let Some(list) = req.header(name)? {
            let places = list.split(',').map(|place| place.trim().to_owned()).collect();
            return Ok(Some((name, places)));
        }
    }
    Ok(None)
}

/// The regions that an object shall have of its own. `None` without the header.
pub(super) fn object_location(ctx: &Ctx, req: &Req) -> Result<Option<Location>, S3Error> {
    let Some((name, places)) = places(req)? else { return Ok(None) };
    let location = ctx.engine().location(&places);
    let location = location.map_err(|why| match why {
        Error::InvalidLocation(place) => {
            let why = "Region codes or geographies of this cluster, separated by commas.";
            S3Error::argument(name, &place, why)
        }
        why => why.into(),
    })?;
    Ok(Some(location))
}

/// Where the object leads on a website. Source: S3 user guide, "Configuring a webpage redirect".
pub(super) fn website_redirect(req: &Req) -> Result<Option<String>, S3Error> {
    let location = req.header("x-amz-website-redirect-location")?;
    let Some(location) = location.filter(|text| !text.is_empty()) else { return Ok(None) };
    if location.len() > limits::REDIRECT_BYTES_MAX {
        let why = "The length of the website redirect location cannot exceed 2048 characters.";
        return Err(S3Error::with(Code::InvalidRedirectLocation, why));
    }
    match website::is_location(location) {
        true => Ok(Some(location.to_owned())),
        false => Err(S3Error::new(Code::InvalidRedirectLocation)),
    }
}

/// `aws-chunked` is how the body travels, not what it is.
fn without_aws_chunked(value: &str) -> Option<String> {
    let codings: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|c| !c.is_empty() && !c.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!codings.is_empty()).then(|| codings.join(", "))
}

/// The class asked for; `None` for the standard one.
pub(super) fn storage_class(req: &Req) -> Result<Option<String>, S3Error> {
    match req.header("x-amz-storage-class")? {
        None | Some("STANDARD") => Ok(None),
        Some(class) if STORAGE_CLASSES.contains(&class) => Ok(Some(class.to_owned())),
        Some(class) => {
            Err(S3Error::new(Code::InvalidStorageClass).extra("StorageClassRequested", class))
        }
    }
}

/// `x-amz-meta-*`, without the prefix.
pub(super) fn user_meta(req: &Req) -> Result<Vec<(String, String)>, S3Error> {
    let mut meta: Vec<(String, String)> = Vec::new();
    let mut bytes = 0;
    for (name, value) in &req.headers {
        let Some(name) = name.as_str().strip_prefix("x-amz-meta-") else { continue };
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| S3Error::argument(name, "", "metadata is UTF-8"))?;
        bytes += name.len() + value.len();
        match meta.iter_mut().find(|(n, _)| n == name) {
            // One name twice is one list. Source: RFC 9110 section 5.2.
            Some((_, before)) => *before = format!("{before},{value}"),
            None => meta.push((name.to_owned(), value.to_owned())),
        }
    }
    if bytes > limits::USER_META_BYTES_MAX {
        return Err(S3Error::new(Code::MetadataTooLarge)
            .extra("Size", bytes.to_string())
            .extra("MaxSizeAllowed", limits::USER_META_BYTES_MAX.to_string()));
    }
    Ok(meta)
}

/// `x-amz-tagging`: pairs as in a query. `None` without the header.
pub(super) fn tags(req: &Req) -> Result<Option<Vec<(String, String)>>, S3Error> {
    let Some(text) = req.header("x-amz-tagging")? else { return Ok(None) };
    let mut tags: Vec<(String, String)> = Vec::new();
    for pair in text.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        tags.push((tag_text(key)?, tag_text(value)?));
    }
    tags::check(&tags, tags::OBJECT_TAGS_MAX).map_err(|why| match why {
        Refusal::TooMany(max) => {
            let why = format!("Object tags cannot be greater than {max}");
            S3Error::with(Code::BadRequest, why)
        }
        Refusal::Key(_) | Refusal::Value(_) | Refusal::System(_) | Refusal::Twice(_) => {
            super::tagging::refused(why)
        }
    })?;
    // Tags have no order; S3 shows them by their keys.
    tags.sort_unstable();
    Ok(Some(tags))
}

fn tag_text(text: &str) -> Result<String, S3Error> {
    let text = text.replace('+', " ");
    match percent_decode_str(&text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(S3Error::new(Code::InvalidTag)),
    }
}

/// If-Match and its kin.
pub(super) fn conditions(req: &Req) -> Result<Conditions, S3Error> {
    named_conditions(req, ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"])
}

pub(super) fn named_conditions(req: &Req, names: [&str; 4]) -> Result<Conditions, S3Error> {
    let [if_match, if_none_match, since, unmodified] = names;
    // A date that is none is ignored. Source: RFC 9110 section 13.1.3.
    let date = |name: &str| -> Result<Option<u64>, S3Error> {
        Ok(req.header(name)?.and_then(xml::parse_http_date).map(|ms| ms / 1000))
    };
    Ok(Conditions {
        if_match: req.header(if_match)?.map(etags),
        if_none_match: req.header(if_none_match)?.map(etags),
        if_modified_since: date(since)?,
        if_unmodified_since: date(unmodified)?,
    })
}

/// If-Range: an entity tag or a date, whatever it looks like. A weak tag never holds.
/// Source: RFC 9110 section 13.1.5.
pub(super) fn if_range(req: &Req) -> Result<Conditions, S3Error> {
    let mut conditions = Conditions::default();
    let Some(text) = req.header("if-range")? else { return Ok(conditions) };
    match xml::parse_http_date(text) {
        Some(ms) => conditions.if_unmodified_since = Some(ms / 1000),
        None => {
            let strong = !text.trim_start().starts_with("W/");
            let tags = if strong { vec![unquoted(text).to_owned()] } else { Vec::new() };
            conditions.if_match = Some(ETagMatch::OneOf(tags));
        }
    }
    Ok(conditions)
}

/// The tags of an If-Match or If-None-Match header.
fn etags(text: &str) -> ETagMatch {
    if text.trim() == "*" {
        return ETagMatch::Any;
    }
    ETagMatch::OneOf(text.split(',').map(|tag| unquoted(tag).to_owned()).collect())
}

/// An entity tag as it is stored. Clients quote it or not.
pub(super) fn unquoted(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"')
}

/// `x-amz-copy-source` and its conditions.
pub(super) fn copy_source(req: &Req) -> Result<CopySource, S3Error> {
    let text = req.header("x-amz-copy-source")?.unwrap_or_default();
    let bad = |why: &'static str| S3Error::argument("x-amz-copy-source", text, why);
    let (path, version) = match text.split_once("?versionId=") {
        Some((path, version)) => (path, parse_version(version)?),
        None => (text, VersionRef::Current),
    };
    let path = percent_decode_str(path).decode_utf8();
    let path = path.map_err(|_| bad("the copy source is not UTF-8"))?;
    let (bucket, key) = path
        .strip_prefix('/')
        .unwrap_or(&path)
        .split_once('/')
        .ok_or_else(|| bad("Invalid copy source object key"))?;
    Ok(CopySource {
        around: req.around.clone(),
        customer_key: source_customer_key(req)?,
        bucket: BucketName::parse(bucket).map_err(|_| bad("Invalid copy source bucket name"))?,
        key: ObjectKey::parse(key).map_err(|_| bad("Invalid copy source object key"))?,
        version,
        conditions: named_conditions(
            req,
            [
                "x-amz-copy-source-if-match",
                "x-amz-copy-source-if-none-match",
                "x-amz-copy-source-if-modified-since",
                "x-amz-copy-source-if-unmodified-since",
            ],
        )?,
    })
}

/// The bucket of an `x-amz-copy-source`, where it names one.
pub(in crate::s3) fn copy_source_bucket(source: &str) -> Option<BucketName> {
    let path = percent_decode_str(source).decode_utf8().ok()?;
    let (bucket, _) = path.strip_prefix('/').unwrap_or(&path).split_once('/')?;
    BucketName::parse(bucket).ok()
}

/// The version that a request is about.
pub(super) fn version(req: &Req) -> Result<VersionRef, S3Error> {
    req.query("versionId").map_or(Ok(VersionRef::Current), parse_version)
}

/// A version's id: `null` or a stamp.
pub(super) fn parse_version(id: &str) -> Result<VersionRef, S3Error> {
    if id == "null" {
        return Ok(VersionRef::Null);
    }
    let bad = |_| S3Error::argument("versionId", id, "Invalid version id specified");
    id.parse().map(VersionRef::Exact).map_err(bad)
}

/// `max-keys` and its kin: a number, cut to what a page may have.
pub(super) fn page_size(req: &Req, name: &str) -> Result<usize, S3Error> {
    let Some(text) = req.query(name).filter(|t| !t.is_empty()) else {
        return Ok(limits::LIST_KEYS_MAX);
    };
    match text.parse::<i64>() {
        Ok(n) if (0..=i64::from(i32::MAX)).contains(&n) => {
            Ok(usize::try_from(n).unwrap_or(usize::MAX).min(limits::LIST_KEYS_MAX))
        }
        Ok(_) | Err(_) => {
            let why = "Provided max-keys not an integer or within integer range";
            Err(S3Error::argument(name, text, why))
        }
    }
}

/// A parameter that is the same when it is empty and when it is missing.
pub(super) fn non_empty(req: &Req, name: &str) -> Option<String> {
    req.query(name).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_come_quoted_or_not_and_in_lists() {
        assert_eq!(etags("*"), ETagMatch::Any);
        assert_eq!(etags("\"abc\""), ETagMatch::OneOf(vec!["abc".into()]));
        assert_eq!(etags("abc, W/\"d\""), ETagMatch::OneOf(vec!["abc".into(), "d".into()]));
    }

    #[test]
    fn aws_chunked_is_not_stored() {
        assert_eq!(without_aws_chunked("aws-chunked"), None);
        assert_eq!(without_aws_chunked("aws-chunked,gzip").as_deref(), Some("gzip"));
        assert_eq!(without_aws_chunked("gzip, br").as_deref(), Some("gzip, br"));
    }
}
