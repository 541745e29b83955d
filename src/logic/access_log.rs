//! Lines of S3's server access log, and the names of the objects that they are delivered in.
//! Source: S3 user guide, "Amazon S3 server access log format" and "Logging requests with server
//! access logging".
//!
//! Invariant: a line has 26 fields and one line end, whatever a client sent.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::types::acl::Grant;
use crate::types::name::{AccountId, BucketName};
use crate::types::region::RegionId;

/// Who delivers, as policies name it.
pub const SERVICE: &str = "logging.s3.amazonaws.com";

/// Where the log of a bucket goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    pub target: BucketName,
    pub prefix: String,
    /// What others than the target's owner may do with the log objects.
    pub grants: Vec<Grant>,
    pub format: KeyFormat,
}

/// How log objects are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyFormat {
    /// The prefix and the time of delivery.
    Simple,
    /// Folders of owner, region, bucket and day of delivery.
    ByDelivery,
    /// The same with the day of the requests.
    ByEvent,
}

/// One request, as its line tells it. Empty text and zero bytes are shown as `-`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    pub bucket_owner: &'a str,
    pub bucket: &'a str,
    /// When it came, milliseconds since 1970.
    pub at_ms: u64,
    pub remote_ip: &'a str,
    pub requester: &'a str,
    pub id: &'a str,
    /// As [`operation`] names it.
    pub operation: &'a str,
    pub key: &'a str,
    /// `GET /bucket/key?query HTTP/1.1`.
    pub line: &'a str,
    pub status: u16,
    pub error: &'a str,
    pub sent_bytes: u64,
    pub object_bytes: Option<u64>,
    pub total_ms: u64,
    pub turn_around_ms: Option<u64>,
    pub referer: &'a str,
    pub user_agent: &'a str,
    pub version: &'a str,
    pub host_id: &'a str,
    /// `SigV4`.
    pub signature: &'a str,
    pub cipher: &'a str,
    /// `AuthHeader` or `QueryString`.
    pub auth: &'a str,
    pub host: &'a str,
    pub tls: &'a str,
    pub access_point: &'a str,
    /// `Yes` where an access control list was needed.
    pub acl_required: &'a str,
}

/// What would end a field or a line.
const IN_FIELD: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'[').add(b']');
/// A key can be read back: what stands for something else in it is escaped too.
const IN_KEY: &AsciiSet = &IN_FIELD.add(b'%');
const IN_QUOTES: &AsciiSet = &CONTROLS.add(b'"');

impl Request<'_> {
    /// The line, with its end.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(512);
        let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
        field(&mut out, self.bucket_owner);
        field(&mut out, self.bucket);
        out.push_str(&time_of(self.at_ms));
        out.push(' ');
        for text in [self.remote_ip, self.requester, self.id, self.operation] {
            field(&mut out, text);
        }
        field(&mut out, &utf8_percent_encode(self.key, IN_KEY).to_string());
        quoted(&mut out, self.line);
        field(&mut out, &self.status.to_string());
        field(&mut out, self.error);
        field(&mut out, &number(Some(self.sent_bytes).filter(|n| *n > 0)));
        field(&mut out, &number(self.object_bytes));
        field(&mut out, &self.total_ms.to_string());
        field(&mut out, &number(self.turn_around_ms));
        quoted(&mut out, self.referer);
        quoted(&mut out, self.user_agent);
        let rest = [
            self.version,
            self.host_id,
            self.signature,
            self.cipher,
            self.auth,
            self.host,
            self.tls,
            self.access_point,
            self.acl_required,
        ];
        rest.into_iter().for_each(|text| field(&mut out, text));
        out.pop();
        out.push('\n');
        out
    }
}

fn field(out: &mut String, text: &str) {
    let _ = match text {
        "" => write!(out, "- "),
        text => write!(out, "{} ", utf8_percent_encode(text, IN_FIELD)),
    };
}

fn quoted(out: &mut String, text: &str) {
    let text = if text.is_empty() { "-" } else { text };
    let _ = write!(out, "\"{}\" ", utf8_percent_encode(text, IN_QUOTES));
}

/// `[06/Feb/2019:00:00:38 +0000]`.
fn time_of(ms: u64) -> String {
    let at = date(ms);
    let month = at.month().to_string();
    format!(
        "[{:02}/{}/{:04}:{:02}:{:02}:{:02} +0000]",
        at.day(),
        &month[..3],
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn date(ms: u64) -> OffsetDateTime {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The day that a time belongs to, counted from 1970.
pub fn day(ms: u64) -> u64 {
    ms / DAY_MS
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What a log object tells by its name.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    pub logging: &'a Logging,
    /// Of the bucket that is logged.
    pub owner: &'a AccountId,
    pub region: RegionId,
    pub source: &'a BucketName,
    /// The day of the requests, see [`day`].
    pub day: u64,
    pub now_ms: u64,
    pub unique: &'a str,
}

impl Delivery<'_> {
    /// The key of the object.
    pub fn key(&self) -> String {
        let Logging { prefix, format, .. } = self.logging;
        let at = match format {
            KeyFormat::Simple | KeyFormat::ByDelivery => date(self.now_ms),
            KeyFormat::ByEvent => date(self.day.saturating_mul(DAY_MS)),
        };
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let folders = match format {
            KeyFormat::Simple => String::new(),
            KeyFormat::ByDelivery | KeyFormat::ByEvent => {
                let Self { owner, region, source, .. } = self;
                format!("{owner}/{region}/{source}/{year:04}/{month:02}/{day:02}/")
            }
        };
        let time = format!("{:02}-{:02}-{:02}", at.hour(), at.minute(), at.second());
        format!("{prefix}{folders}{year:04}-{month:02}-{day:02}-{time}-{}", self.unique)
    }
}

/// A path with its query, without the value that lets whoever reads it ask the same again.
pub fn without_signature(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else { return path.to_owned() };
    let shown = |pair: &str| match pair.split_once('=') {
        Some((name @ ("X-Amz-Signature" | "Signature"), _)) => format!("{name}=-"),
        Some(_) | None => pair.to_owned(),
    };
    let pairs: Vec<String> = query.split('&').map(shown).collect();
    format!("{path}?{}", pairs.join("&"))
}

/// Query parameters and the resource that a request with them is about.
const RESOURCES: [(&str, &str); 27] = [
    ("accelerate", "ACCELERATE"),
    ("acl", "ACL"),
    ("analytics", "ANALYTICS"),
    ("attributes", "OBJECT_ATTRIBUTES"),
    ("cors", "CORS"),
    ("delete", "MULTI_OBJECT_DELETE"),
    ("encryption", "ENCRYPTION"),
    ("inventory", "INVENTORY"),
    ("legal-hold", "LEGAL_HOLD"),
    ("lifecycle", "LIFECYCLE"),
    ("location", "LOCATION"),
    ("logging", "LOGGING_STATUS"),
    ("metrics", "METRICS"),
    ("notification", "NOTIFICATION"),
    ("object-lock", "OBJECT_LOCK_CONFIGURATION"),
    ("ownershipControls", "OWNERSHIP_CONTROLS"),
    ("policy", "BUCKETPOLICY"),
    ("policyStatus", "POLICY_STATUS"),
    ("publicAccessBlock", "PUBLIC_ACCESS_BLOCK"),
    ("replication", "REPLICATION"),
    ("requestPayment", "REQUEST_PAYMENT"),
    ("retention", "RETENTION"),
    ("tagging", "TAGGING"),
    ("uploads", "UPLOADS"),
    ("versioning", "VERSIONING"),
    ("versions", "BUCKETVERSIONS"),
    ("website", "WEBSITE"),
];

/// What decides of an operation's name.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    pub method: &'a str,
    /// It names a key.
    pub on_object: bool,
    /// It names the source of a copy.
    pub copies: bool,
    /// It came to a website's host.
    pub website: bool,
}

impl Operation<'_> {
    /// `REST.GET.OBJECT`; `has` tells whether the query has a parameter.
    pub fn name(&self, has: impl Fn(&str) -> bool) -> String {
        let door = if self.website { "WEBSITE" } else { "REST" };
        let resource = if self.method == "OPTIONS" {
            "PREFLIGHT"
        } else if has("partNumber") && has("uploadId") {
            "PART"
        } else if has("uploadId") {
            "UPLOAD"
        } else if let Some((_, resource)) = RESOURCES.iter().find(|(query, _)| has(query)) {
            match (*resource, self.on_object) {
                ("TAGGING", true) => "OBJECT_TAGGING",
                (resource, _) => resource,
            }
        } else if self.on_object {
            "OBJECT"
        } else {
            "BUCKET"
        };
        let method = if self.copies { "COPY" } else { self.method };
        format!("{door}.{method}.{resource}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWNER: &str = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be";

    /// 06/Feb/2019:00:00:38 +0000.
    const AT_MS: u64 = 1_549_411_238_000;

    fn example() -> Request<'static> {
        Request {
            bucket_owner: OWNER,
            bucket: "amzn-s3-demo-bucket1",
            at_ms: AT_MS,
            remote_ip: "192.0.2.3",
            requester: OWNER,
            status: 200,
            user_agent: "S3Console/0.4",
            signature: "SigV4",
            cipher: "ECDHE-RSA-AES128-GCM-SHA256",
            auth: "AuthHeader",
            host: "amzn-s3-demo-bucket1.s3.us-west-1.amazonaws.com",
            tls: "TLSV1.2",
            ..Request::default()
        }
    }

    /// Records of the page "Amazon S3 server access log format".
    #[test]
    fn lines_are_those_of_s3s_own_examples() {
        let versioning = Request {
            id: "3E57427F3EXAMPLE",
            operation: "REST.GET.VERSIONING",
            line: "GET /amzn-s3-demo-bucket1?versioning HTTP/1.1",
            sent_bytes: 113,
            total_ms: 7,
            host_id: "s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/eTPFvsiP/XV/VLi31234=",
            access_point: "arn:aws:s3:us-west-1:123456789012:accesspoint/example-AP",
            acl_required: "Yes",
            ..example()
        };
        let policy = Request {
            id: "A1206F460EXAMPLE",
            operation: "REST.GET.BUCKETPOLICY",
            line: "GET /amzn-s3-demo-bucket1?policy HTTP/1.1",
            status: 404,
            error: "NoSuchBucketPolicy",
            sent_bytes: 297,
            total_ms: 38,
            host_id: "BNaBsXZQQDbssi6xMBdBU2sLt+Yf5kZDmeBUP35sFoKa3sLLeMC78iwEIWxs99CRUrbS4n11234=",
            ..example()
        };
        let put = Request {
            id: "DD6CC733AEXAMPLE",
            operation: "REST.PUT.OBJECT",
            key: "s3-dg.pdf",
            line: "PUT /amzn-s3-demo-bucket1/s3-dg.pdf HTTP/1.1",
            object_bytes: Some(4_406_583),
            total_ms: 41_754,
            turn_around_ms: Some(28),
            host_id: "10S62Zv81kBW7BB6SX4XJ48o6kpcl6LPwEoizZQQxJd5qDSCTLX0TgS37kYUBKQW3+bPdrg1234=",
            acl_required: "Yes",
            ..example()
        };
        let head =
            format!("{OWNER} amzn-s3-demo-bucket1 [06/Feb/2019:00:00:38 +0000] 192.0.2.3 {OWNER} ");
        let tail = "SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader \
                    amzn-s3-demo-bucket1.s3.us-west-1.amazonaws.com TLSV1.2 ";
        let expected = [
            (
                versioning,
                "3E57427F3EXAMPLE REST.GET.VERSIONING - \
                 \"GET /amzn-s3-demo-bucket1?versioning HTTP/1.1\" 200 - 113 - 7 - \"-\" \
                 \"S3Console/0.4\" - \
                 s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/eTPFvsiP/XV/VLi31234= ",
                "arn:aws:s3:us-west-1:123456789012:accesspoint/example-AP Yes\n",
            ),
            (
                policy,
                "A1206F460EXAMPLE REST.GET.BUCKETPOLICY - \
                 \"GET /amzn-s3-demo-bucket1?policy HTTP/1.1\" 404 NoSuchBucketPolicy 297 - 38 - \
                 \"-\" \"S3Console/0.4\" - \
                 BNaBsXZQQDbssi6xMBdBU2sLt+Yf5kZDmeBUP35sFoKa3sLLeMC78iwEIWxs99CRUrbS4n11234= ",
                "- -\n",
            ),
            (
                put,
                "DD6CC733AEXAMPLE REST.PUT.OBJECT s3-dg.pdf \
                 \"PUT /amzn-s3-demo-bucket1/s3-dg.pdf HTTP/1.1\" 200 - - 4406583 41754 28 \"-\" \
                 \"S3Console/0.4\" - \
                 10S62Zv81kBW7BB6SX4XJ48o6kpcl6LPwEoizZQQxJd5qDSCTLX0TgS37kYUBKQW3+bPdrg1234= ",
                "- Yes\n",
            ),
        ];
        for (request, middle, end) in expected {
            assert_eq!(request.text(), format!("{head}{middle}{tail}{end}"));
        }
    }

    #[test]
    fn operations_have_the_names_that_s3_gives_them() {
        let name = |method, on_object, copies, query: &[&str]| {
            let operation = Operation { method, on_object, copies, website: false };
            operation.name(|asked| query.contains(&asked))
        };
        let cases: [(&str, bool, bool, &[&str], &str); 12] = [
            ("GET", true, false, &[], "REST.GET.OBJECT"),
            ("PUT", true, true, &[], "REST.COPY.OBJECT"),
            ("PUT", true, true, &["partNumber", "uploadId"], "REST.COPY.PART"),
            ("PUT", true, false, &["partNumber", "uploadId"], "REST.PUT.PART"),
            ("POST", true, false, &["uploads"], "REST.POST.UPLOADS"),
            ("POST", true, false, &["uploadId"], "REST.POST.UPLOAD"),
            ("GET", false, false, &["list-type"], "REST.GET.BUCKET"),
            ("GET", false, false, &["logging"], "REST.GET.LOGGING_STATUS"),
            ("POST", false, false, &["delete"], "REST.POST.MULTI_OBJECT_DELETE"),
            ("PUT", true, false, &["tagging"], "REST.PUT.OBJECT_TAGGING"),
            ("GET", true, false, &["versionId", "acl"], "REST.GET.ACL"),
            ("OPTIONS", true, false, &[], "REST.OPTIONS.PREFLIGHT"),
        ];
        for (method, on_object, copies, query, expected) in cases {
            assert_eq!(name(method, on_object, copies, query), expected);
        }
        let site = Operation { method: "GET", on_object: true, copies: false, website: true };
        assert_eq!(site.name(|_| false), "WEBSITE.GET.OBJECT");
    }

    #[test]
    fn a_signature_is_not_shown() {
        assert_eq!(without_signature("/b/Signature=1"), "/b/Signature=1");
        let signed = "/b?acl&X-Amz-Date=1&X-Amz-Signature=abc&Signature=d%3D&x=Signature";
        let shown = "/b?acl&X-Amz-Date=1&X-Amz-Signature=-&Signature=-&x=Signature";
        assert_eq!(without_signature(signed), shown);
    }

    #[test]
    fn objects_are_named_by_the_format() {
        let name = |format| {
            let logging = Logging {
                target: BucketName::parse("logs").unwrap(),
                prefix: "log/".into(),
                grants: Vec::new(),
                format,
            };
            let delivery = Delivery {
                logging: &logging,
                owner: &AccountId("abc".into()),
                region: "fra".parse().unwrap(),
                source: &BucketName::parse("bucket").unwrap(),
                day: day(AT_MS) - 1,
                now_ms: AT_MS,
                unique: "0123456789ABCDEF",
            };
            delivery.key()
        };
        assert_eq!(name(KeyFormat::Simple), "log/2019-02-06-00-00-38-0123456789ABCDEF");
        assert_eq!(
            name(KeyFormat::ByDelivery),
            "log/abc/fra/bucket/2019/02/06/2019-02-06-00-00-38-0123456789ABCDEF"
        );
        assert_eq!(
            name(KeyFormat::ByEvent),
            "log/abc/fra/bucket/2019/02/05/2019-02-05-00-00-00-0123456789ABCDEF"
        );
    }

    /// The fields of a line, as a reader who knows of quotes and brackets takes them apart.
    fn fields(line: &str) -> Vec<String> {
        let mut fields = vec![String::new()];
        let mut end = None;
        for c in line.trim_end_matches('\n').chars() {
            match (end, c) {
                (Some(wanted), c) if c == wanted => end = None,
                (None, '"') => end = Some('"'),
                (None, '[') => end = Some(']'),
                (None, ' ') => fields.push(String::new()),
                (_, c) => fields.last_mut().unwrap().push(c),
            }
        }
        fields
    }

    proptest! {
        #[test]
        fn no_text_of_a_client_breaks_a_line(
            key in "\\PC{0,20}|[ -~\n\r\t\"\\[\\]]{0,20}",
            line in "[ -~\n\"]{0,20}",
            agent in "\\PC{0,20}|[ -~\n\"\\[]{0,20}",
            at_ms in 0..4_000_000_000_000_u64,
        ) {
            let request = Request {
                key: &key, line: &line, user_agent: &agent, version: &key, host: &agent, at_ms,
                ..example()
            };
            let text = request.text();
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert_eq!(fields(&text).len(), 26, "{}", text);
        }
    }
}
