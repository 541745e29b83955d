//! A form that a browser posts to a bucket, read as the PutObject that it stands for.
//! Source: S3 API reference, "POST Object", "Browser-Based Uploads Using POST".
//!
//! Invariant: of what a form says nothing is judged here but its own rules: fields become headers,
//! and those mean what they mean in a PutObject. Headers of the request itself say nothing of the
//! object.

mod parser;

use std::ops::RangeInclusive;

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_TYPE, EXPIRES, IF_MATCH, IF_NONE_MATCH, ORIGIN, REFERER, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::limits;
use crate::logic::post_policy::{IGNORED, PostPolicy, Refusal};
use crate::types::name::{BadKey, ObjectKey};

use super::auth::payload::Payload;
use super::body::Raw;
use super::error::{Code, S3Error};
use super::ops::tags_as_header;
pub(super) use parser::{Fault, Parser, Step};

/// Headers of the request that keep their meaning.
const KEPT: [HeaderName; 8] = [
    IF_MATCH,
    IF_NONE_MATCH,
    ORIGIN,
    REFERER,
    USER_AGENT,
    HeaderName::from_static("x-amz-expected-bucket-owner"),
    HeaderName::from_static("x-amz-request-payer"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// Fields that are headers of the same name.
const HEADERS: [HeaderName; 13] = [
    CACHE_CONTROL,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    HeaderName::from_static("content-md5"),
    CONTENT_TYPE,
    EXPIRES,
    HeaderName::from_static("x-amz-acl"),
    HeaderName::from_static("x-amz-request-payer"),
    HeaderName::from_static("x-amz-storage-class"),
    HeaderName::from_static("x-amz-website-redirect-location"),
    HeaderName::from_static("x-godwit-regions"),
    HeaderName::from_static("x-tigris-regions"),
];

/// Families of such fields.
const FAMILIES: [&str; 5] =
    ["x-amz-checksum-", "x-amz-grant-", META, "x-amz-object-lock-", "x-amz-server-side-encryption"];

const META: &str = "x-amz-meta-";

/// Fields that are headers of other names.
const RENAMED: [(&str, &str); 2] =
    [("acl", "x-amz-acl"), ("x-amz-checksum-algorithm", "x-amz-sdk-checksum-algorithm")];

/// The fields before the file, in order. Names are lower case, and each is there once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The value of a field, where there is one and it is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// A field that must be there.
    pub(crate) fn need(&self, name: &str) -> Result<&str, S3Error> {
        let found = self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).ok_or_else(|| {
            let why = format!(
                "Bucket POST must contain a field named '{name}'.  If it is specified, please \
                 check the order of the fields."
            );
            S3Error::argument(name, "", why)
        })
    }

    /// One of two fields of the same name could be judged and the other be used, so that there is
    /// one. Metadata is a list, as in headers.
    fn add(&mut self, name: String, value: String) -> Result<(), S3Error> {
        if name.starts_with(IGNORED) {
            return Ok(());
        }
        let full = self.0.len() == limits::FORM_FIELDS_MAX;
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some((_, before)) if name.starts_with(META) => *before = format!("{before},{value}"),
            Some(_) => return Err(S3Error::argument(&name, &value, "The field is there twice.")),
            None if full => {
                return Err(S3Error::with(Code::InvalidArgument, "The form has too many fields."));
            }
            None => self.0.push((name, value)),
        }
        Ok(())
    }

    /// Puts the file's name where fields ask for it. What was signed is left alone.
    fn expand(&mut self, file: &str) -> Result<(), S3Error> {
        const FILENAME: &str = "${filename}";
        let mut added = 0;
        for (name, value) in &mut self.0 {
            if name == "policy" || name.ends_with("signature") || !value.contains(FILENAME) {
                continue;
            }
            added += value.matches(FILENAME).count() * file.len();
            if added > limits::FORM_HEAD_BYTES_MAX {
                return Err(too_large());
            }
            *value = value.replace(FILENAME, file);
        }
        Ok(())
    }
}

/// A form, read up to the bytes of its file.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) fields: Fields,
    parser: Parser,
    sizes: RangeInclusive<u64>,
}

impl Form {
    /// Reads the fields. `headers` are those of the request.
    pub(super) async fn read(headers: &HeaderMap, raw: &mut Raw) -> Result<Self, S3Error> {
        let mut parser = Parser::new(&boundary(headers)?);
        let mut fields = Fields::default();
        loop {
            match parser.step()? {
                Step::Field { name, value } => fields.add(name, value)?,
                Step::File { name } => {
                    fields.expand(name.as_deref().unwrap_or_default())?;
                    return Ok(Self { fields, parser, sizes: 0..=most(headers) });
                }
                Step::More => match raw.frame().await? {
                    Some(bytes) => parser.push(bytes),
                    None => return Err(S3Error::new(Code::MalformedPOSTRequest)),
                },
                Step::End => {
                    return Err(S3Error::new(Code::IncorrectNumberOfFilesInPostRequest));
                }
                Step::Data(_) => return Err(S3Error::internal("data before the file")),
            }
        }
    }

    /// The key of the object.
    pub(super) fn key(&self) -> Result<ObjectKey, S3Error> {
        let key = self.fields.need("key")?;
        ObjectKey::parse(key).map_err(|why| match why {
            BadKey::TooLong => S3Error::new(Code::KeyTooLongError)
                .extra("MaxSizeAllowed", limits::KEY_BYTES_MAX.to_string()),
            BadKey::Empty | BadKey::NotUtf8 => {
                S3Error::argument("key", key, "User key must have a length greater than 0.")
            }
        })
    }

    /// `SigV4` or `SigV2`, as access logs say it.
    pub(super) fn signature_version(&self) -> Option<&'static str> {
        let names = [("x-amz-signature", "SigV4"), ("signature", "SigV2")];
        names.iter().find(|(name, _)| self.fields.get(name).is_some()).map(|(_, version)| *version)
    }

    /// The headers of the PutObject. `request` are those of the request itself.
    pub(super) fn headers(&self, request: &HeaderMap) -> Result<HeaderMap, S3Error> {
        let mut headers = HeaderMap::new();
        for name in KEPT {
            headers.extend(request.get(&name).map(|value| (name, value.clone())));
        }
        for (field, value) in self.fields.0.iter().filter(|(_, value)| !value.is_empty()) {
            let bad = || S3Error::argument(field, value, "The field cannot be a header.");
            let tags;
            let (name, text) = match field.as_str() {
                "tagging" => {
                    tags = tags_as_header(value)?;
                    ("x-amz-tagging", tags.as_str())
                }
                name => match header_of(name) {
                    Some(header) => (header, value.as_str()),
                    None => continue,
                },
            };
            let name = HeaderName::try_from(name).map_err(|_| bad())?;
            let text = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| bad())?;
            headers.insert(name, text);
        }
        Ok(headers)
    }

    /// Judges a form with a policy by it. Without a policy, the bucket decides alone.
    pub(super) fn check_policy(&mut self, bucket: &str, now_ms: u64) -> Result<(), S3Error> {
        let Some(encoded) = self.fields.get("policy") else { return Ok(()) };
        let document = super::auth::decoded_policy(encoded)?;
        let policy = PostPolicy::parse(&document).map_err(refused)?;
        policy.check(bucket, &self.fields.0, now_ms).map_err(refused)?;
        let sizes = policy.sizes();
        self.sizes = *sizes.start()..=*sizes.end().min(self.sizes.end());
        Ok(())
    }

    /// How the rest of the body is read, and what is kept of the form.
    pub(super) fn into_payload(self) -> (Payload, Fields) {
        let Self { fields, parser, sizes } = self;
        (Payload::File { parser: Box::new(parser), sizes }, fields)
    }
}

/// The header that a field stands for.
fn header_of(field: &str) -> Option<&str> {
    if let Some((_, header)) = RENAMED.iter().find(|(name, _)| *name == field) {
        return Some(header);
    }
    let known = HEADERS.iter().any(|name| name == field);
    (known || FAMILIES.iter().any(|family| field.starts_with(family))).then_some(field)
}

fn boundary(headers: &HeaderMap) -> Result<String, S3Error> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let found = parser::boundary(content_type.unwrap_or_default()).ok_or_else(|| {
        let condition = "Bucket POST must be of the enclosure-type multipart/form-data";
        S3Error::new(Code::PreconditionFailed).extra("Condition", condition)
    })?;
    Ok(found?)
}

/// The file is not longer than the whole body.
fn most(headers: &HeaderMap) -> u64 {
    let len = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let len = len.and_then(|text| text.trim().parse().ok());
    len.unwrap_or(u64::MAX).min(limits::BODY_BYTES_MAX)
}

fn refused(why: Refusal) -> S3Error {
    let code = match why {
        Refusal::Malformed(_) => Code::InvalidPolicyDocument,
        Refusal::Expired | Refusal::Condition(_) | Refusal::Extra(_) => Code::AccessDenied,
    };
    S3Error::with(code, why.to_string())
}

fn too_large() -> S3Error {
    S3Error::new(Code::MaxPostPreDataLengthExceededError)
        .extra("MaxPostPreDataLengthBytes", limits::FORM_HEAD_BYTES_MAX.to_string())
}

impl From<Fault> for S3Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(why) => Self::new(Code::MalformedPOSTRequest).source(why),
            Fault::TooLarge => too_large(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)], file: &str) -> Result<Form, S3Error> {
        let mut all = Fields::default();
        for (name, value) in fields {
            all.add((*name).to_owned(), (*value).to_owned())?;
        }
        all.expand(file)?;
        Ok(Form { fields: all, parser: Parser::new("x"), sizes: 0..=limits::BODY_BYTES_MAX })
    }

    fn request(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(header).collect()
    }

    #[test]
    fn fields_become_the_headers_of_a_put_object() {
        let tags =
            "<Tagging><TagSet><Tag><Key>a b</Key><Value>c&amp;=</Value></Tag></TagSet></Tagging>";
        let form = form(
            &[
                ("key", "a"),
                ("acl", "public-read"),
                ("content-type", "text/plain"),
                ("x-amz-meta-é", ""),
                ("x-amz-meta-a", "1"),
                ("x-amz-meta-a", "2"),
                ("x-amz-checksum-algorithm", "CRC32"),
                ("x-amz-checksum-crc32", "AAAAAA=="),
                ("x-amz-server-side-encryption", "AES256"),
                ("x-amz-copy-source", "other/key"),
                ("x-amz-content-sha256", "x"),
                ("cache-control", ""),
                ("submit", "Upload"),
                ("tagging", tags),
            ],
            "",
        );
        let own = [
            ("content-type", "multipart/form-data; boundary=x"),
            ("content-length", "9"),
            ("x-amz-acl", "private"),
            ("x-amz-meta-b", "1"),
            ("if-none-match", "*"),
            ("referer", "http://a"),
        ];
        let headers = form.unwrap().headers(&request(&own)).unwrap();
        let mut seen: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        seen.sort();
        let expected = [
            "content-type: text/plain",
            "if-none-match: *",
            "referer: http://a",
            "x-amz-acl: public-read",
            "x-amz-checksum-crc32: AAAAAA==",
            "x-amz-meta-a: 1,2",
            "x-amz-sdk-checksum-algorithm: CRC32",
            "x-amz-server-side-encryption: AES256",
            "x-amz-tagging: a%20b=c%26%3D",
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_name_of_the_file_stands_where_fields_ask_for_it() {
        let fields = [
            ("key", "user/${filename}-${filename}"),
            ("x-amz-meta-name", "${filename}"),
            ("policy", "${filename}"),
            ("x-amz-signature", "${filename}"),
        ];
        let form_of = |file: &str| form(&fields, file).unwrap().fields;
        assert_eq!(form_of("a.txt").get("key"), Some("user/a.txt-a.txt"));
        assert_eq!(form_of("a.txt").get("x-amz-meta-name"), Some("a.txt"));
        assert_eq!(form_of("a.txt").get("policy"), Some("${filename}"));
        assert_eq!(form_of("a.txt").get("x-amz-signature"), Some("${filename}"));
        assert_eq!(form_of("").get("key"), Some("user/-"));
        let long = "a".repeat(limits::FORM_HEAD_BYTES_MAX / 2);
        let code = form(&fields, &long).unwrap_err().code();
        assert_eq!(code, Code::MaxPostPreDataLengthExceededError);
    }

    #[test]
    fn fields_that_are_no_headers_are_refused() {
        for (name, value) in
            [("x-amz-meta- a", "x"), ("x-amz-meta-a", "x\ny"), ("content-type", "a\0")]
        {
            let error = form(&[(name, value)], "").unwrap().headers(&HeaderMap::new());
            assert_eq!(error.unwrap_err().code(), Code::InvalidArgument, "{name}");
        }
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused() {
        let twice = [("acl", "private"), ("acl", "public-read")];
        assert_eq!(form(&twice, "").unwrap_err().code(), Code::InvalidArgument);
        let ignored = [("x-ignore-a", "1"), ("x-ignore-a", "2")];
        assert_eq!(form(&ignored, "").unwrap().fields, Fields::default());
        let names: Vec<String> = (0..=limits::FORM_FIELDS_MAX).map(|i| format!("f{i}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(form(&many, "").unwrap_err().code(), Code::InvalidArgument);
        assert!(form(&many[1..], "").is_ok());
    }
}
