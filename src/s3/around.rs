//! The circumstances of a request, as policies name them.
//! Source: IAM user guide, "AWS global condition context keys"; S3 user guide, "Bucket policy
//! examples using condition keys".

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::types::access::{Circumstances, PREFIX, VERSION_ID};
use crate::types::action::Action;

use super::OverTls;
use super::intake::Head;
use super::request::Query;

/// The condition key whose value a header is.
fn condition_key(header: &str) -> Option<&'static str> {
    Some(match header {
        "referer" => "aws:referer",
        "user-agent" => "aws:useragent",
        "x-amz-acl" => "s3:x-amz-acl",
        "x-amz-content-sha256" => "s3:x-amz-content-sha256",
        "x-amz-copy-source" => "s3:x-amz-copy-source",
        "x-amz-grant-full-control" => "s3:x-amz-grant-full-control",
        "x-amz-grant-read" => "s3:x-amz-grant-read",
        "x-amz-grant-read-acp" => "s3:x-amz-grant-read-acp",
        "x-amz-grant-write" => "s3:x-amz-grant-write",
        "x-amz-grant-write-acp" => "s3:x-amz-grant-write-acp",
        "x-amz-metadata-directive" => "s3:x-amz-metadata-directive",
        "x-amz-object-ownership" => "s3:x-amz-object-ownership",
        "x-amz-server-side-encryption" => "s3:x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id" => {
            "s3:x-amz-server-side-encryption-aws-kms-key-id"
        }
        "x-amz-server-side-encryption-customer-algorithm" => {
            "s3:x-amz-server-side-encryption-customer-algorithm"
        }
        "x-amz-storage-class" => "s3:x-amz-storage-class",
        "x-amz-website-redirect-location" => "s3:x-amz-website-redirect-location",
        _ => return None,
    })
}

/// Query parameters and the condition keys whose values they are.
const QUERIES: [(&str, &str); 4] = [
    ("delimiter", "s3:delimiter"),
    ("max-keys", "s3:max-keys"),
    ("prefix", PREFIX),
    ("versionId", VERSION_ID),
];

pub(super) fn of(head: &Head, peer: SocketAddr, now_ms: u64) -> Circumstances {
    let (headers, query) = (head.headers(), &head.query);
    // A request has few headers: each is looked up once, and the first of a name counts.
    let of_headers = headers.keys().filter_map(|name| {
        let key = condition_key(name.as_str())?;
        Some((key, text(headers, name.as_str())?))
    });
    let of_query = QUERIES.iter().filter_map(|(name, key)| Some((*key, query.get(name)?)));
    let given = of_headers.chain(of_query);
    let mut values: Vec<(Cow<'static, str>, Cow<'static, str>)> =
        given.map(|(key, value)| (key.into(), value.to_owned().into())).collect();
    if let Some((version, kind)) = signature(head) {
        let signed = [("s3:signatureversion", version), ("s3:authtype", kind)];
        values.extend(signed.map(|(key, value)| (key.into(), value.into())));
    }
    let over_tls = head.parts.extensions.get::<OverTls>().is_some();
    let proxied = text(headers, "x-forwarded-proto").is_some_and(|proto| proto == "https");
    let around = Circumstances {
        source_ip: Some(canonical(peer.ip())),
        // What a header says is believed of a proxy on this machine alone.
        secure: over_tls || (proxied && canonical(peer.ip()).is_loopback()),
        pays: pays(headers),
        now_ms,
        values,
    };
    match text(headers, "x-amz-tagging") {
        // One that cannot be read is refused later.
        Some(tags) => around.with_tags(Query::parse(tags).unwrap_or_default().pairs()),
        None => around,
    }
}

/// The action of a row for one version: a request that names one asks for more.
pub(super) fn action(action: Action, query: &Query) -> Action {
    const VERSIONED: [(Action, Action); 8] = [
        (Action::DeleteObject, Action::DeleteObjectVersion),
        (Action::DeleteObjectTagging, Action::DeleteObjectVersionTagging),
        (Action::GetObject, Action::GetObjectVersion),
        (Action::GetObjectAcl, Action::GetObjectVersionAcl),
        (Action::GetObjectAttributes, Action::GetObjectVersionAttributes),
        (Action::GetObjectTagging, Action::GetObjectVersionTagging),
        (Action::PutObjectAcl, Action::PutObjectVersionAcl),
        (Action::PutObjectTagging, Action::PutObjectVersionTagging),
    ];
    if !query.has("versionId") {
        return action;
    }
    let versioned = VERSIONED.iter().find(|(of, _)| *of == action);
    versioned.map_or(action, |(_, versioned)| *versioned)
}

/// Whether the caller says that its account pays. Source: S3 user guide, "Downloading objects from
/// Requester Pays buckets".
pub(super) fn pays(headers: &HeaderMap) -> bool {
    text(headers, "x-amz-request-payer")
        .is_some_and(|payer| payer.eq_ignore_ascii_case("requester"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

/// An IPv4 address that came over a socket for both is an IPv4 address.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Version and place of the signature.
fn signature(head: &Head) -> Option<(&'static str, &'static str)> {
    if let Some(form) = &head.form {
        let v2 = form.signature_version()? == "SigV2";
        return Some((if v2 { "AWS" } else { "AWS4-HMAC-SHA256" }, "POST"));
    }
    let (headers, query) = (head.headers(), &head.query);
    if query.has("X-Amz-Signature") {
        return Some(("AWS4-HMAC-SHA256", "REST-QUERY-STRING"));
    }
    if query.has("Signature") {
        return Some(("AWS", "REST-QUERY-STRING"));
    }
    let header = text(headers, "authorization")?;
    let version = if header.starts_with("AWS ") { "AWS" } else { "AWS4-HMAC-SHA256" };
    Some((version, "REST-HEADER"))
}
