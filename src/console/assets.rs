//! The page itself: files that `web/` builds, in the binary.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::s3::Outgoing;

/// One file.
struct File {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const FILES: &[File] = &[
    File { path: "/", kind: "text/html; charset=utf-8", bytes: include_bytes!("dist/index.html") },
    File {
        path: "/app.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("dist/app.js"),
    },
    File {
        path: "/app.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("dist/app.css"),
    },
    File { path: "/icon.svg", kind: "image/svg+xml", bytes: include_bytes!("dist/icon.svg") },
];

/// The file of a path, or that the browser has it already.
pub(super) fn answer(path: &str, headers: &HeaderMap) -> Option<Response<Outgoing>> {
    let file = FILES.iter().find(|file| file.path == path)?;
    let tag = format!("\"{}\"", &blake3::hash(file.bytes).to_hex()[..32]);
    let known = headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let body = if known { Bytes::new() } else { Bytes::from_static(file.bytes) };
    let mut response = Response::new(Outgoing::from(body));
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.kind));
    // A new binary has new files under the same names: the browser asks each time.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ETAG, HeaderValue::from_str(&tag).expect("hexadecimal in quotes"));
    Some(response)
}
