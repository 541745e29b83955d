//! Uploads from forms.

#![allow(clippy::disallowed_methods, reason = "whoever signs a policy has a clock")]

use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use godwit::types::name::BucketName;
use godwit::types::record::KeyScope;

use crate::common::client::{Answer, Client, exchange};
use crate::common::server::Server;

const BOUNDARY: &str = "godwit-form";

/// A form being filled in.
#[derive(Clone)]
struct Form {
    client: Client,
    path: String,
    fields: Vec<(String, String)>,
    file: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl Form {
    fn to(client: &Client, path: &str) -> Self {
        let (client, path) = (client.clone(), path.to_owned());
        Self {
            client,
            path,
            fields: Vec::new(),
            file: part("file\"; filename=\"f.txt", b"data"),
            headers: Vec::new(),
        }
    }

    /// Sets a field; `None` takes it away.
    fn field<'a>(mut self, name: &str, value: impl Into<Option<&'a str>>) -> Self {
        self.fields.retain(|(n, _)| n != name);
        let value: Option<&str> = value.into();
        self.fields.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }

    fn file(mut self, bytes: &[u8]) -> Self {
        self.file = part("file\"; filename=\"f.txt", bytes);
        self
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Signs with version 4 what these conditions allow.
    fn v4(self, conditions: &Value) -> Self {
        let (seconds, at) = now();
        let day = &at[..8];
        let credential = format!("{}/{day}/auto/s3/aws4_request", self.client.access_key);
        let mut all = conditions.as_array().unwrap().clone();
        let own = [
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", credential.as_str()),
            ("x-amz-date", at.as_str()),
        ];
        all.extend(own.map(|(name, value)| json!({ name: value })));
        let policy = policy(seconds, &all);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let key = generate_signing_key(&self.client.secret_key, time, "auto", "s3");
        let signature = calculate_signature(key, policy.as_bytes());
        let form = own.into_iter().fold(self, |form, (name, value)| form.field(name, value));
        form.field("Policy", policy.as_str()).field("X-Amz-Signature", signature.as_str())
    }

    /// The same with version 2.
    fn v2(self, conditions: &Value) -> Self {
        let policy = policy(now().0, conditions.as_array().unwrap());
        self.v2_policy(&policy)
    }

    fn v2_policy(self, policy: &str) -> Self {
        let key = self.client.secret_key.as_bytes();
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let signature = STANDARD.encode(hmac::sign(&key, policy.as_bytes()));
        let access_key = self.client.access_key.clone();
        let form = self.field("AWSAccessKeyId", access_key.as_str()).field("policy", policy);
        form.field("signature", signature.as_str())
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in &self.fields {
            body.extend(part(name, value.as_bytes()));
        }
        body.extend(&self.file);
        body.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
        body
    }

    async fn send(self) -> Answer {
        let body = self.body();
        self.send_body(&body).await
    }

    async fn send_body(self, body: &[u8]) -> Answer {
        let mut call = self.client.call("POST", &self.path).anonymous();
        if !self.headers.iter().any(|(name, _)| name == "content-type") {
            call = call.header("content-type", &content_type());
        }
        let call = self.headers.iter().fold(call, |call, (n, v)| call.header(n, v));
        call.body(body.to_vec()).send().await
    }
}

fn content_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

fn part(name: &str, value: &[u8]) -> Vec<u8> {
    let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
    [head.as_bytes(), value, b"\r\n"].concat()
}

/// Seconds since 1970, and the same as `20130524T000000Z`.
fn now() -> (u64, String) {
    let now = OffsetDateTime::now_utc();
    let (date, time) = (now.date(), now.time());
    let day = format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day());
    let time = format!("{:02}{:02}{:02}", time.hour(), time.minute(), time.second());
    (u64::try_from(now.unix_timestamp()).unwrap(), format!("{day}T{time}Z"))
}

/// A policy that ends in a minute, in base64.
fn policy(seconds: u64, conditions: &[Value]) -> String {
    let end = godwit::s3::xml::iso_date((seconds + 60) * 1000);
    STANDARD.encode(json!({"expiration": end, "conditions": conditions}).to_string())
}

/// What most forms here may do.
fn usual() -> Value {
    json!([{"bucket": "bucket"}, ["starts-with", "$key", "user/"], {"acl": "private"}])
}

/// A form that the usual conditions allow.
fn allowed(client: &Client) -> Form {
    Form::to(client, "/bucket").field("key", "user/a b").field("acl", "private")
}

#[tokio::test]
async fn a_signed_form_makes_an_object_with_either_version() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    for form in [allowed(client).v4(&usual()), allowed(client).v2(&usual())] {
        let answer = form.send().await.expect(204);
        assert_eq!(answer.header("etag"), Some("\"8d777f385d3dfec8815d20f7496026dc\""));
        let location = format!("http://{}/bucket/user/a%20b", client.address);
        assert_eq!((answer.header("location"), answer.body.len()), (Some(&*location), 0));
        let got = client.get("/bucket/user/a%20b").await.expect(200);
        assert_eq!((got.text(), got.header("content-type")), ("data", Some("binary/octet-stream")));
        client.delete("/bucket/user/a%20b").await.expect(204);
    }
}

#[tokio::test]
async fn a_form_whose_signature_is_not_right_is_refused() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let stranger = server.stranger().await;
    let signed = || allowed(client).v4(&usual());
    let old = || allowed(client).v2(&usual());
    let scope = |region: &str| format!("{}/20130524/{region}/s3/aws4_request", client.access_key);
    let cases = [
        (signed().field("X-Amz-Signature", "0"), 403, "SignatureDoesNotMatch"),
        (signed().field("X-Amz-Signature", None), 400, "InvalidArgument"),
        (signed().field("x-amz-algorithm", "AWS4-HMAC-SHA1"), 400, "InvalidArgument"),
        (signed().field("x-amz-date", None), 400, "InvalidArgument"),
        (signed().field("x-amz-date", "20130524T000000Z"), 400, "InvalidArgument"),
        (signed().field("x-amz-date", "today"), 400, "InvalidArgument"),
        (signed().field("x-amz-credential", "a/b"), 400, "InvalidArgument"),
        (signed().field("x-amz-credential", &*scope("moon")), 400, "InvalidArgument"),
        (signed().field("x-amz-security-token", "t"), 400, "InvalidToken"),
        (signed().field("Policy", None), 400, "InvalidArgument"),
        (signed().header("authorization", "AWS a:b"), 400, "InvalidArgument"),
        (old().field("signature", "0"), 403, "SignatureDoesNotMatch"),
        (old().field("signature", None), 400, "InvalidArgument"),
        (old().field("AWSAccessKeyId", None), 400, "InvalidArgument"),
        (old().field("AWSAccessKeyId", "nobody"), 403, "InvalidAccessKeyId"),
        (old().field("AWSAccessKeyId", "no body"), 403, "InvalidAccessKeyId"),
        (old().field("AWSAccessKeyId", &*stranger.access_key), 403, "SignatureDoesNotMatch"),
        (old().field("policy", "e30="), 403, "SignatureDoesNotMatch"),
        (old().field("policy", None), 400, "InvalidArgument"),
        (allowed(&stranger).v4(&usual()), 403, "AccessDenied"),
        (allowed(client), 403, "AccessDenied"),
    ];
    for (number, (form, status, code)) in cases.into_iter().enumerate() {
        assert_eq!(form.send().await.code(), (status, code), "case {number}");
    }
    assert_eq!(client.head("/bucket/user/a%20b").await.status, 404);
}

#[tokio::test]
async fn a_form_without_a_signature_is_up_to_the_bucket() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let form = || Form::to(client, "/bucket").field("key", "a");
    assert_eq!(form().send().await.code(), (403, "AccessDenied"));
    let open = client.call("PUT", "/bucket?acl").header("x-amz-acl", "public-read-write");
    open.send().await.expect(200);
    form().field("acl", "public-read").field("anything", "else").send().await.expect(204);
    let read = client.call("GET", "/bucket/a").anonymous().send().await;
    assert_eq!(read.expect(200).text(), "data");
    let policy = json!({"Statement": {
        "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::bucket/private/*",
    }});
    client.put("/bucket?policy", policy.to_string()).await.expect(204);
    assert_eq!(form().field("key", "private/a").send().await.code(), (403, "AccessDenied"));
    form().send().await.expect(204);
    assert_eq!(
        Form::to(client, "/none").field("key", "a").send().await.code(),
        (404, "NoSuchBucket")
    );
}

#[tokio::test]
async fn the_bucket_s_policy_sees_what_the_form_says_and_how_it_is_signed() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let deny = |condition: Value| {
        let statement = json!({"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::bucket/*", "Condition": {"StringEquals": condition}});
        json!({ "Statement": statement }).to_string()
    };
    for condition in [
        json!({"s3:x-amz-acl": "private"}),
        json!({"s3:authType": "POST"}),
        json!({"s3:signatureversion": "AWS4-HMAC-SHA256"}),
        json!({"aws:Referer": "http://a/"}),
    ] {
        client.put("/bucket?policy", deny(condition.clone())).await.expect(204);
        let form = allowed(client).v4(&usual()).header("referer", "http://a/");
        assert_eq!(form.send().await.code(), (403, "AccessDenied"), "{condition}");
    }
    client.put("/bucket?policy", deny(json!({"s3:x-amz-acl": "public-read"}))).await.expect(204);
    let form = allowed(client).v4(&usual()).header("x-amz-acl", "public-read");
    form.send().await.expect(204);
}

#[tokio::test]
async fn a_form_can_do_no_more_than_its_key() {
    let server = Server::with_bucket("bucket").await;
    let scope = |name: &str| KeyScope::Buckets(vec![BucketName::parse(name).unwrap()]);
    let other = server.key_with(scope("other")).await;
    assert_eq!(allowed(&other).v4(&usual()).send().await.code(), (403, "AccessDenied"));
    let own = server.key_with(scope("bucket")).await;
    allowed(&own).v4(&usual()).send().await.expect(204);
}

#[tokio::test]
async fn a_form_keeps_to_its_policy() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    client.put("/other", "").await.expect(200);
    let signed = || allowed(client).v4(&usual());
    let elsewhere = Form { path: "/other".into(), ..signed() };
    let range = |least: Value, most: Value| {
        let mut conditions = usual();
        let range = json!(["content-length-range", least, most]);
        conditions.as_array_mut().unwrap().push(range);
        conditions
    };
    let sized = |least: u64, most: u64| allowed(client).v4(&range(least.into(), most.into()));
    let expired = policy(now().0 - 120, usual().as_array().unwrap());
    let cases = [
        (signed().field("key", "b"), 403, "AccessDenied"),
        (signed().field("acl", "public-read"), 403, "AccessDenied"),
        (signed().field("x-amz-meta-a", "b"), 403, "AccessDenied"),
        (signed().field("success_action_status", "201"), 403, "AccessDenied"),
        (elsewhere, 403, "AccessDenied"),
        (allowed(client).v2_policy(&expired), 403, "AccessDenied"),
        (allowed(client).v2_policy("?"), 400, "InvalidPolicyDocument"),
        (allowed(client).v2_policy("e30="), 400, "InvalidPolicyDocument"),
        (allowed(client).v2_policy(""), 400, "InvalidPolicyDocument"),
        (allowed(client).v4(&json!([{}])), 400, "InvalidPolicyDocument"),
        (allowed(client).v4(&range((-1).into(), 0.into())), 400, "InvalidPolicyDocument"),
        (sized(0, 3), 400, "EntityTooLarge"),
        (sized(5, 10), 400, "EntityTooSmall"),
    ];
    for (number, (form, status, code)) in cases.into_iter().enumerate() {
        assert_eq!(form.send().await.code(), (status, code), "case {number}");
    }
    assert_eq!(client.head("/bucket/user/a%20b").await.status, 404);
    let denied = signed().field("key", "b").send().await;
    let message = "Invalid according to Policy: Policy Condition failed: \
                   [&quot;starts-with&quot;, &quot;$key&quot;, &quot;user/&quot;]";
    assert_eq!(denied.one("Message"), message);
    let small = sized(5, 10).send().await;
    assert_eq!((small.one("ProposedSize"), small.one("MinSizeAllowed")), ("4", "5"));
    let large = sized(0, 3).send().await;
    assert_eq!(large.one("MaxSizeAllowed"), "3");
    for form in [sized(4, 4), signed().field("x-ignore-a", "b")] {
        form.send().await.expect(204);
    }
}

/// A server where anyone may write, and an anonymous form to it.
async fn open() -> (Server, Form) {
    let server = Server::start().await;
    let put = server.client.call("PUT", "/bucket").header("x-amz-acl", "public-read-write");
    put.send().await.expect(200);
    let form = Form::to(&server.client, "/bucket").field("key", "a/b");
    (server, form)
}

#[tokio::test]
async fn the_answer_is_the_one_that_the_form_asks_for() {
    let (server, form) = open().await;
    let etag = "\"8d777f385d3dfec8815d20f7496026dc\"";
    let location = format!("http://{}/bucket/a/b", server.address);
    for (asked, status) in [("200", 200), ("204", 204), ("404", 204), ("x", 204), ("", 204)] {
        let answer = form.clone().field("success_action_status", asked).send().await;
        let answer = answer.expect(status);
        assert_eq!((answer.header("etag"), answer.body.len()), (Some(etag), 0), "{asked}");
    }
    let created = form.clone().field("success_action_status", "201").send().await.expect(201);
    assert_eq!(created.one("Location"), location);
    assert_eq!((created.one("Bucket"), created.one("Key")), ("bucket", "a/b"));
    assert_eq!(created.one("ETag"), "&quot;8d777f385d3dfec8815d20f7496026dc&quot;");
    assert_eq!(created.header("content-type"), Some("application/xml"));
    let query = "bucket=bucket&key=a%2Fb&etag=%228d777f385d3dfec8815d20f7496026dc%22";
    for (field, url, expected) in [
        ("success_action_redirect", "http://a/b?c=d", format!("http://a/b?c=d&{query}")),
        ("redirect", "https://a/", format!("https://a/?{query}")),
    ] {
        let answer = form.clone().field("success_action_status", "201").field(field, url);
        let answer = answer.send().await.expect(303);
        assert_eq!(answer.header("location"), Some(&*expected));
        assert_eq!((answer.header("etag"), answer.body.len()), (Some(etag), 0));
    }
    for url in ["/relative", "javascript:alert(1)", "mailto:a@b", "http://", "a b"] {
        let answer = form.clone().field("success_action_redirect", url).send().await;
        assert_eq!(answer.expect(204).header("location"), Some(&*location), "{url}");
    }
}

#[tokio::test]
async fn fields_say_what_headers_say_in_a_put() {
    let (server, form) = open().await;
    let client = &server.client;
    client
        .put(
            "/bucket?versioning",
            "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        )
        .await
        .expect(200);
    let tags = "<Tagging><TagSet><Tag><Key>a b</Key><Value>c+d</Value></Tag></TagSet></Tagging>";
    let fields = [
        ("Content-Type", "text/plain"),
        ("Cache-Control", "no-cache"),
        ("Content-Disposition", "attachment"),
        ("Content-Encoding", "gzip"),
        ("Expires", "Thu, 01 Dec 2099 16:00:00 GMT"),
        ("x-amz-meta-Colour", "grün"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-website-redirect-location", "/c"),
        ("x-amz-checksum-algorithm", "CRC32"),
        ("x-amz-checksum-crc32", "rfPzYw=="),
        ("tagging", tags),
    ];
    let form = fields.iter().fold(form, |form, (name, value)| form.field(name, *value));
    let answer = form.clone().send().await.expect(204);
    assert!(answer.header("x-amz-version-id").is_some());
    assert_eq!(answer.header("x-amz-checksum-crc32"), Some("rfPzYw=="));
    let mode = client.call("GET", "/bucket/a/b").header("x-amz-checksum-mode", "ENABLED");
    let got = mode.send().await.expect(200);
    for (name, value) in fields
        .iter()
        .filter(|(n, _)| !["tagging", "x-amz-meta-Colour", "x-amz-checksum-algorithm"].contains(n))
    {
        assert_eq!(got.header(&name.to_ascii_lowercase()), Some(*value), "{name}");
    }
    assert_eq!(got.headers["x-amz-meta-colour"].as_bytes(), "grün".as_bytes());
    let shown = client.get("/bucket/a/b?tagging").await.expect(200);
    assert_eq!((shown.one("Key"), shown.one("Value")), ("a b", "c+d"));
    let bad = [
        ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc32", "?", "BadDigest"),
        ("x-amz-checksum-algorithm", "SHA256", "InvalidRequest"),
        ("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==", "BadDigest"),
        ("x-amz-storage-class", "COLD", "InvalidStorageClass"),
        ("acl", "mine", "InvalidArgument"),
        ("tagging", "<Tagging>", "MalformedXML"),
        ("x-amz-object-lock-mode", "GOVERNANCE", "InvalidArgument"),
        ("x-amz-meta-long", &*"a".repeat(2049), "MetadataTooLarge"),
    ];
    for (name, value, code) in bad {
        let answer = form.clone().field("key", "bad").field(name, value).send().await;
        assert_eq!(answer.code(), (400, code), "{name}");
    }
    assert_eq!(client.head("/bucket/bad").await.status, 404);
}

#[tokio::test]
async fn a_lock_is_asked_for_by_those_who_may() {
    let server = Server::start().await;
    let client = &server.client;
    let put = client.call("PUT", "/bucket").header("x-amz-bucket-object-lock-enabled", "true");
    put.send().await.expect(200);
    let lock = |form: Form| {
        let form = form.field("x-amz-object-lock-mode", "GOVERNANCE");
        form.field("x-amz-object-lock-retain-until-date", "2099-01-01T00:00:00Z")
    };
    let conditions = json!([["starts-with", "$key", ""], ["starts-with", "$acl", ""],
        {"x-amz-object-lock-mode": "GOVERNANCE"},
        ["starts-with", "$x-amz-object-lock-retain-until-date", ""]]);
    lock(allowed(client)).v4(&conditions).send().await.expect(204);
    let head = client.head("/bucket/user/a%20b").await.expect(200);
    assert_eq!(head.header("x-amz-object-lock-mode"), Some("GOVERNANCE"));
    let open = client.call("PUT", "/bucket?acl").header("x-amz-acl", "public-read-write");
    open.send().await.expect(200);
    allowed(client).send().await.expect(204);
    assert_eq!(lock(allowed(client)).send().await.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn the_key_may_have_the_name_of_the_file() {
    let (server, form) = open().await;
    let named = |form: &Form, name: &str| {
        let file = part(&format!("file\"; filename=\"{name}"), b"x");
        Form { file, ..form.clone().field("key", "u/${filename}") }
    };
    for (name, key) in [("a.txt", "a.txt"), ("C:\\dir\\b.txt", "b.txt"), ("/c/d", "d"), ("", "")] {
        let form = named(&form, name).field("success_action_status", "201");
        assert_eq!(form.send().await.expect(201).one("Key"), format!("u/{key}"));
    }
    let bare = Form { file: part("file", b"x"), ..form.clone() };
    assert_eq!(
        bare.clone().field("key", "${filename}").send().await.code(),
        (400, "InvalidArgument")
    );
    bare.field("key", "e").send().await.expect(204);
    assert_eq!(server.client.get("/bucket/e").await.text(), "x");
    let signed = named(&Form::to(&server.client, "/bucket"), "z.txt");
    let conditions = json!([["eq", "$key", "u/z.txt"]]);
    signed.v4(&conditions).send().await.expect(204);
    let cases = [
        (form.clone().field("key", None), "InvalidArgument"),
        (form.clone().field("key", ""), "InvalidArgument"),
        (form.field("key", &*"k".repeat(1025)), "KeyTooLongError"),
    ];
    for (form, code) in cases {
        assert_eq!(form.send().await.code(), (400, code));
    }
}

#[tokio::test]
async fn what_is_no_form_is_refused() {
    let (server, form) = open().await;
    let typed = |text: &str| form.clone().header("content-type", text);
    let field = |name: &str, len: usize| form.clone().field(name, &*"x".repeat(len));
    let many = (0..101).fold(form.clone(), |form, i| form.field(&format!("f{i}"), "x"));
    let twice = Form { fields: vec![("acl".into(), "private".into()); 2], ..form.clone() };
    let cases = [
        (typed("multipart/form-data"), 400, "MalformedPOSTRequest"),
        (typed("multipart/form-data; boundary=other"), 400, "MalformedPOSTRequest"),
        (typed("text/plain"), 412, "PreconditionFailed"),
        (Form { file: Vec::new(), ..form.clone() }, 400, "IncorrectNumberOfFilesInPostRequest"),
        (field("x-amz-meta-a", 20 << 10), 400, "MaxPostPreDataLengthExceededError"),
        (many, 400, "InvalidArgument"),
        (twice, 400, "InvalidArgument"),
    ];
    for (number, (form, status, code)) in cases.into_iter().enumerate() {
        assert_eq!(form.send().await.code(), (status, code), "case {number}");
    }
    assert_eq!(server.client.head("/bucket/a/b").await.status, 404);
    field("x-ignore-a", 19 << 10).send().await.expect(204);
}

#[tokio::test]
async fn a_form_that_ends_too_early_stores_nothing() {
    let (server, form) = open().await;
    let body = form.body();
    let whole = body.len() - "--\r\n".len();
    for len in (0..whole).step_by(7).chain([whole - 1, whole]) {
        let answer = form.clone().send_body(&body[..len]).await;
        assert_eq!(answer.code(), (400, "MalformedPOSTRequest"), "{len} bytes");
    }
    assert_eq!(server.client.head("/bucket/a/b").await.status, 404);
    form.send_body(&body[..whole + 2]).await.expect(204);
}

#[tokio::test]
async fn what_follows_the_file_is_ignored() {
    let (server, form) = open().await;
    let mut file = form.file.clone();
    file.extend(part("key", b"other"));
    file.extend(part("file\"; filename=\"g.txt", b"more"));
    file.extend(part("acl", b"\xff"));
    Form { file, ..form }.send().await.expect(204);
    assert_eq!(server.client.get("/bucket/a/b").await.expect(200).text(), "data");
    assert_eq!(server.client.head("/bucket/other").await.status, 404);
}

/// Sends a request in two writes, and gives the status line.
async fn in_two(server: &Server, request: &[u8], at: usize) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&request[..at]).await.unwrap();
    tokio::task::yield_now().await;
    stream.write_all(&request[at..]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_form_may_be_cut_anywhere_on_its_way() {
    let (server, form) = open().await;
    let file = b"\r\n--godwit-for\r\r\n--godwit\r\n";
    let body = form.file(file).body();
    let head = format!(
        "POST /bucket HTTP/1.1\r\nhost: {}\r\ncontent-type: {}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        server.address,
        content_type(),
        body.len()
    );
    let request = [head.as_bytes(), &body].concat();
    for at in head.len()..request.len() {
        let status = in_two(&server, &request, at).await;
        assert_eq!(status, "HTTP/1.1 204 No Content", "cut at {at}");
        assert_eq!(server.client.get("/bucket/a/b").await.body, file[..], "cut at {at}");
        server.client.delete("/bucket/a/b").await.expect(204);
    }
}

#[tokio::test]
async fn a_large_file_goes_through_whole() {
    let (server, form) = open().await;
    let file: Vec<u8> = b"\r\n--godwit-fore".iter().copied().cycle().take(3_000_001).collect();
    let answer = form.clone().file(&file).send().await.expect(204);
    let got = server.client.get("/bucket/a/b").await.expect(200);
    assert!(got.body == file, "the bytes are the same");
    assert_eq!(got.header("etag"), answer.header("etag"));
    let limit = |least: u64, most: u64| {
        let range = json!(["content-length-range", least, most]);
        let conditions = json!([["starts-with", "$key", ""], range]);
        form.clone().file(&file).v4(&conditions)
    };
    limit(3_000_001, 3_000_001).send().await.expect(204);
    assert_eq!(limit(3_000_002, 4_000_000).send().await.code(), (400, "EntityTooSmall"));
    assert_eq!(limit(0, 3_000_000).send().await.code(), (400, "EntityTooLarge"));
}

#[tokio::test]
async fn answers_to_forms_of_other_origins_are_marked() {
    let (server, form) = open().await;
    let rules = "<CORSConfiguration><CORSRule><AllowedOrigin>http://a</AllowedOrigin>\
                 <AllowedMethod>POST</AllowedMethod></CORSRule></CORSConfiguration>";
    server.client.put("/bucket?cors", rules).await.expect(200);
    let answer = form.clone().header("origin", "http://a").send().await.expect(204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://a"));
    let refused = form.field("key", None).header("origin", "http://a").send().await.expect(400);
    assert_eq!(refused.header("access-control-allow-origin"), Some("http://a"));
}

#[tokio::test]
async fn headers_of_the_request_that_restrict_it_still_do() {
    let (server, form) = open().await;
    let new = || form.clone().header("if-none-match", "*");
    new().send().await.expect(204);
    assert_eq!(new().send().await.code(), (412, "PreconditionFailed"));
    let placed = form.clone().header("x-tigris-regions", "fra");
    assert_eq!(placed.send().await.code(), (501, "NotImplemented"));
    let owner = form.clone().header("x-amz-expected-bucket-owner", "nobody");
    assert_eq!(owner.send().await.code(), (403, "AccessDenied"));
    assert_eq!(server.client.get("/bucket/a/b").await.expect(200).text(), "data");
}

#[tokio::test]
async fn a_form_names_the_regions_of_its_object_in_a_field_that_its_policy_covers() {
    let (server, form) = open().await;
    let field = |form: Form| form.field("x-tigris-regions", "fra");
    field(form.clone()).send().await.expect(204);
    let head = server.client.head("/bucket/a/b").await.expect(200);
    assert_eq!(head.header("x-tigris-regions"), Some("fra"));
    let mars = form.clone().field("x-godwit-regions", "mars").send().await;
    assert_eq!(mars.code(), (400, "InvalidArgument"));
    let conditions = json!([["starts-with", "$key", ""], ["starts-with", "$acl", ""]]);
    let uncovered = field(allowed(&server.client)).v4(&conditions).send().await;
    assert_eq!(uncovered.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn a_form_to_the_bucket_s_own_host_says_where_the_object_is() {
    let (server, form) = open().await;
    let request = http::Request::post("/").header("host", "bucket.localhost");
    let request = request.header("content-type", content_type());
    let request = request.body(form.body().into()).unwrap();
    let answer = exchange(server.address, request).await.expect(204);
    assert_eq!(answer.header("location"), Some("http://bucket.localhost/a/b"));
}

#[tokio::test]
async fn a_form_asks_for_encryption_and_says_who_pays() {
    let (server, form) = open().await;
    let client = &server.client;
    let answer = form.clone().field("x-amz-server-side-encryption", "AES256").send().await;
    let (name, sse) = ("x-amz-server-side-encryption", Some("AES256"));
    assert_eq!(answer.expect(204).header(name), sse);
    assert_eq!(client.head("/bucket/a/b").await.expect(200).header(name), sse);
    let bad = form.clone().field(name, "ROT13").send().await;
    assert_eq!(bad.code(), (400, "InvalidArgument"));
    let payer = "<RequestPaymentConfiguration><Payer>Requester</Payer>\
                 </RequestPaymentConfiguration>";
    client.put("/bucket?requestPayment", payer).await.expect(200);
    let stranger = server.stranger().await;
    let conditions = json!([
        ["starts-with", "$key", ""],
        ["starts-with", "$acl", ""],
        ["starts-with", "$x-amz-request-payer", ""]
    ]);
    let signed = |form: Form| form.v4(&conditions).send();
    assert_eq!(signed(allowed(&stranger)).await.code(), (403, "AccessDenied"));
    let paying = allowed(&stranger).field("x-amz-request-payer", "requester");
    assert_eq!(signed(paying).await.expect(204).header("x-amz-request-charged"), Some("requester"));
}
