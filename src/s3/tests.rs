//! The pipeline over real connections: a small table of operations, a gate that knows one bucket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{StatusCode, Version};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use md5::{Digest as _, Md5};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::engine::body::BodySource as _;
use crate::types::action::Action;
use crate::types::name::{AccountId, SecretKey};
use crate::types::object::Row;
use crate::types::record::KeyScope;
use crate::types::stamp::Stamp;

use super::auth::payload::ChunkSigner;
use super::op::{BodyKind, On, Op, Verb, When, run};
use super::reply::ReplyBody;
use super::request::Req;
use super::*;

const KEY: &str = "GWKEY";
const SECRET: &str = "secret/of+the=key";

/// Everything is allowed in the bucket `open`, for everyone.
struct OneBucket;

impl Gate for OneBucket {
    fn access_key<'a>(
        &'a self,
        id: &'a AccessKeyId,
    ) -> BoxFuture<'a, Result<Option<AccessKeyRecord>, engine::Error>> {
        let record = AccessKeyRecord {
            stamp: Stamp::ZERO,
            account: AccountId("owner".into()),
            secret: SecretKey(SECRET.into()),
            scope: KeyScope::Admin,
            revoked: false,
            created_ms: 0,
        };
        Box::pin(async move { Ok((&*id.0 == KEY).then_some(record)) })
    }

    fn authorize<'a>(
        &'a self,
        _: &'a Caller,
        _: Action,
        target: &'a Target,
        _: &'a Circumstances,
    ) -> BoxFuture<'a, Result<Option<Row>, engine::Error>> {
        Box::pin(async move {
            match target.bucket().map(|bucket| bucket.as_str()) {
                Some("open") => Ok(None),
                Some("missing") => Err(engine::Error::NoSuchBucket),
                _ => Err(engine::Error::AccessDenied("not open".into())),
            }
        })
    }
}

/// Answers the MD5 and the length of what came.
async fn store(_: &Ctx, mut req: Req) -> Result<Reply, S3Error> {
    while req.body.next().await.map_err(S3Error::from)?.is_some() {}
    let digests = req.body.digests();
    let text = format!("{} {}", hex::encode(digests.md5), digests.len);
    Ok(Reply::ok().with_body(ReplyBody::Bytes(Bytes::from(text))))
}

/// Answers the document of the request.
async fn document(_: &Ctx, req: Req) -> Result<Reply, S3Error> {
    Ok(Reply::ok().with_body(ReplyBody::Bytes(req.document)))
}

/// Streams as many bytes as the key says, in pieces of 1000.
async fn stream(_: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let len: usize = req.key()?.as_str().parse().map_err(|_| S3Error::new(Code::NoSuchKey))?;
    let pieces =
        (0..len).step_by(1000).map(move |at| Ok(Bytes::from(vec![b'x'; 1000.min(len - at)])));
    let stream = Box::pin(futures_util::stream::iter(pieces));
    Ok(Reply::ok().with_body(ReplyBody::Stream { len: len as u64, stream }))
}

const fn op(name: &'static str, verb: Verb, body: BodyKind, run: op::Run) -> Op {
    Op {
        name,
        on: On::Object,
        verb,
        when: &[],
        action: Action::GetObject,
        body,
        auth: Auth::Signed,
        run,
    }
}

static TABLE: op::Table = &[&[
    op("Stream", Verb::Get, BodyKind::None, run!(stream)),
    op("StreamHead", Verb::Head, BodyKind::None, run!(stream)),
    op("Store", Verb::Put, BodyKind::Stream, run!(store)),
    Op {
        when: &[When::Query("document"), When::Query("object")],
        ..op("ObjectDocument", Verb::Post, BodyKind::ObjectXml(1000), run!(document))
    },
    Op {
        when: &[When::Query("document")],
        ..op("Document", Verb::Post, BodyKind::Xml(1000), run!(document))
    },
]];

/// A server on a port of its own, for as long as the test runs.
async fn server_with(change: impl FnOnce(&mut Options)) -> SocketAddr {
    let env = crate::node::env::real(&tokio::runtime::Handle::current(), "/nowhere".as_ref());
    let mut options = Options::new("fra".parse().unwrap());
    change(&mut options);
    let own: Own = Arc::new(|service, request, _| {
        let path = request.uri().path().to_owned();
        Box::pin(async move {
            if path != "/-/signed" {
                return Response::new(Outgoing::from(path));
            }
            let text = match service.verify(request, 10).await {
                Ok(Signed { caller: Caller::Key { access_key, .. }, body, .. }) => {
                    format!("{access_key} {}", String::from_utf8_lossy(&body))
                }
                Ok(Signed { caller: Caller::Anonymous, .. }) => "anonymous".to_owned(),
                Err(error) => error.code().as_str().to_owned(),
            };
            Response::new(Outgoing::from(text))
        })
    });
    let service = Service::with_table(env.clone(), Arc::new(OneBucket), options, own, TABLE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let spawner = env.clone();
    env.spawn("test server", async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = service.clone();
            let service = service_fn(move |request| {
                let service = service.clone();
                async move { Ok::<_, Infallible>(service.call(request, peer).await) }
            });
            spawner.spawn("test connection", async move {
                let mut builder = Builder::new(TokioExecutor::new());
                builder.http1().timer(TokioTimer::new()).max_headers(200).half_close(true);
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

async fn server() -> SocketAddr {
    server_with(|_| {}).await
}

/// A connection of a client that knows exactly what it sends.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, value) = line.split_once(": ")?;
            n.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn code(&self) -> &str {
        let rest = self.body.split_once("<Code>").map_or("", |(_, rest)| rest);
        rest.split_once("</Code>").map_or("", |(code, _)| code)
    }
}

impl Client {
    async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// A request of a head without `Host` and its body.
    async fn request(&mut self, line: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.head(line, headers).await;
        self.send(body).await;
        self.answer(line.starts_with("HEAD")).await
    }

    async fn head(&mut self, line: &str, headers: &[&str]) {
        let mut head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        self.send(head.as_bytes()).await;
    }

    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 1 << 16];
        let n = self.stream.read(&mut buffer).await.unwrap();
        self.read.extend_from_slice(&buffer[..n]);
        n > 0
    }

    /// The next answer, interim ones too.
    async fn answer(&mut self, head_only: bool) -> Answer {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.more().await, "closed before an answer: {:?}", self.read);
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: String::new() };
        let len: usize = answer.header("content-length").map_or(0, |len| len.parse().unwrap());
        if !head_only && answer.status != 304 {
            while self.read.len() < len {
                assert!(self.more().await, "the body is cut");
            }
            answer.body = String::from_utf8(self.read.drain(..len).collect()).unwrap();
        }
        answer
    }

    async fn put(&mut self, headers: &[&str], body: &[u8]) -> Answer {
        let len = format!("Content-Length: {}", body.len());
        let headers: Vec<&str> = headers.iter().copied().chain([len.as_str()]).collect();
        self.request("PUT /open/key", &headers, body).await
    }
}

fn md5_line(body: &[u8]) -> String {
    format!("{} {}", hex::encode(Md5::digest(body)), body.len())
}

#[tokio::test]
async fn bodies_arrive_whole_and_the_connection_is_used_again() {
    let mut client = Client::to(server().await).await;
    for len in [0, 1, 1000, 100_000, 3 << 20] {
        let body = vec![b'a'; len];
        let answer = client.put(&[], &body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, md5_line(&body));
        assert_eq!(answer.header("x-godwit-served-from"), Some("fra"));
        assert_eq!(answer.header("x-amz-request-id").unwrap().len(), 16);
    }
}

#[tokio::test]
async fn errors_are_xml_and_leave_the_connection_usable() {
    let mut client = Client::to(server().await).await;
    let answer = client.request("GET /missing/key", &[], b"").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "NoSuchBucket"));
    assert!(answer.body.contains("<BucketName>missing</BucketName>"), "{}", answer.body);
    assert!(answer.body.contains("<Resource>/missing/key</Resource>"), "{}", answer.body);
    let answer = client.request("GET /closed/key", &[], b"").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (403, "AccessDenied"));
    let answer = client.request("GET /open/none", &[], b"").await;
    assert!(answer.body.contains("<Key>none</Key>"), "{}", answer.body);
    let answer = client.request("DELETE /open/key", &[], b"").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (405, "MethodNotAllowed"));
    assert_eq!(answer.header("allow"), Some("GET, HEAD, POST, PUT"));
    let answer = client.request("GET /NO/key", &[], b"").await;
    assert_eq!(answer.code(), "InvalidBucketName");
    let answer = client.request("GET /open/%ff", &[], b"").await;
    assert_eq!(answer.code(), "InvalidURI");
}

#[tokio::test]
async fn a_sub_resource_that_no_row_asks_for_is_not_implemented() {
    let mut client = Client::to(server().await).await;
    for query in ["acl", "tagging=", "x-id=GetObject&torrent"] {
        let answer = client.request(&format!("GET /open/1?{query}"), &[], b"").await;
        assert_eq!((answer.status.as_u16(), answer.code()), (501, "NotImplemented"), "{query}");
    }
    let answer = client.request("GET /open/1?x-id=GetObject&other", &[], b"").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_refused_body_does_not_cost_the_answer_or_the_connection() {
    let mut client = Client::to(server().await).await;
    let body = vec![0; 5 << 20];
    let len = format!("Content-Length: {}", body.len());
    for _ in 0..2 {
        let answer = client.request("PUT /closed/key", &[&len], &body).await;
        assert_eq!(answer.code(), "AccessDenied");
    }
    assert_eq!(client.put(&[], b"x").await.status, 200);
}

#[tokio::test]
async fn who_expects_100_continue_is_refused_before_it_and_else_gets_it() {
    let address = server().await;
    let headers = ["Expect: 100-continue", "Content-Length: 5"];
    let mut client = Client::to(address).await;
    client.head("PUT /closed/key", &headers).await;
    let refused = client.answer(false).await;
    assert_eq!((refused.status.as_u16(), refused.header("connection")), (403, Some("close")));
    let mut client = Client::to(address).await;
    client.head("PUT /open/key", &headers).await;
    assert_eq!(client.answer(false).await.status, 100);
    client.send(b"hello").await;
    let stored = client.answer(false).await;
    assert_eq!(stored.body, md5_line(b"hello"));
    assert_eq!(stored.header("connection"), None);
    assert_eq!(client.put(&[], b"x").await.status, 200);
}

#[tokio::test]
async fn a_truncated_body_is_incomplete() {
    let mut client = Client::to(server().await).await;
    client.head("PUT /open/key", &["Content-Length: 10"]).await;
    client.send(b"12345").await;
    client.stream.shutdown().await.unwrap();
    let answer = client.answer(false).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "IncompleteBody"));
}

#[tokio::test]
async fn wrong_digests_are_refused_with_their_codes() {
    let mut client = Client::to(server().await).await;
    let md5 = format!("Content-MD5: {}", STANDARD.encode(Md5::digest(b"hello")));
    assert_eq!(client.put(&[&md5], b"hello").await.status, 200);
    assert_eq!(client.put(&[&md5], b"hullo").await.code(), "BadDigest");
    assert_eq!(client.put(&["Content-MD5: x"], b"hello").await.code(), "InvalidDigest");
    let crc = "x-amz-checksum-crc32: NhCmhg==";
    assert_eq!(client.put(&[crc], b"hello").await.status, 200);
    assert_eq!(client.put(&[crc], b"hullo").await.code(), "BadDigest");
    let zeros = format!("x-amz-content-sha256: {}", "0".repeat(64));
    assert_eq!(client.put(&[&zeros], b"hello").await.code(), "XAmzContentSHA256Mismatch");
    assert_eq!(client.put(&["x-amz-content-sha256: x"], b"hello").await.code(), "InvalidArgument");
}

#[tokio::test]
async fn chunks_with_a_trailer_are_decoded_and_checked() {
    let mut client = Client::to(server().await).await;
    let headers = [
        "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-trailer: x-amz-checksum-crc32",
        "x-amz-decoded-content-length: 5",
        "Content-Encoding: aws-chunked",
    ];
    let good = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    assert_eq!(client.put(&headers, good).await.body, md5_line(b"hello"));
    let cases: [(&[u8], &str); 5] = [
        (b"5\r\nhullo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "BadDigest"),
        (b"5\r\nhello\r\n0\r\n\r\n", "InvalidRequest"),
        (b"4\r\nhell\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "IncompleteBody"),
        (b"6\r\nhelloo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "EntityTooLarge"),
        (b"not chunks", "InvalidRequest"),
    ];
    for (body, code) in cases {
        assert_eq!(client.put(&headers, body).await.code(), code, "{body:?}");
    }
    let answer = client.put(&headers[..2], good).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (411, "MissingContentLength"));
}

#[tokio::test]
async fn a_body_in_chunks_of_http_needs_no_length_but_any_other_does() {
    let mut client = Client::to(server().await).await;
    let chunked = ["Transfer-Encoding: chunked"];
    let answer = client.request("PUT /open/key", &chunked, b"5\r\nhello\r\n0\r\n\r\n").await;
    assert_eq!(answer.body, md5_line(b"hello"));
    let answer = client.request("PUT /open/key", &[], b"").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (411, "MissingContentLength"));
    let answer = client.request("PUT /open/key", &["Content-Length: 5368709121"], b"").await;
    assert_eq!(answer.code(), "EntityTooLarge");
}

#[tokio::test]
async fn documents_are_read_whole_within_their_bound() {
    let mut client = Client::to(server().await).await;
    let answer = client.request("POST /open/k?document", &["Content-Length: 4"], b"<a/>").await;
    assert_eq!(answer.body, "<a/>");
    let answer = client.request("POST /open/k?document", &[], b"").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""));
    let headers = ["Content-Length: 4", "x-amz-checksum-crc32: NhCmhg=="];
    let answer = client.request("POST /open/k?document", &headers, b"<a/>").await;
    assert_eq!(answer.code(), "BadDigest");
    let headers = ["Content-Length: 4", "x-amz-checksum-crc32: NhCmhg==-3"];
    let answer = client.request("POST /open/k?document&object", &headers, b"<a/>").await;
    assert_eq!(answer.body, "<a/>", "the checksum is the object's");
    let long = vec![b'x'; 1001];
    let answer = client.request("POST /open/k?document", &["Content-Length: 1001"], &long).await;
    assert_eq!(answer.code(), "MaxMessageLengthExceeded");
    let answer = client.request("POST /open/k", &["Content-Length: 0"], b"").await;
    assert_eq!(answer.code(), "MethodNotAllowed");
}

#[tokio::test]
async fn head_announces_the_length_and_sends_no_body() {
    let mut client = Client::to(server().await).await;
    for len in ["0", "5", "100000"] {
        let answer = client.request(&format!("HEAD /open/{len}"), &[], b"").await;
        assert_eq!(answer.header("content-length"), Some(len));
        let answer = client.request(&format!("GET /open/{len}"), &[], b"").await;
        assert_eq!(answer.body.len().to_string(), len);
    }
    let answer = client.request("HEAD /missing/key", &[], b"").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (404, None));
    assert_eq!(client.request("GET /open/3", &[], b"").await.body, "xxx");
}

#[tokio::test]
async fn a_small_answer_leaves_in_one_packet() {
    let mut client = Client::to(server().await).await;
    for len in [100, 4096, 16_000] {
        client.head(&format!("GET /open/{len}"), &[]).await;
        assert!(client.more().await);
        let end = client.read.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(client.read.len(), end + len, "head and body came with one read");
        client.read.clear();
    }
}

#[tokio::test]
async fn too_large_heads_and_too_many_requests_are_shed() {
    let mut client = Client::to(server().await).await;
    let long = format!("x-amz-meta-a: {}", "v".repeat(70_000));
    let answer = client.request("GET /open/1", &[&long], b"").await;
    assert_eq!(answer.code(), "RequestHeaderSectionTooLarge");
    let many: Vec<String> = (0..120).map(|i| format!("x-amz-meta-{i}: v")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let answer = client.request("GET /open/1", &many, b"").await;
    assert_eq!(answer.code(), "RequestHeaderSectionTooLarge");
    let mut client = Client::to(server_with(|options| options.room = 3).await).await;
    assert_eq!(client.request("GET /open/1", &[], b"").await.status, 200);
    let answer = client.put(&[], b"x").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (503, "SlowDown"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(client.request("GET /open/1", &[], b"").await.status, 200);
}

#[tokio::test]
async fn our_own_paths_are_answered_by_the_wiring() {
    let mut client = Client::to(server().await).await;
    let answer = client.request("GET /-/health/live", &[], b"").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "/-/health/live"));
}

#[tokio::test]
async fn our_own_paths_are_verified_as_those_of_s3() {
    let address = server().await;
    let env = crate::node::env::real(&tokio::runtime::Handle::current(), "/nowhere".as_ref());
    let mut client = Client::to(address).await;
    let mut put = async |lines: &[String], body: &str| {
        let mut head = format!("PUT /-/signed HTTP/1.1\r\nHost: {address}\r\n");
        for line in lines {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        client.send(head.as_bytes()).await;
        client.answer(false).await.body
    };
    let (lines, _) = signed(&env, address, "/-/signed", &[], "UNSIGNED-PAYLOAD");
    assert_eq!(put(&lines, "hello").await, format!("{KEY} hello"));
    assert_eq!(put(&lines, "hello hello").await, "MaxMessageLengthExceeded");
    assert_eq!(put(&[], "hello").await, "AccessDenied");
    let (lines, _) = signed(&env, address, "/-/other", &[], "UNSIGNED-PAYLOAD");
    assert_eq!(put(&lines, "hello").await, "SignatureDoesNotMatch");
}

/// The headers that an SDK adds to a request with this payload line, and the signer of its chunks.
fn signed(
    env: &Env,
    address: SocketAddr,
    target: &str,
    headers: &[(&str, &str)],
    payload: &str,
) -> (Vec<String>, ChunkSigner) {
    use aws_sigv4::http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    };
    let time = std::time::UNIX_EPOCH + Duration::from_millis(env.now_ms());
    let identity = aws_credential_types::Credentials::new(KEY, SECRET, None, None, "test").into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let params = aws_sigv4::sign::v4::SigningParams::builder()
        .identity(&identity)
        .region("auto")
        .name("s3")
        .time(time)
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let url = format!("http://{address}{target}");
    let body = SignableBody::Precomputed(payload.to_owned());
    let request = SignableRequest::new("PUT", &url, headers.iter().copied(), body).unwrap();
    let (added, signature) = sign(request, &params).unwrap().into_parts();
    let added: Vec<(&str, &str)> = added.headers().collect();
    let date = added.iter().find(|(name, _)| *name == "x-amz-date").unwrap().1.to_owned();
    let derived = aws_sigv4::sign::v4::generate_signing_key(SECRET, time, "auto", "s3");
    let signer = ChunkSigner {
        key: derived.as_ref().try_into().unwrap(),
        scope: format!("{}/auto/s3/aws4_request", &date[..8]),
        date,
        previous: signature,
    };
    let lines = headers.iter().chain(&added).map(|(n, v)| format!("{n}: {v}")).collect();
    (lines, signer)
}

#[tokio::test]
async fn signed_chunks_with_a_signed_trailer_are_taken_and_a_forged_one_is_not() {
    use aws_lc_rs::digest::{SHA256, digest};
    let address = server().await;
    let env = crate::node::env::real(&tokio::runtime::Handle::current(), "/nowhere".as_ref());
    let headers = [
        ("x-amz-trailer", "x-amz-checksum-crc32"),
        ("x-amz-decoded-content-length", "5"),
        ("content-encoding", "aws-chunked"),
    ];
    let payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
    let (mut lines, mut signer) = signed(&env, address, "/open/key%20(1)", &headers, payload);
    let mut body = String::new();
    for data in ["hello", ""] {
        signer.chunk(digest(&SHA256, data.as_bytes()).as_ref(), "");
        let end = if data.is_empty() { "" } else { "\r\n" };
        let line = format!("{:x};chunk-signature={}\r\n{data}{end}", data.len(), signer.previous);
        body.push_str(&line);
    }
    signer.trailer("x-amz-checksum-crc32:NhCmhg==\n", "");
    body.push_str("x-amz-checksum-crc32:NhCmhg==\r\n");
    body.push_str(&format!("x-amz-trailer-signature:{}\r\n\r\n", signer.previous));
    lines.push(format!("Content-Length: {}", body.len()));
    let mut client = Client::to(address).await;
    let mut put = async |body: &str| {
        let mut head = format!("PUT /open/key%20(1) HTTP/1.1\r\nHost: {address}\r\n");
        for line in &lines {
            head.push_str(line);
            head.push_str("\r\n");
        }
        client.send(format!("{head}\r\n{body}").as_bytes()).await;
        client.answer(false).await
    };
    assert_eq!(put(&body).await.body, md5_line(b"hello"));
    let forged = put(&body.replace("hello", "hullo")).await;
    assert_eq!((forged.status.as_u16(), forged.code()), (403, "SignatureDoesNotMatch"));
}

#[tokio::test]
async fn http2_is_spoken_on_the_same_port() {
    use http_body_util::{BodyExt as _, Full};
    let address = server().await;
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();
    let body = vec![b'b'; 300_000];
    let request =
        Request::put(format!("http://{address}/open/key")).body(Full::from(body.clone())).unwrap();
    let answer = client.request(request).await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, md5_line(&body));
}

#[tokio::test]
async fn unknown_keys_and_broken_credentials_are_refused() {
    let mut client = Client::to(server().await).await;
    let answer = client.request("GET /open/1", &["Authorization: Bearer x"], b"").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "InvalidArgument"));
    let signed = "Authorization: AWS nobody:AAAA";
    let now = xml::http_date(
        crate::node::env::real(&tokio::runtime::Handle::current(), "/nowhere".as_ref()).now_ms(),
    );
    let date = format!("Date: {now}");
    let answer = client.request("GET /open/1", &[signed, &date], b"").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (403, "InvalidAccessKeyId"));
}
