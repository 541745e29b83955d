//! Versions of a bucket: whether it keeps them, and their list.
//! Source: S3 user guide, "Retaining multiple versions of objects with S3 Versioning".

use std::sync::Arc;

use serde::Deserialize;

use crate::engine::{ListVersions, id_of};
use crate::limits;
use crate::logic::listing::Query;
use crate::logic::versions::{Entry, Next};
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When, run};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::action::Action;
use crate::types::bucket::Versioning;
use crate::types::name::AccountId;
use crate::types::object::{Content, Version};

use super::answers::{Encoding, account_element, class_of};
use super::params::{non_empty, page_size, parse_version};

pub(super) static OPS: &[Op] = &[
    Op {
        name: "GetBucketVersioning",
        on: On::Bucket,
        verb: Verb::Get,
        when: &[When::Query("versioning")],
        action: Action::GetBucketVersioning,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(get_versioning),
    },
    Op {
        name: "ListObjectVersions",
        on: On::Bucket,
        verb: Verb::Get,
        when: &[When::Query("versions")],
        action: Action::ListBucketVersions,
        body: BodyKind::None,
        auth: Auth::Signed,
        run: run!(list_versions),
    },
    Op {
        name: "PutBucketVersioning",
        on: On::Bucket,
        verb: Verb::Put,
        when: &[When::Query("versioning")],
        action: Action::PutBucketVersioning,
        body: BodyKind::Xml(limits::XML_BYTES_MAX),
        auth: Auth::Signed,
        run: run!(put_versioning),
    },
];

async fn get_versioning(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let config = ctx.engine().bucket_config(req.bucket()?).await?;
    let mut out = Writer::new("VersioningConfiguration");
    match config.versioning {
        Versioning::Off => {}
        Versioning::Enabled => drop(out.text("Status", "Enabled")),
        Versioning::Suspended => drop(out.text("Status", "Suspended")),
    }
    Ok(Reply::xml(out))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VersioningConfiguration {
    status: Option<String>,
    mfa_delete: Option<String>,
}

async fn put_versioning(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let asked: VersioningConfiguration = req.xml("VersioningConfiguration")?;
    if asked.mfa_delete.as_deref() == Some("Enabled") {
        return Err(S3Error::with(Code::NotImplemented, "MFA delete is not implemented."));
    }
    let versioning = match asked.status.as_deref() {
        Some("Enabled") => Versioning::Enabled,
        Some("Suspended") => Versioning::Suspended,
        Some(_) | None => return Err(S3Error::new(Code::MalformedXML)),
    };
    let config = ctx.engine().bucket_config(req.bucket()?).await?;
    if config.lock.is_some() && versioning == Versioning::Suspended {
        let why = "An Object Lock configuration is present on this bucket, so the versioning \
                   state cannot be changed.";
        return Err(S3Error::with(Code::InvalidBucketState, why));
    }
    let change = Arc::new(move |config: &mut crate::types::bucket::BucketConfig| {
        if config.lock.is_none() {
            config.versioning = versioning;
        }
    });
    let changed = ctx.engine().change_bucket(req.bucket()?, change).await?;
    if changed.versioning != versioning {
        let why = "The bucket was given an Object Lock configuration just now.";
        return Err(S3Error::with(Code::InvalidBucketState, why));
    }
    Ok(Reply::ok())
}

async fn list_versions(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let encoding = Encoding::of(&req)?;
    let (key_marker, id_marker) = (non_empty(&req, "key-marker"), req.query("version-id-marker"));
    if key_marker.is_none() && id_marker.is_some_and(|id| !id.is_empty()) {
        let why = "A version-id marker cannot be specified without a key marker.";
        return Err(S3Error::argument("version-id-marker", id_marker.unwrap_or_default(), why));
    }
    let within = id_marker.filter(|id| !id.is_empty()).map(parse_version).transpose()?;
    let query = Query {
        prefix: req.query("prefix").unwrap_or_default().to_owned(),
        delimiter: non_empty(&req, "delimiter"),
        after: key_marker.clone(),
        max: page_size(&req, "max-keys")?,
    };
    let list = ListVersions { bucket: req.bucket()?.clone(), query: query.clone(), within };
    let found = ctx.engine_to_read(&req)?.list_versions(list).await?;
    let mut out = Writer::new("ListVersionsResult");
    out.text("Name", req.bucket()?.as_str()).text("Prefix", &encoding.encode(&query.prefix));
    out.text("KeyMarker", &encoding.encode(&key_marker.unwrap_or_default()));
    out.text("VersionIdMarker", id_marker.unwrap_or_default());
    if let Some(Next { key, version }) = &found.page.next {
        out.listed("NextKeyMarker", &encoding.encode(key));
        out.text_some("NextVersionIdMarker", version.map(|v| v.to_string()).as_deref());
    }
    let delimiter = query.delimiter.as_deref().map(|d| encoding.encode(d));
    out.text_some("Delimiter", delimiter.as_deref()).value("MaxKeys", query.max);
    encoding.element(&mut out);
    out.value("IsTruncated", found.page.next.is_some());
    for entry in &found.page.entries {
        match entry {
            Entry::Version { key, version, latest } => {
                let name = encoding.encode(key.as_str());
                element(&mut out, &name, version, *latest, &found.owner);
            }
            Entry::Prefix(prefix) => {
                out.open("CommonPrefixes").listed("Prefix", &encoding.encode(prefix)).close();
            }
        }
    }
    Ok(Reply::xml(out))
}

fn element(out: &mut Writer, key: &str, version: &Version, latest: bool, owner: &AccountId) {
    let meta = match &version.content {
        Content::Object(meta) => Some(meta),
        Content::Marker | Content::Tombstone => None,
    };
    out.open(if meta.is_some() { "Version" } else { "DeleteMarker" }).listed("Key", key);
    out.text("VersionId", &id_of(version)).value("IsLatest", latest);
    out.date("LastModified", version.made_ms());
    if let Some(meta) = meta {
        out.etag(&meta.etag.0).value("Size", meta.size);
        out.text("StorageClass", class_of(meta.headers.storage_class.as_ref()));
    }
    account_element(out, "Owner", meta.map_or(owner, |meta| &meta.owner));
    out.close();
}
