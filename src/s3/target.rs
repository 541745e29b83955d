//! Which bucket and key a request names: path style and virtual-host style.
//!
//! Invariant: a key is decoded exactly once, here; access decision, storage and log use the decoded
//! one, and only signatures look at the raw path. Nothing is normalised: `a//b`, `./a` and `%2F`
//! name what they say.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;

use crate::types::action::Target;
use crate::types::name::{BadKey, BucketName, ObjectKey};

use super::error::{Code, S3Error};

/// Everything of ours on the S3 port is below this; no bucket name begins with a hyphen.
const OWN_PREFIX: &str = "/-/";

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    S3 {
        target: Target,
        /// The bucket came from the host: signatures of version 2 add it to the path.
        virtual_host: bool,
    },
    /// `/-/...`: not S3.
    Own,
}

/// Finds the target by `Host` and raw path. `bases` are the domains whose sub-domains are buckets,
/// lower case.
pub(crate) fn resolve(host: &str, path: &str, bases: &[String]) -> Result<Route, S3Error> {
    if let Some(bucket) = bucket_of_host(host, bases) {
        let target = target(&bucket, path.strip_prefix('/').unwrap_or(path))?;
        return Ok(Route::S3 { target, virtual_host: true });
    }
    if path.starts_with(OWN_PREFIX) || path == "/-" {
        return Ok(Route::Own);
    }
    let rest = path.strip_prefix('/').unwrap_or(path);
    if rest.is_empty() || rest == "*" {
        return Ok(Route::S3 { target: Target::Service, virtual_host: false });
    }
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    Ok(Route::S3 { target: target(&decode(bucket)?, key)?, virtual_host: false })
}

/// The bucket of a virtual host: what stands before one of the bases. Any other host (an address, a
/// base itself, a name we do not know, such as that of a container) is path style.
pub(super) fn bucket_of_host(host: &str, bases: &[String]) -> Option<String> {
    let host = without_port(host).to_ascii_lowercase();
    if host.parse::<IpAddr>().is_ok() || bases.contains(&host) {
        return None;
    }
    // The longest base wins, so that one base may lie below another.
    bases
        .iter()
        .filter_map(|base| Some((base.len(), host.strip_suffix(base)?.strip_suffix('.')?)))
        .filter(|(_, bucket)| !bucket.is_empty())
        .max()
        .map(|(_, bucket)| bucket.to_owned())
}

pub(super) fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(address, _)| address);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// The bucket of a site's host, and the key that the path names there: all of it.
pub(super) fn site(bucket: &str, path: &str) -> Result<(BucketName, String), S3Error> {
    Ok((bucket_name(bucket)?, decode(path.strip_prefix('/').unwrap_or(path))?))
}

fn bucket_name(bucket: &str) -> Result<BucketName, S3Error> {
    BucketName::parse(bucket).map_err(|why| {
        S3Error::with(Code::InvalidBucketName, format!("The specified bucket is not valid: {why}."))
            .extra("BucketName", bucket)
    })
}

fn target(bucket: &str, raw_key: &str) -> Result<Target, S3Error> {
    let name = bucket_name(bucket)?;
    if raw_key.is_empty() {
        return Ok(Target::Bucket(name));
    }
    match ObjectKey::parse(&decode(raw_key)?) {
        Ok(key) => Ok(Target::Object(name, key)),
        Err(BadKey::TooLong) => Err(S3Error::new(Code::KeyTooLongError)
            .extra("MaxSizeAllowed", crate::limits::KEY_BYTES_MAX.to_string())),
        Err(BadKey::Empty | BadKey::NotUtf8) => Err(S3Error::new(Code::InvalidURI)),
    }
}

/// Percent escapes once; a plus sign is a plus sign.
fn decode(raw: &str) -> Result<String, S3Error> {
    match percent_decode_str(raw).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(S3Error::with(Code::InvalidURI, "The path of the request is not UTF-8.")),
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn bases() -> Vec<String> {
        vec!["localhost".into(), "s3.example.com".into(), "example.com".into()]
    }

    fn s3(host: &str, path: &str) -> (String, bool) {
        match resolve(host, path, &bases()).unwrap() {
            Route::S3 { target, virtual_host } => (target.to_string(), virtual_host),
            Route::Own => panic!("{host}{path} is not S3"),
        }
    }

    #[test]
    fn path_style_names_service_bucket_and_object() {
        for host in ["localhost:9000", "127.0.0.1", "[::1]:9000", "s3.example.com", "minio:9000"] {
            assert_eq!(s3(host, "/"), ("/".into(), false));
            assert_eq!(s3(host, "/bkt"), ("/bkt".into(), false));
            assert_eq!(s3(host, "/bkt/"), ("/bkt".into(), false));
            assert_eq!(s3(host, "/bkt/a/b"), ("/bkt/a/b".into(), false));
        }
    }

    #[test]
    fn virtual_host_style_takes_the_bucket_from_the_host() {
        assert_eq!(s3("bkt.localhost:9000", "/"), ("/bkt".into(), true));
        assert_eq!(s3("bkt.s3.example.com", "/a"), ("/bkt/a".into(), true));
        assert_eq!(s3("a.b.S3.Example.com", "/-/x"), ("/a.b/-/x".into(), true));
        assert_eq!(s3("www.example.com", "/x"), ("/www/x".into(), true));
    }

    #[test]
    fn keys_are_decoded_once_and_never_normalised() {
        let cases = [
            ("/bkt//a//b", "/bkt//a//b"),
            ("/bkt/./a/../b", "/bkt/./a/../b"),
            ("/bkt/a%2Fb", "/bkt/a/b"),
            ("/bkt/%2541", "/bkt/%41"),
            ("/bkt/a+b%20c", "/bkt/a+b c"),
            ("/bkt/%C3%A9", "/bkt/é"),
            ("/bkt/a/", "/bkt/a/"),
        ];
        for (path, name) in cases {
            assert_eq!(s3("localhost", path).0, name);
        }
    }

    #[test]
    fn bad_names_have_their_codes() {
        let code = |path: &str| resolve("localhost", path, &bases()).unwrap_err().code();
        assert_eq!(code("/ab"), Code::InvalidBucketName);
        assert_eq!(code("/Upper/key"), Code::InvalidBucketName);
        assert_eq!(code("/bkt/%ff"), Code::InvalidURI);
        assert_eq!(code(&format!("/bkt/{}", "a".repeat(1025))), Code::KeyTooLongError);
    }

    #[test]
    fn our_own_prefix_is_not_s3() {
        for path in ["/-/", "/-/healthz", "/-"] {
            assert_eq!(resolve("localhost", path, &bases()).unwrap(), Route::Own);
        }
    }

    proptest! {
        /// A key is one string on the wire and in the store: encoded and resolved it is itself.
        #[test]
        fn any_key_survives_the_way_through_a_path(key in "[^\u{0}]{1,40}", host in "[ -~]{0,20}") {
            let raw = utf8_percent_encode(&key, NON_ALPHANUMERIC);
            let route = resolve("localhost", &format!("/bkt/{raw}"), &bases()).unwrap();
            let key_type = ObjectKey::parse(&key).unwrap();
            let target = Target::Object(BucketName::parse("bkt").unwrap(), key_type);
            prop_assert_eq!(route, Route::S3 { target, virtual_host: false });
            let _ = resolve(&host, &key, &bases());
        }
    }
}
