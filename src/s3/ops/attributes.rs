//! What is stored of an object, without its bytes and its user's metadata.
//! Source: S3 API reference, GetObjectAttributes.

use http::header::LAST_MODIFIED;

use crate::engine::{GetObject, ObjectInfo};
use crate::limits;
use crate::logic::parts;
use crate::logic::precondition::Conditions;
use crate::s3::Ctx;
use crate::s3::error::S3Error;
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When, run};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::{self, Writer};
use crate::types::action::Action;

use super::answers::{checksum_elements, class_of, kind_name, with_version};
use super::encryption::customer_key;
use super::params::version;

pub(super) static OPS: &[Op] = &[Op {
    name: "GetObjectAttributes",
    on: On::Object,
    verb: Verb::Get,
    when: &[When::Query("attributes")],
    action: Action::GetObjectAttributes,
    body: BodyKind::None,
    auth: Auth::Signed,
    run: run!(get_attributes),
}];

/// What can be asked for.
const NAMES: [&str; 5] = ["Checksum", "ETag", "ObjectParts", "ObjectSize", "StorageClass"];

async fn get_attributes(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let asked = asked(&req)?;
    let (max, marker) =
        (number(&req, "x-amz-max-parts")?, number(&req, "x-amz-part-number-marker")?);
    let get = GetObject {
        bucket: req.bucket()?.clone(),
        key: req.key()?.clone(),
        conditions: Conditions::default(),
        range: None,
        if_range: Conditions::default(),
        part: None,
        version: version(&req)?,
        customer_key: customer_key(&req)?,
        seen: None,
    };
    let info = ctx.engine_to_read(&req)?.head_object(&get).await?;
    let meta = &info.meta;
    let has = |name: &str| asked.iter().any(|asked| asked == name);
    let mut out = Writer::new("GetObjectAttributesResponse");
    if has("ETag") {
        out.text("ETag", &meta.etag.0);
    }
    if has("Checksum")
        && let Some(checksum) = &meta.checksum
    {
        out.open("Checksum");
        checksum_elements(&mut out, Some(checksum), parts::parts_count(meta));
        out.text("ChecksumType", kind_name(checksum.kind)).close();
    }
    if has("ObjectParts") {
        let max = max.unwrap_or(limits::LIST_KEYS_MAX).min(limits::LIST_KEYS_MAX);
        object_parts(&mut out, &info, marker.unwrap_or(0), max);
    }
    if has("StorageClass") {
        out.text("StorageClass", class_of(meta.headers.storage_class.as_ref()));
    }
    if has("ObjectSize") {
        out.value("ObjectSize", meta.size);
    }
    let reply = with_version(Reply::xml(out), info.version_id.as_deref())?;
    reply.text(LAST_MODIFIED.as_str(), &xml::http_date(meta.modified_ms))
}

/// One page of the parts that an object was uploaded in; nothing where it came in one piece.
fn object_parts(out: &mut Writer, info: &ObjectInfo, marker: usize, max: usize) {
    let meta = &info.meta;
    let Some(count) = parts::parts_count(meta) else { return };
    let after: Vec<usize> = (marker + 1..=count).collect();
    let page = &after[..after.len().min(max)];
    out.open("ObjectParts").value("PartsCount", count).value("PartNumberMarker", marker);
    if let Some(last) = page.last() {
        out.value("NextPartNumberMarker", last);
    }
    out.value("MaxParts", max).value("IsTruncated", after.len() > page.len());
    for number in page {
        // An empty last part has no run of bytes.
        let part = meta.parts.get(number - 1);
        out.open("Part").value("PartNumber", number);
        out.value("Size", part.map_or(0, |part| part.blob.len));
        checksum_elements(out, part.and_then(|part| part.checksum.as_ref()), None);
        out.close();
    }
    out.close();
}

/// The names in `x-amz-object-attributes`, which stands once or several times.
fn asked(req: &Req) -> Result<Vec<String>, S3Error> {
    const HEADER: &str = "x-amz-object-attributes";
    let mut names = Vec::new();
    for value in req.headers.get_all(HEADER) {
        let text = String::from_utf8_lossy(value.as_bytes());
        names.extend(text.split(',').map(|name| name.trim().to_owned()));
    }
    match names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        Some(other) => Err(S3Error::argument(HEADER, other, "Invalid attribute name specified.")),
        None if names.is_empty() => {
            let why = "The x-amz-object-attributes header specifying the attributes to be \
                       retrieved is either missing or empty";
            Err(S3Error::argument(HEADER, "", why))
        }
        None => Ok(names),
    }
}

fn number(req: &Req, name: &'static str) -> Result<Option<usize>, S3Error> {
    let Some(text) = req.header(name)? else { return Ok(None) };
    let number: u16 = text
        .trim()
        .parse()
        .map_err(|_| S3Error::argument(name, text, "A number from 0 to 10000 is asked for."))?;
    Ok(Some(number.into()))
}
