//! What browsers are told and asked so that no other page acts through a session.
//!
//! Sources: Content Security Policy level 3; Fetch Metadata Request Headers; OWASP cheat sheet on
//! cross-site request forgery.

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, COOKIE, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// The page: its own script, style and data, nothing from elsewhere, in nobody's frame.
const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                    img-src 'self' blob:; media-src 'self' blob:; form-action 'none'; \
                    base-uri 'none'; frame-ancestors 'none'";

/// Bytes of objects: whatever they are, they run nothing.
const OBJECT: &str = "default-src 'none'; sandbox; frame-ancestors 'none'";

const SITE: &str = "sec-fetch-site";
const DEST: &str = "sec-fetch-dest";

/// What the browser may do with an answer below `/api/`: read it by script, show it as picture,
/// sound or film, save it. It is never run as script, style or page of this origin.
const DESTINATIONS: [&str; 5] = ["audio", "document", "empty", "image", "video"];

/// A request to `/api/` that may come from the console's own page. Browsers that send no metadata
/// are held by the cookie's `SameSite` and the token.
pub(super) fn is_own(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let site = text(SITE).is_none_or(|site| site == b"same-origin" || site == b"none");
    let dest = text(DEST).is_none_or(|dest| DESTINATIONS.iter().any(|d| d.as_bytes() == dest));
    site && dest && (method.is_safe() || has_own_origin(headers))
}

/// Whether the page that asks is of the host that it asks.
fn has_own_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let own = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    matches!((host, own), (Some((_, host)), Some(own)) if host.eq_ignore_ascii_case(own))
}

/// The value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(found, value)| (found.trim() == name).then(|| value.trim()))
}

/// Headers of the page and of the console's own answers.
pub(super) fn mark_page(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    mark(headers);
}

/// Headers of what comes from a bucket: saved when it is opened, never run. An answer without bytes
/// keeps what the object says of itself, for the page to show.
pub(super) fn mark_object(headers: &mut HeaderMap, method: &Method) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(OBJECT));
    mark(headers);
    if method == Method::HEAD {
        return;
    }
    let stated = headers.get(CONTENT_DISPOSITION).map(HeaderValue::as_bytes);
    if !stated.is_some_and(|stated| stated.starts_with(b"attachment")) {
        headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
}

fn mark(headers: &mut HeaderMap) {
    const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    const COOP: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CORP, HeaderValue::from_static("same-origin"));
    headers.insert(COOP, HeaderValue::from_static("same-origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_the_own_page_may_ask() {
        let own = |method: Method, pairs: &[(&'static str, &'static str)]| {
            is_own(&method, &headers(pairs))
        };
        assert!(own(Method::GET, &[]));
        assert!(own(Method::GET, &[(SITE, "same-origin"), (DEST, "empty")]));
        assert!(own(Method::GET, &[(SITE, "none"), (DEST, "document")]));
        for site in ["same-site", "cross-site"] {
            assert!(!own(Method::GET, &[(SITE, site), (DEST, "image")]), "{site}");
        }
        for dest in ["script", "style", "iframe", "worker", "serviceworker", "object"] {
            assert!(!own(Method::GET, &[(SITE, "same-origin"), (DEST, dest)]), "{dest}");
        }
        assert!(own(Method::POST, &[("host", "a:1"), ("origin", "http://a:1")]));
        assert!(own(Method::POST, &[("host", "a"), ("origin", "https://A")]));
        for origin in ["http://a:2", "http://b:1", "null", "a:1"] {
            assert!(!own(Method::POST, &[("host", "a:1"), ("origin", origin)]), "{origin}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let all = headers(&[("cookie", "a=1; godwit-80=abc; b=2")]);
        assert_eq!(cookie(&all, "godwit-80"), Some("abc"));
        assert_eq!(cookie(&all, "godwit-8"), None);
    }

    #[test]
    fn a_stored_page_is_saved_and_not_shown() {
        let mut all = headers(&[("content-disposition", "inline; filename=x.html")]);
        mark_object(&mut all, &Method::GET);
        assert_eq!(all["content-disposition"], "attachment");
        assert_eq!(all["content-security-policy"], OBJECT);
        let mut all = headers(&[("content-disposition", "attachment; filename=\"y\"")]);
        mark_object(&mut all, &Method::GET);
        assert_eq!(all["content-disposition"], "attachment; filename=\"y\"");
        let mut all = headers(&[("cache-control", "max-age=60")]);
        mark_object(&mut all, &Method::HEAD);
        assert_eq!(all["cache-control"], "max-age=60");
    }
}
