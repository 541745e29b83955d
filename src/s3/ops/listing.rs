//! Lists of objects, both versions.

use std::sync::Arc;

use crate::engine::{ListObjects, ObjectsPage};
use crate::logic::listing::{self, Entry, Query};
use crate::s3::Ctx;
use crate::s3::digest;
use crate::s3::error::S3Error;
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When, run};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::{Writer, carries};
use crate::types::action::Action;
use crate::types::name::ObjectKey;
use crate::types::object::ObjectMeta;

use super::answers::{Encoding, account_element, class_of, kind_name};
use super::params::{non_empty, page_size};

pub(super) static OPS: &[Op] = &[
    Op {
        name: "ListObjects",
        on: On::Bucket,
        verb: Verb::Get,
        when: &[],
        action: Action::ListBucket,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(list_v1),
    },
    Op {
        name: "ListObjectsV2",
        on: On::Bucket,
        verb: Verb::Get,
        when: &[When::QueryIs("list-type", "2")],
        action: Action::ListBucket,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(list_v2),
    },
];

async fn list_v1(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let encoding = Encoding::of(&req)?;
    let marker = non_empty(&req, "marker");
    let query = query(&req, marker.clone())?;
    let page = page(ctx, &req, &query).await?;
    let mut out = Writer::new("ListBucketResult");
    // Clients decode every name of this version but the prefix: it goes as it is, if it can.
    let prefix = if carries(&query.prefix) {
        query.prefix.as_str().into()
    } else {
        encoding.encode(&query.prefix)
    };
    head(&mut out, &req, &query, encoding, &prefix)?;
    out.text("Marker", &encoding.encode(marker.as_deref().unwrap_or_default()));
    out.listed_some("NextMarker", page.next.as_deref().map(|n| encoding.encode(n)).as_deref());
    entries(&mut out, &page, encoding, true);
    Ok(Reply::xml(out))
}

async fn list_v2(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let encoding = Encoding::of(&req)?;
    let token = req.query("continuation-token");
    let start_after = non_empty(&req, "start-after");
    let after = match token {
        // Some clients send an empty one for the first page.
        None | Some("") => start_after.clone(),
        Some(token) => Some(listing::parse_token(token).map_err(|_| {
            let why = "The continuation token provided is incorrect";
            S3Error::argument("continuation-token", token, why)
        })?),
    };
    let query = query(&req, after)?;
    let page = page(ctx, &req, &query).await?;
    let mut out = Writer::new("ListBucketResult");
    head(&mut out, &req, &query, encoding, &encoding.encode(&query.prefix))?;
    out.value("KeyCount", page.entries.len()).text_some("ContinuationToken", token);
    let next = page.next.as_deref().map(listing::token);
    out.text_some("NextContinuationToken", next.as_deref());
    out.text_some("StartAfter", start_after.as_deref().map(|s| encoding.encode(s)).as_deref());
    entries(&mut out, &page, encoding, req.query("fetch-owner") == Some("true"));
    Ok(Reply::xml(out))
}

fn query(req: &Req, after: Option<String>) -> Result<Query, S3Error> {
    Ok(Query {
        prefix: req.query("prefix").unwrap_or_default().to_owned(),
        delimiter: non_empty(req, "delimiter"),
        after,
        max: page_size(req, "max-keys")?,
    })
}

/// The page; where the client asks for it, its objects are brought here for who reads them next.
async fn page(ctx: &Ctx, req: &Req, query: &Query) -> Result<ObjectsPage, S3Error> {
    let bucket = req.bucket()?;
    let list = ListObjects { bucket: bucket.clone(), query: query.clone() };
    let page = ctx.engine_to_read(req)?.list_objects(list).await?;
    for name in ["x-godwit-prefetch", "x-tigris-prefetch"] {
        if req.header(name)? == Some("true") {
            ctx.engine().prefetch(bucket, &page);
            break;
        }
    }
    Ok(page)
}

/// What both versions say of the request; the prefix as it is shown.
fn head(
    out: &mut Writer,
    req: &Req,
    query: &Query,
    encoding: Encoding,
    prefix: &str,
) -> Result<(), S3Error> {
    out.text("Name", req.bucket()?.as_str());
    out.text("Prefix", prefix);
    let delimiter = query.delimiter.as_deref().map(|d| encoding.encode(d));
    out.text_some("Delimiter", delimiter.as_deref());
    out.value("MaxKeys", query.max);
    encoding.element(out);
    Ok(())
}

/// What an entry takes as XML, about.
const ENTRY_BYTES: usize = 320;

fn entries(out: &mut Writer, page: &ObjectsPage, encoding: Encoding, owner: bool) {
    out.value("IsTruncated", page.next.is_some());
    out.reserve(page.entries.len() * ENTRY_BYTES);
    for entry in &page.entries {
        match entry {
            Entry::Key(key, meta) => object(out, key, meta, encoding, owner),
            Entry::Prefix(prefix) => {
                out.open("CommonPrefixes").listed("Prefix", &encoding.encode(prefix)).close();
            }
        }
    }
}

fn object(
    out: &mut Writer,
    key: &ObjectKey,
    meta: &Arc<ObjectMeta>,
    encoding: Encoding,
    owner: bool,
) {
    out.open("Contents").listed("Key", &encoding.encode(key.as_str()));
    out.date("LastModified", meta.modified_ms).etag(&meta.etag.0);
    if let Some(checksum) = &meta.checksum {
        out.text("ChecksumAlgorithm", digest::algorithm_name(checksum.algorithm));
        out.text("ChecksumType", kind_name(checksum.kind));
    }
    out.value("Size", meta.size);
    if owner {
        account_element(out, "Owner", &meta.owner);
    }
    out.text("StorageClass", class_of(meta.headers.storage_class.as_ref())).close();
}
