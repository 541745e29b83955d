//! The canonical request of signature version 4, computed by ourselves from the raw request.
//!
//! Invariant: pure; nothing is looked up, nothing is trusted. It is compared with `aws-sigv4`'s own
//! signing in property tests. What a client signs it may write in several ways on the wire (`(` or
//! `%28`), so the path exists in two forms, and both name the same key.
//! Source: "Create a signed AWS API request", Signature Version 4.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

/// Everything but unreserved characters is escaped.
pub(super) const QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// In paths the slash stays.
pub(super) const PATH: &AsciiSet = &QUERY.remove(b'/');

/// The parts of a request that a signature covers.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// As it came, before any decoding.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// What `Host` says; from `:authority` in HTTP/2.
    pub(crate) host: &'a str,
}

/// The canonical request, up to the hash of the payload.
pub(crate) fn request(
    signed: &Signed<'_>,
    path: &str,
    names: &[HeaderName],
    payload: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(signed.method.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(path.as_bytes());
    out.push(b'\n');
    query(signed.query, &mut out);
    out.push(b'\n');
    for name in names {
        header(signed, name, &mut out);
    }
    out.push(b'\n');
    for (i, name) in names.iter().enumerate() {
        if i > 0 {
            out.push(b';');
        }
        out.extend_from_slice(name.as_str().as_bytes());
    }
    out.push(b'\n');
    out.extend_from_slice(payload.as_bytes());
    out
}

/// The forms of a path that a client may have signed: with every character escaped that is not
/// unreserved, and as it is on the wire.
pub(crate) fn paths(raw: &str) -> (Cow<'_, str>, Option<&str>) {
    let raw = if raw.is_empty() { "/" } else { raw };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'.' | b'_' | b'~');
    if raw.bytes().all(plain) {
        return (Cow::Borrowed(raw), None);
    }
    let decoded: Vec<u8> = percent_decode(raw.as_bytes()).collect();
    let escaped = percent_encode(&decoded, PATH).to_string();
    if escaped == raw {
        return (Cow::Owned(escaped), None);
    }
    (Cow::Owned(escaped), Some(raw))
}

/// Parameters escaped and sorted, without the signature itself.
fn query(raw: &str, out: &mut Vec<u8>) {
    if raw.is_empty() {
        return;
    }
    let mut pairs: Vec<(String, String)> = raw
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (escape_again(name), escape_again(value))
        })
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect();
    pairs.sort_unstable();
    for (i, (name, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_bytes());
    }
}

/// Decoded (`+` is a blank) and escaped as the signature wants it.
fn escape_again(raw: &str) -> String {
    let bytes: Cow<'_, [u8]> = if raw.contains('+') {
        Cow::Owned(raw.replace('+', " ").into_bytes())
    } else {
        Cow::Borrowed(raw.as_bytes())
    };
    let decoded: Cow<'_, [u8]> = percent_decode(&bytes).into();
    percent_encode(&decoded, QUERY).to_string()
}

/// `name:value`, several values joined by commas, blanks folded.
fn header(signed: &Signed<'_>, name: &HeaderName, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.push(b':');
    if name == http::header::HOST {
        fold(signed.host.as_bytes(), out);
    } else {
        for (i, value) in signed.headers.get_all(name).iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            fold(value.as_bytes(), out);
        }
    }
    out.push(b'\n');
}

/// Without blanks at the ends, and with runs of blanks as one.
fn fold(value: &[u8], out: &mut Vec<u8>) {
    let mut words = value.split(|b| *b == b' ' || *b == b'\t').filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        out.extend_from_slice(first);
    }
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_the_escaped_form_and_the_wire_form() {
        assert_eq!(paths(""), (Cow::Borrowed("/"), None));
        assert_eq!(paths("/b/k-1_2.3~"), (Cow::Borrowed("/b/k-1_2.3~"), None));
        assert_eq!(paths("/b/a%20b").1, None);
        let (escaped, raw) = paths("/b/a(1)+%c3%a9");
        assert_eq!(escaped, "/b/a%281%29%2B%C3%A9");
        assert_eq!(raw, Some("/b/a(1)+%c3%a9"));
    }

    #[test]
    fn queries_are_sorted_after_escaping() {
        let text = |raw: &str| {
            let mut out = Vec::new();
            query(raw, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text("b=2&a=1&a=0&c"), "a=0&a=1&b=2&c=");
        assert_eq!(text("prefix=a+b%2Fc&X-Amz-Signature=00"), "prefix=a%20b%2Fc");
        assert_eq!(text("x=%7e*'"), "x=~%2A%27");
        assert_eq!(text(""), "");
    }

    #[test]
    fn header_values_are_folded() {
        let text = |raw: &[u8]| {
            let mut out = Vec::new();
            fold(raw, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(b"  a   b  "), "a b");
        assert_eq!(text(b"\ta\t b"), "a b");
        assert_eq!(text(b"   "), "");
    }
}
